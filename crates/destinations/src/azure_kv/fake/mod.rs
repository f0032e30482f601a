//! A small pretend Azure: one Key Vault with the behaviour destinations.md 2 describes, as much of Entra
//! as three flows need, and the identity services of machines. On loopback, in memory, for tests and the
//! demo.
//!
//! It looks at tokens, knows soft delete and its limbo by its clock, counts calls, and can be told to
//! misbehave.

mod entra;
mod vault;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, MutexGuard},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Method, header};
use model::Clock;
use serde_json::{Value, json};

use entra::Entra;
pub use vault::SecretView;
use vault::{Refused, Vault};

use crate::pretend::{Broken, Calls, Pretend, Queues, Reply, Service, Stage, Trouble};

/// The running pretend Azure. It ends when this is dropped.
pub struct FakeAzure(Service<State>);

type Shared = Stage<State>;

struct State {
    vault: Vault,
    entra: Entra,
    calls: Calls,
    refusals: Queues<Refuse>,
    denied: BTreeSet<String>,
    /// What challenges say tokens must be for.
    resource: String,
    last: Option<(String, String, Value)>,
}

/// A refusal, word by word.
#[derive(Debug, Clone, Copy, Default)]
pub struct Refuse {
    /// The HTTP status.
    pub status: u16,
    /// `error.code`; for the authority `error`.
    pub code: &'static str,
    /// `error.innererror.code`, if any.
    pub inner: Option<&'static str>,
    /// The number in `error_codes`, for the authority.
    pub number: u64,
    /// `Retry-After`, in seconds.
    pub retry_after: Option<u32>,
}

impl FakeAzure {
    /// The tenant there is.
    pub const TENANT: &str = "6f89cf12-978b-4d23-ac18-9ef0c127cf87";
    /// The app that may do everything.
    pub const CLIENT_ID: &str = "11111111-2222-3333-4444-555555555555";
    /// Its secret.
    pub const CLIENT_SECRET: &str = "pretend~client+secret/&=%";
    /// What the vault is called.
    pub const VAULT: &str = "https://pretend.vault.azure.net";
    /// An identity token that is accepted.
    pub const IDENTITY_TOKEN: &str = "good.identity.token";

    /// Starts on a free loopback port.
    pub async fn start(clock: Arc<dyn Clock>) -> std::io::Result<Self> {
        let state = State {
            vault: Vault::default(),
            entra: Entra::default(),
            calls: Calls::default(),
            refusals: Queues::default(),
            denied: BTreeSet::new(),
            resource: "https://vault.azure.net".to_owned(),
            last: None,
        };
        Ok(Self(Service::start(clock, state).await?))
    }

    /// The base URL of everything.
    pub fn url(&self) -> String {
        self.0.url()
    }

    /// The port of that.
    pub fn port(&self) -> u16 {
        self.0.stage.address.port()
    }

    /// How often an operation was called, refused calls included: `Set`, `Update`, `Versions`, `List`,
    /// `Get`, `Delete`, `GetDeleted`, `Recover`, `Purge`, `Token`, `Machine`, `Service`.
    pub fn calls(&self, operation: &str) -> usize {
        self.state().calls.of(operation)
    }

    /// All calls of the vault.
    pub fn vault_calls(&self) -> usize {
        let others = ["Token", "Machine", "Service", "Discovery"];
        self.state().calls.except(&others)
    }

    /// Starts counting anew.
    pub fn forget_calls(&self) {
        self.state().calls.forget();
    }

    /// Method, path with query, and body of the last call that changed something.
    pub fn last_change(&self) -> Option<(String, String, Value)> {
        self.state().last.clone()
    }

    /// What becomes of the coming calls of an operation, one trouble each, in order.
    pub fn trouble(&self, operation: &str, troubles: impl IntoIterator<Item = Trouble>) {
        self.state().calls.trouble(operation, troubles);
    }

    /// The coming calls of an operation are refused like this, in order, after whatever trouble they are to
    /// meet.
    pub fn refuse(&self, operation: &str, refusals: impl IntoIterator<Item = Refuse>) {
        self.state().refusals.add(operation, refusals);
    }

    /// Refuses an operation for lack of permission from now on, or no longer.
    pub fn deny(&self, operation: &str, denied: bool) {
        let mut state = self.state();
        if denied {
            state.denied.insert(operation.to_owned())
        } else {
            state.denied.remove(operation)
        };
    }

    /// How long deleting, recovering and purging take.
    pub fn set_limbo(&self, limbo: Duration) {
        self.state().vault.limbo = limbo;
    }

