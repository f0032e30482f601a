//! Patterns that name the caller: `secret/data/{{identity.entity.id}}/*` (kv-v2-api.md 6.3).

use super::Who;

/// A pattern, perhaps with places to be filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Field(Field),
}

/// What a place is filled with.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Field {
    EntityId,
    EntityName,
    EntityMetadata(String),
    AliasId {
        mount: String,
    },
    AliasName {
        mount: String,
    },
    AliasMetadata {
        mount: String,
        key: String,
    },
    /// There are no groups, so this is never filled.
    Group,
}

impl Template {
    /// Reads a pattern. What cannot be filled for anyone, because it names nothing there is, is an
    /// error; so is a brace without its partner.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            if before.contains("}}") {
                return Err("}} without {{");
            }
            let (name, after) = after.split_once("}}").ok_or("{{ without }}")?;
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            let field = Field::parse(name.trim());
            parts.push(Part::Field(
                field.ok_or("the template names nothing there is; see identity.entity, .aliases, .groups")?,
            ));
            rest = after;
        }
        if rest.contains("}}") {
            return Err("}} without {{");
        }
        if !rest.is_empty() || parts.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self(parts))
    }

    /// Whether it depends on who is calling.
    #[cfg(test)]
    fn is_templated(&self) -> bool {
        self.0.iter().any(|part| matches!(part, Part::Field(_)))
    }

    /// The pattern for a caller; `None` when it cannot be filled in, or when what would be filled in
    /// could mean more than itself.
    pub(super) fn fill(&self, who: Option<&Who>) -> Option<String> {
        let mut text = String::new();
        for part in &self.0 {
            match part {
                Part::Text(part) => text.push_str(part),
                Part::Field(field) => {
                    let value = field.value(who?)?;
                    if value.is_empty() || value.contains(['*', '+', '/']) || matches!(value, "." | "..") {
                        return None;
                    }
                    text.push_str(value);
                }
            }
        }
        // Two parts could make a wildcard that neither is.
        (!text.contains("+*")).then_some(text)
    }
}

impl Field {
    fn parse(name: &str) -> Option<Self> {
        let name = name.strip_prefix("identity.")?;
        if let Some(name) = name.strip_prefix("entity.") {
            if let Some(rest) = name.strip_prefix("aliases.") {
                let (mount, rest) = rest.split_once('.')?;
                let mount = mount.to_owned();
                return match rest {
                    "id" => Some(Self::AliasId { mount }),
                    "name" => Some(Self::AliasName { mount }),
                    rest => {
                        let key = rest
                            .strip_prefix("metadata.")
                            .or_else(|| rest.strip_prefix("custom_metadata."))?;
                        (!key.is_empty()).then(|| Self::AliasMetadata { mount, key: key.to_owned() })
                    }
                };
            }
            return match name {
                "id" => Some(Self::EntityId),
                "name" => Some(Self::EntityName),
                name => name
                    .strip_prefix("metadata.")
                    .filter(|key| !key.is_empty())
                    .map(|key| Self::EntityMetadata(key.to_owned())),
            };
        }
        let group = name.strip_prefix("groups.")?;
        (group.starts_with("ids.") || group.starts_with("names.")).then_some(Self::Group)
    }

    fn value<'w>(&self, who: &'w Who) -> Option<&'w str> {
        let alias = |mount: &str| who.aliases.iter().find(|alias| alias.mount_accessor == mount);
        match self {
            Self::EntityId => Some(&who.id),
            Self::EntityName => Some(&who.name),
            Self::EntityMetadata(key) => who.metadata.get(key).map(String::as_str),
            Self::AliasId { mount } => alias(mount).map(|alias| alias.id.as_str()),
            Self::AliasName { mount } => alias(mount).map(|alias| alias.name.as_str()),
            Self::AliasMetadata { mount, key } => alias(mount)?.metadata.get(key).map(String::as_str),
            Self::Group => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::app::identity::Alias;

    fn who(name: &str) -> Who {
        Who {
            id: "e-1".into(),
            name: name.into(),
            metadata: BTreeMap::from([("team".into(), "red".into()), ("star".into(), "*".into())]),
            aliases: vec![Alias {
                id: "a-1".into(),
                name: "anna".into(),
                mount_accessor: "auth_userpass_1".into(),
                metadata: BTreeMap::from([("city".into(), "Ulm".into())]),
                ..Alias::default()
            }],
            ..Who::default()
        }
    }

    #[test]
    fn places_are_filled_with_what_the_caller_is() {
        let who = who("entity_x");
        for (template, filled) in [
            ("plain/+/*", Some("plain/+/*")),
            ("s/{{identity.entity.id}}/*", Some("s/e-1/*")),
            ("{{ identity.entity.name }}", Some("entity_x")),
            ("s/{{identity.entity.metadata.team}}-{{identity.entity.id}}", Some("s/red-e-1")),
            ("s/{{identity.entity.aliases.auth_userpass_1.name}}", Some("s/anna")),
            ("s/{{identity.entity.aliases.auth_userpass_1.id}}", Some("s/a-1")),
            ("s/{{identity.entity.aliases.auth_userpass_1.metadata.city}}", Some("s/Ulm")),
            ("s/{{identity.entity.aliases.other.name}}", None),
            ("s/{{identity.entity.metadata.none}}", None),
            ("s/{{identity.entity.metadata.star}}", None),
            ("s/{{identity.groups.ids.g.name}}", None),
            ("s/{{identity.groups.names.g.id}}", None),
        ] {
            let template = Template::parse(template).unwrap();
            assert_eq!(template.fill(Some(&who)).as_deref(), filled, "{template:?}");
            assert_eq!(template.fill(None).is_some(), !template.is_templated());
        }
    }

    #[test]
    fn nobody_can_name_themselves_into_other_paths() {
        let template = Template::parse("s/{{identity.entity.name}}/x").unwrap();
        for name in ["*", "a*", "+", "a/b", "..", ".", ""] {
            assert_eq!(template.fill(Some(&who(name))), None, "{name}");
        }
    }

    #[test]
    fn broken_templates_are_refused() {
        for text in [
            "{{",
            "a}}",
            "{{identity.entity.id}",
            "{{}}",
            "{{identity.entity.nope}}",
            "{{time.now}}",
            "}}{{identity.entity.id}}",
            "{{identity.entity.aliases.m}}",
        ] {
            assert!(Template::parse(text).is_err(), "{text}");
        }
    }
}
