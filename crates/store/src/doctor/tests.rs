use std::sync::Arc;

use model::{
    AssociationId, Clock as _, DestinationKey, DestinationName, Granularity, ManualClock, MountAccessor,
    MountPath, RemoteName, SecretPath, SeededEntropy, Timestamp,
};

use super::*;
use crate::{
    Batch, Memory, RecordKey, Store, Write,
    records::{Cause, LedgerEntry, Mount, Outcome, Receipt, VersionMeta},
};

fn clock() -> ManualClock {
    ManualClock::new(Timestamp::from_secs(1_800_000_000))
}

fn root() -> RootKey {
    RootKey::random(&SeededEntropy::new(1))
}

fn entropy() -> Arc<SeededEntropy> {
    Arc::new(SeededEntropy::new(5))
}

/// A store with one secret, `secret/app/db`, delivered to `file/one`.
struct Bench {
    store: Store,
    at: DestinationId,
    source: Node,
    parent: Node,
}

fn accessor() -> MountAccessor {
    MountAccessor::parse("kv_00000001").unwrap()
}

impl Bench {
    async fn new() -> Self {
        let store = Store::init(Arc::new(Memory::new()), &root(), &clock(), entropy()).await.unwrap();
        let keys = store.keys();
        let now = clock().now();
        let key = DestinationKey { kind: "file".into(), name: DestinationName::parse("one").unwrap() };
        let (at, mount) = (DestinationId::from_bytes([7; 16]), keys.mount(&accessor()));
        let path = SecretPath::parse("app/db").unwrap();
        let (parent, source) = keys.secret_in_parent(mount, &path);
        let mut transaction = store.transaction();
        let table = MountTable {
            mounts: vec![Mount {
                path: MountPath::parse("secret").unwrap(),
                accessor: accessor(),
                uuid: String::new(),
                mount_type: "kv".into(),
                description: String::new(),
                options: BTreeMap::new(),
                config: crate::records::MountConfig::default(),
                kv: crate::records::KvConfig::default(),
            }],
            erasing: vec![],
        };
        transaction.put(&keys.mounts(), &table);
        transaction.put(&keys.folder(mount, parent), &Folder { name: "app".into() });
        let version = VersionMeta { created: now, deletion: None, destroyed: false };
        let meta = SecretMeta {
            name: "db".into(),
            current: Version(2),
            oldest: Version(0),
            created: now,
            updated: now,
            max_versions: 0,
            cas_required: false,
            delete_version_after: 0,
            custom_metadata: None,
            versions: BTreeMap::from([
                (Version(1), VersionMeta { destroyed: true, ..version }),
                (Version(2), version),
            ]),
        };
        transaction.put(&keys.secret_meta(parent, source), &meta);
        transaction.put(&keys.secret_version(source, Version(2)), &SecretVersion { data: b"{}".to_vec() });
        let destination = Destination {
            id: at,
            key: key.clone(),
            created: now,
            generation: 1,
            config: vec![],
            purge: None,
            mass_delete_held: None,
            mass_delete_confirmed: None,
        };
        transaction.put(&keys.destination(&key), &destination);
        let name = RemoteName::from_kind("app/db");
        let association = Association {
            id: AssociationId::from_bytes([3; 16]),
            destination: key,
            accessor: accessor(),
            mount: "secret".into(),
            path,
            created: now,
            removing: false,
            version: Version(2),
            generation: 1,
            attempts: 0,
            turn: 1,
            outcome: Outcome::Synced,
            outcome_at: now,
            entries: vec![LedgerEntry {
                sub_key: None,
                name: name.clone(),
                granularity: Granularity::SecretPath,
                fingerprint: None,
                write: None,
                version: Version(2),
                settings: [0; 32],
                tags: vec![],
                receipt: Receipt::default(),
                unsure: false,
                unverified: false,
                changed: now,
                failure: None,
            }],
            single: true,
            grantor: None,
        };
        transaction.put(&keys.association(at, source), &association);
        transaction.put(&keys.links(source), &Links { destinations: vec![at] });
        transaction.put(&keys.outbox(at, source), &Outbox { at: now, due: None, cause: Cause::Set });
        transaction.put(&keys.name_claim(at, "app/db"), &NameClaim { source, sub_key: None, name });
        transaction.commit().await.unwrap();
        Self { store, at, source, parent }
    }

