//! Shared folders and the folders below them (keeper.md 3.7).

use std::{borrow::Cow, collections::HashMap, fmt};

use serde::Deserialize;

use crate::{
    Error,
    crypto::{Key, from_base64},
    json::Json,
};

/// One folder.
#[derive(Clone)]
pub struct Folder {
    /// Its UID.
    pub uid: String,
    /// The folder it is in; none for a shared folder, which is a root.
    pub parent: Option<String>,
    /// Its name; empty where Keeper gave none.
    pub name: String,
    pub(super) key: Key,
}

impl fmt::Debug for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Folder({})", self.uid)
    }
}

/// The folders an application may see.
#[derive(Debug, Default)]
pub struct Folders {
    list: Vec<Folder>,
    unreadable: Vec<String>,
    by_uid: HashMap<String, usize>,
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    folders: Option<Vec<Envelope<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    folder_uid: String,
    #[serde(borrow)]
    folder_key: Option<Cow<'a, str>>,
    parent: Option<String>,
    #[serde(borrow)]
    data: Option<Cow<'a, str>>,
}

impl Folders {
    pub(super) fn read(answer: &[u8], app_key: &Key) -> Result<Self, Error> {
        let answer: Answer<'_> = if answer.is_empty() {
            Answer { folders: None }
        } else {
            serde_json::from_slice(answer).map_err(|_| Error::Answer("is not of the documented shape"))?
        };
        let envelopes = answer.folders.unwrap_or_default();
        let parents: HashMap<&str, Option<&str>> = envelopes
            .iter()
            .map(|e| (e.folder_uid.as_str(), e.parent.as_deref().filter(|p| !p.is_empty())))
            .collect();
        let roots: HashMap<&str, Key> = envelopes
            .iter()
            .filter(|e| parents.get(e.folder_uid.as_str()) == Some(&None))
            .filter_map(|e| {
                Some((e.folder_uid.as_str(), app_key.open_key(&from_base64(e.folder_key.as_deref()?)?).ok()?))
            })
            .collect();
        let mut folders = Self::default();
        for envelope in &envelopes {
            if let Some(folder) = opened(envelope, &parents, &roots) {
                folders.by_uid.insert(folder.uid.clone(), folders.list.len());
                folders.list.push(folder);
            } else {
                folders.unreadable.push(envelope.folder_uid.clone());
            }
        }
        Ok(folders)
    }

    /// All folders that could be read, in Keeper's order.
    pub fn list(&self) -> &[Folder] {
        &self.list
    }

    /// UIDs of the folders that could not.
    pub fn unreadable(&self) -> &[String] {
        &self.unreadable
    }

    /// The folder of a UID.
    pub fn get(&self, uid: &str) -> Option<&Folder> {
        self.by_uid.get(uid).map(|&at| &self.list[at])
    }

    /// The folder and those it is in, from the inside out.
    pub fn ancestry(&self, uid: &str) -> impl Iterator<Item = &Folder> {
        let mut next = self.get(uid);
        // A vault has no circles; should an answer have one, this ends all the same.
        std::iter::from_fn(move || {
            let folder = next?;
            next = folder.parent.as_deref().and_then(|parent| self.get(parent));
            Some(folder)
        })
        .take(self.list.len())
    }

    /// The names from the shared folder down to this one.
    pub fn path(&self, uid: &str) -> Vec<&str> {
        let mut names: Vec<&str> = self.ancestry(uid).map(|folder| folder.name.as_str()).collect();
        names.reverse();
        names
    }

    /// The shared folder that holds this folder, itself if it is one.
    pub fn root(&self, uid: &str) -> Option<&Folder> {
        self.ancestry(uid).last().filter(|folder| folder.parent.is_none())
    }

    /// Whether a folder is the other one or somewhere below it.
    pub fn is_within(&self, uid: &str, outer: &str) -> bool {
        self.ancestry(uid).any(|folder| folder.uid == outer)
    }
}

/// A root's key is sealed under the application's, every other folder's under its root's.
fn opened(
    envelope: &Envelope<'_>,
    parents: &HashMap<&str, Option<&str>>,
    roots: &HashMap<&str, Key>,
) -> Option<Folder> {
    let mut root = envelope.folder_uid.as_str();
    for _ in 0..parents.len() {
        match parents.get(root)? {
            Some(parent) => root = parent,
            None => break,
        }
    }
    let root_key = roots.get(root)?;
    let parent = envelope.parent.clone().filter(|parent| !parent.is_empty());
    let key = if parent.is_none() {
        root_key.clone()
    } else {
        let sealed = from_base64(envelope.folder_key.as_deref()?)?;
        Key::from_bytes(&root_key.open_cbc(&sealed).ok()?).ok()?
    };
    let name = match envelope.data.as_deref().filter(|data| !data.is_empty()) {
        None => String::new(),
        Some(data) => {
            let data = key.open_cbc(&from_base64(data)?).ok()?;
            let data = Json::parse(std::str::from_utf8(&data).ok()?).ok()?;
            data.get("name").and_then(Json::as_text).unwrap_or_default().to_owned()
        }
    };
    Some(Folder { uid: envelope.folder_uid.clone(), parent, name, key })
}
