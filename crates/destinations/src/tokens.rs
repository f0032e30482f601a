//! What an adapter proves itself with and does not keep for ever: asked for when first needed, renewed in
//! time by one caller for all, forgotten when it is refused.
//!
//! How a token is got, and what it looks like, is each adapter's own. When it is asked for is not.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use http::HeaderValue;
use model::{Clock, SecretBytes, Timestamp};

use crate::{Fault, net::wiped_bytes};

/// A token that expires sooner than this is not used any more: the call it goes with takes time too.
const LAST_USE_BEFORE: Duration = Duration::from_secs(20);

/// After a renewal that failed, the next is tried this much later, while the old token still works.
const RENEWAL_PAUSE: Duration = Duration::from_secs(30);

/// How long a token lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Life {
    /// From then on it is worth asking for another, while this one still works.
    pub(crate) renew_at: Timestamp,
    /// From then on it is refused.
    pub(crate) expires_at: Timestamp,
}

impl Life {
    /// Of a token that was given at `now`, expires at `expires_at` and is to be renewed so long before that;
    /// one that lasts no longer than that is used for half its time.
    pub(crate) fn until(expires_at: Timestamp, now: Timestamp, renew_before: Duration) -> Self {
        let left = expires_at.since(now);
        let fresh = left.checked_sub(renew_before).unwrap_or_default().max(left / 2);
        Self { renew_at: now.plus(fresh), expires_at }
    }

    fn is_fresh(&self, now: Timestamp) -> bool {
        now < self.renew_at
    }

    fn is_usable(&self, now: Timestamp) -> bool {
        self.expires_at > now.plus(LAST_USE_BEFORE)
    }

    /// The same, to be renewed a while after `now`, and when it is not usable any more.
    fn put_off(self, now: Timestamp) -> Self {
        let usable = self.expires_at.since(now).saturating_sub(LAST_USE_BEFORE);
        Self { renew_at: now.plus(RENEWAL_PAUSE.min(usable)), ..self }
    }
}

/// The token of one destination.
///
/// Of all who need one at the same time, one asks. The others go on with the token there is while it still
/// works, and wait for the answer when it does not, be it a token or the reason why there is none.
pub(crate) struct TokenCache<T> {
    /// For the log: "an Azure token".
    what: &'static str,
    current: ArcSwapOption<Held<T>>,
    /// Held while a token is asked for; holds why there was none the last time.
    asking: tokio::sync::Mutex<Option<Fault>>,
    /// How often an answer came.
    answered: AtomicU64,
}

struct Held<T> {
    token: Arc<T>,
    /// `None`: it does not expire.
    life: Option<Life>,
}

impl<T> Held<T> {
    fn is_fresh(&self, now: Timestamp) -> bool {
        self.life.is_none_or(|life| life.is_fresh(now))
    }

    fn is_usable(&self, now: Timestamp) -> bool {
        self.life.is_none_or(|life| life.is_usable(now))
    }
}

impl<T> TokenCache<T> {
    /// Nothing is held yet. `what`: a token as the log is to call it, with its article.
    pub(crate) fn new(what: &'static str) -> Self {
        Self {
            what,
            current: ArcSwapOption::empty(),
            asking: tokio::sync::Mutex::new(None),
            answered: AtomicU64::new(0),
        }
    }

