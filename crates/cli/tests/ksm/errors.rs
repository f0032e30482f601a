//! What goes wrong is told in one clear line that names the remedy, with the exit code that was decided, and
//! without a value.

use keeper::server::Fault;
use model::Timestamp;

use crate::bench::{Side, Tool};

/// The one line of an error, after checking its exit code and that nothing was printed.
fn error(side: &Side, words: &[&str], code: i32) -> String {
    let ran = side.run(words);
    assert_eq!(ran.code, Some(code), "{words:?}\n{}\n{}", ran.text(), ran.stderr);
    assert_eq!(ran.text(), "", "{words:?}");
    assert!(!ran.stderr.contains("hunter2"), "{}", ran.stderr);
    let lines: Vec<_> = ran.stderr.lines().filter(|line| !line.is_empty()).collect();
    assert_eq!(lines.len(), 1, "{}", ran.stderr);
    lines[0].to_owned()
}

const READ: &[&str] = &["secret", "notation", "DB One/field/login"];

#[test]
fn a_device_that_was_removed_or_has_expired_is_told_what_to_do() {
    for spoil in [
        |side: &Side, device: &keeper::server::Device| side.server.revoke(device),
        |side: &Side, device: &keeper::server::Device| side.server.expire(device, Timestamp::from_secs(1)),
    ] {
        let side = Side::new(Tool::Ours);
        let config = side.config();
        side.keep("spoilt", &config);
        spoil(&side, &keeper::server::Device(config.client_id().to_owned()));
        let told = error(&side, &["-p", "spoilt", "secret", "list"], 1);
        assert!(told.contains("denies access") && told.contains("add a device"), "{told}");
        assert!(side.run(READ).ok() == "dba");
    }
}

#[test]
fn a_used_token_and_a_wrong_one_are_refused_and_nothing_is_kept() {
    let side = Side::new(Tool::Ours);
    let (token, _) = side.server.add_device(side.app);
    // Opened to be used up: it is made up.
    let token = token.expose_text().unwrap();
    let host = side.server.host().to_string();
    let init = |name| ["profile", "init", "-p", name, "-h", &host, token].map(str::to_owned);
    side.run(&init("first")).ok();
    let again = init("again");
    let told = error(&side, &again.each_ref().map(String::as_str), 1);
    assert!(told.contains("the one-time token was used before"), "{told}");
    let listed = side.run(&["profile", "list", "--json"]).json();
    assert_eq!(listed.as_array().unwrap().len(), 2, "{listed}");
    for (token, code) in [("nonsense", 2), ("US:", 2), ("", 2), ("a:b:c:d:e", 2)] {
        let told = error(&side, &["profile", "init", "-p", "x", "-h", &host, token], code);
        assert!(told.contains("one-time token"), "{told}");
    }
    let told = error(&side, &["profile", "init", "-p", "x"], 2);
    assert!(told.contains("KSM_CLI_TOKEN"), "{told}");
}

#[test]
fn a_token_is_not_used_up_when_the_profile_could_not_be_kept() {
    let side = Side::new(Tool::Ours);
    let host = side.server.host().to_string();
    let token = side.filled("{token}");
    std::fs::write(side.path("broken.ini"), "[half\n").unwrap();
    for (place, expected) in
        [("broken.ini", "line 1"), (".", "written"), ("no/such/dir/keeper.ini", "written")]
    {
        let told = error(&side, &["profile", "init", "--ini-file", place, "-h", &host, &token], 1);
        assert!(told.contains(expected) || told.contains("read"), "{told}");
    }
    let told = error(&side, &["profile", "init", "-p", "a.b", "-h", &host, &token], 2);
    assert!(told.contains("profile name"), "{told}");
    assert_eq!(side.server.calls("get_secret"), 0);
    side.run(&["profile", "init", "-p", "x", "-h", &host, &token]).ok();
}

#[test]
fn a_certificate_nobody_vouches_for_is_refused() {
    let side = Side::new(Tool::Ours);
    let mut command = side.command();
    let output = command.args(READ).env_remove("REQUESTS_CA_BUNDLE").output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("certificate") && told.contains("not trusted"), "{told}");
    // Unless it was asked for.
    let output = command.env("KSM_SKIP_VERIFY", "yes").output().unwrap();
    assert_eq!(output.stdout, b"dba", "{}", String::from_utf8_lossy(&output.stderr));
    let output = side.command().args(READ).env("REQUESTS_CA_BUNDLE", "nope.pem").output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("REQUESTS_CA_BUNDLE"));
}

#[test]
fn nobody_there_and_an_answer_that_is_none_are_told_apart() {
    let side = Side::new(Tool::Ours);
    side.server.fail("get_secret", Fault::Garbage, 1);
    let told = error(&side, READ, 1);
    assert!(told.contains("does not decrypt"), "{told}");
    side.server.fail("get_secret", Fault::Refuse(400, "bad_request"), 1);
    let told = error(&side, READ, 1);
    assert!(told.contains("refused the request (bad_request)"), "{told}");
    let ran = side.run_with(READ, &[("KSM_HOSTNAME", "localhost:1")], b"");
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("cannot connect to localhost:1"), "{}", ran.stderr);
    let ran = side.run_with(READ, &[("KSM_HOSTNAME", "no host")], b"");
    assert!(ran.stderr.contains("KSM_HOSTNAME"), "{}", ran.stderr);
}

