//! What `sync` reads from Keeper: every option, and every way in which reading may go wrong.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::Bench;
use keeper::{
    Error,
    json::Style,
    server::{Fault, NewFile},
    sync_source::{Content, Desired, Plan, Request, Source, Target},
    text::Form,
};

fn request(target: Target) -> Request {
    Request {
        target,
        maps: Vec::new(),
        records: Vec::new(),
        folders: Vec::new(),
        folders_recursive: Vec::new(),
        prefix: None,
        credentials: None,
        raw_json: false,
        form: Form::Json,
    }
}

fn maps(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(key, notation)| ((*key).to_owned(), (*notation).to_owned())).collect()
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// An entry in one line: key, source and what becomes of it.
fn lines(source: &Source) -> Vec<String> {
    let line = |entry: &keeper::sync_source::Entry| {
        let desired = match &entry.desired {
            Desired::Write(Content::Text(text)) => format!("= {}", text.expose_text().unwrap()),
            Desired::Write(Content::Binary(bytes)) => format!("b {:?}", bytes.expose()),
            Desired::Write(Content::Record(json)) => {
                format!("{{ {}", json.write(Style::Compact).expose_text().unwrap())
            }
            Desired::Remove(gone) => format!("- {gone:?}"),
            Desired::Fail(trouble) => format!("! {}", trouble.code),
        };
        format!("{} < {} {desired}", entry.key(), entry.notation)
    };
    source.entries.iter().map(line).collect()
}

async fn read(bench: &Bench, request: Request) -> Source {
    Plan::new(request).unwrap().read(&bench.client()).await.unwrap()
}

