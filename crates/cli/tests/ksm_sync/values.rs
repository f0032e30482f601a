//! What arrives, at what cost, and what is left alone.

use serde_json::json;

use crate::bench::Bench;
use crate::{
    Sync,
    clouds::{Aws, REGION},
    everywhere, password,
};

#[test]
fn mappings_arrive_and_are_written_again_only_when_they_change() {
    everywhere(|sync| {
        let db = sync.bench.login("DB", "one");
        let web = sync.bench.login("web", "two");
        let (a, b) = (password(&db), password(&web));
        let arguments = ["-m", "db-key", &a, "-m", "web-key", &b];
        let ran = sync.run(&arguments).ended(0);
        assert_eq!(ran.json(), json!({"log": [], "status": {"processed": 2, "failed": 0}}));
        assert_eq!(ran.err, "", "quiet under cron");
        assert_eq!(sync.value("db-key").as_deref(), Some("one"));
        assert_eq!(sync.value("web-key").as_deref(), Some("two"));
        assert_eq!(sync.bench.keeper.calls("get_secret"), 1, "credentials and sources in one call");
        sync.cloud.calls();
        sync.run(&arguments).ended(0);
        let calls = sync.cloud.calls();
        assert_eq!((calls.writes, calls.reads), (0, 0), "the marks prove it");
        sync.bench.keeper.set_record(&db, &crate::bench::login("DB", "three")).unwrap();
        sync.run(&arguments).ended(0);
        // Google charges for old versions, so that the one before goes.
        let calls = if sync.cloud.word() == "gcp" { 2 } else { 1 };
        assert_eq!(sync.cloud.calls().writes, calls);
        assert_eq!(sync.value("db-key").as_deref(), Some("three"));
        // A value that returns to what it was is a change, too.
        sync.bench.keeper.set_record(&db, &crate::bench::login("DB", "one")).unwrap();
        sync.run(&arguments).ended(0);
        assert_eq!(sync.value("db-key").as_deref(), Some("one"));
    });
}

#[test]
fn another_device_of_the_application_knows_its_writes_again() {
    let mut sync = Sync::new();
    let uid = sync.bench.login("DB", "pw");
    sync.run(&["-m", "db", &password(&uid)]).ended(0);
    sync.cloud.calls();
    let other = sync.bench.keeper.add_bound_device(sync.bench.app).unwrap();
    sync.bench.variables[0].1 = other.to_base64().expose_text().unwrap().to_owned();
    sync.run(&["-m", "db", &password(&uid)]).ended(0);
    let calls = sync.cloud.calls();
    assert_eq!((calls.writes, calls.reads), (0, 0));
}

#[test]
fn records_and_folders_arrive_at_every_cloud() {
    everywhere(|sync| {
        let keeper = &sync.bench.keeper;
        let root = keeper.add_folder(None, "Team").unwrap();
        let below = keeper.add_folder(Some(&root), "Sub").unwrap();
        keeper.share_folder(sync.bench.app, &root, false);
        for (title, folder) in [("in root", &root), ("in sub", &below)] {
            let uid = keeper.add_record(&crate::bench::login(title, title)).unwrap();
            keeper.put_into(&uid, folder);
        }
        sync.bench.login("alone", "single");
        sync.run(&["-r", "alone", "-fr", "Team", "-px", "k-"]).ended(0);
        let space = if sync.cloud.word() == "azure" { "-" } else { "_" };
        for (name, value) in [
            ("k-alone".to_owned(), "single"),
            (format!("k-in{space}root"), "in root"),
            (format!("k-in{space}sub"), "in sub"),
        ] {
            assert_eq!(sync.value(&name), Some(json!({"password": value}).to_string()), "{name}");
        }
        assert!(keeper.calls("get_secret") + keeper.calls("get_folders") <= 3);
        sync.cloud.calls();
        sync.run(&["-r", "alone", "-fr", "Team", "-px", "k-"]).ended(0);
        let calls = sync.cloud.calls();
        assert_eq!((calls.writes, calls.reads), (0, 0));
        // Raw: the record as it is.
        let ran = sync.run(&["-r", "alone", "-px", "raw-", "-rj"]).ended(0);
        assert_eq!(ran.json()["status"]["failed"], 0);
        assert_eq!(sync.value("raw-alone").unwrap(), crate::bench::login("alone", "single"));
    });
}

