use std::sync::Arc;

use store::{Backend, Batch, Check, MAX_VALUE, Revision, StoreError, Write};

type Store = Arc<dyn Backend>;

pub(crate) fn put(key: &[u8], value: &[u8]) -> Write {
    Write::Put(key.to_vec(), value.to_vec())
}

pub(crate) fn delete(key: &[u8]) -> Write {
    Write::Delete(key.to_vec())
}

pub(crate) async fn write(store: &Store, writes: Vec<Write>) -> Revision {
    store.commit(Batch { checks: vec![], writes }).await.unwrap()
}

async fn value(store: &Store, key: &[u8]) -> Option<Vec<u8>> {
    store.get(key).await.unwrap().map(|entry| entry.value.to_vec())
}

async fn keys(store: &Store, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Vec<String> {
    let found = store.scan(prefix, after, limit).await.unwrap();
    found.into_iter().map(|(key, _)| String::from_utf8_lossy(&key).into_owned()).collect()
}

/// Whether a batch that changes nothing else is let through by `checks`.
async fn holds(store: &Store, checks: Vec<Check>, writes: Vec<Write>) -> bool {
    match store.commit(Batch { checks, writes }).await {
        Ok(_) => true,
        Err(StoreError::Conflict) => false,
        Err(error) => panic!("{error}"),
    }
}

pub(crate) async fn what_is_put_is_got(store: Store) {
    assert_eq!(store.get(b"a").await, Ok(None));
    let first = write(&store, vec![put(b"a", b"1"), put(b"b", b"")]).await;
    let entry = store.get(b"a").await.unwrap().unwrap();
    assert_eq!((entry.value.as_ref(), entry.revision), (b"1".as_slice(), first));
    assert_eq!(value(&store, b"b").await, Some(vec![]), "an empty value is a value");
    let second = write(&store, vec![put(b"a", b"2")]).await;
    let entry = store.get(b"a").await.unwrap().unwrap();
    assert_eq!((entry.value.as_ref(), entry.revision), (b"2".as_slice(), second));
    assert_eq!(store.get(b"b").await.unwrap().unwrap().revision, first, "untouched, so still of the first");
    write(&store, vec![delete(b"a")]).await;
    assert_eq!(store.get(b"a").await, Ok(None));
    assert_eq!(store.get(b"").await, Ok(None));
}

pub(crate) async fn keys_are_any_bytes(store: Store) {
    let keys: Vec<Vec<u8>> = vec![
        vec![],
        vec![0],
        vec![0, 0],
        vec![0, 0xff],
        b"'; drop table --".to_vec(),
        "ключ".as_bytes().to_vec(),
        vec![0xc3, 0x28],
        vec![0xff],
        vec![0xff, 0xff],
        vec![7; 2000],
    ];
    for key in &keys {
        write(&store, vec![put(key, key)]).await;
    }
    for key in &keys {
        assert_eq!(value(&store, key).await.as_ref(), Some(key));
    }
    let mut sorted = keys.clone();
    sorted.sort();
    let found = store.scan(b"", None, 100).await.unwrap();
    assert_eq!(found.into_iter().map(|(key, _)| key).collect::<Vec<_>>(), sorted);
    let found = store.scan(&[0xff], None, 100).await.unwrap();
    assert_eq!(found.len(), 2, "a prefix that has no successor still ends");
}

pub(crate) async fn values_are_any_size_up_to_the_limit(store: Store) {
    for size in [1, 4095, 4096, 4097, 100_000, 5 << 20] {
        let large: Vec<u8> = (0..=250).cycle().take(size).collect();
        write(&store, vec![put(b"large", &large)]).await;
        assert!(value(&store, b"large").await.unwrap() == large, "{size}");
    }
    let batch = Batch {
        checks: vec![],
        writes: vec![put(b"beside", b"1"), Write::Put(b"large".to_vec(), vec![0; MAX_VALUE + 1])],
    };
    let refused = Err(StoreError::TooLarge { size: MAX_VALUE + 1, limit: MAX_VALUE });
    assert_eq!(store.commit(batch).await, refused);
    assert_eq!(value(&store, b"beside").await, None, "the whole batch is refused");
    write(&store, vec![put(b"large", b"small again")]).await;
    assert_eq!(value(&store, b"large").await.unwrap(), b"small again");
}

pub(crate) async fn writes_of_a_batch_apply_in_order(store: Store) {
    write(&store, vec![put(b"a", b"1"), put(b"a", b"2"), delete(b"a"), put(b"a", b"3")]).await;
    assert_eq!(value(&store, b"a").await.unwrap(), b"3");
    write(&store, vec![put(b"a", b"4"), delete(b"a")]).await;
    assert_eq!(value(&store, b"a").await, None);
}

pub(crate) async fn deleting_what_is_not_there_is_no_error(store: Store) {
    write(&store, vec![delete(b"a")]).await;
    assert_eq!(store.get(b"a").await, Ok(None));
}

pub(crate) async fn scans_are_in_key_order_and_keep_to_the_prefix(store: Store) {
    assert!(keys(&store, b"", None, 10).await.is_empty());
    for key in ["b", "ab", "a", "abc", "b/2", "b/10", "b/1", "c"] {
        write(&store, vec![put(key.as_bytes(), key.as_bytes())]).await;
    }
    assert_eq!(keys(&store, b"", None, 100).await, ["a", "ab", "abc", "b", "b/1", "b/10", "b/2", "c"]);
    assert_eq!(keys(&store, b"b/", None, 100).await, ["b/1", "b/10", "b/2"]);
    assert_eq!(keys(&store, b"b", None, 100).await, ["b", "b/1", "b/10", "b/2"]);
    assert!(keys(&store, b"bb", None, 100).await.is_empty());
    assert!(keys(&store, b"d", None, 100).await.is_empty());
    for (key, entry) in store.scan(b"a", None, 100).await.unwrap() {
        assert_eq!(entry.value, key);
        assert_eq!(store.get(&key).await.unwrap().unwrap(), entry);
    }
}

pub(crate) async fn scans_page(store: Store) {
    let all: Vec<String> = (0..257).map(|number| format!("p/{number:04}")).collect();
    let writes = all.iter().map(|key| put(key.as_bytes(), b"")).chain([put(b"o", b""), put(b"q", b"")]);
    write(&store, writes.collect()).await;
    assert!(keys(&store, b"p/", None, 0).await.is_empty());
    assert_eq!(keys(&store, b"p/", None, 257).await, all);
    assert_eq!(keys(&store, b"p/", None, 258).await, all);
    assert_eq!(keys(&store, b"p/", None, usize::MAX).await, all);
    for limit in [1, 2, 100, 256] {
        let mut paged: Vec<String> = Vec::new();
        loop {
            let after = paged.last().cloned();
            let page = keys(&store, b"p/", after.as_ref().map(String::as_bytes), limit).await;
            assert!(page.len() <= limit);
            if page.is_empty() {
                break;
            }
            paged.extend(page);
        }
        assert_eq!(paged, all, "{limit} at a time");
    }
}

pub(crate) async fn after_need_not_exist(store: Store) {
    write(&store, vec![put(b"p/1", b""), put(b"p/3", b""), put(b"p/5", b""), put(b"q", b"")]).await;
    for (after, found) in [
        ("p/0", vec!["p/1", "p/3", "p/5"]),
        ("p/1", vec!["p/3", "p/5"]),
        ("p/2", vec!["p/3", "p/5"]),
        ("p/5", vec![]),
        ("p/6", vec![]),
        ("p/", vec!["p/1", "p/3", "p/5"]),
        ("", vec!["p/1", "p/3", "p/5"]),
        ("a", vec!["p/1", "p/3", "p/5"]),
        ("q", vec![]),
        ("z", vec![]),
    ] {
        assert_eq!(keys(&store, b"p/", Some(after.as_bytes()), 10).await, found, "after {after:?}");
    }
    // A key that is itself the prefix: before it, it counts; after itself, it does not.
    write(&store, vec![put(b"p/", b"")]).await;
    assert_eq!(keys(&store, b"p/", Some(b"a"), 1).await, ["p/"]);
    assert_eq!(keys(&store, b"p/", Some(b"p/"), 1).await, ["p/1"]);
}

pub(crate) async fn absent_and_present_look_at_the_state_before_the_batch(store: Store) {
    let (absent, present) = (Check::Absent(b"a".to_vec()), Check::Present(b"a".to_vec()));
    assert!(!holds(&store, vec![present.clone()], vec![put(b"a", b"1")]).await);
    assert!(holds(&store, vec![absent.clone()], vec![put(b"a", b"1")]).await);
    assert!(!holds(&store, vec![absent.clone()], vec![delete(b"a")]).await);
    assert!(holds(&store, vec![present.clone()], vec![delete(b"a")]).await);
    assert!(holds(&store, vec![absent.clone()], vec![]).await);
    assert!(!holds(&store, vec![present], vec![]).await);
    write(&store, vec![put(b"ab", b"")]).await;
    assert!(holds(&store, vec![absent], vec![]).await, "a longer key is another key");
}

pub(crate) async fn unchanged_tells_writes_apart_even_of_equal_values(store: Store) {
    let unchanged = |revision| vec![Check::Unchanged(b"a".to_vec(), revision)];
    assert!(!holds(&store, unchanged(Revision(0)), vec![]).await, "absent is not unchanged");
    let first = write(&store, vec![put(b"a", b"same")]).await;
    assert!(holds(&store, unchanged(first), vec![put(b"b", b"beside")]).await);
    assert!(holds(&store, unchanged(first), vec![]).await, "another key's write is not this one's");
    let second = write(&store, vec![put(b"a", b"same")]).await;
    assert!(!holds(&store, unchanged(first), vec![put(b"a", b"lost")]).await);
    assert!(!holds(&store, unchanged(Revision(second.0 + 1)), vec![]).await);
    assert!(holds(&store, unchanged(second), vec![put(b"a", b"third")]).await);
    assert!(!holds(&store, unchanged(second), vec![]).await);
}

pub(crate) async fn a_key_made_again_has_another_revision(store: Store) {
    let first = write(&store, vec![put(b"a", b"1")]).await;
    write(&store, vec![delete(b"a")]).await;
    let again = write(&store, vec![put(b"a", b"1")]).await;
    assert!(again > first);
    assert!(!holds(&store, vec![Check::Unchanged(b"a".to_vec(), first)], vec![]).await);
    // Also within one batch.
    let within = write(&store, vec![delete(b"a"), put(b"a", b"1")]).await;
    assert_eq!(store.get(b"a").await.unwrap().unwrap().revision, within);
    assert!(!holds(&store, vec![Check::Unchanged(b"a".to_vec(), again)], vec![]).await);
}

pub(crate) async fn empty_after_looks_at_the_state_after_the_batch(store: Store) {
    let empty = |prefix: &[u8]| vec![Check::EmptyAfter(prefix.to_vec())];
    assert!(holds(&store, empty(b""), vec![]).await);
    assert!(!holds(&store, empty(b""), vec![put(b"a", b"")]).await);
    write(&store, vec![put(b"p/1", b""), put(b"p/2", b""), put(b"q/1", b"")]).await;
    assert!(!holds(&store, empty(b"p/"), vec![]).await);
    assert!(!holds(&store, empty(b"p/"), vec![delete(b"p/1")]).await);
    assert!(!holds(&store, empty(b"p/"), vec![delete(b"p/1"), delete(b"p/2"), put(b"p/3", b"")]).await);
    let put_back = vec![delete(b"p/1"), delete(b"p/2"), put(b"p/2", b"")];
    assert!(!holds(&store, empty(b"p/"), put_back).await);
    let rewritten = vec![put(b"p/1", b"x"), delete(b"p/2")];
    assert!(!holds(&store, empty(b"p/"), rewritten).await);
    assert_eq!(keys(&store, b"p/", None, 10).await, ["p/1", "p/2"], "nothing of those took effect");
    assert!(holds(&store, empty(b"p/3"), vec![put(b"p/4", b"")]).await, "other keys do not matter");
    let emptied = vec![put(b"p/9", b""), delete(b"p/1"), delete(b"p/2"), delete(b"p/4"), delete(b"p/9")];
    assert!(holds(&store, empty(b"p/"), emptied).await);
    assert!(keys(&store, b"p/", None, 10).await.is_empty());
    assert_eq!(keys(&store, b"", None, 10).await, ["q/1"]);
    // With other checks beside it, which look at the state before.
    let both = vec![Check::EmptyAfter(b"q/".to_vec()), Check::Present(b"q/1".to_vec())];
    assert!(holds(&store, both, vec![delete(b"q/1")]).await);
    let many: Vec<_> = (0..300).map(|number| format!("m/{number}")).collect();
    write(&store, many.iter().map(|key| put(key.as_bytes(), b"")).collect()).await;
    let mut deletes: Vec<_> = many.iter().map(|key| delete(key.as_bytes())).collect();
    let last = deletes.pop().unwrap();
    assert!(!holds(&store, empty(b"m/"), deletes.clone()).await);
    deletes.push(last);
    assert!(holds(&store, empty(b"m/"), deletes).await);
}

pub(crate) async fn a_refused_batch_changes_nothing(store: Store) {
    let before = write(&store, vec![put(b"a", b"1"), put(b"b", b"1")]).await;
    let batch = Batch {
        checks: vec![Check::Present(b"a".to_vec()), Check::Unchanged(b"b".to_vec(), Revision(before.0 + 7))],
        writes: vec![put(b"a", b"2"), delete(b"b"), put(b"c", b"2")],
    };
    assert_eq!(store.commit(batch).await, Err(StoreError::Conflict));
    assert_eq!(keys(&store, b"", None, 10).await, ["a", "b"]);
    assert_eq!(value(&store, b"a").await.unwrap(), b"1");
    assert_eq!(store.get(b"b").await.unwrap().unwrap().revision, before);
}

pub(crate) async fn a_batch_without_writes_only_checks(store: Store) {
    store.commit(Batch::default()).await.unwrap();
    let first = write(&store, vec![put(b"a", b"1")]).await;
    let checked =
        store.commit(Batch { checks: vec![Check::Present(b"a".to_vec())], writes: vec![] }).await.unwrap();
    let second = write(&store, vec![put(b"a", b"2")]).await;
    assert!(first <= checked && checked < second);
}

pub(crate) async fn revisions_grow_and_are_the_commits(store: Store) {
    let mut last = Revision(0);
    for number in 0..50_u8 {
        let revision = write(&store, vec![put(&[number], b""), put(b"same", &[number])]).await;
        assert!(revision > last);
        for key in [&[number][..], b"same"] {
            assert_eq!(store.get(key).await.unwrap().unwrap().revision, revision);
        }
        last = revision;
    }
}
