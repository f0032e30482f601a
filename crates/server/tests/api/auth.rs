//! `sys/auth`, and what happens to tokens whose auth mount goes.

use insta::assert_snapshot;

use crate::bench::Bench;

#[tokio::test]
async fn auth_mounts_are_enabled_shown_tuned_and_disabled() {
    let bench = Bench::bare().await;
    let body = r#"{"type":"userpass","description":"people","config":{"default_lease_ttl":"1h","max_lease_ttl":"2h"},"plugin_name":null}"#;
    assert_eq!(bench.post("sys/auth/people", body).await.status, 204);
    let listed = bench.get("sys/auth").await.json();
    assert_eq!(listed["people/"], listed["data"]["people/"]);
    assert_eq!(listed["token/"]["type"], "token");
    let shown = bench.get("sys/auth/people").await.data();
    assert_eq!(
        (&shown["type"], &shown["description"], &shown["config"]["token_type"]),
        (&"userpass".into(), &"people".into(), &"default-service".into())
    );
    assert!(shown["accessor"].as_str().unwrap().starts_with("auth_userpass_"));
    for path in ["sys/auth/people/tune", "sys/mounts/auth/people/tune"] {
        let tuned = bench.get(path).await.data();
        assert_eq!(
            (&tuned["default_lease_ttl"], &tuned["max_lease_ttl"]),
            (&3600.into(), &7200.into()),
            "{path}"
        );
    }
    let body = r#"{"description":"staff","max_lease_ttl":"3h","token_type":"default-batch"}"#;
    assert_eq!(bench.post("sys/mounts/auth/people/tune", body).await.status, 204);
    let tuned = bench.get("sys/auth/people/tune").await.data();
    assert_eq!(
        (&tuned["description"], &tuned["max_lease_ttl"], &tuned["token_type"]),
        (&"staff".into(), &10800.into(), &"default-batch".into())
    );
    for (path, body, text) in [
        ("people", r#"{"type":"userpass"}"#, "path is already in use at people/"),
        ("people/more", r#"{"type":"userpass"}"#, "path is already in use at people/"),
        ("token", r#"{"type":"userpass"}"#, "path is already in use at token/"),
        (
            "x",
            r#"{"type":"ldap"}"#,
            "plugin not found in the catalog: available auth methods are approle, jwt, userpass",
        ),
        ("x", r#"{"type":"userpass","local":true}"#, "local mounts are not available in keyferry"),
        ("x", "{}", "backend type must be specified as a string"),
        ("x/../y", r#"{"type":"userpass"}"#, "relative paths not supported"),
        ("people/tune", r#"{"token_type":"odd"}"#, "invalid value for 'token_type'"),
        ("none/tune", r#"{"description":"x"}"#, "tune of path \"auth/none/\" failed: no mount entry found"),
        ("token/tune", r#"{"description":"x"}"#, "cannot tune \"auth/token/\""),
    ] {
        let answer = bench.post(&format!("sys/auth/{path}"), body).await;
        assert_eq!((answer.status, answer.json()["errors"][0].as_str().unwrap()), (400, text), "{path}");
    }
    assert_snapshot!(bench.get("sys/auth/none").await, @r#"400 {"errors":["No auth engine at none/"]}"#);
    assert_snapshot!(bench.delete("sys/auth/token").await, @r#"400 {"errors":["token credential backend cannot be disabled"]}"#);
    assert_eq!(bench.delete("sys/auth/people").await.status, 204);
    assert_eq!(bench.delete("sys/auth/people").await.status, 204);
    assert_eq!(bench.get("sys/auth").await.data().as_object().unwrap().len(), 1);
}

#[tokio::test]
async fn tokens_die_with_their_auth_mount_and_a_new_mount_knows_nobody() {
    let bench = Bench::bare().await;
    bench.post("sys/auth/u", r#"{"type":"userpass"}"#).await;
    bench.post("auth/u/users/anna", r#"{"password":"pw"}"#).await;
    let token = bench.login("auth/u/login/anna", r#"{"password":"pw"}"#).await;
    let child = bench.as_token(&token, "POST", "auth/token/create", "{}").await;
    assert_eq!(child.status, 403, "default does not let it make others");
    let alive = async || bench.as_token(&token, "GET", "auth/token/lookup-self", "").await.status == 200;
    assert!(alive().await);
    let entity =
        bench.as_token(&token, "GET", "auth/token/lookup-self", "").await.data()["entity_id"].clone();
    let entity = format!("identity/entity/id/{}", entity.as_str().unwrap());
    assert_eq!(bench.get(&entity).await.data()["aliases"][0]["mount_path"], "auth/u/");

    bench.delete("sys/auth/u").await;
    assert!(!alive().await, "at once");
    assert_eq!(bench.as_token("", "POST", "auth/u/login/anna", r#"{"password":"pw"}"#).await.status, 403);
    bench.post("sys/auth/u", r#"{"type":"userpass"}"#).await;
    assert_eq!(bench.as_token("", "POST", "auth/u/login/anna", r#"{"password":"pw"}"#).await.status, 400);
    bench.app.do_chores().await.unwrap();
    assert_eq!(bench.get(&entity).await.data()["aliases"], serde_json::json!([]));
    assert_eq!(bench.store.scan_all(&bench.store.keys().tokens()).await.unwrap().len(), 1);
    assert_eq!(bench.list("auth/u/users").await.status, 404);
}

#[tokio::test]
async fn entities_carry_policies_and_fill_templates() {
    let bench = Bench::new().await;
    bench.post("sys/auth/u", r#"{"type":"userpass"}"#).await;
    for (name, policies) in [("anna", r#"["own"]"#), ("bert", r#"["own"]"#)] {
        bench
            .post(
                &format!("auth/u/users/{name}"),
                &format!(r#"{{"password":"pw","token_policies":{policies}}}"#),
            )
            .await;
    }
    let accessor = bench.get("sys/auth/u").await.data()["accessor"].as_str().unwrap().to_owned();
    bench.policy("own", &format!(r#"
        path "secret/data/by-id/{{{{identity.entity.id}}}}/*" {{ capabilities = ["create", "update", "read"] }}
        path "secret/data/by-name/{{{{identity.entity.aliases.{accessor}.name}}}}" {{ capabilities = ["create", "read"] }}
        path "secret/data/team/{{{{identity.entity.metadata.team}}}}" {{ capabilities = ["create"] }}
        path "secret/data/group/{{{{identity.groups.ids.x.name}}}}" {{ capabilities = ["create"] }}
    "#)).await;
    let anna = bench.login("auth/u/login/anna", r#"{"password":"pw"}"#).await;
    let bert = bench.login("auth/u/login/Bert", r#"{"password":"pw"}"#).await;
    let me = bench.as_token(&anna, "GET", "auth/token/lookup-self", "").await.data();
    let id = me["entity_id"].as_str().unwrap().to_owned();
    let write = async |token: &str, path: &str| {
        bench.as_token(token, "POST", &format!("secret/data/{path}"), r#"{"data":{}}"#).await.status
    };
    assert_eq!(write(&anna, &format!("by-id/{id}/x")).await, 200);
    assert_eq!(write(&bert, &format!("by-id/{id}/x")).await, 403);
    assert_eq!(write(&anna, "by-name/anna").await, 200);
    assert_eq!(write(&anna, "by-name/bert").await, 403);
    assert_eq!(write(&bert, "by-name/bert").await, 200);
    assert_eq!(write(&anna, "team/red").await, 403, "she has no team yet");
    assert_eq!(write(&anna, "group/").await, 400);

    // What an entity gets counts at once, for tokens there are.
    bench.policy("more", r#"path "secret/data/more" { capabilities = ["create"] }"#).await;
    assert_eq!(write(&anna, "more").await, 403);
    let body = r#"{"metadata":{"team":"red"},"policies":["More"]}"#;
    assert_eq!(bench.post(&format!("identity/entity/id/{id}"), body).await.status, 204);
    assert_eq!(write(&anna, "team/red").await, 200);
    assert_eq!(write(&anna, "more").await, 200);
    let me = bench.as_token(&anna, "GET", "auth/token/lookup-self", "").await.data();
    assert_eq!(
        (&me["policies"], &me["identity_policies"]),
        (&serde_json::json!(["default", "own"]), &serde_json::json!(["more"]))
    );
    for policies in [r#"["root"]"#, r#"["ROOT "]"#] {
        let refused =
            bench.post(&format!("identity/entity/id/{id}"), &format!(r#"{{"policies":{policies}}}"#)).await;
        assert_eq!(refused.status, 400, "{policies}");
    }
    // Metadata that would be a wildcard gives nothing.
    bench.post(&format!("identity/entity/id/{id}"), r#"{"metadata":{"team":"*"}}"#).await;
    assert_eq!(write(&anna, "team/blue").await, 403);
    // A disabled entity's tokens are refused, and nobody logs in as it.
    bench.post(&format!("identity/entity/id/{id}"), r#"{"disabled":true}"#).await;
    assert_eq!(bench.as_token(&anna, "GET", "auth/token/lookup-self", "").await.status, 403);
    assert_eq!(bench.as_token("", "POST", "auth/u/login/anna", r#"{"password":"pw"}"#).await.status, 403);
    bench.post(&format!("identity/entity/id/{id}"), r#"{"disabled":false}"#).await;
    assert_eq!(bench.as_token(&anna, "GET", "auth/token/lookup-self", "").await.status, 200);
    bench.delete(&format!("identity/entity/id/{id}")).await;
    assert_eq!(bench.as_token(&anna, "GET", "auth/token/lookup-self", "").await.status, 403);
}

#[tokio::test]
async fn entities_and_aliases_are_kept() {
    let bench = Bench::bare().await;
    bench.post("sys/auth/u", r#"{"type":"userpass"}"#).await;
    let accessor = bench.get("sys/auth/u").await.data()["accessor"].as_str().unwrap().to_owned();
    let made =
        bench.post("identity/entity", r#"{"name":"anna","metadata":{"a":"b"},"policies":"x"}"#).await.data();
    let id = made["id"].as_str().unwrap().to_owned();
    assert_eq!(made["name"], "anna");
    assert_eq!(bench.post("identity/entity", r#"{"name":"anna","disabled":false}"#).await.status, 204);
    let shown = bench.get("identity/entity/name/anna").await.data();
    assert_eq!(
        (&shown["id"], &shown["metadata"]["a"], &shown["policies"][0]),
        (&made["id"], &"b".into(), &"x".into())
    );
    let body = format!(r#"{{"name":"anna","canonical_id":"{id}","mount_accessor":"{accessor}"}}"#);
    let alias = bench.post("identity/entity-alias", &body).await.data();
    assert_eq!(alias["canonical_id"], made["id"]);
    let alias_id = alias["id"].as_str().unwrap().to_owned();
    assert_eq!(bench.get(&format!("identity/entity-alias/id/{alias_id}")).await.data()["name"], "anna");
    // Whoever logs in under that name is she.
    bench.post("auth/u/users/anna", r#"{"password":"pw"}"#).await;
    let token = bench.login("auth/u/login/ANNA", r#"{"password":"pw"}"#).await;
    assert_eq!(
        bench.as_token(&token, "GET", "auth/token/lookup-self", "").await.data()["entity_id"],
        made["id"]
    );
    let looked = bench
        .post(
            "identity/lookup/entity",
            &format!(r#"{{"alias_name":"anna","alias_mount_accessor":"{accessor}"}}"#),
        )
        .await;
    assert_eq!(looked.data()["id"], made["id"]);
    assert_eq!(bench.post("identity/lookup/entity", r#"{"name":"nobody"}"#).await.status, 204);
    let other = bench.post("identity/entity", "{}").await.data();
    for (path, body, text) in [
        ("identity/entity/id/none".to_owned(), "{}".to_owned(), "entity not found from id"),
        (
            format!("identity/entity/id/{}", other["id"].as_str().unwrap()),
            r#"{"name":"anna"}"#.to_owned(),
            "entity name is already in use",
        ),
        (
            "identity/entity-alias".to_owned(),
            format!(r#"{{"name":"anna","canonical_id":{},"mount_accessor":"{accessor}"}}"#, other["id"]),
            "the alias belongs to another entity; entities cannot be merged in keyferry",
        ),
        (
            "identity/entity-alias".to_owned(),
            r#"{"name":"x","mount_accessor":"none"}"#.to_owned(),
            "invalid mount accessor: no auth mount has it",
        ),
        (
            "identity/entity-alias".to_owned(),
            format!(r#"{{"mount_accessor":"{accessor}"}}"#),
            "missing alias name",
        ),
        (
            "identity/lookup/entity".to_owned(),
            "{}".to_owned(),
            "query by exactly one of: id, name, alias_id, or alias_name with alias_mount_accessor",
        ),
    ] {
        let answer = bench.post(&path, &body).await;
        assert_eq!(
            (answer.status, answer.json()["errors"][0].as_str().unwrap()),
            (400, text),
            "{path} {body}"
        );
    }
    assert_eq!(bench.list("identity/entity/name").await.keys().len(), 2);
    assert_eq!(bench.list("identity/entity-alias/id").await.keys(), std::slice::from_ref(&alias_id));
    assert_eq!(bench.delete(&format!("identity/entity-alias/id/{alias_id}")).await.status, 204);
    assert_eq!(bench.list("identity/entity-alias/id").await.status, 404);
    assert_eq!(bench.delete("identity/entity/name/anna").await.status, 204);
    assert_eq!(bench.get("identity/entity/name/anna").await.status, 404);
}
