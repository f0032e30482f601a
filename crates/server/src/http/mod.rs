//! HTTP: sockets, TLS, and the translation between HTTP messages and the app's requests and replies.
//! It knows no store: whatever it answers comes from [`App::handle`](crate::app::App::handle).

mod activity;
mod convert;
mod respond;
mod server;
mod service;
mod snapshots;
mod tls;
mod trace;

pub use server::{Config, Handle, StartError, start};
pub use service::{Limits, Service};
pub use snapshots::{Outgoing, Pieces};
pub use tls::{TlsError, TlsFiles};
