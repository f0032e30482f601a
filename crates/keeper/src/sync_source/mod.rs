//! What `sync` wants written, read from Keeper: mappings, records and folders in, named values out
//! (keeper.md 4.4, 4.5; decisions 18 to 20).
//!
//! [`Plan::new`] checks everything that can be checked before anything is fetched, and reports all
//! mistakes together. [`Plan::read`] makes one fetch (and one of the folders where they are asked
//! for) and gives an [`Entry`] for each name. An entry is to be written, to be removed, or has failed;
//! it is removed only on proof (decisions 19), never because something could not be read.
//!
//! Where we differ from the official CLI 1.5.0, on purpose:
//!
//! - Reading trouble is a failed entry and never a missing value.
//! - A record or folder that cannot be found, or whose title makes no name, fails alone; upstream
//!   stops the whole run, which lets everybody who may set a title stop everyone's synchronisation.
//!   Two records of one name both fail.
//! - A record that is named by `-r` and is in a folder of `-f` or `-fr` counts once.
//! - Records and folders work for all clouds; names are adapted to each.

mod flatten;
mod folders;
pub mod merge;
mod names;

use std::collections::{HashMap, HashSet};

use model::SecretBytes;

use crate::{
    Client, Error, Folders,
    json::Json,
    notation::{Evaluation, FailureKind, Parsed, Value, evaluate, is_uid, parse},
    records::{File, Found, Record, Scope, Unread, Vault},
    text::{self, Form},
};
use names::NameRule;

/// Where the values are to go; it decides about names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// AWS Secrets Manager.
    Aws,
    /// Azure Key Vault.
    Azure,
    /// Google Secret Manager.
    Gcp,
    /// A list; names are checked as for AWS, as upstream does.
    Json,
}

/// What was asked for on the command line.
#[derive(Debug, Clone)]
pub struct Request {
    /// `--type`
    pub target: Target,
    /// `--map KEY NOTATION`
    pub maps: Vec<(String, String)>,
    /// `--record`: UIDs or titles
    pub records: Vec<String>,
    /// `--folder`: UIDs, paths or names
    pub folders: Vec<String>,
    /// `--folder-recursive`
    pub folders_recursive: Vec<String>,
    /// `--prefix`
    pub prefix: Option<String>,
    /// `--credentials`: the UID of a record to be fetched along
    pub credentials: Option<String>,
    /// `--raw-json`
    pub raw_json: bool,
    /// `--python-values`
    pub form: Form,
}

/// Wrong use: something on the command line that cannot be meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{option}: {problem}")]
pub struct Mistake {
    /// The option, and its argument where that is a name: `--map db_password`.
    pub option: String,
    /// What is wrong with it; over several lines for a notation.
    pub problem: String,
}

/// One value at the destination.
#[derive(Debug)]
pub struct Entry {
    /// The destination's name for it.
    pub name: String,
    /// The member of the JSON object there (`NAME+JSONKEY`); none for the whole value.
    pub json_key: Option<String>,
    /// Where it comes from: the notation, or `record:UID`, `folder:UID`, `folder-recursive:UID`.
    pub notation: String,
    /// Named after a record's title and not by the user: nothing that is not ours may be overwritten
    /// for it (decisions 18).
    pub derived: bool,
    /// What is to become of it.
    pub desired: Desired,
}

impl Entry {
    /// The key as upstream prints it: `NAME` or `NAME+JSONKEY`.
    pub fn key(&self) -> String {
        self.json_key.as_ref().map_or_else(|| self.name.clone(), |key| format!("{}+{key}", self.name))
    }
}

/// What is to become of an entry.
#[derive(Debug)]
pub enum Desired {
    /// It is to hold this.
    Write(Content),
    /// It is to be removed (unless missing ones are kept), because this is proven.
    Remove(Gone),
    /// Nobody knows; the destination stays as it is.
    Fail(Trouble),
}

/// A value to be written.
#[derive(Debug)]
pub enum Content {
    /// Text.
    Text(SecretBytes),
    /// A file's bytes.
    Binary(SecretBytes),
    /// A record as an object, flattened or raw.
    Record(Json),
}

/// Why a value is positively gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Gone {
    /// The record was named by its UID and is no longer shared.
    #[error("the record is no longer shared with the application")]
    NotShared,
    /// The field is there and holds no value.
    #[error("the field holds no value")]
    Empty,
}

