use std::fmt;

use serde::{Deserialize, Serialize};

use super::record;
use crate::wipe::wipe;

/// One entry of a table that belongs to a part of the server: a role, a user, an entity, a quota. What is
/// in it is that part's own business, so that a new auth method needs no new type of record.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its name in the table.
    pub name: String,
    /// As the part encodes it. Wiped on drop.
    #[serde(with = "super::run")]
    pub body: Vec<u8>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        wipe(&mut self.body);
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Entry({} bytes)", self.body.len())
    }
}

record!(Entry, 0x24, 1);
