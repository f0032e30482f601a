//! What is at a scope: which names there are, and how many (destinations.md 4.1 and 4.4).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use http::Method;
use serde::{Deserialize, de::DeserializeOwned};
use tokio::time::Instant;

use super::{api::Api, faults::Refusal, seal::TargetKey};
use crate::{Fault, net::Answer};

/// For how long a list of one page serves first writes. Every page more adds as much, so that looking costs
/// at most one call in this time.
const GOOD_FOR: Duration = Duration::from_secs(15);

/// For how long it serves looks, which are often asked for many at once.
const FRESH_FOR: Duration = Duration::from_secs(2);

/// How long a public key is used (destinations.md 4.2).
const KEY_GOOD_FOR: Duration = Duration::from_secs(3600);

/// How long a scope that was seen is taken to be there.
const SEEN_GOOD_FOR: Duration = Duration::from_secs(600);

/// The most pages that are read: GitHub keeps 1,000 secrets at most.
const MOST_PAGES: usize = 20;

/// The names at a scope, with the times of their last change.
#[derive(Clone)]
struct Names {
    all: BTreeMap<String, String>,
    fetched: Instant,
    good_for: Duration,
}

/// What one destination knows of its scope.
#[derive(Default)]
pub(super) struct Inventory {
    names: tokio::sync::Mutex<Option<Names>>,
    key: tokio::sync::Mutex<Option<Arc<TargetKey>>>,
    seen: std::sync::Mutex<Option<Instant>>,
}

/// Whether a name is there.
pub(super) enum Standing {
    /// It is, changed then.
    Present(String),
    /// It is not; so many others are.
    Absent(usize),
    /// The credentials do not allow looking.
    CannotTell,
}

impl Inventory {
    /// Whether a name is there, by a list that may be some seconds old; one that is full is read anew.
    pub(super) async fn standing(&self, api: &Api, name: &str) -> Result<Standing, Refusal> {
        let mut slot = self.names.lock().await;
        let most = api.place.scope.most();
        let good = |names: &Names| names.fetched.elapsed() < names.good_for && names.all.len() < most;
        if !slot.as_ref().is_some_and(good) {
            *slot = None;
            match list(api).await {
                Ok(names) => *slot = Some(names),
                Err(Refusal::Denied(_)) => return Ok(Standing::CannotTell),
                Err(refusal) => return Err(refusal),
            }
            self.saw();
        }
        let Some(names) = slot.as_ref() else { return Ok(Standing::CannotTell) };
        Ok(match names.all.get(name) {
            Some(changed) => Standing::Present(changed.clone()),
            None => Standing::Absent(names.all.len()),
        })
    }

    /// Everything there is, as of a moment ago. `None` when the credentials do not allow looking.
    pub(super) async fn all(&self, api: &Api) -> Result<Option<BTreeMap<String, String>>, Refusal> {
        let mut slot = self.names.lock().await;
        if let Some(names) = slot.as_ref().filter(|names| names.fetched.elapsed() < FRESH_FOR) {
            return Ok(Some(names.all.clone()));
        }
        *slot = None;
        match list(api).await {
            Ok(names) => {
                self.saw();
                Ok(Some(slot.insert(names).all.clone()))
            }
            Err(Refusal::Denied(_)) => Ok(None),
            Err(refusal) => Err(refusal),
        }
    }

    /// A name was written.
    pub(super) async fn wrote(&self, name: &str) {
        self.saw();
        if let Some(names) = self.names.lock().await.as_mut() {
            names.all.entry(name.to_owned()).or_default();
        }
    }

    /// A name was removed.
    pub(super) async fn removed(&self, name: &str) {
        if let Some(names) = self.names.lock().await.as_mut() {
            names.all.remove(name);
        }
    }

    /// It is not known what is there.
    pub(super) async fn forget(&self) {
        *self.names.lock().await = None;
    }

    /// The scope's public key: one that is not too old and not the one that was just refused. Whoever comes
    /// first fetches; the others wait for it.
    pub(super) async fn key(
        &self,
        api: &Api,
        refused: Option<&TargetKey>,
    ) -> Result<Arc<TargetKey>, Refusal> {
        let mut slot = self.key.lock().await;
        let good = |key: &Arc<TargetKey>| {
            key.fetched.elapsed() < KEY_GOOD_FOR && !refused.is_some_and(|refused| refused.same(key))
        };
        if let Some(key) = slot.as_ref().filter(|key| good(key)) {
            return Ok(Arc::clone(key));
        }
        *slot = None;
        let key = Arc::new(fetch_key(api).await?);
        self.saw();
        Ok(Arc::clone(slot.insert(key)))
    }

    fn saw(&self) {
        *self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(Instant::now());
    }

    /// Makes sure that the scope itself is there, for a secret that is not: GitHub answers both with 404.
    pub(super) async fn confirm(&self, api: &Api) -> Result<(), Refusal> {
        let seen = *self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if seen.is_some_and(|seen| seen.elapsed() < SEEN_GOOD_FOR) {
            return Ok(());
        }
        let mut slot = self.key.lock().await;
        *slot = Some(Arc::new(fetch_key(api).await?));
        self.saw();
        Ok(())
    }
}

async fn list(api: &Api) -> Result<Names, Refusal> {
    #[derive(Deserialize)]
    struct Page {
        total_count: usize,
        secrets: Vec<Secret>,
    }
    #[derive(Deserialize)]
    struct Secret {
        name: String,
        #[serde(default)]
        updated_at: String,
    }
    let fetched = Instant::now();
    let mut all = BTreeMap::new();
    for page in 1..=MOST_PAGES {
        let answer = api.call(Method::GET, api.place.page(page)?, None).await?;
        let read: Page = json(&answer)?;
        let last = read.secrets.len() < 100;
        all.extend(
            read.secrets.into_iter().map(|secret| (secret.name.to_ascii_uppercase(), secret.updated_at)),
        );
        if last || all.len() >= read.total_count {
            let pages = u32::try_from(page).unwrap_or(1);
            return Ok(Names { all, fetched, good_for: GOOD_FOR * pages });
        }
    }
    Err(Fault::internal("list_endless", "GitHub's list of secrets does not end").into())
}

async fn fetch_key(api: &Api) -> Result<TargetKey, Refusal> {
    #[derive(Deserialize)]
    struct Body {
        key_id: String,
        key: String,
    }
    let answer = api.call(Method::GET, api.place.secrets(&["public-key"])?, None).await?;
    let body: Body = json(&answer)?;
    TargetKey::read(body.key_id, &body.key).ok_or_else(|| unreadable(&answer).into())
}

/// Reads an answer that holds no value.
pub(super) fn json<T: DeserializeOwned>(answer: &Answer) -> Result<T, Refusal> {
    serde_json::from_slice(answer.body.expose()).map_err(|_| unreadable(answer).into())
}

fn unreadable(answer: &Answer) -> Fault {
    let message = "GitHub answered with success, but not in the form it promises";
    Fault::internal("answer_unreadable", message).status(answer.status.as_u16())
}
