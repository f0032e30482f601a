//! Who may do what, with OpenBao's command line as the client: policies, tokens, logins, wrapping.

use serde_json::{Value, json};

use crate::{bao::Bao, harness::Server};

fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("{pointer} in {value}"))
}

#[test]
fn policies_and_tokens_are_scripted() {
    let server = Server::dev();
    let Some(mut bao) = Bao::at(&server) else { return };
    let policy = "path \"secret/data/app/*\" {\n  capabilities = [\"read\"]\n}\npath \"secret/metadata/app/*\" { capabilities = [\"list\"] }\n";
    let file = bao.file("reader.hcl", policy);
    bao.ok(&["policy", "write", "Reader", &file]);
    assert_eq!(bao.ok(&["policy", "read", "reader"]), policy);
    assert_eq!(bao.json(&["policy", "list"]), json!(["default", "reader", "root"]));
    let broken = bao.file("broken.hcl", "path \"a\" {\n  capabilities = [\"reed\"]\n}");
    assert!(bao.fails(&["policy", "write", "broken", &broken]).contains("line 2, column 18"));
    assert!(bao.fails(&["policy", "write", "root", &file]).contains("cannot update \"root\" policy"));
    assert!(bao.fails(&["policy", "delete", "default"]).contains("cannot delete default policy"));

    bao.ok(&["kv", "put", "secret/app/db", "p=1"]);
    bao.ok(&["kv", "put", "secret/other", "p=1"]);
    let token = bao.ok(&[
        "token",
        "create",
        "-field=token",
        "-policy=reader",
        "-ttl=1h",
        "-explicit-max-ttl=2h",
        "-metadata=a=b",
    ]);
    assert_eq!(bao.ok(&["token", "capabilities", &token, "secret/data/app/db"]).trim(), "read");
    assert_eq!(bao.ok(&["token", "capabilities", &token, "secret/data/other"]).trim(), "deny");
    let root = bao.as_token(&token);
    assert_eq!(bao.ok(&["kv", "get", "-field=p", "secret/app/db"]), "1");
    assert_eq!(bao.json(&["token", "lookup"])["data"]["meta"], json!({ "a": "b" }));
    for line in [
        &["kv", "get", "secret/other"][..],
        &["kv", "put", "secret/app/db", "p=2"],
        &["policy", "list"],
        &["token", "create"],
    ] {
        assert!(bao.fails(line).contains("permission denied"), "{line:?}");
    }
    assert_eq!(bao.json(&["token", "renew", "-increment=30m"])["auth"]["lease_duration"], 1800);
    bao.as_token(&root);

    // Roles, orphans, periods, use limits, batch tokens.
    bao.ok(&["write", "auth/token/roles/ci", "allowed_policies=reader", "orphan=true", "token_period=1h"]);
    let made = bao.json(&["token", "create", "-role=ci"]);
    assert_eq!((&made["auth"]["orphan"], &made["auth"]["lease_duration"]), (&json!(true), &json!(3600)));
    bao.ok(&["token", "create", "-orphan", "-policy=reader"]);
    bao.ok(&["token", "create", "-period=1h", "-policy=reader"]);
    let twice = bao.ok(&["token", "create", "-field=token", "-policy=reader", "-use-limit=2"]);
    let root = bao.as_token(&twice);
    bao.ok(&["kv", "get", "secret/app/db"]); // the preflight does not count
    bao.ok(&["token", "lookup"]);
    assert!(bao.fails(&["token", "lookup"]).contains("permission denied"));
    bao.as_token(&root);
    let batch = bao.ok(&["token", "create", "-field=token", "-type=batch", "-policy=reader", "-ttl=5m"]);
    let root = bao.as_token(&batch);
    assert_eq!(bao.ok(&["kv", "get", "-field=p", "secret/app/db"]), "1");
    assert!(bao.fails(&["token", "renew"]).contains("batch tokens cannot be renewed"));
    bao.as_token(&root);
    bao.ok(&["token", "revoke", &token]);
    assert!(bao.fails(&["token", "lookup", &token]).contains("bad token"));
    bao.ok(&["policy", "delete", "reader"]);
    assert_eq!(bao.json(&["policy", "list"]), json!(["default", "root"]));
    assert!(bao.json(&["list", "auth/token/accessors"]).as_array().unwrap().len() > 3);
}

