//! Commands as such: those the official CLI has no like of, and ways of starting.

use std::process::Command;

use crate::bench::{Side, Tool};

#[test]
fn it_runs_by_the_name_of_the_binary_and_as_a_command_of_keyferry() {
    let keyferry = || Command::new(env!("CARGO_BIN_EXE_keyferry"));
    let mut by_name = keyferry();
    std::os::unix::process::CommandExt::arg0(&mut by_name, "/usr/local/bin/ksm");
    let by_name = by_name.arg("--version").output().unwrap();
    let by_command = keyferry().args(["ksm", "--version"]).output().unwrap();
    assert!(by_name.status.success());
    assert_eq!(by_name.stdout, by_command.stdout);
    assert!(String::from_utf8_lossy(&by_name.stdout).starts_with("ksm "));
    let help = keyferry().arg("--help").output().unwrap();
    assert!(String::from_utf8_lossy(&help.stdout).contains("ksm"));
}

#[test]
fn nothing_is_asked_of_keeper_that_is_not_needed() {
    let side = Side::new(Tool::Ours);
    for words in [
        &["--version"][..],
        &["version"],
        &["profile", "list"],
        &["config", "show"],
        &["exec", "true"],
        &["secret", "password"],
        &["secret", "template", "record", "login"],
    ] {
        side.run(words).ok();
    }
    assert_eq!(side.server.connections(), 0);
    // By UID one record is fetched; files come by a call of their own.
    side.run(&["secret", "notation", &side.filled("{db}/field/login")]).ok();
    assert_eq!((side.server.calls("get_secret"), side.server.connections()), (1, 1));
}

#[test]
fn exec_asks_once_for_all_variables_and_arguments() {
    let side = Side::new(Tool::Ours);
    let variables: Vec<(String, String)> = (0..20)
        .map(|n| {
            (
                format!("V{n}"),
                side.filled(if n % 2 == 0 {
                    "keeper://{db}/field/login"
                } else {
                    "keeper://本番DB/field/login"
                }),
            )
        })
        .collect();
    let variables: Vec<(&str, &str)> =
        variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let ran = side.run_with(
        &[
            "exec",
            "--inline",
            "--",
            "sh",
            "-c",
            "printf '%s %s %s' \"$V0\" \"$V19\" \"$0\"",
            "keeper://Twitter Login [Marketing]/field/login",
        ],
        &variables,
        b"",
    );
    assert_eq!(ran.ok(), "dba 運用 alice");
    assert_eq!(side.server.calls("get_secret"), 1);
}

#[test]
fn exec_hands_the_exit_code_on_and_reports_all_failures_together() {
    let side = Side::new(Tool::Ours);
    for code in [0, 1, 3, 200] {
        for words in [vec!["exec", "--"], vec!["exec", "--capture-output", "--"]] {
            let script = format!("exit {code}");
            let words: Vec<&str> = words.into_iter().chain(["sh", "-c", &script]).collect();
            assert_eq!(side.run(&words).code, Some(code));
        }
    }
    let ran = side.run(&["exec", "--capture-output", "--", "sh", "-c", "kill -TERM $$"]);
    assert_eq!(ran.code, Some(128 + 15));
    let ran = side.run_with(
        &["exec", "--", "echo", "run"],
        &[
            ("A", "keeper://nope/field/login"),
            ("B", "keeper://DB One/field/nope"),
            ("C", "keeper://DB One/field/login"),
        ],
        b"",
    );
    assert_eq!((ran.code, ran.text().as_str()), (Some(1), ""));
    assert!(
        ran.stderr.contains("A: ") && ran.stderr.contains("B: ") && !ran.stderr.contains("C: "),
        "{}",
        ran.stderr
    );
    let ran = side.run_with(
        &["exec", "--", "echo", "run"],
        &[("A", "keeper://x/bogus/y"), ("B", "keeper://x/field/y[")],
        b"",
    );
    assert_eq!((ran.code, ran.text().as_str()), (Some(2), ""));
    assert!(ran.stderr.contains("A: ") && ran.stderr.contains("B: "), "{}", ran.stderr);
}

#[test]
fn a_file_comes_out_byte_for_byte_and_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut side = Side::new(Tool::Ours);
    let record = side.uids["db"].clone();
    let content: Vec<u8> = (0..=255).collect();
    let file = keeper::server::NewFile { uid: None, name: "raw.bin", title: "raw", content: &content };
    side.attach("raw", &record, &file);
    for words in [
        vec!["secret", "notation", "DB One/file/raw"],
        vec!["secret", "download", "-u", &record, "--name", "raw.bin", "--file-output", "stdout"],
    ] {
        assert_eq!(side.run(&words).stdout, content);
    }
    side.run(&["-o", "out.bin", "secret", "notation", "DB One/file/raw"]).ok();
    assert_eq!(std::fs::read(side.path("out.bin")).unwrap(), content);
    let mode = std::fs::metadata(side.path("out.bin")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // A command that fails leaves an old file alone.
    assert_eq!(side.run(&["-o", "out.bin", "secret", "notation", "nope/field/x"]).code, Some(1));
    assert_eq!(std::fs::read(side.path("out.bin")).unwrap(), content);
}

#[test]
fn passwords_follow_their_rule() {
    let side = Side::empty(Tool::Ours);
    let made = side.run(&["secret", "password"]).ok();
    assert_eq!(made.len(), 64);
    let made = side.run(&["secret", "password", "-lc", "3", "-uc", "2", "-d", "4", "-sc", "1"]).ok();
    assert_eq!(made.len(), 10);
    assert_eq!(made.bytes().filter(u8::is_ascii_digit).count(), 4);
    assert_eq!(made.bytes().filter(u8::is_ascii_lowercase).count(), 3);
    assert_ne!(made, side.run(&["secret", "password", "-lc", "3", "-uc", "2", "-d", "4", "-sc", "1"]).ok());
    assert_eq!(side.run(&["secret", "password", "-l", "5", "-d", "4"]).code, Some(2));
}

