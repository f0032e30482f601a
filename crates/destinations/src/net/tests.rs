use std::{
    io,
    net::IpAddr,
    sync::atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, StatusCode};
use model::{ManualClock, SeededEntropy, Timestamp};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
};

use super::*;
use crate::{Config, FieldValue};

const HELLO: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";

fn net(settings: NetSettings) -> Arc<Net> {
    let clock = Arc::new(ManualClock::new(Timestamp::from_secs(0)));
    let settings = NetSettings { system_roots: false, ..settings };
    Net::new(settings, Arc::new(Snapshot::default()), clock, Arc::new(SeededEntropy::new(1))).unwrap()
}

fn open_net() -> Arc<Net> {
    net(NetSettings { allow_private_networks: true, ..NetSettings::default() })
}

/// A server that answers each request on each connection with the same bytes. Counts connections.
struct Server {
    port: u16,
    connections: Arc<AtomicUsize>,
}

async fn server(answer: &'static str) -> Server {
    serve(answer, None).await
}

async fn serve(answer: &'static str, tls: Option<tokio_rustls::TlsAcceptor>) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let connections = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            counter.fetch_add(1, Ordering::Relaxed);
            let tls = tls.clone();
            tokio::spawn(async move {
                match tls {
                    None => answer_all(socket, answer).await,
                    Some(tls) => match tls.accept(socket).await {
                        Ok(socket) => answer_all(socket, answer).await,
                        Err(_) => Ok(()),
                    },
                }
            });
        }
    });
    Server { port, connections }
}

async fn answer_all(mut socket: impl AsyncRead + AsyncWrite + Unpin, answer: &str) -> io::Result<()> {
    let mut seen = Vec::new();
    loop {
        let read = socket.read_buf(&mut seen).await?;
        if read == 0 {
            return Ok(());
        }
        if seen.ends_with(b"\r\n\r\n") {
            seen.clear();
            match answer {
                "" => return Ok(()),
                "wait" => std::future::pending().await,
                answer => socket.write_all(answer.as_bytes()).await?,
            }
        }
    }
}

fn get(url: &str) -> Request<Bytes> {
    Request::get(url).body(Bytes::new()).unwrap()
}

async fn call(client: &Client, url: &str) -> Result<Answer, Fault> {
    client.call(get(url), Effect::Read).await
}

async fn code(client: &Client, url: &str) -> &'static str {
    call(client, url).await.unwrap_err().code
}

/// A resolver that knows one table.
struct Table(Vec<(&'static str, Vec<&'static str>)>);

impl Resolve for Table {
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        let found = self.0.iter().find(|(name, _)| *name == host);
        Box::pin(std::future::ready(match found {
            Some((_, addresses)) => Ok(addresses.iter().map(|a| a.parse().unwrap()).collect()),
            None => Err(io::ErrorKind::NotFound.into()),
        }))
    }
}

fn allowing(ranges: &[&str], ports: &[u16]) -> Policy {
    let mut config = Config::default();
    let ranges = ranges.iter().map(ToString::to_string).collect();
    config.set("allowed_ipv4_addresses", FieldValue::List(ranges));
    config.set("allowed_ports", FieldValue::IntList(ports.iter().map(|p| i64::from(*p)).collect()));
    Policy::of(&config)
}

#[tokio::test]
async fn strict_networking_keeps_calls_from_private_addresses() {
    let server = server(HELLO).await;
    let table = Table(vec![("inside.example", vec!["127.0.0.1", "::1"])]);
    let net = net(NetSettings { resolver: Some(Arc::new(table)), ..NetSettings::default() });
    let strict = net.client(&Policy::default());
    for url in [
        format!("http://127.0.0.1:{}/", server.port),
        format!("http://inside.example:{}/", server.port),
        "http://127.0.0.1/".to_owned(),
        "http://[::1]/".to_owned(),
        "http://[::ffff:127.0.0.1]/".to_owned(),
        "https://inside.example/".to_owned(),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
    ] {
        let fault = call(&strict, &url).await.unwrap_err();
        assert_eq!((fault.code, fault.blame), ("network_blocked", model::Blame::Client), "{url}");
        assert!(!fault.ambiguous);
    }
    assert_eq!(server.connections.load(Ordering::Relaxed), 0);

    let opened = net.client(&allowing(&["127.0.0.0/8"], &[server.port]));
    for host in ["127.0.0.1", "inside.example"] {
        let answer = call(&opened, &format!("http://{host}:{}/", server.port)).await.unwrap();
        assert_eq!(answer.body.expose(), b"hello");
    }
}

