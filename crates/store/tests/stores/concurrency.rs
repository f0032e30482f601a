use std::sync::Arc;

use futures_util::future::join_all;
use store::{Backend, Batch, Check, StoreError, Write};
use tokio::task::JoinSet;

use super::contract::{delete, put, write};

type Store = Arc<dyn Backend>;

async fn number(store: &Store, key: &[u8]) -> u64 {
    let entry = store.get(key).await.unwrap().unwrap();
    u64::from_be_bytes(entry.value.as_ref().try_into().unwrap())
}

/// Adds one, again after each conflict.
async fn increment(store: &Store, key: &[u8]) {
    loop {
        let entry = store.get(key).await.unwrap().unwrap();
        let next = u64::from_be_bytes(entry.value.as_ref().try_into().unwrap()) + 1;
        let batch = Batch {
            checks: vec![Check::Unchanged(key.to_vec(), entry.revision)],
            writes: vec![put(key, &next.to_be_bytes())],
        };
        match store.commit(batch).await {
            Ok(_) => return,
            Err(StoreError::Conflict) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

pub(crate) async fn increments_are_never_lost(store: Store) {
    for writers in [1, 4, 16, 64] {
        let each = 64 / writers;
        write(&store, vec![put(b"counter", &0_u64.to_be_bytes())]).await;
        let mut tasks = JoinSet::new();
        for _ in 0..writers {
            let store = Arc::clone(&store);
            tasks.spawn(async move {
                for _ in 0..each {
                    increment(&store, b"counter").await;
                }
            });
        }
        tasks.join_all().await;
        assert_eq!(number(&store, b"counter").await, writers * each, "{writers} writers");
    }
}

pub(crate) async fn of_many_creators_one_wins(store: Store) {
    for round in 0..10_u8 {
        let mut tasks = JoinSet::new();
        for creator in 0..16_u8 {
            let store = Arc::clone(&store);
            tasks.spawn(async move {
                let batch = Batch {
                    checks: vec![Check::Absent(vec![round])],
                    writes: vec![put(&[round], &[creator])],
                };
                match store.commit(batch).await {
                    Ok(_) => Some(creator),
                    Err(StoreError::Conflict) => None,
                    Err(error) => panic!("{error}"),
                }
            });
        }
        let winners: Vec<u8> = tasks.join_all().await.into_iter().flatten().collect();
        let stored = store.get(&[round]).await.unwrap().unwrap();
        assert_eq!(winners, stored.value.as_ref());
    }
}

pub(crate) async fn a_refused_batch_does_not_harm_those_committed_with_it(store: Store) {
    // All at once, so that a back end that groups commits groups these.
    let commits = (0..64_u8).map(|writer| {
        let refused = writer % 3 == 0;
        let checks = if refused { vec![Check::Present(b"never".to_vec())] } else { vec![] };
        let batch = Batch { checks, writes: vec![put(&[1, writer], &[writer])] };
        let store = &store;
        async move { (writer, refused, store.commit(batch).await) }
    });
    for (writer, refused, outcome) in join_all(commits).await {
        assert_eq!(outcome.is_err(), refused, "{writer}: {outcome:?}");
        if refused {
            assert_eq!(outcome, Err(StoreError::Conflict));
        }
        assert_eq!(store.get(&[1, writer]).await.unwrap().is_none(), refused, "{writer}");
    }
}

pub(crate) async fn whoever_is_told_of_a_commit_reads_it(store: Store) {
    let mut tasks = JoinSet::new();
    for writer in 0..16_u8 {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            for round in 0..20_u8 {
                let revision = write(&store, vec![put(&[writer], &[round])]).await;
                // Another task, on whatever thread is free.
                let reader = Arc::clone(&store);
                tokio::spawn(async move {
                    let entry = reader.get(&[writer]).await.unwrap().unwrap();
                    assert_eq!((entry.value.as_ref(), entry.revision), ([round].as_slice(), revision));
                    let found = reader.scan(&[writer], None, 1).await.unwrap();
                    assert_eq!(found[0].1, entry);
                })
                .await
                .unwrap();
            }
        });
    }
    tasks.join_all().await;
}

pub(crate) async fn a_scan_sees_one_moment(store: Store) {
    let total = 1000_u64;
    write(&store, vec![put(b"t/a", &total.to_be_bytes()), put(b"t/b", &0_u64.to_be_bytes())]).await;
    let mover = {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            for moved in 1..=200_u64 {
                let (a, b) = (total - moved, moved);
                let writes = vec![put(b"t/a", &a.to_be_bytes()), put(b"t/b", &b.to_be_bytes())];
                write(&store, writes).await;
            }
        })
    };
    while !mover.is_finished() {
        let found = store.scan(b"t/", None, 10).await.unwrap();
        let value = |at: usize| u64::from_be_bytes(found[at].1.value.as_ref().try_into().unwrap());
        assert_eq!(value(0) + value(1), total);
        assert_eq!(found[0].1.revision, found[1].1.revision);
        tokio::task::yield_now().await;
    }
    mover.await.unwrap();
}

pub(crate) async fn a_commit_nobody_waits_for_is_whole_or_nothing(store: Store) {
    for round in 0..40_u8 {
        let writes: Vec<Write> = (0..20).map(|part| put(&[2, round, part], b"")).collect();
        let committing = store.commit(Batch { checks: vec![], writes });
        // One poll at most: the caller then goes away.
        let _ = futures_util::FutureExt::now_or_never(committing);
    }
    // A later commit comes after whatever of those went through.
    write(&store, vec![delete(b"none")]).await;
    for round in 0..40_u8 {
        let parts = store.scan(&[2, round], None, 100).await.unwrap().len();
        assert!(parts == 0 || parts == 20, "{parts} of 20 writes of round {round}");
    }
}
