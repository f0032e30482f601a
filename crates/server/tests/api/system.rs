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
