//! A pretend Keeper with a vault in it, and a `ksm` to point at it: ours, or the official one.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
};

use keeper::{
    config::{Config, KeeperIni, StoredConfig},
    json::Style,
    server::{NewFile, PretendKeeper},
};
use model::{ManualClock, SeededEntropy, Timestamp};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Whose `ksm`.
#[derive(Clone)]
pub(crate) enum Tool {
    /// The binary under test.
    Ours,
    /// The official CLI, by a Python that has it.
    Official(PathBuf),
}

/// One vault, one working directory with a `keeper.ini`, one tool.
///
/// Two sides made alike hold the same vault with the same UIDs: the dice are seeded.
pub(crate) struct Side {
    pub(crate) server: PretendKeeper,
    pub(crate) app: usize,
    pub(crate) directory: TempDir,
    /// UIDs by the names the vault's maker gave, for `{name}` in a command line.
    pub(crate) uids: BTreeMap<&'static str, String>,
    tool: Tool,
    _runtime: tokio::runtime::Runtime,
}

/// What a run came to.
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Ran {
    /// Stdout as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Stdout as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.stdout)
            .unwrap_or_else(|_| panic!("no JSON: {}\n{}", self.text(), self.stderr))
    }

    /// Stdout of a run that must have gone well.
    pub(crate) fn ok(&self) -> String {
        assert_eq!(self.code, Some(0), "{}\n{}", self.text(), self.stderr);
        self.text()
    }
}

