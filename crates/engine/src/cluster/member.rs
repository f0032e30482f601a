//! Saying that one is alive, seeing who else is, and dividing the work.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use model::Timestamp;
use store::{
    Revision, StoreError,
    fence::Fence,
    records::{FORMATS, Floor, NodeId, ServerNode, Shard},
};
use tokio::time::Instant;

#[cfg(test)]
use super::Broken;
use super::{
    Lease, SHARDS,
    tell::{self, Hearing},
};
use crate::engine::Inner;

/// After [`crate::Engine::step_down`] it takes no work for so many signs of life.
const ASIDE: u32 = 10;
/// Accounts are shared out anew this often, in signs of life, and when shards have moved.
const SHARE_OUT: u32 = 5;

/// What only the loop below knows.
pub(super) struct Member {
    started: Timestamp,
    /// The commit that last wrote this server's record.
    revision: Option<Revision>,
    /// For how long the record of each other server has been as it is.
    seen: BTreeMap<NodeId, (Revision, Instant)>,
    hearing: Hearing,
    shards: BTreeMap<u8, (Revision, Shard)>,
    /// Whether sync was switched off when last looked.
    paused: bool,
    beats: u32,
    /// This version is too old for the store.
    outdated: bool,
}

impl Member {
    pub(super) fn new(started: Timestamp) -> Self {
        Self {
            started,
            revision: None,
            seen: BTreeMap::new(),
            hearing: Hearing::new(),
            shards: BTreeMap::new(),
            paused: false,
            beats: 0,
            outdated: false,
        }
    }
}

impl Inner {
    /// Takes a place among the servers, and its part of the work.
    pub(crate) async fn join(self: &Arc<Self>) {
        self.look_around().await;
        let (member, speaker, listener) = (Arc::clone(self), Arc::clone(self), Arc::clone(self));
        // It goes on while the others wind up.
        tokio::spawn(async move { member.take_part().await });
        self.tasks.spawn(async move { speaker.speak().await });
        self.tasks.spawn(async move { listener.listen().await });
    }

    async fn take_part(self: Arc<Self>) {
        loop {
            tokio::select! {
                biased;
                () = self.ended().cancelled() => return,
                () = self.cluster.wake.notified() => {}
                () = tokio::time::sleep(self.cluster.settings.beat) => {}
            }
            self.look_around().await;
        }
    }

    async fn look_around(self: &Arc<Self>) {
        let mut member = self.cluster.member.lock().await;
        if let Err(error) = self.try_look_around(&mut member).await {
            tracing::warn!(%error, "this server could not tell the others that it is alive, or who has which work");
        }
    }

    async fn try_look_around(self: &Arc<Self>, member: &mut Member) -> Result<(), StoreError> {
        member.beats = member.beats.wrapping_add(1);
        self.keep_to_the_floor(member).await?;
        self.beat(member).await?;
        let gone = self.see_others(member).await?;
        let moved = self.divide(member).await?;
        if moved || member.beats.is_multiple_of(SHARE_OUT) {
            self.share_out_accounts().await?;
        }
        let paused = self.disabled().await?;
        let resumed = std::mem::replace(&mut member.paused, paused) && !paused;
        let missed = self.hear(member);
        if gone || missed || resumed {
            // What somebody asked for may not have been told.
            self.resume(false).await?;
        }
        if gone || moved {
            self.resume_unfinished().await?;
        }
        Ok(())
    }

