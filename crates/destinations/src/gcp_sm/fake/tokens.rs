//! The token service, the exchange of identities, impersonation, and a machine's metadata service.

use std::{collections::BTreeMap, sync::OnceLock};

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use http::{header, request::Parts};
use model::Timestamp;
use serde_json::{Value, json};

use super::{FakeGcp, Reply, Shared};
use crate::jwt::SigningKey;

/// How far a statement's time may be off ours.
const MAX_SKEW_SECS: u64 = 300;

/// The tokens that are let in.
#[derive(Default)]
pub(super) struct Tokens {
    given: BTreeMap<String, Timestamp>,
    minted: u64,
}

impl Tokens {
    pub(super) fn revoke(&mut self) {
        self.given.clear();
    }

    /// Whether an `Authorization` header is good.
    pub(super) fn lets_in(&self, header: &str, now: Timestamp) -> bool {
        header
            .strip_prefix("Bearer ")
            .and_then(|token| self.given.get(token))
            .is_some_and(|until| *until > now)
    }

    fn mint(&mut self, now: Timestamp) -> String {
        self.minted += 1;
        let token = format!("ya29.pretend-{}", self.minted);
        self.given.insert(token.clone(), now.plus(std::time::Duration::from_secs(3600)));
        token
    }
}

pub(super) fn operation_of(path: &str) -> &'static str {
    match path {
        "/token" => "token",
        "/sts" | "/v1/token" => "sts",
        "/subject" => "subject",
        path if path.starts_with("/impersonate/") || path.ends_with(":generateAccessToken") => "impersonate",
        path if path.starts_with("/computeMetadata/v1/") => "metadata",
        _ => "unknown",
    }
}

/// A key pair made once: the private half in PEM, the public half.
fn key(which: usize) -> &'static (String, Vec<u8>) {
    static KEYS: [OnceLock<(String, Vec<u8>)>; 2] = [OnceLock::new(), OnceLock::new()];
    KEYS[which % 2].get_or_init(|| {
        let made = SigningKey::generate().ok().and_then(|der| {
            let public = SigningKey::from_pkcs8(der.expose()).ok()?.public_der()?;
            Some((BASE64_STANDARD.encode(der.expose()), public))
        });
        // Without a key nothing is let in, which tests notice.
        let (base64, public) = made.unwrap_or_default();
        let lines: Vec<&str> =
            base64.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
        (format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n")), public)
    })
}

impl FakeGcp {
    /// A service account's key in JSON that is let in.
    pub fn credentials(&self) -> String {
        self.account(key(0)).to_string()
    }

    /// The same with a key that was replaced: it is not let in.
    pub fn stale_credentials(&self) -> String {
        self.account(key(1)).to_string()
    }

    fn account(&self, (pem, _): &(String, Vec<u8>)) -> Value {
        json!({"type": "service_account", "project_id": Self::PROJECT, "private_key_id": "k1",
            "private_key": pem, "client_email": Self::ACCOUNT, "client_id": "1",
            "token_uri": format!("{}/token", self.url()), "universe_domain": "googleapis.com"})
    }
}

