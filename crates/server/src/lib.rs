//! The server: use cases ([`app`]) and the HTTP that carries them ([`http`]), which speaks Vault's API.

pub mod app;
pub mod http;
pub mod metrics;
