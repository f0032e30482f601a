//! A run: several servers over one store, what happens to them, and what must be so in the end.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use destinations::Mode;
use model::{Clock, Entropy, SecretPath, SeededEntropy, SyncStatus, json::SecretJson};
use store::{RootKey, Store, records::NodeId};
use tokio::time::Instant;

use super::{
    plan::{Case, DESTINATIONS, Fault, PATTERNS, SECRETS, Step, TEMPLATES},
    world::{Disk, Held, Life, NodeClock, SimKind, World},
};
use crate::{
    ClusterSettings, Engine, EntryView, Parts, Removal, Settings, SourceRef,
    cluster::Broken,
    rules::{Pattern, RuleRef, new_association},
    testing::{TestSource, TokioClock, announce_change, destination, quiet_net, secret},
};

/// Long enough for everything that was put off, and for every call to have had its effect.
const CALM: Duration = Duration::from_secs(240);
/// Calls that a run may make for each step, at most.
const CALLS_PER_STEP: u64 = 60;

struct Server {
    life: Arc<Life>,
    engine: Engine,
    clock: Arc<NodeClock>,
}

pub(super) struct Sim {
    pub(super) world: Arc<World>,
    source: Arc<TestSource>,
    clock: Arc<TokioClock>,
    root: RootKey,
    servers: Vec<Server>,
    writer: Store,
    values: u64,
    broken: Option<Broken>,
    /// What somebody was told is associated, and nobody has asked to take away since.
    acknowledged: BTreeSet<(String, String)>,
}

fn rule(pattern: &str, exclude: bool) -> RuleRef {
    let SourceRef { accessor, mount, .. } = secret("a");
    let exclude = if exclude { vec![Pattern::parse("b/d").unwrap()] } else { Vec::new() };
    RuleRef { accessor, mount, pattern: Pattern::parse(pattern).unwrap(), exclude, grantor: None }
}

impl Sim {
    pub(super) async fn new(case: &Case, broken: Option<Broken>, world: Arc<World>) -> Self {
        let entropy = Arc::new(SeededEntropy::new(case.seed));
        let root = RootKey::random(entropy.as_ref());
        let clock = Arc::new(TokioClock::new());
        let writer = Store::init(world.memory.clone(), &root, clock.as_ref(), entropy).await.unwrap();
        assert!(world.writer.set(writer.clone()).is_ok());
        for at in DESTINATIONS {
            for path in SECRETS {
                let SourceRef { accessor, path: secret_path, .. } = secret(path);
                let keys = writer.keys();
                let node = keys.secret(keys.mount(&accessor), &secret_path);
                let made =
                    new_association(keys, &destination(at), &accessor, &secret_path, node, clock.now());
                world.owners.lock().unwrap().insert(made.id, (at.to_owned(), path.to_owned()));
            }
        }
        // Where nothing is marked, they are in our way.
        let strangers = if case.marks { ["strange/a", "strange/x/e/k1"] } else { ["whole/a", "keys/e/k1"] };
        for stranger in strangers {
            world.remote.lock().unwrap().insert(stranger.to_owned(), Held::strangers());
        }
        let source = Arc::new(TestSource::default());
        let mut sim = Self {
            world,
            source,
            clock,
            root,
            servers: Vec::new(),
            writer,
            values: 0,
            broken,
            acknowledged: BTreeSet::new(),
        };
        for number in 0..case.nodes() {
            let server = sim.boot(number).await;
            sim.servers.push(server);
        }
        sim
    }

