//! The binary's own manners: what it prints where, and how it ends.

use std::{fs, os::unix::fs::PermissionsExt as _, process::Output};

use crate::harness::{Boot, Server, init, keyferry};

fn run(args: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = keyferry().args(args).output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

#[test]
fn data_goes_to_stdout_and_talk_to_stderr() {
    let (code, stdout, stderr) = run(&["version"]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert!(stdout.starts_with("keyferry "), "{stdout}");

    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("store");
    let (code, token, talk) = run(&["init", "--data", data.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{talk}");
    assert!(token.starts_with("hvs.") && token.trim().len() >= 28 && token.lines().count() == 1, "{token}");
    assert!(!talk.contains(token.trim()), "the token is data");
    for row in fs::read_dir(&data).unwrap() {
        let mode = row.as_ref().unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{} is open to others", row.unwrap().path().display());
    }
}

#[test]
fn wrong_use_ends_with_2_and_says_what_would_be_right() {
    let home = tempfile::tempdir().unwrap();
    let config = home.path().join("keyferry.toml");
    fs::write(&config, "[listener]\naddress = \"nowhere\"\n").unwrap();
    let config = config.to_str().unwrap();
    for (args, words) in [
        (vec!["frobnicate"], "frobnicate"),
        (vec!["server"], "--config"),
        (vec!["server", "--dev", "--data", "x"], "--data"),
        (vec!["init"], "--data"),
        (vec!["server", "--config", "/no/such/file.toml"], "/no/such/file.toml: cannot be read"),
        (
            vec!["server", "--config", config],
            "keyferry.toml:2: listener.address: not an address to listen on",
        ),
    ] {
        let (code, stdout, stderr) = run(&args);
        assert_eq!(code, Some(2), "{args:?}\n{stderr}");
        assert_eq!(stdout, "", "{args:?}");
        assert!(stderr.contains(words), "{args:?}\n{stderr}");
    }
}

#[test]
fn what_cannot_work_ends_with_1_and_says_why() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("store");
    let data = data.to_str().unwrap();
    let (code, _, said) = run(&["server", "--data", data, "--listen", "127.0.0.1:0"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(data) && said.contains("keyferry init"), "{said}");

    let token = init(home.path().join("store").as_path());
    let (code, stdout, said) = run(&["init", "--data", data]);
    assert_eq!(code, Some(1), "a second init must not touch the first: {said}");
    assert_eq!(stdout, "");

    let server = Boot::data(home.path().join("store").as_path(), &token).start();
    let (code, _, said) = run(&["server", "--data", data, "--listen", "127.0.0.1:0"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("in use") || said.contains("another"), "one process per store: {said}");

    let (code, _, said) = run(&["server", "--dev", "--dev-listen-address", server.address()]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(server.address()), "{said}");
}

#[test]
fn a_damaged_store_is_refused_not_repaired() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("store");
    init(&data);
    let largest =
        fs::read_dir(&data).unwrap().flatten().max_by_key(|row| row.metadata().unwrap().len()).unwrap();
    let mut bytes = fs::read(largest.path()).unwrap();
    for byte in &mut bytes {
        *byte ^= 0x55;
    }
    fs::write(largest.path(), &bytes).unwrap();
    let (code, _, said) = run(&["server", "--data", data.to_str().unwrap(), "--listen", "127.0.0.1:0"]);
    assert_eq!(code, Some(1), "{said}");
    assert_eq!(fs::read(largest.path()).unwrap(), bytes, "left as it was found");
}

#[tokio::test]
async fn dev_mode_takes_its_settings_from_vaults_variables() {
    for (name, address) in [("VAULT", "VAULT_DEV_LISTEN_ADDRESS"), ("BAO", "BAO_DEV_LISTEN_ADDRESS")] {
        let server = Boot::bare(&["server", "-dev", "-dev-no-kv"], "from-the-environment")
            .env(&format!("{name}_DEV_ROOT_TOKEN_ID"), "from-the-environment")
            .env(address, "127.0.0.1:0")
            .start();
        let mounts = server.client().get("sys/mounts").await.data();
        assert!(mounts.get("secret/").is_none(), "{mounts}");
    }
    let server = Server::dev();
    assert_eq!(server.client().get("sys/mounts").await.data()["secret/"]["options"]["version"], "2");
}

#[test]
fn the_demo_shows_every_change_arriving_and_cleans_up() {
    let temporary = tempfile::tempdir().unwrap();
    let output = keyferry().arg("demo").env("TMPDIR", temporary.path()).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}{}", String::from_utf8_lossy(&output.stderr));
    for row in ["written and associated: first", "updated: second", "deleted: gone"] {
        let times = said.lines().find_map(|line| line.strip_prefix(row)).unwrap_or_else(|| panic!("{said}"));
        assert_eq!(times.matches(" ms").count(), 2, "one time for each destination: {said}");
    }
    assert!(fs::read_dir(temporary.path()).unwrap().next().is_none(), "something was left behind");
}
