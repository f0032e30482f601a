//! A small pretend GitHub: Actions secrets of repositories, environments and organizations, and as much of
//! apps as their tokens need, as destinations.md 4 and test-parts.md 5 describe them. On loopback, in memory,
//! for tests and the demo.
//!
//! It opens the sealed boxes it is sent, checks headers, tokens and an app's signature, counts calls, and can
//! be told to misbehave.

mod apps;
mod secrets;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, MutexGuard},
};

use bytes::Bytes;
use http::{Method, header};
use model::{Clock, SecretBytes};
use serde_json::{Value, json};

pub use apps::RsaPem;
use apps::{App, Grant};
use secrets::Scope;
pub use secrets::Stored;

use crate::pretend::{Broken, Calls, Pretend, Reply, Service, Stage, Trouble};

/// The running pretend GitHub. It ends when this is dropped.
///
/// It begins with the repository `acme/app`, its environment `prod/eu 1`, the organization `acme` and the
/// token [`FakeGithub::TOKEN`], which may do everything. Scopes are named by their path: `repos/acme/app`,
/// `repos/acme/app/environments/prod/eu 1`, `orgs/acme`.
pub struct FakeGithub(Service<State>);

type Shared = Stage<State>;

#[derive(Default)]
struct State {
    scopes: BTreeMap<String, Scope>,
    /// Repositories by their full name, with their numbers.
    repositories: BTreeMap<String, u64>,
    /// Old paths of renamed repositories.
    moved: BTreeMap<String, String>,
    tokens: BTreeMap<String, Grant>,
    apps: BTreeMap<i64, App>,
    calls: Calls,
    denied: BTreeSet<String>,
    /// Writes under way, and the most there were at once.
    writing: (usize, usize),
    minted: u64,
}

impl FakeGithub {
    /// The token that works from the start.
    pub const TOKEN: &str = "github_pat_PRETEND0000000000000000000000";

    /// Starts on a free loopback port.
    pub async fn start(clock: Arc<dyn Clock>) -> std::io::Result<Self> {
        let fake = Self(Service::start(clock, State::default()).await?);
        fake.state().tokens.insert(Self::TOKEN.to_owned(), Grant::everything());
        fake.add_repository("acme/app");
        fake.add_scope("repos/acme/app/environments/prod/eu 1");
        fake.add_scope("orgs/acme");
        Ok(fake)
    }

    /// The base URL of the API.
    pub fn url(&self) -> String {
        self.0.url()
    }

    /// How often an operation was called, refused calls included: `key`, `list`, `look`, `write`, `remove`,
    /// `repository`, `token`.
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

    /// The most writes and removals that were ever under way at once.
    pub fn most_writes_at_once(&self) -> usize {
        self.state().writing.1
    }

    /// What becomes of the coming calls of an operation, one trouble each, in order.
    pub fn trouble(&self, operation: &str, troubles: impl IntoIterator<Item = Trouble>) {
        self.state().calls.trouble(operation, troubles);
    }

    /// Refuses an operation for lack of permission from now on, or no longer.
    pub fn deny(&self, operation: &str, denied: bool) {
        let mut state = self.state();
        if denied {
            state.denied.insert(operation.to_owned());
        } else {
            state.denied.remove(operation);
        }
    }

    /// Lets a token in, or no longer.
    pub fn allow_token(&self, token: &str, allowed: bool) {
        let mut state = self.state();
        if allowed {
            state.tokens.insert(token.to_owned(), Grant::everything());
        } else {
            state.tokens.remove(token);
        }
    }

    /// Registers an app with one installation that covers everything.
    pub fn add_app(&self, id: i64, key: &RsaPem, installation: i64) {
        self.state().apps.insert(id, App::new(key, installation));
    }

    /// Takes a permission away from an app's installation.
    pub fn take_permission(&self, app: i64, permission: &str) {
        if let Some(app) = self.state().apps.get_mut(&app) {
            app.permissions.remove(permission);
        }
    }

    /// Makes every installation token invalid.
    pub fn revoke_installation_tokens(&self) {
        self.state().tokens.retain(|_, grant| grant.expires.is_none());
    }

    /// Makes a repository.
    pub fn add_repository(&self, full_name: &str) {
        let mut state = self.state();
        let number = 1000 + state.repositories.len() as u64;
        state.repositories.insert(full_name.to_owned(), number);
        drop(state);
        self.add_scope(&format!("repos/{full_name}"));
    }

