//! A small pretend AWS: Secrets Manager with the behaviour destinations.md and test-parts.md 2 (column
//! "AWS") describe, and as much of the token service and of the metadata services as a credential
//! chain needs. On loopback, in memory, for tests and the demo.
//!
//! It checks signatures, knows recovery windows by its clock, counts calls, and can be told to
//! misbehave.

mod kms;
mod secrets;
mod tokens;

use std::{
    collections::BTreeMap,
    sync::{Arc, MutexGuard},
    time::Duration,
};

use bytes::Bytes;
use http::Method;
use model::{Clock, SecretBytes};
use serde_json::{Value, json};

use secrets::Secrets;
pub use secrets::View;

use super::sign::{self, Parts, SigningKey, Stamp};
use crate::pretend::{Broken, Calls, Pretend, Reply, Service, Stage, Trouble};

/// The usual form of its answers.
const FORM: &str = "application/x-amz-json-1.1";

/// How far a request's time may be off ours.
const MAX_SKEW_SECS: u64 = 300;

/// The running pretend AWS. It ends when this is dropped.
pub struct FakeAws(Service<State>);

type Shared = Stage<State>;

#[derive(Default)]
struct State {
    secrets: Secrets,
    kms: kms::Kms,
    /// Access key to secret key, and the session token it must come with.
    keys: BTreeMap<String, Key>,
    calls: Calls,
    denied: Vec<String>,
    minted: u64,
}

struct Key {
    secret: SecretBytes,
    token: Option<String>,
    expired: bool,
}

impl FakeAws {
    /// Starts on a free loopback port. The access key `AKIAFAKEFAKEFAKEFAKE` with the secret
    /// [`FakeAws::SECRET_KEY`] may do everything.
    pub async fn start(clock: Arc<dyn Clock>) -> std::io::Result<Self> {
        let mut state = State::default();
        state.keys.insert(
            Self::ACCESS_KEY.to_owned(),
            Key { secret: Self::SECRET_KEY.into(), token: None, expired: false },
        );
        Ok(Self(Service::start(clock, state).await?))
    }

    /// The access key that works from the start.
    pub const ACCESS_KEY: &str = "AKIAFAKEFAKEFAKEFAKE";
    /// Its secret.
    pub const SECRET_KEY: &str = "pretend+secret/key0000000000000000000000";

    /// The base URL of every service.
    pub fn url(&self) -> String {
        self.0.url()
    }

    /// How often an operation was called, refused calls included. Named as in AWS's API:
    /// `CreateSecret`, `AssumeRole`; `imds` and `ecs` for the metadata services.
    pub fn calls(&self, operation: &str) -> usize {
        self.state().calls.of(operation)
    }

    /// All calls of Secrets Manager's own operations.
    pub fn all_calls(&self) -> usize {
        let others = ["AssumeRole", "AssumeRoleWithWebIdentity", "imds", "ecs"];
        self.state().calls.except(&others)
    }

    /// Starts counting anew.
    pub fn forget_calls(&self) {
        self.state().calls.forget();
    }

    /// What becomes of the coming calls of an operation, one trouble each, in order.
    pub fn trouble(&self, operation: &str, troubles: impl IntoIterator<Item = Trouble>) {
        self.state().calls.trouble(operation, troubles);
    }

    /// Refuses an operation for lack of permission from now on, or no longer.
    pub fn deny(&self, operation: &str, denied: bool) {
        let mut state = self.state();
        state.denied.retain(|name| name != operation);
        if denied {
            state.denied.push(operation.to_owned());
        }
    }

    /// Lets an access key in, or another secret for it.
    pub fn allow_key(&self, access_key: &str, secret: &str, token: Option<&str>) {
        let key = Key { secret: secret.into(), token: token.map(ToOwned::to_owned), expired: false };
        self.state().keys.insert(access_key.to_owned(), key);
    }

    /// Says of an access key, or of all that were handed out, that they have expired.
    pub fn expire_keys(&self, access_key: Option<&str>) {
        for (name, key) in &mut self.state().keys {
            if access_key.map_or(key.token.is_some(), |wanted| wanted == name) {
                key.expired = true;
            }
        }
    }

    /// A KMS key to encrypt and decrypt with, and the code with which it refuses to, if it does.
    pub fn kms_key(&self, id: &str, refuses: Option<&str>) {
        self.state().kms.keys.insert(id.to_owned(), refuses.map(ToOwned::to_owned));
    }

    /// A KMS key that cannot be used.
    pub fn break_kms_key(&self, id: &str) {
        self.state().secrets.broken_keys.push(id.to_owned());
    }

    /// How long ListSecrets is behind.
    pub fn set_list_lag(&self, lag: Duration) {
        self.state().secrets.list_lag = lag;
    }

    /// A secret as it is, seen without a call.
    pub fn view(&self, region: &str, name: &str) -> Option<View> {
        let now = self.0.now();
        self.state().secrets.view(region, name, now)
    }

    /// The names in a region, sorted, those being deleted included.
    pub fn names(&self, region: &str) -> Vec<String> {
        let now = self.0.now();
        self.state().secrets.names(region, now)
    }

