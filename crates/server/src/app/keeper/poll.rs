//! One mount: asking Keeper, and writing down what has changed.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use destinations::net::Policy;
use keeper::{Around, Client, Folders, Found, Record, Scope, TokioWait, Vault};
use model::SecretPath;
use store::{Revision, records::Mount};
use tokio::time::Instant;

use super::{
    Report, paths,
    reach::{self, WayOut},
    settings,
};
use crate::app::{App, AppError, kv::mirror};

/// After so many failures in a row the next poll is so many intervals away, at most.
const MOST_INTERVALS: u32 = 10;

const UID: &str = "keeper_uid";
const REVISION: &str = "keeper_revision";
const TITLE: &str = "keeper_title";

/// What this process knows of a mount.
#[derive(Default)]
pub(super) struct Poll {
    /// Made of these settings, to connect under this policy.
    client: Option<((Revision, Policy), Client)>,
    due: Option<Instant>,
    /// By UID; read from the store before the first poll.
    known: Option<HashMap<String, Known>>,
    folders: Folders,
    failures: u32,
}

/// A record that has a secret.
struct Known {
    path: SecretPath,
    revision: i64,
    live: bool,
}

impl Poll {
    /// Polls if it is time, or if the settings have changed, and says when it is time again.
    pub(super) async fn when_due(&mut self, app: &App, mount: &Mount) -> Duration {
        let interval = settings::interval(mount);
        match self.renew_client(app, mount).await {
            Ok(true) => self.due = None,
            Ok(false) => {}
            Err(error) => {
                self.failed(app, mount, &error.to_string());
                return interval;
            }
        }
        let now = Instant::now();
        // A shorter interval than before holds at once.
        if let Some(due) = self.due.filter(|due| *due > now && *due - now <= interval * MOST_INTERVALS) {
            return due - now;
        }
        let wait = match self.poll(app, mount).await {
            Ok(report) => {
                self.failures = 0;
                app.keepers.set_report(&mount.accessor, report);
                interval
            }
            Err(error) => {
                self.failed(app, mount, &error);
                interval * self.failures.clamp(1, MOST_INTERVALS)
            }
        };
        self.due = Some(Instant::now() + wait);
        wait
    }

    /// Another server polls and writes: what is known here is read anew when it is this one's turn again.
    pub(super) fn is_anothers(&mut self) {
        (self.known, self.due) = (None, None);
    }

    fn failed(&mut self, app: &App, mount: &Mount, error: &str) {
        self.failures = self.failures.saturating_add(1);
        let report = Report { error: Some(error.to_owned()), ..app.keepers.report(&mount.accessor) };
        tracing::warn!(mount = %mount.path, error, failures = self.failures, "Keeper was not polled; what is there stays");
        app.keepers.set_report(&mount.accessor, report);
    }

    /// Makes a client of the settings as they are now; whether they are new.
    async fn renew_client(&mut self, app: &App, mount: &Mount) -> Result<bool, AppError> {
        let Some((settings, revision)) = settings::read(app, &mount.accessor).await? else {
            return Err(AppError::invalid(
                "the mount has no Keeper configuration: tune it with options.ksm_config",
            ));
        };
        let made_of = (revision, reach::policy(mount));
        if self.client.as_ref().is_some_and(|(known, _)| *known == made_of) {
            return Ok(false);
        }
        let net = app.net.clone().ok_or_else(|| {
            AppError::invalid("this server has no way out over which Keeper could be asked")
        })?;
        let around = Around {
            entropy: app.entropy.clone(),
            clock: app.clock.clone(),
            wait: Arc::new(TokioWait),
            guard: Some(Arc::new(WayOut { net, policy: made_of.1.clone() })),
        };
        let client = Client::new(settings.config()?, app.keepers.options.clone(), around)
            .map_err(|error| AppError::invalid(error.to_string()))?;
        self.client = Some((made_of, client));
        Ok(true)
    }

