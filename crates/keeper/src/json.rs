//! JSON as Keeper records need it: members keep their order, numbers keep their digits, and every
//! string is wiped on drop.
//!
//! A record's JSON is read here and not with `serde_json` for three reasons. Its `Map` sorts
//! members in this workspace, while text that must equal what the official CLI writes needs the
//! order of the record. Its numbers come through a marker member that a hostile record could forge.
//! And its scratch buffer keeps a copy of every string that held an escape, which nobody wipes.

use std::{collections::HashMap, fmt};

use model::SecretBytes;
use zeroize::Zeroizing;

/// Deepest nesting that is read. Records nest four or five levels; this bounds the recursion.
const MAX_DEPTH: usize = 64;

/// A JSON value. `Debug` shows the shape only.
#[derive(Clone)]
pub enum Json {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number, as it was written.
    Number(Zeroizing<String>),
    /// A string.
    Text(Zeroizing<String>),
    /// An array.
    Array(Vec<Json>),
    /// An object. Names are unique; of a name given twice the last value stands at the first place.
    Object(Vec<(String, Json)>),
}

/// Why a text is not JSON: a position, never the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not valid JSON at byte {at}")]
pub struct NotJson {
    /// Bytes from the start.
    pub at: usize,
}

/// How JSON is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// `{"a":1}`, non-ASCII as it is.
    Compact,
    /// `{"a": 1}`, non-ASCII as `\uXXXX`: what the official CLI prints (keeper.md 1.4).
    Python,
    /// The same over several lines, indented by this many spaces a level.
    PythonIndented(usize),
    /// `{"a":1}`, non-ASCII as `\uXXXX`: what the official CLI writes into AWS (keeper.md 4.5).
    PythonCompact,
}

impl Json {
    /// Reads one JSON text.
    ///
    /// # Errors
    /// [`NotJson`] for anything RFC 8259 does not allow, for a lone surrogate (`"\ud800"`), which
    /// is no text, and for nesting beyond 64 levels.
    pub fn parse(text: &str) -> Result<Self, NotJson> {
        let mut reader = Reader { text, at: 0, depth: 0 };
        reader.skip_space();
        let value = reader.value()?;
        reader.skip_space();
        if reader.at == text.len() { Ok(value) } else { Err(reader.fault()) }
    }

    /// A string.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(Zeroizing::new(text.into()))
    }

    /// A whole number.
    pub fn int(number: impl Into<i128>) -> Self {
        Self::Number(Zeroizing::new(number.into().to_string()))
    }

    /// An object of the given members, in their order.
    pub fn object<const N: usize>(members: [(&str, Self); N]) -> Self {
        Self::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    /// Whether this is `null`.
    pub const fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// The string, where this is one.
    pub fn as_text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// The elements, where this is an array.
    pub fn as_array(&self) -> Option<&[Self]> {
        if let Self::Array(items) = self { Some(items) } else { None }
    }

    /// The members, where this is an object.
    pub fn as_object(&self) -> Option<&[(String, Self)]> {
        if let Self::Object(members) = self { Some(members) } else { None }
    }

    /// The number as a whole one, where this is one that fits.
    pub fn as_int(&self) -> Option<i64> {
        if let Self::Number(digits) = self { digits.parse().ok() } else { None }
    }

    /// A member's value, where this is an object that has it.
    pub fn get(&self, name: &str) -> Option<&Self> {
        self.as_object()?.iter().find(|(n, _)| n == name).map(|(_, value)| value)
    }

    /// A member's value for change, where this is an object that has it.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Self> {
        let Self::Object(members) = self else { return None };
        members.iter_mut().find(|(n, _)| n == name).map(|(_, value)| value)
    }

    /// Puts a member in place of the one of that name, or at the end. Nothing happens where this is
    /// not an object.
    pub fn set(&mut self, name: &str, value: Self) {
        let Self::Object(members) = self else { return };
        match members.iter_mut().find(|(n, _)| n == name) {
            Some((_, old)) => *old = value,
            None => members.push((name.to_owned(), value)),
        }
    }

    /// The JSON text. Built in one allocation of the right size, so that no copy is left behind.
    pub fn write(&self, style: Style) -> SecretBytes {
        let mut length = 0;
        self.emit(style, 0, &mut |piece| length += piece.len());
        let mut bytes = Vec::with_capacity(length);
        self.emit(style, 0, &mut |piece| bytes.extend_from_slice(piece.as_bytes()));
        SecretBytes::new(bytes)
    }

    fn emit(&self, style: Style, level: usize, put: &mut dyn FnMut(&str)) {
        match self {
            Self::Null => put("null"),
            Self::Bool(true) => put("true"),
            Self::Bool(false) => put("false"),
            Self::Number(digits) => put(digits),
            Self::Text(text) => emit_string(text, style, put),
            Self::Array(items) => {
                let mut list = List::open('[', style, level, put);
                for item in items {
                    list.next(put);
                    item.emit(style, level + 1, put);
                }
                list.close(']', put);
            }
            Self::Object(members) => {
                let mut list = List::open('{', style, level, put);
                for (name, value) in members {
                    list.next(put);
                    emit_string(name, style, put);
                    put(if matches!(style, Style::Compact | Style::PythonCompact) { ":" } else { ": " });
                    value.emit(style, level + 1, put);
                }
                list.close('}', put);
            }
        }
    }
}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(_) => f.write_str("Bool(..)"),
            Self::Number(_) => f.write_str("Number(..)"),
            Self::Text(_) => f.write_str("Text(..)"),
            Self::Array(items) => write!(f, "Array({} elements)", items.len()),
            Self::Object(members) => write!(f, "Object({} members)", members.len()),
        }
    }
}

