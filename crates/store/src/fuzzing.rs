//! Narrow entries for `fuzz/`.

/// A well-formed snapshot archive of these parts, each behind its length (4 bytes, big endian): meta, chunks,
/// and the end mark, with digests that fit.
pub fn archive(bytes: &[u8]) -> Vec<u8> {
    crate::snapshot::archive_of(bytes).unwrap_or_default()
}
