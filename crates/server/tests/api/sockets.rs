//! Over real sockets on the loopback address: HTTP/1.1, HTTP/2, TLS, limits, timeouts, shutdown.

use std::{path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName},
};
use server::{
    app::{Settings, core::Core},
    http::{Config, Handle, Limits, TlsFiles, start},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::sync::CancellationToken;

use crate::bench::{Answer, Bench, ROOT};

struct Running {
    handle: Handle,
    stop: CancellationToken,
}

async fn run(limits: Limits, tls: Option<TlsFiles>) -> (Bench, Running) {
    let bench = Bench::with(limits.clone(), Settings::default()).await;
    bench.post("sys/mounts/secret", r#"{"type":"kv-v2"}"#).await;
    let stop = CancellationToken::new();
    let config = Config { listen: "127.0.0.1:0".parse().unwrap(), tls, limits };
    let handle = start(config, Core::of(bench.app.clone()), stop.clone()).await.unwrap();
    (bench, Running { handle, stop })
}

impl Running {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.handle.address()).await.unwrap()
    }

    async fn end(self) {
        self.stop.cancel();
        tokio::time::timeout(Duration::from_secs(20), self.handle.ended()).await.unwrap();
    }
}

fn get(path: &str) -> http::Request<Empty<Bytes>> {
    http::Request::get(path).header("Host", "x").header("X-Vault-Token", ROOT).body(Empty::new()).unwrap()
}

/// Writes raw bytes and reads until the server closes.
async fn raw(running: &Running, bytes: &[u8]) -> String {
    let mut stream = running.connect().await;
    stream.write_all(bytes).await.unwrap();
    read_all(&mut stream).await
}

