//! AWS Signature Version 4, in the part we use: header authorisation of a request whose body is known.
//!
//! Ours rather than reqsign's, because that one asks the ambient clock (so a wrong clock cannot be
//! corrected for) and derives the signing key anew for every request. It serves as the oracle in tests.

use std::fmt::Write;

use aws_lc_rs::{digest, hmac};
use model::{SecretBytes, Timestamp};
use zeroize::Zeroizing;

/// A moment as signatures want it: `20150830T123600Z`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stamp(String);

impl Stamp {
    pub(super) fn of(at: Timestamp) -> Self {
        let at = jiff::Timestamp::from_second(at.as_secs()).unwrap_or_default();
        let at = jiff::tz::Offset::UTC.to_datetime(at);
        let mut text = String::with_capacity(16);
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "{:04}{:02}{:02}T{:02}{:02}{:02}Z",
            at.year(),
            at.month(),
            at.day(),
            at.hour(),
            at.minute(),
            at.second()
        );
        Self(text)
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// `20150830`.
    pub(super) fn date(&self) -> &str {
        &self.0[..8]
    }
}

/// A key good for one day, region and service.
pub(super) struct SigningKey {
    key: hmac::Key,
    /// `20150830/us-east-1/secretsmanager/aws4_request`.
    scope: String,
}

impl SigningKey {
    pub(super) fn derive(secret: &SecretBytes, stamp: &Stamp, region: &str, service: &str) -> Self {
        let mut start = Zeroizing::new(Vec::with_capacity(4 + secret.len()));
        start.extend_from_slice(b"AWS4");
        // Opened to derive the key that signs.
        start.extend_from_slice(secret.expose());
        let mut key = hmac::Key::new(hmac::HMAC_SHA256, &start);
        for part in [stamp.date(), region, service, "aws4_request"] {
            key = hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&key, part.as_bytes()).as_ref());
        }
        Self { key, scope: format!("{}/{region}/{service}/aws4_request", stamp.date()) }
    }

    /// Whether it is good on the day of the stamp.
    pub(super) fn good_for(&self, stamp: &Stamp) -> bool {
        self.scope.as_bytes().starts_with(stamp.date().as_bytes())
    }
}

/// What is signed of a request.
pub(super) struct Parts<'a> {
    pub(super) method: &'a str,
    /// Percent-encoded, then encoded once more, as every service but S3 has it. See [`canonical_path`].
    pub(super) path: &'a str,
    /// Sorted and percent-encoded. See [`canonical_query`].
    pub(super) query: &'a str,
    /// Names in lower case, sorted; values trimmed.
    pub(super) headers: &'a [(&'a str, &'a str)],
    /// SHA-256 of the body in hex.
    pub(super) payload: &'a str,
}

/// The value of the `Authorization` header.
pub(super) fn authorization(
    key: &SigningKey,
    access_key_id: &str,
    stamp: &Stamp,
    parts: &Parts<'_>,
) -> String {
    let mut canonical = digest::Context::new(&digest::SHA256);
    for part in [parts.method, "\n", parts.path, "\n", parts.query, "\n"] {
        canonical.update(part.as_bytes());
    }
    for (name, value) in parts.headers {
        for part in [name, ":", value, "\n"] {
            canonical.update(part.as_bytes());
        }
    }
    canonical.update(b"\n");
    let mut names = String::with_capacity(80);
    for (at, (name, _)) in parts.headers.iter().enumerate() {
        names.push_str(if at == 0 { "" } else { ";" });
        names.push_str(name);
    }
    for part in [&names, "\n", parts.payload] {
        canonical.update(part.as_bytes());
    }
    let canonical = hex::encode(canonical.finish());

    let mut to_sign = hmac::Context::with_key(&key.key);
    for part in ["AWS4-HMAC-SHA256\n", stamp.as_str(), "\n", &key.scope, "\n", &canonical] {
        to_sign.update(part.as_bytes());
    }
    let signature = hex::encode(to_sign.sign());
    format!(
        "AWS4-HMAC-SHA256 Credential={access_key_id}/{}, SignedHeaders={names}, Signature={signature}",
        key.scope
    )
}

/// SHA-256 in hex.
pub(super) fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(digest::digest(&digest::SHA256, bytes))
}

/// A URL's path as it is signed.
pub(super) fn canonical_path(path: &str) -> String {
    if path.is_empty() {
        return "/".to_owned();
    }
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        encode_into(&mut out, byte, byte == b'/');
    }
    out
}

/// A URL's query as it is signed: its parts are encoded already, so they are only sorted.
pub(super) fn canonical_query(query: &str) -> String {
    let mut pairs: Vec<(&str, &str)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .collect();
    pairs.sort_unstable();
    let mut out = String::with_capacity(query.len());
    for (name, value) in pairs {
        out.push_str(if out.is_empty() { "" } else { "&" });
        // A form's plus stands for a space, which is signed as %20.
        for part in [name, "=", value] {
            out.push_str(&part.replace('+', "%20"));
        }
    }
    out
}

