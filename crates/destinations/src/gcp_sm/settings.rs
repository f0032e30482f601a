//! Bringing labels and keys of a secret in line with the configuration.

use super::{
    adapter::{GcpSm, Job},
    api::Operation,
    faults::Refusal,
    labels,
    wire::{PatchSecret, Secret},
};
use crate::Fault;

impl GcpSm {
    /// The mark and the custom tags as they are to be; other labels stay. `first_version`: the secret is
    /// taken over, and ours are the versions from this number on.
    pub(super) async fn bring_labels_in_line(
        &self,
        job: &Job<'_>,
        mut found: Secret,
        first_version: Option<u64>,
    ) -> Result<Secret, Refusal> {
        for attempt in 0..2 {
            let mut wanted = found.labels.clone();
            for gone in job.put.settings_changed.unwrap_or_default() {
                wanted.remove(&labels::label_key(gone));
            }
            wanted.extend(labels::wanted(job.put.mark, job.put.tags));
            let mut annotations = found.annotations.clone();
            if let Some(first) = first_version {
                annotations.extend(labels::beginning(job.put.mark, first));
            }
            let (same_labels, same_annotations) = (wanted == found.labels, annotations == found.annotations);
            let mask = match (same_labels, same_annotations) {
                (true, true) => return Ok(found),
                (false, true) => "labels",
                (true, false) => "annotations",
                (false, false) => "labels,annotations",
            };
            let patch = PatchSecret {
                etag: found.etag.as_deref(),
                labels: (!same_labels).then_some(&wanted),
                annotations: (!same_annotations).then_some(&annotations),
                replication: None,
            };
            match self.patch(job.name, mask, &patch).await {
                Err(Refusal::Precondition(_)) if attempt == 0 => {
                    // Someone changed it meanwhile: is it still ours to change?
                    found = self.get(job.name).await?;
                    if first_version.is_none() && !job.owns(&found.present()) {
                        break;
                    }
                }
                other => return other,
            }
        }
        Err(Fault::external("provider_busy", "the secret is being changed by someone else").into())
    }

    /// Keys as they are configured now. They are good for versions to come. Where a secret is kept is
    /// decided when it is made, and never again.
    pub(super) async fn bring_keys_in_line(&self, job: &Job<'_>, found: &Secret) -> Result<(), Fault> {
        let wanted = &self.plan.replication;
        let mut etag = found.etag.clone();
        let mut has = found.replication.clone();
        for attempt in 0..2 {
            let Some(replication) = has.map(super::wire::Replication::sorted) else { return Ok(()) };
            if replication == *wanted {
                return Ok(());
            }
            if replication.locations() != wanted.locations() {
                return Err(Fault::client(
                    "replication_fixed",
                    "Google decides where a secret is kept when it is made, and this one was made with other \
                     locations; set the old ones again, or remove the association and set it anew",
                ));
            }
            let patch = PatchSecret {
                etag: etag.as_deref(),
                labels: None,
                annotations: None,
                replication: Some(wanted),
            };
            match self.patch(job.name, "replication", &patch).await {
                Ok(_) => return Ok(()),
                Err(Refusal::Precondition(fault)) if attempt == 0 => {
                    let fresh = self.get(job.name).await.map_err(Refusal::fault)?;
                    if fresh.etag == etag {
                        // Not the etag: the key.
                        return Err(Fault { code: "kms_failed", ..fault });
                    }
                    (etag, has) = (fresh.etag, fresh.replication);
                }
                Err(Refusal::Precondition(fault)) => return Err(Fault { code: "kms_failed", ..fault }),
                Err(refusal) => return Err(refusal.fault()),
            }
        }
        Ok(())
    }

    async fn patch(&self, name: &str, mask: &str, patch: &PatchSecret<'_>) -> Result<Secret, Refusal> {
        self.send(Operation::Patch, &format!("secrets/{name}"), &[("updateMask", mask)], patch).await
    }
}
