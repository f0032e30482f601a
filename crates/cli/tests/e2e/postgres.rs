//! The server on PostgreSQL: made, served, shared by two, and refused where it cannot work.

use std::path::Path;

use serde_json::json;

use crate::{
    bao::Bao,
    harness::{Boot, Database, Server, eventually, init_by, keyferry, postgres},
    sync::delivered,
};

/// A command that must be refused; all it said.
#[track_caller]
fn refused(verb: &str, config: &Path, code: i32) -> String {
    let output = keyferry().args([verb, "--config"]).arg(config).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{verb}: {said}");
    assert!(output.stdout.is_empty(), "{verb}");
    assert!(!said.contains("test-password") && !said.contains("hunter2"), "{said}");
    said
}

/// Everything a schema holds, to see whether it was touched.
fn contents(database: &Database) -> String {
    database.sql("SELECT encode(key, 'hex'), encode(value, 'hex'), revision FROM {s}.entries ORDER BY key")
}

#[tokio::test]
async fn a_secret_is_kept_delivered_and_there_after_a_restart() {
    let home = tempfile::tempdir().unwrap();
    let Some(database) = postgres() else { return };
    let config = database.config(home.path(), "");
    let token = init_by(&config);
    let server = Boot::config(&config, &token).start();
    let Some(bao) = Bao::at(&server) else { return };
    assert_eq!(bao.json(&["status"])["storage_type"], "postgresql");
    bao.ok(&["secrets", "enable", "-path=secret", "kv-v2"]);
    bao.ok(&["kv", "put", "secret/app/db", "password=one"]);
    let file = home.path().join("delivered.json");
    bao.ok(&["write", "sys/sync/destinations/file/f", &format!("path={}", file.display())]);
    let association = ["mount=secret", "secret_name=app/db"];
    bao.ok(&[&["write", "sys/sync/destinations/file/f/associations/set"][..], &association].concat());
    bao.ok(&["kv", "put", "secret/app/db", "password=two"]);
    let arrives = async |value: &'static str| {
        eventually(value, async || {
            delivered(&file).values().any(|found| found.contains(value)).then_some(())
        })
        .await;
    };
    arrives("two").await;
    drop(server);
    // Nothing readable is in the database: no value, no name.
    let held = contents(&database);
    for word in ["password", "two", "app/db", "secret"] {
        assert!(!held.contains(&hex::encode(word)), "{word}");
    }

    let server = Boot::config(&config, &token).start();
    let bao = Bao::at(&server).unwrap();
    let read = bao.json(&["kv", "get", "secret/app/db"]);
    assert_eq!(
        (&read["data"]["data"]["password"], &read["data"]["metadata"]["version"]),
        (&json!("two"), &json!(2))
    );
    bao.ok(&["kv", "put", "secret/app/db", "password=three"]);
    arrives("three").await;
    bao.ok(&["kv", "metadata", "delete", "secret/app/db"]);
    eventually("its removal", async || delivered(&file).is_empty().then_some(())).await;
    assert!(!server.log().contains("test-password"), "{}", server.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_through_one_server_is_read_through_another() {
    let home = tempfile::tempdir().unwrap();
    let Some(database) = postgres() else { return };
    let config = database.config(home.path(), "");
    let token = init_by(&config);
    let servers = [Boot::config(&config, &token).start(), Boot::config(&config, &token).start()];
    let clients = [servers[0].client(), servers[1].client()];
    clients[0].post("sys/mounts/secret", json!({ "type": "kv-v2" })).await.expect(204);
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..8_usize {
        let clients = clients.clone();
        tasks.spawn(async move {
            let path = format!("secret/data/w{writer}");
            for number in 1..=25_usize {
                let (one, other) = (&clients[(writer + number) % 2], &clients[(writer + number + 1) % 2]);
                let body = json!({ "data": { "n": number }, "options": { "cas": number - 1 } });
                one.post(&path, body).await.expect(200);
                for client in [other, one] {
                    assert_eq!(client.get(&path).await.data()["data"]["n"], number, "{path}");
                }
            }
            clients[writer % 2].delete(&format!("secret/metadata/w{writer}")).await.expect(204);
            clients[(writer + 1) % 2].get(&path).await.expect(404);
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    // A token that one revokes is no token at the other.
    let made = clients[0].post("auth/token/create", json!({ "policies": ["root"] })).await.json();
    let made = made["auth"]["client_token"].as_str().unwrap().to_owned();
    let client = clients[1].with_token(Some(&made));
    client.get("sys/mounts").await.expect(200);
    clients[0].post("auth/token/revoke", json!({ "token": made })).await.expect(204);
    client.get("sys/mounts").await.expect(403);
}

#[tokio::test]
async fn people_and_keys_of_the_environment_open_a_store_in_a_database_too() {
    for (seal, key) in [("shamir", None), ("static", Some("5a".repeat(32)))] {
        let home = tempfile::tempdir().unwrap();
        let Some(database) = postgres() else { return };
        let config = database.config(home.path(), "");
        let boot = || {
            let boot = Boot::config(&config, "").env("KEYFERRY_SEAL_TYPE", seal);
            match &key {
                Some(key) => boot.env("KEYFERRY_SEAL_KEY", key).start(),
                None => boot.start(),
            }
        };
        let server = boot();
        let body = match key {
            None => json!({ "secret_shares": 1, "secret_threshold": 1 }),
            Some(_) => json!({ "recovery_shares": 1, "recovery_threshold": 1 }),
        };
        let made = server.client().with_token(None).post("sys/init", body.clone()).await.expect(200).json();
        let token = made["root_token"].as_str().unwrap().to_owned();
        drop(server);
        // Another server of the same store.
        let server = boot();
        let client = server.client().with_token(Some(&token));
        if key.is_none() {
            let share = &made["keys"][0];
            client.get("sys/mounts").await.expect(503);
            assert_eq!(client.post("sys/unseal", json!({ "key": share })).await.json()["sealed"], false);
        }
        client.get("sys/mounts").await.expect(200);
        client.post("sys/init", body).await.expect(400);
        assert!(!home.path().join("keys").exists(), "no key file is made where none is needed");
    }
}

#[test]
fn a_database_that_cannot_be_used_is_told_and_left_alone() {
    let home = tempfile::tempdir().unwrap();
    let Some(mut database) = postgres() else { return };
    let config = database.config(home.path(), "");
    let place = database.url.rsplit_once('@').unwrap().1.to_owned();
    let said = refused("server", &config, 1);
    assert!(said.contains("holds no store yet") && said.contains("keyferry init --config"), "{said}");
    init_by(&config);
    let before = contents(&database);
    let said = refused("init", &config, 1);
    assert!(said.contains("holds a store already") && said.contains(&database.schema), "{said}");

    let url = database.url.clone();
    for (bad, words) in [
        (url.replace("test-password", "hunter2"), "the user or the password was refused (SQLSTATE 28P01)"),
        (url.replace(&place, "127.0.0.1:1/postgres"), "127.0.0.1:1/postgres: connection refused"),
        (
            url.replace("/postgres?", "/nowhere?").replace(&place, &place.replace("/postgres", "/nowhere")),
            "there is no such database",
        ),
        (format!("{url}?sslmode=require"), "TLS"),
    ] {
        database.url = bad;
        for verb in ["server", "init"] {
            let said = refused(verb, &database.config(home.path(), ""), 1);
            assert!(said.contains(words) && said.contains("the database"), "{said}");
        }
    }
    database.url = url;
    // The password may come from a file or a variable, and wins over the URL's.
    let file = home.path().join("password");
    std::fs::write(&file, "hunter2\n").unwrap();
    let said = refused("server", &database.config(home.path(), &format!("password_file = {file:?}")), 1);
    assert!(said.contains("28P01"), "{said}");
    assert_eq!(contents(&database), before, "data untouched");
}

#[test]
fn a_wrong_key_or_schema_is_told_and_left_alone() {
    let home = tempfile::tempdir().unwrap();
    let (Some(database), Some(other)) = (postgres(), postgres()) else { return };
    let config = database.config(&home.path().join("one"), "");
    init_by(&config);
    init_by(&other.config(&home.path().join("two"), ""));
    let before = contents(&database);
    let key = home.path().join("one/keys/root.key");
    let own = std::fs::read(&key).unwrap();
    std::fs::copy(home.path().join("two/keys/root.key"), &key).unwrap();
    let said = refused("server", &config, 1);
    assert!(said.contains("does not belong to the store in") && said.contains("root.key"), "{said}");
    std::fs::remove_file(&key).unwrap();
    let said = refused("server", &config, 1);
    assert!(said.contains("root.key does not exist"), "{said}");
    std::fs::write(&key, own).unwrap();
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();

    database.sql("UPDATE {s}.meta SET format = 99");
    let said = refused("server", &config, 1);
    assert!(said.contains("is of store format 99") && said.contains("reads formats up to 1"), "{said}");
    database.sql("UPDATE {s}.meta SET format = 1");
    assert_eq!(contents(&database), before, "data untouched");

    let foreign = postgres().unwrap();
    foreign.sql("CREATE SCHEMA {s}; CREATE TABLE {s}.invoices (id int); CREATE TABLE {s}.meta (id int)");
    for verb in ["server", "init"] {
        let said = refused(verb, &foreign.config(home.path(), ""), 1);
        assert!(
            said.contains("not keyferry's (invoices, meta)") && said.contains("storage.schema"),
            "{said}"
        );
    }
    assert_eq!(foreign.sql("SELECT count(*) FROM information_schema.tables WHERE table_schema = '{s}'"), "2");
}

#[tokio::test]
async fn a_server_steps_aside_when_a_newer_one_has_changed_the_tables() {
    let home = tempfile::tempdir().unwrap();
    let Some(database) = postgres() else { return };
    let config = database.config(home.path(), "");
    let token = init_by(&config);
    let server: Server = Boot::config(&config, &token).start();
    let client = server.client();
    client.post("sys/mounts/secret", json!({ "type": "kv-v2" })).await.expect(204);
    database.sql("UPDATE {s}.meta SET format = 99");
    let before = contents(&database);
    client.post("secret/data/a", json!({ "data": { "k": "v" } })).await.expect(500);
    client.get("sys/mounts").await.expect(500);
    assert!(server.log().contains("of format 99"), "{}", server.log());
    assert_eq!(contents(&database), before, "data untouched");
}

#[test]
fn settings_that_cannot_work_are_told_before_anything_is_tried() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("keyferry.toml");
    for (text, words) in [
        ("type = \"postgresql\"", "storage.connection_url is not set"),
        ("type = \"oracle\"", "storage.type: want `embedded` or `postgresql`"),
        (
            "type = \"postgresql\"\nconnection_url = \"hunter2\"",
            "storage.connection_url: not a connection URL",
        ),
        (
            "type = \"postgresql\"\nconnection_url = \"postgres://u:hunter2@h/d?sslmode=prefer\"",
            "sslmode must be",
        ),
        (
            "type = \"postgresql\"\nconnection_url = \"postgres://u@h/d\"\nschema = \"hunter2;\"",
            "storage.schema: ",
        ),
        (
            "type = \"postgresql\"\nconnection_url = \"postgres://u@h/d\"\npassword_file = \"/nowhere/at/all\"",
            "storage.password_file",
        ),
        ("type = \"postgresql\"\nconnection_url = \"postgres://u@localhost/d\"", "storage.path is not set"),
        (
            "path = \"d\"\nconnection_url = \"postgres://u:hunter2@h/d\"",
            "storage.connection_url has a meaning with",
        ),
        ("path = \"d\"\npassword = \"hunter2\"", "storage.password has a meaning with"),
    ] {
        std::fs::write(&file, format!("[storage]\n{text}\n")).unwrap();
        for verb in ["server", "init"] {
            let said = refused(verb, &file, 2);
            assert!(said.contains(words), "{text}: {said}");
        }
    }
}
