//! `docs/compatibility.md`: its tables list the differences that stay, each with its reason.

use std::path::PathBuf;

use super::compare::Difference;

/// A row of a table: which requests, where in the answer, what OpenBao says, what we say. Each may hold `*`, any text.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) line: usize,
    columns: [String; 4],
}

/// The rows of every table whose columns are named Request, Where, OpenBao, keyferry, Why.
pub(crate) fn rows() -> Vec<Row> {
    let page = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/compatibility.md"));
    let text = std::fs::read_to_string(page).unwrap();
    let mut rows = Vec::new();
    let mut within = false;
    for (at, line) in text.lines().enumerate() {
        if !line.starts_with('|') {
            within = false;
        } else if line.starts_with("| Request | Where | OpenBao | keyferry | Why |") {
            within = true;
        } else if within && !line.starts_with("|---") {
            let cells = cells(line);
            let [request, place, bao, ours, why] = &cells[..] else {
                panic!("docs/compatibility.md:{}: a row has five cells, this one {}", at + 1, cells.len())
            };
            assert!(!why.trim().is_empty(), "docs/compatibility.md:{}: no reason", at + 1);
            let columns = [request, place, bao, ours].map(|cell| code(cell, at + 1));
            rows.push(Row { line: at + 1, columns });
        }
    }
    rows
}

/// Cells of a table's row; `\|` is a bar within one.
fn cells(line: &str) -> Vec<String> {
    let line = line.trim().trim_start_matches('|').replace("\\|", "\u{1}");
    let line = line.strip_suffix('|').unwrap_or(&line);
    line.split('|').map(|cell| cell.trim().replace('\u{1}', "|")).collect()
}

/// The text between a cell's backquotes.
fn code(cell: &str, line: usize) -> String {
    let text = cell.strip_prefix('`').and_then(|cell| cell.strip_suffix('`'));
    text.unwrap_or_else(|| panic!("docs/compatibility.md:{line}: `{cell}` is not between backquotes"))
        .to_owned()
}

impl Row {
    pub(crate) fn covers(&self, difference: &Difference) -> bool {
        let Difference { request, at, bao, ours } = difference;
        [request, at, bao, ours].iter().zip(&self.columns).all(|(text, pattern)| fits(pattern, text))
    }
}

/// Whether a text fits a pattern in which `*` stands for any text.
pub(crate) fn fits(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let parts: Vec<_> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[test]
fn a_star_stands_for_any_text() {
    assert!(
        fits("a*c*", "abcd")
            && fits("*", "")
            && fits("ab", "ab")
            && fits("*b", "ab")
            && fits("a*b*c", "axbyc")
    );
    assert!(!fits("a", "ab") && !fits("a*b", "abc") && !fits("a*b", "") && !fits("aa*aa", "aaa"));
}
