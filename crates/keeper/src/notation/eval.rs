//! Looking a notation up in fetched records (keeper.md 1.2, 1.3; differences in the module's head).

use std::borrow::Cow;

use zeroize::Zeroizing;

use super::{
    ast::{Name, Notation, Pick, Property, Section, Selector},
    fault::Part,
};
use crate::{
    json::{Json, Style},
    records::{Field, File, Found, Record, Vault, is_surely_uid},
};

/// What a notation comes to. Only [`Evaluation::Empty`] and [`Evaluation::NotShared`] say that there
/// is no value; a failure says nothing about it.
#[derive(Debug)]
pub enum Evaluation {
    /// A value, and what the reader should be told about how it was found.
    Value(Value, Vec<Warning>),
    /// The place is there and holds no value: an empty list, `null`, no notes.
    Empty,
    /// The record was named by its UID, and a full, successful answer of Keeper does not have it.
    NotShared,
    /// No telling.
    Failed(Failure),
}

/// A value that was found.
#[derive(Debug)]
pub enum Value {
    /// Text, a number, a boolean, an object or an array.
    Json(Json),
    /// A file, yet to be fetched with [`crate::Client::download`].
    File(File),
}

/// Something the reader should know although there is a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Warning {
    /// The first was taken.
    #[error("several fields have this label or type; the first was taken")]
    SeveralFields,
}

/// Why a notation has no answer. Never a reason to take a value for gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{kind}")]
pub struct Failure {
    /// What went wrong.
    pub kind: FailureKind,
    /// The part of the notation it went wrong at.
    pub part: Part,
}

/// The classes of failure (keeper.md 1.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FailureKind {
    /// No record of that title; so many that might have it could not be read.
    #[error("no record has this UID or title{}", Hidden(*.unreadable))]
    NoRecord {
        /// Records that did not decrypt.
        unreadable: usize,
    },
    /// Several records of that title.
    #[error("{count} records have this title: name the record by its UID")]
    AmbiguousRecord {
        /// How many.
        count: usize,
    },
    /// The record is shared and does not decrypt.
    #[error("this record is shared but {0}: share it anew with the application")]
    UnreadableRecord(crate::records::Unread),
    /// The record was not asked for, or Keeper listed nothing.
    #[error("Keeper's answer does not cover this record")]
    NotFetched,
    /// No field of that label or type.
    #[error("the record has no such field")]
    NoField,
    /// The index is beyond the values.
    #[error("the field has only {len} value(s), and the first is [0]")]
    IndexRange {
        /// How many there are.
        len: usize,
    },
    /// The value has no such property.
    #[error("the value has no such property")]
    NoProperty,
    /// No file of that name, title or UID.
    #[error("the record has no such file")]
    NoFile,
    /// Several files of that name or title.
    #[error("{count} files of the record are called so: name the file by its UID")]
    AmbiguousFile {
        /// How many.
        count: usize,
    },
    /// A file of the record could not be read, and may be the one.
    #[error("the description of an attached file does not decrypt: attach it anew")]
    UnreadableFile,
    /// The value stands in another record, which is not shared or does not decrypt.
    #[error("the value refers to a record that is not shared with the application or does not decrypt")]
    UnreadableLink,
}

impl FailureKind {
    /// A stable word for it.
    pub const fn code(self) -> &'static str {
        match self {
            Self::NoRecord { .. } => "no_record",
            Self::AmbiguousRecord { .. } => "ambiguous_record",
            Self::UnreadableRecord(_) => "unreadable_record",
            Self::NotFetched => "not_fetched",
            Self::NoField => "no_field",
            Self::IndexRange { .. } => "index_range",
            Self::NoProperty => "no_property",
            Self::NoFile => "no_file",
            Self::AmbiguousFile { .. } => "ambiguous_file",
            Self::UnreadableFile => "unreadable_file",
            Self::UnreadableLink => "unreadable_link",
        }
    }

    const fn at(self, part: Part) -> Failure {
        Failure { kind: self, part }
    }
}

/// The clause about records that could not be read.
struct Hidden(usize);

impl std::fmt::Display for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            0 => Ok(()),
            n => write!(f, " ({n} shared record(s) do not decrypt)"),
        }
    }
}

