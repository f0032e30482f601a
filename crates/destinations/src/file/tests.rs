use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    os::unix::net::UnixListener,
};

use model::{Blame, ManualClock, Timestamp};
use tempfile::TempDir;

use super::*;
use crate::{
    FieldValue, Last, NetSettings, Present, WriteId,
    net::Snapshot,
    testing::{self, mark, put},
};

struct Bench {
    dir: TempDir,
    file: Arc<dyn Destination>,
}

impl Bench {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let file = open(&dir.path().join("secrets.json"));
        Self { dir, file }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("secrets.json")
    }

    fn text(&self) -> String {
        fs::read_to_string(self.path()).unwrap()
    }

    async fn put(&self, name: &str, value: &str, write: u8) -> Result<PutOutcome, Fault> {
        put(&self.file, name, value, write, Expect::Absent).await
    }

    async fn present(&self, name: &str) -> Option<Present> {
        match self.file.look(&RemoteName::from_kind(name)).await.unwrap() {
            Remote::Present(present) => Some(present),
            _ => None,
        }
    }

    async fn remove(&self, name: &str) -> Result<(), Fault> {
        testing::remove(&self.file, name, None, true).await
    }

    /// What else lies in the directory.
    fn others(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "secrets.json")
            .collect();
        names.sort();
        names
    }
}

fn open(path: &Path) -> Arc<dyn Destination> {
    open_below(None, path).unwrap()
}

/// Where the server says what all files must be below.
fn open_below(root: Option<&Path>, path: &Path) -> Result<Arc<dyn Destination>, FieldFault> {
    let clock = Arc::new(ManualClock::new(Timestamp::from_secs(0)));
    let settings = NetSettings { file_root: root.map(Path::to_owned), ..NetSettings::default() };
    let net = testing::net(clock, settings, Snapshot::default());
    let mut config = Config::default();
    config.set("path", FieldValue::Text(path.to_str().unwrap().to_owned()));
    FileKind.open(&config, &net)
}

#[expect(clippy::needless_pass_by_value, reason = "reads better at the call")]
fn written(outcome: Result<PutOutcome, Fault>) -> bool {
    matches!(outcome, Ok(PutOutcome::Written(_)))
}

#[tokio::test]
async fn the_file_holds_names_and_values_and_nothing_else() {
    let bench = Bench::new();
    assert!(written(bench.put("b", "2\n\"", 1).await));
    assert!(written(bench.put("a/x", "1", 2).await));
    assert_eq!(bench.text(), "{\n  \"a/x\": \"1\",\n  \"b\": \"2\\n\\\"\"\n}\n");
    assert_eq!(fs::metadata(bench.path()).unwrap().mode() & 0o777, 0o600);
    assert_eq!(bench.others(), [".secrets.json.keyferry"]);
    let marks = fs::metadata(bench.dir.path().join(".secrets.json.keyferry")).unwrap();
    assert_eq!(marks.mode() & 0o777, 0o600);
    bench.remove("b").await.unwrap();
    bench.remove("a/x").await.unwrap();
    assert_eq!(bench.text(), "{}\n");
}

