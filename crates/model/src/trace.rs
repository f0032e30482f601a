//! Traces: what one request set in motion, here and elsewhere (W3C Trace Context, OpenTelemetry). Only words:
//! nothing here sends anything.

use std::fmt;

use crate::{Entropy, Timestamp};

/// A place in a trace: which trace, and which span of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceContext {
    /// The trace's id. Never all zeros.
    pub trace: [u8; 16],
    /// The span's id. Never all zeros.
    pub span: [u8; 8],
}

impl TraceContext {
    /// A span of a new trace.
    pub fn root(entropy: &dyn Entropy) -> Self {
        let mut trace = [0; 16];
        entropy.fill(&mut trace);
        if trace == [0; 16] {
            trace[15] = 1;
        }
        Self { trace, span: [0; 8] }.child(entropy)
    }

    /// Another span of the same trace.
    #[must_use]
    pub fn child(self, entropy: &dyn Entropy) -> Self {
        let mut span = [0; 8];
        entropy.fill(&mut span);
        if span == [0; 8] {
            span[7] = 1;
        }
        Self { span, ..self }
    }

    /// Reads a `traceparent` header, and whether its sender records the trace. `None`: it is none, and the
    /// standard asks to go on as if there was no header.
    pub fn parse(header: &str) -> Option<(Self, bool)> {
        let mut parts = header.trim().split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let version = bytes::<1>(version)?;
        // Later versions may append; this one may not.
        if version == [0xff] || (version == [0] && parts.next().is_some()) {
            return None;
        }
        let context = Self { trace: bytes(trace)?, span: bytes(span)? };
        let [flags] = bytes(flags)?;
        (context.trace != [0; 16] && context.span != [0; 8]).then_some((context, flags & 1 == 1))
    }

    /// 32 hexadecimal digits.
    pub fn trace_id(&self) -> String {
        format!("{:032x}", u128::from_be_bytes(self.trace))
    }
}

impl fmt::Debug for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.trace_id())
    }
}

/// Lower-case hexadecimal digits of just this length.
fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut out = [0; N];
    let digits = text.as_bytes();
    if digits.len() != 2 * N || digits.iter().any(u8::is_ascii_uppercase) {
        return None;
    }
    for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    // A sign is no digit.
    (!digits.contains(&b'+')).then_some(out)
}

/// Which side of a call a span is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanKind {
    /// Answers a request.
    Server,
    /// Makes one.
    Client,
}

/// What is said of a span.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attribute {
    /// Words: never a value, a token or what somebody sent.
    Text(String),
    /// A number.
    Number(i64),
}

/// Something that was done, from beginning to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// What it is.
    pub context: TraceContext,
    /// The span it was done for.
    pub parent: Option<[u8; 8]>,
    /// One of few.
    pub name: &'static str,
    /// Which side it is.
    pub kind: SpanKind,
    /// When it began.
    pub start: Timestamp,
    /// When it ended.
    pub end: Timestamp,
    /// What is to be known of it.
    pub attributes: Vec<(&'static str, Attribute)>,
    /// Why it failed: a stable code.
    pub error: Option<String>,
}

/// Takes spans. Must not block, and whatever becomes of them is nobody else's concern.
pub trait Tracer: Send + Sync {
    /// A request begins, sent by this span of somebody else's, which records its trace or not. `None`: it is
    /// not traced.
    fn begin(&self, sent_by: Option<(TraceContext, bool)>) -> Option<TraceContext>;

    /// Something was done.
    fn ended(&self, span: Span);
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_header_is_read_as_the_standard_says() {
        let (context, sampled) = TraceContext::parse(HEADER).unwrap();
        assert_eq!(context.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!((context.span[0], sampled), (0, true));
        let later = HEADER.replacen("00-", "01-", 1) + "-more";
        assert!(TraceContext::parse(&later).is_some(), "later versions may say more");
        assert!(!TraceContext::parse(&HEADER.replace("-01", "-00")).unwrap().1);
    }

    #[test]
    fn what_is_no_header_is_none() {
        for header in [
            "",
            "00",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e47+6-00f067aa0ba902b7-01",
            "00-éf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceContext::parse(header), None, "{header}");
        }
    }
}