/// Looks a notation up.
pub fn evaluate(notation: &Notation, vault: &Vault) -> Evaluation {
    let record = match resolve(&notation.record, vault) {
        Ok(Some(record)) => record,
        Ok(None) => return Evaluation::NotShared,
        Err(failure) => return Evaluation::Failed(failure),
    };
    let value = match &notation.selector {
        Selector::Type => Ok(text(record.kind())),
        Selector::Title => Ok(text(record.title())),
        Selector::Notes => Ok(record.notes().cloned()),
        Selector::File(name) => {
            return match file(record, name) {
                Ok(file) => Evaluation::Value(Value::File(file.clone()), Vec::new()),
                Err(kind) => Evaluation::Failed(kind.at(Part::Parameter)),
            };
        }
        Selector::Field(section, name, pick) => return field(record, *section, name, pick, vault),
    };
    finish(value, Vec::new())
}

fn text(text: Option<&str>) -> Option<Json> {
    text.map(Json::text)
}

fn finish(value: Result<Option<Json>, Failure>, warnings: Vec<Warning>) -> Evaluation {
    match value {
        Ok(None | Some(Json::Null)) => Evaluation::Empty,
        Ok(Some(value)) => Evaluation::Value(Value::Json(value), warnings),
        Err(failure) => Evaluation::Failed(failure),
    }
}

/// The record of a UID, else of a title; nothing when it is proven not to be shared.
fn resolve<'a>(name: &str, vault: &'a Vault) -> Result<Option<&'a Record>, Failure> {
    let by_uid = super::is_uid(name).then(|| vault.find(name));
    match by_uid {
        Some(Found::Record(record)) => return Ok(Some(record)),
        Some(Found::Unreadable(why)) => return Err(FailureKind::UnreadableRecord(why).at(Part::Record)),
        Some(Found::NotShared | Found::Unknown) | None => {}
    }
    let mut titled = vault.titled(name);
    if let Some(record) = titled.next() {
        return match titled.count() {
            0 => Ok(Some(record)),
            more => Err(FailureKind::AmbiguousRecord { count: 1 + more }.at(Part::Record)),
        };
    }
    if !vault.is_complete() {
        return Err(FailureKind::NotFetched.at(Part::Record));
    }
    if is_surely_uid(name) {
        return Ok(None);
    }
    Err(FailureKind::NoRecord { unreadable: vault.unreadable().len() }.at(Part::Record))
}

fn file<'a>(record: &'a Record, name: &Name) -> Result<&'a File, FailureKind> {
    let name = name.as_str();
    let mut called = record.files().iter().filter(|file| file.is_called(name));
    match (called.next(), called.count()) {
        (Some(file), 0) => Ok(file),
        (Some(_), more) => Err(FailureKind::AmbiguousFile { count: 1 + more }),
        (None, _) if record.unreadable_files().is_empty() => Err(FailureKind::NoFile),
        (None, _) => Err(FailureKind::UnreadableFile),
    }
}

fn field(record: &Record, section: Section, name: &Name, wanted: &Pick, vault: &Vault) -> Evaluation {
    let Some((field, several)) = record.field(section, name.as_str()) else {
        return Evaluation::Failed(FailureKind::NoField.at(Part::Parameter));
    };
    let warnings = if several { vec![Warning::SeveralFields] } else { Vec::new() };
    let value = match inflated(field, vault) {
        Ok(value) => pick(value, wanted),
        Err(kind) => Err(kind.at(Part::Parameter)),
    };
    finish(value, warnings)
}

fn pick(value: Option<Cow<'_, Json>>, wanted: &Pick) -> Result<Option<Json>, Failure> {
    let Some(value) = value else { return Ok(None) };
    let Some(items) = value.as_array() else {
        // No list, against the contract: taken as it is, as the SDK does.
        return match wanted {
            Pick::Property(p) | Pick::NthProperty(_, p) | Pick::AllProperty(p)
                if value.as_object().is_some() =>
            {
                property(&value, p).map(Some)
            }
            _ => Ok(Some(value.into_owned())),
        };
    };
    match wanted {
        Pick::All => Ok(Some(value.into_owned())),
        // An empty list holds no value, whatever is asked of it.
        _ if items.is_empty() => Ok(None),
        Pick::First => Ok(items.first().cloned()),
        Pick::Nth(n) => nth(items, *n).map(|item| Some(item.clone())),
        Pick::Property(p) => property(&items[0], p).map(Some),
        Pick::NthProperty(n, p) => property(nth(items, *n)?, p).map(Some),
        Pick::AllProperty(p) => every_property(items, p),
    }
}