/// The punctuation around the elements of one array or object.
struct List {
    style: Style,
    level: usize,
    empty: bool,
}

impl List {
    fn open(bracket: char, style: Style, level: usize, put: &mut dyn FnMut(&str)) -> Self {
        put(bracket.encode_utf8(&mut [0; 4]));
        Self { style, level, empty: true }
    }

    fn next(&mut self, put: &mut dyn FnMut(&str)) {
        if !self.empty {
            put(if self.style == Style::Python { ", " } else { "," });
        }
        self.empty = false;
        self.new_line(self.level + 1, put);
    }

    fn close(self, bracket: char, put: &mut dyn FnMut(&str)) {
        if !self.empty {
            self.new_line(self.level, put);
        }
        put(bracket.encode_utf8(&mut [0; 4]));
    }

    fn new_line(&self, level: usize, put: &mut dyn FnMut(&str)) {
        let Style::PythonIndented(width) = self.style else { return };
        put("\n");
        for _ in 0..level * width {
            put(" ");
        }
    }
}

fn emit_string(text: &str, style: Style, put: &mut dyn FnMut(&str)) {
    put("\"");
    let mut plain_from = 0;
    for (at, c) in text.char_indices() {
        let escape = match c {
            '"' => "\\\"",
            '\\' => "\\\\",
            '\n' => "\\n",
            '\r' => "\\r",
            '\t' => "\\t",
            '\u{8}' => "\\b",
            '\u{c}' => "\\f",
            '\0'..='\u{1f}' => "",
            c if style != Style::Compact && !c.is_ascii() => "",
            _ => continue,
        };
        put(&text[plain_from..at]);
        plain_from = at + c.len_utf8();
        if escape.is_empty() {
            for unit in c.encode_utf16(&mut [0; 2]) {
                put(&format!("\\u{unit:04x}"));
            }
        } else {
            put(escape);
        }
    }
    put(&text[plain_from..]);
    put("\"");
}

struct Reader<'a> {
    text: &'a str,
    /// Always on a character boundary.
    at: usize,
    depth: usize,
}

