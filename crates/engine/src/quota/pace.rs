//! How fast: one pool of a provider account, as far as this process draws on it.

use std::{collections::VecDeque, time::Duration};

use destinations::Pool;
use tokio::time::Instant;

use crate::lanes::Urgency;

/// The share of a documented limit that background work takes: a provider counts when calls arrive,
/// which is not when they were sent.
const SHARE: f64 = 0.98;
/// The share of a stock that background work leaves to fresh changes.
const RESERVE: f64 = 0.05;
/// Lost time is made up for to this extent: timers wake late.
const SLACK: Duration = Duration::from_millis(100);
/// Slowing down goes to this share of the speed at which the provider complained …
const SLOWER: f64 = 0.8;
/// … and back to nearly that speed within this time …
const RECOVERY: Duration = Duration::from_secs(10);
/// … but not quite, since it was too fast …
const NEARLY: f64 = 0.95;
/// … and from there on by this share of the limit in every such time, to find out whether more is
/// allowed again.
const PROBE: f64 = 0.01;
/// Never slower than this share of the limit.
const SLOWEST: f64 = 0.01;

/// How much of a pool was drawn lately, and how fast to go on.
#[derive(Debug)]
pub(crate) struct Meter {
    units: f64,
    per: Duration,
    paced: bool,
    /// What was drawn within the last `per`, oldest first.
    drawn: VecDeque<(Instant, f64)>,
    in_window: f64,
    /// When the next paced unit is due.
    next: Instant,
    speed: Speed,
}

/// Units per second, and how that came to be.
#[derive(Debug, Clone, Copy)]
struct Speed {
    limit: f64,
    /// After the last complaint, and the speed at which it came.
    rate: f64,
    knee: f64,
    since: Instant,
}

impl Meter {
    /// `share`: how much of the documented limit may be used.
    pub(crate) fn new(pool: &Pool, share: f64, now: Instant) -> Self {
        let units = (f64::from(pool.units) * share).max(1.0);
        let limit = units * SHARE / pool.per.as_secs_f64();
        Self {
            units,
            per: pool.per,
            paced: pool.paced,
            drawn: VecDeque::new(),
            in_window: 0.0,
            next: now,
            speed: Speed { limit, rate: limit, knee: limit, since: now },
        }
    }

    /// Uses so much of the documented limit from now on. What the provider complained about still counts.
    pub(crate) fn set_share(&mut self, pool: &Pool, share: f64) {
        let units = (f64::from(pool.units) * share).max(1.0);
        let limit = units * SHARE / pool.per.as_secs_f64();
        let scale = limit / self.speed.limit;
        if (scale - 1.0).abs() < 1e-9 {
            return;
        }
        self.units = units;
        self.speed =
            Speed { limit, rate: self.speed.rate * scale, knee: self.speed.knee * scale, ..self.speed };
    }

    /// When so many units may be drawn. Fresh changes may go ahead of an even pace, as long as the
    /// provider does not complain.
    pub(crate) fn ready_at(&mut self, units: f64, urgency: Urgency, now: Instant) -> Instant {
        self.expire(now);
        let background = urgency == Urgency::Backfill;
        let slowed = self.speed.slowed(now);
        let allowed = if background && !self.paced { self.units * (1.0 - RESERVE) } else { self.units };
        let mut at = now;
        let mut over = self.in_window + units.min(allowed) - allowed;
        for (drawn_at, drawn) in &self.drawn {
            if over <= 1e-9 {
                break;
            }
            over -= drawn;
            at = *drawn_at + self.per;
        }
        if (self.paced && background) || slowed { at.max(self.next) } else { at }
    }

    pub(crate) fn draw(&mut self, units: f64, now: Instant) {
        self.expire(now);
        self.drawn.push_back((now, units));
        self.in_window += units;
        let spacing = Duration::from_secs_f64(units / self.speed.at(now));
        let earliest = now.checked_sub(SLACK).unwrap_or(now);
        // What went ahead of the pace is made up for, but no longer than it counts.
        self.next = (self.next.max(earliest) + spacing).min(now + self.per.max(spacing));
    }

    fn expire(&mut self, now: Instant) {
        while let Some((at, units)) = self.drawn.front()
            && *at + self.per <= now
        {
            self.in_window -= units;
            self.drawn.pop_front();
        }
        if self.drawn.is_empty() {
            self.in_window = 0.0;
        }
    }

    /// The provider complained about a call that was made at `called`. Tells whether that is news:
    /// calls that were under way when it was last slowed down say nothing new.
    pub(crate) fn slow_down(&mut self, called: Instant, now: Instant) -> bool {
        if called <= self.speed.since && self.speed.rate < self.speed.limit {
            return false;
        }
        self.speed.knee = self.speed.at(now);
        self.speed.rate = (self.speed.knee * SLOWER).max(self.speed.limit * SLOWEST);
        self.speed.since = now;
        self.next = self.next.max(now + Duration::from_secs_f64(1.0 / self.speed.rate));
        true
    }

    /// Whether it is slower than the limit, because the provider complained.
    pub(crate) fn slowed(&self, now: Instant) -> bool {
        self.speed.slowed(now)
    }

