//! What a vault holds: records with their fields, files, links and places (keeper.md 2).

use std::{collections::HashMap, fmt};

use crate::{
    crypto::{Key, from_base64},
    json::Json,
    notation::{Section, is_uid},
};

/// One record, decrypted.
pub struct Record {
    pub(crate) uid: String,
    pub(crate) revision: i64,
    pub(crate) editable: bool,
    pub(crate) key: Key,
    pub(crate) body: Json,
    pub(crate) places: Vec<Place>,
    pub(crate) files: Vec<File>,
    pub(crate) unreadable_files: Vec<String>,
    pub(crate) links: Vec<Json>,
}

/// Where a record is: a shared folder, and the subfolder of it, if any. A record that is shared
/// directly has none.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Place {
    /// The shared folder, which is a root.
    pub shared_folder: String,
    /// The folder below it that holds the record.
    pub subfolder: Option<String>,
}

impl Place {
    /// The folder that holds the record: the innermost.
    pub fn folder(&self) -> &str {
        self.subfolder.as_deref().unwrap_or(&self.shared_folder)
    }
}

impl Record {
    /// The record's UID.
    pub fn uid(&self) -> &str {
        &self.uid
    }

    /// Counts the record's changes.
    pub const fn revision(&self) -> i64 {
        self.revision
    }

    /// Whether this application may change it.
    pub const fn is_editable(&self) -> bool {
        self.editable
    }

    /// The title; a record without one has none, which is not the empty one.
    pub fn title(&self) -> Option<&str> {
        self.body.get("title")?.as_text()
    }

    /// The type: `login`.
    pub fn kind(&self) -> Option<&str> {
        self.body.get("type")?.as_text()
    }

    /// The notes, if there are any.
    pub fn notes(&self) -> Option<&Json> {
        self.body.get("notes").filter(|notes| !notes.is_null())
    }

    /// The fields of one list, in order. A list that is absent, or is none, is empty.
    pub fn fields(&self, section: Section) -> impl Iterator<Item = Field<'_>> {
        let list = self.body.get(match section {
            Section::Standard => "fields",
            Section::Custom => "custom",
        });
        list.and_then(Json::as_array).unwrap_or_default().iter().map(Field)
    }

    /// The field of a label, else of a type (in any case): the first, and whether more would fit as
    /// well (keeper.md 1.2).
    pub fn field(&self, section: Section, name: &str) -> Option<(Field<'_>, bool)> {
        let first = |fits: &dyn Fn(&Field<'_>) -> bool| {
            let mut fitting = self.fields(section).filter(|f| fits(f));
            fitting.next().map(|field| (field, fitting.next().is_some()))
        };
        let folded = name.to_lowercase();
        first(&|f| f.label() == Some(name))
            .or_else(|| first(&|f| f.kind().is_some_and(|kind| kind.to_lowercase() == folded)))
    }

    /// The whole decrypted record: `{"title","type","fields","custom"?,"notes"?}` and whatever else a
    /// client has put in.
    pub const fn json(&self) -> &Json {
        &self.body
    }

    /// Where the record is; empty when it is only shared directly. More than one entry when it is
    /// linked into several shared folders.
    pub fn places(&self) -> &[Place] {
        &self.places
    }

    /// The attached files that could be read.
    pub fn files(&self) -> &[File] {
        &self.files
    }

    /// The record's links to other records and to settings of its own; only of a fetch that asked for
    /// them ([`crate::Client::fetch_with_links`]).
    pub fn links(&self) -> impl Iterator<Item = Link<'_>> {
        self.links.iter().map(|json| Link { json, key: &self.key })
    }

    /// UIDs of attached files whose description could not be decrypted.
    pub fn unreadable_files(&self) -> &[String] {
        &self.unreadable_files
    }
}

/// Shows neither title nor content.
impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Record({}, revision {})", self.uid, self.revision)
    }
}

/// One field of a record.
#[derive(Debug, Clone, Copy)]
pub struct Field<'a>(&'a Json);

