//! Tables as the official CLI draws them: the same columns, indentation and line breaks, so that what
//! parses its output goes on parsing ours. Widths count characters.

use std::iter::repeat_n;

use zeroize::Zeroizing;

/// Columns of a terminal when none is there.
const WIDTH: usize = 80;

/// A colour of a column, by its ANSI number.
#[derive(Clone, Copy)]
pub(crate) enum Color {
    /// 31
    Red,
    /// 32
    Green,
    /// 33
    Yellow,
}

impl Color {
    const fn code(self) -> &'static str {
        match self {
            Self::Red => "31",
            Self::Green => "32",
            Self::Yellow => "33",
        }
    }

    /// A text in this colour.
    pub(crate) fn paint(self, text: &str) -> String {
        format!("\x1b[{}m{text}\x1b[0m", self.code())
    }
}

/// How a column is drawn.
#[derive(Clone, Copy)]
pub(crate) struct Column {
    title: &'static str,
    color: Option<Color>,
    wraps: bool,
    align: Align,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Align {
    Left,
    Right,
    Center,
}

impl Column {
    /// A column of this title, to the left, as wide as its longest cell.
    pub(crate) const fn new(title: &'static str) -> Self {
        Self { title, color: None, wraps: false, align: Align::Left }
    }

    /// Its cells in a colour.
    pub(crate) const fn in_color(mut self, color: Color) -> Self {
        self.color = Some(color);
        self
    }

    /// Narrowed when the table is wider than the terminal, its cells over several lines.
    pub(crate) const fn wrapping(mut self) -> Self {
        self.wraps = true;
        self
    }

    /// Title and cells to the right.
    pub(crate) const fn right(mut self) -> Self {
        self.align = Align::Right;
        self
    }

    /// Title and cells in the middle.
    pub(crate) const fn centered(mut self) -> Self {
        self.align = Align::Center;
        self
    }
}

/// A table being filled. Its text is wiped like the values it may hold.
pub(crate) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Zeroizing<String>>>,
    color: bool,
    width: usize,
}

impl Table {
    /// Without rows; `width` is the terminal's, where there is one.
    pub(crate) fn new(columns: impl Into<Vec<Column>>, color: bool, width: Option<usize>) -> Self {
        Self {
            columns: columns.into(),
            rows: Vec::new(),
            color,
            // One less, to be safe.
            width: width.unwrap_or(WIDTH).saturating_sub(1),
        }
    }

    /// Adds a row of as many cells as there are columns.
    pub(crate) fn row<const N: usize>(&mut self, cells: [&str; N]) {
        self.rows.push(cells.iter().map(|cell| Zeroizing::new((*cell).to_owned())).collect());
    }

    /// The table, each line ended by a line break.
    pub(crate) fn draw(&self) -> Zeroizing<String> {
        let widths = self.widths();
        let last = self.columns.len().saturating_sub(1);
        let mut out = Zeroizing::new(String::with_capacity(self.size(&widths)));
        out.push(' ');
        for (at, (column, &width)) in self.columns.iter().zip(&widths).enumerate() {
            let title = padded(column.title, width, column.align);
            out.push_str(if at == last { title.trim_end() } else { &title });
            out.push_str(if at == last { "" } else { " " });
        }
        out.push_str("\n ");
        let mut left = self.width;
        for (at, &width) in widths.iter().enumerate() {
            out.extend(repeat_n('-', if at == last { width.min(left) } else { width }));
            if at != last {
                out.push(' ');
                left = left.saturating_sub(width + 1);
            }
        }
        out.push('\n');
        for row in &self.rows {
            self.draw_row(row, &widths, &mut out);
        }
        out
    }

    fn draw_row(&self, row: &[Zeroizing<String>], widths: &[usize], out: &mut String) {
        let last = self.columns.len().saturating_sub(1);
        let cells: Vec<Vec<Zeroizing<String>>> =
            row.iter().zip(widths).map(|(cell, &width)| wrapped(cell, width)).collect();
        let lines = cells.iter().map(Vec::len).max().unwrap_or(0);
        for line in 0..lines {
            out.push(' ');
            for (at, ((column, &width), cell)) in self.columns.iter().zip(widths).zip(&cells).enumerate() {
                let mut text = Zeroizing::new(match cell.get(line) {
                    Some(text) => padded(text, width, column.align),
                    None => " ".repeat(width),
                });
                if at != last {
                    text.push(' ');
                } else if line < cell.len() {
                    let end = text.trim_end().len();
                    text.truncate(end);
                }
                match column.color.filter(|_| self.color) {
                    Some(color) => {
                        out.push_str("\x1b[");
                        out.push_str(color.code());
                        out.push('m');
                        out.push_str(&text);
                        out.push_str("\x1b[0m");
                    }
                    None => out.push_str(&text),
                }
            }
            out.push('\n');
        }
    }

