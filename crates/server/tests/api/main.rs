//! The API as clients see it, over an in-memory store, without sockets but for the last module.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod access;
mod approle;
mod audit;
mod auth;
mod awskms;
mod bench;
mod hostile;
mod jwt;
mod kv;
mod kv_lists;
mod metrics;
mod mounts;
mod policies;
mod protocol;
mod quotas;
mod races;
mod seal;
mod snapshots;
mod sockets;
mod sync_hook;
mod system;
mod token_roles;
mod tokens;
mod userpass;
mod wrapping;
