//! A small pretend Google: Secret Manager with the behaviour destinations.md 3 describes, and as much of
//! the token service, of the exchange of identities and of a machine's metadata service as credentials
//! need. On loopback, in memory, for tests and the demo.
//!
//! It checks tokens, signatures, etags, checksums, and the form of everything it is sent; it knows expiry
//! by its clock, counts calls, and can be told to misbehave.

mod secrets;
mod tokens;

use std::{
    collections::BTreeMap,
    sync::{Arc, MutexGuard},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, header, request::Parts};
use model::Clock;
use serde_json::{Value, json};

pub use secrets::GcpView;
use secrets::{Refused, Secrets};
use tokens::Tokens;

use crate::pretend::{Broken, Calls, Pretend, Reply, Service, Stage, Trouble};

/// The running pretend Google. It ends when this is dropped.
pub struct FakeGcp(Service<State>);

type Shared = Stage<State>;

#[derive(Default)]
struct State {
    secrets: Secrets,
    tokens: Tokens,
    calls: Calls,
    denied: Vec<String>,
    quota_projects: Vec<String>,
}

/// The usual form of its answers.
const FORM: &str = "application/json; charset=UTF-8";

/// Calls that are not Secret Manager's.
const OTHERS: [&str; 5] = ["token", "metadata", "sts", "impersonate", "subject"];

impl FakeGcp {
    /// The project that has everything.
    pub const PROJECT: &str = "keyferry-pretend";
    /// The service account whose key is in [`FakeGcp::credentials`].
    pub const ACCOUNT: &str = "sync@keyferry-pretend.iam.gserviceaccount.com";

    /// Starts on a free loopback port.
    pub async fn start(clock: Arc<dyn Clock>) -> std::io::Result<Self> {
        Ok(Self(Service::start(clock, State::default()).await?))
    }

    /// The base URL of everything; tokens are given at `/token`.
    pub fn url(&self) -> String {
        self.0.url()
    }

    /// How often something was called, refused calls included: `create`, `get`, `list`, `patch`, `delete`,
    /// `addVersion`, `getVersion`, `listVersions`, `access`, `destroy`, `disable`; `token`, `metadata`,
    /// `sts`, `impersonate`, `subject`.
    pub fn calls(&self, operation: &str) -> usize {
        self.state().calls.of(operation)
    }