    /// Each column as wide as its longest cell (and a space, but for the last), unless that is too much
    /// and some may wrap.
    fn widths(&self) -> Vec<usize> {
        let last = self.columns.len().saturating_sub(1);
        let mut widths: Vec<usize> = self.columns.iter().map(|column| length(column.title)).collect();
        for row in &self.rows {
            for (at, (cell, width)) in row.iter().zip(&mut widths).enumerate() {
                *width = (*width).max(length(cell) + usize::from(at != last));
            }
        }
        let full = |at: usize| widths[at] + usize::from(at != last);
        let total = 1 + (0..widths.len()).map(full).sum::<usize>();
        let fixed = 1 + (0..widths.len()).filter(|&at| !self.columns[at].wraps).map(full).sum::<usize>();
        let wrapping = self.columns.iter().filter(|column| column.wraps).count();
        if total / 3 <= self.width && total > self.width && wrapping > 0 && self.width > fixed {
            let share = ((self.width - fixed) / wrapping).max(1);
            for (column, width) in self.columns.iter().zip(&mut widths) {
                if column.wraps {
                    *width = share;
                }
            }
        }
        widths
    }

    /// Enough bytes for all of it, so that no copy is left behind when it grows.
    fn size(&self, widths: &[usize]) -> usize {
        let line: usize = widths.iter().map(|width| 4 * width + 16).sum::<usize>() + 2;
        let cells: usize = self.rows.iter().flatten().map(|cell| 8 * cell.len() + 64).sum();
        line * (self.rows.len() + 2) + cells * (1 + widths.len())
    }
}

fn length(text: &str) -> usize {
    text.chars().count()
}

fn padded(text: &str, width: usize, align: Align) -> String {
    match align {
        Align::Left => format!("{text:<width$}"),
        Align::Right => format!("{text:>width$}"),
        Align::Center => format!("{text:^width$}"),
    }
}

/// A cell over lines of this width, as Python's `textwrap.wrap` parts them: at white space, after
/// hyphens within words, and within a word only when it is longer than a line. No line for no text.
fn wrapped(text: &str, width: usize) -> Vec<Zeroizing<String>> {
    let width = width.max(1);
    let even = evened(text);
    let mut chunks: std::collections::VecDeque<&str> = chunks(&even).into();
    let mut lines: Vec<Zeroizing<String>> = Vec::new();
    while !chunks.is_empty() {
        if !lines.is_empty() && chunks.front().is_some_and(|chunk| chunk.trim().is_empty()) {
            chunks.pop_front();
        }
        let mut line = Zeroizing::new(String::with_capacity(4 * width + 4));
        let mut used = 0;
        while let Some(chunk) = chunks.front().filter(|chunk| used + length(chunk) <= width) {
            used += length(chunk);
            line.push_str(chunk);
            chunks.pop_front();
        }
        if let Some(chunk) = chunks.front().copied().filter(|chunk| length(chunk) > width) {
            let cut = cut(chunk, width - used);
            line.push_str(&chunk[..cut]);
            chunks[0] = &chunk[cut..];
        }
        let end = line.trim_end_matches(' ').len();
        line.truncate(end);
        if !line.is_empty() {
            lines.push(line);
        }
    }
    lines
}

/// Where a word that is too long is cut: after its last hyphen that fits, else where the line is full.
fn cut(chunk: &str, room: usize) -> usize {
    let end = chunk.char_indices().nth(room).map_or(chunk.len(), |(at, _)| at);
    match chunk[..end].rfind('-') {
        Some(hyphen) if chunk[..hyphen].chars().any(|c| c != '-') => hyphen + 1,
        _ => end,
    }
}

/// Tabs as spaces up to the next multiple of eight, other white space as one space.
fn evened(text: &str) -> Zeroizing<String> {
    let mut out = Zeroizing::new(String::with_capacity(8 * text.len()));
    let mut column = 0;
    for c in text.chars() {
        match c {
            '\t' => {
                let spaces = 8 - column % 8;
                out.extend(repeat_n(' ', spaces));
                column += spaces;
            }
            '\n' | '\r' => {
                out.push(' ');
                column = 0;
            }
            '\u{b}' | '\u{c}' => {
                out.push(' ');
                column += 1;
            }
            c => {
                out.push(c);
                column += 1;
            }
        }
    }
    out
}

