//! `ksm secret notation`.

use std::process::ExitCode;

use clap::Args;
use keeper::notation;

use crate::{
    failure::Failure,
    ksm::{Done, Ksm, values::Values},
};

#[derive(Args)]
pub(crate) struct NotationArgs {
    #[arg(value_name = "NOTATION", help = "keeper://<title or UID>/<selector>, or base64 of that")]
    text: String,
}

pub(super) fn run(ksm: &Ksm, args: &NotationArgs) -> Done {
    let parsed = notation::parse(&args.text).map_err(Failure::wrong)?;
    let values = Values::fetch(ksm, [&parsed])?;
    if let Some(value) = values.get(ksm, &parsed)? {
        ksm.output().secret(&value)?;
    }
    Ok(ExitCode::SUCCESS)
}
