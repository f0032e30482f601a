use std::{fmt, marker::PhantomData};

use aws_lc_rs::hmac;
use model::{DestinationId, DestinationKey, MountAccessor, SecretPath, Version};

use crate::records::{
    Association, AuthTable, Destination, Entry, Floor, Folder, IdentityKeys, Links, MountTable, NameClaim,
    NodeId, Outbox, Policy, PolicyIndex, Record, Restored, Rules, SecretMeta, SecretVersion, ServerNode,
    Shard, SharedCredential, StoreHeader, SyncConfig, Token, TokenByAccessor,
};

/// A place in a tree of names, told by a keyed hash chained from its parent: whoever holds the bytes
/// without the key learns neither names nor which names are equal in two places (decisions 25).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct Node(pub [u8; 16]);

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Node({})", hex::encode(self.0))
    }
}

/// The key of one record, as the back end sees it, with the record's type.
pub struct RecordKey<R> {
    bytes: Vec<u8>,
    record: PhantomData<fn() -> R>,
}

/// What the keys of some records of one type begin with.
pub struct RecordPrefix<R> {
    bytes: Vec<u8>,
    record: PhantomData<fn() -> R>,
}

impl<R> Clone for RecordKey<R> {
    fn clone(&self) -> Self {
        Self::of(self.bytes.clone())
    }
}

impl<R> fmt::Debug for RecordKey<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecordKey({})", hex::encode(&self.bytes))
    }
}

impl<R> PartialEq for RecordKey<R> {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl<R> RecordKey<R> {
    pub(crate) fn of(bytes: Vec<u8>) -> Self {
        Self { bytes, record: PhantomData }
    }

    /// As the back end sees it.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl<R> RecordPrefix<R> {
    fn of(bytes: Vec<u8>) -> Self {
        Self { bytes, record: PhantomData }
    }

