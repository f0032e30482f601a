//! Where the database is and how it is used. No text made here repeats the connection URL, which may hold
//! a password.

use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

use model::SecretBytes;
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _},
};
use tokio_postgres::{
    Config,
    config::{Host, SslMode, TargetSessionAttrs},
};
use tokio_postgres_rustls::MakeRustlsConnect;

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(5);
/// What a URL may say besides where and who; the rest is the configuration's, or has no meaning here.
const KNOWN: [&str; 3] = ["sslmode", "host", "port"];

/// How to reach and use a PostgreSQL database.
#[derive(Clone)]
pub struct PostgresOptions {
    /// The schema (namespace) that is, or becomes, the store's own. Default `keyferry`.
    pub schema: String,
    /// Most connections for scans; one for other reads and one for writes come on top. Default 8.
    pub max_parallel: usize,
    /// How long a read or write may wait for the database, connections made again included. Default 15 s.
    pub timeout: Duration,
    /// The most memory the cache of entries takes, in bytes. Default 64 MiB.
    pub cache_bytes: usize,
    pub(super) config: Config,
    pub(super) tls: MakeRustlsConnect,
    at: String,
}

impl fmt::Debug for PostgresOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgresOptions({})", self.at)
    }
}

/// Why a database cannot be reached by what was configured. Meant for whoever wrote the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadConnection {
    /// Not a URL of the kind that is meant.
    #[error("not a connection URL: want one such as postgres://user@host:5432/database?sslmode=verify-full")]
    Url,
    /// An option in the URL that is not known.
    #[error("an option in the URL is not known: after the ? there may be sslmode, host and port")]
    Option,
    /// `sslmode` says something else.
    #[error(
        "sslmode must be disable (no TLS), require (TLS, whoever answers) or verify-full (TLS with a certificate \
         for the host's name)"
    )]
    SslMode,
    /// No user.
    #[error("the URL names no user: write postgres://user@host/database")]
    User,
    /// No database.
    #[error("the URL names no database: write postgres://user@host/database")]
    Database,
    /// The certificate authorities do not parse.
    #[error("the certificate authorities are not certificates in PEM")]
    Roots,
    /// There is nothing to verify a certificate by.
    #[error(
        "the operating system has no certificate authorities; name a file of them, or choose another sslmode"
    )]
    NoRoots,
    /// TLS could not be set up.
    #[error("TLS could not be set up")]
    Tls,
    /// A name no schema should have.
    #[error(
        "a schema's name is 1 to 63 lower-case letters, digits and underscores, and does not begin with a digit or pg_"
    )]
    Schema,
}

impl PostgresOptions {
    /// Reads a connection URL as libpq writes them. `sslmode` is `verify-full` unless it says otherwise, but
    /// not for sockets and loopback addresses. `password` wins over one in the URL. `roots`: certificate
    /// authorities in PEM that take the place of the operating system's.
    ///
    /// # Errors
    /// What is wrong with them, without repeating them.
    pub fn new(
        url: &str,
        password: Option<&SecretBytes>,
        roots: Option<&[u8]>,
    ) -> Result<Self, BadConnection> {
        if !["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
            return Err(BadConnection::Url);
        }
        let (place, query) = url.split_once('?').unwrap_or((url, ""));
        let mut mode = None;
        let mut rest = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').ok_or(BadConnection::Url)?;
            match name {
                "sslmode" => mode = Some(Tls::named(value).ok_or(BadConnection::SslMode)?),
                name if KNOWN.contains(&name) => rest.push(pair),
                _ => return Err(BadConnection::Option),
            }
        }
        let mut config: Config =
            format!("{place}?{}", rest.join("&")).parse().map_err(|_| BadConnection::Url)?;
        if config.get_user().is_none_or(str::is_empty) {
            return Err(BadConnection::User);
        }
        if config.get_dbname().is_none_or(str::is_empty) {
            return Err(BadConnection::Database);
        }
        if config.get_hosts().is_empty() {
            return Err(BadConnection::Url);
        }
        let mode = mode.unwrap_or_else(|| Tls::usual(config.get_hosts()));
        if let Some(password) = password {
            // EXPOSE: kept where the client takes it from whenever it connects.
            config.password(password.expose());
        }
        config
            .application_name("keyferry")
            .connect_timeout(CONNECT)
            .keepalives_idle(Duration::from_secs(10))
            .keepalives_interval(Duration::from_secs(3))
            .keepalives_retries(3)
            .target_session_attrs(TargetSessionAttrs::ReadWrite)
            .ssl_mode(if mode == Tls::Disable { SslMode::Disable } else { SslMode::Require });
        let at = described(&config);
        Ok(Self {
            schema: "keyferry".into(),
            max_parallel: 8,
            timeout: Duration::from_secs(15),
            cache_bytes: 64 << 20,
            tls: MakeRustlsConnect::new(client_config(mode, roots)?),
            config,
            at,
        })
    }

    /// The place in words: `db.example.com:5432/keyferry`.
    pub fn place(&self) -> &str {
        &self.at
    }

    /// Refuses schema names that would need care wherever they are written.
    ///
    /// # Errors
    /// [`BadConnection::Schema`].
    pub fn check(&self) -> Result<(), BadConnection> {
        let name = self.schema.as_bytes();
        let fits = (1..=63).contains(&name.len())
            && name.iter().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'))
            && !name[0].is_ascii_digit()
            && !self.schema.starts_with("pg_");
        if fits { Ok(()) } else { Err(BadConnection::Schema) }
    }
}

