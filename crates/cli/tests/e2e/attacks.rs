//! Attacks on a running server, after advisories of the field. SECURITY.md lists them.

use std::{
    fmt::Write as _,
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use serde_json::{Value, json};

use crate::harness::{Boot, Client, Server, eventually};

/// A request as it is on the wire: no client library tidies its path up.
fn raw(server: &Server, method: &str, path: &str, token: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nx-vault-token: {token}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    (status, answer)
}

async fn token_of(root: &Client, policy: &str, text: &str) -> String {
    root.call("PUT", &format!("sys/policies/acl/{policy}"), Some(json!({ "policy": text })))
        .await
        .expect(204);
    let made = root
        .post("auth/token/create", json!({ "policies": [policy], "no_default_policy": true }))
        .await
        .expect(200);
    made.json()["auth"]["client_token"].as_str().unwrap().to_owned()
}

/// CVE-2026-3605, CVE-2023-2121 and their like: a path that the policy and the engine read differently.
#[tokio::test]
async fn a_path_is_not_read_in_two_ways() {
    let server = Server::dev();
    let root = server.client();
    root.post("secret/data/open/secret", json!({ "data": { "p": "hunter2" } })).await.expect(200);
    let policy = r#"path "secret/data/open/*" { capabilities = ["read", "create", "update", "delete"] }
        path "secret/data/open/secret" { capabilities = ["deny"] }"#;
    let token = token_of(&root, "limited", policy).await;
    for path in [
        "/v1/secret/data/open/secret",
        "/v1/secret/data/open/%73ecret",
        "/v1/secret/data/open%2Fsecret",
        "/v1/secret/data/open/./secret",
        "/v1/secret/data/open/x/../secret",
        "/v1/secret/data/open/x/%2e%2e/secret",
        "/v1/secret/data/open/x%2f%2e%2e%2fsecret",
        "/v1/secret/data/open/%2573ecret",
        "/v1/secret/data/open//secret",
        "/v1//secret/data/open/secret",
        "/v1/secret/data/open/secret/",
        "/v1/secret/data/open/secret%00",
        "/v1/secret/data/open/secret%0d%0a",
        "/v1/secret/data/open\\secret",
        "/v1/./secret/data/open/secret",
        "/v1/../v1/secret/data/open/secret",
        "//v1/secret/data/open/secret",
        "http://x/v1/secret/data/open/secret",
        "/v1/secret/data/open/secret?version=1",
        "/v1/secret/data/open/secret?list=true",
        "/v1/secret/data/open/secret#x",
        "/v1/SECRET/data/open/secret",
    ] {
        for method in ["GET", "LIST", "DELETE", "PUT"] {
            let (status, answer) = raw(&server, method, path, &token, "");
            assert!((400..500).contains(&status) || status == 204, "{method} {path}: {answer}");
            assert!(!answer.contains("hunter2"), "{method} {path}");
        }
    }
    assert_eq!(
        root.get("secret/data/open/secret").await.data()["data"]["p"],
        "hunter2",
        "and it is still there"
    );
}

/// CVE-2025-6011, CVE-2025-6004: who exists, told by text or by a lock that letters get
/// round. (That both cost the same work is `userpass`'s own test.)
#[tokio::test]
async fn guessing_tells_nothing_and_does_not_last() {
    let server = Server::dev();
    let root = server.client();
    root.post("sys/auth/userpass", json!({ "type": "userpass" })).await.expect(204);
    for name in ["anna", "bert"] {
        root.post(&format!("auth/userpass/users/{name}"), json!({ "password": "right" })).await.expect(204);
    }
    let guest = root.with_token(None);
    let login = async |name: &str, password: &str| {
        let path = format!("auth/userpass/login/{name}");
        let answer = guest.post(&path, json!({ "password": password })).await;
        (answer.status.as_u16(), answer.text)
    };
    for (attempt, name) in ["anna", "ANNA", "Anna", "aNNA", "anna", "AnnA", "anna"].into_iter().enumerate() {
        let known = login(name, "wrong").await;
        let unknown = login(&name.replace(['n', 'N'], "x"), "wrong").await;
        assert_eq!(known, unknown, "attempt {attempt}");
        assert_eq!(known.0, if attempt < 5 { 400 } else { 403 }, "attempt {attempt}");
    }
    assert_eq!(login("anna", "right").await.0, 403, "locked, even with the password");
    assert_eq!(login("bert", "right").await.0, 200, "nobody else is");
}

/// CVE-2025-5999, CVE-2025-64761: more rights by writing `root` in other letters, into a role or an entity.
#[tokio::test]
async fn nobody_becomes_root_by_spelling() {
    let server = Server::dev();
    let root = server.client();
    for (path, kind) in [("userpass", "userpass"), ("approle", "approle"), ("jwt", "jwt")] {
        root.post(&format!("sys/auth/{path}"), json!({ "type": kind })).await.expect(204);
    }
    let admin = token_of(
        &root,
        "admin",
        r#"path "*" { capabilities = ["create", "read", "update", "patch", "delete", "list", "sudo"] }"#,
    )
    .await;
    let admin = root.with_token(Some(&admin));
    for word in ["root", "ROOT", "Root", " root", "root ", "\troot\n", "rOOt"] {
        for (path, body) in [
            ("auth/token/create", json!({ "policies": [word] })),
            ("auth/token/create-orphan", json!({ "policies": word })),
            ("auth/token/create", json!({ "policies": ["default", word], "type": "batch" })),
            ("auth/userpass/users/eve", json!({ "password": "x", "token_policies": [word] })),
            ("auth/userpass/users/eve", json!({ "password": "x", "policies": word })),
            ("auth/approle/role/eve", json!({ "token_policies": [word] })),
            ("auth/approle/role/eve", json!({ "policies": word })),
            (
                "auth/jwt/role/eve",
                json!({ "user_claim": "sub", "bound_subject": "x", "token_policies": word }),
            ),
            ("identity/entity", json!({ "name": "eve", "policies": [word] })),
            ("sys/policies/acl/root", json!({ "policy": "path \"a\" {}" })),
            ("sys/policies/acl/RooT", json!({ "policy": "path \"a\" {}" })),
        ] {
            let answer = admin.post(path, body.clone()).await;
            assert_eq!(answer.status.as_u16(), 400, "{path} {body}: {answer:?}");
        }
        let role = json!({ "allowed_policies": [word], "allowed_policies_glob": "*" });
        admin.post("auth/token/roles/eve", role).await;
        let answer = admin.post("auth/token/create/eve", json!({ "policies": [word] })).await;
        assert_eq!(answer.status.as_u16(), 400, "a role of {word:?}: {answer:?}");
        let answer = admin.post("auth/token/create/eve", json!({})).await;
        assert!(!answer.text.contains("\"root\""), "a role of {word:?}: {answer:?}");
    }
    for path in
        ["auth/userpass/users/eve", "auth/approle/role/eve", "auth/jwt/role/eve", "identity/entity/name/eve"]
    {
        root.get(path).await.expect(404);
    }
}

/// CVE-2024-2660, CVE-2025-13357 and forged signatures: a token that only looks signed.
#[tokio::test]
async fn unsigned_tokens_do_not_log_in() {
    let server = Server::dev();
    let root = server.client();
    root.post("sys/auth/jwt", json!({ "type": "jwt" })).await.expect(204);
    let key = json!({ "kty": "EC", "crv": "P-256",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0" });
    root.post("auth/jwt/config", json!({ "jwks": { "keys": [key] } })).await.expect(204);
    root.post("auth/jwt/role/r", json!({ "user_claim": "sub", "bound_subject": "anna" })).await.expect(204);
    let b64 = |value: Value| {
        base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, value.to_string())
    };
    let claims = b64(json!({ "sub": "anna", "exp": 4_000_000_000_u64 }));
    let guest = root.with_token(None);
    for header in [
        json!({ "alg": "none" }),
        json!({ "alg": "NONE" }),
        json!({ "alg": "" }),
        json!({}),
        json!({ "alg": "HS256" }),
        json!({ "alg": "ES256" }),
        json!({ "alg": "RS256", "jwk": { "kty": "RSA", "n": "AQAB", "e": "AQAB" } }),
    ] {
        for signature in [
            "",
            "AA",
            "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        ] {
            let jwt = format!("{}.{claims}.{signature}", b64(header.clone()));
            let answer = guest.post("auth/jwt/login", json!({ "role": "r", "jwt": jwt })).await;
            assert_eq!(answer.status.as_u16(), 400, "{header} {signature}: {answer:?}");
        }
    }
}

/// CVE-2026-5807 and its like: who has no token changes nothing, fills nothing, and gets nothing fetched.
#[tokio::test]
async fn strangers_change_nothing() {
    let mut server = Server::dev();
    let root = server.client();
    root.post("sys/auth/userpass", json!({ "type": "userpass" })).await.expect(204);
    root.post("sys/auth/approle", json!({ "type": "approle" })).await.expect(204);
    root.post("auth/userpass/users/anna", json!({ "password": "right" })).await.expect(204);
    let state = async || {
        let mut state = Vec::new();
        for path in [
            "sys/auth",
            "sys/mounts",
            "sys/policy",
            "auth/userpass/users/anna",
            "sys/quotas/config",
            "sys/config/cors",
        ] {
            state.push(root.get(path).await.data());
        }
        state.push(root.list("auth/token/accessors").await.data());
        state.push(root.list("auth/userpass/users").await.data());
        state
    };
    let before = state().await;
    for token in ["", "x", "hvs.AAAAAAAAAAAAAAAAAAAAAAAA", "hvb.AAAAAAAA", "root ", "root\u{0}"] {
        for (method, path, body) in [
            ("PUT", "sys/seal", ""),
            ("DELETE", "sys/rekey/init", ""),
            ("POST", "sys/rekey/init", r#"{"secret_shares":1,"secret_threshold":1}"#),
            ("DELETE", "sys/generate-root/attempt", ""),
            ("POST", "sys/generate-root/attempt", "{}"),
            ("POST", "sys/storage/raft/snapshot", "x"),
            ("POST", "sys/storage/raft/snapshot-force", "x"),
            ("POST", "sys/audit/x", r#"{"type":"file"}"#),
            ("PUT", "sys/policies/acl/default", r#"{"policy":"path \"*\" { policy = \"sudo\" }"}"#),
            ("POST", "sys/auth/x", r#"{"type":"userpass"}"#),
            ("DELETE", "sys/auth/userpass", ""),
            ("POST", "auth/userpass/users/anna", r#"{"password":"stolen"}"#),
            ("POST", "auth/userpass/users/anna/password", r#"{"password":"stolen"}"#),
            ("POST", "auth/approle/role/eve", r#"{"token_policies":"default"}"#),
            ("POST", "auth/token/create", "{}"),
            ("POST", "auth/token/revoke", r#"{"token":"root"}"#),
            ("POST", "sys/quotas/rate-limit/x", r#"{"rate":1}"#),
            ("POST", "sys/config/cors", r#"{"allowed_origins":"*"}"#),
            ("POST", "sys/wrapping/rewrap", r#"{"token":"root"}"#),
            ("PUT", "sys/leases/revoke-prefix/auth", ""),
            ("POST", "identity/entity", r#"{"name":"eve"}"#),
        ] {
            if token.contains('\0') || token.ends_with(' ') {
                continue;
            }
            let (status, answer) = raw(&server, method, &format!("/v1/{path}"), token, body);
            assert!(matches!(status, 400 | 403), "{method} {path} as {token:?}: {answer}");
        }
    }
    // A crowd of names that do not exist leaves nothing behind either.
    let guest = root.with_token(None);
    for name in 0..40 {
        guest
            .post("auth/approle/login", json!({ "role_id": format!("r{name}"), "secret_id": "x" }))
            .await
            .expect(400);
    }
    assert_eq!(before, state().await);
    assert!(server.alive());
}

/// HCL of a hundred thousand brackets, rules by the thousand, and texts that are no text.
#[tokio::test]
async fn policies_cannot_bring_the_server_down() {
    let mut server = Server::dev();
    let root = server.client();
    let put = async |policy: String| {
        root.call("PUT", "sys/policies/acl/x", Some(json!({ "policy": policy }))).await.status.as_u16()
    };
    for opener in ["[", "{", "a {", "a = [", "a = {", "path \"x\" {", "\"", "${", "<<A\n", "/*", "\\"] {
        assert_eq!(put(format!("a = {}", opener.repeat(100_000))).await, 400, "{opener:?}");
        assert_eq!(put(opener.repeat(100_000)).await, 400, "{opener:?}");
        assert_eq!(put(format!("{{\"a\":{}", opener.repeat(100_000))).await, 400, "{opener:?}");
    }
    let mut rules = String::new();
    for n in 0..5_000 {
        writeln!(rules, "path \"a/{n}/+/+/+/*\" {{ policy = \"read\" }}").unwrap();
    }
    assert_eq!(put(rules).await, 204);
    let token = root.post("auth/token/create", json!({ "policies": ["x"] })).await.expect(200);
    let token = token.json()["auth"]["client_token"].as_str().unwrap().to_owned();
    let path = format!("a/{}", "b/".repeat(2_000));
    for _ in 0..20 {
        root.with_token(Some(&token)).get(&path).await.expect(403);
    }
    assert!(server.alive());
}

/// Selectors of a sync request that name more than the caller may read: another tenant's secret, a folder
/// above, everything.
#[tokio::test]
async fn selectors_do_not_reach_beyond_the_callers_rights() {
    let server = Server::dev();
    let root = server.client();
    let target = tempfile::tempdir().unwrap();
    let file = target.path().join("mine.json");
    for path in ["secret/data/mine/a", "secret/data/theirs/a", "secret/data/mined"] {
        root.post(path, json!({ "data": { "v": path } })).await.expect(200);
    }
    let token = token_of(
        &root,
        "tenant",
        r#"path "secret/data/mine/*" { capabilities = ["read"] }
           path "sys/sync/*" { capabilities = ["create", "read", "update", "delete", "list"] }"#,
    )
    .await;
    let tenant = root.with_token(Some(&token));
    let at = "sys/sync/destinations/file/mine";
    tenant.post(at, json!({ "path": file })).await.expect(200);
    let set = format!("{at}/associations/set");
    for selector in [
        json!({ "secret_name": "theirs/a" }),
        json!({ "secret_name": "mine/../theirs/a" }),
        json!({ "secret_name": "mine/%2e%2e/theirs/a" }),
        json!({ "secret_name": "/theirs/a" }),
        json!({ "secret_name": "mined" }),
        json!({ "secret_name": "*" }),
        json!({ "secret_name": "**" }),
        json!({ "secret_name": "+/a" }),
        json!({ "secret_name": "mine*/**" }),
        json!({ "secret_name": "{mine,theirs}/a" }),
        json!({ "secret_prefix": "" }),
        json!({ "secret_prefix": "/" }),
        json!({ "secret_prefix": "mine/.." }),
        json!({ "secret_prefix": "theirs" }),
        json!({ "secret_prefix": "mine", "secret_name": "theirs/a" }),
    ] {
        for mount in ["secret", "secret/", "/secret", "secret/data", "SECRET", "secret/data/mine/.."] {
            let mut body = selector.clone();
            body["mount"] = json!(mount);
            let answer = tenant.post(&set, body.clone()).await;
            assert!((400..500).contains(&answer.status.as_u16()), "{body}: {answer:?}");
        }
    }
    tenant.post(&set, json!({ "mount": "secret", "secret_prefix": "mine/" })).await.expect(200);
    let held = eventually("what may be read", async || {
        let held = crate::sync::delivered(&file);
        (!held.is_empty()).then_some(held)
    })
    .await;
    assert!(held.values().all(|value| value.contains("secret/data/mine/")), "{held:?}");
    let answer = tenant.get("sys/sync/associations/destinations?mount=secret&secret_name=theirs/a").await;
    assert!(!answer.text.contains("file/mine"), "{answer:?}");
}

/// A listener that must not be called; whether it was.
fn trap() -> (u16, std::net::TcpListener) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    (listener.local_addr().unwrap().port(), listener)
}

/// Requests to inside addresses: by address in every spelling, by a name that resolves to one (what counts is
/// the address really connected to, so a second look-up changes nothing), and by a redirect.
#[tokio::test]
async fn the_way_out_leads_to_nothing_inside_and_follows_nothing() {
    let home = tempfile::tempdir().unwrap();
    let token = crate::harness::init(home.path());
    let strict = Boot::data(home.path(), &token).start();
    let root = strict.client();
    root.post("sys/auth/jwt", json!({ "type": "jwt" })).await.expect(204);
    let (port, inside) = trap();
    for host in [
        "127.0.0.1",
        "localhost",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "127.1",
        "0.0.0.0",
        "169.254.169.254",
        "[fd00:ec2::254]",
        "10.0.0.1",
        "user@127.0.0.1",
    ] {
        let body = json!({ "jwks_url": format!("http://{host}:{port}/keys"), "allowed_ports": [port] });
        let answer = root.post("auth/jwt/config", body).await;
        assert_eq!(answer.status.as_u16(), 400, "{host}: {answer:?}");
    }
    assert!(inside.accept().is_err(), "something was asked inside");
    drop(strict);

    // Where private networks are allowed, a redirect to another of them is not followed all the same.
    let (port, inside) = trap();
    let redirector = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let from = redirector.local_addr().unwrap().port();
    let asked = std::thread::spawn(move || {
        let (mut stream, _) = redirector.accept().unwrap();
        let mut head = [0; 2048];
        let _ = stream.read(&mut head).unwrap();
        let text = format!(
            "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:{port}/keys\r\ncontent-length: 0\r\n\r\n"
        );
        stream.write_all(text.as_bytes()).unwrap();
    });
    let open = Server::dev();
    let root = open.client();
    root.post("sys/auth/jwt", json!({ "type": "jwt" })).await.expect(204);
    let body = json!({ "jwks_url": format!("http://127.0.0.1:{from}/keys"), "allowed_ports": [from, port] });
    let answer = root.post("auth/jwt/config", body).await;
    assert!(answer.status.as_u16() == 400 && answer.text.contains("302"), "{answer:?}");
    asked.join().unwrap();
    assert!(inside.accept().is_err(), "the redirect was followed");
}

/// CVE-2025-6000, CVE-2025-54997: an audit device as a way to write a file and run it.
#[tokio::test]
async fn nobody_writes_files_by_way_of_audit() {
    let server = Server::dev();
    let root = server.client();
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("plugin.sh");
    for kind in ["file", "socket", "syslog", "stdout"] {
        for path in ["sys/audit/x", "sys/audit/file", "sys/audit/x/y"] {
            let options = json!({ "file_path": file, "path": file, "mode": "0755", "prefix": "#!/bin/sh\n", "log_raw": "true" });
            let body = json!({ "type": kind, "options": options, "local": true });
            let answer = root.post(path, body).await;
            assert_eq!(answer.status.as_u16(), 400, "{answer:?}");
            assert!(answer.text.contains("cannot enable audit device via API"), "{answer:?}");
        }
    }
    assert!(!file.exists());
    assert_eq!(root.get("sys/audit").await.data(), json!({}));
}

/// A name template that reads the environment, a file or the network, or never ends.
#[tokio::test]
async fn templates_read_nothing_but_the_secrets_name() {
    let mut server = Server::dev();
    let root = server.client();
    let file = tempfile::tempdir().unwrap();
    let path = file.path().join("out.json");
    for action in [
        "env \"HOME\"",
        "expandenv \"$HOME\"",
        "readFile \"/etc/passwd\"",
        "file \"/etc/passwd\"",
        "include \"x\" .",
        "template \"x\"",
        "call .Exec",
        "getHostByName \"localhost\"",
        "exec \"id\"",
        "html .SecretPath",
        "printf \"%999999999d\" 1",
        "range .SecretPath",
        "define \"x\"",
        "with .SecretPath",
        ".SecretValue",
        ".Token",
        "repeat 1000000000 \"x\"",
        "seq 1 1000000000",
        "genPrivateKey \"rsa\"",
    ] {
        let body = json!({ "path": path, "secret_name_template": format!("a-{{{{ {action} }}}}") });
        let answer = root.post("sys/sync/destinations/file/t", body).await;
        assert_eq!(answer.status.as_u16(), 400, "{action}: {answer:?}");
        assert!(!answer.text.contains("root:"), "{answer:?}");
    }
    root.get("sys/sync/destinations/file/t").await.expect(404);
    assert!(server.alive());
}

/// Who signed a call, and what it carried.
type Calls = std::sync::Arc<std::sync::Mutex<Vec<(String, String)>>>;

/// A service that takes everything and remembers with whose key it was signed.
fn account_stub() -> (String, Calls) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let calls = Calls::default();
    let kept = calls.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let kept = kept.clone();
            std::thread::spawn(move || take_call(stream, &kept));
        }
    });
    (url, calls)
}

fn take_call(mut stream: TcpStream, calls: &Calls) {
    let mut request = Vec::new();
    let mut piece = [0; 4096];
    let body_at = loop {
        let Ok(read @ 1..) = stream.read(&mut piece) else { return };
        request.extend_from_slice(&piece[..read]);
        let Some(end) = request.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&request[..end]).to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
        let length: usize = length.map_or(0, |text| text.trim().parse().unwrap());
        if request.len() >= end + 4 + length {
            break end + 4;
        }
    };
    let head = String::from_utf8_lossy(&request[..body_at]).into_owned();
    let signer =
        head.split_once("Credential=").and_then(|(_, rest)| rest.split('/').next()).unwrap_or_default();
    let body = String::from_utf8_lossy(&request[body_at..]).into_owned();
    calls.lock().unwrap().push((signer.to_owned(), body));
    let answer = r#"{"ARN":"arn:aws:secretsmanager:eu-west-1:1:secret:x-AbCdEf","Name":"x","VersionId":"v"}"#;
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/x-amz-json-1.1\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        answer.len()
    );
    let _ = stream.write_all((head + answer).as_bytes());
}

/// Clients that are kept between calls: what goes to one account is never signed with another's key, nor with
/// one that was replaced.
#[tokio::test]
async fn no_account_is_served_with_anothers_client() {
    let server = Server::dev();
    let root = server.client();
    let (endpoint, calls) = account_stub();
    let at = |name: &str| format!("sys/sync/destinations/aws-sm/{name}");
    for name in ["one", "two"] {
        let body = json!({
            "access_key_id": format!("AKIA{name}"), "secret_access_key": name, "region": "eu-west-1", "endpoint": endpoint,
        });
        root.post(&at(name), body).await.expect(200);
        root.post(&format!("secret/data/{name}"), json!({ "data": { "v": format!("for-{name}-0") } }))
            .await
            .expect(200);
        let pair = json!({ "mount": "secret", "secret_name": name });
        root.post(&format!("{}/associations/set", at(name)), pair).await.expect(200);
    }
    let seen = |text: &str| {
        let calls = calls.lock().unwrap();
        calls.iter().rfind(|(_, body)| body.contains(text)).map(|(signer, _)| signer.clone())
    };
    for round in 1..=5 {
        for name in ["one", "two"] {
            let value = format!("for-{name}-{round}");
            root.post(&format!("secret/data/{name}"), json!({ "data": { "v": value } })).await.expect(200);
        }
    }
    for name in ["one", "two"] {
        eventually("the last value", async || seen(&format!("for-{name}-5"))).await;
    }
    root.patch(&at("one"), json!({ "access_key_id": "AKIAnew", "secret_access_key": "new" }))
        .await
        .expect(200);
    root.post("secret/data/one", json!({ "data": { "v": "for-one-new" } })).await.expect(200);
    assert_eq!(eventually("the new key", async || seen("for-one-new")).await, "AKIAnew");
    for (signer, body) in calls.lock().unwrap().iter() {
        let mine = match signer.as_str() {
            "AKIAone" | "AKIAnew" => "for-one",
            "AKIAtwo" => "for-two",
            other => panic!("signed by {other}: {body}"),
        };
        assert!(!body.contains("for-") || body.contains(mine), "{signer}: {body}");
    }
}

/// One-time tokens used by many at once: exactly as often as they may be.
#[tokio::test]
async fn what_may_be_used_once_is_used_once() {
    let server = Server::dev();
    let root = server.client();
    root.post("secret/data/a", json!({ "data": { "v": "x" } })).await.expect(200);
    root.call(
        "PUT",
        "sys/policies/acl/reader",
        Some(json!({ "policy": r#"path "secret/data/a" { capabilities = ["read"] }"# })),
    )
    .await
    .expect(204);
    let made =
        root.post("auth/token/create", json!({ "policies": ["reader"], "num_uses": 5 })).await.expect(200);
    let few = root.with_token(made.json()["auth"]["client_token"].as_str());
    let reads = (0..40).map(|_| {
        let few = few.clone();
        tokio::spawn(async move { few.get("secret/data/a").await.status.as_u16() })
    });
    let mut answered = Vec::new();
    for read in reads.collect::<Vec<_>>() {
        answered.push(read.await.unwrap());
    }
    answered.sort_unstable();
    assert_eq!(answered, [vec![200; 5], vec![403; 35]].concat());

    let request = hyper::Request::get("/v1/secret/data/a")
        .header("X-Vault-Token", &server.token)
        .header("X-Vault-Wrap-TTL", "60")
        .body(http_body_util::Full::default())
        .unwrap();
    let wrapped = root.try_send(request).await.unwrap().json();
    let opener = root.with_token(wrapped["wrap_info"]["token"].as_str());
    let unwraps = (0..20).map(|_| {
        let opener = opener.clone();
        tokio::spawn(async move { opener.post("sys/wrapping/unwrap", json!({})).await.status.as_u16() })
    });
    let mut answered = Vec::new();
    for one in unwraps.collect::<Vec<_>>() {
        answered.push(one.await.unwrap());
    }
    answered.sort_unstable();
    assert_eq!(answered, [vec![200; 1], vec![400; 19]].concat());
}

/// SECURITY.md lists fifteen classes, each with tests that are there.
#[test]
fn every_class_of_advisory_is_attacked() {
    let root = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let page = std::fs::read_to_string(root.join("SECURITY.md")).unwrap();
    let (_, section) = page.split_once("## Attacked in tests").unwrap();
    let rows: Vec<Vec<&str>> = section
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| Class"))
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect();
    assert_eq!(rows.len(), 15, "{rows:?}");
    for row in rows {
        let [class, _, tests] = row.as_slice() else { panic!("three columns: {row:?}") };
        let tests: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        assert!(!tests.is_empty(), "{class} has no test");
        for test in tests {
            let mut parts: Vec<&str> = test.split("::").filter(|part| *part != "tests").collect();
            let (name, file) = (parts.pop().unwrap(), parts.pop().unwrap());
            let found = [
                "crates/cli/tests/e2e",
                "crates/server/tests/api",
                "crates/server/tests/sync",
                "crates/server/src/app/policy",
            ]
            .into_iter()
            .map(|place| root.join(place).join(format!("{file}.rs")))
            .filter_map(|path| std::fs::read_to_string(path).ok())
            .any(|text| text.contains(&format!("fn {name}(")));
            assert!(found, "{class}: there is no {test}");
        }
    }
}
