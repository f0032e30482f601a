use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
};

use model::{
    AssociationId, Blame, DestinationId, DestinationKey, DestinationName, Entropy, Granularity,
    MountAccessor, MountPath, RemoteName, SecretPath, SeededEntropy, StoreId, Timestamp, Version,
};
use proptest::prelude::*;

use super::*;
use crate::{Node, plain::Plain};

/// Changing a number here breaks every store in the field.
#[test]
fn tags_are_pinned_and_unique() {
    let tags = [
        (StoreHeader::TAG, 0x01),
        (MountTable::TAG, 0x02),
        (SyncConfig::TAG, 0x03),
        (IdentityKeys::TAG, 0x04),
        (SecretMeta::TAG, 0x10),
        (Folder::TAG, 0x11),
        (SecretVersion::TAG, 0x12),
        (Token::TAG, 0x20),
        (TokenByAccessor::TAG, 0x21),
        (Policy::TAG, 0x22),
        (PolicyIndex::TAG, 0x23),
        (Entry::TAG, 0x24),
        (AuthTable::TAG, 0x25),
        (Destination::TAG, 0x30),
        (Association::TAG, 0x31),
        (Links::TAG, 0x32),
        (Outbox::TAG, 0x33),
        (NameClaim::TAG, 0x34),
        (SharedCredential::TAG, 0x38),
        (Rules::TAG, 0x35),
        (Floor::TAG, 0x05),
        (Restored::TAG, 0x06),
        (ServerNode::TAG, 0x36),
        (Shard::TAG, 0x37),
    ];
    for (tag, pinned) in tags {
        assert_eq!(tag, pinned);
    }
    assert_eq!(tags.iter().map(|(tag, _)| tag).collect::<BTreeSet<_>>().len(), tags.len());
}

fn fields<R: Record>(record: &R) -> Vec<u8> {
    Plain::behind(0, 0).with_fields(record).unwrap().into_sealed()
}

/// A record is read back as it was, and only if it is all there and nothing else is.
fn reads_back<R: Record + PartialEq + Debug>(record: &R) {
    let bytes = fields(record);
    assert_eq!(R::decode(R::FORMAT, &bytes).as_ref(), Ok(record));
    for length in (0..bytes.len()).rev().step_by(1 + bytes.len() / 30) {
        assert!(R::decode(R::FORMAT, &bytes[..length]).is_err(), "cut to {length} of {}", bytes.len());
    }
    assert!(R::decode(R::FORMAT, &[&bytes[..], &[0]].concat()).is_err(), "something follows");
    assert!(R::decode(R::FORMAT + 1, &bytes).is_err(), "a newer format");
    assert!(R::decode(0, &bytes).is_err(), "no format");
}

/// Records of all shapes from a seed.
struct Any(SeededEntropy);

impl Any {
    fn number(&self) -> u64 {
        let mut bytes = [0; 9];
        self.0.fill(&mut bytes);
        let [shift, rest @ ..] = bytes;
        // Of all magnitudes.
        u64::from_be_bytes(rest) >> (shift % 64)
    }

    fn flag(&self) -> bool {
        self.number() % 2 == 1
    }

    fn below(&self, limit: u64) -> usize {
        usize::try_from(self.number() % limit).unwrap()
    }

