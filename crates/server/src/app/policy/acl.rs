//! What the policies of one caller allow together, made for quick asking (kv-v2-api.md 6.3).
//!
//! One pattern decides about a path, the one of the highest priority that matches; rules of different
//! patterns are never put together. An exact pattern comes first. Among patterns with a wildcard: the
//! one whose first wildcard comes later; then one that does not end in `*`; then one with fewer `+`;
//! then the longer; then the one that sorts later.

use std::{
    cmp::{Ordering, Reverse},
    collections::HashMap,
    sync::Arc,
};

use super::{
    Who,
    capabilities::Capabilities,
    constraints::{Given, Verdict},
    rules::{Grant, Policy},
};
use crate::app::Capability;

/// What a caller may do.
#[derive(Debug, Default)]
pub(crate) struct Acl {
    /// Everything.
    root: bool,
    exact: HashMap<Box<str>, Granted>,
    /// Patterns without `+` that end in `*`, by what precedes it.
    prefixes: HashMap<Box<str>, Granted>,
    /// The lengths of those, longest first, so that few are looked up.
    lengths: Vec<usize>,
    /// Patterns with `+`, by what precedes the first one.
    segments: HashMap<Box<str>, Vec<Segmented>>,
}

/// A grant, and the policies it comes from.
#[derive(Debug, Default)]
struct Granted {
    grant: Grant,
    by: Vec<Arc<str>>,
}

/// A pattern with `+`.
#[derive(Debug)]
struct Segmented {
    pattern: Pattern,
    /// What follows the first `+` and its slash, up to the next `+`: looked at before all else.
    lead: Box<str>,
    granted: Granted,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern {
    /// Without the `*` it may end in.
    text: Box<str>,
    /// Whether it ends in `*`.
    open: bool,
    /// How many `+` there are.
    plus: usize,
}

impl Pattern {
    /// Greater is of a higher priority; for patterns whose first wildcard is in the same place.
    fn rank(&self) -> (Reverse<bool>, Reverse<usize>, usize, &str) {
        (Reverse(self.open), Reverse(self.plus), self.text.len(), &self.text)
    }

    fn matches(&self, path: &str) -> bool {
        let mut have = path.split('/');
        let mut want = self.text.split('/').peekable();
        while let Some(segment) = want.next() {
            let Some(given) = have.next() else { return false };
            let last = want.peek().is_none();
            let fits =
                segment == "+" || segment == given || (self.open && last && given.starts_with(segment));
            if !fits {
                return false;
            }
        }
        self.open || have.next().is_none()
    }

    /// Whether it may match something below `mount`, which ends in `/`.
    fn reaches_below(&self, mount: &str) -> bool {
        let mut want = self.text.split('/').peekable();
        for given in mount.trim_end_matches('/').split('/') {
            let Some(segment) = want.next() else { return self.open };
            let last = want.peek().is_none();
            if segment == "+" || segment == given {
                continue;
            }
            return self.open && last && given.starts_with(segment);
        }
        true
    }
}

/// Whether `+` stands for a segment somewhere in a pattern.
fn has_plus(pattern: &str) -> bool {
    pattern.split('/').any(|segment| segment == "+")
}

impl Acl {
    /// What policy `root` allows.
    pub(super) fn root() -> Self {
        Self { root: true, ..Self::default() }
    }

    /// Puts policies together. Rules whose template cannot be filled in for `who` are left out.
    pub(super) fn new<'p>(
        policies: impl IntoIterator<Item = (&'p str, &'p Policy)>,
        who: Option<&Who>,
    ) -> Self {
        let mut acl = Self::default();
        for (name, policy) in policies {
            let name: Arc<str> = name.into();
            for rule in &policy.rules {
                if let Some(pattern) = rule.pattern.fill(who) {
                    acl.place_for(&pattern).add(&rule.grant, &name);
                }
            }
        }
        acl.lengths = acl.prefixes.keys().map(|prefix| prefix.len()).collect();
        acl.lengths.sort_unstable_by_key(|length| Reverse(*length));
        acl.lengths.dedup();
        for group in acl.segments.values_mut() {
            group.sort_by(|a, b| b.pattern.rank().cmp(&a.pattern.rank()));
        }
        acl
    }