impl<'a> Field<'a> {
    /// The label, if it has one.
    pub fn label(&self) -> Option<&'a str> {
        self.0.get("label")?.as_text()
    }

    /// The type: `password`.
    pub fn kind(&self) -> Option<&'a str> {
        self.0.get("type")?.as_text()
    }

    /// The value, an array by contract but not always in fact.
    pub fn value(&self) -> Option<&'a Json> {
        self.0.get("value")
    }

    /// The first value, if there is one.
    pub fn first(&self) -> Option<&'a Json> {
        self.value()?.as_array()?.first()
    }
}

/// A link of a record.
#[derive(Debug, Clone, Copy)]
pub struct Link<'a> {
    json: &'a Json,
    key: &'a Key,
}

impl<'a> Link<'a> {
    /// The record it leads to; the record's own UID where it holds settings.
    pub fn record_uid(&self) -> Option<&'a str> {
        self.json.get("recordUid")?.as_text()
    }

    /// What sort of link it is: none for a credential, `meta`, `ai_settings`, `jit_settings`.
    pub fn path(&self) -> Option<&'a str> {
        self.json.get("path")?.as_text()
    }

    /// The link as Keeper sent it: `{"recordUid", "data", "path"}`.
    pub const fn json(&self) -> &'a Json {
        self.json
    }

    /// What it says: an object in the open or sealed under the record's key (keeper.md 2).
    pub fn data(&self) -> Option<Json> {
        let object = |bytes: &[u8]| {
            let json = Json::parse(std::str::from_utf8(bytes).ok()?).ok()?;
            json.as_object().is_some().then_some(json)
        };
        let bytes = from_base64(self.json.get("data")?.as_text()?)?;
        object(&bytes).or_else(|| object(&self.key.open(&bytes).ok()?))
    }
}

/// An attached file: its description. The content is fetched with [`crate::Client::download`].
#[derive(Clone)]
pub struct File {
    pub(crate) uid: String,
    pub(crate) key: Key,
    pub(crate) meta: Json,
    pub(crate) url: Option<String>,
}

impl File {
    /// The file's UID.
    pub fn uid(&self) -> &str {
        &self.uid
    }

    /// The name it was uploaded under.
    pub fn name(&self) -> Option<&str> {
        self.meta.get("name")?.as_text()
    }

    /// The title.
    pub fn title(&self) -> Option<&str> {
        self.meta.get("title")?.as_text()
    }

    /// The media type.
    pub fn kind(&self) -> Option<&str> {
        self.meta.get("type")?.as_text()
    }

    /// Milliseconds since 1970.
    pub fn last_modified(&self) -> Option<i64> {
        self.meta.get("lastModified")?.as_int()
    }

    /// Bytes, as the uploader said.
    pub fn size(&self) -> Option<i64> {
        self.meta.get("size")?.as_int()
    }

    /// Whether a text is this file's name, title or UID.
    pub fn is_called(&self, text: &str) -> bool {
        self.name() == Some(text) || self.title() == Some(text) || self.uid == text
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "File({})", self.uid)
    }
}

/// A record that was sent but could not be read. It is there: nothing may be concluded from its
/// silence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// The record's UID, which is not encrypted.
    pub uid: String,
    /// What went wrong with it.
    pub why: Unread,
    /// Where it is, as [`Record::places`].
    pub places: Vec<Place>,
}

/// Why a record could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unread {
    /// The key of the shared folder it is in does not open.
    #[error("the key of its shared folder does not decrypt")]
    FolderKey,
    /// Its own key does not open.
    #[error("its key does not decrypt")]
    Key,
    /// Its content does not open.
    #[error("its content does not decrypt")]
    Content,
    /// Its content opens and is no JSON object.
    #[error("its content is not a JSON object")]
    Json,
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Everything that is shared with the application.
    All,
    /// These records only.
    Only(Vec<String>),
}