    fn array<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.fill(&mut bytes);
        bytes
    }

    fn option<T>(&self, some: impl Fn(&Self) -> T) -> Option<T> {
        self.flag().then(|| some(self))
    }

    fn list<T>(&self, item: impl Fn(&Self) -> T) -> Vec<T> {
        (0..self.below(5)).map(|_| item(self)).collect()
    }

    fn text(&self) -> String {
        (0..self.below(9)).map(|_| ['a', 'Z', '/', '"', '\0', 'é', '環', '🔑'][self.below(8)]).collect()
    }

    fn map(&self) -> BTreeMap<String, String> {
        self.list(|any| (any.text(), any.text())).into_iter().collect()
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.below(700)];
        self.0.fill(&mut bytes);
        bytes
    }

    fn time(&self) -> Timestamp {
        Timestamp::from_nanos(if self.flag() { -1 } else { 1 } * i64::try_from(self.number() >> 1).unwrap())
    }

    fn version(&self) -> Version {
        Version(self.number())
    }

    fn accessor(&self) -> MountAccessor {
        MountAccessor::random("kv", &self.0)
    }

    fn destination_key(&self) -> DestinationKey {
        let name = DestinationName::parse(&format!("n{}", self.number())).unwrap();
        DestinationKey { kind: self.text(), name }
    }

    fn failure(&self) -> Failure {
        Failure {
            blame: [Blame::Internal, Blame::Client, Blame::External][self.below(3)],
            code: self.text(),
            message: self.text(),
            at: self.time(),
            retry_at: self.option(Self::time),
            version: self.version(),
            generation: self.number(),
        }
    }

    fn entry(&self) -> LedgerEntry {
        LedgerEntry {
            sub_key: self.option(Self::text),
            name: RemoteName::from_kind(self.text()),
            granularity: [Granularity::SecretPath, Granularity::SecretKey][self.below(2)],
            fingerprint: self.option(Self::array),
            write: self.option(Self::array),
            version: self.version(),
            settings: self.array(),
            tags: self.list(Self::text),
            receipt: Receipt { handle: self.option(Self::text), revision: self.option(Self::text) },
            unsure: self.flag(),
            unverified: self.flag(),
            changed: self.time(),
            failure: self.option(Self::failure),
        }
    }

    fn store_header(&self) -> StoreHeader {
        StoreHeader {
            id: StoreId::random(&self.0),
            epoch: u32::try_from(self.number() >> 32).unwrap(),
            created: self.time(),
            cluster_id: self.text(),
        }
    }

    fn mount(&self) -> Mount {
        Mount {
            path: MountPath::parse(&format!("m{}", self.number())).unwrap(),
            accessor: self.accessor(),
            uuid: self.text(),
            mount_type: self.text(),
            description: self.text(),
            options: self.map(),
            config: MountConfig {
                default_lease_ttl: self.number(),
                max_lease_ttl: self.number(),
                force_no_cache: self.flag(),
                listing_visibility: self.text(),
                audit_non_hmac_request_keys: self.list(Self::text),
                audit_non_hmac_response_keys: self.list(Self::text),
                passthrough_request_headers: self.list(Self::text),
                allowed_response_headers: self.list(Self::text),
            },
            kv: KvConfig {
                max_versions: self.number(),
                cas_required: self.flag(),
                delete_version_after: self.time().as_nanos(),
            },
        }
    }

    fn secret_meta(&self) -> SecretMeta {
        let version = |any: &Self| VersionMeta {
            created: any.time(),
            deletion: any.option(Self::time),
            destroyed: any.flag(),
        };
        SecretMeta {
            name: self.text(),
            current: self.version(),
            oldest: self.version(),
            created: self.time(),
            updated: self.time(),
            max_versions: self.number(),
            cas_required: self.flag(),
            delete_version_after: self.time().as_nanos(),
            custom_metadata: self.option(Self::map),
            versions: self.list(|any| (any.version(), version(any))).into_iter().collect(),
        }
    }

    fn token(&self) -> Token {
        Token {
            accessor: self.text(),
            policies: self.list(Self::text),
            path: self.text(),
            meta: self.option(Self::map),
            display_name: self.text(),
            num_uses: self.number(),
            orphan: self.flag(),
            parent: self.option(Self::text),
            created: self.time(),
            creation_ttl: self.number(),
            expires: self.option(Self::time),
            explicit_max_ttl: self.number(),
            renewable: self.flag(),
            period: self.number(),
            role: self.option(Self::text),
            batch: self.flag(),
            entity: self.option(Self::text),
            auth_mount: self.option(Self::text),
            bound_cidrs: self.list(Self::text),
            renewed: self.option(Self::time),
        }
    }

    fn destination(&self) -> Destination {
        Destination {
            id: DestinationId::random(&self.0),
            key: self.destination_key(),
            created: self.time(),
            generation: self.number(),
            config: self.bytes(),
            purge: self.option(|any| Purge { initiated: any.time(), error: any.option(Self::text) }),
            mass_delete_held: self.option(Self::time),
            mass_delete_confirmed: self.option(Self::time),
        }
    }

    fn association(&self) -> Association {
        let outcome = match self.below(5) {
            0 => Outcome::New,
            1 => Outcome::Synced,
            2 => Outcome::Unsynced,
            3 => Outcome::Unknown(self.failure()),
            _ => Outcome::Failed(self.failure()),
        };
        Association {
            id: AssociationId::random(&self.0),
            destination: self.destination_key(),
            accessor: self.accessor(),
            mount: self.text(),
            path: SecretPath::parse(&format!("p/{}", self.number())).unwrap(),
            created: self.time(),
            removing: self.flag(),
            version: self.version(),
            generation: self.number(),
            attempts: u32::try_from(self.number() >> 32).unwrap(),
            turn: self.number(),
            outcome,
            outcome_at: self.time(),
            entries: self.list(Self::entry),
            single: self.flag(),
            grantor: self.option(Self::grantor),
        }
    }

    fn grantor(&self) -> Grantor {
        Grantor { policies: self.list(Self::text), entity: self.option(Self::text), accessor: self.text() }
    }

    fn rules(&self) -> Rules {
        let rule = |any: &Self| Rule {
            destination: DestinationId::random(&any.0),
            key: any.destination_key(),
            accessor: any.accessor(),
            mount: any.text(),
            pattern: any.text(),
            exclude: any.list(Self::text),
            created: any.time(),
            grantor: any.option(Self::grantor),
        };
        Rules {
            rules: self.list(rule),
            pending: self.list(|any| (any.accessor(), DestinationId::random(&any.0))),
        }
    }

    fn outbox(&self) -> Outbox {
        let causes = [Cause::Source, Cause::Set, Cause::Remove, Cause::Settings, Cause::Sweep];
        Outbox { at: self.time(), due: self.option(Self::time), cause: causes[self.below(5)] }
    }

    fn shared_credential(&self) -> SharedCredential {
        SharedCredential { sort: self.text(), name: self.text(), created: self.time(), config: self.bytes() }
    }

    fn name_claim(&self) -> NameClaim {
        NameClaim {
            source: Node(self.array()),
            sub_key: self.option(Self::text),
            name: RemoteName::from_kind(self.text()),
        }
    }
}

