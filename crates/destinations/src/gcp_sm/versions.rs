//! Versions: adding one so that it may be done again, telling which are ours, and retiring what is
//! replaced (destinations.md 3.2 and 3.3).
//!
//! Adding is not idempotent, and lists are behind by minutes or hours. But numbers only rise, and a
//! version that is asked for by its number is always the current truth: what came after the version we
//! made last is found by asking for the numbers after it.

use std::{fmt, ops::ControlFlow};

use super::{
    adapter::{GcpSm, Job},
    api::{self, Operation},
    faults::Refusal,
    labels,
    plan::Retire,
    wire::{Accessed, AddVersion, Etag, PayloadToSend, Secret, Version, VersionPage},
};
use crate::Fault;

/// So many numbers are asked for after the last that is known. More lost writes than that in a row, to
/// one secret, without one that succeeded, are not expected.
const MOST_PROBES: u64 = 20;

/// So many pages of versions are read, of a thousand each.
const MOST_PAGES: usize = 10;

/// A version of ours: what a receipt remembers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Revision {
    pub(super) number: u64,
    /// Of the version. It proves that a version of this number is the one we made.
    pub(super) etag: Option<String>,
}

impl Revision {
    pub(super) fn of(version: &Version) -> Option<Self> {
        Some(Self { number: version.number()?, etag: version.etag.clone() })
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let (number, etag) = match text.split_once(' ') {
            Some((number, etag)) => (number, Some(etag.to_owned())),
            None => (text, None),
        };
        Some(Self { number: number.parse().ok()?, etag })
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.number)?;
        self.etag.as_ref().map_or(Ok(()), |etag| write!(f, " {etag}"))
    }
}

/// Whose secret a version was added to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Ours,
    /// One that was made under this name after ours was deleted.
    Anothers,
}

impl GcpSm {
    /// Adds the value as a version, and makes sure that it arrived whole.
    pub(super) async fn add(&self, job: &Job<'_>) -> Result<Version, Refusal> {
        let payload = PayloadToSend { data: &job.data, data_crc32c: job.crc.to_string() };
        let path = format!("secrets/{}:addVersion", job.name);
        let version: Version = self.send(Operation::AddVersion, &path, &[], &AddVersion { payload }).await?;
        let Some(number) = version.number() else {
            return Err(Refusal::Fault(api::unreadable(Operation::AddVersion)));
        };
        if version.client_specified_payload_checksum {
            return Ok(version);
        }
        // The checksum got lost on the way: so may have other things. By number the truth is told.
        match self.holds(job, number).await.map_err(after_adding)? {
            Some(true) => Ok(version),
            Some(false) => {
                self.end(job.name, number, version.etag.as_deref(), Retire::Destroy)
                    .await
                    .map_err(after_adding)?;
                let message = "the value arrived damaged at Google and was destroyed there";
                Err(Fault::external("checksum_mismatch", message).into())
            }
            None => {
                let message = "Google did not confirm the value's checksum, and the credentials lack \
                               secretmanager.versions.access to compare";
                Err(Fault::external("checksum_unconfirmed", message).ambiguous().into())
            }
        }
    }