#[test]
fn throttling_is_waited_for_and_told() {
    let side = Side::new(Tool::Ours);
    side.server.fail("get_secret", Fault::Throttled(Some(0.01)), 2);
    let ran = side.run(READ);
    assert_eq!(ran.ok(), "dba");
    assert!(ran.stderr.contains("throttles"), "{}", ran.stderr);
    side.server.fail("get_secret", Fault::Throttled(Some(3600.0)), 1);
    let told = error(&side, READ, 1);
    assert!(told.contains("throttles") && told.contains("wait a few minutes"), "{told}");
}

#[test]
fn a_client_version_that_is_not_registered_is_told() {
    let side = Side::new(Tool::Ours);
    side.server.register_only("mp99.0.0");
    let told = error(&side, READ, 1);
    assert!(told.contains("client version"), "{told}");
    assert_eq!(side.run_with(READ, &[("KSM_CLIENT_VERSION", "mp99.0.0")], b"").ok(), "dba");
}

#[test]
fn notations_are_shown_with_a_caret_and_never_with_a_value() {
    let side = Side::new(Tool::Ours);
    for (notation, code, caret, told) in [
        ("keeper://{twitter}/bogus/x", 2, "^^^^^", "expected one of type, title, notes"),
        ("keeper://{twitter}/field/password[", 2, "^", "square brackets"),
        ("keeper://{twitter}/field/password[7]", 1, "^", "has only 1 value"),
        ("keeper://{twitter}/field/password[x]", 1, "^", "no such property"),
        ("keeper://本番/field/password", 1, "^^^^", "no record has this UID or title"),
        ("keeper://AAAAAAAAAAAAAAAAAAAAAA/field/password", 1, "^", "no record"),
    ] {
        let ran = side.run(&["secret", "notation", &side.filled(notation)]);
        assert_eq!(ran.code, Some(code), "{}", ran.stderr);
        assert_eq!(ran.text(), "");
        assert!(ran.stderr.contains(caret) && ran.stderr.contains(told), "{notation}: {}", ran.stderr);
        assert!(!ran.stderr.contains("hunter2"));
    }
    // A mistake is told before anybody is asked.
    // Of a title everything is asked at once; an unknown UID is looked for among all after that.
    assert_eq!(side.server.calls("get_secret"), 5);
}

#[test]
fn a_mistyped_command_names_the_nearest_and_runs_nothing() {
    let side = Side::new(Tool::Ours);
    for (words, nearest) in [
        (&["prof", "list"][..], "profile"),
        (&["secret", "delet", "-u", "{db}"], "delete"),
        (&["secrets", "list"], "secret"),
        (&["folder", "remove", "{db}"], ""),
        (&["secret", "get", "{db}", "--jsn"], "--json"),
    ] {
        let words: Vec<String> = words.iter().map(|word| side.filled(word)).collect();
        let ran = side.run(&words);
        assert_eq!(ran.code, Some(2), "{words:?}");
        assert_eq!(ran.text(), "");
        assert!(ran.stderr.contains(nearest), "{}", ran.stderr);
    }
    assert_eq!(side.server.calls("delete_secret") + side.server.calls("get_secret"), 0);
}

#[test]
fn a_command_that_fails_changes_nothing() {
    let side = Side::new(Tool::Ours);
    let before = side.state();
    for (words, code) in [
        (&["secret", "update", "-u", "{db}", "--field", "login=a", "--field", "nope=hunter2"][..], 1),
        (&["secret", "update", "-u", "{db}", "--field", "login=a", "--field-json", "host={hunter2"], 2),
        (&["secret", "add", "field", "--sf", "{root}", "--rt", "login", "-t", "x", "oneTimeCode=hunter2"], 2),
        (&["secret", "add", "field", "--sf", "{locked}", "--rt", "login", "-t", "x", "login=hunter2"], 1),
        (&["secret", "add", "clone", "-u", "{twitter}"], 1),
        (&["secret", "delete-attachment", "-u", "{twitter}", "-f", "ja", "-f", "nope"], 1),
        (&["folder", "update", "-f", "AAAAAAAAAAAAAAAAAAAAAA", "-t", "x"], 1),
        (&["folder", "add", "-f", "", "-t", "x"], 2),
    ] {
        let words: Vec<String> = words.iter().map(|word| side.filled(word)).collect();
        let ran = side.run(&words);
        assert_eq!(ran.code, Some(code), "{words:?}: {}", ran.stderr);
        assert!(!ran.stderr.contains("hunter2"), "{}", ran.stderr);
    }
    assert_eq!(side.state(), before);
}

#[test]
fn what_does_not_decrypt_is_not_taken_for_absent() {
    let side = Side::new(Tool::Ours);
    let uid = &side.uids["db"];
    side.server.break_record(uid);
    for words in [&["secret", "get", uid][..], &["secret", "update", "-u", uid, "--field", "login=x"]] {
        let told = error(&side, words, 1);
        assert!(told.contains("is shared but"), "{told}");
    }
    let ran = side.run(&["secret", "get", "-t", "DB One", "--json"]);
    assert!(ran.code == Some(1) && ran.stderr.contains("do not decrypt"), "{}", ran.stderr);
}
