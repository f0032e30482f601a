//! `ksm secret get`.

use std::process::ExitCode;

use clap::Args;
use keeper::{
    Client, Record, Scope, Vault,
    json::{Json, Style},
    jsonpath::JsonPath,
    notation::Section,
    show::{self, Shown},
};
use model::SecretBytes;
use zeroize::Zeroizing;

use super::list::all_there;
use crate::{
    failure::Failure,
    ksm::{
        Done, Ksm,
        table::{Color, Column},
    },
    printer,
};

#[derive(Args)]
pub(crate) struct GetArgs {
    /// A record's UID
    #[arg(short, long, value_name = "UID")]
    uid: Vec<String>,
    /// A record's title
    #[arg(short, long, value_name = "TITLE")]
    title: Vec<String>,
    /// Print this field only (its label, or its type)
    #[arg(short, long, value_name = "FIELD")]
    field: Option<String>,
    /// Print what a JSONPath finds in the record, as JSON
    #[arg(short, long, value_name = "JSONPATH")]
    query: Option<String>,
    /// A text that the query finds without quotes
    #[arg(long)]
    raw: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
    /// An array, also of a single record
    #[arg(long)]
    force_array: bool,
    /// Show passwords and the like in tables
    #[arg(long)]
    unmask: bool,
    #[arg(
        long,
        overrides_with = "deflate",
        help = "Values of records that this one refers to in place of their UIDs [default]"
    )]
    inflate: bool,
    /// The UIDs of records that this one refers to
    #[arg(long)]
    deflate: bool,
    /// A record's UID
    #[arg(value_name = "UID")]
    extra_uid: Vec<String>,
}

pub(super) fn run(ksm: &Ksm, args: &GetArgs) -> Done {
    let uids: Vec<String> = args.uid.iter().chain(&args.extra_uid).cloned().collect();
    if uids.is_empty() && args.title.is_empty() {
        return Err(Failure::wrong("which record? Give a UID, or a title with --title"));
    }
    if args.field.is_some() && uids.len() + args.title.len() > 1 {
        return Err(Failure::wrong("--field is for one record: give one UID or one title"));
    }
    let query = args.query.as_deref().map(JsonPath::parse).transpose().map_err(Failure::wrong)?;
    let shown = Shown { unmask: args.unmask || args.json || args.field.is_some(), inflate: !args.deflate };
    let client = ksm.reading_client()?;
    let vault = fetch(ksm, &client, &uids, &args.title, shown)?;
    let wanted = |record: &&Record| {
        uids.iter().any(|uid| uid == record.uid())
            || record.title().is_some_and(|title| args.title.iter().any(|t| t == title))
    };
    let records: Vec<Json> =
        vault.records().iter().filter(wanted).map(|record| show::record(record, &vault, shown)).collect();
    if records.is_empty() && args.title.is_empty() || args.field.is_some() && records.is_empty() {
        all_there(&uids, &vault)?;
        return titles_there(&args.title, &vault);
    }
    print(ksm, args, query.as_ref(), records)?;
    all_there(&uids, &vault)?;
    titles_there(&args.title, &vault)
}

/// What was asked for, and the records it refers to.
fn fetch(
    ksm: &Ksm,
    client: &Client,
    uids: &[String],
    titles: &[String],
    shown: Shown,
) -> Result<Vault, Failure> {
    let scope = if titles.is_empty() { Scope::Only(uids.to_vec()) } else { Scope::All };
    let vault = ksm.call(client.fetch_with_links(scope))?;
    let refers = |record: &Record| {
        let fields = record.fields(Section::Standard).chain(record.fields(Section::Custom));
        // A masked field shows nothing of the other record.
        fields.into_iter().any(|field| match field.kind() {
            Some("addressRef") => true,
            Some("cardRef") => shown.unmask,
            _ => false,
        })
    };
    if shown.inflate && titles.is_empty() && vault.records().iter().any(refers) {
        return ksm.call(client.fetch_with_links(Scope::All));
    }
    Ok(vault)
}