impl Side {
    /// A vault with nothing in it, and a profile `_default` that may see it.
    pub(crate) fn empty(tool: Tool) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp::from_secs(1_700_000_000)));
        let entropy = Arc::new(SeededEntropy::new(7));
        let server = runtime.block_on(PretendKeeper::start(entropy, clock)).unwrap();
        let app = server.add_app("Bench").unwrap();
        let side = Self {
            server,
            app,
            directory: tempfile::tempdir().unwrap(),
            uids: BTreeMap::new(),
            tool,
            _runtime: runtime,
        };
        std::fs::write(side.path("ca.pem"), side.server.ca_pem()).unwrap();
        side.keep("_default", &side.config());
        side
    }

    /// The vault of the tests: folders, records of several types, files.
    pub(crate) fn new(tool: Tool) -> Self {
        let mut side = Self::empty(tool);
        super::vault::fill(&mut side);
        side
    }

    /// The identity of a device that is bound already. Without the server's key, which the official CLI
    /// does not keep: both tools are told it otherwise.
    pub(crate) fn config(&self) -> Config {
        let config = self.server.add_bound_device(self.app).unwrap();
        // Opened to be changed: it is made up.
        let mut json: Value = serde_json::from_slice(config.to_json().expose()).unwrap();
        json.as_object_mut().unwrap().remove("serverPublicKey");
        match StoredConfig::parse(&json.to_string()).unwrap() {
            StoredConfig::Bound(config) => config,
            StoredConfig::Unbound(_) => panic!("it was bound"),
        }
    }

    /// Adds a profile to the `keeper.ini`.
    pub(crate) fn keep(&self, profile: &str, config: &Config) {
        let path = self.path("keeper.ini");
        let mut ini = if path.exists() { KeeperIni::load(&path).unwrap().0 } else { KeeperIni::default() };
        ini.set_profile(profile, config).unwrap();
        ini.save(&path).unwrap();
    }

    /// Adds a record, shared directly where no folder is given.
    pub(crate) fn record(&mut self, name: &'static str, folder: Option<&str>, body: &str) -> String {
        let uid = self.server.add_record(body).unwrap();
        match folder {
            Some(folder) => self.server.put_into(&uid, folder),
            None => self.server.share_record(self.app, &uid, true),
        }
        self.uids.insert(name, uid.clone());
        uid
    }

    /// Adds a folder; a root is shared.
    pub(crate) fn folder(
        &mut self,
        name: &'static str,
        parent: Option<&str>,
        title: &str,
        editable: bool,
    ) -> String {
        let uid = self.server.add_folder(parent, title).unwrap();
        if parent.is_none() {
            self.server.share_folder(self.app, &uid, editable);
        }
        self.uids.insert(name, uid.clone());
        uid
    }

    /// Attaches a file.
    pub(crate) fn attach(&mut self, name: &'static str, record: &str, file: &NewFile<'_>) {
        let uid = self.server.attach(record, file).unwrap();
        self.uids.insert(name, uid);
    }

    /// Whether it is the binary under test that is run here.
    pub(crate) const fn is_ours(&self) -> bool {
        matches!(self.tool, Tool::Ours)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// `{name}` by the UID, `{host}` by the server's address, `{token}` by a new one-time token.
    pub(crate) fn filled(&self, text: &str) -> String {
        let mut text = text.replace("{host}", &self.server.host().to_string());
        if text.contains("{token}") {
            let (token, _) = self.server.add_device(self.app);
            // Opened to be used up: it is made up.
            text = text.replace("{token}", token.expose_text().unwrap());
        }
        if text.contains("{config}") {
            // Opened to be imported: it is made up.
            text = text.replace("{config}", self.config().to_base64().expose_text().unwrap());
        }
        for (name, uid) in &self.uids {
            text = text.replace(&format!("{{{name}}}"), uid);
        }
        text
    }

    /// The tool with nothing of the tester's environment.
    pub(crate) fn command(&self) -> Command {
        self.command_of(&self.tool)
    }

    fn command_of(&self, tool: &Tool) -> Command {
        let mut command = match tool {
            Tool::Ours => {
                let mut command = Command::new(env!("CARGO_BIN_EXE_keyferry"));
                std::os::unix::process::CommandExt::arg0(&mut command, "ksm");
                command
            }
            Tool::Official(python) => {
                let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../keeper/tests/official/cli.py");
                let mut command = Command::new(python);
                command.arg(script);
                command
            }
        };
        command
            .env_clear()
            .env("HOME", self.directory.path())
            .env("PATH", "/usr/bin:/bin")
            .env("REQUESTS_CA_BUNDLE", self.path("ca.pem"))
            .current_dir(self.directory.path());
        match tool {
            Tool::Ours => command.env("KSM_SERVER_PUBLIC_KEY", self.server.server_key()),
            Tool::Official(_) => {
                let keys = json!({ self.server.server_key_id(): self.server.server_key() });
                command
                    .env("TEST_SERVER_KEYS", keys.to_string())
                    .env("PYTHONDONTWRITEBYTECODE", "1")
                    .env("PYTHONUTF8", "1")
            }
        };
        command
    }

    /// The same vault and directory for another tool.
    pub(crate) fn beside(&self, tool: Tool) -> impl Fn(&[&str]) -> Ran + '_ {
        move |words| ran(self.command_of(&tool), words, &[], b"")
    }

    /// Runs a command line.
    pub(crate) fn run<S: AsRef<OsStr>>(&self, words: &[S]) -> Ran {
        self.run_with(words, &[], b"")
    }

    /// The same with more in its environment and on its stdin.
    pub(crate) fn run_with<S: AsRef<OsStr>>(
        &self,
        words: &[S],
        variables: &[(&str, &str)],
        input: &[u8],
    ) -> Ran {
        ran(self.command(), words, variables, input)
    }

    /// All that is in the vault: records with their places and files, and folders. What was not there at
    /// first has a UID that the client drew, and is told by its title.
    pub(crate) fn state(&self) -> Value {
        let known = |uid: &str, title: &str| {
            if self.uids.values().any(|known| known == uid) { uid.to_owned() } else { format!("new {title}") }
        };
        let folder_name = |uid: &str| {
            let (title, _) = self.server.folder(uid).unwrap_or_default();
            known(uid, &title)
        };
        let mut state = json!({"records": {}, "folders": {}});
        for uid in self.server.record_uids() {
            let Some(body) = self.server.record(&uid) else { continue };
            let mut body: Value = serde_json::from_slice(body.write(Style::Compact).expose()).unwrap();
            let files: BTreeMap<String, Value> = self
                .server
                .files_of(&uid)
                .iter()
                .filter_map(|file| Some((file, self.server.file(&uid, file)?)))
                .map(|(file, (meta, content))| {
                    let mut meta: Value =
                        serde_json::from_slice(meta.write(Style::Compact).expose()).unwrap();
                    let title = meta["title"].as_str().unwrap_or_default().to_owned();
                    // When it was uploaded.
                    meta.as_object_mut().unwrap().remove("lastModified");
                    (known(file, &title), json!({"meta": meta, "content": String::from_utf8_lossy(&content)}))
                })
                .collect();
            // References to files that are new have UIDs that the client drew.
            for field in body["fields"].as_array_mut().into_iter().flatten() {
                if field["type"] == "fileRef" {
                    for uid in field["value"].as_array_mut().into_iter().flatten() {
                        *uid = json!(known(uid.as_str().unwrap_or_default(), "file"));
                    }
                }
            }
            let folders: Vec<_> = self.server.folders_of(&uid).iter().map(|uid| folder_name(uid)).collect();
            let title = body["title"].as_str().unwrap_or_default().to_owned();
            state["records"][known(&uid, &title)] = json!({"body": body, "files": files, "folders": folders, "revision": self.server.revision(&uid)});
        }
        for uid in self.server.folder_uids() {
            if let Some((title, parent)) = self.server.folder(&uid) {
                let parent = parent.map(|parent| folder_name(&parent));
                state["folders"][known(&uid, &title)] = json!({"title": title, "parent": parent});
            }
        }
        state
    }
}

fn ran<S: AsRef<OsStr>>(mut command: Command, words: &[S], variables: &[(&str, &str)], input: &[u8]) -> Ran {
    let mut child = command
        .args(words)
        .envs(variables.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // One that does not read its stdin may be over already.
    let _ = child.stdin.take().unwrap().write_all(input);
    let output = child.wait_with_output().unwrap();
    Ran {
        code: output.status.code(),
        stdout: output.stdout,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