fn nth(items: &[Json], n: usize) -> Result<&Json, Failure> {
    items.get(n).ok_or(FailureKind::IndexRange { len: items.len() }.at(Part::Index))
}

fn property(item: &Json, wanted: &Property) -> Result<Json, Failure> {
    lookup(item, wanted).cloned().ok_or(FailureKind::NoProperty.at(Part::Property))
}

/// A property of an object. The notation page's own sample spells the names `first:`, with a colon,
/// and asks for `[first]`: a name that is not there is looked for with a colon too.
fn lookup<'a>(item: &'a Json, wanted: &Property) -> Option<&'a Json> {
    item.get(wanted.as_str()).or_else(|| item.get(&format!("{}:", wanted.as_str())))
}

/// The property of every element that has it, as one line of CSV (RFC 4180).
fn every_property(items: &[Json], wanted: &Property) -> Result<Option<Json>, Failure> {
    let mut line: Option<Zeroizing<String>> = None;
    let mut seen = false;
    for value in items.iter().filter_map(|item| lookup(item, wanted)) {
        seen = true;
        if value.is_null() {
            continue;
        }
        let cell = match value {
            Json::Text(text) => text.clone(),
            other => {
                let bytes = other.write(Style::Compact);
                // Opened to be put into the line; JSON text is always UTF-8.
                Zeroizing::new(bytes.expose_text().unwrap_or_default().to_owned())
            }
        };
        let cell = quoted(cell);
        line = Some(match line {
            None => cell,
            Some(line) => joined(&line, &cell),
        });
    }
    match (line, seen) {
        (Some(line), _) => Ok(Some(Json::Text(line))),
        (None, true) => Ok(None),
        (None, false) => Err(FailureKind::NoProperty.at(Part::Property)),
    }
}

/// Built with the right capacity, so that no copy is left behind.
fn joined(line: &str, cell: &str) -> Zeroizing<String> {
    let mut out = Zeroizing::new(String::with_capacity(line.len() + 1 + cell.len()));
    out.push_str(line);
    out.push(',');
    out.push_str(cell);
    out
}

fn quoted(cell: Zeroizing<String>) -> Zeroizing<String> {
    if !cell.contains(['"', ',', '\r', '\n']) {
        return cell;
    }
    let mut out = Zeroizing::new(String::with_capacity(cell.len() * 2 + 2));
    out.push('"');
    for c in cell.chars() {
        if c == '"' {
            out.push('"');
        }
        out.push(c);
    }
    out.push('"');
    out
}

/// Which fields of a linked record make up the value, by the type of the field that links to it.
fn linked_fields(kind: Option<&str>) -> Option<&'static [&'static str]> {
    match kind? {
        "addressRef" => Some(&["address"]),
        "cardRef" => Some(&["paymentCard", "text", "pinCode", "addressRef"]),
        _ => None,
    }
}

/// A field's value, with references to other records replaced by what those hold (keeper.md 2).
pub(crate) fn inflated<'a>(field: Field<'a>, vault: &Vault) -> Result<Option<Cow<'a, Json>>, FailureKind> {
    let Some(value) = field.value() else { return Ok(None) };
    let (Some(wanted), Some(items)) = (linked_fields(field.kind()), value.as_array()) else {
        return Ok(Some(Cow::Borrowed(value)));
    };
    let items = items
        .iter()
        .map(|item| match item.as_text() {
            Some(uid) => linked(uid, wanted, vault),
            None => Ok(item.clone()),
        })
        .collect::<Result<_, _>>()?;
    Ok(Some(Cow::Owned(Json::Array(items))))
}

