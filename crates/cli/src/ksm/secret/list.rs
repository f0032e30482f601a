//! `ksm secret list`.

use std::process::ExitCode;

use clap::Args;
use keeper::{Record, Scope, Vault, json::Json, show};

use super::record_of;
use crate::{
    failure::Failure,
    ksm::{
        Done, Ksm,
        table::{Color, Column},
    },
};

#[derive(Args)]
pub(crate) struct ListArgs {
    /// Only these records
    #[arg(short, long, value_name = "UID", conflicts_with = "folder")]
    uid: Vec<String>,
    /// Only records in this folder
    #[arg(short, long, value_name = "UID")]
    folder: Option<String>,
    /// And in the folders below it
    #[arg(short, long)]
    recursive: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(ksm: &Ksm, args: &ListArgs) -> Done {
    let client = ksm.client()?;
    let scope = if args.uid.is_empty() { Scope::All } else { Scope::Only(args.uid.clone()) };
    let vault = ksm.call(client.fetch(scope))?;
    let folder = match args.folder.as_deref() {
        None => None,
        Some(uid) if args.recursive => Some((uid, Some(ksm.call(client.folders())?))),
        Some(uid) => Some((uid, None)),
    };
    let is_in = |record: &Record| match &folder {
        None => true,
        Some((uid, folders)) => record.places().iter().any(|place| {
            place.folder() == *uid
                || folders.as_ref().is_some_and(|folders| folders.is_within(place.folder(), uid))
        }),
    };
    let records: Vec<&Record> = vault.records().iter().filter(|record| is_in(record)).collect();
    if vault.records().is_empty() && !args.uid.is_empty() {
        return all_there(&args.uid, &vault);
    }
    print(ksm, args, &records)?;
    all_there(&args.uid, &vault)
}

fn print(ksm: &Ksm, args: &ListArgs, records: &[&Record]) -> Result<(), Failure> {
    if args.json {
        let entries = records.iter().map(|record| show::list_entry(record)).collect();
        return ksm.output().json(&Json::Array(entries), 4);
    }
    let mut table = ksm.table([
        Column::new("UID").in_color(Color::Green),
        Column::new("Record Type"),
        Column::new("Title").in_color(Color::Yellow),
    ]);
    for record in records {
        table.row([record.uid(), record.kind().unwrap_or_default(), record.title().unwrap_or_default()]);
    }
    ksm.output().text(&format!("\n{}\n", table.draw().as_str()))
}

/// A failure that names every record that was asked for and is not there.
pub(super) fn all_there(uids: &[String], vault: &Vault) -> Done {
    let absent: Vec<String> = uids
        .iter()
        .filter_map(|uid| record_of(uid, vault).err())
        .map(|failure| failure.to_string())
        .collect();
    if absent.is_empty() { Ok(ExitCode::SUCCESS) } else { Err(Failure::failed(absent.join("; "))) }
}
