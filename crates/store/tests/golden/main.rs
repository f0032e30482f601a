//! Store files as they were written, which every later version must read: one for each format that was ever
//! released, and a snapshot for each version of those. Never change one. When a format gets a successor:
//! `KEYFERRY_BLESS=1 cargo nextest run -p store --test golden` writes the files that are not there yet, with
//! what `samples` makes then; the older ones keep being compared with what they were made of.
#![expect(clippy::unwrap_used, reason = "all of this is tests")]

mod samples;

use std::{
    io::Read as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use flate2::{Compression, write::GzEncoder};
use model::{ManualClock, SecretBytes, SeededEntropy, Timestamp};
use samples::Sample;
use store::{
    Backend, Embedded, EmbeddedOptions, Memory, RootKey, Store,
    doctor::{self, Fault},
    snapshot::{Guarding, Writer, restore},
};

fn root() -> RootKey {
    RootKey::from_bytes(SecretBytes::new((0..32).collect())).unwrap()
}

fn entropy() -> Arc<SeededEntropy> {
    Arc::new(SeededEntropy::new(1))
}

fn clock() -> ManualClock {
    ManualClock::new(Timestamp::from_secs(1_700_000_000))
}

fn kept(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// Writes a file that is not there yet, if that was asked for.
fn bless(name: &str, bytes: &[u8]) {
    #[expect(clippy::disallowed_methods, reason = "whoever runs it says so")]
    let asked = std::env::var_os("KEYFERRY_BLESS").is_some();
    if asked && !kept(name).exists() {
        std::fs::write(kept(name), bytes).unwrap();
    }
}

/// A store in a file, with one record of every type in it, under two key terms.
async fn made(path: &Path) -> Store {
    let backend = Arc::new(Embedded::create(path, EmbeddedOptions::default()).unwrap());
    let store = Store::init(backend, &root(), &clock(), entropy()).await.unwrap();
    let samples = Sample::all();
    let (first, second) = samples.split_at(samples.len() / 2);
    for sample in first {
        sample.put(&store).await;
    }
    store.rotate(&clock()).await.unwrap();
    for sample in second {
        sample.put(&store).await;
    }
    store
}

async fn reads(store: &Store, samples: &[Sample]) {
    for sample in samples {
        sample.check(store).await;
    }
}

#[tokio::test]
async fn a_store_file_of_format_1_opens_and_every_record_in_it_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let fresh = dir.path().join("fresh");
    drop(made(&fresh).await);
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    std::io::copy(&mut std::fs::File::open(&fresh).unwrap(), &mut packed).unwrap();
    bless("format-1.redb.gz", &packed.finish().unwrap());

    let packed = std::fs::read(kept("format-1.redb.gz")).unwrap();
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(packed.as_slice()).read_to_end(&mut bytes).unwrap();
    let path = dir.path().join("keyferry.redb");
    std::fs::write(&path, bytes).unwrap();
    let backend: Arc<dyn Backend> = Arc::new(Embedded::open(&path, EmbeddedOptions::default()).unwrap());
    let store = Store::open(Arc::clone(&backend), &root(), entropy()).await.unwrap().unwrap();
    reads(&store, &Sample::all()).await;
    let report = doctor::examine(&backend, Some(&root()), entropy()).await.unwrap();
    let broken: Vec<_> = report.findings.iter().filter(|finding| finding.fault != Fault::Dangling).collect();
    assert!(broken.iter().all(|finding| finding.fault == Fault::Missing), "{broken:?}");
    // Every type of record there was then.
    assert_eq!(report.records.len(), 23, "{:?}", report.records);
    // And it can be written to.
    Sample::all()[0].put(&store).await;
}

#[tokio::test]
async fn a_snapshot_of_version_1_is_restored_and_every_record_in_it_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let store = made(&dir.path().join("fresh")).await;
    let mut writer =
        Writer::new(&store, Timestamp::from_secs(1_700_000_000), &SeededEntropy::new(2)).await.unwrap();
    let mut bytes = Vec::new();
    while let Some(piece) = writer.piece().await.unwrap() {
        bytes.extend(piece);
    }
    bless("snapshot-1.snap", &bytes);

    let file = std::fs::File::open(kept("snapshot-1.snap")).unwrap();
    let backend: Arc<dyn Backend> = Arc::new(Memory::new());
    let now = Timestamp::from_secs(1_800_000_000);
    restore(file, &root(), &backend, Guarding::AsSaved, now, entropy()).await.unwrap();
    let store = Store::open(backend, &root(), entropy()).await.unwrap().unwrap();
    let samples = Sample::all();
    // The last two are of servers at work, which a restored store knows nothing of.
    reads(&store, &samples[..samples.len() - 2]).await;
    assert_eq!(store.header().epoch, 1_800_000_000);
}
