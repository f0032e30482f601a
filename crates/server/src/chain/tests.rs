//! Every way to tamper with a chain is found, and nothing that happens by itself looks like one.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use engine::{Act, Delivery, Observer as _};
use model::{
    AssociationId, Blame, DestinationId, DestinationKey, DestinationName, ManualClock, MountAccessor,
    RemoteName, SecretPath, SeededEntropy, Timestamp, Version,
};
use proptest::prelude::*;
use store::{
    Memory, RootKey, Store,
    records::{Cause, Grantor},
};

use super::{Chain, ChainError, Fault, Known, Verified, heads, verify};
use crate::lines::{LineFile, Sink as _};

struct Bench {
    store: Store,
    clock: Arc<ManualClock>,
    dir: tempfile::TempDir,
    seed: u64,
}

impl Bench {
    async fn new(seed: u64) -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp::from_secs(1_700_000_000)));
        let entropy = Arc::new(SeededEntropy::new(seed));
        let root = RootKey::random(entropy.as_ref());
        let store = Store::init(Arc::new(Memory::new()), &root, clock.as_ref(), entropy).await.unwrap();
        Self { store, clock, dir: tempfile::tempdir().unwrap(), seed }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("chain")
    }

    fn file(&self) -> Arc<LineFile> {
        Arc::new(LineFile::open(&self.path(), 0o600).unwrap())
    }

    async fn open(&self, file: Arc<LineFile>) -> Result<Chain, ChainError> {
        let entropy = SeededEntropy::new(self.seed + 1);
        Chain::open(&self.store, self.clock.clone(), &entropy, file, "main").await
    }

    async fn start(&self) -> Chain {
        self.open(self.file()).await.unwrap()
    }

    async fn known(&self) -> Known {
        let (_, head) = heads(&self.store).await.unwrap().remove(0);
        Known { key: Some(head.public_key), head: Some((head.sequence, head.hash)) }
    }

    fn lines(&self) -> Vec<String> {
        fs::read_to_string(self.path()).unwrap().lines().map(str::to_owned).collect()
    }

    fn check(&self, known: &Known) -> Result<Verified, Fault> {
        check(&[&self.path()], known)
    }
}

fn check(files: &[&Path], known: &Known) -> Result<Verified, Fault> {
    verify(files.iter().map(|path| ("f".to_owned(), std::io::Cursor::new(fs::read(path).unwrap()))), known)
}

async fn deliver(chain: &Chain, version: u64, fault: Option<(Blame, &str)>) -> Result<(), String> {
    let destination = DestinationKey { kind: "aws-sm".into(), name: DestinationName::parse("prod").unwrap() };
    let accessor = MountAccessor::parse("kv_00000001").unwrap();
    let path = SecretPath::parse("app/db").unwrap();
    let name = RemoteName::from_kind("kv/app/db");
    let grantor = Grantor {
        policies: vec!["ci".to_owned()],
        entity: Some("e-1".to_owned()),
        accessor: "acc".to_owned(),
    };
    let now = Timestamp::from_secs(1_700_000_001);
    let delivery = Delivery {
        destination: &destination,
        destination_id: DestinationId::from_bytes([1; 16]),
        association: AssociationId::from_bytes([2; 16]),
        accessor: &accessor,
        mount: "secret/",
        path: &path,
        grantors: std::slice::from_ref(&grantor),
        sub_key: None,
        name: Some(&name),
        version: Version(version),
        act: Act::Write,
        fault,
        cause: Cause::Source,
        asked: now,
        answered: now,
        attempts: 0,
    };
    chain.delivered(&[delivery]).await
}

async fn filled(seed: u64, records: u64) -> Bench {
    let bench = Bench::new(seed).await;
    let chain = bench.start().await;
    for version in 1..=records {
        deliver(&chain, version, None).await.unwrap();
    }
    bench
}

