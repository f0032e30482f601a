//! The official Python SDK and CLI against our pretend Keeper, and files that both tools share: so
//! that our client and our server cannot agree on a mistake.
//!
//! `KEYFERRY_TEST_KSM_PYTHON` names a Python that has `keeper-secrets-manager-core==17.3.0` and
//! `keeper-secrets-manager-cli==1.5.0`. Without it the trials are shown as ignored, or fail when
//! `KEYFERRY_TEST_REQUIRE_PARTS=1`.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::{
    collections::BTreeMap,
    io::Write as _,
    path::Path,
    process::{Command, Output, Stdio},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use common::{
    Bench,
    conformance::{Fixture, TABLE, Want, want},
};
use keeper::{
    Client, Found, Scope, Transaction, Upload,
    config::{Config, KeeperIni, OneTimeToken, Profile, StoredConfig},
    json::{Json, Style},
    server::NewFile,
    show::{self, Shown},
    sync_source::{Content, Desired, Plan, Request, Target},
    text::{self, Form},
};
use libtest_mimic::{Arguments, Failed, Trial};
use model::SecretBytes;
use serde_json::{Value, json};

fn main() {
    #[expect(clippy::disallowed_methods, reason = "a test's own switch, read once in main")]
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let python = variable("KEYFERRY_TEST_KSM_PYTHON");
    let required = variable("KEYFERRY_TEST_REQUIRE_PARTS").as_deref() == Some("1");
    let trial = |name: &str, run: fn(&Official)| {
        let python = python.clone();
        let ignored = python.is_none() && !required;
        Trial::test(name, move || {
            let python = python.ok_or(Failed::from("KEYFERRY_TEST_KSM_PYTHON is not set"))?;
            run(&Official::start(python));
            Ok(())
        })
        .with_ignored_flag(ignored)
    };
    let trials = vec![
        trial("the_sdk_answers_every_row_of_the_table_as_it_says", table),
        trial("the_sdk_reads_what_our_client_wrote", sdk_reads),
        trial("our_client_reads_what_the_sdk_wrote", sdk_writes),
        trial("the_sdk_binds_and_its_configuration_is_ours_too", sdk_binds),
        trial("the_sdk_is_throttled_and_follows_another_key", sdk_is_led),
        trial("the_cli_uses_a_keeper_ini_that_we_wrote", cli_uses_ours),
        trial("we_use_a_keeper_ini_that_the_cli_wrote", we_use_the_clis),
        trial("the_cli_shows_records_to_the_letter_as_we_do", cli_shows),
        trial("the_cli_reads_for_sync_what_we_read", cli_syncs),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

/// A bench, a runtime for it, and the official tools.
struct Official {
    python: String,
    runtime: tokio::runtime::Runtime,
    bench: Bench,
    directory: tempfile::TempDir,
}

impl Official {
    fn start(python: String) -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let bench = runtime.block_on(Bench::new());
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("ca.pem"), bench.server.ca_pem()).unwrap();
        Self { python, runtime, bench, directory }
    }

    fn server_keys(&self) -> Value {
        json!({ self.bench.server.server_key_id(): self.bench.server.server_key() })
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    /// Runs one of the scripts with nothing of our environment but what it needs.
    fn run(
        &self,
        script: &str,
        arguments: &[&str],
        variables: &BTreeMap<&str, String>,
        input: &[u8],
    ) -> Output {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/official").join(script);
        let mut child = Command::new(&self.python)
            .arg(script)
            .args(arguments)
            .env_clear()
            .env("HOME", self.directory.path())
            .env("REQUESTS_CA_BUNDLE", self.path("ca.pem"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("PYTHONUTF8", "1")
            .envs(variables)
            .current_dir(self.directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        child.wait_with_output().unwrap()
    }

    fn sdk_job(&self, mut job: Value, jobs: &Value) -> Vec<Value> {
        job["do"] = jobs.clone();
        if job.get("server_keys").is_none() {
            job["server_keys"] = self.server_keys();
        }
        let output = self.run("sdk.py", &[], &BTreeMap::new(), job.to_string().as_bytes());
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{out}\n{err}");
        serde_json::from_str(&out).unwrap()
    }

    /// The results of jobs that must succeed.
    fn sdk(&self, config: &Config, jobs: &Value) -> Vec<Value> {
        let results = self.sdk_job(json!({ "config": plain_config(config) }), jobs);
        let jobs = jobs.as_array().unwrap();
        results
            .into_iter()
            .zip(jobs)
            .map(|(result, job)| result.get("ok").unwrap_or_else(|| panic!("{job}: {result}")).clone())
            .collect()
    }

    fn cli(&self, arguments: &[&str], more: &[(&'static str, String)]) -> (String, String, bool) {
        let mut variables: BTreeMap<_, _> = more.iter().cloned().collect();
        variables.insert("TEST_SERVER_KEYS", self.server_keys().to_string());
        let output = self.run("cli.py", arguments, &variables, b"");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (text(output.stdout), text(output.stderr), output.status.success())
    }
}

/// The configuration as the SDK takes it; the server's key comes by the table.
fn plain_config(config: &Config) -> Value {
    // Opened to be handed to the SDK: it is made up.
    let mut json: Value = serde_json::from_slice(config.to_json().expose()).unwrap();
    json.as_object_mut().unwrap().retain(|key, value| key != "serverPublicKey" && !value.is_null());
    json
}

fn to_value(json: &Json) -> Value {
    serde_json::from_slice(json.write(Style::Compact).expose()).unwrap()
}

fn table(official: &Official) {
    let fixture = Fixture::put(&official.bench.server, official.bench.app);
    let jobs: Vec<_> = TABLE.iter().map(|(row, ..)| json!(["notation", fixture.notation(row)])).collect();
    let config = official.bench.config();
    let results = official.sdk_job(json!({ "config": plain_config(&config) }), &json!(jobs));
    assert_eq!(results.len(), TABLE.len());
    for ((row, cell, _), result) in TABLE.iter().zip(results) {
        match want(cell) {
            Want::Json(json) => {
                let json: Value = serde_json::from_str(&json).unwrap();
                assert_eq!(result["ok"]["json"], json, "{row}: {result}");
                assert!(result["ok"].get("json").is_some(), "{row}: {result}");
            }
            Want::Bytes(bytes) => {
                assert_eq!(result["ok"]["bytes"], STANDARD.encode(bytes), "{row}: {result}");
            }
            // It must be the notation that is refused, and not the network.
            Want::Error(_) => {
                let kind = result["error"].as_str().unwrap_or_else(|| panic!("{row}: {result}"));
                assert!(["ValueError", "TypeError"].contains(&kind), "{row}: {result}");
            }
        }
    }
}

const BODY: &str = r#"{"title":"本番 DB","type":"login","fields":[{"type":"login","value":["alice"]}],"custom":[],"notes":"n"}"#;

/// Everything is written by our client and read by the SDK.
fn sdk_reads(official: &Official) {
    let Official { runtime, bench, .. } = official;
    let root = bench.server.add_folder(None, "Root").unwrap();
    bench.server.share_folder(bench.app, &root, true);
    let broken = bench.record(BODY);
    bench.server.break_record(&broken);
    let config = bench.config();
    let client = bench.client_with(config.clone(), bench.options()).unwrap();
    let (sub, uid, file) = runtime.block_on(async {
        let folders = client.folders().await.unwrap();
        let sub = client.create_folder(&root, &folders, "下").await.unwrap();
        let folders = client.folders().await.unwrap();
        let uid = client.create(&sub, &folders, &Json::parse(BODY).unwrap()).await.unwrap();
        let record = |vault: &keeper::Vault| match vault.find(&uid) {
            Found::Record(record) => record.json().clone(),
            other => panic!("{other:?}"),
        };
        let vault = client.fetch(Scope::All).await.unwrap();
        let mut body = record(&vault);
        body.set("notes", Json::text("changed"));
        let Found::Record(old) = vault.find(&uid) else { panic!() };
        client.update(old, &body, Transaction::General).await.unwrap();
        let vault = client.fetch(Scope::All).await.unwrap();
        let Found::Record(new) = vault.find(&uid) else { panic!() };
        let upload = Upload {
            name: "a.txt".to_owned(),
            title: "A".to_owned(),
            kind: "text/plain".to_owned(),
            content: SecretBytes::from("file content"),
        };
        let file = client.upload(new, &upload).await.unwrap();
        (sub, uid, file)
    });
    bench.server.link(&uid, &uid, Some("ai_settings"), Some(r#"{"version":"v1"}"#), true).unwrap();
    let results = official.sdk(&config, &json!([["records"], ["folders"], ["download", uid, file], ["bad"]]));
    let mut body: Value = serde_json::from_str(BODY).unwrap();
    body["notes"] = json!("changed");
    body["fields"].as_array_mut().unwrap().push(json!({"type": "fileRef", "value": [file]}));
    assert_eq!(
        results[0],
        json!([{
            "uid": uid, "title": "本番 DB", "body": body, "revision": 3, "folder": root, "inner": sub,
            "files": [{"uid": file, "name": "a.txt", "title": "A", "size": 12}],
            "links": [{"version": "v1"}],
        }])
    );
    assert_eq!(
        results[1],
        json!([{"uid": root, "parent": "", "name": "Root"}, {"uid": sub, "parent": root, "name": "下"}])
    );
    assert_eq!(results[2], STANDARD.encode("file content"));
    assert_eq!(results[3], json!([broken]));
}

/// Everything is written by the SDK and read by our client.
fn sdk_writes(official: &Official) {
    let Official { runtime, bench, .. } = official;
    let root = bench.server.add_folder(None, "Root").unwrap();
    bench.server.share_folder(bench.app, &root, true);
    let config = bench.config();
    let client = bench.client_with(config.clone(), bench.options()).unwrap();
    let made = official.sdk(&config, &json!([["create_folder", root, null, "下"]]));
    let sub = made[0].as_str().unwrap();
    let made = official.sdk(
        &config,
        &json!([
            ["create", root, null, "in root", "a"],
            ["create", root, sub, "below", "b"],
            ["rename_folder", sub, "名"]
        ]),
    );
    let (first, second) = (made[0].as_str().unwrap(), made[1].as_str().unwrap());
    let made = official.sdk(
        &config,
        &json!([
            ["update", first, "changed", null],
            ["update", second, "rotated", "rotation"],
            ["settle", second, true],
            ["upload", first, "b.bin", "B", STANDARD.encode([0, 255, 1])],
            ["upload", first, "c.bin", "C", STANDARD.encode("c")],
        ]),
    );
    let (kept, removed) = (made[3].as_str().unwrap(), made[4].as_str().unwrap());
    official.sdk(&config, &json!([["remove_files", first, [removed]]]));
    runtime.block_on(async {
        let (vault, folders) = (client.fetch(Scope::All).await.unwrap(), client.folders().await.unwrap());
        assert_eq!(folders.path(sub), ["Root", "名"]);
        let Found::Record(record) = vault.find(first) else { panic!() };
        assert_eq!(record.title(), Some("changed"));
        assert_eq!(to_value(record.json())["fields"][0], json!({"type": "login", "value": ["a"]}));
        assert_eq!(record.files().len(), 1);
        assert_eq!((record.files()[0].uid(), record.files()[0].title()), (kept, Some("B")));
        // Opened to be compared: it is made up.
        assert_eq!(client.download(&record.files()[0]).await.unwrap().expose(), [0, 255, 1]);
        let Found::Record(record) = vault.find(second) else { panic!() };
        assert_eq!((record.title(), record.places()[0].folder()), (Some("below"), sub));
    });
    let deleted =
        official.sdk(&config, &json!([["delete", [first, second]], ["delete_folders", [sub], false]]));
    assert_eq!(deleted[0][1]["responseCode"], "ok");
    assert_eq!(deleted[1][0]["responseCode"], "ok");
    assert!(runtime.block_on(client.fetch(Scope::All)).unwrap().records().is_empty());
}

fn sdk_binds(official: &Official) {
    let Official { runtime, bench, .. } = official;
    let uid = bench.record(BODY);
    let (token, _) = bench.server.add_device(bench.app);
    let job = json!({
        // Opened to be handed to the SDK: it is made up.
        "token": token.expose_text().unwrap(),
        "hostname": bench.server.host().to_string(),
    });
    let results = official.sdk_job(job, &json!([["records"], ["config"]]));
    assert_eq!(results[0]["ok"][0]["uid"], uid);
    let StoredConfig::Bound(config) = StoredConfig::parse(&results[1]["ok"].to_string()).unwrap() else {
        panic!()
    };
    let config = config.with_server_key(&bench.server.server_key()).unwrap();
    let client = bench.client_with(config, bench.options()).unwrap();
    assert_eq!(runtime.block_on(client.fetch(Scope::All)).unwrap().records()[0].uid(), uid);
    // And the other way round: bound by us, used by the SDK.
    let (token, _) = bench.server.add_device(bench.app);
    let token = OneTimeToken::parse(&token, Some(&bench.server.host())).unwrap();
    let token = token.with_server_key(&bench.server.server_key()).unwrap();
    let config = runtime.block_on(Client::bind(&token, bench.options(), bench.around())).unwrap();
    assert_eq!(official.sdk(&config, &json!([["records"]]))[0][0]["uid"], uid);
    // A token that is used up is refused to the SDK as to us.
    let (token, _) = bench.server.add_device(bench.app);
    let job = json!({ "token": token.expose_text().unwrap(), "hostname": bench.server.host().to_string() });
    assert!(official.sdk_job(job.clone(), &json!([["records"]]))[0]["ok"].is_array());
    let again = official.sdk_job(job, &json!([["records"]]));
    assert_eq!(again[0]["error"], "KeeperError", "{}", again[0]);
}

/// The server's ways to lead a client are those the SDK follows.
fn sdk_is_led(official: &Official) {
    let Official { bench, .. } = official;
    bench.record(BODY);
    let config = plain_config(&bench.config());
    let mut keys = official.server_keys();
    bench.server.rotate_server_key("11").unwrap();
    keys["11"] = json!(bench.server.server_key());
    bench.server.fail("get_secret", keeper::server::Fault::Throttled(Some(0.01)), 2);
    let job = json!({ "config": config, "server_keys": keys });
    let results = official.sdk_job(job.clone(), &json!([["records"], ["config"]]));
    assert_eq!(results[0]["ok"].as_array().unwrap().len(), 1, "{}", results[0]);
    assert_eq!(results[1]["ok"]["serverPublicKeyId"], "11");
    // Throttled twice, the wrong key once, then right.
    assert_eq!(bench.server.calls("get_secret"), 4);
    bench.server.register_only("mr1.0.0");
    assert_eq!(official.sdk_job(job, &json!([["records"]]))[0]["error"], "KeeperError");
}

fn cli_uses_ours(official: &Official) {
    let Official { bench, .. } = official;
    let uid = bench.record(BODY);
    bench.server.attach(&uid, &NewFile { uid: None, name: "f.txt", title: "F", content: b"x" }).unwrap();
    let path = official.path("keeper.ini");
    let mut ini = KeeperIni::parse("# a person's remark\n").unwrap();
    ini.set_profile("prod", &bench.config()).unwrap();
    ini.set_profile("dev", &bench.config()).unwrap();
    ini.save(&path).unwrap();
    let (out, err, ok) = official.cli(&["profile", "list", "--json"], &[]);
    assert!(ok, "{err}");
    let profiles: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(profiles, json!([{"active": true, "name": "prod"}, {"active": false, "name": "dev"}]));
    let (out, err, ok) = official.cli(&["secret", "list", "--json"], &[]);
    assert!(ok, "{err}");
    let listed: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(listed, json!([{"uid": uid, "title": "本番 DB", "record_type": "login"}]));
    let (out, err, ok) =
        official.cli(&["-p", "dev", "secret", "notation", &format!("keeper://{uid}/field/login")], &[]);
    assert!(ok && out == "alice", "{out} {err}");
    // Through the environment as well.
    std::fs::remove_file(&path).unwrap();
    let config = bench.config().to_base64();
    let config = ("KSM_CONFIG", config.expose_text().unwrap().to_owned());
    let (out, err, ok) = official.cli(&["secret", "notation", "keeper://本番 DB/field/login"], &[config]);
    assert!(ok && out == "alice", "{out} {err}");
}

fn we_use_the_clis(official: &Official) {
    let Official { runtime, bench, .. } = official;
    let uid = bench.record(BODY);
    let path = official.path("keeper.ini");
    let ini_file = path.to_str().unwrap();
    for profile in ["_default", "second"] {
        let (token, _) = bench.server.add_device(bench.app);
        let token = token.expose_text().unwrap();
        let host = bench.server.host().to_string();
        let arguments = ["profile", "init", "-p", profile, "--ini-file", ini_file, "-h", &host, token];
        let (_, err, ok) = official.cli(&arguments, &[]);
        assert!(ok, "{err}");
    }
    let (mut ini, too_open) = KeeperIni::load(&path).unwrap();
    assert_eq!(too_open, None);
    assert_eq!(ini.profiles(), ["_default", "second"]);
    assert_eq!(ini.active(), Some("_default"));
    let mut options = bench.options();
    options.server_keys.push(("10".to_owned(), bench.server.server_key()));
    for profile in ["_default", "second"] {
        let Profile::Stored(StoredConfig::Bound(config)) = ini.profile(profile).unwrap() else { panic!() };
        let client = bench.client_with(config, options.clone()).unwrap();
        assert_eq!(runtime.block_on(client.fetch(Scope::All)).unwrap().records()[0].uid(), uid);
    }
    // What we change, the CLI reads again; `profile export` of both says the same.
    ini.set_active("second").unwrap();
    ini.save(&path).unwrap();
    let (out, err, ok) = official.cli(&["profile", "export", "--plain", "--file-format", "json"], &[]);
    assert!(ok, "{err}");
    let Profile::Stored(StoredConfig::Bound(config)) = ini.profile("second").unwrap() else { panic!() };
    // Opened to be compared: it is made up.
    assert_eq!(out, config.to_json().expose_text().unwrap());
    let (out, err, ok) = official.cli(&["profile", "export"], &[]);
    assert!(ok, "{err}");
    let exported = KeeperIni::parse(
        &String::from_utf8(base64::engine::general_purpose::URL_SAFE.decode(out).unwrap()).unwrap(),
    );
    let Profile::Stored(StoredConfig::Bound(same)) = exported.unwrap().profile("_default").unwrap() else {
        panic!()
    };
    assert_eq!(same.to_json().expose(), config.to_json().expose());
}

/// A vault like the table's, its fields in every shape, and a profile of ours for the CLI.
fn shown_vault(official: &Official) -> (Fixture, keeper::Client) {
    let Official { bench, .. } = official;
    let fixture = Fixture::put(&bench.server, bench.app);
    bench
        .server
        .link(&fixture.uids[1], &fixture.uids[2], None, Some(r#"{"is_admin": true}"#), false)
        .unwrap();
    bench
        .server
        .link(&fixture.uids[1], &fixture.uids[1], Some("ai_settings"), Some(r#"{"版": 1}"#), true)
        .unwrap();
    let config = bench.config();
    let mut ini = KeeperIni::default();
    ini.set_profile("_default", &config).unwrap();
    ini.save(&official.path("keeper.ini")).unwrap();
    (fixture, bench.client_with(config, bench.options()).unwrap())
}

fn cli_shows(official: &Official) {
    let (fixture, client) = shown_vault(official);
    let vault = official.runtime.block_on(client.fetch_with_links(Scope::All)).unwrap();
    let in_the_open = Shown { unmask: true, inflate: true };
    for n in [1, 2, 8, 11, 12, 14] {
        let uid = &fixture.uids[n];
        let (out, err, ok) = official.cli(&["secret", "get", "--json", uid], &[]);
        assert!(ok, "{err}");
        let Found::Record(record) = vault.find(uid) else { panic!("{n}") };
        let mut ours = show::record(record, &vault, in_the_open);
        if n == 8 {
            // Upstream shows a record that is shared twice as two records.
            ours = Json::Array(vec![ours.clone(), ours]);
        }
        assert_eq!(out, ours.write(Style::PythonIndented(4)).expose_text().unwrap(), "record {n}");
    }
    let (out, err, ok) = official.cli(&["secret", "list", "--json"], &[]);
    assert!(ok, "{err}");
    let listed: Vec<Value> = serde_json::from_str(&out).unwrap();
    let mut ours: Vec<_> = vault.records().iter().map(|r| to_value(&show::list_entry(r))).collect();
    // The record that is shared twice comes again, at the end.
    ours.push(ours[7].clone());
    assert_eq!(listed, ours);
    for (field, want) in
        [("login", "alice"), ("box", r#"{"hostName": "db.example", "port": "5432"}"#), ("環境", "本番")]
    {
        let (out, err, ok) = official.cli(&["secret", "get", "-u", &fixture.uids[1], "-f", field], &[]);
        assert!(ok && out == want, "{field}: {out} {err}");
        let Found::Record(record) = vault.find(&fixture.uids[1]) else { panic!() };
        let ours = text::of_value(show::field_value(record, field).unwrap(), Form::Python).unwrap();
        assert_eq!(ours.expose_text().unwrap(), want);
    }
}

fn cli_syncs(official: &Official) {
    let (fixture, client) = shown_vault(official);
    // What upstream makes of files and of a bad notation is not worth having (keeper.md 4.5).
    let rows = TABLE
        .iter()
        .filter(|(row, cell, ours)| ours.is_none() && !row.is_empty() && matches!(want(cell), Want::Json(_)));
    let maps: Vec<_> =
        rows.enumerate().map(|(n, (row, ..))| (format!("key{n}"), fixture.notation(row))).collect();
    // The UID of the first is also the title of another, which upstream takes for ambiguous.
    let mut records = [2, 8, 11, 12].map(|n| fixture.uids[n].clone()).to_vec();
    records.insert(0, "Conf Login".to_owned());
    let prefix = Some("p/".to_owned());
    let mut arguments = vec!["sync", "-t", "json", "-px", "p/"];
    for (key, notation) in &maps {
        arguments.extend(["-m", key, notation]);
    }
    // One title has brackets, which no name of AWS has; so all but that.
    for uid in records.iter().filter(|uid| **uid != fixture.uids[2]) {
        arguments.extend(["-r", uid]);
    }
    for raw_json in [false, true] {
        let mut arguments = arguments.clone();
        arguments.extend(raw_json.then_some("-rj"));
        let (out, err, ok) = official.cli(&arguments, &[]);
        assert!(ok, "{err}");
        let upstream: Value = serde_json::from_str(&out).unwrap();
        let request = Request {
            target: Target::Json,
            maps: maps.clone(),
            records: records.clone(),
            folders: Vec::new(),
            folders_recursive: Vec::new(),
            prefix: prefix.clone(),
            credentials: None,
            raw_json,
            form: Form::Python,
        };
        let source = official.runtime.block_on(Plan::new(request).unwrap().read(&client)).unwrap();
        let (named, unnamed): (Vec<_>, Vec<_>) =
            source.entries.iter().partition(|entry| !entry.notation.ends_with(&fixture.uids[2]));
        assert!(matches!(unnamed[0].desired, Desired::Fail(_)));
        let data = upstream["data"].as_array().unwrap();
        assert_eq!(data.len(), named.len());
        for (theirs, ours) in data.iter().zip(named) {
            let value = match &ours.desired {
                Desired::Write(Content::Text(text)) => json!(text.expose_text().unwrap()),
                Desired::Write(Content::Record(json)) => to_value(json),
                Desired::Remove(_) => Value::Null,
                other => panic!("{theirs}: {other:?}"),
            };
            assert_eq!((&theirs["mapKey"], &theirs["srcValue"]), (&json!(ours.key()), &value), "{theirs}");
            if ours.derived {
                assert_eq!(theirs["mapNotation"], ours.notation);
            }
        }
    }
}
