//! What is on disk after power cuts, failures and damage.

use std::{collections::BTreeMap, io::ErrorKind, path::Path, time::Duration};

use futures_util::{FutureExt, future::join_all};

use super::{
    Embedded, EmbeddedOptions,
    file::Source,
    pretend::{Dice, Event, Fault, Operation, PretendDisk, Survives, after_power_cut},
};
use crate::{Backend, Batch, Check, OpenError, Revision, StoreError, Write};

fn source(disk: &PretendDisk, options: EmbeddedOptions) -> Source {
    let disk = disk.clone();
    Source::new(Path::new("pretend"), options, Box::new(move || Ok(Box::new(disk.clone()))))
}

fn create(disk: &PretendDisk, options: EmbeddedOptions) -> Embedded {
    let source = source(disk, options);
    let opened = source.create().unwrap();
    Embedded::start(source, opened).unwrap()
}

fn open(disk: &PretendDisk, options: EmbeddedOptions) -> Result<Embedded, OpenError> {
    let source = source(disk, options);
    let opened = source.open()?;
    Embedded::start(source, opened)
}

type Contents = BTreeMap<Vec<u8>, Vec<u8>>;

async fn contents(store: &Embedded) -> Result<Contents, StoreError> {
    let all = store.scan(b"", None, usize::MAX).await?;
    Ok(all.into_iter().map(|(key, entry)| (key, entry.value.to_vec())).collect())
}

/// Many small commits, some together, some large; each counts itself under `count`. The states they
/// go through, beginning with the empty one.
async fn work(disk: &PretendDisk, store: &Embedded, rounds: usize) -> Vec<Contents> {
    let dice = Dice::new(1);
    let mut states = vec![Contents::new()];
    for _ in 0..rounds {
        let mut batches = Vec::new();
        for _ in 0..=dice.below(4) {
            let mut after = states.last().unwrap().clone();
            let number = states.len() as u64;
            let mut writes = vec![Write::Put(b"count".to_vec(), number.to_be_bytes().to_vec())];
            for _ in 0..dice.below(4) {
                let key = vec![b'k', u8::try_from(dice.below(40)).unwrap()];
                let size = if dice.below(8) == 0 { dice.below(20_000) } else { dice.below(300) };
                writes.push(match dice.below(4) {
                    0 => Write::Delete(key),
                    _ => Write::Put(key, vec![u8::try_from(dice.below(256)).unwrap(); size]),
                });
            }
            for write in &writes {
                match write {
                    Write::Put(key, value) => after.insert(key.clone(), value.clone()),
                    Write::Delete(key) => after.remove(key),
                };
            }
            states.push(after);
            batches.push((number, Batch { checks: vec![], writes }));
        }
        let commits = batches.into_iter().map(|(number, batch)| async move {
            store.commit(batch).await.unwrap();
            disk.tell(number);
        });
        join_all(commits).await;
    }
    states
}

#[tokio::test]
async fn every_acknowledged_commit_survives_a_power_cut_at_any_point() {
    let disk = PretendDisk::default();
    let store = create(&disk, EmbeddedOptions::default());
    let created = disk.journal().len();
    let states = work(&disk, &store, 40).await;
    drop(store);
    let journal = disk.journal();

    let mut recovered_more_than_told = 0;
    for at in created..=journal.len() {
        let told = journal[..at].iter().rev().find_map(|event| match event {
            Event::Told(number) => Some(*number),
            _ => None,
        });
        let before_flush = matches!(journal.get(at), Some(Event::Flush));
        let mut cuts = vec![Survives::Some(at as u64)];
        if before_flush {
            let seed = 1_000_000 + at as u64;
            cuts.extend([
                Survives::Nothing,
                Survives::Everything,
                Survives::Some(seed),
                Survives::Some(seed + 1),
            ]);
        }
        for survives in cuts {
            let image = after_power_cut(&journal, at, survives);
            let store = open(&PretendDisk::holding(image), EmbeddedOptions::default())
                .unwrap_or_else(|error| panic!("cut at {at}, {survives:?}: {error}"));
            let found = contents(&store).await.unwrap();
            let count = found
                .get(b"count".as_slice())
                .map_or(0, |n| u64::from_be_bytes(n.as_slice().try_into().unwrap()));
            assert!(count >= told.unwrap_or(0), "cut at {at}, {survives:?}: {told:?} told, {count} there");
            assert!(
                found == states[usize::try_from(count).unwrap()],
                "cut at {at}, {survives:?}: half a commit"
            );
            recovered_more_than_told += usize::from(count > told.unwrap_or(0));
            // What was recovered can be written to.
            let batch = Batch { checks: vec![], writes: vec![Write::Put(b"count".to_vec(), vec![1])] };
            assert!(store.commit(batch).await.is_ok());
        }
    }
    // Or else the cuts never met a commit under way.
    assert!(recovered_more_than_told > 0);
}

