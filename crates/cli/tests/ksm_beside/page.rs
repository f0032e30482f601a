//! docs/ksm-differences.md and the table hold the same reasons.

use std::collections::BTreeSet;

use libtest_mimic::Trial;

use crate::row::Row;

const PAGE: &str = include_str!("../../../../docs/ksm-differences.md");

/// The reasons of the page: its third-level headings, each a word. Those under "Not to be seen in a
/// command line" need no row.
fn reasons() -> (BTreeSet<&'static str>, BTreeSet<&'static str>) {
    let (shown, unshown) = PAGE.split_once("## Not to be seen in the comparison").unwrap_or((PAGE, ""));
    let headings = |text: &'static str| {
        text.lines().filter_map(|line| line.strip_prefix("### ")).map(str::trim).collect()
    };
    (headings(shown), headings(unshown))
}

pub(crate) fn trials(rows: &[Row]) -> Vec<Trial> {
    let (shown, unshown) = reasons();
    let used: BTreeSet<&str> = rows.iter().flat_map(Row::reasons).collect();
    let names: Vec<&str> = rows.iter().map(|row| row.name).collect();
    let same = Trial::test("every_reason_is_on_the_page_and_every_one_on_the_page_has_a_row", move || {
        let missing: Vec<_> = used.difference(&shown).collect();
        let idle: Vec<_> = shown.difference(&used).collect();
        if missing.is_empty() && idle.is_empty() && shown.is_disjoint(&unshown) {
            return Ok(());
        }
        Err(format!("without a place on the page: {missing:?}; on the page without a row: {idle:?}").into())
    });
    let enough = Trial::test("the_table_is_large_enough_and_its_names_are_unique", move || {
        let unique: BTreeSet<_> = names.iter().collect();
        if unique.len() == names.len() && names.len() >= 60 {
            return Ok(());
        }
        Err(format!("{} rows, {} names", names.len(), unique.len()).into())
    });
    vec![same, enough]
}
