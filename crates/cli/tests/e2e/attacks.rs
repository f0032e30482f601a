//! Attacks on a running server, after advisories of the field. SECURITY.md lists them.

use std::{
    fmt::Write as _,
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use serde_json::{Value, json};

use crate::harness::{Client, Server};

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