#[tokio::test]
async fn no_commit_is_answered_before_its_flush() {
    let disk = PretendDisk::default();
    let store = create(&disk, EmbeddedOptions::default());
    let batch = Batch { checks: vec![], writes: vec![Write::Put(b"a".to_vec(), b"1".to_vec())] };
    let held = disk.hold_flushes();
    let mut commit = Box::pin(store.commit(batch));
    for _ in 0..50 {
        assert!(commit.as_mut().now_or_never().is_none(), "answered before the disk did");
        assert_eq!(store.get(b"a").await, Ok(None), "and shown to others before that");
        std::thread::sleep(Duration::from_millis(1));
    }
    drop(held);
    commit.await.unwrap();
    assert!(store.get(b"a").await.unwrap().is_some());
}

/// What a commit that met a failure came to, as its caller knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    Done,
    NotDone,
    Unknown,
}

/// Commits `count` pairs of entries, one after the other.
async fn pairs(store: &Embedded, count: u8) -> Vec<Known> {
    let mut known = Vec::new();
    for number in 0..count {
        let value = vec![number; 700];
        let writes =
            vec![Write::Put(vec![b'a', number], value.clone()), Write::Put(vec![b'b', number], value)];
        known.push(match store.commit(Batch { checks: vec![], writes }).await {
            Ok(_) => Known::Done,
            Err(StoreError::Backend(_)) => Known::NotDone,
            Err(StoreError::Unknown) => Known::Unknown,
            Err(error) => panic!("{error}"),
        });
    }
    known
}

fn check_pairs(found: &Contents, known: &[Known], context: &str) {
    for (number, known) in (0_u8..).zip(known) {
        let (a, b) = (found.contains_key(&vec![b'a', number]), found.contains_key(&vec![b'b', number]));
        assert_eq!(a, b, "{context}: half of {number}");
        match known {
            Known::Done => assert!(a, "{context}: {number} was acknowledged and is gone"),
            Known::NotDone => assert!(!a, "{context}: {number} was refused and is there"),
            Known::Unknown => {}
        }
    }
}

#[tokio::test]
async fn after_a_failed_write_nothing_acknowledged_is_lost_and_writing_goes_on() {
    for fault in [Fault::Error(ErrorKind::StorageFull), Fault::Torn, Fault::Error(ErrorKind::Other)] {
        for skip in 0.. {
            let context = format!("{fault:?} at change {skip}");
            let disk = PretendDisk::default();
            let store = create(&disk, EmbeddedOptions::default());
            disk.fail(Operation::Change, skip, fault);
            let known = pairs(&store, 12).await;
            if disk.fault_pending() {
                break;
            }
            let failures = known.iter().filter(|known| **known != Known::Done).count();
            assert!(failures <= 1, "{context}: {known:?}");
            check_pairs(&contents(&store).await.unwrap(), &known, &context);
            let journal = disk.journal();
            for survives in [Survives::Nothing, Survives::Everything, Survives::Some(skip as u64)] {
                let image = after_power_cut(&journal, journal.len(), survives);
                let store = open(&PretendDisk::holding(image), EmbeddedOptions::default()).unwrap();
                check_pairs(&contents(&store).await.unwrap(), &known, &context);
            }
        }
    }
}