#[test]
fn completion_scripts_name_the_commands() {
    let side = Side::empty(Tool::Ours);
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = side.run(&["shell", shell]).ok();
        assert!(script.contains("interpolate") && script.contains("delete-attachment"), "{shell}");
    }
    let ran = side.run(&["shell"]);
    assert_eq!(ran.code, Some(2));
}

#[test]
fn an_editor_makes_a_record() {
    let side = Side::new(Tool::Ours);
    let script = side.path("editor.sh");
    std::fs::write(&script, "#!/bin/sh\ncp replacement.json \"$1\"\n").unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let editor = script.to_str().unwrap();
    let folder = side.uids["databases"].clone();
    let words = ["secret", "add", "editor", "--sf", &folder, "--rt", "login", "-p", "-e", editor];
    std::fs::write(
        side.path("replacement.json"),
        r#"{"version":"v3","kind":"KeeperRecord","data":[{"recordType":"login","title":"Edited","fields":[{"type":"login","value":"eve"}]}]}"#,
    )
    .unwrap();
    let uids = side.run(&words).json();
    let body = side.server.record(uids[0].as_str().unwrap()).unwrap();
    let text = body.write(keeper::json::Style::Compact);
    let text = text.expose_text().unwrap();
    assert!(text.contains(r#""title":"Edited""#), "{text}");
    // A password was made, because none was given.
    assert!(!text.contains(r#"{"type":"password","value":[]}"#), "{text}");
    // Left as it was, the template is not taken; without an answer nothing is added.
    let ran = side.run(&["secret", "add", "editor", "--sf", &folder, "--rt", "login", "-e", "true"]);
    assert!(ran.code == Some(1) && ran.stderr.contains("<#ADD"), "{}", ran.stderr);
    let ran = side.run_with(
        &["secret", "add", "editor", "--sf", &folder, "--rt", "login", "-e", "true"],
        &[],
        b"q\n",
    );
    assert!(ran.code == Some(0) && ran.stderr.contains("Not adding"), "{}", ran.stderr);
}

#[test]
fn interpolation_takes_a_default_for_what_is_gone_and_not_for_what_is_dark() {
    let side = Side::new(Tool::Ours);
    let template = side.filled("A=keeper://{db}/field/nope:-fallback\nB=keeper://nope/field/x:-fallback\n");
    std::fs::write(side.path("a.env"), template).unwrap();
    assert_eq!(side.run(&["interpolate", "a.env"]).ok(), "A=fallback\nB=fallback\n");
    // A record that does not decrypt may be the one.
    side.server.break_record(&side.uids["ja"]);
    std::fs::write(side.path("a.env"), side.filled("A=keeper://{ja}/field/login:-fallback\n")).unwrap();
    let ran = side.run(&["interpolate", "a.env"]);
    assert_eq!((ran.code, ran.text().as_str()), (Some(1), ""), "{}", ran.stderr);
    // Several files, or none of them.
    std::fs::write(side.path("good.env"), side.filled("A=keeper://{db}/field/login\n")).unwrap();
    let ran = side.run(&["interpolate", "-w", "--validate", "good.env", "a.env"]);
    assert_eq!(ran.code, Some(1));
    assert!(std::fs::read_to_string(side.path("good.env")).unwrap().contains("keeper://"));
    assert_eq!(side.run(&["interpolate", "-o", "x", "good.env", "a.env"]).code, Some(2));
}

/// The examples of the notation page, word for word, by the command line.
#[test]
fn the_pages_examples_work_word_for_word() {
    let mut side = Side::new(Tool::Ours);
    side.record(
        "links",
        None,
        r#"{"title":"My Slashdot Links","type":"login","fields":[],"custom":[{"type":"url","label":"/.links","value":["l0","l1"]}]}"#,
    );
    side.record(
        "sql",
        None,
        r#"{"title":"MySQL Creds","type":"login","fields":[{"type":"password","value":["sql"]}]}"#,
    );
    let uid = side.record("mine", None, r#"{"title":"My /.Credentials","type":"file","fields":[]}"#);
    let file = keeper::server::NewFile { uid: None, name: "creds[2].crt", title: "c", content: b"CRT" };
    side.attach("crt", &uid, &file);
    for (notation, value) in [
        (r"keeper://Twitter Login \[Marketing\]/field/password", "hunter2-Twitter"),
        (r"keeper://My Slashdot Links/custom_field/\/.links[]", r#"["l0", "l1"]"#),
        (r"keeper://My Slashdot Links/custom_field/\/.links[1]", "l1"),
        (r"keeper://My \/.Credentials/file/creds\[2\].crt", "CRT"),
        ("keeper://MySQL Creds/fields/password", "sql"),
        ("{twitter}/custom_field/phone[0][number]", "555-5555555"),
        ("{twitter}/custom_field/phone[][number]", "555-5555555,777-7777777,888-8888888,999-9999999"),
        ("{twitter}/custom_field/phone[1]", r#"{"number": "777-7777777", "ext": "77"}"#),
        ("{twitter}/custom_field/phone[1][number]", "777-7777777"),
        ("{twitter}/custom_field/name[last]", "Doe"),
        ("{twitter}/custom_field/name[first]", "John"),
    ] {
        assert_eq!(side.run(&["secret", "notation", &side.filled(notation)]).ok(), value, "{notation}");
    }
}
