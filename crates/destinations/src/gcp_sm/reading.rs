//! Giving values back, for callers that must know them.

use super::{adapter::GcpSm, faults::Refusal};
use crate::{Encoding, Fault, Held};

impl GcpSm {
    /// The newest value that can be read. It is asked for by its number: `latest` may be hours behind, and a
    /// list too, so the numbers after what a list shows are asked for as well.
    pub(super) async fn read(&self, name: &str) -> Result<Held, Fault> {
        let newest = match self.newest_readable(name).await {
            Ok(Some(number)) => number,
            Ok(None) | Err(Refusal::NotFound) => return Ok(Held::Nothing),
            Err(refusal) => return Err(refusal.fault()),
        };
        match self.access(name, newest).await {
            Ok(accessed) => {
                let value = accessed.value()?;
                // Google holds bytes; what is text is text.
                let text = value.expose_text().is_ok();
                Ok(Held::Value(value, if text { Encoding::Text } else { Encoding::Binary }))
            }
            // Disabled or destroyed a moment ago.
            Err(Refusal::NotFound | Refusal::Precondition(_)) => Ok(Held::Nothing),
            Err(refusal) => Err(refusal.fault()),
        }
    }
}
