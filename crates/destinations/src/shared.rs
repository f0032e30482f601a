use crate::{Config, Field, FieldFault};

/// A credential that several destinations may share: kept once, under a name of its own, and named in
/// their settings (Vault's GitHub apps, vault-sync-api.md 3.6). Stated as data, so that whoever keeps them
/// need not know what they are.
#[derive(Debug)]
pub struct Shared {
    /// The word in the URL, below `sys/sync/`: `github-apps`.
    pub slug: &'static str,
    /// What one is called in sentences: `GitHub app`.
    pub title: &'static str,
    /// The setting by which a destination names one: `app_name`.
    pub named_by: &'static str,
    /// The member under which a destination's answer repeats that setting: `app_config`.
    pub shown_in: &'static str,
    /// What makes one.
    pub fields: &'static [Field],
    /// Checks what the field table cannot say, and tells what may be shown beside its open fields: names
    /// and texts.
    pub describe: Describe,
}

/// See [`Shared::describe`].
pub type Describe = fn(&Config) -> Result<Vec<(&'static str, String)>, FieldFault>;

impl Shared {
    /// Under which name [`Config::lay_in`] puts a value of a credential into a destination's settings. No
    /// field is named so.
    pub fn place(&self, field: &str) -> String {
        format!("{}.{field}", self.named_by)
    }
}