    /// Switches purge protection.
    pub fn protect_from_purge(&self, on: bool) {
        self.state().vault.purge_protected = on;
    }

    /// Does not tell in answers whether purging is possible.
    pub fn hide_recovery_level(&self, on: bool) {
        self.state().vault.level_hidden = on;
    }

    /// What challenges say tokens must be for, and what they are checked against.
    pub fn set_resource(&self, resource: &str) {
        resource.clone_into(&mut self.state().resource);
    }

    /// Another secret for the app; the old one is no longer accepted.
    pub fn set_client_secret(&self, secret: &str) {
        secret.clone_into(&mut self.state().entra.secret);
    }

    /// Tokens last this long from now on, and are to be renewed after the second time, if it is said.
    pub fn set_token_life(&self, life: Duration, refresh_in: Option<Duration>) {
        self.state().entra.set_life(life, refresh_in);
    }

    /// Lets no token in that was given out so far.
    pub fn revoke_tokens(&self) {
        self.state().entra.tokens.clear();
    }

    /// Lets no token in that was given out so far, and asks for claims in the next.
    pub fn ask_for_claims(&self) {
        self.state().entra.ask_for_claims();
    }

    /// What the authority and the machine were last asked, as a form.
    pub fn last_token_request(&self) -> BTreeMap<String, String> {
        self.state().entra.last.clone()
    }

    /// A secret as it is, seen without a call.
    pub fn view(&self, name: &str) -> Option<SecretView> {
        let now = self.0.now();
        self.state().vault.view(name, now)
    }

    /// The names there are, those of deleted secrets included, sorted.
    pub fn names(&self) -> Vec<String> {
        let now = self.0.now();
        self.state().vault.names(now)
    }

    /// Puts a secret there that nobody asked us for, in place of whatever is there.
    pub fn plant(&self, name: &str, value: &str, tags: &[(&str, &str)]) {
        let now = self.0.now();
        self.state().vault.plant(name, value, tags, now);
    }

    /// Adds so many versions to a secret, without tags, older than all it has.
    pub fn add_old_versions(&self, name: &str, count: usize) {
        self.state().vault.add_old_versions(name, count);
    }

    /// Takes a secret away for good.
    pub fn take_away(&self, name: &str) {
        self.state().vault.take_away(name);
    }

    /// Deletes a secret at once, so that it can be recovered.
    pub fn delete(&self, name: &str) {
        let now = self.0.now();
        self.state().vault.delete_now(name, now);
    }

    /// Says of a secret that it belongs to a certificate.
    pub fn give_to_certificate(&self, name: &str) {
        self.state().vault.give_to_certificate(name);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state()
    }
}

impl Pretend for Shared {
    async fn receive(&self, head: http::request::Parts, body: Bytes) -> Result<Reply, Broken> {
        let operation = operation_of(&head);
        let (trouble, refuse) = {
            let mut state = self.state();
            let trouble = state.calls.begin(operation);
            let refuse = if trouble.is_none() { state.refusals.next(operation) } else { None };
            (trouble, refuse)
        };
        self.meet(
            trouble,
            FORM,
            |code, status| self.refusal(operation, &Refuse { status, code, ..Refuse::default() }),
            || match refuse {
                Some(refuse) => self.refusal(operation, &refuse),
                None => self.carry_out(operation, &head, &body),
            },
        )
        .await
    }
}

/// What a request asks for.
fn operation_of(head: &http::request::Parts) -> &'static str {
    let path: Vec<&str> = head.uri.path().split('/').filter(|part| !part.is_empty()).collect();
    match (&head.method, path.as_slice()) {
        (&Method::POST, [_, "oauth2", "v2.0", "token"]) => "Token",
        (&Method::GET, [_, "v2.0", ".well-known", "openid-configuration"]) => "Discovery",
        (&Method::GET, ["metadata", "identity", "oauth2", "token"]) => "Machine",
        (&Method::GET, ["msi", "token"]) => "Service",
        (&Method::PUT, ["secrets", _]) => "Set",
        (&Method::PATCH, ["secrets", _, _]) => "Update",
        (&Method::GET, ["secrets"]) => "List",
        (&Method::GET, ["secrets", _, "versions"]) => "Versions",
        (&Method::GET, ["secrets", _] | ["secrets", _, _]) => "Get",
        (&Method::DELETE, ["secrets", _]) => "Delete",
        (&Method::GET, ["deletedsecrets", _]) => "GetDeleted",
        (&Method::POST, ["deletedsecrets", _, "recover"]) => "Recover",
        (&Method::DELETE, ["deletedsecrets", _]) => "Purge",
        _ => "Unknown",
    }
}

