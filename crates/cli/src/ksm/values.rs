//! Notations looked up for `secret notation`, `exec` and `interpolate`: one fetch for all of them.

use keeper::{
    Client, Vault,
    json::Style,
    notation::{self, Evaluation, FailureKind, Parsed, Part, Value},
};
use model::SecretBytes;

use super::{Ksm, context::warn};
use crate::failure::Failure;

/// One answer of Keeper that notations are looked up in, and the client for the files they name.
pub(crate) struct Values {
    client: Client,
    vault: Vault,
}

/// What a notation comes to.
pub(crate) enum Looked {
    /// Text or bytes, as the official CLI prints them: objects and arrays as JSON, files as they are.
    Value(SecretBytes),
    /// The place is there and holds no value.
    Empty,
    /// What is named is positively not there.
    Absent(Failure),
    /// Nobody knows: it could not be read, or several things may be meant.
    Unknown(Failure),
}

impl Values {
    /// Fetches what these notations need.
    pub(crate) fn fetch<'p>(
        ksm: &Ksm,
        notations: impl IntoIterator<Item = &'p Parsed>,
    ) -> Result<Self, Failure> {
        let client = ksm.reading_client()?;
        let wanted = notations.into_iter().map(|parsed| &parsed.notation);
        let vault = ksm.call(client.fetch_for(wanted))?;
        Ok(Self { client, vault })
    }

    /// Looks a notation up.
    pub(crate) fn look(&self, ksm: &Ksm, parsed: &Parsed) -> Looked {
        match notation::evaluate(&parsed.notation, &self.vault) {
            Evaluation::Value(Value::Json(value), warnings) => {
                for warning in warnings {
                    warn(format_args!("{warning}{}", parsed.pointing_at(Part::Parameter, "")));
                }
                Looked::Value(match value.as_text() {
                    Some(text) => SecretBytes::from(text),
                    None => value.write(Style::Python),
                })
            }
            Evaluation::Value(Value::File(file), _) => match ksm.call(self.client.download(&file)) {
                Ok(content) => Looked::Value(content),
                Err(failure) => Looked::Unknown(unread(parsed, Part::Parameter, &failure.to_string())),
            },
            Evaluation::Empty => Looked::Empty,
            Evaluation::NotShared => Looked::Absent(unread(
                parsed,
                Part::Record,
                "no record of this UID is shared with the application",
            )),
            Evaluation::Failed(failure) => {
                let told = unread(parsed, failure.part, &failure.to_string());
                match failure.kind {
                    FailureKind::NoRecord { unreadable: 0 }
                    | FailureKind::NoField
                    | FailureKind::NoProperty
                    | FailureKind::IndexRange { .. }
                    | FailureKind::NoFile => Looked::Absent(told),
                    _ => Looked::Unknown(told),
                }
            }
        }
    }

    /// The value, or nothing where the place is there and holds none.
    pub(crate) fn get(&self, ksm: &Ksm, parsed: &Parsed) -> Result<Option<SecretBytes>, Failure> {
        match self.look(ksm, parsed) {
            Looked::Value(value) => Ok(Some(value)),
            Looked::Empty => Ok(None),
            Looked::Absent(failure) | Looked::Unknown(failure) => Err(failure),
        }
    }
}

/// A notation that cannot be read, with a caret under the part that is to blame.
fn unread(parsed: &Parsed, part: Part, note: &str) -> Failure {
    Failure::failed(format!("this notation has no value{}", parsed.pointing_at(part, note)))
}
