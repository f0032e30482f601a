//! `ksm folder`: shared folders and those below them.

use std::process::ExitCode;

use clap::{Args, Subcommand, builder::NonEmptyStringValueParser};
use keeper::{Folder, Folders, Record, Scope, json::Json};

use super::{
    Done, Ksm, deleted,
    table::{Color, Column},
};
use crate::{failure::Failure, printer};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// List folders
    List(ListArgs),
    /// Make a folder in another one
    Add(AddArgs),
    /// Rename a folder
    Update(UpdateArgs),
    /// Delete folders
    Delete(DeleteArgs),
}

#[derive(Args)]
pub(crate) struct ListArgs {
    /// This folder only
    #[arg(short, long, value_name = "UID")]
    folder: Option<String>,
    /// And the folders below it
    #[arg(short, long)]
    recursive: bool,
    /// Their records as well
    #[arg(short, long)]
    list_records: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(crate) struct AddArgs {
    /// The folder it goes into
    #[arg(short = 'f', long, value_name = "UID", value_parser = NonEmptyStringValueParser::new())]
    parent_folder: String,
    /// Its name
    #[arg(short, long, value_name = "TITLE", value_parser = NonEmptyStringValueParser::new())]
    title: String,
}

#[derive(Args)]
pub(crate) struct UpdateArgs {
    /// The folder
    #[arg(short, long, value_name = "UID", value_parser = NonEmptyStringValueParser::new())]
    folder: String,
    /// Its new name
    #[arg(short, long, value_name = "TITLE")]
    title: String,
}

#[derive(Args)]
pub(crate) struct DeleteArgs {
    /// Also folders that are not empty, with what is in them
    #[arg(short, long)]
    force: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
    /// A folder
    #[arg(value_name = "UID", required = true, value_parser = NonEmptyStringValueParser::new())]
    folder_uid: Vec<String>,
}

pub(super) fn run(ksm: &Ksm, command: Command) -> Done {
    match command {
        Command::List(args) => list(ksm, &args),
        Command::Add(args) => add(ksm, &args),
        Command::Update(args) => update(ksm, &args),
        Command::Delete(args) => delete(ksm, &args),
    }
}

/// A line of the list: type, parent, UID, title.
type Row<'a> = [&'a str; 4];

fn list(ksm: &Ksm, args: &ListArgs) -> Done {
    let client = ksm.client()?;
    let folders = ksm.call(client.folders())?;
    let vault = if args.list_records { Some(ksm.call(client.fetch(Scope::All))?) } else { None };
    let records = vault.as_ref().map_or(&[][..], |vault| vault.records());
    let rows = rows(args, &folders, records);
    if args.json {
        let object = |[kind, parent, uid, title]: &Row<'_>| {
            Json::object([
                ("type", Json::text(*kind)),
                ("parent_uid", Json::text(*parent)),
                ("uid", Json::text(*uid)),
                ("title", Json::text(*title)),
            ])
        };
        ksm.output().json(&Json::Array(rows.iter().map(object).collect()), 4)?;
    } else {
        let mut table = ksm.table([
            Column::new("Type").in_color(Color::Green),
            Column::new("Parent").in_color(Color::Yellow),
            Column::new("UID").in_color(Color::Yellow),
            Column::new("Title").in_color(Color::Green).wrapping(),
        ]);
        for row in rows {
            table.row(row);
        }
        ksm.output().text(&format!("\n{}\n", table.draw().as_str()))?;
    }
    dark(&folders, args.folder.as_deref())
}

fn rows<'a>(args: &ListArgs, folders: &'a Folders, records: &'a [Record]) -> Vec<Row<'a>> {
    let wanted = |folder: &&Folder| match args.folder.as_deref().filter(|uid| !uid.is_empty()) {
        None => true,
        Some(uid) if args.recursive => folders.is_within(&folder.uid, uid),
        Some(uid) => folder.uid == uid,
    };
    let mut rows: Vec<Row<'_>> = Vec::new();
    if args.folder.as_deref().is_none_or(str::is_empty) {
        let alone = records.iter().filter(|record| record.places().is_empty());
        rows.extend(alone.map(|record| ["rec", "", record.uid(), record.title().unwrap_or_default()]));
    }
    for folder in folders.list().iter().filter(wanted) {
        rows.push(["dir", folder.parent.as_deref().unwrap_or_default(), &folder.uid, &folder.name]);
        let inside =
            records.iter().filter(|record| record.places().iter().any(|place| place.folder() == folder.uid));
        rows.extend(
            inside.map(|record| {
                [" rec", folder.uid.as_str(), record.uid(), record.title().unwrap_or_default()]
            }),
        );
    }
    rows
}

/// Folders whose keys do not open are not in the list, which is not to be taken for their absence.
fn dark(folders: &Folders, asked: Option<&str>) -> Done {
    let of_interest: Vec<&str> = folders
        .unreadable()
        .iter()
        .map(String::as_str)
        .filter(|uid| asked.is_none_or(|asked| asked.is_empty() || asked == *uid))
        .collect();
    if of_interest.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    Err(Failure::failed(format!(
        "folders whose keys do not decrypt are not listed: {}",
        of_interest.join(", ")
    )))
}

fn add(ksm: &Ksm, args: &AddArgs) -> Done {
    let client = ksm.client()?;
    let folders = ksm.call(client.folders())?;
    let uid = ksm.call(client.create_folder(&args.parent_folder, &folders, &args.title))?;
    printer::talk("The following is the new folder UID ...");
    ksm.output().text(&uid)?;
    Ok(ExitCode::SUCCESS)
}

fn update(ksm: &Ksm, args: &UpdateArgs) -> Done {
    let client = ksm.client()?;
    let folders = ksm.call(client.folders())?;
    ksm.call(client.rename_folder(&args.folder, &folders, &args.title))?;
    Ok(ExitCode::SUCCESS)
}

fn delete(ksm: &Ksm, args: &DeleteArgs) -> Done {
    let client = ksm.client()?;
    let gone = ksm.call(client.delete_folders(&args.folder_uid, args.force))?;
    deleted::tell(ksm, &args.folder_uid, &gone, args.json)
}