    fn place_for(&mut self, pattern: &str) -> &mut Granted {
        let bare = pattern.strip_suffix('*');
        if !has_plus(pattern) {
            return match bare {
                Some(prefix) => self.prefixes.entry(prefix.into()).or_default(),
                None => self.exact.entry(pattern.into()).or_default(),
            };
        }
        let text = bare.unwrap_or(pattern);
        let plus = text.split('/').filter(|segment| *segment == "+").count();
        let pattern = Pattern { text: text.into(), open: bare.is_some(), plus };
        let group = self.segments.entry(before_plus(text).into()).or_default();
        let at = group.iter().position(|other| other.pattern == pattern).unwrap_or_else(|| {
            let rest = text.get(before_plus(text).len() + 1..).unwrap_or_default();
            let lead = before_plus(rest.strip_prefix('/').unwrap_or(rest)).into();
            group.push(Segmented { pattern, lead, granted: Granted::default() });
            group.len() - 1
        });
        &mut group[at].granted
    }

    /// Whether everything is allowed.
    pub(crate) fn is_root(&self) -> bool {
        self.root
    }

    /// Whether a thing may be done at a path, and thanks to which policies.
    ///
    /// # Errors
    /// [`Verdict`]: not, or only if the request were another.
    pub(crate) fn check(
        &self,
        capability: Capability,
        path: &str,
        given: &Given<'_>,
    ) -> Result<&[Arc<str>], Verdict> {
        if self.root {
            return Ok(&[]);
        }
        let lists = matches!(capability, Capability::List | Capability::Scan);
        let granted = self.find(path, lists).ok_or(Verdict::Denied)?;
        let capabilities = granted.grant.capabilities;
        if !capabilities.has(capability) || (given.sudo && !capabilities.has(Capability::Sudo)) {
            return Err(Verdict::Denied);
        }
        given.meet(&granted.grant, capability)?;
        Ok(&granted.by)
    }

    /// Whether `sudo` is granted at a path.
    pub(crate) fn has_sudo(&self, path: &str) -> bool {
        self.root
            || self.find(path, false).is_some_and(|granted| granted.grant.capabilities.has(Capability::Sudo))
    }