    /// Retires the version that a new one replaced. When the secret was not looked at before, this shows
    /// whose it is: destroying by number and etag works in the secret we made only.
    pub(super) async fn succeed(
        &self,
        job: &Job<'_>,
        made: &Version,
        last: &Revision,
        mut looked: bool,
    ) -> Result<Standing, Fault> {
        if made.number().is_none_or(|number| number <= last.number) {
            // Numbers have begun anew.
            let ours = looked || self.is_ours(job, false).await.map_err(after_adding_fault)?;
            return Ok(if ours { Standing::Ours } else { Standing::Anothers });
        }
        let mut etag = last.etag.clone();
        for _ in 0..2 {
            if etag.is_none() && !looked {
                if !self.is_ours(job, true).await.map_err(after_adding_fault)? {
                    return Ok(Standing::Anothers);
                }
                looked = true;
            }
            match self.end(job.name, last.number, etag.as_deref(), self.plan.retire).await {
                Ok(()) => return Ok(Standing::Ours),
                Err(Refusal::NotFound) => {
                    let ours = looked || self.is_ours(job, false).await.map_err(after_adding_fault)?;
                    return Ok(if ours { Standing::Ours } else { Standing::Anothers });
                }
                Err(Refusal::Precondition(_)) => {
                    if !looked && !self.is_ours(job, true).await.map_err(after_adding_fault)? {
                        return Ok(Standing::Anothers);
                    }
                    looked = true;
                    match self.version(job.name, last.number).await {
                        Ok(there) if self.is_retired(&there) => return Ok(Standing::Ours),
                        Ok(there) => etag = there.etag,
                        Err(Refusal::NotFound) => return Ok(Standing::Ours),
                        Err(refusal) => return Err(after_adding_fault(refusal)),
                    }
                }
                Err(refusal) => return Err(after_adding_fault(refusal)),
            }
        }
        let busy = Fault::external("provider_busy", "the version before is being changed by someone else");
        Err(after_adding_fault(busy.into()))
    }

    /// Destroys what was written into another's secret.
    pub(super) async fn give_back(&self, job: &Job<'_>, made: &Version) -> Result<(), Fault> {
        let Some(number) = made.number() else { return Err(api::unreadable(Operation::AddVersion)) };
        match self.end(job.name, number, made.etag.as_deref(), Retire::Destroy).await {
            Ok(()) | Err(Refusal::NotFound) => Ok(()),
            Err(refusal) => Err(after_adding_fault(refusal)),
        }
    }

    /// Whether the secret bears our mark. `doubtful`: what to believe where looking is not allowed.
    async fn is_ours(&self, job: &Job<'_>, doubtful: bool) -> Result<bool, Refusal> {
        match self.get(job.name).await {
            Ok(found) => Ok(job.owns(&found.present())),
            Err(Refusal::NotFound) => Ok(false),
            Err(Refusal::Denied(_)) => Ok(doubtful),
            Err(refusal) => Err(refusal),
        }
    }

    /// Writes to a secret that is ours, of whose versions we may not know everything: what was lost or
    /// left half done before is found and put right.
    pub(super) async fn reconcile(
        &self,
        job: &Job<'_>,
        found: &Secret,
        last: Option<&Revision>,
    ) -> Result<Version, Fault> {
        let unknown = match last {
            Some(last) if job.put.last.unsure => self.after(job.name, last.number).await,
            Some(_) => Ok(Vec::new()),
            None => self.all(job.name, found.first_version()).await,
        };
        let mut unknown = unknown.map_err(Refusal::fault)?;
        let done = match unknown.last().filter(|newest| newest.is_enabled()) {
            Some(newest) => self.is_this_write(job, found, newest).await.map_err(Refusal::fault)?,
            None => false,
        };
        let target = match unknown.pop_if(|_| done) {
            Some(target) => target,
            None => self.add(job).await.map_err(Refusal::fault)?,
        };
        if self.plan.keep > 1 {
            self.keep_newest(job, found, &target).await.map_err(after_adding_fault)?;
            return Ok(target);
        }
        for version in &unknown {
            self.retire_unknown(job, found, version).await.map_err(after_adding_fault)?;
        }
        if let Some(last) = last {
            self.succeed(job, &target, last, true).await?;
        }
        Ok(target)
    }

    /// Whether a version holds just this write.
    async fn is_this_write(&self, job: &Job<'_>, found: &Secret, version: &Version) -> Result<bool, Refusal> {
        let Some(number) = version.number() else { return Ok(false) };
        if number == found.first_version() && labels::first_write(&found.annotations) == job.put.mark.write {
            return Ok(true);
        }
        // Where reading is not allowed another version is made: twice is better than never.
        Ok(self.holds(job, number).await? == Some(true))
    }