proptest! {
    #[test]
    fn every_record_reads_back(seed in any::<u64>()) {
        let any = Any(SeededEntropy::new(seed));
        reads_back(&any.store_header());
        reads_back(&MountTable { mounts: any.list(Any::mount), erasing: any.list(Any::accessor) });
        reads_back(&SyncConfig { disabled: any.flag(), queue_capacity: any.number(), activated: any.flag() });
        reads_back(&any.secret_meta());
        reads_back(&Folder { name: any.text() });
        reads_back(&SecretVersion { data: any.bytes() });
        reads_back(&any.token());
        reads_back(&Policy { name: any.text(), text: any.text(), modified: any.time() });
        reads_back(&PolicyIndex { names: any.list(Any::text) });
        reads_back(&Entry { name: any.text(), body: any.bytes() });
        reads_back(&TokenByAccessor { key: any.bytes() });
        reads_back(&any.destination());
        reads_back(&any.association());
        reads_back(&Links { destinations: any.list(|any| DestinationId::random(&any.0)) });
        reads_back(&any.outbox());
        reads_back(&any.name_claim());
        reads_back(&any.shared_credential());
        reads_back(&any.rules());
    }

    #[test]
    fn no_bytes_make_a_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), format in 0..3_u8) {
        decode_all(format, &bytes);
    }

    /// Nearer to real records than random bytes are.
    #[test]
    fn no_changed_byte_makes_a_decoder_panic(seed in any::<u64>(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = fields(&Any(SeededEntropy::new(seed)).association());
        let at = at.index(bytes.len());
        bytes[at] = byte;
        decode_all(1, &bytes);
    }
}