impl Shared {
    fn carry_out(&self, operation: &str, head: &http::request::Parts, body: &[u8]) -> Reply {
        let now = self.clock.now();
        let mut state = self.state();
        let base = self.base(head);
        match operation {
            "Token" | "Discovery" | "Machine" | "Service" => {
                return match state.entra.answer(operation, head, body, &base, now) {
                    Ok(answer) => self.answer(200, FORM, answer.to_string()),
                    Err(refuse) => self.refusal(operation, &refuse),
                };
            }
            "Unknown" => {
                return self
                    .refusal(operation, &Refuse { status: 404, code: "NotFound", ..Refuse::default() });
            }
            _ => {}
        }
        if let Some(challenge) = state.challenge(head, &base, now) {
            let mut reply =
                self.refusal(operation, &Refuse { status: 401, code: "Unauthorized", ..Refuse::default() });
            if let Ok(challenge) = HeaderValue::try_from(challenge) {
                reply.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
            }
            return reply;
        }
        if head.method == Method::POST && !head.headers.contains_key(header::CONTENT_LENGTH) {
            return self.answer(411, "text/html", "Length Required");
        }
        if state.denied.contains(operation) {
            let inner = Some("ForbiddenByRbac");
            return self
                .refusal(operation, &Refuse { status: 403, code: "Forbidden", inner, ..Refuse::default() });
        }
        let query = head.uri.query().unwrap_or_default();
        let request = match body {
            [] => Value::Null,
            body => match serde_json::from_slice(body) {
                Ok(request) => request,
                Err(_) => return self.refusal(operation, &BAD_PARAMETER),
            },
        };
        if head.method != Method::GET {
            let target = head.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
            state.last = Some((head.method.to_string(), target, request.clone()));
        }
        match state.vault.call(operation, head.uri.path(), query, &request, &base, now) {
            Ok(Value::Null) => self.answer(204, FORM, ""),
            Ok(answer) => self.answer(200, FORM, answer.to_string()),
            Err(Refused(status, code, inner)) => {
                self.refusal(operation, &Refuse { status, code, inner, ..Refuse::default() })
            }
        }
    }

    fn refusal(&self, operation: &str, refuse: &Refuse) -> Reply {
        // Real services repeat what they were sent. So does this, to catch who repeats it further.
        let message = "refused: CANARY-FROM-REMOTE";
        let body = match operation {
            "Token" | "Machine" | "Service" => {
                json!({"error": refuse.code, "error_description": message, "error_codes": [refuse.number]})
            }
            _ => {
                let inner = refuse.inner.map_or(Value::Null, |code| json!({ "code": code }));
                json!({"error": {"code": refuse.code, "message": message, "innererror": inner}})
            }
        };
        let mut reply = self.answer(refuse.status, FORM, body.to_string());
        if let Some(seconds) = refuse.retry_after {
            reply.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        reply
    }

    /// How the caller calls us, for links and challenges. Azure's are always encrypted.
    fn base(&self, head: &http::request::Parts) -> String {
        let host = head.headers.get(header::HOST).and_then(|host| host.to_str().ok());
        match host.or_else(|| head.uri.authority().map(http::uri::Authority::as_str)) {
            Some(host) => format!("https://{host}"),
            None => format!("https://{}", self.address),
        }
    }
}

impl State {
    /// Why a call is not let in, as a challenge.
    fn challenge(
        &mut self,
        head: &http::request::Parts,
        base: &str,
        now: model::Timestamp,
    ) -> Option<String> {
        let token = head.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = token.and_then(|value| value.strip_prefix("Bearer "));
        let plain = || {
            let tenant = FakeAzure::TENANT;
            Some(format!(r#"Bearer authorization="{base}/{tenant}", resource="{}""#, self.resource))
        };
        let Some(token) = token else { return plain() };
        if self.entra.wants_claims(token) {
            let claims = Entra::claims();
            let tenant = FakeAzure::TENANT;
            return Some(format!(
                r#"Bearer realm="", authorization_uri="{base}/{tenant}", error="insufficient_claims", claims="{claims}""#
            ));
        }
        if self.entra.lets_in(token, &self.resource, now) { None } else { plain() }
    }
}

/// The usual form of its answers.
const FORM: &str = "application/json";

const BAD_PARAMETER: Refuse =
    Refuse { status: 400, code: "BadParameter", inner: None, number: 0, retry_after: None };
