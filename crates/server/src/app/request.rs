use std::net::SocketAddr;

use model::{SecretBytes, TraceContext};
use zeroize::Zeroizing;

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Operation {
    /// GET.
    #[default]
    Read,
    /// POST or PUT, which mean the same.
    Write,
    /// PATCH.
    Patch,
    /// DELETE.
    Delete,
    /// LIST, or GET with `list=true`.
    List,
    /// SCAN, or GET with `scan=true`: a list that descends into folders.
    Scan,
}

/// What a token must be allowed to do, in the words of policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Capability {
    /// Write what is not there yet.
    Create,
    /// Read.
    Read,
    /// Write what is there, or what knows no such difference.
    Update,
    /// Change parts.
    Patch,
    /// Delete.
    Delete,
    /// List a folder.
    List,
    /// List a folder and all below.
    Scan,
    /// Besides another one: what is kept from most.
    Sudo,
    /// Vault's; nothing here asks for it.
    Subscribe,
    /// Vault's; nothing here asks for it.
    Recover,
}

impl Capability {
    /// The word of policies and `sys/capabilities`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Read => "read",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::List => "list",
            Self::Scan => "scan",
            Self::Sudo => "sudo",
            Self::Subscribe => "subscribe",
            Self::Recover => "recover",
        }
    }
}

/// One call, freed of HTTP.
#[derive(Debug, Default)]
pub struct Request {
    /// A UUID, the answer's `request_id`.
    pub id: String,
    /// What it asks for.
    pub operation: Operation,
    /// Below `/v1/`, percent-decoded once, without a leading slash; no `.` or `..` segment and no
    /// control character. What is authorised and what is served are this one text. Lists and scans
    /// always end in `/`, writes never do.
    pub path: String,
    /// The caller's token.
    pub token: Option<SecretBytes>,
    /// Within the JSON limits.
    pub body: Body,
    /// Decoded, in order, `list` and `scan` taken out of a list's or scan's.
    pub query: Vec<(String, String)>,
    /// Seconds for which the answer is to be wrapped; at least 1.
    pub wrap_ttl: Option<u64>,
    /// Who is at the other end of the connection. `None` for calls from inside.
    pub remote: Option<SocketAddr>,
    /// The headers that audit devices write, of those that came: lower-case name and value.
    pub headers: Vec<(String, String)>,
    /// The span that answers it, where it is traced.
    pub trace: Option<TraceContext>,
}

/// A request's body. Wiped on drop.
#[derive(Default)]
pub enum Body {
    /// None, or blanks only.
    #[default]
    Empty,
    /// JSON text, whatever its media type said.
    Json(Zeroizing<Vec<u8>>),
    /// `application/x-www-form-urlencoded`.
    Form(Zeroizing<Vec<u8>>),
    /// Too large to be kept in memory: a snapshot to restore.
    File(std::fs::File),
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Empty => f.write_str("Empty"),
            Self::Json(bytes) => write!(f, "Json({} bytes)", bytes.len()),
            Self::Form(bytes) => write!(f, "Form({} bytes)", bytes.len()),
            Self::File(_) => f.write_str("File"),
        }
    }
}