async fn read_all(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn http_1_serves_many_requests_on_one_connection() {
    let (bench, running) = run(Limits::default(), None).await;
    bench.post("secret/data/a", r#"{"data":{"v":1}}"#).await;
    let (mut sender, connection) =
        http1::handshake::<_, Empty<Bytes>>(TokioIo::new(running.connect().await)).await.unwrap();
    tokio::spawn(connection);
    for _ in 0..3 {
        let answer = Answer::of(sender.send_request(get("/v1/secret/data/a")).await.unwrap()).await;
        assert_eq!(answer.data()["data"]["v"], 1);
    }
    // The verb of Vault's own.
    let mut list = get("/v1/secret/metadata");
    *list.method_mut() = http::Method::from_bytes(b"LIST").unwrap();
    assert_eq!(Answer::of(sender.send_request(list).await.unwrap()).await.keys(), ["a"]);
    // HEAD has a length and no body.
    let mut head = get("/v1/sys/health");
    *head.method_mut() = http::Method::HEAD;
    let head = sender.send_request(head).await.unwrap();
    assert_eq!(head.status(), 200);
    assert!(head.into_body().collect().await.unwrap().to_bytes().is_empty());
    drop(sender);
    running.end().await;
}

#[tokio::test]
async fn http_2_is_spoken_without_tls_too() {
    let (bench, running) = run(Limits::default(), None).await;
    bench.post("secret/data/a", r#"{"data":{"v":1}}"#).await;
    let io = TokioIo::new(running.connect().await);
    let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    let calls: Vec<_> = (0..50)
        .map(|_| {
            let mut sender = sender.clone();
            let uri = format!("http://x{}", "/v1/secret/data/a");
            tokio::spawn(
                async move { Answer::of(sender.send_request(get(&uri)).await.unwrap()).await.status },
            )
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.unwrap(), 200);
    }
    drop(sender);
    running.end().await;
}

/// Writes a new certificate for `localhost` and its key.
fn certify(folder: &Path) -> (TlsFiles, CertificateDer<'static>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let files = TlsFiles { certificate: folder.join("cert.pem"), key: folder.join("key.pem") };
    std::fs::write(&files.certificate, made.cert.pem()).unwrap();
    std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    (files, made.cert.der().clone())
}

async fn tls(
    running: &Running,
    trusted: &CertificateDer<'static>,
    protocol: &[u8],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, running.connect().await).await
}

#[tokio::test]
async fn tls_offers_both_versions_and_takes_new_certificates() {
    let folder = tempfile::tempdir().unwrap();
    let (files, first) = certify(folder.path());
    let (_, running) = run(Limits::default(), Some(files.clone())).await;

    let stream = tls(&running, &first, b"http/1.1").await.unwrap();
    let (mut sender, connection) = http1::handshake::<_, Empty<Bytes>>(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    assert_eq!(sender.send_request(get("/v1/sys/health")).await.unwrap().status(), 200);

    let stream = tls(&running, &first, b"h2").await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    assert_eq!(sender.send_request(get("https://localhost/v1/sys/health")).await.unwrap().status(), 200);

    let (_, second) = certify(folder.path());
    running.handle.reload_tls().unwrap();
    assert!(tls(&running, &first, b"h2").await.is_err());
    assert!(tls(&running, &second, b"h2").await.is_ok());
    // A bad file changes nothing.
    std::fs::write(&files.certificate, "no certificate").unwrap();
    assert!(running.handle.reload_tls().is_err());
    assert!(tls(&running, &second, b"h2").await.is_ok());
    drop(sender);
    running.end().await;
}

#[tokio::test]
async fn what_cannot_start_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::bare().await;
    let (files, _) = certify(folder.path());
    let begin = async |listen: &str, tls: Option<TlsFiles>| {
        let config = Config { listen: listen.parse().unwrap(), tls, limits: Limits::default() };
        start(config, Core::of(bench.app.clone()), CancellationToken::new())
            .await
            .err()
            .map(|fault| fault.to_string())
    };
    let missing = TlsFiles { certificate: folder.path().join("none.pem"), key: files.key.clone() };
    assert!(begin("127.0.0.1:0", Some(missing)).await.unwrap().contains("none.pem"));
    let swapped = TlsFiles { certificate: files.key.clone(), key: files.certificate.clone() };
    assert!(begin("127.0.0.1:0", Some(swapped)).await.unwrap().starts_with("cannot read certificates"));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    assert!(begin(&address, None).await.unwrap().starts_with(&format!("cannot listen on {address}")));
}

#[tokio::test]
async fn a_body_too_large_is_413() {
    let limits = Limits { body: 1000, ..Limits::default() };
    let (_, running) = run(limits, None).await;
    for body in [999, 1000, 1001, 300_000] {
        let (mut sender, connection) = http1::handshake(TokioIo::new(running.connect().await)).await.unwrap();
        tokio::spawn(connection);
        let filler = "x".repeat(body - 17);
        let text = format!(r#"{{"data":{{"a":"{filler}"}}}}"#);
        let request =
            http::Request::post("/v1/secret/data/a").header("Host", "x").header("X-Vault-Token", ROOT);
        let answer = Answer::of(
            sender.send_request(request.body(Full::new(Bytes::from(text))).unwrap()).await.unwrap(),
        );
        let answer = answer.await;
        if body <= 1000 {
            assert_eq!(answer.status, 200, "{body}");
        } else {
            assert_eq!(answer.to_string(), r#"413 {"errors":["http: request body too large"]}"#, "{body}");
        }
    }
    // Without a length told beforehand as well.
    let chunk = format!("3e8\r\n{}\r\n", "x".repeat(1000));
    let head = "POST /v1/secret/data/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut stream = running.connect().await;
    stream.write_all(format!("{head}{chunk}{chunk}").as_bytes()).await.unwrap();
    let mut start = [0; 12];
    stream.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 413");
    running.end().await;
}

#[tokio::test]
async fn what_is_no_http_is_not_answered_as_if_it_were() {
    let (_, running) = run(Limits::default(), None).await;
    let answer = raw(&running, b"hello\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400") || answer.is_empty(), "{answer}");
    let head = format!("GET /v1/sys/health HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "y".repeat(100_000));
    let answer = raw(&running, head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431") || answer.starts_with("HTTP/1.1 400"), "{answer}");
    let smuggled = b"POST /v1/sys/health HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\n\r\nGET /";
    let answer = raw(&running, smuggled).await;
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "one message, one answer: {answer}");
    running.end().await;
}

#[tokio::test]
async fn who_is_slow_to_ask_is_dropped() {
    let limits = Limits { header_read: Duration::from_millis(200), ..Limits::default() };
    let (_, running) = run(limits, None).await;
    // Nothing at all; the beginning of what might be HTTP/2; a head that never ends.
    for begun in [&b""[..], b"PRI * HT", b"GET /v1/sys/health HTTP/1.1\r\nHost: x\r\n"] {
        let mut stream = running.connect().await;
        stream.write_all(begun).await.unwrap();
        let answer = read_all(&mut stream).await;
        assert!(!answer.contains("200 OK"), "{answer}");
    }
    running.end().await;
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_given_up() {
    let limits = Limits { request: Duration::from_millis(200), ..Limits::default() };
    let (_, running) = run(limits, None).await;
    let mut stream = running.connect().await;
    // A body that never comes.
    stream
        .write_all(b"POST /v1/secret/data/a HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        .await
        .unwrap();
    let mut start = [0; 12];
    tokio::time::timeout(Duration::from_secs(20), stream.read_exact(&mut start)).await.unwrap().unwrap();
    assert_eq!(&start, b"HTTP/1.1 503");
    running.end().await;
}

/// Begins a write and returns once the server waits for its body.
async fn begin_write(running: &Running, length: usize) -> TcpStream {
    let mut stream = running.connect().await;
    let head = format!(
        "POST /v1/secret/data/a HTTP/1.1\r\nHost: x\r\nX-Vault-Token: {ROOT}\r\nContent-Length: {length}\r\n\
         Expect: 100-continue\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).await.unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream
}

#[tokio::test]
async fn a_server_that_stops_finishes_what_it_began() {
    let (_, running) = run(Limits::default(), None).await;
    // An idle connection does not hold it up.
    let _idle = running.connect().await;
    let body = r#"{"data":{"v":1}}"#;
    let mut stream = begin_write(&running, body.len()).await;
    let address = running.handle.address();
    running.stop.cancel();
    let refused = async { while TcpStream::connect(address).await.is_ok() {} };
    tokio::time::timeout(Duration::from_secs(20), refused).await.expect("nobody new is let in");
    stream.write_all(body.as_bytes()).await.unwrap();
    assert!(read_all(&mut stream).await.starts_with("HTTP/1.1 200 OK"));
    running.end().await;
}

#[tokio::test]
async fn a_server_that_stops_does_not_wait_for_ever() {
    let limits = Limits { shutdown: Duration::from_millis(200), ..Limits::default() };
    let (_, running) = run(limits, None).await;
    let mut stream = begin_write(&running, 100).await;
    running.end().await;
    let mut rest = Vec::new();
    // Closed, one way or the other.
    let _ = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut rest)).await.unwrap();
    assert_eq!(rest, b"");
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_their_turn() {
    let limits = Limits { connections: 2, ..Limits::default() };
    let (_, running) = run(limits, None).await;
    let first = running.connect().await;
    let _second = running.connect().await;
    let mut third = running.connect().await;
    third.write_all(b"GET /v1/sys/health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut start = [0; 12];
    let early = tokio::time::timeout(Duration::from_millis(200), third.read_exact(&mut start)).await;
    assert!(early.is_err(), "it is not served yet");
    drop(first);
    tokio::time::timeout(Duration::from_secs(20), third.read_exact(&mut start)).await.unwrap().unwrap();
    assert_eq!(&start, b"HTTP/1.1 200");
    running.end().await;
}
