//! Profiles on disk and in the environment.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt};

use crate::bench::{Side, Tool};

const READ: &[&str] = &["secret", "notation", "DB One/field/login"];

fn mode(path: &std::path::Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn the_file_is_private_and_replaced_as_a_whole() {
    let side = Side::new(Tool::Ours);
    let path = side.path("other.ini");
    let words: Vec<String> = ["--ini-file", "other.ini", "profile", "init", "-h", "{host}", "{token}"]
        .iter()
        .map(|w| side.filled(w))
        .collect();
    side.run(&words).ok();
    assert_eq!(mode(&path), 0o600);
    let before = std::fs::metadata(&path).unwrap().ino();
    side.run(&["--ini-file", "other.ini", "profile", "active", "_default"]).ok();
    assert_eq!(mode(&path), 0o600);
    assert_ne!(std::fs::metadata(&path).unwrap().ino(), before);
    // No second file is left beside it.
    let left: Vec<_> = std::fs::read_dir(side.directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("other"))
        .collect();
    assert_eq!(left, ["other.ini"]);
}

#[test]
fn a_file_that_others_can_read_is_used_with_a_warning() {
    let side = Side::new(Tool::Ours);
    std::fs::set_permissions(side.path("keeper.ini"), PermissionsExt::from_mode(0o644)).unwrap();
    let ran = side.run(READ);
    assert_eq!(ran.ok(), "dba");
    assert!(ran.stderr.contains("0644") && ran.stderr.contains("chmod 0600"), "{}", ran.stderr);
    let ran = side.run_with(READ, &[("KSM_CONFIG_SKIP_MODE", "TRUE")], b"");
    assert_eq!((ran.ok().as_str(), ran.stderr.as_str()), ("dba", ""));
}

#[test]
fn a_corrupt_file_is_told_with_its_line_and_left_alone() {
    let side = Side::new(Tool::Ours);
    for (text, told) in [
        ("key = value\n", "line 1"),
        ("[_config]\n[a]\n[a]\n", "line 3"),
        ("[_config]\nactive_profile = a\n[a]\nclientid = x\nappkey = hunter2\nprivatekey = y\n", "profile a"),
        ("[_config]\nactive_profile = a\n[a]\nclientid\n", "bind a new one-time token"),
        ("[_config]\nactive_profile = gone\n[a]\nclientid\n", "profile gone"),
        ("[_config]\nactive_profile\n[a]\nclientid\n", "no profile is active"),
        ("", "profile init"),
    ] {
        std::fs::write(side.path("keeper.ini"), text).unwrap();
        std::fs::set_permissions(side.path("keeper.ini"), PermissionsExt::from_mode(0o600)).unwrap();
        let ran = side.run(READ);
        assert_eq!(ran.code, Some(1), "{text}");
        assert!(ran.stderr.contains(told) && !ran.stderr.contains("hunter2"), "{text}: {}", ran.stderr);
        assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
        assert_eq!(std::fs::read_to_string(side.path("keeper.ini")).unwrap(), text);
    }
}

#[test]
fn a_token_in_the_environment_is_bound_once_and_then_read() {
    let side = Side::new(Tool::Ours);
    std::fs::remove_file(side.path("keeper.ini")).unwrap();
    let (token, _) = side.server.add_device(side.app);
    let host = side.server.host().to_string();
    // Opened to be used up: it is made up.
    let variables = [("KSM_TOKEN", token.expose_text().unwrap()), ("KSM_HOSTNAME", &*host)];
    for _ in 0..2 {
        assert_eq!(side.run_with(READ, &variables, b"").ok(), "dba");
    }
    let other = side.filled("{token}");
    let ran = side.run_with(READ, &[("KSM_TOKEN", &other), ("KSM_HOSTNAME", &host)], b"");
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("KSM_TOKEN is another one"), "{}", ran.stderr);
}

