//! Traces on their way out: sampled, gathered, and sent to an OpenTelemetry collector by OTLP over HTTP.
//! Serving never waits for any of it: what does not fit in the line is dropped, and so is what the collector
//! does not take.

mod settings;
mod wire;

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use destinations::net::{Client, Effect, Net, Policy};
use http::{HeaderMap, Request, StatusCode, header};
use model::{Entropy, Span, TraceContext, Tracer};
use tokio::{
    sync::mpsc::{Receiver, Sender, channel, error::TrySendError},
    task::JoinHandle,
    time::Instant,
};
use tokio_util::sync::CancellationToken;

pub(crate) use settings::{Exporting, Ratio};

/// Spans that wait to be sent; more are dropped.
const LINE: usize = 4096;
/// Spans of one request to the collector.
const BATCH: usize = 512;
/// Spans wait at most so long for company.
const EVERY: Duration = Duration::from_secs(2);
/// Attempts at sending one batch.
const ATTEMPTS: u32 = 4;
/// First wait between them; doubled each time.
const BACKOFF: Duration = Duration::from_millis(500);
/// Trouble is logged at most this often.
const SAY_EVERY: Duration = Duration::from_mins(1);
/// How long the last spans may take at the end.
const LAST: Duration = Duration::from_secs(2);

/// Decides what is traced, and sends it.
pub(crate) struct Traces {
    entropy: Arc<dyn Entropy>,
    ratio: Ratio,
    line: Sender<Span>,
    dropped: Arc<AtomicU64>,
    stop: CancellationToken,
    sender: Mutex<Option<JoinHandle<()>>>,
}

impl Traces {
    /// Starts to send.
    pub(crate) fn start(exporting: Exporting, net: &Net, entropy: Arc<dyn Entropy>) -> Arc<Self> {
        let (line, waiting) = channel(LINE);
        let (dropped, stop) = (Arc::new(AtomicU64::new(0)), CancellationToken::new());
        let ratio = exporting.ratio;
        let sending = Sending {
            client: net.client(&Policy::of_operator()),
            exporting,
            dropped: Arc::clone(&dropped),
            said: None,
        };
        let sender = tokio::spawn(sending.run(waiting, stop.clone()));
        Arc::new(Self { entropy, ratio, line, dropped, stop, sender: Mutex::new(Some(sender)) })
    }

    /// Sends what is there, within moments, and stops.
    pub(crate) async fn close(&self) {
        self.stop.cancel();
        let sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(sender) = sender {
            // What is not sent by then is lost; nobody is to wait for it.
            let _ = tokio::time::timeout(LAST, sender).await;
        }
    }
}

impl Tracer for Traces {
    fn begin(&self, sent_by: Option<(TraceContext, bool)>) -> Option<TraceContext> {
        match sent_by {
            // Whoever began the trace has decided, so that it is whole or not there.
            Some((context, sampled)) => sampled.then(|| context.child(self.entropy.as_ref())),
            None if self.ratio.is_zero() => None,
            None => Some(TraceContext::root(self.entropy.as_ref())).filter(|root| self.ratio.takes(root)),
        }
    }

    fn ended(&self, span: Span) {
        if let Err(TrySendError::Full(_)) = self.line.try_send(span) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

struct Sending {
    client: Client,
    exporting: Exporting,
    dropped: Arc<AtomicU64>,
    said: Option<Instant>,
}

impl Sending {
    async fn run(mut self, mut waiting: Receiver<Span>, stop: CancellationToken) {
        let mut spans = Vec::new();
        loop {
            let ended = tokio::select! {
                () = stop.cancelled() => true,
                more = waiting.recv_many(&mut spans, BATCH) => more == 0,
            };
            if !ended && spans.len() < BATCH {
                let company = async {
                    while spans.len() < BATCH {
                        match waiting.recv().await {
                            Some(span) => spans.push(span),
                            None => return,
                        }
                    }
                };
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = tokio::time::sleep(EVERY) => {}
                    () = company => {}
                }
            }
            if ended {
                while let Ok(span) = waiting.try_recv() {
                    spans.push(span);
                }
            }
            for batch in spans.chunks(BATCH) {
                self.send(batch, &stop).await;
            }
            spans.clear();
            if ended {
                return;
            }
        }
    }

    /// Sends a batch, or gives it up.
    async fn send(&mut self, batch: &[Span], stop: &CancellationToken) {
        let body = wire::encode(&self.exporting.resource, batch);
        let mut pause = BACKOFF;
        let mut trouble = String::new();
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = tokio::time::sleep(pause) => {}
                }
                pause *= 2;
            }
            match self.try_send(body.clone()).await {
                Ok(()) => return self.say_dropped(),
                Err((why, again)) => {
                    trouble = why;
                    if !again {
                        break;
                    }
                }
            }
        }
        self.dropped.fetch_add(batch.len() as u64, Ordering::Relaxed);
        self.say(|dropped| {
            tracing::warn!(dropped, trouble, "traces could not be sent; they are lost, nothing else is");
        });
    }

    /// Our words for what went wrong, and whether it may pass.
    async fn try_send(&self, body: Vec<u8>) -> Result<(), (String, bool)> {
        let mut request = Request::post(&self.exporting.endpoint).body(body.into()).map_err(|_| {
            // The settings were checked at the start.
            ("the collector's address is no URL".to_owned(), false)
        })?;
        let mut headers = self.exporting.headers();
        headers.insert(header::CONTENT_TYPE, http::HeaderValue::from_static("application/x-protobuf"));
        std::mem::swap::<HeaderMap>(request.headers_mut(), &mut headers);
        let call = self.client.call(request, Effect::Read);
        match tokio::time::timeout(self.exporting.timeout, call).await {
            Ok(Ok(answer)) if answer.status.is_success() => Ok(()),
            Ok(Ok(answer)) => {
                let again = matches!(
                    answer.status,
                    StatusCode::TOO_MANY_REQUESTS
                        | StatusCode::BAD_GATEWAY
                        | StatusCode::SERVICE_UNAVAILABLE
                        | StatusCode::GATEWAY_TIMEOUT
                );
                Err((format!("the collector answered {}", answer.status.as_u16()), again))
            }
            Ok(Err(fault)) => Err((fault.code.to_owned(), true)),
            Err(_) => Err(("timeout".to_owned(), true)),
        }
    }

    fn say_dropped(&mut self) {
        if self.dropped.load(Ordering::Relaxed) > 0 {
            self.say(|dropped| {
                tracing::warn!(dropped, "traces came faster than they could be sent, and some are lost");
            });
        }
    }

    fn say(&mut self, say: impl FnOnce(u64)) {
        if self.said.is_none_or(|at| at.elapsed() >= SAY_EVERY) {
            self.said = Some(Instant::now());
            say(self.dropped.swap(0, Ordering::Relaxed));
        }
    }
}
