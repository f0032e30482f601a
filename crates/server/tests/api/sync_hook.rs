//! Every change that can alter what is delivered leaves an outbox row in the same commit, and a
//! signal after it.

use std::time::Duration;

use model::{DestinationId, Timestamp};
use store::{
    Node,
    records::{Cause, Outbox},
};

use crate::bench::{Bench, NOW};

async fn take_row(bench: &Bench, destination: DestinationId, source: Node) -> Option<Outbox> {
    let key = bench.store.keys().outbox(destination, source);
    let row = bench.store.get(&key).await.unwrap()?.record;
    let mut transaction = bench.store.transaction();
    transaction.delete(&key);
    transaction.commit().await.unwrap();
    Some(row)
}

#[tokio::test]
async fn what_can_alter_a_delivery_is_told() {
    let bench = Bench::new().await;
    let (destination, source) = bench.link(&bench.accessor("secret").await, "a").await;
    let steps: &[(&str, &str, &str, bool)] = &[
        ("POST", "secret/metadata/a", r#"{"max_versions":3}"#, false),
        ("POST", "secret/data/a", r#"{"data":{"v":1}}"#, true),
        ("POST", "secret/data/a", r#"{"data":{"v":2}}"#, true),
        ("POST", "secret/data/a", r#"{"data":{"v":2},"options":{"cas":9}}"#, false),
        ("PATCH", "secret/data/a", r#"{"data":{"w":1}}"#, true),
        ("GET", "secret/data/a", "", false),
        ("DELETE", "secret/data/a", "", true),
        ("DELETE", "secret/data/a", "", false),
        ("PATCH", "secret/data/a", r#"{"data":{"w":1}}"#, false),
        ("POST", "secret/undelete/a", r#"{"versions":[3]}"#, true),
        ("POST", "secret/undelete/a", r#"{"versions":[3]}"#, false),
        ("POST", "secret/delete/a", r#"{"versions":[2]}"#, true),
        ("POST", "secret/destroy/a", r#"{"versions":[3]}"#, true),
        ("POST", "secret/destroy/a", r#"{"versions":[3,77]}"#, false),
        ("PATCH", "secret/metadata/a", r#"{"custom_metadata":{"a":"b"}}"#, false),
        ("POST", "secret/data/other", r#"{"data":{"v":1}}"#, false),
        ("DELETE", "secret/metadata/a", "", true),
        ("DELETE", "secret/metadata/a", "", false),
        ("POST", "secret/data/a", r#"{"data":{"v":1}}"#, true),
    ];
    for (step, (method, path, body, told)) in steps.iter().enumerate() {
        bench.clock.set(NOW.plus(Duration::from_secs(step as u64)));
        let headers = [("X-Vault-Token", "root"), crate::bench::MERGE_PATCH];
        let answer = bench.send(method, path, body, &headers).await;
        assert!(answer.status < 500, "{answer}");
        let expected = told.then(|| Outbox {
            at: Timestamp::from_nanos(NOW.as_nanos() + i64::try_from(step).unwrap() * 1_000_000_000),
            due: None,
            cause: Cause::Source,
        });
        assert_eq!(take_row(&bench, destination, source).await, expected, "{method} {path} {body}");
        let signals = std::mem::take(&mut *bench.signals.0.lock().unwrap());
        let expected = if *told { vec![(destination, source)] } else { vec![] };
        assert_eq!(signals, expected, "{method} {path} {body}");
    }
}

/// While secrets are written, associations are made and removed: whoever is linked after the write
/// began, or before it ended, hears of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_association_made_meanwhile_is_missed() {
    let bench = Bench::new().await;
    let accessor = bench.accessor("secret").await;
    for round in 0..200 {
        let path = format!("s{round}");
        let writer = tokio::spawn({
            let (bench, path) = (bench.clone(), path.clone());
            async move { bench.post(&format!("secret/data/{path}"), r#"{"data":{"v":1}}"#).await.status }
        });
        let linker = tokio::spawn({
            let (bench, path, accessor) = (bench.clone(), path.clone(), accessor.clone());
            async move {
                let linked = bench.link(&accessor, &path).await;
                // What was there when the link was made is for whoever makes the link to deliver.
                let mount = bench.store.keys().mount(&accessor);
                let parts =
                    bench.store.keys().secret_in_parent(mount, &model::SecretPath::parse(&path).unwrap());
                let seen = bench.store.get(&bench.store.keys().secret_meta(parts.0, parts.1)).await.unwrap();
                (linked, seen.is_some())
            }
        });
        assert_eq!(writer.await.unwrap(), 200);
        let ((destination, source), seen) = linker.await.unwrap();
        let told = take_row(&bench, destination, source).await.is_some();
        assert!(seen || told, "round {round}");
    }
}
