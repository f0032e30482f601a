use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use model::{Granularity, RemoteName, SecretBytes};

use crate::{Config, Destination, Fault, Limits, Net, Shared};

/// A sort of destination, before anyone has configured one.
pub trait Kind: Send + Sync {
    /// The word in the URL: `aws-sm`.
    fn slug(&self) -> &'static str;

    /// What it is called in sentences: `AWS Secrets Manager`.
    fn title(&self) -> &'static str;

    /// Its own configuration fields. Checks, masking, help and the documentation page come from
    /// this table; the fields every kind has are [`crate::COMMON_FIELDS`].
    fn fields(&self) -> &'static [Field];

    /// What it can do and what its rules are, as data.
    fn abilities(&self) -> &'static Abilities;

    /// The credential its destinations may share instead of holding one each, if it has such.
    fn shared(&self) -> Option<&'static Shared> {
        None
    }

    /// Opens a configured destination. Checks what a field table cannot say (this field needs that
    /// one); makes no call, so that a destination can be configured before its account exists.
    fn open(&self, config: &Config, net: &Arc<Net>) -> Result<Arc<dyn Destination>, FieldFault>;

    /// Whether its destinations give values back ([`Destination::read_many`]).
    fn reads_values(&self) -> bool {
        false
    }

    /// What the provider allows a destination so configured; `None` where nothing is to be counted.
    fn limits(&self, config: &Config) -> Option<&'static Limits> {
        let _ = config;
        None
    }

    /// The provider account whose limits a destination so configured draws on, in any form that is the
    /// same for destinations that share one and differs for others: an access key and region, a vault,
    /// a project, a token. It may hold a credential; the engine digests it at once. `None`: the
    /// destination shares with no other.
    fn account(&self, config: &Config) -> Option<SecretBytes> {
        let _ = config;
        None
    }

    /// The name a rendered template becomes here. Characters the service does not take are replaced
    /// as Vault does; what cannot be mended is a [`Fault`] with code `illegal_name`. That two names
    /// may become one is noticed by the engine, which lets only the first have it.
    fn remote_name(&self, rendered: &str) -> Result<RemoteName, Fault> {
        self.abilities().names.apply(rendered)
    }
}

/// One configuration field of a kind.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// The name in requests and answers.
    pub name: &'static str,
    /// What it takes.
    pub shape: Shape,
    /// Must be given at creation.
    pub required: bool,
    /// Comes back as `*****`, is sealed at rest, and is kept when a later POST leaves it out.
    pub secret: bool,
    /// Names where the secrets are; refused to change while associations exist (decisions 10).
    pub immutable: bool,
    /// Shapes each remote entry (a key, replicas): a change must be carried to entries already
    /// written, see [`crate::Put::settings_changed`].
    pub per_secret: bool,
    /// Says how secrets are delivered rather than how the service is reached: shown under `options`.
    pub option: bool,
    /// A secret field of one way to authenticate, not kept any more once a request gives this field,
    /// which is of another way.
    pub replaced_by: Option<&'static str>,
    /// What is wrong with one text of it: the text itself, an element of a list, a key of a map.
    pub check: fn(&str) -> Option<&'static str>,
    /// One sentence for the reader of the documentation page.
    pub help: &'static str,
}

impl Field {
    /// An optional, changeable, open text field; the builders below say otherwise.
    pub const fn new(name: &'static str, shape: Shape, help: &'static str) -> Self {
        Self {
            name,
            shape,
            required: false,
            secret: false,
            immutable: false,
            per_secret: false,
            option: false,
            replaced_by: None,
            check: |_| None,
            help,
        }
    }
    /// Must be given.
    #[must_use]
    pub const fn required(mut self) -> Self {
        self.required = true;
        self
    }
    /// Is a secret.
    #[must_use]
    pub const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }
    /// Cannot change while associations exist.
    #[must_use]
    pub const fn immutable(mut self) -> Self {
        self.immutable = true;
        self
    }
    /// Shapes each remote entry.
    #[must_use]
    pub const fn per_secret(mut self) -> Self {
        self.per_secret = true;
        self
    }
    /// Is shown under `options`.
    #[must_use]
    pub const fn option(mut self) -> Self {
        self.option = true;
        self
    }
    /// Is given up when this other field is given.
    #[must_use]
    pub const fn replaced_by(mut self, other: &'static str) -> Self {
        self.replaced_by = Some(other);
        self
    }
    /// Each text in it must pass this.
    #[must_use]
    pub const fn checked(mut self, check: fn(&str) -> Option<&'static str>) -> Self {
        self.check = check;
        self
    }
}