    /// A token that will last for a while, by `ask` where there is none.
    pub(crate) async fn get<F>(&self, clock: &dyn Clock, ask: impl FnOnce() -> F) -> Result<Arc<T>, Fault>
    where
        F: Future<Output = Result<(T, Option<Life>), Fault>>,
    {
        let now = clock.now();
        if let Some(held) = self.current.load_full() {
            if held.is_fresh(now) {
                return Ok(Arc::clone(&held.token));
            }
            if held.is_usable(now) {
                // One renews it, the others go on with what still works.
                let Ok(mut turn) = self.asking.try_lock() else { return Ok(Arc::clone(&held.token)) };
                return match self.ask(&mut turn, ask()).await {
                    Ok(fresh) => Ok(fresh),
                    Err(fault) if self.put_off(&held, clock.now()) => {
                        tracing::warn!(%fault, "{} could not be renewed yet", self.what);
                        Ok(Arc::clone(&held.token))
                    }
                    Err(fault) => Err(fault),
                };
            }
        }
        let before = self.answered.load(Ordering::Acquire);
        let mut turn = self.asking.lock().await;
        let now = clock.now();
        if let Some(held) = self.current.load_full().filter(|held| held.is_fresh(now)) {
            return Ok(Arc::clone(&held.token));
        }
        if self.answered.load(Ordering::Acquire) != before {
            // Somebody asked while we waited; that answer is ours too.
            if let Some(held) = self.current.load_full().filter(|held| held.is_usable(now)) {
                return Ok(Arc::clone(&held.token));
            }
            if let Some(fault) = &*turn {
                return Err(fault.clone());
            }
        }
        self.ask(&mut turn, ask()).await
    }

    /// Another token by `ask` in place of one that was refused, unless there already is one.
    pub(crate) async fn replace<F>(&self, refused: &Arc<T>, ask: impl FnOnce() -> F) -> Result<(), Fault>
    where
        F: Future<Output = Result<(T, Option<Life>), Fault>>,
    {
        let mut turn = self.asking.lock().await;
        if self.current.load().as_ref().is_some_and(|held| !Arc::ptr_eq(&held.token, refused)) {
            // Somebody was quicker.
            return Ok(());
        }
        self.current.store(None);
        self.ask(&mut turn, ask()).await.map(|_| ())
    }

    /// Forgets a token that was refused, unless there already is another.
    pub(crate) fn forget(&self, refused: &Arc<T>) {
        let current = self.current.load();
        if current.as_ref().is_some_and(|held| Arc::ptr_eq(&held.token, refused)) {
            // If another was put in its place meanwhile, that one stays.
            self.current.compare_and_swap(&current, None);
        }
    }

    /// Forgets whatever is held: it is for something else than what is wanted now.
    pub(crate) fn clear(&self) {
        self.current.store(None);
    }

    /// Keeps a token that could not be renewed for a while. Whether it still may be used: it lasts, and
    /// nobody was refused with it meanwhile.
    fn put_off(&self, held: &Arc<Held<T>>, now: Timestamp) -> bool {
        let Some(life) = held.life.filter(|life| life.is_usable(now)) else { return false };
        let kept = Arc::new(Held { token: Arc::clone(&held.token), life: Some(life.put_off(now)) });
        let before = self.current.compare_and_swap(held, Some(kept));
        before.as_ref().is_some_and(|before| Arc::ptr_eq(before, held))
    }

    async fn ask(
        &self,
        last: &mut Option<Fault>,
        asked: impl Future<Output = Result<(T, Option<Life>), Fault>>,
    ) -> Result<Arc<T>, Fault> {
        let outcome = match asked.await {
            Ok((token, life)) => {
                let token = Arc::new(token);
                self.current.store(Some(Arc::new(Held { token: Arc::clone(&token), life })));
                *last = None;
                Ok(token)
            }
            Err(fault) => {
                *last = Some(fault.clone());
                Err(fault)
            }
        };
        self.answered.fetch_add(1, Ordering::Release);
        outcome
    }
}

/// A token as the header it is sent in, which is wiped when it is dropped. `None`: it is empty or has a
/// character that no token has (RFC 6750, 2.1).
pub(crate) fn bearer(token: &SecretBytes) -> Option<HeaderValue> {
    const SCHEME: &[u8] = b"Bearer ";
    // Looked at for its characters.
    if token.is_empty() || !token.expose().iter().all(u8::is_ascii_graphic) {
        return None;
    }
    // Into the header, by way of bytes that wipe themselves and never move.
    let mut bytes = zeroize::Zeroizing::new(Vec::with_capacity(SCHEME.len() + token.len()));
    bytes.extend_from_slice(SCHEME);
    bytes.extend_from_slice(token.expose());
    let mut header = HeaderValue::from_maybe_shared(wiped_bytes(bytes)).ok()?;
    header.set_sensitive(true);
    Some(header)
}

