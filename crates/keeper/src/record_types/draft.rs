//! A new record, field by field.

use model::SecretBytes;
use zeroize::Zeroizing;

use super::{
    DraftFault, FieldKind,
    tables::{RecordKind, Slot, field_kinds, record_kinds},
};
use crate::{json::Json, notation::Section};

/// A field that was given for a new record.
#[derive(Debug, Clone)]
pub struct Given {
    /// Where it belongs.
    pub section: Section,
    /// Its type.
    pub kind: &'static FieldKind,
    /// Its label.
    pub label: Option<String>,
    /// The key of its value that is given, where not all of it is.
    pub key: Option<String>,
    /// The value; an array is several.
    pub value: Json,
}

/// A record being made.
#[derive(Debug)]
pub struct Draft {
    kind: &'static RecordKind,
    title: String,
    notes: Option<String>,
    /// In step with the type's standard fields.
    standard: Vec<Option<Entry>>,
    custom: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    kind: &'static FieldKind,
    label: Option<String>,
    values: Vec<Json>,
    /// Given key by key, so that more keys may follow.
    open: bool,
}

impl Draft {
    /// A record of this type without fields.
    pub fn new(kind: &str, title: &str, notes: Option<&str>) -> Result<Self, DraftFault> {
        let kind = record_kinds()
            .find(|known| known.name == kind)
            .ok_or_else(|| DraftFault::NoRecordKind(kind.to_owned()))?;
        if title.is_empty() {
            return Err(DraftFault::NoTitle);
        }
        let standard = kind.fields.iter().map(|_| None).collect();
        let notes = notes.filter(|notes| !notes.is_empty()).map(str::to_owned);
        Ok(Self { kind, title: title.to_owned(), notes, standard, custom: Vec::new() })
    }

    /// Reads the records of a file: `{"version":"v3","kind":"KeeperRecord","data":[…]}`.
    pub fn of_file(file: &Json) -> Result<Vec<Self>, DraftFault> {
        let fault = |place: &str, rule| DraftFault::File { place: place.to_owned(), rule };
        let word = |key| file.get(key).and_then(Json::as_text);
        if word("version") != Some("v3") {
            return Err(fault(".version", "must be v3"));
        }
        if word("kind") != Some("KeeperRecord") {
            return Err(fault(".kind", "must be KeeperRecord"));
        }
        let data = file.get("data").and_then(Json::as_array).ok_or(fault(".data", "must be an array"))?;
        data.iter().enumerate().map(|(at, record)| Self::of_data(&format!(".data[{at}]"), record)).collect()
    }

    fn of_data(place: &str, record: &Json) -> Result<Self, DraftFault> {
        let text = |keys: &[&str]| keys.iter().find_map(|key| record.get(key)?.as_text()).unwrap_or_default();
        let fault = |place: String, rule| DraftFault::File { place, rule };
        if text(&["title"]).is_empty() {
            return Err(fault(format!("{place}.title"), "is missing or blank"));
        }
        let mut draft =
            Self::new(text(&["recordType", "record_type"]), text(&["title"]), Some(text(&["notes"])))?;
        let lists =
            [(Section::Standard, &["fields"][..]), (Section::Custom, &["customFields", "custom_fields"])];
        for (section, keys) in lists {
            let list = keys.iter().find_map(|key| Some((key, record.get(key)?)));
            let Some((key, list)) = list else {
                if section == Section::Standard {
                    return Err(fault(format!("{place}.fields"), "is missing"));
                }
                continue;
            };
            let list = list.as_array().ok_or_else(|| fault(format!("{place}.{key}"), "must be an array"))?;
            for (at, field) in list.iter().enumerate() {
                let text =
                    |key| field.get(key).and_then(Json::as_text).filter(|text: &&str| !text.is_empty());
                let word = text("type")
                    .ok_or_else(|| fault(format!("{place}.{key}[{at}].type"), "is missing or blank"))?;
                let kind = field_kinds().find(|kind| kind.name == word);
                let kind = kind.ok_or_else(|| DraftFault::NoFieldKind(word.to_owned()))?;
                let value = field.get("value").cloned().unwrap_or(Json::Null);
                let is_blank = |json: &Json| {
                    json.is_null()
                        || json.as_text() == Some("")
                        || json.as_array().is_some_and(<[_]>::is_empty)
                };
                // A standard field without a value is there anyway.
                if !is_blank(&value) || section == Section::Custom {
                    let value = if is_blank(&value) { Json::Array(Vec::new()) } else { value };
                    draft.add(Given {
                        section,
                        kind,
                        label: text("label").map(str::to_owned),
                        key: None,
                        value,
                    })?;
                }
            }
        }
        Ok(draft)
    }

    /// Puts a field in its place.
    pub fn add(&mut self, given: Given) -> Result<(), DraftFault> {
        match given.section {
            Section::Standard => self.add_standard(given),
            Section::Custom => self.add_custom(given),
        }
    }

