//! The last answer on disk, for when Keeper cannot be reached (keeper.md 3.9): the key of the transport
//! seal and the sealed answer, as the official tools keep them. The records in it need the application's key.

use std::{fs, io, path::Path};

use zeroize::Zeroizing;

use crate::{config::write_private, crypto::Key};

/// The length of a key.
const KEY: usize = 32;

/// Keeps an answer, privately and as a whole.
pub(super) fn keep(path: &Path, key: &Key, answer: &[u8]) -> io::Result<()> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(KEY + answer.len()));
    // Opened to be kept: the format wants the key beside the answer.
    bytes.extend_from_slice(key.expose());
    bytes.extend_from_slice(answer);
    write_private(path, &bytes)
}

/// The answer that was kept, if there is one.
pub(super) fn recall(path: &Path) -> Option<(Key, Vec<u8>)> {
    let bytes = Zeroizing::new(fs::read(path).ok()?);
    let (key, answer) = bytes.split_at_checked(KEY)?;
    Some((Key::from_bytes(key).ok()?, answer.to_vec()))
}
