//! Audit devices: what was asked and what was answered, one JSON line each, in Vault's words
//! (kv-v2-api.md 10).
//!
//! Devices are declared in the server's configuration and nowhere else: whoever can make the server write a
//! file of their choice can run code on its machine. A request of which no device could take a line is not
//! carried out; an answer of which none could is not given.

mod api;
mod conceal;
mod entry;
mod trail;

use std::{collections::BTreeMap, sync::Arc};

use base64::{Engine as _, prelude::BASE64_STANDARD_NO_PAD};
use model::Entropy;
use store::{Store, StoreError};

use super::{App, AppError, entries::Table};
use crate::lines::Sink;
pub(super) use api::{chains, handle, hash};
pub(crate) use conceal::Salt;
pub(crate) use trail::Trail;

/// A declared device.
pub struct Device {
    /// Its name in `sys/audit`, ending in `/`. Its salt goes with it.
    pub path: String,
    /// `file` or `stdout`.
    pub kind: &'static str,
    /// Free text.
    pub description: String,
    /// How it was declared, as `sys/audit` shows it.
    pub options: BTreeMap<String, String>,
    /// Accessors are hashed, as tokens always are.
    pub hmac_accessor: bool,
    /// Of lists, only their lengths are written.
    pub elide_lists: bool,
    /// The request headers whose values are written, in lower case.
    pub headers: Vec<String>,
    /// Where its lines go.
    pub sink: Arc<dyn Sink>,
}

/// The devices of one open store.
#[derive(Default)]
pub struct Audit {
    devices: Vec<Salted>,
    /// The headers that any of them wants.
    headers: Arc<[String]>,
}

struct Salted {
    device: Arc<Device>,
    salt: Salt,
}

/// The salts of all devices there have been, by path.
fn salts(store: &Store) -> Table<'_, String> {
    Table::new(store, "audit", "salt")
}

impl Audit {
    /// Makes devices ready to write: reads the salts under which they hash from the store, or makes them.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub async fn open(
        store: &Store,
        entropy: &dyn Entropy,
        devices: &[Arc<Device>],
    ) -> Result<Self, StoreError> {
        let mut salted = Vec::with_capacity(devices.len());
        for device in devices {
            let salt = salt_of(store, entropy, &device.path).await?;
            salted.push(Salted { device: Arc::clone(device), salt: Salt::new(salt.as_bytes()) });
        }
        let mut headers: Vec<String> =
            devices.iter().flat_map(|device| device.headers.iter().cloned()).collect();
        headers.sort();
        headers.dedup();
        Ok(Self { devices: salted, headers: headers.into() })
    }

    /// The headers of a request that it is to be handed with, in lower case.
    pub(crate) fn headers(&self) -> &Arc<[String]> {
        &self.headers
    }

    /// Hands each device its line. One that took it is enough.
    fn write(&self, mut line: impl FnMut(&Salted, usize) -> Vec<u8>) -> Result<(), AppError> {
        let mut taken = self.devices.is_empty();
        for (at, salted) in self.devices.iter().enumerate() {
            let mut text = line(salted, at);
            text.push(b'\n');
            match salted.device.sink.append(&text) {
                Ok(()) => taken = true,
                Err(error) => {
                    tracing::error!(device = salted.device.path, %error, "an audit line could not be written");
                }
            }
        }
        if taken { Ok(()) } else { Err(AppError::Internal("no audit device could take its line".to_owned())) }
    }
}

/// A device's salt, made when it is first asked for.
async fn salt_of(store: &Store, entropy: &dyn Entropy, path: &str) -> Result<String, StoreError> {
    let salts = salts(store);
    loop {
        if let Some(kept) = salts.get(path).await? {
            return Ok(kept.value);
        }
        let mut salt = [0; 32];
        entropy.fill(&mut salt);
        let mut transaction = store.transaction();
        transaction.expect_absent(&salts.key(path));
        salts.put(&mut transaction, path, &BASE64_STANDARD_NO_PAD.encode(salt))?;
        match transaction.commit().await {
            // Read again, so that what is used is what is kept.
            Ok(_) | Err(StoreError::Conflict) => {}
            Err(error) => return Err(error),
        }
    }
}

impl App {
    /// With audit devices.
    #[must_use]
    pub fn with_audit(mut self, audit: Audit) -> Self {
        self.audit = audit;
        self
    }
}