    /// Retires a version of which nobody told us that we made it. What is proven ours is treated as what
    /// we know; anything else is disabled, which can be undone.
    async fn retire_unknown(&self, job: &Job<'_>, found: &Secret, version: &Version) -> Result<(), Refusal> {
        let Some(number) = version.number() else { return Ok(()) };
        let proven = number == found.first_version() && labels::first_write(&found.annotations).is_some();
        let how = if proven || self.holds(job, number).await? == Some(true) {
            self.plan.retire
        } else if version.is_enabled() {
            tracing::warn!(
                "a version that may be of a write whose answer was lost is disabled, not destroyed"
            );
            Retire::Disable
        } else {
            return Ok(());
        };
        match self.end(job.name, number, version.etag.as_deref(), how).await {
            // It was changed since it was seen: by someone, who knows why.
            Ok(()) | Err(Refusal::NotFound | Refusal::Precondition(_)) => Ok(()),
            // What is not proven ours is better left than a reason to write the value once more.
            Err(Refusal::Denied(fault)) if how == Retire::Disable => {
                tracing::warn!(%fault, "a version that may be of a lost write stays as it is");
                Ok(())
            }
            Err(refusal) => Err(refusal),
        }
    }

    /// Retires all but the newest versions since ours begin. A list that is behind leaves some for the
    /// next time.
    async fn keep_newest(&self, job: &Job<'_>, found: &Secret, target: &Version) -> Result<(), Refusal> {
        let newest = target.number().unwrap_or(u64::MAX);
        let mut older = self.all(job.name, found.first_version()).await?;
        older.retain(|version| version.number().is_some_and(|number| number < newest));
        older.reverse();
        for version in older.iter().skip(self.plan.keep - 1).filter(|version| !self.is_retired(version)) {
            let number = version.number().unwrap_or_default();
            match self.end(job.name, number, version.etag.as_deref(), self.plan.retire).await {
                Ok(()) | Err(Refusal::NotFound | Refusal::Precondition(_)) => {}
                Err(refusal) => return Err(refusal),
            }
        }
        Ok(())
    }

    fn is_retired(&self, version: &Version) -> bool {
        match self.plan.retire {
            Retire::Destroy => !version.is_live(),
            Retire::Disable => !version.is_enabled(),
        }
    }

    async fn end(&self, name: &str, number: u64, etag: Option<&str>, how: Retire) -> Result<(), Refusal> {
        let (operation, verb) = match how {
            Retire::Destroy => (Operation::Destroy, "destroy"),
            Retire::Disable => (Operation::Disable, "disable"),
        };
        let path = format!("secrets/{name}/versions/{number}:{verb}");
        self.send::<Version>(operation, &path, &[], &Etag { etag }).await.map(|_| ())
    }

    async fn version(&self, name: &str, number: u64) -> Result<Version, Refusal> {
        self.ask(Operation::GetVersion, &format!("secrets/{name}/versions/{number}"), &[]).await
    }

    /// Whether a version holds the job's value. `None` where reading is not allowed.
    async fn holds(&self, job: &Job<'_>, number: u64) -> Result<Option<bool>, Refusal> {
        let accessed = match self.access(job.name, number).await {
            Ok(accessed) => accessed,
            Err(Refusal::Denied(_)) => return Ok(None),
            // Disabled, destroyed, or under a key that cannot be used: not to be read by anyone.
            Err(Refusal::Precondition(_) | Refusal::NotFound) => return Ok(Some(false)),
            Err(refusal) => return Err(refusal),
        };
        // Opened to be compared.
        Ok(Some(accessed.value()?.expose() == job.put.value.expose()))
    }

    /// The live versions after a number, in order, each asked for by its number.
    async fn after(&self, name: &str, number: u64) -> Result<Vec<Version>, Refusal> {
        let mut found = Vec::new();
        for number in number + 1..=number.saturating_add(MOST_PROBES) {
            match self.version(name, number).await {
                Ok(version) if version.is_live() => found.push(version),
                Ok(_) => {}
                Err(Refusal::NotFound) => break,
                Err(refusal) => return Err(refusal),
            }
        }
        Ok(found)
    }