#[tokio::test]
async fn of_several_addresses_only_allowed_ones_are_tried() {
    let server = server(HELLO).await;
    let table = Table(vec![("two.example", vec!["127.0.0.2", "127.0.0.1"]), ("none.example", vec![])]);
    let net = net(NetSettings { resolver: Some(Arc::new(table)), ..NetSettings::default() });
    let client = net.client(&allowing(&["127.0.0.1/32"], &[server.port]));
    assert!(call(&client, &format!("http://two.example:{}/", server.port)).await.is_ok());
    assert_eq!(code(&client, "http://none.example/").await, "host_not_found");
    assert_eq!(code(&client, "http://unknown.example/").await, "host_not_found");
}

/// A name that leads elsewhere each time it is looked up.
struct Rebinding(Vec<&'static str>, AtomicUsize);

impl Resolve for Rebinding {
    fn resolve<'a>(&'a self, _: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        let turn = self.1.fetch_add(1, Ordering::Relaxed);
        let answer = self.0[turn.min(self.0.len() - 1)].split(' ').map(|a| a.parse().unwrap()).collect();
        Box::pin(std::future::ready(Ok(answer)))
    }
}

#[tokio::test]
async fn a_name_that_changes_its_mind_is_judged_by_the_address_connected_to() {
    // Each answer is asked for a connection of its own: the server ends one after every answer.
    let server = server("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok").await;
    let answers =
        vec!["127.0.0.1", "169.254.169.254", "10.0.0.1", "fd00:ec2::254", "169.254.169.254 127.0.0.1"];
    let resolver = Arc::new(Rebinding(answers, AtomicUsize::new(0)));
    let net = net(NetSettings { resolver: Some(resolver.clone()), ..NetSettings::default() });
    let client = net.client(&allowing(&["127.0.0.0/8", "169.254.0.0/16"], &[server.port]));
    let url = format!("http://inside.example:{}/latest/meta-data/", server.port);
    assert!(call(&client, &url).await.is_ok());
    for _ in 0..3 {
        assert_eq!(code(&client, &url).await, "network_blocked");
    }
    // One of two addresses may be connected to, and only that one is.
    assert!(call(&client, &url).await.is_ok());
    assert_eq!(server.connections.load(Ordering::Relaxed), 2);
    assert_eq!(resolver.1.load(Ordering::Relaxed), 5, "a name is looked up once for a connection");
}

#[tokio::test]
async fn a_redirect_to_metadata_leads_nowhere() {
    let answer = "HTTP/1.1 307 Temporary Redirect\r\nlocation: http://169.254.169.254/latest/api/token\r\n\
        content-length: 0\r\n\r\n";
    let server = server(answer).await;
    let client = open_net().client(&allowing(&["169.254.0.0/16", "127.0.0.0/8"], &[server.port]));
    let answer = call(&client, &format!("http://127.0.0.1:{}/", server.port)).await.unwrap();
    assert_eq!((answer.status, answer.body.len()), (StatusCode::TEMPORARY_REDIRECT, 0));
}

#[tokio::test]
async fn who_connects_himself_is_told_what_he_may_connect_to() {
    let table = Table(vec![
        ("inside.example", vec!["127.0.0.1", "169.254.169.254", "203.0.113.9"]),
        ("metadata.example", vec!["169.254.169.254"]),
    ]);
    let net = net(NetSettings { resolver: Some(Arc::new(table)), ..NetSettings::default() });
    let policy = allowing(&["127.0.0.0/8", "169.254.0.0/16"], &[8443]);
    let ask = async |host: &str, port| {
        let found = net.addresses(&policy, host, port).await;
        found.map(|found| found.iter().map(ToString::to_string).collect::<Vec<_>>()).map_err(|f| f.code)
    };
    assert_eq!(ask("inside.example", 8443).await, Ok(vec!["127.0.0.1".to_owned()]));
    assert_eq!(ask("127.0.0.2", 443).await, Ok(vec!["127.0.0.2".to_owned()]));
    for (host, port, fault) in [
        ("metadata.example", 443, "network_blocked"),
        ("169.254.169.254", 443, "network_blocked"),
        ("10.0.0.1", 443, "network_blocked"),
        ("inside.example", 22, "network_blocked"),
        ("unknown.example", 443, "host_not_found"),
    ] {
        assert_eq!(ask(host, port).await, Err(fault), "{host}:{port}");
    }
}

#[tokio::test]
async fn redirects_are_answers() {
    let server =
        server("HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n").await;
    let client = open_net().client(&Policy::default());
    let answer = call(&client, &format!("http://127.0.0.1:{}/", server.port)).await.unwrap();
    assert_eq!(answer.status, StatusCode::FOUND);
}

