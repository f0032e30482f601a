//! Reading values: for callers that cannot do without, never for syncing from a store.

use base64::{Engine, prelude::BASE64_STANDARD};
use futures_util::{StreamExt, stream};
use http::StatusCode;
use model::{RemoteName, SecretBytes};
use zeroize::Zeroizing;

use super::{
    adapter::AwsSm,
    api::Operation,
    faults::{self, Refusal},
    wire::{Batch, BatchGetSecretValue, SecretId, SecretValue},
};
use crate::{Encoding, Fault, Held};

/// So many secrets BatchGetSecretValue takes (destinations.md 1.3).
const BATCH: usize = 20;
/// How many reads are under way at the same time.
const AT_ONCE: usize = 4;

impl AwsSm {
    /// The values of secrets, twenty per call. One answer per name, in order.
    pub(super) async fn read(&self, names: &[RemoteName]) -> Vec<Result<Held, Fault>> {
        let batches: Vec<_> = names.chunks(BATCH).map(|names| self.read_batch(names)).collect();
        let answers: Vec<Vec<_>> = stream::iter(batches).buffered(AT_ONCE).collect().await;
        answers.into_iter().flatten().collect()
    }

    async fn read_batch(&self, names: &[RemoteName]) -> Vec<Result<Held, Fault>> {
        let batch = match names {
            [one] => return vec![self.read_one(one).await],
            many => self.ask_for_many(many).await,
        };
        let mut batch = match batch {
            Ok(batch) => batch,
            Err(fault) => return names.iter().map(|_| Err(fault.clone())).collect(),
        };
        let mut answers = Vec::with_capacity(names.len());
        for name in names {
            let value = batch.secret_values.iter().position(|v| v.name.as_deref() == Some(name.as_str()));
            let error = batch.errors.iter().find(|e| e.secret_id.as_deref() == Some(name.as_str()));
            answers.push(match (value, error) {
                (Some(at), _) => held(batch.secret_values.swap_remove(at)),
                (None, Some(error)) => {
                    let code = error.error_code.as_deref();
                    unread(faults::of_service(Operation::Get, code, StatusCode::BAD_REQUEST))
                }
                // Neither is an answer, so it is no proof of absence either.
                (None, None) => self.read_one(name).await,
            });
        }
        answers
    }

    /// Many in one call. An empty batch where that cannot be had: each is then asked for by its name.
    async fn ask_for_many(&self, names: &[RemoteName]) -> Result<Batch, Fault> {
        let ids: Vec<&str> = names.iter().map(RemoteName::as_str).collect();
        let request = BatchGetSecretValue { secret_id_list: &ids };
        match self.api().await?.call(Operation::BatchGet, &request).await {
            Ok(batch) => Ok(batch),
            // Who may read each may still not read them in bulk; and stand-ins do not know it.
            Err(Refusal::Denied(_)) => Ok(Batch::default()),
            Err(refusal) => match refusal.fault() {
                fault if matches!(fault.code, "answer_too_large" | "refused") => Ok(Batch::default()),
                fault => Err(fault),
            },
        }
    }

    async fn read_one(&self, name: &RemoteName) -> Result<Held, Fault> {
        let request = SecretId { secret_id: name.as_str() };
        match self.api().await?.call(Operation::Get, &request).await {
            Ok(value) => held(value),
            Err(refusal) => unread(refusal),
        }
    }
}

fn unread(refusal: Refusal) -> Result<Held, Fault> {
    match refusal {
        // The state that refuses a read is being scheduled for deletion.
        Refusal::NotFound | Refusal::State(_) => Ok(Held::Nothing),
        refusal => Err(refusal.fault()),
    }
}

fn held(value: SecretValue) -> Result<Held, Fault> {
    let SecretValue { secret_string, secret_binary, .. } = value;
    if let Some(text) = secret_string {
        return Ok(Held::Value(text, Encoding::Text));
    }
    let Some(binary) = secret_binary else { return Ok(Held::Nothing) };
    // Opened to be taken out of its base64.
    let bytes = BASE64_STANDARD.decode(binary.expose()).map(Zeroizing::new).map_err(|_| {
        Fault::internal("answer_unreadable", "AWS answered with a binary value that is not base64")
    })?;
    Ok(Held::Value(SecretBytes::from(bytes), Encoding::Binary))
}
