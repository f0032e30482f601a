//! One connection and what it does: scenarios of a few requests each, chosen by weight.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use http_body_util::{BodyExt as _, Full};
use hyper::{Method, Request, body::Bytes, client::conn::http1::SendRequest};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

/// Secrets of one connection.
const KEYS: u64 = 32;

/// What is done, and out of a thousand how often.
const SCENARIOS: &[(u64, Scenario)] = &[
    (330, Scenario::Put),
    (370, Scenario::Get),
    (40, Scenario::List),
    (30, Scenario::Delete),
    (20, Scenario::Undelete),
    (20, Scenario::Destroy),
    (10, Scenario::Forget),
    (50, Scenario::Token),
    (20, Scenario::ExpiringToken),
    (20, Scenario::CountedToken),
    (15, Scenario::BatchToken),
    (15, Scenario::Cubbyhole),
    (20, Scenario::Wrap),
    (5, Scenario::LostWrap),
    (15, Scenario::AppRole),
    (20, Scenario::Associate),
];

#[derive(Clone, Copy)]
enum Scenario {
    Put,
    Get,
    List,
    Delete,
    Undelete,
    Destroy,
    Forget,
    Token,
    ExpiringToken,
    CountedToken,
    BatchToken,
    Cubbyhole,
    Wrap,
    LostWrap,
    AppRole,
    Associate,
}

pub(super) struct Worker {
    send: SendRequest<Full<Bytes>>,
    root: String,
    role: String,
    number: usize,
    done: Arc<AtomicU64>,
    dice: u64,
}

impl Worker {
    pub(super) async fn connect(
        address: &str,
        root: &str,
        role: &str,
        number: usize,
        done: Arc<AtomicU64>,
    ) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (send, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let dice = 0x9E37_79B9_7F4A_7C15 ^ (number as u64 + 1);
        Self { send, root: root.to_owned(), role: role.to_owned(), number, done, dice }
    }

    /// The next number below a bound: xorshift, the same every time.
    fn roll(&mut self, below: u64) -> u64 {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        self.dice % below
    }

    /// Until all connections together have done so many operations, or it is late.
    pub(super) async fn work(mut self, operations: u64, until: Instant) {
        while self.done.load(Ordering::Relaxed) < operations && Instant::now() < until {
            let mut at = self.roll(SCENARIOS.iter().map(|(weight, _)| weight).sum());
            let scenario = SCENARIOS.iter().find(|(weight, _)| {
                let here = at < *weight;
                at = at.saturating_sub(*weight);
                here
            });
            self.play(scenario.map_or(Scenario::Get, |(_, scenario)| *scenario)).await;
        }
    }

    /// One request as the root token; its answer, which must have one of these statuses.
    async fn call(&mut self, method: &str, path: &str, body: Value, wanted: &[u16]) -> Value {
        let root = self.root.clone();
        self.send(&root, None, method, path, body, wanted).await
    }

    async fn send(
        &mut self,
        token: &str,
        wrap: Option<&str>,
        method: &str,
        path: &str,
        body: Value,
        wanted: &[u16],
    ) -> Value {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let mut request =
            Request::builder().method(&method).uri(format!("/v1/{path}")).header("Host", "soak");
        if !token.is_empty() {
            request = request.header("X-Vault-Token", token);
        }
        if let Some(ttl) = wrap {
            request = request.header("X-Vault-Wrap-TTL", ttl);
        }
        let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
        self.send.ready().await.unwrap();
        let answer = self.send.send_request(request.body(Full::new(body)).unwrap()).await.unwrap();
        let status = answer.status().as_u16();
        let text = answer.into_body().collect().await.unwrap().to_bytes();
        assert!(wanted.contains(&status), "{method} {path}: {status} {}", String::from_utf8_lossy(&text));
        self.done.fetch_add(1, Ordering::Relaxed);
        serde_json::from_slice(&text).unwrap_or(Value::Null)
    }

    /// A new token; `auth` of the answer.
    async fn token(&mut self, body: Value) -> String {
        let made = self.call("POST", "auth/token/create", body, &[200]).await;
        made["auth"]["client_token"].as_str().unwrap().to_owned()
    }

