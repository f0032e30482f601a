//! A PostgreSQL of a test's own, to be killed and started again.

use std::{
    fs,
    net::TcpListener,
    os::unix::{fs::MetadataExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;

use super::{Database, parts::part};

/// Whom PostgreSQL runs as when the tests are root, which it refuses to be.
const NOBODY: u32 = 65_534;

/// A cluster and the server on it. Ended when dropped.
pub(crate) struct Cluster {
    bin: PathBuf,
    dir: TempDir,
    port: u16,
    server: Option<Child>,
}

impl Cluster {
    /// A new one, running; none when the part is not there.
    pub(crate) fn start_new() -> Option<Self> {
        let bin = PathBuf::from(part("KEYFERRY_TEST_POSTGRES_BIN")?);
        // A socket's path must be short, and the directory one that another user can enter.
        let dir = tempfile::Builder::new().prefix("kfpg").tempdir_in("/tmp").unwrap();
        if root(dir.path()) {
            std::os::unix::fs::chown(dir.path(), Some(NOBODY), None).unwrap();
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut cluster = Self { bin, dir, port, server: None };
        let made = cluster
            .command("initdb")
            .args(["-U", "keyferry", "-E", "UTF8", "--locale=C", "--auth=trust", "-D"])
            .arg(cluster.data())
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        cluster.start();
        Some(cluster)
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// One of its programs, run by whom it belongs to.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.bin.join(program));
        command.current_dir(self.dir.path()).stdin(Stdio::null());
        if fs::metadata("/proc/self").map_or(0, |it| it.uid()) == 0 {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }

    /// Starts the server and waits until it serves.
    pub(crate) fn start(&mut self) {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.dir.path().join("log")).unwrap();
        let port = self.port.to_string();
        let server = self
            .command("postgres")
            .arg("-D")
            .arg(self.data())
            .args(["-p", &port, "-c", "listen_addresses=localhost", "-c", "log_min_messages=fatal", "-k"])
            .arg(self.dir.path())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.server = Some(server);
        for _ in 0..600 {
            let ready = self.command("pg_isready").args(["-q", "-h", "localhost", "-p", &port]).status();
            if ready.unwrap().success() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("{}", fs::read_to_string(self.dir.path().join("log")).unwrap());
    }

    /// The server and all its parts end at once, without writing anything down (`pg_ctl stop -m immediate`).
    pub(crate) fn crash(&mut self) {
        if let Some(mut server) = self.server.take() {
            let pid = server.id().to_string();
            let _ = Command::new("kill").args(["-s", "QUIT", &pid]).status();
            let _ = server.wait();
        }
    }

    /// Its database, with the schema `keyferry`.
    pub(crate) fn database(&self) -> Database {
        Database::at(format!("postgres://keyferry@localhost:{}/postgres", self.port), &self.bin)
    }

    /// From now on it takes TLS only, by a certificate for `localhost`; the authority that signed it, in PEM.
    pub(crate) fn turn_tls_on(&mut self) -> String {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let ca = authority.self_signed(&key).unwrap().pem();
        let issuer = rcgen::Issuer::new(authority, key);
        let own = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = certificate.signed_by(&own, &issuer).unwrap().pem();
        self.put("server.crt", &certificate);
        self.put("server.key", &own.serialize_pem());
        self.put("pg_hba.conf", "hostssl all all all trust\nlocal all all trust\n");
        let conf = fs::read_to_string(self.data().join("postgresql.conf")).unwrap();
        self.put("postgresql.conf", &format!("{conf}\nssl = on\n"));
        self.crash();
        self.start();
        ca
    }

    fn put(&self, name: &str, text: &str) {
        let path = self.data().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        if root(self.dir.path()) || fs::metadata(self.data()).unwrap().uid() == NOBODY {
            std::os::unix::fs::chown(&path, Some(NOBODY), None).unwrap();
        }
    }
}

/// Whether what we make belongs to root.
fn root(made: &Path) -> bool {
    fs::metadata(made).unwrap().uid() == 0
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.crash();
    }
}