/// What a field takes. Input is read weakly, as Vault does: numbers and booleans may come as
/// strings, lists as comma-separated text, maps as lists of `k=v` (vault-sync-api.md 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Any text.
    Text,
    /// An `http` or `https` URL without user information, query or fragment.
    Url,
    /// A whole number in a range, both ends included.
    Int {
        /// Smallest allowed.
        min: i64,
        /// Largest allowed.
        max: i64,
    },
    /// A length of time in whole seconds, in a range, both ends included; also written `1h30m`.
    Seconds {
        /// Shortest allowed.
        min: i64,
        /// Longest allowed.
        max: i64,
    },
    /// True or false.
    Bool,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A list of texts.
    List,
    /// A list of whole numbers in a range.
    IntList {
        /// Smallest allowed.
        min: i64,
        /// Largest allowed.
        max: i64,
    },
    /// Text to text.
    Map,
}

/// A configuration field that cannot be accepted: a 400 that names it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct FieldFault {
    /// The field, and the part of it: `allowed_ports[2]`.
    pub field: Cow<'static, str>,
    /// What is wrong and what would be right. Never repeats a secret field's value.
    pub problem: Cow<'static, str>,
}

impl FieldFault {
    /// A fault in one field.
    pub fn new(field: impl Into<Cow<'static, str>>, problem: impl Into<Cow<'static, str>>) -> Self {
        Self { field: field.into(), problem: problem.into() }
    }
}

/// What a kind can do and what its rules are. The engine, the contract suite and the documentation
/// read this; nobody asks for a kind by name.
#[derive(Debug)]
pub struct Abilities {
    /// Granularity when a destination does not say (decisions 4).
    pub granularity: Granularity,
    /// The name template when a destination does not say, for `secret-path`.
    pub path_template: &'static str,
    /// The same for `secret-key`.
    pub key_template: &'static str,
    /// How names must look.
    pub names: NameRule,
    /// Largest value in bytes, as sent.
    pub max_value_bytes: usize,
    /// Whether a value of no bytes can be written.
    pub empty_values: bool,
    /// Holds an ownership mark (tags, labels, a comment).
    pub marks: bool,
    /// A write that expects nothing there notices by itself when something is, so a first write
    /// needs no look before it.
    pub create_notices: bool,
    /// Takes custom tags, and which; `None` where the service has nowhere to put them.
    pub custom_tags: Option<TagRule>,
    /// Takes bytes that are not text.
    pub binary: bool,
    /// How many entries one call may carry; 1 where there is no bulk call.
    pub batch: usize,
}

/// A destination's rule for custom tags.
#[derive(Debug)]
pub struct TagRule {
    /// How many there may be: what the service takes, less what our mark needs.
    pub max_tags: usize,
    /// Longest key in characters. The shortest is one.
    pub max_key: usize,
    /// Longest value in characters.
    pub max_value: usize,
    /// Whether a character may stand in a key.
    pub key_allows: fn(char) -> bool,
    /// Whether a character may stand in a value.
    pub value_allows: fn(char) -> bool,
    /// The allowed characters in words.
    pub allowed: &'static str,
    /// Anything further about a key: the rule it breaks, if any.
    pub key_also: fn(&str) -> Option<&'static str>,
}

impl TagRule {
    /// Checks a whole set of tags, as they would be written.
    pub fn check(&self, tags: &BTreeMap<String, String>) -> Result<(), FieldFault> {
        if tags.len() > self.max_tags {
            let problem = format!("has {} tags; the destination takes at most {}", tags.len(), self.max_tags);
            return Err(FieldFault::new("custom_tags", problem));
        }
        for (at, (key, value)) in tags.iter().enumerate() {
            let fault = |problem: String| {
                Err(FieldFault::new(format!("custom_tags[{at}]"), format!("{problem} (tags sorted by key)")))
            };
            let (key_len, value_len) = (key.chars().count(), value.chars().count());
            if !(1..=self.max_key).contains(&key_len) {
                return fault(format!("the key has {key_len} characters; allowed are 1 to {}", self.max_key));
            }
            if value_len > self.max_value {
                return fault(format!(
                    "the value has {value_len} characters; allowed are 0 to {}",
                    self.max_value
                ));
            }
            if !key.chars().all(self.key_allows) {
                return fault(format!("the key has a character that is not allowed; use {}", self.allowed));
            }
            if !value.chars().all(self.value_allows) {
                return fault(format!("the value has a character that is not allowed; use {}", self.allowed));
            }
            if let Some(rule) = (self.key_also)(key) {
                return fault(format!("the key {rule}"));
            }
        }
        Ok(())
    }
}

/// How two names are compared at a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Case {
    /// `a` and `A` are two names.
    Sensitive,
    /// `a` and `A` are one name, kept as written (Azure).
    Folded,
    /// Names are kept in upper case (GitHub).
    Upper,
}

