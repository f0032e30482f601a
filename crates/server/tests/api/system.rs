use insta::assert_snapshot;

use crate::bench::Bench;

#[tokio::test]
async fn health_is_told_to_anyone_in_the_wanted_code() {
    let bench = Bench::bare().await;
    assert_snapshot!(bench.as_token("", "GET", "sys/health", "").await, @r#"200 {"clock_skew_ms":0,"cluster_id":"[uuid]","cluster_name":"keyferry","echo_duration_ms":0,"enterprise":false,"initialized":true,"keyferry_version":"0.0.0","performance_standby":false,"replication_dr_mode":"disabled","replication_performance_mode":"disabled","replication_primary_canary_age_ms":0,"sealed":false,"server_time_utc":1695221513,"standby":false,"version":"1.20.0"}"#);
    assert_eq!(
        bench.get("sys/health?activecode=299&sealedcode=299&uninitcode=299&standbyok=true").await.status,
        299
    );
    for query in ["activecode=x", "activecode=99", "activecode=100", "activecode=1000", "sealedcode=x"] {
        assert_eq!(bench.get(&format!("sys/health?{query}")).await.status, 400, "{query}");
    }
    let head = bench.call("HEAD", "sys/health", "").await;
    assert_eq!(head.status, 200);
    assert_eq!(bench.post("sys/health", "").await.status, 405);
    assert_eq!(bench.call("HEAD", "sys/mounts", "").await.status, 405);
}

#[tokio::test]
async fn the_seal_and_the_leader_are_told_to_anyone() {
    let bench = Bench::bare().await;
    assert_snapshot!(bench.as_token("", "GET", "sys/seal-status", "").await, @r#"200 {"build_date":"","cluster_id":"[uuid]","cluster_name":"keyferry","initialized":true,"keyferry_version":"0.0.0","migration":false,"n":1,"nonce":"","progress":0,"recovery_seal":false,"sealed":false,"storage_type":"inmem","t":1,"type":"shamir","version":"1.20.0"}"#);
    assert_snapshot!(bench.as_token("", "GET", "sys/leader", "").await, @r#"200 {"cluster_id":"[uuid]","ha_enabled":false,"is_self":true,"leader_address":"","leader_cluster_address":"","performance_standby":false,"performance_standby_last_remote_wal":0}"#);
    assert_snapshot!(bench.as_token("", "GET", "sys/init", "").await, @r#"200 {"initialized":true}"#);
    assert_snapshot!(bench.as_token("", "PUT", "sys/init", r#"{"secret_shares":1,"secret_threshold":1}"#).await, @r#"400 {"errors":["Vault is already initialized"]}"#);
    assert_eq!(bench.as_token("", "PUT", "sys/unseal", r#"{"key":"00"}"#).await.json()["sealed"], false);
    assert_snapshot!(bench.as_token("", "PUT", "sys/unseal", "{}").await, @r#"400 {"errors":["'key' must be specified in request body as JSON, or 'reset' set to true"]}"#);
    assert_eq!(bench.as_token("", "PUT", "sys/seal", "").await.status, 403);
    assert_eq!(bench.call("PUT", "sys/seal", "").await.status, 204);
    assert_snapshot!(bench.call("GET", "sys/mounts", "").await, @r#"503 {"errors":["Vault is sealed"]}"#);
    assert_eq!(bench.as_token("", "GET", "sys/seal-status", "").await.json()["sealed"], true);
    assert_snapshot!(bench.as_token("", "PUT", "sys/unseal", r#"{"key":"00"}"#).await, @r#"400 {"errors":["this store is opened by its root key file, when the server starts; start it again"]}"#);
}

#[tokio::test]
async fn digests_are_made_of_what_is_sent() {
    let bench = Bench::new().await;
    let sum = async |path: &str, body: &str| bench.post(path, body).await.data()["sum"].clone();
    // "hello", whose digests are well known.
    let sha256 = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    assert_eq!(sum("sys/tools/hash", r#"{"input":"aGVsbG8="}"#).await, sha256);
    // The path goes before the body.
    assert_eq!(
        sum("sys/tools/hash/sha2-256", r#"{"input":"aGVsbG8=","algorithm":"sha2-512"}"#).await,
        sha256
    );
    assert_eq!(
        sum("sys/tools/hash", r#"{"input":"aGVsbG8=","format":"base64"}"#).await,
        "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ="
    );
    assert_eq!(
        sum("sys/tools/hash/sha3-256", r#"{"input":"aGVsbG8="}"#).await,
        "3338be694f50c5f338814986cdf0686453a888b84f424d792af4b9202398f392"
    );
    let default = bench.token(r#"{"policies":["default"]}"#).await;
    assert_eq!(bench.as_token(&default, "POST", "sys/tools/hash", r#"{"input":""}"#).await.status, 200);
    for (path, body, text) in [
        (
            "sys/tools/hash/md5",
            "{}",
            "unsupported algorithm: expected sha2-224, sha2-256, sha2-384, sha2-512, sha3-256, sha3-384 or sha3-512",
        ),
        ("sys/tools/hash", r#"{"input":"hunter2!"}"#, "unable to decode input as base64"),
        (
            "sys/tools/hash",
            r#"{"format":"binary"}"#,
            "unsupported encoding format; must be \"hex\" or \"base64\"",
        ),
    ] {
        let answer = bench.post(path, body).await;
        assert_eq!((answer.status, answer.json()["errors"][0].as_str().unwrap()), (400, text), "{body}");
    }
    assert_eq!(bench.get("sys/tools/hash").await.status, 405);
    assert_eq!(bench.post("sys/tools/nothing", "").await.status, 404);
}

#[tokio::test]
async fn random_bytes_come_in_the_wanted_number_and_form() {
    let bench = Bench::new().await;
    let random = async |path: &str, body: &str| {
        bench.post(path, body).await.data()["random_bytes"].as_str().unwrap().to_owned()
    };
    assert_eq!(random("sys/tools/random", "").await.len(), 44);
    assert_eq!(random("sys/tools/random/5", r#"{"format":"hex","bytes":9}"#).await.len(), 10);
    assert_eq!(random("sys/tools/random/platform/131072", r#"{"format":"hex"}"#).await.len(), 262_144);
    assert_ne!(random("sys/tools/random/8", "").await, random("sys/tools/random/8", "").await);
    let seal = bench.post("sys/tools/random/seal", "").await.json();
    assert_eq!(seal["warnings"][0], "no seal/entropy augmentation available, using platform entropy source");
    for (path, text) in [
        ("sys/tools/random/0", "'bytes' cannot be less than 1"),
        ("sys/tools/random/131073", "'bytes' should be less than 131072"),
        ("sys/tools/random/x", "error parsing url-set byte count"),
        ("sys/tools/random/x/4", "unsupported entropy source; must be \"platform\" or \"seal\", or \"all\""),
    ] {
        let answer = bench.post(path, "").await;
        assert_eq!((answer.status, answer.json()["errors"][0].as_str().unwrap()), (400, text));
    }
}

#[tokio::test]
async fn there_is_the_root_namespace_and_no_other() {
    let bench = Bench::new().await;
    assert_snapshot!(bench.call("LIST", "sys/namespaces", "").await, @r#"404 {"errors":[]}"#);
    assert_snapshot!(bench.get("sys/namespaces/team").await, @r#"404 {"errors":[]}"#);
    assert_snapshot!(bench.post("sys/namespaces/team", "").await, @r#"400 {"errors":["namespaces are not available in keyferry: this server has the root namespace only"]}"#);
    let gone = bench.delete("sys/namespaces/team").await.json();
    assert_eq!(gone["warnings"][0], "requested namespace does not exist");
    assert_eq!(bench.get("sys/namespaces").await.status, 405);
    assert_eq!(bench.as_token("", "LIST", "sys/namespaces", "").await.status, 403);
}

#[tokio::test]
async fn clients_that_ask_for_what_is_not_there_are_told_as_vault_tells_them() {
    let bench = Bench::new().await;
    // hvac looks for groups whenever it looks for entities.
    assert_snapshot!(bench.call("LIST", "identity/group/id", "").await, @r#"404 {"errors":[]}"#);
    assert_snapshot!(bench.get("identity/group/name/g").await, @r#"404 {"errors":[]}"#);
    assert_eq!(bench.post("identity/group", r#"{"name":"g"}"#).await.status, 400);
    assert_snapshot!(bench.get("sys/rekey/backup").await, @r#"400 {"errors":["no backed-up keys found"]}"#);
    assert_eq!(bench.delete("sys/rekey/backup").await.status, 204);
    // node-vault says revoke-prefix and revoke where others say leases/revoke-prefix and leases/revoke.
    for path in ["sys/revoke-prefix/auth/x", "sys/revoke-force/auth/x", "sys/revoke/auth/x", "sys/revoke"] {
        assert_eq!(bench.post(path, r#"{"lease_id":"never"}"#).await.status, 204, "{path}");
    }
    // hvac always sends where a browser would come back to.
    bench.post("sys/auth/jwt", r#"{"type":"jwt"}"#).await;
    let role =
        r#"{"user_claim":"sub","bound_audiences":"us","allowed_redirect_uris":["https://a.example/"]}"#;
    assert_eq!(bench.post("auth/jwt/role/r", role).await.status, 204);
    assert_eq!(bench.get("auth/jwt/role/r").await.data()["allowed_redirect_uris"][0], "https://a.example/");
}
