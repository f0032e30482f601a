//! The server: use cases ([`app`]) and the HTTP that carries them ([`http`]), which speaks Vault's API.
//! [`lines`] is where both the audit entries and the chain of sync events are written.

pub mod app;
pub mod awskms;
pub mod chain;
pub mod http;
pub mod lines;
pub mod metrics;
