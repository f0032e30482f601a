//! TLS as the configuration file turns it on, over HTTP/1.1 and HTTP/2.

use std::{fs, path::Path, sync::Arc};

use http_body_util::{BodyExt as _, Empty};
use hyper::{Request, Version, body::Bytes};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::harness::{Boot, Server, init, keyferry};

/// A store, a certificate and a configuration file that names both.
fn house(directory: &Path) -> (String, rustls::pki_types::CertificateDer<'static>) {
    let token = init(&directory.join("data"));
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(directory.join("cert.pem"), cert.pem()).unwrap();
    fs::write(directory.join("key.pem"), signing_key.serialize_pem()).unwrap();
    let text = format!(
        "[storage]\npath = \"{0}/data\"\n[listener]\naddress = \"127.0.0.1:0\"\ntls_cert_file = \"{0}/cert.pem\"\n\
         tls_key_file = \"{0}/key.pem\"\n[log]\nformat = \"json\"\n",
        directory.display()
    );
    fs::write(directory.join("keyferry.toml"), text).unwrap();
    (token, cert.der().clone())
}

async fn connect(
    server: &Server,
    trusted: &rustls::pki_types::CertificateDer<'static>,
    alpn: &[u8],
) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    let stream = TcpStream::connect(server.address()).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
}

fn health(uri: &str) -> Request<Empty<Bytes>> {
    Request::get(uri).header("Host", "localhost").body(Empty::new()).unwrap()
}

#[tokio::test]
async fn both_versions_of_http_are_served_over_tls() {
    let home = tempfile::tempdir().unwrap();
    let (token, certificate) = house(home.path());
    let server = Boot::config(&home.path().join("keyferry.toml"), &token).start();
    assert!(server.url.starts_with("https://"), "{}", server.url);

    let stream = connect(&server, &certificate, b"h2").await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut send, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let answers =
        (0..20).map(|_| send.send_request(health("https://localhost/v1/sys/health"))).collect::<Vec<_>>();
    for answer in answers {
        let answer = answer.await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.version()), (200, Version::HTTP_2));
    }

    let stream = connect(&server, &certificate, b"http/1.1").await;
    let (mut send, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let answer = send.send_request(health("/v1/sys/seal-status")).await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.version()), (200, Version::HTTP_11));
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    assert!(String::from_utf8_lossy(&body).contains("\"sealed\":false"));

    // Plain HTTP on the TLS port is not answered as if it were served.
    let plain = crate::harness::Client::new(&format!("http://{}", server.address()), None);
    let answer = plain.try_call("GET", "sys/health", None).await;
    assert!(answer.as_ref().map_or(true, |answer| answer.status.is_client_error()), "{answer:?}");
}

/// The server reads its certificate again at SIGHUP; one that cannot be read leaves the old one in place.
#[tokio::test]
async fn a_new_certificate_is_served_after_sighup_and_a_bad_one_is_not() {
    let home = tempfile::tempdir().unwrap();
    let (token, old) = house(home.path());
    let server = Boot::config(&home.path().join("keyferry.toml"), &token).start();
    drop(connect(&server, &old, b"http/1.1").await);

    let CertifiedKey { cert: new, signing_key } =
        generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(home.path().join("cert.pem"), "not a certificate").unwrap();
    server.signal("HUP");
    said(&server, "the certificate was not read again").await;
    drop(connect(&server, &old, b"http/1.1").await);

    fs::write(home.path().join("cert.pem"), new.pem()).unwrap();
    fs::write(home.path().join("key.pem"), signing_key.serialize_pem()).unwrap();
    server.signal("HUP");
    said(&server, "certificate read again").await;
    drop(connect(&server, new.der(), b"http/1.1").await);
}

/// Waits until the server's log says so.
async fn said(server: &Server, what: &str) {
    for _ in 0..600 {
        if server.log().contains(what) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("it did not say \"{what}\":\n{}", server.log());
}

#[test]
fn a_bad_certificate_is_told_before_the_port_is_opened() {
    let home = tempfile::tempdir().unwrap();
    house(home.path());
    fs::write(home.path().join("cert.pem"), "not a certificate").unwrap();
    let config = home.path().join("keyferry.toml");
    let output = keyferry().args(["server", "--config"]).arg(&config).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("listener.tls_cert_file") && said.contains("cert.pem"), "{said}");
    fs::remove_file(home.path().join("key.pem")).unwrap();
    fs::remove_file(home.path().join("cert.pem")).unwrap();
    let output = keyferry().args(["server", "--config"]).arg(&config).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}
