//! JSONPath as `secret list --query` and `secret get --query` take it (keeper.md 4.2): what the official
//! CLI's library understands of it and people write.
//!
//! `$` or nothing at the start; `.name`, `.*`, `..name`; `['name']`, `["a","b"]`, `[n]`, `[-1]`,
//! `[1,2]`, `[*]`, `[from:to:step]`; filters `[?(@.type == "login" & @.value)]` with `==` (`=`), `!=`,
//! `<`, `<=`, `>`, `>=`, joined by `&` (`&&`) and `|` (`||`).
//!
//! Of that library's ways two matter to scripts: a number or `*` in brackets takes a value that is no array
//! for an array of one, and a name applied to an array finds nothing.

use std::cmp::Ordering;

use crate::json::Json;

/// Deepest nesting of filters within filters.
const MAX_DEPTH: usize = 16;

/// A path, read.
#[derive(Debug, Clone, PartialEq)]
pub struct JsonPath {
    steps: Vec<Step>,
}

/// A text that is no path: a place, and what would be right there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a JSONPath at character {at}: {expected}")]
pub struct NotAPath {
    /// Counted from 1.
    pub at: usize,
    /// What would be right.
    pub expected: &'static str,
}

#[derive(Debug, Clone, PartialEq)]
enum Step {
    /// These members.
    Names(Vec<String>),
    /// All members of an object.
    Members,
    /// These elements; below zero from the end.
    Items(Vec<i64>),
    /// A part of the elements.
    Slice { from: Option<i64>, to: Option<i64>, by: Option<i64> },
    /// Those elements for which it holds.
    Filter(Test),
    /// The steps after it apply here and anywhere below.
    Anywhere,
}

#[derive(Debug, Clone, PartialEq)]
enum Test {
    /// Something is there.
    There(JsonPath),
    /// Something that is there compares so.
    Compare(JsonPath, Op, Literal),
    All(Vec<Test>),
    Any(Vec<Test>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Debug, Clone, PartialEq)]
enum Literal {
    Text(String),
    Number(f64),
    Bool(bool),
    Null,
}

impl JsonPath {
    /// Reads a path.
    pub fn parse(text: &str) -> Result<Self, NotAPath> {
        let signs: Vec<char> = text.chars().collect();
        let mut reader = Reader { signs: &signs, at: 0, depth: 0 };
        reader.space();
        let path = reader.path()?;
        reader.space();
        if reader.at == signs.len() { Ok(path) } else { Err(reader.fault("expected .name, [..] or the end")) }
    }

    /// Everything the path leads to, in the order of the document.
    pub fn find<'j>(&self, json: &'j Json) -> Vec<&'j Json> {
        let mut found = vec![json];
        for step in &self.steps {
            found = found.into_iter().flat_map(|json| step.apply(json)).collect();
        }
        found
    }
}

impl Step {
    fn apply<'j>(&self, json: &'j Json) -> Vec<&'j Json> {
        let items = || json.as_array().map_or_else(|| vec![json], |items| items.iter().collect());
        match self {
            Self::Names(names) => names.iter().filter_map(|name| json.get(name)).collect(),
            Self::Members => json.as_object().unwrap_or_default().iter().map(|(_, value)| value).collect(),
            Self::Items(numbers) => {
                let items = items();
                numbers.iter().filter_map(|n| items.get(place(*n, items.len())?).copied()).collect()
            }
            Self::Slice { from, to, by } => sliced(&items(), *from, *to, by.unwrap_or(1)),
            Self::Filter(test) => items().into_iter().filter(|item| test.holds(item)).collect(),
            Self::Anywhere => {
                let mut all = Vec::new();
                below(json, &mut all);
                all
            }
        }
    }
}

/// A value and all that is in it, from the outside in.
fn below<'j>(json: &'j Json, all: &mut Vec<&'j Json>) {
    all.push(json);
    match json {
        Json::Array(items) => items.iter().for_each(|item| below(item, all)),
        Json::Object(members) => members.iter().for_each(|(_, value)| below(value, all)),
        _ => {}
    }
}

fn place(n: i64, length: usize) -> Option<usize> {
    if n >= 0 { usize::try_from(n).ok() } else { length.checked_sub(usize::try_from(n.unsigned_abs()).ok()?) }
}