#[tokio::test]
async fn a_failed_flush_is_never_acknowledged_and_stops_all_writing() {
    for skip in 0.. {
        let disk = PretendDisk::default();
        let store = create(&disk, EmbeddedOptions::default());
        disk.fail(Operation::Flush, skip, Fault::Error(ErrorKind::Other));
        let known = pairs(&store, 8).await;
        if disk.fault_pending() {
            break;
        }
        let failed = known.iter().position(|known| *known != Known::Done).expect("a flush failed");
        assert_eq!(known[failed], Known::Unknown);
        assert!(known[failed + 1..].iter().all(|known| *known == Known::NotDone), "{known:?}");
        let Err(StoreError::Backend(reason)) = store.commit(Batch::default()).await else {
            panic!("went on after a failed flush");
        };
        assert!(reason.contains("pretend") && reason.contains("check the disk"), "{reason}");
        // What was acknowledged can still be read from memory.
        for number in 0..failed {
            assert!(store.get(&[b'a', u8::try_from(number).unwrap()]).await.unwrap().is_some());
        }
        assert_eq!(store.get(&[b'a', u8::try_from(failed).unwrap()]).await, Ok(None));
        drop(store);
        let journal = disk.journal();
        for survives in [Survives::Nothing, Survives::Everything, Survives::Some(skip as u64)] {
            let image = after_power_cut(&journal, journal.len(), survives);
            let store = open(&PretendDisk::holding(image), EmbeddedOptions::default()).unwrap();
            check_pairs(&contents(&store).await.unwrap(), &known, &format!("flush {skip}"));
        }
    }
}

#[tokio::test]
async fn after_a_failed_read_the_store_mends_itself() {
    let disk = PretendDisk::default();
    let store = create(&disk, EmbeddedOptions { cache_bytes: 0, ..EmbeddedOptions::default() });
    let known = pairs(&store, 40).await;
    for skip in 0..10 {
        disk.fail(Operation::Read, skip, Fault::Error(ErrorKind::Other));
        while disk.fault_pending() {
            assert!(store.get(&[b'a', 7]).await.unwrap().is_some());
        }
        check_pairs(&contents(&store).await.unwrap(), &known, "after a failed read");
        assert_eq!(pairs(&store, 1).await, [Known::Done]);
    }
}

#[tokio::test]
async fn revisions_are_never_given_twice_not_even_across_a_power_cut() {
    let disk = PretendDisk::default();
    let store = create(&disk, EmbeddedOptions::default());
    let put = || Batch { checks: vec![], writes: vec![Write::Put(b"a".to_vec(), vec![])] };
    let first = store.commit(put()).await.unwrap();
    let image = after_power_cut(&disk.journal(), disk.journal().len(), Survives::Nothing);
    let store = open(&PretendDisk::holding(image), EmbeddedOptions::default()).unwrap();
    assert_eq!(store.get(b"a").await.unwrap().unwrap().revision, first);
    let delete = Batch { checks: vec![], writes: vec![Write::Delete(b"a".to_vec())] };
    store.commit(delete).await.unwrap();
    let again = store.commit(put()).await.unwrap();
    assert!(again > first);
    let check = Batch { checks: vec![Check::Unchanged(b"a".to_vec(), first)], writes: vec![] };
    assert_eq!(store.commit(check).await, Err(StoreError::Conflict));
    assert_ne!(first, Revision(0));
}

/// A store's file and what may be found in it: all, or, when it was not closed, also what was there
/// before the last flush (the module's documentation says why).
struct Filled {
    image: Vec<u8>,
    allowed: Vec<Contents>,
}

