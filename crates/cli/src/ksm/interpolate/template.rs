//! A text with notations in it.

use std::{ops::Range, path::PathBuf, sync::LazyLock};

use keeper::notation::{self, Parsed};
use model::SecretBytes;
use regex::Regex;
use zeroize::Zeroizing;

use super::transform::Transform;

/// The official CLI's: `keeper://RECORD/SELECTOR/NAME`, then a default after `:-`, then a transformation
/// after `|`.
static MENTION: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(concat!(
        r#"keeper://[^\s/]+/[^\s/]+/[^"'\n#:|@\s]+"#,
        r#"(?::-(?<default>[^|"'\n#@\s]+))?"#,
        r#"(?:\|(?<transform>[^\s"'\n#@]+))?"#
    ))
    .ok()
});

/// A file, or stdin.
pub(super) struct Template {
    pub(super) path: Option<PathBuf>,
    text: Zeroizing<String>,
    mentions: Vec<Mention>,
    mistakes: Vec<String>,
}

/// A notation in a text.
pub(super) struct Mention {
    /// Where, with default and transformation.
    at: Range<usize>,
    /// Counted from 1.
    line: usize,
    pub(super) parsed: Parsed,
    pub(super) default: Option<String>,
    pub(super) transform: Option<Transform>,
}

impl Mention {
    /// As it was written.
    pub(super) fn notation(&self) -> &str {
        self.parsed.text()
    }
}

impl Template {
    /// Finds the notations. Lines that begin with `#` are comments.
    pub(super) fn read(path: Option<PathBuf>, text: &str) -> Self {
        let (mut mentions, mut mistakes) = (Vec::new(), Vec::new());
        let mut start = 0;
        for (number, line) in text.split_inclusive('\n').enumerate() {
            if !line.trim_start().starts_with('#') {
                for found in found(line, start, number + 1) {
                    match found {
                        Ok(mention) => mentions.push(mention),
                        Err(why) => mistakes.push(why),
                    }
                }
            }
            start += line.len();
        }
        Self { path, text: Zeroizing::new(text.to_owned()), mentions, mistakes }
    }

    /// What is no notation, or asks for something unknown.
    pub(super) fn mistakes(&self) -> Vec<String> {
        self.mistakes.iter().map(|why| self.placed(why)).collect()
    }

    /// The notations, in order.
    pub(super) fn mentions(&self) -> &[Mention] {
        &self.mentions
    }

    /// As it was read.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Where a mention is, for people.
    pub(super) fn place(&self, mention: &Mention) -> String {
        self.placed(&format!("Line {}", mention.line))
    }

    fn placed(&self, what: &str) -> String {
        self.path.as_ref().map_or_else(|| what.to_owned(), |path| format!("{}, {what}", path.display()))
    }

    /// The text with each mention replaced, where there is something to replace it by.
    pub(super) fn filled(&self, mut value: impl FnMut(&Mention) -> Option<Zeroizing<String>>) -> SecretBytes {
        let pieces: Vec<_> =
            self.mentions.iter().filter_map(|mention| Some((mention.at.clone(), value(mention)?))).collect();
        let size = self.text.len() + pieces.iter().map(|(_, value)| value.len()).sum::<usize>();
        let mut out = Zeroizing::new(Vec::with_capacity(size));
        let mut done = 0;
        for (at, value) in &pieces {
            out.extend_from_slice(&self.text.as_bytes()[done..at.start]);
            out.extend_from_slice(value.as_bytes());
            done = at.end;
        }
        out.extend_from_slice(&self.text.as_bytes()[done..]);
        out.into()
    }
}

/// The notations of a line that starts at this byte, each one or what is wrong with it.
fn found(line: &str, start: usize, number: usize) -> Vec<Result<Mention, String>> {
    let Some(expression) = &*MENTION else { return Vec::new() };
    let found = expression.captures_iter(line).filter_map(|captures| {
        let whole = captures.get(0)?;
        let (default, transform) = (captures.name("default"), captures.name("transform"));
        let end = default.map(|m| m.start() - 2).or(transform.map(|m| m.start() - 1)).unwrap_or(whole.end());
        let parsed = notation::parse(&line[whole.start()..end]).map_err(|error| error.to_string());
        let transform = transform.map(|word| Transform::named(word.as_str())).transpose();
        let mention = parsed.and_then(|parsed| {
            Ok(Mention {
                at: start + whole.start()..start + whole.end(),
                line: number,
                parsed,
                default: default.map(|text| text.as_str().to_owned()),
                transform: transform?,
            })
        });
        Some(mention.map_err(|why| format!("Line {number}: {why}")))
    });
    found.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(text: &str) -> String {
        let template = Template::read(None, text);
        assert_eq!(template.mistakes().len(), 0, "{text}");
        let out = template.filled(|mention| {
            let default = mention.default.as_deref().unwrap_or("-");
            let upper = if mention.transform.is_some() { "!" } else { "" };
            Some(Zeroizing::new(format!("<{}|{default}{upper}>", mention.notation())))
        });
        out.expose_text().unwrap().to_owned()
    }

    #[test]
    fn notations_are_found_with_defaults_and_transformations() {
        for (text, want) in [
            ("", ""),
            ("plain\r\ntext", "plain\r\ntext"),
            ("A=keeper://r/field/login\nB", "A=<keeper://r/field/login|->\nB"),
            ("A='keeper://r/field/login' # x", "A='<keeper://r/field/login|->' # x"),
            ("# keeper://r/field/login", "# keeper://r/field/login"),
            (
                "  # keeper://r/field/login\nkeeper://本番/field/環境",
                "  # keeper://r/field/login\n<keeper://本番/field/環境|->",
            ),
            ("keeper://r/field/p:-5432;", "<keeper://r/field/p|5432;>"),
            ("keeper://r/field/p|upper", "<keeper://r/field/p|-!>"),
            ("keeper://r/field/p:-x|base64 y", "<keeper://r/field/p|x!> y"),
            (
                "u://keeper://a/field/u:keeper://a/field/p@host",
                "u://<keeper://a/field/u|->:<keeper://a/field/p|->@host",
            ),
            ("keeper://r/notes", "keeper://r/notes"),
        ] {
            assert_eq!(filled(text), want, "{text}");
        }
    }

    #[test]
    fn mistakes_name_their_line() {
        let template = Template::read(
            Some("a.env".into()),
            "ok\nkeeper://r/bogus/x\nkeeper://r/field/x|rot13\nkeeper://r/field/x|md5",
        );
        let mistakes = template.mistakes();
        assert_eq!(mistakes.len(), 3);
        assert!(mistakes[0].starts_with("a.env, Line 2: "), "{}", mistakes[0]);
        assert!(mistakes[1].starts_with("a.env, Line 3: ") && mistakes[1].contains("base64"));
    }
}