#[test]
fn people_and_machines_log_in() {
    let server = Server::dev();
    let Some(mut bao) = Bao::at(&server) else { return };
    bao.ok(&["auth", "enable", "userpass"]);
    bao.ok(&["auth", "enable", "-path=machines", "-description=CI", "approle"]);
    assert!(bao.fails(&["auth", "enable", "userpass"]).contains("path is already in use at userpass/"));
    let listed = bao.json(&["auth", "list"]);
    assert_eq!(
        (text(&listed, "/machines~1/type"), text(&listed, "/userpass~1/type")),
        ("approle", "userpass")
    );
    bao.ok(&["auth", "tune", "-description=build machines", "-max-lease-ttl=2h", "machines/"]);
    assert_eq!(bao.json(&["auth", "list"])["machines/"]["description"], "build machines");

    bao.ok(&["write", "auth/userpass/users/anna", "password=pw", "token_policies=ops", "token_ttl=30m"]);
    let login = bao.json(&["login", "-no-store", "-method=userpass", "username=Anna", "password=pw"]);
    assert_eq!(login["auth"]["policies"], json!(["default", "ops"]));
    assert_eq!(login["auth"]["metadata"]["username"], "anna");
    assert!(
        bao.fails(&["login", "-no-store", "-method=userpass", "username=anna", "password=no"])
            .contains("invalid username or password")
    );
    let entity = text(&login, "/auth/entity_id");
    assert_eq!(
        bao.json(&["read", &format!("identity/entity/id/{entity}")])["data"]["aliases"][0]["name"],
        "anna"
    );

    bao.ok(&[
        "write",
        "auth/machines/role/ci",
        "token_policies=ci",
        "secret_id_ttl=10m",
        "secret_id_num_uses=1",
    ]);
    let role = bao.ok(&["read", "-field=role_id", "auth/machines/role/ci/role-id"]);
    let secret = bao.ok(&["write", "-f", "-field=secret_id", "auth/machines/role/ci/secret-id"]);
    let line = ["write", "auth/machines/login", &format!("role_id={role}"), &format!("secret_id={secret}")];
    let machine = bao.json(&line);
    assert_eq!(machine["auth"]["policies"], json!(["ci", "default"]));
    assert!(bao.fails(&line).contains("invalid role or secret ID"), "once only");
    let token = text(&machine, "/auth/client_token").to_owned();
    let root = bao.as_token(&token);
    bao.ok(&["token", "lookup"]);
    bao.as_token(&root);
    bao.ok(&["auth", "disable", "machines/"]);
    bao.as_token(&token);
    assert!(bao.fails(&["token", "lookup"]).contains("permission denied"), "its mount is gone");
}

#[test]
fn answers_travel_in_wrappings() {
    let server = Server::dev();
    let Some(mut bao) = Bao::at(&server) else { return };
    bao.ok(&["kv", "put", "secret/a", "p=hunter2"]);
    let wrapped = bao.ok(&["read", "-wrap-ttl=5m", "-field=wrapping_token", "secret/data/a"]);
    let looked = bao.json(&["write", "sys/wrapping/lookup", &format!("token={wrapped}")]);
    assert_eq!(looked["data"]["creation_path"], "secret/data/a");
    let opened: Value = serde_json::from_str(&bao.ok(&["unwrap", "-format=json", &wrapped])).unwrap();
    assert_eq!(opened["data"]["data"]["p"], "hunter2");
    assert!(bao.fails(&["unwrap", &wrapped]).contains("wrapping token is not valid or does not exist"));
    // With the wrapping token as one's own.
    let wrapped = bao.ok(&["token", "create", "-wrap-ttl=60", "-policy=default", "-field=wrapping_token"]);
    bao.as_token(&wrapped);
    let opened = bao.json(&["unwrap"]);
    bao.as_token(text(&opened, "/auth/client_token"));
    bao.ok(&["write", "cubbyhole/mine", "k=v"]);
    assert_eq!(bao.ok(&["read", "-field=k", "cubbyhole/mine"]), "v");
    assert_eq!(bao.json(&["list", "cubbyhole/"]), json!(["mine"]));
    bao.ok(&["token", "revoke", "-self"]);
    assert!(bao.fails(&["read", "cubbyhole/mine"]).contains("permission denied"));
}
