use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::mpsc,
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

use super::Client;

/// The binary under test.
pub(crate) fn keyferry() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyferry"));
    // The tester's own settings must not reach the server.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if ["VAULT_", "BAO_", "AWS_", "AZURE_", "GOOGLE_"].iter().any(|prefix| text.starts_with(prefix))
            || text.starts_with("KEYFERRY_") && !text.starts_with("KEYFERRY_TEST_")
        {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

/// Makes a store and returns its root token.
pub(crate) fn init(data: &Path) -> String {
    init_with("--data", data)
}

/// The same, where a configuration file says.
pub(crate) fn init_by(config: &Path) -> String {
    init_with("--config", config)
}

fn init_with(option: &str, path: &Path) -> String {
    let Output { status, stdout, stderr } =
        keyferry().args(["init", "--format", "json", option]).arg(path).output().unwrap();
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    let told: Value = serde_json::from_slice(&stdout).unwrap();
    told["root_token"].as_str().unwrap().to_owned()
}

/// A shell in the same environment, that ends by becoming what its arguments say.
fn shell(command: &Command, first: &str) -> Command {
    let mut shell = Command::new("sh");
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell.arg("-c").arg(format!("{first}; exec \"$@\"")).arg("sh").stdin(Stdio::null());
    shell
}

/// How a server is started.
pub(crate) struct Boot {
    args: Vec<String>,
    env: Vec<(String, String)>,
    token: String,
    within: Option<String>,
}

impl Boot {
    /// In memory, root token `root`, a free port.
    pub(crate) fn dev() -> Self {
        Self::bare(&["server", "-dev", "-dev-root-token-id=root", "-dev-listen-address=127.0.0.1:0"], "root")
    }

    /// On a store made by [`init`].
    pub(crate) fn data(dir: &Path, token: &str) -> Self {
        Self::bare(&["server", "--data", dir.to_str().unwrap(), "--listen", "127.0.0.1:0"], token)
    }

    /// By a configuration file.
    pub(crate) fn config(file: &Path, token: &str) -> Self {
        Self::bare(&["server", "--config", file.to_str().unwrap()], token)
    }

    /// With these arguments and no others.
    pub(crate) fn bare(args: &[&str], token: &str) -> Self {
        Self {
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            env: Vec::new(),
            token: token.to_owned(),
            within: None,
        }
    }

    /// With one more variable in its environment.
    #[must_use]
    pub(crate) fn env(mut self, name: &str, text: impl Into<String>) -> Self {
        self.env.push((name.to_owned(), text.into()));
        self
    }

    /// In a shell that carries out these commands first, such as `ulimit -n 64`.
    #[must_use]
    pub(crate) fn within(mut self, commands: &str) -> Self {
        self.within = Some(commands.to_owned());
        self
    }

    /// Starts it and waits until it says where it listens.
    pub(crate) fn start(self) -> Server {
        let logs = tempfile::tempdir().unwrap();
        let log = logs.path().join("stderr.log");
        let mut command = keyferry();
        if let Some(commands) = &self.within {
            let program = command.get_program().to_owned();
            command = shell(&command, commands);
            command.arg(program);
        }
        let mut child = command
            .args(&self.args)
            .envs(self.env)
            .stdout(Stdio::piped())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let (tell, told) = mpsc::channel();
        let stdout = child.stdout.take().unwrap();
        // Reads on to the end, so that the server never waits for a reader and all it says is kept.
        let reader = std::thread::spawn(move || {
            let mut all = String::new();
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if let Some(address) = address_in(&line) {
                    let _ = tell.send(address);
                }
                all.push_str(&line);
                all.push('\n');
            }
            all
        });
        let mut server =
            Server { child, url: String::new(), token: self.token, log, reader: Some(reader), _logs: logs };
        let Ok(url) = told.recv_timeout(Duration::from_mins(1)) else {
            panic!("the server did not say where it listens:\n{}", server.log());
        };
        server.url = url;
        server
    }
}

/// The first `http(s)://host:port` on a line.
fn address_in(line: &str) -> Option<String> {
    let start = line.find("http://").or_else(|| line.find("https://"))?;
    let end =
        line[start..].find(|c: char| c.is_whitespace() || c == '"').map_or(line.len(), |len| start + len);
    Some(line[start..end].to_owned())
}

/// A running server; ended by its pid when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) url: String,
    pub(crate) token: String,
    log: PathBuf,
    reader: Option<std::thread::JoinHandle<String>>,
    _logs: TempDir,
}

impl Server {
    /// A dev server as tests mostly want it.
    pub(crate) fn dev() -> Self {
        Boot::dev().start()
    }

    /// A client with the root token.
    pub(crate) fn client(&self) -> Client {
        Client::new(&self.url, Some(&self.token))
    }

    /// `host:port`.
    pub(crate) fn address(&self) -> &str {
        self.url.split_once("://").unwrap().1
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub(crate) fn alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Kill -9: no goodbye.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends a signal by name (`TERM`, `INT`).
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    /// Waits for its end, at most 30 seconds, and returns all it said: status, stdout, stderr.
    pub(crate) fn wait(mut self) -> (ExitStatus, String, String) {
        for _ in 0..600 {
            if let Some(status) = self.child.try_wait().unwrap() {
                let stdout = self.reader.take().unwrap().join().unwrap();
                return (status, stdout, self.log());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("the server did not end within 30 s:\n{}", self.log());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