#[tokio::test]
async fn a_record_says_what_was_delivered_where_and_by_whose_right() {
    let bench = Bench::new(1).await;
    let chain = bench.start().await;
    deliver(&chain, 7, None).await.unwrap();
    deliver(&chain, 8, Some((Blame::Client, "access_denied"))).await.unwrap();
    deliver(&chain, 8, Some((Blame::Client, "mass_delete_held"))).await.unwrap();
    let lines = bench.lines();
    let told: Vec<serde_json::Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((told[0]["event"].as_str(), told[0]["chain"].as_str()), (Some("opened"), Some("main")));
    let record = &told[1];
    for (name, value) in [
        ("destination", "aws-sm/prod"),
        ("mount", "secret/"),
        ("path", "app/db"),
        ("remote_name", "kv/app/db"),
        ("outcome", "written"),
        ("cause", "source"),
        ("time", "2023-11-14T22:13:21Z"),
    ] {
        assert_eq!(record[name], value, "{record}");
    }
    assert_eq!((record["seq"].as_u64(), record["version"].as_u64()), (Some(2), Some(7)));
    let by = &record["by"][0];
    assert_eq!((by["entity_id"].as_str(), by["policies"][0].as_str()), (Some("e-1"), Some("ci")));
    assert!(by["accessor"].as_str().unwrap().starts_with("hmac-sha256:"));
    assert_eq!(
        (told[2]["outcome"].as_str(), told[2]["error_code"].as_str()),
        (Some("failed"), Some("access_denied"))
    );
    assert_eq!(told[3]["outcome"], "held");
    let verified = bench.check(&bench.known().await).unwrap();
    assert_eq!((verified.records, verified.first, verified.last.0), (4, 1, 4));
}

#[tokio::test]
async fn the_chain_goes_on_over_restarts_and_files() {
    let bench = filled(1, 3).await;
    let file = bench.file();
    let chain = bench.open(Arc::clone(&file)).await.unwrap();
    deliver(&chain, 4, None).await.unwrap();
    let old = bench.dir.path().join("chain.1");
    fs::rename(bench.path(), &old).unwrap();
    file.reopen().unwrap();
    deliver(&chain, 5, None).await.unwrap();
    drop(chain);
    // Moved away while nobody was there to be told.
    let older = bench.dir.path().join("chain.2");
    fs::rename(&old, &older).unwrap();
    fs::rename(bench.path(), &old).unwrap();
    let chain = bench.start().await;
    deliver(&chain, 6, None).await.unwrap();
    let known = bench.known().await;
    let all = check(&[&older, &old, &bench.path()], &known).unwrap();
    assert_eq!((all.records, all.first, all.last.0), (10, 1, 10));
    let newest = check(&[&bench.path()], &known).unwrap();
    assert_eq!((newest.records, newest.first), (2, 9));
    let gap = check(&[&older, &bench.path()], &known).unwrap_err().to_string();
    assert_eq!(gap, "f:1: records 7 to 8 are missing before it");
    assert!(check(&[&old, &older, &bench.path()], &known).is_err());
}