    /// The number of a repository.
    pub fn repository(&self, full_name: &str) -> Option<u64> {
        self.state().repositories.get(full_name).copied()
    }

    /// Gives a repository another name; its old address then leads to the new one.
    pub fn rename_repository(&self, from: &str, to: &str) {
        let mut state = self.state();
        if let Some(scope) = state.scopes.remove(&format!("repos/{from}")) {
            state.scopes.insert(format!("repos/{to}"), scope);
            state.moved.insert(from.to_owned(), to.to_owned());
        }
    }

    /// Makes a scope, if it is not there.
    pub fn add_scope(&self, scope: &str) {
        let mut state = self.state();
        state.minted += 1;
        let minted = state.minted;
        state.scopes.entry(scope.to_owned()).or_insert_with(|| Scope::new(scope, minted));
    }

    /// Takes a scope away with all its secrets.
    pub fn remove_scope(&self, scope: &str) {
        self.state().scopes.remove(scope);
    }

    /// Gives a scope another key: values for the old one are refused from now on.
    pub fn rotate_key(&self, scope: &str) {
        let mut state = self.state();
        state.minted += 1;
        let minted = state.minted;
        if let Some(found) = state.scopes.get_mut(scope) {
            found.rotate(scope, minted);
        }
    }

    /// A secret as it is, seen without a call.
    pub fn secret(&self, scope: &str, name: &str) -> Option<Stored> {
        self.state().scopes.get(scope)?.secrets.get(name).cloned()
    }

    /// The scope's private key and the box a secret last came in, both in base64: for who opens it elsewhere.
    pub fn sealed(&self, scope: &str, name: &str) -> Option<(String, String)> {
        self.state().scopes.get(scope)?.sealed(name)
    }

    /// Opens a box made for a scope elsewhere.
    pub fn open_box(&self, scope: &str, sealed: &[u8]) -> Option<SecretBytes> {
        self.state().scopes.get(scope)?.open(sealed)
    }

    /// The names at a scope, sorted.
    pub fn names(&self, scope: &str) -> Vec<String> {
        self.state()
            .scopes
            .get(scope)
            .map(|scope| scope.secrets.keys().cloned().collect())
            .unwrap_or_default()
    }

    /// Puts a secret there that nobody asked us for.
    pub fn plant(&self, scope: &str, name: &str, value: &str) {
        let now = self.0.now();
        if let Some(scope) = self.state().scopes.get_mut(scope) {
            scope.secrets.insert(name.to_owned(), Stored::planted(value, now));
        }
    }

    /// Takes a secret away.
    pub fn take_away(&self, scope: &str, name: &str) {
        if let Some(scope) = self.state().scopes.get_mut(scope) {
            scope.secrets.remove(name);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state()
    }
}

/// The usual form of its answers.
const FORM: &str = "application/json; charset=utf-8";

/// A status, and a body where there is one.
type Said = (u16, Option<Value>);

/// Real services repeat what they were sent. So does this, to catch who repeats it further.
fn refusal(status: u16, message: &str) -> Said {
    (status, Some(json!({"message": message, "errors": "CANARY-FROM-REMOTE", "status": status.to_string()})))
}

impl Pretend for Shared {
    async fn receive(&self, head: http::request::Parts, body: Bytes) -> Result<Reply, Broken> {
        let route = Route::of(&head);
        let trouble = self.state().calls.begin(route.operation);
        let _writing = Writing::of(self, &head.method);
        // Whoever writes at the same time is seen.
        if trouble.is_none() && head.method != Method::GET {
            tokio::task::yield_now().await;
        }
        self.meet(
            trouble,
            FORM,
            |code, status| {
                let (status, said) = refusal(status, code);
                self.answer(status, FORM, said.map(|body| body.to_string()).unwrap_or_default())
            },
            || {
                let (status, said) = self.carry_out(&route, &head, &body);
                let text = said.map(|body| body.to_string()).unwrap_or_default();
                let mut answer = self.answer(status, FORM, text);
                let location = route.location(&self.state());
                if let Some(location) = location.and_then(|location| location.parse().ok()) {
                    answer.headers_mut().insert(header::LOCATION, location);
                }
                answer
            },
        )
        .await
    }
}

/// A write under way, counted.
struct Writing<'a>(Option<&'a Shared>);

