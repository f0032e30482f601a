//! Many secrets at once: a prefix, or a name with stars.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{DESTINATION, SECRET, bench::Bench};

const SET: &str = "sys/sync/destinations/in-mem/my-store-1/associations/set";
const REMOVE: &str = "sys/sync/destinations/in-mem/my-store-1/associations/remove";

async fn bench(secrets: &[&str]) -> Bench {
    let bench = Bench::new().await;
    bench.post(DESTINATION, json!({ "secret_name_template": "{{ .SecretPath }}" })).await.ok();
    for path in secrets {
        bench.raw("POST", &format!("my-kv/data/{path}"), SECRET).await.ok();
    }
    bench
}

async fn rules(bench: &Bench) -> Value {
    bench.get(&format!("{DESTINATION}/associations")).await.data()["association_rules"].clone()
}

#[tokio::test(start_paused = true)]
async fn a_prefix_is_set_read_listed_and_removed_by_the_same_words() {
    let bench = bench(&["app/db", "app/deep/er", "other"]).await;
    let words = json!({ "mount": "my-kv", "secret_prefix": "app/", "exclude": ["app/tmp/"] });
    let set = bench.post(SET, words.clone()).await.data();
    let names: Vec<_> = set["associated_secrets"].as_object().unwrap().keys().cloned().collect();
    let accessor = bench.accessor.clone();
    assert_eq!(names, [format!("{accessor}/app/db"), format!("{accessor}/app/deep/er")]);
    assert_eq!(set["associated_secrets"][&names[0]]["sync_status"], "SYNCED");
    assert_eq!(set["associated_secrets"][&names[0]]["rule"], "app/**");
    assert_eq!(set["sync_operation_counters"], json!({ "SYNCED": 2 }));
    bench.raw("POST", "my-kv/data/app/new", SECRET).await.ok();
    bench.raw("POST", "my-kv/data/app/tmp/new", SECRET).await.ok();
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert_eq!(bench.space().names(), ["app/db", "app/deep/er", "app/new"]);
    let mut listed = rules(&bench).await;
    assert!(listed[0]["created_at"].take().is_string());
    let expected = json!([{
        "accessor": accessor,
        "mount": "my-kv",
        "secret_prefix": "app/**",
        "exclude": ["app/tmp/**"],
        "created_at": null,
        "covering": false,
        "member_count": 3,
        "members": ["app/db", "app/deep/er", "app/new"]
    }]);
    assert_eq!(listed, expected);
    let all = bench.list("sys/sync/associations").await.data();
    assert_eq!((&all["total_rules"], &all["total_secrets"]), (&json!(1), &json!(3)));
    // Any spelling of the same prefix will do, and the exclusions need not be repeated.
    for spelling in ["app", "app/**"] {
        bench.post(REMOVE, json!({ "mount": "my-kv/", "secret_prefix": spelling })).await.ok();
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(bench.space().names(), [""; 0], "{spelling}");
        bench.post(SET, json!({ "mount": "my-kv", "secret_prefix": spelling })).await.ok();
        assert_eq!(bench.space().names().len(), 4, "{spelling}");
    }
    bench.post(REMOVE, words.clone()).await.ok();
    assert_eq!(rules(&bench).await, Value::Null);
    bench.post(REMOVE, words).await.ok();
    assert_eq!(bench.list("sys/sync/associations").await.status, 404);
}

#[tokio::test(start_paused = true)]
async fn a_star_in_the_name_makes_a_rule_of_it() {
    let bench = bench(&["app/db", "app/deep/db", "db"]).await;
    for (name, held) in [
        ("app/*", vec!["app/db"]),
        ("**/db", vec!["app/db", "app/deep/db", "db"]),
        ("d*", vec!["db"]),
        ("app/db", vec!["app/db"]),
    ] {
        bench.post(SET, json!({ "mount": "my-kv", "secret_name": name })).await.ok();
        assert_eq!(bench.space().names(), held, "{name}");
        bench.post(REMOVE, json!({ "mount": "my-kv", "secret_name": name })).await.ok();
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(bench.space().names(), [""; 0], "{name}");
    }
    // A star that is meant: with a backslash, or once a secret of just that name is associated.
    bench.raw("POST", "my-kv/data/a*c", SECRET).await.ok();
    bench.raw("POST", "my-kv/data/abc", SECRET).await.ok();
    bench.post(SET, json!({ "mount": "my-kv", "secret_name": "a\\*c" })).await.ok();
    let names = bench.space().names();
    assert_eq!(names, ["a*c"]);
}

