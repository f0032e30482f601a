//! `ksm secret`: records and what is in them.

mod codes;
mod get;
mod list;
mod notation;

use clap::Subcommand;
use keeper::{Found, Vault};

use super::{Done, Ksm};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// List records
    List(list::ListArgs),
    /// Show records, or a field of one
    Get(get::GetArgs),
    /// Print the value that a notation names
    Notation(notation::NotationArgs),
    /// Print the one-time code of a record
    Totp(codes::TotpArgs),
    /// Make a password
    Password(codes::PasswordArgs),
}

pub(super) fn run(ksm: &Ksm, command: Command) -> Done {
    match command {
        Command::List(args) => list::run(ksm, &args),
        Command::Get(args) => get::run(ksm, &args),
        Command::Notation(args) => notation::run(ksm, &args),
        Command::Totp(args) => codes::totp(ksm, &args),
        Command::Password(args) => codes::password(ksm, &args),
    }
}

/// What is to be said of a UID whose record is not in the answer.
fn absent(uid: &str, vault: &Vault) -> Option<String> {
    match vault.find(uid) {
        Found::Record(_) => None,
        Found::Unreadable(why) => {
            Some(format!("record {uid} is shared but {why}: share it anew with the application"))
        }
        Found::NotShared | Found::Unknown => {
            Some(format!("no record of the UID {uid} is shared with this application"))
        }
    }
}
