//! `docs/destinations/` is printed from each kind's table of fields, its abilities and limits, and the
//! `notes.md` in its folder; the test below keeps pages and code together. A new kind gets its page without
//! a line here. `KEYFERRY_BLESS=1 cargo test -p destinations destination_pages` rewrites them.

use std::{collections::BTreeMap, fmt::Write as _, path::Path};

use crate::{Abilities, COMMON_FIELDS, Case, Config, Field, Kind, Limits, Shape, kinds};

const PRINTED: &str =
    "<!-- Printed from the code: KEYFERRY_BLESS=1 cargo test -p destinations destination_pages -->";

const INDEX_HEAD: &str = "\
# Destinations

A destination is where secrets are delivered to. It is made with `POST sys/sync/destinations/TYPE/NAME`, changed
with `PATCH`, and shown with `GET`, as in Vault. Each type has a page of its own: what it takes, what it needs, what
it costs, and where it differs from the others.
";

const COMMON_HEAD: &str = "
## Fields every type has

Those marked *option* are shown under `options` in answers, all others under `connection_details`.

";

/// The folder of a kind's code: its slug as Rust has names.
fn folder(kind: &dyn Kind) -> String {
    kind.slug().replace('-', "_")
}

/// Everything in `docs/destinations`, by file name.
fn pages() -> BTreeMap<String, String> {
    let mut pages: BTreeMap<String, String> =
        kinds().iter().map(|kind| (format!("{}.md", kind.slug()), page(*kind))).collect();
    pages.insert("README.md".to_owned(), index());
    pages
}

fn index() -> String {
    let mut page = format!("{INDEX_HEAD}\n{PRINTED}\n\n| Type | What it is |\n|---|---|\n");
    for kind in kinds() {
        let _ = writeln!(page, "| [`{0}`]({0}.md) | {1} |", kind.slug(), kind.title());
    }
    page.push_str(COMMON_HEAD);
    page.push_str(&table(COMMON_FIELDS));
    page
}

fn page(kind: &dyn Kind) -> String {
    let slug = kind.slug();
    let path = format!("{}/src/{}/notes.md", env!("CARGO_MANIFEST_DIR"), folder(kind));
    let notes = std::fs::read_to_string(&path).unwrap_or_else(|_| {
        panic!("{slug} has no notes: write {path} (CONTRIBUTING.md says what belongs there)")
    });
    let (heading, notes) = notes.split_once('\n').unwrap_or((&notes, ""));
    assert!(heading.starts_with("# ") && heading.contains(&format!("`{slug}`")), "the heading of {path}");
    let fields = if kind.fields().is_empty() {
        "It takes no fields of its own.\n".to_owned()
    } else {
        table(kind.fields())
    };
    format!(
        "{heading}\n\n{PRINTED}\n\n`POST sys/sync/destinations/{slug}/NAME` with the fields below, and those [every \
         destination has](README.md#fields-every-type-has).\n\n## Fields\n\n{fields}\n## Rules\n\n{rules}\n{notes}",
        rules = rules(kind),
        notes = notes.trim_start(),
    )
}

fn table(fields: &[Field]) -> String {
    let mut table = "| Field | Takes | Meaning |\n|---|---|---|\n".to_owned();
    for field in fields {
        let mut takes = vec![takes(field.shape)];
        takes.extend(field.required.then(|| "required".to_owned()));
        takes.extend(field.secret.then(|| "secret: shown as `*****`".to_owned()));
        takes.extend(field.immutable.then(|| "fixed while associations exist".to_owned()));
        takes.extend(field.option.then(|| "option".to_owned()));
        takes.extend(field.per_secret.then(|| "a change is carried to what is there".to_owned()));
        let _ = writeln!(table, "| `{}` | {} | {} |", field.name, cell(&takes.join("; ")), cell(field.help));
    }
    table
}

fn takes(shape: Shape) -> String {
    match shape {
        Shape::Text => "text".to_owned(),
        Shape::Url => "URL".to_owned(),
        Shape::Int { min, max: i64::MAX } => format!("whole number from {min}"),
        Shape::Int { min, max } => format!("whole number, {min} to {max}"),
        Shape::Seconds { min, max } => format!("time, {min} to {max} seconds"),
        Shape::Bool => "true or false".to_owned(),
        Shape::OneOf(words) => {
            let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
            words.join(", ")
        }
        Shape::List => "list of texts".to_owned(),
        Shape::IntList { min, max } => format!("list of whole numbers, {min} to {max}"),
        Shape::Map => "map of text to text".to_owned(),
    }
}

/// A cell must not end early.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

