//! Everything at once: taken as of one moment, and put in the place of what was there.

use std::sync::Arc;

use store::{Backend, Check, Entry, MAX_VALUE, Replacement, SNAPSHOT_PAGE, StoreError};

use crate::contract::{delete, put, write};

type Store = Arc<dyn Backend>;
type Pair = (Vec<u8>, Vec<u8>);
type Pairs = Vec<Pair>;

async fn all(store: &Store) -> Vec<(Vec<u8>, Entry)> {
    store.scan(&[], None, usize::MAX).await.unwrap()
}

async fn taken(mut snapshot: Box<dyn store::Snapshot>) -> Vec<(Vec<u8>, Entry)> {
    let mut taken = Vec::new();
    loop {
        let page = snapshot.next().await.unwrap();
        if page.is_empty() {
            assert!(snapshot.next().await.unwrap().is_empty(), "the end stays the end");
            return taken;
        }
        let size: usize = page.iter().map(|(key, entry)| key.len() + entry.value.len()).sum();
        let last = page.last().map_or(0, |(key, entry)| key.len() + entry.value.len());
        // What an embedded store keeps beside a value counts as well.
        assert!(size - last < SNAPSHOT_PAGE, "a page of {size} bytes");
        taken.extend(page);
    }
}

fn replacement(pairs: Vec<Result<Pair, StoreError>>) -> Replacement {
    Box::new(pairs.into_iter())
}

fn pairs(range: std::ops::Range<u32>, size: usize) -> Pairs {
    range.map(|n| (n.to_be_bytes().to_vec(), vec![u8::try_from(n % 251).unwrap(); size])).collect()
}

async fn fill(store: &Store, pairs: &Pairs) {
    for chunk in pairs.chunks(100) {
        write(store, chunk.iter().map(|(key, value)| put(key, value)).collect()).await;
    }
}

pub(crate) async fn a_snapshot_is_of_one_moment(store: Store) {
    fill(&store, &pairs(0..300, 5000)).await;
    write(&store, vec![put(b"large", &vec![1; 2 * SNAPSHOT_PAGE])]).await;
    let before = all(&store).await;
    let snapshot = store.snapshot().await.unwrap();
    // What comes later does not show, wherever it falls.
    for (key, _) in before.iter().step_by(3) {
        write(&store, vec![put(key, b"changed"), put(&[key.as_slice(), b"/new"].concat(), b"new")]).await;
    }
    write(&store, before.iter().skip(1).step_by(3).map(|(key, _)| delete(key)).collect()).await;
    assert!(taken(snapshot).await == before);
}

pub(crate) async fn a_snapshot_of_nothing_is_empty(store: Store) {
    assert!(taken(store.snapshot().await.unwrap()).await.is_empty());
}

pub(crate) async fn a_replacement_takes_the_place_of_everything(store: Store) {
    fill(&store, &pairs(0..50, 100)).await;
    write(&store, vec![put(b"gone", b"1")]).await;
    let old = store.get(&7_u32.to_be_bytes()).await.unwrap().unwrap();
    let snapshot = store.snapshot().await.unwrap();
    let new: Pairs = pairs(5..2000, 300)
        .into_iter()
        .map(|(key, mut value)| {
            value.push(1);
            (key, value)
        })
        .collect();
    let revision = store.replace(replacement(new.iter().cloned().map(Ok).collect())).await.unwrap();
    let found = all(&store).await;
    assert!(found.iter().all(|(_, entry)| entry.revision == revision));
    let found: Pairs = found.into_iter().map(|(key, entry)| (key, entry.value.to_vec())).collect();
    assert!(found == new);
    // Whoever read before it loses.
    assert!(old.revision < revision);
    let stale = store::Batch {
        checks: vec![Check::Unchanged(7_u32.to_be_bytes().to_vec(), old.revision)],
        writes: vec![put(b"x", b"")],
    };
    assert_eq!(store.commit(stale).await, Err(StoreError::Conflict));
    // A moment taken before it is still that moment.
    assert!(taken(snapshot).await.iter().any(|(key, _)| key == b"gone"));
}

pub(crate) async fn a_replacement_that_fails_changes_nothing(store: Store) {
    fill(&store, &pairs(0..50, 100)).await;
    let before = all(&store).await;
    let broken = StoreError::Backend("cut off".into());
    let mut cut: Vec<_> = pairs(0..2000, 300).into_iter().map(Ok).collect();
    cut.push(Err(broken.clone()));
    assert_eq!(store.replace(replacement(cut)).await, Err(broken));
    assert!(all(&store).await == before);
    let large = vec![Ok((b"large".to_vec(), vec![0; MAX_VALUE + 1]))];
    let refused = store.replace(replacement(large)).await;
    assert_eq!(refused, Err(StoreError::TooLarge { size: MAX_VALUE + 1, limit: MAX_VALUE }));
    assert!(all(&store).await == before);
    write(&store, vec![put(b"still", b"writable")]).await;
}

pub(crate) async fn revisions_go_on_growing_after_a_replacement(store: Store) {
    let first = write(&store, vec![put(b"a", b"1")]).await;
    let replaced = store.replace(replacement(vec![Ok((b"a".to_vec(), b"2".to_vec()))])).await.unwrap();
    let next = write(&store, vec![put(b"a", b"3")]).await;
    assert!(first < replaced && replaced < next);
    let emptied = store.replace(replacement(Vec::new())).await.unwrap();
    assert!(next < emptied && all(&store).await.is_empty());
}
