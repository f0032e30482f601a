//! A small pretend Vercel: the environment variables of one project, as destinations.md 5 describes them.
//! On loopback, in memory, for tests and the demo.
//!
//! It checks the token and the team, refuses as the real one does, in arrays item by item, counts calls,
//! and can be told to misbehave.

mod project;

use std::{
    collections::BTreeMap,
    sync::{Arc, MutexGuard},
};

use bytes::Bytes;
use http::{HeaderValue, Method, header, request::Parts};
use model::Clock;
use serde_json::{Value, json};

pub use project::{ListShape, Seen};
use project::{Project, Refused};

use crate::pretend::{Broken, Calls, Pretend, Queues, Reply, Service, Stage, Trouble};

/// The running pretend Vercel. It ends when this is dropped.
pub struct FakeVercel(Service<State>);

type Shared = Stage<State>;

#[derive(Default)]
struct State {
    project: Project,
    calls: Calls,
    answers: Queues<Answer>,
    exchanges: Vec<Exchange>,
}

/// The usual form of its answers.
const FORM: &str = "application/json; charset=utf-8";

/// What is answered in place of what would be.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// A `Retry-After` header.
    pub retry_after: Option<String>,
    /// Its body.
    pub body: Value,
}

impl Answer {
    /// A refusal with a code.
    pub fn refusal(status: u16, code: &str) -> Self {
        // Real services repeat what they were sent. So does this, to catch who repeats it further.
        let body = json!({"error": {"code": code, "message": "refused: CANARY-FROM-REMOTE"}});
        Self { status, retry_after: None, body }
    }

    /// A used-up allowance, renewed at a time in seconds since 1970.
    pub fn rate_limited(reset: i64) -> Self {
        let limit = json!({"total": 60, "remaining": 0, "reset": reset});
        let body = json!({"error": {"code": "rate_limited", "name": "api-projects-environment-variable",
            "message": "Too many requests: CANARY-FROM-REMOTE", "limit": limit}});
        Self { status: 429, retry_after: None, body }
    }
}

/// One call and its answer, as it went over the wire.
#[derive(Debug, Clone)]
pub struct Exchange {
    /// `create`, `list`, `edit`, `remove` or `remove-many`.
    pub operation: &'static str,
    /// The request's body.
    pub request: Value,
    /// The status of the answer.
    pub status: u16,
    /// The answer's body.
    pub answer: Value,
}

impl FakeVercel {
    /// The access token that works.
    pub const TOKEN: &str = "vercel-token-0000000000";
    /// The project there is.
    pub const PROJECT: &str = "prj_pretend";
    /// The team it belongs to.
    pub const TEAM: &str = "team_pretend";

    /// Starts on a free loopback port.
    pub async fn start(clock: Arc<dyn Clock>) -> std::io::Result<Self> {
        Ok(Self(Service::start(clock, State::default()).await?))
    }

    /// The base URL.
    pub fn url(&self) -> String {
        self.0.url()
    }

    /// How often an operation was called, refused calls included: `create`, `list`, `edit`, `remove`.
    pub fn calls(&self, operation: &str) -> usize {
        self.state().calls.of(operation)
    }

    /// All calls.
    pub fn all_calls(&self) -> usize {
        self.state().calls.except(&[])
    }

    /// Starts counting anew.
    pub fn forget_calls(&self) {
        self.state().calls.forget();
    }

    /// What becomes of the coming calls of an operation, one trouble each, in order.
    pub fn trouble(&self, operation: &str, troubles: impl IntoIterator<Item = Trouble>) {
        self.state().calls.trouble(operation, troubles);
    }

    /// What the coming calls of an operation are answered instead of being carried out.
    pub fn answer(&self, operation: &str, answers: impl IntoIterator<Item = Answer>) {
        self.state().answers.add(operation, answers);
    }

    /// Refuses an operation for lack of permission from now on, or no longer.
    pub fn deny(&self, operation: &str, denied: bool) {
        let mut state = self.state();
        state.project.denied.retain(|name| name != operation);
        if denied {
            state.project.denied.push(operation.to_owned());
        }
    }

    /// The variable of this name is refused with this code when it comes in an array, `times` often.
    pub fn fail_item(&self, key: &str, code: &'static str, times: usize) {
        self.state().project.failing.push((key.to_owned(), code, times));
    }

    /// An array in which one is at fault is refused as a whole, naming it or not.
    pub fn refuse_arrays_whole(&self, naming: bool) {
        self.state().project.whole = Some(naming);
    }

    /// Longest array that is taken.
    pub fn limit_arrays(&self, most: usize) {
        self.state().project.most_in_array = most;
    }

    /// Most variables for an environment.
    pub fn limit_variables(&self, most: usize) {
        self.state().project.most_variables = most;
    }

    /// In which of its forms the list is answered.
    pub fn shape_list(&self, shape: ListShape) {
        self.state().project.shape = shape;
    }

    /// Hides what is for production from the token, and says how much it hides.
    pub fn hide_production(&self, hidden: bool) {
        self.state().project.hides_production = hidden;
    }

