//! Simulated misfortune: seed → one thread, virtual time, random work, faults at every call that
//! leaves the process, and crashes at any of them. Whatever happened on the way, once things are
//! quiet the destination holds what the source holds, nothing of ours is left behind, and nothing of
//! a stranger's was touched.
//!
//! `KEYFERRY_SIM_SEEDS=FROM..TO cargo test -p engine simulated` runs as many as asked.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use destinations::{
    Abilities, Config, Destination, Expect, Fault, Field, FieldFault, Kind, Mark, Mode, Net, Present, Put,
    PutOutcome, Receipt, Remote, Remove, Retry,
};
use model::{Entropy, RemoteName, SecretPath, SeededEntropy, SyncStatus, json::SecretJson};
use store::{Backend, Batch, Entry, Memory, Revision, RootKey, Store, StoreError};

use crate::{
    Engine, EntryView, Parts, Removal, Settings, SourceRef,
    rules::{Pattern, RuleRef},
    testing::{ABILITIES, TestSource, TokioClock, UNMARKED, announce_change, destination, quiet_net, secret},
};

/// One remote entry.
#[derive(Debug, Clone, PartialEq)]
struct Held {
    value: String,
    mark: Option<Mark>,
    handle: u64,
}

impl Held {
    /// Whether we wrote it, which a destination without marks keeps to itself.
    fn is_ours(&self) -> bool {
        self.mark.is_some()
    }
}

/// What outlives a process: the disk, the remote, the dice.
struct World {
    memory: Arc<Memory>,
    /// The destination holds marks that can be read.
    marks: bool,
    remote: Mutex<BTreeMap<String, Held>>,
    handles: Mutex<u64>,
    dice: SeededEntropy,
    calm: AtomicBool,
    log: Mutex<Vec<String>>,
}

impl World {
    fn roll(&self, sides: u64) -> u64 {
        let mut bytes = [0; 8];
        self.dice.fill(&mut bytes);
        u64::from_le_bytes(bytes) % sides
    }

    /// One chance in so many, while things are not calm.
    fn unlucky(&self, chance: u64) -> bool {
        !self.calm.load(Ordering::Relaxed) && self.roll(chance) == 0
    }

    fn note(&self, line: String) {
        self.log.lock().unwrap().push(line);
    }
}

/// One life of the process. After its death no call of it returns.
#[derive(Clone)]
struct Life {
    world: Arc<World>,
    alive: Arc<AtomicBool>,
}

impl Life {
    /// Every call outside passes here, before and after it takes effect.
    async fn outside(&self) {
        if self.world.unlucky(150) {
            self.alive.store(false, Ordering::Relaxed);
        }
        if !self.alive.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    }
}

struct Disk(Life);

#[async_trait]
impl Backend for Disk {
    fn name(&self) -> &'static str {
        "simulated"
    }

    async fn get(&self, key: &[u8]) -> Result<Option<Entry>, StoreError> {
        if !self.0.alive.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        self.0.world.memory.get(key).await
    }

    async fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Entry)>, StoreError> {
        self.0.world.memory.scan(prefix, after, limit).await
    }

    async fn commit(&self, batch: Batch) -> Result<Revision, StoreError> {
        self.0.outside().await;
        if self.0.world.unlucky(100) {
            return Err(StoreError::Backend("the disk is busy".into()));
        }
        let done = self.0.world.memory.commit(batch).await;
        self.0.outside().await;
        if self.0.world.unlucky(100) {
            return Err(StoreError::Unknown);
        }
        tokio::task::yield_now().await;
        done
    }
}

struct SimKind(Life);

impl Kind for SimKind {
    fn slug(&self) -> &'static str {
        "test"
    }
    fn title(&self) -> &'static str {
        "Simulated"
    }
    fn fields(&self) -> &'static [Field] {
        &[]
    }
    fn abilities(&self) -> &'static Abilities {
        if self.0.world.marks { &ABILITIES } else { &UNMARKED }
    }
    fn open(&self, _: &Config, _: &Arc<Net>) -> Result<Arc<dyn Destination>, FieldFault> {
        Ok(Arc::new(SimDestination(self.0.clone())))
    }
}

struct SimDestination(Life);

