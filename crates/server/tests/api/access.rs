//! Nobody gets past the token check.

use crate::bench::{Bench, MERGE_PATCH};

/// Every route: method, path, body.
const ROUTES: &[(&str, &str, &str)] = &[
    ("GET", "secret/config", ""),
    ("POST", "secret/config", r#"{"max_versions":1}"#),
    ("GET", "secret/data/a", ""),
    ("GET", "secret/data/none", ""),
    ("POST", "secret/data/a", r#"{"data":{"p":"new"}}"#),
    ("POST", "secret/data/none", r#"{"data":{"p":"new"}}"#),
    ("PUT", "secret/data/a", "this is no json"),
    ("PATCH", "secret/data/a", r#"{"data":{"p":"new"}}"#),
    ("DELETE", "secret/data/a", ""),
    ("POST", "secret/delete/a", r#"{"versions":[1]}"#),
    ("POST", "secret/undelete/a", r#"{"versions":[1]}"#),
    ("POST", "secret/destroy/a", r#"{"versions":[1]}"#),
    ("GET", "secret/metadata/a", ""),
    ("POST", "secret/metadata/a", r#"{"max_versions":1}"#),
    ("PATCH", "secret/metadata/a", r#"{"max_versions":1}"#),
    ("DELETE", "secret/metadata/a", ""),
    ("LIST", "secret/metadata", ""),
    ("SCAN", "secret/metadata", ""),
    ("GET", "secret/metadata?list=true", ""),
    ("LIST", "secret/detailed-metadata", ""),
    ("GET", "secret/subkeys/a", ""),
    ("GET", "secret/nonsense", ""),
    ("GET", "secret", ""),
    ("GET", "old/a", ""),
    ("POST", "old/a", r#"{"p":"new"}"#),
    ("DELETE", "old/a", ""),
    ("LIST", "old", ""),
    ("GET", "nope/data/a", ""),
    ("GET", "", ""),
    ("POST", "identity/entity", r#"{"name":"x"}"#),
    ("LIST", "identity/entity/id", ""),
    ("GET", "identity/entity/name/x", ""),
    ("POST", "identity/entity-alias", r#"{"name":"x"}"#),
    ("POST", "identity/lookup/entity", r#"{"name":"x"}"#),
    ("LIST", "sys/policies/acl", ""),
    ("GET", "sys/policies/acl/default", ""),
    ("PUT", "sys/policies/acl/ops", r#"{"policy":"path \"*\" { policy = \"sudo\" }"}"#),
    ("PUT", "sys/policies/acl/default", r#"{"policy":"path \"*\" { policy = \"sudo\" }"}"#),
    ("DELETE", "sys/policies/acl/ops", ""),
    ("GET", "sys/policy", ""),
    ("PUT", "sys/policy/ops", r#"{"policy":"path \"*\" { policy = \"sudo\" }"}"#),
    ("GET", "sys/mounts", ""),
    ("GET", "sys/mounts/secret", ""),
    ("POST", "sys/mounts/new", r#"{"type":"kv"}"#),
    ("DELETE", "sys/mounts/secret", ""),
    ("GET", "sys/mounts/secret/tune", ""),
    ("POST", "sys/mounts/secret/tune", r#"{"description":"new"}"#),
    ("POST", "sys/remount", r#"{"from":"secret","to":"new"}"#),
    ("GET", "sys/remount/status/x", ""),
    ("GET", "sys/auth", ""),
    ("GET", "sys/internal/ui/mounts/secret", ""),
    ("GET", "sys/internal/ui/mounts/nope", ""),
    ("POST", "sys/capabilities", r#"{"token":"root","path":"a"}"#),
    ("POST", "sys/capabilities-accessor", r#"{"accessor":"a","path":"a"}"#),
    ("PUT", "sys/seal", ""),
    ("GET", "sys/nope", ""),
    ("LIST", "sys/sync/destinations", ""),
    ("POST", "sys/sync/destinations/aws-sm/x", "{}"),
    ("POST", "sys/activation-flags/secrets-sync/activate", ""),
    ("POST", "auth/token/create", "{}"),
    ("POST", "auth/token/create-orphan", "{}"),
    ("POST", "auth/token/create/role", "{}"),
    ("POST", "auth/token/lookup", r#"{"token":"root"}"#),
    ("POST", "auth/token/lookup-accessor", r#"{"accessor":"a"}"#),
    ("POST", "auth/token/renew", r#"{"token":"root"}"#),
    ("POST", "auth/token/renew-accessor", r#"{"accessor":"a"}"#),
    ("POST", "auth/token/revoke", r#"{"token":"root"}"#),
    ("POST", "auth/token/revoke-orphan", r#"{"token":"root"}"#),
    ("POST", "auth/token/revoke-accessor", r#"{"accessor":"a"}"#),
    ("LIST", "auth/token/accessors", ""),
    ("POST", "auth/token/tidy", ""),
    ("GET", "sys/auth/approle", ""),
    ("POST", "sys/auth/approle", r#"{"type":"approle"}"#),
    ("DELETE", "sys/auth/approle", ""),
    ("POST", "sys/auth/userpass/tune", r#"{"description":"new"}"#),
    ("POST", "sys/mounts/auth/userpass/tune", r#"{"description":"new"}"#),
    ("LIST", "auth/userpass/users", ""),
    ("GET", "auth/userpass/users/anna", ""),
    ("POST", "auth/userpass/users/anna", r#"{"password":"new"}"#),
    ("POST", "auth/userpass/users/none", r#"{"password":"new"}"#),
    ("POST", "auth/userpass/users/anna/password", r#"{"password":"new"}"#),
    ("POST", "auth/userpass/users/anna/policies", r#"{"token_policies":"root"}"#),
    ("DELETE", "auth/userpass/users/anna", ""),
    ("GET", "auth/userpass/login/anna", ""),
    ("POST", "auth/userpass/login", r#"{"password":"pw"}"#),
    ("POST", "auth/none/login", r#"{"password":"pw"}"#),
    ("POST", "sys/wrapping/rewrap", r#"{"token":"x"}"#),
    ("LIST", "sys/leases/lookup/auth", ""),
    ("POST", "sys/leases/revoke", r#"{"lease_id":"x/y"}"#),
    ("POST", "sys/leases/revoke/x/y", ""),
    ("POST", "sys/leases/revoke-prefix/auth", ""),
    ("POST", "sys/leases/revoke-force/auth", ""),
    ("POST", "sys/leases/tidy", ""),
    ("POST", "sys/revoke", r#"{"lease_id":"x/y"}"#),
    ("GET", "sys/quotas/config", ""),
    ("POST", "sys/quotas/config", r#"{"rate_limit_exempt_paths":"*"}"#),
    ("LIST", "sys/quotas/rate-limit", ""),
    ("POST", "sys/quotas/rate-limit/x", r#"{"rate":1}"#),
    ("DELETE", "sys/quotas/rate-limit/x", ""),
    ("GET", "sys/config/cors", ""),
    ("POST", "sys/config/cors", r#"{"allowed_origins":"*"}"#),
    ("DELETE", "sys/config/cors", ""),
    ("LIST", "auth/token/roles", ""),
    ("GET", "auth/token/roles/r", ""),
    ("POST", "auth/token/roles/r", "{}"),
    ("DELETE", "auth/token/roles/r", ""),
    ("GET", "auth/token/nope", ""),
];

/// What policy `default` lets a token do with itself.
const SELF_ROUTES: &[(&str, &str, &str)] = &[
    ("GET", "auth/token/lookup-self", ""),
    ("POST", "auth/token/renew-self", ""),
    ("POST", "sys/capabilities-self", r#"{"path":"a"}"#),
    ("GET", "sys/internal/ui/resultant-acl", ""),
    ("POST", "cubbyhole/a", r#"{"k":"v"}"#),
    ("GET", "cubbyhole/a", ""),
    ("LIST", "cubbyhole", ""),
    ("DELETE", "cubbyhole/a", ""),
    ("POST", "auth/token/revoke-self", ""),
];

#[tokio::test]
async fn every_route_refuses_who_is_unknown_or_powerless() {
    let bench = Bench::new().await;
    bench.post("secret/data/a", r#"{"data":{"p":"hunter2"}}"#).await;
    bench.post("sys/mounts/old", r#"{"type":"kv"}"#).await;
    bench.post("old/a", r#"{"p":"hunter2"}"#).await;
    bench.post("sys/auth/userpass", r#"{"type":"userpass"}"#).await;
    bench.post("auth/userpass/users/anna", r#"{"password":"pw"}"#).await;
    let powerless = bench.token(r#"{"policies":["ops"],"no_default_policy":true,"id":"powerless"}"#).await;
    let weak = bench.token(r#"{"policies":["ops"],"id":"weak"}"#).await;
    let before = (bench.get("sys/mounts").await.data(), bench.list("auth/token/accessors").await.keys());

    for (method, path, body) in ROUTES {
        for token in ["", "unknown", "hvs.unknown", powerless.as_str(), weak.as_str()] {
            let answer = bench.send(method, path, body, &[("X-Vault-Token", token), MERGE_PATCH]).await;
            assert_eq!(answer.status, 403, "{method} {path} as {token:?}: {answer}");
            assert!(!answer.text().contains("hunter2"));
        }
    }
    for (method, path, body) in SELF_ROUTES {
        for token in ["", "unknown", powerless.as_str()] {
            assert_eq!(
                bench.as_token(token, method, path, body).await.status,
                403,
                "{method} {path} as {token:?}"
            );
        }
        let answer = bench.as_token(&weak, method, path, body).await;
        assert!(matches!(answer.status, 200 | 204), "{method} {path}: {answer}");
    }

    // Nothing happened on the way.
    let after = (bench.get("sys/mounts").await.data(), bench.list("auth/token/accessors").await.keys());
    assert_eq!(before.0, after.0);
    assert_eq!(before.1.len() - 1, after.1.len(), "only the token that revoked itself is gone");
    assert_eq!(bench.get("secret/data/a").await.data()["data"]["p"], "hunter2");
    assert_eq!(bench.get("secret/data/none").await.status, 404);
}

#[tokio::test]
async fn who_is_unknown_cannot_tell_what_is_there() {
    let bench = Bench::new().await;
    bench.post("secret/data/a", r#"{"data":{}}"#).await;
    for token in ["unknown", &bench.token(r#"{"policies":["ops"]}"#).await] {
        for method in ["GET", "POST", "DELETE"] {
            let there = bench.as_token(token, method, "secret/data/a", "").await.text();
            let not_there = bench.as_token(token, method, "secret/data/b", "").await.text();
            let no_mount = bench.as_token(token, method, "nope/data/b", "").await.text();
            assert_eq!(there, not_there);
            assert_eq!(there, no_mount);
        }
    }
}