    /// Puts a variable there that nobody asked us for, and answers its id. `record` is as in an answer;
    /// what it lacks is filled in.
    pub fn plant(&self, record: Value) -> String {
        let now = self.0.now();
        self.state().project.plant(record, now)
    }

    /// Takes every variable of a name away.
    pub fn take_away(&self, key: &str) {
        self.state().project.records.retain(|record| record.key != key);
    }

    /// Changes a record as a person would in the dashboard.
    pub fn change(&self, id: &str, changes: &Value) {
        let now = self.0.now();
        self.state().project.change(id, changes, now);
    }

    /// The variables of a name, seen without a call, in the order of their making.
    pub fn seen(&self, key: &str) -> Vec<Seen> {
        self.state().project.records.iter().filter(|record| record.key == key).map(Into::into).collect()
    }

    /// The names there are, sorted, each as often as there are records of it.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.state().project.records.iter().map(|record| record.key.clone()).collect();
        names.sort_unstable();
        names
    }

    /// All calls that were carried out or refused so far, with their answers.
    pub fn exchanges(&self) -> Vec<Exchange> {
        self.state().exchanges.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state()
    }
}

impl Pretend for Shared {
    async fn receive(&self, head: http::request::Parts, body: Bytes) -> Result<Reply, Broken> {
        let operation = operation_of(&head);
        // A deletion is one to whoever makes trouble, however many it takes.
        let name = if operation == "remove-many" { "remove" } else { operation };
        let (trouble, answer) = {
            let mut state = self.state();
            (state.calls.begin(name), state.answers.next(name))
        };
        self.meet(
            trouble,
            FORM,
            |code, status| self.respond(Answer::refusal(status, code)),
            || self.respond(answer.unwrap_or_else(|| self.carry_out(operation, &head, &body))),
        )
        .await
    }
}

/// What a request asks for.
fn operation_of(head: &Parts) -> &'static str {
    let path: Vec<&str> = head.uri.path().trim_matches('/').split('/').collect();
    match (&head.method, path.as_slice()) {
        (&Method::POST, ["v10", "projects", _, "env"]) => "create",
        (&Method::GET, ["v10", "projects", _, "env"]) => "list",
        (&Method::PATCH, ["v9" | "v10", "projects", _, "env", _]) => "edit",
        (&Method::DELETE, ["v9" | "v10", "projects", _, "env", _]) => "remove",
        (&Method::DELETE, ["v1", "projects", _, "env"]) => "remove-many",
        _ => "unknown",
    }
}

impl Shared {
    fn carry_out(&self, operation: &'static str, head: &Parts, body: &[u8]) -> Answer {
        let request = match body {
            [] => Ok(Value::Null),
            body => serde_json::from_slice(body).map_err(|_| Refused::of(400, "bad_request")),
        };
        let outcome = check_access(operation, head).and(request).and_then(|request| {
            let id = head.uri.path().rsplit('/').next().unwrap_or_default();
            let query: BTreeMap<String, String> =
                url::form_urlencoded::parse(head.uri.query().unwrap_or_default().as_bytes())
                    .into_owned()
                    .collect();
            let now = self.clock.now();
            let mut state = self.state();
            let outcome = state.project.call(operation, id, &query, &request, now);
            let (status, answer) = match &outcome {
                Ok((status, answer)) => (*status, answer.clone()),
                Err(refused) => (refused.status, refused.body()),
            };
            state.exchanges.push(Exchange { operation, request, status, answer });
            outcome
        });
        match outcome {
            Ok((status, body)) => Answer { status, retry_after: None, body },
            Err(refused) => Answer { status: refused.status, retry_after: None, body: refused.body() },
        }
    }

    fn respond(&self, answer: Answer) -> Reply {
        let mut reply = self.answer(answer.status, FORM, answer.body.to_string());
        if let Some(after) = answer.retry_after.and_then(|after| HeaderValue::try_from(after).ok()) {
            reply.headers_mut().insert(header::RETRY_AFTER, after);
        }
        reply
    }
}

fn check_access(operation: &str, head: &Parts) -> Result<(), Refused> {
    let authorization = head.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    match authorization.and_then(|value| value.strip_prefix("Bearer ")) {
        Some(FakeVercel::TOKEN) => {}
        Some(_) => return Err(Refused { invalid_token: true, ..Refused::of(403, "forbidden") }),
        None => return Err(Refused::of(401, "not_authenticated")),
    }
    if operation == "unknown" {
        return Err(Refused::of(404, "not_found"));
    }
    let query = head.uri.query().unwrap_or_default().as_bytes();
    let team = url::form_urlencoded::parse(query).find(|(name, _)| name == "teamId");
    let ours = team.is_some_and(|(_, team)| team == FakeVercel::TEAM)
        && head.uri.path().split('/').nth(3) == Some(FakeVercel::PROJECT);
    if ours { Ok(()) } else { Err(Refused::of(404, "not_found")) }
}
