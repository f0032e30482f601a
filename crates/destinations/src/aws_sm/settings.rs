//! Bringing tags, key and replicas of a secret in line with the configuration.

use std::collections::BTreeSet;

use super::{
    adapter::{AwsSm, Job},
    api::Operation,
    faults::Refusal,
    tags::{self, Tag},
    wire::{
        Metadata, RemoveRegionsFromReplication, Replica, ReplicaStatus, ReplicateSecretToRegions,
        TagResource, UntagResource, UpdateSecret,
    },
};

/// What AWS's own key is called.
const AWS_KEY: &str = "alias/aws/secretsmanager";

impl AwsSm {
    pub(super) async fn bring_tags_in_line(&self, job: &Job<'_>, found: &Metadata) -> Result<(), Refusal> {
        let mut tags = tags::wanted(job.put.mark, job.put.tags);
        tags.retain(|tag| !found.tags().contains(tag));
        let there = |key: &&String| found.tags().iter().any(|tag| tag.key == **key);
        let gone: Vec<&String> = job.put.settings_changed.unwrap_or_default().iter().filter(there).collect();
        self.tag(&found.arn, &tags, &gone).await
    }

    pub(super) async fn tag(&self, id: &str, set: &[Tag], remove: &[&String]) -> Result<(), Refusal> {
        // First away, then on: fifty tags are the most at any moment.
        if !remove.is_empty() {
            self.done(Operation::Untag, &UntagResource { secret_id: id, tag_keys: remove }).await?;
        }
        if !set.is_empty() {
            self.done(Operation::Tag, &TagResource { secret_id: id, tags: set }).await?;
        }
        Ok(())
    }

    /// Key and replicas as they are configured now. A replica with another key is made anew: AWS has no
    /// way to change it.
    pub(super) async fn bring_settings_in_line(&self, found: &Metadata) -> Result<(), Refusal> {
        let has_key = found.kms_key_id.as_deref().filter(|key| !key.is_empty() && *key != AWS_KEY);
        let wants_key = self.plan.kms_key_id.as_deref();
        if has_key != wants_key {
            let update = UpdateSecret { secret_id: &found.arn, kms_key_id: wants_key.unwrap_or(AWS_KEY) };
            self.done(Operation::Update, &update).await?;
        }
        let right = |status: &&ReplicaStatus| {
            self.plan.replicas.get(&status.region).is_some_and(|wanted| {
                let has = status.kms_key_id.as_deref().filter(|key| *key != AWS_KEY);
                has.unwrap_or_default() == wanted
            })
        };
        let kept: BTreeSet<&String> = found.replicas().iter().filter(right).map(|s| &s.region).collect();
        let wrong: Vec<&String> =
            found.replicas().iter().map(|s| &s.region).filter(|region| !kept.contains(region)).collect();
        self.remove_replicas(&found.arn, &wrong).await?;
        let missing = self.replicas(|region| !kept.contains(region));
        if !missing.is_empty() {
            let add = ReplicateSecretToRegions { secret_id: &found.arn, add_replica_regions: missing };
            self.done(Operation::AddReplicas, &add).await?;
        }
        Ok(())
    }

    /// The configured replicas of these regions.
    pub(super) fn replicas(&self, wanted: impl Fn(&String) -> bool) -> Vec<Replica<'_>> {
        let configured = self.plan.replicas.iter().filter(|(region, _)| wanted(region));
        configured.map(|(region, key)| Replica { region, kms_key_id: key }).collect()
    }

    pub(super) async fn remove_replicas(&self, arn: &str, regions: &[&String]) -> Result<(), Refusal> {
        if regions.is_empty() {
            return Ok(());
        }
        let remove = RemoveRegionsFromReplication { secret_id: arn, remove_replica_regions: regions };
        self.done(Operation::RemoveReplicas, &remove).await
    }
}