impl Reader<'_> {
    fn fault(&self) -> NotJson {
        NotJson { at: self.at }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn eat(&mut self, token: &str) -> Result<(), NotJson> {
        if !self.text[self.at..].starts_with(token) {
            return Err(self.fault());
        }
        self.at += token.len();
        Ok(())
    }

    fn value(&mut self) -> Result<Json, NotJson> {
        match self.peek() {
            Some(b'n') => self.eat("null").map(|()| Json::Null),
            Some(b't') => self.eat("true").map(|()| Json::Bool(true)),
            Some(b'f') => self.eat("false").map(|()| Json::Bool(false)),
            Some(b'"') => self.string().map(Json::Text),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b'[') => self.nested(Self::array),
            Some(b'{') => self.nested(Self::object),
            _ => Err(self.fault()),
        }
    }

    fn nested(&mut self, read: fn(&mut Self) -> Result<Json, NotJson>) -> Result<Json, NotJson> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.fault());
        }
        self.at += 1;
        self.skip_space();
        let value = read(self)?;
        self.depth -= 1;
        Ok(value)
    }

    fn array(&mut self) -> Result<Json, NotJson> {
        let mut items = Vec::new();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Json::Array(items));
        }
        loop {
            self.skip_space();
            items.push(self.value()?);
            self.skip_space();
            if self.peek() != Some(b',') {
                self.eat("]")?;
                return Ok(Json::Array(items));
            }
            self.at += 1;
        }
    }

    fn object(&mut self) -> Result<Json, NotJson> {
        let mut members = Vec::new();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Json::Object(members));
        }
        loop {
            self.skip_space();
            let name = self.string()?;
            self.skip_space();
            self.eat(":")?;
            self.skip_space();
            members.push((String::clone(&name), self.value()?));
            self.skip_space();
            if self.peek() != Some(b',') {
                self.eat("}")?;
                return Ok(Json::Object(unique(members)));
            }
            self.at += 1;
        }
    }

    fn number(&mut self) -> Result<Json, NotJson> {
        let from = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => self.at += 1,
            _ => self.digits()?,
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(Json::Number(Zeroizing::new(self.text[from..self.at].to_owned())))
    }

    fn digits(&mut self) -> Result<(), NotJson> {
        let from = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == from { Err(self.fault()) } else { Ok(()) }
    }

    fn string(&mut self) -> Result<Zeroizing<String>, NotJson> {
        self.eat("\"")?;
        let rest = &self.text.as_bytes()[self.at..];
        let mut escaped = false;
        let mut length = 0;
        loop {
            match rest.get(length) {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    length += 2;
                }
                Some(0..=0x1f) | None => {
                    self.at += length.min(rest.len());
                    return Err(self.fault());
                }
                Some(_) => length += 1,
            }
        }
        let body = &self.text[self.at..self.at + length];
        let start = self.at;
        self.at += length + 1;
        if !escaped {
            return Ok(Zeroizing::new(body.to_owned()));
        }
        // Unescaping only shortens, so the text never moves and leaves no copy.
        let mut out = Zeroizing::new(String::with_capacity(length));
        unescape(body, &mut out).map_err(|at| NotJson { at: start + at })?;
        Ok(out)
    }
}

/// The members with each name once: the last value, at the first place.
fn unique(members: Vec<(String, Json)>) -> Vec<(String, Json)> {
    let mut places: HashMap<String, usize> = HashMap::with_capacity(members.len());
    let mut kept: Vec<(String, Json)> = Vec::with_capacity(members.len());
    for (name, value) in members {
        if let Some(&place) = places.get(&name) {
            kept[place].1 = value;
        } else {
            places.insert(name.clone(), kept.len());
            kept.push((name, value));
        }
    }
    kept
}

/// Appends the text that a string's body stands for; an error is the position of a bad escape.
fn unescape(body: &str, out: &mut String) -> Result<(), usize> {
    let mut at = 0;
    while let Some(step) = body[at..].find('\\') {
        out.push_str(&body[at..at + step]);
        at += step;
        let (c, length) = match body.as_bytes().get(at + 1) {
            Some(b'"') => ('"', 2),
            Some(b'\\') => ('\\', 2),
            Some(b'/') => ('/', 2),
            Some(b'b') => ('\u{8}', 2),
            Some(b'f') => ('\u{c}', 2),
            Some(b'n') => ('\n', 2),
            Some(b'r') => ('\r', 2),
            Some(b't') => ('\t', 2),
            Some(b'u') => unicode_escape(&body[at..]).ok_or(at)?,
            _ => return Err(at),
        };
        out.push(c);
        at += length;
    }
    out.push_str(&body[at..]);
    Ok(())
}