/// Runs of spaces, and words, parted after the hyphens of hyphenated words and around dashes.
fn chunks(text: &str) -> Vec<&str> {
    let signs: Vec<(usize, char)> = text.char_indices().collect();
    let sign = |at: usize| signs.get(at).map(|(_, c)| *c);
    let back = |at: usize, by: usize| at.checked_sub(by).and_then(sign);
    let is_letter = |c: Option<char>| c.is_some_and(char::is_alphabetic);
    let is_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let may_precede = |c: Option<char>| is_word(c) || c.is_some_and(|c| "!\"'&.,?".contains(c));
    let mut starts = vec![0];
    for at in 1..signs.len() {
        let (before, here) = (sign(at - 1), sign(at));
        let space_edge = (before == Some(' ')) != (here == Some(' '));
        // `well-known`: two letters, or a letter between hyphens, before; letters after.
        let hyphen = before == Some('-')
            && (is_letter(back(at, 2)) && is_letter(back(at, 3))
                || is_letter(back(at, 2)) && back(at, 3) == Some('-') && is_letter(back(at, 4)))
            && is_letter(here)
            && (is_letter(sign(at + 1)) || sign(at + 1) == Some('-') && is_letter(sign(at + 2)));
        let dashes = |from: usize| (from..signs.len()).take_while(|&n| sign(n) == Some('-')).count();
        let opens = here == Some('-') && before != Some('-') && may_precede(before) && {
            let count = dashes(at);
            count >= 2 && is_word(sign(at + count))
        };
        let closes = is_word(here) && before == Some('-') && back(at, 2) == Some('-') && {
            let count = (1..=at).take_while(|&n| back(at, n) == Some('-')).count();
            may_precede(back(at, count + 1))
        };
        if space_edge || hyphen || opens || closes {
            starts.push(at);
        }
    }
    let place = |at: usize| signs.get(at).map_or(text.len(), |(byte, _)| *byte);
    let ends = starts.iter().skip(1).copied().chain([signs.len()]);
    starts
        .iter()
        .zip(ends)
        .map(|(&from, to)| &text[place(from)..place(to)])
        .filter(|c| !c.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines(text: &str, width: usize) -> Vec<String> {
        wrapped(text, width).iter().map(|line| line.to_string()).collect()
    }

    /// What Python 3.11's `textwrap.wrap` says.
    #[test]
    fn text_is_wrapped_as_python_wraps_it() {
        for (text, width, want) in [
            ("", 5, vec![]),
            ("   ", 5, vec![]),
            (" rec", 5, vec![" rec"]),
            ("a  b", 10, vec!["a  b"]),
            ("the quick brown fox", 10, vec!["the quick", "brown fox"]),
            ("supercalifragilistic", 6, vec!["superc", "alifra", "gilist", "ic"]),
            ("a supercalifragilistic", 6, vec!["a supe", "rcalif", "ragili", "stic"]),
            ("well-known fact", 6, vec!["well-", "known", "fact"]),
            ("a-b-c-d e", 4, vec!["a-b-", "c-d", "e"]),
            ("one--two three", 6, vec!["one--", "two", "three"]),
            ("tab\tbed\nnl", 20, vec!["tab     bed nl"]),
            ("日本語の題名", 4, vec!["日本語の", "題名"]),
        ] {
            assert_eq!(lines(text, width), want, "{text:?} {width}");
        }
    }

    #[test]
    fn a_table_looks_like_the_official_one() {
        let mut table = Table::new(
            [Column::new("UID").in_color(Color::Green), Column::new("Record Type"), Column::new("Title")],
            false,
            None,
        );
        table.row(["Aq0Nsv5kZ3dZ0mWmX3v7hQ", "login", "Twitter Login [Marketing]"]);
        table.row(["B", "", "本番DB"]);
        let want = concat!(
            " UID                     Record Type Title\n",
            " ----------------------- ----------- -------------------------\n",
            " Aq0Nsv5kZ3dZ0mWmX3v7hQ  login       Twitter Login [Marketing]\n",
            " B                                   本番DB\n",
        );
        assert_eq!(table.draw().as_str(), want);
        table.color = true;
        assert!(table.draw().contains(" \x1b[32mB                       \x1b[0m"));
    }

    #[test]
    fn a_wide_table_wraps_where_it_may_and_columns_can_be_aligned() {
        let mut table = Table::new(
            [Column::new("N").right(), Column::new("Active").centered(), Column::new("Text").wrapping()],
            false,
            Some(31),
        );
        table.row(["7", "*", "a text that is too long for one line"]);
        let want = concat!(
            "  N Active Text\n",
            " -- ------ -------------------\n",
            "  7   *    a text that is too\n",
            "           long for one line\n",
        );
        assert_eq!(table.draw().as_str(), want);
    }

    proptest! {
        #[test]
        fn no_sign_is_lost_and_no_line_too_long(text in "[a-z \\-é日]{0,60}", width in 1_usize..20) {
            let lines = lines(&text, width);
            prop_assert!(lines.iter().all(|line| (1..=width).contains(&length(line))));
            let bare = |text: &str| text.replace(' ', "");
            prop_assert_eq!(bare(&lines.concat()), bare(&text));
        }

        #[test]
        fn any_table_can_be_drawn(cell in "\\PC{0,90}", width in 0_usize..60) {
            let mut table = Table::new([Column::new("A"), Column::new("B").wrapping()], true, Some(width));
            table.row(["x", &cell]);
            table.draw();
        }
    }
}
