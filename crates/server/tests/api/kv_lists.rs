use insta::assert_snapshot;

use crate::bench::Bench;

async fn filled() -> Bench {
    let bench = Bench::new().await;
    for path in ["a", "a/b", "a/c/d", "z", "a-b", "m/n/o/p"] {
        assert_eq!(bench.post(&format!("secret/data/{path}"), r#"{"data":{}}"#).await.status, 200);
    }
    bench
}

#[tokio::test]
async fn lists_are_sorted_and_folders_end_in_a_slash() {
    let bench = filled().await;
    for (method, path) in [
        ("LIST", "secret/metadata"),
        ("LIST", "secret/metadata/"),
        ("GET", "secret/metadata?list=true"),
        ("GET", "secret/metadata/?list=1"),
        ("GET", "secret/metadata?list=T"),
    ] {
        assert_eq!(
            bench.call(method, path, "").await.keys(),
            ["a", "a-b", "a/", "m/", "z"],
            "{method} {path}"
        );
    }
    assert_snapshot!(bench.list("secret/metadata/a").await, @r#"200 {"data":{"keys":["b","c/"]},"mount_type":"kv","request_id":"[uuid]"}"#);
    assert_eq!(bench.list("secret/metadata/m/n/o/").await.keys(), ["p"]);
    for path in ["secret/metadata/a-b", "secret/metadata/nope", "secret/metadata/m/n/o/p"] {
        assert_eq!(bench.list(path).await.to_string(), r#"404 {"errors":[]}"#);
    }
    assert_eq!(bench.get("secret/metadata?list=maybe").await.status, 400);
    assert_eq!(bench.get("secret/metadata?list=1&scan=1").await.status, 400);
}

#[tokio::test]
async fn scans_descend() {
    let bench = filled().await;
    for (method, path) in [("SCAN", "secret/metadata"), ("GET", "secret/metadata/?scan=true")] {
        assert_eq!(bench.call(method, path, "").await.keys(), ["a", "a-b", "a/b", "a/c/d", "m/n/o/p", "z"]);
    }
    assert_eq!(bench.call("SCAN", "secret/metadata/a", "").await.keys(), ["b", "c/d"]);
    assert_eq!(bench.call("SCAN", "secret/metadata/nope", "").await.status, 404);
}

#[tokio::test]
async fn lists_are_cut_into_pages() {
    let bench = filled().await;
    assert_eq!(bench.list("secret/metadata?limit=2").await.keys(), ["a", "a-b"]);
    assert_eq!(bench.list("secret/metadata?limit=2&after=a-b").await.keys(), ["a/", "m/"]);
    assert_eq!(bench.list("secret/metadata?after=m/&limit=-1").await.keys(), ["z"]);
    assert_eq!(bench.list("secret/metadata?after=z").await.status, 404);
    assert_eq!(bench.call("SCAN", "secret/metadata?limit=1&after=a/b", "").await.keys(), ["a/c/d"]);
    assert_eq!(bench.list("secret/metadata?limit=x").await.status, 400);
}

#[tokio::test]
async fn deleted_secrets_are_listed_unless_excluded() {
    let bench = filled().await;
    bench.delete("secret/data/z").await;
    assert_eq!(bench.list("secret/metadata").await.keys(), ["a", "a-b", "a/", "m/", "z"]);
    assert_eq!(bench.list("secret/metadata?exclude_deleted=true").await.keys(), ["a", "a-b", "a/", "m/"]);
}

#[tokio::test]
async fn detailed_lists_tell_the_metadata() {
    let bench = Bench::new().await;
    bench.post("secret/data/a", r#"{"data":{"p":"hunter2"}}"#).await;
    bench.post("secret/data/b/c", r#"{"data":{"p":"hunter2"}}"#).await;
    assert_snapshot!(bench.list("secret/detailed-metadata").await, @r#"200 {"data":{"key_info":{"a":{"cas_required":false,"created_time":"2023-09-20T14:51:53.961861Z","current_version":1,"custom_metadata":null,"delete_version_after":"0s","max_versions":0,"oldest_version":0,"updated_time":"2023-09-20T14:51:53.961861Z","versions":{"1":{"created_time":"2023-09-20T14:51:53.961861Z","deletion_time":"","destroyed":false}}},"b/":{}},"keys":["a","b/"]},"mount_type":"kv","request_id":"[uuid]"}"#);
    let scan = bench.call("SCAN", "secret/detailed-metadata/", "").await;
    assert_eq!(scan.keys(), ["a", "b/c"]);
    assert_eq!(scan.data()["key_info"]["b/c"]["current_version"], 1);
    assert_eq!(bench.get("secret/detailed-metadata/a").await.status, 405);
}

#[tokio::test]
async fn folders_go_with_their_last_secret() {
    let bench = Bench::new().await;
    for path in ["x/y/z/1", "x/y/z/2", "x/other"] {
        bench.post(&format!("secret/data/{path}"), r#"{"data":{}}"#).await;
    }
    bench.delete("secret/metadata/x/y/z/1").await;
    assert_eq!(bench.list("secret/metadata/x").await.keys(), ["other", "y/"]);
    bench.delete("secret/metadata/x/y/z/2").await;
    assert_eq!(bench.list("secret/metadata/x").await.keys(), ["other"]);
    bench.delete("secret/metadata/x/other").await;
    assert_eq!(bench.list("secret/metadata").await.status, 404);
    let root = bench.store.keys().mount(&bench.accessor("secret").await);
    assert!(bench.store.scan_all(&bench.store.keys().folders_in(root)).await.unwrap().is_empty());
}

#[tokio::test]
async fn names_may_be_of_any_language_and_hold_odd_characters() {
    let bench = Bench::new().await;
    for name in ["%E7%92%B0%20b%25", "a%2Fb", "double//slash", "%F0%9F%94%91"] {
        assert_eq!(bench.post(&format!("secret/data/{name}"), r#"{"data":{"n":1}}"#).await.status, 200);
        assert_eq!(bench.get(&format!("secret/data/{name}")).await.status, 200);
    }
    // An encoded slash is a slash.
    assert_eq!(bench.get("secret/data/a/b").await.status, 200);
    assert_eq!(bench.list("secret/metadata").await.keys(), ["a/", "double/", "環 b%", "🔑"]);
    assert_eq!(bench.list("secret/metadata/double").await.keys(), ["/"]);
    assert_eq!(bench.list("secret/metadata/double//").await.keys(), ["slash"]);
}
