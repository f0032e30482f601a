//! As much of the tar format (POSIX.1-1988 ustar) as a snapshot is made of: plain files, one after the other.

use std::io::{self, Read};

use super::SnapshotError;

pub(super) const BLOCK: usize = 512;

/// A file's header.
pub(super) fn header(name: &str, size: u64, mtime: u64) -> [u8; BLOCK] {
    let mut header = [0; BLOCK];
    let mut put = |at: usize, text: &[u8]| header[at..at + text.len()].copy_from_slice(text);
    put(0, name.as_bytes());
    put(100, b"0000600\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{size:011o}\0").as_bytes());
    put(136, format!("{:011o}\0", mtime & 0o77_777_777_777).as_bytes());
    put(148, b"        ");
    put(156, b"0");
    put(257, b"ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

/// How many bytes follow a file of this size up to the next block.
pub(super) fn padding(size: u64) -> usize {
    usize::try_from(size.next_multiple_of(BLOCK as u64) - size).unwrap_or(0)
}

/// The next file's name and size. `None`: the archive ends here.
pub(super) fn next_file(from: &mut impl Read) -> Result<Option<(String, u64)>, SnapshotError> {
    let mut block = [0; BLOCK];
    fill(from, &mut block)?;
    if block == [0; BLOCK] {
        fill(from, &mut block)?;
        return if block == [0; BLOCK] {
            Ok(None)
        } else {
            Err(SnapshotError::Damaged("the archive has a hole"))
        };
    }
    let bad = SnapshotError::Damaged("a header of the archive is not as keyferry writes it");
    let octal = |at: usize, length: usize| {
        let text = block.get(at..at + length)?;
        let digits = text.split(|byte| matches!(byte, 0 | b' ')).next()?;
        let digits = std::str::from_utf8(digits).ok().filter(|text| !text.is_empty())?;
        u64::from_str_radix(digits, 8).ok()
    };
    let sum: u64 = block
        .iter()
        .enumerate()
        .map(|(at, byte)| if (148..156).contains(&at) { u64::from(b' ') } else { u64::from(*byte) })
        .sum();
    let name = block.split(|byte| *byte == 0).next().unwrap_or_default();
    match (octal(148, 8), octal(124, 12), std::str::from_utf8(name)) {
        (Some(stated), Some(size), Ok(name)) if stated == sum && name.len() <= 100 => {
            Ok(Some((name.to_owned(), size)))
        }
        _ => Err(bad),
    }
}

/// A file's contents, which are at most so large, and what follows them up to the next block.
pub(super) fn contents(from: &mut impl Read, size: u64, most: u64) -> Result<Vec<u8>, SnapshotError> {
    if size > most {
        return Err(SnapshotError::Damaged("a part is larger than any can be"));
    }
    // What is claimed is not believed before it has come.
    let mut bytes = Vec::new();
    from.by_ref().take(size).read_to_end(&mut bytes).map_err(|error| failed(&error))?;
    if bytes.len() as u64 != size {
        return Err(SnapshotError::Damaged("it ends early"));
    }
    let mut rest = [0; BLOCK];
    let rest = &mut rest[..padding(size)];
    fill(from, rest)?;
    if rest.iter().any(|byte| *byte != 0) {
        return Err(SnapshotError::Damaged("something is between its parts"));
    }
    Ok(bytes)
}

fn fill(from: &mut impl Read, into: &mut [u8]) -> Result<(), SnapshotError> {
    from.read_exact(into).map_err(|error| failed(&error))
}

/// What a failure to read, or to decompress, means.
pub(super) fn failed(error: &io::Error) -> SnapshotError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => SnapshotError::Damaged("it ends early"),
        // As the decompressor tells what it cannot read.
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => {
            SnapshotError::Damaged("its compression is broken")
        }
        _ => SnapshotError::Io(error.to_string()),
    }
}
