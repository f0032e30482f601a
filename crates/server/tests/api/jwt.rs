//! Signed tokens of others: GitHub Actions, Kubernetes, and forgeries.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::KeySize,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair},
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use insta::assert_snapshot;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use crate::bench::{Answer, Bench};

/// 2023-09-20T14:51:53Z, when the bench's clock begins.
const NOW: u64 = 1_695_221_513;

fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

struct Rsa(RsaKeyPair);

impl Rsa {
    fn new() -> Self {
        Self(RsaKeyPair::generate(KeySize::Rsa2048).unwrap())
    }

    fn jwk(&self, id: &str) -> Value {
        let key = self.0.public_key();
        let strip = |bytes: &[u8]| {
            let zeroes = bytes.iter().take_while(|byte| **byte == 0).count();
            b64(&bytes[zeroes..])
        };
        json!({ "kty": "RSA", "use": "sig", "alg": "RS256", "kid": id,
            "n": strip(key.modulus().big_endian_without_leading_zero()),
            "e": strip(key.exponent().big_endian_without_leading_zero()) })
    }

    fn sign(&self, id: &str, claims: &Value) -> String {
        self.sign_as(&json!({ "alg": "RS256", "kid": id, "typ": "JWT" }), claims)
    }

    fn sign_as(&self, header: &Value, claims: &Value) -> String {
        let message = format!("{}.{}", b64(header.to_string()), b64(claims.to_string()));
        let mut signature = vec![0; self.0.public_modulus_len()];
        self.0.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message.as_bytes(), &mut signature).unwrap();
        format!("{message}.{}", b64(signature))
    }
}

struct Ec(EcdsaKeyPair);

impl Ec {
    fn new() -> Self {
        Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    fn jwk(&self) -> Value {
        let point = self.0.public_key().as_ref();
        json!({ "kty": "EC", "crv": "P-256", "x": b64(&point[1..33]), "y": b64(&point[33..65]) })
    }

    fn pem(&self) -> String {
        // SubjectPublicKeyInfo of a P-256 key: a fixed head, then the point.
        let head = hex::decode("3059301306072a8648ce3d020106082a8648ce3d030107034200").unwrap();
        let der = [head.as_slice(), self.0.public_key().as_ref()].concat();
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der))
    }

    fn sign(&self, claims: &Value) -> String {
        let message = format!("{}.{}", b64(json!({ "alg": "ES256" }).to_string()), b64(claims.to_string()));
        let signature = self.0.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
        format!("{message}.{}", b64(signature))
    }
}

/// A pretend issuer: serves its discovery document and its keys, and counts who asks.
#[derive(Clone)]
struct Issuer {
    url: String,
    port: u16,
    keys: Arc<Mutex<Vec<Value>>>,
    asked: Arc<AtomicUsize>,
}

impl Issuer {
    async fn start(keys: Vec<Value>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let issuer = Self {
            url: format!("http://127.0.0.1:{port}"),
            port,
            keys: Arc::new(Mutex::new(keys)),
            asked: Arc::default(),
        };
        let serving = issuer.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = vec![0; 4096];
                let length = stream.read(&mut head).await.unwrap_or(0);
                let head = String::from_utf8_lossy(&head[..length]).into_owned();
                let url = &serving.url;
                let (status, body) = if head.starts_with("GET /.well-known/openid-configuration ") {
                    (200, json!({ "issuer": url, "jwks_uri": format!("{url}/keys") }).to_string())
                } else if head.starts_with("GET /keys ") {
                    serving.asked.fetch_add(1, Ordering::SeqCst);
                    (200, json!({ "keys": *serving.keys.lock().unwrap() }).to_string())
                } else if head.starts_with("GET /away ") {
                    (302, String::new())
                } else {
                    (404, "hunter2".to_owned())
                };
                let answer = format!(
                    "HTTP/1.1 {status} X\r\nlocation: {url}/keys\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                    body.len()
                );
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        issuer
    }

    fn config(&self, field: &str, path: &str) -> Value {
        json!({ field: format!("{}{path}", self.url), "allowed_ipv4_addresses": ["127.0.0.0/8"], "allowed_ports": [self.port] })
    }
}