    async fn play(&mut self, scenario: Scenario) {
        let roll = self.roll(KEYS);
        let key = format!("w{}/k{roll}", self.number);
        let data = format!("soak/data/{key}");
        match scenario {
            Scenario::Put => {
                let value = format!("{:032x}", self.roll(u64::MAX)).repeat(6);
                self.call("POST", &data, json!({ "data": { "user": "anna", "password": value } }), &[200])
                    .await;
            }
            Scenario::Get => {
                self.call("GET", &data, Value::Null, &[200, 404]).await;
            }
            Scenario::List => {
                let folder = format!("soak/metadata/w{}", self.number);
                self.call("LIST", &folder, Value::Null, &[200, 404]).await;
            }
            Scenario::Delete => {
                self.call("DELETE", &data, Value::Null, &[204]).await;
            }
            Scenario::Undelete => {
                let path = format!("soak/undelete/{key}");
                self.call("POST", &path, json!({ "versions": [1, 2, 3] }), &[204, 404]).await;
            }
            Scenario::Destroy => {
                let path = format!("soak/destroy/{key}");
                self.call("PUT", &path, json!({ "versions": [1, 2] }), &[204, 404]).await;
            }
            Scenario::Forget => {
                self.call("DELETE", &format!("soak/metadata/{key}"), Value::Null, &[204]).await;
            }
            Scenario::Wrap | Scenario::LostWrap => self.wrap(scenario).await,
            Scenario::AppRole => self.log_in().await,
            Scenario::Associate => self.associate().await,
            _ => self.tokens(scenario, &data).await,
        }
    }

    async fn tokens(&mut self, scenario: Scenario, data: &str) {
        let read: &[u16] = &[200, 404];
        match scenario {
            Scenario::Token => {
                let token = self.token(json!({ "policies": ["soak"], "ttl": "1h" })).await;
                self.send(&token, None, "GET", data, Value::Null, read).await;
                self.send(&token, None, "POST", "auth/token/renew-self", Value::Null, &[200]).await;
                self.send(&token, None, "GET", "auth/token/lookup-self", Value::Null, &[200]).await;
                self.send(&token, None, "POST", "auth/token/revoke-self", Value::Null, &[204]).await;
                self.send(&token, None, "GET", data, Value::Null, &[403]).await;
            }
            Scenario::CountedToken => {
                let token = self.token(json!({ "policies": ["soak"], "ttl": "1h", "num_uses": 2 })).await;
                self.send(&token, None, "GET", data, Value::Null, read).await;
                self.send(&token, None, "GET", data, Value::Null, read).await;
                self.send(&token, None, "GET", data, Value::Null, &[403]).await;
            }
            Scenario::BatchToken => {
                let token = self.token(json!({ "policies": ["soak"], "ttl": "1s", "type": "batch" })).await;
                self.send(&token, None, "GET", data, Value::Null, &[200, 404, 403]).await;
            }
            Scenario::Cubbyhole => {
                let token = self.token(json!({ "policies": ["soak"], "ttl": "1s" })).await;
                let body = json!({ "k": "v" });
                self.send(&token, None, "POST", "cubbyhole/mine", body, &[204, 403]).await;
            }
            _ => {
                self.token(json!({ "policies": ["soak"], "ttl": "1s" })).await;
            }
        }
    }

    async fn wrap(&mut self, scenario: Scenario) {
        let root = self.root.clone();
        let ttl = if matches!(scenario, Scenario::Wrap) { "5m" } else { "1s" };
        let wrapped = self.send(&root, Some(ttl), "GET", "soak/config", Value::Null, &[200]).await;
        if matches!(scenario, Scenario::Wrap) {
            let token = wrapped["wrap_info"]["token"].as_str().unwrap();
            self.send(token, None, "POST", "sys/wrapping/unwrap", Value::Null, &[200]).await;
            self.send(token, None, "POST", "sys/wrapping/unwrap", Value::Null, &[400]).await;
        }
    }

    async fn log_in(&mut self) {
        // Hashing a password costs as much as a thousand other requests.
        if self.roll(200) == 0 {
            let body = json!({ "password": "a long word" });
            self.send("", None, "POST", "auth/userpass/login/soak", body, &[200]).await;
            return;
        }
        let made =
            self.call("POST", "auth/approle/role/soak/secret-id", json!({ "num_uses": 1 }), &[200]).await;
        let body = json!({ "role_id": self.role, "secret_id": made["data"]["secret_id"] });
        let login = self.send("", None, "POST", "auth/approle/login", body, &[200]).await;
        let token = login["auth"]["client_token"].as_str().unwrap().to_owned();
        self.send(&token, None, "GET", "auth/token/lookup-self", Value::Null, &[200, 403]).await;
    }

    async fn associate(&mut self) {
        let roll = self.roll(4);
        let name = format!("w{}/a{roll}", self.number);
        let body = json!({ "data": { "k": self.roll(u64::MAX) } });
        self.call("POST", &format!("soak/data/{name}"), body, &[200]).await;
        let destination = "sys/sync/destinations/in-mem/soak/associations";
        let body = json!({ "mount": "soak", "secret_name": name });
        self.call("POST", &format!("{destination}/set"), body.clone(), &[200]).await;
        self.call("POST", &format!("{destination}/remove"), body, &[200]).await;
    }
}
