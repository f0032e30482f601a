//! `ksm secret list`.

use std::process::ExitCode;

use clap::Args;
use keeper::{
    Record, Scope, Vault,
    json::{Json, Style},
    jsonpath::JsonPath,
    show::{self, Shown},
};
use regex::{Regex, RegexBuilder};
use zeroize::Zeroizing;

use super::{get::framed, record_of};
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
    /// Only records in which a JSONPath finds something
    #[arg(short, long, value_name = "JSONPATH")]
    query: Option<String>,
    /// What it finds in place of titles
    #[arg(short = 'v', long)]
    show_value: bool,
    /// Only titles that match a regular expression, in any case
    #[arg(short, long, value_name = "REGEX")]
    title: Option<String>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(ksm: &Ksm, args: &ListArgs) -> Done {
    let query = args.query.as_deref().map(JsonPath::parse).transpose().map_err(Failure::wrong)?;
    let title = args.title.as_deref().filter(|title| !title.is_empty()).map(expression).transpose()?;
    let client = ksm.reading_client()?;
    let scope = if args.uid.is_empty() { Scope::All } else { Scope::Only(args.uid.clone()) };
    let vault = ksm.call(client.fetch(scope))?;
    if vault.records().is_empty() && !args.uid.is_empty() {
        return all_there(&args.uid, &vault);
    }
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
    let is_titled = |record: &Record| {
        title.as_ref().is_none_or(|title| title.is_match(record.title().unwrap_or_default()))
    };
    let entries: Vec<Entry<'_>> = vault
        .records()
        .iter()
        .filter(|record| is_in(record) && is_titled(record))
        .filter_map(|record| match &query {
            None => Some(Entry { record, found: None }),
            Some(query) => found(query, record, &vault).map(|found| Entry { record, found: Some(found) }),
        })
        .collect();
    print(ksm, args, &entries)?;
    all_there(&args.uid, &vault)
}

/// A record of the list, and what the query has found in it.
struct Entry<'v> {
    record: &'v Record,
    found: Option<Json>,
}

fn expression(text: &str) -> Result<Regex, Failure> {
    RegexBuilder::new(text)
        .case_insensitive(true)
        .build()
        .map_err(|_| Failure::wrong("--title is not a regular expression, or one that is too large"))
}

/// The first thing a query finds in a record, or the first element of it. What is empty does not count.
fn found(query: &JsonPath, record: &Record, vault: &Vault) -> Option<Json> {
    let shown = show::record(record, vault, Shown { unmask: true, inflate: false });
    let first = query.find(&shown).into_iter().next().cloned()?;
    match first {
        Json::Array(items) => items.into_iter().next(),
        Json::Null | Json::Bool(false) => None,
        Json::Text(text) if text.is_empty() => None,
        Json::Object(members) if members.is_empty() => None,
        Json::Number(digits) if digits.parse::<f64>() == Ok(0.0) => None,
        other => Some(other),
    }
}

fn print(ksm: &Ksm, args: &ListArgs, entries: &[Entry<'_>]) -> Result<(), Failure> {
    if args.json {
        let entry = |entry: &Entry<'_>| {
            let mut json = show::list_entry(entry.record);
            if let Some(found) = entry.found.as_ref().filter(|_| args.show_value) {
                json.set("value", found.clone());
            }
            json
        };
        return ksm.output().json(&Json::Array(entries.iter().map(entry).collect()), 4);
    }
    let with_value = args.show_value && args.query.is_some();
    let mut table = ksm.table([
        Column::new("UID").in_color(Color::Green),
        Column::new("Record Type"),
        Column::new(if with_value { "Value" } else { "Title" }).in_color(Color::Yellow),
    ]);
    for Entry { record, found } in entries {
        let found = found.as_ref().filter(|_| with_value).map(line);
        let last = found.as_ref().map_or(record.title().unwrap_or_default(), |found| found.as_str());
        table.row([record.uid(), record.kind().unwrap_or_default(), last]);
    }
    ksm.output().text(&framed("\n", &table.draw(), "\n"))
}

/// A value for a cell: text as it is, everything else as JSON.
fn line(value: &Json) -> Zeroizing<String> {
    match value {
        Json::Text(text) => text.clone(),
        // Opened to be put into a table that the user asked for.
        other => Zeroizing::new(other.write(Style::Python).expose_text().unwrap_or_default().to_owned()),
    }
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