/// A failure that names every title that nothing has.
fn titles_there(titles: &[String], vault: &Vault) -> Done {
    let hidden = match vault.unreadable().len() {
        0 => String::new(),
        n => format!(" ({n} shared record(s) do not decrypt)"),
    };
    let absent: Vec<String> = titles
        .iter()
        .filter(|title| vault.titled(title).next().is_none())
        .map(|title| format!("no record has the title {title:?}{hidden}"))
        .collect();
    if absent.is_empty() { Ok(ExitCode::SUCCESS) } else { Err(Failure::failed(absent.join("; "))) }
}

fn print(ksm: &Ksm, args: &GetArgs, query: Option<&JsonPath>, records: Vec<Json>) -> Result<(), Failure> {
    if let Some(name) = &args.field {
        let Some(record) = records.first() else { return Ok(()) };
        let value = field(record, name).ok_or_else(|| {
            Failure::failed(format!("the record has no field with the label or type {name:?}"))
        })?;
        printer::talk("");
        match value {
            Json::Null => {}
            Json::Text(text) => ksm.output().secret(&SecretBytes::from(text.as_str()))?,
            other => ksm.output().secret(&other.write(Style::Python))?,
        }
        printer::talk("");
        return Ok(());
    }
    if !args.json && query.is_none() {
        return records.iter().try_for_each(|record| ksm.output().text(&text(ksm, record)));
    }
    let shown = one_or_all(records, args.force_array);
    let Some(query) = query else { return ksm.output().json(&shown, 4) };
    let found = one_or_all(query.find(&shown).into_iter().cloned().collect(), args.force_array);
    match found.as_text() {
        Some(text) if args.raw => ksm.output().secret(&SecretBytes::from(text)),
        _ => ksm.output().json(&found, 4),
    }
}

/// A single one as it is, several as an array.
fn one_or_all(mut all: Vec<Json>, force_array: bool) -> Json {
    match all.pop() {
        Some(only) if all.is_empty() && !force_array => only,
        last => {
            all.extend(last);
            Json::Array(all)
        }
    }
}

/// The first value of the field of that label, else of that type, standard fields first.
fn field<'r>(record: &'r Json, name: &str) -> Option<&'r Json> {
    let found = ["fields", "custom"].iter().find_map(|list| {
        let fields = record.get(list)?.as_array()?;
        ["label", "type"]
            .iter()
            .find_map(|key| fields.iter().find(|field| field.get(key).and_then(Json::as_text) == Some(name)))
    })?;
    let value = found.get("value")?;
    Some(value.as_array().and_then(<[Json]>::first).unwrap_or(value))
}

/// A record as text: its head, and a table each for its fields, files and links.
fn text(ksm: &Ksm, record: &Json) -> Zeroizing<String> {
    let head = |key: &str| {
        let text = record.get(key).and_then(Json::as_text).unwrap_or("None");
        if ksm.color() { Color::Yellow.paint(text) } else { text.to_owned() }
    };
    let list = |key: &str| record.get(key).and_then(Json::as_array).unwrap_or_default();
    let mut parts = vec![Zeroizing::new(format!(
        "\n Record: {}\n Title: {}\n Record Type: {}\n\n",
        head("uid"),
        head("title"),
        head("type")
    ))];
    parts.push(fields(ksm, list("fields")));
    if !list("custom").is_empty() {
        parts.push(custom(ksm, list("custom")));
    }
    if !list("files").is_empty() {
        parts.push(files(ksm, list("files")));
    }
    if !list("links").is_empty() {
        parts.push(links(ksm, record, list("links")));
    }
    parts.push(Zeroizing::new("\n".to_owned()));
    let mut whole = Zeroizing::new(String::with_capacity(parts.iter().map(|part| part.len() + 1).sum()));
    parts.iter().for_each(|part| whole.push_str(part));
    whole
}

