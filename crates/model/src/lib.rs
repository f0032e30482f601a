//! The words keyferry is written in: identifiers, secret bytes, time, statuses.
//!
//! This crate is pure. It opens no file and no socket, never asks what time it is and never rolls
//! dice: the current time and random bytes reach it as arguments ([`Clock`], [`Entropy`]).

mod bytes;
mod entropy;
mod ids;
pub mod json;
mod status;
mod time;
mod trace;

pub use bytes::{NotText, SecretBytes};
pub use entropy::{Entropy, SeededEntropy, uuid_v4};
pub use ids::{
    AssociationId, DestinationId, DestinationKey, DestinationName, InvalidName, MountAccessor, MountPath,
    NodeId, RemoteName, SecretPath, StoreId, Version,
};
pub use status::{Blame, Granularity, SyncStatus};
pub use time::{Clock, InvalidDuration, ManualClock, Timestamp, format_go_duration, parse_duration};
pub use trace::{Attribute, Span, SpanKind, TraceContext, Tracer};
