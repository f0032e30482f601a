//! Apps and tokens of the pretend GitHub (destinations.md 4.3).

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der},
    rsa::{KeyPair, KeySize},
    signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey},
};
use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use model::Timestamp;
use serde_json::{Value, json};

use super::{Route, Said, State, refusal};

/// A new RSA key, in the forms an app's private key comes in.
pub struct RsaPem {
    /// As GitHub gives it out: `BEGIN RSA PRIVATE KEY`.
    pub pkcs1: String,
    /// As most tools make it: `BEGIN PRIVATE KEY`.
    pub pkcs8: String,
    /// What GitHub shows beside it.
    pub fingerprint: String,
    public: Vec<u8>,
}

impl RsaPem {
    /// Makes a key of 2048 bits.
    ///
    /// # Panics
    /// When the cryptography library cannot: this is for tests.
    #[expect(clippy::expect_used, reason = "for tests")]
    pub fn generate() -> Self {
        let pair = KeyPair::generate(KeySize::Rsa2048).expect("an RSA key");
        let pkcs8: Pkcs8V1Der<'_> = pair.as_der().expect("a private key");
        let public: PublicKeyX509Der<'_> = pair.public_key().as_der().expect("a public key");
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, public.as_ref());
        // PKCS#8 of RSA: 26 bytes that say so, then PKCS#1.
        let pkcs1 = pkcs8.as_ref().get(26..).unwrap_or_default();
        Self {
            pkcs1: pem("RSA PRIVATE KEY", pkcs1),
            pkcs8: pem("PRIVATE KEY", pkcs8.as_ref()),
            fingerprint: BASE64_STANDARD.encode(digest),
            public: pair.public_key().as_ref().to_vec(),
        }
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(der);
    let mut lines = format!("-----BEGIN {label}-----\n");
    for line in text.as_bytes().chunks(64) {
        lines.push_str(&String::from_utf8_lossy(line));
        lines.push('\n');
    }
    lines + &format!("-----END {label}-----\n")
}

/// What a token may do.
#[derive(Debug, Clone, Default)]
pub(super) struct Grant {
    pub(super) expires: Option<Timestamp>,
    /// `None`: everything.
    permissions: Option<BTreeSet<String>>,
    /// Names without owner; `None`: all.
    repositories: Option<Vec<String>>,
}

impl Grant {
    pub(super) fn everything() -> Self {
        Self::default()
    }

    pub(super) fn lasts(&self, now: Timestamp) -> bool {
        self.expires.is_none_or(|expires| expires > now)
    }

    pub(super) fn allows(&self, route: &Route) -> bool {
        let needed = match route.scope.split('/').collect::<Vec<_>>().as_slice() {
            ["orgs", ..] => "organization_secrets",
            [_, _, _, "environments", ..] => "environments",
            _ if route.operation == "repository" => "metadata",
            _ => "secrets",
        };
        let repository = route.scope.split('/').nth(2).unwrap_or_default();
        let covered = needed == "organization_secrets"
            || self.repositories.as_ref().is_none_or(|names| names.iter().any(|name| name == repository));
        covered && self.permissions.as_ref().is_none_or(|granted| granted.contains(needed))
    }
}

/// An app with its one installation.
pub(super) struct App {
    public: Vec<u8>,
    installation: i64,
    pub(super) permissions: BTreeSet<String>,
}

impl App {
    pub(super) fn new(key: &RsaPem, installation: i64) -> Self {
        let all = ["secrets", "environments", "organization_secrets", "metadata"];
        Self {
            public: key.public.clone(),
            installation,
            permissions: all.into_iter().map(ToOwned::to_owned).collect(),
        }
    }
}

impl State {
    pub(super) fn make_token(
        &mut self,
        statement: &str,
        installation: &str,
        body: &[u8],
        now: Timestamp,
    ) -> Said {
        let Some(app) = self.app_of(statement, now) else {
            return refusal(401, "A JSON web token could not be decoded");
        };
        if installation.parse() != Ok(app.installation) {
            return refusal(404, "Not Found");
        }
        let wanted = serde_json::from_slice::<Value>(body).unwrap_or_default();
        let permissions: BTreeSet<String> = wanted["permissions"]
            .as_object()
            .map_or_else(|| app.permissions.clone(), |object| object.keys().cloned().collect());
        if !permissions.is_subset(&app.permissions) {
            return refusal(422, "The permissions requested are not granted to this installation.");
        }
        let repositories = wanted["repositories"].as_array().map(|names| {
            names.iter().filter_map(|name| name.as_str().map(ToOwned::to_owned)).collect::<Vec<_>>()
        });
        let known = |name: &String| self.repositories.keys().any(|full| full.ends_with(&format!("/{name}")));
        if repositories.as_ref().is_some_and(|names| !names.iter().all(known)) {
            return refusal(422, "There is at least one repository that does not exist or is not accessible");
        }
        self.minted += 1;
        // The longer shape that tokens are being switched to.
        let token = format!("ghs_{}_{}.{}", self.minted, "x".repeat(300), "CANARY-FROM-REMOTE");
        let expires = now.plus(Duration::from_secs(3600));
        let grant = Grant { expires: Some(expires), permissions: Some(permissions), repositories };
        self.tokens.insert(token.clone(), grant);
        let expires = Timestamp::from_secs(expires.as_secs()).to_string();
        (201, Some(json!({"token": token, "expires_at": expires, "permissions": wanted["permissions"]})))
    }

    /// The app whose valid statement this is.
    fn app_of(&self, statement: &str, now: Timestamp) -> Option<&App> {
        let (signed, signature) = statement.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let read = |part: &str| -> Option<BTreeMap<String, Value>> {
            serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).ok()?).ok()
        };
        let (header, claims) = (read(header)?, read(claims)?);
        let (issued, expires) = (claims.get("iat")?.as_i64()?, claims.get("exp")?.as_i64()?);
        let now = now.as_secs();
        if header.get("alg")?.as_str()? != "RS256" || issued > now || expires <= now || expires > now + 600 {
            return None;
        }
        let app = self.apps.get(&claims.get("iss")?.as_str()?.parse().ok()?)?;
        let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &app.public);
        key.verify(signed.as_bytes(), &BASE64_URL_SAFE_NO_PAD.decode(signature).ok()?).ok()?;
        Some(app)
    }
}
