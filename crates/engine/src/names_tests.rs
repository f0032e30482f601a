//! No two secrets, nor two keys of one, silently share a name at a destination: whatever the kind's rules
//! for names, the template, the granularity, and the order things happen in. The second is refused, in the
//! answer to `set` or in the status of the entry, and the first keeps what it has.
//!
//! Every kind there is goes through it by its own rules, and so do rules stricter than any of them. What is
//! behind them believes whatever it is told: it looks at no marks and the last write wins, so that nothing
//! but the engine stands in the way.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use destinations::{
    Abilities, Case, Config, Destination, Fault, Field, FieldFault, Kind, Mode, NameRule, Net, Put,
    PutOutcome, Receipt, Remote, Remove, kinds,
};
use model::{Granularity, RemoteName, SyncStatus, json::SecretJson};
use proptest::prelude::*;

use crate::{
    AssociationError, EntryView, Settings,
    testing::{ABILITIES, Bench, Remotes, destination, secret},
};

/// Names that meet under one rule or another.
const PATHS: [&str; 9] = ["a/b", "a-b", "a_b", "A/B", "a.b", "ab", "x/a/b", "a", "a/b_k"];
const KEYS: [&str; 7] = ["k", "K", "k-1", "k_1", "K.1", "b", "b_k"];

/// `None`: the kind's own.
const TEMPLATES: [Option<&str>; 12] = [
    None,
    Some("{{ .SecretPath }}"),
    Some("{{ .SecretBaseName }}"),
    Some("N_{{ .SecretPath | uppercase }}"),
    Some("n{{ .SecretPath | replace \"/\" \"\" | lowercase }}"),
    Some("same"),
    Some("{{ .SecretPath }}_{{ .SecretKey }}"),
    Some("{{ .SecretPath }}{{ .SecretKey }}"),
    Some("{{ .SecretKey }}"),
    Some("{{ .SecretBaseName | uppercase }}_{{ .SecretKey | lowercase }}"),
    Some("{{ $unused := .SecretKey }}{{ .SecretPath }}"),
    Some("{{ .SecretKey | replace \"_\" \"/\" }}-{{ .SecretPath | replace \"/\" \"_\" }}"),
];

#[derive(Debug, Clone)]
enum Act {
    /// The keys the secret has from now on.
    Write(usize, BTreeSet<usize>),
    Delete(usize),
    Set(usize),
    Remove(usize),
    /// Template and granularity.
    Configure(usize, bool),
}

fn act() -> impl Strategy<Value = Act> {
    let path = 0..PATHS.len();
    let keys = proptest::collection::btree_set(0..KEYS.len(), 1..4);
    prop_oneof![
        3 => (path.clone(), keys).prop_map(|(path, keys)| Act::Write(path, keys)),
        1 => path.clone().prop_map(Act::Delete),
        4 => path.clone().prop_map(Act::Set),
        1 => path.prop_map(Act::Remove),
        2 => (0..TEMPLATES.len(), any::<bool>()).prop_map(|(at, by_key)| Act::Configure(at, by_key)),
    ]
}

/// Rules with everything a rule can have.
static STRICT: [Abilities; 3] = [strict(Case::Sensitive), strict(Case::Folded), strict(Case::Upper)];

const fn strict(case: Case) -> Abilities {
    Abilities {
        names: NameRule {
            allows: |c| c.is_ascii_alphanumeric() || c == '_',
            allowed: "letters, digits and _",
            replacement: '_',
            max_len: 40,
            case,
            also: |name| {
                name.starts_with(|c: char| c.is_ascii_digit()).then_some("must not begin with a digit")
            },
        },
        granularity: Granularity::SecretPath,
        path_template: ABILITIES.path_template,
        key_template: ABILITIES.key_template,
        max_value_bytes: 1 << 16,
        empty_values: false,
        marks: true,
        create_notices: true,
        custom_tags: None,
        binary: false,
        batch: 1,
    }
}

/// A kind's rules in front of a credulous destination.
struct Guise {
    abilities: &'static Abilities,
    kind: Option<&'static dyn Kind>,
    credulous: Arc<Credulous>,
}

/// Name as the destination compares it to what was last written under it.
struct Credulous {
    names: &'static NameRule,
    held: Mutex<BTreeMap<String, String>>,
}