/// The character of the `\uXXXX`, or of the pair of them, that `text` begins with, and its length.
fn unicode_escape(text: &str) -> Option<(char, usize)> {
    let unit = |from: usize| {
        let hex = text.get(from..from + 6)?.strip_prefix("\\u")?;
        if !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        u16::from_str_radix(hex, 16).ok()
    };
    let high = unit(0)?;
    if let Some(c) = char::from_u32(u32::from(high)) {
        return Some((c, 6));
    }
    char::decode_utf16([high, unit(6)?]).next()?.ok().map(|c| (c, 12))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(json: &Json, style: Style) -> String {
        json.write(style).expose_text().unwrap().to_owned()
    }

    #[test]
    fn order_and_digits_are_kept() {
        let text = r#"{"z":1.10,"a":[true,null,12345678901234567890123,-0.5e+10],"m":{"b":{},"a":[]}}"#;
        assert_eq!(shown(&Json::parse(text).unwrap(), Style::Compact), text);
    }

    #[test]
    fn the_last_of_two_equal_names_stands_at_the_first_place() {
        let json = Json::parse(r#"{"a":1,"b":2,"a":3}"#).unwrap();
        assert_eq!(shown(&json, Style::Compact), r#"{"a":3,"b":2}"#);
    }

    #[test]
    fn python_styles_match_json_dumps() {
        let json = Json::parse(r#"{"k":["日本\ud83d\ude00","a\u0001\"\\\/\b\f\n\r\t\u007f"],"e":{},"l":[]}"#)
            .unwrap();
        assert_eq!(
            shown(&json, Style::Python),
            "{\"k\": [\"\\u65e5\\u672c\\ud83d\\ude00\", \"a\\u0001\\\"\\\\/\\b\\f\\n\\r\\t\u{7f}\"], \"e\": {}, \"l\": []}"
        );
        assert_eq!(
            shown(&Json::parse(r#"{"a":[1,{"b":"c"}],"d":{}}"#).unwrap(), Style::PythonIndented(4)),
            "{\n    \"a\": [\n        1,\n        {\n            \"b\": \"c\"\n        }\n    ],\n    \"d\": {}\n}"
        );
    }

    #[test]
    fn what_is_not_json_is_refused_with_a_position() {
        for (text, at) in [
            ("", 0),
            ("{", 1),
            ("[1,]", 3),
            ("{\"a\":1,}", 7),
            ("01", 1),
            ("1.", 2),
            ("+1", 0),
            ("nul", 0),
            ("NaN", 0),
            ("\"a", 2),
            ("\"\\", 2),
            ("\"\n\"", 1),
            (r#""\x""#, 1),
            (r#""\ud800""#, 1),
            (r#""\ud800\u0041""#, 1),
            (r#""\u00g0""#, 1),
            ("1 2", 2),
            ("\u{feff}1", 0),
        ] {
            assert_eq!(Json::parse(text).unwrap_err(), NotJson { at }, "{text:?}");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(Json::parse(&nested(MAX_DEPTH)).is_ok());
        assert!(Json::parse(&nested(MAX_DEPTH + 1)).is_err());
        assert!(Json::parse(&nested(1_000_000)).is_err());
    }

    #[test]
    fn debug_shows_no_content() {
        let json = Json::parse(r#"["hunter2",7,{"hunter":"two"}]"#).unwrap();
        assert_eq!(
            format!("{json:?} {:?}", json.as_array().unwrap()),
            "Array(3 elements) [Text(..), Number(..), Object(1 members)]"
        );
    }

    fn any_json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            ".{0,12}".prop_map(serde_json::Value::String),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
                proptest::collection::btree_map(".{0,6}", inner, 0..6)
                    .prop_map(|m| serde_json::Value::Object(m.into_iter().collect())),
            ]
        })
    }

    proptest! {
        /// Another parser and writer agree with ours in both directions, in every style.
        #[test]
        fn serde_json_reads_what_we_write_and_the_other_way_round(value in any_json()) {
            let ours = Json::parse(&value.to_string()).unwrap();
            for style in [Style::Compact, Style::Python, Style::PythonIndented(2), Style::PythonCompact] {
                let text = shown(&ours, style);
                prop_assert_eq!(&serde_json::from_str::<serde_json::Value>(&text).unwrap(), &value);
            }
            prop_assert_eq!(shown(&ours, Style::Compact), value.to_string());
        }

        /// Whatever one of the two accepts, the other does too.
        #[test]
        fn no_text_makes_the_parser_panic(text in r#"[\[\]{}:,"\\u0-9a-fe+. tn-]{0,24}"#) {
            let ours = Json::parse(&text);
            let theirs = serde_json::from_str::<serde_json::Value>(&text);
            prop_assert_eq!(ours.is_ok(), theirs.is_ok(), "{}", text);
        }
    }
}