    /// Puts a secret there that nobody asked us for.
    pub fn plant(&self, region: &str, name: &str, value: &str, tags: &[(&str, &str)]) {
        let now = self.0.now();
        let mut state = self.state();
        let suffix = state.suffix();
        let tags: Vec<Value> = tags.iter().map(|(key, value)| json!({"Key": key, "Value": value})).collect();
        let token = format!("planted-{suffix:0>32}");
        let request = json!({"Name": name, "SecretString": value, "Tags": tags, "ClientRequestToken": token});
        // A name that is taken stays as it is.
        let _ = state.secrets.call("CreateSecret", region, &request, now, &suffix);
    }

    /// Says that a secret belongs to another AWS service.
    pub fn give_to_service(&self, region: &str, name: &str, service: &str) {
        self.state().secrets.give_to_service(region, name, service);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state()
    }
}

impl Pretend for Shared {
    async fn receive(&self, head: http::request::Parts, body: Bytes) -> Result<Reply, Broken> {
        let operation = tokens::operation_of(&head, &body);
        let trouble = self.state().calls.begin(operation.clone());
        self.meet(
            trouble,
            FORM,
            |code, status| self.refusal(code, status),
            || self.carry_out(&operation, &head, &body),
        )
        .await
    }
}

impl State {
    /// Six characters that no ARN had before.
    fn suffix(&mut self) -> String {
        self.minted += 1;
        sign::sha256_hex(&self.minted.to_be_bytes())[..6].to_owned()
    }
}

impl Shared {
    fn carry_out(&self, operation: &str, head: &http::request::Parts, body: &[u8]) -> Reply {
        if let Some(answer) = self.tokens(operation, head, body) {
            return answer;
        }
        if head.method != Method::POST || operation.is_empty() {
            return self.refusal("UnknownOperationException", 400);
        }
        let region = match self.check_signature(head, body) {
            Ok(region) => region,
            Err(code) => return self.refusal(code, 400),
        };
        let Ok(request) = serde_json::from_slice::<Value>(body) else {
            return self.refusal("SerializationException", 400);
        };
        let mut state = self.state();
        if state.denied.iter().any(|denied| denied == operation) {
            drop(state);
            return self.refusal("AccessDeniedException", 400);
        }
        if let Some(outcome) = state.kms.call(operation, &request) {
            drop(state);
            return match outcome {
                Ok(answer) => self.answer(200, "application/x-amz-json-1.1", answer.to_string()),
                Err(code) => self.refusal(&code, 400),
            };
        }
        let suffix = state.suffix();
        let outcome = state.secrets.call(operation, &region, &request, self.clock.now(), &suffix);
        drop(state);
        match outcome {
            Ok(answer) => self.answer(200, FORM, answer.to_string()),
            Err(code) => self.refusal(code, 400),
        }
    }

    /// The region of the credential scope, if the signature is right.
    fn check_signature(&self, head: &http::request::Parts, body: &[u8]) -> Result<String, &'static str> {
        const BAD: &str = "IncompleteSignature";
        let text = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
        let authorization = text("authorization").ok_or("MissingAuthenticationTokenException")?;
        let part = |name: &str| {
            let (_, rest) = authorization.split_once(name)?;
            Some(rest.split(',').next().unwrap_or(rest))
        };
        let scope: Vec<&str> = part("Credential=").ok_or(BAD)?.split('/').collect();
        let &[access_key, _, region, service, "aws4_request"] = scope.as_slice() else { return Err(BAD) };
        let stamp = text("x-amz-date").ok_or(BAD)?;
        let time = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", stamp).map_err(|_| BAD)?;
        let time = jiff::tz::Offset::UTC.to_timestamp(time).map_err(|_| BAD)?;
        if time.as_second().abs_diff(self.clock.now().as_secs()) > MAX_SKEW_SECS {
            return Err("InvalidSignatureException");
        }
        let state = self.state();
        let key = state.keys.get(access_key).ok_or("UnrecognizedClientException")?;
        if key.expired {
            return Err("ExpiredTokenException");
        }
        if key.token.as_deref() != text("x-amz-security-token") {
            return Err("UnrecognizedClientException");
        }
        let host = text("host").or(head.uri.host()).ok_or(BAD)?;
        let names: Vec<&str> = part("SignedHeaders=").ok_or(BAD)?.split(';').collect();
        let headers: Vec<(&str, &str)> = names
            .iter()
            .map(|name| (*name, if *name == "host" { host } else { text(name).unwrap_or_default() }))
            .collect();
        let stamp = Stamp::of(model::Timestamp::from_secs(time.as_second()));
        let signing_key = SigningKey::derive(&key.secret, &stamp, region, service);
        let expected = sign::authorization(
            &signing_key,
            access_key,
            &stamp,
            &Parts {
                method: head.method.as_str(),
                path: &sign::canonical_path(head.uri.path()),
                query: &sign::canonical_query(head.uri.query().unwrap_or_default()),
                headers: &headers,
                payload: &sign::sha256_hex(body),
            },
        );
        if expected == authorization { Ok(region.to_owned()) } else { Err("InvalidSignatureException") }
    }

    fn refusal(&self, code: &str, status: u16) -> Reply {
        // Real services repeat what they were sent. So does this, to catch who repeats it further.
        let body = json!({ "__type": code, "message": "refused: CANARY-FROM-REMOTE" }).to_string();
        self.answer(status, FORM, body)
    }
}
