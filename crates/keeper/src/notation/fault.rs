//! Errors that point: the notation, a caret under the place, and what would be right there.

use std::{fmt, ops::Range};

/// A text that is no notation. `Display` shows the text over several lines, with a caret under the
/// place and what was expected there. The text is the notation's own: no record content is near.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyntaxError {
    /// What is wrong.
    pub kind: SyntaxKind,
    /// The notation, decoded where it came as base64.
    pub text: String,
    /// Where, in bytes of `text`.
    pub at: Range<usize>,
    /// What would be right there.
    pub expected: &'static str,
}

/// What is wrong with a text (keeper.md 1.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SyntaxKind {
    /// There is no text.
    Empty,
    /// No `/` in it, so it would have to be base64, and is not.
    Base64,
    /// The record or the selector is missing.
    Incomplete,
    /// The word after the record is no selector.
    Selector,
    /// `field`, `custom_field` or `file` without what they need.
    NoParameter,
    /// Something follows where the notation is over.
    Trailing,
    /// A backslash before something that needs none, or at the end.
    Escape,
    /// Square brackets that do not fit.
    Bracket,
    /// Two predicates of which the first is neither a number nor empty.
    Index,
    /// A second predicate that is empty or a number.
    Index2,
    /// A predicate after a file.
    FileIndex,
}

impl SyntaxKind {
    /// A stable word for it.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Base64 => "base64",
            Self::Incomplete => "incomplete",
            Self::Selector => "selector",
            Self::NoParameter => "no-parameter",
            Self::Trailing => "trailing",
            Self::Escape => "escape",
            Self::Bracket => "bracket",
            Self::Index => "index",
            Self::Index2 => "index2",
            Self::FileIndex => "file-index",
        }
    }

    const fn message(self) -> &'static str {
        match self {
            Self::Empty => "the notation is empty",
            Self::Base64 => "not a notation: there is no '/' in it, and it is not base64 of one either",
            Self::Incomplete => "the notation is not complete",
            Self::Selector => "unknown selector",
            Self::NoParameter => "the selector needs a name",
            Self::Trailing => "the notation goes on where it should be over",
            Self::Escape => "a backslash that escapes nothing",
            Self::Bracket => "square brackets that do not fit",
            Self::Index => "the first of two predicates must be a number or empty",
            Self::Index2 => "the second predicate must name a property",
            Self::FileIndex => "a file takes no predicate",
        }
    }
}

/// A part of a notation, for errors that come up after parsing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// The UID or title.
    Record,
    /// The selector's word.
    Selector,
    /// The label, type or file.
    Parameter,
    /// The number in brackets.
    Index,
    /// The property in brackets.
    Property,
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.message())?;
        Pointer { text: &self.text, at: self.at.clone(), note: self.expected }.fmt(f)
    }
}

impl std::error::Error for SyntaxError {}

/// Characters shown on each side of the place.
const CONTEXT: usize = 100;

/// The text on a line of its own, a caret under the place, and a note beside it.
pub(super) struct Pointer<'a> {
    pub(super) text: &'a str,
    pub(super) at: Range<usize>,
    pub(super) note: &'a str,
}

impl fmt::Display for Pointer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.text;
        let start = text.floor_char_boundary(self.at.start);
        let end = text.floor_char_boundary(self.at.end.max(start));
        let from = text[..start].char_indices().rev().nth(CONTEXT).map_or(0, |(i, _)| i);
        let to = text[end..].char_indices().nth(CONTEXT).map_or(text.len(), |(i, _)| end + i);
        let lead = if from > 0 { "…" } else { "" };
        let tail = if to < text.len() { "…" } else { "" };
        let indent = lead.chars().count() + width(&text[from..start]);
        let carets = width(&text[start..end]).max(1);
        write!(f, "\n  {lead}{}{tail}", Visible(&text[from..to]))?;
        write!(f, "\n  {}{} {}", " ".repeat(indent), "^".repeat(carets), self.note)
    }
}

/// A text in which control characters cannot reach the terminal.
struct Visible<'a>(&'a str);

impl fmt::Display for Visible<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| write!(f, "{}", if hidden(c) { '\u{fffd}' } else { c }))
    }
}

/// Control characters, and the ones that reorder a line.
fn hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// The columns a text takes on a terminal: combining characters take none, East Asian wide ones two.
fn width(text: &str) -> usize {
    text.chars()
        .map(|c| match u32::from(c) {
            0x0300..=0x036f | 0x3099..=0x309a | 0xfe00..=0xfe0f => 0,
            0x1100..=0x115f
            | 0x2e80..=0xa4cf
            | 0xac00..=0xd7a3
            | 0xf900..=0xfaff
            | 0xfe30..=0xfe6f
            | 0xff00..=0xff60
            | 0xffe0..=0xffe6
            | 0x1f300..=0x1faff
            | 0x20000..=0x3fffd => 2,
            _ => 1,
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caret_stands_under_the_place_also_after_wide_characters() {
        let text = "keeper://本番DB/bogus";
        let at = text.find("bogus").unwrap();
        let error = SyntaxError {
            kind: SyntaxKind::Selector,
            text: text.to_owned(),
            at: at..text.len(),
            expected: "expected something",
        };
        assert_eq!(
            error.to_string(),
            "unknown selector\n  keeper://本番DB/bogus\n                  ^^^^^ expected something"
        );
    }

    #[test]
    fn a_long_text_is_cut_and_control_characters_do_not_pass() {
        let text = format!("{}\u{1b}[2J\\q{}", "a".repeat(300), "b".repeat(300));
        let at = text.find('\\').unwrap();
        let error = SyntaxError { kind: SyntaxKind::Escape, at: at..at + 2, text, expected: "x" };
        let shown = error.to_string();
        assert!(!shown.contains('\u{1b}'));
        assert!(shown.lines().nth(1).unwrap().starts_with("  …a"));
        assert!(shown.len() < 600, "{shown}");
        let caret = shown.lines().nth(2).unwrap().chars().position(|c| c == '^');
        assert_eq!(caret, shown.lines().nth(1).unwrap().chars().position(|c| c == '\\'));
    }
}