/// As Python slices a list.
fn sliced<'j>(items: &[&'j Json], from: Option<i64>, to: Option<i64>, by: i64) -> Vec<&'j Json> {
    let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
    let (low, high) = if by > 0 { (0, length) } else { (-1, length - 1) };
    let bound = |n: i64| (if n < 0 { n.saturating_add(length) } else { n }).clamp(low, high);
    let first = from.map_or(if by > 0 { low } else { high }, bound);
    let end = to.map_or(if by > 0 { high } else { low }, bound);
    let mut found = Vec::new();
    let mut at = first;
    while by != 0 && (by > 0 && at < end || by < 0 && at > end) {
        found.extend(usize::try_from(at).ok().and_then(|at| items.get(at).copied()));
        at = at.saturating_add(by);
    }
    found
}

impl Test {
    fn holds(&self, json: &Json) -> bool {
        match self {
            Self::There(path) => !path.find(json).is_empty(),
            Self::Compare(path, op, literal) => {
                path.find(json).iter().any(|found| compares(found, *op, literal))
            }
            Self::All(tests) => tests.iter().all(|test| test.holds(json)),
            Self::Any(tests) => tests.iter().any(|test| test.holds(json)),
        }
    }
}

fn compares(json: &Json, op: Op, literal: &Literal) -> bool {
    let order = match (json, literal) {
        (Json::Text(text), Literal::Text(wanted)) => Some(text.as_str().cmp(wanted)),
        (Json::Number(digits), Literal::Number(wanted)) => {
            digits.parse::<f64>().ok().and_then(|number| number.partial_cmp(wanted))
        }
        (Json::Bool(value), Literal::Bool(wanted)) => Some(value.cmp(wanted)),
        (Json::Null, Literal::Null) => Some(Ordering::Equal),
        _ => None,
    };
    match op {
        Op::Equal => order == Some(Ordering::Equal),
        Op::Unequal => order != Some(Ordering::Equal),
        Op::Less => order == Some(Ordering::Less),
        Op::LessOrEqual => order.is_some_and(Ordering::is_le),
        Op::Greater => order == Some(Ordering::Greater),
        Op::GreaterOrEqual => order.is_some_and(Ordering::is_ge),
    }
}

struct Reader<'a> {
    signs: &'a [char],
    at: usize,
    depth: usize,
}

