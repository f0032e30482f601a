//! What the tests share: a pretend Keeper, a home directory, and the binary.

use std::{
    io::Write as _,
    path::Path,
    process::{Command, Output, Stdio},
    sync::Arc,
};

use keeper::{
    config::Config,
    server::{NewFile, PretendKeeper},
};
use model::{Clock, SeededEntropy, Timestamp};
use serde_json::Value;
use tokio::runtime::Runtime;

/// The real time.
pub(crate) struct RealTime;

impl Clock for RealTime {
    #[expect(clippy::disallowed_methods, reason = "the binary under test lives in the real time")]
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        Timestamp::from_nanos(i64::try_from(since.as_nanos()).unwrap())
    }
}

/// What one run of the binary came to.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    pub(crate) fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// The one JSON document on stdout.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// Ended with this exit code; otherwise everything is shown.
    #[track_caller]
    pub(crate) fn ended(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        self
    }
}

/// A pretend Keeper with one application and one device, and a home directory.
pub(crate) struct Bench {
    pub(crate) runtime: Runtime,
    pub(crate) keeper: PretendKeeper,
    pub(crate) app: usize,
    pub(crate) config: Config,
    pub(crate) home: tempfile::TempDir,
    pub(crate) variables: Vec<(String, String)>,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let runtime = Runtime::new().unwrap();
        let keeper = runtime
            .block_on(PretendKeeper::start(Arc::new(SeededEntropy::new(1)), Arc::new(RealTime)))
            .unwrap();
        let app = keeper.add_app("Bench").unwrap();
        let config = keeper.add_bound_device(app).unwrap();
        let home = tempfile::tempdir().unwrap();
        let ca = home.path().join("ca.pem");
        std::fs::write(&ca, keeper.ca_pem()).unwrap();
        let variables = vec![
            ("KSM_CONFIG".to_owned(), config.to_base64().expose_text().unwrap().to_owned()),
            ("SSL_CERT_FILE".to_owned(), ca.display().to_string()),
            ("HOME".to_owned(), home.path().display().to_string()),
        ];
        Self { runtime, keeper, app, config, home, variables }
    }

    /// Adds a record and shares it.
    pub(crate) fn record(&self, body: &str) -> String {
        let uid = self.keeper.add_record(body).unwrap();
        self.keeper.share_record(self.app, &uid, true);
        uid
    }

    /// Adds a login with that title and password.
    pub(crate) fn login(&self, title: &str, password: &str) -> String {
        self.record(&login(title, password))
    }

    /// Attaches a file.
    pub(crate) fn attach(&self, record: &str, name: &str, content: &[u8]) {
        self.keeper.attach(record, &NewFile { uid: None, name, title: name, content }).unwrap();
    }

    /// The binary as `ksm`, with this bench's environment and nothing else of ours.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(self.ksm());
        self.dress(&mut command);
        command
    }

    /// Where the binary is under the name `ksm`.
    pub(crate) fn ksm(&self) -> std::path::PathBuf {
        let path = self.home.path().join("bin/ksm");
        if !path.exists() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_keyferry"), &path).unwrap();
        }
        path
    }

    /// Gives a command this bench's environment.
    pub(crate) fn dress(&self, command: &mut Command) {
        command.env_clear().envs(self.variables.iter().cloned()).current_dir(self.home.path());
        command.stdin(Stdio::null());
    }

    /// Runs `ksm` with these arguments.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(self.command().args(arguments).output().unwrap())
    }

    /// Runs a shell script that finds `ksm` by its name.
    pub(crate) fn script(&self, text: &str) -> Ran {
        let bin = self.ksm().parent().unwrap().to_owned();
        let mut shell = Command::new("/bin/bash");
        self.dress(&mut shell);
        shell.env("PATH", format!("{}:/usr/bin:/bin", bin.display()));
        let mut child =
            shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        Ran::of(child.wait_with_output().unwrap())
    }

    /// A file in the home directory.
    pub(crate) fn read(&self, name: impl AsRef<Path>) -> String {
        std::fs::read_to_string(self.home.path().join(name)).unwrap()
    }
}

/// The body of a login.
pub(crate) fn login(title: &str, password: &str) -> String {
    let body = serde_json::json!({"title": title, "type": "login",
        "fields": [{"type": "password", "value": [password]}]});
    body.to_string()
}
