//! PostgreSQL, for the suite: a schema of its own for every test, in the database that `./test` starts.

use std::{
    hash::{BuildHasher as _, RandomState},
    sync::atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use bytes::Bytes;
use model::SeededEntropy;
use store::{Backend, Batch, Entry, Postgres, PostgresOptions, Replacement, Revision, Snapshot, StoreError};
use tokio::sync::broadcast;

/// The URL of a database whose user may make schemas.
fn url() -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "tests are told where their parts are")]
    std::env::var("KEYFERRY_TEST_POSTGRES").ok()
}

/// Whether there is no such database, which `./test` does not put up with.
pub(crate) fn missing() -> bool {
    #[expect(clippy::disallowed_methods, reason = "tests are told where their parts are")]
    let required = std::env::var_os("KEYFERRY_TEST_REQUIRE_PARTS").is_some();
    url().is_none() && !required
}

fn options() -> PostgresOptions {
    let url = url().expect("KEYFERRY_TEST_POSTGRES is not set: run ./test, which starts a PostgreSQL");
    let mut options = PostgresOptions::new(&url, None, None).unwrap();
    // No test has it twice, in whatever process.
    options.schema = format!("t_{:016x}", RandomState::new().hash_one(0));
    options
}

async fn open(options: PostgresOptions, seed: u64) -> Postgres {
    Postgres::open(options, &SeededEntropy::new(seed)).await.unwrap()
}

pub(crate) async fn fresh() -> Postgres {
    open(options(), 1).await
}

/// Two handles that know nothing of each other, used in turn.
pub(crate) struct Two([Postgres; 2], AtomicUsize);

impl Two {
    pub(crate) async fn fresh() -> Self {
        let options = options();
        Self([open(options.clone(), 1).await, open(options, 2).await], AtomicUsize::new(0))
    }

    fn next(&self) -> &Postgres {
        &self.0[self.1.fetch_add(1, Ordering::Relaxed) % 2]
    }
}

#[async_trait]
impl Backend for Two {
    fn name(&self) -> &'static str {
        self.0[0].name()
    }

    async fn get(&self, key: &[u8]) -> Result<Option<Entry>, StoreError> {
        self.next().get(key).await
    }

    async fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Entry)>, StoreError> {
        self.next().scan(prefix, after, limit).await
    }

    async fn commit(&self, batch: Batch) -> Result<Revision, StoreError> {
        self.next().commit(batch).await
    }

    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        self.next().snapshot().await
    }

    async fn replace(&self, entries: Replacement) -> Result<Revision, StoreError> {
        self.next().replace(entries).await
    }

    fn shared(&self) -> bool {
        true
    }

    async fn announce(&self, announcement: Bytes) {
        self.next().announce(announcement).await;
    }

    fn announcements(&self) -> Option<broadcast::Receiver<Bytes>> {
        self.next().announcements()
    }
}