impl Guise {
    /// Tests keep kinds for ever, as programs do.
    fn leak(abilities: &'static Abilities, kind: Option<&'static dyn Kind>) -> &'static Self {
        let credulous = Credulous { names: &abilities.names, held: Mutex::default() };
        Box::leak(Box::new(Self { abilities, kind, credulous: Arc::new(credulous) }))
    }
}

impl Kind for Guise {
    fn slug(&self) -> &'static str {
        "test"
    }
    fn title(&self) -> &'static str {
        "Guise"
    }
    fn fields(&self) -> &'static [Field] {
        &[]
    }
    fn abilities(&self) -> &'static Abilities {
        self.abilities
    }
    fn open(&self, _: &Config, _: &Arc<Net>) -> Result<Arc<dyn Destination>, FieldFault> {
        Ok(Arc::clone(&self.credulous) as Arc<dyn Destination>)
    }
    fn remote_name(&self, rendered: &str) -> Result<RemoteName, Fault> {
        match self.kind {
            Some(kind) => kind.remote_name(rendered),
            None => self.abilities.names.apply(rendered),
        }
    }
}

#[async_trait]
impl Destination for Credulous {
    async fn look(&self, _: &RemoteName) -> Result<Remote, Fault> {
        Ok(Remote::Absent)
    }

    async fn put(&self, put: &Put<'_>) -> Result<PutOutcome, Fault> {
        let name = self.names.identity(put.name).into_owned();
        self.held.lock().unwrap().insert(name, put.value.expose_text().unwrap().to_owned());
        Ok(PutOutcome::Written(Receipt::default()))
    }

    async fn remove(&self, remove: &Remove<'_>) -> Result<(), Fault> {
        self.held.lock().unwrap().remove(self.names.identity(remove.name).as_ref());
        Ok(())
    }
}

/// What a key of a secret holds: nobody else's value.
fn value(path: &str, key: &str, version: usize) -> String {
    format!("[{path}#{key}#{version}]")
}

/// Plays the acts, and looks after each whether everything is whose it should be.
async fn play(guise: &'static Guise, acts: &[Act]) -> Result<(), TestCaseError> {
    let bench = Bench::of(Settings::default(), guise, Arc::<Remotes>::default()).await;
    bench.configure("one", "{}").await;
    let mut live: BTreeMap<&str, BTreeMap<&str, String>> = BTreeMap::new();
    let mut set: BTreeSet<&str> = BTreeSet::new();
    for (version, act) in acts.iter().enumerate() {
        match act {
            Act::Write(path, keys) => {
                let path = PATHS[*path];
                let data: BTreeMap<&str, String> =
                    keys.iter().map(|key| (KEYS[*key], value(path, KEYS[*key], version))).collect();
                bench.write(path, Some(&serde_json::to_string(&data).unwrap())).await;
                live.insert(path, data);
            }
            Act::Delete(path) => {
                bench.write(PATHS[*path], None).await;
                live.remove(PATHS[*path]);
            }
            Act::Set(path) => {
                let path = PATHS[*path];
                match bench.engine.set_association(&destination("one"), &secret(path)).await {
                    Ok(_) => drop(set.insert(path)),
                    Err(AssociationError::NoSecret { .. }) => prop_assert!(!live.contains_key(path)),
                    Err(AssociationError::NameHeld { holder, .. }) => {
                        let other = holder.strip_prefix("secret/").unwrap_or_default();
                        prop_assert!(other != path && set.contains(other), "{} held by {}", path, holder);
                    }
                    Err(error) => return Err(TestCaseError::fail(error.to_string())),
                }
            }
            Act::Remove(path) => {
                bench.remove("one", PATHS[*path]).await;
                set.remove(PATHS[*path]);
            }
            Act::Configure(template, by_key) => {
                let granularity = if *by_key { "secret-key" } else { "secret-path" };
                let mut settings = serde_json::json!({ "granularity": granularity });
                if let Some(template) = TEMPLATES[*template] {
                    settings["secret_name_template"] = template.into();
                }
                // A template that does not go with the granularity is refused, and nothing changes.
                let settings = SecretJson::new(settings);
                let _ = bench.engine.write_destination(&destination("one"), &settings, Mode::Replace).await;
            }
        }
        bench.settle().await;
        check(guise, &bench.views("one").await, &live, &set)?;
    }
    Ok(())
}