    /// How long background work must wait for so many units, beside all that will wait for `units`.
    pub(crate) fn time_for(&self, units: f64, now: Instant) -> Duration {
        let due = self.next.saturating_duration_since(now).as_secs_f64();
        let paced = due + units / self.speed.at(now);
        let seconds = if self.paced || self.speed.slowed(now) {
            paced
        } else {
            // As much as is left goes at once, then it is the windows that count.
            let left = (self.units * (1.0 - RESERVE) - self.in_window).max(0.0);
            (units - left).max(0.0) / (self.units * (1.0 - RESERVE)) * self.per.as_secs_f64()
        };
        Duration::from_secs_f64(seconds.clamp(0.0, 1e9))
    }
}

impl Speed {
    /// Back soon to just below where the complaint came, then slowly on: steep at first and flat where
    /// it matters, so that the speed does not swing around the provider's limit.
    fn at(&self, now: Instant) -> f64 {
        let gone = now.saturating_duration_since(self.since).as_secs_f64();
        let recovery = RECOVERY.as_secs_f64();
        let goal = (self.knee * NEARLY).max(self.rate);
        let recovered = self.rate + (goal - self.rate) * (gone / recovery).min(1.0);
        let probed = self.limit * PROBE * ((gone - recovery).max(0.0) / recovery);
        (recovered + probed).min(self.limit)
    }

    fn slowed(&self, now: Instant) -> bool {
        self.at(now) < self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Draws one unit at a time for so long; how many it came to.
    fn drain(meter: &mut Meter, urgency: Urgency, from: Instant, time: Duration) -> usize {
        let (mut now, mut count) = (from, 0);
        loop {
            now = now.max(meter.ready_at(1.0, urgency, now));
            if now >= from + time {
                return count;
            }
            meter.draw(1.0, now);
            count += 1;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn background_work_is_even_and_close_to_the_limit() {
        let now = Instant::now();
        let mut meter = Meter::new(&Pool::paced("calls", 50, SECOND), 1.0, now);
        assert!(drain(&mut meter, Urgency::Backfill, now, SECOND / 10) <= 11);
        let ten = drain(&mut meter, Urgency::Backfill, now + SECOND, 10 * SECOND);
        assert!((485..=500).contains(&ten), "{ten}");
    }

    #[tokio::test(start_paused = true)]
    async fn no_stretch_of_time_ever_has_more_than_the_limit() {
        let start = Instant::now();
        let mut meter = Meter::new(&Pool::paced("calls", 50, SECOND), 1.0, start);
        let (mut now, mut at) = (start, Vec::new());
        for call in 0..2000 {
            let urgency = if call % 7 < 3 { Urgency::Edit } else { Urgency::Backfill };
            now = now.max(meter.ready_at(1.0, urgency, now));
            meter.draw(1.0, now);
            at.push(now);
        }
        assert!(at.windows(51).all(|some| some[50] - some[0] >= SECOND));
    }

    #[tokio::test(start_paused = true)]
    async fn a_fresh_change_need_not_wait_for_the_pace() {
        let now = Instant::now();
        let mut meter = Meter::new(&Pool::paced("writes", 600, 60 * SECOND), 1.0, now);
        drain(&mut meter, Urgency::Backfill, now, 20 * SECOND);
        let now = now + 20 * SECOND;
        assert!(drain(&mut meter, Urgency::Edit, now, SECOND / 100) >= 300);
        assert!(meter.ready_at(1.0, Urgency::Backfill, now) > now + 10 * SECOND, "it is made up for");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stock_is_used_ahead_and_leaves_a_little() {
        let now = Instant::now();
        let hour = 3600 * SECOND;
        let mut meter = Meter::new(&Pool::stock("requests", 1000, hour), 1.0, now);
        assert_eq!(drain(&mut meter, Urgency::Backfill, now, SECOND), 950);
        assert_eq!(meter.ready_at(1.0, Urgency::Backfill, now), now + hour);
        assert_eq!(drain(&mut meter, Urgency::Edit, now + SECOND, SECOND), 50);
    }

    #[tokio::test(start_paused = true)]
    async fn it_slows_down_once_per_complaint_and_comes_back_slowly() {
        let now = Instant::now();
        let mut meter = Meter::new(&Pool::paced("calls", 100, SECOND), 1.0, now);
        let full = meter.speed.at(now);
        let later = now + SECOND;
        assert!(meter.slow_down(later, later));
        assert!(!meter.slow_down(now, later), "it was under way already");
        assert!((meter.speed.at(later) / full - 0.8).abs() < 0.001);
        assert!(meter.slowed(later));
        let recovered = meter.speed.at(later + RECOVERY) / full;
        assert!((recovered - NEARLY).abs() < 0.001, "{recovered}");
        assert!(meter.speed.at(later + 10 * RECOVERY) >= full);
        assert!(!meter.slowed(later + 10 * RECOVERY));
        for n in 0..1000 {
            let at = later + n * SECOND / 10;
            meter.slow_down(at, at);
        }
        assert!(meter.speed.at(later + 100 * SECOND) >= full * SLOWEST, "but it never stops");
    }
}