#[test]
fn secrets_of_a_command_line_can_come_by_stdin() {
    let side = Side::new(Tool::Ours);
    let token = side.filled("{token}");
    let host = side.server.host().to_string();
    side.run_with(&["profile", "init", "-p", "piped", "-h", &host, "-"], &[], token.as_bytes()).ok();
    let exported = side.run(&["profile", "export", "piped"]).ok();
    side.run_with(&["profile", "import", "-f", "copy.ini", "-"], &[], exported.as_bytes()).ok();
    let ran = side.run(&["--ini-file", "copy.ini", "secret", "list", "--json"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(mode(&side.path("copy.ini")), 0o600);
    // A whole file does not take other profiles' place.
    side.keep("third", &side.config());
    let ran = side.run(&["profile", "import", &exported]);
    assert!(ran.code == Some(1) && ran.stderr.contains("third"), "{}", ran.stderr);
    for nonsense in ["%%%", "aGVsbG8=", "e30="] {
        let ran = side.run(&["profile", "import", nonsense]);
        assert_eq!(ran.code, Some(1), "{nonsense}");
    }
    assert_eq!(side.run(&["profile", "list", "--json"]).json().as_array().unwrap().len(), 3);
}

#[test]
fn the_environment_has_no_file_to_change() {
    let side = Side::new(Tool::Ours);
    let config = side.filled("{config}");
    for words in [
        &["profile", "active", "x"][..],
        &["profile", "delete", "_default"],
        &["config", "color", "--disable"],
    ] {
        let ran = side.run_with(words, &[("KSM_CONFIG", &config)], b"");
        assert!(ran.code == Some(1) && ran.stderr.contains("environment variables"), "{}", ran.stderr);
    }
    let ran = side.run_with(READ, &[("KSM_CONFIG", "hunter2")], b"");
    assert!(ran.code == Some(1) && !ran.stderr.contains("hunter2"), "{}", ran.stderr);
}

/// `KEYFERRY_TEST_KSM_PYTHON` is asked for in `ksm_beside`; here a profile goes to and fro.
#[test]
fn a_profile_is_the_same_to_the_official_cli_and_to_us() {
    #[expect(clippy::disallowed_methods, reason = "tests are told where their parts are")]
    let (python, required) = (
        std::env::var("KEYFERRY_TEST_KSM_PYTHON").ok(),
        std::env::var_os("KEYFERRY_TEST_REQUIRE_PARTS").is_some(),
    );
    let Some(python) = python else {
        assert!(!required, "KEYFERRY_TEST_KSM_PYTHON is not set: run ./test, which sets the part up");
        return;
    };
    let ours = Side::new(Tool::Ours);
    let official = ours.beside(Tool::Official(python.into()));
    let host = ours.server.host().to_string();
    // Theirs, read and changed by us, read by them.
    let token = ours.filled("{token}");
    official(&["profile", "init", "-p", "theirs", "--ini-file", "shared.ini", "-h", &host, &token]).ok();
    assert_eq!(
        ours.run(&["--ini-file", "shared.ini", "secret", "notation", "DB One/field/login"]).ok(),
        "dba"
    );
    let token = ours.filled("{token}");
    ours.run(&["--ini-file", "shared.ini", "profile", "init", "-p", "ours", "-h", &host, &token]).ok();
    ours.run(&["--ini-file", "shared.ini", "profile", "active", "ours"]).ok();
    let notation = format!("{}/field/login", ours.uids["db"]);
    assert_eq!(official(&["--ini-file", "shared.ini", "secret", "notation", &notation]).ok(), "dba");
    assert_eq!(
        official(&["--ini-file", "shared.ini", "-p", "theirs", "secret", "notation", &notation]).ok(),
        "dba"
    );
    // Exported by either, imported by the other.
    let exported = ours.run(&["--ini-file", "shared.ini", "profile", "export", "--file-format", "json"]).ok();
    official(&["profile", "import", "-f", "two.ini", "-p", "b", &exported]).ok();
    assert_eq!(ours.run(&["--ini-file", "two.ini", "secret", "notation", &notation]).ok(), "dba");
    let exported = official(&["--ini-file", "shared.ini", "profile", "export"]).ok();
    ours.run(&["profile", "import", "-f", "three.ini", &exported]).ok();
    assert_eq!(official(&["--ini-file", "three.ini", "secret", "notation", &notation]).ok(), "dba");
}

/// One call of Secrets Manager to a moto server, which asks for no signature here.
fn moto(address: &str, body: &str) -> String {
    use std::io::{Read as _, Write as _};
    let host = address.trim_start_matches("http://").trim_end_matches('/');
    let mut stream = std::net::TcpStream::connect(host).unwrap();
    write!(
        stream,
        "POST / HTTP/1.1\r\nHost: {host}\r\nX-Amz-Target: secretsmanager.CreateSecret\r\nContent-Type: application/x-amz-json-1.1\r\nAuthorization: AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/secretsmanager/aws4_request, SignedHeaders=host, Signature=x\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_profile_can_be_kept_in_aws() {
    #[expect(clippy::disallowed_methods, reason = "tests are told where their parts are")]
    let (address, required) =
        (std::env::var("KEYFERRY_TEST_MOTO").ok(), std::env::var_os("KEYFERRY_TEST_REQUIRE_PARTS").is_some());
    let Some(address) = address else {
        assert!(!required, "KEYFERRY_TEST_MOTO is not set: run ./test, which sets the part up");
        return;
    };
    let side = Side::new(Tool::Ours);
    let config = side.config();
    let name = format!("ksm-config-{}", std::process::id());
    // Opened to be put where it is read from: it is made up.
    let json = config.to_json().expose_text().unwrap().to_owned();
    let body = serde_json::json!({"Name": name, "ClientRequestToken": "0123456789012345678901234567890123456789", "SecretString": json});
    assert!(moto(&address, &body.to_string()).contains("200 OK"));
    let variables = [("KEYFERRY_AWS_SM_ENDPOINT", address.as_str())];
    let setup = |secret: &str| {
        let words = [
            "profile",
            "setup",
            "-t",
            "aws",
            "-s",
            secret,
            "-c",
            "keys",
            "--aws-access-key-id",
            "AKIA",
            "--aws-secret-access-key",
            "hunter2",
            "--region",
            "us-east-1",
            "-p",
            "inaws",
            "--ini-file",
            "aws.ini",
        ];
        side.run_with(&words, &variables, b"")
    };
    let ran = setup("nope");
    assert!(
        ran.code == Some(1) && ran.stderr.contains("nope") && !side.path("aws.ini").exists(),
        "{}",
        ran.stderr
    );
    setup(&name).ok();
    assert_eq!(mode(&side.path("aws.ini")), 0o600);
    let ran = side.run_with(
        &["--ini-file", "aws.ini", "secret", "notation", "DB One/field/login"],
        &variables,
        b"",
    );
    assert_eq!(ran.ok(), "dba");
    let ran = side.run_with(&["--ini-file", "aws.ini", "profile", "export"], &variables, b"");
    assert!(ran.code == Some(1) && ran.stderr.contains("kept in AWS"), "{}", ran.stderr);
    for words in [
        &["profile", "setup", "-t", "aws", "-c", "keys", "--region", "x"][..],
        &["profile", "setup", "-t", "aws", "--region", "x"],
        &["profile", "setup", "-t", "aws", "-c", "profile", "--region", "x"],
        &["profile", "setup"],
    ] {
        assert_eq!(side.run(words).code, Some(2), "{words:?}");
    }
}

#[test]
fn the_cache_serves_when_keeper_does_not_and_is_no_proof_of_absence() {
    let side = Side::new(Tool::Ours);
    let away = [("KSM_HOSTNAME", "localhost:1")];
    let ran = side.run_with(&["--cache", "secret", "list", "--json"], &away, b"");
    assert_eq!(ran.code, Some(1), "nothing was kept yet: {}", ran.stderr);
    side.run(&["--cache", "secret", "list", "--json"]).ok();
    assert_eq!(mode(&side.path("ksm_cache.bin")), 0o600);
    let ran = side.run_with(&["--cache", "secret", "notation", "DB One/field/login"], &away, b"");
    assert_eq!(ran.ok(), "dba");
    assert!(ran.stderr.contains("may be out of date"), "{}", ran.stderr);
    let ran =
        side.run_with(&["--cache", "secret", "notation", "AAAAAAAAAAAAAAAAAAAAAA/field/login"], &away, b"");
    assert!(ran.code == Some(1) && ran.stderr.contains("does not cover"), "{}", ran.stderr);
    // Off unless asked for, and the configuration can ask.
    assert_eq!(side.run_with(READ, &away, b"").code, Some(1));
    side.run(&["config", "cache", "--enable"]).ok();
    assert_eq!(side.run_with(READ, &away, b"").ok(), "dba");
    let ran = side.run_with(&["--no-cache", "secret", "notation", "DB One/field/login"], &away, b"");
    assert_eq!(ran.code, Some(1));
}
