//! What a run says: one JSON document in upstream's shape for programs, lines on stderr for people
//! (keeper.md 4.6, decisions 21).

use base64::{Engine as _, prelude::BASE64_STANDARD};
use keeper::{
    json::{Json, Style},
    sync_source::{Content, Desired, Entry, Request, Source},
};

use super::{Done, Ksm, SyncArgs, Type, deliver::Outcome, exit_code};
use crate::{ksm::context::warn, printer};

/// What stands for a value that is not shown.
const MASK: &str = "****";

/// The document, and what is said beside it.
pub(super) struct Report {
    data: Vec<Json>,
    log: Vec<String>,
    notes: Vec<String>,
    failures: Vec<String>,
    processed: usize,
    with_data: bool,
}

impl Report {
    /// `hints` go into the log as upstream's do. On stderr a person sees them; every night's mail does not.
    fn empty(args: &SyncArgs, notes: Vec<String>, hints: Vec<String>) -> Self {
        // A run that writes says what went wrong, and no more.
        let with_data = !args.writes();
        Self { data: Vec::new(), log: hints, notes, failures: Vec::new(), processed: 0, with_data }
    }

    /// Of a list without a destination.
    pub(super) fn sources(args: &SyncArgs, source: Source) -> Self {
        let mut report = Self::empty(args, source.notes, source.hints);
        for entry in &source.entries {
            let error = failure(entry);
            let item = item(args, entry);
            report.add(&entry.key(), item, error.as_deref(), pointed(entry));
        }
        report
    }

    /// Of a run against a destination, dry or not.
    pub(super) fn delivered(
        args: &SyncArgs,
        entries: &[Entry],
        notes: Vec<String>,
        hints: Vec<String>,
        outcomes: Vec<Outcome>,
    ) -> Self {
        let mut report = Self::empty(args, notes, hints);
        for (entry, outcome) in entries.iter().zip(outcomes) {
            report.notes.extend(outcome.note);
            let mut item = item(args, entry);
            if let Some(there) = outcome.there {
                item.set("dstValue", there);
            }
            let truth = |truth: Option<bool>| truth.map_or(Json::Null, Json::Bool);
            item.set("dstExists", truth(outcome.exists));
            item.set("dstDiffers", truth(outcome.differs));
            if args.kind == Type::Json {
                item.set("action", Json::text(outcome.action));
            }
            report.add(&entry.key(), item, outcome.error.as_deref(), pointed(entry));
        }
        report
    }

    /// Of a run that could not read Keeper.
    pub(super) fn all_failed(args: &SyncArgs, request: &Request, error: &str) -> Self {
        let mut report = Self::empty(args, Vec::new(), Vec::new());
        let maps = request.maps.iter().map(|(key, notation)| (key.clone(), notation.clone()));
        let records = [
            ("record", &request.records),
            ("folder", &request.folders),
            ("folder-recursive", &request.folders_recursive),
        ];
        let records = records.into_iter().flat_map(|(word, tokens)| {
            tokens.iter().map(move |token| (token.clone(), format!("{word}:{token}")))
        });
        for (key, notation) in maps.chain(records) {
            let mut item = blank(&key, &notation);
            item.set("error", Json::text(error));
            report.data.push(item);
            report.processed += 1;
        }
        report.log.push(error.to_owned());
        report.failures = vec![String::new(); report.processed.max(1)];
        error.clone_into(&mut report.failures[0]);
        report
    }

    fn add(&mut self, key: &str, mut item: Json, error: Option<&str>, pointed: Option<&str>) {
        if let Some(error) = error {
            item.set("error", Json::text(error));
            self.log.push(format!("{key}: {error}"));
            self.failures.push(format!("{key}: {}", pointed.unwrap_or(error)));
        }
        self.processed += 1;
        if self.with_data {
            self.data.push(item);
        }
    }

    /// Prints it. The exit code says whether anything failed.
    pub(super) fn print(self, ksm: &Ksm) -> Done {
        let Self { data, log, notes, failures, processed, with_data } = self;
        notes.iter().for_each(warn);
        for failure in failures.iter().filter(|failure| !failure.is_empty()) {
            printer::talk(format_args!("Error: {failure}"));
        }
        let count = |count: usize| Json::int(i128::try_from(count).unwrap_or(i128::MAX));
        let status =
            Json::object([("processed", count(processed)), ("failed", count(failures.len().min(processed)))]);
        let mut document = Json::object([]);
        if with_data {
            document.set("data", Json::Array(data));
        }
        document.set("log", Json::Array(log.into_iter().map(Json::text).collect()));
        document.set("status", status);
        ksm.output().json(&document, 2)?;
        Ok(exit_code(failures.len()))
    }
}

fn blank(key: &str, notation: &str) -> Json {
    Json::object([
        ("mapKey", Json::text(key)),
        ("mapNotation", Json::text(notation)),
        ("srcValue", Json::Null),
        ("dstValue", Json::Null),
    ])
}

/// An entry with its value, which is what a list is for; elsewhere it is masked unless asked for.
fn item(args: &SyncArgs, entry: &Entry) -> Json {
    let mut item = blank(&entry.key(), &entry.notation);
    let Desired::Write(content) = &entry.desired else { return item };
    let value = match content {
        _ if args.writes() => return item,
        _ if args.kind != Type::Json && !args.show_values => Json::text(MASK),
        // Opened because the user asked for it to be printed.
        Content::Text(text) => Json::text(text.expose_text().unwrap_or_default()),
        Content::Binary(bytes) => Json::text(BASE64_STANDARD.encode(bytes.expose())),
        // As it would be written, like upstream.
        Content::Record(json) if args.kind != Type::Json && !args.raw_json => {
            Json::text(json.write(Style::Compact).expose_text().unwrap_or_default())
        }
        Content::Record(json) => json.clone(),
    };
    item.set("srcValue", value);
    item
}

fn failure(entry: &Entry) -> Option<String> {
    match &entry.desired {
        Desired::Fail(trouble) => Some(trouble.message.clone()),
        Desired::Write(_) | Desired::Remove(_) => None,
    }
}

/// The notation with a caret under the place that is at fault.
fn pointed(entry: &Entry) -> Option<&str> {
    match &entry.desired {
        Desired::Fail(trouble) => trouble.pointed.as_deref(),
        Desired::Write(_) | Desired::Remove(_) => None,
    }
}