/// Why an entry failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Trouble {
    /// A stable word for it.
    pub code: &'static str,
    /// What is wrong, on one line.
    pub message: String,
    /// The notation with a caret under the place, where there is one.
    pub pointed: Option<String>,
}

impl Trouble {
    fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), pointed: None }
    }
}

/// Everything that was asked for, read.
#[derive(Debug)]
pub struct Source {
    /// In the order of the request: mappings, records, folders, recursive folders.
    pub entries: Vec<Entry>,
    /// What the user should know, one line each.
    pub notes: Vec<String>,
    /// Advice on the command line, for whoever is looking; the same every time.
    pub hints: Vec<String>,
    /// What was fetched, with the record of `--credentials` where there is one.
    pub vault: Vault,
}

/// What is worth saying while reading: to everybody, and to whoever is looking.
struct Remarks {
    notes: Vec<String>,
    hints: Vec<String>,
}

/// A checked request.
#[derive(Debug)]
pub struct Plan {
    request: Request,
    maps: Vec<Map>,
    rule: &'static NameRule,
    notes: Vec<String>,
}

#[derive(Debug)]
struct Map {
    name: String,
    json_key: Option<String>,
    parsed: Parsed,
}

impl Plan {
    /// Checks a request.
    ///
    /// # Errors
    /// Every mistake in it: notations, names, names that are there twice, the prefix.
    pub fn new(request: Request) -> Result<Self, Vec<Mistake>> {
        let rule = NameRule::of(request.target);
        let mut mistakes = Vec::new();
        let mut notes = Vec::new();
        let titled = !(request.records.is_empty()
            && request.folders.is_empty()
            && request.folders_recursive.is_empty());
        if request.maps.is_empty() && !titled {
            mistakes.push(mistake(
                "--map",
                "nothing to synchronise: give --map, --record, --folder or --folder-recursive",
            ));
        }
        if let Some(prefix) = request.prefix.as_deref().filter(|p| !p.is_empty()) {
            if request.target != Target::Json && prefix.ends_with(char::is_alphanumeric) {
                mistakes.push(mistake("--prefix", "must end in a separator, as in keeper/ or myapp-"));
            }
            if !titled {
                notes.push(
                    "--prefix has no effect without --record, --folder or --folder-recursive".to_owned(),
                );
            }
        }
        if request.raw_json && !titled {
            notes
                .push("--raw-json has no effect without --record, --folder or --folder-recursive".to_owned());
        }
        if request.credentials.as_deref().is_some_and(|uid| !is_uid(uid)) {
            mistakes
                .push(mistake("--credentials", "must be the UID of a record: 22 letters, digits, - and _"));
        }
        let mut maps = Vec::new();
        for (key, notation) in &request.maps {
            let option = format!("--map {key}");
            let (name, json_key) = match key.split_once('+').filter(|_| rule.json_keys) {
                Some((name, json_key)) => (name, Some(json_key)),
                None => (key.as_str(), None),
            };
            if let Err(problem) = rule.check(name) {
                mistakes.push(mistake(&option, &problem));
            }
            if json_key == Some("") {
                mistakes.push(mistake(&option, "names no JSON key after the '+'"));
            }
            notes.extend(rule.caution(name));
            match parse(notation) {
                Ok(parsed) => {
                    maps.push(Map { name: name.to_owned(), json_key: json_key.map(str::to_owned), parsed });
                }
                Err(error) => mistakes.push(mistake(&option, &error.to_string())),
            }
        }
        mistakes.extend(doubles(&request.maps, rule));
        if mistakes.is_empty() { Ok(Self { request, maps, rule, notes }) } else { Err(mistakes) }
    }

    /// Fetches from Keeper and settles every entry.
    ///
    /// # Errors
    /// When Keeper could not be read at all: then nothing is known of any entry.
    pub async fn read(self, client: &Client) -> Result<Source, Error> {
        let by_folder = !(self.request.folders.is_empty() && self.request.folders_recursive.is_empty());
        let vault = if by_folder || !self.request.records.is_empty() {
            client.fetch(Scope::All).await?
        } else {
            let notations = self.maps.iter().map(|map| &map.parsed.notation);
            client.fetch_for_and(notations, self.request.credentials.as_deref()).await?
        };
        let folders = if by_folder { client.folders().await? } else { Folders::default() };
        let mut entries = Vec::new();
        let mut remarks = Remarks { notes: self.notes.clone(), hints: Vec::new() };
        let notes = &mut remarks.notes;
        notes.extend(vault.warnings.iter().map(|warning| format!("Keeper: {warning}")));
        let mut files = HashMap::new();
        for map in &self.maps {
            let desired = self.mapped(map, &vault, client, &mut files, notes).await;
            entries.push(Entry {
                name: map.name.clone(),
                json_key: map.json_key.clone(),
                notation: map.parsed.text().to_owned(),
                derived: false,
                desired,
            });
        }
        self.titled(&vault, &folders, &mut entries, &mut remarks);
        let Remarks { notes, hints } = remarks;
        Ok(Source { entries, notes, hints, vault })
    }

