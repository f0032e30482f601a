//! Policies: writing them, and what they let pass.

use insta::assert_snapshot;

use crate::bench::{Bench, MERGE_PATCH};

#[tokio::test]
async fn policies_are_written_read_listed_and_removed() {
    let bench = Bench::bare().await;
    let text = "# kept byte for byte\npath \"secret/*\" { capabilities = [\"read\"] }\n";
    bench.policy("dev", text).await;
    assert_eq!(bench.get("sys/policies/acl/dev").await.data()["policy"], text);
    assert_snapshot!(bench.list("sys/policies/acl").await, @r#"200 {"data":{"keys":["default","dev","root"]},"mount_type":"system","request_id":"[uuid]"}"#);
    assert_snapshot!(bench.get("sys/policy").await, @r#"200 {"data":{"keys":["default","dev","root"],"policies":["default","dev","root"]},"keys":["default","dev","root"],"mount_type":"system","policies":["default","dev","root"],"request_id":"[uuid]"}"#);
    let old = bench.get("sys/policy/dev").await.json();
    assert_eq!(
        (&old["rules"], &old["data"]["rules"], &old["name"]),
        (&text.into(), &text.into(), &"dev".into())
    );
    // Base64, and the older parameter.
    bench.policy("enc", "cGF0aCAiYSIgeyBwb2xpY3kgPSAicmVhZCIgfQ==").await;
    assert_eq!(bench.get("sys/policies/acl/enc").await.data()["policy"], r#"path "a" { policy = "read" }"#);
    assert_snapshot!(bench.call("PUT", "sys/policy/old", r#"{"rules":"path \"a\" {}"}"#).await, @r#"200 {"mount_type":"system","request_id":"[uuid]","warnings":["'rules' is deprecated, please use 'policy' instead"]}"#);
    assert_snapshot!(bench.call("PUT", "sys/policies/acl/Mixed", r#"{"policy":"path \"a\" {}"}"#).await, @r#"200 {"mount_type":"system","request_id":"[uuid]","warnings":["policy name was converted to mixed"]}"#);
    assert_eq!(bench.get("sys/policies/acl/MIXED").await.status, 200);
    // hvac sends JSON.
    bench.policy("json", r#"{"path":{"secret/*":{"capabilities":["list"]}}}"#).await;

    for name in ["dev", "never"] {
        assert_eq!(bench.delete(&format!("sys/policies/acl/{name}")).await.status, 204);
        let gone = bench.get(&format!("sys/policies/acl/{name}")).await;
        assert_eq!((gone.status, gone.text().as_str()), (404, r#"{"errors":[]}"#));
    }
    assert_eq!(
        bench.list("sys/policies/acl").await.keys(),
        ["default", "enc", "json", "mixed", "old", "root"]
    );
    assert!(
        bench.get("sys/policies/acl/default").await.data()["policy"]
            .as_str()
            .unwrap()
            .contains("lookup-self")
    );
    assert_eq!(bench.get("sys/policies/acl").await.status, 405);
}

#[tokio::test]
async fn what_is_no_policy_is_refused_and_changes_nothing() {
    let bench = Bench::bare().await;
    let put =
        async |name: &str, body: &str| bench.call("PUT", &format!("sys/policies/acl/{name}"), body).await;
    assert_snapshot!(put("a", r#"{"policy":"path \"x\" {\n  capabilities = [\"reed\"]\n}"}"#).await, @r#"400 {"errors":["failed to parse policy: line 2, column 18: path \"x\": invalid capability \"reed\""]}"#);
    assert_snapshot!(put("a", r#"{"policy":"path \"x\" {"}"#).await, @r#"400 {"errors":["failed to parse policy: line 1, column 11: a closing } is missing"]}"#);
    assert_snapshot!(put("a", r#"{"policy":""}"#).await, @r#"400 {"errors":["'policy' parameter not supplied or empty"]}"#);
    assert_snapshot!(put("a", "{}").await, @r#"400 {"errors":["'policy' parameter not supplied or empty"]}"#);
    assert_snapshot!(put("a,b", r#"{"policy":"path \"x\" {}"}"#).await, @r#"400 {"errors":["a policy's name must be at most 256 bytes, without commas and without blanks at its ends"]}"#);
    assert_snapshot!(put("ROOT", r#"{"policy":"path \"x\" {}"}"#).await, @r#"400 {"errors":["cannot update \"root\" policy"]}"#);
    assert_snapshot!(put("Response-Wrapping", r#"{"policy":"path \"x\" {}"}"#).await, @r#"400 {"errors":["cannot update \"response-wrapping\" policy"]}"#);
    assert_snapshot!(bench.delete("sys/policies/acl/Root").await, @r#"400 {"errors":["cannot delete \"root\" policy"]}"#);
    assert_snapshot!(bench.delete("sys/policy/default").await, @r#"400 {"errors":["cannot delete default policy"]}"#);
    assert_eq!(bench.list("sys/policies/acl").await.keys(), ["default", "root"]);
    // A hundred thousand brackets do not bring the server down.
    let deep = serde_json::json!({ "policy": format!("a = {}", "[".repeat(100_000)) }).to_string();
    assert!(put("a", &deep).await.text().contains("nested too deeply"));
}

#[tokio::test]
async fn a_token_may_do_what_its_policies_say_and_nothing_else() {
    let bench = Bench::new().await;
    bench.post("secret/data/app/db", r#"{"data":{"p":"1"}}"#).await;
    bench.post("secret/data/other", r#"{"data":{"p":"1"}}"#).await;
    bench.policy("reader", r#"path "secret/data/app/*" { capabilities = ["read"] } path "secret/metadata/app" { capabilities = ["list"] }"#).await;
    bench.policy("creator", r#"path "secret/data/app/*" { capabilities = ["create"] }"#).await;
    let may = async |token: &str, method: &str, path: &str, body: &str| {
        let status = bench.send(method, path, body, &[("X-Vault-Token", token), MERGE_PATCH]).await.status;
        assert!(matches!(status, 200 | 204 | 403), "{method} {path}: {status}");
        status != 403
    };
    let write = r#"{"data":{"p":"2"}}"#;
    let reader = bench.token_of("reader").await;
    assert!(may(&reader, "GET", "secret/data/app/db", "").await);
    assert!(may(&reader, "LIST", "secret/metadata/app", "").await);
    assert!(may(&reader, "LIST", "secret/metadata/app/", "").await);
    for (method, path) in [
        ("GET", "secret/data/other"),
        ("GET", "secret/metadata/app/db"),
        ("GET", "secret/data/app"),
        ("LIST", "secret/metadata"),
        ("POST", "secret/data/app/db"),
        ("PATCH", "secret/data/app/db"),
        ("DELETE", "secret/data/app/db"),
    ] {
        assert!(!may(&reader, method, path, write).await, "{method} {path}");
    }
    // Create is not update.
    let creator = bench.token_of("creator").await;
    assert!(!may(&creator, "POST", "secret/data/app/db", write).await);
    assert!(may(&creator, "POST", "secret/data/app/new", write).await);
    assert!(!may(&creator, "POST", "secret/data/app/new", write).await);

    // A change holds from the next request on, for tokens that are there already.
    bench.policy("reader", r#"path "secret/data/other" { capabilities = ["read"] }"#).await;
    assert!(!may(&reader, "GET", "secret/data/app/db", "").await);
    assert!(may(&reader, "GET", "secret/data/other", "").await);
    bench.delete("sys/policies/acl/reader").await;
    assert!(!may(&reader, "GET", "secret/data/other", "").await);
    // And a policy that comes to be later gives its rights to who had its name.
    bench.policy("reader", r#"path "secret/data/other" { capabilities = ["read"] }"#).await;
    assert!(may(&reader, "GET", "secret/data/other", "").await);
}

#[tokio::test]
async fn paths_are_not_talked_past_a_policy() {
    let bench = Bench::new().await;
    bench.post("secret/data/a/secret", r#"{"data":{"p":"hunter2"}}"#).await;
    bench.post("secret/data/a//secret", r#"{"data":{"p":"hunter2"}}"#).await;
    bench
        .policy(
            "limited",
            r#"
        path "secret/data/a/*" { capabilities = ["read"] }
        path "secret/data/a/secret" { capabilities = ["deny"] }
        path "secret/data/a//secret" { capabilities = ["deny"] }
        path "secret/data/+/x" { capabilities = ["read"] }
    "#,
        )
        .await;
    let token = bench.token_of("limited").await;
    for path in [
        "secret/data/a/secret",
        "secret/data/a%2fsecret",
        "secret/data/a/%73ecret",
        "secret/data/a/./secret",
        "secret/data/a/x/../secret",
        "secret/data/a/x/%2e%2e/secret",
        "secret/data/a/x%2f..%2fsecret",
        "secret/data/a//secret",
        "secret/data//a/secret",
        "secret//data/a/secret",
        "/secret/data/a/secret",
        "secret/data/a/secret/",
        "SECRET/data/a/secret",
        "secret/data/a/SECRET/../secret",
        "secret/data/b/y/../x",
        "secret/data/a/secret%00",
        "secret/data/a/secret%0a",
        "secret/data/a/secret?version=1",
        "secret/data/a/secret;x",
        "secret/data/a/secret%3fversion=1",
        "secret/data/a/secret%23",
        "secret/subkeys/a/secret",
        "secret/metadata/a/secret",
    ] {
        for method in ["GET", "LIST", "POST", "DELETE"] {
            let answer = bench.as_token(&token, method, path, "").await;
            assert!(matches!(answer.status, 400 | 403 | 404 | 405), "{method} {path}: {answer}");
            assert!(!answer.text().contains("hunter2"), "{method} {path}");
        }
    }
}

#[tokio::test]
async fn sudo_is_asked_for_where_it_should_be() {
    let bench = Bench::bare().await;
    bench
        .policy("plain", r#"path "*" { capabilities = ["create", "read", "update", "delete", "list"] }"#)
        .await;
    bench
        .policy(
            "boss",
            r#"path "*" { capabilities = ["create", "read", "update", "delete", "list", "sudo"] }"#,
        )
        .await;
    let (plain, boss) = (bench.token_of("plain").await, bench.token_of("boss").await);
    for (method, path, body) in [
        ("POST", "sys/remount", r#"{"from":"a","to":"b"}"#),
        ("LIST", "auth/token/accessors", ""),
        ("POST", "sys/auth/x", r#"{"type":"approle"}"#),
        ("DELETE", "sys/auth/x", ""),
        ("GET", "sys/auth/x/tune", ""),
        ("GET", "sys/config/cors", ""),
    ] {
        assert_eq!(bench.as_token(&plain, method, path, body).await.status, 403, "{method} {path}");
        assert_ne!(bench.as_token(&boss, method, path, body).await.status, 403, "{method} {path}");
    }
    // What only sudo may ask of the token store.
    for (body, text) in [
        (r#"{"id":"x"}"#, "root or sudo privileges required to specify token id"),
        (r#"{"no_parent":true}"#, "root or sudo privileges required to create orphan token"),
        (r#"{"period":60}"#, "root or sudo privileges required to create periodic token"),
        (r#"{"policies":["other"]}"#, "child policies must be subset of parent"),
    ] {
        let refused = bench.as_token(&plain, "POST", "auth/token/create", body).await;
        assert_eq!((refused.status, refused.json()["errors"][0].as_str()), (400, Some(text)), "{body}");
        assert_eq!(bench.as_token(&boss, "POST", "auth/token/create", body).await.status, 200, "{body}");
    }
    // Nobody but root makes root, in whatever letters.
    for policies in [r#"["root"]"#, r#"["ROOT"]"#, r#"[" Root "]"#, r#""root""#, r#"["boss","rOOt"]"#] {
        let body = format!(r#"{{"policies":{policies}}}"#);
        let answer = bench.as_token(&boss, "POST", "auth/token/create", &body).await;
        assert_eq!(answer.status, 400, "{policies}: {answer}");
        assert!(answer.text().contains("root tokens may not be created"), "{answer}");
    }
}

#[tokio::test]
async fn parameters_are_held_to_the_rule() {
    let bench = Bench::new().await;
    bench.policy("kv", r#"
        path "secret/data/a" { capabilities = ["create", "update"] allowed_parameters = { "data" = [] } }
        path "secret/data/b" { capabilities = ["create", "update"] required_parameters = ["options"] }
        path "auth/token/create" { capabilities = ["update"] denied_parameters = { "policies" = [], "no_parent" = [true] } }
        path "secret/data/c" { capabilities = ["read"] denied_parameters = { "version" = ["1"] } }
    "#).await;
    bench.post("secret/data/c", r#"{"data":{}}"#).await;
    let token = bench.token_of("kv").await;
    for (method, path, body, allowed) in [
        ("POST", "secret/data/a", r#"{"data":{}}"#, true),
        ("POST", "secret/data/a", r#"{"data":{},"options":{"cas":1}}"#, false),
        ("POST", "secret/data/b", r#"{"data":{}}"#, false),
        ("POST", "secret/data/b", r#"{"data":{},"options":{}}"#, true),
        ("POST", "auth/token/create", r#"{"ttl":"1h"}"#, true),
        ("POST", "auth/token/create", r#"{"policies":["kv"]}"#, false),
        ("POST", "auth/token/create", r#"{"POLICIES":["kv"]}"#, false),
        ("POST", "auth/token/create", r#"{"no_parent":"true"}"#, false),
        ("POST", "auth/token/create", r#"{"no_parent":1}"#, false),
        ("POST", "auth/token/create", r#"{"no_parent":false}"#, true),
        ("GET", "secret/data/c", "", true),
        ("GET", "secret/data/c?version=1", "", false),
        ("GET", "secret/data/c?version=2", "", true),
    ] {
        let answer = bench.as_token(&token, method, path, body).await;
        assert_eq!(answer.status != 403, allowed, "{method} {path} {body}: {answer}");
    }
}

#[tokio::test]
async fn capabilities_follow_the_policies() {
    let bench = Bench::bare().await;
    bench
        .policy(
            "p",
            r#"
        path "secret/data/*" { capabilities = ["update", "read", "create"] }
        path "secret/data/no" { capabilities = ["deny"] }
        path "secret/metadata/" { capabilities = ["list"] }
        path "sys/x" { capabilities = ["sudo", "read"] }
        path "sys/capabilities-self" { capabilities = ["update"] }
        path "sys/internal/ui/resultant-acl" { capabilities = ["read"] }
        path "kv/+/x*" { capabilities = ["list"] }
    "#,
        )
        .await;
    let token = bench.token_of("p").await;
    let body = r#"{"paths":["secret/data/a","/secret/data/no","secret/metadata/","sys/x","else"]}"#;
    assert_snapshot!(bench.as_token(&token, "POST", "sys/capabilities-self", body).await.data(), @r#"{"/secret/data/no":["deny"],"else":["deny"],"secret/data/a":["create","read","update"],"secret/metadata/":["list"],"sys/x":["read","sudo"]}"#);
    assert_snapshot!(bench.as_token(&token, "GET", "sys/internal/ui/resultant-acl", "").await.data(), @r#"{"exact_paths":{"secret/data/no":{"capabilities":["deny"]},"secret/metadata/":{"capabilities":["list"]},"sys/capabilities-self":{"capabilities":["update"]},"sys/internal/ui/resultant-acl":{"capabilities":["read"]},"sys/x":{"capabilities":["read","sudo"]}},"glob_paths":{"kv/+/x*":{"capabilities":["list"]},"secret/data/":{"capabilities":["create","read","update"]}},"root":false}"#);
    assert_eq!(bench.get("sys/internal/ui/resultant-acl").await.data()["root"], true);
}

#[tokio::test]
async fn the_default_policy_can_be_written_anew() {
    let bench = Bench::bare().await;
    let token = bench.token(r#"{"policies":["default"]}"#).await;
    let look = async || bench.as_token(&token, "GET", "auth/token/lookup-self", "").await.status;
    assert_eq!(look().await, 200);
    bench.policy("default", "path \"nothing\" {}").await;
    assert_eq!(look().await, 403);
    assert_eq!(bench.list("sys/policies/acl").await.keys(), ["default", "root"]);
}
