//! Reading a KV secret as one consistent whole.
//!
//! A secret is two records: its metadata and, per version, its value. They are written together but
//! read one after the other, so a reader may find a value that is newer than the metadata it began
//! with, or none at all because it was destroyed in between. Both are noticed here and read again.

use model::{MountAccessor, SecretBytes, SecretPath, Timestamp, Version};

use crate::{
    Cached, Node, Record, Store, StoreError, Stored,
    records::{MountTable, SecretMeta, SecretVersion},
};

/// Reads again at most this often before saying that the secret changes faster than it can be read.
const ATTEMPTS: usize = 16;

/// What a source comes to once its newest version is deleted or destroyed (decisions 12a).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LatestDeleted {
    /// It is absent.
    Absent,
    /// The highest version that still lives stands in for it.
    Previous,
}

/// What a source holds for its destinations.
#[derive(Debug)]
pub enum SourceState {
    /// A live value.
    Present {
        /// Its version.
        version: Version,
        /// The `data` object as canonical JSON text.
        data: SecretBytes,
        /// When this version deletes itself (`delete_version_after`), if it does.
        next_expiry: Option<Timestamp>,
    },
    /// Proven to hold nothing: never written, deleted, expired or destroyed, in a mount that exists.
    Absent,
    /// No mount has this accessor: nothing is proven about the secret (decisions 8 and 9).
    MountGone,
}

/// What the secret at `path` holds at `now`. `mounts` keeps the table of mounts opened between calls.
///
/// # Errors
/// [`StoreError::Conflict`] when the secret keeps changing while it is read.
pub async fn read_current(
    store: &Store,
    mounts: &Cached<MountTable>,
    accessor: &MountAccessor,
    path: &SecretPath,
    latest_deleted: LatestDeleted,
    now: Timestamp,
) -> Result<SourceState, StoreError> {
    let state = read_data(store, accessor, path, latest_deleted, now).await?;
    // Only after the data: a mount leaves the table before its data is erased, so a mount that is
    // still there now was there, unerased, when the data was read.
    let table = store.get_cached(&store.keys().mounts(), mounts).await?;
    let mounted = table.is_some_and(|table| table.record.mounts.iter().any(|m| m.accessor == *accessor));
    Ok(if mounted { state } else { SourceState::MountGone })
}

async fn read_data(
    store: &Store,
    accessor: &MountAccessor,
    path: &SecretPath,
    latest_deleted: LatestDeleted,
    now: Timestamp,
) -> Result<SourceState, StoreError> {
    let (parent, secret) = store.keys().secret_in_parent(store.keys().mount(accessor), path);
    let choose = |meta: &SecretMeta| deliverable(meta, latest_deleted, now);
    let Some(Secret { meta, value: Some((version, mut value)) }) =
        read_secret(store, parent, secret, choose).await?
    else {
        return Ok(SourceState::Absent);
    };
    let next_expiry = meta.record.versions.get(&version).and_then(|version| version.deletion);
    let data = SecretBytes::new(std::mem::take(&mut value.data));
    Ok(SourceState::Present { version, data, next_expiry })
}

/// The version to deliver.
fn deliverable(meta: &SecretMeta, latest_deleted: LatestDeleted, now: Timestamp) -> Option<Version> {
    let mut candidates = meta.versions.iter().rev();
    let chosen = match latest_deleted {
        LatestDeleted::Absent => candidates.next().filter(|(_, version)| version.live(now)),
        LatestDeleted::Previous => candidates.find(|(_, version)| version.live(now)),
    };
    chosen.map(|(number, _)| *number)
}

/// A secret's metadata and one of its values, of one moment.
#[derive(Debug)]
pub struct Secret {
    /// The metadata.
    pub meta: Stored<SecretMeta>,
    /// The version that was asked for and its value.
    pub value: Option<(Version, SecretVersion)>,
}

