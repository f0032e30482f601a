//! What is counted of deliveries: by observing the engine, and by surveying the store when somebody asks.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use engine::{Act, Call, Delivery, Engine, Observer, Survey};
use model::{DestinationKey, Timestamp};
use prometheus_client::metrics::{counter::Counter, family::Family, gauge::Gauge};
use store::{StoreError, records::Cause};
use tokio::time::Instant;

use super::{Labels, Making, Metrics, timing::Timing, words::Words};

/// Destinations with names of their own.
const DESTINATIONS: usize = 200;
/// Error codes with names of their own. They are ours, and there are fewer.
const CODES: usize = 150;
/// A survey is not made anew before this …
const SURVEY_EVERY: Duration = Duration::from_secs(15);
/// … nor before this many times what the last one took, so that it costs a few percent of a processor at most.
const SURVEY_REST: u32 = 20;

pub(super) struct Sync {
    destinations: Words,
    codes: Words,
    deliveries: Family<Labels, Counter>,
    errors: Family<Labels, Counter>,
    retries: Family<Labels, Counter>,
    throttled: Family<Labels, Counter>,
    propagation: Family<Labels, Timing>,
    calls: Family<Labels, Counter>,
    call_time: Family<Labels, Timing>,
    quota_wait: Family<Labels, Timing>,
    correction: Family<Labels, Counter>,
    retry: Family<Labels, Counter>,
    retry_success: Family<Labels, Counter>,
    retry_failure: Family<Labels, Counter>,
    queue: Family<Labels, Gauge>,
    freshness: Family<Labels, Gauge<f64, std::sync::atomic::AtomicU64>>,
    failed: Family<Labels, Gauge>,
    held: Family<Labels, Gauge>,
    destination_count: Family<Labels, Gauge>,
    association_count: Family<Labels, Gauge>,
    /// The last survey. Whoever makes another holds it meanwhile, and others wait for that one.
    survey: tokio::sync::Mutex<Option<Surveyed>>,
    /// Gauges are taken down and put up together.
    showing: Mutex<()>,
}

struct Surveyed {
    at: Instant,
    took: Duration,
    found: Vec<Survey>,
}

fn kind(destination: &DestinationKey) -> Labels {
    vec![("destination_type", destination.kind.clone())]
}

impl Sync {
    pub(super) fn new(made: &mut Making) -> Self {
        let timings = || Family::<Labels, Timing>::new_with_constructor(Timing::calling);
        Self {
            destinations: Words::new(DESTINATIONS),
            codes: Words::new(CODES),
            deliveries: made.add("keyferry.sync.deliveries", Family::default()),
            errors: made.add("keyferry.sync.errors", Family::default()),
            retries: made.add("keyferry.sync.retries", Family::default()),
            throttled: made.add("keyferry.sync.throttled", Family::default()),
            propagation: made.add("keyferry.sync.propagation.seconds", timings()),
            calls: made.add("keyferry.provider.calls", Family::default()),
            call_time: made.add("keyferry.provider.call.seconds", timings()),
            quota_wait: made.add("keyferry.provider.quota_wait.seconds", timings()),
            correction: made.add("vault.secrets-sync.reconciliation.correction", Family::default()),
            retry: made.add("vault.secrets-sync.reconciliation.retry", Family::default()),
            retry_success: made.add("vault.secrets-sync.reconciliation.retry.success", Family::default()),
            retry_failure: made.add("vault.secrets-sync.reconciliation.retry.failure", Family::default()),
            queue: made.add("keyferry.sync.queue.depth", Family::default()),
            freshness: made.add("keyferry.sync.oldest_undelivered.seconds", Family::default()),
            failed: made.add("keyferry.sync.failed_associations", Family::default()),
            held: made.add("keyferry.sync.held_removals", Family::default()),
            destination_count: made.add("vault.secrets-sync.destinations.count", Family::default()),
            association_count: made.add("vault.secrets-sync.associations.count", Family::default()),
            survey: tokio::sync::Mutex::default(),
            showing: Mutex::default(),
        }
    }

    fn destination(&self, key: &DestinationKey) -> String {
        self.destinations.of(&key.to_string()).to_owned()
    }