async fn filled(closed: bool) -> Filled {
    let disk = PretendDisk::default();
    let store = create(&disk, EmbeddedOptions::default());
    let mut states = work(&disk, &store, 25).await;
    if closed {
        drop(store);
        return Filled { image: disk.now(), allowed: states.split_off(states.len() - 1) };
    }
    // A round is up to four commits.
    Filled { image: disk.now(), allowed: states.split_off(states.len() - 5) }
}

impl Filled {
    /// Opens a damaged variant: refused, or all there. Never a panic, never other contents. Whether it
    /// was refused.
    async fn refused_or_whole(&self, image: Vec<u8>, context: &str) -> bool {
        match open(&PretendDisk::holding(image), EmbeddedOptions::default()) {
            Ok(store) => {
                let found = contents(&store).await.unwrap();
                // Not `assert_eq`: the contents are long.
                assert!(self.allowed.contains(&found), "{context}: other contents");
                false
            }
            Err(
                OpenError::Damaged { .. }
                | OpenError::NotAStore { .. }
                | OpenError::OtherFormat { .. }
                | OpenError::Io { .. },
            ) => true,
            Err(error) => panic!("{context}: {error}"),
        }
    }
}

#[tokio::test]
async fn a_flipped_bit_is_refused_or_harmless() {
    for closed in [true, false] {
        let filled = filled(closed).await;
        let dice = Dice::new(7);
        let header = (0..400).map(|at| (at, 1 << dice.below(8)));
        let anywhere = (0..800).map(|_| (dice.below(filled.image.len()), 1_u8 << dice.below(8)));
        let mut refused = 0;
        for (at, bit) in header.chain(anywhere).collect::<Vec<_>>() {
            let mut image = filled.image.clone();
            image[at] ^= bit;
            let context = format!("closed {closed}, bit {bit} of byte {at}");
            refused += usize::from(filled.refused_or_whole(image, &context).await);
        }
        // Most of the file is free space, where a flipped bit is harmless.
        assert!(refused > 30, "only {refused} were noticed");
    }
}

#[tokio::test]
async fn a_truncated_padded_or_overwritten_file_is_refused_or_whole() {
    let filled = filled(true).await;
    let dice = Dice::new(9);
    let whole = filled.image.len();
    let lengths = [0, 1, 8, 9, 10, 63, 64, 319, 320, 4095, 4096, 4097, whole - 1, whole - 4096];
    for length in lengths.into_iter().chain((0..60).map(|_| dice.below(whole))) {
        let cut = filled.image[..length].to_vec();
        let context = format!("cut to {length}");
        assert!(filled.refused_or_whole(cut, &context).await, "{context}");
    }
    for more in [1, 4096, 100_000] {
        let mut padded = filled.image.clone();
        padded.resize(whole + more, 0);
        filled.refused_or_whole(padded, &format!("{more} bytes more")).await;
    }
    for page in 0..whole / 4096 {
        for filler in [0, 0xff] {
            let mut image = filled.image.clone();
            image[page * 4096..(page + 1) * 4096].fill(filler);
            filled.refused_or_whole(image, &format!("page {page} full of {filler}")).await;
        }
    }
}

#[tokio::test]
async fn damage_met_while_open_is_an_error_and_no_panic() {
    let Filled { image, allowed } = filled(true).await;
    let dice = Dice::new(11);
    // No check when opening and nothing cached: every damage is met later.
    let options = EmbeddedOptions { cache_bytes: 0, check_on_open: false };
    for _ in 0..150 {
        let mut image = image.clone();
        let page = dice.below(image.len() / 4096);
        for _ in 0..20 {
            image[page * 4096 + dice.below(4096)] ^= 1 << dice.below(8);
        }
        let Ok(store) = open(&PretendDisk::holding(image), options.clone()) else { continue };
        let _ = contents(&store).await;
        for key in allowed[0].keys() {
            let _ = store.get(key).await;
        }
        let writes = vec![Write::Delete(b"count".to_vec()), Write::Put(b"new".to_vec(), vec![1; 5000])];
        let _ = store.commit(Batch { checks: vec![Check::EmptyAfter(b"new/".to_vec())], writes }).await;
    }
}
