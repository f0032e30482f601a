//! JSON text that may hold values: measured before it is written, so that no growing buffer leaves
//! copies behind.

use std::io::{self, Write};

use serde::Serialize;
use zeroize::Zeroizing;

/// One line, for the wire.
pub(crate) fn compact(value: &impl Serialize) -> Option<Zeroizing<Vec<u8>>> {
    let mut size = Count(0);
    serde_json::to_writer(&mut size, value).ok()?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(size.0));
    serde_json::to_writer(&mut *bytes, value).ok()?;
    Some(bytes)
}

/// Indented, for people, with room for a line end.
pub(crate) fn pretty(value: &impl Serialize) -> Option<Zeroizing<Vec<u8>>> {
    let mut size = Count(1);
    serde_json::to_writer_pretty(&mut size, value).ok()?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(size.0));
    serde_json::to_writer_pretty(&mut *bytes, value).ok()?;
    Some(bytes)
}

struct Count(usize);

impl Write for Count {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
