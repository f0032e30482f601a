//! Reading values: for callers that cannot do without, never for syncing from a store.

use base64::{Engine, prelude::BASE64_STANDARD};
use futures_util::{StreamExt, stream};
use model::{RemoteName, SecretBytes};
use zeroize::Zeroizing;

use super::{
    adapter::{AzureKv, BINARY},
    api::{Operation, place},
    faults::Refusal,
    wire::SecretValue,
};
use crate::{Encoding, Fault, Held};

/// How many reads are under way at the same time.
const AT_ONCE: usize = 8;

impl AzureKv {
    /// The current values of secrets, one call each. One answer per name, in order.
    pub(super) async fn read(&self, names: &[RemoteName]) -> Vec<Result<Held, Fault>> {
        let reads: Vec<_> = names.iter().map(|name| async move { self.read_one(name).await }).collect();
        stream::iter(reads).buffered(AT_ONCE).collect().await
    }

    async fn read_one(&self, name: &RemoteName) -> Result<Held, Fault> {
        let place = place("secrets", name, "")?;
        match self.api().await.call::<SecretValue>(Operation::Get, &place, None::<&()>).await {
            Ok(found) => held(found),
            Err(Refusal::NotFound) => Ok(Held::Nothing),
            Err(refusal) => Err(refusal.fault()),
        }
    }
}

fn held(found: SecretValue) -> Result<Held, Fault> {
    let Some(value) = found.value else { return Ok(Held::Nothing) };
    if found.content_type.as_deref() != Some(BINARY) {
        return Ok(Held::Value(value, Encoding::Text));
    }
    // Opened to be taken out of its base64.
    let bytes = BASE64_STANDARD.decode(value.expose()).map(Zeroizing::new).map_err(|_| {
        Fault::client(
            "value_unreadable",
            "the secret says that it holds base64 and does not; someone changed it",
        )
    })?;
    Ok(Held::Value(SecretBytes::from(bytes), Encoding::Binary))
}