#[cfg(test)]
mod tests {
    use std::{
        future::pending,
        sync::Mutex,
        task::{Context, Waker},
    };

    use model::ManualClock;
    use tokio::sync::oneshot;

    use super::*;
    use crate::Retry;

    const START: Timestamp = Timestamp::from_secs(1_000_000);

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Somebody who waits for a token.
    type Waiting = tokio::task::JoinHandle<Result<u32, &'static str>>;

    /// A cache of numbered tokens that last an hour and are renewed five minutes before.
    struct Bench {
        clock: ManualClock,
        cache: TokenCache<u32>,
        asked: Mutex<u32>,
    }

    fn bench() -> Arc<Bench> {
        let cache = TokenCache::new("a token");
        Arc::new(Bench { clock: ManualClock::new(START), cache, asked: Mutex::new(0) })
    }

    fn refusal() -> Fault {
        Fault::client("credentials_rejected", "no").retry(Retry::Slowly)
    }

    impl Bench {
        fn next(&self) -> (u32, Option<Life>) {
            let mut asked = self.asked.lock().unwrap();
            *asked += 1;
            let now = self.clock.now();
            (*asked, Some(Life::until(now.plus(secs(3600)), now, secs(300))))
        }

        fn asked(&self) -> u32 {
            *self.asked.lock().unwrap()
        }

        async fn get(&self) -> Result<u32, &'static str> {
            let got = self.cache.get(&self.clock, || async { Ok(self.next()) }).await;
            got.map(|token| *token).map_err(|fault| fault.code)
        }

