use std::fmt;

use url::Url;

use super::ConfigError;

/// The regions by the names tokens give them (keeper.md 3.1).
const REGIONS: &[(&str, &str)] = &[
    ("US", "keepersecurity.com"),
    ("EU", "keepersecurity.eu"),
    ("AU", "keepersecurity.com.au"),
    ("GOV", "govcloud.keepersecurity.us"),
    ("JP", "keepersecurity.jp"),
    ("CA", "keepersecurity.ca"),
    ("IL5", "il5.keepersecurity.us"),
];

/// Where a vault answers: a host name and perhaps a port. Always spoken to by HTTPS.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Host(String);

impl Host {
    /// Reads a region (in any case), a host name, `host:port`, or an `https://` URL without a path.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let text = text.trim();
        if let Some((_, host)) = REGIONS.iter().find(|(region, _)| region.eq_ignore_ascii_case(text)) {
            return Ok(Self((*host).to_owned()));
        }
        let bare = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or(text);
        let url = Url::parse(&format!("https://{bare}")).map_err(|_| ConfigError::Host)?;
        let plain = url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none();
        let host = url.host_str().filter(|host| plain && !host.is_empty()).ok_or(ConfigError::Host)?;
        Ok(Self(url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))))
    }

    /// Whether a text is the name of a region.
    pub(super) fn is_region(text: &str) -> bool {
        REGIONS.iter().any(|(region, _)| region.eq_ignore_ascii_case(text))
    }
}

/// The US region, as the official clients choose when nobody says.
impl Default for Host {
    fn default() -> Self {
        Self(REGIONS[0].1.to_owned())
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_hosts_ports_and_urls_are_read() {
        for (text, host) in [
            ("US", "keepersecurity.com"),
            ("jp", "keepersecurity.jp"),
            ("IL5", "il5.keepersecurity.us"),
            ("Keeper.Example.COM", "keeper.example.com"),
            ("localhost:8443", "localhost:8443"),
            ("127.0.0.1:8443", "127.0.0.1:8443"),
            ("[::1]:8443", "[::1]:8443"),
            ("https://keepersecurity.eu", "keepersecurity.eu"),
            ("https://keepersecurity.eu:443/", "keepersecurity.eu"),
            ("http://localhost:1", "localhost:1"),
            (" EU ", "keepersecurity.eu"),
        ] {
            assert_eq!(Host::parse(text).unwrap().to_string(), host, "{text}");
        }
        for text in
            ["", "a b", "host/path", "user@host", "u:p@host", "host?q", "host#f", "host:99999", "https://"]
        {
            assert_eq!(Host::parse(text), Err(ConfigError::Host), "{text}");
        }
    }
}
