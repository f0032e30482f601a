//! Keeper Secrets Manager: the notation that names a value, records, and a client that fetches and
//! changes them (the official crate was weighed and not taken: keeper.md 6).
//!
//! - [`notation`] is pure: [`notation::parse`] a text, [`notation::evaluate`] it against a [`Vault`].
//! - [`config`] reads and writes what a client needs, in every form the official tools know.
//! - [`Client`] speaks Keeper's protocol: [`Client::bind`] uses up a one-time token,
//!   [`Client::fetch_for`] gets what a set of notations needs in one call, and there are calls for
//!   every change the protocol knows.
//!
//! What cannot be read is never taken for absent: see [`notation::Evaluation`] and [`Found`].

mod client;
pub mod config;
mod crypto;
mod error;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
pub mod json;
pub mod jsonpath;
pub mod notation;
pub mod password;
pub mod record_types;
mod records;
#[cfg(feature = "fakes")]
pub mod server;
pub mod show;
pub mod sync_source;
pub mod text;
pub mod totp;
pub mod yaml;

pub use client::{
    Around, Client, Deleted, Folder, Folders, Guard, NoAddress, Options, TokioWait, Transaction, Upload, Wait,
};
pub use crypto::MarkKey;
pub use error::Error;
pub use records::{Field, File, Found, Link, Place, Record, Scope, Unread, Unreadable, Vault, is_surely_uid};
