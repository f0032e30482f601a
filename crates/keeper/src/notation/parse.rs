//! Reading a notation (keeper.md 1.1).

use std::ops::Range;

use base64::{
    Engine as _,
    alphabet::URL_SAFE,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

use super::{
    ast::{Name, Notation, Pick, Property, Section, Selector},
    fault::{Part, Pointer, SyntaxError, SyntaxKind},
};

/// Padded or not, and forgiving about the bits that stand for nothing, as Python is.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

const SELECTORS: &str = "expected one of type, title, notes, field, custom_field, file";

/// A notation together with the text it came from, so that a later failure can point into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    /// What the text means.
    pub notation: Notation,
    text: String,
    record: Range<usize>,
    selector: Range<usize>,
    parameter: Option<Range<usize>>,
    index: Option<Range<usize>>,
    property: Option<Range<usize>>,
}

impl Parsed {
    /// The text, decoded where it came as base64.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Where a part stands, in bytes of [`Self::text`]; the selector, for a part that is not there.
    pub fn place(&self, part: Part) -> Range<usize> {
        match part {
            Part::Record => Some(&self.record),
            Part::Selector => None,
            Part::Parameter => self.parameter.as_ref(),
            Part::Index => self.index.as_ref(),
            Part::Property => self.property.as_ref(),
        }
        .unwrap_or(&self.selector)
        .clone()
    }

    /// Lines to print below a message: the text, a caret under a part of it, and a note.
    pub fn pointing_at(&self, part: Part, note: &str) -> String {
        Pointer { text: &self.text, at: self.place(part), note }.to_string()
    }
}

