//! The real clock and the real dice. Everything else takes them as arguments.

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use model::{Clock, Entropy, Timestamp};

/// The system's clock.
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that asks the system what time it is")]
    fn now(&self) -> Timestamp {
        // Before 1970 or after 2262 the machine's clock is broken; the nearest end is as good as any.
        let nanos = match std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_nanos()).unwrap_or(i64::MAX),
            Err(_) => 0,
        };
        Timestamp::from_nanos(nanos)
    }
}

/// The operating system's random numbers.
#[derive(Default)]
pub(crate) struct SystemEntropy(SystemRandom);

impl Entropy for SystemEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        if self.0.fill(bytes).is_err() {
            // Every nonce and token depends on this; going on would be worse than stopping.
            tracing::error!("the system gives no random numbers; stopping");
            std::process::abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_is_past_2026_and_the_dice_differ() {
        assert!(SystemClock.now() > Timestamp::from_secs(1_767_225_600));
        let (mut a, mut b) = ([0; 32], [0; 32]);
        SystemEntropy::default().fill(&mut a);
        SystemEntropy::default().fill(&mut b);
        assert_ne!(a, b);
    }
}
