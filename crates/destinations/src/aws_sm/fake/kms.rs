//! As much of KMS as keeps one secret: what is encrypted is the plaintext under the name of its key and its
//! context, turned over. It hides nothing and is told apart from what was changed.

use std::collections::BTreeMap;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use super::super::sign::sha256_hex;

/// The keys there are, and what is wrong with each: a code of AWS's, or nothing.
#[derive(Default)]
pub(super) struct Kms {
    pub(super) keys: BTreeMap<String, Option<String>>,
}

impl Kms {
    /// `None`: not an operation of KMS.
    pub(super) fn call(&self, operation: &str, request: &Value) -> Option<Result<Value, String>> {
        let text = |name: &str| request[name].as_str().unwrap_or_default().to_owned();
        let key = text("KeyId");
        let usable = || match self.keys.get(&key) {
            None => Err("NotFoundException".to_owned()),
            Some(Some(wrong)) => Err(wrong.clone()),
            Some(None) => Ok(()),
        };
        let bound = sha256_hex(format!("{key} {}", request["EncryptionContext"]).as_bytes());
        let invalid = || "InvalidCiphertextException".to_owned();
        Some(match operation {
            "Encrypt" => usable().and_then(|()| {
                let plain = BASE64_STANDARD.decode(text("Plaintext")).map_err(|_| "ValidationException")?;
                let turned: Vec<u8> = plain.iter().map(|byte| !byte).collect();
                let check = sha256_hex(&[bound.as_bytes(), turned.as_slice()].concat());
                let blob = [check.as_bytes(), turned.as_slice()].concat();
                Ok(json!({ "CiphertextBlob": BASE64_STANDARD.encode(blob), "KeyId": key }))
            }),
            "Decrypt" => usable().and_then(|()| {
                let blob = BASE64_STANDARD.decode(text("CiphertextBlob")).map_err(|_| invalid())?;
                let (check, turned) = blob.split_at_checked(64).ok_or_else(invalid)?;
                if check != sha256_hex(&[bound.as_bytes(), turned].concat()).as_bytes() {
                    return Err(invalid());
                }
                let plain: Vec<u8> = turned.iter().map(|byte| !byte).collect();
                Ok(json!({ "Plaintext": BASE64_STANDARD.encode(plain), "KeyId": key }))
            }),
            _ => return None,
        })
    }
}