    /// All calls of Secret Manager itself.
    pub fn all_calls(&self) -> usize {
        self.state().calls.except(&OTHERS)
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

    /// Lets no token in that was given until now.
    pub fn revoke_tokens(&self) {
        self.state().tokens.revoke();
    }

    /// The projects that were named to be charged, one for each call that named one.
    pub fn quota_projects(&self) -> Vec<String> {
        self.state().quota_projects.clone()
    }

    /// A KMS key that cannot be used.
    pub fn break_kms_key(&self, name: &str) {
        self.state().secrets.broken_keys.push(name.to_owned());
    }

    /// How long lists are behind.
    pub fn set_list_lag(&self, lag: Duration) {
        self.state().secrets.list_lag = lag;
    }

    /// Whether new versions say that their checksum was checked; they do from the start.
    pub fn confirm_checksums(&self, confirm: bool) {
        self.state().secrets.unconfirmed = !confirm;
    }

    /// Damages the values of versions to come.
    pub fn damage_values(&self, damage: bool) {
        self.state().secrets.damaging = damage;
    }

    /// Keeps what is destroyed for a while, as a secret with `versionDestroyTtl` does.
    pub fn destroy_slowly(&self, slowly: bool) {
        self.state().secrets.slow_destruction = slowly;
    }

    /// A secret as it is, seen without a call.
    pub fn view(&self, name: &str) -> Option<GcpView> {
        self.state().secrets.view(name)
    }

    /// The names, sorted.
    pub fn names(&self) -> Vec<String> {
        self.state().secrets.names()
    }

    /// Puts a stranger's secret with one version there, in place of what is there.
    pub fn plant(&self, name: &str, value: &str, labels: &[(&str, &str)]) {
        let now = self.0.now();
        self.state().secrets.plant(name, value, labels, now);
    }

    /// Takes a secret away.
    pub fn take_away(&self, name: &str) {
        self.state().secrets.take_away(name);
    }

    /// Somebody adds a version to a secret. Its number.
    pub fn add_version(&self, name: &str, value: &str) -> u64 {
        let now = self.0.now();
        self.state().secrets.add_foreign(name, value, now)
    }

    /// Somebody disables or destroys a version.
    pub fn end_version(&self, name: &str, number: u64, destroy: bool) {
        let now = self.0.now();
        self.state().secrets.end_foreign(name, number, destroy, now);
    }

    /// Somebody sets a label, or changes nothing: the etag is another either way.
    pub fn touch(&self, name: &str, label: Option<(&str, &str)>) {
        self.state().secrets.touch(name, label);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state()
    }
}

impl Pretend for Shared {
    async fn receive(&self, head: http::request::Parts, body: Bytes) -> Result<Reply, Broken> {
        let call = Call::of(&head);
        let trouble = self.state().calls.begin(call.operation);
        self.meet(
            trouble,
            FORM,
            |status, http| self.refusal((status, http)),
            || self.carry_out(&call, &head, &body),
        )
        .await
    }
}

/// What a request asks for.
struct Call {
    operation: &'static str,
    project: String,
    secret: String,
    version: String,
    query: BTreeMap<String, String>,
}

impl Call {
    fn of(head: &Parts) -> Self {
        let query = url::form_urlencoded::parse(head.uri.query().unwrap_or_default().as_bytes());
        let mut call = Self {
            operation: "unknown",
            project: String::new(),
            secret: String::new(),
            version: String::new(),
            query: query.into_owned().collect(),
        };
        // An endpoint may have a path of its own.
        let Some((_, rest)) = head.uri.path().split_once("/v1/projects/") else {
            call.operation = tokens::operation_of(head.uri.path());
            return call;
        };
        let parts: Vec<&str> = rest.split('/').collect();
        let verb = |text: &str| {
            let (name, verb) = text.split_once(':').unwrap_or((text, ""));
            (name.to_owned(), verb.to_owned())
        };
        let get = head.method == Method::GET;
        match parts.as_slice() {
            ["-", "serviceAccounts", _] => call.operation = tokens::operation_of(head.uri.path()),
            [project, "secrets"] => {
                (*project).clone_into(&mut call.project);
                call.operation = if get { "list" } else { "create" };
            }
            [project, "secrets", secret] => {
                let (secret, verb) = verb(secret);
                (call.project, call.secret) = ((*project).to_owned(), secret);
                call.operation = match (&head.method, verb.as_str()) {
                    (&Method::GET, "") => "get",
                    (&Method::PATCH, "") => "patch",
                    (&Method::DELETE, "") => "delete",
                    (&Method::POST, "addVersion") => "addVersion",
                    _ => "unknown",
                };
            }
            [project, "secrets", secret, "versions"] => {
                (call.project, call.secret) = ((*project).to_owned(), (*secret).to_owned());
                call.operation = "listVersions";
            }
            [project, "secrets", secret, "versions", version] => {
                let (version, verb) = verb(version);
                (call.project, call.secret) = ((*project).to_owned(), (*secret).to_owned());
                call.version = version;
                call.operation = match (get, verb.as_str()) {
                    (true, "") => "getVersion",
                    (true, "access") => "access",
                    (false, "destroy") => "destroy",
                    (false, "disable") => "disable",
                    _ => "unknown",
                };
            }
            _ => {}
        }
        call
    }
}

impl Shared {
    fn carry_out(&self, call: &Call, head: &Parts, body: &[u8]) -> Reply {
        if OTHERS.contains(&call.operation) {
            return self.tokens(call.operation, head, body);
        }
        if call.operation == "unknown" {
            return self.answer(404, "text/html", "<html>404 CANARY-FROM-REMOTE</html>");
        }
        let now = self.clock.now();
        let mut state = self.state();
        let token = head.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        if !token.is_some_and(|token| state.tokens.lets_in(token, now)) {
            drop(state);
            return self.refusal(("UNAUTHENTICATED", 401));
        }
        if let Some(project) = head.headers.get("x-goog-user-project") {
            let project = project.to_str().unwrap_or_default().to_owned();
            state.quota_projects.push(project);
        }
        if call.project != Self::project() || state.denied.iter().any(|denied| denied == call.operation) {
            drop(state);
            return self.refusal(("PERMISSION_DENIED", 403));
        }
        let body: Value = match (body.is_empty(), serde_json::from_slice(body)) {
            (true, _) => json!({}),
            (false, Ok(body)) => body,
            (false, Err(_)) => {
                drop(state);
                return self.refusal(("INVALID_ARGUMENT", 400));
            }
        };
        let outcome = state.secrets.call(call, &body, now);
        drop(state);
        match outcome {
            Ok(answer) => self.answer(200, FORM, answer.to_string()),
            Err(refused) => self.refusal(refused),
        }
    }

    fn project() -> &'static str {
        FakeGcp::PROJECT
    }

    /// Google's envelope. Real services repeat what they were sent. So does this, to catch who repeats it
    /// further.
    fn refusal(&self, (status, http): Refused) -> Reply {
        let body =
            json!({"error": {"code": http, "message": "refused: CANARY-FROM-REMOTE", "status": status}});
        self.answer(http, FORM, body.to_string())
    }
}
