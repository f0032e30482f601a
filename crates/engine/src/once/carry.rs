//! Many calls at a time, and again what time may mend: within bounds, since somebody waits.

use std::{collections::VecDeque, time::Duration};

use destinations::{Fault, Retry};
use futures_util::{StreamExt, stream::FuturesUnordered};
use model::RemoteName;

use super::{Action, Decision, Once, Ready};
use crate::{
    apply::{self, Done, Job, Site},
    plan::Step,
};

/// So many writes are under way at the same time, as long as the service takes them.
const AT_ONCE: usize = 16;
/// The fewest, when it asks for less.
const AT_ONCE_LEAST: usize = 2;
/// How often something is tried again.
const RETRIES: u32 = 4;
/// After so many rounds in a row in which nothing came about, the rest is given up.
const BARREN_ROUNDS: u32 = 4;
/// The first wait, at most; it doubles.
const WAIT: Duration = Duration::from_millis(250);
/// The first wait when the service asks for fewer calls.
const THROTTLE_WAIT: Duration = Duration::from_secs(1);
/// A longer wait is not worth making anybody wait for.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Whether trying again soon may help.
fn is_passing(fault: &Fault) -> bool {
    match fault.retry {
        Retry::Backoff => true,
        Retry::After(wait) => wait <= LONGEST_WAIT,
        Retry::Slowly | Retry::WhenChanged => false,
    }
}

/// A step on its way.
struct Errand {
    /// Its place in the answer.
    at: usize,
    attempts: u32,
    ready: Ready,
}

/// What a round came to.
#[derive(Default)]
struct Round {
    again: Vec<Errand>,
    faults: Vec<Fault>,
    settled: usize,
}

