use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::atomic::{AtomicUsize, Ordering},
};

use destinations::in_mem::{InMem, Space, Step as Script};
use model::{ManualClock, SeededEntropy, Timestamp};

use super::*;

const STORE: StoreId = StoreId::from_bytes([7; 16]);

/// Not secret, but told apart by every part.
fn digest(purpose: &str, parts: &[&[u8]]) -> [u8; 32] {
    let mut out = [0; 32];
    for (at, eight) in out.chunks_mut(8).enumerate() {
        let mut hasher = DefaultHasher::new();
        (at, purpose, parts).hash(&mut hasher);
        eight.copy_from_slice(&hasher.finish().to_be_bytes());
    }
    out
}

struct Bench {
    kind: &'static InMem,
    space: Arc<Space>,
    clock: ManualClock,
    entropy: SeededEntropy,
}

impl Bench {
    fn new() -> Self {
        let kind: &'static InMem = Box::leak(Box::default());
        let clock = ManualClock::new(Timestamp::from_secs(1_700_000_000));
        Self { kind, space: kind.space(""), clock, entropy: SeededEntropy::new(1) }
    }

    fn once(&self, overwrite: bool) -> Once<'_> {
        let destination: Arc<dyn Destination> = Arc::clone(&self.space) as Arc<dyn Destination>;
        Once {
            destination,
            kind: self.kind,
            store: STORE,
            digest: &digest,
            overwrite,
            clock: &self.clock,
            entropy: &self.entropy,
        }
    }

    /// One whole run: what was decided, and what came of it.
    async fn run(&self, items: impl Fn() -> Vec<Item<'static>>) -> Vec<String> {
        self.run_as(&self.once(false), items).await
    }

    async fn run_as(&self, once: &Once<'_>, items: impl Fn() -> Vec<Item<'static>>) -> Vec<String> {
        let seen = once.look(&items(), false).await;
        let decisions: Vec<_> =
            items().into_iter().zip(&seen).map(|(item, seen)| once.decide(item, seen)).collect();
        let settled = AtomicUsize::new(0);
        let count = decisions.len();
        let actions = once.carry_out(decisions, &mut || _ = settled.fetch_add(1, Ordering::Relaxed)).await;
        assert_eq!(settled.load(Ordering::Relaxed), count, "every item comes to an end once");
        actions.iter().map(word).collect()
    }

    fn value(&self, name: &str) -> Option<String> {
        self.space.entry(name).map(|entry| entry.value.expose_text().unwrap().to_owned())
    }
}

fn word(action: &Action) -> String {
    match action {
        Action::Refuse(fault) => fault.code.to_owned(),
        other => format!("{other:?}"),
    }
}

fn item(name: &str, wish: Wish<'static>, named: bool) -> Item<'static> {
    Item { name: RemoteName::from_kind(name), wish, named }
}

fn hold(name: &str, value: &str) -> Item<'static> {
    item(name, Wish::Hold(value.into(), Encoding::Text), true)
}

fn titled(name: &str, value: &str) -> Item<'static> {
    item(name, Wish::Hold(value.into(), Encoding::Text), false)
}

fn gone(name: &str) -> Item<'static> {
    item(name, Wish::Gone, true)
}

/// Makes the text end in this.
fn ending(name: &str, end: &'static str) -> Item<'static> {
    let onto: Onto<'static> = Box::new(move |there| {
        let there = there.map(|text| text.expose_text().unwrap().to_owned()).unwrap_or_default();
        Ok((!there.ends_with(end)).then(|| SecretBytes::from(format!("{there}{end}"))))
    });
    item(name, Wish::Change { wanted: end.into(), onto }, true)
}

#[tokio::test]
async fn a_second_run_reads_and_writes_nothing() {
    let bench = Bench::new();
    let items = || vec![hold("a", "1"), titled("b", "2"), ending("c", "!")];
    assert_eq!(bench.run(items).await, ["Create", "Create", "Create"]);
    let calls = bench.space.calls();
    assert_eq!((calls.read, calls.put), (0, 3));
    assert_eq!(bench.run(items).await, ["Keep", "Keep", "Keep"]);
    assert_eq!((bench.space.calls().read, bench.space.calls().put), (0, 3), "the marks prove it");
    assert_eq!(bench.run(|| vec![hold("a", "3"), ending("c", "?")]).await, ["Update", "Update"]);
    assert_eq!(bench.value("a").as_deref(), Some("3"));
    assert_eq!(bench.value("c").as_deref(), Some("!?"));
    // A value that comes back is written again, whoever changed it.
    bench.space.meddle("a", |entry| entry.as_mut().unwrap().mark.as_mut().unwrap().write = None);
    assert_eq!(bench.run(|| vec![hold("a", "1")]).await, ["Update"]);
    assert_eq!(bench.value("a").as_deref(), Some("1"));
}

