//! The requests and answers we use, as far as they matter here. No answer's `value` is read: it is what
//! was sent, or what somebody else keeps there.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::Number;

use super::{mark, targets::Targets};
use crate::{Mark, Present};

/// One variable to make, or to bring in line.
#[derive(Serialize)]
pub(super) struct Variable<'a> {
    pub(super) key: &'a str,
    pub(super) value: &'a str,
    /// Never sent for a record that is there: a sensitive one cannot become anything else.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub(super) kind: Option<&'static str>,
    pub(super) target: Vec<&'static str>,
    pub(super) comment: &'a str,
}

/// A record that is to be for fewer environments than it is.
#[derive(Serialize)]
pub(super) struct Narrowed {
    pub(super) target: Vec<&'static str>,
}

#[derive(Serialize)]
pub(super) struct Ids<'a> {
    pub(super) ids: &'a [&'a str],
}

/// A record at Vercel.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Record {
    #[serde(default)]
    pub(super) id: String,
    pub(super) key: String,
    #[serde(default)]
    pub(super) target: Targets,
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    git_branch: Option<String>,
    #[serde(default)]
    custom_environment_ids: Option<Vec<String>>,
    #[serde(default)]
    comment: Option<String>,
    #[serde(default)]
    updated_at: Option<Number>,
    #[serde(default)]
    system: Option<bool>,
    #[serde(default)]
    configuration_id: Option<IgnoredAny>,
    #[serde(default)]
    content_hint: Option<IgnoredAny>,
    #[serde(default)]
    edge_config_id: Option<IgnoredAny>,
}

impl Record {
    pub(super) fn mark(&self) -> Option<Mark> {
        mark::read(self.comment.as_deref()?)
    }

    /// For every branch. A record for one branch of the repository is another variable.
    pub(super) fn for_all_branches(&self) -> bool {
        self.git_branch.as_deref().is_none_or(str::is_empty)
    }

    /// For environments of the project's own as well.
    pub(super) fn custom(&self) -> bool {
        self.custom_environment_ids.as_ref().is_some_and(|ids| !ids.is_empty())
    }

    pub(super) fn sensitive(&self) -> bool {
        self.kind == "sensitive"
    }

    /// Put there by Vercel or by an integration, which will put it back.
    pub(super) fn managed(&self) -> bool {
        self.kind == "system"
            || self.system == Some(true)
            || self.configuration_id.is_some()
            || self.content_hint.is_some()
            || self.edge_config_id.is_some()
    }

    pub(super) fn updated(&self) -> Option<String> {
        self.updated_at.as_ref().map(Number::to_string)
    }
}

/// The answer to a POST. It is a 201 also when nothing was made.
#[derive(Debug, Deserialize)]
pub(super) struct Created {
    #[serde(default)]
    pub(super) created: OneOrMany<Record>,
    pub(super) failed: Vec<Failed>,
}

/// What became of one variable that was not made.
#[derive(Debug, Deserialize)]
pub(super) struct Failed {
    pub(super) error: Error,
}

/// What a refusal says, as far as it is looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Error {
    #[serde(default)]
    pub(super) code: String,
    #[serde(default)]
    pub(super) invalid_token: bool,
    #[serde(default)]
    env_var_key: Option<String>,
    #[serde(default)]
    key: Option<String>,
    #[serde(default)]
    pub(super) target: Targets,
    #[serde(default)]
    pub(super) limit: Option<Limit>,
}

impl Error {
    pub(super) fn key(&self) -> Option<&str> {
        self.env_var_key.as_deref().or(self.key.as_deref())
    }
}

/// When a used-up allowance is renewed, in seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Limit {
    #[serde(default)]
    pub(super) reset: Option<Number>,
}

#[derive(Deserialize)]
pub(super) struct Refused {
    pub(super) error: Error,
}

/// The answer to a GET of all variables, in the three forms there are.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Page {
    /// Missing where there is exactly one variable: the answer may be that variable then.
    pub(super) envs: Option<Vec<Record>>,
    #[serde(default)]
    pub(super) pagination: Option<Pagination>,
    #[serde(default)]
    pub(super) hidden_production_env_count: Option<u64>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Pagination {
    /// The time to ask for the next page by; `null` on the last.
    #[serde(default)]
    pub(super) next: Option<u64>,
}