    fn counted(&self, delivery: &Delivery<'_>) {
        let by_kind = kind(delivery.destination);
        let tried_again = delivery.attempts > 0;
        if tried_again {
            self.retry.get_or_create(&by_kind).inc();
            let to = ("destination", self.destination(delivery.destination));
            self.retries.get_or_create(&vec![to]).inc();
        }
        if let Some((_, code)) = delivery.fault {
            let to = ("destination", self.destination(delivery.destination));
            self.errors.get_or_create(&vec![to, ("code", self.codes.of(code).to_owned())]).inc();
            if tried_again {
                self.retry_failure.get_or_create(&by_kind).inc();
            }
            return;
        }
        if tried_again {
            self.retry_success.get_or_create(&by_kind).inc();
        }
        let act = match delivery.act {
            Act::Nothing => "unchanged",
            Act::Verify => "verified",
            Act::Write => "written",
            Act::Remove => "removed",
            Act::Forget => "forgotten",
        };
        let mut labels = by_kind.clone();
        labels.push(("act", act.to_owned()));
        self.deliveries.get_or_create(&labels).inc();
        if matches!(delivery.act, Act::Write | Act::Remove) {
            if delivery.cause == Cause::Sweep {
                self.correction.get_or_create(&by_kind).inc();
            }
            self.propagation.get_or_create(&by_kind).observe(delivery.answered.since(delivery.asked));
        }
    }

    fn show(&self, found: &[Survey], now: Timestamp) {
        let mut by_kind = BTreeMap::<&str, (i64, i64)>::new();
        let mut by_name = BTreeMap::<String, (i64, f64, i64, i64)>::new();
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        for survey in found {
            let (destinations, associations) = by_kind.entry(&survey.destination.kind).or_default();
            *destinations += 1;
            *associations += number(survey.associations);
            let (queue, oldest, failed, held) =
                by_name.entry(self.destination(&survey.destination)).or_default();
            *queue += number(survey.undelivered);
            *oldest = oldest.max(survey.oldest.map_or(0.0, |oldest| now.since(oldest).as_secs_f64()));
            *failed += number(survey.failed);
            *held += number(survey.held_removals);
        }
        let _turn = self.showing.lock().unwrap_or_else(PoisonError::into_inner);
        for gauges in
            [&self.queue, &self.failed, &self.held, &self.destination_count, &self.association_count]
        {
            gauges.clear();
        }
        self.freshness.clear();
        for (kind, (destinations, associations)) in by_kind {
            let labels = vec![("destination_type", kind.to_owned())];
            self.destination_count.get_or_create(&labels).set(destinations);
            self.association_count.get_or_create(&labels).set(associations);
        }
        for (name, (queue, oldest, failed, held)) in by_name {
            let labels = vec![("destination", name)];
            self.queue.get_or_create(&labels).set(queue);
            self.freshness.get_or_create(&labels).set(oldest);
            self.failed.get_or_create(&labels).set(failed);
            self.held.get_or_create(&labels).set(held);
        }
    }
}

impl Metrics {
    /// Brings up to date what is known of the store as a whole; `None`: nothing is open, and nothing known.
    pub(crate) async fn survey(&self, engine: Option<&Engine>, now: Timestamp) -> Result<(), StoreError> {
        let mut held = self.sync.survey.lock().await;
        let Some(engine) = engine else {
            *held = None;
            self.sync.show(&[], now);
            return Ok(());
        };
        let old =
            held.as_ref().is_none_or(|last| last.at.elapsed() >= SURVEY_EVERY.max(last.took * SURVEY_REST));
        if old {
            let at = Instant::now();
            let found = engine.survey().await?;
            *held = Some(Surveyed { at, took: at.elapsed(), found });
        }
        if let Some(last) = held.as_ref() {
            self.sync.show(&last.found, now);
        }
        Ok(())
    }
}

#[async_trait]
impl Observer for Metrics {
    async fn delivered(&self, deliveries: &[Delivery<'_>]) -> Result<(), String> {
        deliveries.iter().for_each(|delivery| self.sync.counted(delivery));
        Ok(())
    }

    fn called(&self, call: &Call<'_>) {
        let sync = &self.sync;
        let mut labels = kind(call.destination);
        sync.quota_wait.get_or_create(&labels).observe(call.waited);
        labels.push(("operation", call.operation.to_owned()));
        sync.call_time.get_or_create(&labels).observe(call.took);
        let throttled = call.fault.is_some_and(destinations::Fault::is_throttled);
        let outcome = match call.fault {
            None => "done",
            Some(_) if throttled => "throttled",
            Some(_) => "failed",
        };
        labels.push(("outcome", outcome.to_owned()));
        sync.calls.get_or_create(&labels).inc();
        if throttled {
            sync.throttled.get_or_create(&vec![("destination", sync.destination(call.destination))]).inc();
        }
    }
}