    async fn boot(&self, number: usize) -> Server {
        let world = &self.world;
        let life = Life::new(world, number);
        let entropy: Arc<dyn Entropy> = Arc::new(SeededEntropy::new(world.roll(u64::MAX)));
        let clock = Arc::new(NodeClock::new(Arc::clone(&self.clock)));
        let store = loop {
            // It starts once it reaches its store.
            let disk = Arc::new(Disk(Arc::clone(&life)));
            if let Ok(store) = Store::open(disk, &self.root, Arc::clone(&entropy)).await {
                break store.unwrap();
            }
        };
        let engine = Engine::new(Parts {
            store,
            source: self.source.clone(),
            kinds: vec![Box::leak(Box::new(SimKind(Arc::clone(&life))))],
            net: quiet_net(clock.clone(), Arc::clone(&entropy)),
            identity: None,
            clock: clock.clone(),
            entropy,
            settings: Settings {
                mass_delete_percent: 0,
                concurrency: 4,
                backoff_cap: Duration::from_secs(10),
                slow_backoff: Duration::from_secs(5),
                slow_backoff_cap: Duration::from_secs(20),
                sweep_interval: Duration::from_secs(60),
                cluster: ClusterSettings { name: format!("node-{number}"), ..ClusterSettings::default() },
                ..Settings::default()
            },
        });
        *engine.0.cluster.broken.lock().unwrap() = self.broken;
        let _ = life.engine.set(Arc::downgrade(&engine.0));
        // It may die while it starts.
        let _ = tokio::time::timeout(Duration::from_secs(5), engine.start()).await;
        world.note(format!("{number} is up"));
        Server { life, engine, clock }
    }

    async fn reboot(&mut self, number: usize) {
        self.servers[number].life.die();
        self.servers[number] = self.boot(number).await;
    }

