//! Reads the language of policies: HCL version 1, and JSON of the same structure.
//!
//! Written here rather than taken from a crate, for three reasons. The crates there are read HCL 2,
//! in which several items on a line, quoted names inside a block and `${` in a text mean something
//! else or nothing. They descend without a limit, so that a text of brackets would overflow the stack of
//! the server. And a policy needs none of HCL 2's expressions, functions and loops.

use std::{iter::Peekable, str::CharIndices};

/// Deeper nesting is refused. A policy needs four levels.
const DEEPEST: usize = 32;

/// Where something stands in the text, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) line: usize,
    pub(super) column: usize,
}

/// Why a text is no HCL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) at: Place,
    pub(super) problem: &'static str,
}

/// A value and where it begins.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub(super) at: Place,
    pub(super) value: Value,
}

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    /// As written.
    Number(String),
    Text(String),
    List(Vec<Node>),
    Object(Vec<Item>),
}

/// `key "label" { … }`, `key = value`, or JSON's `"key": value`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Item {
    pub(super) at: Place,
    /// The first one is the name; never empty.
    pub(super) keys: Vec<String>,
    pub(super) value: Node,
}

/// Reads a whole text. What begins with `{` is JSON.
pub(super) fn parse(text: &str) -> Result<Vec<Item>, Fault> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = Reader::new(text);
    reader.json = text.trim_start().starts_with('{');
    if !reader.json {
        let items = reader.items(None, 0)?;
        return Ok(items);
    }
    let node = reader.value(0)?;
    reader.blanks()?;
    if reader.peek().is_some() {
        return Err(reader.fault("nothing may follow the JSON object"));
    }
    match node.value {
        Value::Object(items) => Ok(items),
        _ => Err(Fault { at: node.at, problem: "expected an object" }),
    }
}

struct Reader<'t> {
    text: &'t str,
    chars: Peekable<CharIndices<'t>>,
    at: Place,
    json: bool,
}

impl<'t> Reader<'t> {
    fn new(text: &'t str) -> Self {
        Self { text, chars: text.char_indices().peekable(), at: Place { line: 1, column: 1 }, json: false }
    }

    fn fault(&self, problem: &'static str) -> Fault {
        Fault { at: self.at, problem }
    }

    fn peek(&mut self) -> Option<char> {
        self.chars.peek().map(|(_, c)| *c)
    }

    fn offset(&mut self) -> usize {
        self.chars.peek().map_or(self.text.len(), |(at, _)| *at)
    }

    fn next(&mut self) -> Option<char> {
        let (_, c) = self.chars.next()?;
        if c == '\n' {
            self.at = Place { line: self.at.line + 1, column: 1 };
        } else {
            self.at.column += 1;
        }
        Some(c)
    }