impl Reader<'_> {
    const fn fault(&self, expected: &'static str) -> NotAPath {
        NotAPath { at: self.at + 1, expected }
    }

    fn peek(&self) -> Option<char> {
        self.signs.get(self.at).copied()
    }

    fn eat(&mut self, sign: char) -> bool {
        let there = self.peek() == Some(sign);
        self.at += usize::from(there);
        there
    }

    fn space(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.at += 1;
        }
    }

    fn path(&mut self) -> Result<JsonPath, NotAPath> {
        let mut steps = Vec::new();
        let rooted = self.eat('$') || self.eat('@');
        if !rooted && self.peek().is_some_and(|c| is_name(c) || c == '*') {
            steps.push(self.name_or_all()?);
        }
        loop {
            if self.eat('.') {
                if self.eat('.') {
                    steps.push(Step::Anywhere);
                    if self.peek() == Some('[') {
                        continue;
                    }
                }
                steps.push(self.name_or_all()?);
            } else if self.eat('[') {
                steps.push(self.bracket()?);
            } else {
                break;
            }
        }
        if !rooted && steps.is_empty() {
            return Err(self.fault("expected $ or a name"));
        }
        Ok(JsonPath { steps })
    }

    fn name_or_all(&mut self) -> Result<Step, NotAPath> {
        if self.eat('*') {
            return Ok(Step::Members);
        }
        if self.peek() == Some('`') {
            return Err(self.fault("functions in backticks are not supported"));
        }
        if let Some(quote @ ('"' | '\'')) = self.peek() {
            return Ok(Step::Names(vec![self.quoted(quote)?]));
        }
        let name: String = self.signs[self.at..].iter().take_while(|c| is_name(**c)).collect();
        if name.is_empty() {
            return Err(self.fault("expected a name or *"));
        }
        self.at += name.chars().count();
        Ok(Step::Names(vec![name]))
    }

    fn bracket(&mut self) -> Result<Step, NotAPath> {
        self.space();
        let step = match self.peek() {
            Some('*') => {
                self.at += 1;
                Step::Slice { from: None, to: None, by: None }
            }
            Some('?') => {
                self.at += 1;
                Step::Filter(self.any()?)
            }
            Some(quote @ ('"' | '\'')) => {
                let mut names = vec![self.quoted(quote)?];
                while self.comma() {
                    match self.peek() {
                        Some(quote @ ('"' | '\'')) => names.push(self.quoted(quote)?),
                        _ => return Err(self.fault("expected a name in quotes")),
                    }
                }
                Step::Names(names)
            }
            _ => self.numbers()?,
        };
        self.space();
        if self.eat(']') { Ok(step) } else { Err(self.fault("expected ]")) }
    }

    fn comma(&mut self) -> bool {
        self.space();
        let there = self.eat(',');
        self.space();
        there
    }

    fn numbers(&mut self) -> Result<Step, NotAPath> {
        let from = self.whole()?;
        self.space();
        if self.eat(':') {
            self.space();
            let to = self.whole()?;
            self.space();
            let by = if self.eat(':') { self.whole()? } else { None };
            if by == Some(0) {
                return Err(self.fault("a step of 0 leads nowhere"));
            }
            return Ok(Step::Slice { from, to, by });
        }
        let mut all = vec![from.ok_or(self.fault("expected a number, a name in quotes, *, : or ?"))?];
        while self.comma() {
            all.push(self.whole()?.ok_or(self.fault("expected a number"))?);
        }
        Ok(Step::Items(all))
    }

    fn whole(&mut self) -> Result<Option<i64>, NotAPath> {
        let start = self.at;
        self.eat('-');
        while self.peek().is_some_and(|c| c.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == start {
            return Ok(None);
        }
        let digits: String = self.signs[start..self.at].iter().collect();
        digits.parse().map(Some).map_err(|_| NotAPath { at: start + 1, expected: "expected a whole number" })
    }

    fn quoted(&mut self, quote: char) -> Result<String, NotAPath> {
        let opened = self.at;
        self.at += 1;
        let mut text = String::new();
        while let Some(sign) = self.peek() {
            self.at += 1;
            match sign {
                '\\' => match self.peek() {
                    Some(escaped) => {
                        self.at += 1;
                        text.push(escaped);
                    }
                    None => break,
                },
                sign if sign == quote => return Ok(text),
                sign => text.push(sign),
            }
        }
        Err(NotAPath { at: opened + 1, expected: "this quote is not closed" })
    }

    /// Tests joined by `|`.
    fn any(&mut self) -> Result<Test, NotAPath> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.fault("filters nest too deep"));
        }
        let mut tests = vec![self.all()?];
        loop {
            self.space();
            if !self.eat('|') {
                break;
            }
            self.eat('|');
            tests.push(self.all()?);
        }
        self.depth -= 1;
        Ok(if tests.len() == 1 { tests.remove(0) } else { Test::Any(tests) })
    }

    /// Tests joined by `&`.
    fn all(&mut self) -> Result<Test, NotAPath> {
        let mut tests = vec![self.test()?];
        loop {
            self.space();
            if !self.eat('&') {
                break;
            }
            self.eat('&');
            tests.push(self.test()?);
        }
        Ok(if tests.len() == 1 { tests.remove(0) } else { Test::All(tests) })
    }

    fn test(&mut self) -> Result<Test, NotAPath> {
        self.space();
        if self.eat('(') {
            let test = self.any()?;
            self.space();
            return if self.eat(')') { Ok(test) } else { Err(self.fault("expected )")) };
        }
        let path = self.path()?;
        self.space();
        let two = (self.peek(), self.signs.get(self.at + 1));
        let (op, length) = match two {
            (Some('='), Some('=')) => (Op::Equal, 2),
            (Some('='), Some('~')) => return Err(self.fault("=~ is not supported")),
            (Some('!'), Some('=')) => (Op::Unequal, 2),
            (Some('<'), Some('=')) => (Op::LessOrEqual, 2),
            (Some('>'), Some('=')) => (Op::GreaterOrEqual, 2),
            (Some('='), _) => (Op::Equal, 1),
            (Some('<'), _) => (Op::Less, 1),
            (Some('>'), _) => (Op::Greater, 1),
            _ => return Ok(Test::There(path)),
        };
        self.at += length;
        self.space();
        Ok(Test::Compare(path, op, self.literal()?))
    }

    fn literal(&mut self) -> Result<Literal, NotAPath> {
        if let Some(quote @ ('"' | '\'')) = self.peek() {
            return self.quoted(quote).map(Literal::Text);
        }
        let start = self.at;
        let word: String = self.signs[start..]
            .iter()
            .take_while(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '+'))
            .collect();
        self.at += word.chars().count();
        match word.as_str() {
            "" => Err(self.fault("expected a text in quotes, a number, true, false or null")),
            "true" | "True" => Ok(Literal::Bool(true)),
            "false" | "False" => Ok(Literal::Bool(false)),
            "null" => Ok(Literal::Null),
            // A bare word is a text, as in the official CLI's library.
            word => Ok(word.parse().map_or_else(|_| Literal::Text(word.to_owned()), Literal::Number)),
        }
    }
}

