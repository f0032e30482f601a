//! What a run prints (keeper.md 4.6, decisions 21).

use serde_json::{Value, json};

use crate::{Sync, everywhere, password};

#[test]
fn a_dry_run_shows_what_would_be_done_and_no_values() {
    everywhere(|sync| {
        let (old, new) = (sync.bench.login("old", "CANARY-1"), sync.bench.login("new", "CANARY-2"));
        let (old_map, new_map) = (password(&old), password(&new));
        sync.run(&["-m", "same", &old_map, "-m", "differs", &old_map]).ended(0);
        sync.cloud.calls();
        let gone = sync.bench.login("gone", "x");
        sync.bench.keeper.unshare(sync.bench.app, &gone);
        let gone_map = password(&gone);
        let arguments = [
            "-n", "-m", "same", &old_map, "-m", "differs", &new_map, "-m", "absent", &new_map, "-m", "gone",
            &gone_map,
        ];
        let ran = sync.run(&arguments).ended(0);
        assert!(!ran.out.contains("CANARY") && !ran.err.contains("CANARY"), "{ran:?}");
        let entry = |key: &str, notation: &str, src: Value, exists: bool, differs: Value| {
            json!({"mapKey": key, "mapNotation": notation, "srcValue": src, "dstValue": null,
                "dstExists": exists, "dstDiffers": differs})
        };
        let mask = || json!("****");
        let data = json!([
            entry("same", &old_map, mask(), true, json!(false)),
            entry("differs", &new_map, mask(), true, json!(true)),
            entry("absent", &new_map, mask(), false, Value::Null),
            entry("gone", &gone_map, Value::Null, false, Value::Null),
        ]);
        let status = json!({"processed": 4, "failed": 0});
        assert_eq!(ran.json(), json!({"data": data, "log": [], "status": status}));
        assert_eq!(sync.cloud.calls().writes, 0);
        let mut shown = arguments.to_vec();
        shown.push("--show-values");
        let ran = sync.run(&shown).ended(0);
        assert_eq!(ran.json()["data"][1]["srcValue"], "CANARY-2");
        assert!(!ran.out.contains("CANARY-1\"\n      \"dstValue"), "{}", ran.out);
    });
}

#[test]
fn the_document_is_laid_out_as_upstreams() {
    let sync = Sync::new();
    let uid = sync.bench.login("DB", "日本");
    let ran = sync.bench.run(&["sync", "-m", "db", &password(&uid)]).ended(0);
    let want = format!(
        "{{\n  \"data\": [\n    {{\n      \"mapKey\": \"db\",\n      \"mapNotation\": \"{}\",\n      \"srcValue\": \"\\u65e5\\u672c\",\n      \"dstValue\": null\n    }}\n  ],\n  \"log\": [],\n  \"status\": {{\n    \"processed\": 1,\n    \"failed\": 0\n  }}\n}}",
        password(&uid)
    );
    assert_eq!(ran.out, want);
}

#[test]
fn json_lists_both_sides() {
    everywhere(|sync| {
        let uid = sync.bench.login("DB", "source");
        let gone = sync.bench.login("gone", "x");
        sync.bench.keeper.unshare(sync.bench.app, &gone);
        sync.cloud.plant("db", "remote");
        sync.cloud.plant("same", "source");
        sync.cloud.plant("gone", "left");
        sync.cloud.calls();
        let (map, gone_map) = (password(&uid), password(&gone));
        let maps = ["-m", "db", &map, "-m", "same", &map, "-m", "new", &map, "-m", "gone", &gone_map];
        // Without credentials: the sources.
        let mut arguments = vec!["sync", "-t", "json"];
        arguments.extend(maps);
        let ran = sync.bench.run(&arguments).ended(0);
        assert_eq!(ran.json()["data"][0]["srcValue"], "source");
        assert_eq!(ran.json()["data"][0]["dstValue"], Value::Null);
        assert_eq!(sync.cloud.calls().all, 0);
        // With them: the destinations, too. Which cloud it is the record tells.
        arguments.extend(["-c", &sync.credentials]);
        let data = sync.bench.run(&arguments).ended(0).json()["data"].clone();
        let sides: Vec<_> = data
            .as_array()
            .unwrap()
            .iter()
            .map(|item| {
                [
                    &item["srcValue"],
                    &item["dstValue"],
                    &item["dstExists"],
                    &item["dstDiffers"],
                    &item["action"],
                ]
            })
            .map(|side| json!(side))
            .collect();
        assert_eq!(
            json!(sides),
            json!([
                ["source", "remote", true, true, "update"],
                ["source", "source", true, false, "none"],
                ["source", null, false, null, "create"],
                [null, "left", true, true, "delete"],
            ])
        );
        assert_eq!(sync.cloud.calls().writes, 0);
    });
}

#[test]
fn json_shows_members_and_records() {
    let sync = Sync::new();
    let uid = sync.bench.login("DB", "pw");
    sync.cloud.plant("app", r#"{"pass":"old","n":5}"#);
    sync.cloud.plant("DB", r#"{"password":"pw","_preserved_plaintext":"x"}"#);
    let map = password(&uid);
    let ran = sync.bench.run(&[
        "sync",
        "-c",
        &sync.credentials,
        "-m",
        "app+pass",
        &map,
        "-m",
        "app+new",
        &map,
        "-m",
        "app+n",
        &map,
        "-r",
        "DB",
    ]);
    let data = ran.ended(0).json()["data"].clone();
    let short = |n: usize| json!([data[n]["srcValue"], data[n]["dstValue"], data[n]["action"]]);
    assert_eq!(short(0), json!(["pw", "old", "update"]));
    assert_eq!(short(1), json!(["pw", null, "create"]));
    assert_eq!(short(2), json!(["pw", 5, "update"]));
    let record = json!({"password": "pw", "_preserved_plaintext": "x"});
    assert_eq!(short(3), json!([{"password": "pw"}, record, "none"]));
}

#[test]
fn values_stay_out_of_a_real_runs_output() {
    everywhere(|sync| {
        let uid = sync.bench.login("DB", "CANARY");
        let map = password(&uid);
        let typo = format!("keeper://{uid}/field/nope");
        sync.cloud.plant("theirs", "CANARY-remote");
        sync.bench.login("theirs", "CANARY");
        let ran = sync.run(&["-m", "db", &map, "-m", "bad", &typo, "-r", "theirs"]).ended(1);
        assert!(!ran.out.contains("CANARY") && !ran.err.contains("CANARY"), "{ran:?}");
        assert!(ran.json().get("data").is_none());
        // The place in the notation is pointed at.
        assert!(ran.err.contains("nope\n") && ran.err.contains("^^^^"), "{}", ran.err);
    });
}

#[test]
fn the_output_goes_where_it_is_sent() {
    let sync = Sync::new();
    let uid = sync.bench.login("DB", "pw");
    let ran = sync.bench.run(&["-o", "out.json", "sync", "-t", "json", "-m", "db", &password(&uid)]).ended(0);
    assert_eq!((ran.out.as_str(), ran.err.as_str()), ("", ""));
    let written: Value = serde_json::from_str(&sync.bench.read("out.json")).unwrap();
    assert_eq!(written["data"][0]["srcValue"], "pw");
}
