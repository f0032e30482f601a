//! The requests, as `requests/*.txt` write them: one a line,
//!
//! ```text
//! [options] METHOD path body -> name=place, other=place
//! ```
//!
//! Options, parted by `; `: `no-token`, `token=TEXT`, `raw` (the path is not below `/v1/`), or a header as `Name=text`. Without
//! a token option the root token is sent. The body is sent as it stands, to the end of the line. What follows `->` keeps members
//! of the answer (`auth.client_token`) for later lines, which write them `$name`.

use std::{collections::BTreeMap, path::Path};

/// One request as it is written.
pub(crate) struct Line {
    /// `METHOD path`, as the page of differences names it.
    pub(crate) name: String,
    /// File and line, for people.
    pub(crate) place: String,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) token: Option<String>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Option<String>,
    /// Name → where in the answer.
    pub(crate) keep: Vec<(String, String)>,
}

/// The lines of one file.
pub(crate) fn read(file: &Path) -> Vec<Line> {
    let text = std::fs::read_to_string(file).unwrap();
    let stem = file.file_stem().unwrap().to_str().unwrap();
    let lines = text.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    lines.map(|(at, line)| parse(line, format!("{stem}.txt:{}", at + 1))).collect()
}

fn parse(line: &str, place: String) -> Line {
    let (line, keep) = match line.rsplit_once(" -> ") {
        Some((line, keep)) => (line, keep.split(", ").map(|pair| pair_of(pair, &place)).collect()),
        None => (line, Vec::new()),
    };
    let (options, line) = match line.strip_prefix('[') {
        Some(rest) => rest.split_once("] ").unwrap_or_else(|| panic!("{place}: `[` without `] `")),
        None => ("", line),
    };
    let mut words = line.splitn(3, ' ');
    let (Some(method), Some(path)) = (words.next(), words.next()) else {
        panic!("{place}: a line is METHOD path body")
    };
    let mut parsed = Line {
        name: format!("{method} {path}"),
        place,
        method: method.to_owned(),
        path: format!("/v1/{path}"),
        token: Some("root".to_owned()),
        headers: Vec::new(),
        body: words.next().map(str::to_owned),
        keep,
    };
    if method == "PATCH" {
        parsed.headers.push(("Content-Type".to_owned(), "application/merge-patch+json".to_owned()));
    }
    for option in options.split("; ").filter(|option| !option.is_empty()) {
        match option {
            "no-token" => parsed.token = None,
            "raw" => path.clone_into(&mut parsed.path),
            _ => match pair_of(option, &parsed.place) {
                (name, text) if name == "token" => parsed.token = Some(text),
                (name, text) => {
                    parsed.headers.retain(|(given, _)| *given != name);
                    if !(name == "Content-Type" && text.is_empty()) {
                        parsed.headers.push((name, text));
                    }
                }
            },
        }
    }
    parsed
}

fn pair_of(text: &str, place: &str) -> (String, String) {
    let (name, text) = text.split_once('=').unwrap_or_else(|| panic!("{place}: `{text}` has no `=`"));
    (name.trim().to_owned(), text.to_owned())
}

/// A text with what one server answered earlier in the place of `$name`.
pub(crate) fn filled(text: &str, kept: &BTreeMap<String, String>) -> String {
    let mut text = text.to_owned();
    // The longest names first: `$app_a` is not `$app` and `_a`.
    let mut names: Vec<_> = kept.iter().collect();
    names.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
    for (name, value) in names {
        text = text.replace(&format!("${name}"), value);
    }
    text
}
