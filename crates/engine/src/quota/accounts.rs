use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use destinations::{Config, Kind};
use model::DestinationId;
use store::Keys;
use tokio::time::Instant;

use super::Account;

/// The provider accounts in use, each under a keyed digest of its identity.
pub(crate) struct Accounts {
    known: Mutex<HashMap<[u8; 32], Weak<Account>>>,
    /// The share of the documented limits that may be used; `None`: they are not kept to.
    share: Option<f64>,
}

impl Accounts {
    pub(crate) fn new(percent: u32) -> Self {
        let share = (percent > 0).then(|| f64::from(percent) / 100.0);
        Self { known: Mutex::default(), share }
    }

    /// What tells the account that a destination so configured draws on from others. `None`: nothing is to
    /// be counted.
    pub(crate) fn identity(
        &self,
        keys: &Keys,
        kind: &dyn Kind,
        config: &Config,
        id: DestinationId,
    ) -> Option<[u8; 32]> {
        self.share?;
        kind.limits(config)?;
        let slug = kind.slug().as_bytes();
        Some(match kind.account(config) {
            // EXPOSE: into a keyed digest.
            Some(account) => keys.digest("account", &[slug, account.expose()]),
            None => keys.digest("account of one", &[slug, id.as_bytes()]),
        })
    }

    /// This server may use so much of an account: what is left is for the others on the same store.
    pub(crate) fn set_part(&self, identity: [u8; 32], part: f64) {
        let known =
            self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&identity).and_then(Weak::upgrade);
        if let (Some(account), Some(share)) = (known, self.share) {
            account.set_share(share * part, part);
        }
    }

    /// The account that a destination so configured draws on. `None`: nothing is to be counted.
    pub(crate) fn of(
        &self,
        keys: &Keys,
        kind: &dyn Kind,
        config: &Config,
        id: DestinationId,
    ) -> Option<Arc<Account>> {
        let limits = kind.limits(config)?;
        let share = self.share?;
        let identity = self.identity(keys, kind, config, id)?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(account) = known.get(&identity).and_then(Weak::upgrade) {
            return Some(account);
        }
        known.retain(|_, account| account.strong_count() > 0);
        let account = Arc::new(Account::new(limits, share, Instant::now()));
        known.insert(identity, Arc::downgrade(&account));
        Some(account)
    }
}
