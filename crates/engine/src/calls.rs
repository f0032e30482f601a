//! The calls of a delivery, told to whoever observes, each with the requests it is made for.

use std::{collections::HashMap, sync::Arc, time::Duration};

use destinations::Fault;
use model::{Clock, DestinationId, DestinationKey, Timestamp, TraceContext};
use store::Node;
use tokio::time::Instant;

use crate::{engine::Inner, observer::Observer, quota::Operation, registry::Opened, worker::Work};

tokio::task_local! {
    /// The request that is being answered, where it is traced.
    static TRACE: TraceContext;
}

/// Answers a request in such a way that what it asks of the engine is known to be asked by it.
pub async fn traced<F: Future>(trace: TraceContext, request: F) -> F::Output {
    TRACE.scope(trace, request).await
}

/// The request that is being answered here.
pub(crate) fn current() -> Option<TraceContext> {
    TRACE.try_with(|trace| *trace).ok()
}

/// One call to a destination, as it ended.
#[derive(Debug)]
pub struct Call<'a> {
    /// Type and name of the destination.
    pub destination: &'a DestinationKey,
    /// `look`, `create`, `update` or `remove`.
    pub operation: &'static str,
    /// How many entries it was about.
    pub entries: usize,
    /// How long it waited for its turn at the provider's account.
    pub waited: Duration,
    /// When it began, after it had waited.
    pub began: Timestamp,
    /// How long it took.
    pub took: Duration,
    /// What went wrong with it, or with the first entry for which something did.
    pub fault: Option<&'a Fault>,
    /// The requests it was made for, as far as they are traced; none of them twice.
    pub traces: &'a [TraceContext],
}

/// What a delivery's calls are told by.
pub(crate) struct Teller<'a> {
    observers: Vec<Arc<dyn Observer>>,
    destination: &'a DestinationKey,
    clock: &'a dyn Clock,
    traces: Vec<TraceContext>,
    /// By which request each source was put in line.
    asked: Vec<(Node, TraceContext)>,
}

impl Teller<'_> {
    /// Makes a call that has waited for so long, and tells of it.
    pub(crate) async fn call<T>(
        &self,
        operation: Operation,
        entries: usize,
        waited: Duration,
        call: impl Future<Output = Vec<Result<T, Fault>>>,
    ) -> Vec<Result<T, Fault>> {
        let (began, running) = (self.clock.now(), Instant::now());
        let answers = call.await;
        let told = Call {
            destination: self.destination,
            operation: operation.as_str(),
            entries,
            waited,
            began,
            took: running.elapsed(),
            fault: answers.iter().find_map(|answer| answer.as_ref().err()),
            traces: &self.traces,
        };
        self.observers.iter().for_each(|observer| observer.called(&told));
        answers
    }
}

/// The requests by which sources were asked to be looked at, until they have been.
#[derive(Default)]
pub(crate) struct Traces(HashMap<(DestinationId, Node), TraceContext>);

impl Traces {
    /// More than this is not remembered. What is over is forgotten, not what is new: some of it waits for
    /// somebody to switch syncing on, or for ever.
    const MOST: usize = 10_000;

    /// Notes by which request a source is put in line.
    pub(crate) fn note(&mut self, destination: DestinationId, source: Node, trace: TraceContext) {
        if self.0.len() >= Self::MOST {
            self.0.clear();
        }
        self.0.insert((destination, source), trace);
    }
}

impl Inner {
    /// Tells of the calls that are made for this work. The requests that asked for it are forgotten until
    /// [`Inner::untraced`].
    pub(crate) fn teller<'a>(&'a self, opened: &'a Opened, works: &[Work]) -> Option<Teller<'a>> {
        let observers = self.observers();
        if observers.is_empty() {
            return None;
        }
        let mut held = self.traces();
        let (mut traces, mut asked) = (Vec::new(), Vec::new());
        if !held.0.is_empty() {
            for source in works.iter().map(|work| work.source) {
                if let Some(trace) = held.0.remove(&(opened.record.id, source)) {
                    asked.push((source, trace));
                    if !traces.contains(&trace) {
                        traces.push(trace);
                    }
                }
            }
        }
        Some(Teller { observers, destination: &opened.record.key, clock: self.clock.as_ref(), traces, asked })
    }

    /// What failed is tried again for the request that asked for it, unless another has asked meanwhile.
    pub(crate) fn untraced(&self, teller: &Teller<'_>, destination: DestinationId, works: &[Work]) {
        for (source, trace) in &teller.asked {
            let failed = works
                .iter()
                .any(|work| work.source == *source && work.done.iter().any(|done| done.fault.is_some()));
            if failed {
                self.traces().0.entry((destination, *source)).or_insert(*trace);
            }
        }
    }
}