    fn add_standard(&mut self, given: Given) -> Result<(), DraftFault> {
        let fits = |slot: &Slot| {
            slot.kind == given.kind.name
                && given.label.as_deref().is_none_or(|label| slot.label.is_none_or(|l| l == label))
        };
        let slots = self.kind.fields.iter().zip(&mut self.standard).filter(|(slot, _)| fits(slot));
        let mut slots: Vec<_> = slots.map(|(_, place)| place).collect();
        let more = given.key.is_some() || given.kind.is_object();
        let open = slots.iter().position(|place| more && place.as_ref().is_some_and(|entry| entry.open));
        let free = slots.iter().position(|place| place.is_none());
        match open.or(free).and_then(|at| slots.get_mut(at)) {
            Some(Some(entry)) => entry.extend(given),
            Some(place) => **place = Some(Entry::of(given)),
            None => return Err(DraftFault::NoPlace(given.kind.name.to_owned())),
        }
        Ok(())
    }

    fn add_custom(&mut self, given: Given) -> Result<(), DraftFault> {
        let same = |entry: &&mut Entry| entry.kind.name == given.kind.name && entry.label == given.label;
        match self.custom.iter_mut().find(same) {
            Some(entry) if entry.open && (given.key.is_some() || given.kind.is_object()) => {
                entry.extend(given);
            }
            // Without a label there may be several; with the same one they cannot be told apart.
            Some(_) if given.label.is_some() => return Err(DraftFault::Twice(given.kind.name.to_owned())),
            _ => self.custom.push(Entry::of(given)),
        }
        Ok(())
    }

    /// The record. Standard fields that were not given are there without a value; a password among them is
    /// made by `password`, where that is wanted.
    pub fn finish(
        self,
        mut password: Option<&mut dyn FnMut() -> Option<SecretBytes>>,
    ) -> Result<Json, DraftFault> {
        let mut fields = Vec::new();
        for (slot, entry) in self.kind.fields.iter().zip(self.standard) {
            let entry = match entry {
                Some(entry) => entry,
                None => Entry::empty(slot)?,
            };
            fields.push(entry.json(slot.required, &mut password)?);
        }
        let custom = self
            .custom
            .into_iter()
            .map(|entry| entry.json(false, &mut password))
            .collect::<Result<Vec<_>, _>>()?;
        let mut body = Json::object([
            ("type", Json::text(self.kind.name)),
            ("title", Json::text(self.title)),
            ("fields", Json::Array(fields)),
        ]);
        if let Some(notes) = self.notes {
            body.set("notes", Json::text(notes));
        }
        body.set("custom", Json::Array(custom));
        Ok(body)
    }
}

impl Entry {
    fn of(given: Given) -> Self {
        let mut entry =
            Self { kind: given.kind, label: given.label.clone(), values: Vec::new(), open: false };
        entry.open = given.key.is_some();
        entry.extend(given);
        entry
    }

    fn empty(slot: &Slot) -> Result<Self, DraftFault> {
        let kind = field_kinds().find(|kind| kind.name == slot.kind);
        let kind = kind.ok_or_else(|| DraftFault::NoFieldKind(slot.kind.to_owned()))?;
        Ok(Self { kind, label: None, values: Vec::new(), open: false })
    }

    /// More of it: a key, or further values. Of several phones each one has its type last.
    fn extend(&mut self, given: Given) {
        match (given.key, given.value) {
            (Some(key), value) => {
                let starts_anew = match self.values.last() {
                    None => true,
                    Some(last) => self.kind.name == "phone" && last.get("type").is_some(),
                };
                if starts_anew {
                    self.values.push(Json::object([]));
                }
                if let Some(last) = self.values.last_mut() {
                    last.set(&key, value);
                }
            }
            (None, Json::Array(items)) => self.values.extend(items),
            (None, value) => self.values.push(value),
        }
    }

