//! Many writers at once: what is listed is what is there, and versions are counted exactly.

use std::collections::BTreeSet;

use crate::bench::Bench;

/// A small generator, so that a run can be repeated.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn folders_are_there_exactly_while_something_is_in_them() {
    let bench = Bench::new().await;
    let workers: Vec<_> = (0..8)
        .map(|seed| {
            let bench = bench.clone();
            tokio::spawn(async move {
                let mut dice = Dice(seed);
                for _ in 0..150 {
                    let depth = 1 + dice.roll(3);
                    let path: Vec<&str> =
                        (0..depth).map(|_| ["a", "b"][usize::from(dice.roll(2) == 1)]).collect();
                    let path = path.join("/");
                    let answer = match dice.roll(2) {
                        0 => bench.post(&format!("secret/data/{path}"), r#"{"data":{}}"#).await,
                        _ => bench.delete(&format!("secret/metadata/{path}")).await,
                    };
                    assert!(matches!(answer.status, 200 | 204), "{answer}");
                }
            })
        })
        .collect();
    for worker in workers {
        worker.await.unwrap();
    }

    // The truth: every path that could have been written, asked for one by one.
    let mut truth = BTreeSet::new();
    let mut paths = vec![vec![]];
    for depth in 0..3 {
        let longer = paths
            .iter()
            .filter(|p| p.len() == depth)
            .flat_map(|p: &Vec<&str>| ["a", "b"].map(|segment| [p.as_slice(), &[segment]].concat()));
        let longer: Vec<_> = longer.collect();
        paths.extend(longer);
    }
    for path in paths.iter().filter(|path| !path.is_empty()).map(|path| path.join("/")) {
        if bench.get(&format!("secret/metadata/{path}")).await.status == 200 {
            truth.insert(path);
        }
    }
    // What lists lead to, folder by folder: every folder leads to something.
    let mut listed = BTreeSet::new();
    let mut open = vec![String::new()];
    while let Some(folder) = open.pop() {
        let answer = bench.list(&format!("secret/metadata/{folder}")).await;
        assert!(folder.is_empty() || answer.status == 200, "an empty folder is listed: {folder}");
        for key in answer.keys() {
            let path = format!("{folder}{key}");
            if key.ends_with('/') { open.push(path) } else { assert!(listed.insert(path)) }
        }
    }
    assert_eq!(listed, truth);
    let scanned: BTreeSet<_> = bench.call("SCAN", "secret/metadata", "").await.keys().into_iter().collect();
    assert_eq!(scanned, truth);
    // And once all is removed, nothing is left.
    for path in &truth {
        bench.delete(&format!("secret/metadata/{path}")).await;
    }
    let root = bench.store.keys().mount(&bench.accessor("secret").await);
    assert!(bench.store.scan_all(&bench.store.keys().folders_in(root)).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_of_one_secret_never_overwrite_each_other() {
    let bench = Bench::new().await;
    bench.post("secret/config", r#"{"max_versions":1000}"#).await;
    let writers: Vec<_> = (0..40)
        .map(|n| {
            let bench = bench.clone();
            tokio::spawn(async move {
                let mut won = 0;
                for _ in 0..5 {
                    let answer = bench.post("secret/data/a", &format!(r#"{{"data":{{"n":{n}}}}}"#)).await;
                    assert_eq!(answer.status, 200);
                    // Of those who saw the same version only one wins.
                    let version = answer.data()["version"].as_u64().unwrap();
                    let body = format!(r#"{{"data":{{"n":{n}}},"options":{{"cas":{version}}}}}"#);
                    match bench.post("secret/data/a", &body).await.status {
                        200 => won += 1,
                        status => assert_eq!(status, 400),
                    }
                }
                won
            })
        })
        .collect();
    let mut written = 200;
    for writer in writers {
        written += writer.await.unwrap();
    }
    let meta = bench.get("secret/metadata/a").await.data();
    assert_eq!(meta["current_version"].as_u64(), Some(written));
    assert_eq!(meta["versions"].as_object().unwrap().len() as u64, written);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_written_into_a_mount_that_is_gone() {
    let bench = Bench::bare().await;
    for round in 0..30 {
        bench.post("sys/mounts/m", r#"{"type":"kv-v2"}"#).await;
        let accessor = bench.accessor("m").await;
        let writers: Vec<_> = (0..8)
            .map(|n| {
                let bench = bench.clone();
                tokio::spawn(async move {
                    let status = bench.post(&format!("m/data/f{n}/s"), r#"{"data":{}}"#).await.status;
                    assert!(matches!(status, 200 | 404), "{status}");
                })
            })
            .collect();
        assert_eq!(bench.delete("sys/mounts/m").await.status, 204);
        bench.app.do_chores().await.unwrap();
        for writer in writers {
            writer.await.unwrap();
        }
        let keys = bench.store.keys();
        let root = keys.mount(&accessor);
        assert!(bench.store.scan_all(&keys.folders_in(root)).await.unwrap().is_empty(), "round {round}");
    }
}