fn encode_into(out: &mut String, byte: u8, keep: bool) {
    if keep || byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
        out.push(char::from(byte));
    } else {
        let _ = write!(out, "%{byte:02X}");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use reqsign_aws_v4::{Credential, RequestSigner};
    use reqsign_core::{Context, SignRequest};

    use super::*;

    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn stamp() -> Stamp {
        Stamp::of(Timestamp::from_secs(1_440_938_160))
    }

    fn signature(service: &str, parts: &Parts<'_>) -> String {
        let key = SigningKey::derive(&SECRET.into(), &stamp(), "us-east-1", service);
        let header = authorization(&key, "AKIDEXAMPLE", &stamp(), parts);
        header.rsplit_once("Signature=").unwrap().1.to_owned()
    }

    /// From AWS's published test suite for Signature Version 4, and its worked example for IAM.
    #[test]
    fn published_examples_come_out() {
        assert_eq!(stamp().as_str(), "20150830T123600Z");
        let plain: &[(&str, &str)] = &[("host", "example.amazonaws.com"), ("x-amz-date", "20150830T123600Z")];
        let get = Parts { method: "GET", path: "/", query: "", headers: plain, payload: EMPTY };
        assert_eq!(
            signature("service", &get),
            "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
        );
        let post = Parts { method: "POST", ..get };
        assert_eq!(
            signature("service", &post),
            "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"
        );
        let form: &[(&str, &str)] = &[
            ("content-type", "application/x-www-form-urlencoded"),
            ("host", "example.amazonaws.com"),
            ("x-amz-date", "20150830T123600Z"),
        ];
        let payload = sha256_hex(b"Param1=value1");
        let post = Parts { headers: form, payload: &payload, ..post };
        assert_eq!(
            signature("service", &post),
            "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"
        );
        let iam: &[(&str, &str)] = &[
            ("content-type", "application/x-www-form-urlencoded; charset=utf-8"),
            ("host", "iam.amazonaws.com"),
            ("x-amz-date", "20150830T123600Z"),
        ];
        let list = Parts {
            method: "GET",
            path: "/",
            query: &canonical_query("Version=2010-05-08&Action=ListUsers"),
            headers: iam,
            payload: EMPTY,
        };
        assert_eq!(
            signature("iam", &list),
            "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
        );
    }

    #[test]
    fn a_key_is_good_for_its_day() {
        let key = SigningKey::derive(&SECRET.into(), &stamp(), "us-east-1", "iam");
        assert!(key.good_for(&stamp()));
        assert!(!key.good_for(&Stamp::of(Timestamp::from_secs(1_440_938_160 + 86_400))));
    }

    /// Headers in the order of their names, as the oracle leaves them, and its signature.
    fn oracle(uri: &str, target: &str) -> (Vec<(String, String)>, String) {
        let mut parts = http::Request::post(uri)
            .header("x-amz-target", target)
            .header("x-amz-content-sha256", EMPTY)
            .body(())
            .unwrap()
            .into_parts()
            .0;
        let credential = Credential {
            access_key_id: "AKIDEXAMPLE".into(),
            secret_access_key: SECRET.into(),
            session_token: None,
            expires_in: None,
        };
        let signer = RequestSigner::new("secretsmanager", "us-east-1");
        futures_util::FutureExt::now_or_never(signer.sign_request(
            &Context::new(),
            &mut parts,
            Some(&credential),
            None,
        ))
        .unwrap()
        .unwrap();
        let mut headers: Vec<(String, String)> = parts
            .headers
            .iter()
            .map(|(name, value)| (name.as_str().to_owned(), value.to_str().unwrap().to_owned()))
            .collect();
        headers.sort();
        let at = headers.iter().position(|(name, _)| name == "authorization").unwrap();
        let authorization = headers.remove(at).1;
        (headers, authorization)
    }

    proptest! {
        #[test]
        fn agrees_with_reqsign(
            path in "(/[a-zA-Z0-9._~-]{1,5}){0,3}/?",
            query in "([a-z]{1,3}=[a-z0-9%.~-]{0,4}(&[A-Z]{1,3}=[a-z]{0,4}){0,3})?",
            target in "[a-z.A-Z]{1,20}",
        ) {
            // Only whole escapes are part of a URL.
            let query = query.replace('%', "%2F");
            let uri = format!("https://secretsmanager.us-east-1.amazonaws.com{path}?{query}");
            let (headers, expected) = oracle(&uri, &target);
            let date = headers.iter().find(|(name, _)| name == "x-amz-date").unwrap().1.clone();
            let stamp = Stamp(date);
            let key = SigningKey::derive(&SECRET.into(), &stamp, "us-east-1", "secretsmanager");
            let headers: Vec<(&str, &str)> =
                headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            let parts = Parts {
                method: "POST",
                path: &canonical_path(&path),
                query: &canonical_query(&query),
                headers: &headers,
                payload: EMPTY,
            };
            prop_assert_eq!(authorization(&key, "AKIDEXAMPLE", &stamp, &parts), expected);
        }
    }
}
