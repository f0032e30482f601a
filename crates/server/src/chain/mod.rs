//! The chain of sync events: what was delivered where, by whose right, in a file in which nothing can be
//! changed, left out, added or put elsewhere without it being seen ([`verify()`]).
//!
//! Each record holds the SHA-256 of the one before and is signed with a key that is sealed in the store
//! (Ed25519, so that checking needs no secret). A file begins with a record that says where the chain
//! continues, so that its beginning cannot be cut off. That its end was not is known by the chain's head: the
//! number and hash of the last record, kept in the store and shown by `sys/audit-chain`.
//!
//! A record is on the disk before the head moves, and the head has moved before the engine records the
//! outcome. So after a crash the file may be ahead of the head, which is no fault, and never behind it.

mod keep;
mod record;
mod verify;

pub use keep::{Chain, ChainError, Head, heads};
pub use verify::{Fault, Known, Verified, verify};

#[cfg(test)]
mod tests;
