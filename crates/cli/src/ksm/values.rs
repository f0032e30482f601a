//! Notations looked up for `secret notation`, `exec` and `interpolate`: one fetch for all of them.

use keeper::{
    Client, Vault,
    json::Style,
    notation::{self, Evaluation, Parsed, Part, Value},
};
use model::SecretBytes;

use super::{Ksm, context::warn};
use crate::failure::Failure;

/// One answer of Keeper that notations are looked up in, and the client for the files they name.
pub(crate) struct Values {
    client: Client,
    vault: Vault,
}

impl Values {
    /// Fetches what these notations need.
    pub(crate) fn fetch<'p>(
        ksm: &Ksm,
        notations: impl IntoIterator<Item = &'p Parsed>,
    ) -> Result<Self, Failure> {
        let client = ksm.client()?;
        let wanted = notations.into_iter().map(|parsed| &parsed.notation);
        let vault = ksm.call(client.fetch_for(wanted))?;
        Ok(Self { client, vault })
    }

    /// The text or bytes of a value, as the official CLI prints them: objects and arrays as JSON, files
    /// as they are. Nothing where the place is there and holds no value.
    pub(crate) fn get(&self, ksm: &Ksm, parsed: &Parsed) -> Result<Option<SecretBytes>, Failure> {
        let at = |part, note: &str| unread(parsed, part, note);
        match notation::evaluate(&parsed.notation, &self.vault) {
            Evaluation::Value(Value::Json(value), warnings) => {
                for warning in warnings {
                    warn(format_args!("{warning}{}", parsed.pointing_at(Part::Parameter, "")));
                }
                Ok(Some(match value.as_text() {
                    Some(text) => SecretBytes::from(text),
                    None => value.write(Style::Python),
                }))
            }
            Evaluation::Value(Value::File(file), _) => {
                let content = ksm.call(self.client.download(&file));
                content.map(Some).map_err(|failure| at(Part::Parameter, &failure.to_string()))
            }
            Evaluation::Empty => Ok(None),
            Evaluation::NotShared => {
                Err(at(Part::Record, "no record of this UID is shared with the application"))
            }
            Evaluation::Failed(failure) => Err(at(failure.part, &failure.to_string())),
        }
    }
}

/// A notation that cannot be read, with a caret under the part that is to blame.
fn unread(parsed: &Parsed, part: Part, note: &str) -> Failure {
    Failure::failed(format!("this notation has no value{}", parsed.pointing_at(part, note)))
}
