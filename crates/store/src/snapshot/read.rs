use std::io::{BufRead, Read as _};

use aws_lc_rs::error::Unspecified;
use flate2::bufread::GzDecoder;

use super::{
    END, End, KIND, META, Meta, SEALED, SUMS, Seal, SnapshotError, TAG, VERSION, archive, chunk_name,
    sum_line, write::sha256,
};
use crate::{MAX_VALUE, RootKey, SNAPSHOT_PAGE};

/// Far more than there can be in them.
const MOST_META: u64 = 1 << 20;
const MOST_SUMS: u64 = 1 << 28;
const MOST_END: u64 = 1 << 10;
/// Far more than a key has.
const MOST_KEY: usize = 1 << 16;
/// A chunk ends with the entry that fills it.
const MOST_CHUNK: u64 = (SNAPSHOT_PAGE + MOST_KEY + MAX_VALUE + 8 + TAG) as u64;

/// A key and a sealed value.
pub type Pair = (Vec<u8>, Vec<u8>);
/// Some of them.
pub type Pairs = Vec<Pair>;

/// Reads a snapshot's file from its beginning. Nothing it says is believed before the last part has been
/// read: [`Reader::end`] tells when that is so.
pub struct Reader<R: BufRead> {
    archive: GzDecoder<R>,
    meta: Meta,
    meta_digest: [u8; 32],
    seal: Option<Seal>,
    sums: String,
    chunks: u64,
    entries: u64,
    end: Option<Ended>,
}

/// What a snapshot that was read to its end holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Parts.
    pub chunks: u64,
    /// Entries and the newest revision of them; known with the key only.
    pub entries: Option<(u64, u64)>,
}

impl<R: BufRead> Reader<R> {
    /// Reads what the snapshot says about itself.
    ///
    /// # Errors
    /// When it is none, or of a version this program does not know.
    pub fn new(from: R) -> Result<Self, SnapshotError> {
        let mut archive = GzDecoder::new(from);
        let not = SnapshotError::NotASnapshot;
        let (name, size) = match archive::next_file(&mut archive) {
            Ok(Some(file)) => file,
            Ok(None) => return Err(not("the archive is empty")),
            Err(SnapshotError::Io(why)) => return Err(SnapshotError::Io(why)),
            Err(_) => return Err(not("it does not begin as a gzip-compressed tar archive of ours")),
        };
        if name != META {
            return Err(not("it does not begin with meta.json"));
        }
        let bytes = archive::contents(&mut archive, size, MOST_META)?;
        let told: serde_json::Value =
            serde_json::from_slice(&bytes).map_err(|_| not("meta.json is not JSON"))?;
        if told["kind"] != KIND {
            // Vault's own snapshots get this far.
            return Err(not("it was made by another program"));
        }
        match told["version"].as_u64() {
            Some(VERSION) => {}
            Some(found) => return Err(SnapshotError::OtherVersion { found }),
            None => return Err(SnapshotError::Damaged("meta.json tells no version")),
        }
        let meta = serde_json::from_value(told)
            .map_err(|_| SnapshotError::Damaged("meta.json does not have the members it must have"))?;
        let meta_digest = sha256(&bytes);
        let sums = sum_line(META, &meta_digest);
        Ok(Self { archive, meta, meta_digest, seal: None, sums, chunks: 0, entries: 0, end: None })
    }

    /// What it says about itself.
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// Opens what follows with this key. Whether it is the right one shows with the first part.
    ///
    /// # Errors
    /// When the snapshot has no usable salt.
    pub fn unlock(&mut self, root: &RootKey) -> Result<(), SnapshotError> {
        let broken = SnapshotError::Damaged("its salt is not as keyferry writes it");
        let salt = hex::decode(&self.meta.salt).ok().filter(|salt| salt.len() == 32).ok_or(broken.clone())?;
        self.seal = Some(Seal::new(root, &salt, self.meta_digest).map_err(|Unspecified| broken)?);
        Ok(())
    }

