use std::io::Write as _;

use aws_lc_rs::{
    digest::{SHA256, digest},
    error::Unspecified,
};
use flate2::{Compression, write::GzEncoder};
use model::{Entropy, Timestamp};

use super::{DIGEST, END, End, KIND, META, Meta, SEALED, SUMS, Seal, VERSION, archive, chunk_name, sum_line};
use crate::{Entry, SNAPSHOT_PAGE, Snapshot, Store, StoreError, guard::GUARD_KEY};

/// Makes a snapshot's file, a piece at a time.
#[must_use = "a snapshot is complete once all its pieces have been taken"]
pub struct Writer {
    moment: Option<Box<dyn Snapshot>>,
    archive: GzEncoder<Vec<u8>>,
    seal: Seal,
    mtime: u64,
    sums: String,
    chunk: Vec<u8>,
    end: End,
}

impl Writer {
    /// Of a store as it is now.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn new(store: &Store, now: Timestamp, entropy: &dyn Entropy) -> Result<Self, StoreError> {
        let backend = store.backend();
        let moment = backend.snapshot().await?;
        let guard = backend.get(GUARD_KEY).await?.map(|entry| hex::encode(&entry.value));
        let mut salt = [0; DIGEST];
        entropy.fill(&mut salt);
        let header = store.header();
        let meta = Meta {
            kind: KIND.to_owned(),
            version: VERSION,
            store_id: header.id.to_string(),
            epoch: header.epoch,
            created: now.to_string(),
            made_by: format!("keyferry {}", env!("CARGO_PKG_VERSION")),
            salt: hex::encode(salt),
            guard,
        };
        let meta = serde_json::to_vec_pretty(&meta).map_err(|_| unwritten())?;
        let meta_digest = sha256(&meta);
        let seal = Seal::new(store.root_key(), &salt, meta_digest).map_err(|Unspecified| unwritten())?;
        let mut writer = Self {
            moment: Some(moment),
            // What is sealed cannot be made smaller.
            archive: GzEncoder::new(Vec::new(), Compression::none()),
            seal,
            mtime: u64::try_from(now.as_secs()).unwrap_or_default(),
            sums: String::new(),
            chunk: Vec::new(),
            end: End { chunks: 0, entries: 0, revision: 0, sums: [0; DIGEST] },
        };
        writer.add(META, &meta)?;
        Ok(writer)
    }

    /// The next piece of the file, in order; `None` once all of it has been handed out. Whoever stops before that
    /// has a file that nobody takes for a snapshot.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn piece(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        loop {
            let Some(moment) = &mut self.moment else { return Ok(None) };
            let page = moment.next().await?;
            if page.is_empty() {
                self.moment = None;
                self.finish()?;
                return Ok(Some(std::mem::take(self.archive.get_mut())));
            }
            for (key, entry) in &page {
                self.push(key, entry)?;
            }
            let piece = std::mem::take(self.archive.get_mut());
            if !piece.is_empty() {
                return Ok(Some(piece));
            }
        }
    }

    fn push(&mut self, key: &[u8], entry: &Entry) -> Result<(), StoreError> {
        for part in [key, &entry.value] {
            let length = u32::try_from(part.len()).map_err(|_| unwritten())?;
            self.chunk.extend_from_slice(&length.to_be_bytes());
            self.chunk.extend_from_slice(part);
        }
        self.end.entries += 1;
        self.end.revision = self.end.revision.max(entry.revision.0);
        if self.chunk.len() >= SNAPSHOT_PAGE { self.end_chunk() } else { Ok(()) }
    }

    fn end_chunk(&mut self) -> Result<(), StoreError> {
        let mut chunk = std::mem::take(&mut self.chunk);
        self.seal.seal(self.end.chunks, &mut chunk).map_err(|Unspecified| unwritten())?;
        self.add(&chunk_name(self.end.chunks), &chunk)?;
        self.end.chunks += 1;
        Ok(())
    }

    fn finish(&mut self) -> Result<(), StoreError> {
        if !self.chunk.is_empty() {
            self.end_chunk()?;
        }
        let sums = std::mem::take(&mut self.sums);
        self.end.sums = sha256(sums.as_bytes());
        self.add(SUMS, sums.as_bytes())?;
        let mut end = postcard::to_stdvec(&self.end).map_err(|_| unwritten())?;
        self.seal.seal(END, &mut end).map_err(|Unspecified| unwritten())?;
        self.add(SEALED, &end)?;
        self.write(&[0; 2 * archive::BLOCK])?;
        self.archive.try_finish().map_err(|_| unwritten())
    }

    /// One file of the archive.
    fn add(&mut self, name: &str, contents: &[u8]) -> Result<(), StoreError> {
        let size = contents.len() as u64;
        self.write(&archive::header(name, size, self.mtime))?;
        self.write(contents)?;
        self.write(&[0; archive::BLOCK][..archive::padding(size)])?;
        self.sums.push_str(&sum_line(name, &sha256(contents)));
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.archive.write_all(bytes).map_err(|_| unwritten())
    }
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Writer({} entries so far)", self.end.entries)
    }
}

pub(super) fn sha256(bytes: &[u8]) -> [u8; DIGEST] {
    let mut sum = [0; DIGEST];
    sum.copy_from_slice(digest(&SHA256, bytes).as_ref());
    sum
}

fn unwritten() -> StoreError {
    StoreError::Backend("the snapshot could not be put together".into())
}