impl Once<'_> {
    /// Carries decisions out, writes before removals. `settled` is called for every item that has come
    /// to an end, one way or the other. One answer per decision, in order: the decided action when it
    /// came about, else [`Action::Refuse`].
    pub async fn carry_out(
        &self,
        decisions: Vec<Decision>,
        settled: &mut (dyn FnMut() + Send),
    ) -> Vec<Action> {
        let mut actions = Vec::with_capacity(decisions.len());
        let (mut writes, mut removals) = (VecDeque::new(), VecDeque::new());
        for (at, Decision { action, ready }) in decisions.into_iter().enumerate() {
            match ready {
                None => settled(),
                Some(ready) => {
                    let queue = if action == Action::Remove { &mut removals } else { &mut writes };
                    queue.push_back(Errand { at, attempts: 0, ready });
                }
            }
            actions.push(action);
        }
        for queue in [writes, removals] {
            self.run(queue, &mut actions, settled).await;
        }
        actions
    }

    async fn run(
        &self,
        mut queue: VecDeque<Errand>,
        actions: &mut [Action],
        settled: &mut (dyn FnMut() + Send),
    ) {
        let (mut at_once, mut barren) = (AT_ONCE, 0);
        while !queue.is_empty() {
            let Round { again, faults, settled: done } =
                self.round(&mut queue, at_once, actions, settled).await;
            let Some(last) = faults.last() else { continue };
            barren = if done == 0 { barren + 1 } else { 0 };
            queue.extend(again);
            if barren > BARREN_ROUNDS {
                for errand in queue.drain(..) {
                    actions[errand.at] = Action::Refuse(last.clone());
                    settled();
                }
                return;
            }
            if faults.iter().any(is_throttle) {
                at_once = (at_once / 2).max(AT_ONCE_LEAST);
            }
            let wait = faults.iter().map(|fault| self.wait(fault, barren)).max();
            tokio::time::sleep(wait.unwrap_or_default()).await;
        }
    }

    /// Works the queue off, until it is empty or something passing went wrong: then those under way are
    /// still waited for.
    async fn round(
        &self,
        queue: &mut VecDeque<Errand>,
        at_once: usize,
        actions: &mut [Action],
        settled: &mut (dyn FnMut() + Send),
    ) -> Round {
        let mut round = Round::default();
        let mut running = FuturesUnordered::new();
        loop {
            while round.faults.is_empty() && running.len() < at_once {
                let batch = self.next_batch(queue);
                if batch.is_empty() {
                    break;
                }
                running.push(self.send(batch));
            }
            let Some(sent) = running.next().await else { return round };
            for (errand, fault) in sent {
                match fault {
                    None => round.settled += 1,
                    Some(fault) if is_passing(&fault) && errand.attempts <= RETRIES => {
                        round.faults.push(fault);
                        round.again.push(errand);
                        continue;
                    }
                    Some(fault) => actions[errand.at] = Action::Refuse(fault),
                }
                settled();
            }
        }
    }

    /// What goes out together: as many as one call carries, of one way of treating strangers.
    fn next_batch(&self, queue: &mut VecDeque<Errand>) -> Vec<Errand> {
        let mut batch: Vec<Errand> = Vec::new();
        while batch.len() < self.abilities().batch.max(1)
            && queue.front().is_some_and(|next| {
                batch.first().is_none_or(|first| first.ready.take_over == next.ready.take_over)
            })
        {
            batch.extend(queue.pop_front());
        }
        batch
    }

    async fn send(&self, batch: Vec<Errand>) -> Vec<(Errand, Option<Fault>)> {
        let take_over = batch.first().is_some_and(|errand| errand.ready.take_over);
        let jobs = batch
            .iter()
            .enumerate()
            .map(|(group, errand)| Job {
                group,
                owner: errand.ready.owner.clone(),
                write: errand.ready.write,
                step: errand.ready.step.clone(),
            })
            .collect();
        let no_tags = std::collections::BTreeMap::new();
        let site = Site {
            destination: &self.destination,
            abilities: self.abilities(),
            tags: &no_tags,
            tag_names: &[],
            settings: [0; 32],
            overwrite: take_over,
            // It goes by the service's answers alone, see `run`.
            gate: None,
            // Whoever runs it sees what came of it.
            told: None,
            lease: None,
            // It keeps no ledger.
            journal: None,
            now: self.clock.now(),
        };
        let mut sent: Vec<(Errand, Option<Fault>)> = batch
            .into_iter()
            .map(|mut errand| {
                errand.attempts += 1;
                let lost = Fault::internal("adapter_incomplete", "the adapter gave no answer for this entry");
                (errand, Some(lost))
            })
            .collect();
        for Done { group, entry, fault, .. } in apply::apply(&site, jobs).await {
            let Some((errand, slot)) = sent.get_mut(group) else { continue };
            if let (Step::Put(put), Some(fault), Some(entry)) = (&mut errand.ready.step, &fault, entry) {
                put.entry = entry;
                // A call that cannot be repeated blindly is preceded by a look.
                put.look = fault.ambiguous && !self.abilities().create_notices;
            }
            *slot = fault;
        }
        sent
    }

    /// The answers of a call for many names, asking again for those that may yet be had.
    pub(super) async fn patiently<T>(
        &self,
        names: &[RemoteName],
        call: impl AsyncFn(&[RemoteName]) -> Vec<Result<T, Fault>>,
    ) -> Vec<Result<T, Fault>> {
        if names.is_empty() {
            return Vec::new();
        }
        let unanswered =
            || Err(Fault::internal("adapter_incomplete", "the adapter gave no answer for this entry"));
        let mut answers = call(names).await;
        answers.resize_with(names.len(), unanswered);
        for attempt in 0..RETRIES {
            let failed = |answer: &Result<T, Fault>| answer.as_ref().err().is_some_and(is_passing);
            let again: Vec<usize> = (0..answers.len()).filter(|&at| failed(&answers[at])).collect();
            let wait = again.iter().filter_map(|&at| answers[at].as_ref().err());
            let Some(wait) = wait.map(|fault| self.wait(fault, attempt)).max() else { break };
            tokio::time::sleep(wait).await;
            let subset: Vec<RemoteName> = again.iter().map(|&at| names[at].clone()).collect();
            for (at, answer) in again.into_iter().zip(call(&subset).await) {
                answers[at] = answer;
            }
        }
        answers
    }

    /// How long to wait after a fault: what was asked for, else exponential with full jitter.
    fn wait(&self, fault: &Fault, attempt: u32) -> Duration {
        let (first, least) = match fault.retry {
            Retry::After(wait) => (WAIT, wait),
            _ if is_throttle(fault) => (THROTTLE_WAIT, THROTTLE_WAIT),
            _ => (WAIT, Duration::ZERO),
        };
        let most = first.saturating_mul(2u32.saturating_pow(attempt)).min(LONGEST_WAIT);
        let mut dice = [0; 4];
        self.entropy.fill(&mut dice);
        least + most.mul_f64(f64::from(u32::from_be_bytes(dice)) / f64::from(u32::MAX))
    }
}

fn is_throttle(fault: &Fault) -> bool {
    fault.code == "throttled" || matches!(fault.retry, Retry::After(_))
}
