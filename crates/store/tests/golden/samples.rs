//! One record of every type, as the golden files hold them.

use std::{collections::BTreeMap, fmt::Debug, future::Future, pin::Pin};

use model::{
    AssociationId, Blame, DestinationId, DestinationKey, DestinationName, Granularity, MountAccessor,
    MountPath, RemoteName, SecretPath, Timestamp, Version,
};
use store::{
    Keys, Node, Record, RecordKey, Store,
    records::{
        Association, AuthMount, AuthTable, Cause, Destination, Entry, Failure, Floor, Folder, Grantor,
        IdentityKey, IdentityKeys, KvConfig, LedgerEntry, Links, Mount, MountConfig, MountTable, NameClaim,
        NodeBacklog, NodeId, Outbox, Outcome, Policy, PolicyIndex, Purge, Receipt, Rule, Rules, SecretMeta,
        SecretVersion, ServerNode, Shard, SharedCredential, SyncConfig, Token, TokenByAccessor, Told,
        VersionMeta,
    },
};

type Doing<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// A record and where it is.
pub(crate) struct Sample {
    put: Box<dyn Fn(&Store) -> Doing<'_>>,
    check: Box<dyn Fn(&Store) -> Doing<'_>>,
}

impl Sample {
    fn new<R: Record + Clone + PartialEq + Debug>(key: fn(&Keys) -> RecordKey<R>, record: R) -> Self {
        let same = record.clone();
        Self {
            put: Box::new(move |store| {
                let record = record.clone();
                Box::pin(async move {
                    let mut transaction = store.transaction();
                    transaction.put(&key(store.keys()), &record);
                    transaction.commit().await.unwrap();
                })
            }),
            check: Box::new(move |store| {
                let expected = same.clone();
                Box::pin(async move {
                    let found = store.get(&key(store.keys())).await.unwrap();
                    assert_eq!(found.map(|found| found.record), Some(expected));
                })
            }),
        }
    }

    pub(crate) async fn put(&self, store: &Store) {
        (self.put)(store).await;
    }

    pub(crate) async fn check(&self, store: &Store) {
        (self.check)(store).await;
    }

