//! Audit devices: what their lines say, what they never say, and what happens when they cannot be written.

use std::{
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use serde_json::{Value, json};
use server::{
    app::{Settings, audit::Device},
    http::Limits,
    lines::Sink,
};

use crate::bench::{Bench, ROOT};

/// Keeps lines, or has no room for them.
#[derive(Default)]
struct Tape {
    lines: Mutex<Vec<u8>>,
    full: AtomicBool,
}

impl Sink for Tape {
    fn append(&self, lines: &[u8]) -> io::Result<()> {
        if self.full.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        assert_eq!(lines.iter().position(|byte| *byte == b'\n'), Some(lines.len() - 1), "one whole line");
        self.lines.lock().unwrap().extend_from_slice(lines);
        Ok(())
    }
}

impl Tape {
    fn text(&self) -> String {
        String::from_utf8(self.lines.lock().unwrap().clone()).unwrap()
    }

    fn take(&self) -> Vec<Value> {
        let text = std::mem::take(&mut *self.lines.lock().unwrap());
        text.split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect()
    }

    /// The two lines of the one request there was.
    fn pair(&self) -> (Value, Value) {
        let lines = self.take();
        let [request, response] = <[Value; 2]>::try_from(lines).expect("one request");
        assert_eq!((&request["type"], &response["type"]), (&json!("request"), &json!("response")));
        assert_eq!(request["request"], response["request"]);
        (request, response)
    }

    fn fill(&self, full: bool) {
        self.full.store(full, Ordering::Relaxed);
    }
}

fn device(path: &str, tape: &Arc<Tape>) -> Device {
    Device {
        path: path.to_owned(),
        kind: "file",
        description: "where auditors look".to_owned(),
        options: [("file_path".to_owned(), "/var/log/audit".to_owned())].into(),
        hmac_accessor: true,
        elide_lists: false,
        headers: vec!["x-request-id".to_owned()],
        sink: tape.clone(),
    }
}

async fn bench(devices: Vec<Device>) -> Bench {
    let devices: Vec<_> = devices.into_iter().map(Arc::new).collect();
    let bench = Bench::audited(Limits::default(), Settings::default(), &devices).await;
    assert_eq!(bench.post("sys/mounts/secret", r#"{"type":"kv-v2"}"#).await.status, 204);
    bench
}

async fn one() -> (Bench, Arc<Tape>) {
    let tape = Arc::new(Tape::default());
    let bench = bench(vec![device("file/", &tape)]).await;
    tape.take();
    (bench, tape)
}

async fn hash(bench: &Bench, text: &str) -> String {
    let answer = bench.post("sys/audit-hash/file", &json!({ "input": text }).to_string()).await;
    assert_eq!(answer.status, 200, "{answer}");
    answer.json()["hash"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_entry_says_who_asked_for_what_and_why_they_might() {
    let (bench, tape) = one().await;
    bench.policy("writer", r#"path "secret/data/*" { capabilities = ["create", "read"] }"#).await;
    let token = bench
        .token(r#"{"policies":["writer"],"display_name":"ci","ttl":"1h","num_uses":3,"meta":{"team":"a"}}"#)
        .await;
    tape.take();
    let headers = [("X-Vault-Token", token.as_str()), ("X-Request-Id", "r-1"), ("X-Other", "no")];
    let answer = bench.send("POST", "secret/data/app", r#"{"data":{"k":"v"}}"#, &headers).await;
    assert_eq!(answer.status, 200, "{answer}");
    let (request, response) = tape.pair();
    let (token, value) = (hash(&bench, &token).await, hash(&bench, "v").await);
    let accessor = bench.accessor("secret").await.to_string();
    assert_eq!(request["auth"]["client_token"], json!(token));
    let auth = &request["auth"];
    assert!(auth["accessor"].as_str().unwrap().starts_with("hmac-sha256:"));
    assert_eq!(auth["display_name"], "token-ci");
    assert_eq!(auth["policies"], json!(["default", "writer"]));
    assert_eq!(auth["token_policies"], auth["policies"]);
    assert_eq!(auth["metadata"], json!({"team": "a"}));
    assert_eq!((&auth["remaining_uses"], &auth["token_ttl"]), (&json!(2), &json!(3600)));
    assert_eq!(auth["token_type"], "service");
    assert_eq!(auth["token_issue_time"], "2023-09-20T14:51:53.961861Z");
    assert_eq!(
        auth["policy_results"],
        json!({
            "allowed": true,
            "granting_policies": [{"name": "writer", "namespace_id": "root", "type": "acl"}],
        })
    );
    let asked = &request["request"];
    assert_eq!(
        *asked,
        json!({
            "id": answer.json()["request_id"],
            "operation": "create",
            "mount_point": "secret/",
            "mount_type": "kv",
            "mount_accessor": accessor,
            "mount_running_version": concat!("v", env!("CARGO_PKG_VERSION"), "+builtin"),
            "mount_class": "secret",
            "client_token": token,
            "client_token_accessor": auth["accessor"],
            "namespace": {"id": "root"},
            "path": "secret/data/app",
            "data": {"data": {"k": value}},
            "remote_address": "127.0.0.1",
            "remote_port": 4711,
            "headers": {"x-request-id": ["r-1"]},
        })
    );
    assert_eq!(request["time"], "2023-09-20T14:51:53.961861Z");
    assert_eq!(request.get("error"), None);
    assert_eq!(response["auth"], request["auth"]);
    assert_eq!(response["response"]["mount_point"], "secret/");
    assert_eq!(response["response"]["data"]["version"], 1);
}

#[tokio::test]
async fn a_read_is_answered_in_hashes_also_of_what_is_deleted() {
    let (bench, tape) = one().await;
    bench.post("secret/data/app", r#"{"data":{"k":"v","pin":4711}}"#).await;
    let (value, pin) = (hash(&bench, "v").await, hash(&bench, "4711").await);
    tape.take();
    bench.get("secret/data/app?version=1").await;
    let (request, response) = tape.pair();
    assert_eq!(request["auth"]["policy_results"]["granting_policies"][0]["name"], "root");
    assert_eq!(request["request"]["data"], json!({"version": hash(&bench, "1").await}));
    assert_eq!(response["response"]["data"]["data"], json!({"k": value, "pin": pin}));
    assert_eq!(response["response"]["data"]["metadata"]["version"], 1);
    bench.delete("secret/data/app").await;
    tape.take();
    assert_eq!(bench.get("secret/data/app").await.status, 404);
    let (_, response) = tape.pair();
    let time = &response["response"]["data"]["metadata"]["deletion_time"];
    assert!(time.as_str().unwrap().starts_with("hmac-sha256:"), "{time}");
}

#[tokio::test]
async fn what_is_refused_is_written_too() {
    let (bench, tape) = one().await;
    bench.policy("none", r#"path "other/*" { capabilities = ["read"] }"#).await;
    let token = bench.token_of("none").await;
    tape.take();
    assert_eq!(bench.as_token(&token, "GET", "secret/data/app", "").await.status, 403);
    let (request, response) = tape.pair();
    assert_eq!(request["auth"]["policy_results"], json!({"allowed": false}));
    assert_eq!(request["error"], "1 error occurred:\n\t* permission denied\n\n");
    assert_eq!(response["error"], request["error"]);

    assert_eq!(bench.as_token("nobody", "GET", "secret/data/app", "").await.status, 403);
    let (request, _) = tape.pair();
    assert_eq!((request.get("auth"), &request["error"]), (None, &json!("permission denied")));
    assert_eq!(request["request"]["client_token"], json!(hash(&bench, "nobody").await));
    tape.take();

    assert_eq!(bench.get("nowhere/at/all").await.status, 404);
    let (request, response) = tape.pair();
    assert_eq!(request.get("error"), None);
    assert!(response["error"].as_str().unwrap().contains("no handler for route"));
}

#[tokio::test]
async fn logins_and_what_they_give_are_written() {
    let (bench, tape) = one().await;
    bench.post("sys/auth/userpass", r#"{"type":"userpass"}"#).await;
    bench.post("auth/userpass/users/ann", r#"{"password":"correct horse"}"#).await;
    tape.take();
    let token = bench.login("auth/userpass/login/ann", r#"{"password":"correct horse"}"#).await;
    let (request, response) = tape.pair();
    assert_eq!(request.get("auth"), None);
    assert_eq!(request["request"]["mount_point"], "auth/userpass/");
    assert_eq!(request["request"]["data"], json!({"password": hash(&bench, "correct horse").await}));
    let hashed = hash(&bench, &token).await;
    for auth in [&response["auth"], &response["response"]["auth"]] {
        assert_eq!(auth["client_token"], json!(hashed));
        assert_eq!(auth["policies"], json!(["default"]));
        assert_eq!(auth["metadata"], json!({"username": "ann"}));
    }
    tape.take();
    bench.as_token("", "POST", "auth/userpass/login/ann", r#"{"password":"wrong one"}"#).await;
    let (_, response) = tape.pair();
    assert_eq!(response["error"], "invalid username or password");
}

#[tokio::test]
async fn what_needs_no_account_gets_none() {
    let (bench, tape) = one().await;
    for path in ["sys/health", "sys/seal-status", "sys/leader", "sys/init"] {
        bench.as_token("", "GET", path, "").await;
    }
    assert_eq!(tape.text(), "");
}

/// Every sort of request, with values, tokens and passwords that are then searched for.
#[tokio::test]
async fn no_value_token_or_password_is_in_any_line() {
    let (bench, tape) = one().await;
    let mut canaries = vec!["canary".to_owned(), ROOT.repeat(3), "4712471247".to_owned()];
    bench
        .post("secret/data/a", r#"{"data":{"k":"canary-1","deep":[{"x":"canary-2"}],"pin":4712471247}}"#)
        .await;
    bench.patch("secret/data/a", r#"{"data":{"k":"canary-3"}}"#).await;
    for (method, path) in [
        ("GET", "secret/data/a"),
        ("GET", "secret/subkeys/a"),
        ("GET", "secret/metadata/a"),
        ("LIST", "secret/metadata"),
        ("DELETE", "secret/data/a"),
        ("GET", "secret/data/a"),
    ] {
        bench.call(method, path, "").await;
    }
    bench.post("secret/undelete/a", r#"{"versions":[1,"canary"]}"#).await;
    bench.post("secret/metadata/a", r#"{"custom_metadata":{"note":"canary-4"}}"#).await;
    bench.post("secret/data/broken", r#"{"data":{"k":"canary-5""#).await;
    bench.post("secret/data/broken", r#"["canary-6"]"#).await;
    bench
        .send(
            "POST",
            "secret/data/form",
            "data=canary-7&token=canary-8",
            &[("X-Vault-Token", ROOT), ("Content-Type", "application/x-www-form-urlencoded")],
        )
        .await;
    bench.get("secret/data/a?version=canary-9").await;
    // KV v1 holds what it is given.
    bench.post("sys/mounts/old", r#"{"type":"kv-v1"}"#).await;
    bench.post("old/a", r#"{"k":"canary-10","pin":4712471247}"#).await;
    bench.get("old/a").await;
    bench.post("cubbyhole/a", r#"{"k":"canary-11","pin":4712471247}"#).await;
    bench.get("cubbyhole/a").await;
    // Tokens of both sorts, and what is known by them.
    for body in [r#"{"id":"canary-12"}"#, r#"{"type":"batch","policies":["default"]}"#, "{}"] {
        let answer = bench.post("auth/token/create", body).await.json();
        let auth = &answer["auth"];
        let token = auth["client_token"].as_str().unwrap().to_owned();
        let accessor = auth["accessor"].as_str().unwrap_or_default().to_owned();
        bench.as_token(&token, "GET", "auth/token/lookup-self", "").await;
        bench.post("auth/token/lookup", &json!({ "token": token }).to_string()).await;
        bench.post("auth/token/lookup-accessor", &json!({ "accessor": accessor }).to_string()).await;
        bench
            .post("sys/capabilities", &json!({ "token": token, "paths": ["secret/data/a"] }).to_string())
            .await;
        bench.post("auth/token/renew", &json!({ "token": token }).to_string()).await;
        bench.post("auth/token/revoke", &json!({ "token": token }).to_string()).await;
        canaries.extend([token, accessor]);
    }
    // Logins.
    bench.post("sys/auth/userpass", r#"{"type":"userpass"}"#).await;
    bench.post("auth/userpass/users/ann", r#"{"password":"canary-13"}"#).await;
    canaries.push(bench.login("auth/userpass/login/ann", r#"{"password":"canary-13"}"#).await);
    bench.as_token("", "POST", "auth/userpass/login/ann", r#"{"password":"canary-14"}"#).await;
    bench.post("sys/auth/approle", r#"{"type":"approle"}"#).await;
    bench.post("auth/approle/role/r", "{}").await;
    let id = bench.post("auth/approle/role/r/custom-secret-id", r#"{"secret_id":"canary-15"}"#).await;
    assert_eq!(id.status, 200, "{id}");
    canaries.push(id.json()["data"]["secret_id_accessor"].as_str().unwrap().to_owned());
    let secret_id = bench.post("auth/approle/role/r/secret-id", "").await.json();
    canaries.push(secret_id["data"]["secret_id"].as_str().unwrap().to_owned());
    let role_id = bench.get("auth/approle/role/r/role-id").await.json();
    let login = json!({"role_id": role_id["data"]["role_id"], "secret_id": "canary-15"});
    canaries.push(bench.login("auth/approle/login", &login.to_string()).await);
    // Wrapping.
    let wrap = [("X-Vault-Token", ROOT), ("X-Vault-Wrap-TTL", "60")];
    for (method, path, body) in [
        ("GET", "secret/data/a?version=1", ""),
        ("POST", "sys/wrapping/wrap", r#"{"k":"canary-16","pin":4712471247}"#),
        ("POST", "auth/token/create", "{}"),
    ] {
        let info = bench.send(method, path, body, &wrap).await.json()["wrap_info"].clone();
        let token = info["token"].as_str().unwrap().to_owned();
        bench.post("sys/wrapping/lookup", &json!({ "token": token }).to_string()).await;
        let answer = bench.as_token(&token, "POST", "sys/wrapping/unwrap", "").await;
        assert_eq!(answer.status, 200, "{answer}");
        canaries.push(token);
        if let Some(token) = answer.json()["auth"]["client_token"].as_str() {
            canaries.push(token.to_owned());
        }
    }
    bench.post("sys/audit-hash/file", r#"{"input":"canary-17"}"#).await;
    bench.post("sys/audit/x", r#"{"type":"file","options":{"file_path":"canary-18"}}"#).await;
    let lines = tape.text();
    assert!(lines.lines().count() > 100);
    for canary in canaries.iter().filter(|canary| !canary.is_empty()) {
        let found = lines.lines().find(|line| line.contains(canary.as_str()));
        assert_eq!(found, None, "{canary}");
    }
}

#[tokio::test]
async fn what_no_device_can_write_down_does_not_happen() {
    let tapes = [Arc::new(Tape::default()), Arc::new(Tape::default())];
    let bench = bench(vec![device("file/", &tapes[0]), device("second/", &tapes[1])]).await;
    // One is enough.
    tapes[0].fill(true);
    assert_eq!(bench.post("secret/data/a", r#"{"data":{"n":1}}"#).await.status, 200);
    tapes[1].fill(true);
    let answer = bench.post("secret/data/a", r#"{"data":{"n":2}}"#).await;
    assert_eq!(answer.to_string(), r#"500 {"errors":["internal error"]}"#);
    assert_eq!(bench.get("secret/data/a").await.status, 500);
    assert_eq!(bench.as_token("nobody", "GET", "secret/data/a", "").await.status, 500);
    assert_eq!(bench.as_token("", "POST", "auth/userpass/login/ann", "{}").await.status, 500);
    // Probes do not notice.
    assert_eq!(bench.get("sys/health").await.status, 200);
    tapes[0].fill(false);
    let data = bench.get("secret/data/a").await.data();
    assert_eq!((&data["data"]["n"], &data["metadata"]["version"]), (&json!(1), &json!(1)));
}

/// Takes the first so many lines.
struct Short(Mutex<usize>);

impl Sink for Short {
    fn append(&self, _: &[u8]) -> io::Result<()> {
        let mut left = self.0.lock().unwrap();
        *left = left.checked_sub(1).ok_or(io::ErrorKind::StorageFull)?;
        Ok(())
    }
}

#[tokio::test]
async fn an_answer_that_cannot_be_written_down_is_not_given() {
    let tape = Arc::new(Tape::default());
    // Two lines for the mount, one for the request to come.
    let short = Device { sink: Arc::new(Short(Mutex::new(3))), ..device("file/", &tape) };
    let bench = bench(vec![short]).await;
    let answer = bench.post("sys/wrapping/wrap", "{}").await;
    assert_eq!(answer.to_string(), r#"500 {"errors":["internal error"]}"#);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_given_up_has_an_end_too() {
    let tape = Arc::new(Tape::default());
    let bench = bench(vec![device("file/", &tape)]).await;
    bench.post("sys/auth/userpass", r#"{"type":"userpass"}"#).await;
    bench.post("auth/userpass/users/ann", r#"{"password":"p"}"#).await;
    tape.take();
    let login = bench.as_token("", "POST", "auth/userpass/login/ann", r#"{"password":"p"}"#);
    // The password is tried on another thread, so the first look does not find it done.
    let mut login = Box::pin(login);
    assert!(futures_util::poll!(&mut login).is_pending());
    drop(login);
    let (_, response) = tape.pair();
    assert!(response["error"].as_str().unwrap().starts_with("the request was given up"));
}

#[tokio::test]
async fn devices_are_shown_and_neither_made_nor_removed() {
    let (bench, _) = one().await;
    let answer = bench.get("sys/audit").await;
    let shown = json!({
        "type": "file",
        "description": "where auditors look",
        "options": {"file_path": "/var/log/audit"},
        "local": false,
        "path": "file/",
    });
    assert_eq!(answer.data(), json!({ "file/": shown }));
    assert_eq!(answer.json()["file/"], shown);
    for (method, path, text) in [
        ("POST", "sys/audit/more", "cannot enable audit device via API"),
        ("PUT", "sys/audit/file", "cannot enable audit device via API"),
        ("DELETE", "sys/audit/file", "cannot disable audit device via API"),
        ("POST", "sys/audit-hash/more", "unknown audit backend: \\\"more/\\\""),
        ("POST", "sys/audit-hash/file", "the \\\"input\\\" parameter is empty"),
    ] {
        let body = if path.ends_with("more") { r#"{"type":"file","input":"x"}"# } else { "" };
        let answer = bench.call(method, path, body).await;
        assert_eq!(answer.status, 400, "{answer}");
        assert!(answer.text().contains(text), "{answer}");
    }
    assert_eq!(bench.get("sys/audit").await.data().as_object().unwrap().len(), 1);
    // Not for everybody.
    bench.policy("some", r#"path "sys/audit*" { capabilities = ["read", "update", "delete"] }"#).await;
    let token = bench.token_of("some").await;
    for (method, path) in [("GET", "sys/audit"), ("POST", "sys/audit/more"), ("DELETE", "sys/audit/file")] {
        assert_eq!(bench.as_token(&token, method, path, "").await.status, 403, "{method} {path}");
    }
}

#[tokio::test]
async fn what_a_mount_exempts_is_written_in_clear() {
    let (bench, tape) = one().await;
    let tune = r#"{"audit_non_hmac_request_keys":["options"],"audit_non_hmac_response_keys":["metadata"]}"#;
    assert_eq!(bench.post("sys/mounts/secret/tune", tune).await.status, 204);
    tape.take();
    bench.post("secret/data/a", r#"{"data":{"k":"v"},"options":{"cas":"0"}}"#).await;
    let (request, _) = tape.pair();
    assert_eq!(request["request"]["data"]["options"], json!({"cas": "0"}));
    assert!(request["request"]["data"]["data"]["k"].as_str().unwrap().starts_with("hmac-sha256:"));
    bench.get("secret/data/a").await;
    let (_, response) = tape.pair();
    assert_eq!(response["response"]["data"]["metadata"]["created_time"], "2023-09-20T14:51:53.961861Z");
}

#[tokio::test]
async fn options_hold_for_their_device_alone() {
    let tapes = [Arc::new(Tape::default()), Arc::new(Tape::default())];
    let open =
        Device { hmac_accessor: false, elide_lists: true, headers: vec![], ..device("open/", &tapes[1]) };
    let bench = bench(vec![device("file/", &tapes[0]), open]).await;
    bench.post("secret/data/a", r#"{"data":{"k":"v"}}"#).await;
    tapes.iter().for_each(|tape| drop(tape.take()));
    bench.list("secret/metadata").await;
    let (strict, open) = (tapes[0].pair(), tapes[1].pair());
    assert_eq!(strict.1["response"]["data"]["keys"].as_array().unwrap().len(), 1);
    assert_eq!(open.1["response"]["data"]["keys"], 1);
    assert!(!open.0["auth"]["accessor"].as_str().unwrap().starts_with("hmac-sha256:"));
    // Each hashes under a salt of its own.
    assert_ne!(strict.0["auth"]["client_token"], open.0["auth"]["client_token"]);
}

#[tokio::test]
async fn a_salt_is_the_same_after_a_restart() {
    let (bench, _) = one().await;
    let before = hash(&bench, "text").await;
    let tape = Arc::new(Tape::default());
    let devices = [Arc::new(device("file/", &tape))];
    let again = bench.reopened(&devices).await;
    assert_eq!(hash(&again, "text").await, before);
    assert_ne!(hash(&again, "other").await, before);
}