impl SimDestination {
    /// Runs `effect` at the remote, with everything that can go wrong before, at and after it.
    async fn call<T>(
        &self,
        what: &str,
        name: &RemoteName,
        effect: impl FnOnce(&mut BTreeMap<String, Held>) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let world = &self.0.world;
        self.0.outside().await;
        tokio::time::sleep(Duration::from_millis(world.roll(50))).await;
        // A request outlives its sender by no more than the network takes; the next process takes
        // longer to start than that.
        self.0.outside().await;
        if world.unlucky(12) {
            let fault = match world.roll(4) {
                0 => Fault::external("throttled", "slow down").retry(Retry::After(Duration::from_secs(3))),
                1 => Fault::client("access_denied", "not allowed").retry(Retry::Slowly),
                2 => Fault::external("timeout", "no answer").ambiguous(),
                _ => Fault::external("unavailable", "down"),
            };
            world.note(format!("{what} {name}: {}", fault.code));
            return Err(fault);
        }
        let done = effect(&mut world.remote.lock().unwrap());
        world.note(format!("{what} {name}: {}", if done.is_ok() { "done" } else { "refused" }));
        self.0.outside().await;
        if world.unlucky(12) {
            world.note(format!("{what} {name}: its answer is lost"));
            return Err(Fault::external("timeout", "no answer").ambiguous());
        }
        tokio::time::sleep(Duration::from_millis(world.roll(50))).await;
        done
    }
}

impl World {
    fn present(&self, held: &Held) -> Present {
        if !self.marks {
            return Present::default();
        }
        Present { mark: held.mark.clone(), handle: Some(held.handle.to_string()), ..Present::default() }
    }
}

#[async_trait]
impl Destination for SimDestination {
    async fn look(&self, name: &RemoteName) -> Result<Remote, Fault> {
        let world = &self.0.world;
        self.call("look", name, |all| {
            Ok(all.get(name.as_str()).map_or(Remote::Absent, |held| Remote::Present(world.present(held))))
        })
        .await
    }

    async fn put(&self, put: &Put<'_>) -> Result<PutOutcome, Fault> {
        let (handles, world) = (&self.0.world.handles, &self.0.world);
        self.call("put", put.name, |all| {
            let there = all.get(put.name.as_str());
            let ours = world.marks
                && there.is_some_and(|held| held.mark.as_ref().is_some_and(|mark| mark.same_owner(put.mark)));
            let addressed = match put.expect {
                Expect::Ours(_) if !world.marks => true,
                Expect::Anything => true,
                Expect::Absent => ours,
                Expect::Ours(handle) => {
                    handle.is_some_and(|handle| there.is_some_and(|held| held.handle.to_string() == handle))
                }
            };
            if let Some(held) = there
                && !addressed
                && !ours
            {
                return Ok(PutOutcome::Taken(world.present(held)));
            }
            let handle = there.map_or_else(
                || {
                    let mut next = handles.lock().unwrap();
                    *next += 1;
                    *next
                },
                |held| held.handle,
            );
            let value = put.value.expose_text().unwrap().to_owned();
            all.insert(put.name.as_str().to_owned(), Held { value, mark: Some(put.mark.clone()), handle });
            let handle = world.marks.then(|| handle.to_string());
            Ok(PutOutcome::Written(Receipt { handle, revision: None }))
        })
        .await
    }

    async fn remove(&self, remove: &Remove<'_>) -> Result<(), Fault> {
        self.call("remove", remove.name, |all| {
            let Some(held) = all.get(remove.name.as_str()) else { return Ok(()) };
            if let Some(owner) = remove.owner
                && !held.mark.as_ref().is_some_and(|mark| mark.same_owner(owner))
            {
                return Err(Fault::client("ownership_lost", "not ours"));
            }
            all.remove(remove.name.as_str());
            Ok(())
        })
        .await
    }
}

const SECRETS: [&str; 4] = ["a", "b/c", "b/d", "e"];
const DESTINATIONS: [&str; 2] = ["whole", "keys"];
const TEMPLATES: [&str; 3] = ["{{ .SecretPath }}", "x/{{ .SecretPath }}", "{{ .SecretBaseName }}"];

const PATTERNS: [&str; 3] = ["b/*", "**", "a"];