    async fn report(&self) -> Report {
        examine(self.store.backend(), Some(&root()), entropy()).await.unwrap()
    }

    /// The findings, shortly.
    async fn told(&self) -> Vec<String> {
        let told = |f: &Finding| format!("{} {} [{}]", f.fault, f.record, f.name.as_deref().unwrap_or("-"));
        self.report().await.findings.iter().map(told).collect()
    }

    async fn write(&self, writes: Vec<Write>) {
        self.store.backend().commit(Batch { checks: vec![], writes }).await.unwrap();
    }

    async fn remove<R>(&self, key: &RecordKey<R>) {
        self.write(vec![Write::Delete(key.as_bytes().to_vec())]).await;
    }

    /// Flips a bit of a record.
    async fn flip<R>(&self, key: &RecordKey<R>) {
        let mut value = self.store.backend().get(key.as_bytes()).await.unwrap().unwrap().value.to_vec();
        let at = value.len() / 2;
        value[at] ^= 4;
        self.write(vec![Write::Put(key.as_bytes().to_vec(), value)]).await;
    }
}

#[tokio::test]
async fn a_sound_store_has_no_findings() {
    let report = Bench::new().await.report().await;
    assert_eq!(report.findings, []);
    assert!(report.opened);
    assert_eq!(report.records.values().sum::<u64>(), 10);
    assert_eq!(report.records["secret version"], 1);
}

#[tokio::test]
async fn each_damaged_record_is_told_once_and_by_name_where_that_can_be_told() {
    macro_rules! flipped {
        ($($record:literal, $name:literal, |$b:ident| $key:expr;)*) => {$(
            let $b = Bench::new().await;
            $b.flip(&$key).await;
            assert_eq!($b.told().await, [format!("damaged {} [{}]", $record, $name)]);
        )*};
    }
    flipped! {
        "secret version", "secret/app/db (version 2)", |b| b.store.keys().secret_version(b.source, Version(2));
        "secret", "file/one: secret/app/db", |b| b.store.keys().secret_meta(b.parent, b.source);
        "association", "file/one: secret/app/db", |b| b.store.keys().association(b.at, b.source);
        "outbox row", "file/one: secret/app/db", |b| b.store.keys().outbox(b.at, b.source);
        "name claim", "file/one", |b| b.store.keys().name_claim(b.at, "app/db");
        "links", "secret/app/db", |b| b.store.keys().links(b.source);
        "mounts", "-", |b| b.store.keys().mounts();
        "header", "-", |b| b.store.keys().header();
    }
}

#[tokio::test]
async fn what_hangs_on_a_damaged_folder_or_destination_is_told_as_well() {
    let b = Bench::new().await;
    b.flip(&b.store.keys().folder(b.store.keys().mount(&accessor()), b.parent)).await;
    assert_eq!(b.told().await, ["damaged folder [in secret/]", "dangling secret [db]"]);
    let b = Bench::new().await;
    let key = DestinationKey { kind: "file".into(), name: DestinationName::parse("one").unwrap() };
    b.flip(&b.store.keys().destination(&key)).await;
    assert_eq!(b.told().await, ["damaged destination [-]"]);
}

