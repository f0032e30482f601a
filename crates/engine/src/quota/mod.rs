//! Keeping to what providers allow. All destinations of one provider account draw on one [`Account`];
//! a call is made once its turn has come there, fresh changes first. When the provider complains all
//! the same, the account slows down, and comes back slowly.

mod accounts;
mod pace;
#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use destinations::{Draw, Fault, Limits, Retry};
use model::DestinationId;
use tokio::{sync::Notify, time::Instant};

pub(crate) use accounts::Accounts;
use pace::Meter;

use crate::lanes::Urgency;

/// So many pieces of work of each urgency may be started before their first call has had its turn. A
/// short line keeps what waits in it fresh, and leaves room for what is more urgent.
const LINE: usize = 4;
/// Longer than this nobody waits for a turn when the provider said to make no call.
const PATIENCE: Duration = Duration::from_secs(5);
/// A provider that does nothing but complain is asked this rarely in the end.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// What a call to a destination does, as far as quotas are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Look,
    Create,
    Update,
    Remove,
}

impl Operation {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Look => "look",
            Self::Create => "create",
            Self::Update => "update",
            Self::Remove => "remove",
        }
    }

    fn draws(self, limits: &Limits) -> &'static [Draw]
    where
        Limits: 'static,
    {
        match self {
            Self::Look => limits.look,
            Self::Create => limits.create,
            Self::Update => limits.update,
            Self::Remove => limits.remove,
        }
    }
}

/// A provider account, as far as this process draws on it.
pub(crate) struct Account {
    limits: &'static Limits,
    state: Mutex<State>,
}

struct State {
    meters: Vec<Meter>,
    /// Most calls at once, where the provider counts them.
    at_once: Option<usize>,
    /// Calls under way.
    under_way: usize,
    /// The provider said to make no call before this.
    closed: Option<Instant>,
    /// Complaints in a row, each after the account had slowed down.
    complaints: u32,
    /// Who waits for a turn, by urgency, in order.
    line: [VecDeque<Ticket>; Urgency::COUNT],
    /// Work that was started and has not had its first turn.
    entering: [usize; Urgency::COUNT],
    tickets: u64,
    /// The destinations that draw on it, to be woken in turn.
    members: VecDeque<DestinationId>,
}

struct Ticket {
    number: u64,
    draws: &'static [Draw],
    times: f64,
    wake: Arc<Notify>,
}

/// What holds an account back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bound {
    /// The provider complained.
    Throttled,
    /// The documented limit.
    Quota,
    /// Nothing: it is under its limits.
    Nothing,
}

