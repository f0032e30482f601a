//! OpenBao's command line as a client: every KV v2 command, mounts, tokens and the sync calls.

use std::{path::PathBuf, process::Command};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{Aws, Server, bao, eventually, moto};

pub(crate) struct Bao {
    binary: PathBuf,
    address: String,
    pub(crate) token: String,
    home: TempDir,
}

impl Bao {
    /// None when the part is not there.
    pub(crate) fn at(server: &Server) -> Option<Self> {
        Some(Self {
            binary: bao()?,
            address: server.url.clone(),
            token: server.token.clone(),
            home: tempfile::tempdir().unwrap(),
        })
    }

    /// Goes on with another token; the one before.
    pub(crate) fn as_token(&mut self, token: &str) -> String {
        std::mem::replace(&mut self.token, token.trim().to_owned())
    }

    /// A file that goes away with the test; its path.
    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.home.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    pub(crate) fn run(&self, line: &[&str]) -> (i32, String, String) {
        let output = Command::new(&self.binary)
            .args(line)
            .env_clear()
            .env("HOME", self.home.path())
            .env("BAO_ADDR", &self.address)
            .env("BAO_TOKEN", &self.token)
            .env("BAO_MAX_RETRIES", "0")
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
    }

    /// A command that must succeed.
    #[track_caller]
    pub(crate) fn ok(&self, line: &[&str]) -> String {
        let (code, stdout, stderr) = self.run(line);
        assert_eq!(code, 0, "bao {line:?}\n{stdout}{stderr}");
        stdout
    }

    /// The same, printed as JSON.
    #[track_caller]
    pub(crate) fn json(&self, line: &[&str]) -> Value {
        let option = |word: &&str| word.starts_with('-') || word.contains(['/', '=']);
        let at = line.iter().position(option).unwrap_or(line.len());
        let mut with_format = line.to_vec();
        with_format.insert(at, "-format=json");
        serde_json::from_str(&self.ok(&with_format)).unwrap()
    }

    /// A command that must fail; all it said.
    #[track_caller]
    pub(crate) fn fails(&self, line: &[&str]) -> String {
        let (code, stdout, stderr) = self.run(line);
        assert_ne!(code, 0, "bao {line:?} was expected to fail\n{stdout}{stderr}");
        format!("{stdout}{stderr}")
    }
}

#[test]
fn the_server_is_up_and_unsealed() {
    let server = Server::dev();
    let Some(bao) = Bao::at(&server) else { return };
    let status = bao.json(&["status"]);
    assert_eq!((&status["initialized"], &status["sealed"]), (&json!(true), &json!(false)));
    assert!(bao.ok(&["login", "-no-print", "root"]).is_empty());
    assert_eq!(bao.json(&["secrets", "list"])["secret/"]["options"]["version"], "2");
}

#[test]
fn every_kv_command_works() {
    let server = Server::dev();
    let Some(bao) = Bao::at(&server) else { return };

    let put = bao.json(&["kv", "put", "secret/app/db", "user=anna", "password=p 1"]);
    assert_eq!(put["data"]["version"], 1);
    bao.ok(&["kv", "put", "-mount=secret", "-cas=1", "app/db", "user=anna", "password=p2"]);
    assert!(
        bao.fails(&["kv", "put", "-cas=1", "secret/app/db", "a=b"])
            .contains("check-and-set parameter did not match")
    );
    assert_eq!(bao.ok(&["kv", "get", "-field=password", "secret/app/db"]), "p2");
    assert_eq!(bao.ok(&["kv", "get", "-field=password", "-version=1", "secret/app/db"]), "p 1");

    bao.ok(&["kv", "patch", "secret/app/db", "user=berta"]);
    bao.ok(&["kv", "patch", "-method=rw", "secret/app/db", "port=5432"]);
    let got = bao.json(&["kv", "get", "secret/app/db"]);
    assert_eq!(got["data"]["data"], json!({ "user": "berta", "password": "p2", "port": "5432" }));
    assert_eq!(got["data"]["metadata"]["version"], 4);

    bao.ok(&["kv", "put", "secret/app/web", "x=1"]);
    assert_eq!(bao.json(&["kv", "list", "secret/"]), json!(["app/"]));
    assert_eq!(bao.json(&["kv", "list", "secret/app"]), json!(["db", "web"]));
    assert_eq!(bao.json(&["kv", "scan", "secret/"]), json!(["app/db", "app/web"]));

    bao.ok(&["kv", "delete", "secret/app/db"]);
    assert_ne!(bao.run(&["kv", "get", "-field=user", "secret/app/db"]).1, "berta");
    let gone = bao.run(&["kv", "get", "secret/app/db"]);
    assert!(gone.1.contains("deletion_time"), "{gone:?}");
    bao.ok(&["kv", "undelete", "-versions=4", "secret/app/db"]);
    assert_eq!(bao.ok(&["kv", "get", "-field=user", "secret/app/db"]), "berta");
    bao.ok(&["kv", "delete", "-versions=1,2", "secret/app/db"]);
    bao.ok(&["kv", "destroy", "-versions=2", "secret/app/db"]);
    bao.ok(&["kv", "rollback", "-version=3", "secret/app/db"]);

    bao.ok(&["kv", "metadata", "put", "-max-versions=5", "-custom-metadata=owner=ops", "secret/app/db"]);
    bao.ok(&[
        "kv",
        "metadata",
        "patch",
        "-custom-metadata=team=db",
        "-delete-version-after=3h25m19s",
        "secret/app/db",
    ]);
    let metadata = bao.json(&["kv", "metadata", "get", "secret/app/db"])["data"].clone();
    assert_eq!(metadata["custom_metadata"], json!({ "owner": "ops", "team": "db" }));
    assert_eq!(metadata["delete_version_after"], "3h25m19s");
    assert_eq!(metadata["max_versions"], 5);
    assert_eq!(metadata["current_version"], 5);
    assert_eq!(metadata["versions"]["2"]["destroyed"], true);
    assert_ne!(metadata["versions"]["1"]["deletion_time"], "");
    assert_eq!(metadata["versions"]["1"]["destroyed"], false);
    bao.ok(&["kv", "metadata", "delete", "secret/app/db"]);
    bao.fails(&["kv", "get", "secret/app/db"]);
    assert_eq!(bao.json(&["kv", "list", "secret/app"]), json!(["web"]));
    assert!(bao.fails(&["kv", "get", "secret/never"]).contains("No value found"));
}