#[tokio::test]
async fn a_file_of_someone_elses_keeps_its_content_and_its_access() {
    let bench = Bench::new();
    fs::write(bench.path(), r#"{"theirs": {"deep": [1.10, 12345678901234567890123]}, "x": null}"#).unwrap();
    fs::set_permissions(bench.path(), fs::Permissions::from_mode(0o640)).unwrap();
    assert!(written(bench.put("ours", "v", 1).await));
    let text = bench.text();
    assert!(text.contains("1.10") && text.contains("12345678901234567890123"), "{text}");
    assert_eq!(fs::metadata(bench.path()).unwrap().mode() & 0o777, 0o640);
    assert_eq!(bench.put("x", "v", 1).await, Ok(PutOutcome::Taken(Present::default())));
    assert_eq!(bench.remove("x").await.unwrap_err().code, "ownership_lost");
    assert!(written(put(&bench.file, "x", "v", 1, Expect::Anything).await));
}

#[tokio::test]
async fn what_is_no_json_object_file_is_refused_and_left_alone() {
    for content in ["[]", "hello", "{", "{} {}", "\"x\"", "\u{feff}{}"] {
        let bench = Bench::new();
        fs::write(bench.path(), content).unwrap();
        let fault = bench.put("a", "v", 1).await.unwrap_err();
        assert_eq!((fault.code, fault.blame), ("file_not_json", Blame::Client), "{content}");
        assert_eq!(bench.text(), content);
    }
    let bench = Bench::new();
    fs::write(bench.path(), " \n").unwrap();
    assert!(written(bench.put("a", "v", 1).await));
}

#[tokio::test]
async fn links_and_special_files_are_refused() {
    let bench = Bench::new();
    let elsewhere = bench.dir.path().join("elsewhere");
    fs::write(&elsewhere, "{}").unwrap();
    symlink(&elsewhere, bench.path()).unwrap();
    assert_eq!(bench.put("a", "v", 1).await.unwrap_err().code, "file_is_link");
    assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "{}");
    fs::remove_file(bench.path()).unwrap();

    symlink("/does/not/exist", bench.path()).unwrap();
    assert_eq!(bench.put("a", "v", 1).await.unwrap_err().code, "file_is_link");
    fs::remove_file(bench.path()).unwrap();

    symlink(&elsewhere, bench.dir.path().join(".secrets.json.keyferry")).unwrap();
    assert_eq!(bench.put("a", "v", 1).await.unwrap_err().code, "file_is_link");
    fs::remove_file(bench.dir.path().join(".secrets.json.keyferry")).unwrap();

    fs::create_dir(bench.path()).unwrap();
    assert_eq!(bench.put("a", "v", 1).await.unwrap_err().code, "file_not_regular");
    fs::remove_dir(bench.path()).unwrap();

    let _socket = UnixListener::bind(bench.path()).unwrap();
    assert_eq!(bench.put("a", "v", 1).await.unwrap_err().code, "file_not_regular");
    assert_eq!(bench.others(), ["elsewhere"]);
}

#[tokio::test]
async fn a_missing_directory_is_told() {
    let dir = TempDir::new().unwrap();
    let file = open(&dir.path().join("no/secrets.json"));
    assert_eq!(put(&file, "a", "v", 1, Expect::Absent).await.unwrap_err().code, "file_directory_missing");
}

