use model::SecretBytes;

use super::{ConfigError, Host, point};
use crate::crypto::{Key, PublicKey, from_base64};

/// A one-time token: it binds one client to an application, once.
#[derive(Debug, Clone)]
pub struct OneTimeToken {
    pub(crate) host: Host,
    pub(crate) key: Key,
    pub(crate) server_key_id: Option<String>,
    pub(crate) server_key: Option<PublicKey>,
}

impl OneTimeToken {
    /// Reads a token: `REGION:KEY`, `host:KEY`, `host:port:KEY`, `IL5:KEY:serverKeyId:serverPublicKey`,
    /// or `KEY` alone, for which `host` must be given. A host inside the token wins over `host`.
    ///
    /// (`host:port:KEY` is ours: the official clients cannot write a port into a token.)
    pub fn parse(token: &SecretBytes, host: Option<&Host>) -> Result<Self, ConfigError> {
        // Opened to be taken apart; nothing of it is repeated.
        let text = token.expose_text().map_err(|_| ConfigError::Token("it is not text"))?.trim();
        let parts: Vec<&str> = text.split(':').collect();
        match parts.as_slice() {
            [key] => {
                let host = host.cloned().ok_or(ConfigError::Token(
                    "it names no region: write REGION:KEY, or give the host separately",
                ))?;
                Self::from_parts(host, key, None, None)
            }
            [host, key] => Self::from_parts(Host::parse(host)?, key, None, None),
            [region, key, id, server_key] if Host::is_region(region) => {
                if id.is_empty() || server_key.is_empty() {
                    return Err(ConfigError::Token("its server key id and server key must not be empty"));
                }
                let server_key = point("serverPublicKey", server_key).map_err(|_| {
                    ConfigError::Token("its last part is not a server public key (base64 of 65 bytes)")
                })?;
                Self::from_parts(Host::parse(region)?, key, Some((*id).to_owned()), Some(server_key))
            }
            [host, port, key] if !Host::is_region(host) => {
                Self::from_parts(Host::parse(&format!("{host}:{port}"))?, key, None, None)
            }
            _ => Err(ConfigError::Token(
                "want KEY, REGION:KEY, host:port:KEY or IL5:KEY:serverKeyId:serverPublicKey",
            )),
        }
    }

    pub(crate) fn from_parts(
        host: Host,
        key: &str,
        server_key_id: Option<String>,
        server_key: Option<PublicKey>,
    ) -> Result<Self, ConfigError> {
        let bytes = from_base64(key)
            .map(zeroize::Zeroizing::new)
            .ok_or(ConfigError::Token("its key is not base64: copy the whole token"))?;
        let key = Key::from_bytes(&bytes)
            .map_err(|_| ConfigError::Token("its key is not 32 bytes long: copy the whole token"))?;
        Ok(Self { host, key, server_key_id, server_key })
    }

    /// The host it is for.
    pub const fn host(&self) -> &Host {
        &self.host
    }

    /// The name of the client it binds, as [`super::Config::client_id`] tells it afterwards.
    pub fn client_id(&self) -> String {
        crate::crypto::client_id(&self.key)
    }

    /// Uses another host (`KSM_HOSTNAME`).
    #[must_use]
    pub fn with_host(mut self, host: Host) -> Self {
        self.host = host;
        self
    }

    /// Uses a server key of one's own, as [`super::Config::with_server_key`] does.
    pub fn with_server_key(mut self, key: &str) -> Result<Self, ConfigError> {
        self.server_key = Some(point("serverPublicKey", key)?);
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::to_base64_url;

    const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

    fn read(text: &str, host: Option<&str>) -> Result<OneTimeToken, ConfigError> {
        let host = host.map(|h| Host::parse(h).unwrap());
        OneTimeToken::parse(&SecretBytes::from(text), host.as_ref())
    }

    #[test]
    fn every_form_of_a_token_is_read() {
        for (text, host, want) in [
            (format!("US:{KEY}"), None, "keepersecurity.com"),
            (format!("jp:{KEY}="), None, "keepersecurity.jp"),
            (format!("ksm.example.com:{KEY}"), Some("EU"), "ksm.example.com"),
            (format!("localhost:8443:{KEY}"), None, "localhost:8443"),
            (format!(" {KEY}\n"), Some("localhost:1"), "localhost:1"),
        ] {
            let token = read(&text, host).unwrap();
            assert_eq!(token.host.to_string(), want);
            assert_eq!(token.key.expose()[..3], [0, 1, 2]);
        }
        let mut point = [9; 65];
        point[0] = 4;
        let token = read(&format!("IL5:{KEY}:20:{}", to_base64_url(&point)), None).unwrap();
        assert_eq!(token.server_key_id.as_deref(), Some("20"));
        assert!(token.server_key.is_some());
        assert_eq!(token.host.to_string(), "il5.keepersecurity.us");
    }

    #[test]
    fn a_bad_token_is_explained_and_not_repeated() {
        let cut = &KEY[..20];
        for (text, host) in [
            (KEY.to_owned(), None),
            (format!("US:{cut}"), None),
            ("US:!!!".to_owned(), None),
            (format!("IL5:{KEY}:20"), None),
            (format!("IL5:{KEY}::x"), None),
            (format!("IL5:{KEY}:20:AAAA"), None),
            (format!("a:b:{KEY}:d:e"), None),
            (String::new(), Some("US")),
        ] {
            let error = read(&text, host).unwrap_err();
            assert!(!error.to_string().contains(cut), "{error}");
        }
        let token = read(&format!("US:{KEY}"), None).unwrap();
        assert!(!format!("{token:?}").contains(KEY));
    }
}