/// A destination's rule for names.
#[derive(Debug)]
pub struct NameRule {
    /// Whether a character may stand in a name.
    pub allows: fn(char) -> bool,
    /// The allowed characters in words.
    pub allowed: &'static str,
    /// What takes the place of a character that may not.
    pub replacement: char,
    /// Longest name in characters.
    pub max_len: usize,
    /// How names compare.
    pub case: Case,
    /// Anything further, on the adapted name: the rule it breaks, if any.
    pub also: fn(&str) -> Option<&'static str>,
}

impl NameRule {
    /// Adapts a rendered name, or says why it cannot be one.
    pub fn apply(&self, rendered: &str) -> Result<RemoteName, Fault> {
        let mut name: String =
            rendered.chars().map(|c| if (self.allows)(c) { c } else { self.replacement }).collect();
        if self.case == Case::Upper {
            name.make_ascii_uppercase();
        }
        let length = name.chars().count();
        if length == 0 {
            return Err(Fault::client("illegal_name", "the name template renders to an empty name"));
        }
        if length > self.max_len {
            return Err(Fault::client(
                "illegal_name",
                format!(
                    "the rendered name has {length} characters; the destination takes at most {}",
                    self.max_len
                ),
            ));
        }
        if let Some(rule) = (self.also)(&name) {
            return Err(Fault::client("illegal_name", format!("the rendered name {rule}")));
        }
        Ok(RemoteName::from_kind(name))
    }

    /// The form under which two names that the destination takes for one are equal.
    pub fn identity<'a>(&self, name: &'a RemoteName) -> Cow<'a, str> {
        match self.case {
            Case::Sensitive | Case::Upper => Cow::Borrowed(name.as_str()),
            Case::Folded => Cow::Owned(name.as_str().to_lowercase()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::kinds;

    /// A rule with everything a rule can have, as GitHub's and Azure's need it.
    fn strict(case: Case) -> NameRule {
        NameRule {
            allows: |c| c.is_ascii_alphanumeric() || c == '_',
            allowed: "letters, digits and _",
            replacement: '_',
            max_len: 20,
            case,
            also: |name| {
                let bad = name.starts_with(|c: char| c.is_ascii_digit()) || name.starts_with("GITHUB_");
                bad.then_some("must not begin with a digit or GITHUB_")
            },
        }
    }

    fn legal(rule: &NameRule, name: &str) -> bool {
        (1..=rule.max_len).contains(&name.chars().count())
            && name.chars().all(|c| (rule.allows)(c))
            && (rule.also)(name).is_none()
            && (rule.case != Case::Upper || !name.chars().any(|c| c.is_ascii_lowercase()))
    }

    proptest! {
        #[test]
        fn no_rule_yields_an_illegal_name(rendered in "\\PC{0,30}|[a-z0-9/_. -]{0,24}|.{0,20}") {
            let strict = [Case::Sensitive, Case::Folded, Case::Upper].map(strict);
            let real = kinds().iter().map(|kind| &kind.abilities().names);
            for rule in strict.iter().chain(real) {
                match rule.apply(&rendered) {
                    Ok(name) => {
                        prop_assert!(legal(rule, name.as_str()), "{:?}", name);
                        // What is legal already stays as it is, so names do not wander.
                        prop_assert_eq!(rule.apply(name.as_str()), Ok(name));
                    }
                    Err(fault) => prop_assert_eq!(fault.code, "illegal_name"),
                }
            }
        }

        #[test]
        fn a_legal_name_is_kept(name in "[a-zA-Z_][a-zA-Z0-9_]{0,19}") {
            prop_assume!(!name.starts_with("GITHUB_"));
            let rule = strict(Case::Sensitive);
            let kept = rule.apply(&name).unwrap();
            prop_assert_eq!(kept.as_str(), &name);
        }

        #[test]
        fn names_that_fold_together_are_one(name in "[a-zA-Z_]{1,20}") {
            prop_assume!(!name.to_uppercase().starts_with("GITHUB_"));
            for case in [Case::Folded, Case::Upper] {
                let rule = strict(case);
                let (upper, lower) = (rule.apply(&name.to_uppercase()), rule.apply(&name.to_lowercase()));
                let (Ok(upper), Ok(lower)) = (upper, lower) else { continue };
                prop_assert_eq!(rule.identity(&upper), rule.identity(&lower));
            }
        }
    }

    #[test]
    fn kinds_are_known_by_one_slug_and_their_fields_by_one_name() {
        let slugs: Vec<&str> = kinds().iter().map(|kind| kind.slug()).collect();
        assert!(slugs.is_sorted_by(|a, b| a < b), "{slugs:?}");
        for kind in kinds() {
            let mut names: Vec<&str> = crate::fields_of(*kind).map(|field| field.name).collect();
            names.sort_unstable();
            assert!(names.is_sorted_by(|a, b| a < b), "{} has a field twice", kind.slug());
        }
    }
}
