//! The destinations by their words, and the records that hold their credentials (keeper.md 4.4).

use std::sync::Arc;

use destinations::{Config, Destination, FieldFault, Kind, Mode};
use keeper::{
    Found, Record, Vault,
    notation::Section,
    text::{self, Form},
};
use model::{SecretBytes, json::SecretJson};
use serde_json::{Map, Value};

use super::{Ksm, Type};
use crate::failure::Failure;

/// One destination `sync` can write to. A further one is one more row of [`CLOUDS`].
#[derive(Debug)]
pub(super) struct Cloud {
    word: Type,
    /// The kind of destination.
    slug: &'static str,
    needs: &'static [Need],
}

/// A field of the credentials record.
#[derive(Debug)]
struct Need {
    /// Its label, exactly.
    label: &'static str,
    required: bool,
    /// The destination's field.
    field: &'static str,
    /// Text around it there.
    around: (&'static str, &'static str),
}

impl Need {
    const fn new(label: &'static str, field: &'static str) -> Self {
        Self { label, required: true, field, around: ("", "") }
    }

    const fn optional(self) -> Self {
        Self { required: false, ..self }
    }

    const fn within(self, before: &'static str, after: &'static str) -> Self {
        Self { around: (before, after), ..self }
    }
}

static CLOUDS: [Cloud; 3] = [
    Cloud {
        word: Type::Aws,
        slug: "aws-sm",
        needs: &[
            Need::new("AWS Access Key ID", "access_key_id"),
            Need::new("AWS Secret Access Key", "secret_access_key"),
            Need::new("AWS Region Name", "region"),
        ],
    },
    Cloud {
        word: Type::Azure,
        slug: "azure-kv",
        needs: &[
            Need::new("Azure Key Vault Name", "key_vault_uri").within("https://", ".vault.azure.net"),
            Need::new("Azure Tenant ID", "tenant_id"),
            Need::new("Azure Client ID", "client_id"),
            Need::new("Azure Client Secret", "client_secret"),
        ],
    },
    Cloud {
        word: Type::Gcp,
        slug: "gcp-sm",
        needs: &[
            Need::new("Google Cloud Project ID", "project_id"),
            Need::new("Google Application Credentials", "credentials").optional(),
        ],
    },
];

impl Cloud {
    /// The cloud of `--type`; for `json` the one whose credentials the record holds, and none without a
    /// record.
    pub(super) fn of(word: Type, uid: Option<&str>, vault: &Vault) -> Result<Option<&'static Self>, Failure> {
        if word != Type::Json {
            return Ok(CLOUDS.iter().find(|cloud| cloud.word == word));
        }
        let Some(uid) = uid else { return Ok(None) };
        let record = credentials(uid, vault)?;
        let complete = |cloud: &&Self| cloud.missing(record).is_empty();
        CLOUDS.iter().find(complete).map(Some).ok_or_else(|| {
            let labels = CLOUDS.iter().map(|cloud| {
                let labels = cloud.needs.iter().filter(|need| need.required).map(|need| need.label);
                labels.collect::<Vec<_>>().join(", ")
            });
            Failure::failed(format!(
                "the record {uid} holds no destination's credentials; it needs fields labelled: {}",
                labels.collect::<Vec<_>>().join("; or ")
            ))
        })
    }

    fn missing(&self, record: &Record) -> Vec<&'static str> {
        let missing = |need: &&Need| need.required && value(record, need.label).is_none();
        self.needs.iter().filter(missing).map(|need| need.label).collect()
    }

    /// The opened destination of a credentials record. No call is made yet.
    pub(super) fn open(
        &self,
        ksm: &Ksm,
        uid: &str,
        vault: &Vault,
    ) -> Result<(&'static dyn Kind, Arc<dyn Destination>), Failure> {
        let kind = destinations::kinds().iter().find(|kind| kind.slug() == self.slug).copied();
        let kind = kind.ok_or_else(|| Failure::failed(format!("this build has no {}", self.slug)))?;
        let record = credentials(uid, vault)?;
        let missing = self.missing(record);
        if !missing.is_empty() {
            return Err(Failure::failed(format!(
                "the credentials record {uid} lacks: {}",
                missing.join(", ")
            )));
        }
        let mut body = Map::new();
        for need in self.needs {
            let Some(value) = value(record, need.label) else { continue };
            // Opened to go into the destination's settings, which wipe themselves.
            let text = value.expose_text().unwrap_or_default();
            let text = [need.around.0, text, need.around.1].concat();
            body.insert(need.field.to_owned(), Value::String(text));
        }
        let body = self.with_endpoints(ksm, body);
        let named = |fault: FieldFault| self.named(uid, &fault);
        let (config, _) =
            Config::read(kind, &SecretJson::new(Value::Object(body)), Mode::Replace, None).map_err(named)?;
        let destination = kind.open(&config, &ksm.net(ksm.environment().clone())?).map_err(named)?;
        Ok((kind, destination))
    }

    /// Where the service is found instead of its public address: `KEYFERRY_AWS_SM_ENDPOINT` and the like.
    fn with_endpoints(&self, ksm: &Ksm, mut body: Map<String, Value>) -> Map<String, Value> {
        let slug = self.slug.to_uppercase().replace('-', "_");
        for (field, suffix) in [("endpoint", "ENDPOINT"), ("auth_endpoint", "AUTH_ENDPOINT")] {
            if let Some(url) = ksm.variable(&format!("KEYFERRY_{slug}_{suffix}")) {
                body.insert(field.to_owned(), Value::from(url));
            }
        }
        body
    }

    /// A fault of a setting, in the words of the record.
    fn named(&self, uid: &str, fault: &FieldFault) -> Failure {
        let label = self.needs.iter().find(|need| fault.field.starts_with(need.field)).map(|need| need.label);
        Failure::failed(format!(
            "the credentials record {uid}: {} {}",
            label.unwrap_or(&fault.field),
            fault.problem
        ))
    }
}

/// The record of the credentials.
fn credentials<'v>(uid: &str, vault: &'v Vault) -> Result<&'v Record, Failure> {
    match vault.find(uid) {
        Found::Record(record) => Ok(record),
        Found::Unreadable(why) => Err(Failure::failed(format!("the credentials record {uid}: {why}"))),
        Found::NotShared | Found::Unknown => Err(Failure::failed(format!(
            "there is no credentials record {uid}: is it shared with the application?"
        ))),
    }
}

/// The first value under a label, in the standard fields or else in the custom ones.
fn value(record: &Record, label: &str) -> Option<SecretBytes> {
    [Section::Standard, Section::Custom].into_iter().find_map(|section| {
        let (field, _) = record.field(section, label)?;
        let first = field.first().or_else(|| field.value().filter(|value| value.as_array().is_none()))?;
        text::of_value(first, Form::Json).filter(|text| !text.is_empty())
    })
}
