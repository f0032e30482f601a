//! Google Secret Manager: our pretend service, a stand-in behind Google's own description of the API,
//! and the real one.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use destinations::{
    Kind,
    fakes::{FakeGcp, Trouble},
    kinds,
};
use serde_json::{Value, json};

use crate::bench::{Backdoor, Bench, Call, Need, Part, Setting, SystemClock};

pub(crate) fn parts() -> Vec<Part> {
    vec![Part {
        kind: "gcp-sm",
        name: "fake",
        setting: Setting::There(Arc::new(|| Box::pin(fake()))),
        able: &[
            Need::Marks,
            Need::Tags,
            Need::Handles,
            Need::Versions,
            Need::Binary,
            Need::NoEmpty,
            Need::Troubles,
            Need::Calls,
            Need::Credentials,
        ],
    }]
}

fn kind() -> &'static dyn Kind {
    *kinds().iter().find(|kind| kind.slug() == "gcp-sm").unwrap()
}

/// No two trials share a name, also where they share a service, and over several runs.
fn prefix() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    #[expect(clippy::disallowed_methods, reason = "names of different runs must differ")]
    let run = jiff::Timestamp::now().as_nanosecond() % 1_000_000_000_000_000;
    format!("keyferry-contract_{run}-{next}_")
}

fn settings(url: &str, credentials: &str) -> Value {
    json!({"endpoint": url, "credentials": credentials})
}

async fn fake() -> Bench {
    let fake = Arc::new(FakeGcp::start(Arc::new(SystemClock)).await.unwrap());
    Bench {
        kind: kind(),
        settings: settings(&fake.url(), &fake.credentials()),
        wrong: settings(&fake.url(), &fake.stale_credentials()),
        back: Arc::new(FakeBackdoor { fake: Arc::clone(&fake), told: AtomicUsize::new(0) }),
        prefix: prefix(),
        keep: Box::new(fake),
    }
}

/// How a label keeps the tags of the trials.
fn kept(text: &str) -> String {
    text.replace([' ', ':'], "_")
}

struct FakeBackdoor {
    fake: Arc<FakeGcp>,
    told: AtomicUsize,
}

#[async_trait]
impl Backdoor for FakeBackdoor {
    async fn value(&self, name: &str) -> Option<Vec<u8>> {
        self.fake.view(name)?.value.map(|value| value.expose().to_vec())
    }

    async fn plant(&self, name: &str, value: &str) {
        self.fake.plant(name, value, &[]);
    }

    async fn take_away(&self, name: &str) {
        self.fake.take_away(name);
    }

    async fn tags(&self, name: &str) -> BTreeMap<String, String> {
        self.fake.view(name).map(|view| view.labels).unwrap_or_default()
    }

    fn kept(&self, text: &str) -> String {
        kept(text)
    }

    async fn versions(&self, name: &str) -> usize {
        self.fake.view(name).map_or(0, |view| view.versions.len())
    }

    fn trouble(&self, call: Call, troubles: Vec<Trouble>) {
        let operation = match call {
            Call::Create => "create",
            Call::Update => "addVersion",
            Call::Remove => "delete",
            Call::Look => "get",
        };
        let in_googles_words = |trouble| match trouble {
            Trouble::Refuse("ThrottlingException", _) => Trouble::Refuse("RESOURCE_EXHAUSTED", 429),
            trouble => trouble,
        };
        self.fake.trouble(operation, troubles.into_iter().map(in_googles_words));
    }

    fn costs(&self) -> (usize, usize) {
        (2, 2)
    }

    fn calls(&self) -> usize {
        let all = self.fake.all_calls();
        all - self.told.swap(all, Ordering::Relaxed)
    }
}
