//! Traces of requests and of the calls that are made because of them. What is said of either are our own
//! words and numbers: no path, no name of a secret, no value, no token.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use engine::{Call, Delivery, Observer};
use model::{Attribute, Entropy, Span, SpanKind, Tracer};

/// Tells a tracer of every call that the engine makes for a traced request.
pub struct TracedCalls {
    tracer: Arc<dyn Tracer>,
    entropy: Arc<dyn Entropy>,
}

impl TracedCalls {
    /// An observer for [`engine::Engine::observe`].
    pub fn new(tracer: Arc<dyn Tracer>, entropy: Arc<dyn Entropy>) -> Self {
        Self { tracer, entropy }
    }
}

#[async_trait]
impl Observer for TracedCalls {
    async fn delivered(&self, _: &[Delivery<'_>]) -> Result<(), String> {
        Ok(())
    }

    fn called(&self, call: &Call<'_>) {
        let number = |n: u128| Attribute::Number(i64::try_from(n).unwrap_or(i64::MAX));
        // A call may carry what several requests asked for: each has it in its trace.
        for trace in call.traces {
            let mut attributes = vec![
                ("keyferry.destination.type", Attribute::Text(call.destination.kind.clone())),
                ("keyferry.destination", Attribute::Text(call.destination.to_string())),
                ("keyferry.entries", number(call.entries as u128)),
                ("keyferry.quota_wait_ms", number(call.waited.as_millis())),
            ];
            let error = call.fault.map(|fault| fault.code.to_owned());
            if let Some(code) = &error {
                attributes.push(("error.type", Attribute::Text(code.clone())));
            }
            self.tracer.ended(Span {
                context: trace.child(self.entropy.as_ref()),
                parent: Some(trace.span),
                name: match call.operation {
                    "look" => "destination look",
                    "create" => "destination create",
                    "update" => "destination update",
                    _ => "destination remove",
                },
                kind: SpanKind::Client,
                start: call.began,
                end: call.began.plus(Duration::max(call.took, Duration::from_nanos(1))),
                attributes,
                error,
            });
        }
    }
}