impl Shared {
    /// Answers what is not Secret Manager's.
    pub(super) fn tokens(&self, operation: &str, head: &Parts, body: &[u8]) -> Reply {
        let form: BTreeMap<String, String> = url::form_urlencoded::parse(body).into_owned().collect();
        let field = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
        match operation {
            "token" => match field("grant_type") {
                "urn:ietf:params:oauth:grant-type:jwt-bearer"
                    if self.statement_is_good(field("assertion")) =>
                {
                    self.grant()
                }
                "refresh_token"
                    if (field("client_id"), field("client_secret"), field("refresh_token"))
                        == ("client", "client-secret", "refresh-me") =>
                {
                    self.grant()
                }
                "urn:ietf:params:oauth:grant-type:jwt-bearer" | "refresh_token" => {
                    self.no_grant("invalid_grant")
                }
                _ => self.no_grant("unsupported_grant_type"),
            },
            "sts" => {
                let exchange = field("grant_type") == "urn:ietf:params:oauth:grant-type:token-exchange"
                    && field("requested_token_type") == "urn:ietf:params:oauth:token-type:access_token"
                    && field("scope") == "https://www.googleapis.com/auth/cloud-platform";
                match (exchange, field("audience"), field("subject_token")) {
                    (true, "//iam.googleapis.com/pool", "good-identity") => self.grant(),
                    (true, "//iam.googleapis.com/pool", _) => self.no_grant("invalid_grant"),
                    _ => self.no_grant("invalid_target"),
                }
            }
            "subject" if head.headers.get("x-ask").is_some_and(|value| value == "nicely") => {
                self.answer(200, "application/json", r#"{"value": "good-identity"}"#)
            }
            "subject" => self.answer(403, "text/plain", "CANARY-FROM-REMOTE"),
            "impersonate" => self.impersonate(head, body),
            _ => self.metadata(head),
        }
    }

    fn grant(&self) -> Reply {
        let token = self.state().tokens.mint(self.clock.now());
        let body = json!({"access_token": token, "expires_in": 3600, "token_type": "Bearer"});
        self.answer(200, "application/json", body.to_string())
    }

    fn no_grant(&self, error: &str) -> Reply {
        let status = if error == "invalid_client" { 401 } else { 400 };
        let body = json!({"error": error, "error_description": "CANARY-FROM-REMOTE"});
        self.answer(status, "application/json", body.to_string())
    }

    fn statement_is_good(&self, statement: &str) -> bool {
        let Some((signed, signature)) = statement.rsplit_once('.') else { return false };
        let Some((head, claims)) = signed.split_once('.') else { return false };
        let json = |part: &str| -> Option<Value> {
            serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).ok()?).ok()
        };
        let (Some(head), Some(claims)) = (json(head), json(claims)) else { return false };
        let Ok(signature) = BASE64_URL_SAFE_NO_PAD.decode(signature) else { return false };
        let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &key(0).1);
        let now = self.clock.now().as_secs();
        let time = |name: &str| claims[name].as_i64().unwrap_or_default();
        public.verify(signed.as_bytes(), &signature).is_ok()
            && head == json!({"alg": "RS256", "typ": "JWT", "kid": "k1"})
            && claims["iss"] == FakeGcp::ACCOUNT
            // Google's own library always names Google's, wherever it sends it.
            && [format!("http://{}/token", self.address).as_str(), "https://oauth2.googleapis.com/token"]
                .contains(&claims["aud"].as_str().unwrap_or_default())
            && claims["scope"] == "https://www.googleapis.com/auth/cloud-platform"
            && (1..=3600).contains(&(time("exp") - time("iat")))
            && time("iat").abs_diff(now) <= MAX_SKEW_SECS
    }

    fn impersonate(&self, head: &Parts, body: &[u8]) -> Reply {
        let now = self.clock.now();
        let token = head.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        if !token.is_some_and(|token| self.state().tokens.lets_in(token, now)) {
            return self.refusal(("UNAUTHENTICATED", 401));
        }
        let wish: Value = serde_json::from_slice(body).unwrap_or_default();
        let asks = wish["scope"] == json!(["https://www.googleapis.com/auth/cloud-platform"])
            && wish["lifetime"] == "3600s"
            && wish["delegates"].is_array();
        let may = [
            "/impersonate/other:generateAccessToken",
            "/v1/projects/-/serviceAccounts/sync@my-project.iam.gserviceaccount.com:generateAccessToken",
        ];
        if !asks || !may.contains(&head.uri.path()) {
            return self.refusal(("PERMISSION_DENIED", 403));
        }
        let token = self.state().tokens.mint(now);
        let until = now.plus(std::time::Duration::from_secs(3600));
        self.answer(
            200,
            "application/json",
            json!({"accessToken": token, "expireTime": until.to_string()}).to_string(),
        )
    }

    fn metadata(&self, head: &Parts) -> Reply {
        if head.headers.get("metadata-flavor").is_none_or(|flavor| flavor != "Google") {
            return self.answer(403, "text/html", "");
        }
        let mut answer = match head.uri.path() {
            "/computeMetadata/v1/project/project-id" => self.answer(200, "text/plain", FakeGcp::PROJECT),
            "/computeMetadata/v1/instance/service-accounts/default/token" => self.grant(),
            _ => self.answer(404, "text/html", ""),
        };
        answer.headers_mut().insert("metadata-flavor", http::HeaderValue::from_static("Google"));
        answer
    }
}