    /// The live versions from a number on, in order: those a list shows, and those after them.
    async fn all(&self, name: &str, from: u64) -> Result<Vec<Version>, Refusal> {
        let mut found = Vec::new();
        let mut newest = from.saturating_sub(1);
        self.each_version(name, "", |version| {
            if let Some(number) = version.number().filter(|number| *number >= from) {
                newest = newest.max(number);
                if version.is_live() {
                    found.push(version);
                }
            }
            ControlFlow::Continue(())
        })
        .await?;
        found.extend(self.after(name, newest).await?);
        found.sort_unstable_by_key(Version::number);
        Ok(found)
    }

    /// The number of the newest version, whoever made it; 0 when there is none.
    pub(super) async fn newest_number(&self, name: &str) -> Result<u64, Refusal> {
        let mut newest = 0;
        self.each_version(name, "", |version| {
            newest = newest.max(version.number().unwrap_or_default());
            ControlFlow::Continue(())
        })
        .await?;
        let after = self.after(name, newest).await?;
        Ok(after.last().and_then(Version::number).unwrap_or(newest))
    }

    /// The newest version that can be read, as far as a list shows it.
    pub(super) async fn newest_enabled(&self, name: &str) -> Result<Option<Version>, Refusal> {
        let mut newest: Option<Version> = None;
        self.each_version(name, "state:ENABLED", |version| {
            if version.is_enabled() && newest.as_ref().is_none_or(|seen| seen.number() < version.number()) {
                newest = Some(version);
            }
            // Newest first.
            ControlFlow::Break(())
        })
        .await?;
        Ok(newest)
    }

    /// The number of the newest version that can be read, also where a list does not show it yet.
    pub(super) async fn newest_readable(&self, name: &str) -> Result<Option<u64>, Refusal> {
        let shown = self.newest_enabled(name).await?.as_ref().and_then(Version::number);
        let after = self.after(name, shown.unwrap_or(0)).await?;
        Ok(after.iter().rev().find(|version| version.is_enabled()).and_then(Version::number).or(shown))
    }

    /// What a version holds.
    pub(super) async fn access(&self, name: &str, number: u64) -> Result<Accessed, Refusal> {
        self.ask(Operation::Access, &format!("secrets/{name}/versions/{number}:access"), &[]).await
    }

    async fn each_version(
        &self,
        name: &str,
        filter: &str,
        mut each: impl FnMut(Version) -> ControlFlow<()> + Send,
    ) -> Result<(), Refusal> {
        let path = format!("secrets/{name}/versions");
        let mut next = String::new();
        for _ in 0..MOST_PAGES {
            let mut query = vec![("pageSize", "1000")];
            if !filter.is_empty() {
                query.push(("filter", filter));
            }
            if !next.is_empty() {
                query.push(("pageToken", next.as_str()));
            }
            let page: VersionPage = self.ask(Operation::ListVersions, &path, &query).await?;
            for version in page.versions {
                if each(version).is_break() {
                    return Ok(());
                }
            }
            next = page.next_page_token;
            if next.is_empty() {
                break;
            }
        }
        Ok(())
    }
}

/// A failure after the value was delivered: what is left is looked for before the next write.
fn after_adding(refusal: Refusal) -> Refusal {
    Refusal::Fault(after_adding_fault(refusal))
}

fn after_adding_fault(refusal: Refusal) -> Fault {
    let mut fault = refusal.fault().ambiguous();
    fault.message = format!("the new value is there, but not everything after it: {}", fault.message).into();
    fault
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_revision_is_read_back(number in 1_u64.., etag in proptest::option::of("[ -~]{1,20}")) {
            let revision = Revision { number, etag };
            prop_assert_eq!(Revision::parse(&revision.to_string()), Some(revision));
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,20}") {
            let _ = Revision::parse(&text);
        }
    }
}
