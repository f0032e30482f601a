//! Looks at every record of a store that nobody else has open, and at how they hang together.
//!
//! One damaged record says nothing about the others: everything is looked at, and everything that is wrong
//! is told. Nothing is changed. Without the root key only the structure can be looked at: whose record it is
//! and whether it could be one.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
    sync::Arc,
};

use model::{DestinationId, Entropy, Version};
use serde::Serialize;

use crate::{
    Backend, Guard, Keys, Node, Record, RootKey, StoreError,
    barrier::{Barrier, HEADER, TAG, Unopened},
    guard::GUARD_KEY,
    keyring::{self, KEYRING_KEY, KeyRing},
    records::{
        Association, AuthTable, Destination, Entry, Floor, Folder, IdentityKeys, Links, MountTable,
        NameClaim, Outbox, Policy, PolicyIndex, Restored, Rules, SecretMeta, SecretVersion, ServerNode,
        Shard, SharedCredential, StoreHeader, SyncConfig, Token, TokenByAccessor,
    },
    typed::decode,
};

/// How a record is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// It does not open, or what is in it makes no sense.
    Damaged,
    /// It names something that is not there.
    Dangling,
    /// It should be there and is not.
    Missing,
    /// No record begins like this: a newer keyferry's, or not ours.
    Foreign,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Damaged => "damaged",
            Self::Dangling => "dangling",
            Self::Missing => "missing",
            Self::Foreign => "foreign",
        })
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// How.
    pub fault: Fault,
    /// The type of record, in words.
    pub record: &'static str,
    /// Its tag.
    pub tag: u8,
    /// Its key as the back end has it, hexadecimal: hashes, which tell no name.
    pub key: String,
    /// Whose it is, where that can be told: a secret's mount and path, a destination's type and name.
    pub name: Option<String>,
    /// What is wrong.
    pub what: String,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Report {
    /// Whether records were opened: with the root key.
    pub opened: bool,
    /// How many records there are of each type.
    pub records: BTreeMap<&'static str, u64>,
    /// Everything that is wrong, sorted. Empty: nothing is.
    pub findings: Vec<Finding>,
}

/// Looks at a whole store, as of one moment. Without the root key at its structure only.
///
/// # Errors
/// When the back end cannot be read. What is wrong with records is no error: it is in the report.
pub async fn examine(
    backend: &Arc<dyn Backend>,
    root: Option<&RootKey>,
    entropy: Arc<dyn Entropy>,
) -> Result<Report, StoreError> {
    let mut look = Look::default();
    let mut opener = None;
    match (backend.get(KEYRING_KEY).await?, root) {
        (None, _) => look.find(
            Fault::Missing,
            "key ring",
            KEYRING_KEY,
            "there is no key ring: nothing here can be opened",
        ),
        (Some(_), None) => {}
        (Some(ring), Some(root)) => match KeyRing::open(root, &ring.value) {
            Ok(ring) => {
                look.report.opened = true;
                look.keys = Some(ring.keys());
                opener = Some(Barrier::new(&ring, entropy));
            }
            Err(keyring::Unopened::WrongKey) => {
                return Err(StoreError::Corrupt { tag: 0, what: "the root key is another store's" });
            }
            Err(keyring::Unopened::Broken(what)) => look.find(Fault::Damaged, "key ring", KEYRING_KEY, what),
        },
    }
    if let Err(StoreError::Corrupt { what, .. }) = Guard::read(backend.as_ref()).await {
        look.find(Fault::Damaged, "guard of the root key", GUARD_KEY, what);
    }
    let mut moment = backend.snapshot().await?;
    loop {
        let page = moment.next().await?;
        if page.is_empty() {
            break;
        }
        for (key, entry) in &page {
            look.record(opener.as_ref(), key, &entry.value);
        }
    }
    if opener.is_some() {
        look.compare();
    }
    let mut report = look.report;
    report.findings.sort();
    Ok(report)
}

/// Where an association is: destination and source.
type Place = (DestinationId, Node);

