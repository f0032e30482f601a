//! What GitHub counts by token or installation: pauses, and one write at a time (destinations.md 4.4).

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use http::{HeaderMap, StatusCode, header};
use model::Timestamp;
use tokio::time::Instant;

use crate::{Fault, Retry};

/// Without a time in the answer GitHub asks for a minute at least, and more each time.
const LEAST_PAUSE: Duration = Duration::from_secs(60);

/// The longest pause: primary limits are counted by the hour.
const MOST_PAUSE: Duration = Duration::from_secs(3660);

/// The accounts now in use, by a digest of where and as whom. Destinations of one token share one, however
/// they came to it.
pub(super) struct Accounts(Mutex<BTreeMap<[u8; 32], Weak<Account>>>);

impl Accounts {
    pub(super) const fn new() -> Self {
        Self(Mutex::new(BTreeMap::new()))
    }

    pub(super) fn get(&self, digest: [u8; 32]) -> Arc<Account> {
        let mut accounts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(account) = accounts.get(&digest).and_then(Weak::upgrade) {
            return account;
        }
        accounts.retain(|_, account| account.strong_count() > 0);
        let account = Arc::new(Account::default());
        accounts.insert(digest, Arc::downgrade(&account));
        account
    }
}

/// One token or installation.
#[derive(Default)]
pub(super) struct Account {
    /// Held for as long as a write is under way.
    pub(super) turn: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    closed_until: Option<Instant>,
    /// Refusals in a row that named no time.
    strikes: u32,
}

impl Account {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether calls may be made now. Calling on during a pause can get an integration banned.
    pub(super) fn check(&self) -> Result<(), Fault> {
        let left = self.state().closed_until.and_then(|until| until.checked_duration_since(Instant::now()));
        match left.filter(|left| !left.is_zero()) {
            None => Ok(()),
            Some(left) => Err(throttled(left)),
        }
    }

    /// Learns from an answer. A fault if it asks for a pause.
    pub(super) fn learn(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        message: &str,
        now: Timestamp,
    ) -> Result<(), Fault> {
        let mut state = self.state();
        match pause(status, headers, message, now) {
            Pause::None => {
                if status.is_success() {
                    state.strikes = 0;
                }
                Ok(())
            }
            // Nothing is left for the next call.
            Pause::Next(wait) => {
                state.closed_until = Some(Instant::now() + wait);
                state.strikes = 0;
                Ok(())
            }
            Pause::Refused(wait) => {
                let wait = wait.unwrap_or_else(|| {
                    let wait = LEAST_PAUSE.saturating_mul(2u32.saturating_pow(state.strikes.min(10)));
                    state.strikes += 1;
                    wait.min(MOST_PAUSE)
                });
                state.closed_until = Some(Instant::now() + wait);
                Err(throttled(wait).status(status.as_u16()))
            }
        }
    }
}

fn throttled(wait: Duration) -> Fault {
    Fault::external("throttled", "GitHub asks for fewer calls; none is made until it allows them again")
        .retry(Retry::After(wait))
}

#[derive(Debug, PartialEq, Eq)]
enum Pause {
    None,
    /// The call went through and was the last for so long.
    Next(Duration),
    /// The call was refused, for so long if it says.
    Refused(Option<Duration>),
}

fn pause(status: StatusCode, headers: &HeaderMap, message: &str, now: Timestamp) -> Pause {
    let used_up = number(headers, "x-ratelimit-remaining") == Some(0);
    let until_reset = || {
        let reset = number(headers, "x-ratelimit-reset")?;
        let now = date(headers).unwrap_or(now).as_secs();
        // One second more: both clocks are cut to seconds.
        let left = u64::try_from(reset.saturating_sub(now)).unwrap_or(0).saturating_add(1);
        Some(Duration::from_secs(left).min(MOST_PAUSE))
    };
    if status != StatusCode::FORBIDDEN && status != StatusCode::TOO_MANY_REQUESTS {
        return if used_up { until_reset().map_or(Pause::None, Pause::Next) } else { Pause::None };
    }
    let retry_after = number(headers, header::RETRY_AFTER.as_str())
        .and_then(|seconds| u64::try_from(seconds).ok())
        .map(|seconds| Duration::from_secs(seconds.max(1)).min(MOST_PAUSE));
    let says_so = message.contains("rate limit") || message.contains("abuse detection");
    if let Some(wait) = retry_after {
        Pause::Refused(Some(wait))
    } else if used_up {
        Pause::Refused(until_reset())
    } else if says_so || status == StatusCode::TOO_MANY_REQUESTS {
        Pause::Refused(None)
    } else {
        Pause::None
    }
}

