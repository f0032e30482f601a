//! `ksm sync`.

use clap::Args;

use super::{Done, Ksm};
use crate::failure::Failure;

/// Not here yet.
#[derive(Args)]
pub(crate) struct SyncArgs {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    rest: Vec<std::ffi::OsString>,
}

pub(super) fn run(_: &Ksm, _: SyncArgs) -> Done {
    Err(Failure::failed("`ksm sync` is not part of this build yet"))
}