async fn bench(config: &Value) -> Bench {
    let bench = Bench::bare().await;
    bench.post("sys/auth/jwt", r#"{"type":"jwt"}"#).await;
    let answer = bench.post("auth/jwt/config", &config.to_string()).await;
    assert_eq!(answer.status, 204, "{answer}");
    bench
}

async fn login(bench: &Bench, role: &str, jwt: &str) -> Answer {
    let body = json!({ "role": role, "jwt": jwt }).to_string();
    bench.as_token("", "POST", "auth/jwt/login", &body).await
}

/// What GitHub tells of a workflow's run.
fn github(issuer: &str) -> Value {
    json!({
        "iss": issuer, "aud": "https://github.com/octo-org", "sub": "repo:octo-org/octo-repo:environment:prod",
        "repository": "octo-org/octo-repo", "ref": "refs/heads/main", "environment": "prod", "run_id": "7",
        "iat": NOW, "nbf": NOW - 5, "exp": NOW + 300,
    })
}

#[tokio::test]
async fn a_workflow_of_github_logs_in() {
    let rsa = Rsa::new();
    let issuer = Issuer::start(vec![rsa.jwk("k1")]).await;
    let bench = bench(&issuer.config("oidc_discovery_url", "/")).await;
    assert_eq!(bench.get("auth/jwt/config").await.data()["bound_issuer"], issuer.url.as_str());
    let role = json!({
        "role_type": "jwt", "user_claim": "repository", "bound_audiences": ["https://github.com/octo-org"],
        "bound_claims_type": "glob", "bound_claims": { "ref": ["refs/heads/*"], "environment": "prod" },
        "claim_mappings": { "run_id": "run" }, "token_policies": ["deploy"], "token_ttl": "10m",
    });
    assert_eq!(bench.post("auth/jwt/role/Deploy", &role.to_string()).await.status, 204);
    assert_eq!(bench.list("auth/jwt/role").await.keys(), ["deploy"]);
    assert_eq!(
        bench.get("auth/jwt/role/deploy").await.data()["bound_claims"],
        json!({ "environment": ["prod"], "ref": ["refs/heads/*"] })
    );
    let good = github(&issuer.url);
    let answer = login(&bench, "deploy", &rsa.sign("k1", &good)).await;
    assert_eq!(answer.status, 200, "{answer}");
    let auth = answer.json()["auth"].clone();
    assert_eq!(
        (&auth["metadata"], &auth["policies"], &auth["lease_duration"]),
        (&json!({ "role": "deploy", "run": "7" }), &json!(["default", "deploy"]), &json!(600))
    );
    let token = auth["client_token"].as_str().unwrap();
    let entity = bench.as_token(token, "GET", "auth/token/lookup-self", "").await.data()["entity_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let entity = bench.get(&format!("identity/entity/id/{entity}")).await.data();
    assert_eq!(entity["aliases"][0]["name"], "octo-org/octo-repo");

    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        claims
    };
    for (claims, text) in [
        (with("iss", json!("https://evil")), "it is by another issuer (iss)"),
        (with("aud", json!("other")), "aud claim does not match any bound audience"),
        (
            with("ref", json!("refs/tags/v1")),
            "claim \"ref\" does not match any associated bound claim values",
        ),
        (
            with("environment", json!("dev")),
            "claim \"environment\" does not match any associated bound claim values",
        ),
        (with("exp", json!(NOW - 61)), "it has expired"),
        (with("nbf", json!(NOW + 61)), "it is not good yet"),
        (with("iat", json!(NOW + 61)), "it is not good yet"),
        (with("exp", Value::Null), "claim exp is no time"),
        (with("exp", json!("soon")), "claim exp is no time"),
    ] {
        let answer = login(&bench, "deploy", &rsa.sign("k1", &claims)).await;
        assert_eq!(
            (answer.status, answer.json()["errors"][0].as_str().unwrap()),
            (400, format!("error validating token: {text}").as_str())
        );
    }
    let mut endless = good.clone();
    endless.as_object_mut().unwrap().remove("exp");
    assert_eq!(login(&bench, "deploy", &rsa.sign("k1", &endless)).await.status, 400);
    // Within the leeway clocks may differ.
    assert_eq!(login(&bench, "deploy", &rsa.sign("k1", &with("exp", json!(NOW - 59)))).await.status, 200);
    assert_eq!(login(&bench, "none", &rsa.sign("k1", &good)).await.status, 400);
    let no_user = with("repository", json!([1]));
    assert_snapshot!(login(&bench, "deploy", &rsa.sign("k1", &no_user)).await, @r#"400 {"errors":["claim \"repository\" not found in token"]}"#);
    // Renewing goes by the role.
    bench.delete("auth/jwt/role/deploy").await;
    assert_eq!(bench.as_token(token, "POST", "auth/token/renew-self", "").await.status, 400);
}

#[tokio::test]
async fn forgeries_are_not_let_in() {
    let (rsa, stranger) = (Rsa::new(), Rsa::new());
    let set = json!({ "keys": [rsa.jwk("k1")] });
    let bench = bench(&json!({ "jwks": set })).await;
    bench.post("auth/jwt/role/r", r#"{"user_claim":"sub","bound_audiences":["us"]}"#).await;
    let claims = json!({ "sub": "anna", "aud": "us", "exp": NOW + 60 });
    let good = rsa.sign("k1", &claims);
    assert_eq!(login(&bench, "r", &good).await.status, 200);
    let parts: Vec<&str> = good.split('.').collect();
    let other_claims = b64(json!({ "sub": "root", "aud": "us", "exp": NOW + 60 }).to_string());
    let header = |value: Value| b64(value.to_string());
    // What HMAC would take for the secret is public.
    let hmac = {
        let message = format!("{}.{}", header(json!({ "alg": "HS256", "kid": "k1" })), parts[1]);
        let modulus = URL_SAFE_NO_PAD.decode(rsa.jwk("k1")["n"].as_str().unwrap()).unwrap();
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &modulus);
        format!("{message}.{}", b64(aws_lc_rs::hmac::sign(&key, message.as_bytes())))
    };
    let forged = [
        stranger.sign("k1", &claims),
        stranger.sign("k2", &claims),
        hmac,
        format!("{}.{}.", header(json!({ "alg": "none" })), parts[1]),
        format!("{}.{}.", header(json!({ "alg": "None" })), parts[1]),
        format!("{}.{}.{}", parts[0], other_claims, parts[2]),
        format!("{}.{}.{}", header(json!({ "alg": "RS512", "kid": "k1" })), parts[1], parts[2]),
        format!("{}.{}.{}", header(json!({ "alg": "PS256", "kid": "k1" })), parts[1], parts[2]),
        format!("{}.{}.{}", header(json!({ "alg": "ES256", "kid": "k1" })), parts[1], parts[2]),
        format!("{}.{}.{}", header(json!({ "alg": ["RS256"], "kid": "k1" })), parts[1], parts[2]),
        // A key that comes along is nobody's.
        stranger.sign_as(&json!({ "alg": "RS256", "jwk": stranger.jwk("k1") }), &claims),
        stranger.sign_as(&json!({ "alg": "RS256", "kid": "k1", "jku": "http://127.0.0.1/keys" }), &claims),
        rsa.sign_as(&json!({ "alg": "RS256", "kid": "k1", "crit": ["exp"] }), &claims),
        format!("{}.{}", parts[0], parts[1]),
        format!("{good}.x"),
        format!("{}=.{}.{}", parts[0], parts[1], parts[2]),
        "x".repeat(40_000),
        "..".to_owned(),
        String::new(),
    ];
    for (at, jwt) in forged.iter().enumerate() {
        let answer = login(&bench, "r", jwt).await;
        assert_eq!(answer.status, 400, "forgery {at}: {answer}");
        assert!(!answer.text().contains("anna"));
    }
    // For another audience, or for none the role knows.
    bench.post("auth/jwt/role/open", r#"{"user_claim":"sub","bound_subject":"anna"}"#).await;
    assert_snapshot!(login(&bench, "open", &good).await, @r#"400 {"errors":["error validating token: audience claim found in JWT but no audiences bound to the role"]}"#);
}

#[tokio::test]
async fn keys_are_given_as_pem_and_algorithms_can_be_limited() {
    let ec = Ec::new();
    let bench = bench(&json!({ "jwt_validation_pubkeys": ec.pem(), "bound_issuer": "kubernetes/serviceaccount", "default_role": "sa" })).await;
    let role = json!({
        "user_claim": "sub", "bound_subject": "system:serviceaccount:ci:runner",
        "bound_claims": { "/kubernetes.io/namespace": "ci" }, "bound_audiences": "vault",
    });
    assert_eq!(bench.post("auth/jwt/role/sa", &role.to_string()).await.status, 204);
    let claims = json!({ "iss": "kubernetes/serviceaccount", "sub": "system:serviceaccount:ci:runner", "aud": ["vault"],
        "kubernetes.io": { "namespace": "ci" }, "exp": NOW + 60 });
    let body = json!({ "jwt": ec.sign(&claims) }).to_string();
    let answer = bench.as_token("", "POST", "auth/jwt/login", &body).await;
    assert_eq!(answer.status, 200, "{answer}");
    assert_eq!(login(&bench, "sa", &Ec::new().sign(&claims)).await.status, 400);
    let limited =
        json!({ "jwks": json!({ "keys": [ec.jwk()] }).to_string(), "jwt_supported_algs": ["RS256"] });
    assert_eq!(bench.post("auth/jwt/config", &limited.to_string()).await.status, 204);
    assert_snapshot!(login(&bench, "sa", &ec.sign(&claims)).await, @r#"400 {"errors":["error validating token: it is signed with an algorithm that is not taken"]}"#);
    let open = json!({ "jwks": { "keys": [ec.jwk()] }, "jwt_supported_algs": ["ES256"] });
    assert_eq!(bench.post("auth/jwt/config", &open.to_string()).await.status, 204);
    assert_eq!(login(&bench, "sa", &ec.sign(&claims)).await.status, 200);
}

#[tokio::test]
async fn keys_are_fetched_seldom_and_new_ones_are_found() {
    let (old, new, stranger) = (Rsa::new(), Rsa::new(), Rsa::new());
    let issuer = Issuer::start(vec![old.jwk("old")]).await;
    let bench = bench(&issuer.config("jwks_url", "/keys")).await;
    bench.post("auth/jwt/role/r", r#"{"user_claim":"sub","bound_subject":"anna"}"#).await;
    let claims = json!({ "sub": "anna", "exp": NOW + 100_000 });
    let asked = || issuer.asked.load(Ordering::SeqCst);
    assert_eq!(asked(), 1, "to see whether the address is right");
    for _ in 0..5 {
        assert_eq!(login(&bench, "r", &old.sign("old", &claims)).await.status, 200);
    }
    assert_eq!(asked(), 2);
    // Somebody who brings unknown keys does not make us ask each time.
    for _ in 0..20 {
        assert_eq!(login(&bench, "r", &stranger.sign("x", &claims)).await.status, 400);
    }
    assert_eq!(asked(), 2);
    *issuer.keys.lock().unwrap() = vec![new.jwk("new")];
    assert_eq!(login(&bench, "r", &new.sign("new", &claims)).await.status, 400);
    bench.clock.advance(Duration::from_secs(10));
    assert_eq!(login(&bench, "r", &new.sign("new", &claims)).await.status, 200);
    assert_eq!(asked(), 3);
    assert_eq!(login(&bench, "r", &old.sign("old", &claims)).await.status, 400, "the old one is withdrawn");
    bench.clock.advance(Duration::from_hours(1));
    assert_eq!(login(&bench, "r", &new.sign("new", &claims)).await.status, 200);
    assert_eq!(asked(), 4);
}

#[tokio::test]
async fn keys_come_through_the_guarded_way_out() {
    let rsa = Rsa::new();
    let issuer = Issuer::start(vec![rsa.jwk("k")]).await;
    let bench = Bench::bare().await;
    bench.post("sys/auth/jwt", r#"{"type":"jwt"}"#).await;
    let refused = async |config: Value, said: &str| {
        let answer = bench.post("auth/jwt/config", &config.to_string()).await;
        assert_eq!(answer.status, 400, "{config}: {answer}");
        assert!(answer.text().contains(said), "{config}: {answer}");
        assert!(!answer.text().contains("hunter2"));
    };
    // Addresses inside are refused unless they are allowed, ports too, and no redirect is followed.
    refused(json!({ "jwks_url": format!("{}/keys", issuer.url) }), "port").await;
    refused(
        json!({ "jwks_url": format!("{}/keys", issuer.url), "allowed_ports": [issuer.port] }),
        "not public",
    )
    .await;
    refused(json!({ "jwks_url": "http://169.254.169.254/latest" }), "metadata").await;
    refused(issuer.config("jwks_url", "/away"), "the answer was 302").await;
    refused(issuer.config("jwks_url", "/none"), "the answer was 404").await;
    refused(issuer.config("jwks_url", "/.well-known/openid-configuration"), "no list").await;
    refused(issuer.config("oidc_discovery_url", "/other"), "the answer was 404").await;
    for (config, said) in [
        (json!({}), "exactly one of"),
        (json!({ "jwks_url": "https://a", "jwks": "{}" }), "exactly one of"),
        (json!({ "jwks_url": "file:///etc/passwd" }), "expected an http or https URL"),
        (json!({ "jwks_url": "https://user:pw@a/" }), "credentials and fragments"),
        (json!({ "jwks": "hunter2" }), "the key set is not JSON"),
        (json!({ "jwt_validation_pubkeys": ["hunter2"] }), "expected public keys in PEM"),
        (
            json!({ "jwks": { "keys": [rsa.jwk("k")] }, "jwt_supported_algs": ["HS256"] }),
            "unsupported algorithm",
        ),
        (json!({ "jwks": { "keys": [rsa.jwk("k")] }, "allowed_ports": [0] }), "ports from 1 to 65535"),
        (
            json!({ "oidc_discovery_url": "https://a", "oidc_client_id": "x" }),
            "oidc_client_id is not available",
        ),
        (json!({ "jwks_url": "https://a", "jwks_ca_pem": "x" }), "sync.ca_file"),
    ] {
        refused(config, said).await;
    }
    assert_eq!(bench.get("auth/jwt/config").await.status, 404, "nothing was kept");
    for (body, said) in [
        (r#"{"user_claim":"sub"}"#, "must have at least one bound constraint when creating/updating a role"),
        (r#"{"bound_subject":"x"}"#, "a user claim must be defined on the role"),
        (
            r#"{"user_claim":"sub","bound_subject":"x","role_type":"oidc"}"#,
            "role_type must be jwt: logging in through a browser is not available in keyferry",
        ),
        (
            r#"{"user_claim":"sub","bound_subject":"x","groups_claim":"g"}"#,
            "groups_claim is not available in keyferry",
        ),
        (
            r#"{"user_claim":"sub","bound_claims":{"a":{}}}"#,
            "bound_claims: claim \"a\" needs a value or a list of values",
        ),
        (
            r#"{"user_claim":"sub","bound_claims":{"a":1},"bound_claims_type":"glob"}"#,
            "bound_claims: patterns must be strings",
        ),
        (r#"{"user_claim":"sub","bound_claims":"a"}"#, "bound_claims must be a map of claims and values"),
        (
            r#"{"user_claim":"sub","bound_subject":"x","claim_mappings":{"a":"role"}}"#,
            "claim_mappings: metadata key role is reserved",
        ),
        (
            r#"{"user_claim":"sub","bound_subject":"x","token_policies":"root"}"#,
            "policies cannot contain root: only a root token can make another",
        ),
    ] {
        let answer = bench.post("auth/jwt/role/r", body).await;
        assert_eq!((answer.status, answer.json()["errors"][0].as_str().unwrap()), (400, said), "{body}");
    }
    assert_snapshot!(login(&bench, "r", "a.b.c").await, @r#"400 {"errors":["could not load configuration"]}"#);
    assert_snapshot!(bench.post("auth/jwt/oidc/auth_url", "{}").await, @r#"400 {"errors":["logging in through a browser is not available in keyferry; log in with a signed token"]}"#);
}
