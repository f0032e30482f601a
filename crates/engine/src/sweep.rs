//! The slow look at everything. It should find nothing to do; when it does, an outbox row was lost,
//! a timer missed, or a settings change was cut short, and the work is asked for anew.

use std::sync::Arc;

use store::{
    Keys, StoreError, Stored,
    records::{Association, Cause, Destination, Outbox, Outcome},
};

use crate::{engine::Inner, lanes::Urgency, options::Options, source::SourceVersion};

/// Sweeps at every interval until the engine stops.
pub(crate) async fn run(inner: &Arc<Inner>) {
    loop {
        tokio::select! {
            () = inner.stopped().cancelled() => return,
            () = inner.rights.notified() => {
                if let Err(error) = inner.reauthorise().await {
                    tracing::error!(%error, "rights could not be compared with associations; the sweep does it");
                }
                continue;
            }
            () = tokio::time::sleep(inner.settings.sweep_interval) => {}
        }
        match sweep(inner).await {
            Ok(0) => {}
            Ok(found) => tracing::warn!(found, "the sweep found sync work that nobody was looking after"),
            Err(error) => tracing::error!(%error, "the sweep could not read the store; it is repeated"),
        }
    }
}

/// One sweep. Tells how many associations it put in line.
pub(crate) async fn sweep(inner: &Arc<Inner>) -> Result<usize, StoreError> {
    // Rows that fell out of memory first.
    inner.resume(false).await?;
    inner.resume_unfinished().await?;
    let mut found = 0;
    for (_, destination) in inner.store.scan_all_sound(&inner.store.keys().destinations()).await?.0 {
        if !inner.cluster.owns(destination.record.id) {
            continue;
        }
        found += sweep_destination(inner, &destination.record).await?;
    }
    Ok(found)
}

async fn sweep_destination(inner: &Arc<Inner>, destination: &Destination) -> Result<usize, StoreError> {
    const PAGE: usize = 256;
    let Some(opened) =
        inner.registry.get(&inner.store, destination.id, &destination.key, &inner.accounts).await?
    else {
        return Ok(0);
    };
    let prefix = inner.store.keys().associations_of(destination.id);
    let mut after = None;
    let mut found = 0;
    loop {
        let page = inner.store.scan_sound(&prefix, after.as_ref(), PAGE).await?;
        for (key, association) in &page.records {
            let Some((id, source)) = Keys::parts_of_association(key.as_bytes()) else { continue };
            if !wants_a_look(inner, destination, &opened.options, association).await {
                continue;
            }
            let row_key = inner.store.keys().outbox(id, source);
            let mut transaction = inner.store.transaction();
            let row = Outbox { at: inner.clock.now(), due: None, cause: Cause::Sweep };
            transaction.expect_absent(&row_key).put(&row_key, &row);
            match transaction.commit().await {
                Ok(_) => {
                    found += 1;
                    inner.offer(id, source, Urgency::Backfill);
                }
                // Someone is looking after it already.
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error),
            }
        }
        after = page.next;
        if after.is_none() {
            return Ok(found);
        }
        tokio::task::yield_now().await;
    }
}

/// Whether what is recorded differs from what should be, for no reason that waits for a person.
async fn wants_a_look(
    inner: &Inner,
    destination: &Destination,
    options: &Options,
    stored: &Stored<Association>,
) -> bool {
    let association = &stored.record;
    if association.removing {
        return association
            .entries
            .iter()
            .all(|entry| entry.failure.as_ref().is_none_or(|failure| failure.retry_at.is_some()));
    }
    if inner.permission_differs(association).await {
        return true;
    }
    if association.generation < destination.generation || association.outcome == Outcome::New {
        return true;
    }
    let held =
        |generation: u64, retry_at: Option<_>| retry_at.is_none() && generation >= destination.generation;
    if let Outcome::Failed(failure) | Outcome::Unknown(failure) = &association.outcome
        && held(failure.generation, failure.retry_at)
    {
        return false;
    }
    let source =
        inner.source.version(&association.accessor, &association.path, options.previous_on_delete).await;
    match source {
        SourceVersion::Unknown => false,
        SourceVersion::MountGone => !matches!(association.outcome, Outcome::Unknown(_)),
        SourceVersion::Absent => association.entries.iter().any(|entry| {
            entry.fingerprint.is_some()
                && entry.failure.as_ref().is_none_or(|failure| !held(failure.generation, failure.retry_at))
        }),
        SourceVersion::Live(version) => {
            association.version != version
                || association.entries.iter().any(|entry| {
                    entry.failure.as_ref().is_some_and(|failure| {
                        !(held(failure.generation, failure.retry_at) && failure.version == version)
                    })
                })
        }
    }
}
