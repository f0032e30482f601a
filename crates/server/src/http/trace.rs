//! The span of a request, from its head to its answer.

use std::sync::Arc;

use http::HeaderMap;
use model::{Attribute, Span, SpanKind, Timestamp, TraceContext, Tracer};

use crate::app::core::Core;

/// A request that is traced.
pub(super) struct Traced {
    tracer: Arc<dyn Tracer>,
    pub(super) context: TraceContext,
    /// Made early, so that all that is logged has it.
    pub(super) request_id: String,
    parent: Option<[u8; 8]>,
    start: Timestamp,
    method: &'static str,
}

impl Traced {
    /// Begins, if anybody wants to know of it.
    pub(super) fn begin(core: &Core, method: &http::Method, headers: &HeaderMap) -> Option<Self> {
        let tracer = core.tracer()?;
        let header = headers.get("traceparent").and_then(|header| header.to_str().ok());
        let sent_by = header.and_then(TraceContext::parse);
        let context = tracer.begin(sent_by)?;
        Some(Self {
            tracer: Arc::clone(tracer),
            context,
            request_id: core.request_id(),
            parent: sent_by.map(|(sender, _)| sender.span),
            start: core.now(),
            // What else was sent as a method is nobody's to repeat.
            method: ["GET", "POST", "PUT", "PATCH", "DELETE", "LIST", "SCAN", "HEAD", "OPTIONS"]
                .into_iter()
                .find(|known| *known == method.as_str())
                .unwrap_or("_OTHER"),
        })
    }

    /// What is logged meanwhile says by whom it was asked.
    pub(super) fn log_span(&self) -> tracing::Span {
        tracing::error_span!("request", request_id = self.request_id, trace_id = self.context.trace_id())
    }

    /// Was answered. `part`: of the API.
    pub(super) fn end(self, part: &'static str, status: u16, now: Timestamp) {
        self.tracer.ended(Span {
            context: self.context,
            parent: self.parent,
            name: part,
            kind: SpanKind::Server,
            start: self.start,
            end: now,
            attributes: vec![
                ("http.request.method", Attribute::Text(self.method.to_owned())),
                ("http.response.status_code", Attribute::Number(status.into())),
                ("keyferry.request_id", Attribute::Text(self.request_id)),
            ],
            error: (status >= 500).then(|| status.to_string()),
        });
    }
}

/// The id of a request that was given one early.
#[derive(Clone)]
pub(super) struct RequestId(pub(super) String);