fn number(headers: &HeaderMap, name: &str) -> Option<i64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

/// GitHub's own time, as an answer tells it.
pub(super) fn date(headers: &HeaderMap) -> Option<Timestamp> {
    let date = jiff::fmt::rfc2822::parse(headers.get(header::DATE)?.to_str().ok()?).ok()?;
    Some(Timestamp::from_secs(date.timestamp().as_second()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(784_111_777); // Sun, 06 Nov 1994 08:49:37 GMT

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()))
            .collect()
    }

    /// A refusal that names its time.
    fn refused(seconds: u64) -> Pause {
        Pause::Refused(Some(Duration::from_secs(seconds)))
    }

    #[test]
    fn pauses_are_read_from_the_headers_in_their_order() {
        let secondary = "You have exceeded a secondary rate limit.".to_lowercase();
        let reset = ("x-ratelimit-reset", "784111877");
        for (status, given, message, expected) in [
            (403, vec![("retry-after", "30")], "", refused(30)),
            (429, vec![("retry-after", "30"), ("x-ratelimit-remaining", "0"), reset], "", refused(30)),
            (403, vec![("retry-after", "0")], "", refused(1)),
            (403, vec![("x-ratelimit-remaining", "0"), reset], "", refused(101)),
            (429, vec![("x-ratelimit-remaining", "0")], "", Pause::Refused(None)),
            (403, vec![("x-ratelimit-remaining", "7")], secondary.as_str(), Pause::Refused(None)),
            (403, vec![], "you have triggered an abuse detection mechanism", Pause::Refused(None)),
            (429, vec![], "", Pause::Refused(None)),
            (429, vec![("retry-after", "soon")], "", Pause::Refused(None)),
            (403, vec![("x-ratelimit-remaining", "7"), reset], "resource not accessible", Pause::None),
            (204, vec![("x-ratelimit-remaining", "0"), reset], "", Pause::Next(Duration::from_secs(101))),
            (204, vec![("x-ratelimit-remaining", "1"), reset], "", Pause::None),
            (404, vec![("retry-after", "9")], "", Pause::None),
            // Their clock decides, whatever ours says; and nobody waits for days.
            (
                403,
                vec![("x-ratelimit-remaining", "0"), reset, ("date", "Sun, 06 Nov 1994 08:51:07 GMT")],
                "",
                refused(11),
            ),
            (
                403,
                vec![("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "99999999999")],
                "",
                refused(3660),
            ),
            (403, vec![("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1")], "", refused(1)),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(pause(status, &headers(&given), message, NOW), expected, "{status} {given:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_time_pauses_grow_until_a_call_goes_through() {
        let account = Account::default();
        let refuse = || match account.learn(StatusCode::TOO_MANY_REQUESTS, &HeaderMap::new(), "", NOW) {
            Err(Fault { retry: Retry::After(wait), .. }) => wait.as_secs(),
            other => panic!("{other:?}"),
        };
        assert_eq!([refuse(), refuse(), refuse()], [60, 120, 240]);
        for _ in 0..20 {
            assert!(refuse() <= 3660);
        }
        assert!(account.check().is_err());
        tokio::time::advance(MOST_PAUSE).await;
        account.check().unwrap();
        account.learn(StatusCode::NO_CONTENT, &HeaderMap::new(), "", NOW).unwrap();
        assert_eq!(refuse(), 60);
    }

    #[tokio::test(start_paused = true)]
    async fn during_a_pause_the_rest_of_it_is_told() {
        let account = Account::default();
        let refused = account.learn(StatusCode::FORBIDDEN, &headers(&[("retry-after", "30")]), "", NOW);
        assert!(refused.is_err());
        tokio::time::advance(Duration::from_secs(12)).await;
        let fault = account.check().unwrap_err();
        assert_eq!((fault.code, fault.retry), ("throttled", Retry::After(Duration::from_secs(18))));
    }

    #[test]
    fn destinations_of_one_token_share_an_account() {
        let accounts = Accounts::new();
        let one = accounts.get([1; 32]);
        assert!(Arc::ptr_eq(&one, &accounts.get([1; 32])));
        assert!(!Arc::ptr_eq(&one, &accounts.get([2; 32])));
        drop(one);
        accounts.get([3; 32]);
        assert!(accounts.0.lock().unwrap().len() <= 2, "nobody's account is kept");
    }
}
