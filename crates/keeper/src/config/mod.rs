//! What a client needs to reach its vault, and the places it is kept in (keeper.md 3.1 to 3.4).
//!
//! A [`Config`] is one client's identity after binding. It is read from and written to JSON, base64
//! of that JSON (`KSM_CONFIG`, `profile export`), and a section of `keeper.ini` ([`KeeperIni`]), each
//! so that the official tools can read it and the other way round. An [`OneTimeToken`] becomes a
//! configuration by binding it ([`crate::Client::bind`]).

mod find;
mod host;
mod ini;
mod token;

pub use find::{Located, Lookup, default_ini, locate};
pub use host::Host;
pub(crate) use ini::write_private;
pub use ini::{AwsProfile, KeeperIni, Profile, TooOpen};
pub use token::OneTimeToken;

use model::SecretBytes;
use zeroize::Zeroizing;

use crate::{
    crypto::{Key, MarkKey, PrivateKey, PublicKey, from_base64, to_base64, to_base64_url},
    json::{Json, Style},
};

/// A configuration, token or profile that cannot be used. Names the key or the rule, never a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Neither JSON nor base64 of JSON.
    #[error(
        "the configuration is neither a JSON object nor base64 of one: export it anew with `profile export --file-format json`"
    )]
    NotJson,
    /// A key is missing.
    #[error("the configuration lacks `{0}`: bind a new one-time token")]
    Missing(&'static str),
    /// A key's value is of no use.
    #[error(
        "`{key}` in the configuration is {problem}: the configuration is damaged, bind a new one-time token"
    )]
    Bad {
        /// The key.
        key: &'static str,
        /// What it should be.
        problem: &'static str,
    },
    /// The host name is none.
    #[error("not a Keeper host: want a region (US, EU, AU, GOV, JP, CA, IL5), a host name or host:port")]
    Host,
    /// The one-time token is none.
    #[error("not a one-time token: {0}")]
    Token(&'static str),
    /// The INI file breaks a rule of the format.
    #[error("keeper.ini line {line}: {problem}")]
    Ini {
        /// From 1.
        line: usize,
        /// What is wrong.
        problem: &'static str,
    },
    /// No profile of that name.
    #[error("there is no such profile: `profile list` names the ones there are")]
    NoProfile,
    /// A profile name that breaks the rule.
    #[error("a profile name is 1 to 64 letters, digits, '-' and '_', and not `_config`")]
    ProfileName,
    /// The profile is kept in a store this program does not know.
    #[error("the profile's `storage` is unknown: want internal or aws")]
    Storage,
    /// The file cannot be read or written.
    #[error("the configuration file cannot be {action}: {kind}")]
    File {
        /// `read` or `written`.
        action: &'static str,
        /// The operating system's reason.
        kind: std::io::ErrorKind,
    },
}

/// One client's identity, bound to an application.
#[derive(Clone)]
pub struct Config {
    pub(crate) host: Host,
    pub(crate) client_id: String,
    pub(crate) private_key: SecretBytes,
    pub(crate) app_key: Key,
    pub(crate) owner_key: Option<PublicKey>,
    pub(crate) server_key_id: Option<String>,
    pub(crate) server_key: Option<PublicKey>,
}

/// Shows the host only.
impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Config({})", self.host)
    }
}

/// A configuration as it was found: bound, or waiting to be.
#[derive(Debug, Clone)]
pub enum StoredConfig {
    /// Ready for use.
    Bound(Config),
    /// Only a token was kept so far.
    Unbound(OneTimeToken),
}

/// The keys of a configuration, by name in JSON and INI.
pub(crate) trait Source {
    fn get(&self, key: &'static str) -> Option<&str>;
}

impl Config {
    /// The host it talks to.
    pub const fn host(&self) -> &Host {
        &self.host
    }

    /// Uses another host (`KSM_HOSTNAME`).
    #[must_use]
    pub fn with_host(mut self, host: Host) -> Self {
        self.host = host;
        self
    }

    /// The client's public name.
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// The key of the marks this application leaves on what it writes elsewhere. All devices of one
    /// application have the same, so each knows what another wrote.
    pub fn mark_key(&self) -> MarkKey {
        MarkKey::derive(&self.app_key)
    }

    /// The id of the server key that was last in use.
    pub fn server_key_id(&self) -> Option<&str> {
        self.server_key_id.as_deref()
    }

    /// Keeps the id of the server key in use ([`crate::Client::server_key_id`]).
    #[must_use]
    pub fn with_server_key_id(mut self, id: impl Into<String>) -> Self {
        self.server_key_id = Some(id.into());
        self
    }

    /// Uses a server key of one's own, for installations whose key is not one of the published ones:
    /// url-safe base64 of 65 bytes.
    pub fn with_server_key(mut self, key: &str) -> Result<Self, ConfigError> {
        self.server_key = Some(point("serverPublicKey", key)?);
        Ok(self)
    }