fn described(config: &Config) -> String {
    let ports = config.get_ports();
    let hosts = config.get_hosts().iter().enumerate().map(|(at, host)| {
        let port = ports.get(at).or(ports.first()).copied().unwrap_or(5432);
        match host {
            Host::Tcp(host) if host.contains(':') => format!("[{host}]:{port}"),
            Host::Tcp(host) => format!("{host}:{port}"),
            #[cfg(unix)]
            Host::Unix(path) => format!("{}:{port}", path.display()),
        }
    });
    format!("{}/{}", hosts.collect::<Vec<_>>().join(","), config.get_dbname().unwrap_or_default())
}

/// What libpq calls `sslmode`. `allow` and `prefer` are not here: whoever is in between chooses then.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tls {
    Disable,
    Require,
    VerifyFull,
}

impl Tls {
    fn named(name: &str) -> Option<Self> {
        match name {
            "disable" => Some(Self::Disable),
            "require" => Some(Self::Require),
            "verify-full" => Some(Self::VerifyFull),
            _ => None,
        }
    }

    fn usual(hosts: &[Host]) -> Self {
        let near = hosts.iter().all(|host| match host {
            Host::Tcp(name) => {
                name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
            }
            #[cfg(unix)]
            Host::Unix(_) => true,
        });
        if near { Self::Disable } else { Self::VerifyFull }
    }
}

fn client_config(mode: Tls, roots: Option<&[u8]>) -> Result<ClientConfig, BadConnection> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|_| BadConnection::Tls)?;
    let mut store = RootCertStore::empty();
    match roots {
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate = certificate.map_err(|_| BadConnection::Roots)?;
                store.add(certificate).map_err(|_| BadConnection::Roots)?;
            }
            if store.is_empty() {
                return Err(BadConnection::Roots);
            }
        }
        None if mode == Tls::VerifyFull => {
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if store.is_empty() {
                return Err(BadConnection::NoRoots);
            }
        }
        None => {}
    }
    Ok(match mode {
        Tls::Require => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anyone(provider)))
            .with_no_client_auth(),
        Tls::Disable | Tls::VerifyFull => builder.with_root_certificates(store).with_no_client_auth(),
    })
}

/// `sslmode=require`: enciphered, but to whoever answers. What the operator asked for by that word.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str) -> Result<PostgresOptions, BadConnection> {
        PostgresOptions::new(url, None, None)
    }

    #[test]
    fn a_url_says_where_and_who() {
        for (url, place) in [
            ("postgres://u:p@localhost/kf", "localhost:5432/kf"),
            ("postgresql://u@127.0.0.1:5433/kf?sslmode=disable", "127.0.0.1:5433/kf"),
            ("postgres://u@/kf?host=/run/pg&port=6000", "/run/pg:6000/kf"),
            ("postgres://u@one:1,two:2/kf?sslmode=require", "one:1,two:2/kf"),
        ] {
            let options = read(url).unwrap();
            assert_eq!(options.place(), place);
            assert_eq!(format!("{options:?}"), format!("PostgresOptions({place})"));
        }
    }

    #[test]
    fn what_cannot_be_is_told_without_repeating_it() {
        for (url, fault) in [
            ("hunter2", BadConnection::Url),
            ("mysql://u:hunter2@h/d", BadConnection::Url),
            ("postgres://u:hunter2@h:port/d", BadConnection::Url),
            ("postgres://u@h/d?sslmode=prefer", BadConnection::SslMode),
            ("postgres://u@h/d?sslrootcert=hunter2", BadConnection::Option),
            ("postgres://u@h/d?sslmode", BadConnection::Url),
            ("postgres://h/d", BadConnection::User),
            ("postgres://u@h", BadConnection::Database),
        ] {
            let told = read(url).unwrap_err();
            assert_eq!(told, fault, "{url}");
            assert!(!told.to_string().contains("hunter2"));
        }
        let roots = PostgresOptions::new("postgres://u@h/d", None, Some(b"hunter2"));
        assert_eq!(roots.unwrap_err(), BadConnection::Roots);
    }

    #[test]
    fn tls_is_verified_unless_it_stays_on_the_machine_or_somebody_says_so() {
        let mode = |url: &str| read(url).unwrap().config.get_ssl_mode();
        for url in ["postgres://u@localhost/d", "postgres://u@[::1]/d", "postgres://u@h/d?sslmode=disable"] {
            assert_eq!(mode(url), SslMode::Disable, "{url}");
        }
        assert_eq!(mode("postgres://u@localhost/d?sslmode=require"), SslMode::Require);
        assert!(Tls::usual(&[Host::Tcp("db.example.com".into())]) == Tls::VerifyFull);
        assert!(Tls::usual(&[Host::Tcp("localhost".into()), Host::Tcp("far".into())]) == Tls::VerifyFull);
    }

    #[test]
    fn a_schema_has_a_plain_name() {
        let mut options = read("postgres://u@localhost/d").unwrap();
        for (name, fits) in [
            ("keyferry", true),
            ("k_2", true),
            ("", false),
            ("2k", false),
            ("pg_catalog", false),
            ("a\"b", false),
            ("Upper", false),
        ] {
            options.schema = name.into();
            assert_eq!(options.check().is_ok(), fits, "{name}");
        }
    }
}