fn login(title: &str, password: &str) -> String {
    format!(r#"{{"title":"{title}","type":"login","fields":[{{"type":"password","value":["{password}"]}}]}}"#)
}

#[tokio::test]
async fn mappings_are_written_removed_on_proof_or_failed() {
    let bench = Bench::new().await;
    let uid = bench.record(
        r#"{"title":"DB","type":"login","fields":[{"type":"password","value":["pw"]},{"type":"url","value":[]},
            {"type":"host","value":[{"hostName":"h","port":"1"}]}],"custom":[{"type":"checkbox","label":"on","value":[true]}]}"#,
    );
    bench.server.attach(&uid, &NewFile { uid: None, name: "f", title: "F", content: &[0, 255] }).unwrap();
    let gone = bench.record(&login("gone", "x"));
    bench.server.unshare(bench.app, &gone);
    let broken = bench.record(&login("broken", "x"));
    bench.server.break_record(&broken);
    bench.record(&login("twin", "1"));
    bench.record(&login("twin", "2"));
    let of = |rest: &str| format!("keeper://{uid}/{rest}");
    let notations = [
        ("value", of("field/password")),
        ("object", of("field/host")),
        ("bool", of("custom_field/on")),
        ("file", of("file/F")),
        ("file_again", of("file/f")),
        ("json+key", of("field/host[hostName]")),
        ("empty", of("field/url")),
        ("gone", format!("{gone}/field/password")),
        ("typo", of("field/passwrod")),
        ("title", "DB/field/password".to_owned()),
        ("no_title", "DBB/field/password".to_owned()),
        ("twin", "twin/field/password".to_owned()),
        ("broken", format!("{broken}/field/password")),
        ("no_file", of("file/g")),
    ];
    let pairs: Vec<_> = notations.iter().map(|(key, notation)| (*key, notation.as_str())).collect();
    let source = read(&bench, Request { maps: maps(&pairs), ..request(Target::Aws) }).await;
    let want = [
        "= pw",
        "= {\"hostName\":\"h\",\"port\":\"1\"}",
        "= true",
        "b [0, 255]",
        "b [0, 255]",
        "= h",
        "- Empty",
        "- NotShared",
        "! no_field",
        "= pw",
        "! no_record",
        "! ambiguous_record",
        "! unreadable_record",
        "! no_file",
    ];
    let want: Vec<_> =
        pairs.iter().zip(want).map(|((key, text), want)| format!("{key} < {text} {want}")).collect();
    assert_eq!(lines(&source), want);
    assert_eq!(bench.server.calls("get_secret"), 1, "one fetch for all");
    assert_eq!(bench.server.calls("file_download"), 1, "a file is fetched once");
    let Desired::Fail(trouble) = &source.entries[8].desired else { panic!() };
    assert!(trouble.pointed.as_ref().unwrap().contains("^^^^^^^^ the record has no such field"));
    assert!(!format!("{source:?}").contains("pw"), "no value is shown");

    let python =
        read(&bench, Request { maps: maps(&pairs[1..3]), form: Form::Python, ..request(Target::Aws) }).await;
    assert!(lines(&python)[0].ends_with(r#"= {"hostName": "h", "port": "1"}"#));
    assert!(lines(&python)[1].ends_with("= True"));
}

#[tokio::test]
async fn the_credentials_record_comes_with_the_same_call() {
    let bench = Bench::new().await;
    let (a, b) = (bench.record(&login("a", "1")), bench.record(&login("b", "2")));
    let notation = format!("{a}/field/password");
    let by_uid =
        Request { maps: maps(&[("a", &notation)]), credentials: Some(b.clone()), ..request(Target::Aws) };
    let source = read(&bench, by_uid.clone()).await;
    assert_eq!(bench.server.calls("get_secret"), 1);
    assert_eq!(source.vault.records().len(), 2);
    assert!(matches!(source.vault.find(&b), keeper::Found::Record(_)));
    for credentials in ["b", "", "AAAAAAAAAAAAAAAAAAAAA!"] {
        let wrong = Request { credentials: Some(credentials.to_owned()), ..by_uid.clone() };
        assert_eq!(Plan::new(wrong).unwrap_err()[0].option, "--credentials", "{credentials}");
    }
}

#[tokio::test]
async fn when_keeper_cannot_be_read_nothing_is_known() {
    let bench = Bench::new().await;
    let uid = bench.record(&login("x", "pw"));
    let client = bench.client();
    let plan = || {
        let maps = maps(&[("a", &format!("{uid}/field/password"))]);
        Plan::new(Request { maps, ..request(Target::Aws) }).unwrap()
    };
    bench.server.fail("get_secret", Fault::Status(500), 4);
    assert_eq!(plan().read(&client).await.unwrap_err(), Error::Server { status: 500 });
    bench.server.fail("get_secret", Fault::Throttled(None), 6);
    assert!(matches!(plan().read(&client).await.unwrap_err(), Error::Throttled { .. }));
    bench.server.fail("get_folders", Fault::Refuse(403, "access_denied"), 1);
    let with_folder = Plan::new(Request { folders: strings(&["f"]), ..request(Target::Aws) }).unwrap();
    assert_eq!(with_folder.read(&client).await.unwrap_err(), Error::AccessDenied);
    // An answer that lists nothing proves nothing: no removal.
    bench.server.fail("get_secret", Fault::Sealed("{}"), 2);
    assert!(lines(&plan().read(&client).await.unwrap())[0].ends_with("! not_fetched"));
    // A file that cannot be fetched is a failed entry, and so the rest goes on.
    bench.server.attach(&uid, &NewFile { uid: None, name: "f", title: "F", content: b"x" }).unwrap();
    bench.server.fail("file_download", Fault::Garbage, 1);
    let maps = maps(&[("f", &format!("{uid}/file/f")), ("p", &format!("{uid}/field/password"))]);
    let source = Plan::new(Request { maps, ..request(Target::Aws) }).unwrap().read(&client).await.unwrap();
    assert!(lines(&source)[0].ends_with("! answer") && lines(&source)[1].ends_with("= pw"));
}

#[test]
fn every_mistake_is_told_before_anything_is_fetched() {
    let wrong = Request {
        maps: maps(&[
            ("good", "x/field/password"),
            ("bad name", "x/field/password"),
            ("a", "x/bogus"),
            ("b", "x/field/login[0"),
            ("twice", "x/title"),
            ("twice", "y/title"),
            ("both", "x/title"),
            ("both+k", "x/title"),
            ("k+1", "x/title"),
            ("k+1", "y/title"),
            ("no+", "x/title"),
        ]),
        records: strings(&["r"]),
        prefix: Some("keeper".to_owned()),
        ..request(Target::Aws)
    };
    let mistakes = Plan::new(wrong).unwrap_err();
    let options: Vec<_> = mistakes.iter().map(|m| m.option.as_str()).collect();
    assert_eq!(
        options,
        [
            "--prefix",
            "--map bad name",
            "--map a",
            "--map b",
            "--map no+",
            "--map twice",
            "--map both+k",
            "--map k+1"
        ]
    );
    assert!(mistakes[2].to_string().contains("\n  x/bogus\n    ^^^^^ expected one of"), "{}", mistakes[2]);
    assert!(Plan::new(request(Target::Aws)).is_err(), "nothing to do");
    for (target, key, ok) in [
        (Target::Azure, "a-b", true),
        (Target::Azure, "a+b", false),
        (Target::Gcp, "a_b", true),
        (Target::Gcp, "a/b", false),
        (Target::Json, "a/b+c", true),
    ] {
        let request = Request { maps: maps(&[(key, "x/title")]), ..request(target) };
        assert_eq!(Plan::new(request).is_ok(), ok, "{target:?} {key}");
    }
    let folded = Request { maps: maps(&[("Key", "x/title"), ("KEY", "x/title")]), ..request(Target::Azure) };
    assert_eq!(Plan::new(folded).unwrap_err()[0].option, "--map KEY");
}

/// Root (shared) with `in root`; below it Sub with `in sub`; Other (shared) with `in other`.
struct Tree {
    root: String,
    sub: String,
    other: String,
    uids: [String; 3],
}

fn tree(bench: &Bench) -> Tree {
    let root = bench.server.add_folder(None, "Root").unwrap();
    let sub = bench.server.add_folder(Some(&root), "Sub/本番").unwrap();
    let other = bench.server.add_folder(None, "Other").unwrap();
    for folder in [&root, &other] {
        bench.server.share_folder(bench.app, folder, false);
    }
    let uids = [("in root", &root), ("in sub", &sub), ("in other", &other)].map(|(title, folder)| {
        let uid = bench.server.add_record(&login(title, title)).unwrap();
        bench.server.put_into(&uid, folder);
        uid
    });
    Tree { root, sub, other, uids }
}

#[tokio::test]
async fn records_and_folders_are_named_by_their_titles() {
    let bench = Bench::new().await;
    let tree = tree(&bench);
    let [in_root, in_sub, in_other] = &tree.uids;
    let content = |title: &str| format!(r#"{{ {{"password":"{title}"}}"#);
    for (change, want) in [
        (
            Request {
                records: strings(&["in root", in_sub]),
                prefix: Some("k/".to_owned()),
                ..request(Target::Aws)
            },
            vec![
                format!("k/in_root < record:{in_root} {}", content("in root")),
                format!("k/in_sub < record:{in_sub} {}", content("in sub")),
            ],
        ),
        (
            Request { folders: strings(&["Root"]), ..request(Target::Azure) },
            vec![format!("in-root < folder:{in_root} {}", content("in root"))],
        ),
        (
            Request { folders: strings(&["Root/Sub//本番"]), ..request(Target::Gcp) },
            vec![format!("in_sub < folder:{in_sub} {}", content("in sub"))],
        ),
        (
            Request { folders_recursive: strings(&[&tree.root]), ..request(Target::Aws) },
            vec![
                format!("in_root < folder-recursive:{in_root} {}", content("in root")),
                format!("in_sub < folder-recursive:{in_sub} {}", content("in sub")),
            ],
        ),
        (
            // Inner folders are covered, a record that was named is not repeated.
            Request {
                records: strings(&["in other"]),
                folders: strings(&["Sub//本番", "Other", &tree.other]),
                folders_recursive: strings(&["Root", &tree.sub]),
                ..request(Target::Json)
            },
            vec![
                format!("in_other < record:{in_other} {}", content("in other")),
                format!("in_root < folder-recursive:{in_root} {}", content("in root")),
                format!("in_sub < folder-recursive:{in_sub} {}", content("in sub")),
            ],
        ),
    ] {
        let before = (bench.server.calls("get_secret"), bench.server.calls("get_folders"));
        assert_eq!(lines(&read(&bench, change.clone()).await), want, "{change:?}");
        assert_eq!(bench.server.calls("get_secret"), before.0 + 1);
        assert!(bench.server.calls("get_folders") <= before.1 + 1);
    }
    let raw = Request { records: strings(&[in_root]), raw_json: true, ..request(Target::Aws) };
    assert_eq!(
        lines(&read(&bench, raw).await),
        [format!("in_root < record:{in_root} {{ {}", login("in root", "in root"))]
    );
}

#[tokio::test]
async fn what_cannot_be_found_named_or_read_fails_alone() {
    let bench = Bench::new().await;
    let tree = tree(&bench);
    let twin = bench.server.add_folder(Some(&tree.other), "Root").unwrap();
    let dark = bench.server.add_record(&login("dark", "x")).unwrap();
    bench.server.put_into(&dark, &tree.sub);
    bench.server.break_record(&dark);
    let odd = bench.server.add_record(&login("日本", "x")).unwrap();
    let untitled = bench.server.add_record(r#"{"type":"login"}"#).unwrap();
    let (a, b) = (
        bench.server.add_record(&login("same name", "1")).unwrap(),
        bench.server.add_record(&login("same_name", "2")).unwrap(),
    );
    for uid in [&odd, &untitled, &a, &b] {
        bench.server.put_into(uid, &tree.other);
    }
    let [in_root, in_sub, in_other] = &tree.uids;
    let source = read(
        &bench,
        Request {
            maps: maps(&[("in_other", &format!("{in_other}/title"))]),
            records: strings(&["nosuch", "in root"]),
            folders: strings(&["Root", "Nowhere", "Sub//本番"]),
            folders_recursive: strings(&["Other"]),
            ..request(Target::Aws)
        },
    )
    .await;
    let mut found = lines(&source);
    let mut want = vec![
        format!("in_other < {in_other}/title = in other"),
        format!("in_root < record:{in_root} {{ {{\"password\":\"in root\"}}"),
        format!("in_sub < folder:{in_sub} {{ {{\"password\":\"in sub\"}}"),
        format!("in_other < folder-recursive:{in_other} ! name_collision"),
        format!("{odd} < folder-recursive:{odd} ! name"),
        format!("{untitled} < folder-recursive:{untitled} ! name"),
        format!("same_name < folder-recursive:{a} ! name_collision"),
        format!("same_name < folder-recursive:{b} ! name_collision"),
        "nosuch < record:nosuch ! no_record".to_owned(),
        "Root < folder:Root ! ambiguous_folder".to_owned(),
        "Nowhere < folder:Nowhere ! no_folder".to_owned(),
        format!("{dark} < folder:{dark} ! unreadable_record"),
    ];
    found.sort();
    want.sort();
    assert_eq!(found, want);
    assert!(bench.server.folder(&twin).is_some());
}

#[tokio::test]
async fn flattened_records_are_valid_json_of_texts() {
    let bench = Bench::new().await;
    let uid = bench.record(
        r#"{"title":"t","notes":"left out","fields":[
            {"type":"login","label":"ignored","value":["a"]},{"type":"url","value":["u1","u2"]},{"type":"text","value":[]},
            {"type":"host","value":[{"hostName":"db","port":null}]},{"type":"date","value":[1700000000000]},
            {"type":"note","value":null},{"value":["typeless"]}],
          "custom":[{"type":"text","label":"login","value":["b"]},{"type":"checkbox","value":[true]},
            {"type":"text","label":"login","value":["c"]},{"type":"text","label":"","value":"bare"},{"type":"x","value":[null]}]}"#,
    );
    for (form, want) in [
        (
            Form::Json,
            r#"{"login":"a","url":"[\"u1\",\"u2\"]","host":"{\"hostName\":\"db\",\"port\":null}","date":"1700000000000","login:2":"b","checkbox":"true","login:3":"c","text":"bare"}"#,
        ),
        (
            Form::Python,
            r#"{"login":"a","url":"[\"u1\",\"u2\"]","host":"{'hostName': 'db', 'port': None}","date":"1700000000000","login:2":"b","checkbox":"True","login:3":"c","text":"bare","x":"None"}"#,
        ),
    ] {
        let source = read(&bench, Request { records: strings(&[&uid]), form, ..request(Target::Aws) }).await;
        assert_eq!(lines(&source), [format!("t < record:{uid} {{ {want}")]);
        assert!(source.notes.iter().any(|note| note.contains("numbered :2")), "{:?}", source.notes);
    }
}