#[tokio::test]
async fn an_edit_by_hand_is_noticed_but_keeps_the_owner() {
    let bench = Bench::new();
    bench.put("a", "v", 7).await.unwrap();
    let before = bench.present("a").await.unwrap();
    assert_eq!(before.mark, Some(mark(7)));
    assert_eq!(before.revision, Some(WriteId([7; 32]).to_hex()));

    fs::write(bench.path(), r#"{"a": "edited", "b": "new"}"#).unwrap();
    let after = bench.present("a").await.unwrap();
    assert_eq!((after.mark.as_ref().unwrap().write, after.revision), (None, None));
    assert!(after.mark.unwrap().same_owner(&mark(0)));
    assert_eq!(bench.present("b").await, Some(Present::default()));

    assert!(written(put(&bench.file, "a", "v", 7, Expect::Ours(None)).await));
    assert_eq!(bench.present("a").await.unwrap().mark, Some(mark(7)));
    assert_eq!(bench.text(), "{\n  \"a\": \"v\",\n  \"b\": \"new\"\n}\n");
}

/// The moment between the two replacements, made by putting the old values back.
#[tokio::test]
async fn a_crash_between_the_two_files_is_mended_by_doing_it_again() {
    let bench = Bench::new();
    bench.put("a", "old", 1).await.unwrap();
    let old = bench.text();
    bench.put("a", "new", 2).await.unwrap();
    bench.put("b", "new", 3).await.unwrap();
    fs::write(bench.path(), old).unwrap();

    assert_eq!(bench.present("a").await.unwrap().mark.unwrap().write, None);
    assert_eq!(bench.present("b").await, None);
    assert!(written(bench.put("a", "new", 2).await));
    assert!(written(bench.put("b", "new", 3).await));
    assert_eq!(bench.text(), "{\n  \"a\": \"new\",\n  \"b\": \"new\"\n}\n");
    assert_eq!(bench.present("a").await.unwrap().mark, Some(mark(2)));
}

#[tokio::test]
async fn marks_that_cannot_be_read_stop_everything() {
    let bench = Bench::new();
    bench.put("a", "v", 1).await.unwrap();
    for broken in ["", "{}", "{\"format\":2}"] {
        fs::write(bench.dir.path().join(".secrets.json.keyferry"), broken).unwrap();
        assert_eq!(bench.put("a", "w", 2).await.unwrap_err().code, "file_marks_unreadable");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_at_the_same_time_lose_nothing() {
    let bench = Bench::new();
    let other = open(&bench.path());
    let writers: Vec<_> = (0..40)
        .map(|n| {
            let file = Arc::clone(if n % 2 == 0 { &bench.file } else { &other });
            tokio::spawn(async move { put(&file, &format!("n{n}"), "v", 1, Expect::Absent).await })
        })
        .collect();
    for writer in writers {
        assert!(written(writer.await.unwrap()));
    }
    let values: BTreeMap<String, String> = serde_json::from_str(&bench.text()).unwrap();
    assert_eq!(values.len(), 40);
    assert_eq!(bench.others(), [".secrets.json.keyferry"]);
}

#[tokio::test]
async fn a_batch_answers_each_entry() {
    let bench = Bench::new();
    fs::write(bench.path(), r#"{"taken": "theirs"}"#).unwrap();
    let names: Vec<RemoteName> = ["a", "taken", "big"].map(RemoteName::from_kind).into();
    let values =
        [SecretBytes::from("1"), SecretBytes::from("2"), SecretBytes::new(vec![b'x'; (1 << 20) + 1])];
    let (mark, tags) = (mark(1), BTreeMap::new());
    let puts: Vec<Put<'_>> = names
        .iter()
        .zip(&values)
        .map(|(name, value)| Put {
            name,
            value,
            encoding: Encoding::Text,
            mark: &mark,
            tags: &tags,
            expect: Expect::Absent,
            value_changed: true,
            settings_changed: None,
            last: Last::default(),
        })
        .collect();
    let outcomes = bench.file.put_many(&puts).await;
    assert!(matches!(outcomes[0], Ok(PutOutcome::Written(_))));
    assert!(matches!(outcomes[1], Ok(PutOutcome::Taken(_))));
    assert_eq!(outcomes[2].as_ref().unwrap_err().code, "value_too_large");
    let looked = bench.file.look_many(&names).await;
    assert!(matches!(looked[0], Ok(Remote::Present(_))));
    assert_eq!(looked[2], Ok(Remote::Absent));
    assert_eq!(bench.text(), "{\n  \"a\": \"1\",\n  \"taken\": \"theirs\"\n}\n");
}

#[tokio::test]
async fn nothing_changed_replaces_nothing() {
    let bench = Bench::new();
    bench.put("a", "v", 1).await.unwrap();
    let before = fs::metadata(bench.path()).unwrap().ino();
    bench.put("a", "v", 1).await.unwrap();
    bench.remove("missing").await.unwrap();
    assert_eq!(fs::metadata(bench.path()).unwrap().ino(), before);
}

#[tokio::test(start_paused = true)]
async fn a_directory_kept_locked_is_told() {
    let bench = Bench::new();
    let directory = fs::File::open(bench.dir.path()).unwrap();
    directory.lock().unwrap();
    assert_eq!(bench.put("a", "v", 1).await.unwrap_err().code, "file_locked");
    directory.unlock().unwrap();
    assert!(written(bench.put("a", "v", 1).await));
}

#[test]
fn paths_must_name_a_file() {
    let check = FIELDS[0].check;
    for good in ["/a", "/var/lib/keyferry/secrets.json", "/a/...", "/ä b"] {
        assert_eq!(check(good), None, "{good}");
    }
    for bad in ["a", "", "/", "/a/", "/a//b", "/a/../b", "/a/.", "/a\0b"] {
        assert!(check(bad).is_some(), "{bad:?}");
    }
}

#[tokio::test]
async fn a_file_outside_the_servers_root_is_refused_when_it_is_configured() {
    let dir = TempDir::new().unwrap();
    let root = dir.path().join("out");
    fs::create_dir_all(root.join("a")).unwrap();
    for path in [
        dir.path().join("secrets.json"),
        dir.path().join("outer/secrets.json"),
        dir.path().join("out.json"),
        root.clone(),
        PathBuf::from("/etc/secrets.json"),
    ] {
        let fault = open_below(Some(&root), &path).err().unwrap();
        assert_eq!(fault.field, "path", "{path:?}");
        assert!(fault.problem.contains("sync.file_root"), "{fault:?}");
    }
    for path in [root.join("secrets.json"), root.join("a/secrets.json")] {
        let file = open_below(Some(&root), &path).unwrap();
        assert!(written(put(&file, "n", "v", 1, Expect::Absent).await));
        assert_eq!(fs::read_to_string(path).unwrap(), "{\n  \"n\": \"v\"\n}\n");
    }
}

#[tokio::test]
async fn no_link_leads_out_of_the_servers_root() {
    let dir = TempDir::new().unwrap();
    let (root, elsewhere) = (dir.path().join("out"), dir.path().join("elsewhere"));
    for made in [&root, &elsewhere, &root.join("a"), &dir.path().join("outside")] {
        fs::create_dir_all(made).unwrap();
    }
    symlink(&elsewhere, root.join("there")).unwrap();
    symlink(root.join("there"), root.join("twice")).unwrap();
    symlink(dir.path().join("outside"), root.join("alike")).unwrap();
    for name in ["there", "twice", "alike"] {
        let file = open_below(Some(&root), &root.join(name).join("secrets.json")).unwrap();
        let fault = testing::fault(put(&file, "n", "v", 1, Expect::Absent).await);
        assert_eq!(fault.code, "file_outside_root", "{name}");
        assert_eq!(testing::fault(testing::remove(&file, "n", None, true).await).code, "file_outside_root");
        assert_eq!(testing::fault(testing::look(&file, "n").await).code, "file_outside_root");
    }
    for empty in [&elsewhere, &dir.path().join("outside")] {
        assert_eq!(fs::read_dir(empty).unwrap().count(), 0, "nothing was made there");
    }
    // One that stays inside is followed, and so is one that the root itself is.
    symlink(root.join("a"), root.join("inside")).unwrap();
    symlink(&root, dir.path().join("linked")).unwrap();
    let linked = dir.path().join("linked");
    for path in [root.join("inside/secrets.json"), linked.join("a/other.json")] {
        let file = open_below(Some(&linked), &path).unwrap();
        assert!(written(put(&file, "n", "v", 1, Expect::Absent).await), "{path:?}");
    }
    assert!(root.join("a/secrets.json").is_file() && root.join("a/other.json").is_file());
    // A directory that is turned into a link later is noticed with the next write.
    let file = open_below(Some(&root), &root.join("a/secrets.json")).unwrap();
    assert!(written(put(&file, "n", "w", 2, Expect::Ours(None)).await));
    fs::rename(root.join("a"), root.join("b")).unwrap();
    symlink(&elsewhere, root.join("a")).unwrap();
    assert_eq!(testing::fault(put(&file, "n", "x", 3, Expect::Ours(None)).await).code, "file_outside_root");
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
}

#[tokio::test]
async fn a_missing_root_is_told_and_never_made() {
    let dir = TempDir::new().unwrap();
    let root = dir.path().join("out");
    let file = open_below(Some(&root), &root.join("secrets.json")).unwrap();
    assert_eq!(testing::fault(put(&file, "n", "v", 1, Expect::Absent).await).code, "file_root_missing");
    assert!(!root.exists());
    fs::create_dir(&root).unwrap();
    assert!(written(put(&file, "n", "v", 1, Expect::Absent).await));
}
