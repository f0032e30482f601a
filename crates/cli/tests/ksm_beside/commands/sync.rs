//! `sync`: what is printed, and what is at AWS afterwards.

use serde_json::{Value, json};

use crate::row::{Row, row, row_of};

const PASSWORD: &str = "keeper://{twitter}/field/password";

/// `sync -t aws -c {aws}` with these mappings.
fn maps(name: &'static str, maps: &[(&'static str, &'static str)]) -> Row {
    row_of(name, &words(maps))
}

fn words(maps: &[(&'static str, &'static str)]) -> Vec<&'static str> {
    let mut words = vec!["sync", "-t", "aws", "-c", "{aws}"];
    for (key, notation) in maps {
        words.extend(["-m", key, notation]);
    }
    words
}

fn expect(value: Value) -> impl Fn(&Value) {
    move |left| assert_eq!(*left, value)
}

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = written();
    rows.extend(shown());
    rows.extend(kept());
    rows.extend(refused());
    rows
}

/// The same on both sides: what is written, and where.
fn written() -> Vec<Row> {
    vec![
        maps("sync-new", &[("{run}a", PASSWORD)]).aws(&[]),
        maps("sync-several", &[("{run}a", PASSWORD), ("{run}b", "keeper://{ja}/field/login")]).aws(&[]),
        maps("sync-by-title", &[("{run}a", "keeper://DB One/field/password")]).aws(&[]),
        maps("sync-changed", &[("{run}a", PASSWORD)]).aws(&[("{run}a", "old")]),
        maps("sync-equal", &[("{run}a", PASSWORD)]).aws(&[("{run}a", "hunter2-Twitter")]),
        maps("sync-twice", &[("{run}a", PASSWORD)]).aws(&[]).then_of(&words(&[("{run}a", PASSWORD)])),
        maps("sync-number-like", &[("{run}a", "keeper://{card}/field/pinCode")]).aws(&[]),
        maps("sync-property", &[("{run}a", "keeper://{db}/field/host[hostName]")]).aws(&[]),
        maps("sync-member", &[("{run}app+user", "keeper://{db}/field/login")]).aws(&[]),
        maps(
            "sync-members-of-an-object",
            &[
                ("{run}app+user", "keeper://{db}/field/login"),
                ("{run}app+pass", "keeper://{db}/field/password"),
            ],
        )
        .aws(&[("{run}app", r#"{"user":"old","kept":{"n":[1,null]}}"#)]),
        maps("sync-member-of-a-text", &[("{run}app+user", "keeper://{db}/field/login")])
            .aws(&[("{run}app", "just text")]),
        maps("sync-member-empty", &[("{run}app+user", "keeper://{twitter}/custom_field/nothing")])
            .aws(&[("{run}app", r#"{"user":"old","kept":"1"}"#)]),
        maps("sync-empty-is-removed", &[("{run}a", "keeper://{twitter}/custom_field/nothing")])
            .aws(&[("{run}a", "old"), ("{run}b", "other")]),
        maps("sync-empty-of-nothing", &[("{run}a", "keeper://{twitter}/custom_field/nothing")]).aws(&[]),
        row_of(
            "sync-preserve-missing",
            &[
                "sync",
                "-t",
                "aws",
                "-c",
                "{aws}",
                "-p",
                "-m",
                "{run}a",
                "keeper://{twitter}/custom_field/nothing",
            ],
        )
        .aws(&[("{run}a", "old")]),
        row_of(
            "sync-long-forms",
            &[
                "sync",
                "--type",
                "aws",
                "--credentials",
                "{aws}",
                "--preserve-missing",
                "--map",
                "{run}a",
                PASSWORD,
            ],
        )
        .aws(&[]),
        row("sync-record", "sync -t aws -c {aws} -r {ro} -px {run}").aws(&[]),
        row_of(
            "sync-record-by-title",
            &["sync", "-t", "aws", "-c", "{aws}", "-r", "Read Me", "-px", "{run}"],
        )
        .aws(&[]).prints("own-words", r#"{"log":["record 'Read Me' was found by its title (UID {ro}); titles change, a UID does not"],"status":{"processed":1,"failed":0}}"#),
        row("sync-folder", "sync -t aws -c {aws} -f {locked} -px {run}").aws(&[]),
        row_of(
            "sync-folder-by-name",
            &["sync", "-t", "aws", "-c", "{aws}", "-fr", "Read Only", "-px", "{run}"],
        )
        .aws(&[]).prints("own-words", r#"{"log":["folder 'Read Only' was found by its name (UID {locked}); names change, a UID does not"],"status":{"processed":1,"failed":0}}"#),
        row("sync-raw-json", "sync -t aws -c {aws} -r {ro} -r {db} -rj -px {run}").aws(&[]),
        row("sync-record-equal", "sync -t aws -c {aws} -r {ro} -px {run}")
            .aws(&[("{run}Read_Me", r#"{"login":"bob"}"#)]),
    ]
}

/// What is printed.
fn shown() -> Vec<Row> {
    vec![
        row_of("sync-json", &["sync", "-t", "json", "-m", "a", PASSWORD, "-m", "b+c", "keeper://DB One/field/login"]),
        row_of("sync-json-by-default", &["sync", "-m", "a", "keeper://{ja}/field/login"]),
        row("sync-json-record", "sync -r {ro} -px k/"),
        row("sync-json-raw", "sync -t json -r {db} -rj"),
        row_of("sync-json-empty", &["sync", "-m", "a", "keeper://{twitter}/custom_field/nothing"]),
        row_of(
            "sync-dry-run-missing",
            &["sync", "-t", "aws", "-c", "{aws}", "-n", "-m", "{run}a", "keeper://{twitter}/custom_field/nothing"],
        )
        .aws(&[("{run}a", "old")]),
        row_of("sync-dry-run", &["sync", "-t", "aws", "-c", "{aws}", "-n", "-m", "{run}a", PASSWORD])
            .aws(&[("{run}a", "old")])
            .prints(
                "dry-runs-mask-values",
                r#"{"data":[{"mapKey":"{run}a","mapNotation":"keeper://{twitter}/field/password","srcValue":"****",
                "dstValue":null,"dstExists":true,"dstDiffers":true}],"log":[],"status":{"processed":1,"failed":0}}"#,
            ),
        row("sync-dry-run-record", "sync -t aws -c {aws} -n -r {ro} -px {run}")
            .aws(&[("{run}Read_Me", r#"{"login":"bob"}"#)])
            .prints(
                "dry-runs-mask-values",
                r#"{"data":[{"mapKey":"{run}Read_Me","mapNotation":"record:{ro}","srcValue":"****",
                "dstValue":null,"dstExists":true,"dstDiffers":false}],"log":[],"status":{"processed":1,"failed":0}}"#,
            ),
        row_of("sync-json-boolean", &["sync", "-m", "a", "keeper://{twitter}/custom_field/flag"]).prints(
            "json-values",
            r#"{"data":[{"mapKey":"a","mapNotation":"keeper://{twitter}/custom_field/flag","srcValue":"true",
            "dstValue":null}],"log":[],"status":{"processed":1,"failed":0}}"#,
        ),
        row_of("sync-json-object", &["sync", "-m", "a", "keeper://{db}/field/host"]).prints(
            "compact-json",
            r#"{"data":[{"mapKey":"a","mapNotation":"keeper://{db}/field/host",
            "srcValue":"{\"hostName\":\"db.example\",\"port\":\"5432\"}","dstValue":null}],
            "log":[],"status":{"processed":1,"failed":0}}"#,
        ),
        row("sync-flattened-object", "sync -t aws -c {aws} -r {db} -px {run}")
            .aws(&[])
            .leaves("flattened-records-are-json", |left| {
                let flat = json!({"text": "postgres", "host": r#"{"hostName":"db.example","port":"5432"}"#,
                    "login": "dba", "password": "hunter2-DB"});
                expect(json!({"DB_One": flat}))(left);
            }),
    ]
}

/// What the official CLI destroys, and ours keeps.
fn kept() -> Vec<Row> {
    vec![
        maps("sync-typo", &[("{run}a", "keeper://{twitter}/field/passwrod")])
            .aws(&[("{run}a", "old")])
            .prints(
                "unknown-is-never-absent",
                r#"{"log":["{run}a: the record has no such field"],"status":{"processed":1,"failed":1}}"#,
            )
            .exits("unknown-is-never-absent", 1)
            .leaves("unknown-is-never-absent", |left| expect(json!({"a": "old"}))(left)),
        maps("sync-no-record", &[("{run}a", "keeper://Twitter/field/password")])
            .aws(&[("{run}a", "old")])
            .prints(
                "unknown-is-never-absent",
                r#"{"log":["{run}a: no record has this UID or title"],"status":{"processed":1,"failed":1}}"#,
            )
            .exits("unknown-is-never-absent", 1)
            .leaves("unknown-is-never-absent", |left| expect(json!({"a": "old"}))(left)),
        maps("sync-bad-notation", &[("{run}a", "keeper://{twitter}/bogus/password")])
            .aws(&[("{run}a", "old")])
            .prints("wrong-use-exits-2", "")
            .exits("wrong-use-exits-2", 2)
            .leaves("wrong-use-exits-2", |left| expect(json!({"a": "old"}))(left)),
        row("sync-stranger", "sync -t aws -c {aws} -r {ro} -px {run}")
            .aws(&[("{run}Read_Me", "theirs")])
            .prints(
                "strangers-are-left-alone",
                r#"{"log":["{run}Read_Me: a secret of this name is there that this application has not written, and it is left alone; --overwrite takes it over"],"status":{"processed":1,"failed":1}}"#,
            )
            .exits("strangers-are-left-alone", 1)
            .leaves("strangers-are-left-alone", |left| expect(json!({"Read_Me": "theirs"}))(left)),
        maps("sync-member-of-a-list", &[("{run}app+user", "keeper://{db}/field/login")])
            .aws(&[("{run}app", r#"["a"]"#)])
            .prints("text-is-kept", r#"{"log":[],"status":{"processed":1,"failed":0}}"#)
            .exits("text-is-kept", 0)
            .leaves("text-is-kept", |left| {
                expect(json!({"app": {"_preserved_plaintext": "[\"a\"]", "user": "dba"}}))(left);
            }),
    ]
}

/// Command lines that cannot be right.
fn refused() -> Vec<Row> {
    vec![
        row("sync-unknown-type", "sync -t oracle -m a x/title"),
        row("sync-map-of-one", "sync -m a"),
        row_of("sync-credentials-without-fields", &["sync", "-t", "aws", "-c", "{ro}", "-m", "a", PASSWORD]),
        row_of("sync-no-credentials", &["sync", "-t", "aws", "-m", "a", PASSWORD])
            .exits("wrong-use-exits-2", 2),
        row_of(
            "sync-twice-the-same-key",
            &["sync", "-t", "aws", "-c", "{db}", "-m", "a", PASSWORD, "-m", "a", PASSWORD],
        )
        .exits("wrong-use-exits-2", 2),
        row_of("sync-illegal-name", &["sync", "-t", "aws", "-c", "{db}", "-m", "a b", PASSWORD])
            .exits("wrong-use-exits-2", 2),
        row_of(
            "sync-plain-and-member",
            &["sync", "-t", "aws", "-c", "{db}", "-m", "a", PASSWORD, "-m", "a+b", PASSWORD],
        )
        .exits("wrong-use-exits-2", 2),
        row("sync-prefix-without-end", "sync -t aws -c {db} -r {ro} -px keeper")
            .exits("wrong-use-exits-2", 2),
        row("sync-record-without-prefix", "sync -t aws -c {aws} -n -r {ro}")
            .aws(&[])
            .prints(
                "prefix-is-optional",
                r#"{"data":[{"mapKey":"Read_Me","mapNotation":"record:{ro}","srcValue":"****","dstValue":null,
            "dstExists":false,"dstDiffers":null}],"log":[],"status":{"processed":1,"failed":0}}"#,
            )
            .exits("prefix-is-optional", 0),
    ]
}
