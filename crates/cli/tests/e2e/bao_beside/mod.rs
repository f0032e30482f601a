//! The same requests to OpenBao and to our server, which must answer alike. What differs and stays so is a row of
//! `docs/compatibility.md`, with its reason; this test holds the two together.

mod compare;
mod page;
mod table;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs::File,
    path::Path,
    process::{Child, Command, Stdio},
};

use http_body_util::Full;
use hyper::{Method, Request};
use serde_json::Value;

use crate::harness::{Answer, Client, Server, bao, eventually};
use compare::{Difference, Norm};
pub(crate) use page::fits;
use table::{Line, filled};

/// The areas in the order in which they are run. The last one seals the servers.
const AREAS: &[&str] =
    &["state", "mounts", "kv", "tokens", "policies", "auth", "identity", "wrapping", "system", "sealed"];

/// OpenBao in dev mode with the root token `root`, ended by its pid when dropped.
struct OpenBao {
    child: Child,
    url: String,
}

impl OpenBao {
    async fn start(binary: &Path, home: &Path) -> Self {
        // It cannot choose a port itself: a free one is asked for and let go, and tried again should somebody else take it.
        for _ in 0..5 {
            let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            let child = Command::new(binary)
                .args(["server", "-dev", "-dev-root-token-id=root", "-dev-no-store-token"])
                .arg(format!("-dev-listen-address={address}"))
                .env_clear()
                .env("HOME", home)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(File::create(home.join("bao.log")).unwrap())
                .spawn()
                .unwrap();
            let mut bao = Self { child, url: format!("http://{address}") };
            // Mounted last of all: the KV engine is ready some time after the port is open.
            let client = Client::new(&bao.url, Some("root"));
            let ended = eventually("an answer of OpenBao", || {
                let ended = bao.child.try_wait().unwrap().is_some();
                let client = client.clone();
                async move {
                    if ended {
                        return Some(true);
                    }
                    let answer = client.try_call("GET", "secret/config", None).await;
                    answer.is_ok_and(|answer| answer.status.is_success()).then_some(false)
                }
            })
            .await;
            if !ended {
                return bao;
            }
        }
        panic!(
            "OpenBao did not start:\n{}",
            std::fs::read_to_string(home.join("bao.log")).unwrap_or_default()
        );
    }
}

impl Drop for OpenBao {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One of the two servers, and what it answered that later requests name.
struct Side {
    client: Client,
    kept: BTreeMap<String, String>,
}

impl Side {
    fn of(url: &str) -> Self {
        Self { client: Client::new(url, None), kept: BTreeMap::new() }
    }

    async fn send(&mut self, line: &Line) -> Answer {
        let fill = |text: &str| filled(text, &self.kept);
        let method = Method::from_bytes(line.method.as_bytes()).unwrap();
        let mut request = Request::builder().method(method).uri(fill(&line.path));
        if let Some(token) = &line.token {
            request = request.header("X-Vault-Token", fill(token));
        }
        for (name, text) in &line.headers {
            request = request.header(name.as_str(), fill(text));
        }
        let body = line.body.as_deref().map(fill).unwrap_or_default();
        let request = request.body(Full::new(body.into())).unwrap();
        let answer =
            self.client.try_send(request).await.unwrap_or_else(|fault| panic!("{}: {fault}", line.place));
        let json = answer.json();
        for (name, place) in &line.keep {
            let found = place.split('.').try_fold(&json, |value, member| value.get(member));
            let text = found.and_then(Value::as_str).unwrap_or("nothing-was-kept");
            self.kept.insert(name.clone(), text.to_owned());
        }
        answer
    }
}

#[tokio::test]
async fn the_same_requests_get_the_same_answers() {
    let Some(binary) = bao() else { return };
    let home = tempfile::tempdir().unwrap();
    let server = Server::dev();
    let bao = OpenBao::start(&binary, home.path()).await;
    let (mut theirs, mut mine) = (Side::of(&bao.url), Side::of(&server.url));
    let norm = Norm::new();
    let rows = page::rows();
    let (mut requests, mut used, mut unlisted) = (0, BTreeSet::new(), String::new());
    for area in AREAS {
        let file =
            Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/e2e/bao_beside/requests/{area}.txt"));
        for line in table::read(&file) {
            requests += 1;
            let (said, ours) = (theirs.send(&line).await, mine.send(&line).await);
            for difference in norm.differences(&line.name, &said, &ours) {
                let covering: Vec<_> = rows.iter().filter(|row| row.covers(&difference)).collect();
                used.extend(covering.iter().map(|row| row.line));
                if covering.is_empty() {
                    let Difference { request, at, bao, ours } = difference;
                    let body = line.body.as_deref().unwrap_or_default();
                    writeln!(
                        unlisted,
                        "{} {request} {body}\n    {at}\n      OpenBao:  {bao}\n      keyferry: {ours}",
                        line.place
                    )
                    .unwrap();
                }
            }
        }
    }
    println!("{requests} requests, {} rows of docs/compatibility.md", rows.len());
    let mut gone = String::new();
    for row in rows.iter().filter(|row| !used.contains(&row.line)) {
        writeln!(
            gone,
            "docs/compatibility.md:{}: no request shows this difference any more: {row:?}",
            row.line
        )
        .unwrap();
    }
    assert!(unlisted.is_empty() && gone.is_empty(), "{unlisted}{gone}");
}
