//! Tables of small things: roles, users, entities, quotas. Each part of the server keeps its own, encoded
//! as JSON, so that a field can be added without a new format.

use std::marker::PhantomData;

use serde::{Serialize, de::DeserializeOwned};
use store::{RecordKey, Revision, Store, StoreError, Stored, Transaction, records::Entry};

use super::{ATTEMPTS, AppError};

/// One table: an owner, such as the accessor of an auth mount, and the owner's word for it.
pub(crate) struct Table<'s, T> {
    store: &'s Store,
    owner: String,
    word: &'static str,
    kept: PhantomData<fn() -> T>,
}

/// Something read from a table, and when it was written.
#[derive(Debug, Clone)]
pub(crate) struct Kept<T> {
    pub(crate) value: T,
    pub(crate) revision: Revision,
}

impl<'s, T: Serialize + DeserializeOwned> Table<'s, T> {
    pub(crate) fn new(store: &'s Store, owner: impl Into<String>, word: &'static str) -> Self {
        Self { store, owner: owner.into(), word, kept: PhantomData }
    }

    pub(crate) fn key(&self, name: &str) -> RecordKey<Entry> {
        self.store.keys().entry(&self.owner, self.word, name.as_bytes())
    }

    pub(crate) async fn get(&self, name: &str) -> Result<Option<Kept<T>>, StoreError> {
        match self.store.get(&self.key(name)).await? {
            Some(stored) => Ok(Some(opened(&stored)?)),
            None => Ok(None),
        }
    }

    /// Everything in the table, with names.
    pub(crate) async fn all(&self) -> Result<Vec<(String, Kept<T>)>, StoreError> {
        let prefix = self.store.keys().entries_of(&self.owner, self.word);
        let entries = self.store.scan_all(&prefix).await?;
        let mut all: Vec<_> = entries
            .into_iter()
            .map(|(_, stored)| Ok((stored.record.name.clone(), opened(&stored)?)))
            .collect::<Result<_, StoreError>>()?;
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(all)
    }

    /// All names, sorted.
    pub(crate) async fn names(&self) -> Result<Vec<String>, StoreError> {
        let prefix = self.store.keys().entries_of(&self.owner, self.word);
        let entries = self.store.scan_all(&prefix).await?;
        let mut names: Vec<_> = entries.into_iter().map(|(_, stored)| stored.record.name.clone()).collect();
        names.sort();
        Ok(names)
    }

    /// Adds a write to a transaction.
    pub(crate) fn put(&self, transaction: &mut Transaction, name: &str, value: &T) -> Result<(), StoreError> {
        let body = serde_json::to_vec(value).map_err(|_| corrupt())?;
        transaction.put(&self.key(name), &Entry { name: name.to_owned(), body });
        Ok(())
    }

    /// Changes one thing, deciding anew when others were faster. `decide` gets what is there; `None` from
    /// it removes it.
    pub(crate) async fn change<A>(
        &self,
        name: &str,
        mut decide: impl FnMut(Option<T>) -> Result<(Option<T>, A), AppError>,
    ) -> Result<A, AppError> {
        let key = self.key(name);
        for _ in 0..ATTEMPTS {
            let known = self.get(name).await?;
            let revision = known.as_ref().map(|known| known.revision);
            let was_there = known.is_some();
            let (next, answer) = decide(known.map(|known| known.value))?;
            let mut transaction = self.store.transaction();
            transaction.expect(&key, revision);
            match &next {
                Some(next) => self.put(&mut transaction, name, next)?,
                None if !was_there => return Ok(answer),
                None => {
                    transaction.delete(&key);
                }
            }
            match transaction.commit().await {
                Ok(_) => return Ok(answer),
                Err(StoreError::Conflict) => {}
                Err(other) => return Err(other.into()),
            }
        }
        Err(StoreError::Conflict.into())
    }

    /// Removes one thing; tells whether it was there.
    pub(crate) async fn remove(&self, name: &str) -> Result<bool, AppError> {
        self.change(name, |known| Ok((None, known.is_some()))).await
    }
}

/// Removes all entries of an owner, a page at a time. Safe to repeat.
pub(crate) async fn erase_owned(store: &Store, owner: &str) -> Result<(), StoreError> {
    const PAGE: usize = 256;
    let prefix = store.keys().entries_owned(owner);
    loop {
        let page = store.scan(&prefix, None, PAGE).await?;
        if page.is_empty() {
            return Ok(());
        }
        let mut transaction = store.transaction();
        for (key, _) in &page {
            transaction.delete(key);
        }
        transaction.commit().await?;
    }
}

fn opened<T: DeserializeOwned>(stored: &Stored<Entry>) -> Result<Kept<T>, StoreError> {
    let value = serde_json::from_slice(&stored.record.body).map_err(|_| corrupt())?;
    Ok(Kept { value, revision: stored.revision })
}

fn corrupt() -> StoreError {
    StoreError::Corrupt { tag: <Entry as store::Record>::TAG, what: "its fields do not parse" }
}
