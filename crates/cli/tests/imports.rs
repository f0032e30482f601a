//! The house plan, kept by a test: who may import whom, what may never be linked, whose licence.
#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

use serde_json::Value;

/// Crate → the crates of ours it may import (ARCHITECTURE.md). Nothing points back.
const MAY_IMPORT: [(&str, &[&str]); 7] = [
    ("model", &[]),
    ("store", &["model"]),
    ("keeper", &["model"]),
    ("destinations", &["model"]),
    ("engine", &["model", "store", "destinations"]),
    ("server", &["model", "store", "keeper", "destinations", "engine"]),
    ("cli", &["model", "store", "keeper", "destinations", "engine", "server"]),
];

fn cargo(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .args(args)
        .arg("--locked")
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What `cargo metadata` says of the whole workspace with every feature on.
fn metadata() -> Value {
    serde_json::from_str(&cargo(&["metadata", "--format-version=1", "--all-features"])).unwrap()
}

fn packages(metadata: &Value) -> BTreeMap<&str, &Value> {
    metadata["packages"].as_array().unwrap().iter().map(|p| (p["id"].as_str().unwrap(), p)).collect()
}

#[test]
fn nobody_imports_what_the_plan_forbids() {
    let metadata = metadata();
    let all = packages(&metadata);
    let ours: Vec<&Value> = metadata["workspace_members"]
        .as_array()
        .unwrap()
        .iter()
        .map(|id| all[id.as_str().unwrap()])
        .collect();
    let names: BTreeSet<&str> = ours.iter().map(|p| p["name"].as_str().unwrap()).collect();
    let plan = BTreeMap::from(MAY_IMPORT);
    for package in ours {
        let name = package["name"].as_str().unwrap();
        let allowed = plan.get(name).unwrap_or_else(|| panic!("{name} is not in the plan: give it a row"));
        for dependency in package["dependencies"].as_array().unwrap() {
            let other = dependency["name"].as_str().unwrap();
            // A crate may name itself, to have more of its features in its own tests.
            let fine = other == name || !names.contains(other) || allowed.contains(&other);
            assert!(fine, "{name} must not import {other}");
        }
    }
}

#[test]
fn every_dependency_is_explained() {
    let page = include_str!("../../../docs/dependencies.md");
    let metadata = metadata();
    let ours: BTreeSet<&str> = BTreeMap::from(MAY_IMPORT).into_keys().collect();
    for package in metadata["packages"].as_array().unwrap() {
        if !ours.contains(package["name"].as_str().unwrap()) {
            continue;
        }
        for dependency in package["dependencies"].as_array().unwrap() {
            let name = dependency["name"].as_str().unwrap();
            let told = ours.contains(name) || page.contains(&format!("`{name}`"));
            assert!(told, "{name} has no row in docs/dependencies.md");
        }
    }
}

fn deny_toml() -> toml::Table {
    toml::from_str(include_str!("../../../deny.toml")).unwrap()
}

#[test]
fn one_tls_stack_and_one_crypto_library_are_linked() {
    let deny = deny_toml();
    let banned: Vec<&str> =
        deny["bans"]["deny"].as_array().unwrap().iter().map(|row| row["crate"].as_str().unwrap()).collect();
    assert!(banned.contains(&"ring"));
    // `cargo tree` shows what is really built; `cargo metadata` and the lock file also hold what only a
    // feature nobody turns on would build.
    let linked =
        cargo(&["tree", "--workspace", "--all-features", "--target=all", "--prefix=none", "--format={p}"]);
    let names: BTreeSet<&str> = linked.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(names.contains("aws-lc-rs"), "not a list of packages: {linked}");
    for name in banned {
        assert!(
            !names.contains(name),
            "{name} is linked; see `cargo tree --workspace --all-features -i {name}`"
        );
    }
}

#[test]
fn every_licence_is_permissive() {
    let deny = deny_toml();
    let allowed: BTreeSet<&str> =
        deny["licenses"]["allow"].as_array().unwrap().iter().map(|l| l.as_str().unwrap()).collect();
    let metadata = metadata();
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        let licence = package["license"].as_str().unwrap_or_else(|| panic!("{name} names no licence"));
        assert!(permitted(licence, &allowed), "{name}: {licence}");
    }
}

/// Whether an SPDX expression can be satisfied by the allowed licences. `/` is the old way to write OR.
fn permitted(expression: &str, allowed: &BTreeSet<&str>) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let mut words = spaced.split_whitespace().collect::<Vec<_>>();
    words.reverse();
    let answer = any_of(&mut words, allowed);
    assert!(words.is_empty(), "not understood: {expression}");
    answer
}

fn any_of(words: &mut Vec<&str>, allowed: &BTreeSet<&str>) -> bool {
    let mut answer = all_of(words, allowed);
    while words.last() == Some(&"OR") {
        words.pop();
        answer |= all_of(words, allowed);
    }
    answer
}

fn all_of(words: &mut Vec<&str>, allowed: &BTreeSet<&str>) -> bool {
    let mut answer = one(words, allowed);
    while words.last() == Some(&"AND") {
        words.pop();
        answer &= one(words, allowed);
    }
    answer
}

fn one(words: &mut Vec<&str>, allowed: &BTreeSet<&str>) -> bool {
    match words.pop() {
        Some("(") => {
            let answer = any_of(words, allowed);
            assert_eq!(words.pop(), Some(")"));
            answer
        }
        Some(licence) if words.last() == Some(&"WITH") => {
            words.pop();
            let exception = words.pop().unwrap_or_default();
            allowed.contains(format!("{licence} WITH {exception}").as_str())
        }
        Some(licence) => allowed.contains(licence),
        None => false,
    }
}

#[test]
fn licence_expressions_are_read_with_their_precedence() {
    let allowed = BTreeSet::from(["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"]);
    for (expression, expected) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("MIT OR GPL-3.0", true),
        ("MIT/GPL-3.0", true),
        ("MIT AND GPL-3.0", false),
        ("ISC AND (MIT OR GPL-3.0)", true),
        ("GPL-3.0 OR MIT AND ISC", true),
        ("(GPL-3.0 OR MIT) AND GPL-2.0", false),
        ("Apache-2.0 WITH LLVM-exception", true),
        ("Apache-2.0", false),
    ] {
        assert_eq!(permitted(expression, &allowed), expected, "{expression}");
    }
}
