use std::{borrow::Cow, fmt, time::Duration};

use model::Blame;

/// When a failed call is worth repeating.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Soon: exponential backoff with full jitter. For throttling, outages, timeouts.
    Backoff,
    /// The provider said how long to wait.
    After(Duration),
    /// Rarely (minutes to hours): someone may mend it outside without telling us, such as expired
    /// credentials or a missing permission.
    Slowly,
    /// Not until the source, the destination or a person changes something: a name or size rule.
    WhenChanged,
}

/// Why a call to a destination failed, in our own words.
///
/// Nothing in here comes from the remote body or from a value: providers echo what they were sent.
#[derive(Clone, PartialEq, Eq)]
pub struct Fault {
    /// Whose turn it is.
    pub blame: Blame,
    /// Stable, snake_case, part of the API (`error_code` of an association).
    pub code: &'static str,
    /// One sentence for the operator: what is wrong and what would be right.
    pub message: Cow<'static, str>,
    /// The HTTP status, where there was an answer.
    pub http_status: Option<u16>,
    /// When to try again.
    pub retry: Retry,
    /// A write was sent and its outcome is not known: look before repeating it where the call is
    /// not idempotent (destinations.md 0.1).
    pub ambiguous: bool,
}

impl Fault {
    /// The operator's to mend; not repeated until something changes.
    pub fn client(code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            blame: Blame::Client,
            code,
            message: message.into(),
            http_status: None,
            retry: Retry::WhenChanged,
            ambiguous: false,
        }
    }

    /// The provider's, or time's: repeated with backoff.
    pub fn external(code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { blame: Blame::External, retry: Retry::Backoff, ..Self::client(code, message) }
    }

    /// Ours: repeated with backoff, and worth an alarm.
    pub fn internal(code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { blame: Blame::Internal, retry: Retry::Backoff, ..Self::client(code, message) }
    }

    /// The value is larger than the destination takes. `value_too_large`.
    pub fn too_large(bytes: usize, limit: usize) -> Self {
        let message = format!("the value has {bytes} bytes; the destination takes at most {limit}");
        Self::client("value_too_large", message)
    }

    /// The destination does not give values back. `cannot_read`.
    pub fn cannot_read() -> Self {
        Self::client("cannot_read", "the destination does not give values back")
    }

    /// The provider asks for fewer calls; a [`Retry::After`] says for how long there are to be none. The
    /// engine slows down for all destinations of the account, so every adapter tells it by this code.
    /// `throttled`.
    pub fn throttled(message: impl Into<Cow<'static, str>>) -> Self {
        Self::external("throttled", message)
    }

    /// Whether it is [`Fault::throttled`].
    pub fn is_throttled(&self) -> bool {
        self.code == "throttled"
    }

    /// Whether the name alone is the trouble: the provider is still busy deleting or recovering what bears
    /// it (`name_busy`). Nothing follows from it for other entries, whatever time to try again it names.
    pub fn is_name_busy(&self) -> bool {
        self.code == "name_busy"
    }

    /// An entry that was to be removed does not bear the owner's mark. `ownership_lost`.
    pub fn ownership_lost() -> Self {
        Self::client(
            "ownership_lost",
            "the entry no longer bears this association's mark, so it is left alone; remove it at the \
             destination by hand if it is not needed",
        )
    }

    /// With the status of the answer.
    #[must_use]
    pub fn status(mut self, status: u16) -> Self {
        self.http_status = Some(status);
        self
    }

    /// With another time to try again.
    #[must_use]
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// After a write whose outcome is not known.
    #[must_use]
    pub fn ambiguous(mut self) -> Self {
        self.ambiguous = true;
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)?;
        self.http_status.map_or(Ok(()), |status| write!(f, " (HTTP {status})"))
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fault({:?}, {:?}, {self})", self.blame, self.retry)
    }
}

impl std::error::Error for Fault {}
