//! What makes destinations hold what the source holds.
//!
//! One association at a time: read the source, work out what should be there ([`spread`]), compare
//! it with what is known to be there ([`plan`]), carry out the difference ([`apply`]), and record
//! what came of it in one commit (`worker`). Nothing is told what changed: a row in the outbox
//! means "look at this association again", and whoever looks reads the newest of everything. So a
//! row may be lost, doubled or late without harm, and dry runs, retries, drift repair and crash
//! recovery are the same code.
//!
//! [`once`] does the same for one run without a store: what is known of a destination then comes from
//! looking at it.
//!
//! The work is woken three ways: by the commit that wrote the row, by a timer for what was put off,
//! and by a slow `sweep` that should find nothing to do.

pub mod apply;
mod associations;
mod authority;
mod backlog;
mod calls;
pub mod cluster;
mod engine;
pub mod gate;
mod identity;
mod kv_source;
mod lanes;
mod manage;
mod observer;
pub mod once;
pub mod options;
pub mod plan;
mod quota;
mod record;
mod registry;
mod restore;
pub mod rules;
mod shared;
pub mod source;
pub mod spread;
mod survey;
mod sweep;
pub mod template;
mod timers;
mod worker;

#[cfg(test)]
mod names_tests;
#[cfg(test)]
mod restore_tests;
#[cfg(test)]
mod sim;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use associations::{AssociationError, EntryView, SourceRef};
pub use authority::{Authority, PERMISSION_LOST, Permission};
pub use backlog::{Backlog, BoundBy};
pub use calls::{Call, traced};
pub use cluster::{ClusterSettings, NodeView};
pub use engine::{Engine, Parts, Settings};
pub use identity::{IdentityIssuer, PATH as IDENTITY_PATH};
pub use kv_source::KvSource;
pub use manage::{DestinationError, DestinationView, Removal};
pub use observer::{Act, Delivery, Observer};
pub use restore::{DestinationForecast, Forecast, Foreseen, RestorePlan};
pub use shared::{SharedError, SharedView};
pub use survey::Survey;
pub use worker::MASS_DELETE_HELD;
