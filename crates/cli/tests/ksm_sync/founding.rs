//! The founding page's examples, word for word: only what stands in angle brackets is filled in, and
//! absolute paths lie below the test's own directory.

use crate::{Sync, clouds::Calls};

/// Example 1 of the page: a line of a crontab.
const CRONTAB: &str = r#"0 2 * * * /usr/local/bin/ksm sync -t aws -c <CRED_UID> --folder-recursive "Production" >> /var/log/ksm-sync.log 2>&1"#;

/// Example 2: a script with two runs.
const SCRIPT: &str = r#"#!/usr/bin/env bash

# 設定
CRED_UID="<YOUR_AWS_CRED_UID>"

# 複数のカスタムマッピングを使用した同期
ksm sync -t aws -c "$CRED_UID" \
    --map "legacy-db-password" "keeper://<UID>/field/password" \
    --map "api_key" "keeper://<UID>/custom_field/api_key" \
    --map "db_host" "keeper://<UID>/custom_field/hostname" \
    >> /var/log/ksm-sync.log 2>&1

# マッピング数が多い場合は、複数の同期コマンドに分割します
ksm sync -t aws -c "$CRED_UID" \
    --map "db_password" "keeper://<UID>/field/password" \
    --map "db_login" "keeper://<UID>/custom_field/login" \
    >> /var/log/ksm-sync.log 2>&1
"#;

/// The synopsis, with one mapping.
const SYNOPSIS: &str =
    "ksm sync --credentials <UID> --type aws --dry-run --preserve-missing --map <KEY NOTATION>";

fn production(sync: &Sync) -> String {
    let keeper = &sync.bench.keeper;
    let root = keeper.add_folder(None, "Production").unwrap();
    let below = keeper.add_folder(Some(&root), "Databases").unwrap();
    keeper.share_folder(sync.bench.app, &root, false);
    for (title, folder) in [("web", &root), ("Main DB", &below)] {
        let uid = keeper.add_record(&crate::bench::login(title, &format!("pw of {title}"))).unwrap();
        keeper.put_into(&uid, folder);
    }
    root
}

#[test]
fn the_crontab_line_runs() {
    let sync = Sync::new();
    production(&sync);
    let log = sync.bench.home.path().join("ksm-sync.log");
    let line = CRONTAB.strip_prefix("0 2 * * * ").unwrap();
    let line = line
        .replace("/usr/local/bin/ksm", &sync.bench.ksm().display().to_string())
        .replace("<CRED_UID>", &sync.credentials)
        .replace("/var/log/ksm-sync.log", &log.display().to_string());
    sync.bench.script(&line).ended(0);
    assert_eq!(sync.value("web").as_deref(), Some(r#"{"password":"pw of web"}"#));
    assert_eq!(sync.value("Main_DB").as_deref(), Some(r#"{"password":"pw of Main DB"}"#));
    let logged: serde_json::Value = serde_json::from_str(&sync.bench.read("ksm-sync.log")).unwrap();
    assert_eq!(logged["status"], serde_json::json!({"processed": 2, "failed": 0}));
    // The next night nothing has changed: nothing is written, and no value is read.
    sync.cloud.calls();
    sync.bench.script(&line).ended(0);
    let Calls { writes, reads, .. } = sync.cloud.calls();
    assert_eq!((writes, reads), (0, 0));
}

#[test]
fn the_script_of_two_runs_runs() {
    let sync = Sync::new();
    let uid = sync.bench.record(
        r#"{"title":"DB","type":"login","fields":[{"type":"password","value":["p@ss"]}],"custom":[
            {"type":"secret","label":"api_key","value":["key"]},{"type":"text","label":"hostname","value":["db.example"]},
            {"type":"text","label":"login","value":["alice"]}]}"#,
    );
    let log = sync.bench.home.path().join("ksm-sync.log");
    let script = SCRIPT
        .replace("<YOUR_AWS_CRED_UID>", &sync.credentials)
        .replace("<UID>", &uid)
        .replace("/var/log/ksm-sync.log", &log.display().to_string());
    sync.bench.script(&script).ended(0);
    for (name, value) in [
        ("legacy-db-password", "p@ss"),
        ("api_key", "key"),
        ("db_host", "db.example"),
        ("db_password", "p@ss"),
        ("db_login", "alice"),
    ] {
        assert_eq!(sync.value(name).as_deref(), Some(value), "{name}");
    }
    let log = sync.bench.read("ksm-sync.log");
    assert_eq!(log.matches(r#""failed": 0"#).count(), 2, "{log}");
    assert!(log.contains(r#""processed": 3"#) && log.contains(r#""processed": 2"#), "{log}");
}

#[test]
fn the_synopsis_shows_and_changes_nothing() {
    let sync = Sync::new();
    let uid = sync.bench.login("DB", "pw");
    let line = SYNOPSIS
        .replace("<UID>", &sync.credentials)
        .replace("<KEY NOTATION>", &format!("db keeper://{uid}/field/password"));
    let data = sync.bench.script(&line).ended(0).json();
    assert_eq!(data["data"][0]["mapKey"], "db");
    assert_eq!(sync.cloud.calls().writes, 0);
}

/// Long and short forms, in any order, repeated, mean the same.
#[test]
fn long_and_short_forms_mean_the_same() {
    let sync = Sync::new();
    let root = production(&sync);
    let uid = sync.bench.login("DB", "pw");
    let (c, m) = (sync.credentials.as_str(), format!("keeper://{uid}/field/password"));
    let m = m.as_str();
    let long = sync.bench.run(&[
        "sync",
        "--type",
        "aws",
        "--credentials",
        c,
        "--dry-run",
        "--preserve-missing",
        "--map",
        "a",
        m,
        "--map",
        "b",
        m,
        "--record",
        "DB",
        "--folder",
        "Production",
        "--folder-recursive",
        "Production/Databases",
        "--raw-json",
        "--prefix",
        "keeper/",
    ]);
    let long = long.ended(0).json();
    assert_eq!(long["status"]["processed"], 5);
    let keys: Vec<&str> =
        long["data"].as_array().unwrap().iter().map(|d| d["mapKey"].as_str().unwrap()).collect();
    assert_eq!(keys, ["a", "b", "keeper/DB", "keeper/web", "keeper/Main_DB"]);
    for short in [
        vec![
            "sync",
            "-t",
            "aws",
            "-c",
            c,
            "-n",
            "-p",
            "-m",
            "a",
            m,
            "-m",
            "b",
            m,
            "-r",
            "DB",
            "-f",
            "Production",
            "-fr",
            "Production/Databases",
            "-rj",
            "-px",
            "keeper/",
        ],
        vec![
            "sync",
            "-px",
            "keeper/",
            "-rj",
            "-fr",
            "Production/Databases",
            "-m",
            "a",
            m,
            "-np",
            "-f",
            &root,
            "-r",
            &uid,
            "-m",
            "b",
            m,
            "-c",
            c,
            "-t",
            "aws",
        ],
        vec![
            "sync",
            "-fr=Production/Databases",
            "-f",
            "Production",
            "-pn",
            "--raw-json",
            "-r",
            "DB",
            "-m",
            "a",
            m,
            "-px=keeper/",
            "-taws",
            "-m",
            "b",
            m,
            "-c",
            c,
        ],
    ] {
        let short_json = sync.bench.run(&short).ended(0).json();
        assert_eq!(short_json["data"], long["data"], "{short:?}");
        assert_eq!(short_json["status"], long["status"], "{short:?}");
    }
    assert_eq!(sync.cloud.calls().writes, 0);
}