fn rule(pattern: &str, exclude: bool) -> RuleRef {
    let SourceRef { accessor, mount, .. } = secret("a");
    let exclude = if exclude { vec![Pattern::parse("b/d").unwrap()] } else { Vec::new() };
    RuleRef { accessor, mount, pattern: Pattern::parse(pattern).unwrap(), exclude, grantor: None }
}

struct Sim {
    world: Arc<World>,
    source: Arc<TestSource>,
    clock: Arc<TokioClock>,
    root: RootKey,
    life: Life,
    engine: Engine,
    /// The store as the source's writer sees it: its transactions are the KV engine's, not ours.
    writer: Store,
    values: u64,
}

impl Sim {
    async fn new(seed: u64, marks: bool) -> Self {
        let world = Arc::new(World {
            memory: Arc::new(Memory::new()),
            marks,
            remote: Mutex::default(),
            handles: Mutex::default(),
            dice: SeededEntropy::new(seed),
            calm: AtomicBool::new(false),
            log: Mutex::default(),
        });
        let entropy = Arc::new(SeededEntropy::new(seed));
        let root = RootKey::random(entropy.as_ref());
        let clock = Arc::new(TokioClock::new());
        let writer = Store::init(world.memory.clone(), &root, clock.as_ref(), entropy).await.unwrap();
        let source = Arc::new(TestSource::default());
        let life = Life { world: Arc::clone(&world), alive: Arc::new(AtomicBool::new(true)) };
        let engine = Self::boot(&life, &root, &source, &clock, seed).await;
        let sim = Self { world, source, clock, root, life, engine, writer, values: 0 };
        // Where nothing is marked, they are in our way.
        let strangers = if marks { ["strange/a", "strange/x/e/k1"] } else { ["whole/a", "keys/e/k1"] };
        for stranger in strangers {
            let held = Held { value: "a stranger's".into(), mark: None, handle: 0 };
            sim.world.remote.lock().unwrap().insert(stranger.to_owned(), held);
        }
        sim
    }

    async fn boot(
        life: &Life,
        root: &RootKey,
        source: &Arc<TestSource>,
        clock: &Arc<TokioClock>,
        seed: u64,
    ) -> Engine {
        let entropy: Arc<dyn Entropy> = Arc::new(SeededEntropy::new(seed ^ life.world.roll(u64::MAX)));
        let store =
            Store::open(Arc::new(Disk(life.clone())), root, Arc::clone(&entropy)).await.unwrap().unwrap();
        let engine = Engine::new(Parts {
            store,
            source: source.clone(),
            kinds: vec![Box::leak(Box::new(SimKind(life.clone())))],
            net: quiet_net(clock.clone(), Arc::clone(&entropy)),
            identity: None,
            clock: clock.clone(),
            entropy,
            settings: Settings { mass_delete_percent: 0, concurrency: 4, ..Settings::default() },
        });
        engine.start().await.unwrap();
        engine
    }

    /// The process dies, if it has not, and another one comes up.
    async fn reboot(&mut self) {
        self.life.alive.store(false, Ordering::Relaxed);
        self.world.note("reboot".into());
        self.life = Life { world: Arc::clone(&self.world), alive: Arc::new(AtomicBool::new(true)) };
        self.engine =
            Self::boot(&self.life, &self.root, &self.source, &self.clock, self.world.roll(u64::MAX)).await;
    }