/// What has been seen so far, as far as it is needed to compare.
#[derive(Default)]
struct Look {
    report: Report,
    keys: Option<Keys>,
    header: bool,
    mounts: Option<MountTable>,
    /// By its own place: parent and name.
    folders: HashMap<Node, (Node, String)>,
    /// By its own place: parent, name, and the versions whose value must be there.
    secrets: HashMap<Node, (Node, String, Vec<Version>)>,
    versions: HashSet<(Node, Version)>,
    broken_metas: HashSet<Node>,
    destinations: HashMap<DestinationId, String>,
    broken_destinations: bool,
    /// The names of its entries, and what it is called.
    associations: HashMap<Place, (Vec<String>, String)>,
    broken_associations: HashSet<Place>,
    links: HashMap<Node, Vec<DestinationId>>,
    broken_links: HashSet<Node>,
    outbox: HashSet<Place>,
    claims: Vec<(DestinationId, Vec<u8>, Node, String)>,
    broken_claims: bool,
    tokens: HashSet<Vec<u8>>,
    accessors: Vec<(Vec<u8>, Vec<u8>)>,
    broken_tokens: bool,
}

impl Look {
    fn find(&mut self, fault: Fault, record: &'static str, key: &[u8], what: impl Into<String>) {
        self.find_named(fault, record, key, None, what);
    }

    fn find_named(
        &mut self,
        fault: Fault,
        record: &'static str,
        key: &[u8],
        name: Option<String>,
        what: impl Into<String>,
    ) {
        let tag = key.first().copied().unwrap_or_default();
        self.report.findings.push(Finding {
            fault,
            record,
            tag,
            key: hex::encode(key),
            name,
            what: what.into(),
        });
    }

    /// Looks at one entry of the back end.
    fn record(&mut self, opener: Option<&Barrier>, key: &[u8], sealed: &[u8]) {
        if key == KEYRING_KEY || key == GUARD_KEY {
            return;
        }
        let tag = key.first().copied().unwrap_or_default();
        let Some((name, length)) = sort(tag) else {
            let what = "no type of record that this keyferry knows begins like this";
            return self.find(Fault::Foreign, "record", key, what);
        };
        *self.report.records.entry(name).or_default() += 1;
        if key.len() != 1 + length {
            return self.find(Fault::Damaged, name, key, "its key is not of the length that such keys have");
        }
        let Some(opener) = opener else {
            if sealed.len() < HEADER + TAG {
                self.find(Fault::Damaged, name, key, "it is too short to be sealed");
            } else if sealed.first() != Some(&1) {
                self.find(Fault::Damaged, name, key, "it is sealed in a format this version does not know");
            }
            return;
        };
        let what = match opener.open(key, sealed) {
            Ok(plain) => match self.note(tag, key, &plain) {
                Ok(()) => return,
                Err(StoreError::Corrupt { what, .. }) => what,
                Err(_) => "it cannot be read",
            },
            Err(Unopened::Broken(what)) => what,
            Err(Unopened::UnknownTerm) => "it is sealed under a key that the key ring does not hold",
        };
        self.note_broken(tag, key);
        self.find(Fault::Damaged, name, key, what);
    }