#[tokio::test(start_paused = true)]
async fn undeleted_and_patched_secrets_are_members_again() {
    let bench = bench(&["app/db"]).await;
    bench.post(SET, json!({ "mount": "my-kv", "secret_prefix": "app" })).await.ok();
    for (method, path, body, there) in [
        ("DELETE", "my-kv/data/app/db", "", false),
        ("POST", "my-kv/undelete/app/db", r#"{"versions":[1]}"#, true),
        ("PATCH", "my-kv/data/app/db", r#"{"data":{"m":3}}"#, true),
        ("POST", "my-kv/destroy/app/db", r#"{"versions":[2]}"#, false),
        ("POST", "my-kv/data/app/db", SECRET, true),
        ("DELETE", "my-kv/metadata/app/db", "", false),
        ("POST", "my-kv/data/app/db", SECRET, true),
    ] {
        bench.raw(method, path, body).await.ok();
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert_eq!(bench.space().names().len(), usize::from(there), "{method} {path}");
        let members = rules(&bench).await[0]["member_count"].clone();
        assert_eq!(members, json!(usize::from(there)), "{method} {path}");
    }
}

#[tokio::test(start_paused = true)]
async fn bad_rules_are_refused_by_the_field() {
    let bench = bench(&["app/db"]).await;
    for (body, part) in [
        (json!({ "mount": "my-kv" }), "missing required field: secret_name"),
        (json!({ "secret_prefix": "app" }), "missing required field: mount"),
        (json!({ "mount": "my-kv", "secret_prefix": "a", "secret_name": "b" }), "secret_prefix: give either"),
        (json!({ "mount": "my-kv", "secret_prefix": "/app" }), "secret_prefix: must not begin"),
        (json!({ "mount": "my-kv", "secret_prefix": "a/../b" }), "secret_prefix: must have no '.' or '..'"),
        (
            json!({ "mount": "my-kv", "secret_name": "a**" }),
            "secret_name: must have ** only as a whole segment",
        ),
        (json!({ "mount": "my-kv", "secret_name": "a/**/**" }), "secret_name: must not have ** twice"),
        (
            json!({ "mount": "my-kv", "secret_name": "app/db", "exclude": ["x"] }),
            "exclude: means something only",
        ),
        (
            json!({ "mount": "my-kv", "secret_prefix": "app", "exclude": ["x", ""] }),
            "exclude[1]: must name secrets",
        ),
        (json!({ "mount": "my-kv", "secret_prefix": {} }), "Field validation failed"),
        (json!({ "mount": "nope", "secret_prefix": "app" }), "no KV version 2 mount"),
    ] {
        let reply = bench.post(SET, body.clone()).await;
        assert_eq!(reply.status, 400, "{body}: {}", reply.text());
        assert!(reply.text().contains(part), "{body}: {}", reply.text());
    }
    let body = json!({ "mount": "my-kv", "secret_prefix": "app" });
    let other = "sys/sync/destinations/in-mem/nope/associations";
    assert_eq!(bench.post(&format!("{other}/set"), body.clone()).await.status, 404);
    bench.raw("POST", "sys/mounts/one", r#"{"type":"kv","options":{"version":"1"}}"#).await.ok();
    assert_eq!(bench.post(SET, json!({ "mount": "one", "secret_prefix": "" })).await.status, 400);
    assert_eq!(bench.space().names(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_member_is_not_removed_singly_and_the_destination_is_in_use() {
    let bench = bench(&["app/db"]).await;
    bench.post(SET, json!({ "mount": "my-kv", "secret_prefix": "app" })).await.ok();
    let refused = bench.post(REMOVE, json!({ "mount": "my-kv", "secret_name": "app/db" })).await;
    assert_eq!(
        (refused.status, refused.text().contains("by the rule app/**")),
        (400, true),
        "{}",
        refused.text()
    );
    bench.post(SET, json!({ "mount": "my-kv", "secret_name": "app/db" })).await.ok();
    let data = bench.post(REMOVE, json!({ "mount": "my-kv", "secret_name": "app/db" })).await.data();
    let entry = &data["associated_secrets"][format!("{}/app/db", bench.accessor)];
    assert_eq!((&entry["sync_status"], &entry["rule"]), (&json!("SYNCED"), &json!("app/**")));
    assert_eq!(bench.raw("DELETE", DESTINATION, "").await.status, 400);
    assert_eq!(bench.raw("DELETE", &format!("{DESTINATION}?purge=true"), "").await.status, 204);
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(bench.get(DESTINATION).await.status, 404);
    bench.raw("POST", "my-kv/data/app/later", SECRET).await.ok();
    assert_eq!(bench.space().names(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_rule_outlives_neither_its_mount_nor_hides_it() {
    let bench = bench(&["app/db"]).await;
    bench.post(SET, json!({ "mount": "my-kv", "secret_prefix": "app" })).await.ok();
    bench.raw("DELETE", "sys/mounts/my-kv", "").await.ok();
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(bench.statuses(DESTINATION).await, ["UNKNOWN"]);
    assert_eq!(bench.space().names(), ["app/db"], "what is there stays");
    bench.post(REMOVE, json!({ "mount": "my-kv", "secret_prefix": "app" })).await.ok();
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!((bench.space().names().len(), rules(&bench).await), (0, Value::Null));
}

#[tokio::test(start_paused = true)]
async fn secrets_written_at_the_same_time_as_a_rule_is_made_are_members() {
    let bench = bench(&[]).await;
    let write = async {
        for n in 0..50 {
            bench.raw("POST", &format!("my-kv/data/s/{n}"), SECRET).await.ok();
        }
    };
    let set = async {
        tokio::task::yield_now().await;
        bench.post(SET, json!({ "mount": "my-kv", "secret_prefix": "s" })).await.ok();
    };
    tokio::join!(write, set);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(bench.space().names().len(), 50);
}