fn rules(kind: &dyn Kind) -> String {
    let Abilities { names, granularity, path_template, key_template, .. } = kind.abilities();
    let abilities = kind.abilities();
    let mut rows: Vec<(&str, String)> = vec![
        ("`granularity`, if not given", format!("`{}`", granularity.as_str())),
        ("Name template for `secret-path`, if not given", format!("`{path_template}`")),
        ("Name template for `secret-key`, if not given", format!("`{key_template}`")),
        (
            "Names",
            format!(
                "at most {} characters: {}; anything else becomes `{}`",
                names.max_len, names.allowed, names.replacement
            ),
        ),
        (
            "`a` and `A`",
            match names.case {
                Case::Sensitive => "are two names",
                Case::Folded => "are one name; the second source that comes to it is refused",
                Case::Upper => {
                    "are one name, kept in upper case; the second source that comes to it is refused"
                }
            }
            .to_owned(),
        ),
        ("Largest value", format!("{} bytes", thousands(abilities.max_value_bytes))),
        ("Empty values", if abilities.empty_values { "are delivered" } else { "are refused" }.to_owned()),
        (
            "Bytes that are not text",
            if abilities.binary { "are delivered as they are" } else { "are delivered in base64" }.to_owned(),
        ),
        (
            "Whose an entry is",
            if abilities.marks { "is written on it" } else { "is known to the store alone" }.to_owned(),
        ),
    ];
    rows.push((
        "`custom_tags`",
        match &abilities.custom_tags {
            None => "are refused: there is nowhere to put them".to_owned(),
            Some(rule) => format!(
                "at most {}; keys of 1 to {} characters, values of at most {}: {}",
                rule.max_tags, rule.max_key, rule.max_value, rule.allowed
            ),
        },
    ));
    rows.push((
        "Entries in one call",
        if abilities.batch > 1 { format!("up to {}", abilities.batch) } else { "one".to_owned() },
    ));
    rows.push((
        "Values can be read back by `ksm sync`",
        if kind.reads_values() { "yes" } else { "no" }.to_owned(),
    ));
    if let Some(limits) = kind.limits(&Config::default()) {
        rows.push(("Paced to", paced(limits)));
    }
    let mut table = "| | |\n|---|---|\n".to_owned();
    for (name, value) in rows {
        let _ = writeln!(table, "| {name} | {} |", cell(&value));
    }
    table
}

fn paced(limits: &Limits) -> String {
    let mut parts: Vec<String> = limits
        .pools
        .iter()
        .map(|pool| {
            let per = match pool.per.as_secs() {
                1 => "a second".to_owned(),
                60 => "a minute".to_owned(),
                3600 => "an hour".to_owned(),
                seconds => format!("in {seconds} seconds"),
            };
            let units = usize::try_from(pool.units).unwrap_or(usize::MAX);
            format!("{} {} {per}", thousands(units), pool.name)
        })
        .collect();
    parts.extend(limits.at_once.map(|most| format!("{most} calls at once")));
    if !limits.entry_pause.is_zero() {
        parts.push(format!("{} ms between two writes of one entry", limits.entry_pause.as_millis()));
    }
    format!("a little less than {}, for all destinations of the account together", parts.join(", "))
}

/// 65536 as `65,536`.
fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a developer's switch, read by a test only")]
fn the_destination_pages_are_what_the_code_says() {
    const MEND: &str = "KEYFERRY_BLESS=1 cargo test -p destinations destination_pages";
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/destinations"));
    let pages = pages();
    if std::env::var_os("KEYFERRY_BLESS").is_some() {
        std::fs::create_dir_all(folder).unwrap();
        for (name, page) in &pages {
            std::fs::write(folder.join(name), page).unwrap();
        }
    }
    for (name, page) in &pages {
        let written = std::fs::read_to_string(folder.join(name)).unwrap_or_default();
        assert!(written == *page, "docs/destinations/{name} is out of date: {MEND}");
    }
    for file in std::fs::read_dir(folder).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        assert!(pages.contains_key(&name), "docs/destinations/{name} is the page of no kind; remove it");
    }
}

#[test]
fn no_page_shows_an_unfinished_table() {
    for (name, page) in pages() {
        for line in page.lines().filter(|line| line.starts_with('|')) {
            let cells = line.replace("\\|", "").matches('|').count();
            assert!(line.ends_with('|') && cells >= 3, "{name}: {line}");
        }
        assert!(page.lines().filter(|line| line.starts_with("# ")).count() == 1, "{name} has one title");
    }
    assert_eq!(thousands(1_048_576), "1,048,576");
    assert_eq!((thousands(256), thousands(65_536)), ("256".to_owned(), "65,536".to_owned()));
}
