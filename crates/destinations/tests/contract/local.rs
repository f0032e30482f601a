//! Kinds that need no network: they are their own fakes.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use destinations::{
    Fault, Kind,
    fakes::Trouble,
    in_mem::{InMem, Space, Step},
    kinds,
};
use serde_json::{Value, json};

use crate::bench::{Backdoor, Bench, Call, Need, Part, Setting};

pub(crate) fn parts() -> Vec<Part> {
    vec![
        Part {
            kind: "in-mem",
            name: "itself",
            setting: Setting::There(Arc::new(|| Box::pin(async { in_mem() }))),
            able: &[
                Need::Marks,
                Need::Tags,
                Need::Handles,
                Need::Versions,
                Need::Troubles,
                Need::Calls,
                Need::Writes,
                Need::Binary,
                Need::Empty,
            ],
        },
        Part {
            kind: "file",
            name: "itself",
            setting: Setting::There(Arc::new(|| Box::pin(async { file() }))),
            able: &[Need::Marks, Need::Writes, Need::Empty],
        },
    ]
}

fn in_mem() -> Bench {
    let kind: &'static InMem = Box::leak(Box::new(InMem::new()));
    Bench {
        kind,
        back: Arc::new(SpaceBackdoor { space: kind.space(""), told: AtomicUsize::new(0) }),
        settings: json!({}),
        wrong: json!({}),
        prefix: String::new(),
        patient: false,
        keep: Box::new(()),
    }
}

struct SpaceBackdoor {
    space: Arc<Space>,
    told: AtomicUsize,
}

#[async_trait]
impl Backdoor for SpaceBackdoor {
    async fn value(&self, name: &str) -> Option<Vec<u8>> {
        self.space.entry(name).map(|entry| entry.value.expose().to_vec())
    }

    async fn plant(&self, name: &str, value: &str) {
        self.space.plant(name, value, None, false);
    }

    async fn take_away(&self, name: &str) {
        self.space.meddle(name, |entry| *entry = None);
    }

    async fn tags(&self, name: &str) -> BTreeMap<String, String> {
        self.space.entry(name).map(|entry| entry.tags).unwrap_or_default()
    }

    async fn versions(&self, name: &str) -> usize {
        self.space.entry(name).map_or(0, |entry| usize::try_from(entry.revision).unwrap())
    }

    fn trouble(&self, _: Call, troubles: Vec<Trouble>) {
        let lost = || Fault::external("connection_lost", "lost").ambiguous();
        self.space.script(troubles.into_iter().map(|trouble| match trouble {
            Trouble::Refuse(code, _) if code.contains("Throttl") => {
                Step::Fail(Fault::external("throttled", ""))
            }
            Trouble::Refuse(..) | Trouble::Garbage(..) | Trouble::Answer(..) => {
                Step::Fail(Fault::external("provider_down", ""))
            }
            Trouble::LoseAnswer => Step::LoseAnswer(lost()),
            Trouble::Break => Step::Fail(lost()),
            Trouble::Hang => Step::Fail(Fault::external("timeout", "").ambiguous()),
            Trouble::Slow(time) => Step::Wait(time),
        }));
    }

    fn calls(&self) -> usize {
        let calls = self.space.calls();
        let all = calls.look + calls.put + calls.remove;
        all - self.told.swap(all, Ordering::Relaxed)
    }
}

fn file() -> Bench {
    let kind: &'static dyn Kind = *kinds().iter().find(|kind| kind.slug() == "file").unwrap();
    let dir = tempfile::TempDir::new().unwrap();
    let path = dir.path().join("secrets.json");
    Bench {
        kind,
        settings: json!({ "path": path }),
        wrong: json!({}),
        back: Arc::new(FileBackdoor(path)),
        prefix: String::new(),
        patient: false,
        keep: Box::new(dir),
    }
}

struct FileBackdoor(PathBuf);

impl FileBackdoor {
    fn read(&self) -> BTreeMap<String, Value> {
        std::fs::read(&self.0).map(|bytes| serde_json::from_slice(&bytes).unwrap()).unwrap_or_default()
    }

    fn write(&self, values: &BTreeMap<String, Value>) {
        std::fs::write(&self.0, serde_json::to_vec(values).unwrap()).unwrap();
    }
}

#[async_trait]
impl Backdoor for FileBackdoor {
    async fn value(&self, name: &str) -> Option<Vec<u8>> {
        self.read().get(name).map(|value| value.as_str().unwrap().as_bytes().to_vec())
    }

    async fn plant(&self, name: &str, value: &str) {
        let mut values = self.read();
        values.insert(name.to_owned(), value.into());
        self.write(&values);
    }

    async fn take_away(&self, name: &str) {
        let mut values = self.read();
        values.remove(name);
        self.write(&values);
    }
}