impl<'a> Writing<'a> {
    fn of(shared: &'a Shared, method: &Method) -> Self {
        if !matches!(*method, Method::PUT | Method::DELETE) {
            return Self(None);
        }
        let mut state = shared.state();
        state.writing.0 += 1;
        state.writing.1 = state.writing.1.max(state.writing.0);
        Self(Some(shared))
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        if let Some(shared) = self.0 {
            shared.state().writing.0 -= 1;
        }
    }
}

/// What a request asks for.
struct Route {
    operation: &'static str,
    /// `repos/o/r`, `repos/o/r/environments/e`, `orgs/o`.
    scope: String,
    /// The last segment, where it names something.
    name: String,
    query: BTreeMap<String, String>,
}

impl Route {
    fn of(head: &http::request::Parts) -> Self {
        let segments: Vec<String> = head.uri.path().split('/').skip(1).map(decoded).collect();
        let parts: Vec<&str> = segments.iter().map(String::as_str).collect();
        let query = url::form_urlencoded::parse(head.uri.query().unwrap_or_default().as_bytes());
        let query = query.into_owned().collect();
        let route =
            |operation, scope: String, name: &str| Self { operation, scope, name: name.to_owned(), query };
        let (scope, rest): (String, &[&str]) = match parts.as_slice() {
            ["app", "installations", id, "access_tokens"] => return route("token", String::new(), id),
            ["repos", owner, name] => return route("repository", format!("repos/{owner}/{name}"), ""),
            ["repos", owner, name, "environments", environment, "secrets", rest @ ..] => {
                (format!("repos/{owner}/{name}/environments/{environment}"), rest)
            }
            ["repos", owner, name, "actions", "secrets", rest @ ..] => {
                (format!("repos/{owner}/{name}"), rest)
            }
            ["orgs", name, "actions", "secrets", rest @ ..] => (format!("orgs/{name}"), rest),
            _ => return route("unknown", String::new(), ""),
        };
        let operation = match (&head.method, rest) {
            (&Method::GET, []) => "list",
            (&Method::GET, ["public-key"]) => "key",
            (&Method::GET, [_]) => "look",
            (&Method::PUT, [_]) => "write",
            (&Method::DELETE, [_]) => "remove",
            _ => "unknown",
        };
        route(operation, scope, rest.first().copied().unwrap_or_default())
    }

    /// Where a renamed repository's secrets are now.
    fn location(&self, state: &State) -> Option<String> {
        let full_name = self.scope.strip_prefix("repos/")?;
        let to = state.moved.get(full_name)?;
        let name = if self.name.is_empty() { String::new() } else { format!("/{}", self.name) };
        Some(format!("/repos/{to}/actions/secrets{name}"))
    }
}

fn decoded(segment: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = segment.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = (*first == b'%').then(|| after.get(..2)).flatten();
        match hex.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

impl Shared {
    fn carry_out(&self, route: &Route, head: &http::request::Parts, body: &[u8]) -> Said {
        let text =
            |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if text("user-agent").is_empty() {
            return refusal(403, "Request forbidden by administrative rules. (User-Agent header)");
        }
        if text("x-github-api-version") != "2022-11-28" || text("accept") != "application/vnd.github+json" {
            return refusal(400, "The headers name no version of the API");
        }
        let Some(token) = text("authorization").strip_prefix("Bearer ") else {
            return refusal(401, "Requires authentication");
        };
        let now = self.clock.now();
        let mut state = self.state();
        if route.operation == "token" {
            return state.make_token(token, &route.name, body, now);
        }
        let Some(grant) = state.tokens.get(token).filter(|grant| grant.lasts(now)).cloned() else {
            return refusal(401, "Bad credentials");
        };
        if state.denied.contains(route.operation) || !grant.allows(route) {
            return refusal(403, "Resource not accessible by integration");
        }
        if route.location(&state).is_some() {
            return refusal(307, "Moved Permanently");
        }
        if route.operation == "repository" {
            let full_name = route.scope.trim_start_matches("repos/");
            return match state.repositories.get(full_name) {
                Some(id) => (200, Some(json!({"id": id, "full_name": full_name}))),
                None => refusal(404, "Not Found"),
            };
        }
        match state.scopes.get_mut(&route.scope) {
            Some(scope) => scope.call(route, body, now),
            None => refusal(404, "Not Found"),
        }
    }
}
