//! The client: fetching what an application may see, and changing it.
//!
//! A run makes one full fetch or one filtered fetch ([`Client::fetch_for`]) and evaluates every
//! notation against it. Connections are kept and shared; a client may be used from many tasks.

mod answer;
mod cache;
mod files;
mod folders;
mod guard;
mod read;
mod server_keys;
mod transport;
mod write;

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use model::{Clock, Entropy, SecretBytes};

pub use files::Upload;
pub use folders::{Folder, Folders};
pub use guard::{Guard, NoAddress};
pub use transport::{TokioWait, Wait};
pub use write::{Deleted, Transaction};

use crate::{
    Error,
    config::{Config, OneTimeToken},
    crypto::{PrivateKey, client_id},
};
use transport::{Repeat, Transport};

/// Opens an answer, and walks through what came of it.
#[cfg(feature = "fuzzing")]
pub(crate) fn fuzzed(answer: &[u8], app_key: &crate::crypto::Key) {
    if let Ok(vault) = answer::vault(answer, app_key, crate::Scope::All) {
        for record in vault.records() {
            let _ = (record.title(), record.kind(), record.notes(), record.files(), record.links().count());
        }
    }
}

/// What a client takes from the outside.
#[derive(Clone)]
pub struct Around {
    /// Keys and nonces.
    pub entropy: Arc<dyn Entropy>,
    /// The date of uploaded files.
    pub clock: Arc<dyn Clock>,
    /// Waiting between attempts.
    pub wait: Arc<dyn Wait>,
    /// Which addresses may be connected to; `None`: all of them.
    pub guard: Option<Arc<dyn Guard>>,
}

impl fmt::Debug for Around {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Around(..)")
    }
}

/// How a client connects.
#[derive(Debug, Clone)]
pub struct Options {
    /// Longest time until a connection stands.
    pub connect_timeout: Duration,
    /// Longest time for one attempt, connecting and reading included.
    pub request_timeout: Duration,
    /// Certificates (PEM) that are trusted beside the system's.
    pub extra_ca: Option<Vec<u8>>,
    /// Whether certificates are checked (`KSM_SKIP_VERIFY` turns it off).
    pub verify: bool,
    /// The URL of a proxy.
    pub proxy: Option<SecretBytes>,
    /// What we tell Keeper we are. Keeper refuses what is not registered with it, so this is the
    /// version of an official client (keeper.md 3.6).
    pub client_version: String,
    /// Server keys beside the published ones: id and base64 of 65 bytes.
    pub server_keys: Vec<(String, String)>,
    /// Where the last answer with records is kept, to be used when Keeper cannot be reached. None keeps none.
    /// A record that a kept answer does not hold is unknown, not absent.
    pub cache: Option<PathBuf>,
    /// Largest answer or file that is taken, in bytes.
    pub largest_answer: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_mins(1),
            extra_ca: None,
            verify: true,
            proxy: None,
            client_version: "mp17.3.0".to_owned(),
            server_keys: Vec::new(),
            cache: None,
            largest_answer: 256 << 20,
        }
    }
}

/// One application's access to its vault.
pub struct Client {
    config: Config,
    transport: Transport,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({})", self.config.host())
    }
}

impl Client {
    /// A client of a bound configuration. No call is made.
    pub fn new(config: Config, options: Options, around: Around) -> Result<Self, Error> {
        let transport = Transport::new(&config, options, around)?;
        Ok(Self { config, transport })
    }

    /// The configuration it was made of.
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// The id of the server key in use. It changes when Keeper asks for another one; keeping it
    /// ([`Config::with_server_key_id`]) saves the next run that round trip.
    pub fn server_key_id(&self) -> String {
        self.transport.key_id()
    }

    /// Uses up a one-time token and makes the configuration it stands for. A token works once: make
    /// sure that the configuration can be kept before calling.
    ///
    /// A first [`Client::fetch`] with the result shows that it works.
    ///
    /// # Errors
    /// [`Error::AccessDenied`] for a token that was used, is unknown or has expired. After a broken
    /// connection the token may or may not be used up.
    pub async fn bind(token: &OneTimeToken, options: Options, around: Around) -> Result<Config, Error> {
        // Asks for no record that exists: binding needs no content.
        const NO_RECORD: &str = "AAAAAAAAAAAAAAAAAAAAAA";
        let (_, private_key) = PrivateKey::random(&*around.entropy)?;
        let mut config = Config {
            host: token.host.clone(),
            client_id: client_id(&token.key),
            private_key,
            app_key: token.key.clone(),
            owner_key: None,
            server_key_id: token.server_key_id.clone(),
            server_key: token.server_key.clone(),
        };
        let transport = Transport::new(&config, options, around)?;
        let request = read::GetSecret {
            client_version: &transport.options.client_version,
            client_id: &config.client_id,
            public_key: Some(transport.public_key()),
            requested_records: Some(&[NO_RECORD.to_owned()]),
            request_links: None,
        };
        let answer =
            transport.post("get_secret", transport::payload(&request)?.expose(), Repeat::Unsafe).await?;
        let keys = answer::Binding::read(&answer, &token.key)?;
        config.app_key = keys.app_key;
        config.owner_key = keys.owner_key;
        config.server_key_id = Some(transport.key_id());
        Ok(config)
    }
}
