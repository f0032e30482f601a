use insta::assert_snapshot;
use server::app::App;

use crate::bench::Bench;

#[tokio::test]
async fn mounts_are_listed_twice_over() {
    let bench = Bench::new().await;
    let answer = bench.get("sys/mounts").await;
    let json = answer.json();
    for (path, info) in json["data"].as_object().unwrap() {
        assert_eq!(&json[path], info, "old clients read the top level");
    }
    assert_snapshot!(bench.get("sys/mounts/secret").await, @r#"200 {"accessor":"kv_[hex]","config":{"default_lease_ttl":0,"force_no_cache":false,"max_lease_ttl":0},"data":{"accessor":"kv_[hex]","config":{"default_lease_ttl":0,"force_no_cache":false,"max_lease_ttl":0},"deprecation_status":"supported","description":"","external_entropy_access":false,"local":false,"options":{"version":"2"},"plugin_version":"","running_plugin_version":"v0.0.0+builtin","running_sha256":"","seal_wrap":false,"type":"kv","uuid":"[uuid]"},"deprecation_status":"supported","description":"","external_entropy_access":false,"local":false,"mount_type":"system","options":{"version":"2"},"plugin_version":"","request_id":"[uuid]","running_plugin_version":"v0.0.0+builtin","running_sha256":"","seal_wrap":false,"type":"kv","uuid":"[uuid]"}"#);
    let paths: Vec<&String> = json["data"].as_object().unwrap().keys().collect();
    assert_eq!(paths, ["cubbyhole/", "identity/", "secret/", "sys/"]);
    assert_snapshot!(bench.get("sys/mounts/sys").await.data(), @r#"{"accessor":"system_86116bf0","config":{"default_lease_ttl":0,"force_no_cache":false,"max_lease_ttl":0},"description":"system endpoints used for control, policy and debugging","external_entropy_access":false,"local":false,"options":null,"plugin_version":"","running_plugin_version":"v0.0.0+builtin","running_sha256":"","seal_wrap":true,"type":"system","uuid":"4dd85a49-7e9e-4935-606b-3d0ee88aec77"}"#);
    assert_snapshot!(bench.get("sys/mounts/nope").await, @r#"400 {"errors":["No secret engine mount at nope/"]}"#);
    assert_eq!(bench.get("sys/mounts/").await.status, 200);
    assert_eq!(bench.post("sys/mounts", "{}").await.status, 405);
}

#[tokio::test]
async fn engines_are_mounted_in_every_spelling() {
    let bench = Bench::bare().await;
    for (path, body, version) in [
        ("a", r#"{"type":"kv","options":{"version":"2"}}"#, Some("2")),
        (
            "b",
            r#"{"type":"kv","options":{"version":2},"description":null,"config":null,"plugin_name":null}"#,
            Some("2"),
        ),
        ("c/d e", r#"{"type":"kv-v2"}"#, Some("2")),
        ("e", r#"{"type":"kv-v1"}"#, Some("1")),
        ("f", r#"{"type":"kv"}"#, None),
        (
            "g",
            r#"{"type":"plugin","plugin_name":"kv","local":false,"seal_wrap":false,"external_entropy_access":false}"#,
            None,
        ),
    ] {
        let path = path.replace(' ', "%20");
        assert_eq!(bench.post(&format!("sys/mounts/{path}"), body).await.status, 204, "{body}");
        let data = bench.get(&format!("sys/mounts/{path}")).await.data();
        assert_eq!(data["options"]["version"].as_str(), version, "{body}");
    }
    let form = [("X-Vault-Token", "root"), ("Content-Type", "application/x-www-form-urlencoded")];
    assert_eq!(bench.send("POST", "sys/mounts/form", "type=kv&options=version%3D2", &form).await.status, 204);
    assert_eq!(bench.post("c/d%20e/data/x", r#"{"data":{}}"#).await.status, 200);
    assert_eq!(bench.get("c/d%20e/data/x").await.status, 200);
    assert_eq!(bench.get("c/data/x").await.status, 404);
}

#[tokio::test]
async fn what_cannot_be_mounted_is_refused() {
    let bench = Bench::new().await;
    bench.post("sys/mounts/a/b", r#"{"type":"kv"}"#).await;
    for (path, body, text) in [
        ("secret", r#"{"type":"kv"}"#, "path is already in use at secret/"),
        ("secret/below", r#"{"type":"kv"}"#, "path is already in use at secret/"),
        ("a", r#"{"type":"kv"}"#, "path is already in use at a/b/"),
        ("sys", r#"{"type":"kv"}"#, "cannot mount \"sys/\""),
        ("sys/x", r#"{"type":"kv"}"#, "cannot mount \"sys/x/\""),
        ("auth/x", r#"{"type":"kv"}"#, "cannot mount \"auth/x/\""),
        ("cubbyhole", r#"{"type":"kv"}"#, "cannot mount \"cubbyhole/\""),
        (
            "x",
            r#"{"type":"pki"}"#,
            "plugin not found in the catalog: only kv and keeper engines are available",
        ),
        ("x", "{}", "backend type must be specified as a string"),
        ("x", r#"{"type":"kv","options":{"version":"3"}}"#, "options.version must be \"1\" or \"2\""),
        ("x", r#"{"type":"kv","local":true}"#, "local mounts are not available in keyferry"),
        (
            "x",
            r#"{"type":"kv","config":{"default_lease_ttl":"9000h"}}"#,
            "given default lease TTL greater than system max lease TTL of 2764800",
        ),
        (
            "x",
            r#"{"type":"kv","config":{"listing_visibility":"all"}}"#,
            "invalid listing_visibility: must be unauth, hidden or empty",
        ),
    ] {
        let answer = bench.post(&format!("sys/mounts/{path}"), body).await;
        assert_eq!(
            (answer.status, answer.json()["errors"][0].as_str().unwrap()),
            (400, text),
            "{path} {body}"
        );
    }
}

#[tokio::test]
async fn a_mount_is_tuned() {
    let bench = Bench::bare().await;
    let config = r#"{"default_lease_ttl":"30m","max_lease_ttl":3600,"listing_visibility":"unauth","audit_non_hmac_request_keys":["a"]}"#;
    bench.post("sys/mounts/a", &format!(r#"{{"type":"kv-v2","description":"d","config":{config}}}"#)).await;
    assert_snapshot!(bench.get("sys/mounts/a/tune").await.data(), @r#"{"audit_non_hmac_request_keys":["a"],"default_lease_ttl":1800,"description":"d","force_no_cache":false,"listing_visibility":"unauth","max_lease_ttl":3600,"options":{"version":"2"}}"#);
    let accessor = bench.accessor("a").await;
    let body = r#"{"default_lease_ttl":"system","max_lease_ttl":"2h","description":"new","listing_visibility":"hidden","audit_non_hmac_request_keys":""}"#;
    assert_eq!(bench.post("sys/mounts/a/tune", body).await.status, 204);
    assert_snapshot!(bench.get("sys/mounts/a").await.data(), @r#"{"accessor":"kv_788a448c","config":{"default_lease_ttl":0,"force_no_cache":false,"listing_visibility":"hidden","max_lease_ttl":7200},"deprecation_status":"supported","description":"new","external_entropy_access":false,"local":false,"options":{"version":"2"},"plugin_version":"","running_plugin_version":"v0.0.0+builtin","running_sha256":"","seal_wrap":false,"type":"kv","uuid":"acf8896b-abb0-420d-8895-faefda4f1862"}"#);
    assert_eq!(bench.accessor("a").await, accessor);
    assert_eq!(bench.post("sys/mounts/a/tune", "{}").await.status, 204);
    assert_snapshot!(bench.get("sys/mounts/nope/tune").await, @r#"400 {"errors":["cannot fetch sysview for path \"nope/\""]}"#);
    assert_snapshot!(bench.post("sys/mounts/nope/tune", "{}").await, @r#"400 {"errors":["tune of path \"nope/\" failed: no mount entry found"]}"#);
    assert_snapshot!(bench.post("sys/mounts/sys/tune", "{}").await, @r#"400 {"errors":["cannot tune \"sys/\""]}"#);
    assert_eq!(bench.get("sys/mounts/sys/tune").await.data()["max_lease_ttl"], 2_764_800);
    assert_eq!(bench.post("sys/mounts/a/tune", r#"{"default_lease_ttl":"soon"}"#).await.status, 400);
}

#[tokio::test]
async fn a_disabled_mount_is_gone_at_once_and_its_data_soon_after() {
    let bench = Bench::new().await;
    for path in ["a", "b/c", "b/d/e", "b/d/f"] {
        bench.post(&format!("secret/data/{path}"), r#"{"data":{"v":1}}"#).await;
        bench.post(&format!("secret/data/{path}"), r#"{"data":{"v":2}}"#).await;
    }
    let accessor = bench.accessor("secret").await;
    let (destination, source) = bench.link(&accessor, "b/d/e").await;
    assert_eq!(bench.delete("sys/mounts/secret").await.status, 204);
    assert_eq!(bench.get("secret/data/a").await.status, 404);
    assert_eq!(bench.delete("sys/mounts/secret").await.status, 204);
    // Mounted again it is another mount, with nothing in it.
    bench.post("sys/mounts/secret", r#"{"type":"kv-v2"}"#).await;
    assert_ne!(bench.accessor("secret").await, accessor);
    assert_eq!(bench.get("secret/data/a").await.status, 404);

    App::do_chores(&bench.app).await.unwrap();
    let keys = bench.store.keys();
    let root = keys.mount(&accessor);
    assert!(bench.store.scan_all(&keys.secrets_in(root)).await.unwrap().is_empty());
    assert!(bench.store.scan_all(&keys.folders_in(root)).await.unwrap().is_empty());
    assert!(bench.store.scan_all(&keys.secret_versions(source)).await.unwrap().is_empty());
    let below = keys.segment(keys.segment(root, "b"), "d");
    assert!(bench.store.scan_all(&keys.secrets_in(below)).await.unwrap().is_empty());
    let table = bench.store.get(&keys.mounts()).await.unwrap().unwrap().record;
    assert_eq!(table.erasing, vec![]);
    // Its associations stay, and are asked to look.
    assert!(bench.store.get(&keys.links(source)).await.unwrap().is_some());
    assert!(bench.store.get(&keys.outbox(destination, source)).await.unwrap().is_some());
    assert_eq!(*bench.signals.0.lock().unwrap(), [(destination, source)]);

    assert_snapshot!(bench.delete("sys/mounts/sys").await, @r#"400 {"errors":["cannot unmount \"sys/\""]}"#);
    assert_snapshot!(bench.delete("sys/mounts/cubbyhole").await, @r#"400 {"errors":["cannot unmount \"cubbyhole/\""]}"#);
}

#[tokio::test]
async fn a_mount_moves_with_all_it_holds() {
    let bench = Bench::new().await;
    bench.post("secret/data/a", r#"{"data":{"v":1}}"#).await;
    let accessor = bench.accessor("secret").await;
    let moved = bench.post("sys/remount", r#"{"from":"secret","to":"team/kv/"}"#).await;
    assert_snapshot!(moved, @r#"200 {"data":{"migration_id":"[uuid]"},"migration_id":"[uuid]","mount_type":"system","request_id":"[uuid]","warnings":["Mount move has been carried out. Its status can be read under its migration_id"]}"#);
    let id = moved.data()["migration_id"].as_str().unwrap().to_owned();
    assert_snapshot!(bench.get(&format!("sys/remount/status/{id}")).await, @r#"200 {"data":{"migration_id":"[uuid]","migration_info":{"source_mount":"secret/","status":"success","target_mount":"team/kv/"}},"mount_type":"system","request_id":"[uuid]"}"#);
    assert_eq!(bench.get("sys/remount/status/unknown").await.status, 404);
    assert_eq!(bench.get("secret/data/a").await.status, 404);
    assert_eq!(bench.get("team/kv/data/a").await.data()["data"]["v"], 1);
    assert_eq!(bench.accessor("team/kv").await, accessor);
    bench.post("sys/mounts/other", r#"{"type":"kv"}"#).await;
    for (body, text) in [
        ("{}", "both 'from' and 'to' path must be specified as a string"),
        (r#"{"from":"nope","to":"x"}"#, "no matching mount at \"nope/\""),
        (r#"{"from":"team/kv","to":"other/x"}"#, "path already in use at \"other/\""),
        (r#"{"from":"team/kv","to":"sys/x"}"#, "cannot remount to destination sys/x/"),
        (r#"{"from":"sys","to":"x"}"#, "cannot remount \"sys/\""),
    ] {
        let answer = bench.post("sys/remount", body).await;
        assert_eq!((answer.status, answer.json()["errors"][0].as_str().unwrap()), (400, text));
    }
}

#[tokio::test]
async fn the_preflight_tells_a_kv_client_its_mount() {
    let bench = Bench::new().await;
    let answer = bench.get("sys/internal/ui/mounts/secret/data/app/db").await;
    assert_snapshot!(answer, @r#"200 {"data":{"accessor":"kv_[hex]","config":{"default_lease_ttl":0,"force_no_cache":false,"max_lease_ttl":0},"deprecation_status":"supported","description":"","external_entropy_access":false,"local":false,"options":{"version":"2"},"path":"secret/","plugin_version":"","running_plugin_version":"v0.0.0+builtin","running_sha256":"","seal_wrap":false,"type":"kv","uuid":"[uuid]"},"mount_type":"system","request_id":"[uuid]"}"#);
    for path in ["secret", "secret/", "secret/x"] {
        let answer = bench.get(&format!("sys/internal/ui/mounts/{path}")).await;
        assert_eq!(answer.data()["path"], "secret/");
        assert_eq!(answer.data()["options"]["version"], "2");
    }
    assert_snapshot!(bench.get("sys/internal/ui/mounts/nope/x").await, @r#"403 {"errors":["preflight capability check returned 403, please ensure client's policies grant access to path \"nope/x/\""]}"#);
    // A mount one may not touch looks like one that is not there.
    let weak = bench.token(r#"{"policies":["default"]}"#).await;
    assert_snapshot!(bench.as_token(&weak, "GET", "sys/internal/ui/mounts/secret", "").await, @r#"403 {"errors":["preflight capability check returned 403, please ensure client's policies grant access to path \"secret/\""]}"#);
    assert_snapshot!(bench.as_token("", "GET", "sys/internal/ui/mounts/secret", "").await, @r#"403 {"errors":["permission denied"]}"#);
}

#[tokio::test]
async fn web_interfaces_list_what_their_user_may_see() {
    let bench = Bench::new().await;
    bench.post("sys/mounts/open", r#"{"type":"kv","config":{"listing_visibility":"unauth"}}"#).await;
    let names = |answer: crate::bench::Answer| {
        let data = answer.data();
        let names =
            |part: &str| data[part].as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ");
        format!("{} | {}", names("secret"), names("auth"))
    };
    assert_eq!(
        names(bench.get("sys/internal/ui/mounts").await),
        "cubbyhole/ identity/ open/ secret/ sys/ | token/"
    );
    assert_eq!(names(bench.as_token("", "GET", "sys/internal/ui/mounts", "").await), "open/ | ");
    let weak = bench.token(r#"{"policies":["default"]}"#).await;
    assert_eq!(
        names(bench.as_token(&weak, "GET", "sys/internal/ui/mounts", "").await),
        "cubbyhole/ identity/ sys/ | token/"
    );
    bench.post("sys/policies/acl/team", r#"{"policy":"path \"secret/data/a\" { capabilities = [\"read\"] } path \"open/*\" { capabilities = [\"deny\"] }"}"#).await;
    let reader = bench.token(r#"{"policies":["team"],"no_default_policy":true}"#).await;
    assert_eq!(names(bench.as_token(&reader, "GET", "sys/internal/ui/mounts", "").await), "secret/ | ");
}

#[tokio::test]
async fn the_token_store_is_always_there() {
    let bench = Bench::bare().await;
    assert_snapshot!(bench.get("sys/auth").await.data(), @r#"{"token/":{"accessor":"auth_token_4a4f473d","config":{"default_lease_ttl":0,"force_no_cache":false,"max_lease_ttl":0,"token_type":"default-service"},"description":"token based credentials","external_entropy_access":false,"local":false,"options":null,"plugin_version":"","running_plugin_version":"v0.0.0+builtin","running_sha256":"","seal_wrap":false,"type":"token","uuid":"11a04859-af7f-e062-0fc8-9a827f16a83c"}}"#);
}

#[tokio::test]
async fn engines_that_are_not_there_say_so() {
    let bench = Bench::bare().await;
    assert_snapshot!(bench.post("identity/group", "{}").await, @r#"400 {"errors":["identity groups are not available in keyferry; put policies on entities"]}"#);
    assert_snapshot!(bench.post("identity/oidc/key/x", "{}").await, @r#"400 {"errors":["the OIDC provider and MFA are not available in keyferry"]}"#);
    assert_snapshot!(bench.get("sys/nope").await, @r#"404 {"errors":["1 error occurred:\n\t* unsupported path\n\n"]}"#);
    assert_snapshot!(bench.get("auth/nope/login").await, @r#"404 {"errors":["no handler for route \"auth/nope/login\". route entry not found."]}"#);
    assert_snapshot!(bench.get("auth/token/nope").await, @r#"404 {"errors":["1 error occurred:\n\t* unsupported path\n\n"]}"#);
    assert_snapshot!(bench.get("").await, @r#"404 {"errors":["no handler for route \"\". route entry not found."]}"#);
}
