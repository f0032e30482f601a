use std::{
    fs::File,
    io::{Read as _, Write as _},
    sync::Arc,
};

use model::{Clock as _, ManualClock, SeededEntropy};
use proptest::prelude::*;

use super::*;
use crate::{
    Backend, Batch, Embedded, EmbeddedOptions, Memory, Store, Write as Change,
    records::{Policy, Restored},
};

fn clock() -> ManualClock {
    ManualClock::new(model::Timestamp::from_secs(1_800_000_000))
}

fn entropy(seed: u64) -> Arc<SeededEntropy> {
    Arc::new(SeededEntropy::new(seed))
}

fn root(seed: u64) -> RootKey {
    RootKey::random(&SeededEntropy::new(seed))
}

fn policy(number: usize) -> Policy {
    Policy { name: format!("p{number}"), text: "x".repeat(number), modified: clock().now() }
}

/// A store with so many records, in that back end.
async fn store_in(backend: Arc<dyn Backend>, records: usize) -> Store {
    let store = Store::init(backend, &root(1), &clock(), entropy(2)).await.unwrap();
    fill(&store, 0..records).await;
    store
}

async fn fill(store: &Store, records: std::ops::Range<usize>) {
    for number in records {
        let mut transaction = store.transaction();
        let policy = policy(number);
        transaction.put(&store.keys().policy(&policy.name), &policy);
        transaction.commit().await.unwrap();
    }
}

async fn saved(store: &Store) -> Vec<u8> {
    let mut writer = Writer::new(store, clock().now(), &SeededEntropy::new(3)).await.unwrap();
    let mut bytes = Vec::new();
    while let Some(piece) = writer.piece().await.unwrap() {
        bytes.extend(piece);
    }
    bytes
}

