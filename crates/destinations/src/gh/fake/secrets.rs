//! What the pretend GitHub does with secrets (destinations.md 4.1 and 4.2).

use std::collections::BTreeMap;

use base64::{Engine, prelude::BASE64_STANDARD};
use crypto_box::SecretKey;
use model::{SecretBytes, Timestamp};
use serde_json::{Value, json};

use super::{Route, Said, refusal};

/// What holds secrets, with a key of its own.
pub(super) struct Scope {
    key: SecretKey,
    key_id: String,
    most: usize,
    organization: bool,
    pub(super) secrets: BTreeMap<String, Stored>,
}

/// A secret, opened.
#[derive(Debug, Clone)]
pub struct Stored {
    /// What is in the box.
    pub value: SecretBytes,
    /// When it was made and last changed.
    pub created_at: Timestamp,
    /// See above.
    pub updated_at: Timestamp,
    /// Of an organization's secret: `all`, `private`, `selected`.
    pub visibility: Option<String>,
    /// The numbers of the selected repositories.
    pub repositories: Vec<u64>,
    sealed: Vec<u8>,
}

impl Stored {
    pub(super) fn planted(value: &str, now: Timestamp) -> Self {
        Self {
            value: value.into(),
            created_at: now,
            updated_at: now,
            visibility: None,
            repositories: Vec::new(),
            sealed: Vec::new(),
        }
    }
}

fn seconds(at: Timestamp) -> String {
    Timestamp::from_secs(at.as_secs()).to_string()
}

impl Scope {
    pub(super) fn new(path: &str, minted: u64) -> Self {
        let organization = path.starts_with("orgs/");
        let mut scope = Self {
            key: SecretKey::from_bytes([0; 32]),
            key_id: String::new(),
            most: if organization { 1000 } else { 100 },
            organization,
            secrets: BTreeMap::new(),
        };
        scope.rotate(path, minted);
        scope
    }

    /// Takes another key: pretend keys need no dice, only to differ.
    pub(super) fn rotate(&mut self, path: &str, minted: u64) {
        let seed = format!("{path} {minted}");
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, seed.as_bytes());
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest.as_ref());
        self.key = SecretKey::from_bytes(bytes);
        self.key_id = format!("{}{minted}", 5_680_460_000_u64);
    }

    pub(super) fn sealed(&self, name: &str) -> Option<(String, String)> {
        let sealed = &self.secrets.get(name)?.sealed;
        Some((BASE64_STANDARD.encode(self.key.to_bytes()), BASE64_STANDARD.encode(sealed)))
    }

    pub(super) fn open(&self, sealed: &[u8]) -> Option<SecretBytes> {
        self.key.unseal(sealed).ok().map(SecretBytes::new)
    }

    pub(super) fn call(&mut self, route: &Route, body: &[u8], now: Timestamp) -> Said {
        // Names are kept in upper case, whatever they are asked for by.
        let name = route.name.to_ascii_uppercase();
        match route.operation {
            "key" => {
                let key = BASE64_STANDARD.encode(self.key.public_key().as_bytes());
                (200, Some(json!({"key_id": self.key_id, "key": key})))
            }
            "list" => (200, Some(self.list(&route.query))),
            "look" => match self.secrets.get(&name) {
                Some(secret) => (200, Some(shown(&name, secret))),
                None => refusal(404, "Not Found"),
            },
            "write" => self.write(&name, body, now),
            "remove" => match self.secrets.remove(&name) {
                Some(_) => (204, None),
                None => refusal(404, "Not Found"),
            },
            _ => refusal(404, "Not Found"),
        }
    }

    fn list(&self, query: &BTreeMap<String, String>) -> Value {
        let number = |name: &str| query.get(name).and_then(|text| text.parse::<usize>().ok());
        let per_page = number("per_page").unwrap_or(30).clamp(1, 100);
        let page = number("page").unwrap_or(1).max(1);
        let secrets: Vec<Value> = self
            .secrets
            .iter()
            .skip((page - 1) * per_page)
            .take(per_page)
            .map(|(name, secret)| shown(name, secret))
            .collect();
        json!({"total_count": self.secrets.len(), "secrets": secrets})
    }

    fn write(&mut self, name: &str, body: &[u8], now: Timestamp) -> Said {
        let legal = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !legal || name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            return refusal(422, "Secret names can only contain alphanumeric characters and underscores");
        }
        if name.starts_with("GITHUB_") {
            return refusal(422, "Secret names must not start with GITHUB_");
        }
        let Ok(body) = serde_json::from_slice::<Value>(body) else {
            return refusal(400, "Problems parsing JSON");
        };
        let Some(sealed) =
            body["encrypted_value"].as_str().and_then(|text| BASE64_STANDARD.decode(text).ok())
        else {
            return refusal(422, "Invalid request. encrypted_value does not match the pattern of base64");
        };
        let visibility = body["visibility"].as_str();
        if self.organization != visibility.is_some()
            || visibility.is_some_and(|word| !["all", "private", "selected"].contains(&word))
        {
            return refusal(422, "Invalid request. visibility is not one of all, private, selected");
        }
        let box_opens = body["key_id"].as_str() == Some(self.key_id.as_str());
        let Some(value) = box_opens.then(|| self.key.unseal(&sealed).ok()).flatten() else {
            return refusal(422, "Bad request - improperly encrypted secret");
        };
        if value.len() > 48 * 1024 {
            return refusal(422, "The value is too large");
        }
        let before = self.secrets.get(name);
        if before.is_none() && self.secrets.len() >= self.most {
            return refusal(422, "The limit of secrets is reached");
        }
        let numbers = body["selected_repository_ids"].as_array().into_iter().flatten();
        let stored = Stored {
            value: SecretBytes::new(value),
            created_at: before.map_or(now, |before| before.created_at),
            updated_at: now,
            visibility: visibility.map(ToOwned::to_owned),
            repositories: numbers.filter_map(Value::as_u64).collect(),
            sealed,
        };
        let status = if before.is_some() { 204 } else { 201 };
        self.secrets.insert(name.to_owned(), stored);
        (status, (status == 201).then(|| json!({})))
    }
}

fn shown(name: &str, secret: &Stored) -> Value {
    let mut shown = json!({
        "name": name, "created_at": seconds(secret.created_at), "updated_at": seconds(secret.updated_at)
    });
    if let Some(visibility) = &secret.visibility {
        shown["visibility"] = json!(visibility);
    }
    shown
}
