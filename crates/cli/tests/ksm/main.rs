//! `ksm` from outside: the real binary, by that name, against a pretend Keeper over TLS.
//!
//! What the official CLI does as well is compared with it in tests/ksm_beside; here is what is ours.
#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

#[expect(dead_code, reason = "shared with the comparison in ksm_beside, which uses more of it")]
mod bench;
mod commands;
mod errors;
mod profiles;
mod vault;