impl Account {
    pub(crate) fn new(limits: &'static Limits, share: f64, now: Instant) -> Self {
        Self {
            limits,
            state: Mutex::new(State {
                meters: limits.pools.iter().map(|pool| Meter::new(pool, share, now)).collect(),
                at_once: limits.at_once,
                under_way: 0,
                closed: None,
                complaints: 0,
                line: Default::default(),
                entering: [0; Urgency::COUNT],
                tickets: 0,
                members: VecDeque::new(),
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Uses so much of the documented limits from now on, of which other servers use the rest.
    pub(crate) fn set_share(&self, share: f64, part: f64) {
        let mut state = self.state();
        for (meter, pool) in state.meters.iter_mut().zip(self.limits.pools) {
            meter.set_share(pool, share);
        }
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "counts of calls, and a part between 0 and 1"
        )]
        let of = |most: usize| ((most as f64 * part) as usize).max(1);
        state.at_once = self.limits.at_once.map(of);
        state.line.iter().flatten().for_each(|ticket| ticket.wake.notify_one());
    }

    /// Least time between two writes of one entry.
    pub(crate) fn entry_pause(&self) -> Duration {
        self.limits.entry_pause
    }

    /// Until when the provider said to make no call, if that was not noticed to be over yet.
    pub(crate) fn closed_until(&self) -> Option<Instant> {
        self.state().closed
    }

    /// Whether another piece of work of this urgency may be started; if so it is counted until the
    /// [`Entering`] is dropped.
    pub(crate) fn enter(self: &Arc<Self>, urgency: Urgency) -> Option<Entering> {
        let mut state = self.state();
        if state.closed.is_some_and(|at| at > Instant::now()) {
            return None;
        }
        state.closed = None;
        let entering = &mut state.entering[urgency as usize];
        if *entering >= LINE {
            return None;
        }
        *entering += 1;
        Some(Entering { account: Arc::clone(self), urgency })
    }

    /// Waits for a turn to make a call, or so many calls. The turn ends when it is dropped.
    ///
    /// # Errors
    /// [`Fault::throttled`] when the provider said to make no call for more than [`PATIENCE`]: what is
    /// to be written would be old by then.
    pub(crate) async fn turn(
        self: &Arc<Self>,
        operation: Operation,
        times: usize,
        urgency: Urgency,
    ) -> Result<Turn, Fault> {
        let draws = operation.draws(self.limits);
        let wake = Arc::new(Notify::new());
        let number = {
            let mut state = self.state();
            state.tickets += 1;
            let number = state.tickets;
            #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
            let ticket = Ticket { number, draws, times: times as f64, wake: Arc::clone(&wake) };
            state.line[urgency as usize].push_back(ticket);
            number
        };
        let mut waiting = Waiting { account: self, urgency, number, given: false };
        loop {
            let wait_until = {
                let mut state = self.state();
                let now = Instant::now();
                state.give_turns(now);
                let closed = state.closed.map(|at| at.saturating_duration_since(now));
                let waits = state.waits(urgency, number);
                if let Some(wait) = closed.filter(|wait| waits && *wait > PATIENCE) {
                    let fault = Fault::throttled("the provider asked for no calls for a while");
                    return Err(fault.retry(Retry::After(wait)));
                }
                if !waits {
                    waiting.given = true;
                    return Ok(Turn { account: Arc::clone(self), draws, called: now });
                }
                state.ready_at(urgency, number, now)
            };
            tokio::select! {
                () = wake.notified() => {}
                () = until(wait_until) => {}
            }
        }
    }

    /// What a call that had a turn was answered.
    fn answered(&self, draws: &[Draw], called: Instant, fault: Option<&Fault>) {
        let now = Instant::now();
        let mut state = self.state();
        match fault {
            Some(fault) if fault.is_throttled() => state.complained(draws, called, fault, now),
            // It was served, or failed for another reason.
            _ => state.complaints = 0,
        }
    }

    /// Notes that a destination draws on this account.
    pub(crate) fn join(&self, destination: DestinationId) {
        let mut state = self.state();
        if !state.members.contains(&destination) {
            state.members.push_back(destination);
        }
    }

    pub(crate) fn leave(&self, destination: DestinationId) {
        self.state().members.retain(|other| *other != destination);
    }

    /// The destinations that draw on it, beginning with another one each time.
    pub(crate) fn members(&self) -> Vec<DestinationId> {
        let mut state = self.state();
        let step = 1.min(state.members.len());
        state.members.rotate_left(step);
        state.members.iter().copied().collect()
    }

    /// How long so many writes will take at the present speed, and what holds them back.
    pub(crate) fn forecast(&self, writes: f64, now: Instant) -> (Duration, Bound) {
        let state = self.state();
        let slowest = |draws: &[Draw]| {
            let times = draws.iter().filter_map(|draw| {
                let meter = state.meters.get(draw.pool)?;
                Some(meter.time_for(f64::from(draw.units) * writes, now))
            });
            times.max().unwrap_or_default()
        };
        let time = slowest(self.limits.create).max(slowest(self.limits.update));
        let closed = state.closed.map(|at| at.saturating_duration_since(now)).unwrap_or_default();
        let waiting = state.line.iter().any(|line| !line.is_empty());
        let bound = if !closed.is_zero() || state.meters.iter().any(|meter| meter.slowed(now)) {
            Bound::Throttled
        } else if waiting {
            Bound::Quota
        } else {
            Bound::Nothing
        };
        (time + closed, bound)
    }
}

impl State {
    /// Gives a turn to everyone whose turn it is.
    fn give_turns(&mut self, now: Instant) {
        if self.closed.is_some_and(|at| at > now) {
            return;
        }
        self.closed = None;
        let mut given = false;
        while self.at_once.is_none_or(|most| self.under_way < most)
            && let Some((urgency, at)) = self.next(now)
        {
            let Some(ticket) = self.line[urgency as usize].remove(at) else { return };
            for draw in ticket.draws {
                if let Some(meter) = self.meters.get_mut(draw.pool) {
                    meter.draw(f64::from(draw.units) * ticket.times, now);
                }
            }
            self.under_way += 1;
            given = true;
            ticket.wake.notify_one();
        }
        if given {
            // What is due next, and when, has changed for everyone.
            self.line.iter().flatten().for_each(|ticket| ticket.wake.notify_one());
        }
    }

    /// The first who may go: the most urgent, and nobody passes another who waits for the same pool.
    fn next(&mut self, now: Instant) -> Option<(Urgency, usize)> {
        let mut blocked = 0_u64;
        for urgency in Urgency::ALL {
            for at in 0..self.line[urgency as usize].len() {
                let ticket = &self.line[urgency as usize][at];
                let pools = ticket.draws.iter().fold(0, |pools, draw| pools | 1 << (draw.pool & 63));
                if blocked & pools == 0 && ready(&mut self.meters, ticket, urgency, now) <= now {
                    return Some((urgency, at));
                }
                blocked |= pools;
            }
        }
        None
    }

    fn waits(&self, urgency: Urgency, number: u64) -> bool {
        self.line[urgency as usize].iter().any(|ticket| ticket.number == number)
    }

    /// When the ticket's turn may come, as things are; `None`: when someone else says so.
    fn ready_at(&mut self, urgency: Urgency, number: u64, now: Instant) -> Option<Instant> {
        let ticket = self.line[urgency as usize].iter().find(|ticket| ticket.number == number)?;
        if self.at_once.is_some_and(|most| self.under_way >= most) {
            // Whoever ends will say so.
            return None;
        }
        let at = ready(&mut self.meters, ticket, urgency, now).max(self.closed.unwrap_or(now));
        // It is someone else's turn, who will say when it is taken.
        (at > now).then_some(at)
    }

    fn complained(&mut self, draws: &[Draw], called: Instant, fault: &Fault, now: Instant) {
        let mut news = false;
        for draw in draws {
            if let Some(meter) = self.meters.get_mut(draw.pool) {
                news |= meter.slow_down(called, now);
            }
        }
        if news {
            self.complaints = self.complaints.saturating_add(1);
        }
        let pause = match fault.retry {
            Retry::After(wait) => Some(wait.min(Duration::from_secs(3600))),
            // Slower was not slow enough, and then again.
            _ if news && self.complaints > 2 => {
                let doubled = Duration::from_secs(1) * 2_u32.saturating_pow((self.complaints - 3).min(10));
                Some(doubled.min(LONGEST_PAUSE))
            }
            _ => None,
        };
        if let Some(pause) = pause {
            self.closed = self.closed.max(Some(now + pause));
        }
    }
}

fn ready(meters: &mut [Meter], ticket: &Ticket, urgency: Urgency, now: Instant) -> Instant {
    let mut at = now;
    for draw in ticket.draws {
        if let Some(meter) = meters.get_mut(draw.pool) {
            at = at.max(meter.ready_at(f64::from(draw.units) * ticket.times, urgency, now));
        }
    }
    at
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// In line: leaves it when whoever waits goes away.
struct Waiting<'a> {
    account: &'a Account,
    urgency: Urgency,
    number: u64,
    given: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.given {
            return;
        }
        let mut state = self.account.state();
        let line = &mut state.line[self.urgency as usize];
        let before = line.len();
        line.retain(|ticket| ticket.number != self.number);
        if line.len() == before {
            // The turn had come and nobody took it.
            state.under_way = state.under_way.saturating_sub(1);
        }
        state.line.iter().flatten().for_each(|ticket| ticket.wake.notify_one());
    }
}

/// Work that was started and has not had its first turn, or ended without needing one.
pub(crate) struct Entering {
    account: Arc<Account>,
    urgency: Urgency,
}

impl Drop for Entering {
    fn drop(&mut self) {
        let mut state = self.account.state();
        let entering = &mut state.entering[self.urgency as usize];
        *entering = entering.saturating_sub(1);
    }
}

/// A turn to make a call.
pub(crate) struct Turn {
    account: Arc<Account>,
    draws: &'static [Draw],
    called: Instant,
}

impl Turn {
    /// Notes what the call was answered.
    pub(crate) fn answered(&self, fault: Option<&Fault>) {
        self.account.answered(self.draws, self.called, fault);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.account.state();
        state.under_way = state.under_way.saturating_sub(1);
        if self.account.limits.at_once.is_some() {
            state.line.iter().flatten().for_each(|ticket| ticket.wake.notify_one());
        }
    }
}
