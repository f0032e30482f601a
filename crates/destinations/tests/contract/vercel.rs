//! Vercel: our pretend service, in two settings, a stand-in not written by us, and the real one.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use destinations::{
    Kind, NetSettings,
    fakes::{FakeVercel, Trouble},
    kinds,
    net::{Client, Effect, Policy, Snapshot},
};
use http::Method;
use serde_json::{Value, json};

use crate::{
    bench::{Backdoor, Bench, Call, Need, Part, Setting, SystemClock, missing, net_of, variable},
    emulate,
};

/// What every part can.
const COMMON: &[Need] = &[Need::Marks, Need::Handles, Need::Writes, Need::Empty];

/// What our pretend service can beside.
const PRETENDED: &[Need] =
    &[Need::Marks, Need::Handles, Need::Writes, Need::Empty, Need::Troubles, Need::Calls, Need::Credentials];

pub(crate) fn parts() -> Vec<Part> {
    let part = |name, setting, able| Part { kind: "vercel-project", name, setting, able };
    vec![
        // One record for each entry.
        part("fake", Setting::There(Arc::new(|| Box::pin(fake(&["production", "preview"])))), PRETENDED),
        // Two: development cannot share one.
        part(
            "fake-all-environments",
            Setting::There(Arc::new(|| Box::pin(fake(&["development", "preview", "production"])))),
            PRETENDED,
        ),
        part("emulate", emulated(), COMMON),
        part("real", real(), COMMON),
    ]
}

pub(crate) fn kind() -> &'static dyn Kind {
    *kinds().iter().find(|kind| kind.slug() == "vercel-project").unwrap()
}

/// No two trials share a name, also where they share a project, and over several runs.
fn prefix() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    #[expect(clippy::disallowed_methods, reason = "names of different runs must differ")]
    let run = jiff::Timestamp::now().as_nanosecond() % 1_000_000_000_000_000;
    format!("KEYFERRY_CONTRACT_{run}_{next}_")
}

async fn fake(environments: &[&str]) -> Bench {
    let fake = Arc::new(FakeVercel::start(Arc::new(SystemClock)).await.unwrap());
    let settings = json!({"endpoint": fake.url(), "access_token": FakeVercel::TOKEN,
        "project_id": FakeVercel::PROJECT, "team_id": FakeVercel::TEAM,
        "deployment_environments": environments});
    Bench {
        kind: kind(),
        wrong: with_token(&settings, "another-token"),
        settings,
        back: Arc::new(FakeBackdoor {
            fake: Arc::clone(&fake),
            told: AtomicUsize::new(0),
            records: if environments.contains(&"development") { 2 } else { 1 },
        }),
        prefix: prefix(),
        keep: Box::new(fake),
        patient: false,
    }
}

fn with_token(settings: &Value, token: &str) -> Value {
    let mut settings = settings.clone();
    settings["access_token"] = token.into();
    settings
}

struct FakeBackdoor {
    fake: Arc<FakeVercel>,
    told: AtomicUsize,
    /// How many an entry becomes.
    records: usize,
}

#[async_trait]
impl Backdoor for FakeBackdoor {
    async fn value(&self, name: &str) -> Option<Vec<u8>> {
        let seen = self.fake.seen(name);
        let values: BTreeSet<&str> = seen.iter().map(|record| record.value.as_str()).collect();
        assert!(values.len() <= 1, "the records of {name} differ");
        values.first().map(|value| value.as_bytes().to_vec())
    }

    async fn plant(&self, name: &str, value: &str) {
        self.fake.take_away(name);
        self.fake.plant(json!({"key": name, "value": value, "target": ["production", "preview"]}));
    }

    async fn take_away(&self, name: &str) {
        self.fake.take_away(name);
    }

    /// Vercel keeps none. What counts is how often the content became another.
    async fn versions(&self, name: &str) -> usize {
        self.fake.seen(name).iter().map(|record| record.changes).max().unwrap_or_default()
    }

    fn trouble(&self, call: Call, troubles: Vec<Trouble>) {
        let operation = match call {
            Call::Create => "create",
            Call::Update => "edit",
            Call::Remove => "remove",
            Call::Look => "list",
        };
        let troubles = troubles.into_iter().map(|trouble| match trouble {
            Trouble::Refuse(code, _) if code.contains("Throttl") => Trouble::Refuse("rate_limited", 429),
            other => other,
        });
        self.fake.trouble(operation, troubles);
    }

    fn costs(&self) -> (usize, usize) {
        (1, self.records)
    }

    fn calls(&self) -> usize {
        let all = self.fake.all_calls();
        all - self.told.swap(all, Ordering::Relaxed)
    }
}