/// Reads a secret's metadata and the value of the version that `choose` picks from it, if any. It
/// must pick one that is not destroyed. `None`: there is no such secret.
///
/// # Errors
/// [`StoreError::Conflict`] when the secret keeps changing while it is read,
/// [`StoreError::Corrupt`] when the value is missing although nothing changed.
pub async fn read_secret(
    store: &Store,
    parent: Node,
    secret: Node,
    choose: impl Fn(&SecretMeta) -> Option<Version>,
) -> Result<Option<Secret>, StoreError> {
    let key = store.keys().secret_meta(parent, secret);
    let mut missing_at = None;
    for _ in 0..ATTEMPTS {
        let Some(meta) = store.get(&key).await? else { return Ok(None) };
        let Some(version) = choose(&meta.record) else { return Ok(Some(Secret { meta, value: None })) };
        match store.get(&store.keys().secret_version(secret, version)).await? {
            Some(value) if value.revision <= meta.revision => {
                return Ok(Some(Secret { meta, value: Some((version, value.record)) }));
            }
            // Younger than the metadata: the secret was removed and made anew in between.
            Some(_) => {}
            None if missing_at == Some(meta.revision) => {
                return Err(StoreError::Corrupt { tag: SecretVersion::TAG, what: "a version has no value" });
            }
            None => missing_at = Some(meta.revision),
        }
    }
    Err(StoreError::Conflict)
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        sync::{
            Arc,
            atomic::{AtomicBool, Ordering},
        },
        time::Duration,
    };

    use model::{ManualClock, SeededEntropy};

    use super::*;
    use crate::{
        Memory, RootKey,
        records::{KvConfig, Mount, MountConfig, MountTable, VersionMeta},
    };

    const NOW: Timestamp = Timestamp::from_secs(1_000);

    async fn store() -> Store {
        let entropy = Arc::new(SeededEntropy::new(1));
        let root = RootKey::random(entropy.as_ref());
        Store::init(Arc::new(Memory::new()), &root, &ManualClock::new(NOW), entropy).await.unwrap()
    }

    fn accessor() -> MountAccessor {
        MountAccessor::parse("kv_00000001").unwrap()
    }

    fn path() -> SecretPath {
        SecretPath::parse("app/db").unwrap()
    }

    fn meta(versions: &[(u64, Option<Timestamp>, bool)]) -> SecretMeta {
        SecretMeta {
            name: "db".into(),
            current: Version(versions.last().map_or(0, |version| version.0)),
            oldest: Version(0),
            created: NOW,
            updated: NOW,
            max_versions: 0,
            cas_required: false,
            delete_version_after: 0,
            custom_metadata: None,
            versions: versions
                .iter()
                .map(|(n, deletion, destroyed)| {
                    (Version(*n), VersionMeta { created: NOW, deletion: *deletion, destroyed: *destroyed })
                })
                .collect::<BTreeMap<_, _>>(),
        }
    }

    async fn mount(store: &Store, mounted: bool) {
        let mount = Mount {
            path: model::MountPath::parse("secret").unwrap(),
            accessor: accessor(),
            uuid: String::new(),
            mount_type: "kv".into(),
            description: String::new(),
            options: BTreeMap::new(),
            config: MountConfig::default(),
            kv: KvConfig::default(),
        };
        let mounts = if mounted { vec![mount] } else { vec![] };
        let mut transaction = store.transaction();
        transaction.put(&store.keys().mounts(), &MountTable { mounts, erasing: vec![] });
        transaction.commit().await.unwrap();
    }

    /// Writes the metadata, and for every version that is not destroyed the value `{"v":n}`.
    async fn write(store: &Store, meta: &SecretMeta) {
        let (parent, secret) = store.keys().secret_in_parent(store.keys().mount(&accessor()), &path());
        let mut transaction = store.transaction();
        transaction.put(&store.keys().secret_meta(parent, secret), meta);
        for (version, _) in meta.versions.iter().filter(|(_, version)| !version.destroyed) {
            let value = SecretVersion { data: format!("{{\"v\":{version}}}").into_bytes() };
            transaction.put(&store.keys().secret_version(secret, *version), &value);
        }
        transaction.commit().await.unwrap();
    }

    async fn current(store: &Store, latest_deleted: LatestDeleted) -> String {
        match read_current(store, &Cached::default(), &accessor(), &path(), latest_deleted, NOW)
            .await
            .unwrap()
        {
            SourceState::Present { version, data, next_expiry } => {
                let until = next_expiry.map(|at| format!(" until {at}")).unwrap_or_default();
                format!("{version}: {}{until}", data.expose_text().unwrap())
            }
            SourceState::Absent => "absent".into(),
            SourceState::MountGone => "mount gone".into(),
        }
    }

    #[tokio::test]
    async fn a_source_is_present_absent_or_without_a_mount() {
        let store = store().await;
        assert_eq!(current(&store, LatestDeleted::Absent).await, "mount gone");
        mount(&store, true).await;
        assert_eq!(current(&store, LatestDeleted::Absent).await, "absent");
        write(&store, &meta(&[(1, None, false), (2, None, false)])).await;
        assert_eq!(current(&store, LatestDeleted::Absent).await, r#"2: {"v":2}"#);
        mount(&store, false).await;
        assert_eq!(current(&store, LatestDeleted::Absent).await, "mount gone");
    }

    #[tokio::test]
    async fn a_deleted_expired_or_destroyed_newest_version_is_absent_or_the_previous() {
        let past = Some(NOW);
        let future = Some(NOW.plus(Duration::from_mins(1)));
        for (versions, absent, previous) in [
            (vec![(1, None, false), (2, past, false)], "absent", r#"1: {"v":1}"#),
            (vec![(1, None, false), (2, None, true)], "absent", r#"1: {"v":1}"#),
            (vec![(1, past, false), (2, past, false)], "absent", "absent"),
            (
                vec![(1, None, false), (2, future, false)],
                r#"2: {"v":2} until 1970-01-01T00:17:40Z"#,
                r#"2: {"v":2} until 1970-01-01T00:17:40Z"#,
            ),
            (vec![], "absent", "absent"),
        ] {
            let store = store().await;
            mount(&store, true).await;
            write(&store, &meta(&versions)).await;
            assert_eq!(current(&store, LatestDeleted::Absent).await, absent);
            assert_eq!(current(&store, LatestDeleted::Previous).await, previous);
        }
    }

    #[tokio::test]
    async fn a_missing_value_is_damage_and_not_absence() {
        let store = store().await;
        mount(&store, true).await;
        write(&store, &meta(&[(1, None, false)])).await;
        let (_, secret) = store.keys().secret_in_parent(store.keys().mount(&accessor()), &path());
        let mut transaction = store.transaction();
        transaction.delete(&store.keys().secret_version(secret, Version(1)));
        transaction.commit().await.unwrap();
        let fault =
            read_current(&store, &Cached::default(), &accessor(), &path(), LatestDeleted::Absent, NOW)
                .await
                .unwrap_err();
        assert!(matches!(fault, StoreError::Corrupt { .. }));
    }

    /// Whatever a reader sees while a secret is rewritten, removed and made anew belongs together.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn metadata_and_value_are_always_of_one_moment() {
        let store = store().await;
        mount(&store, true).await;
        let (parent, secret) = store.keys().secret_in_parent(store.keys().mount(&accessor()), &path());
        let enough = Arc::new(AtomicBool::new(false));
        let writer = tokio::spawn({
            let (store, enough) = (store.clone(), Arc::clone(&enough));
            async move {
                for round in 0i64.. {
                    if enough.load(Ordering::Relaxed) {
                        break;
                    }
                    let mut transaction = store.transaction();
                    if round % 3 == 2 {
                        transaction.delete(&store.keys().secret_meta(parent, secret));
                        transaction.delete(&store.keys().secret_version(secret, Version(1)));
                    } else {
                        // Both records tell the round.
                        let mut meta = meta(&[(1, None, false)]);
                        meta.delete_version_after = round;
                        transaction.put(&store.keys().secret_meta(parent, secret), &meta);
                        let value = SecretVersion { data: round.to_string().into_bytes() };
                        transaction.put(&store.keys().secret_version(secret, Version(1)), &value);
                    }
                    transaction.commit().await.unwrap();
                    tokio::task::yield_now().await;
                }
            }
        });
        let mut seen = 0;
        while seen < 500 && !writer.is_finished() {
            match read_secret(&store, parent, secret, |_| Some(Version(1))).await {
                Ok(Some(Secret { meta, value: Some((_, value)) })) => {
                    let told = std::str::from_utf8(&value.data).unwrap().parse::<i64>().unwrap();
                    assert_eq!(told, meta.record.delete_version_after);
                    seen += 1;
                }
                Ok(_) | Err(StoreError::Conflict) => {}
                Err(other) => panic!("{other}"),
            }
        }
        enough.store(true, Ordering::Relaxed);
        writer.await.unwrap();
        assert_eq!(seen, 500);
    }
}