    fn json(
        self,
        required: bool,
        password: &mut Option<&mut dyn FnMut() -> Option<SecretBytes>>,
    ) -> Result<Json, DraftFault> {
        let empty = |json: &Json| json.as_object().is_some_and(<[_]>::is_empty);
        let mut values = Vec::new();
        for value in &self.values {
            let value = self.kind.settled(value)?;
            if !empty(&value) {
                values.push(value);
            }
        }
        if values.is_empty()
            && self.kind.name == "password"
            && let Some(made) = password.as_mut().and_then(|make| make())
        {
            // Opened to become part of the record, which wipes it too. It is made of ASCII.
            let text = Zeroizing::new(made.expose_text().unwrap_or_default().to_owned());
            values.push(Json::Text(text));
        }
        let mut json = Json::object([("type", Json::text(self.kind.name)), ("value", Json::Array(values))]);
        if let Some(label) = self.label {
            json.set("label", Json::text(label));
        }
        if required {
            json.set("required", Json::Bool(true));
        }
        Ok(json)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{json::Style, record_types::parse_field};

    fn made(kind: &str, arguments: &[&str]) -> String {
        let make = || {
            let mut draft = Draft::new(kind, "T", Some("n"))?;
            for argument in arguments {
                draft.add(parse_field(argument)?)?;
            }
            draft.finish(None)
        };
        match make() {
            Ok(json) => json.write(Style::Compact).expose_text().unwrap().to_owned(),
            Err(fault) => format!("!{fault}"),
        }
    }

    #[test]
    fn fields_find_their_places() {
        let card = made(
            "bankCard",
            &[
                "paymentCard.cardNumber=5",
                "text[Cardholder Name]=H",
                "pinCode=0012",
                "c.text[x]=1",
                "c.text=2",
                "c.text=3",
            ],
        );
        assert_eq!(
            card,
            r#"{"type":"bankCard","title":"T","fields":[{"type":"paymentCard","value":[{"cardNumber":"5"}]},{"type":"text","value":["H"],"label":"Cardholder Name"},{"type":"pinCode","value":["0012"]},{"type":"addressRef","value":[]},{"type":"fileRef","value":[]}],"notes":"n","custom":[{"type":"text","value":["1"],"label":"x"},{"type":"text","value":["2"]},{"type":"text","value":["3"]}]}"#
        );
        let phones = made(
            "contact",
            &["name.first=A", "name.last=B", "phone.number=1", "phone.type=work", "phone.number=2"],
        );
        assert!(phones.contains(r#""value":[{"number":"1","type":"Work"},{"number":"2"}]"#), "{phones}");
        assert!(
            phones.contains(r#"{"type":"name","value":[{"first":"A","last":"B"}],"required":true}"#),
            "{phones}"
        );
    }

    #[test]
    fn mistakes_are_named_without_values() {
        for (kind, arguments) in [
            ("nope", &["login=x"][..]),
            ("login", &["host={\"hostName\":\"hunter2\"}"]),
            ("login", &["login=hunter2", "login=hunter2"]),
            ("login", &["oneTimeCode=hunter2"]),
            ("login", &["c.text[a]=hunter2", "c.text[a]=hunter2"]),
            ("login", &["c.date=hunter2"]),
            ("login", &["c.checkbox=hunter2"]),
            ("login", &["c.host=hunter2"]),
            ("login", &["c.host={\"nope\":\"hunter2\"}"]),
            ("login", &["c.address.country=hunter2"]),
            ("login", &["c.recordRef=hunter2"]),
        ] {
            let fault = made(kind, arguments);
            assert!(fault.starts_with('!') && !fault.contains("hunter2"), "{arguments:?}: {fault}");
        }
    }

    #[test]
    fn a_file_is_read_and_its_mistakes_are_placed() {
        let read = |text: &str| {
            let drafts = Draft::of_file(&Json::parse(text).unwrap())?;
            drafts.into_iter().map(|draft| draft.finish(None)).collect::<Result<Vec<_>, _>>()
        };
        let good = r#"{"version":"v3","kind":"KeeperRecord","data":[{"recordType":"login","title":"A","fields":[{"type":"login","value":"x"},{"type":"url","value":[]}],"custom_fields":[{"type":"text","label":"e","value":[]}]}]}"#;
        let records = read(good).unwrap();
        assert_eq!(records.len(), 1);
        assert!(records[0].get("custom").unwrap().as_array().unwrap().len() == 1);
        for (text, place) in [
            (r#"{"kind":"KeeperRecord"}"#, ".version"),
            (r#"{"version":"v3"}"#, ".kind"),
            (r#"{"version":"v3","kind":"KeeperRecord"}"#, ".data "),
            (
                r#"{"version":"v3","kind":"KeeperRecord","data":[{"recordType":"login","fields":[]}]}"#,
                ".data[0].title",
            ),
            (
                r#"{"version":"v3","kind":"KeeperRecord","data":[{"recordType":"login","title":"x"}]}"#,
                ".data[0].fields",
            ),
            (
                r#"{"version":"v3","kind":"KeeperRecord","data":[{"recordType":"login","title":"x","fields":[{}]}]}"#,
                ".data[0].fields[0].type",
            ),
        ] {
            assert!(read(text).unwrap_err().to_string().starts_with(place), "{text}");
        }
    }

    #[test]
    fn passwords_are_made_where_none_is_given() {
        let mut count = 0;
        let mut make = || {
            count += 1;
            Some(SecretBytes::from("made"))
        };
        let draft = Draft::new("login", "T", None).unwrap();
        let json = draft.finish(Some(&mut make)).unwrap();
        assert!(
            json.write(Style::Compact)
                .expose_text()
                .unwrap()
                .contains(r#"{"type":"password","value":["made"]}"#)
        );
        assert_eq!(count, 1);
    }
}