        /// Asks a service that refuses.
        async fn get_refused(&self) -> Result<u32, &'static str> {
            let got = self
                .cache
                .get(&self.clock, || async {
                    *self.asked.lock().unwrap() += 1;
                    Err(refusal())
                })
                .await;
            got.map(|token| *token).map_err(|fault| fault.code)
        }

        /// Asks a service that answers when it is told to.
        fn get_held(self: &Arc<Self>) -> (Waiting, oneshot::Sender<Result<(), Fault>>) {
            let (go, went) = oneshot::channel::<Result<(), Fault>>();
            let bench = Arc::clone(self);
            let task = tokio::spawn(async move {
                let ask = || async {
                    went.await.unwrap()?;
                    Ok(bench.next())
                };
                bench.cache.get(&bench.clock, ask).await.map(|token| *token).map_err(|fault| fault.code)
            });
            (task, go)
        }

        async fn held(&self) -> Arc<u32> {
            self.cache.get(&self.clock, || async { Err(refusal()) }).await.unwrap()
        }
    }

    #[tokio::test]
    async fn a_token_is_asked_for_once_and_again_before_it_expires() {
        let bench = bench();
        assert_eq!(bench.get().await, Ok(1));
        bench.clock.advance(secs(3299));
        assert_eq!(bench.get().await, Ok(1));
        bench.clock.advance(secs(1));
        assert_eq!(bench.get().await, Ok(2));
        bench.clock.advance(secs(3600));
        assert_eq!(bench.get().await, Ok(3));
        assert_eq!(bench.asked(), 3);
    }

    #[tokio::test]
    async fn a_token_without_an_end_is_asked_for_once() {
        let bench = bench();
        let ask = || async { Ok((7, None)) };
        assert_eq!(*bench.cache.get(&bench.clock, ask).await.unwrap(), 7);
        bench.clock.advance(secs(1_000_000_000));
        assert_eq!(bench.get().await, Ok(7));
    }

    #[tokio::test]
    async fn one_asks_and_all_who_wait_get_its_answer() {
        let bench = bench();
        let (first, go) = bench.get_held();
        tokio::task::yield_now().await;
        let others: Vec<_> = (0..20)
            .map(|_| {
                let bench = Arc::clone(&bench);
                tokio::spawn(async move { bench.get().await })
            })
            .collect();
        tokio::task::yield_now().await;
        go.send(Ok(())).unwrap();
        assert_eq!(first.await.unwrap(), Ok(1));
        for other in others {
            assert_eq!(other.await.unwrap(), Ok(1));
        }
        assert_eq!(bench.asked(), 1);
    }

    #[tokio::test]
    async fn all_who_wait_for_a_refusal_get_it_and_the_next_asks_again() {
        let bench = bench();
        let (first, go) = bench.get_held();
        tokio::task::yield_now().await;
        let others: Vec<_> = (0..20)
            .map(|_| {
                let bench = Arc::clone(&bench);
                tokio::spawn(async move { bench.get().await })
            })
            .collect();
        tokio::task::yield_now().await;
        go.send(Err(refusal())).unwrap();
        assert_eq!(first.await.unwrap(), Err("credentials_rejected"));
        for other in others {
            assert_eq!(other.await.unwrap(), Err("credentials_rejected"));
        }
        assert_eq!(bench.asked(), 0);
        assert_eq!(bench.get().await, Ok(1));
    }

    #[tokio::test]
    async fn who_asks_and_goes_away_leaves_the_turn_to_the_next() {
        let bench = bench();
        let (first, _go) = bench.get_held();
        tokio::task::yield_now().await;
        let second = tokio::spawn({
            let bench = Arc::clone(&bench);
            async move { bench.get().await }
        });
        tokio::task::yield_now().await;
        first.abort();
        assert_eq!(second.await.unwrap(), Ok(1));
    }

    #[tokio::test]
    async fn while_one_renews_the_others_go_on_with_what_still_works() {
        let bench = bench();
        assert_eq!(bench.get().await, Ok(1));
        bench.clock.advance(secs(3400));
        let (first, go) = bench.get_held();
        tokio::task::yield_now().await;
        assert_eq!(bench.get().await, Ok(1));
        go.send(Ok(())).unwrap();
        assert_eq!(first.await.unwrap(), Ok(2));
        assert_eq!(bench.get().await, Ok(2));
    }

    #[tokio::test]
    async fn a_token_that_cannot_be_renewed_is_used_to_its_end_and_renewal_tried_now_and_then() {
        let bench = bench();
        assert_eq!(bench.get().await, Ok(1));
        bench.clock.advance(secs(3300));
        assert_eq!(bench.get_refused().await, Ok(1));
        assert_eq!(bench.asked(), 2);
        bench.clock.advance(secs(29));
        assert_eq!(bench.get_refused().await, Ok(1), "not asked again so soon");
        assert_eq!(bench.asked(), 2);
        bench.clock.advance(secs(1));
        assert_eq!(bench.get_refused().await, Ok(1));
        assert_eq!(bench.asked(), 3);
        // Twenty seconds before its end it is too old to be sent.
        bench.clock.advance(secs(249));
        assert_eq!(bench.get_refused().await, Ok(1));
        bench.clock.advance(secs(1));
        assert_eq!(bench.get_refused().await, Err("credentials_rejected"));
        assert_eq!(bench.get().await, Ok(6));
    }

    #[tokio::test]
    async fn a_token_that_ends_while_its_renewal_fails_is_not_used() {
        let bench = bench();
        assert_eq!(bench.get().await, Ok(1));
        bench.clock.advance(secs(3400));
        let (first, go) = bench.get_held();
        tokio::task::yield_now().await;
        bench.clock.advance(secs(190));
        go.send(Err(refusal())).unwrap();
        assert_eq!(first.await.unwrap(), Err("credentials_rejected"));
    }

    #[tokio::test]
    async fn a_token_that_is_refused_while_its_renewal_fails_is_not_used() {
        let bench = bench();
        assert_eq!(bench.get().await, Ok(1));
        let refused = bench.held().await;
        bench.clock.advance(secs(3400));
        let (first, go) = bench.get_held();
        tokio::task::yield_now().await;
        bench.cache.forget(&refused);
        go.send(Err(refusal())).unwrap();
        assert_eq!(first.await.unwrap(), Err("credentials_rejected"));
    }

    #[tokio::test]
    async fn a_refused_token_is_forgotten_and_its_successor_is_not() {
        let bench = bench();
        assert_eq!(bench.get().await, Ok(1));
        let refused = bench.held().await;
        bench.cache.forget(&refused);
        assert_eq!(bench.get().await, Ok(2));
        // Another call that was under way with the first one is refused as well.
        bench.cache.forget(&refused);
        assert_eq!(bench.get().await, Ok(2));
        bench.cache.clear();
        assert_eq!(bench.get().await, Ok(3));
    }

    #[tokio::test]
    async fn a_refused_token_is_forgotten_even_after_its_renewal_was_put_off() {
        let bench = bench();
        assert_eq!(bench.get().await, Ok(1));
        let refused = bench.held().await;
        bench.clock.advance(secs(3300));
        assert_eq!(bench.get_refused().await, Ok(1));
        bench.cache.forget(&refused);
        assert_eq!(bench.get().await, Ok(3));
    }

    #[tokio::test]
    async fn a_refused_token_is_replaced_once_for_all_who_were_refused() {
        let bench = bench();
        assert_eq!(bench.get().await, Ok(1));
        let refused = bench.held().await;
        for _ in 0..3 {
            bench.cache.replace(&refused, || async { Ok(bench.next()) }).await.unwrap();
        }
        assert_eq!((bench.get().await, bench.asked()), (Ok(2), 2));
        let refused = bench.held().await;
        let fault = bench.cache.replace(&refused, || async { Err(refusal()) }).await.unwrap_err();
        assert_eq!(fault.code, "credentials_rejected");
        assert_eq!(bench.get().await, Ok(3), "the refused one is gone all the same");
    }

    #[tokio::test]
    async fn a_clock_that_steps_back_makes_no_token_last_beyond_its_refusal() {
        let bench = bench();
        bench.clock.advance(secs(86_400));
        assert_eq!(bench.get().await, Ok(1));
        bench.clock.set(START);
        assert_eq!(bench.get().await, Ok(1), "nobody refused it");
        let refused = bench.held().await;
        bench.cache.forget(&refused);
        assert_eq!(bench.get().await, Ok(2));
    }

    #[test]
    fn a_short_life_is_used_for_half_its_time() {
        let fresh = |life| {
            let life = Life::until(START.plus(secs(life)), START, secs(300));
            (life.renew_at.since(START).as_secs(), life.expires_at.since(START).as_secs())
        };
        assert_eq!(fresh(3600), (3300, 3600));
        assert_eq!(fresh(400), (200, 400));
        assert_eq!(fresh(100), (50, 100));
        assert_eq!(fresh(0), (0, 0));
        assert_eq!(Life::until(START, START.plus(secs(5)), secs(300)).renew_at, START.plus(secs(5)));
    }

    #[test]
    fn a_header_is_made_of_what_can_stand_in_one() {
        let header = bearer(&SecretBytes::from("abc")).unwrap();
        assert_eq!((header.to_str().unwrap(), header.is_sensitive()), ("Bearer abc", true));
        for bad in ["", "a b", "a\nb", "\u{e4}"] {
            assert!(bearer(&SecretBytes::from(bad)).is_none(), "{bad:?}");
        }
    }

    #[tokio::test]
    async fn a_waiting_call_can_be_dropped_without_holding_anything_up() {
        let bench = bench();
        {
            let never = bench.cache.get(&bench.clock, pending::<Result<(u32, Option<Life>), Fault>>);
            let mut never = std::pin::pin!(never);
            let mut nobody = Context::from_waker(Waker::noop());
            assert!(never.as_mut().poll(&mut nobody).is_pending());
        }
        assert_eq!(bench.get().await, Ok(1));
    }
}
