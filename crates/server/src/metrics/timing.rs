//! A histogram of atomics alone: the crate's own takes a lock for every observation, which the way of
//! every request cannot afford.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder},
    metrics::{MetricType, TypedMetric},
};

/// Upper bounds of what a server of this sort does, in seconds: 50 µs to 10 s.
const SERVING: &[f64] = &[
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 10.0,
];

/// The same for calls to others: 5 ms to a minute.
const CALLING: &[f64] =
    &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0];

/// How long something takes.
#[derive(Clone)]
pub(crate) struct Timing(Arc<Inner>);

struct Inner {
    /// Seconds.
    bounds: &'static [f64],
    /// What a second is in the unit shown.
    unit: f64,
    /// One more than there are bounds.
    buckets: Box<[AtomicU64]>,
    nanos: AtomicU64,
}

impl Timing {
    fn new(bounds: &'static [f64], unit: f64) -> Self {
        let buckets = std::iter::repeat_with(AtomicU64::default).take(bounds.len() + 1).collect();
        Self(Arc::new(Inner { bounds, unit, buckets, nanos: AtomicU64::new(0) }))
    }

    /// What this server does, shown in seconds.
    pub(crate) fn serving() -> Self {
        Self::new(SERVING, 1.0)
    }

    /// The same shown in milliseconds, as Vault does.
    pub(crate) fn vaults() -> Self {
        Self::new(SERVING, 1000.0)
    }

    /// What waits for others, shown in seconds.
    pub(crate) fn calling() -> Self {
        Self::new(CALLING, 1.0)
    }

    pub(crate) fn observe(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let at = self.0.bounds.partition_point(|bound| *bound < seconds);
        if let Some(bucket) = self.0.buckets.get(at) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.0.nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// Whether there was anything to observe.
    pub(crate) fn is_used(&self) -> bool {
        self.0.buckets.iter().any(|bucket| bucket.load(Ordering::Relaxed) > 0)
    }

    /// How often.
    #[cfg(test)]
    pub(crate) fn count(&self) -> u64 {
        self.0.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).sum()
    }
}

impl fmt::Debug for Timing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Timing")
    }
}

impl TypedMetric for Timing {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for Timing {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let inner = &self.0;
        let bounds = inner.bounds.iter().map(|bound| bound * inner.unit).chain([f64::INFINITY]);
        let counts = inner.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed));
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        #[expect(clippy::cast_precision_loss, reason = "shown, not counted with")]
        let sum = inner.nanos.load(Ordering::Relaxed) as f64 / 1e9 * inner.unit;
        encoder.encode_histogram::<[(&str, &str); 0]>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_a_bound_is_within_it_and_what_is_beyond_all_is_counted_too() {
        let timing = Timing::serving();
        for micros in [50, 51, 20_000_000] {
            timing.observe(Duration::from_micros(micros));
        }
        let held: Vec<u64> = timing.0.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect();
        assert_eq!((held[0], held[1], held[SERVING.len()], timing.count()), (1, 1, 1, 3));
    }
}