    /// What may be done at a path, whatever the request.
    pub(crate) fn capabilities(&self, path: &str) -> Vec<&'static str> {
        if self.root {
            return vec!["root"];
        }
        // As for a list, so that a folder's name finds the rule of its pattern with a slash.
        self.find(path, true).map_or_else(|| vec!["deny"], |granted| granted.grant.capabilities.words())
    }

    /// Whether anything may be done at a mount or below it. `mount` ends in `/`.
    pub(crate) fn reaches(&self, mount: &str) -> bool {
        let any = |granted: &Granted| granted.grant.capabilities.any();
        let below = |rules: &HashMap<Box<str>, Granted>| {
            rules.iter().any(|(pattern, granted)| pattern.starts_with(mount) && any(granted))
        };
        self.root
            || self.find(mount, true).is_some_and(any)
            || below(&self.exact)
            || below(&self.prefixes)
            || self.segments.values().flatten().any(|s| any(&s.granted) && s.pattern.reaches_below(mount))
    }

    /// Whether everything below a folder may be read, also what is not there yet. `folder` ends in `/`.
    /// Says no where it would take more than a look at each rule to be sure.
    pub(crate) fn reads_all_below(&self, folder: &str) -> bool {
        let reads = |granted: &Granted| {
            let grant = &granted.grant;
            grant.capabilities.has(Capability::Read) && Given::default().meet(grant, Capability::Read).is_ok()
        };
        if self.root {
            return true;
        }
        let around = self.longest_prefix(folder).map(|(_, granted)| granted);
        let segmented = || {
            let all = self.segments.values().flatten();
            all.filter(|segmented| segmented.pattern.reaches_below(folder))
        };
        // A name that no rule has: whatever is open and matches it there matches everything there.
        let anything = format!("{folder}\0");
        let covered = around.is_some()
            || segmented().any(|segmented| segmented.pattern.open && segmented.pattern.matches(&anything));
        let below = |rules: &HashMap<Box<str>, Granted>| {
            rules.iter().all(|(pattern, granted)| !pattern.starts_with(folder) || reads(granted))
        };
        covered
            && around.is_none_or(reads)
            && below(&self.exact)
            && below(&self.prefixes)
            && segmented().all(|segmented| reads(&segmented.granted))
    }

    /// The one rule that decides about a path.
    fn find(&self, path: &str, lists: bool) -> Option<&Granted> {
        let bare = path.strip_suffix('/').filter(|_| lists);
        if let Some(granted) = self.exact.get(path).or_else(|| self.exact.get(bare?)) {
            return Some(granted);
        }
        self.find_open(path).or_else(|| self.find_open(bare?))
    }

    /// The best of the patterns with a wildcard.
    fn find_open(&self, path: &str) -> Option<&Granted> {
        let prefix = self.longest_prefix(path);
        // From the longest beginning: of two groups the one whose `+` comes later has the better pattern.
        if !self.segments.is_empty() {
            for end in
                path.match_indices('/').map(|(at, _)| at + 1).collect::<Vec<_>>().into_iter().rev().chain([0])
            {
                // A prefix whose `*` comes later than that `+` decides; in the same place `+` does, unless
                // it ends in `*` too.
                if prefix.is_some_and(|(length, _)| length > end) {
                    break;
                }
                let group = path.get(..end).and_then(|start| self.segments.get(start));
                let after =
                    path.get(end..).and_then(|rest| rest.split_once('/')).map_or("", |(_, after)| after);
                let fits = |s: &&Segmented| after.starts_with(&*s.lead) && s.pattern.matches(path);
                let Some(best) = group.and_then(|group| group.iter().find(fits)) else {
                    continue;
                };
                return match prefix {
                    Some((length, granted)) if length == end => {
                        // The other has no `+` and is shorter.
                        let fewer = !best.pattern.open;
                        Some(if fewer { &best.granted } else { granted })
                    }
                    _ => Some(&best.granted),
                };
            }
        }
        prefix.map(|(_, granted)| granted)
    }

    fn longest_prefix(&self, path: &str) -> Option<(usize, &Granted)> {
        self.lengths.iter().find_map(|length| {
            let start = path.get(..*length)?;
            Some((*length, self.prefixes.get(start)?))
        })
    }

    /// Exact patterns and patterns with wildcards, each with what it allows, for
    /// `sys/internal/ui/resultant-acl`.
    pub(crate) fn shown(&self) -> (Shown, Shown) {
        let exact = self.exact.iter().map(|(p, g)| (p.to_string(), g.grant.capabilities)).collect();
        let mut open: Vec<_> =
            self.prefixes.iter().map(|(p, g)| (p.to_string(), g.grant.capabilities)).collect();
        open.extend(self.segments.values().flatten().map(|segmented| {
            let star = if segmented.pattern.open { "*" } else { "" };
            (format!("{}{star}", segmented.pattern.text), segmented.granted.grant.capabilities)
        }));
        (exact, open)
    }
}

/// Patterns and what they allow.
pub(crate) type Shown = Vec<(String, Capabilities)>;

/// What of a pattern precedes its first `+` segment.
fn before_plus(text: &str) -> &str {
    if text == "+" || text.starts_with("+/") {
        return "";
    }
    let at = text.match_indices("/+").map(|(at, _)| at + 1).find(|at| {
        let rest = &text[at + 1..];
        rest.is_empty() || rest.starts_with('/')
    });
    at.map_or(text, |at| &text[..at])
}