    /// What becomes of one mapping.
    async fn mapped(
        &self,
        map: &Map,
        vault: &Vault,
        client: &Client,
        files: &mut HashMap<String, SecretBytes>,
        notes: &mut Vec<String>,
    ) -> Desired {
        match evaluate(&map.parsed.notation, vault) {
            Evaluation::Value(value, warnings) => {
                notes.extend(warnings.iter().map(|warning| format!("{}: {warning}", map.parsed.text())));
                match value {
                    Value::Json(json) => match text::of_value(&json, self.request.form) {
                        Some(text) => Desired::Write(Content::Text(text)),
                        None => Desired::Remove(Gone::Empty),
                    },
                    Value::File(file) => match content(&file, client, files).await {
                        Ok(bytes) => Desired::Write(Content::Binary(bytes)),
                        Err(error) => Desired::Fail(Trouble::new(error.code(), error.to_string())),
                    },
                }
            }
            Evaluation::Empty => Desired::Remove(Gone::Empty),
            Evaluation::NotShared => Desired::Remove(Gone::NotShared),
            Evaluation::Failed(failure) => {
                let message = failure.to_string();
                let pointed = map.parsed.pointing_at(failure.part, &message);
                Desired::Fail(Trouble { code: failure.kind.code(), message, pointed: Some(pointed) })
            }
        }
    }

    /// Adds the entries of records that are named after their titles.
    fn titled(&self, vault: &Vault, folders: &Folders, entries: &mut Vec<Entry>, remarks: &mut Remarks) {
        let mut seen: HashSet<&str> = HashSet::new();
        let (mut wanted, mut failed) = (Vec::new(), Vec::new());
        for token in once_each(&self.request.records, "--record", &mut remarks.notes) {
            match find_record(token, vault) {
                Ok(record) => {
                    if record.uid() != token {
                        remarks.hints.push(format!(
                            "record '{token}' was found by its title (UID {}); titles change, a UID does not",
                            record.uid()
                        ));
                    }
                    if seen.insert(record.uid()) {
                        wanted.push((record, "record"));
                    }
                }
                Err(trouble) => failed.push(failed_entry(token, format!("record:{token}"), trouble)),
            }
        }
        for place in folders::resolve(&self.request, folders, remarks, &mut failed) {
            for record in vault.records() {
                match place.holds(record.places(), folders) {
                    Ok(true) if seen.insert(record.uid()) => wanted.push((record, place.word())),
                    Ok(true) => {
                        remarks.notes.push(format!("record {} was asked for more than once", record.uid()));
                    }
                    Ok(false) => {}
                    Err(trouble) => {
                        failed.push(failed_entry(
                            record.uid(),
                            format!("{}:{}", place.word(), record.uid()),
                            trouble,
                        ));
                    }
                }
            }
            for one in vault.unreadable() {
                if place.holds(&one.places, folders) != Ok(false) && seen.insert(&one.uid) {
                    failed.push(failed_entry(
                        &one.uid,
                        format!("{}:{}", place.word(), one.uid),
                        unreadable(one.why),
                    ));
                }
            }
        }
        let mut derived: Vec<Entry> =
            wanted.into_iter().map(|(record, word)| self.derived(record, word, &mut remarks.notes)).collect();
        self.refuse_collisions(entries, &mut derived);
        entries.extend(derived);
        entries.extend(failed);
    }

    /// The entry of a record that is named after its title.
    fn derived(&self, record: &Record, word: &str, notes: &mut Vec<String>) -> Entry {
        let notation = format!("{word}:{}", record.uid());
        let prefix = self.request.prefix.as_deref().unwrap_or_default();
        match self.rule.derive(prefix, record.title()) {
            Err(problem) => failed_entry(record.uid(), notation, Trouble::new("name", problem)),
            Ok(name) => {
                notes.extend(self.rule.caution(&name));
                let content = if self.request.raw_json {
                    record.json().clone()
                } else {
                    flatten::flat(record, self.request.form, notes)
                };
                Entry {
                    name,
                    json_key: None,
                    notation,
                    derived: true,
                    desired: Desired::Write(Content::Record(content)),
                }
            }
        }
    }