fn file(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

/// Everything in it, if it is whole.
fn read(bytes: &[u8], key: Option<&RootKey>) -> Result<(Meta, Pairs, Ended), SnapshotError> {
    let mut reader = Reader::new(bytes)?;
    if let Some(key) = key {
        reader.unlock(key)?;
    }
    let mut all = Pairs::new();
    while let Some(page) = reader.page()? {
        all.extend(page);
    }
    Ok((reader.meta().clone(), all, reader.end().unwrap()))
}

async fn put_back(
    bytes: &[u8],
    backend: &Arc<dyn Backend>,
    guarding: Guarding,
) -> Result<Checked, RestoreError> {
    let now = clock().now();
    restore(file(bytes), &root(1), backend, guarding, now, entropy(9)).await.map(|(checked, _)| checked)
}

async fn open(backend: &Arc<dyn Backend>) -> Store {
    Store::open(Arc::clone(backend), &root(1), entropy(4)).await.unwrap().unwrap()
}

async fn entries(backend: &Arc<dyn Backend>) -> Pairs {
    let all = backend.scan(&[], None, usize::MAX).await.unwrap();
    all.into_iter().map(|(key, entry)| (key, entry.value.to_vec())).collect()
}

#[tokio::test]
async fn a_snapshot_holds_every_entry_as_the_back_end_has_it() {
    let store = store_in(Arc::new(Memory::new()), 1500).await;
    let bytes = saved(&store).await;
    let (meta, all, ended) = read(&bytes, Some(&root(1))).unwrap();
    assert!(all == entries(store.backend()).await);
    assert!(meta.is_of(store.header().id) && meta.epoch == 0 && meta.created == "2027-01-15T08:00:00Z");
    assert!(ended.chunks > 3, "{ended:?}");
    assert_eq!(ended.entries, Some((1502, 1501)));
    let (_, none, ended) = read(&bytes, None).unwrap();
    assert!(none.is_empty() && ended.entries.is_none());
}

#[tokio::test]
async fn the_archive_is_one_that_ordinary_tools_read_and_check() {
    let store = store_in(Arc::new(Memory::new()), 800).await;
    let dir = tempfile::tempdir().unwrap();
    let snap = dir.path().join("snap");
    std::fs::write(&snap, saved(&store).await).unwrap();
    let tool = |line: &str| {
        let done =
            std::process::Command::new("sh").arg("-c").arg(line).current_dir(dir.path()).output().unwrap();
        assert!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap()
    };
    let names = tool("tar tzf snap");
    assert!(names.starts_with("meta.json\nstate/00000000.bin\n"), "{names}");
    assert!(names.ends_with("SHA256SUMS\nSHA256SUMS.sealed\n"), "{names}");
    tool("tar xzf snap && sha256sum -c SHA256SUMS");
}

#[tokio::test]
async fn nothing_in_a_snapshot_is_in_clear_but_what_it_says_about_itself() {
    let store = store_in(Arc::new(Memory::new()), 5).await;
    let mut archive = Vec::new();
    flate2::read::GzDecoder::new(saved(&store).await.as_slice()).read_to_end(&mut archive).unwrap();
    let at = archive.windows(SEALED.len()).filter(|window| *window == SEALED.as_bytes()).count();
    assert_eq!(at, 1);
    for (key, value) in entries(store.backend()).await {
        // Hashed keys and sealed values do not show either.
        for bytes in [key, value].into_iter().filter(|bytes| bytes.len() > 8) {
            assert!(!archive.windows(bytes.len()).any(|window| window == bytes));
        }
    }
}

#[tokio::test]
async fn a_restored_store_is_the_saved_one_with_another_epoch_and_waits_for_a_person() {
    let source = store_in(Arc::new(Memory::new()), 400).await;
    let bytes = saved(&source).await;
    let dir = tempfile::tempdir().unwrap();
    let embedded = Embedded::create(&dir.path().join("store"), EmbeddedOptions::default()).unwrap();
    let empty: Arc<dyn Backend> = Arc::new(embedded);
    let other: Arc<dyn Backend> = Arc::new(Memory::new());
    other
        .commit(Batch { checks: vec![], writes: vec![Change::Put(b"zzz".to_vec(), vec![1])] })
        .await
        .unwrap();
    for backend in [empty, other] {
        put_back(&bytes, &backend, Guarding::AsSaved).await.unwrap();
        let store = open(&backend).await;
        assert_eq!(store.header().id, source.header().id);
        assert_eq!(store.header().epoch, 1_800_000_000, "the time of the restore");
        for number in [0, 7, 399] {
            let found = store.get(&store.keys().policy(&format!("p{number}"))).await.unwrap();
            assert_eq!(found.unwrap().record, policy(number));
        }
        let told = store.unconfirmed_restore().await.unwrap().unwrap();
        let expected = Restored {
            at: clock().now(),
            saved: "2027-01-15T08:00:00Z".into(),
            epoch: 1_800_000_000,
            confirmed: None,
        };
        assert_eq!(told, expected);
        assert_eq!(entries(&backend).await.len(), entries(source.backend()).await.len() + 1);
        store.confirm_restore(&clock()).await.unwrap();
        assert_eq!(store.unconfirmed_restore().await.unwrap(), None);
    }
}

#[tokio::test]
async fn an_epoch_is_never_used_twice() {
    let source = store_in(Arc::new(Memory::new()), 3).await;
    let bytes = saved(&source).await;
    let backend: Arc<dyn Backend> = Arc::new(Memory::new());
    let mut epochs = Vec::new();
    for _ in 0..3 {
        // By a clock that stands still, and from one and the same snapshot.
        put_back(&bytes, &backend, Guarding::AsSaved).await.unwrap();
        epochs.push(open(&backend).await.header().epoch);
    }
    assert_eq!(epochs, [1_800_000_000, 1_800_000_001, 1_800_000_002]);
}

#[tokio::test]
async fn what_was_written_since_is_gone_after_a_restore() {
    let store = store_in(Arc::new(Memory::new()), 10).await;
    let bytes = saved(&store).await;
    fill(&store, 10..20).await;
    put_back(&bytes, store.backend(), Guarding::AsNow).await.unwrap();
    let store = open(store.backend()).await;
    assert!(store.get(&store.keys().policy("p9")).await.unwrap().is_some());
    assert!(store.get(&store.keys().policy("p10")).await.unwrap().is_none());
}

#[tokio::test]
async fn the_guard_is_the_saved_one_or_the_one_there_is() {
    use crate::{Guard, ShareKey};
    let guard = |seed| {
        let key = ShareKey::random(&SeededEntropy::new(seed));
        let root = key.wrap(&root(1), &SeededEntropy::new(seed)).unwrap();
        Guard { kind: "shamir".into(), shares: 1, threshold: 1, root, proof: vec![] }
    };
    let source: Arc<dyn Backend> = Arc::new(Memory::new());
    let fill = async |_: &Store| Ok(());
    let made = Store::init_guarded(source, &root(1), &guard(7), &clock(), entropy(2), fill).await.unwrap().0;
    let bytes = saved(&made).await;
    let (meta, ..) = read(&bytes, None).unwrap();
    assert_eq!(meta.guard().unwrap(), Some(guard(7)), "so that shares are enough to check it");
    let there: Arc<dyn Backend> = Arc::new(Memory::new());
    Store::init_guarded(Arc::clone(&there), &root(1), &guard(8), &clock(), entropy(2), fill).await.unwrap();
    put_back(&bytes, &there, Guarding::AsNow).await.unwrap();
    assert_eq!(Guard::read(there.as_ref()).await.unwrap().unwrap().0, guard(8));
    put_back(&bytes, &there, Guarding::AsSaved).await.unwrap();
    assert_eq!(Guard::read(there.as_ref()).await.unwrap().unwrap().0, guard(7));
    let with_key_file = store_in(Arc::new(Memory::new()), 1).await;
    put_back(&bytes, with_key_file.backend(), Guarding::AsNow).await.unwrap();
    assert_eq!(Guard::read(with_key_file.backend().as_ref()).await.unwrap(), None);
}

#[tokio::test]
async fn a_snapshot_of_another_store_or_a_broken_one_changes_nothing() {
    let source = store_in(Arc::new(Memory::new()), 900).await;
    let bytes = saved(&source).await;
    let there = Store::init(Arc::new(Memory::new()), &root(5), &clock(), entropy(6)).await.unwrap();
    let before = entries(there.backend()).await;
    let now = clock().now();
    let refused =
        restore(file(&bytes), &root(5), there.backend(), Guarding::AsNow, now, entropy(9)).await.unwrap_err();
    assert_eq!(refused, SnapshotError::WrongKey.into());
    for cut in [0, 1, bytes.len() / 2, bytes.len() - 1] {
        put_back(&bytes[..cut], there.backend(), Guarding::AsNow).await.unwrap_err();
    }
    assert!(entries(there.backend()).await == before);
}

#[tokio::test]
async fn a_snapshot_that_ends_early_is_refused_wherever_it_ends() {
    let bytes = saved(&store_in(Arc::new(Memory::new()), 40).await).await;
    for key in [Some(root(1)), None] {
        for end in 0..bytes.len() {
            let refused = read(&bytes[..end], key.as_ref()).unwrap_err();
            assert!(
                !matches!(refused, SnapshotError::Io(_) | SnapshotError::OtherVersion { .. }),
                "{end}: {refused}"
            );
        }
        let longer = [bytes.as_slice(), b"x"].concat();
        assert!(matches!(read(&longer, key.as_ref()), Err(SnapshotError::Damaged(_))));
        let twice = [bytes.as_slice(), bytes.as_slice()].concat();
        assert!(matches!(read(&twice, key.as_ref()), Err(SnapshotError::Damaged(_))));
    }
}

#[tokio::test]
async fn every_flipped_bit_is_found() {
    let bytes = saved(&store_in(Arc::new(Memory::new()), 12).await).await;
    let whole = read(&bytes, Some(&root(1))).unwrap();
    let mut untold = 0;
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        match read(&flipped, Some(&root(1))) {
            Err(_) => {}
            // The compressor's name and time mean nothing.
            Ok(read) => {
                assert!(read == whole, "byte {at}");
                untold += 1;
            }
        }
    }
    assert!(untold <= 10, "{untold} bytes of the gzip header");
}

