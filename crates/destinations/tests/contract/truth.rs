//! The second half of `docs/provider-truth.md` is printed from the parts, the behaviours and the gaps: which
//! behaviour is shown at which part. `KEYFERRY_BLESS=1 cargo test -p destinations provider_truth` rewrites it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    path::Path,
};

use libtest_mimic::{Failed, Trial};

use crate::{
    behaviours,
    bench::{self, Part, variable},
    gaps,
};

const MARK: &str =
    "<!-- Printed from the contract suite: KEYFERRY_BLESS=1 cargo test -p destinations provider_truth -->";

pub(crate) fn trial() -> Trial {
    Trial::test("documentation/the_provider_truth_page_is_what_the_suite_does", || {
        let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/provider-truth.md"));
        let page = std::fs::read_to_string(path)?;
        let Some((by_hand, printed)) = page.split_once(MARK) else {
            return Err(Failed::from(format!("docs/provider-truth.md has lost the line {MARK}")));
        };
        let wanted = format!("\n\n{}", matrix(&bench::parts()));
        if printed == wanted {
            return Ok(());
        }
        if variable("KEYFERRY_BLESS").is_some() {
            std::fs::write(path, format!("{by_hand}{MARK}{wanted}"))?;
            return Ok(());
        }
        Err(Failed::from(
            "docs/provider-truth.md is out of date: KEYFERRY_BLESS=1 cargo test -p destinations provider_truth",
        ))
    })
}

fn matrix(parts: &[Part]) -> String {
    let mut kinds: BTreeMap<&str, Vec<&Part>> = BTreeMap::new();
    for part in parts {
        kinds.entry(part.kind).or_default().push(part);
    }
    let mut page = String::new();
    for (kind, parts) in kinds {
        let names: Vec<&str> = parts.iter().map(|part| part.name).collect();
        let _ = write!(page, "### {kind}\n\n| Behaviour | {} |\n|---|", names.join(" | "));
        let _ = writeln!(page, "{}", "---|".repeat(parts.len()));
        let mut notes = BTreeSet::new();
        for behaviour in behaviours::ALL {
            let cells: Vec<&str> = parts
                .iter()
                .map(|part| match (part.lacks(behaviour.needs), gaps::lie(part.name, behaviour.name)) {
                    (Some(_), _) => "–",
                    (None, Some(why)) => {
                        notes.insert(why);
                        "not like the real one"
                    }
                    (None, None) if part.name == "real" => "on request",
                    (None, None) => "shown",
                })
                .collect();
            if cells.iter().any(|cell| *cell != "–") {
                let _ = writeln!(page, "| {} | {} |", behaviour.name.replace('_', " "), cells.join(" | "));
            }
        }
        page.push('\n');
        for why in notes {
            let _ = writeln!(page, "- Not like the real one: {why}.");
        }
        for part in parts {
            let lacks: BTreeSet<&str> = behaviours::ALL
                .iter()
                .filter_map(|behaviour| part.lacks(behaviour.needs))
                // One or the other is true of everybody.
                .filter(|why| !why.ends_with("empty values"))
                .collect();
            if !lacks.is_empty() {
                let lacks: Vec<&str> = lacks.into_iter().collect();
                let _ = writeln!(page, "- `{}`: {}.", part.name, lacks.join("; "));
            }
        }
        page.push('\n');
    }
    page.truncate(page.trim_end().len());
    page.push('\n');
    page
}