    /// A name can stand for one thing only: of two records of one name neither is written, and none
    /// whose name the user has given to a mapping.
    fn refuse_collisions(&self, mapped: &[Entry], derived: &mut [Entry]) {
        let mapped: HashSet<String> = mapped.iter().map(|entry| self.rule.identity(&entry.name)).collect();
        let mut counts: HashMap<String, usize> = HashMap::new();
        for entry in derived.iter() {
            *counts.entry(self.rule.identity(&entry.name)).or_default() += 1;
        }
        for entry in derived {
            let identity = self.rule.identity(&entry.name);
            let problem = if mapped.contains(&identity) {
                "a --map has the name that this record's title makes"
            } else if counts.get(&identity).is_some_and(|count| *count > 1) {
                "another record's title makes the same name"
            } else {
                continue;
            };
            entry.desired = Desired::Fail(Trouble::new("name_collision", problem));
        }
    }
}

/// A record as a flat object of texts, as `--record` writes it. Names that come again get numbers.
pub fn flattened(record: &Record) -> Json {
    flatten::flat(record, Form::Json, &mut Vec::new())
}

fn mistake(option: &str, problem: &str) -> Mistake {
    Mistake { option: option.to_owned(), problem: problem.to_owned() }
}

/// Keys of mappings that come more than once, or both as a whole and as a JSON object.
fn doubles(maps: &[(String, String)], rule: &NameRule) -> Vec<Mistake> {
    let mut seen: HashMap<String, HashSet<Option<&str>>> = HashMap::new();
    let mut mistakes = Vec::new();
    for (key, _) in maps {
        let (name, json_key) = match key.split_once('+').filter(|_| rule.json_keys) {
            Some((name, json_key)) => (name, Some(json_key)),
            None => (key.as_str(), None),
        };
        let keys = seen.entry(rule.identity(name)).or_default();
        let option = format!("--map {key}");
        let other_kind = keys.iter().any(|known| known.is_some() != json_key.is_some());
        if !keys.insert(json_key) {
            mistakes.push(mistake(&option, "this key is given twice"));
        } else if other_kind {
            mistakes.push(mistake(&option, "this name is given both plainly and with a JSON key"));
        }
    }
    mistakes
}

/// The tokens without repetitions, which are noted.
fn once_each<'t>(tokens: &'t [String], option: &str, notes: &mut Vec<String>) -> Vec<&'t str> {
    let mut seen = HashSet::new();
    let (once, again): (Vec<&str>, Vec<&str>) =
        tokens.iter().map(String::as_str).partition(|token| seen.insert(*token));
    notes.extend(again.iter().map(|token| format!("{option} {token} is given more than once")));
    once
}

fn find_record<'v>(token: &str, vault: &'v Vault) -> Result<&'v Record, Trouble> {
    match vault.find(token) {
        Found::Record(record) => return Ok(record),
        Found::Unreadable(why) => return Err(unreadable(why)),
        Found::NotShared | Found::Unknown => {}
    }
    let titled: Vec<&Record> = vault.titled(token).collect();
    let kind = match titled.as_slice() {
        [record] => return Ok(record),
        [] => FailureKind::NoRecord { unreadable: vault.unreadable().len() },
        several => FailureKind::AmbiguousRecord { count: several.len() },
    };
    Err(Trouble::new(kind.code(), kind.to_string()))
}

fn unreadable(why: Unread) -> Trouble {
    let kind = FailureKind::UnreadableRecord(why);
    Trouble::new(kind.code(), kind.to_string())
}

/// An entry whose name is not known: it goes by what was asked for.
fn failed_entry(name: &str, notation: String, trouble: Trouble) -> Entry {
    Entry { name: name.to_owned(), json_key: None, notation, derived: true, desired: Desired::Fail(trouble) }
}

/// A file's content, fetched once.
async fn content(
    file: &File,
    client: &Client,
    files: &mut HashMap<String, SecretBytes>,
) -> Result<SecretBytes, Error> {
    if let Some(bytes) = files.get(file.uid()) {
        return Ok(bytes.clone());
    }
    let bytes = client.download(file).await?;
    files.insert(file.uid().to_owned(), bytes.clone());
    Ok(bytes)
}