/// Reads a notation: `keeper://RECORD/SELECTOR…`, the prefix optional, or url-safe base64 of that.
///
/// # Errors
/// [`SyntaxError`], which shows the text and points into it.
pub fn parse(text: &str) -> Result<Parsed, SyntaxError> {
    if text.is_empty() {
        let expected = "expected keeper://<title or UID>/<selector>";
        return Err(SyntaxError { kind: SyntaxKind::Empty, text: String::new(), at: 0..0, expected });
    }
    // '/' is no sign of url-safe base64, so its absence tells the two forms apart.
    if text.contains('/') {
        return Reader { text, at: 0 }.notation();
    }
    let decoded = BASE64
        .decode(text.replace('+', "-"))
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .filter(|decoded| !decoded.is_empty());
    match decoded {
        Some(decoded) => Reader { text: &decoded, at: 0 }.notation(),
        None => Err(Reader { text, at: 0 }.fault(
            SyntaxKind::Base64,
            0..text.len(),
            "expected keeper://<title or UID>/<selector>, or url-safe base64 of it",
        )),
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

/// A piece of the text with its escapes resolved.
struct Piece {
    text: String,
    span: Range<usize>,
}

impl Reader<'_> {
    fn fault(&self, kind: SyntaxKind, at: Range<usize>, expected: &'static str) -> SyntaxError {
        SyntaxError { kind, text: self.text.to_owned(), at, expected }
    }

    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn notation(mut self) -> Result<Parsed, SyntaxError> {
        const PREFIX: &str = "keeper://";
        if self.text.get(..PREFIX.len()).is_some_and(|p| p.eq_ignore_ascii_case(PREFIX)) {
            self.at = PREFIX.len();
        }
        let record = self.piece(&['/'])?;
        if self.rest().is_empty() {
            let expected = "expected '/' and a selector: type, title, notes, field, custom_field, file";
            return Err(self.fault(SyntaxKind::Incomplete, self.at..self.at, expected));
        }
        self.at += 1;
        if self.rest().is_empty() {
            return Err(self.fault(SyntaxKind::Incomplete, self.at..self.at, SELECTORS));
        }
        let word_at = self.at..self.rest().find('/').map_or(self.text.len(), |n| self.at + n);
        let word = self.text[word_at.clone()].to_ascii_lowercase();
        self.at = word_at.end;
        let mut parsed = Parsed {
            notation: Notation { record: record.text, selector: Selector::Type },
            text: self.text.to_owned(),
            record: record.span,
            selector: word_at,
            parameter: None,
            index: None,
            property: None,
        };
        parsed.notation.selector = match word.as_str() {
            "type" => self.short(Selector::Type)?,
            "title" => self.short(Selector::Title)?,
            "notes" => self.short(Selector::Notes)?,
            "file" => self.file(&mut parsed)?,
            "field" | "fields" => self.field(Section::Standard, &mut parsed)?,
            "custom_field" | "custom_fields" => self.field(Section::Custom, &mut parsed)?,
            _ => return Err(self.unknown_selector(&parsed.selector)),
        };
        Ok(parsed)
    }

    /// The official parsers look for text that is left over before they look at the word.
    fn unknown_selector(&self, word: &Range<usize>) -> SyntaxError {
        if self.rest().len() <= 1 {
            return self.fault(SyntaxKind::Selector, word.clone(), SELECTORS);
        }
        let expected = if word.is_empty() {
            "expected one of type, title, notes, field, custom_field, file (only keeper:// may stand before the record)"
        } else {
            "expected one of type, title, notes, field, custom_field, file (a '/' inside a title is written \\/)"
        };
        self.fault(SyntaxKind::Trailing, word.clone(), expected)
    }

    /// A selector without a parameter; one slash may follow.
    fn short(&self, selector: Selector) -> Result<Selector, SyntaxError> {
        match self.rest() {
            "" | "/" => Ok(selector),
            _ => Err(self.trailing("expected nothing more: type, title and notes take no parameter")),
        }
    }

    fn file(&mut self, parsed: &mut Parsed) -> Result<Selector, SyntaxError> {
        let name = self.parameter(parsed, "expected '/' and the file's name, title or UID")?;
        let from = self.at;
        if self.brackets()?.is_some() {
            self.brackets()?;
            let expected = "expected nothing more: brackets inside a file's name are written \\[ and \\]";
            return Err(self.fault(SyntaxKind::FileIndex, from..self.at, expected));
        }
        Ok(Selector::File(name))
    }

    fn field(&mut self, section: Section, parsed: &mut Parsed) -> Result<Selector, SyntaxError> {
        let name = self.parameter(parsed, "expected '/' and the field's label or type")?;
        let Some(first) = self.brackets()? else { return Ok(Selector::Field(section, name, Pick::First)) };
        let second = self.brackets()?;
        if !self.rest().is_empty() {
            return Err(self.trailing("expected nothing more: a field takes at most two predicates"));
        }
        let index = |digits: &str| digits.parse().unwrap_or(usize::MAX);
        let pick = match (Property::new(first.text.as_str()), second) {
            (None, None) if first.text.is_empty() => Pick::All,
            (None, None) => Pick::Nth(index(&first.text)),
            (Some(property), None) => {
                parsed.property = Some(first.span);
                return Ok(Selector::Field(section, name, Pick::Property(property)));
            }
            (Some(_), Some(_)) => {
                let expected = "expected a number, as in [0][number], or nothing, as in [][number]";
                return Err(self.fault(SyntaxKind::Index, first.span, expected));
            }
            (None, Some(second)) => {
                let Some(property) = Property::new(second.text) else {
                    let expected = "expected the name of a property, as in [0][number]";
                    return Err(self.fault(SyntaxKind::Index2, second.span, expected));
                };
                parsed.property = Some(second.span);
                if first.text.is_empty() {
                    Pick::AllProperty(property)
                } else {
                    Pick::NthProperty(index(&first.text), property)
                }
            }
        };
        parsed.index = Some(first.span);
        Ok(Selector::Field(section, name, pick))
    }

    fn trailing(&self, expected: &'static str) -> SyntaxError {
        self.fault(SyntaxKind::Trailing, self.at..self.text.len(), expected)
    }

    /// The slash and the name after a selector.
    fn parameter(&mut self, parsed: &mut Parsed, expected: &'static str) -> Result<Name, SyntaxError> {
        if !self.rest().is_empty() {
            self.at += 1;
        }
        let piece = self.piece(&['['])?;
        let span = piece.span.clone();
        let name = Name::new(piece.text)
            .ok_or_else(|| self.fault(SyntaxKind::NoParameter, span.clone(), expected))?;
        parsed.parameter = Some(span);
        Ok(name)
    }

    /// One predicate, if the text goes on. Its place is given with the brackets.
    fn brackets(&mut self) -> Result<Option<Piece>, SyntaxError> {
        if self.rest().is_empty() {
            return Ok(None);
        }
        let from = self.at;
        if !self.rest().starts_with('[') {
            let expected = "expected '[' or the end ('[' and ']' inside a name are written \\[ and \\])";
            return Err(self.fault(SyntaxKind::Bracket, from..self.text.len(), expected));
        }
        self.at += 1;
        let piece = self.piece(&['[', ']'])?;
        if !self.rest().starts_with(']') {
            let at = if self.rest().is_empty() { from..from + 1 } else { self.at..self.at + 1 };
            let expected = "expected ']' (a '[' inside a predicate is written \\[)";
            return Err(self.fault(SyntaxKind::Bracket, at, expected));
        }
        self.at += 1;
        Ok(Some(Piece { text: piece.text, span: from..self.at }))
    }

    /// The text up to one of the given signs or the end, escapes resolved.
    fn piece(&mut self, until: &[char]) -> Result<Piece, SyntaxError> {
        let from = self.at;
        let mut text = String::new();
        while let Some(c) = self.rest().chars().next() {
            if until.contains(&c) {
                break;
            }
            self.at += c.len_utf8();
            if c != '\\' {
                text.push(c);
                continue;
            }
            match self.rest().chars().next() {
                Some(sign @ ('/' | '\\' | '[' | ']')) => {
                    text.push(sign);
                    self.at += 1;
                }
                next => {
                    let end = self.at + next.map_or(0, char::len_utf8);
                    let expected = "expected one of \\/ \\\\ \\[ \\]";
                    return Err(self.fault(SyntaxKind::Escape, self.at - 1..end, expected));
                }
            }
        }
        Ok(Piece { text, span: from..self.at })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn prop(text: &str) -> Property {
        Property::new(text).unwrap()
    }

    fn field(record: &str, label: &str, pick: Pick) -> Notation {
        Notation {
            record: record.to_owned(),
            selector: Selector::Field(Section::Standard, name(label), pick),
        }
    }

    fn custom(record: &str, label: &str, pick: Pick) -> Notation {
        Notation { record: record.to_owned(), selector: Selector::Field(Section::Custom, name(label), pick) }
    }

    fn file(record: &str, called: &str) -> Notation {
        Notation { record: record.to_owned(), selector: Selector::File(name(called)) }
    }

    #[track_caller]
    fn reads(text: &str, want: &Notation) {
        match parse(text) {
            Ok(parsed) => assert_eq!(parsed.notation, *want, "{text}"),
            Err(error) => panic!("{error}"),
        }
    }

    /// Every example of the notation page, to the letter, before any record is looked at.
    #[test]
    fn the_examples_of_the_notation_page_parse() {
        reads(
            r"keeper://Twitter Login \[Marketing\]/field/password",
            &field("Twitter Login [Marketing]", "password", Pick::First),
        );
        reads(
            r"keeper://My Slashdot Links/custom_field/\/.links[]",
            &custom("My Slashdot Links", "/.links", Pick::All),
        );
        reads(
            r"keeper://My Slashdot Links/custom_field/\/.links[1]",
            &custom("My Slashdot Links", "/.links", Pick::Nth(1)),
        );
        reads(r"keeper://My \/.Credentials/file/creds\[2\].crt", &file("My /.Credentials", "creds[2].crt"));
        reads("keeper://MySQL Creds/fields/password", &field("MySQL Creds", "password", Pick::First));
        let x = |rest: &str| parse(&format!("keeper://x/custom_field/{rest}")).unwrap().notation;
        assert_eq!(x("name[1][middle]"), custom("x", "name", Pick::NthProperty(1, prop("middle"))));
        assert_eq!(x("phone[0][number]"), custom("x", "phone", Pick::NthProperty(0, prop("number"))));
        assert_eq!(x("phone[][number]"), custom("x", "phone", Pick::AllProperty(prop("number"))));
        assert_eq!(x("phone[0]"), custom("x", "phone", Pick::Nth(0)));
        assert_eq!(x("phone[]"), custom("x", "phone", Pick::All));
        assert_eq!(x("name[last]"), custom("x", "name", Pick::Property(prop("last"))));
        assert_eq!(x("name[first]"), custom("x", "name", Pick::Property(prop("first"))));
        assert_eq!(x("phone[1]"), custom("x", "phone", Pick::Nth(1)));
        assert_eq!(x("phone[1][number]"), custom("x", "phone", Pick::NthProperty(1, prop("number"))));
        for word in ["type", "title", "notes"] {
            assert_eq!(parse(&format!("keeper://TITLE/{word}")).unwrap().notation.selector.word(), word);
        }
    }

    /// The rows of keeper.md 1.6 that parse, and the forms of 1.1 around them.
    #[test]
    fn what_the_official_parsers_take_is_taken() {
        let alice = field("Conf Login", "login", Pick::First);
        for text in [
            "keeper://Conf Login/field/login",
            "KEEPER://Conf Login/field/login",
            "Conf Login/field/login",
            "Conf Login/Field/login",
            "Conf Login/FIELDS/login",
            "a2VlcGVyOi8vQ29uZiBMb2dpbi9maWVsZC9sb2dpbg==",
            "a2VlcGVyOi8vQ29uZiBMb2dpbi9maWVsZC9sb2dpbg",
        ] {
            reads(text, &alice);
        }
        reads("~/type/", &Notation { record: "~".into(), selector: Selector::Type });
        reads("~/TYPE", &Notation { record: "~".into(), selector: Selector::Type });
        reads("~/field/url[01]", &field("~", "url", Pick::Nth(1)));
        reads("~/field/url[-1]", &field("~", "url", Pick::Property(prop("-1"))));
        reads("~/field/url[ 1]", &field("~", "url", Pick::Property(prop(" 1"))));
        reads("~/custom_field//. links", &custom("~", "/. links", Pick::First));
        reads(r"~/custom_field/a\\b\[c\]", &custom("~", r"a\b[c]", Pick::First));
        reads("~/custom_field/環境", &custom("~", "環境", Pick::First));
        reads("keeper://本番DB/field/password", &field("本番DB", "password", Pick::First));
        reads("~/field/login]", &field("~", "login]", Pick::First));
        reads("~/field/login ", &field("~", "login ", Pick::First));
        reads(r"~/custom_field/oddprop[0][x\]y]", &custom("~", "oddprop", Pick::NthProperty(0, prop("x]y"))));
        reads("~/custom_field/oddprop[a b]", &custom("~", "oddprop", Pick::Property(prop("a b"))));
        reads("~/file/cert two", &file("~", "cert two"));
        reads(
            "keeper://Twitter Login [Marketing]/field/password",
            &field("Twitter Login [Marketing]", "password", Pick::First),
        );
        reads(r"keeper://A\/B\\C/field/password", &field(r"A/B\C", "password", Pick::First));
        reads("keeper:///field/password", &field("", "password", Pick::First));
        reads("/field/password", &field("", "password", Pick::First));
        reads("keeper://Conf%20Login/field/login", &field("Conf%20Login", "login", Pick::First));
        reads("keeper://Conf Login /field/login", &field("Conf Login ", "login", Pick::First));
        reads("~/field/url[99999999999999999999999999]", &field("~", "url", Pick::Nth(usize::MAX)));
    }

    #[test]
    fn what_is_wrong_is_named_and_pointed_at() {
        for (text, kind, at) in [
            ("", SyntaxKind::Empty, 0..0),
            ("not-base64!", SyntaxKind::Base64, 0..11),
            ("_w==", SyntaxKind::Base64, 0..4),
            ("aGVsbG8", SyntaxKind::Incomplete, 5..5),
            ("keeper://", SyntaxKind::Incomplete, 9..9),
            ("keeper://x", SyntaxKind::Incomplete, 10..10),
            ("keeper://x/", SyntaxKind::Incomplete, 11..11),
            ("~/type/x", SyntaxKind::Trailing, 6..8),
            ("~/type//", SyntaxKind::Trailing, 6..8),
            ("~/notes[0]", SyntaxKind::Selector, 2..10),
            ("~/bogus", SyntaxKind::Selector, 2..7),
            ("~/bogus/", SyntaxKind::Selector, 2..7),
            ("~/bogus/x", SyntaxKind::Trailing, 2..7),
            ("keeper://A/B/field/password", SyntaxKind::Trailing, 11..12),
            ("https://Conf Login/field/login", SyntaxKind::Trailing, 7..7),
            (" keeper://Conf Login/field/login", SyntaxKind::Trailing, 9..9),
            ("~/file", SyntaxKind::NoParameter, 6..6),
            ("~/field", SyntaxKind::NoParameter, 7..7),
            ("~/field/", SyntaxKind::NoParameter, 8..8),
            ("~/field/[0]", SyntaxKind::NoParameter, 8..8),
            ("~/field/login[", SyntaxKind::Bracket, 13..14),
            ("~/field/login[0", SyntaxKind::Bracket, 13..14),
            ("~/field/login[[0]]", SyntaxKind::Bracket, 14..15),
            ("~/field/login[0]x", SyntaxKind::Bracket, 16..17),
            ("~/field/login[0]/", SyntaxKind::Bracket, 16..17),
            ("~/file/creds[2].crt", SyntaxKind::Bracket, 15..19),
            ("~/file/dup one[0]", SyntaxKind::FileIndex, 14..17),
            ("~/field/phone[0][]", SyntaxKind::Index2, 16..18),
            ("~/field/phone[][]", SyntaxKind::Index2, 15..17),
            ("~/field/phone[0][1]", SyntaxKind::Index2, 16..19),
            ("~/field/phone[x][y]", SyntaxKind::Index, 13..16),
            ("~/field/phone[0][number][x]", SyntaxKind::Trailing, 24..27),
            (r"~/custom_field/a\b", SyntaxKind::Escape, 16..18),
            (r"~/field/log\in", SyntaxKind::Escape, 11..13),
            (r"~/field/login\", SyntaxKind::Escape, 13..14),
            (r"a\本/field/x", SyntaxKind::Escape, 1..5),
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!((error.kind, &error.at), (kind, &at), "{text}: {error}");
        }
    }

    #[test]
    fn an_error_shows_the_text_the_place_and_what_would_be_right() {
        assert_eq!(
            parse("keeper://A/B/field/password").unwrap_err().to_string(),
            "the notation goes on where it should be over\n  keeper://A/B/field/password\n             ^ expected one of \
             type, title, notes, field, custom_field, file (a '/' inside a title is written \\/)"
        );
        assert_eq!(
            parse("keeper://x/field/login[0").unwrap_err().to_string(),
            "square brackets that do not fit\n  keeper://x/field/login[0\n                        ^ expected ']' \
             (a '[' inside a predicate is written \\[)"
        );
    }

    #[test]
    fn parts_have_places_to_point_at() {
        let parsed = parse("keeper://Conf Login/custom_field/phone[1][number]").unwrap();
        let place = |part| &parsed.text()[parsed.place(part)];
        assert_eq!(place(Part::Record), "Conf Login");
        assert_eq!(place(Part::Selector), "custom_field");
        assert_eq!(place(Part::Parameter), "phone");
        assert_eq!(place(Part::Index), "[1]");
        assert_eq!(place(Part::Property), "[number]");
        assert_eq!(
            parsed.pointing_at(Part::Index, "no such value"),
            "\n  keeper://Conf Login/custom_field/phone[1][number]\n                                        ^^^ no such value"
        );
        let short = parse("x/title").unwrap();
        assert_eq!(short.place(Part::Property), short.place(Part::Selector));
    }

    fn any_notation() -> impl Strategy<Value = Notation> {
        let text = || r"[a-z0-9/\\\[\] 本:.]{0,8}";
        let property = text().prop_filter_map("digits", Property::new);
        let pick = prop_oneof![
            Just(Pick::First),
            Just(Pick::All),
            any::<usize>().prop_map(Pick::Nth),
            property.clone().prop_map(Pick::Property),
            property.clone().prop_map(Pick::AllProperty),
            (any::<usize>(), property).prop_map(|(n, p)| Pick::NthProperty(n, p)),
        ];
        let name = text().prop_filter_map("empty", Name::new);
        let selector = prop_oneof![
            Just(Selector::Type),
            Just(Selector::Title),
            Just(Selector::Notes),
            name.clone().prop_map(Selector::File),
            (prop_oneof![Just(Section::Standard), Just(Section::Custom)], name, pick)
                .prop_map(|(section, name, pick)| Selector::Field(section, name, pick)),
        ];
        (text(), selector).prop_map(|(record, selector)| Notation { record, selector })
    }

    proptest! {
        #[test]
        fn what_is_printed_parses_to_the_same(notation in any_notation()) {
            let text = notation.to_string();
            let parsed = parse(&text).map_err(|e| TestCaseError::fail(e.to_string()))?;
            prop_assert_eq!(&parsed.notation, &notation);
            let unprefixed = parse(text.strip_prefix("keeper://").unwrap());
            if !notation.record.starts_with("keeper:") {
                prop_assert_eq!(unprefixed.unwrap().notation, notation);
            }
        }

        #[test]
        fn what_parses_prints_to_the_same(text in r"(keeper://)?[a-c/\\\[\]0 ]{0,6}/(field|file|custom_field|type|notes)[a-c/\\\[\]0 ]{0,10}") {
            if let Ok(parsed) = parse(&text) {
                let again = parse(&parsed.notation.to_string());
                prop_assert_eq!(again.map(|p| p.notation), Ok(parsed.notation));
            }
        }

        #[test]
        fn no_text_makes_the_parser_or_its_errors_panic(text in any::<String>()) {
            match parse(&text) {
                Ok(parsed) => {
                    for part in [Part::Record, Part::Selector, Part::Parameter, Part::Index, Part::Property] {
                        parsed.pointing_at(part, "");
                    }
                }
                Err(error) => prop_assert!(error.to_string().contains('^')),
            }
        }

        #[test]
        fn places_are_inside_the_text(text in r"[a/\\\[\]0本]{0,6}/field/[a/\\\[\]0本]{0,12}") {
            match parse(&text) {
                Ok(parsed) => prop_assert!(parsed.text().get(parsed.place(Part::Property)).is_some()),
                Err(error) => prop_assert!(error.text.get(error.at.clone()).is_some(), "{:?}", error),
            }
        }
    }
}
