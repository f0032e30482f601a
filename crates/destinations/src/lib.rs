//! Where secrets are delivered to: one folder per destination, all behind the same two seams.
//!
//! A [`Kind`] is a sort of destination before anyone has configured one: its slug, its fields, what
//! it can do, and how to open it. A [`Destination`] is one configured, opened destination: the three
//! calls every adapter owes the engine. Everything an adapter does not need to know stays out of
//! here: this crate has never heard of Vault's API, of policies, stores, statuses or queues.
//!
//! Adding a destination: CONTRIBUTING.md walks through it. One folder here, one line in [`kinds`].

mod aws_sm;
mod azure_kv;
mod config;
mod destination;
mod fault;
mod file;
mod gcp_sm;
mod gh;
mod identity;
pub mod in_mem;
mod json;
pub mod jwt;
mod kind;
mod limits;
pub mod net;
#[cfg(test)]
mod pages;
#[cfg(feature = "fakes")]
mod pretend;
mod shared;
#[cfg(any(test, feature = "fakes"))]
pub mod testing;
mod tokens;
mod vercel_project;

pub use config::{COMMON_FIELDS, Config, CorruptConfig, ENDPOINT, FieldValue, MASK, Mode, fields_of};
pub use destination::{
    Destination, Encoding, Expect, Held, Last, Mark, Present, Put, PutOutcome, Receipt, Remote, Remove,
    WriteId,
};
pub use fault::{Fault, Retry};
pub use identity::{Identity, IdentityTokens};
pub use kind::{Abilities, Case, Field, FieldFault, Kind, NameRule, Shape, TagRule};
pub use limits::{Draw, Limits, Pool};
pub use net::{Net, NetSettings};
pub use shared::{Describe, Shared};

/// What else of AWS is used, with the same credentials and signatures.
pub mod aws {
    pub use crate::aws_sm::kms::{KmsKey, KmsSettings};
}

/// Pretend services, for tests and the demo.
#[cfg(feature = "fakes")]
pub mod fakes {
    pub use crate::aws_sm::fake::{FakeAws, View};
    pub use crate::azure_kv::fake::{FakeAzure, Refuse, SecretView};
    pub use crate::gcp_sm::fake::{FakeGcp, GcpView};
    pub use crate::gh::fake::{FakeGithub, RsaPem, Stored};
    pub use crate::pretend::Trouble;
    pub use crate::vercel_project::fake::{Answer, Exchange, FakeVercel, ListShape, Seen};
}

/// Every kind there is, in the order of their slugs.
pub fn kinds() -> &'static [&'static dyn Kind] {
    static IN_MEM: in_mem::InMem = in_mem::InMem::new();
    static GH: gh::GhKind = gh::GhKind::new();
    static KINDS: &[&dyn Kind] = &[
        &aws_sm::AwsSmKind,
        &azure_kv::AzureKvKind,
        &file::FileKind,
        &gcp_sm::GcpSmKind,
        &GH,
        &IN_MEM,
        &vercel_project::VercelProjectKind,
    ];
    KINDS
}
