/// One Keeper notation: which record, and what of it.
///
/// Built by [`crate::notation::parse()`]; printed (`Display`) in the canonical form, with the prefix
/// and with all of `/ \ [ ]` escaped. What is printed parses to an equal notation.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Notation {
    /// The record's UID or title. May be empty: a title can be.
    pub record: String,
    /// What of the record.
    pub selector: Selector,
}

impl Notation {
    /// Whether the record text has the shape of a UID (`[A-Za-z0-9_-]{22}`). A title may have it
    /// too; a UID wins (keeper.md 1.3).
    pub fn names_uid(&self) -> bool {
        is_uid(&self.record)
    }
}

/// Whether a text has the shape of a record's, folder's or file's UID.
pub fn is_uid(text: &str) -> bool {
    text.len() == 22 && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

/// What of a record a notation wants.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Selector {
    /// The record's type: `login`.
    Type,
    /// The record's title.
    Title,
    /// The record's notes.
    Notes,
    /// The content of the attached file of that name, title or UID.
    File(Name),
    /// A value of a field.
    Field(Section, Name, Pick),
}

/// The two lists of fields a record has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Section {
    /// `field`: the fields of the record's type.
    Standard,
    /// `custom_field`: the fields a user has added.
    Custom,
}

/// Which part of a field's list of values.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Pick {
    /// Nothing said: the first value.
    First,
    /// `[]`: all values, as an array.
    All,
    /// `[n]`: one value. A number too large for the machine is the largest: out of range either way.
    Nth(usize),
    /// `[prop]`: a property of the first value.
    Property(Property),
    /// `[][prop]`: a property of every value that has it, as one line of CSV.
    AllProperty(Property),
    /// `[n][prop]`: a property of one value.
    NthProperty(usize, Property),
}

/// A label, a type, or a file's name, title or UID: any text but the empty one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Name(String);

impl Name {
    /// Nothing for the empty text.
    pub fn new(text: impl Into<String>) -> Option<Self> {
        let text = text.into();
        (!text.is_empty()).then_some(Self(text))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A property's name: any text but the empty one and one of digits only, which would be an index.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Property(String);

impl Property {
    /// Nothing for the empty text and for digits.
    pub fn new(text: impl Into<String>) -> Option<Self> {
        let text = text.into();
        (!text.bytes().all(|b| b.is_ascii_digit())).then_some(Self(text))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Selector {
    /// The word that stands for it.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Type => "type",
            Self::Title => "title",
            Self::Notes => "notes",
            Self::File(_) => "file",
            Self::Field(Section::Standard, ..) => "field",
            Self::Field(Section::Custom, ..) => "custom_field",
        }
    }
}