#[tokio::test]
async fn chunks_cannot_be_moved_left_out_or_taken_from_another_snapshot() {
    let store = store_in(Arc::new(Memory::new()), 1500).await;
    let mut parts = Vec::new();
    for seed in [3, 4] {
        let mut writer = Writer::new(&store, clock().now(), &SeededEntropy::new(seed)).await.unwrap();
        let mut bytes = Vec::new();
        while let Some(piece) = writer.piece().await.unwrap() {
            bytes.extend(piece);
        }
        parts.push(unpacked(&bytes));
    }
    let [ours, others] = &parts[..] else { panic!() };
    let whole = read(&packed(ours), Some(&root(1))).unwrap();
    assert_eq!(whole.2.entries, Some((1502, 1501)), "packing anew changes nothing");
    let chunk = |n: usize| n + 1;
    let mut left_out = ours.clone();
    left_out.remove(chunk(1));
    let mut moved = ours.clone();
    moved.swap(chunk(0), chunk(1));
    let mut foreign = ours.clone();
    foreign[chunk(1)] = others[chunk(1)].clone();
    let mut shortened = ours.clone();
    shortened.truncate(chunk(2));
    shortened.push(ours.last().unwrap().clone());
    for (what, parts) in
        [("left out", left_out), ("moved", moved), ("foreign", foreign), ("short", shortened)]
    {
        // With names and digests made to fit, as a forger would.
        assert!(read(&packed(&parts), None).is_ok(), "{what}: only the key tells");
        let refused = read(&packed(&parts), Some(&root(1))).unwrap_err();
        assert!(matches!(refused, SnapshotError::WrongKey | SnapshotError::Damaged(_)), "{what}: {refused}");
    }
}

