use std::{fmt, ops::Deref};

use zeroize::Zeroize;

/// Overwrites a vector's whole allocation with zeroes, what it has room for included.
///
/// `Vec::zeroize` does the same a byte at a time, each with a fence, which costs more than opening a
/// record does; a slice it overwrites in one go.
pub(crate) fn wipe(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.capacity(), 0);
    bytes.as_mut_slice().zeroize();
    bytes.clear();
}

/// Bytes that are wiped on drop.
#[derive(PartialEq, Eq)]
pub(crate) struct Wiped(pub(crate) Vec<u8>);

impl Drop for Wiped {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

impl Deref for Wiped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Wiped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wiping_keeps_the_allocation_and_nothing_in_it() {
        let mut bytes = Vec::with_capacity(100);
        bytes.extend_from_slice(b"secret");
        let (at, capacity) = (bytes.as_ptr(), bytes.capacity());
        wipe(&mut bytes);
        assert!(bytes.is_empty());
        assert_eq!((bytes.as_ptr(), bytes.capacity()), (at, capacity), "not moved, so nothing left behind");
        bytes.resize(capacity, 1);
        assert_eq!(bytes.as_ptr(), at);
        assert_eq!(format!("{:?}", Wiped(bytes)), "100 bytes");
    }
}
