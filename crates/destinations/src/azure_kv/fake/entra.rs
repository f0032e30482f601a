//! Entra's token endpoint and the identity services of machines.

use std::{collections::BTreeMap, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use http::request::Parts;
use model::Timestamp;
use serde_json::{Value, json};

use super::{FakeAzure, Refuse};

pub(super) struct Entra {
    pub(super) secret: String,
    life: Duration,
    refresh_in: Option<Duration>,
    /// By their text: what for, until when, and whether they are only let in with claims.
    pub(super) tokens: BTreeMap<String, Given>,
    minted: u64,
    /// Tokens are let in only when they were asked for with [`CLAIMS`].
    claims_wanted: bool,
    pub(super) last: BTreeMap<String, String>,
}

pub(super) struct Given {
    resource: String,
    expires: Timestamp,
    revoked: bool,
}

impl Default for Entra {
    fn default() -> Self {
        Self {
            secret: FakeAzure::CLIENT_SECRET.to_owned(),
            life: Duration::from_secs(3599),
            refresh_in: None,
            tokens: BTreeMap::new(),
            minted: 0,
            claims_wanted: false,
            last: BTreeMap::new(),
        }
    }
}

const CLAIMS: &str = r#"{"access_token":{"nbf":{"essential":true,"value":"1700000000"}}}"#;

impl Entra {
    pub(super) fn set_life(&mut self, life: Duration, refresh_in: Option<Duration>) {
        (self.life, self.refresh_in) = (life, refresh_in);
    }

    pub(super) fn ask_for_claims(&mut self) {
        self.claims_wanted = true;
        self.tokens.values_mut().for_each(|given| given.revoked = true);
    }

    /// What the next token has to be asked with.
    pub(super) fn claims() -> String {
        BASE64_STANDARD.encode(CLAIMS)
    }

    pub(super) fn wants_claims(&self, token: &str) -> bool {
        self.tokens.get(token).is_some_and(|given| given.revoked)
    }

    pub(super) fn lets_in(&self, token: &str, resource: &str, now: Timestamp) -> bool {
        self.tokens.get(token).is_some_and(|given| given.resource == resource && given.expires > now)
    }

    pub(super) fn answer(
        &mut self,
        operation: &str,
        head: &Parts,
        body: &[u8],
        base: &str,
        now: Timestamp,
    ) -> Result<Value, Refuse> {
        if operation == "Discovery" {
            let authority = format!("{base}/{}", FakeAzure::TENANT);
            let body = json!({"token_endpoint": format!("{authority}/oauth2/v2.0/token"),
                "authorization_endpoint": format!("{authority}/oauth2/v2.0/authorize"),
                "issuer": format!("{authority}/v2.0")});
            return Ok(body);
        }
        let form = if operation == "Token" { body } else { head.uri.query().unwrap_or_default().as_bytes() };
        self.last = url::form_urlencoded::parse(form).into_owned().collect();
        if operation == "Token" { self.token(head, now) } else { self.machine(operation, head, now) }
    }

    fn token(&mut self, head: &Parts, now: Timestamp) -> Result<Value, Refuse> {
        let field = |name: &str| self.last.get(name).map(String::as_str).unwrap_or_default();
        let refused = |status, code, number| Err(Refuse { status, code, number, ..Refuse::default() });
        if head.uri.path().split('/').nth(1) != Some(FakeAzure::TENANT) {
            return refused(400, "invalid_request", 90_002);
        }
        if field("grant_type") != "client_credentials" {
            return refused(400, "unsupported_grant_type", 70_003);
        }
        if field("client_id") != FakeAzure::CLIENT_ID {
            return refused(400, "unauthorized_client", 700_016);
        }
        let assertion = field("client_assertion");
        if !assertion.is_empty() {
            let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
            if field("client_assertion_type") != kind || assertion != FakeAzure::IDENTITY_TOKEN {
                return refused(401, "invalid_client", 700_213);
            }
        } else if field("client_secret") != self.secret {
            return refused(401, "invalid_client", 7_000_215);
        }
        let Some(resource) = field("scope").strip_suffix("/.default").map(ToOwned::to_owned) else {
            return refused(400, "invalid_scope", 1_002_012);
        };
        let token = self.mint(&resource, now);
        let mut answer = json!({"token_type": "Bearer", "expires_in": self.life.as_secs(),
            "ext_expires_in": self.life.as_secs(), "access_token": token});
        if let Some(refresh_in) = self.refresh_in {
            answer["refresh_in"] = json!(refresh_in.as_secs());
        }
        Ok(answer)
    }

    fn machine(&mut self, operation: &str, head: &Parts, now: Timestamp) -> Result<Value, Refuse> {
        let has = |name: &str, value: &str| head.headers.get(name).is_some_and(|header| header == value);
        let (right, version) = match operation {
            "Machine" => (has("metadata", "true"), "2018-02-01"),
            _ => (has("x-identity-header", "service-header"), "2019-08-01"),
        };
        let asked = |name: &str| self.last.get(name).cloned().unwrap_or_default();
        let id = asked("client_id");
        if !right || asked("api-version") != version || !(id.is_empty() || id == FakeAzure::CLIENT_ID) {
            return Err(Refuse { status: 400, code: "invalid_request", ..Refuse::default() });
        }
        let resource = asked("resource");
        let token = self.mint(&resource, now);
        let expires_on = now.plus(self.life).as_secs().to_string();
        let mut answer = json!({"access_token": token, "expires_on": expires_on, "resource": resource,
            "token_type": "Bearer"});
        if operation == "Machine" {
            answer["expires_in"] = json!(self.life.as_secs().to_string());
        }
        Ok(answer)
    }

    fn mint(&mut self, resource: &str, now: Timestamp) -> String {
        self.minted += 1;
        let token = format!("pretend.token.{}", self.minted);
        let revoked = self.claims_wanted && self.last.get("claims").map(String::as_str) != Some(CLAIMS);
        let given = Given { resource: resource.to_owned(), expires: now.plus(self.life), revoked };
        self.tokens.insert(token.clone(), given);
        token
    }
}