    /// The JSON form, as `profile export --file-format json --plain` writes it.
    pub fn to_json(&self) -> SecretBytes {
        let mut json = Json::object([]);
        for (key, value) in self.entries() {
            json.set(key, value.map_or(Json::Null, Json::Text));
        }
        json.write(Style::PythonIndented(4))
    }

    /// Url-safe base64 of [`Self::to_json`], for `KSM_CONFIG`.
    pub fn to_base64(&self) -> SecretBytes {
        use base64::Engine as _;
        // Opened to be encoded; the text is as secret as the bytes.
        SecretBytes::from(base64::engine::general_purpose::URL_SAFE.encode(self.to_json().expose()))
    }

    /// Every key with its value, in the order of the official export.
    fn entries(&self) -> Vec<(&'static str, Option<Zeroizing<String>>)> {
        let open = |text: String| Some(Zeroizing::new(text));
        let mut entries = vec![
            ("clientId", open(self.client_id.clone())),
            // Opened to be written into the configuration, which is where it lives.
            ("privateKey", open(to_base64(self.private_key.expose()))),
            ("appKey", open(to_base64(self.app_key.expose()))),
            ("hostname", open(self.host.to_string())),
            ("serverPublicKeyId", self.server_key_id.clone().and_then(open)),
            ("appOwnerPublicKey", self.owner_key.as_ref().and_then(|key| open(to_base64(key.as_bytes())))),
        ];
        if let Some(key) = &self.server_key {
            entries.push(("serverPublicKey", open(to_base64_url(key.as_bytes()))));
        }
        entries
    }

    fn from_source(source: &dyn Source) -> Result<StoredConfig, ConfigError> {
        let host = source.get("hostname").map_or_else(|| Ok(Host::default()), Host::parse)?;
        let server_key_id = source.get("serverPublicKeyId").map(str::to_owned);
        let server_key =
            source.get("serverPublicKey").map(|key| point("serverPublicKey", key)).transpose()?;
        let Some(app_key) = source.get("appKey") else {
            let token = source.get("clientKey").ok_or(ConfigError::Missing("appKey"))?;
            let token = OneTimeToken::from_parts(host, token, server_key_id, server_key)?;
            return Ok(StoredConfig::Unbound(token));
        };
        let app_key = Zeroizing::new(decoded("appKey", app_key)?);
        let app_key = Key::from_bytes(&app_key)
            .map_err(|_| ConfigError::Bad { key: "appKey", problem: "not 32 bytes" })?;
        let private_key = source.get("privateKey").ok_or(ConfigError::Missing("privateKey"))?;
        let private_key = SecretBytes::new(decoded("privateKey", private_key)?);
        // Opened to be checked.
        PrivateKey::from_pkcs8(private_key.expose())
            .map_err(|_| ConfigError::Bad { key: "privateKey", problem: "not a PKCS#8 P-256 key" })?;
        let client_id = source.get("clientId").ok_or(ConfigError::Missing("clientId"))?;
        Ok(StoredConfig::Bound(Self {
            host,
            client_id: to_base64(&decoded("clientId", client_id)?),
            private_key,
            app_key,
            owner_key: source
                .get("appOwnerPublicKey")
                .map(|key| point("appOwnerPublicKey", key))
                .transpose()?,
            server_key_id,
            server_key,
        }))
    }
}

impl StoredConfig {
    /// Reads the JSON form or base64 of it (any alphabet, padded or not), white space around it
    /// allowed.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let text = text.trim();
        if text.starts_with('{') {
            return Self::from_json(text);
        }
        let decoded = from_base64(text).map(String::from_utf8).and_then(Result::ok).map(Zeroizing::new);
        Self::from_json(decoded.ok_or(ConfigError::NotJson)?.trim())
    }

    fn from_json(text: &str) -> Result<Self, ConfigError> {
        let json = Json::parse(text).map_err(|_| ConfigError::NotJson)?;
        if json.as_object().is_none() {
            return Err(ConfigError::NotJson);
        }
        Config::from_source(&json)
    }
}

impl Source for Json {
    fn get(&self, key: &'static str) -> Option<&str> {
        Self::get(self, key)?.as_text().filter(|text| !text.is_empty())
    }
}

/// The bytes of base64 in any alphabet, padded or not.
pub fn decode_base64(text: &str) -> Option<Vec<u8>> {
    from_base64(text)
}

fn decoded(key: &'static str, text: &str) -> Result<Vec<u8>, ConfigError> {
    from_base64(text).ok_or(ConfigError::Bad { key, problem: "not base64" })
}

fn point(key: &'static str, text: &str) -> Result<PublicKey, ConfigError> {
    PublicKey::from_bytes(&decoded(key, text)?)
        .map_err(|_| ConfigError::Bad { key, problem: "not a P-256 point of 65 bytes" })
}