#[test]
fn a_name_from_a_title_leaves_strangers_alone_and_a_chosen_one_takes_over() {
    everywhere(|sync| {
        let uid = sync.bench.login("api", "ours");
        sync.cloud.plant("api", "theirs");
        let ran = sync.run(&["-r", "api"]).ended(1);
        assert_eq!(ran.json()["status"], json!({"processed": 1, "failed": 1}));
        assert!(ran.err.contains("api: a secret of this name is there"), "{}", ran.err);
        assert!(ran.err.contains("--overwrite"), "{}", ran.err);
        assert_eq!(sync.value("api").as_deref(), Some("theirs"));
        sync.run(&["-r", "api", "--overwrite"]).ended(0);
        let taken = sync.value("api").unwrap();
        // What stood there is kept as a member.
        let taken: serde_json::Value = serde_json::from_str(&taken).unwrap();
        assert_eq!(taken, json!({"password": "ours", "_preserved_plaintext": "theirs"}));
        sync.cloud.plant("chosen", "theirs");
        sync.run(&["-m", "chosen", &password(&uid)]).ended(0);
        assert_eq!(sync.value("chosen").as_deref(), Some("ours"));
    });
}

#[test]
fn what_the_official_cli_has_written_is_compared_and_left_when_equal() {
    everywhere(|sync| {
        let mut arguments = Vec::new();
        for n in 0..45 {
            let uid = sync.bench.login(&format!("t{n}"), &format!("v{n}"));
            sync.cloud.plant(&format!("n{n}"), if n == 7 { "other" } else { "same" });
            sync.bench.keeper.set_record(&uid, &crate::bench::login(&format!("t{n}"), "same")).unwrap();
            arguments.extend(["-m".to_owned(), format!("n{n}"), password(&uid)]);
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        sync.cloud.calls();
        sync.run(&arguments).ended(0);
        assert_eq!(sync.value("n7").as_deref(), Some("same"));
        let calls = sync.cloud.calls();
        assert!(calls.writes <= 3, "one was written: {calls:?}");
        if sync.cloud.word() == "aws" {
            assert_eq!(calls.reads, 3, "twenty values per call");
        }
    });
}

#[test]
fn members_of_an_object_change_and_the_rest_stays() {
    let sync = Sync::new();
    let uid = sync.bench.record(
        r#"{"title":"DB","type":"login","fields":[{"type":"login","value":["alice"]},{"type":"password","value":["pw"]},
            {"type":"url","value":[]}]}"#,
    );
    let field = |name: &str| format!("keeper://{uid}/field/{name}");
    let (login, pass, url) = (field("login"), field("password"), field("url"));
    sync.cloud.plant("app", r#"{"kept":{"n":1},"gone":"x","user":"old"}"#);
    let arguments = ["-m", "app+user", &login, "-m", "app+pass", &pass, "-m", "app+gone", &url];
    sync.run(&arguments).ended(0);
    assert_eq!(sync.value("app").as_deref(), Some(r#"{"kept":{"n":1},"user":"alice","pass":"pw"}"#));
    sync.cloud.calls();
    sync.run(&arguments).ended(0);
    let calls = sync.cloud.calls();
    assert_eq!((calls.writes, calls.reads), (0, 0), "our own write proves itself");
    // A new secret, and one that holds text.
    sync.cloud.plant("text", "plain");
    sync.run(&["-m", "fresh+user", &login, "-m", "text+user", &login, "-m", "never+user", &url]).ended(0);
    assert_eq!(sync.value("fresh").as_deref(), Some(r#"{"user":"alice"}"#));
    assert_eq!(sync.value("text").as_deref(), Some(r#"{"_preserved_plaintext":"plain","user":"alice"}"#));
    assert_eq!(sync.value("never"), None);
    // The last member goes, the secret stays.
    sync.run(&["-m", "fresh+user", &url]).ended(0);
    assert_eq!(sync.value("fresh").as_deref(), Some("{}"));
}

#[test]
fn a_value_that_cannot_be_read_is_not_merged_into() {
    let sync = Sync::new();
    let uid = sync.bench.login("DB", "pw");
    sync.cloud.plant("app", r#"{"kept":"1"}"#);
    sync.cloud.fail_reads(40);
    let ran = sync.run(&["-m", "app+pass", &password(&uid)]).ended(1);
    assert!(ran.err.contains("app+pass: AWS has a problem of its own (HTTP 500)"), "{}", ran.err);
    assert_eq!(sync.value("app").as_deref(), Some(r#"{"kept":"1"}"#));
}

#[test]
fn files_arrive_as_bytes() {
    let sync = Sync::new();
    let uid = sync.bench.login("cert", "pw");
    sync.bench.attach(&uid, "cert.der", &[0, 159, 146, 150, 255]);
    let file = format!("keeper://{uid}/file/cert.der");
    let ran = sync.run(&["-m", "cert", &file, "-m", "app+cert", &file]).ended(0);
    assert_eq!(sync.cloud.value("cert").unwrap(), [0, 159, 146, 150, 255]);
    assert_eq!(sync.value("app").as_deref(), Some(r#"{"cert":"AJ+Slv8="}"#));
    assert!(ran.err.contains("app+cert: the file is written as base64 text"), "{}", ran.err);
}

#[test]
fn python_values_are_those_of_the_official_cli() {
    let sync = Sync::new();
    let uid = sync.bench.record(
        r#"{"title":"odd","type":"login","fields":[{"type":"host","value":[{"hostName":"db","port":"1"}]}],
            "custom":[{"type":"checkbox","label":"on","value":[true]}]}"#,
    );
    let (host, on) = (format!("keeper://{uid}/field/host"), format!("keeper://{uid}/custom_field/on"));
    let arguments = ["-m", "host", &host, "-m", "on", &on];
    sync.run(&arguments).ended(0);
    assert_eq!(sync.value("host").as_deref(), Some(r#"{"hostName":"db","port":"1"}"#));
    assert_eq!(sync.value("on").as_deref(), Some("true"));
    let mut python = arguments.to_vec();
    python.push("--python-values");
    sync.run(&python).ended(0);
    assert_eq!(sync.value("host").as_deref(), Some(r#"{"hostName": "db", "port": "1"}"#));
    assert_eq!(sync.value("on").as_deref(), Some("True"));
}

/// Credentials of the official CLI's users may not look, tag or list.
#[test]
fn credentials_that_may_read_and_not_look_still_work_for_chosen_names() {
    let bench = Bench::new();
    let aws = Aws::start(&bench.runtime);
    for operation in ["DescribeSecret", "ListSecrets", "BatchGetSecretValue"] {
        aws.0.deny(operation, true);
    }
    aws.0.plant(REGION, "old", "1", &[]);
    aws.0.plant(REGION, "same", "pw", &[]);
    let mut sync = Sync { credentials: String::new(), cloud: Box::new(aws), bench };
    sync.bench.variables.extend(sync.cloud.variables());
    sync.credentials = sync.bench.record(&sync.cloud.credentials());
    let uid = sync.bench.login("same", "pw");
    let map = password(&uid);
    sync.run(&["-m", "old", &map, "-m", "same", &map, "-m", "new", &map]).ended(0);
    for name in ["old", "same", "new"] {
        assert_eq!(sync.value(name).as_deref(), Some("pw"), "{name}");
    }
    let ran = sync.run(&["-r", "same"]).ended(1);
    assert!(ran.err.contains("do not allow looking"), "{}", ran.err);
    assert_eq!(sync.value("same").as_deref(), Some("pw"));
}

#[test]
fn a_thousand_mappings_arrive_in_three_calls_of_keeper_at_most() {
    let sync = Sync::new();
    let mut arguments = Vec::new();
    for n in 0..1000 {
        let title = format!("title {n}");
        sync.bench.login(&title, &format!("v{n}"));
        arguments.extend(["-m".to_owned(), format!("n{n}"), format!("keeper://{title}/field/password")]);
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    sync.run(&arguments).ended(0);
    assert_eq!(sync.value("n999").as_deref(), Some("v999"));
    assert!(sync.bench.keeper.calls("get_secret") + sync.bench.keeper.calls("get_folders") <= 3);
    sync.cloud.calls();
    sync.run(&arguments).ended(0);
    let calls = sync.cloud.calls();
    assert_eq!((calls.writes, calls.reads), (0, 0));
    assert!(calls.all <= 12, "a hundred per list: {calls:?}");
}
