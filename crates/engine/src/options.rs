//! How the engine treats one destination.

use std::collections::BTreeMap;

use destinations::{Config, FieldFault, Kind};
use model::Granularity;

use crate::template::{Field, Template};

/// How the engine treats one destination: the part of its configuration that no adapter needs.
#[derive(Debug, Clone)]
pub struct Options {
    /// How names are made.
    pub template: Template,
    /// The template's text, given or default; shown in answers.
    pub template_text: String,
    /// One remote entry per secret, or per key.
    pub granularity: Granularity,
    /// Take over a stranger's entry (decisions 6).
    pub overwrite: bool,
    /// Deliver the newest live version when the newest is deleted (decisions 12a).
    pub previous_on_delete: bool,
    /// Look before every update, not only where the service gives no immutable handle.
    pub always_look: bool,
    /// Custom tags.
    pub tags: BTreeMap<String, String>,
    /// Digest of the tags and per-secret settings: another digest means entries already written
    /// need them carried over.
    pub settings: [u8; 32],
}

impl Options {
    /// Reads them from a checked configuration.
    pub fn read(kind: &dyn Kind, config: &Config) -> Result<Self, FieldFault> {
        let granularity = config.granularity(kind);
        let template_text = config.name_template(kind).to_owned();
        let invalid = |problem: String| {
            FieldFault::new("secret_name_template", format!("secret name template is invalid: {problem}"))
        };
        let template = Template::parse(&template_text).map_err(|fault| invalid(fault.to_string()))?;
        match (granularity, template.mentions(Field::SecretKey)) {
            // The first text is one that clients match on (vault-sync-api.md 13).
            (Granularity::SecretKey, false) => {
                return Err(invalid(
                    "external name template should contain reference to the secret key".into(),
                ));
            }
            (Granularity::SecretPath, true) => {
                return Err(invalid(
                    "with granularity secret-path there is no .SecretKey; use granularity secret-key, or leave it out".into(),
                ));
            }
            _ => {}
        }
        Ok(Self {
            template,
            template_text,
            granularity,
            overwrite: config.text("on_conflict") == Some("overwrite"),
            previous_on_delete: config.text("on_latest_deleted") == Some("previous"),
            always_look: config.text("ownership_check") == Some("always"),
            tags: config.map("custom_tags").cloned().unwrap_or_default(),
            settings: config.per_secret_digest(kind),
        })
    }
}