/// Three texts in one, built in one piece.
pub(super) fn framed(before: &str, table: &str, after: &str) -> Zeroizing<String> {
    let mut out = Zeroizing::new(String::with_capacity(before.len() + table.len() + after.len()));
    out.push_str(before);
    out.push_str(table);
    out.push_str(after);
    out
}

fn cell<'j>(json: &'j Json, key: &str) -> &'j str {
    json.get(key).and_then(Json::as_text).unwrap_or_default()
}

/// A value on one line: a single text as it is, everything else as JSON.
fn line(field: &Json) -> Option<Zeroizing<String>> {
    let value = field.get("value")?;
    let json = |value: &Json| {
        let text = value.write(Style::Python);
        // Opened to be put into a table that the user asked for.
        Zeroizing::new(text.expose_text().unwrap_or_default().to_owned())
    };
    match value {
        Json::Null => None,
        Json::Array(items) => match items.as_slice() {
            [] => None,
            [Json::Text(text)] if text.is_empty() => None,
            [Json::Text(text)] => Some(Zeroizing::new(text.replace('\n', "\\n"))),
            _ => Some(json(value)),
        },
        other => Some(json(other)),
    }
}

fn fields(ksm: &Ksm, fields: &[Json]) -> Zeroizing<String> {
    let mut table = ksm.table([
        Column::new("Field").in_color(Color::Green),
        Column::new("Value").in_color(Color::Yellow).wrapping(),
    ]);
    for field in fields {
        if let Some(value) = line(field) {
            table.row([cell(field, "label"), &value]);
        }
    }
    framed("", &table.draw(), "\n")
}

fn custom(ksm: &Ksm, fields: &[Json]) -> Zeroizing<String> {
    let mut table = ksm.table([
        Column::new("Custom Field").in_color(Color::Green),
        Column::new("Type"),
        Column::new("Value").in_color(Color::Yellow).wrapping(),
    ]);
    let (mut seen, mut twice) = (Vec::new(), Vec::new());
    for field in fields {
        let Some(value) = line(field) else { continue };
        let label = cell(field, "label");
        let doubled = format!("{label} (!!)");
        let again = seen.contains(&label);
        if again {
            twice.push(label);
        }
        seen.push(label);
        table.row([if again { &doubled } else { label }, cell(field, "type"), &value]);
    }
    let after = if twice.is_empty() {
        "\n".to_owned()
    } else {
        format!(
            "\n !! Found duplicate labels ({}). When accessing custom fields the first record found will be returned.\n",
            twice.join(",")
        )
    };
    framed("\n", &table.draw(), &after)
}

fn files(ksm: &Ksm, files: &[Json]) -> Zeroizing<String> {
    let mut table = ksm.table([
        Column::new("File Name").in_color(Color::Green).wrapping(),
        Column::new("Type"),
        Column::new("Size").right(),
        Column::new("File UID"),
    ]);
    for file in files {
        let size = file.get("size").and_then(Json::as_int).map(|size| size.to_string()).unwrap_or_default();
        table.row([cell(file, "title"), cell(file, "type"), &size, cell(file, "file_uid")]);
    }
    framed("\n", &table.draw(), "\n")
}

fn links(ksm: &Ksm, record: &Json, links: &[Json]) -> Zeroizing<String> {
    let mut table = ksm.table([
        Column::new("Linked Record UID").in_color(Color::Green),
        Column::new("Path").in_color(Color::Yellow),
        Column::new("Link Data").in_color(Color::Yellow).wrapping(),
    ]);
    for link in links {
        let mut uid = cell(link, "recordUid").to_owned();
        if uid == cell(record, "uid") {
            uid.push_str(" (self)");
        }
        let data = link.get("decoded").filter(|data| !data.is_null()).map(|data| data.write(Style::Python));
        // Opened to be put into a table that the user asked for.
        let data = data.as_ref().and_then(|data| data.expose_text().ok()).unwrap_or_default();
        table.row([&uid, cell(link, "path"), data]);
    }
    framed("\n", &table.draw(), "\n")
}