/// One answer of Keeper, decrypted: the records that are shared with the application.
#[derive(Debug)]
pub struct Vault {
    pub(crate) scope: Scope,
    /// Whether Keeper listed anything at all. Only such an answer shows that something is not there.
    pub(crate) listed: bool,
    records: Vec<Record>,
    unreadable: Vec<Unreadable>,
    by_uid: HashMap<String, usize>,
    by_title: HashMap<String, Vec<usize>>,
    /// What Keeper wants said, in its own words: deprecations and the like.
    pub warnings: Vec<String>,
    /// The application's title, where Keeper told it.
    pub app_title: Option<String>,
    /// When the application's access ends, in milliseconds since 1970.
    pub expires_on: Option<i64>,
}

/// What became of looking for a record by its UID.
#[derive(Debug, Clone, Copy)]
pub enum Found<'a> {
    /// Here it is.
    Record(&'a Record),
    /// It is shared, and does not decrypt.
    Unreadable(Unread),
    /// A full, successful answer does not have it.
    NotShared,
    /// Nobody asked for it, so its absence means nothing.
    Unknown,
}

impl Vault {
    /// Puts an answer together. A record that came twice (in a folder and directly) counts once.
    pub(crate) fn new(scope: Scope, listed: bool, records: Vec<Record>, unreadable: Vec<Unreadable>) -> Self {
        let mut vault = Self {
            scope,
            listed,
            records: Vec::with_capacity(records.len()),
            unreadable: Vec::new(),
            by_uid: HashMap::with_capacity(records.len()),
            by_title: HashMap::new(),
            warnings: Vec::new(),
            app_title: None,
            expires_on: None,
        };
        for record in records {
            vault.add(record);
        }
        for one in unreadable {
            let known =
                vault.by_uid.contains_key(&one.uid) || vault.unreadable.iter().any(|u| u.uid == one.uid);
            if !known {
                vault.unreadable.push(one);
            }
        }
        vault
    }

    fn add(&mut self, record: Record) {
        if let Some(&at) = self.by_uid.get(&record.uid) {
            merge(&mut self.records[at].places, record.places);
            self.records[at].editable |= record.editable;
            return;
        }
        let at = self.records.len();
        self.by_uid.insert(record.uid.clone(), at);
        if let Some(title) = record.title() {
            self.by_title.entry(title.to_owned()).or_default().push(at);
        }
        self.records.push(record);
    }

    /// The records that could be read, each once, in Keeper's order.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// The records that could not.
    pub fn unreadable(&self) -> &[Unreadable] {
        &self.unreadable
    }

    /// What was asked for.
    pub const fn scope(&self) -> &Scope {
        &self.scope
    }

    /// The record of a UID, or what its absence means.
    pub fn find(&self, uid: &str) -> Found<'_> {
        if let Some(&at) = self.by_uid.get(uid) {
            return Found::Record(&self.records[at]);
        }
        if let Some(one) = self.unreadable.iter().find(|u| u.uid == uid) {
            return Found::Unreadable(one.why);
        }
        if self.is_complete() { Found::NotShared } else { Found::Unknown }
    }

    /// Whether absence from this answer means that something is not shared: it was asked for
    /// everything and lists what there is.
    pub fn is_complete(&self) -> bool {
        self.scope == Scope::All && self.listed
    }

    /// The records of exactly that title.
    pub fn titled(&self, title: &str) -> impl Iterator<Item = &Record> {
        self.by_title.get(title).into_iter().flatten().map(|&at| &self.records[at])
    }
}

fn merge(places: &mut Vec<Place>, more: Vec<Place>) {
    for place in more {
        if !places.contains(&place) {
            places.push(place);
        }
    }
}

/// Whether a text is a UID beyond reasonable doubt, and not a title of the same shape: it stands for
/// 16 whole bytes (which fixes four bits of its last character), and has letters of both cases, which
/// of random ones all but two in 100,000 have. A removal may rest on this; a lookup need not be so
/// strict.
pub fn is_surely_uid(text: &str) -> bool {
    is_uid(text)
        && text.ends_with(['A', 'Q', 'g', 'w'])
        && text.bytes().any(|b| b.is_ascii_uppercase())
        && text.bytes().any(|b| b.is_ascii_lowercase())
}