fn decode_all(format: u8, bytes: &[u8]) {
    let _ = StoreHeader::decode(format, bytes);
    let _ = MountTable::decode(format, bytes);
    let _ = SyncConfig::decode(format, bytes);
    let _ = SecretMeta::decode(format, bytes);
    let _ = Folder::decode(format, bytes);
    let _ = SecretVersion::decode(format, bytes);
    let _ = Token::decode(format, bytes);
    let _ = TokenByAccessor::decode(format, bytes);
    let _ = Destination::decode(format, bytes);
    let _ = Association::decode(format, bytes);
    let _ = Links::decode(format, bytes);
    let _ = Outbox::decode(format, bytes);
    let _ = NameClaim::decode(format, bytes);
    let _ = SharedCredential::decode(format, bytes);
    let _ = Rules::decode(format, bytes);
}

/// A sample of each record and its bytes in format 1.
///
/// When this fails, a record's layout has changed. Until the first release: put the new bytes here.
/// After it: give the record a new format number, keep these bytes, and let `Record::decode` read
/// both.
#[test]
fn the_layout_of_every_record_is_pinned() {
    #[track_caller]
    fn pinned<R: Record + PartialEq + Debug>(record: &R, hex: &str) {
        assert_eq!(hex::encode(fields(record)), hex, "{record:?}");
        assert_eq!(R::decode(1, &hex::decode(hex).unwrap()).as_ref(), Ok(record));
    }
    fn text(text: &str) -> String {
        text.to_owned()
    }
    let (early, late) = (Timestamp::from_nanos(1), Timestamp::from_nanos(1_700_000_000_000_000_000));
    let accessor = MountAccessor::parse("kv_eb4acbae").unwrap();
    let key = DestinationKey { kind: text("aws-sm"), name: DestinationName::parse("prod").unwrap() };
    let map = |key: &str, value: &str| BTreeMap::from([(text(key), text(value))]);
    let failure = Failure {
        blame: Blame::External,
        code: text("throttled"),
        message: text("later"),
        at: early,
        retry_at: Some(late),
        version: Version(3),
        generation: 4,
    };

    pinned(
        &StoreHeader { id: StoreId::from_bytes([1; 16]), epoch: 2, created: late, cluster_id: text("c") },
        "01010101010101010101010101010101028080d0e2c6bfce972f0163",
    );
    let mount = Mount {
        path: MountPath::parse("secret").unwrap(),
        accessor: accessor.clone(),
        uuid: text("u"),
        mount_type: text("kv"),
        description: text("d"),
        options: map("version", "2"),
        config: MountConfig {
            default_lease_ttl: 1,
            max_lease_ttl: 2,
            force_no_cache: true,
            listing_visibility: text("hidden"),
            audit_non_hmac_request_keys: vec![text("a")],
            audit_non_hmac_response_keys: vec![text("b")],
            passthrough_request_headers: vec![text("c")],
            allowed_response_headers: vec![text("d")],
        },
        kv: KvConfig { max_versions: 10, cas_required: true, delete_version_after: -1 },
    };
    pinned(
        &MountTable { mounts: vec![mount], erasing: vec![accessor.clone()] },
        "01077365637265742f0b6b765f65623461636261650175026b760164010776657273696f6e01320102010668696464656e0101610101620101630101640a0101010b6b765f6562346163626165",
    );
    pinned(&SyncConfig { disabled: true, queue_capacity: 1_000_000, activated: true }, "01c0843d01");
    pinned(
        &SecretMeta {
            name: text("db"),
            current: Version(2),
            oldest: Version(1),
            created: early,
            updated: late,
            max_versions: 10,
            cas_required: true,
            delete_version_after: 60_000_000_000,
            custom_metadata: Some(map("owner", "me")),
            versions: BTreeMap::from([
                (Version(1), VersionMeta { created: early, deletion: Some(late), destroyed: true }),
                (Version(2), VersionMeta { created: late, deletion: None, destroyed: false }),
            ]),
        },
        "0264620201028080d0e2c6bfce972f0a0180e0ba84bf030101056f776e6572026d65020102018080d0e2c6bfce972f01028080d0e2c6bfce972f0000",
    );
    pinned(&Folder { name: text("app") }, "03617070");
    pinned(&SecretVersion { data: b"{\"k\":\"v\"}".to_vec() }, "097b226b223a2276227d");
    pinned(
        &Token {
            accessor: text("acc"),
            policies: vec![text("default"), text("root")],
            path: text("auth/token/create"),
            meta: Some(map("k", "v")),
            display_name: text("token"),
            num_uses: 5,
            orphan: true,
            parent: Some(text("par")),
            created: early,
            creation_ttl: 300,
            expires: Some(late),
            explicit_max_ttl: 600,
            renewable: true,
            period: 7,
            role: Some(text("r")),
            batch: true,
            entity: Some(text("e")),
            auth_mount: Some(text("m")),
            bound_cidrs: vec![text("::/0")],
            renewed: Some(early),
        },
        "03616363020764656661756c7404726f6f7411617574682f746f6b656e2f6372656174650101016b017605746f6b656e0501010370617202ac02018080d0e2c6bfce972fd80401070101720101016501016d01043a3a2f300102",
    );
    pinned(&Policy { name: text("p"), text: text("t"), modified: early }, "0170017402");
    pinned(&PolicyIndex { names: vec![text("p")] }, "010170");
    pinned(&Entry { name: text("n"), body: b"{}".to_vec() }, "016e027b7d");
    let auth = AuthMount {
        path: MountPath::parse("userpass").unwrap(),
        accessor: accessor.clone(),
        uuid: text("u"),
        method: text("userpass"),
        description: text("d"),
        config: MountConfig { default_lease_ttl: 1, ..MountConfig::default() },
        token_type: text("default-service"),
    };
    pinned(
        &AuthTable { mounts: vec![auth], erasing: vec![accessor.clone()] },
        "010975736572706173732f0b6b765f65623461636261650175087573657270617373016401000000000000000f64656661756c742d73657276696365010b6b765f6562346163626165",
    );
    pinned(&TokenByAccessor { key: vec![0x20, 1, 2] }, "03200102");
    pinned(
        &Destination {
            id: DestinationId::from_bytes([2; 16]),
            key: key.clone(),
            created: early,
            generation: 3,
            config: b"{}".to_vec(),
            purge: Some(Purge { initiated: late, error: Some(text("e")) }),
            mass_delete_held: Some(early),
            mass_delete_confirmed: Some(late),
        },
        "02020202020202020202020202020202066177732d736d0470726f640203027b7d018080d0e2c6bfce972f0101650102018080d0e2c6bfce972f",
    );
    let entry = LedgerEntry {
        sub_key: Some(text("user")),
        name: RemoteName::from_kind("vault/kv/db"),
        granularity: Granularity::SecretKey,
        fingerprint: Some([3; 32]),
        write: Some([4; 32]),
        version: Version(2),
        settings: [5; 32],
        tags: vec![text("t")],
        receipt: Receipt { handle: Some(text("h")), revision: Some(text("r")) },
        unsure: true,
        unverified: true,
        changed: early,
        failure: Some(failure.clone()),
    };
    let association = |outcome, entries| Association {
        id: AssociationId::from_bytes([6; 16]),
        destination: key.clone(),
        accessor: accessor.clone(),
        mount: text("secret/"),
        path: SecretPath::parse("app/db").unwrap(),
        created: early,
        removing: true,
        version: Version(2),
        generation: 3,
        attempts: 1,
        turn: 8,
        outcome,
        outcome_at: late,
        entries,
        single: true,
        grantor: None,
    };
    pinned(
        &association(Outcome::Failed(failure.clone()), vec![entry]),
        "06060606060606060606060606060606066177732d736d0470726f640b6b765f6562346163626165077365637265742f066170702f64620201020301080402097468726f74746c6564056c6174657202018080d0e2c6bfce972f03048080d0e2c6bfce972f010104757365720b7661756c742f6b762f6462010103030303030303030303030303030303030303030303030303030303030303030104040404040404040404040404040404040404040404040404040404040404040205050505050505050505050505050505050505050505050505050505050505050101740101680101720101020102097468726f74746c6564056c6174657202018080d0e2c6bfce972f03040100",
    );
    pinned(
        &association(Outcome::Unknown(failure), vec![]),
        "06060606060606060606060606060606066177732d736d0470726f640b6b765f6562346163626165077365637265742f066170702f64620201020301080302097468726f74746c6564056c6174657202018080d0e2c6bfce972f03048080d0e2c6bfce972f000100",
    );
    pinned(
        &association(Outcome::New, vec![]),
        "06060606060606060606060606060606066177732d736d0470726f640b6b765f6562346163626165077365637265742f066170702f6462020102030108008080d0e2c6bfce972f000100",
    );
    pinned(
        &association(Outcome::Synced, vec![]),
        "06060606060606060606060606060606066177732d736d0470726f640b6b765f6562346163626165077365637265742f066170702f6462020102030108018080d0e2c6bfce972f000100",
    );
    pinned(
        &association(Outcome::Unsynced, vec![]),
        "06060606060606060606060606060606066177732d736d0470726f640b6b765f6562346163626165077365637265742f066170702f6462020102030108028080d0e2c6bfce972f000100",
    );
    pinned(
        &Association {
            grantor: Some(Grantor {
                policies: vec![text("p")],
                entity: Some(text("e")),
                accessor: text("a"),
            }),
            ..association(Outcome::New, vec![])
        },
        "06060606060606060606060606060606066177732d736d0470726f640b6b765f6562346163626165077365637265742f066170702f6462020102030108008080d0e2c6bfce972f0001010101700101650161",
    );
    pinned(
        &Links { destinations: vec![DestinationId::from_bytes([7; 16])] },
        "0107070707070707070707070707070707",
    );
    pinned(&Outbox { at: early, due: Some(late), cause: Cause::Source }, "02018080d0e2c6bfce972f00");
    for (cause, hex) in [
        (Cause::Set, "020001"),
        (Cause::Remove, "020002"),
        (Cause::Settings, "020003"),
        (Cause::Sweep, "020004"),
    ] {
        pinned(&Outbox { at: early, due: None, cause }, hex);
    }
    pinned(
        &NameClaim { source: Node([8; 16]), sub_key: Some(text("k")), name: RemoteName::from_kind("n") },
        "0808080808080808080808080808080801016b016e",
    );
    pinned(
        &SharedCredential {
            sort: text("github-apps"),
            name: text("ours"),
            created: early,
            config: vec![1, 2, 3],
        },
        "0b6769746875622d61707073046f7572730203010203",
    );
    let rule = Rule {
        destination: DestinationId::from_bytes([7; 16]),
        key: key.clone(),
        accessor: accessor.clone(),
        mount: text("secret"),
        pattern: text("app/**"),
        exclude: vec![text("app/x")],
        created: early,
        grantor: None,
    };
    pinned(
        &Rules { rules: vec![rule], pending: vec![(accessor.clone(), DestinationId::from_bytes([9; 16]))] },
        "0107070707070707070707070707070707066177732d736d0470726f640b6b765f6562346163626165067365637265740661\
         70702f2a2a01056170702f780200010b6b765f656234616362616509090909090909090909090909090909",
    );
    pinned(
        &Restored { at: early, saved: text("s"), epoch: 7, confirmed: Some(late) },
        "02017307018080d0e2c6bfce972f",
    );
    pinned(&Floor { formats: 2 }, "02");
    pinned(
        &Shard { owner: Some(NodeId::from_bytes([3; 16])), term: 5, settled: true },
        "01030303030303030303030303030303030501",
    );
    let node = ServerNode {
        id: NodeId::from_bytes([1; 16]),
        name: text("h"),
        api_addr: text("a"),
        version: text("v"),
        formats: 1,
        started: early,
        echo: late,
        leaving: true,
        pending: 4,
        backlogs: vec![NodeBacklog {
            destination: DestinationId::from_bytes([7; 16]),
            pending: 2,
            eta: Some(9),
            bound_by: Some(text("q")),
        }],
        told: 6,
        recent: vec![Told {
            destination: DestinationId::from_bytes([7; 16]),
            source: Node([8; 16]),
            urgency: 2,
            reopen: true,
        }],
    };
    pinned(
        &node,
        "0101010101010101010101010101010101680161017601028080d0e2c6bfce972f01040107070707070707070707070707070707020109010171060107070707070707070707070707070707080808080808080808080808080808080201",
    );
}