/// Meta, the chunks, and the sealed end.
fn unpacked(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut archive = flate2::read::GzDecoder::new(bytes);
    let mut parts = Vec::new();
    while let Some((name, size)) = archive::next_file(&mut archive).unwrap() {
        let contents = archive::contents(&mut archive, size, u64::MAX).unwrap();
        if name != SUMS {
            parts.push(contents);
        }
    }
    parts
}

fn packed(parts: &[Vec<u8>]) -> Vec<u8> {
    let (end, rest) = parts.split_last().unwrap();
    let mut archive = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut sums = String::new();
    let mut add = |name: &str, contents: &[u8], sums: &mut String| {
        let size = contents.len() as u64;
        archive.write_all(&archive::header(name, size, 0)).unwrap();
        archive.write_all(contents).unwrap();
        archive.write_all(&vec![0; archive::padding(size)]).unwrap();
        sums.push_str(&sum_line(name, &super::write::sha256(contents)));
    };
    for (number, contents) in rest.iter().enumerate() {
        let name = match number {
            0 => META.to_owned(),
            n => chunk_name(n as u64 - 1),
        };
        add(&name, contents, &mut sums);
    }
    let told = sums.clone();
    add(SUMS, told.as_bytes(), &mut sums);
    add(SEALED, end, &mut sums);
    archive.write_all(&[0; 1024]).unwrap();
    archive.finish().unwrap()
}

#[tokio::test]
async fn other_files_and_newer_versions_are_told_apart() {
    for bytes in [&b""[..], b"hunter2", &[0; 2000], b"\x1f\x8b\x08\x00"] {
        assert!(matches!(read(bytes, None), Err(SnapshotError::NotASnapshot(_))), "{bytes:?}");
    }
    let bytes = saved(&store_in(Arc::new(Memory::new()), 1).await).await;
    let told = |from: &str, to: &str| {
        let mut parts = unpacked(&bytes);
        parts[0] = String::from_utf8(parts[0].clone()).unwrap().replace(from, to).into_bytes();
        read(&packed(&parts), None)
    };
    assert_eq!(told("\"version\": 1", "\"version\": 2"), Err(SnapshotError::OtherVersion { found: 2 }));
    let text = told("\"version\": 1", "\"version\": 2").unwrap_err().to_string();
    assert!(text.contains("version 2") && text.contains("newer one"), "{text}");
    // As Vault's own begin.
    assert!(matches!(told("keyferry snapshot", "x"), Err(SnapshotError::NotASnapshot(_))));
    assert!(matches!(told("\"version\": 1", "\"version\": \"1\""), Err(SnapshotError::Damaged(_))));
    assert!(matches!(told("store_id", "store"), Err(SnapshotError::Damaged(_))));
}

#[tokio::test]
async fn a_back_end_that_fails_half_way_has_lost_nothing() {
    let source = store_in(Arc::new(Memory::new()), 900).await;
    let mut parts = unpacked(&saved(&source).await);
    // Forged so that the first reading, without a key, finds nothing: only the second one does.
    let last = parts.len() - 2;
    parts[last][0] ^= 1;
    let dir = tempfile::tempdir().unwrap();
    let made = Embedded::create(&dir.path().join("store"), EmbeddedOptions::default()).unwrap();
    let there = store_in(Arc::new(made), 30).await;
    let before = entries(there.backend()).await;
    let mut reader = Reader::new(std::io::Cursor::new(packed(&parts))).unwrap();
    reader.unlock(&root(1)).unwrap();
    let mut page = Pairs::new().into_iter();
    let cut_off: crate::Replacement = Box::new(std::iter::from_fn(move || {
        loop {
            if let Some(pair) = page.next() {
                return Some(Ok(pair));
            }
            match reader.page() {
                Ok(Some(next)) => page = next.into_iter(),
                Ok(None) => return None,
                Err(error) => return Some(Err(error.into())),
            }
        }
    }));
    there.backend().replace(cut_off).await.unwrap_err();
    assert!(entries(there.backend()).await == before);
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
        let _ = read(&bytes, Some(&root(1)));
        // Past the compression and the first header.
        let mut archive = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        archive.write_all(&archive::header(META, bytes.len() as u64, 0)).unwrap();
        archive.write_all(&bytes).unwrap();
        let _ = read(&archive.finish().unwrap(), Some(&root(1)));
    }
}