/// The process ends between the file and the store, or in the middle of a line.
#[tokio::test]
async fn a_crash_is_no_tampering() {
    let bench = filled(1, 3).await;
    let before = bench.known().await;
    // Ahead of the head: the store as it was before the last two records.
    let ahead = fs::read(bench.path()).unwrap();
    let chain = bench.start().await;
    deliver(&chain, 4, None).await.unwrap();
    drop(chain);
    let after = fs::read(bench.path()).unwrap();
    let behind = Bench::new(1).await;
    fs::write(behind.path(), &after[..0]).unwrap();
    let chain = behind.start().await;
    for version in 1..=3 {
        deliver(&chain, version, None).await.unwrap();
    }
    drop(chain);
    assert_eq!(fs::read(behind.path()).unwrap(), ahead, "the same store does the same");
    fs::write(behind.path(), &after).unwrap();
    drop(behind.start().await);
    let known = behind.known().await;
    assert!(known.head.as_ref().unwrap().0 > before.head.unwrap().0 + 2);
    behind.check(&known).unwrap();
    // A torn line at the end.
    let mut torn = fs::read(behind.path()).unwrap();
    torn.extend_from_slice(br#"{"seq":99,"prev":"#);
    fs::write(behind.path(), torn).unwrap();
    drop(behind.start().await);
    behind.check(&behind.known().await).unwrap();
}

#[tokio::test]
async fn what_was_cut_off_while_the_server_was_away_is_told_in_the_chain() {
    let bench = filled(1, 5).await;
    let lines = bench.lines();
    fs::write(bench.path(), lines[..4].join("\n") + "\n").unwrap();
    let chain = bench.start().await;
    deliver(&chain, 6, None).await.unwrap();
    let fault = bench.check(&Known::default()).unwrap_err().to_string();
    assert_eq!(fault, "f:5: records 5 to 6 are missing before it");
    // Cut off so that the numbers fit.
    let bench = filled(1, 5).await;
    let lines = bench.lines();
    let cut = [&lines[..5], &lines[5..6]].concat();
    fs::write(bench.path(), cut[..5].join("\n") + "\n" + &cut[5].replace("app/db", "app/dB") + "\n").unwrap();
    drop(bench.start().await);
    assert!(bench.check(&Known::default()).is_err());
    assert!(bench.lines().iter().any(|line| line.contains("\"event\":\"missing\"")));
}

#[tokio::test]
async fn two_writers_of_one_chain_are_told_apart() {
    let bench = filled(1, 1).await;
    let (first, elsewhere) = (bench.start().await, bench.dir.path().join("other"));
    let file = Arc::new(LineFile::open(&elsewhere, 0o600).unwrap());
    let second = bench.open(file).await.unwrap();
    let refused = deliver(&first, 2, None).await.unwrap_err();
    assert!(refused.contains("another server writes the chain main"), "{refused}");
    assert!(!first.ready(), "nothing is delivered meanwhile");
    deliver(&second, 2, None).await.unwrap();
    assert!(second.ready());
    // What was not committed is not in the file either.
    assert_eq!(bench.lines().len(), 3);
}

#[tokio::test]
async fn the_file_of_another_store_is_left_alone() {
    let (bench, other) = (filled(1, 2).await, Bench::new(77).await);
    fs::copy(bench.path(), other.path()).unwrap();
    let before = fs::read(other.path()).unwrap();
    assert!(matches!(other.open(other.file()).await, Err(ChainError::Another)));
    assert_eq!(fs::read(other.path()).unwrap(), before);
}

#[tokio::test]
async fn many_at_once_are_all_written() {
    let bench = Bench::new(1).await;
    let chain = Arc::new(bench.start().await);
    let all = (1..=100).map(|version| {
        let chain = Arc::clone(&chain);
        tokio::spawn(async move { deliver(&chain, version, None).await })
    });
    for one in all.collect::<Vec<_>>() {
        one.await.unwrap().unwrap();
    }
    assert_eq!(bench.check(&bench.known().await).unwrap().records, 101);
}

fn line_count() -> usize {
    9
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_is_done_to_a_file_is_found(
        what in 0..7usize,
        at in 0..line_count(),
        with in 0..line_count(),
        byte: prop::sample::Index,
        bit in 0..8u32,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (bench, other) = runtime.block_on(async { (filled(1, 8).await, filled(50, 8).await) });
        let known = runtime.block_on(bench.known());
        let before = bench.lines();
        let mut lines = before.clone();
        match what {
            // Changed.
            0 => {
                let mut bytes = lines[at].clone().into_bytes();
                let place = byte.index(bytes.len());
                bytes[place] ^= 1 << bit;
                lines[at] = String::from_utf8_lossy(&bytes).into_owned();
            }
            // Taken out.
            1 => drop(lines.remove(at)),
            // Elsewhere.
            2 => lines.swap(at, with),
            // Cut off.
            3 => lines.truncate(at),
            // Doubled, or brought from before.
            4 => lines.insert(at, before[with].clone()),
            // Another chain's.
            5 => lines[at] = other.lines()[at].clone(),
            // Another chain's, from here on.
            _ => lines.splice(at.., other.lines()[at..].iter().cloned()).for_each(drop),
        }
        prop_assume!(lines != before);
        lines.push(String::new());
        fs::write(bench.path(), lines.join("\n")).unwrap();
        lines.pop();
        prop_assert!(bench.check(&known).is_err());
        // Without anything known, all but a cut at the end.
        let cut_at_end = before.starts_with(&lines) && !lines.is_empty();
        let all_another = lines == other.lines();
        prop_assert!(cut_at_end || all_another || bench.check(&Known::default()).is_err());
    }

    #[test]
    fn nothing_at_all_makes_the_check_panic(bytes: Vec<u8>, cut: prop::sample::Index) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let bench = runtime.block_on(filled(1, 2));
        let whole = fs::read(bench.path()).unwrap();
        for text in [bytes.clone(), [&whole[..cut.index(whole.len())], bytes.as_slice()].concat()] {
            let _ = verify([("f".to_owned(), std::io::Cursor::new(text))], &Known::default());
        }
    }
}
