use std::time::Duration;

use crate::config::ConfigError;

/// Why a call to Keeper did not succeed: one class each, one line each, with what to do about it
/// (keeper.md 3.8).
///
/// Nothing of an answer's body is repeated, but for Keeper's own error word where it looks like one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The configuration or token cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The client cannot be set up: bad CA, no trusted certificates, bad proxy.
    #[error("the HTTPS client cannot be set up: {0}")]
    Setup(&'static str),
    /// No connection.
    #[error("cannot connect to {host}: check the host name, the network and the proxy")]
    Connect {
        /// Whom we wanted.
        host: String,
    },
    /// The address must not be connected to.
    #[error("{host} is not connected to: {why}")]
    Blocked {
        /// Whom we wanted.
        host: String,
        /// Why, and what would be right.
        why: String,
    },
    /// The certificate was not accepted.
    #[error(
        "the certificate of {host} is not trusted: if a proxy or a private installation is in between, give its CA certificate"
    )]
    Certificate {
        /// Whom we wanted.
        host: String,
    },
    /// The certificate is not valid at this time.
    #[error(
        "the certificate of {host} has expired or is not valid yet: check the date and time of this machine; if they are right, the other side must renew its certificate"
    )]
    CertificateTime {
        /// Whom we wanted.
        host: String,
    },
    /// No answer in time.
    #[error("{host} did not answer in time: try again later, or allow more time")]
    Timeout {
        /// Whom we wanted.
        host: String,
    },
    /// The connection broke. A write that was under way may have happened.
    #[error("the connection to {host} broke: try again later")]
    Broken {
        /// Whom we wanted.
        host: String,
    },
    /// Throttled beyond our patience.
    #[error(
        "Keeper throttles this application (100 requests in 10 seconds are allowed): run less often, or wait a few minutes"
    )]
    Throttled {
        /// How often it was tried again.
        retries: u32,
        /// How long Keeper wanted us to wait, where it said so and it was too long.
        retry_after: Option<Duration>,
    },
    /// This client version is not registered.
    #[error(
        "Keeper does not accept this client version: update this program, or set a version that is registered"
    )]
    ClientVersion,
    /// The client is not let in.
    #[error(
        "Keeper denies access: the one-time token was used before, or the device was removed, has expired, or is locked to another IP address; add a device to the application and bind its token"
    )]
    AccessDenied,
    /// Keeper wants a key of its that we do not have.
    #[error(
        "Keeper asks for its public key {id}, which this program does not have: update it, or configure the key (serverPublicKey)"
    )]
    UnknownServerKey {
        /// The key's id.
        id: String,
    },
    /// Keeper asked for one key after another.
    #[error(
        "Keeper asked for another public key again and again: check the configured server key (serverPublicKey)"
    )]
    KeySwitches,
    /// Keeper refused this request.
    #[error("Keeper refused the request{}", Word(.code))]
    Refused {
        /// The HTTP status.
        status: u16,
        /// Keeper's word for it, where it gave one.
        code: Option<String>,
    },
    /// Keeper, or something in front of it, failed.
    #[error("Keeper failed (HTTP {status}): try again later")]
    Server {
        /// The HTTP status.
        status: u16,
    },
    /// The answer cannot be used.
    #[error("Keeper's answer {0}: check the host, and whether something in between changes answers")]
    Answer(&'static str),
    /// The application key does not fit the answer.
    #[error(
        "the application key does not open Keeper's answer: the configuration belongs to another application or is damaged; bind a new one-time token"
    )]
    ApplicationKey,
    /// Creating needs the owner's key.
    #[error(
        "the configuration has no owner key, so nothing can be created: make the application anew with a current Keeper client and bind a token of it"
    )]
    NoOwnerKey,
    /// No such folder is shared, or its key does not open.
    #[error("this folder is not shared with the application, or its key does not decrypt")]
    NoFolder,
    /// The record may be read only.
    #[error("the application may not edit this record: share it, or its folder, with editing allowed")]
    ReadOnly,
    /// The file has no address yet.
    #[error(
        "the file cannot be downloaded yet: Keeper has no address for it right after an upload, try again shortly"
    )]
    NoFileAddress,
    /// Encryption failed, for want of random numbers or because of a malformed key.
    #[error(
        "encryption failed: a key in the configuration is malformed, or random numbers are not to be had"
    )]
    Crypto,
}

impl Error {
    /// A stable word for the class.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Config(_) => "config",
            Self::Setup(_) => "setup",
            Self::Connect { .. } => "connect",
            Self::Blocked { .. } => "blocked",
            Self::Certificate { .. } => "certificate",
            Self::CertificateTime { .. } => "certificate_time",
            Self::Timeout { .. } => "timeout",
            Self::Broken { .. } => "broken",
            Self::Throttled { .. } => "throttled",
            Self::ClientVersion => "client_version",
            Self::AccessDenied => "access_denied",
            Self::UnknownServerKey { .. } => "unknown_server_key",
            Self::KeySwitches => "key_switches",
            Self::Refused { .. } => "refused",
            Self::Server { .. } => "server",
            Self::Answer(_) => "answer",
            Self::ApplicationKey => "application_key",
            Self::NoOwnerKey => "no_owner_key",
            Self::NoFolder => "no_folder",
            Self::ReadOnly => "read_only",
            Self::NoFileAddress => "no_file_address",
            Self::Crypto => "crypto",
        }
    }

    /// Whether the same call may succeed later without anyone mending anything.
    pub const fn is_passing(&self) -> bool {
        matches!(
            self,
            Self::Connect { .. }
                | Self::Timeout { .. }
                | Self::Broken { .. }
                | Self::Throttled { .. }
                | Self::Server { .. }
                | Self::NoFileAddress
        )
    }
}

impl From<crate::crypto::Sealed> for Error {
    fn from(_: crate::crypto::Sealed) -> Self {
        Self::Crypto
    }
}

/// ` (word)`, or nothing.
struct Word<'a>(&'a Option<String>);

impl std::fmt::Display for Word<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.as_ref().map_or(Ok(()), |word| write!(f, " ({word})"))
    }
}
