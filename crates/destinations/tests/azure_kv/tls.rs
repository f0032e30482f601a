//! The vault under its own name, encrypted, over HTTP/1.1 and HTTP/2: what certificates, host names and
//! the check of a challenge's domain are about.

use rustls::pki_types::PrivateKeyDer;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::*;

/// Every name leads here.
struct Here;

impl Resolve for Here {
    fn resolve<'a>(&'a self, _: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(std::future::ready(Ok(vec![IpAddr::from([127, 0, 0, 1])])))
    }
}

/// Takes the encryption off in front of the pretend service. Its port, and the certificate to trust.
async fn front(bench: &Bench, protocol: &'static [u8]) -> (u16, Vec<u8>) {
    let names = ["*.vault.azure.net".to_owned(), "login.microsoftonline.com".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    config.alpn_protocols = vec![protocol.to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, behind) = (listener.local_addr().unwrap().port(), bench.fake.port());
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut outside) = acceptor.accept(socket).await else { return };
                let Ok(mut inside) = TcpStream::connect(("127.0.0.1", behind)).await else { return };
                let _ = tokio::io::copy_bidirectional(&mut outside, &mut inside).await;
            });
        }
    });
    (port, made.cert.pem().into_bytes())
}

#[tokio::test]
async fn a_vault_is_reached_under_its_own_name() {
    for protocol in [&b"http/1.1"[..], b"h2"] {
        let bench = Bench::new().await;
        let (port, root) = front(&bench, protocol).await;
        let net = |extra_roots| {
            let settings = NetSettings {
                allow_private_networks: true,
                resolver: Some(Arc::new(Here)),
                extra_roots,
                ..NetSettings::default()
            };
            bench.net(settings, Snapshot::default())
        };
        let settings = merged(
            bench.settings(),
            json!({"endpoint": null, "tenant_id": null,
            "key_vault_uri": format!("https://pretend.vault.azure.net:{port}"),
            "auth_endpoint": format!("https://login.microsoftonline.com:{port}")}),
        );
        let destination = try_open(settings.clone(), &net(root)).unwrap();
        create(&destination, "a").await;
        assert_eq!((bench.fake.calls("List"), bench.fake.calls("Token")), (1, 1), "by the challenge");
        // A list of several pages, whose links name the host; a removal; a recovery, which is a POST of nothing.
        bench.fake.add_old_versions("a", 60);
        assert_eq!(present(&destination, "a").await.mark, Some(mark(1)));
        remove(&destination, "a").await.unwrap();
        written(put(&destination, "a", "back", 2, Expect::Absent).await);
        assert_eq!(bench.value("a"), "back");

        let strange = rcgen::generate_simple_self_signed(vec!["x.example".to_owned()]).unwrap();
        let wary = try_open(settings, &net(strange.cert.pem().into_bytes())).unwrap();
        assert_eq!(code(put(&wary, "b", "v", 1, Expect::Absent).await), "tls_certificate");
    }
}