    /// The entries of the next part: none of it while it is locked, but what can be checked is. `None`: there
    /// are no more, and all of it is as it was written.
    ///
    /// # Errors
    /// When it is not.
    pub fn page(&mut self) -> Result<Option<Pairs>, SnapshotError> {
        if self.end.is_some() {
            return Ok(None);
        }
        let incomplete = SnapshotError::Damaged("it ends early");
        let (name, size) = archive::next_file(&mut self.archive)?.ok_or(incomplete.clone())?;
        if name == SUMS {
            self.finish(size)?;
            return Ok(None);
        }
        if name != chunk_name(self.chunks) {
            return Err(SnapshotError::Damaged("its parts are not in order"));
        }
        let mut chunk = archive::contents(&mut self.archive, size, MOST_CHUNK)?;
        self.sums.push_str(&sum_line(&name, &sha256(&chunk)));
        let pairs = match &self.seal {
            Some(seal) => pairs(seal.open(self.chunks, &mut chunk)?)?,
            None => Pairs::new(),
        };
        self.chunks += 1;
        self.entries += pairs.len() as u64;
        Ok(Some(pairs))
    }

    /// Once [`Reader::page`] has answered `None`: what there was.
    pub fn end(&self) -> Option<Ended> {
        self.end
    }

    fn finish(&mut self, size: u64) -> Result<(), SnapshotError> {
        let damaged = SnapshotError::Damaged;
        let sums = archive::contents(&mut self.archive, size, MOST_SUMS)?;
        if sums != self.sums.as_bytes() {
            return Err(damaged("SHA256SUMS does not fit what is in it"));
        }
        match archive::next_file(&mut self.archive)? {
            Some((name, size)) if name == SEALED => {
                let mut sealed = archive::contents(&mut self.archive, size, MOST_END)?;
                if sealed.len() <= TAG {
                    return Err(damaged("its end mark is too short"));
                }
                let mut entries = None;
                if let Some(seal) = &self.seal {
                    let end = seal.open(END, &mut sealed)?;
                    let end: End = match postcard::take_from_bytes(end) {
                        Ok((end, [])) => end,
                        _ => return Err(damaged("its end mark does not parse")),
                    };
                    if (end.chunks, end.entries) != (self.chunks, self.entries) || end.sums != sha256(&sums) {
                        return Err(damaged("its end mark does not fit what is in it"));
                    }
                    entries = Some((end.entries, end.revision));
                }
                if archive::next_file(&mut self.archive)?.is_some() {
                    return Err(damaged("something follows its end mark"));
                }
                // To the end, where the compressed stream has a checksum of its own.
                let mut rest = [0; 1];
                let more = self.archive.read(&mut rest).map_err(|error| archive::failed(&error))?;
                let behind = self.archive.get_mut().fill_buf().map_err(|error| archive::failed(&error))?;
                if more != 0 || !behind.is_empty() {
                    return Err(damaged("something follows its end"));
                }
                self.end = Some(Ended { chunks: self.chunks, entries });
                Ok(())
            }
            _ => Err(damaged("it has no end mark")),
        }
    }
}

/// The entries of an opened part.
fn pairs(mut bytes: &[u8]) -> Result<Pairs, SnapshotError> {
    let mut pairs = Pairs::new();
    while !bytes.is_empty() {
        let key = run(&mut bytes, MOST_KEY)?;
        pairs.push((key.to_vec(), run(&mut bytes, MAX_VALUE)?.to_vec()));
    }
    Ok(pairs)
}

/// A length, and so many bytes.
fn run<'a>(bytes: &mut &'a [u8], most: usize) -> Result<&'a [u8], SnapshotError> {
    let broken = SnapshotError::Damaged("an entry in it does not parse");
    let (length, rest) = bytes.split_first_chunk().ok_or(broken.clone())?;
    let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
    let (run, rest) = rest.split_at_checked(length).filter(|_| length <= most).ok_or(broken)?;
    *bytes = rest;
    Ok(run)
}