    fn take(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.next();
        }
        found
    }

    /// Skips blanks, line ends and comments.
    fn blanks(&mut self) -> Result<(), Fault> {
        loop {
            match self.peek() {
                Some(c) if c.is_whitespace() => {
                    self.next();
                }
                Some('#') if !self.json => self.line(),
                Some('/') if !self.json => {
                    let at = self.at;
                    self.next();
                    if self.take('*') {
                        self.long_comment(at)?;
                    } else if self.peek() == Some('/') {
                        self.line();
                    } else {
                        return Err(Fault { at, problem: "a comment begins with #, // or /*" });
                    }
                }
                _ => return Ok(()),
            }
        }
    }

    fn line(&mut self) {
        while self.next().is_some_and(|c| c != '\n') {}
    }

    fn long_comment(&mut self, at: Place) -> Result<(), Fault> {
        loop {
            match self.next() {
                Some('*') if self.peek() == Some('/') => {
                    self.next();
                    return Ok(());
                }
                Some(_) => {}
                None => return Err(Fault { at, problem: "this comment does not end" }),
            }
        }
    }

    /// Items up to `end`, or to the end of the text. A comma may follow each.
    fn items(&mut self, end: Option<char>, depth: usize) -> Result<Vec<Item>, Fault> {
        let mut items = Vec::new();
        let mut comma = true;
        loop {
            self.blanks()?;
            match (self.peek(), end) {
                (None, None) => return Ok(items),
                (None, Some(_)) => return Err(self.fault("a closing } is missing")),
                (Some(c), Some(end)) if c == end => {
                    if self.json && comma && !items.is_empty() {
                        return Err(self.fault("a comma before } is not JSON"));
                    }
                    self.next();
                    return Ok(items);
                }
                _ => {}
            }
            if self.json && !comma {
                return Err(self.fault("expected a comma or }"));
            }
            items.push(self.item(depth)?);
            self.blanks()?;
            comma = self.take(',');
        }
    }

    fn item(&mut self, depth: usize) -> Result<Item, Fault> {
        let at = self.at;
        let mut keys = Vec::new();
        loop {
            match self.peek() {
                Some('"') => keys.push(self.text()?),
                Some(c) if !self.json && is_first(c) => keys.push(self.word()),
                Some('{') if !self.json && !keys.is_empty() => {
                    let begins = self.at;
                    self.next();
                    let value = Value::Object(self.deeper(depth, |r, depth| r.items(Some('}'), depth))?);
                    return Ok(Item { at, keys, value: Node { at: begins, value } });
                }
                Some('=') if !self.json && keys.len() == 1 => break,
                Some(':') if self.json && keys.len() == 1 => break,
                Some('=') if !self.json && keys.len() > 1 => {
                    return Err(self.fault("expected { after a name with a label"));
                }
                _ if self.json => {
                    return Err(self.fault("expected a name in double quotes, a colon and a value"));
                }
                _ if keys.is_empty() => return Err(self.fault("expected a name")),
                _ => return Err(self.fault("expected = or {")),
            }
            if self.json && keys.len() > 1 {
                return Err(self.fault("expected a colon"));
            }
            self.blanks()?;
        }
        self.next();
        let value = self.value(depth)?;
        Ok(Item { at, keys, value })
    }

    fn deeper<T>(
        &mut self,
        depth: usize,
        read: impl FnOnce(&mut Self, usize) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        if depth == DEEPEST { Err(self.fault("nested too deeply")) } else { read(self, depth + 1) }
    }

    fn value(&mut self, depth: usize) -> Result<Node, Fault> {
        self.blanks()?;
        let at = self.at;
        let value = match self.peek() {
            Some('"') => Value::Text(self.text()?),
            Some('{') => {
                self.next();
                Value::Object(self.deeper(depth, |r, depth| r.items(Some('}'), depth))?)
            }
            Some('[') => {
                self.next();
                Value::List(self.deeper(depth, Self::list)?)
            }
            Some('<') if !self.json => Value::Text(self.heredoc()?),
            Some(c) if c.is_ascii_digit() || c == '-' => Value::Number(self.number()?),
            Some(c) if is_first(c) => match self.word().as_str() {
                "true" => Value::Bool(true),
                "false" => Value::Bool(false),
                "null" if self.json => Value::Null,
                _ => return Err(Fault { at, problem: "a text must stand in double quotes" }),
            },
            _ => return Err(self.fault("expected a value")),
        };
        Ok(Node { at, value })
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Node>, Fault> {
        let mut nodes = Vec::new();
        loop {
            self.blanks()?;
            if self.take(']') {
                return Ok(nodes);
            }
            nodes.push(self.value(depth)?);
            self.blanks()?;
            match self.peek() {
                Some(',') => {
                    self.next();
                    self.blanks()?;
                    if self.json && self.peek() == Some(']') {
                        return Err(self.fault("a comma before ] is not JSON"));
                    }
                }
                Some(']') => {}
                None => return Err(self.fault("a closing ] is missing")),
                Some(_) => return Err(self.fault("expected a comma or ]")),
            }
        }
    }

    fn word(&mut self) -> String {
        let mut word = String::new();
        while let Some(c) =
            self.peek().filter(|c| is_first(*c) || c.is_ascii_digit() || matches!(c, '-' | '.'))
        {
            word.push(c);
            self.next();
        }
        word
    }

    fn number(&mut self) -> Result<String, Fault> {
        let at = self.at;
        let start = self.offset();
        self.take('-');
        while self.peek().is_some_and(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '+' | '-')) {
            self.next();
        }
        let end = self.offset();
        let text = self.text.get(start..end).unwrap_or_default();
        match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(text.to_owned()),
            _ => Err(Fault { at, problem: "this is no number" }),
        }
    }

    /// A text in double quotes. What stands between `${` and its `}` is taken as it is, as HCL 1 does.
    fn text(&mut self) -> Result<String, Fault> {
        let at = self.at;
        self.next();
        let mut text = String::new();
        let mut braces = 0usize;
        loop {
            let here = self.at;
            match self.next() {
                Some('"') if braces == 0 => return Ok(text),
                Some('\\') if braces == 0 => text.push(self.escape(here)?),
                Some('\n') if braces == 0 => {
                    return Err(Fault { at, problem: "this text does not end on its line" });
                }
                Some('$') if !self.json && braces == 0 && self.peek() == Some('{') => {
                    self.next();
                    text.push_str("${");
                    braces = 1;
                }
                Some(c) => {
                    match c {
                        '{' if braces > 0 => braces += 1,
                        '}' if braces > 0 => braces -= 1,
                        _ => {}
                    }
                    text.push(c);
                }
                None => return Err(Fault { at, problem: "this text does not end" }),
            }
        }
    }

    fn escape(&mut self, at: Place) -> Result<char, Fault> {
        let wrong = Fault { at, problem: "no such escape in a text" };
        Ok(match self.next().ok_or(wrong.clone())? {
            c @ ('"' | '\\') => c,
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'b' => '\u{8}',
            'f' => '\u{c}',
            '/' if self.json => '/',
            'a' if !self.json => '\u{7}',
            'v' if !self.json => '\u{b}',
            'x' if !self.json => self.code(2, at)?,
            'u' => self.code(4, at)?,
            'U' if !self.json => self.code(8, at)?,
            _ => return Err(wrong),
        })
    }

    fn code(&mut self, digits: usize, at: Place) -> Result<char, Fault> {
        let wrong = Fault { at, problem: "this escape names no character" };
        let first = self.hex(digits).ok_or(wrong.clone())?;
        // JSON writes a character beyond 16 bits as two.
        if self.json && (0xd800..0xdc00).contains(&first) {
            if self.next() != Some('\\') || self.next() != Some('u') {
                return Err(wrong);
            }
            let second = self.hex(4).filter(|second| (0xdc00..0xe000).contains(second));
            let second = second.ok_or(wrong.clone())?;
            return char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00)).ok_or(wrong);
        }
        char::from_u32(first).ok_or(wrong)
    }

    fn hex(&mut self, digits: usize) -> Option<u32> {
        let mut number = 0u32;
        for _ in 0..digits {
            number = number.checked_mul(16)? + self.next()?.to_digit(16)?;
        }
        Some(number)
    }

    /// `<<WORD` or `<<-WORD`, lines, and the word alone on a line. With the dash, the blanks that all
    /// lines begin with are not part of the text.
    fn heredoc(&mut self) -> Result<String, Fault> {
        let at = self.at;
        self.next();
        if !self.take('<') {
            return Err(Fault { at, problem: "expected a value" });
        }
        let dedent = self.take('-');
        let anchor = self.word();
        self.take('\r');
        if anchor.is_empty() || !self.take('\n') {
            return Err(Fault { at, problem: "<< must be followed by a word and the end of the line" });
        }
        let mut lines: Vec<&str> = Vec::new();
        loop {
            let start = self.offset();
            if start == self.text.len() {
                return Err(Fault { at, problem: "the text that begins here does not end" });
            }
            while self.peek().is_some_and(|c| c != '\n') {
                self.next();
            }
            let end = self.offset();
            let line = self.text.get(start..end).unwrap_or_default();
            if line.trim() == anchor {
                break;
            }
            self.next();
            lines.push(line);
        }
        let blanks = |line: &&str| line.len() - line.trim_start_matches([' ', '\t']).len();
        let common = if dedent { lines.iter().map(blanks).min().unwrap_or(0) } else { 0 };
        let mut text = String::new();
        for line in lines {
            text.push_str(line.get(common..).unwrap_or_default());
            text.push('\n');
        }
        Ok(text)
    }
}

