//! A thousand requests nobody well-meaning would send. None may bring a 5xx, a hang, a panic, or its own
//! text back; and the server must serve on.

use std::time::Duration;

use http_body_util::Full;
use hyper::{Method, Request};
use model::{Entropy as _, SeededEntropy};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::harness::{Client, Server};

const ECHO: &str = "echo-5cb1-of-a-hostile-body";

struct Dice(SeededEntropy);

impl Dice {
    fn below(&self, bound: usize) -> usize {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        usize::try_from(u64::from_le_bytes(bytes) % bound as u64).unwrap()
    }

    fn one_of<'a, T>(&self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

const METHODS: [&str; 10] =
    ["GET", "POST", "PUT", "PATCH", "DELETE", "LIST", "SCAN", "HEAD", "OPTIONS", "BREW"];

const PATHS: [&str; 44] = [
    "/",
    "/v1",
    "/v1/",
    "/v1//",
    "/v2/secret",
    "/v1/secret",
    "/v1/secret/",
    "/v1/secret/data",
    "/v1/secret/data/",
    "/v1/secret/data/a",
    "/v1/secret/data/a/",
    "/v1/secret/data//a",
    "/v1/secret/data/../a",
    "/v1/secret/data/%2e%2e/a",
    "/v1/secret/data/%00",
    "/v1/secret/data/%0a",
    "/v1/secret/data/%ff%fe",
    "/v1/secret/data/%",
    "/v1/secret/data/%zz",
    "/v1/secret/data/a?version=nope",
    "/v1/secret/data/a?version=-9223372036854775809",
    "/v1/secret/metadata?list=maybe",
    "/v1/secret/metadata/a?list=true&scan=true",
    "/v1/secret/subkeys/a?depth=99999999999999999999",
    "/v1/secret/config",
    "/v1/secret/delete/a",
    "/v1/secret/undelete/a",
    "/v1/secret/destroy/a",
    "/v1/secret/metadata/a",
    "/v1/sys/mounts/x",
    "/v1/sys/mounts/sys",
    "/v1/sys/mounts/secret/tune",
    "/v1/sys/remount",
    "/v1/sys/policies/acl/p",
    "/v1/auth/token/create",
    "/v1/auth/token/renew-self",
    "/v1/sys/wrapping/unwrap",
    "/v1/sys/sync/config",
    "/v1/sys/sync/destinations/aws-sm/d",
    "/v1/sys/sync/destinations/nope/d",
    "/v1/sys/sync/destinations/file/d/associations/set",
    "/v1/sys/sync/destinations/gh/d/associations/remove",
    "/v1/sys/sync/github-apps/g",
    "/v1/sys/capabilities-self",
];

const HEADERS: [(&str, &str); 12] = [
    ("X-Vault-Namespace", "nowhere"),
    ("X-Vault-Namespace", "../.."),
    ("X-Vault-Wrap-TTL", "-1"),
    ("X-Vault-Wrap-TTL", "99999999999999999999h"),
    ("Content-Type", "application/xml"),
    ("Content-Type", "multipart/form-data; boundary=x"),
    ("Content-Type", "application/x-www-form-urlencoded"),
    ("Content-Encoding", "gzip"),
    ("Accept", "text/html"),
    ("Expect", "100-continue"),
    ("X-Forwarded-For", "127.0.0.1"),
    ("Authorization", "Bearer "),
];

/// Bodies that are wrong in every way a body can be.
fn body(dice: &Dice) -> Vec<u8> {
    let nested =
        |open: &str, close: &str, depth: usize| format!("{}{}", open.repeat(depth), close.repeat(depth));
    match dice.below(22) {
        0 => Vec::new(),
        1 => b"{".to_vec(),
        2 => format!("{{\"data\":{{\"a\":\"{ECHO}\"").into_bytes(),
        3 => format!("\"{ECHO}\"").into_bytes(),
        4 => format!("[\"{ECHO}\"]").into_bytes(),
        5 => format!("{{\"data\":\"{ECHO}\"}}").into_bytes(),
        6 => format!("{{\"data\":{{\"a\":\"{ECHO}\"}},\"options\":{{\"cas\":\"{ECHO}\"}}}}").into_bytes(),
        7 => format!("{{\"versions\":\"{ECHO}\"}}").into_bytes(),
        8 => format!("{{\"versions\":{{\"a\":\"{ECHO}\"}}}}").into_bytes(),
        9 => nested("[", "]", 200_000).into_bytes(),
        10 => nested("{\"a\":", "}", 100_000).into_bytes(),
        11 => format!("{{\"data\":{}1{}}}", "[".repeat(600), "]".repeat(600)).into_bytes(),
        12 => format!("{{\"data\":{{\"a\":\"{}\"}}}}", "x".repeat((1 << 20) + 1)).into_bytes(),
        13 => {
            let members: Vec<String> = (0..10_001).map(|n| format!("\"k{n}\":1")).collect();
            format!("{{\"data\":{{{}}}}}", members.join(",")).into_bytes()
        }
        14 => vec![0xff; 1000],
        15 => b"\0\0\0\0".to_vec(),
        16 => format!(
            "{{\"max_versions\":\"{ECHO}\",\"delete_version_after\":\"{ECHO}\",\"cas_required\":\"{ECHO}\"}}"
        )
        .into_bytes(),
        17 => format!("{{\"custom_metadata\":{{\"{ECHO}\":{{\"a\":[]}}}}}}").into_bytes(),
        18 => format!("{{\"policy\":\"path \\\"{ECHO}\\\" {{ capabilities = [\"}}").into_bytes(),
        19 => format!("{{\"type\":\"{ECHO}\",\"config\":\"{ECHO}\",\"options\":7}}").into_bytes(),
        20 => format!(
            "{{\"mount\":7,\"secret_name\":[\"{ECHO}\"],\"policies\":{{\"{ECHO}\":1}},\"ttl\":\"{ECHO}\"}}"
        )
        .into_bytes(),
        _ => format!("{{\"data\":{{\"a\":1e999999999}},\"x\":\"\\ud800{ECHO}\"}}").into_bytes(),
    }
}

#[tokio::test]
async fn a_thousand_hostile_requests_do_no_harm() {
    let mut server = Server::dev();
    let client = server.client();
    client.post("secret/data/a", json!({ "data": { "k": "kept" } })).await.expect(200);
    let dice = Dice(SeededEntropy::new(20_261_122));
    let mut refused = 0;
    for n in 0..1000 {
        let (method, path) = (*dice.one_of(&METHODS), *dice.one_of(&PATHS));
        // Seal and revoke are left out of the paths: they would do what they say.
        let mut request = Request::builder().method(Method::from_bytes(method.as_bytes()).unwrap()).uri(path);
        match dice.below(4) {
            0 => {}
            1 => request = request.header("X-Vault-Token", "hvs.nobodys"),
            _ => request = request.header("X-Vault-Token", &server.token),
        }
        if dice.below(3) == 0 {
            let (name, text) = dice.one_of(&HEADERS);
            request = request.header(*name, *text);
        }
        if method == "PATCH" && dice.below(2) == 0 {
            request = request.header("Content-Type", "application/merge-patch+json");
        }
        let body = body(&dice);
        let told =
            format!("request {n}: {method} {path} {}", String::from_utf8_lossy(&body[..body.len().min(120)]));
        let request = request.body(Full::new(body.into())).unwrap();
        let sent = tokio::time::timeout(Duration::from_secs(10), client.try_send(request)).await;
        let Ok(sent) = sent else { panic!("no answer in 10 s: {told}") };
        // A connection closed on a body nobody wants to read on is an answer too, a 5xx is not.
        if let Ok(answer) = sent {
            assert!(answer.status.as_u16() < 500, "{told}\n{answer:?}");
            assert!(!answer.text.contains(ECHO) || answer.status.is_success(), "echoed: {told}\n{answer:?}");
            refused += usize::from(answer.status.is_client_error());
        }
        assert!(server.alive(), "{told}");
    }
    assert!(refused > 600, "only {refused} were refused: are these requests hostile?");
    still_well(&server, &client).await;
}

async fn still_well(server: &Server, client: &Client) {
    let log = server.log();
    assert!(!log.contains("panicked"), "{log}");
    assert!(!log.contains(ECHO), "the log repeats a body");
    client.post("secret/data/after", json!({ "data": { "k": "v" } })).await.expect(200);
    assert_eq!(client.get("secret/data/after").await.data()["data"]["k"], "v");
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused_early() {
    let server = Server::dev();
    let client = server.client();
    let huge = vec![b' '; (32 << 20) + 1];
    let request = Request::post("/v1/secret/data/a")
        .header("X-Vault-Token", &server.token)
        .body(Full::new(huge.into()))
        .unwrap();
    match client.try_send(request).await {
        Ok(answer) => drop(answer.expect(413)),
        // The server may close while the client still sends.
        Err(fault) => assert!(!fault.contains("60 s"), "{fault}"),
    }
    // Announced but not sent: nobody waits for it.
    let said =
        raw(&server, b"POST /v1/secret/data/a HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n{")
            .await;
    assert!(said.starts_with("HTTP/1.1 413") || said.starts_with("HTTP/1.1 403"), "{said}");
    still_well(&server, &client).await;
}

/// Sends bytes as they are and reads what comes within five seconds.
async fn raw(server: &Server, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    let _ = stream.write_all(bytes).await;
    let mut said = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(5), async {
        let mut buffer = [0; 4096];
        while let Ok(read) = stream.read(&mut buffer).await {
            if read == 0 {
                break;
            }
            said.extend_from_slice(&buffer[..read]);
            if said.windows(4).any(|w| w == b"\r\n\r\n") {
                break;
            }
        }
    })
    .await;
    String::from_utf8_lossy(&said).into_owned()
}

#[tokio::test]
async fn broken_http_gets_a_4xx_or_a_closed_connection() {
    let server = Server::dev();
    let long = "a".repeat(200_000);
    for bytes in [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nnot a frame at all".to_vec(),
        b"GET /v1/sys/health HTTP/9.9\r\n\r\n".to_vec(),
        b"GET  HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        b"GET /v1/secret/data/\x00 HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        b"POST /v1/secret/data/a HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n".to_vec(),
        b"POST /v1/secret/data/a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello"
            .to_vec(),
        b"POST /v1/secret/data/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n".to_vec(),
        format!("GET /v1/{long} HTTP/1.1\r\nHost: x\r\n\r\n").into_bytes(),
        format!("GET /v1/sys/health HTTP/1.1\r\nHost: x\r\nX-Vault-Token: {long}\r\n\r\n").into_bytes(),
        format!("GET /v1/sys/health HTTP/1.1\r\nHost: x\r\n{}\r\n", "A: b\r\n".repeat(5000)).into_bytes(),
    ] {
        let said = raw(&server, &bytes).await;
        let fine = said.is_empty()
            || said.starts_with("HTTP/1.1 4")
            || said.starts_with("HTTP/1.0 4")
            || !said.starts_with("HTTP/1");
        assert!(fine, "{}\n{said}", String::from_utf8_lossy(&bytes[..bytes.len().min(80)]));
    }
    still_well(&server, &server.client()).await;
}

#[tokio::test]
async fn idle_and_slow_connections_do_not_keep_others_out() {
    let server = Server::dev();
    let mut held = Vec::new();
    for n in 0..200 {
        let mut stream = TcpStream::connect(server.address()).await.unwrap();
        if n % 2 == 0 {
            stream.write_all(b"POST /v1/secret/data/a HTTP/1.1\r\nHost: x\r\nContent-Le").await.unwrap();
        }
        held.push(stream);
    }
    still_well(&server, &server.client()).await;
    drop(held);
}