#[tokio::test]
async fn what_a_stranger_holds_is_compared_and_then_left_or_taken() {
    for (named, overwrite, value, want, after) in [
        (true, false, "old", "Keep", "old"),
        (false, false, "old", "Keep", "old"),
        (true, false, "new", "Update", "new"),
        (false, false, "new", "name_taken", "old"),
        (false, true, "new", "Update", "new"),
    ] {
        let bench = Bench::new();
        bench.space.plant("s", "old", None, false);
        let wanted = || vec![item("s", Wish::Hold(value.into(), Encoding::Text), named)];
        let context = format!("named {named}, overwrite {overwrite}, {value}");
        assert_eq!(bench.run_as(&bench.once(overwrite), wanted).await, [want], "{context}");
        assert_eq!(bench.value("s").as_deref(), Some(after), "{context}");
        assert_eq!(bench.space.calls().read, 1, "{context}");
        let taken = want == "Update";
        let mark = bench.space.entry("s").unwrap().mark;
        assert_eq!(mark.is_some_and(|mark| mark.store == STORE), taken, "{context}");
    }
    let bench = Bench::new();
    bench.space.plant("v", "old", None, true);
    assert_eq!(bench.run(|| vec![titled("v", "new")]).await, ["name_taken"], "Vault's is a stranger's");
}

#[tokio::test]
async fn only_what_may_go_goes() {
    let bench = Bench::new();
    let other = Mark {
        store: StoreId::from_bytes([9; 16]),
        epoch: 0,
        association: AssociationId::from_bytes([1; 16]),
        version: 0,
        write: None,
    };
    assert_eq!(bench.run(|| vec![hold("ours", "1")]).await, ["Create"]);
    bench.space.plant("unmarked", "1", None, false);
    bench.space.plant("others", "1", Some(other), false);
    bench.space.plant("vaults", "1", None, true);
    bench.space.plant("titled", "1", None, false);
    let items = || {
        vec![
            gone("ours"),
            gone("unmarked"),
            gone("others"),
            gone("vaults"),
            gone("never"),
            item("titled", Wish::Gone, false),
        ]
    };
    let want = ["Remove", "Remove", "ownership_lost", "ownership_lost", "Nothing", "name_taken"];
    assert_eq!(bench.run(items).await, want);
    assert_eq!(bench.space.names(), ["others", "titled", "vaults"]);
    assert_eq!(bench.run(|| vec![gone("ours")]).await, ["Nothing"]);
}

#[tokio::test(start_paused = true)]
async fn what_time_mends_is_tried_again_and_no_more_than_that() {
    let bench = Bench::new();
    let down = || Script::Fail(Fault::external("provider_down", "down"));
    let denied = || Script::Fail(Fault::client("access_denied", "no"));
    // The look, then the write.
    bench.space.script([down(), Script::Pass, down(), down()]);
    assert_eq!(bench.run(|| vec![hold("a", "1")]).await, ["Create"]);
    bench.space.script([Script::Pass, denied()]);
    assert_eq!(bench.run(|| vec![hold("b", "1")]).await, ["access_denied"]);
    assert_eq!(bench.space.calls().put, 4);
    // A look that fails for good decides nothing.
    bench.space.script((0..8).map(|_| down()));
    assert_eq!(bench.run(|| vec![gone("a")]).await, ["provider_down"]);
    assert!(bench.space.entry("a").is_some());
    bench.space.script([]);
    // A write whose answer is lost is not made twice.
    let bench = Bench::new();
    bench.space.script([Script::Pass, Script::LoseAnswer(Fault::external("timeout", "late").ambiguous())]);
    assert_eq!(bench.run(|| vec![hold("a", "1")]).await, ["Create"]);
    assert_eq!(bench.space.entry("a").unwrap().revision, 1);
}

#[tokio::test(start_paused = true)]
async fn a_destination_that_stays_down_is_given_up() {
    let bench = Bench::new();
    let items = || (0..200).map(|n| hold(&format!("n{n}"), "1")).collect::<Vec<_>>();
    let fault = || Fault::external("provider_down", "down");
    let passes = (0..200).map(|_| Script::Pass);
    bench.space.script(passes.chain((0..10_000).map(|_| Script::Fail(fault()))));
    let actions = bench.run(items).await;
    assert!(actions.iter().all(|action| action == "provider_down"));
    assert!(bench.space.calls().put < 100, "{:?}", bench.space.calls());
}

#[tokio::test]
async fn a_change_needs_to_know_what_is_there() {
    let bench = Bench::new();
    bench.space.plant("s", "old", None, false);
    bench.space.script([Script::Pass, Script::Fail(Fault::client("access_denied", "no"))]);
    assert_eq!(bench.run(|| vec![ending("s", "!")]).await, ["access_denied"]);
    assert_eq!(bench.value("s").as_deref(), Some("old"));
    // A whole value that a person named does not: where reading is not allowed it is written.
    bench.space.script([Script::Pass, Script::Fail(Fault::client("access_denied", "no"))]);
    assert_eq!(bench.run(|| vec![hold("s", "new")]).await, ["Update"]);
    assert_eq!(bench.value("s").as_deref(), Some("new"));
}

#[tokio::test]
async fn reading_all_is_only_done_on_request() {
    let bench = Bench::new();
    assert_eq!(bench.run(|| vec![hold("a", "1")]).await, ["Create"]);
    let once = bench.once(false);
    let items = [hold("a", "1"), hold("b", "2")];
    let seen = once.look(&items, true).await;
    assert_eq!(
        seen[0].value().map(|(value, _)| value.expose_text().unwrap().to_owned()).as_deref(),
        Some("1")
    );
    assert_eq!((seen[0].exists(), seen[1].exists()), (Some(true), Some(false)));
    assert!(seen[1].value().is_none());
    assert!(format!("{seen:?}").contains("SecretBytes(1 bytes)"), "no value is shown");
}