    /// What the KV engine does in one transaction, on some server.
    async fn write(&mut self, path: &str, keys: Option<u64>) {
        self.values += 1;
        let data = keys.map(|keys| {
            let members: Vec<_> =
                (0..=keys).map(|key| format!(r#""k{key}":"canary{}""#, self.values)).collect();
            format!("{{{}}}", members.join(","))
        });
        self.world.note(format!("source {path}: {data:?}"));
        if self.source.value(path).is_some() {
            // A value may have fewer keys than the one before.
            self.reason(None, Some(path));
        }
        self.source.put(path, data.as_deref());
        self.announce(path, data.is_some()).await;
    }

    async fn announce(&self, path: &str, live: bool) {
        // Whichever server it was that took the request.
        let node = usize::try_from(self.world.roll(64)).unwrap();
        announce_change(&self.writer, &self.at(node).engine, &secret(path), live).await;
    }

    fn engine(&self, node: usize) -> Engine {
        self.at(node).engine.clone()
    }

    fn at(&self, node: usize) -> &Server {
        let number = node % self.servers.len();
        let alive = |number: &usize| self.servers[*number].life.is_alive();
        let others = (0..self.servers.len()).map(|n| (number + n) % self.servers.len());
        &self.servers[others.into_iter().find(alive).unwrap_or(number)]
    }

    /// From now on there is a reason to remove something: of a destination, of a path, or of all of them.
    fn reason(&self, at: Option<&str>, path: Option<&str>) {
        let mut reasons = self.world.reasons.lock().unwrap();
        for destination in DESTINATIONS.into_iter().filter(|d| at.is_none_or(|at| at == *d)) {
            for secret in SECRETS.into_iter().filter(|s| path.is_none_or(|path| path == *s)) {
                reasons.insert((destination.to_owned(), secret.to_owned()));
            }
        }
    }

    /// A request to a server, which may die under it.
    async fn request<T, E>(&self, what: String, call: impl Future<Output = Result<T, E>>) -> bool {
        self.world.note(what);
        matches!(tokio::time::timeout(Duration::from_secs(4), call).await, Ok(Ok(_)))
    }

    async fn configure(&self, engine: &Engine, name: &str, template: &str) {
        let (granularity, key) =
            if name == "keys" { ("secret-key", "/{{ .SecretKey }}") } else { ("secret-path", "") };
        let body =
            format!(r#"{{"granularity":"{granularity}","secret_name_template":"{name}/{template}{key}"}}"#);
        let body = SecretJson::parse(body.as_bytes()).unwrap();
        let key = destination(name);
        let call = engine.write_destination(&key, &body, Mode::Replace);
        self.request(format!("configure {name} {template}"), call).await;
    }

    pub(super) async fn begin(&self) {
        for name in DESTINATIONS {
            self.configure(&self.at(0).engine, name, TEMPLATES[0]).await;
        }
    }

    pub(super) async fn step(&mut self, step: &Step) {
        let world = Arc::clone(&self.world);
        match step {
            Step::Write { path, keys } => self.write(path, Some(*keys)).await,
            Step::Delete { path } => self.write(path, None).await,
            Step::Undelete { path } => {
                if self.source.undelete(path) {
                    world.note(format!("undelete {path}"));
                    self.announce(path, true).await;
                }
            }
            Step::Set { node, at, path } => {
                let (key, source, engine) = (destination(at), secret(path), self.engine(*node));
                let pair = ((*at).to_owned(), (*path).to_owned());
                let call = engine.set_association(&key, &source);
                if self.request(format!("set {at} {path}"), call).await {
                    self.acknowledged.insert(pair);
                }
            }
            Step::Unset { node, at, path } => {
                self.reason(Some(at), Some(path));
                let (key, source, engine) = (destination(at), secret(path), self.engine(*node));
                self.acknowledged.remove(&((*at).to_owned(), (*path).to_owned()));
                let call = engine.remove_association(&key, Some(&source.accessor), "secret", &source.path);
                self.request(format!("unset {at} {path}"), call).await;
            }
            Step::Configure { node, at, template } => {
                self.reason(Some(at), None);
                self.configure(&self.engine(*node), at, template).await;
            }
            Step::Rule { node, at, pattern, exclude } => {
                self.reason(Some(at), None);
                let (key, rule, engine) = (destination(at), rule(pattern, *exclude), self.engine(*node));
                self.request(format!("rule {at} {pattern}"), engine.set_rule(&key, &rule)).await;
            }
            Step::NoRule { node, at, pattern } => {
                self.reason(Some(at), None);
                let (key, rule, engine) = (destination(at), rule(pattern, false), self.engine(*node));
                let call = engine.remove_rule(&key, Some(&rule.accessor), "secret", &rule.pattern);
                self.request(format!("no rule {at} {pattern}"), call).await;
            }
            Step::Purge { node, at } => {
                self.reason(Some(at), None);
                self.acknowledged.retain(|(destination, _)| destination != at);
                let (key, engine) = (destination(at), self.engine(*node));
                self.request(format!("purge {at}"), engine.remove_destination(&key, Removal::Purge)).await;
            }
            Step::Crash { node } => self.crash(*node),
            Step::Restart { node } => {
                let number = node % self.servers.len();
                world.note(format!("restart {number}"));
                let engine = self.servers[number].engine.clone();
                let _ =
                    tokio::time::timeout(Duration::from_secs(4), engine.stop(Duration::from_secs(3))).await;
                self.reboot(number).await;
            }
            Step::Resign { node } => {
                world.note(format!("step down {}", node % self.servers.len()));
                self.engine(*node).step_down();
            }
            Step::Freeze { node, ms } if world.faults.has(Fault::Freeze) => {
                world.note(format!("freeze {} {ms}", node % self.servers.len()));
                self.at(*node).life.freeze(Duration::from_millis(*ms));
            }
            Step::Ambush { path, after, ms } if world.faults.has(Fault::Freeze) => {
                self.write(path, Some(1)).await;
                tokio::time::sleep(Duration::from_millis(*after)).await;
                self.freeze_owners(*ms).await;
                tokio::time::sleep(Duration::from_millis(ms * 2 / 3)).await;
                self.write(path, Some(0)).await;
            }
            Step::Cut { node, ms, silent } if world.faults.has(Fault::Cut) => {
                world.note(format!("cut off {} {ms} {silent}", node % self.servers.len()));
                self.at(*node).life.cut_off(Duration::from_millis(*ms), *silent);
            }
            Step::Jump { node, ms } if world.faults.has(Fault::Jump) => {
                world.note(format!("clock of {} {ms}", node % self.servers.len()));
                self.at(*node).clock.jump(*ms);
            }
            Step::Expel { node } if world.faults.has(Fault::Expelled) => {
                let id: NodeId = self.at(*node).engine.0.cluster.id();
                world.note(format!("expel {}", node % self.servers.len()));
                let mut transaction = self.writer.transaction();
                transaction.delete(&self.writer.keys().server_node(id));
                transaction.commit().await.unwrap();
            }
            Step::Storm { ms } if world.faults.has(Fault::Storm) => {
                world.note(format!("storm {ms}"));
                *world.storm.lock().unwrap() = Some(Instant::now() + Duration::from_millis(*ms));
            }
            Step::Wait { ms } => tokio::time::sleep(Duration::from_millis(*ms)).await,
            Step::Freeze { .. }
            | Step::Ambush { .. }
            | Step::Cut { .. }
            | Step::Jump { .. }
            | Step::Expel { .. }
            | Step::Storm { .. } => {}
        }
        for number in 0..self.servers.len() {
            // Some come back at once, some later.
            if !self.servers[number].life.is_alive() && self.world.roll(3) == 0 {
                self.reboot(number).await;
            }
        }
    }

    /// Freezes whoever works for a destination.
    async fn freeze_owners(&self, ms: u64) {
        for at in DESTINATIONS {
            let key = self.writer.keys().destination(&destination(at));
            let Some(id) = self.writer.get(&key).await.unwrap().map(|stored| stored.record.id) else {
                continue;
            };
            for server in self.servers.iter().filter(|server| server.engine.0.cluster.owns(id)) {
                self.world.note(format!("freeze {} {ms}", server.life.number));
                server.life.freeze(Duration::from_millis(ms));
            }
        }
    }

    fn crash(&self, node: usize) {
        let number = node % self.servers.len();
        self.world.note(format!("crash {number}"));
        self.servers[number].life.die();
    }

    /// Nothing goes wrong any more, and there is time for everything that was put off.
    pub(super) async fn calm_down(&mut self) {
        self.world.calm.store(true, Ordering::Relaxed);
        *self.world.storm.lock().unwrap() = None;
        self.world.note("calm".into());
        for number in 0..self.servers.len() {
            self.servers[number].life.mend();
            if !self.servers[number].life.is_alive() {
                self.reboot(number).await;
            }
        }
        tokio::time::sleep(CALM).await;
    }

    pub(super) fn end(&self) {
        self.servers.iter().for_each(|server| server.life.die());
    }

    pub(super) async fn check(&self) -> Result<(), String> {
        self.check_remote().await?;
        self.check_told().await?;
        self.check_shards().await?;
        let calls = self.world.calls.load(Ordering::Relaxed);
        tokio::time::sleep(Duration::from_secs(70)).await;
        if self.world.calls.load(Ordering::Relaxed) != calls {
            return Err("calls are made at rest".into());
        }
        if calls > CALLS_PER_STEP * super::plan::STEPS as u64 {
            return Err(format!("{calls} calls were made"));
        }
        match &*self.world.wrong.lock().unwrap() {
            Some(wrong) => Err(wrong.clone()),
            None => Ok(()),
        }
    }

    /// No value in what is logged or stored in the open; everybody tells the same.
    async fn check_told(&self) -> Result<(), String> {
        let logged = |line: &String| line.starts_with("  ") && line.contains("canary");
        if self.world.log.lock().unwrap().iter().any(logged) {
            return Err("a value was logged".into());
        }
        for (_, entry) in self.world.memory_entries().await {
            if entry.windows(6).any(|window| window == b"canary") {
                return Err("a value is stored in the open".into());
            }
        }
        for name in DESTINATIONS {
            let key = destination(name);
            let mut told = BTreeSet::new();
            for server in &self.servers {
                let views = server.engine.associations(&key).await.unwrap();
                let view = server.engine.destination(&key).await.unwrap();
                let pending = view.map(|view| view.backlog.pending);
                told.insert(format!("{views:?} {pending:?}"));
                if pending.is_some_and(|pending| pending > 0) {
                    return Err(format!("{name}: {pending:?} are pending at rest"));
                }
            }
            if told.len() > 1 {
                return Err(format!("{name}: servers tell different things: {told:#?}"));
            }
        }
        Ok(())
    }

    /// All work belongs to somebody, and about as much to each.
    async fn check_shards(&self) -> Result<(), String> {
        let keys = self.writer.keys();
        let mut counts = BTreeMap::<_, usize>::new();
        for (_, shard) in self.writer.scan_all(&keys.shards()).await.unwrap() {
            *counts.entry(shard.record.owner).or_default() += 1;
        }
        let fair = 64_usize.div_ceil(self.servers.len());
        let ids: BTreeSet<_> = self.servers.iter().map(|server| Some(server.engine.0.cluster.id())).collect();
        if counts.keys().any(|owner| !ids.contains(owner)) || counts.values().any(|count| *count > fair) {
            return Err(format!("shards are not shared out: {counts:?}"));
        }
        Ok(())
    }

    async fn check_remote(&self) -> Result<(), String> {
        let engine = &self.servers[0].engine;
        let mut wanted = BTreeMap::new();
        let mut waiting = BTreeSet::new();
        let mut there = BTreeSet::new();
        for name in DESTINATIONS {
            let Some(views) = engine.associations(&destination(name)).await.unwrap() else { continue };
            there.extend(views.iter().map(|view| (name.to_owned(), view.path.as_str().to_owned())));
            // What a stranger keeps from moving stays where and as it was.
            let stuck = |path: &str| {
                let mut its = views.iter().filter(|view| view.path.as_str() == path);
                its.any(|view| view.failure.as_ref().is_some_and(|failure| failure.code == "name_taken"))
            };
            self.check_rules(engine, name, &views).await?;
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
        if let Some(lost) = self.acknowledged.difference(&there).next() {
            return Err(format!("{lost:?} was acknowledged and is not associated"));
        }
        let remote = self.world.remote.lock().unwrap();
        let held: BTreeMap<_, _> = remote
            .iter()
            .filter(|(name, held)| held.is_ours() && !waiting.contains(*name))
            .map(|(n, h)| (n.clone(), h.value.clone()))
            .collect();
        if remote.values().filter(|held| **held == Held::strangers()).count() != 2 {
            return Err("a stranger's entry was touched".into());
        }
        if held != wanted {
            return Err(format!("the destination holds {held:?}\nwanted is            {wanted:?}"));
        }
        Ok(())
    }

    /// Everything live that a rule is about is associated, and what nobody set singly is due to a rule.
    async fn check_rules(&self, engine: &Engine, name: &str, views: &[EntryView]) -> Result<(), String> {
        let rules = engine.rules(&destination(name)).await.unwrap().unwrap_or_default();
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
            let stored = engine.node(&view.accessor, &view.path);
            let id = self.writer.get(&self.writer.keys().destination(&view.destination)).await.unwrap();
            let key = self.writer.keys().association(id.unwrap().record.id, stored);
            let association = self.writer.get(&key).await.unwrap().unwrap().record;
            if !association.single && !about(&view.path) {
                return Err(format!("{name}: {} is associated by no rule and no person", view.path));
            }
        }
        debug_assert!(PATTERNS.iter().all(|pattern| Pattern::parse(pattern).is_ok()));
        Ok(())
    }
}