    /// Takes no part where a newer version wrote what this one cannot read; raises the floor to what all
    /// servers know.
    async fn keep_to_the_floor(self: &Arc<Self>, member: &mut Member) -> Result<(), StoreError> {
        let key = self.store.keys().floor();
        let floor = self.store.get(&key).await?;
        let lowest = floor.as_ref().map_or(0, |floor| floor.record.formats);
        let outdated = lowest > FORMATS;
        if outdated && !member.outdated {
            tracing::error!(
                needed = lowest,
                known = FORMATS,
                "the store is of a newer version than this server, which takes no more part in deliveries; upgrade it"
            );
        }
        member.outdated = outdated;
        let all_know = self.cluster.state().others.values().all(|other| other.formats >= FORMATS);
        if lowest < FORMATS && all_know && member.revision.is_some() && member.beats > 2 {
            let mut transaction = self.store.transaction();
            transaction.expect(&key, floor.map(|floor| floor.revision));
            transaction.put(&key, &Floor { formats: FORMATS });
            match transaction.commit().await {
                Ok(_) | Err(StoreError::Conflict) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn takes_part(&self, member: &Member) -> bool {
        let aside = self.cluster.state().aside.is_some_and(|until| until > Instant::now());
        !aside && !member.outdated && !self.stopped().is_cancelled()
    }

    /// Says that this server is alive. Only what nobody else has touched is renewed, so whoever was given
    /// up by the others learns of it here.
    async fn beat(self: &Arc<Self>, member: &mut Member) -> Result<(), StoreError> {
        let cluster = &self.cluster;
        for _ in 0..3 {
            let begun = (Instant::now(), self.clock.now());
            let record = self.own_record(member, begun.1);
            let key = self.store.keys().server_node(record.id);
            let mut transaction = self.store.transaction();
            transaction.expect(&key, member.revision).put(&key, &record);
            match tokio::time::timeout(cluster.settings.valid, transaction.commit()).await {
                Err(_) => return Err(StoreError::Unknown),
                Ok(Ok(revision)) => {
                    member.revision = Some(revision);
                    let lapsed = !cluster.validity.holds();
                    cluster.validity.extend(begun, cluster.settings.valid);
                    if lapsed {
                        // What was offered meanwhile was not started.
                        let destinations = self.lanes().destinations();
                        destinations.into_iter().for_each(|destination| self.pump(destination));
                    }
                    return Ok(());
                }
                Ok(Err(StoreError::Conflict)) => match self.store.get(&key).await? {
                    // One whose outcome was not known has taken effect.
                    Some(stored) if stored.record.id == record.id => member.revision = Some(stored.revision),
                    _ => self.was_given_up(member),
                },
                Ok(Err(error)) => return Err(error),
            }
        }
        Err(StoreError::Conflict)
    }

    /// The others hold this server for dead. It begins anew, as another.
    fn was_given_up(self: &Arc<Self>, member: &mut Member) {
        if member.revision.take().is_none() {
            return;
        }
        tracing::warn!("the other servers had given this one up, and have taken its work over");
        self.cluster.validity.end();
        let leases = std::mem::take(&mut self.cluster.state().leases);
        for (shard, lease) in leases {
            lease.end();
            self.let_go(shard);
        }
        self.cluster.state().id = NodeId::random(self.entropy.as_ref());
    }

    fn own_record(&self, member: &Member, now: Timestamp) -> ServerNode {
        let cluster = &self.cluster;
        let (told, recent) = {
            let outgoing = cluster.outgoing();
            (outgoing.told, outgoing.recent.iter().copied().collect())
        };
        let settings = &cluster.settings;
        let id = cluster.state().id;
        let pending = self.lanes().len() as u64;
        ServerNode {
            id,
            name: settings.name.clone(),
            api_addr: settings.api_addr.clone(),
            version: settings.version.clone(),
            formats: FORMATS,
            started: member.started,
            echo: now,
            leaving: !self.takes_part(member),
            pending,
            backlogs: self.own_backlogs(),
            told,
            recent,
        }
    }

    /// Reads who else is there, and gives up those that have not said a word for too long. Whether somebody
    /// has gone.
    async fn see_others(self: &Arc<Self>, member: &mut Member) -> Result<bool, StoreError> {
        let keys = self.store.keys();
        let me = self.cluster.state().id;
        let all = self.store.scan_all(&keys.server_nodes()).await?;
        let now = Instant::now();
        let mut others = BTreeMap::new();
        let mut seen = BTreeMap::new();
        for (key, stored) in all {
            let id = stored.record.id;
            if id == me {
                continue;
            }
            let since = match member.seen.get(&id) {
                Some((revision, since)) if *revision == stored.revision => *since,
                _ => now,
            };
            if now.duration_since(since) >= self.cluster.settings.expire {
                let mut transaction = self.store.transaction();
                transaction.expect(&key, Some(stored.revision)).delete(&key);
                match transaction.commit().await {
                    Ok(_) => {
                        tracing::warn!(server = %stored.record.name, node = %id, "a server has not been heard of; its work is taken over");
                        self.cluster.tell_of_change();
                        continue;
                    }
                    // It is alive after all, or somebody else was faster.
                    Err(StoreError::Conflict) => {}
                    Err(error) => return Err(error),
                }
            }
            seen.insert(id, (stored.revision, since));
            others.insert(id, stored.record);
        }
        let gone = member.seen.keys().any(|id| !seen.contains_key(id));
        member.seen = seen;
        self.cluster.state().others = others;
        Ok(gone)
    }

    /// Hears what others have told with their last sign of life. Whether some of it was missed.
    fn hear(self: &Arc<Self>, member: &mut Member) -> bool {
        let others = self.cluster.state().others.clone();
        member.hearing.retain(|id, _| others.contains_key(id));
        let mut missed = false;
        for (id, other) in others {
            let before = member.hearing.insert(id, other.told).unwrap_or(0);
            match tell::news(before, other.told, &other.recent) {
                Some(news) => news.iter().for_each(|told| self.heard(told)),
                None => missed = true,
            }
        }
        missed
    }

    /// Gives up what is too much, takes what is nobody's. Whether anything has moved.
    async fn divide(self: &Arc<Self>, member: &mut Member) -> Result<bool, StoreError> {
        self.read_shards(member).await?;
        let mut moved = false;
        // What was taken away, whoever noticed it first.
        let leases = self.cluster.state().leases.clone();
        for (shard, lease) in &leases {
            let now = member.shards.get(shard).map(|(revision, _)| *revision);
            if lease.is_over() || lease.revision() != now {
                lease.end();
                self.let_go(*shard);
                moved = true;
            }
        }
        let (me, present, sharing) = {
            let state = self.cluster.state();
            let present: BTreeSet<_> = state.others.keys().copied().collect();
            let sharing = state.others.values().filter(|other| !other.leaving).count();
            (state.id, present, sharing)
        };
        let takes_part = self.takes_part(member);
        let most = if takes_part { usize::from(SHARDS).div_ceil(sharing + 1) } else { 0 };
        let held = self.cluster.owned();
        for (place, shard) in held.iter().enumerate() {
            let Some(lease) = self.cluster.lease_of(*shard) else { continue };
            if place < most {
                if lease.resume() {
                    self.pump_shard(*shard);
                }
                continue;
            }
            lease.drain(self.cluster.settings.drain);
            if lease.is_idle() || lease.is_overdue() {
                moved |= self.give_up(member, *shard, &lease).await?;
            }
        }
        if !self.cluster.validity.holds() {
            return Ok(moved);
        }
        let held: BTreeSet<u8> = self.cluster.owned().into_iter().collect();
        let mut room = most.saturating_sub(held.len());
        let mine = |shard: &Shard| shard.owner == Some(me);
        let unheld = |member: &Member, number: u8| {
            member.shards.get(&number).is_some_and(|(_, shard)| mine(shard)) && !held.contains(&number)
        };
        if room == 0 && member.shards.values().filter(|(_, shard)| mine(shard)).count() <= held.len() {
            return Ok(moved);
        }
        // Everybody begins somewhere else, so that they do not all want the same.
        let first = me.as_bytes()[0] % SHARDS;
        for number in (0..SHARDS).map(|n| (first + n) % SHARDS) {
            let free = match member.shards.get(&number) {
                None => true,
                Some((_, Shard { owner: None, .. })) => true,
                Some((_, Shard { owner: Some(_), .. })) if unheld(member, number) => true,
                Some((_, Shard { owner: Some(owner), .. })) => *owner != me && !present.contains(owner),
            };
            if room > 0 && free && self.take_shard(member, number).await? {
                room -= 1;
                moved = true;
            } else if room == 0 && unheld(member, number) && self.hands_back() {
                // What could not be handed back for sure.
                moved |= self.hand_back(member, number, false).await?;
            }
        }
        Ok(moved)
    }

    /// Reads those shard records that have changed.
    async fn read_shards(&self, member: &mut Member) -> Result<(), StoreError> {
        let keys = self.store.keys();
        let revisions = self.store.scan_revisions(&keys.shards()).await?;
        let number = |key: &store::RecordKey<Shard>| store::Keys::shard_number(key.as_bytes());
        let known = |key, revision| {
            number(key)
                .and_then(|number| member.shards.get(&number))
                .is_some_and(|(known, _)| *known == revision)
        };
        if revisions.len() == member.shards.len() && revisions.iter().all(|(key, at)| known(key, *at)) {
            return Ok(());
        }
        let mut shards = BTreeMap::new();
        for (key, revision) in revisions {
            let Some(number) = store::Keys::shard_number(key.as_bytes()).filter(|n| *n < SHARDS) else {
                continue;
            };
            match member.shards.remove(&number) {
                Some((known, shard)) if known == revision => {
                    shards.insert(number, (revision, shard));
                }
                _ => {
                    if let Some(stored) = self.store.get(&key).await? {
                        shards.insert(number, (stored.revision, stored.record));
                    }
                }
            }
        }
        member.shards = shards;
        Ok(())
    }

    async fn take_shard(self: &Arc<Self>, member: &mut Member, number: u8) -> Result<bool, StoreError> {
        let keys = self.store.keys();
        let key = keys.shard(number);
        let before = member.shards.get(&number).cloned();
        let me = self.cluster.state().id;
        let next = Shard {
            owner: Some(me),
            term: before.as_ref().map_or(0, |(_, shard)| shard.term) + 1,
            settled: false,
        };
        let mut transaction = self.store.transaction();
        transaction.expect(&key, before.as_ref().map(|(revision, _)| *revision)).put(&key, &next);
        // Not by somebody who was given up and does not know it.
        transaction.expect(&keys.server_node(me), member.revision);
        let revision = match transaction.commit().await {
            Ok(revision) => revision,
            Err(StoreError::Conflict) => return Ok(false),
            Err(error) => return Err(error),
        };
        let settled = before.is_some_and(|(_, shard)| shard.owner.is_none() && shard.settled);
        #[cfg(test)]
        let settled = settled || self.cluster.is_broken(Broken::Suspicion);
        let doubtful = (!settled).then(|| Instant::now() + self.cluster.settings.in_flight);
        let lease = Lease::taken(
            Fence::new(&key, revision),
            revision,
            Arc::clone(&self.cluster.validity),
            #[cfg(test)]
            self.cluster.is_broken(Broken::Deadline),
        );
        member.shards.insert(number, (revision, next));
        // First it is this server's, then its rows are read: what is asked for in between is not missed.
        self.cluster.state().leases.insert(number, Arc::new(lease));
        self.resume_shard(number, doubtful).await?;
        Ok(true)
    }

    /// Hands a shard back for somebody to take.
    async fn give_up(
        self: &Arc<Self>,
        member: &mut Member,
        number: u8,
        lease: &Arc<Lease>,
    ) -> Result<bool, StoreError> {
        let settled = lease.is_idle() && !self.suspects_in(number);
        lease.end();
        self.let_go(number);
        self.hand_back(member, number, settled).await
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "the simulation has a server that does not")]
    const fn hands_back(&self) -> bool {
        true
    }

    #[cfg(test)]
    fn hands_back(&self) -> bool {
        !self.cluster.is_broken(Broken::HandBack)
    }

    async fn hand_back(
        self: &Arc<Self>,
        member: &mut Member,
        number: u8,
        settled: bool,
    ) -> Result<bool, StoreError> {
        let Some((revision, shard)) = member.shards.get(&number).cloned() else { return Ok(true) };
        let key = self.store.keys().shard(number);
        let next = Shard { owner: None, term: shard.term, settled };
        let mut transaction = self.store.transaction();
        transaction.expect(&key, Some(revision)).put(&key, &next);
        match transaction.commit().await {
            Ok(revision) => {
                member.shards.insert(number, (revision, next));
                self.cluster.tell_of_change();
                Ok(true)
            }
            Err(StoreError::Conflict) => Ok(true),
            Err(error) => Err(error),
        }
    }

    fn pump_shard(self: &Arc<Self>, number: u8) {
        let destinations = self.lanes().destinations();
        destinations.into_iter().filter(|id| super::shard_of(*id) == number).for_each(|id| self.pump(id));
    }

    /// Takes leave of the others once all work has ended: they need not wait until they miss this server.
    pub(crate) async fn take_leave(self: &Arc<Self>) {
        let mut member = self.cluster.member.lock().await;
        if let Err(error) = self.try_take_leave(&mut member).await {
            tracing::warn!(%error, "this server could not take leave; the others take over once they miss it");
        }
    }

    async fn try_take_leave(self: &Arc<Self>, member: &mut Member) -> Result<(), StoreError> {
        self.read_shards(member).await?;
        for shard in self.cluster.owned() {
            if let Some(lease) = self.cluster.lease_of(shard) {
                self.give_up(member, shard, &lease).await?;
            }
        }
        self.cluster.validity.end();
        let Some(revision) = member.revision.take() else { return Ok(()) };
        let key = self.store.keys().server_node(self.cluster.state().id);
        let mut transaction = self.store.transaction();
        transaction.expect(&key, Some(revision)).delete(&key);
        match transaction.commit().await {
            Ok(_) => {
                self.store.backend().announce(tell::changed()).await;
                Ok(())
            }
            Err(StoreError::Conflict) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Hands all work to others and takes none for a while. Does nothing where there are no others.
    pub(crate) fn step_aside(&self) {
        let cluster = &self.cluster;
        if cluster.state().others.values().any(|other| !other.leaving) {
            cluster.state().aside = Some(Instant::now() + cluster.settings.beat * ASIDE);
            cluster.wake.notify_one();
        }
    }
}