/// The value that a linked record's fields make up: one of them alone as it is, several as one object
/// (the members of objects, and the rest under label or type).
fn linked(uid: &str, wanted: &[&str], vault: &Vault) -> Result<Json, FailureKind> {
    let Found::Record(record) = vault.find(uid) else { return Err(FailureKind::UnreadableLink) };
    let mut parts: Vec<(&str, Json)> = Vec::new();
    for &kind in wanted {
        let Some((field, _)) = record.field(Section::Standard, kind) else { continue };
        let Some(value) = field.first().filter(|value| !value.is_null()) else { continue };
        let value = match (linked_fields(Some(kind)), value.as_text()) {
            (Some(inner), Some(uid)) => linked(uid, inner, vault)?,
            _ => value.clone(),
        };
        parts.push((field.label().or(field.kind()).unwrap_or(kind), value));
    }
    if parts.len() < 2 {
        return Ok(parts.pop().map_or(Json::Null, |(_, value)| value));
    }
    let mut whole = Json::object([]);
    for (name, value) in parts {
        match value {
            Json::Object(members) => members.into_iter().for_each(|(name, value)| whole.set(&name, value)),
            other => whole.set(name, other),
        }
    }
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use model::SeededEntropy;

    use super::*;
    use crate::{
        crypto::Key,
        notation::parse,
        records::{Scope, Unread, Unreadable},
    };

    const UID: &str = "Aq0Nsv5kZ3dZ0mWmX3v7hQ";

    fn record(uid: &str, body: &str) -> Record {
        let key = Key::random(&SeededEntropy::new(1));
        Record {
            uid: uid.to_owned(),
            revision: 1,
            editable: true,
            key: key.clone(),
            body: Json::parse(body).unwrap(),
            places: Vec::new(),
            files: Vec::new(),
            unreadable_files: Vec::new(),
            links: Vec::new(),
        }
    }

    fn vault(records: Vec<Record>) -> Vault {
        Vault::new(Scope::All, true, records, Vec::new())
    }

    fn shown(text: &str, vault: &Vault) -> String {
        match evaluate(&parse(text).unwrap().notation, vault) {
            Evaluation::Value(Value::Json(value), warnings) => {
                let mark = if warnings.is_empty() { "" } else { "(!) " };
                format!("{mark}{}", value.write(Style::Compact).expose_text().unwrap())
            }
            Evaluation::Value(Value::File(file), _) => format!("file {}", file.uid()),
            Evaluation::Empty => "empty".to_owned(),
            Evaluation::NotShared => "not shared".to_owned(),
            Evaluation::Failed(failure) => format!("{} at {:?}", failure.kind.code(), failure.part),
        }
    }

    /// The samples of the notation page, as they stand there, stray colons and all.
    fn page() -> Vault {
        let sub_fields = r#"{"title":"subfields","type":"contact","fields": [
            { "type": "name", "value": [
                {"first:": "John", "last": "Doe"},
                {"first:": "Jane", "last": "Doe"} ]
            },
            { "type": "phone", "value": [
                {"number": "555-5555555", "ext": "55"},
                {"number": "777-7777777", "ext": "77"} ]
            }
        ]}"#;
        let mixed = r#"{"title":"mixed","type":"contact","fields":[{"type":"phone","value":
        [
            {"number":"555-5555555", "ext":"55"},
            {"number":"777-7777777", "ext":"77"},
            {"number":"888-8888888", "ext": "", "type":"Home"},
            {"number":"999-9999999", "type":"Work"}
        ]}]}"#;
        vault(vec![
            record(UID, sub_fields),
            record("mixed", mixed),
            record(
                "tw",
                r#"{"title":"Twitter Login [Marketing]","fields":[{"type":"password","value":["tw"]}]}"#,
            ),
            record(
                "sl",
                r#"{"title":"My Slashdot Links","custom":[{"type":"url","label":"/.links","value":["l0","l1"]}]}"#,
            ),
            record("my", r#"{"title":"MySQL Creds","fields":[{"type":"password","value":["sql"]}]}"#),
        ])
    }

    #[test]
    fn the_notation_page_holds_to_the_letter() {
        let vault = page();
        for (notation, value) in [
            ("subfields/field/name[last]", r#""Doe""#),
            ("subfields/field/name[first]", r#""John""#),
            ("subfields/field/name[1][first]", r#""Jane""#),
            ("subfields/field/name[][first]", r#""John,Jane""#),
            ("mixed/field/phone", r#"{"number":"555-5555555","ext":"55"}"#),
            ("mixed/field/phone[0]", r#"{"number":"555-5555555","ext":"55"}"#),
            ("mixed/field/phone[1]", r#"{"number":"777-7777777","ext":"77"}"#),
            ("mixed/field/phone[0][number]", r#""555-5555555""#),
            ("mixed/field/phone[1][number]", r#""777-7777777""#),
            ("mixed/field/phone[][number]", r#""555-5555555,777-7777777,888-8888888,999-9999999""#),
            ("mixed/field/phone[][ext]", r#""55,77,""#),
            ("mixed/field/phone[][type]", r#""Home,Work""#),
            (
                "mixed/field/phone[]",
                r#"[{"number":"555-5555555","ext":"55"},{"number":"777-7777777","ext":"77"},{"number":"888-8888888","ext":"","type":"Home"},{"number":"999-9999999","type":"Work"}]"#,
            ),
            (r"keeper://Twitter Login \[Marketing\]/field/password", r#""tw""#),
            (r"keeper://My Slashdot Links/custom_field/\/.links[]", r#"["l0","l1"]"#),
            (r"keeper://My Slashdot Links/custom_field/\/.links[1]", r#""l1""#),
            ("keeper://MySQL Creds/fields/password", r#""sql""#),
        ] {
            assert_eq!(shown(notation, &vault), value, "{notation}");
        }
    }

    #[test]
    fn csv_is_quoted_as_rfc_4180_says() {
        let vault = vault(vec![record(
            UID,
            r#"{"title":"t","fields":[{"type":"x","value":[
                {"p":"a,b"},{"p":"say \"hi\""},{"p":"two\nlines"},{"p":" plain "},{"p":7},{"p":null},{"q":1},"no object",{"p":{"k":"v"}}]}]}"#,
        )]);
        assert_eq!(
            shown("t/field/x[][p]", &vault),
            r#""\"a,b\",\"say \"\"hi\"\"\",\"two\nlines\", plain ,7,\"{\"\"k\"\":\"\"v\"\"}\"""#
        );
        assert_eq!(shown("t/field/x[][q]", &vault), r#""1""#);
        assert_eq!(shown("t/field/x[][r]", &vault), "no_property at Property");
    }

    #[test]
    fn nothing_there_is_told_apart_from_nothing_known() {
        let whole = vault(vec![record(
            UID,
            r#"{"title":"t","fields":[{"type":"a","value":[]},{"type":"b"},{"type":"c","value":[null]},{"type":"d","value":[""]},{"type":"e","value":[{"p":null}]}]}"#,
        )]);
        for notation in ["a", "b", "c", "a[0]", "a[5]", "a[p]", "e[p]", "e[][p]"] {
            assert_eq!(shown(&format!("{UID}/field/{notation}"), &whole), "empty", "{notation}");
        }
        assert_eq!(shown("t/notes", &whole), "empty");
        assert_eq!(shown("t/field/d", &whole), r#""""#);
        assert_eq!(shown("t/field/a[]", &whole), "[]");
        assert_eq!(shown("t/field/nosuch", &whole), "no_field at Parameter");
        assert_eq!(shown("typo/field/a", &whole), "no_record at Record");
        assert_eq!(shown("Bq0Nsv5kZ3dZ0mWmX3v7hQ/field/a", &whole), "not shared");
        // Of the shape of a UID, but perhaps a title that was renamed.
        for title in ["production_db_password", "abcdefghijklmnopqrstuw", "ABCDEFGHIJKLMNOPQRSTUQ"] {
            assert_eq!(shown(&format!("{title}/field/a"), &whole), "no_record at Record");
        }
    }

    #[test]
    fn only_a_full_answer_that_lists_something_proves_absence() {
        let missing = "Bq0Nsv5kZ3dZ0mWmX3v7hQ/field/a";
        let filtered = Vault::new(Scope::Only(vec![UID.to_owned()]), true, Vec::new(), Vec::new());
        assert_eq!(shown(missing, &filtered), "not_fetched at Record");
        assert_eq!(shown("title/field/a", &filtered), "not_fetched at Record");
        let unlisted = Vault::new(Scope::All, false, Vec::new(), Vec::new());
        assert_eq!(shown(missing, &unlisted), "not_fetched at Record");
        let broken =
            Unreadable { uid: "Bq0Nsv5kZ3dZ0mWmX3v7hQ".to_owned(), why: Unread::Content, places: Vec::new() };
        let dark = Vault::new(Scope::All, true, Vec::new(), vec![broken]);
        assert_eq!(shown(missing, &dark), "unreadable_record at Record");
        let Evaluation::Failed(failure) = evaluate(&parse("x/field/a").unwrap().notation, &dark) else {
            panic!()
        };
        assert_eq!(
            failure.to_string(),
            "no record has this UID or title (1 shared record(s) do not decrypt)"
        );
    }

    #[test]
    fn a_record_shared_twice_counts_once_and_two_of_a_title_are_refused() {
        let body = r#"{"title":"t","fields":[{"type":"a","value":["v"]}]}"#;
        let mut twice = record(UID, body);
        twice.places.push(crate::Place { shared_folder: "f".to_owned(), subfolder: None });
        let vault_twice = vault(vec![record(UID, body), twice]);
        assert_eq!(shown("t/field/a", &vault_twice), r#""v""#);
        assert_eq!(vault_twice.records()[0].places().len(), 1);
        let two = vault(vec![record(UID, body), record("other", body)]);
        assert_eq!(shown("t/field/a", &two), "ambiguous_record at Record");
        assert_eq!(shown(&format!("{UID}/field/a"), &two), r#""v""#);
    }

    #[test]
    fn a_uid_beats_the_title_that_spells_it() {
        let vault = vault(vec![
            record("Cq0Nsv5kZ3dZ0mWmX3v7hQ", &format!(r#"{{"title":"{UID}","type":"by title"}}"#)),
            record(UID, r#"{"title":"x","type":"by uid"}"#),
            record("y", r#"{"title":"abcdefghijklmnopqrstuv","type":"title of that shape"}"#),
        ]);
        assert_eq!(shown(&format!("{UID}/type"), &vault), r#""by uid""#);
        assert_eq!(shown("abcdefghijklmnopqrstuv/type", &vault), r#""title of that shape""#);
    }

    #[test]
    fn a_label_beats_a_type_and_doubles_are_told() {
        let vault = vault(vec![record(
            UID,
            r#"{"title":"t","custom":[{"type":"env","value":["type"]},{"type":"text","label":"env","value":["label"]},
                {"type":"text","label":"dup","value":["one"]},{"type":"text","label":"dup","value":["two"]}, 5, {"label":7}]}"#,
        )]);
        assert_eq!(shown("t/custom_field/env", &vault), r#""label""#);
        assert_eq!(shown("t/custom_field/ENV", &vault), r#""type""#);
        assert_eq!(shown("t/custom_field/dup", &vault), r#"(!) "one""#);
        assert_eq!(shown("t/custom_field/text", &vault), r#"(!) "label""#);
    }

    #[test]
    fn linked_records_are_laid_together_and_a_broken_link_is_a_failure() {
        let card = |text: &str| {
            format!(
                r#"{{"title":"card","fields":[{{"type":"paymentCard","value":[{{"cardNumber":"5"}}]}},{{"type":"text","label":"Cardholder Name","value":["{text}"]}},
                {{"type":"pinCode","value":[]}},{{"type":"addressRef","value":["Dq0Nsv5kZ3dZ0mWmX3v7hQ"]}}]}}"#
            )
        };
        let has = r#"{"title":"has","fields":[{"type":"cardRef","value":["Cq0Nsv5kZ3dZ0mWmX3v7hQ"]},{"type":"addressRef","value":["Eq0Nsv5kZ3dZ0mWmX3v7hQ"]}]}"#;
        let address = r#"{"title":"a","fields":[{"type":"address","value":[{"city":"Kyoto"}]}]}"#;
        let vault = vault(vec![
            record(UID, has),
            record("Cq0Nsv5kZ3dZ0mWmX3v7hQ", &card("Holder")),
            record("Dq0Nsv5kZ3dZ0mWmX3v7hQ", address),
        ]);
        assert_eq!(
            shown("has/field/cardRef", &vault),
            r#"{"cardNumber":"5","Cardholder Name":"Holder","city":"Kyoto"}"#
        );
        assert_eq!(shown("has/field/cardRef[Cardholder Name]", &vault), r#""Holder""#);
        assert_eq!(shown("has/field/addressRef", &vault), "unreadable_link at Parameter");
    }

    #[test]
    fn failures_show_no_content() {
        let vault = vault(vec![record(UID, r#"{"title":"t","fields":[{"type":"a","value":["hunter2"]}]}"#)]);
        for notation in ["t/field/a[1]", "t/field/a[x]", "t/field/b", "t/file/f"] {
            let parsed = parse(notation).unwrap();
            let evaluation = evaluate(&parsed.notation, &vault);
            let Evaluation::Failed(failure) = &evaluation else { panic!("{notation}") };
            let shown =
                format!("{failure}{evaluation:?}{}", parsed.pointing_at(failure.part, &failure.to_string()));
            assert!(!shown.contains("hunter2"), "{shown}");
        }
    }
}