/// emulate, made to answer as Vercel does where it does not (see [`emulate`]).
fn emulated() -> Setting {
    let Some(url) = variable("KEYFERRY_TEST_EMULATE_VERCEL") else {
        return missing("KEYFERRY_TEST_EMULATE_VERCEL is not set");
    };
    Setting::There(Arc::new(move || {
        let url = url.clone();
        Box::pin(async move {
            let probe = Probe::new(&url, emulate::TOKEN, None);
            // A team and a project for each trial, so that none has to page through what others left.
            let project = prefix().trim_end_matches('_').to_lowercase().replace('_', "-");
            let team = json!({"slug": project, "name": project});
            let team = probe.call(Method::POST, "/v2/teams", Some(&team)).await.unwrap();
            let team = team["team"]["id"].as_str().unwrap().to_owned();
            let in_team = format!("/v11/projects?teamId={team}");
            probe.call(Method::POST, &in_team, Some(&json!({"name": project}))).await.unwrap();
            let shim = emulate::Shim::start(&url).await;
            let settings = json!({"endpoint": shim.url(), "access_token": emulate::TOKEN, "project_id": project,
                "team_id": team, "deployment_environments": ["production", "preview"]});
            Bench {
                kind: kind(),
                wrong: settings.clone(),
                settings,
                back: Arc::new(Probe::new(&url, emulate::TOKEN, Some((&project, &team)))),
                prefix: "KEYFERRY_".to_owned(),
                keep: Box::new(shim),
                patient: false,
            }
        })
    }))
}

fn real() -> Setting {
    let variables = (
        variable("KEYFERRY_TEST_REAL_VERCEL_TOKEN"),
        variable("KEYFERRY_TEST_REAL_VERCEL_PROJECT_ID"),
        variable("KEYFERRY_TEST_REAL_VERCEL_TEAM_ID"),
    );
    let (Some(token), Some(project), Some(team)) = variables else {
        return Setting::Missing("KEYFERRY_TEST_REAL_VERCEL_* are not set");
    };
    Setting::There(Arc::new(move || {
        let (token, project, team) = (token.clone(), project.clone(), team.clone());
        Box::pin(async move {
            // Of the type whose values can be read back.
            let settings = json!({"access_token": token, "project_id": project, "team_id": team,
                "deployment_environments": ["development"]});
            Bench {
                kind: kind(),
                wrong: with_token(&settings, "wrong"),
                settings,
                back: Arc::new(Probe::new("https://api.vercel.com", &token, Some((&project, &team)))),
                prefix: prefix(),
                keep: Box::new(()),
                patient: false,
            }
        })
    }))
}

/// Speaks to the service on its own.
struct Probe {
    client: Client,
    url: String,
    token: String,
    project: String,
    team: String,
}

impl Probe {
    fn new(url: &str, token: &str, project: Option<(&str, &str)>) -> Self {
        let system_roots = url.starts_with("https");
        let net = net_of(NetSettings { system_roots, ..NetSettings::default() }, Snapshot::default());
        let (project, team) = project.unwrap_or_default();
        Self {
            client: net.client(&Policy::default()),
            url: url.to_owned(),
            token: token.to_owned(),
            project: project.to_owned(),
            team: team.to_owned(),
        }
    }

    /// One call. `None` when the service refuses it.
    async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Option<Value> {
        let body = body.map(|body| serde_json::to_vec(body).unwrap()).unwrap_or_default();
        let request = http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url))
            .header("authorization", format!("Bearer {}", self.token))
            .header("content-type", "application/json")
            .body(Bytes::from(body))
            .unwrap();
        let answer = self.client.call(request, Effect::Write).await.unwrap();
        answer.status.is_success().then(|| serde_json::from_slice(answer.body.expose()).unwrap_or_default())
    }

    fn path(&self, version: &str, more: &str) -> String {
        let mark = if more.contains('?') { '&' } else { '?' };
        format!("/{version}/projects/{}/env{more}{mark}teamId={}", self.project, self.team)
    }

    async fn records(&self, name: &str) -> Vec<Value> {
        let all = self.call(Method::GET, &self.path("v10", "?decrypt=true"), None).await.unwrap();
        let all = all["envs"].as_array().cloned().unwrap_or_default();
        all.into_iter().filter(|record| record["key"] == name).collect()
    }
}

#[async_trait]
impl Backdoor for Probe {
    async fn value(&self, name: &str) -> Option<Vec<u8>> {
        let record = self.records(name).await.into_iter().next()?;
        let one = format!("/{}?decrypt=true", record["id"].as_str().unwrap());
        let version = if self.url.starts_with("https") { "v1" } else { "v10" };
        let record = self.call(Method::GET, &self.path(version, &one), None).await?;
        record["value"].as_str().map(|value| value.as_bytes().to_vec())
    }

    async fn plant(&self, name: &str, value: &str) {
        self.take_away(name).await;
        let target = if self.url.starts_with("https") { "development" } else { "production" };
        let body = json!({"key": name, "value": value, "type": "encrypted", "target": [target]});
        self.call(Method::POST, &self.path("v10", ""), Some(&body)).await.unwrap();
    }

    async fn take_away(&self, name: &str) {
        for record in self.records(name).await {
            let one = format!("/{}", record["id"].as_str().unwrap());
            self.call(Method::DELETE, &self.path("v9", &one), None).await.unwrap();
        }
    }
}
