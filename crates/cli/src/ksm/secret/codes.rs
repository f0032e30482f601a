//! `ksm secret totp` and `ksm secret password`.

use std::process::ExitCode;

use clap::Args;
use keeper::{Scope, password::PasswordRule, totp};

use super::record_of;
use crate::{
    failure::Failure,
    ksm::{Done, Ksm},
};

#[derive(Args)]
pub(crate) struct TotpArgs {
    /// The record
    #[arg(value_name = "UID")]
    uid: String,
}

#[derive(Args)]
pub(crate) struct PasswordArgs {
    /// Characters in all [default: 64, or the counts added up]
    #[arg(short, long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    length: usize,
    /// Lower case letters [short: -lc]
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    lc: usize,
    /// Upper case letters [short: -uc]
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    uc: usize,
    /// Digits
    #[arg(short, value_name = "N", default_value_t = 0, hide_default_value = true)]
    digits: usize,
    /// Special characters [short: -sc]
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    sc: usize,
}

pub(super) fn totp(ksm: &Ksm, args: &TotpArgs) -> Done {
    let client = ksm.reading_client()?;
    let vault = ksm.call(client.fetch(Scope::Only(vec![args.uid.clone()])))?;
    let record = record_of(&args.uid, &vault)?;
    let code = totp::code_of(record, ksm.world().clock.now()).map_err(Failure::failed)?;
    ksm.output().secret(&code.code)?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn password(ksm: &Ksm, args: &PasswordArgs) -> Done {
    let rule = PasswordRule {
        length: args.length,
        lowercase: args.lc,
        uppercase: args.uc,
        digits: args.digits,
        special: args.sc,
    };
    let password = rule.generate(&*ksm.world().entropy).map_err(Failure::wrong)?;
    ksm.output().secret(&password)?;
    Ok(ExitCode::SUCCESS)
}
