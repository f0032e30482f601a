use std::{path::PathBuf, sync::Arc};

use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use tokio_rustls::TlsAcceptor;

/// Where a listener's certificate is.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The certificate and those that lead to its issuer, PEM.
    pub certificate: PathBuf,
    /// The certificate's private key, PEM: PKCS#8, PKCS#1 or SEC1.
    pub key: PathBuf,
}

/// Why TLS cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The certificate file cannot be used.
    #[error("cannot read certificates from {0}: {1}")]
    Certificate(PathBuf, String),
    /// The key file cannot be used.
    #[error("cannot read a private key from {0}: {1}")]
    Key(PathBuf, String),
    /// The two do not make a server's identity.
    #[error("the certificate and key cannot be used together: {0}")]
    Pair(#[from] rustls::Error),
}

/// Reads the files. HTTP/2 is offered before HTTP/1.1.
pub(super) fn acceptor(files: &TlsFiles) -> Result<TlsAcceptor, TlsError> {
    let unusable =
        |fault: &dyn std::fmt::Display| TlsError::Certificate(files.certificate.clone(), fault.to_string());
    let certificates = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|fault| unusable(&fault))?;
    if certificates.is_empty() {
        return Err(unusable(&"it holds none"));
    }
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|fault| TlsError::Key(files.key.clone(), fault.to_string()))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(certificates, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
