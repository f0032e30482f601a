use std::time::Duration;

use insta::assert_snapshot;

use crate::bench::{Bench, MERGE_PATCH, ROOT};

#[tokio::test]
async fn a_secret_is_written_read_and_numbered() {
    let bench = Bench::new().await;
    assert_snapshot!(bench.get("secret/data/app/db").await, @r#"404 {"errors":[]}"#);
    assert_snapshot!(bench.post("secret/data/app/db", r#"{"data":{"password":"hunter2","n":12345678901234567890123,"a":[1.50]}}"#).await, @r#"200 {"data":{"created_time":"2023-09-20T14:51:53.961861Z","custom_metadata":null,"deletion_time":"","destroyed":false,"version":1},"mount_type":"kv","request_id":"[uuid]"}"#);
    assert_snapshot!(bench.get("secret/data/app/db").await, @r#"200 {"data":{"data":{"a":[1.50],"n":12345678901234567890123,"password":"hunter2"},"metadata":{"created_time":"2023-09-20T14:51:53.961861Z","custom_metadata":null,"deletion_time":"","destroyed":false,"version":1}},"mount_type":"kv","request_id":"[uuid]"}"#);
    bench.clock.advance(Duration::from_secs(5));
    assert_snapshot!(bench.call("PUT", "secret/data/app/db", r#"{"data":{},"options":{}}"#).await, @r#"200 {"data":{"created_time":"2023-09-20T14:51:58.961861Z","custom_metadata":null,"deletion_time":"","destroyed":false,"version":2},"mount_type":"kv","request_id":"[uuid]"}"#);
    assert_snapshot!(bench.get("secret/data/app/db").await, @r#"200 {"data":{"data":{},"metadata":{"created_time":"2023-09-20T14:51:58.961861Z","custom_metadata":null,"deletion_time":"","destroyed":false,"version":2}},"mount_type":"kv","request_id":"[uuid]"}"#);
    assert_snapshot!(bench.get("secret/data/app/db?version=1").await, @r#"200 {"data":{"data":{"a":[1.50],"n":12345678901234567890123,"password":"hunter2"},"metadata":{"created_time":"2023-09-20T14:51:53.961861Z","custom_metadata":null,"deletion_time":"","destroyed":false,"version":1}},"mount_type":"kv","request_id":"[uuid]"}"#);
    assert_snapshot!(bench.get("secret/data/app/db?version=-3").await, @r#"200 {"data":{"data":{},"metadata":{"created_time":"2023-09-20T14:51:58.961861Z","custom_metadata":null,"deletion_time":"","destroyed":false,"version":2}},"mount_type":"kv","request_id":"[uuid]"}"#);
    assert_snapshot!(bench.get("secret/data/app/db?version=3").await, @r#"404 {"errors":[]}"#);
    assert_snapshot!(bench.get("secret/data/app/db?version=x").await, @r#"400 {"errors":["Field validation failed: error converting input for field \"version\": expected an integer"]}"#);
}

#[tokio::test]
async fn the_envelope_has_all_its_keys() {
    let bench = Bench::new().await;
    let answer = bench.post("secret/data/a", r#"{"data":{}}"#).await;
    let id = answer.json()["request_id"].as_str().unwrap().to_owned();
    assert_snapshot!(answer.text().replace(&id, "[uuid]"), @r#"{"request_id":"[uuid]","lease_id":"","renewable":false,"lease_duration":0,"data":{"created_time":"2023-09-20T14:51:53.961861Z","deletion_time":"","destroyed":false,"custom_metadata":null,"version":1},"wrap_info":null,"warnings":null,"auth":null,"mount_type":"kv"}"#);
    assert_ne!(id, bench.get("secret/data/a").await.json()["request_id"].as_str().unwrap());
}

#[tokio::test]
async fn what_is_no_secret_is_not_written() {
    let bench = Bench::new().await;
    for (body, text) in [
        ("", "no data provided"),
        ("{}", "no data provided"),
        (r#"{"data":null}"#, "no data provided"),
        (
            r#"{"data":"hunter2"}"#,
            r#"Field validation failed: error converting input for field "data": expected an object"#,
        ),
        (
            r#"{"data":{},"options":"hunter2"}"#,
            r#"Field validation failed: error converting input for field "options": expected an object"#,
        ),
        (r#"{"data":{},"options":{"cas":"hunter2"}}"#, "error parsing check-and-set parameter"),
        (
            r#"{"data":{"password":"hunter2}"#,
            "failed to parse JSON input: not valid JSON at line 1, column 29",
        ),
        (r#"["hunter2"]"#, "failed to parse JSON input: the body must be an object"),
        ("hunter2", "failed to parse JSON input: not valid JSON at line 1, column 1"),
    ] {
        let answer = bench.post("secret/data/a", body).await;
        assert_eq!((answer.status, answer.json()["errors"][0].as_str().unwrap()), (400, text), "{body}");
        assert!(!answer.text().contains("hunter2"));
    }
    assert_eq!(bench.get("secret/data/a").await.status, 404);
}

#[tokio::test]
async fn a_secret_too_large_is_413() {
    let bench = Bench::new().await;
    let value = "x".repeat(600_000);
    let answer = bench.post("secret/data/a", &format!(r#"{{"data":{{"a":"{value}","b":"{value}"}}}}"#)).await;
    assert_snapshot!(answer, @r#"413 {"errors":["put failed due to value being too large; got 1200015 bytes, max: 1048576 bytes"]}"#);
    assert_eq!(bench.post("secret/data/a", &format!(r#"{{"data":{{"a":"{value}"}}}}"#)).await.status, 200);
    // A patch is measured by what it makes.
    assert_eq!(bench.patch("secret/data/a", &format!(r#"{{"data":{{"b":"{value}"}}}}"#)).await.status, 413);
}

#[tokio::test]
async fn check_and_set_compares_with_the_current_version() {
    let bench = Bench::new().await;
    let write = async |cas: &str| {
        let body = format!(r#"{{"data":{{}},"options":{{"cas":{cas}}}}}"#);
        bench.post("secret/data/a", &body).await.to_string()
    };
    assert_snapshot!(write("1").await, @r#"400 {"errors":["check-and-set parameter did not match the current version"]}"#);
    assert!(write("0").await.starts_with("200"));
    assert_snapshot!(write("0").await, @r#"400 {"errors":["check-and-set parameter did not match the current version"]}"#);
    assert_snapshot!(write("-1").await, @r#"400 {"errors":["check-and-set parameter did not match the current version"]}"#);
    // As text, and after a deletion.
    assert!(write("\"1\"").await.starts_with("200"));
    bench.delete("secret/data/a").await;
    assert!(write("2").await.starts_with("200"));
    assert!(write("null").await.starts_with("200"));

    assert_eq!(bench.post("secret/metadata/a", r#"{"cas_required":true}"#).await.status, 204);
    assert_snapshot!(bench.post("secret/data/a", r#"{"data":{}}"#).await, @r#"400 {"errors":["check-and-set parameter required for this call"]}"#);
    assert!(write("4").await.starts_with("200"));
    assert_eq!(bench.post("secret/config", r#"{"cas_required":"true"}"#).await.status, 204);
    assert_eq!(bench.post("secret/data/new", r#"{"data":{}}"#).await.status, 400);
    assert_eq!(bench.post("secret/data/new", r#"{"data":{},"options":{"cas":0}}"#).await.status, 200);
}

#[tokio::test]
async fn a_stray_parameter_is_warned_about() {
    let bench = Bench::new().await;
    assert_snapshot!(bench.post("secret/data/a", r#"{"data":{},"cas":3,"Zone":1}"#).await, @r#"200 {"data":{"created_time":"2023-09-20T14:51:53.961861Z","custom_metadata":null,"deletion_time":"","destroyed":false,"version":1},"mount_type":"kv","request_id":"[uuid]","warnings":["Endpoint ignored these unrecognized parameters: [Zone cas]"]}"#);
}

#[tokio::test]
async fn a_deleted_version_keeps_its_metadata_and_comes_back() {
    let bench = Bench::new().await;
    bench.post("secret/data/a", r#"{"data":{"v":1}}"#).await;
    bench.post("secret/data/a", r#"{"data":{"v":2}}"#).await;
    bench.clock.advance(Duration::from_secs(1));
    assert_snapshot!(bench.delete("secret/data/a").await, @"204");
    assert_snapshot!(bench.get("secret/data/a").await, @r#"404 {"data":{"data":null,"metadata":{"created_time":"2023-09-20T14:51:53.961861Z","custom_metadata":null,"deletion_time":"2023-09-20T14:51:54.961861Z","destroyed":false,"version":2}},"mount_type":"kv","request_id":"[uuid]"}"#);
    assert_snapshot!(bench.get("secret/data/a?version=1").await, @r#"200 {"data":{"data":{"v":1},"metadata":{"created_time":"2023-09-20T14:51:53.961861Z","custom_metadata":null,"deletion_time":"","destroyed":false,"version":1}},"mount_type":"kv","request_id":"[uuid]"}"#);
    assert_snapshot!(bench.get("secret/subkeys/a").await, @r#"404 {"data":{"metadata":{"created_time":"2023-09-20T14:51:53.961861Z","custom_metadata":null,"deletion_time":"2023-09-20T14:51:54.961861Z","destroyed":false,"version":2},"subkeys":null},"mount_type":"kv","request_id":"[uuid]"}"#);
    // Deleting again changes nothing.
    bench.clock.advance(Duration::from_secs(1));
    assert_eq!(bench.delete("secret/data/a").await.status, 204);
    assert_snapshot!(bench.get("secret/metadata/a").await, @r#"200 {"data":{"cas_required":false,"created_time":"2023-09-20T14:51:53.961861Z","current_version":2,"custom_metadata":null,"delete_version_after":"0s","max_versions":0,"oldest_version":0,"updated_time":"2023-09-20T14:51:53.961861Z","versions":{"1":{"created_time":"2023-09-20T14:51:53.961861Z","deletion_time":"","destroyed":false},"2":{"created_time":"2023-09-20T14:51:53.961861Z","deletion_time":"2023-09-20T14:51:54.961861Z","destroyed":false}}},"mount_type":"kv","request_id":"[uuid]"}"#);
    assert_snapshot!(bench.post("secret/undelete/a", r#"{"versions":["2"]}"#).await, @"204");
    assert_eq!(bench.get("secret/data/a").await.data()["data"]["v"], 2);
    assert_eq!(bench.delete("secret/data/unknown").await.status, 204);
}

#[tokio::test]
async fn versions_are_deleted_undeleted_and_destroyed_by_number() {
    let bench = Bench::new().await;
    for v in 1..=3 {
        bench.post("secret/data/a", &format!(r#"{{"data":{{"v":{v}}}}}"#)).await;
    }
    for (verb, text) in [
        ("delete", "No version number provided"),
        ("undelete", "No version number provided"),
        ("destroy", "no version number provided"),
    ] {
        for body in ["", r#"{"versions":[]}"#, r#"{"versions":""}"#] {
            let answer = bench.post(&format!("secret/{verb}/a"), body).await;
            assert_eq!((answer.status, answer.json()["errors"][0].as_str().unwrap()), (400, text));
        }
        let answer = bench.post(&format!("secret/{verb}/a"), r#"{"versions":["x"]}"#).await;
        assert_eq!(answer.status, 400);
        for versions in ["[7]", "[-1]", "[0]"] {
            let body = format!(r#"{{"versions":{versions}}}"#);
            assert_eq!(bench.post(&format!("secret/{verb}/a"), &body).await.status, 204);
            assert_eq!(bench.post(&format!("secret/{verb}/unknown"), &body).await.status, 204);
        }
    }
    assert_eq!(bench.get("secret/metadata/unknown").await.status, 404);
    assert_eq!(bench.post("secret/delete/a", r#"{"versions":"1,2"}"#).await.status, 204);
    assert_eq!(bench.get("secret/data/a").await.status, 200);
    assert_eq!(bench.call("PUT", "secret/destroy/a", r#"{"versions":[2,3]}"#).await.status, 204);
    assert_snapshot!(bench.get("secret/data/a").await, @r#"404 {"data":{"data":null,"metadata":{"created_time":"2023-09-20T14:51:53.961861Z","custom_metadata":null,"deletion_time":"","destroyed":true,"version":3}},"mount_type":"kv","request_id":"[uuid]"}"#);
    assert_eq!(bench.post("secret/undelete/a", r#"{"versions":[1,2,3]}"#).await.status, 204);
    assert_eq!(bench.get("secret/data/a?version=1").await.data()["data"]["v"], 1);
    // Destroyed is for good; the deletion time stays what it was.
    assert_snapshot!(bench.get("secret/metadata/a").await, @r#"200 {"data":{"cas_required":false,"created_time":"2023-09-20T14:51:53.961861Z","current_version":3,"custom_metadata":null,"delete_version_after":"0s","max_versions":0,"oldest_version":0,"updated_time":"2023-09-20T14:51:53.961861Z","versions":{"1":{"created_time":"2023-09-20T14:51:53.961861Z","deletion_time":"","destroyed":false},"2":{"created_time":"2023-09-20T14:51:53.961861Z","deletion_time":"2023-09-20T14:51:53.961861Z","destroyed":true},"3":{"created_time":"2023-09-20T14:51:53.961861Z","deletion_time":"","destroyed":true}}},"mount_type":"kv","request_id":"[uuid]"}"#);
    let source = bench.store.keys().mount(&bench.accessor("secret").await);
    let secret = bench.store.keys().secret(source, &model::SecretPath::parse("a").unwrap());
    let values = bench.store.scan_all(&bench.store.keys().secret_versions(secret)).await.unwrap();
    assert_eq!(values.len(), 1, "destroyed values are erased");
}

#[tokio::test]
async fn old_versions_are_dropped() {
    let bench = Bench::new().await;
    bench.post("secret/config", r#"{"max_versions":2}"#).await;
    for v in 1..=4 {
        bench.post("secret/data/a", &format!(r#"{{"data":{{"v":{v}}}}}"#)).await;
    }
    assert_eq!(bench.get("secret/data/a?version=2").await.status, 404);
    assert_eq!(bench.get("secret/data/a?version=3").await.status, 200);
    let meta = bench.get("secret/metadata/a").await.data();
    assert_eq!((meta["oldest_version"].as_u64(), meta["current_version"].as_u64()), (Some(3), Some(4)));
    let source = bench.store.keys().mount(&bench.accessor("secret").await);
    let secret = bench.store.keys().secret(source, &model::SecretPath::parse("a").unwrap());
    let values = bench.store.scan_all(&bench.store.keys().secret_versions(secret)).await.unwrap();
    assert_eq!(values.len(), 2, "dropped values are erased");
}

#[tokio::test]
async fn versions_delete_themselves_in_time() {
    let bench = Bench::new().await;
    assert_eq!(bench.post("secret/config", r#"{"delete_version_after":"1h"}"#).await.status, 204);
    assert_eq!(bench.post("secret/metadata/b", r#"{"delete_version_after":"30m"}"#).await.status, 204);
    for path in ["a", "b"] {
        bench.post(&format!("secret/data/{path}"), r#"{"data":{"v":1}}"#).await;
    }
    // A deletion to come is shown and the value is there.
    assert_snapshot!(bench.get("secret/data/b").await, @r#"200 {"data":{"data":{"v":1},"metadata":{"created_time":"2023-09-20T14:51:53.961861Z","custom_metadata":null,"deletion_time":"2023-09-20T15:21:53.961861Z","destroyed":false,"version":1}},"mount_type":"kv","request_id":"[uuid]"}"#);
    bench.clock.advance(Duration::from_mins(30));
    assert_eq!(bench.get("secret/data/b").await.status, 404);
    assert_eq!(bench.get("secret/data/a").await.status, 200);
    bench.clock.advance(Duration::from_mins(30));
    assert_eq!(bench.get("secret/data/a").await.status, 404);
    // Undeleted, it lives as long as a new one.
    assert_eq!(bench.post("secret/undelete/b", r#"{"versions":[1]}"#).await.status, 204);
    assert_eq!(
        bench.get("secret/data/b").await.data()["metadata"]["deletion_time"],
        "2023-09-20T16:21:53.961861Z"
    );
    // Negative switches it off for all keys, zero clears it.
    assert_eq!(bench.post("secret/config", r#"{"delete_version_after":"-5m"}"#).await.status, 204);
    assert_snapshot!(bench.get("secret/config").await, @r#"200 {"data":{"cas_required":false,"delete_version_after":"-1s","max_versions":0},"mount_type":"kv","request_id":"[uuid]"}"#);
    let answer = bench.post("secret/data/b", r#"{"data":{}}"#).await;
    assert_eq!(answer.data()["deletion_time"], "");
    assert_eq!(bench.post("secret/config", r#"{"delete_version_after":0}"#).await.status, 204);
    assert_eq!(bench.post("secret/data/a", r#"{"data":{}}"#).await.data()["deletion_time"], "");
    assert_ne!(bench.post("secret/data/b", r#"{"data":{}}"#).await.data()["deletion_time"], "");
}

#[tokio::test]
async fn a_patch_is_merged_into_the_current_version() {
    let bench = Bench::new().await;
    assert_snapshot!(bench.patch("secret/data/a", r#"{"data":{"b":2}}"#).await, @"404");
    bench.post("secret/data/a", r#"{"data":{"a":1,"gone":true,"deep":{"x":1,"y":2}}}"#).await;
    assert_snapshot!(bench.patch("secret/data/a", r#"{"data":{"b":2,"gone":null,"deep":{"y":null}}}"#).await, @r#"200 {"data":{"created_time":"2023-09-20T14:51:53.961861Z","custom_metadata":null,"deletion_time":"","destroyed":false,"version":2},"mount_type":"kv","request_id":"[uuid]"}"#);
    assert_snapshot!(bench.get("secret/data/a").await.data()["data"], @r#"{"a":1,"b":2,"deep":{"x":1}}"#);
    assert_snapshot!(bench.patch("secret/data/a", r#"{"data":{"c":3},"options":{"cas":1}}"#).await, @r#"400 {"errors":["check-and-set parameter did not match the current version"]}"#);
    assert_eq!(bench.patch("secret/data/a", r#"{"data":{"c":3},"options":{"cas":2}}"#).await.status, 200);
    assert_snapshot!(bench.patch("secret/data/a", "{}").await, @r#"400 {"errors":["no data provided"]}"#);
    assert_snapshot!(bench.patch("secret/data/a", r#"{"data":"hunter2"}"#).await, @r#"400 {"errors":["Field validation failed: error converting input for field \"data\": expected an object"]}"#);
    bench.delete("secret/data/a").await;
    assert_snapshot!(bench.patch("secret/data/a", r#"{"data":{"c":3}}"#).await, @r#"404 {"data":{"created_time":"2023-09-20T14:51:53.961861Z","custom_metadata":null,"deletion_time":"2023-09-20T14:51:53.961861Z","destroyed":false,"version":3},"mount_type":"kv","request_id":"[uuid]"}"#);
    // A key without a version has nothing to patch.
    bench.post("secret/metadata/m", r#"{"max_versions":1}"#).await;
    assert_snapshot!(bench.patch("secret/data/m", r#"{"data":{"c":3}}"#).await, @"404");

    let plain = bench
        .send(
            "PATCH",
            "secret/data/a",
            "{}",
            &[("X-Vault-Token", ROOT), ("Content-Type", "application/json")],
        )
        .await;
    assert_snapshot!(plain, @r#"415 {"errors":["PATCH requires Content-Type of application/merge-patch+json"]}"#);
    let typed = [("X-Vault-Token", ROOT), ("Content-Type", "Application/Merge-Patch+JSON; charset=utf-8")];
    assert_eq!(bench.send("PATCH", "secret/data/a", "{}", &typed).await.status, 400);
    assert_eq!(bench.send("PATCH", "secret/data/a", "{}", &[MERGE_PATCH]).await.status, 403);
}

#[tokio::test]
async fn subkeys_show_the_shape_only() {
    let bench = Bench::new().await;
    assert_eq!(bench.get("secret/subkeys/a").await.status, 404);
    bench
        .post("secret/data/a", r#"{"data":{"a":"hunter2","b":{"c":{"d":"hunter2"},"e":{}},"f":["hunter2"]}}"#)
        .await;
    assert_snapshot!(bench.get("secret/subkeys/a").await, @r#"200 {"data":{"metadata":{"created_time":"2023-09-20T14:51:53.961861Z","custom_metadata":null,"deletion_time":"","destroyed":false,"version":1},"subkeys":{"a":null,"b":{"c":{"d":null},"e":null},"f":null}},"mount_type":"kv","request_id":"[uuid]"}"#);
    assert_snapshot!(bench.get("secret/subkeys/a?depth=1&version=1").await.data()["subkeys"], @r#"{"a":null,"b":null,"f":null}"#);
    assert_snapshot!(bench.get("secret/subkeys/a?depth=2").await.data()["subkeys"], @r#"{"a":null,"b":{"c":null,"e":null},"f":null}"#);
    assert_eq!(bench.get("secret/subkeys/a?depth=x").await.status, 400);
}

#[tokio::test]
async fn the_engines_settings_are_kept() {
    let bench = Bench::new().await;
    assert_snapshot!(bench.get("secret/config").await, @r#"200 {"data":{"cas_required":false,"delete_version_after":"0s","max_versions":0},"mount_type":"kv","request_id":"[uuid]"}"#);
    assert_eq!(
        bench
            .post(
                "secret/config",
                r#"{"max_versions":"5","cas_required":1,"delete_version_after":"3h25m19s"}"#
            )
            .await
            .status,
        204
    );
    assert_eq!(bench.post("secret/config", "{}").await.status, 204);
    assert_eq!(bench.post("secret/config", r#"{"max_versions":null}"#).await.status, 204);
    assert_snapshot!(bench.get("secret/config").await, @r#"200 {"data":{"cas_required":true,"delete_version_after":"3h25m19s","max_versions":5},"mount_type":"kv","request_id":"[uuid]"}"#);
    for body in [
        r#"{"max_versions":"x"}"#,
        r#"{"max_versions":-1}"#,
        r#"{"max_versions":4294967296}"#,
        r#"{"cas_required":"maybe"}"#,
        r#"{"delete_version_after":"soon"}"#,
    ] {
        let answer = bench.post("secret/config", body).await;
        assert_eq!(answer.status, 400, "{body}");
        assert!(answer.text().contains("Field validation failed: "), "{answer}");
    }
    assert_snapshot!(bench.post("secret/config", r#"{"metadata_cas_required":true}"#).await, @r#"400 {"errors":["check-and-set for metadata is not available in keyferry"]}"#);
    assert_snapshot!(bench.delete("secret/config").await, @r#"405 {"errors":["1 error occurred:\n\t* unsupported operation\n\n"]}"#);
}

#[tokio::test]
async fn metadata_is_kept_and_replaced() {
    let bench = Bench::new().await;
    assert_snapshot!(bench.get("secret/metadata/a").await, @r#"404 {"errors":[]}"#);
    // Nothing asked, nothing made.
    assert_eq!(bench.post("secret/metadata/a", "{}").await.status, 204);
    assert_eq!(bench.get("secret/metadata/a").await.status, 404);
    let body =
        r#"{"max_versions":3,"delete_version_after":"3h25m19s","custom_metadata":{"owner":"ops","n":7}}"#;
    assert_snapshot!(bench.post("secret/metadata/a", body).await, @"204");
    assert_snapshot!(bench.get("secret/metadata/a").await, @r#"200 {"data":{"cas_required":false,"created_time":"2023-09-20T14:51:53.961861Z","current_version":0,"custom_metadata":{"n":"7","owner":"ops"},"delete_version_after":"3h25m19s","max_versions":3,"oldest_version":0,"updated_time":"2023-09-20T14:51:53.961861Z","versions":{}},"mount_type":"kv","request_id":"[uuid]"}"#);
    assert_eq!(bench.get("secret/data/a").await.status, 404);
    assert_eq!(bench.post("secret/metadata/a", r#"{"custom_metadata":{"x":"y"}}"#).await.status, 204);
    assert_snapshot!(bench.post("secret/data/a", r#"{"data":{}}"#).await, @r#"200 {"data":{"created_time":"2023-09-20T14:51:53.961861Z","custom_metadata":{"x":"y"},"deletion_time":"2023-09-20T18:17:12.961861Z","destroyed":false,"version":1},"mount_type":"kv","request_id":"[uuid]"}"#);
    assert_eq!(bench.post("secret/metadata/a", r#"{"custom_metadata":{}}"#).await.status, 204);
    assert_eq!(bench.get("secret/metadata/a").await.data()["custom_metadata"], serde_json::Value::Null);
    for body in [
        r#"{"delete_version_after":"-1s"}"#,
        r#"{"max_versions":-1}"#,
        r#"{"custom_metadata":"x"}"#,
        r#"{"custom_metadata":{"a":{"b":1}}}"#,
        r#"{"custom_metadata":{"a":""}}"#,
        r#"{"metadata_cas":1}"#,
    ] {
        assert_eq!(bench.post("secret/metadata/a", body).await.status, 400, "{body}");
    }
    bench.post("secret/config", r#"{"cas_required":true}"#).await;
    assert_snapshot!(bench.post("secret/metadata/a", r#"{"cas_required":false}"#).await, @r#"200 {"mount_type":"kv","request_id":"[uuid]","warnings":["\"cas_required\" set to false, but is mandated by backend config. This value will be ignored."]}"#);
}

#[tokio::test]
async fn metadata_is_patched() {
    let bench = Bench::new().await;
    assert_snapshot!(bench.patch("secret/metadata/a", r#"{"max_versions":3}"#).await, @"404");
    let body = r#"{"max_versions":3,"cas_required":true,"custom_metadata":{"a":"1","b":"2"}}"#;
    bench.post("secret/metadata/a", body).await;
    assert_snapshot!(bench.patch("secret/metadata/a", r#"{"custom_metadata":{"a":null,"c":"3"}}"#).await, @"204");
    assert_snapshot!(bench.get("secret/metadata/a").await.data()["custom_metadata"], @r#"{"b":"2","c":"3"}"#);
    assert_eq!(
        bench.patch("secret/metadata/a", r#"{"max_versions":null,"cas_required":null}"#).await.status,
        204
    );
    let meta = bench.get("secret/metadata/a").await.data();
    assert_eq!((meta["max_versions"].as_u64(), meta["cas_required"].as_bool()), (Some(0), Some(false)));
    let many: Vec<String> = (0..63).map(|n| format!(r#""k{n}":"v""#)).collect();
    let answer =
        bench.patch("secret/metadata/a", &format!(r#"{{"custom_metadata":{{{}}}}}"#, many.join(","))).await;
    assert_snapshot!(answer, @r#"400 {"errors":["custom_metadata validation failed: payload must contain at most 64 keys, provided 65"]}"#);
    assert_eq!(bench.patch("secret/metadata/a", r#"{"custom_metadata":null}"#).await.status, 204);
    assert_eq!(bench.get("secret/metadata/a").await.data()["custom_metadata"], serde_json::Value::Null);
}

#[tokio::test]
async fn removing_the_metadata_removes_everything() {
    let bench = Bench::new().await;
    bench.post("secret/data/a/b", r#"{"data":{"v":1}}"#).await;
    bench.post("secret/data/a/b", r#"{"data":{"v":2}}"#).await;
    assert_snapshot!(bench.delete("secret/metadata/a/b").await, @"204");
    assert_eq!(bench.delete("secret/metadata/a/b").await.status, 204);
    for path in ["secret/data/a/b", "secret/data/a/b?version=1", "secret/metadata/a/b"] {
        assert_eq!(bench.get(path).await.status, 404);
    }
    assert_eq!(bench.list("secret/metadata").await.status, 404);
    // The next write begins anew.
    assert_eq!(bench.post("secret/data/a/b", r#"{"data":{}}"#).await.data()["version"], 1);
}

#[tokio::test]
async fn wrong_paths_say_what_to_use() {
    let bench = Bench::new().await;
    assert_snapshot!(bench.get("secret/foo").await, @r#"404 {"mount_type":"kv","request_id":"[uuid]","warnings":["Invalid path for a versioned K/V secrets engine. See the API docs for the appropriate API endpoints to use. If using the Vault CLI, use 'vault kv get' for this operation."]}"#);
    assert_snapshot!(bench.post("secret/foo", r#"{"a":1}"#).await, @r#"404 {"mount_type":"kv","request_id":"[uuid]","warnings":["Invalid path for a versioned K/V secrets engine. See the API docs for the appropriate API endpoints to use. If using the Vault CLI, use 'vault kv put' for this operation."]}"#);
    assert_snapshot!(bench.delete("secret/foo").await, @r#"404 {"mount_type":"kv","request_id":"[uuid]","warnings":["Invalid path for a versioned K/V secrets engine. See the API docs for the appropriate API endpoints to use. If using the Vault CLI, use 'vault kv delete' for this operation."]}"#);
    assert_snapshot!(bench.list("secret/foo").await, @r#"404 {"mount_type":"kv","request_id":"[uuid]","warnings":["Invalid path for a versioned K/V secrets engine. See the API docs for the appropriate API endpoints to use. If using the Vault CLI, use 'vault kv list' for this operation."]}"#);
    assert_snapshot!(bench.get("secret").await, @r#"404 {"mount_type":"kv","request_id":"[uuid]","warnings":["Invalid path for a versioned K/V secrets engine. See the API docs for the appropriate API endpoints to use. If using the Vault CLI, use 'vault kv get' for this operation."]}"#);
    assert_snapshot!(bench.get("secret/data").await, @r#"404 {"mount_type":"kv","request_id":"[uuid]","warnings":["Non-listing operations on the root of a K/V v2 mount are not supported."]}"#);
    assert_snapshot!(bench.get("secret/data/").await, @r#"404 {"errors":[]}"#);
    assert_snapshot!(bench.get("secret/data/a/").await, @r#"404 {"errors":[]}"#);
    assert_snapshot!(bench.post("secret/data/a/", "{}").await, @r#"400 {"errors":["cannot write to a path ending in '/'"]}"#);
    assert_snapshot!(bench.list("secret/data/a").await, @r#"405 {"errors":["1 error occurred:\n\t* unsupported operation\n\n"]}"#);
    assert_snapshot!(bench.get("secret/delete/a").await, @r#"405 {"errors":["1 error occurred:\n\t* unsupported operation\n\n"]}"#);
    assert_snapshot!(bench.get("nope/data/a").await, @r#"404 {"errors":["no handler for route \"nope/data/a\". route entry not found."]}"#);
}

#[tokio::test]
async fn version_one_of_the_engine_keeps_one_value() {
    let bench = Bench::bare().await;
    assert_eq!(bench.post("sys/mounts/old", r#"{"type":"kv"}"#).await.status, 204);
    assert_snapshot!(bench.get("old/app/db").await, @r#"404 {"errors":[]}"#);
    assert_snapshot!(bench.post("old/app/db", "{}").await, @r#"400 {"errors":["missing data fields"]}"#);
    assert_snapshot!(bench.post("old/app/db", r#"{"user":"u","password":"hunter2"}"#).await, @"204");
    assert_snapshot!(bench.get("old/app/db").await, @r#"200 {"data":{"password":"hunter2","user":"u"},"lease_duration":2764800,"mount_type":"kv","request_id":"[uuid]"}"#);
    assert_eq!(bench.post("old/app/db", r#"{"user":"v"}"#).await.status, 204);
    assert_snapshot!(bench.get("old/app/db").await.data(), @r#"{"user":"v"}"#);
    for (ttl, seconds) in [("\"1h\"", 3_600), ("90", 90), ("\"soon\"", 2_764_800), ("-5", 2_764_800)] {
        bench.post("old/lease", &format!(r#"{{"ttl":{ttl}}}"#)).await;
        assert_eq!(bench.get("old/lease").await.json()["lease_duration"], seconds, "{ttl}");
    }
    assert_eq!(bench.delete("old/lease").await.status, 204);
    assert_snapshot!(bench.list("old").await, @r#"200 {"data":{"keys":["app/"]},"mount_type":"kv","request_id":"[uuid]"}"#);
    assert_snapshot!(bench.list("old/app").await, @r#"200 {"data":{"keys":["db"]},"mount_type":"kv","request_id":"[uuid]"}"#);
    assert_snapshot!(bench.patch("old/app/db", r#"{"user":"w"}"#).await, @r#"405 {"errors":["1 error occurred:\n\t* unsupported operation\n\n"]}"#);
    // It becomes version 2 by its option alone, and never goes back.
    assert_eq!(bench.post("sys/mounts/old/tune", r#"{"options":{"version":2}}"#).await.status, 204);
    assert_snapshot!(bench.get("old/data/app/db").await, @r#"200 {"data":{"data":{"user":"v"},"metadata":{"created_time":"2023-09-20T14:51:53.961861Z","custom_metadata":null,"deletion_time":"","destroyed":false,"version":1}},"mount_type":"kv","request_id":"[uuid]"}"#);
    assert_snapshot!(bench.post("sys/mounts/old/tune", r#"{"options":{"version":"1"}}"#).await, @r#"400 {"errors":["cannot downgrade mount from version 2"]}"#);
    assert_eq!(bench.delete("old/metadata/app/db").await.status, 204);
    assert_eq!(bench.list("old/metadata").await.status, 404);
}

#[tokio::test]
async fn version_one_removes_values_and_empty_folders() {
    let bench = Bench::bare().await;
    bench.post("sys/mounts/old", r#"{"type":"kv-v1"}"#).await;
    bench.post("old/app/db", r#"{"user":"u"}"#).await;
    assert_eq!(bench.delete("old/app/db").await.status, 204);
    assert_eq!(bench.delete("old/app/db").await.status, 204);
    assert_eq!(bench.get("old/app/db").await.status, 404);
    assert_eq!(bench.list("old").await.status, 404);
}