    /// What the KV engine does in one transaction.
    async fn write(&mut self, path: &str, keys: Option<u64>) {
        self.values += 1;
        let data = keys.map(|keys| {
            let members: Vec<_> = (0..=keys).map(|key| format!(r#""k{key}":"v{}""#, self.values)).collect();
            format!("{{{}}}", members.join(","))
        });
        self.world.note(format!("source {path}: {data:?}"));
        self.source.put(path, data.as_deref());
        announce_change(&self.writer, &self.engine, &secret(path), data.is_some()).await;
    }

    /// A request to the server, which may die under it.
    async fn request<T>(&self, what: String, call: impl Future<Output = T>) -> Option<T> {
        self.world.note(what);
        tokio::time::timeout(Duration::from_secs(3), call).await.ok()
    }

    async fn configure(&self, name: &str, template: &str) {
        let (granularity, key) =
            if name == "keys" { ("secret-key", "/{{ .SecretKey }}") } else { ("secret-path", "") };
        let body =
            format!(r#"{{"granularity":"{granularity}","secret_name_template":"{name}/{template}{key}"}}"#);
        let body = SecretJson::parse(body.as_bytes()).unwrap();
        let key = destination(name);
        let call = self.engine.write_destination(&key, &body, Mode::Replace);
        let _ = self.request(format!("configure {name} {template}"), call).await;
    }

    async fn step(&mut self) {
        let world = Arc::clone(&self.world);
        let pick = |list: &[&'static str]| list[usize::try_from(world.roll(list.len() as u64)).unwrap()];
        let (path, name) = (pick(&SECRETS), pick(&DESTINATIONS));
        let key = destination(name);
        match world.roll(23) {
            0..8 => self.write(path, Some(world.roll(3))).await,
            8..10 => self.write(path, None).await,
            10..14 => {
                let source = secret(path);
                let _ = self
                    .request(format!("set {name} {path}"), self.engine.set_association(&key, &source))
                    .await;
            }
            14..16 => {
                let source = secret(path);
                let call =
                    self.engine.remove_association(&key, Some(&source.accessor), "secret", &source.path);
                let _ = self.request(format!("remove {name} {path}"), call).await;
            }
            16 => self.configure(name, pick(&TEMPLATES)).await,
            19 => {
                let rule = rule(pick(&PATTERNS), self.world.roll(2) == 0);
                let _ = self
                    .request(format!("rule {name} {}", rule.pattern), self.engine.set_rule(&key, &rule))
                    .await;
            }
            20 => {
                let rule = rule(pick(&PATTERNS), false);
                let call = self.engine.remove_rule(&key, Some(&rule.accessor), "secret", &rule.pattern);
                let _ = self.request(format!("no rule {name} {}", rule.pattern), call).await;
            }
            17 => {
                let call = self.engine.remove_destination(&key, Removal::Purge);
                let _ = self.request(format!("purge {name}"), call).await;
            }
            18 => self.reboot().await,
            _ => tokio::time::sleep(Duration::from_millis(world.roll(5000))).await,
        }
        if !self.life.alive.load(Ordering::Relaxed) {
            self.reboot().await;
        }
    }

    /// Nothing goes wrong any more, and there is time for everything that was put off.
    async fn calm_down(&mut self) {
        self.world.calm.store(true, Ordering::Relaxed);
        self.world.note("calm".into());
        if !self.life.alive.load(Ordering::Relaxed) {
            self.reboot().await;
        }
        tokio::time::sleep(Duration::from_secs(3 * 3600)).await;
    }

    async fn check(&self) -> Result<(), String> {
        let mut wanted = BTreeMap::new();
        let mut waiting = BTreeSet::new();
        for name in DESTINATIONS {
            let Some(views) = self.engine.associations(&destination(name)).await.unwrap() else { continue };
            // What a stranger keeps from moving stays where and as it was.
            let stuck = |path: &str| {
                let mut its = views.iter().filter(|view| view.path.as_str() == path);
                its.any(|view| view.failure.as_ref().is_some_and(|failure| failure.code == "name_taken"))
            };
            self.check_rules(name, &views).await?;
            for view in &views {
                if !self.world.marks && stuck(view.path.as_str()) {
                    waiting.extend(view.external_name.as_ref().map(|name| name.as_str().to_owned()));
                    continue;
                }
                let failed = view.failure.as_ref().map(|failure| failure.code.as_str());
                let live = self.source.value(view.path.as_str());
                match (view.status, failed) {
                    (SyncStatus::Synced | SyncStatus::Unsynced, None) => {}
                    // Two sources may render to one name after the template changed: one has it.
                    (SyncStatus::ClientSideError, Some("name_collision")) => continue,
                    other => return Err(format!("{name} {} is {other:?} at rest", view.path)),
                }
                if (view.status == SyncStatus::Synced) != live.is_some()
                    || (live.is_none() && view.rule.is_some())
                {
                    return Err(format!(
                        "{name} {} is {} but the source is {live:?}",
                        view.path, view.status
                    ));
                }
                let (Some(data), Some(entry)) = (live, &view.external_name) else { continue };
                let data = SecretJson::parse(data.as_bytes()).unwrap();
                let value = match &view.sub_key {
                    Some(key) => data.expose()[key].as_str().unwrap().to_owned(),
                    None => data.canonical().expose_text().unwrap().to_owned(),
                };
                wanted.insert(entry.as_str().to_owned(), value);
            }
        }
        let held: BTreeMap<_, _> = {
            let remote = self.world.remote.lock().unwrap();
            remote
                .iter()
                .filter(|(name, held)| held.is_ours() && !waiting.contains(*name))
                .map(|(n, h)| (n.clone(), h.value.clone()))
                .collect()
        };
        let strangers = self.world.remote.lock().unwrap().values().filter(|held| !held.is_ours()).count();
        if strangers != 2 {
            return Err("a stranger's entry was touched".into());
        }
        if held != wanted {
            return Err(format!("the destination holds {held:?}\nwanted is            {wanted:?}"));
        }
        Ok(())
    }
}

impl Sim {
    /// Everything live that a rule is about is associated, and what nobody set singly is due to a rule.
    async fn check_rules(&self, name: &str, views: &[EntryView]) -> Result<(), String> {
        let rules = self.engine.rules(&destination(name)).await.unwrap().unwrap_or_default();
        if rules.iter().any(|rule| rule.covering) {
            return Err(format!("{name}: a rule is still being covered at rest"));
        }
        let about = |path: &SecretPath| {
            rules.iter().any(|rule| {
                Pattern::parse(&rule.pattern).unwrap().matches(path)
                    && !rule.exclude.iter().any(|text| Pattern::parse(text).unwrap().matches(path))
            })
        };
        for path in SECRETS {
            let live = self.source.value(path).is_some();
            let path = SecretPath::parse(path).unwrap();
            if live && about(&path) && !views.iter().any(|view| view.path == path) {
                return Err(format!("{name}: a rule is about {path}, which is not associated"));
            }
        }
        for view in views {
            let stored = self.engine.node(&view.accessor, &view.path);
            let id = self.writer.get(&self.writer.keys().destination(&view.destination)).await.unwrap();
            let key = self.writer.keys().association(id.unwrap().record.id, stored);
            let association = self.writer.get(&key).await.unwrap().unwrap().record;
            if !association.single && !about(&view.path) {
                return Err(format!("{name}: {} is associated by no rule and no person", view.path));
            }
        }
        Ok(())
    }
}

/// Runs one seed; an error tells what is wrong and what led to it.
async fn run(seed: u64, marks: bool) -> Result<Vec<String>, String> {
    let mut sim = Sim::new(seed, marks).await;
    for name in DESTINATIONS {
        sim.configure(name, TEMPLATES[0]).await;
    }
    for _ in 0..40 {
        sim.step().await;
    }
    sim.calm_down().await;
    let checked = sim.check().await;
    let log = std::mem::take(&mut *sim.world.log.lock().unwrap());
    sim.life.alive.store(false, Ordering::Relaxed);
    checked.map(|()| log.clone()).map_err(|wrong| format!("seed {seed}: {wrong}\n{}", log.join("\n")))
}

fn run_paused(seed: u64, marks: bool) -> Result<Vec<String>, String> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let done = runtime.block_on(run(seed, marks));
    runtime.shutdown_background();
    done
}

fn seeds() -> std::ops::Range<u64> {
    #[expect(clippy::disallowed_methods, reason = "how many seeds is the caller's choice")]
    let asked = std::env::var("KEYFERRY_SIM_SEEDS").ok();
    asked
        .as_deref()
        .and_then(|text| text.split_once(".."))
        .and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?))
        .unwrap_or(0..300)
}

fn end_well(marks: bool) {
    let mut wrong = 0;
    for seed in seeds() {
        if let Err(story) = run_paused(seed, marks) {
            println!("{story}\n");
            wrong += 1;
            assert!(wrong < 3, "three seeds ended badly");
        }
    }
    assert_eq!(wrong, 0, "seeds ended badly");
}

#[test]
fn simulated_misfortune_ends_well() {
    end_well(true);
}

/// A destination that holds no marks: the ledger alone tells a stranger's entry from ours.
#[test]
fn simulated_misfortune_ends_well_without_marks() {
    end_well(false);
}

#[test]
fn simulated_misfortune_repeats() {
    for seed in 0..20 {
        assert_eq!(run_paused(seed, true), run_paused(seed, true), "seed {seed} told two stories");
    }
}