impl Granted {
    /// Adds a rule of the same pattern: capabilities unite, a denial wins, conditions add up, except that
    /// a parameter with any value allowed or denied stays so, and that the smaller wrapping limits win.
    fn add(&mut self, more: &Grant, policy: &Arc<str>) {
        let first = self.by.is_empty();
        if !self.by.contains(policy) {
            self.by.push(Arc::clone(policy));
        }
        if first {
            self.grant = more.clone();
            return;
        }
        let grant = &mut self.grant;
        grant.capabilities.join(more.capabilities);
        if grant.capabilities.denies() {
            *grant = Grant { capabilities: Capabilities::DENY, ..Grant::default() };
            return;
        }
        for (mine, theirs) in [(&mut grant.allowed, &more.allowed), (&mut grant.denied, &more.denied)] {
            for (name, values) in theirs {
                match mine.get_mut(name) {
                    None => {
                        mine.insert(name.clone(), values.clone());
                    }
                    Some(known) if known.is_empty() || values.is_empty() => known.clear(),
                    Some(known) => known.extend(values.iter().cloned()),
                }
            }
        }
        grant.required.extend(more.required.iter().cloned());
        grant.required.sort();
        grant.required.dedup();
        for (mine, theirs) in [
            (&mut grant.min_wrapping_ttl, more.min_wrapping_ttl),
            (&mut grant.max_wrapping_ttl, more.max_wrapping_ttl),
        ] {
            if theirs > 0 && (*mine == 0 || theirs.cmp(mine) == Ordering::Less) {
                *mine = theirs;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use proptest::{prelude::*, sample::select};

    use super::{super::rules, *};

    fn acl(text: &str) -> Acl {
        let policy = rules::parse(text).unwrap();
        Acl::new([("p", &policy)], None)
    }

    fn may(acl: &Acl, capability: Capability, path: &str) -> bool {
        acl.check(capability, path, &Given::default()).is_ok()
    }

    /// The rules of kv-v2-api.md 6.3, one after the other, without any thought for speed.
    fn naive(patterns: &[(String, Capability)], path: &str, capability: Capability) -> bool {
        let lists = matches!(capability, Capability::List | Capability::Scan);
        let bare = path.strip_suffix('/').filter(|_| lists);
        let exact = |path: &str| patterns.iter().any(|(pattern, _)| pattern == path && !is_open(pattern));
        let decides = if exact(path) {
            Some(path.to_owned())
        } else if bare.is_some_and(exact) {
            bare.map(str::to_owned)
        } else {
            let best = |path: &str| {
                patterns
                    .iter()
                    .map(|(pattern, _)| pattern)
                    .filter(|pattern| is_open(pattern) && fits(pattern, path))
                    .max_by_key(|pattern| priority(pattern))
                    .cloned()
            };
            best(path).or_else(|| best(bare?))
        };
        decides.is_some_and(|decides| {
            patterns.iter().any(|(pattern, granted)| *pattern == decides && *granted == capability)
        })
    }

    fn is_open(pattern: &str) -> bool {
        pattern.ends_with('*') || pattern.split('/').any(|segment| segment == "+")
    }

    fn fits(pattern: &str, path: &str) -> bool {
        let (text, open) = pattern.strip_suffix('*').map_or((pattern, false), |text| (text, true));
        if !text.split('/').any(|segment| segment == "+") {
            return open && path.starts_with(text);
        }
        let (want, have): (Vec<_>, Vec<_>) = (text.split('/').collect(), path.split('/').collect());
        let whole = |want: &&str, have: &&str| *want == "+" || want == have;
        if open {
            let (last, want) = want.split_last().unwrap();
            have.len() > want.len()
                && want.iter().zip(&have).all(|(w, h)| whole(w, h))
                && (*last == "+" || have[want.len()].starts_with(last))
        } else {
            want.len() == have.len() && want.iter().zip(&have).all(|(w, h)| whole(w, h))
        }
    }

    type Priority = (usize, Reverse<bool>, Reverse<usize>, usize, String);

    fn priority(pattern: &str) -> Priority {
        let text = pattern.strip_suffix('*').unwrap_or(pattern);
        let mut at = 0;
        let mut first = None;
        for segment in text.split('/') {
            if segment == "+" && first.is_none() {
                first = Some(at);
            }
            at += segment.len() + 1;
        }
        let plus = text.split('/').filter(|segment| *segment == "+").count();
        (
            first.unwrap_or(text.len()),
            Reverse(pattern.ends_with('*')),
            Reverse(plus),
            text.len(),
            text.to_owned(),
        )
    }

    fn patterns() -> impl Strategy<Value = Vec<(String, Capability)>> {
        let segment = select(vec!["a", "b", "ab", "+", "+", "aé", ""]);
        let pattern = (prop::collection::vec(segment, 1..5), any::<bool>()).prop_filter_map(
            "no +*",
            |(parts, open)| {
                let pattern = parts.join("/") + if open { "*" } else { "" };
                (!pattern.contains("+*") && !pattern.starts_with('/')).then_some(pattern)
            },
        );
        let capability = select(vec![Capability::Read, Capability::List, Capability::Update]);
        prop::collection::vec((pattern, capability), 0..12)
    }

    fn paths() -> impl Strategy<Value = String> {
        let segment = select(vec!["a", "b", "ab", "abc", "c", "aé", ""]);
        prop::collection::vec(segment, 1..6).prop_map(|parts| parts.join("/"))
    }

    #[test]
    fn all_below_a_folder_is_read_only_if_nothing_below_says_otherwise() {
        let read = r#"{ capabilities = ["read"] }"#;
        let deny = r#"{ capabilities = ["deny"] }"#;
        let list = r#"{ capabilities = ["list"] }"#;
        for (rules, expected) in [
            (format!(r#"path "s/data/*" {read}"#), true),
            (format!(r#"path "s/data/app/*" {read}"#), true),
            (format!(r#"path "s/data/app*" {read}"#), true),
            (format!(r#"path "+/data/*" {read}"#), true),
            (format!(r#"path "s/data/app/x" {read}"#), false),
            (format!(r#"path "s/data/app/x*" {read}"#), false),
            (format!(r#"path "s/data/app/+" {read}"#), false),
            (format!(r#"path "s/data/*" {list}"#), false),
            (format!(r#"path "s/data/*" {read} path "s/data/app/*" {deny}"#), false),
            (format!(r#"path "s/data/*" {deny} path "s/data/app/*" {read}"#), true),
            (format!(r#"path "s/data/*" {read} path "s/data/app/x/y" {deny}"#), false),
            (format!(r#"path "s/data/*" {read} path "s/data/app/x*" {list}"#), false),
            (format!(r#"path "s/data/*" {read} path "s/data/+/x" {deny}"#), false),
            (format!(r#"path "s/data/*" {read} path "s/data/other/*" {deny}"#), true),
            (format!(r#"path "s/data/*" {read} path "s/data/apple" {deny}"#), true),
            (format!(r#"path "t/*" {read}"#), false),
        ] {
            assert_eq!(acl(&rules).reads_all_below("s/data/app/"), expected, "{rules}");
        }
        assert!(Acl::root().reads_all_below("s/"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]
        #[test]
        fn all_below_is_never_more_than_each(
            patterns in patterns(),
            folder in select(vec!["a/", "a/b/", "ab/a/", "b/"]),
            below in prop::collection::vec(select(vec!["a", "b", "ab", "c", ""]), 1..4),
        ) {
            let mut text = String::new();
            for (pattern, capability) in &patterns {
                let word = capability.as_str();
                writeln!(text, r#"path "{pattern}" {{ capabilities = ["{word}"] }}"#).unwrap();
            }
            let acl = acl(&text);
            let path = format!("{folder}{}", below.join("/"));
            prop_assume!(path != folder);
            if acl.reads_all_below(folder) {
                prop_assert!(may(&acl, Capability::Read, &path), "{} {}", path, text);
            }
        }

        #[test]
        fn it_decides_as_the_naive_matcher_does(patterns in patterns(), path in paths()) {
            let mut text = String::new();
            for (pattern, capability) in &patterns {
                let word = capability.as_str();
                writeln!(text, "path \"{pattern}\" {{ capabilities = [\"{word}\"] }}").unwrap();
            }
            let acl = acl(&text);
            for capability in [Capability::Read, Capability::List, Capability::Update] {
                let path = if capability == Capability::List { format!("{}/", path.trim_end_matches('/')) } else { path.clone() };
                prop_assert_eq!(may(&acl, capability, &path), naive(&patterns, &path, capability),
                    "{} {:?}\n{}", path, capability, text);
            }
        }
    }

    #[test]
    fn one_pattern_decides_alone() {
        let acl = acl(r#"
            path "secret/*" { capabilities = ["read", "list", "delete"] }
            path "secret/data/app/*" { capabilities = ["update"] }
            path "secret/data/+/db" { capabilities = ["list"] }
            path "secret/data/app/exact" { capabilities = ["deny"] }
            path "secret/data/+/+/x" { capabilities = ["read"] }
            path "secret/data/+/deep/*" { capabilities = ["create"] }
        "#);
        for (path, capability, allowed) in [
            ("secret/data/x", Capability::Read, true),
            ("secret/data/app/x", Capability::Read, false),
            ("secret/data/app/x", Capability::Update, true),
            ("secret/data/app/exact", Capability::Update, false),
            // Its wildcard comes earlier than that of secret/data/app/*.
            ("secret/data/app/db", Capability::List, false),
            ("secret/data/web/db", Capability::List, true),
            ("secret/data/web/db", Capability::Read, false),
            ("secret/data/web/deep/x", Capability::Read, true),
            ("secret/data/web/deep/y", Capability::Create, true),
            ("secret/data/web/deep/y", Capability::Read, false),
            ("secrets", Capability::Read, false),
        ] {
            assert_eq!(may(&acl, capability, path), allowed, "{path} {capability:?}");
        }
    }

    #[test]
    fn lists_find_the_rule_without_the_slash() {
        let acl = acl(r#"
            path "secret/metadata" { capabilities = ["list"] }
            path "secret/metadata/a" { capabilities = ["list"] }
            path "secret/metadata/+" { capabilities = ["scan"] }
            path "kv/metadata/b*" { capabilities = ["list"] }
        "#);
        assert!(may(&acl, Capability::List, "secret/metadata/"));
        assert!(may(&acl, Capability::List, "secret/metadata/a/"));
        assert!(may(&acl, Capability::Scan, "secret/metadata/x/"));
        assert!(may(&acl, Capability::List, "kv/metadata/b/"));
        assert!(!may(&acl, Capability::Read, "secret/metadata/"));
    }

    #[test]
    fn rules_of_one_pattern_unite_and_a_denial_wins() {
        let first = rules::parse(r#"
            path "a" { capabilities = ["read"] allowed_parameters = { x = ["1"] } min_wrapping_ttl = 60 required_parameters = ["r"] }
            path "b" { capabilities = ["read"] }
        "#).unwrap();
        let second = rules::parse(r#"
            path "a" { capabilities = ["update"] allowed_parameters = { x = ["2"] y = [] } denied_parameters = { z = [] } min_wrapping_ttl = 30 max_wrapping_ttl = 90 }
            path "a" { capabilities = ["list"] allowed_parameters = { x = [] } }
            path "b" { capabilities = ["deny"] }
            path "b" { capabilities = ["sudo"] }
        "#).unwrap();
        for order in [[("f", &first), ("s", &second)], [("s", &second), ("f", &first)]] {
            let acl = Acl::new(order, None);
            assert_eq!(acl.capabilities("a"), ["list", "read", "update"]);
            assert_eq!(acl.capabilities("b"), ["deny"]);
            let granted = &acl.exact["a"];
            assert_eq!(granted.by.len(), 2);
            let grant = &granted.grant;
            assert_eq!((grant.min_wrapping_ttl, grant.max_wrapping_ttl), (30, 90));
            assert_eq!(
                (&grant.allowed["x"], &grant.allowed["y"], &grant.denied["z"]),
                (&vec![], &vec![], &vec![])
            );
            assert_eq!(grant.required, ["r"]);
        }
    }

    #[test]
    fn mounts_are_seen_by_those_who_may_do_something_there() {
        for (text, seen) in [
            (r#"path "secret/data/a" { capabilities = ["read"] }"#, true),
            (r#"path "secret/*" { capabilities = ["read"] }"#, true),
            (r#"path "sec*" { capabilities = ["read"] }"#, true),
            (r#"path "*" { capabilities = ["read"] }"#, true),
            (r#"path "+/data/*" { capabilities = ["read"] }"#, true),
            (r#"path "secret/+/x" { capabilities = ["read"] }"#, true),
            (r#"path "secret/data/a" { capabilities = ["deny"] }"#, false),
            (r#"path "*" { capabilities = ["read"] } path "secret/*" { capabilities = ["deny"] }"#, false),
            (r#"path "secrets/*" { capabilities = ["read"] }"#, false),
            (r#"path "other/+/x" { capabilities = ["read"] }"#, false),
            ("", false),
        ] {
            assert_eq!(acl(text).reaches("secret/"), seen, "{text}");
        }
        assert!(Acl::root().reaches("secret/"));
    }
}
