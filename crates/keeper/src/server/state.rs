//! The vault in memory.

use std::collections::{BTreeMap, HashMap};

use model::{Entropy, Timestamp};
use tokio::task::AbortHandle;

use super::faults::Planned;
use crate::{
    crypto::{Key, PrivateKey, PublicKey, Sealed},
    json::Json,
};

pub(super) struct State {
    pub(super) server_keys: HashMap<String, PrivateKey>,
    pub(super) key_id: String,
    pub(super) apps: Vec<App>,
    /// By client id.
    pub(super) devices: HashMap<String, DeviceState>,
    pub(super) folders: BTreeMap<String, FolderState>,
    pub(super) records: BTreeMap<String, RecordState>,
    /// Counts up, so that records are listed in the order they were made.
    pub(super) made: u64,
    pub(super) uploads: HashMap<String, PendingUpload>,
    pub(super) faults: Vec<Planned>,
    pub(super) registered_version: Option<String>,
    pub(super) last_version: Option<String>,
    pub(super) calls: HashMap<String, usize>,
    pub(super) connections: usize,
    pub(super) tasks: Vec<AbortHandle>,
}

pub(super) struct App {
    pub(super) title: String,
    pub(super) key: Key,
    pub(super) owner: PrivateKey,
    pub(super) shares: Vec<Share>,
    pub(super) warnings: Vec<String>,
}

pub(super) struct Share {
    pub(super) what: Shared,
    pub(super) editable: bool,
}

#[derive(Clone, PartialEq, Eq)]
pub(super) enum Shared {
    Folder(String),
    Record(String),
}

pub(super) struct DeviceState {
    pub(super) app: usize,
    /// Until the token is used.
    pub(super) token_key: Option<Key>,
    pub(super) public_key: Option<PublicKey>,
    pub(super) revoked: bool,
    pub(super) expires: Option<Timestamp>,
}

pub(super) struct FolderState {
    pub(super) parent: Option<String>,
    pub(super) key: Key,
    /// As clients send it: CBC under the folder's key.
    pub(super) data: Vec<u8>,
    /// Its key is sent damaged.
    pub(super) broken: bool,
    pub(super) made: u64,
}

pub(super) struct RecordState {
    pub(super) key: Key,
    /// As clients send it: GCM under the record's key.
    pub(super) data: Vec<u8>,
    pub(super) revision: i64,
    /// The folders it is in.
    pub(super) folders: Vec<String>,
    pub(super) files: Vec<FileState>,
    pub(super) links: Vec<Json>,
    /// What a rotation may go back to.
    pub(super) before_rotation: Option<Vec<u8>>,
    pub(super) made: u64,
}

pub(super) struct FileState {
    pub(super) uid: String,
    /// Under the record's key.
    pub(super) link_key: Vec<u8>,
    /// Under the file's key.
    pub(super) data: Vec<u8>,
    /// Under the file's key; none until it is uploaded.
    pub(super) content: Option<Vec<u8>>,
    /// Whether its address is told.
    pub(super) has_url: bool,
}

pub(super) struct PendingUpload {
    pub(super) record: String,
    pub(super) policy: String,
    pub(super) size: usize,
}

impl State {
    pub(super) fn new(key_id: &str, entropy: &dyn Entropy) -> Result<Self, Sealed> {
        let mut state = Self {
            server_keys: HashMap::new(),
            key_id: String::new(),
            apps: Vec::new(),
            devices: HashMap::new(),
            folders: BTreeMap::new(),
            records: BTreeMap::new(),
            made: 0,
            uploads: HashMap::new(),
            faults: Vec::new(),
            registered_version: None,
            last_version: None,
            calls: HashMap::new(),
            connections: 0,
            tasks: Vec::new(),
        };
        state.use_key(key_id, entropy)?;
        Ok(state)
    }

    pub(super) fn use_key(&mut self, id: &str, entropy: &dyn Entropy) -> Result<(), Sealed> {
        if !self.server_keys.contains_key(id) {
            self.server_keys.insert(id.to_owned(), PrivateKey::random(entropy)?.0);
        }
        id.clone_into(&mut self.key_id);
        Ok(())
    }

    pub(super) fn next_made(&mut self) -> u64 {
        self.made += 1;
        self.made
    }

    /// The shared folder a folder is or is in.
    pub(super) fn root_of(&self, folder: &str) -> Option<String> {
        let mut uid = folder.to_owned();
        while let Some(parent) = self.folders.get(&uid)?.parent.clone() {
            uid = parent;
        }
        Some(uid)
    }

    /// What an application may do with a record: nothing, read, or edit.
    pub(super) fn may_edit(&self, app: &App, record: &str) -> Option<bool> {
        let roots: Vec<String> =
            self.records.get(record)?.folders.iter().filter_map(|folder| self.root_of(folder)).collect();
        let mut rights = app.shares.iter().filter(|share| match &share.what {
            Shared::Record(uid) => uid == record,
            Shared::Folder(uid) => roots.contains(uid),
        });
        let first = rights.next()?;
        Some(first.editable || rights.any(|share| share.editable))
    }

    /// Whether an application may change what is in a folder.
    pub(super) fn may_change_folder(&self, app: &App, folder: &str) -> bool {
        let root = self.root_of(folder);
        app.shares.iter().any(|share| {
            share.editable && matches!(&share.what, Shared::Folder(uid) if Some(uid) == root.as_ref())
        })
    }
}