fn check(
    guise: &Guise,
    views: &[EntryView],
    live: &BTreeMap<&str, BTreeMap<&str, String>>,
    set: &BTreeSet<&str>,
) -> Result<(), TestCaseError> {
    let held = guise.credulous.held.lock().unwrap();
    let mut names = BTreeMap::new();
    for view in views {
        let Some(name) = &view.external_name else { continue };
        let name = guise.abilities.names.identity(name).into_owned();
        // One name, one holder: also of those whose entry failed.
        let who = (view.path.as_str(), view.sub_key.as_deref());
        if let Some(other) = names.insert(name.clone(), who) {
            return Err(TestCaseError::fail(format!("{name} is held by {who:?} and by {other:?}")));
        }
        // What is there is the holder's, new or old.
        let there = held.get(&name);
        let mine = match view.sub_key.as_deref() {
            Some(key) => format!("[{}#{key}#", view.path),
            None => format!("[{}#", view.path),
        };
        prop_assert!(
            there.is_none_or(|value| value.contains(&mine)),
            "{}: {:?} is not {}'s",
            name,
            there,
            mine
        );
        // And the newest, if that is what is said.
        if view.status == SyncStatus::Synced {
            let data = live.get(view.path.as_str());
            let wanted = match view.sub_key.as_deref() {
                Some(key) => data.and_then(|data| data.get(key)).cloned(),
                None => data.map(|data| serde_json::to_string(data).unwrap()),
            };
            prop_assert_eq!(there, wanted.as_ref(), "{} of {:?}", name, who);
        }
    }
    // Nobody is passed over without a word.
    for (path, data) in live.iter().filter(|(path, _)| set.contains(**path)) {
        let told: Vec<&EntryView> = views.iter().filter(|view| view.path.as_str() == *path).collect();
        for key in data.keys() {
            let about = |view: &&&EntryView| view.sub_key.is_none() || view.sub_key.as_deref() == Some(*key);
            let told = told.iter().filter(about).any(|view| {
                view.status == SyncStatus::Synced
                    || view.failure.as_ref().is_some_and(|failure| !failure.code.is_empty())
            });
            prop_assert!(told, "nothing is said of {} {}: {:?}", path, key, views);
        }
    }
    // Nothing is there that no entry speaks of.
    for name in held.keys() {
        prop_assert!(names.contains_key(name), "{} is nobody's", name);
    }
    Ok(())
}

fn run(guise: &'static Guise, acts: &[Act]) -> Result<(), TestCaseError> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(play(guise, acts))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn no_two_sources_share_a_name(acts in proptest::collection::vec(act(), 4..24)) {
        for kind in kinds() {
            run(Guise::leak(kind.abilities(), Some(*kind)), &acts)?;
        }
        for abilities in &STRICT {
            run(Guise::leak(abilities, None), &acts)?;
        }
    }
}

/// The generator does meet what it is for.
#[tokio::test(start_paused = true)]
async fn the_second_secret_of_a_name_is_refused_and_says_who_has_it() {
    let guise = Guise::leak(&STRICT[1], None);
    let bench = Bench::of(Settings::default(), guise, Arc::<Remotes>::default()).await;
    bench.configure("one", r#"{"secret_name_template":"{{ .SecretPath }}"}"#).await;
    for path in ["a/b", "A_B"] {
        bench.write(path, Some(r#"{"k":"v"}"#)).await;
    }
    bench.set("one", "a/b").await;
    let refused = bench.engine.set_association(&destination("one"), &secret("A_B")).await.unwrap_err();
    assert!(
        matches!(&refused, AssociationError::NameHeld { holder, .. } if holder == "secret/a/b"),
        "{refused}"
    );
    // A key that comes later and meets another's name.
    bench.configure("two", r#"{"granularity":"secret-key","secret_name_template":"{{ .SecretKey }}"}"#).await;
    bench.set("two", "a/b").await;
    bench.write("A_B", Some(r#"{"other":"v"}"#)).await;
    bench.set("two", "A_B").await;
    bench.write("A_B", Some(r#"{"other":"v","K":"w"}"#)).await;
    bench.settle().await;
    let views = bench.views("two").await;
    let failed: Vec<&EntryView> = views.iter().filter(|view| view.failure.is_some()).collect();
    assert_eq!(failed.len(), 1);
    assert_eq!(
        (failed[0].sub_key.as_deref(), failed[0].failure.as_ref().unwrap().code.as_str()),
        (Some("K"), "name_collision")
    );
}
