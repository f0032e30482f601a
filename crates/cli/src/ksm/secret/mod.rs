//! `ksm secret`: records and what is in them.

mod add;
mod codes;
mod files;
mod get;
mod list;
mod notation;
mod template;
mod update;

use clap::Subcommand;
use keeper::{Found, Record, Vault};

use super::{Done, Ksm};
use crate::failure::Failure;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// List records
    List(list::ListArgs),
    /// Show records, or a field of one
    Get(get::GetArgs),
    /// Print the value that a notation names
    Notation(notation::NotationArgs),
    /// Add records to a folder
    #[command(subcommand)]
    Add(add::Command),
    /// Show what records and fields of a type consist of
    #[command(subcommand)]
    Template(template::Command),
    /// Change a record
    Update(update::UpdateArgs),
    /// Delete records
    Delete(update::DeleteArgs),
    /// Attach a file to a record
    Upload(files::UploadArgs),
    /// Fetch a file that is attached to a record
    Download(files::DownloadArgs),
    /// Remove attached files
    DeleteAttachment(files::DetachArgs),
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
        Command::Add(command) => add::run(ksm, command),
        Command::Template(command) => template::run(ksm, command),
        Command::Update(args) => update::update(ksm, &args),
        Command::Delete(args) => update::delete(ksm, &args),
        Command::Upload(args) => files::upload(ksm, &args),
        Command::Download(args) => files::download(ksm, &args),
        Command::DeleteAttachment(args) => files::detach(ksm, &args),
        Command::Totp(args) => codes::totp(ksm, &args),
        Command::Password(args) => codes::password(ksm, &args),
    }
}

/// The record of a UID, or what is to be said of its absence.
fn record_of<'v>(uid: &str, vault: &'v Vault) -> Result<&'v Record, Failure> {
    match vault.find(uid) {
        Found::Record(record) => Ok(record),
        Found::Unreadable(why) => Err(Failure::failed(format!(
            "record {uid} is shared but {why}: share it anew with the application"
        ))),
        Found::NotShared | Found::Unknown => {
            Err(Failure::failed(format!("no record of the UID {uid} is shared with this application")))
        }
    }
}