#[tokio::test]
async fn long_answers_are_refused() {
    let settings = NetSettings { allow_private_networks: true, max_answer: 4, ..NetSettings::default() };
    let client = net(settings).client(&Policy::default());
    for answer in
        [HELLO, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"]
    {
        let server = server(answer).await;
        assert_eq!(code(&client, &format!("http://127.0.0.1:{}/", server.port)).await, "answer_too_large");
    }
    let short =
        server("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n").await;
    let answer = call(&client, &format!("http://127.0.0.1:{}/", short.port)).await.unwrap();
    assert_eq!(answer.body.expose(), b"abcd");
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_runs_into_the_time_limit() {
    let server = server("wait").await;
    let client = open_net().client(&Policy::default());
    let url = format!("http://127.0.0.1:{}/", server.port);
    let fault = client.call(get(&url), Effect::Write).await.unwrap_err();
    assert_eq!((fault.code, fault.ambiguous, fault.blame), ("timeout", true, model::Blame::External));
    assert!(!client.call(get(&url), Effect::Read).await.unwrap_err().ambiguous);
}

#[tokio::test]
async fn a_lost_answer_to_a_write_is_ambiguous() {
    let server = server("").await;
    let client = open_net().client(&Policy::default());
    let url = format!("http://127.0.0.1:{}/", server.port);
    let fault = client.call(get(&url), Effect::Write).await.unwrap_err();
    assert_eq!((fault.code, fault.ambiguous), ("connection_lost", true));
    let fault = client.call(get(&url), Effect::Read).await.unwrap_err();
    assert_eq!((fault.code, fault.ambiguous), ("connection_lost", false));
}

#[tokio::test]
async fn what_is_not_there_or_not_http_is_told() {
    let client = open_net().client(&Policy::default());
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let fault = client.call(get(&format!("http://127.0.0.1:{closed}/")), Effect::Write).await.unwrap_err();
    assert_eq!((fault.code, fault.ambiguous), ("connect_failed", false));
    let server = server("SSH-2.0-OpenSSH_9.2\r\n\r\n").await;
    assert_eq!(code(&client, &format!("http://127.0.0.1:{}/", server.port)).await, "not_http");
    assert_eq!(code(&client, "ftp://127.0.0.1/").await, "bad_address");
}

#[tokio::test]
async fn calls_share_connections_within_a_policy() {
    let server = server(HELLO).await;
    let url = format!("http://127.0.0.1:{}/", server.port);
    let net = open_net();
    for _ in 0..3 {
        call(&net.client(&Policy::default()), &url).await.unwrap();
    }
    let kept = net.client(&Policy::default());
    let connections = server.connections.load(Ordering::Relaxed);
    for _ in 0..3 {
        call(&net.client(&Policy::default()), &url).await.unwrap();
    }
    assert_eq!(server.connections.load(Ordering::Relaxed), connections + 1);
    call(&net.client(&allowing(&[], &[1])), &url).await.unwrap();
    assert_eq!(server.connections.load(Ordering::Relaxed), connections + 2);
    drop(kept);
}

#[tokio::test]
async fn tls_trusts_named_authorities_only_and_checks_the_name() {
    let made = rcgen::generate_simple_self_signed(vec!["sm.example".to_owned()]).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let server = serve(HELLO, Some(tokio_rustls::TlsAcceptor::from(Arc::new(config)))).await;
    let table = || {
        let both = vec![("sm.example", vec!["127.0.0.1"]), ("other.example", vec!["127.0.0.1"])];
        Some(Arc::new(Table(both)) as Arc<dyn Resolve>)
    };
    let settings = |extra_roots| NetSettings {
        allow_private_networks: true,
        resolver: table(),
        extra_roots,
        ..NetSettings::default()
    };
    let url = format!("https://sm.example:{}/", server.port);

    let trusting = net(settings(made.cert.pem().into_bytes())).client(&Policy::default());
    assert_eq!(call(&trusting, &url).await.unwrap().body.expose(), b"hello");
    let other = url.replace("sm.example", "other.example");
    assert_eq!(code(&trusting, &other).await, "tls_certificate");

    let strange = rcgen::generate_simple_self_signed(vec!["x.example".to_owned()]).unwrap();
    let wary = net(settings(strange.cert.pem().into_bytes())).client(&Policy::default());
    assert_eq!(code(&wary, &url).await, "tls_certificate");
}

#[test]
fn bad_authorities_are_refused() {
    for bad in ["", "junk", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        let settings = NetSettings { extra_roots: bad.into(), system_roots: false, ..NetSettings::default() };
        let clock = Arc::new(ManualClock::new(Timestamp::from_secs(0)));
        let made = Net::new(settings, Arc::new(Snapshot::default()), clock, Arc::new(SeededEntropy::new(1)));
        assert_eq!(made.err(), (!bad.is_empty()).then_some(NetError::ExtraRoots), "{bad}");
    }
}

#[test]
fn a_snapshot_prints_no_value() {
    let mut env = Snapshot::default();
    env.vars.insert("AWS_SECRET_ACCESS_KEY".into(), "hunter2".into());
    env.vars.insert("EMPTY".into(), String::new());
    assert!(!format!("{env:?}").contains("hunter2"));
    assert_eq!(env.var("AWS_SECRET_ACCESS_KEY").as_deref(), Some("hunter2"));
    assert_eq!(env.var("EMPTY"), None);
}