    /// As the back end sees it.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

fn join<R: Record>(parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + parts.iter().map(|part| part.len()).sum::<usize>());
    bytes.push(R::TAG);
    for part in parts {
        bytes.extend_from_slice(part);
    }
    bytes
}

fn key<R: Record>(parts: &[&[u8]]) -> RecordKey<R> {
    RecordKey::of(join::<R>(parts))
}

fn prefix<R: Record>(parts: &[&[u8]]) -> RecordPrefix<R> {
    RecordPrefix::of(join::<R>(parts))
}

/// Makes record keys. Holds the index key, which stays the same for the life of a store.
pub struct Keys(hmac::Key);

impl Keys {
    pub(crate) fn new(index_key: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, index_key))
    }

    /// A child's place: the keyed hash of its parent's place and its name. `space` keeps unlike
    /// things with like names apart.
    fn child(&self, space: u8, parent: &[u8], name: &[u8]) -> Node {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(&[space]);
        context.update(parent);
        context.update(name);
        let mut node = [0; 16];
        node.copy_from_slice(&context.sign().as_ref()[..16]);
        Node(node)
    }

    /// The root of a mount's tree.
    pub fn mount(&self, accessor: &MountAccessor) -> Node {
        self.child(b'm', &[], accessor.as_str().as_bytes())
    }

    /// A segment below a place in a mount's tree.
    pub fn segment(&self, parent: Node, segment: &str) -> Node {
        self.child(b's', &parent.0, segment.as_bytes())
    }

    /// A secret's place: the chain of its segments below its mount's root. Identifies the source
    /// (decisions 26).
    pub fn secret(&self, mount: Node, path: &SecretPath) -> Node {
        path.segments().fold(mount, |parent, segment| self.segment(parent, segment))
    }

    /// The place of the folder a secret is in (the mount's root for one without a folder), and the
    /// secret's own.
    pub fn secret_in_parent(&self, mount: Node, path: &SecretPath) -> (Node, Node) {
        path.segments().fold((mount, mount), |(_, parent), segment| (parent, self.segment(parent, segment)))
    }

    /// The store's header.
    pub fn header(&self) -> RecordKey<StoreHeader> {
        key(&[])
    }

    /// That the store was restored.
    pub fn restored(&self) -> RecordKey<Restored> {
        key(&[])
    }

    /// The one record that lists all mounts.
    pub fn mounts(&self) -> RecordKey<MountTable> {
        key(&[])
    }

    /// A secret's metadata, below its parent folder's place.
    pub fn secret_meta(&self, parent: Node, secret: Node) -> RecordKey<SecretMeta> {
        key(&[&parent.0, &secret.0])
    }

    /// The metadata of all secrets directly below a place.
    pub fn secrets_in(&self, parent: Node) -> RecordPrefix<SecretMeta> {
        prefix(&[&parent.0])
    }

    /// A folder's entry, below its parent's place.
    pub fn folder(&self, parent: Node, folder: Node) -> RecordKey<Folder> {
        key(&[&parent.0, &folder.0])
    }

    /// The entries of all folders directly below a place.
    pub fn folders_in(&self, parent: Node) -> RecordPrefix<Folder> {
        prefix(&[&parent.0])
    }

    /// One version of a secret.
    pub fn secret_version(&self, secret: Node, version: Version) -> RecordKey<SecretVersion> {
        key(&[&secret.0, &version.0.to_be_bytes()])
    }

    /// All versions of a secret.
    pub fn secret_versions(&self, secret: Node) -> RecordPrefix<SecretVersion> {
        prefix(&[&secret.0])
    }

    /// A token, under the keyed digest of its text: the text itself is stored nowhere.
    pub fn token(&self, token: &[u8]) -> RecordKey<Token> {
        key(&[&self.child(b't', &[], token).0])
    }

    /// All tokens.
    pub fn tokens(&self) -> RecordPrefix<Token> {
        prefix(&[])
    }

    /// Finds a token by its accessor.
    pub fn token_by_accessor(&self, accessor: &str) -> RecordKey<TokenByAccessor> {
        key(&[&self.child(b'a', &[], accessor.as_bytes()).0])
    }

    /// A policy, by its lower-case name.
    pub fn policy(&self, name: &str) -> RecordKey<Policy> {
        key(&[&self.child(b'p', &[], name.as_bytes()).0])
    }

    /// The names of all policies.
    pub fn policy_index(&self) -> RecordKey<PolicyIndex> {
        key(&[])
    }

    /// All auth mounts.
    pub fn auth_mounts(&self) -> RecordKey<AuthTable> {
        key(&[])
    }

    /// An entry of a table. `owner` is the part of the server it belongs to, such as an auth mount's
    /// accessor; `table` is that part's own word.
    pub fn entry(&self, owner: &str, table: &str, name: &[u8]) -> RecordKey<Entry> {
        let (owner, table) = self.table(owner, table);
        key(&[&owner.0, &table.0, &self.child(b'f', &table.0, name).0])
    }

    /// All entries of a table.
    pub fn entries_of(&self, owner: &str, table: &str) -> RecordPrefix<Entry> {
        let (owner, table) = self.table(owner, table);
        prefix(&[&owner.0, &table.0])
    }

    /// All entries of all tables of an owner.
    pub fn entries_owned(&self, owner: &str) -> RecordPrefix<Entry> {
        prefix(&[&self.child(b'o', &[], owner.as_bytes()).0])
    }

    fn table(&self, owner: &str, table: &str) -> (Node, Node) {
        let owner = self.child(b'o', &[], owner.as_bytes());
        (owner, self.child(b'e', &owner.0, table.as_bytes()))
    }

    /// A destination, by type and name.
    pub fn destination(&self, at: &DestinationKey) -> RecordKey<Destination> {
        let kind = self.child(b'k', &[], at.kind.as_bytes());
        key(&[&kind.0, &self.child(b'd', &kind.0, at.name.as_str().as_bytes()).0])
    }

    /// All destinations of a type.
    pub fn destinations_of(&self, kind: &str) -> RecordPrefix<Destination> {
        prefix(&[&self.child(b'k', &[], kind.as_bytes()).0])
    }

    /// All destinations.
    pub fn destinations(&self) -> RecordPrefix<Destination> {
        prefix(&[])
    }

    /// The association of a source with a destination. There is at most one.
    pub fn association(&self, destination: DestinationId, source: Node) -> RecordKey<Association> {
        key(&[destination.as_bytes(), &source.0])
    }

    /// All associations of a destination.
    pub fn associations_of(&self, destination: DestinationId) -> RecordPrefix<Association> {
        prefix(&[destination.as_bytes()])
    }

    /// All associations.
    pub fn associations(&self) -> RecordPrefix<Association> {
        prefix(&[])
    }

    /// Which destinations a source is associated with.
    pub fn links(&self, source: Node) -> RecordKey<Links> {
        key(&[&source.0])
    }

    /// The pending look at an association. At most one: asking twice is asking once.
    pub fn outbox(&self, destination: DestinationId, source: Node) -> RecordKey<Outbox> {
        key(&[destination.as_bytes(), &source.0])
    }

    /// All pending looks.
    pub fn outbox_all(&self) -> RecordPrefix<Outbox> {
        prefix(&[])
    }

    /// All pending looks of a destination.
    pub fn outbox_of(&self, destination: DestinationId) -> RecordPrefix<Outbox> {
        prefix(&[destination.as_bytes()])
    }

    /// Who holds a remote name at a destination. `identity` is the form under which names that the
    /// destination takes for one are equal.
    pub fn name_claim(&self, destination: DestinationId, identity: &str) -> RecordKey<NameClaim> {
        key(&[destination.as_bytes(), &self.child(b'n', destination.as_bytes(), identity.as_bytes()).0])
    }

    /// All remote names held at a destination.
    pub fn name_claims_of(&self, destination: DestinationId) -> RecordPrefix<NameClaim> {
        prefix(&[destination.as_bytes()])
    }

    /// A credential that destinations share, by sort and name.
    pub fn shared_credential(&self, sort: &str, name: &str) -> RecordKey<SharedCredential> {
        let sort = self.child(b'c', &[], sort.as_bytes());
        key(&[&sort.0, &self.child(b'd', &sort.0, name.as_bytes()).0])
    }

    /// All credentials of a sort.
    pub fn shared_credentials_of(&self, sort: &str) -> RecordPrefix<SharedCredential> {
        prefix(&[&self.child(b'c', &[], sort.as_bytes()).0])
    }

    /// The rules of a mount.
    pub fn rules(&self, mount: Node) -> RecordKey<Rules> {
        key(&[&mount.0])
    }

    /// The rules of all mounts.
    pub fn rules_all(&self) -> RecordPrefix<Rules> {
        prefix(&[])
    }

    /// `sys/sync/config`.
    pub fn sync_config(&self) -> RecordKey<SyncConfig> {
        key(&[])
    }

    /// The keys that sign identity tokens.
    pub fn identity_keys(&self) -> RecordKey<IdentityKeys> {
        key(&[])
    }

    /// A server at work.
    pub fn server_node(&self, id: NodeId) -> RecordKey<ServerNode> {
        key(&[id.as_bytes()])
    }

    /// All servers at work.
    pub fn server_nodes(&self) -> RecordPrefix<ServerNode> {
        prefix(&[])
    }

    /// A part of the work, by number.
    pub fn shard(&self, number: u8) -> RecordKey<Shard> {
        key(&[&[number]])
    }

    /// All parts of the work that anybody ever had.
    pub fn shards(&self) -> RecordPrefix<Shard> {
        prefix(&[])
    }

    /// The number of the part of the work that a key of [`Keys::shard`] names.
    pub fn shard_number(bytes: &[u8]) -> Option<u8> {
        match bytes {
            [_, number] => Some(*number),
            _ => None,
        }
    }

    /// The pending looks at destinations whose identity begins with this byte.
    pub fn outbox_from(&self, first: u8) -> RecordPrefix<Outbox> {
        prefix(&[&[first]])
    }

    /// What a version must know to work on this store.
    pub fn floor(&self) -> RecordKey<Floor> {
        key(&[])
    }

    /// A keyed digest for the engine's ledger: equal inputs give equal digests in this store and
    /// tell nothing elsewhere. Each part is preceded by its length, so parts cannot run together.
    pub fn digest(&self, purpose: &str, parts: &[&[u8]]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(b"x");
        for part in std::iter::once(purpose.as_bytes()).chain(parts.iter().copied()) {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(context.sign().as_ref());
        digest
    }

    /// The source and destination that an association's or an outbox row's key names.
    pub fn parts_of_association(bytes: &[u8]) -> Option<(DestinationId, Node)> {
        let (_, rest) = bytes.split_first()?;
        let (destination, source) = rest.split_first_chunk()?;
        Some((DestinationId::from_bytes(*destination), Node(source.try_into().ok()?)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use model::DestinationName;

    use super::*;

    fn keys() -> Keys {
        Keys::new(&[7; 32])
    }

    fn path(text: &str) -> SecretPath {
        SecretPath::parse(text).unwrap()
    }

    /// Changing how keys are made loses every record in the field.
    #[test]
    fn how_keys_are_made_is_pinned() {
        let keys = keys();
        let mount = keys.mount(&MountAccessor::parse("kv_eb4acbae").unwrap());
        let secret = keys.secret(mount, &path("app/db"));
        let id = DestinationId::from_bytes([9; 16]);
        let at = DestinationKey { kind: "aws-sm".into(), name: DestinationName::parse("prod").unwrap() };
        for (key, pinned) in [
            (keys.header().as_bytes(), "01"),
            (keys.mounts().as_bytes(), "02"),
            (
                keys.secret_meta(mount, secret).as_bytes(),
                "10d47e6337a3aae6db102210d71e89802d95dddce8db449d11e58c449526552c49",
            ),
            (
                keys.folder(mount, secret).as_bytes(),
                "11d47e6337a3aae6db102210d71e89802d95dddce8db449d11e58c449526552c49",
            ),
            (
                keys.secret_version(secret, Version(258)).as_bytes(),
                "1295dddce8db449d11e58c449526552c490000000000000102",
            ),
            (keys.token(b"hvs.token").as_bytes(), "20b7cc70c92385893265248f7095c72971"),
            (keys.token_by_accessor("accessor").as_bytes(), "21696735d7fe4a6eafd7eda5324d9aa85f"),
            (
                keys.destination(&at).as_bytes(),
                "30dffe1b2e016f330613fb4286a899b1047c72c59b4d2df2cba5ec4cfedfdf7b88",
            ),
            (
                keys.association(id, secret).as_bytes(),
                "310909090909090909090909090909090995dddce8db449d11e58c449526552c49",
            ),
            (keys.links(secret).as_bytes(), "3295dddce8db449d11e58c449526552c49"),
            (
                keys.outbox(id, secret).as_bytes(),
                "330909090909090909090909090909090995dddce8db449d11e58c449526552c49",
            ),
            (
                keys.name_claim(id, "name").as_bytes(),
                "340909090909090909090909090909090903212556cc279bd79cf8d1bbc612620d",
            ),
            (
                keys.shared_credential("github-apps", "ours").as_bytes(),
                "3885476a717953277c8649cf1b1528c3be0c0af4ef643ab6d3800b0d140cb5b4a8",
            ),
            (keys.rules(mount).as_bytes(), "35d47e6337a3aae6db102210d71e89802d"),
            (keys.sync_config().as_bytes(), "03"),
            (keys.identity_keys().as_bytes(), "04"),
            (keys.floor().as_bytes(), "05"),
            (keys.server_node(NodeId::from_bytes([9; 16])).as_bytes(), "3609090909090909090909090909090909"),
            (keys.shard(9).as_bytes(), "3709"),
            (keys.outbox_from(9).as_bytes(), "3309"),
            (keys.policy("dev").as_bytes(), "22042d45ee0ee7f45a38372025db73d25e"),
            (keys.policy_index().as_bytes(), "23"),
            (keys.auth_mounts().as_bytes(), "25"),
            (
                keys.entry("owner", "table", b"name").as_bytes(),
                "24a2f5e63f5389b7ab1600c07ed8ba4cda07ddb1083dfb73f97aae8eaf9608a239ef6f838709f8f82cca696c469901a21b",
            ),
            (
                &keys.digest("purpose", &[b"a", b"b"]),
                "921aaa53413fa51b944f28deba55237b57154de03d95000a756d02214a80fc2b",
            ),
        ] {
            assert_eq!(hex::encode(key), pinned);
        }
    }

    #[test]
    fn unlike_places_have_unlike_keys() {
        let (keys, other) = (keys(), Keys::new(&[8; 32]));
        let (kv1, kv2) = ("kv_00000001", "kv_00000002");
        let mount = |accessor| keys.mount(&MountAccessor::parse(accessor).unwrap());
        let nodes: BTreeSet<Node> = [
            mount(kv1),
            mount(kv2),
            keys.secret(mount(kv1), &path("a")),
            keys.secret(mount(kv2), &path("a")),
            keys.secret(mount(kv1), &path("a/b")),
            keys.secret(mount(kv1), &path("ab")),
            keys.secret(mount(kv1), &path("/ab")),
            keys.secret(mount(kv1), &path("a//b")),
            keys.secret(mount(kv1), &path("b/a")),
            other.mount(&MountAccessor::parse(kv1).unwrap()),
        ]
        .into();
        assert_eq!(nodes.len(), 10);
        let digests: BTreeSet<[u8; 32]> = [
            keys.digest("p", &[b"ab", b""]),
            keys.digest("p", &[b"a", b"b"]),
            keys.digest("p", &[b"ab"]),
            keys.digest("pa", &[b"b"]),
            other.digest("p", &[b"ab"]),
        ]
        .into();
        assert_eq!(digests.len(), 5, "parts do not run together");
    }

    #[test]
    fn an_associations_key_tells_its_parts() {
        let (id, source) = (DestinationId::from_bytes([9; 16]), Node([3; 16]));
        for key in [keys().association(id, source).as_bytes(), keys().outbox(id, source).as_bytes()] {
            assert_eq!(Keys::parts_of_association(key), Some((id, source)));
            assert_eq!(Keys::parts_of_association(&key[..32]), None);
            assert_eq!(Keys::parts_of_association(&[key, &[0]].concat()), None);
        }
        assert_eq!(Keys::parts_of_association(&[]), None);
    }
}