    /// Remembers what a record says.
    fn note(&mut self, tag: u8, key: &[u8], plain: &[u8]) -> Result<(), StoreError> {
        match tag {
            StoreHeader::TAG => {
                decode::<StoreHeader>(plain)?;
                self.header = true;
            }
            MountTable::TAG => self.mounts = Some(decode(plain)?),
            Folder::TAG => {
                let folder: Folder = decode(plain)?;
                if let Some((parent, own)) = two_nodes(key) {
                    self.folders.insert(own, (parent, folder.name));
                }
            }
            SecretMeta::TAG => {
                let meta: SecretMeta = decode(plain)?;
                let kept = meta.versions.iter().filter(|(_, version)| !version.destroyed);
                let kept = kept.map(|(number, _)| *number).collect();
                if let Some((parent, own)) = two_nodes(key) {
                    self.secrets.insert(own, (parent, meta.name, kept));
                }
            }
            SecretVersion::TAG => {
                decode::<SecretVersion>(plain)?;
                self.versions.extend(version_of(key));
            }
            Destination::TAG => {
                let destination: Destination = decode(plain)?;
                self.destinations.insert(destination.id, destination.key.to_string());
            }
            Association::TAG => {
                let association: Association = decode(plain)?;
                let called =
                    format!("{}: {}/{}", association.destination, association.mount, association.path);
                let names = association.entries.into_iter().map(|entry| entry.name.as_str().to_owned());
                let names = names.filter(|name| !name.is_empty()).collect();
                if let Some(place) = Keys::parts_of_association(key) {
                    self.associations.insert(place, (names, called));
                }
            }
            Links::TAG => {
                let links: Links = decode(plain)?;
                if let Some(source) = node(key.get(1..17)) {
                    self.links.insert(source, links.destinations);
                }
            }
            Outbox::TAG => {
                decode::<Outbox>(plain)?;
                self.outbox.extend(Keys::parts_of_association(key));
            }
            NameClaim::TAG => {
                let claim: NameClaim = decode(plain)?;
                if let Some((destination, _)) = Keys::parts_of_association(key) {
                    self.claims.push((
                        destination,
                        key.to_vec(),
                        claim.source,
                        claim.name.as_str().to_owned(),
                    ));
                }
            }
            Token::TAG => {
                decode::<Token>(plain)?;
                self.tokens.insert(key.to_vec());
            }
            TokenByAccessor::TAG => {
                let found: TokenByAccessor = decode(plain)?;
                self.accessors.push((key.to_vec(), found.key));
            }
            Restored::TAG => decode::<Restored>(plain).map(drop)?,
            SyncConfig::TAG => decode::<SyncConfig>(plain).map(drop)?,
            IdentityKeys::TAG => decode::<IdentityKeys>(plain).map(drop)?,
            Floor::TAG => decode::<Floor>(plain).map(drop)?,
            Policy::TAG => decode::<Policy>(plain).map(drop)?,
            PolicyIndex::TAG => decode::<PolicyIndex>(plain).map(drop)?,
            Entry::TAG => decode::<Entry>(plain).map(drop)?,
            AuthTable::TAG => decode::<AuthTable>(plain).map(drop)?,
            Rules::TAG => decode::<Rules>(plain).map(drop)?,
            ServerNode::TAG => decode::<ServerNode>(plain).map(drop)?,
            Shard::TAG => decode::<Shard>(plain).map(drop)?,
            SharedCredential::TAG => decode::<SharedCredential>(plain).map(drop)?,
            _ => {}
        }
        Ok(())
    }

    /// What is damaged is there: whatever it holds is not missed a second time.
    fn note_broken(&mut self, tag: u8, key: &[u8]) {
        match tag {
            StoreHeader::TAG => self.header = true,
            SecretMeta::TAG => self.broken_metas.extend(two_nodes(key).map(|(_, own)| own)),
            SecretVersion::TAG => self.versions.extend(version_of(key)),
            Destination::TAG => self.broken_destinations = true,
            Association::TAG => self.broken_associations.extend(Keys::parts_of_association(key)),
            Links::TAG => self.broken_links.extend(node(key.get(1..17))),
            NameClaim::TAG => self.broken_claims = true,
            Token::TAG => self.broken_tokens = true,
            _ => {}
        }
    }

    /// Compares what was seen.
    fn compare(&mut self) {
        if !self.header {
            self.find(Fault::Missing, "header", &[StoreHeader::TAG], "the store has no header");
        }
        let roots = self.roots();
        self.compare_secrets(roots.as_ref());
        self.compare_sync();
        if !self.broken_tokens {
            for (key, token) in std::mem::take(&mut self.accessors) {
                if !self.tokens.contains(&token) {
                    self.find(Fault::Dangling, "token by accessor", &key, "there is no such token");
                }
            }
        }
        self.name_the_broken(roots.as_ref());
    }

    /// The places of mounts and what they are called. `None`: the table of mounts cannot be read.
    fn roots(&self) -> Option<HashMap<Node, String>> {
        let (keys, broken) =
            (self.keys.as_ref()?, self.report.findings.iter().any(|f| f.tag == MountTable::TAG));
        if broken {
            return None;
        }
        let table = self.mounts.clone().unwrap_or_default();
        let mounts =
            table.mounts.iter().map(|mount| (keys.mount(&mount.accessor), mount.path.as_str().to_owned()));
        let erasing = table
            .erasing
            .iter()
            .map(|accessor| (keys.mount(accessor), format!("{accessor} (being erased)/")));
        Some(mounts.chain(erasing).collect())
    }

    /// What a place is called, from its mount down.
    fn path_of(&self, roots: &HashMap<Node, String>, place: Node) -> Option<String> {
        let mut names = Vec::new();
        let mut at = place;
        // A path has far fewer segments; a ring of folders would have no end.
        for _ in 0..10_000 {
            if let Some(root) = roots.get(&at) {
                names.reverse();
                return Some(format!("{root}{}", names.join("/")));
            }
            let (parent, name) = match (self.folders.get(&at), self.secrets.get(&at)) {
                (Some((parent, name)), _) => (*parent, name.clone()),
                (_, Some((parent, name, _))) if names.is_empty() => (*parent, name.clone()),
                _ => return None,
            };
            names.push(name);
            at = parent;
        }
        None
    }