fn is_first(c: char) -> bool {
    c.is_alphabetic() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(node: &Node) -> String {
        match &node.value {
            Value::Null => "null".into(),
            Value::Bool(truth) => truth.to_string(),
            Value::Number(number) => number.clone(),
            Value::Text(text) => format!("{text:?}"),
            Value::List(nodes) => format!("[{}]", nodes.iter().map(show).collect::<Vec<_>>().join(",")),
            Value::Object(items) => format!("{{{}}}", show_items(items)),
        }
    }

    fn show_items(items: &[Item]) -> String {
        let show = |item: &Item| format!("{}={}", item.keys.join("."), show(&item.value));
        items.iter().map(show).collect::<Vec<_>>().join(" ")
    }

    fn read(text: &str) -> String {
        show_items(&parse(text).unwrap())
    }

    #[test]
    fn both_forms_are_read() {
        for (text, meaning) in [
            ("", ""),
            ("a = 1 b = \"x\"", r#"a=1 b="x""#),
            (
                "path \"s/*\" { capabilities = [\"read\", \"list\",] }",
                r#"path.s/*={capabilities=["read","list"]}"#,
            ),
            ("path \"a\" {} path \"b\" {}", "path.a={} path.b={}"),
            ("# one\n// two\n/* three\n*/ a = true", "a=true"),
            ("a {\n  \"quoted name\" = [1, -2.5]\n}", "a={quoted name=[1,-2.5]}"),
            ("a = { b = { c = [] } }", "a={b={c=[]}}"),
            ("a = \"x ${y \"z\"} \\\" \\n\"", r#"a="x ${y \"z\"} \" \n""#),
            ("a = <<EOF\n one\n  two\nEOF\nb = 1", r#"a=" one\n  two\n" b=1"#),
            ("a = <<-EOF\n  one\n    two\n  EOF\n", r#"a="one\n  two\n""#),
            ("a = 1, b = 2", "a=1 b=2"),
            (
                r#"{"path": {"s/*": {"capabilities": ["read"]}}, "n": null}"#,
                r#"path={s/*={capabilities=["read"]}} n=null"#,
            ),
            (r#"  {"a": "\u00e9\/\ud83d\ude00"}"#, r#"a="é/😀""#),
            ("a_b-c.d = 1", "a_b-c.d=1"),
        ] {
            assert_eq!(read(text), meaning, "{text}");
        }
    }

    #[test]
    fn faults_have_their_place() {
        for (text, line, column, problem) in [
            ("a = ", 1, 5, "expected a value"),
            ("a", 1, 2, "expected = or {"),
            ("a = 1\n  = 2", 2, 3, "expected a name"),
            ("path \"a\" {\n  b = 1\n", 3, 1, "a closing } is missing"),
            ("a = [1 2]", 1, 8, "expected a comma or ]"),
            ("a = [1,", 1, 8, "expected a value"),
            ("a = \"x", 1, 5, "this text does not end"),
            ("a = \"x\ny\"", 1, 5, "this text does not end on its line"),
            ("a = \"\\q\"", 1, 6, "no such escape in a text"),
            ("a = read", 1, 5, "a text must stand in double quotes"),
            ("a = 1x", 1, 5, "this is no number"),
            ("/ a", 1, 1, "a comment begins with #, // or /*"),
            ("/* a", 1, 1, "this comment does not end"),
            ("a \"b\" = 1", 1, 7, "expected { after a name with a label"),
            ("a = <<EOF\nx\n", 1, 5, "the text that begins here does not end"),
            ("}", 1, 1, "expected a name"),
            ("{\"a\": 1,}", 1, 9, "a comma before } is not JSON"),
            ("{\"a\": 1} x", 1, 10, "nothing may follow the JSON object"),
            ("{\"a\" 1}", 1, 6, "expected a name in double quotes, a colon and a value"),
            ("{\"a\": 1 \"b\": 2}", 1, 9, "expected a comma or }"),
            ("{\"a\": \"\\ud800\"}", 1, 8, "this escape names no character"),
        ] {
            let fault = parse(text).unwrap_err();
            assert_eq!((fault.at.line, fault.at.column, fault.problem), (line, column, problem), "{text}");
        }
    }

    #[test]
    fn depth_is_limited() {
        for text in [
            format!("a = {}", "[".repeat(100_000)),
            "a {".repeat(100_000),
            format!("{{\"a\":{}", "{\"a\":".repeat(100_000)),
        ] {
            assert_eq!(parse(&text).unwrap_err().problem, "nested too deeply");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[a-z\"{}\\[\\]=:,#/*<\\\\$ \n\r\\-0-9é]{0,80}") {
            let _ = parse(&text);
        }
    }
}