#[test]
fn mounts_and_tokens_work() {
    let server = Server::dev();
    let Some(mut bao) = Bao::at(&server) else { return };

    bao.ok(&["secrets", "enable", "-path=team", "-description=of the team", "kv-v2"]);
    assert!(
        bao.fails(&["secrets", "enable", "-path=team", "kv-v2"]).contains("path is already in use at team/")
    );
    bao.ok(&["kv", "put", "team/a", "k=v"]);
    bao.ok(&["secrets", "move", "team/", "crew/"]);
    assert_eq!(bao.ok(&["kv", "get", "-field=k", "crew/a"]), "v");

    // A policy that nobody has written gives nothing but care for the token itself.
    let made = bao.json(&["token", "create", "-policy=reader", "-ttl=1h"]);
    let token = made["auth"]["client_token"].as_str().unwrap().to_owned();
    let accessor = made["auth"]["accessor"].as_str().unwrap().to_owned();
    assert_eq!(made["auth"]["policies"], json!(["default", "reader"]));
    assert_eq!(bao.ok(&["token", "capabilities", &token, "crew/data/a"]).trim(), "deny");
    assert_eq!(bao.ok(&["token", "capabilities", "crew/data/a"]).trim(), "root");
    assert_eq!(bao.json(&["token", "lookup", "-accessor", &accessor])["data"]["accessor"], accessor.as_str());

    let root = std::mem::replace(&mut bao.token, token.clone());
    for line in [&["kv", "get", "crew/a"][..], &["kv", "put", "crew/a", "k=w"], &["secrets", "list"]] {
        let said = bao.fails(line);
        assert!(
            said.contains("permission denied") || said.contains("check returned 403"),
            "{line:?}: {said}"
        );
    }
    assert_eq!(bao.json(&["token", "lookup"])["data"]["accessor"], accessor.as_str());
    assert_eq!(bao.json(&["token", "renew"])["auth"]["renewable"], true);

    bao.token = root;
    bao.ok(&["token", "revoke", "-accessor", &accessor]);
    bao.token = token;
    assert!(bao.fails(&["token", "lookup"]).contains("permission denied"));
    "root".clone_into(&mut bao.token);
    bao.ok(&["secrets", "disable", "crew/"]);
    bao.fails(&["kv", "get", "crew/a"]);
}

#[tokio::test]
async fn a_secret_is_synced_with_the_command_line_alone() {
    let server = Server::dev();
    let (Some(bao), Some(moto)) = (Bao::at(&server), moto()) else { return };
    let aws = Aws::new(&moto, "us-west-1");
    let destination = "sys/sync/destinations/aws-sm/from-bao";

    bao.ok(&["kv", "put", "secret/app/db", "password=one"]);
    let endpoint = format!("endpoint={moto}");
    bao.ok(&[
        "write",
        destination,
        "access_key_id=AKIDEXAMPLE",
        "secret_access_key=hunter2",
        "region=us-west-1",
        &endpoint,
    ]);
    let read = bao.json(&["read", destination])["data"].clone();
    assert_eq!(read["connection_details"]["secret_access_key"], "*****");
    assert_eq!(read["connection_details"]["region"], "us-west-1");
    assert_eq!(bao.json(&["list", "sys/sync/destinations"]), json!(["aws-sm"]));
    assert_eq!(bao.json(&["list", "sys/sync/destinations/aws-sm"]), json!(["from-bao"]));

    let set = format!("{destination}/associations/set");
    let entry =
        bao.json(&["write", &set, "mount=secret", "secret_name=app/db"])["data"]["associated_secrets"]
            .clone();
    let (key, entry) = entry.as_object().unwrap().iter().next().unwrap();
    assert_eq!(key, &format!("{}/app/db", entry["accessor"].as_str().unwrap()));
    let name = entry["external_name"].as_str().unwrap().to_owned();
    eventually("the first value", async || aws.value(&name).await.filter(|v| v["password"] == "one")).await;
    bao.ok(&["kv", "put", "secret/app/db", "password=two"]);
    eventually("the second value", async || aws.value(&name).await.filter(|v| v["password"] == "two")).await;

    assert!(bao.fails(&["delete", destination]).contains("associat"));
    bao.ok(&["write", &format!("{destination}/associations/remove"), "mount=secret", "secret_name=app/db"]);
    eventually("its removal", async || aws.value(&name).await.is_none().then_some(())).await;
    bao.ok(&["delete", destination]);
    bao.fails(&["read", destination]);
}