    fn compare_secrets(&mut self, roots: Option<&HashMap<Node, String>>) {
        let (mut dangling, mut missing) = (Vec::new(), Vec::new());
        if let Some(roots) = roots {
            for (own, (parent, name)) in &self.folders {
                if self.path_of(roots, *own).is_none() {
                    dangling.push(("folder", two_key(Folder::TAG, *parent, *own), name.clone()));
                }
            }
            for (own, (parent, name, _)) in &self.secrets {
                if self.path_of(roots, *own).is_none() {
                    dangling.push(("secret", two_key(SecretMeta::TAG, *parent, *own), name.clone()));
                }
            }
        }
        for (own, (_, name, kept)) in &self.secrets {
            for version in kept.iter().filter(|version| !self.versions.contains(&(*own, **version))) {
                let name = roots.and_then(|roots| self.path_of(roots, *own)).unwrap_or_else(|| name.clone());
                missing.push((version_key(*own, *version), format!("{name} (version {})", version.0)));
            }
        }
        let orphans: Vec<_> = self
            .versions
            .iter()
            .filter(|(own, version)| match self.secrets.get(own) {
                Some((_, _, kept)) => !kept.contains(version),
                None => !self.broken_metas.contains(own),
            })
            .copied()
            .collect();
        for (record, key, name) in dangling {
            self.find_named(Fault::Dangling, record, &key, Some(name), "no mount or folder leads to it");
        }
        for (key, name) in missing {
            self.find_named(
                Fault::Missing,
                "secret version",
                &key,
                Some(name),
                "the secret's metadata names it",
            );
        }
        for (own, version) in orphans {
            let what = "no secret's metadata names it";
            self.find(Fault::Dangling, "secret version", &version_key(own, version), what);
        }
    }

    fn compare_sync(&mut self) {
        let mut found = Vec::new();
        let known = |id: &DestinationId| self.destinations.contains_key(id) || self.broken_destinations;
        let held: HashSet<_> =
            self.claims.iter().map(|(at, _, source, name)| (*at, *source, name.as_str())).collect();
        for (place, (names, called)) in &self.associations {
            let key = place_key(Association::TAG, place);
            if !known(&place.0) {
                found.push((
                    Fault::Dangling,
                    "association",
                    key.clone(),
                    Some(called.clone()),
                    "its destination is not there",
                ));
            }
            let linked = self.links.get(&place.1).is_some_and(|links| links.contains(&place.0));
            if !linked && !self.broken_links.contains(&place.1) {
                let what = "its secret does not name its destination: changes of the secret do not reach it";
                found.push((Fault::Dangling, "association", key.clone(), Some(called.clone()), what));
            }
            let claimed = |name: &String| held.contains(&(place.0, place.1, name.as_str()));
            if !self.broken_claims && !names.iter().all(claimed) {
                found.push((
                    Fault::Missing,
                    "name claim",
                    key,
                    Some(called.clone()),
                    "a remote name of the association is claimed by nobody",
                ));
            }
        }
        for (source, destinations) in &self.links {
            for id in destinations {
                let place = (*id, *source);
                if !self.associations.contains_key(&place) && !self.broken_associations.contains(&place) {
                    let key = [&[Links::TAG], source.0.as_slice()].concat();
                    let name = self.destinations.get(id).cloned();
                    found.push((
                        Fault::Dangling,
                        "links",
                        key,
                        name,
                        "it names an association that is not there",
                    ));
                }
            }
        }
        for place in &self.outbox {
            if !self.associations.contains_key(place) && !self.broken_associations.contains(place) {
                let (key, name) = (place_key(Outbox::TAG, place), self.destinations.get(&place.0).cloned());
                found.push((
                    Fault::Dangling,
                    "outbox row",
                    key,
                    name,
                    "it asks for an association that is not there",
                ));
            }
        }
        for (destination, key, source, held) in &self.claims {
            let place = (*destination, *source);
            if !known(destination)
                || !self.associations.contains_key(&place) && !self.broken_associations.contains(&place)
            {
                let what = "it holds a remote name for an association that is not there";
                found.push((Fault::Dangling, "name claim", key.clone(), Some(held.clone()), what));
            }
        }
        for (fault, record, key, name, what) in found {
            self.find_named(fault, record, &key, name, what);
        }
    }

