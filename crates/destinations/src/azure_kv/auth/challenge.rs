//! What a vault says when it lets a call not in: `WWW-Authenticate` (destinations.md 2.3).

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use http::{HeaderMap, header};
use serde::de::IgnoredAny;

use super::super::cloud::is_below;

/// Longest claims that are passed on to the authority.
const MAX_CLAIMS: usize = 8 << 10;

/// A vault's challenge, as far as it is of use.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Challenge {
    /// The tenant of the authority it names. The authority itself is never taken from here: whoever
    /// answers for a vault must not choose where credentials are sent.
    pub(crate) tenant: Option<String>,
    /// What the token must be for: `https://vault.azure.net`.
    pub(crate) resource: Option<String>,
    /// Claims the next token must be asked with (continuous access evaluation), as JSON text.
    pub(crate) claims: Option<String>,
}

impl Challenge {
    /// Of an answer with status 401.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut challenge = Self::default();
        for value in headers.get_all(header::WWW_AUTHENTICATE) {
            if let Some(parameters) = value.to_str().ok().and_then(bearer) {
                challenge.read(parameters);
            }
        }
        challenge
    }

    fn read(&mut self, parameters: &str) {
        let (mut insufficient, mut claims) = (false, None);
        for (key, value) in Parameters(parameters) {
            match key.to_ascii_lowercase().as_str() {
                "authorization" | "authorization_uri" => {
                    self.tenant = tenant_of(value).or_else(|| self.tenant.take());
                }
                "resource" => self.resource = Some(value.trim_end_matches('/').to_owned()),
                "scope" => {
                    let resource = value.strip_suffix("/.default").unwrap_or(value);
                    self.resource.get_or_insert_with(|| resource.trim_end_matches('/').to_owned());
                }
                "error" => insufficient = value == "insufficient_claims",
                "claims" => claims = decoded(value),
                _ => {}
            }
        }
        if insufficient {
            self.claims = claims;
        }
    }
}

/// Whether a token for this resource may be sent to this host: the resource's domain must be the one the
/// host is in, which is the rule of Azure's own clients.
pub(crate) fn may_be_sent(resource: &str, host: &str) -> bool {
    let Some(domain) = resource.strip_prefix("https://") else { return false };
    domain.contains('.')
        && domain.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-'))
        && is_below(host, domain)
}

/// What stands after the scheme, if that is Bearer.
fn bearer(value: &str) -> Option<&str> {
    let (scheme, parameters) = value.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(parameters)
}

/// The tenant of an authority: the first part of the path.
fn tenant_of(authority: &str) -> Option<String> {
    let (_, rest) = authority.split_once("://")?;
    let tenant = rest.split('/').nth(1)?;
    super::super::tenant_problem(tenant).is_none().then(|| tenant.to_owned())
}

/// Claims come as base64 of JSON, in either alphabet and with or without padding.
fn decoded(claims: &str) -> Option<String> {
    if claims.len() > MAX_CLAIMS {
        return None;
    }
    let alphabet = if claims.contains(['-', '_']) { &alphabet::URL_SAFE } else { &alphabet::STANDARD };
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let bytes = GeneralPurpose::new(alphabet, config).decode(claims).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let is_object = text.trim_start().starts_with('{') && serde_json::from_str::<IgnoredAny>(&text).is_ok();
    is_object.then_some(text)
}

/// `key="value"` or `key=value`, with commas or spaces between.
struct Parameters<'a>(&'a str);

impl<'a> Iterator for Parameters<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.0.trim_start_matches([',', ' ', '\t']);
        let (key, rest) = rest.split_once('=')?;
        let (value, rest) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => {
                let end = rest.find([',', ' ']).unwrap_or(rest.len());
                rest.split_at(end)
            }
        };
        self.0 = rest;
        Some((key.trim(), value))
    }
}

#[cfg(test)]
mod tests {
    use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn challenge(values: &[&str]) -> Challenge {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::WWW_AUTHENTICATE, HeaderValue::from_str(value).unwrap());
        }
        Challenge::of(&headers)
    }

    #[test]
    fn a_challenge_is_read_as_azure_writes_it() {
        let told = challenge(&[concat!(
            r#"Bearer authorization="https://login.windows.net/16b3c013-d300-468d-ac64-7eda0820b6d3", "#,
            r#"resource="https://vault.azure.net""#
        )]);
        assert_eq!(told.tenant.as_deref(), Some("16b3c013-d300-468d-ac64-7eda0820b6d3"));
        assert_eq!(told.resource.as_deref(), Some("https://vault.azure.net"));
        assert_eq!(told.claims, None);

        let other = challenge(&[
            "Basic realm=x",
            r#"bearer scope="https://v.example/.default",authorization_uri=https://l/t"#,
        ]);
        assert_eq!(other.resource.as_deref(), Some("https://v.example"));
        assert_eq!(other.tenant.as_deref(), Some("t"));
        assert_eq!(challenge(&["Basic realm=x"]), Challenge::default());
        assert_eq!(challenge(&[]), Challenge::default());
    }

    #[test]
    fn claims_are_taken_when_they_are_asked_for_and_json() {
        let json = r#"{"access_token":{"nbf":{"essential":true,"value":"1"}}}"#;
        let with = |error: &str, claims: &str| {
            challenge(&[&format!(r#"Bearer realm="", error="{error}", claims="{claims}""#)]).claims
        };
        assert_eq!(with("insufficient_claims", &BASE64_STANDARD.encode(json)).as_deref(), Some(json));
        assert_eq!(with("insufficient_claims", &BASE64_URL_SAFE_NO_PAD.encode(json)).as_deref(), Some(json));
        assert_eq!(with("invalid_token", &BASE64_STANDARD.encode(json)), None);
        for bad in
            ["", "%%%", &BASE64_STANDARD.encode("[1]"), &BASE64_STANDARD.encode("{"), &"A".repeat(9000)]
        {
            assert_eq!(with("insufficient_claims", bad), None, "{bad}");
        }
    }

    #[test]
    fn a_token_goes_to_its_own_domain_only() {
        assert!(may_be_sent("https://vault.azure.net", "my.vault.azure.net"));
        for (resource, host) in [
            ("https://vault.azure.net", "vault.azure.net"),
            ("https://vault.azure.net", "127.0.0.1"),
            ("https://vault.azure.net", "evilvault.azure.net"),
            ("https://vault.azure.net", "my.vault.azure.net.evil.example"),
            ("http://vault.azure.net", "my.vault.azure.net"),
            ("https://net", "my.vault.azure.net"),
            ("https://vault.azure.net/x", "my.vault.azure.net"),
            ("https://x@vault.azure.net", "my.vault.azure.net"),
            ("", "my.vault.azure.net"),
        ] {
            assert!(!may_be_sent(resource, host), "{resource} {host}");
        }
    }

    proptest! {
        #[test]
        fn no_header_makes_it_panic(value in "[ -~]{0,80}|Bearer [ -~]{0,80}") {
            let _ = challenge(&[&value]);
        }
    }
}
