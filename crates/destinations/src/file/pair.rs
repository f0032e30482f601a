//! The file of values and, hidden beside it, the file of marks.
//!
//! The values file belongs to whoever reads it: one JSON object, nothing of ours in it. So the marks
//! stand in a file of their own, which says for which version of the values file it speaks. It is
//! replaced before the values file when entries are written and after it when entries are removed: a
//! crash in between leaves marks without entries, or marks whose writes are not known to have
//! happened, never entries of ours without a mark.

use std::{
    collections::BTreeMap,
    fs::File,
    path::{Path, PathBuf},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use model::{
    AssociationId, RemoteName, StoreId,
    json::{Limits, SecretJson, check_limits},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::{
    Job,
    disk::{self, FileVersion, Prepared},
};
use crate::{Encoding, Expect, Fault, Mark, Present, PutOutcome, Receipt, Remote, WriteId, json};

/// The format of the marks file.
const FORMAT: u32 = 1;

/// What the values file may hold; only the memory it takes is at stake.
const LIMITS: Limits = Limits { depth: 500, string: 64 << 20, members: 1_000_000 };

/// Both files as they are on disk, and as they are to become.
pub(super) struct Pair {
    path: PathBuf,
    values: SecretJson,
    marks: BTreeMap<String, StoredMark>,
    /// The marks speak for the values as they are, so that their writes are known to be there.
    in_step: bool,
    changed: bool,
    removed: bool,
}

#[derive(Serialize, Deserialize)]
struct MarksFile {
    format: u32,
    /// The version of the values file this speaks for.
    values: FileVersion,
    entries: BTreeMap<String, StoredMark>,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
struct StoredMark {
    store: String,
    epoch: u32,
    association: String,
    version: u64,
    write: Option<String>,
}

impl StoredMark {
    fn of(mark: &Mark) -> Self {
        Self {
            store: hex::encode(mark.store.as_bytes()),
            epoch: mark.epoch,
            association: hex::encode(mark.association.as_bytes()),
            version: mark.version,
            write: mark.write.map(WriteId::to_hex),
        }
    }

    fn read(&self) -> Option<Mark> {
        let id = |text: &str| {
            let mut bytes = [0; 16];
            hex::decode_to_slice(text, &mut bytes).ok().map(|()| bytes)
        };
        Some(Mark {
            store: StoreId::from_bytes(id(&self.store)?),
            epoch: self.epoch,
            association: AssociationId::from_bytes(id(&self.association)?),
            version: self.version,
            write: self.write.as_deref().and_then(WriteId::parse),
        })
    }
}

impl Pair {
    /// Reads both files. A file that is not there, or has nothing in it, holds no entries.
    pub(super) fn read(path: &Path) -> Result<Self, Fault> {
        let values = disk::read(path)?;
        let marks = disk::read(&disk::beside(path, ""))?;
        let version = values.as_ref().map(|(_, version)| *version);
        let (marks, speaks_for) = match marks {
            None => (BTreeMap::new(), None),
            Some((bytes, _)) => {
                // The marks hold nothing secret; they are opened to be parsed.
                let file: MarksFile =
                    serde_json::from_slice(bytes.expose()).map_err(|_| unreadable_marks())?;
                if file.format != FORMAT {
                    return Err(unreadable_marks());
                }
                (file.entries, Some(file.values))
            }
        };
        Ok(Self {
            path: path.to_owned(),
            values: parse_values(values.as_ref().map_or(b"", |(bytes, _)| {
                // Opened to be parsed into a value that wipes itself.
                bytes.expose()
            }))?,
            marks,
            in_step: version.is_some() && version == speaks_for,
            changed: false,
            removed: false,
        })
    }

    pub(super) fn look(&self, name: &RemoteName) -> Remote {
        match self.present(name) {
            Some(present) => Remote::Present(present),
            None => Remote::Absent,
        }
    }

    fn present(&self, name: &RemoteName) -> Option<Present> {
        self.values.expose().get(name.as_str())?;
        let mut mark = self.marks.get(name.as_str()).and_then(StoredMark::read);
        if !self.in_step
            && let Some(mark) = &mut mark
        {
            mark.write = None;
        }
        let revision = mark.as_ref().and_then(|mark| mark.write).map(WriteId::to_hex);
        Some(Present { mark, revision, ..Present::default() })
    }

    pub(super) fn put(&mut self, job: &Job) -> Result<PutOutcome, Fault> {
        let taken = self.present(&job.name).filter(|present| {
            // Nothing in a file has an identity of its own, so only the mark tells whose it is.
            job.expect != Expect::Anything
                && !present.mark.as_ref().is_some_and(|mark| mark.same_owner(&job.mark))
        });
        if let Some(present) = taken {
            return Ok(PutOutcome::Taken(present));
        }
        let text = match job.encoding {
            // The values file is where values are for; the copy here wipes itself.
            Encoding::Binary => Zeroizing::new(BASE64_STANDARD.encode(job.value.expose())),
            Encoding::Text => match job.value.expose_text() {
                Ok(text) => Zeroizing::new(text.to_owned()),
                Err(_) => return Err(Fault::internal("value_not_text", "a text value is not UTF-8")),
            },
        };
        let mark = StoredMark::of(&job.mark);
        let same_value =
            self.values.expose().get(job.name.as_str()).and_then(Value::as_str) == Some(text.as_str());
        if !same_value || !self.in_step || self.marks.get(job.name.as_str()) != Some(&mark) {
            self.set(job.name.as_str(), Some(text));
            self.marks.insert(job.name.as_str().to_owned(), mark);
            self.changed = true;
        }
        Ok(PutOutcome::Written(Receipt { handle: None, revision: job.mark.write.map(WriteId::to_hex) }))
    }

    pub(super) fn remove(&mut self, name: &RemoteName, owner: Option<&Mark>) -> Result<(), Fault> {
        let Some(present) = self.present(name) else { return Ok(()) };
        if owner.is_some_and(|owner| !present.mark.is_some_and(|mark| mark.same_owner(owner))) {
            return Err(Fault::ownership_lost());
        }
        self.set(name.as_str(), None);
        self.marks.remove(name.as_str());
        self.changed = true;
        self.removed = true;
        Ok(())
    }

    /// Sets or removes a value and wipes the old one.
    fn set(&mut self, name: &str, value: Option<Zeroizing<String>>) {
        let Value::Object(values) = self.values.expose_mut() else { return };
        let old = match value {
            Some(mut text) => values.insert(name.to_owned(), Value::String(std::mem::take(&mut *text))),
            None => values.remove(name),
        };
        drop(old.map(SecretJson::new));
    }

    /// Replaces both files, if anything changed. A failure after the first replacement is ambiguous.
    pub(super) fn save(&mut self, directory: &File) -> Result<(), Fault> {
        if !self.changed {
            return Ok(());
        }
        if let Value::Object(values) = self.values.expose() {
            self.marks.retain(|name, _| values.contains_key(name));
        }
        let values = Prepared::write(&self.path, &encode(self.values.expose())?)?;
        let marks = MarksFile { format: FORMAT, values: values.version, entries: self.marks.clone() };
        let marks = Prepared::write(&disk::beside(&self.path, ""), &encode(&marks)?)?;
        let (first, second) = if self.removed { (values, marks) } else { (marks, values) };
        first.commit(directory)?;
        second.commit(directory).map_err(Fault::ambiguous)?;
        self.changed = false;
        Ok(())
    }
}

fn unreadable_marks() -> Fault {
    Fault::client(
        "file_marks_unreadable",
        "the hidden .keyferry file beside the destination's file cannot be read, so nobody can tell whose \
         the entries are; restore it, or delete it and adopt the entries with on_conflict = overwrite",
    )
}

fn parse_values(bytes: &[u8]) -> Result<SecretJson, Fault> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(SecretJson::new(Value::Object(Map::new())));
    }
    let foreign = || {
        Fault::client(
            "file_not_json",
            "the file holds something other than one JSON object and is left alone; name another file",
        )
    };
    check_limits(bytes, &LIMITS).map_err(|_| foreign())?;
    let values = SecretJson::parse(bytes).map_err(|_| foreign())?;
    if values.expose().is_object() { Ok(values) } else { Err(foreign()) }
}

/// Readable JSON, of bearable size.
fn encode(value: &impl Serialize) -> Result<Zeroizing<Vec<u8>>, Fault> {
    let mut bytes = json::pretty(value).ok_or_else(|| {
        Fault::internal("file_encoding", "the file's new content cannot be written as JSON")
    })?;
    if bytes.len() > disk::MAX_FILE_BYTES {
        let limit = disk::MAX_FILE_BYTES;
        let message =
            format!("the file would have more than {limit} bytes, which is the most that is handled");
        return Err(Fault::client("file_too_large", message));
    }
    bytes.push(b'\n');
    Ok(bytes)
}
