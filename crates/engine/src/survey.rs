//! How far destinations are behind, told from the store: what every process that shares it would tell.

use std::collections::HashMap;

use model::{DestinationId, DestinationKey, Timestamp};
use store::{
    Keys, StoreError,
    records::{Association, Outcome},
};

use crate::{Engine, worker::MASS_DELETE_HELD};

const PAGE: usize = 1000;

/// One destination's state as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    /// Type and name.
    pub destination: DestinationKey,
    /// Associations whose newest change is not delivered: waiting, under way, or to be tried again.
    pub undelivered: usize,
    /// When the oldest of these changes was made.
    pub oldest: Option<Timestamp>,
    /// All associations.
    pub associations: usize,
    /// Associations that failed when last looked at, those to be tried again among them.
    pub failed: usize,
    /// Removals that wait for a person's consent.
    pub held_removals: usize,
}

impl Engine {
    /// Looks at all destinations, their associations and what the outbox holds. Reads all of them, page by
    /// page, and lets others run in between.
    pub async fn survey(&self) -> Result<Vec<Survey>, StoreError> {
        let (store, keys) = (&self.0.store, self.0.store.keys());
        let mut found = HashMap::<DestinationId, Survey>::new();
        for (_, stored) in store.scan_all(&keys.destinations()).await? {
            let destination = stored.record.key.clone();
            let survey = Survey {
                destination,
                undelivered: 0,
                oldest: None,
                associations: 0,
                failed: 0,
                held_removals: 0,
            };
            found.insert(stored.record.id, survey);
        }
        let prefix = keys.associations();
        let mut after = None;
        loop {
            let page = store.scan(&prefix, after.as_ref(), PAGE).await?;
            for (key, stored) in &page {
                let Some((id, _)) = Keys::parts_of_association(key.as_bytes()) else { continue };
                let Some(survey) = found.get_mut(&id) else { continue };
                survey.associations += 1;
                survey.failed += usize::from(stored.record.has_failed());
                survey.held_removals += usize::from(is_held(&stored.record));
            }
            let last = page.len() < PAGE;
            after = page.into_iter().last().map(|(key, _)| key);
            if last {
                break;
            }
            tokio::task::yield_now().await;
        }
        let prefix = keys.outbox_all();
        let mut after = None;
        loop {
            let page = store.scan(&prefix, after.as_ref(), PAGE).await?;
            for (key, row) in &page {
                let Some((id, source)) = Keys::parts_of_association(key.as_bytes()) else { continue };
                let since = match row.record.due {
                    None => row.record.at,
                    // It was looked at. Either that failed, or what was delivered will expire then.
                    Some(due) => {
                        let association = store.get(&keys.association(id, source)).await?;
                        if association.is_some_and(|association| association.record.has_failed()) {
                            row.record.at
                        } else if due <= self.0.clock.now() {
                            due
                        } else {
                            continue;
                        }
                    }
                };
                if let Some(survey) = found.get_mut(&id) {
                    survey.undelivered += 1;
                    survey.oldest = Some(survey.oldest.map_or(since, |oldest| oldest.min(since)));
                }
            }
            let last = page.len() < PAGE;
            after = page.into_iter().last().map(|(key, _)| key);
            if last {
                break;
            }
            tokio::task::yield_now().await;
        }
        let mut surveys: Vec<Survey> = found.into_values().collect();
        surveys.sort_by(|a, b| {
            (&a.destination.kind, a.destination.name.as_str())
                .cmp(&(&b.destination.kind, b.destination.name.as_str()))
        });
        Ok(surveys)
    }
}

fn is_held(association: &Association) -> bool {
    matches!(&association.outcome, Outcome::Failed(failure) if failure.code == MASS_DELETE_HELD)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use destinations::Fault;

    use crate::testing::Bench;

    #[tokio::test(start_paused = true)]
    async fn a_change_counts_as_undelivered_from_when_it_was_made_until_it_arrives() {
        let bench = Bench::new().await;
        bench.configure("one", "{}").await;
        bench.write("app/db", Some(r#"{"a":"1"}"#)).await;
        bench.set("one", "app/db").await;
        let survey = async || bench.engine.survey().await.unwrap().remove(0);
        let calm = survey().await;
        assert_eq!((calm.undelivered, calm.oldest, calm.associations, calm.failed), (0, None, 1, 0));
        bench.script(std::iter::repeat_with(|| Some(Fault::external("unavailable", "no"))).take(50));
        let clock = &bench.engine.0.clock;
        let written = clock.now();
        bench.write("app/db", Some(r#"{"a":"2"}"#)).await;
        tokio::time::sleep(Duration::from_secs(40)).await;
        let behind = survey().await;
        assert_eq!((behind.undelivered, behind.failed), (1, 1));
        let oldest = behind.oldest.unwrap();
        assert!(oldest >= written && clock.now().since(oldest) >= Duration::from_secs(39), "{behind:?}");
    }
}