/// What a name is made of.
fn is_name(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::json::Style;

    const RECORD: &str = r#"{"uid":"U","title":"T","fields":[
        {"label":"login","type":"login","value":["alice"]},
        {"label":"port","type":"number","value":[5432, 1]},
        {"label":"環境","type":"host","value":[{"hostName":"h","port":"1","up":true}]}],"custom":[]}"#;

    fn found(path: &str) -> String {
        let json = Json::parse(RECORD).unwrap();
        let path = JsonPath::parse(path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let found: Vec<_> = path
            .find(&json)
            .iter()
            .map(|json| json.write(Style::Compact).expose_text().unwrap().to_owned())
            .collect();
        found.join(" ")
    }

    #[test]
    fn paths_lead_where_they_say() {
        for (path, want) in [
            ("$.title", r#""T""#),
            ("title", r#""T""#),
            ("$['title']", r#""T""#),
            (r#"$["uid","title"]"#, r#""U" "T""#),
            ("$.fields[0].type", r#""login""#),
            ("$.fields[-1].type", r#""host""#),
            ("$.fields[0,1].type", r#""login" "number""#),
            ("$.fields[*].type", r#""login" "number" "host""#),
            ("$.fields[1:].type", r#""number" "host""#),
            ("$.fields[::-1].type", r#""host" "number" "login""#),
            ("$.fields[-2:-1].type", r#""number""#),
            ("$.fields[0].*", r#""login" "login" ["alice"]"#),
            ("$.fields.type", ""),
            ("$.title[0]", r#""T""#),
            ("$..hostName", r#""h""#),
            ("$..value[0]", r#""alice" 5432 {"hostName":"h","port":"1","up":true}"#),
            (r#"$.fields[?(@.type == "login")].value[0]"#, r#""alice""#),
            ("$.fields[?type='login'].value", r#"["alice"]"#),
            ("$.fields[?(@.value[0] > 100)].label", r#""port""#),
            ("$.fields[?(@.value[0].up == true)].label", r#""環境""#),
            ("$.fields[?(@.label == '環境' & @.type != 'login')].type", r#""host""#),
            ("$.fields[?(@.type == 'login' | @.type == 'number')].label", r#""login" "port""#),
            ("$.fields[?(@.nope)].label", ""),
            ("$.nope", ""),
            ("$.fields[7]", ""),
        ] {
            assert_eq!(found(path), want, "{path}");
        }
    }

    #[test]
    fn mistakes_are_placed() {
        for (path, at) in [
            ("", 1),
            ("$.", 3),
            ("$.a[", 5),
            ("$.a['b", 5),
            ("$.a[0", 6),
            ("$.a[?(@.b == )]", 14),
            ("$.a[::0]", 8),
            ("$.a b", 5),
            ("$.a.`len`", 5),
            ("$.a[?(@.b =~ 'x')]", 11),
        ] {
            assert_eq!(JsonPath::parse(path).unwrap_err().at, at, "{path}");
        }
        let deep = format!("$[?{}", "(".repeat(1000));
        assert!(JsonPath::parse(&deep).is_err());
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,40}", tail in "[$.@*\\[\\]()?='\"a0:,&|<>-]{0,30}") {
            let json = Json::parse(RECORD).unwrap();
            for text in [text, tail] {
                if let Ok(path) = JsonPath::parse(&text) {
                    path.find(&json);
                }
            }
        }
    }
}