    /// All of them. The header is the store's own.
    pub(crate) fn all() -> Vec<Self> {
        let now = Timestamp::from_secs(1_700_000_000);
        let later = Timestamp::from_secs(1_700_086_400);
        let id = DestinationId::from_bytes([7; 16]);
        let source = Node([8; 16]);
        let grantor =
            || Grantor { policies: vec!["p".into()], entity: Some("e".into()), accessor: "a".into() };
        let failure = || Failure {
            blame: Blame::External,
            code: "throttled".into(),
            message: "later".into(),
            at: now,
            retry_at: Some(later),
            version: Version(3),
            generation: 4,
        };
        let config = || MountConfig {
            default_lease_ttl: 60,
            listing_visibility: "hidden".into(),
            ..MountConfig::default()
        };
        vec![
            Self::new(
                Keys::mounts,
                MountTable {
                    mounts: vec![Mount {
                        path: MountPath::parse("secret").unwrap(),
                        accessor: accessor(),
                        uuid: "u".into(),
                        mount_type: "kv".into(),
                        description: "d".into(),
                        options: BTreeMap::from([("version".into(), "2".into())]),
                        config: config(),
                        kv: KvConfig { max_versions: 5, cas_required: true, delete_version_after: 9 },
                    }],
                    erasing: vec![MountAccessor::parse("kv_00000002").unwrap()],
                },
            ),
            Self::new(Keys::sync_config, SyncConfig { disabled: true, queue_capacity: 7, activated: true }),
            Self::new(
                Keys::identity_keys,
                IdentityKeys { keys: vec![IdentityKey { id: "k".into(), created: now, der: vec![1, 2, 3] }] },
            ),
            Self::new(
                |keys| keys.secret_meta(Node([1; 16]), Node([8; 16])),
                SecretMeta {
                    name: "db".into(),
                    current: Version(2),
                    oldest: Version(1),
                    created: now,
                    updated: later,
                    max_versions: 3,
                    cas_required: true,
                    delete_version_after: 5,
                    custom_metadata: Some(BTreeMap::from([("owner".into(), "team".into())])),
                    versions: BTreeMap::from([
                        (Version(1), VersionMeta { created: now, deletion: Some(later), destroyed: true }),
                        (Version(2), VersionMeta { created: now, deletion: None, destroyed: false }),
                    ]),
                },
            ),
            Self::new(|keys| keys.folder(Node([2; 16]), Node([1; 16])), Folder { name: "app".into() }),
            Self::new(
                |keys| keys.secret_version(Node([8; 16]), Version(2)),
                SecretVersion { data: br#"{"password":"x"}"#.to_vec() },
            ),
            Self::new(
                |keys| keys.token(b"hvs.golden"),
                Token {
                    accessor: "acc".into(),
                    policies: vec!["default".into()],
                    path: "auth/token/create".into(),
                    meta: Some(BTreeMap::from([("a".into(), "b".into())])),
                    created: now,
                    expires: Some(later),
                    creation_ttl: 86_400,
                    renewable: true,
                    role: Some("r".into()),
                    bound_cidrs: vec!["10.0.0.0/8".into()],
                    renewed: Some(later),
                    ..Token::default()
                },
            ),
            Self::new(|keys| keys.token_by_accessor("acc"), TokenByAccessor { key: vec![0x20, 1] }),
            Self::new(
                |keys| keys.policy("ops"),
                Policy {
                    name: "ops".into(),
                    text: "path \"a\" { capabilities = [\"read\"] }".into(),
                    modified: now,
                },
            ),
            Self::new(Keys::policy_index, PolicyIndex { names: vec!["ops".into()] }),
            Self::new(
                |keys| keys.entry("auth", "roles", b"r"),
                Entry { name: "r".into(), body: b"{}".to_vec() },
            ),
            Self::new(
                Keys::auth_mounts,
                AuthTable {
                    mounts: vec![AuthMount {
                        path: MountPath::parse("approle").unwrap(),
                        accessor: MountAccessor::parse("auth_approle_1").unwrap_or_else(|_| accessor()),
                        uuid: "u".into(),
                        method: "approle".into(),
                        description: "d".into(),
                        config: config(),
                        token_type: "default-service".into(),
                    }],
                    erasing: vec![],
                },
            ),
            Self::new(
                |keys| keys.destination(&key()),
                Destination {
                    id,
                    key: key(),
                    created: now,
                    generation: 4,
                    config: vec![1, 2, 3],
                    purge: Some(Purge { initiated: now, error: Some("e".into()) }),
                    mass_delete_held: Some(now),
                    mass_delete_confirmed: Some(later),
                },
            ),
            Self::new(
                |keys| keys.association(DestinationId::from_bytes([7; 16]), Node([8; 16])),
                Association {
                    id: AssociationId::from_bytes([6; 16]),
                    destination: key(),
                    accessor: accessor(),
                    mount: "secret".into(),
                    path: SecretPath::parse("app/db").unwrap(),
                    created: now,
                    removing: true,
                    version: Version(2),
                    generation: 4,
                    attempts: 3,
                    turn: 9,
                    outcome: Outcome::Failed(failure()),
                    outcome_at: now,
                    entries: vec![LedgerEntry {
                        sub_key: Some("k".into()),
                        name: RemoteName::from_kind("n"),
                        granularity: Granularity::SecretKey,
                        fingerprint: Some([1; 32]),
                        write: Some([2; 32]),
                        version: Version(2),
                        settings: [3; 32],
                        tags: vec!["t".into()],
                        receipt: Receipt { handle: Some("h".into()), revision: Some("r".into()) },
                        unsure: true,
                        unverified: true,
                        changed: later,
                        failure: Some(failure()),
                    }],
                    single: true,
                    grantor: Some(grantor()),
                },
            ),
            Self::new(|keys| keys.links(Node([8; 16])), Links { destinations: vec![id] }),
            Self::new(
                |keys| keys.outbox(DestinationId::from_bytes([7; 16]), Node([8; 16])),
                Outbox { at: now, due: Some(later), cause: Cause::Sweep },
            ),
            Self::new(
                |keys| keys.name_claim(DestinationId::from_bytes([7; 16]), "n"),
                NameClaim { source, sub_key: Some("k".into()), name: RemoteName::from_kind("n") },
            ),
            Self::new(
                |keys| keys.shared_credential("github-apps", "ours"),
                SharedCredential {
                    sort: "github-apps".into(),
                    name: "ours".into(),
                    created: now,
                    config: vec![4],
                },
            ),
            Self::new(
                |keys| keys.rules(Node([9; 16])),
                Rules {
                    rules: vec![Rule {
                        destination: id,
                        key: key(),
                        accessor: accessor(),
                        mount: "secret".into(),
                        pattern: "app/**".into(),
                        exclude: vec!["app/x".into()],
                        created: now,
                        grantor: Some(grantor()),
                    }],
                    pending: vec![(accessor(), id)],
                },
            ),
            Self::new(Keys::floor, Floor { formats: 1 }),
            Self::new(
                |keys| keys.server_node(NodeId::from_bytes([3; 16])),
                ServerNode {
                    id: NodeId::from_bytes([3; 16]),
                    name: "one".into(),
                    api_addr: "http://one".into(),
                    version: "1".into(),
                    formats: 1,
                    started: now,
                    echo: later,
                    leaving: true,
                    pending: 5,
                    backlogs: vec![NodeBacklog {
                        destination: id,
                        pending: 5,
                        eta: Some(6),
                        bound_by: Some("quota".into()),
                    }],
                    told: 1,
                    recent: vec![Told { destination: id, source, urgency: 1, reopen: true }],
                },
            ),
            Self::new(
                |keys| keys.shard(4),
                Shard { owner: Some(NodeId::from_bytes([3; 16])), term: 5, settled: true },
            ),
        ]
    }
}

fn accessor() -> MountAccessor {
    MountAccessor::parse("kv_eb4acbae").unwrap()
}

fn key() -> DestinationKey {
    DestinationKey { kind: "aws-sm".into(), name: DestinationName::parse("prod").unwrap() }
}
