//! A root key kept by AWS KMS. Sits where both the store and AWS can be seen: neither knows of the other.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use destinations::{Fault, aws::KmsKey};
use model::{Entropy, SecretBytes};
use store::{AutoUnseal, RootKey};

/// What a wrapped key begins with, before its id and what KMS made of it.
const FORMAT: u8 = 1;
const ID: usize = 16;

/// Keeps root keys under a key of AWS KMS.
pub struct AwsKms {
    key: KmsKey,
    entropy: Arc<dyn Entropy>,
}

impl AwsKms {
    /// Makes no call.
    pub fn new(key: KmsKey, entropy: Arc<dyn Entropy>) -> Self {
        Self { key, entropy }
    }
}

/// What KMS binds a wrapped key to: its purpose, and an id that is made with it and kept beside it. So what was
/// wrapped for one store does not open another, and AWS's log tells which store asked.
fn context(id: &[u8]) -> BTreeMap<&'static str, String> {
    BTreeMap::from([("keyferry", "root key".to_owned()), ("keyferry-store", hex::encode(id))])
}

/// Our words; the fault holds nothing of what AWS said.
fn words(fault: &Fault) -> String {
    format!("AWS KMS: {} ({})", fault.message, fault.code)
}

#[async_trait]
impl AutoUnseal for AwsKms {
    fn kind(&self) -> &'static str {
        "awskms"
    }

    async fn wrap(&self, root: &RootKey) -> Result<Vec<u8>, String> {
        let mut id = [0; ID];
        self.entropy.fill(&mut id);
        // EXPOSE: to have it wrapped.
        let plain = SecretBytes::from(root.expose());
        let wrapped = self.key.encrypt(&plain, &context(&id)).await.map_err(|fault| words(&fault))?;
        Ok([&[FORMAT], id.as_slice(), &wrapped].concat())
    }

    async fn unwrap(&self, wrapped: &[u8]) -> Result<RootKey, String> {
        let unknown = || "the wrapped root key is not of a form this version knows".to_owned();
        let Some((&FORMAT, rest)) = wrapped.split_first() else { return Err(unknown()) };
        let (id, sealed) = rest.split_first_chunk::<ID>().ok_or_else(unknown)?;
        let root = self.key.decrypt(sealed, &context(id)).await.map_err(|fault| words(&fault))?;
        RootKey::from_bytes(root).ok_or_else(|| "AWS KMS: what it unwrapped is no root key".to_owned())
    }
}