#[tokio::test]
async fn what_names_something_that_is_not_there_is_dangling() {
    let b = Bench::new().await;
    b.remove(&b.store.keys().secret_version(b.source, Version(2))).await;
    assert_eq!(b.told().await, ["missing secret version [secret/app/db (version 2)]"]);
    let b = Bench::new().await;
    b.remove(&b.store.keys().association(b.at, b.source)).await;
    let expected = [
        "dangling links [file/one]",
        "dangling name claim [app/db]",
        "dangling outbox row [file/one: secret/app/db]",
    ];
    let mut told = b.told().await;
    told.sort();
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(
        told[0].starts_with("dangling links")
            && told[1] == expected[1]
            && told[2].starts_with("dangling outbox")
    );
    let b = Bench::new().await;
    b.remove(&b.store.keys().links(b.source)).await;
    assert_eq!(b.told().await, ["dangling association [file/one: secret/app/db]"]);
    let b = Bench::new().await;
    b.remove(&b.store.keys().name_claim(b.at, "app/db")).await;
    assert_eq!(b.told().await, ["missing name claim [file/one: secret/app/db]"]);
    let b = Bench::new().await;
    b.remove(&b.store.keys().secret_meta(b.parent, b.source)).await;
    assert_eq!(b.told().await, ["dangling secret version [-]"]);
    let b = Bench::new().await;
    b.remove(&b.store.keys().header()).await;
    assert_eq!(b.told().await, ["missing header [-]"]);
}

#[tokio::test]
async fn a_moved_record_and_one_of_no_known_type_are_told() {
    let b = Bench::new().await;
    let value =
        b.store.backend().get(b.store.keys().links(b.source).as_bytes()).await.unwrap().unwrap().value;
    let elsewhere = b.store.keys().links(b.parent);
    b.write(vec![Write::Put(elsewhere.as_bytes().to_vec(), value.to_vec())]).await;
    b.write(vec![Write::Put(vec![0xee, 1], vec![1])]).await;
    assert_eq!(b.told().await, ["damaged links [secret/app]", "foreign record [-]"]);
}

#[tokio::test]
async fn without_the_root_key_the_structure_is_looked_at() {
    let b = Bench::new().await;
    b.flip(&b.store.keys().links(b.source)).await;
    b.write(vec![Write::Put(vec![0x32, 1, 2], vec![1; 100])]).await;
    b.write(vec![Write::Put(b.store.keys().links(b.parent).as_bytes().to_vec(), vec![1; 10])]).await;
    let report = examine(b.store.backend(), None, entropy()).await.unwrap();
    assert!(!report.opened);
    let told: Vec<_> = report.findings.iter().map(|f| (f.fault, f.what.as_str())).collect();
    let expected = [
        (Fault::Damaged, "its key is not of the length that such keys have"),
        (Fault::Damaged, "it is too short to be sealed"),
    ];
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(expected.iter().all(|one| told.contains(one)));
}

#[tokio::test]
async fn another_stores_key_and_a_broken_key_ring_are_told_apart() {
    let b = Bench::new().await;
    let other = RootKey::random(&SeededEntropy::new(2));
    let refused = examine(b.store.backend(), Some(&other), entropy()).await.unwrap_err();
    assert!(refused.to_string().contains("another store's"));
    let mut ring = b.store.backend().get(KEYRING_KEY).await.unwrap().unwrap().value.to_vec();
    *ring.last_mut().unwrap() ^= 1;
    b.write(vec![Write::Put(KEYRING_KEY.to_vec(), ring)]).await;
    let report = b.report().await;
    assert_eq!((report.opened, report.findings.len()), (false, 1));
    assert_eq!(report.findings[0].record, "key ring");
    b.write(vec![Write::Delete(KEYRING_KEY.to_vec())]).await;
    assert_eq!(b.report().await.findings[0].fault, Fault::Missing);
}

#[tokio::test]
async fn no_finding_tells_a_value() {
    let b = Bench::new().await;
    let canary = "canary-5f2c";
    let key = b.store.keys().secret_version(b.source, Version(2));
    let mut transaction = b.store.transaction();
    transaction.put(&key, &SecretVersion { data: canary.as_bytes().to_vec() });
    transaction.commit().await.unwrap();
    b.flip(&key).await;
    let report = b.report().await;
    assert!(
        !serde_json::to_string(&report).unwrap().contains(canary) && !format!("{report:?}").contains(canary)
    );
}