    async fn poll(&mut self, app: &App, mount: &Mount) -> Result<Report, String> {
        let words = |error: AppError| error.to_string();
        if self.known.is_none() {
            self.known = Some(read_known(app, mount).await.map_err(words)?);
        }
        let (Some((_, client)), Some(known)) = (&self.client, &mut self.known) else {
            return Ok(Report::default());
        };
        let vault = client.fetch(Scope::All).await.map_err(|error| error.to_string())?;
        if !vault.is_complete() {
            return Err("Keeper answered without listing anything, which proves nothing".to_owned());
        }
        let new_folder = |record: &Record| {
            let fresh = !known.contains_key(record.uid());
            fresh && record.places().iter().any(|place| self.folders.get(place.folder()).is_none())
        };
        if vault.records().iter().any(new_folder) {
            self.folders = client.folders().await.map_err(|error| error.to_string())?;
        }
        write_changes(app, mount, &vault, &self.folders, known).await.map_err(words)?;
        end_what_is_gone(app, mount, &vault, known).await.map_err(words)?;
        Ok(Report {
            polled: Some(app.clock.now()),
            error: None,
            records: vault.records().len(),
            unreadable: vault.unreadable().len(),
        })
    }
}

/// What the mount holds, by the UIDs its secrets bear.
async fn read_known(app: &App, mount: &Mount) -> Result<HashMap<String, Known>, AppError> {
    let mut known = HashMap::new();
    for (path, meta) in mirror::all(app, mount).await? {
        let Some(facts) = &meta.custom_metadata else { continue };
        let Some(uid) = facts.get(UID) else { continue };
        let now = app.clock.now();
        let live = meta.versions.get(&meta.current).is_some_and(|version| version.live(now));
        let revision = facts.get(REVISION).and_then(|text| text.parse().ok()).unwrap_or(-1);
        known.insert(uid.clone(), Known { path, revision, live });
    }
    Ok(known)
}

async fn write_changes(
    app: &App,
    mount: &Mount,
    vault: &Vault,
    folders: &Folders,
    known: &mut HashMap<String, Known>,
) -> Result<(), AppError> {
    let mut taken: HashSet<SecretPath> = known.values().map(|known| known.path.clone()).collect();
    for record in vault.records() {
        let path = match known.get(record.uid()) {
            Some(known) if known.live && known.revision == record.revision() => continue,
            Some(known) => known.path.clone(),
            None => match paths::path_of(record, folders, |path| taken.contains(path)) {
                Some(path) => path,
                None => continue,
            },
        };
        let mut facts = BTreeMap::from([
            (UID.to_owned(), record.uid().to_owned()),
            (REVISION.to_owned(), record.revision().to_string()),
        ]);
        // As long as metadata may be.
        if let Some(title) = record.title().filter(|title| (1..=512).contains(&title.len())) {
            facts.insert(TITLE.to_owned(), title.to_owned());
        }
        match mirror::put(app, mount, &path, &settings::data_of(record), facts).await {
            Ok(()) => {}
            // One record that is too large does not keep the others from being written.
            Err(AppError::TooLarge(why)) => {
                tracing::warn!(mount = %mount.path, record = record.uid(), why, "a record is not taken over");
                continue;
            }
            Err(error) => return Err(error),
        }
        taken.insert(path.clone());
        known.insert(record.uid().to_owned(), Known { path, revision: record.revision(), live: true });
    }
    Ok(())
}

/// Only what a full answer does not have is gone; what does not decrypt is there.
async fn end_what_is_gone(
    app: &App,
    mount: &Mount,
    vault: &Vault,
    known: &mut HashMap<String, Known>,
) -> Result<(), AppError> {
    for (uid, known) in known.iter_mut().filter(|(_, known)| known.live) {
        if matches!(vault.find(uid), Found::NotShared) {
            mirror::end(app, mount, &known.path).await?;
            known.live = false;
        }
    }
    Ok(())
}