/// The answer to a deletion of many.
#[derive(Debug, Deserialize)]
pub(super) struct Deleted {
    #[serde(default)]
    pub(super) ids: Vec<String>,
}

/// Nothing, one thing, or a list. Read as it comes, so that no part of an answer is kept aside
/// meanwhile.
#[derive(Debug)]
pub(super) struct OneOrMany<T>(pub(super) Vec<T>);

impl<T> Default for OneOrMany<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Either<T> {
            type Value = Vec<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object, or a list of them")
            }

            fn visit_unit<E>(self) -> Result<Vec<T>, E> {
                Ok(Vec::new())
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Vec<T>, A::Error> {
                Ok(vec![T::deserialize(MapAccessDeserializer::new(map))?])
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
                let mut all = Vec::with_capacity(list.size_hint().unwrap_or_default().min(64));
                while let Some(one) = list.next_element()? {
                    all.push(one);
                }
                Ok(all)
            }
        }
        deserializer.deserialize_any(Either(PhantomData)).map(Self)
    }
}

/// What a set of records under one name is to the caller. `wanted`: what an entry of ours consists of.
pub(super) fn present(records: &[&Record], wanted: &[Targets]) -> Present {
    let marks: Vec<Option<Mark>> = records.iter().map(|record| record.mark()).collect();
    let mut mark = marks.first().cloned().flatten();
    for other in &marks {
        mark = match (mark, other) {
            (Some(mark), Some(other)) if mark.same_owner(other) => Some(Mark {
                version: mark.version.min(other.version),
                write: mark.write.filter(|write| other.write == Some(*write)),
                ..mark
            }),
            _ => None,
        };
    }
    // An entry of ours that is not whole, or reaches further than it should, is to be written again.
    let whole = records.len() == wanted.len()
        && records.iter().all(|record| wanted.contains(&record.target) && !record.custom());
    if let Some(mark) = mark.as_mut().filter(|_| !whole) {
        mark.write = None;
    }
    Present {
        mark,
        managed_by_provider: records.iter().any(|record| record.managed()),
        handle: Some(super::targets::handle(
            records.iter().map(|record| (record.target, record.id.as_str())),
        )),
        revision: records.iter().filter_map(|record| record.updated()).max(),
        ..Present::default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn created_is_nothing_one_or_many() {
        let created = |text: &str| serde_json::from_str::<Created>(text).map(|c| c.created.0.len());
        assert_eq!(created(r#"{"failed":[]}"#).unwrap(), 0);
        assert_eq!(created(r#"{"created":null,"failed":[]}"#).unwrap(), 0);
        assert_eq!(created(r#"{"created":{"key":"A"},"failed":[]}"#).unwrap(), 1);
        assert_eq!(created(r#"{"created":[{"key":"A"},{"key":"B"}],"failed":[]}"#).unwrap(), 2);
        // Without `failed` nobody can say that nothing failed.
        assert!(created(r#"{"created":[]}"#).is_err());
        assert!(created(r#"{"created":1,"failed":[]}"#).is_err());
    }

    #[test]
    fn what_others_keep_up_is_known_by_several_signs() {
        let record = |more: &str| -> Record {
            serde_json::from_str(&format!(r#"{{"key":"A","configurationId":null{more}}}"#)).unwrap()
        };
        assert!(!record(r#","contentHint":null,"system":false,"type":"encrypted""#).managed());
        for more in [
            r#","type":"system""#,
            r#","system":true"#,
            r#","contentHint":{"type":"redis-url","storeId":"s"}"#,
            r#","edgeConfigId":"ecfg_1""#,
        ] {
            assert!(record(more).managed(), "{more}");
        }
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic(text in r#"[\[\]{}",:a-z0-9]{0,60}"#) {
            let _ = serde_json::from_str::<Created>(&text);
            let _ = serde_json::from_str::<Page>(&text);
            let _ = serde_json::from_str::<Refused>(&text);
        }
    }
}