    /// Says whose the damaged records are, where others tell.
    fn name_the_broken(&mut self, roots: Option<&HashMap<Node, String>>) {
        let mut findings = std::mem::take(&mut self.report.findings);
        for finding in findings.iter_mut().filter(|finding| finding.name.is_none()) {
            let Ok(key) = hex::decode(&finding.key) else { continue };
            finding.name = match finding.tag {
                SecretVersion::TAG => version_of(&key).and_then(|(own, version)| {
                    let path = self.path_of(roots?, own)?;
                    Some(format!("{path} (version {})", version.0))
                }),
                // The name is in the record; where it is not, others tell.
                SecretMeta::TAG | Folder::TAG => two_nodes(&key).and_then(|(parent, own)| {
                    let known = self.associations.iter().find(|(place, _)| place.1 == own);
                    let known = known.map(|(_, (_, called))| called.clone());
                    known.or_else(|| Some(format!("in {}", self.path_of(roots?, parent)?)))
                }),
                Association::TAG | Outbox::TAG => {
                    Keys::parts_of_association(&key).and_then(|(destination, source)| {
                        let destination = self.destinations.get(&destination)?;
                        match roots.and_then(|roots| self.path_of(roots, source)) {
                            Some(path) => Some(format!("{destination}: {path}")),
                            None => Some(destination.clone()),
                        }
                    })
                }
                NameClaim::TAG => Keys::parts_of_association(&key)
                    .and_then(|(destination, _)| self.destinations.get(&destination).cloned()),
                Links::TAG => node(key.get(1..17)).and_then(|source| self.path_of(roots?, source)),
                _ => None,
            };
        }
        self.report.findings = findings;
    }
}

/// What records of a tag are called, and the length of their keys behind the tag.
const fn sort(tag: u8) -> Option<(&'static str, usize)> {
    Some(match tag {
        StoreHeader::TAG => ("header", 0),
        MountTable::TAG => ("mounts", 0),
        SyncConfig::TAG => ("sync configuration", 0),
        IdentityKeys::TAG => ("identity keys", 0),
        Floor::TAG => ("format floor", 0),
        Restored::TAG => ("restore", 0),
        SecretMeta::TAG => ("secret", 32),
        Folder::TAG => ("folder", 32),
        SecretVersion::TAG => ("secret version", 24),
        Token::TAG => ("token", 16),
        TokenByAccessor::TAG => ("token by accessor", 16),
        Policy::TAG => ("policy", 16),
        PolicyIndex::TAG => ("policy names", 0),
        Entry::TAG => ("entry", 48),
        AuthTable::TAG => ("auth mounts", 0),
        Destination::TAG => ("destination", 32),
        Association::TAG => ("association", 32),
        Links::TAG => ("links", 16),
        Outbox::TAG => ("outbox row", 32),
        NameClaim::TAG => ("name claim", 32),
        Rules::TAG => ("rules", 16),
        ServerNode::TAG => ("server", 16),
        Shard::TAG => ("shard", 1),
        SharedCredential::TAG => ("shared credential", 32),
        _ => return None,
    })
}

fn node(bytes: Option<&[u8]>) -> Option<Node> {
    bytes?.try_into().ok().map(Node)
}

fn two_nodes(key: &[u8]) -> Option<(Node, Node)> {
    Some((node(key.get(1..17))?, node(key.get(17..33))?))
}

fn version_of(key: &[u8]) -> Option<(Node, Version)> {
    let number: [u8; 8] = key.get(17..25)?.try_into().ok()?;
    Some((node(key.get(1..17))?, Version(u64::from_be_bytes(number))))
}

fn two_key(tag: u8, parent: Node, own: Node) -> Vec<u8> {
    [&[tag], parent.0.as_slice(), &own.0].concat()
}

fn version_key(own: Node, version: Version) -> Vec<u8> {
    [&[SecretVersion::TAG], own.0.as_slice(), &version.0.to_be_bytes()].concat()
}

fn place_key(tag: u8, place: &Place) -> Vec<u8> {
    [&[tag], place.0.as_bytes().as_slice(), &place.1.0].concat()
}

#[cfg(test)]
mod tests;
