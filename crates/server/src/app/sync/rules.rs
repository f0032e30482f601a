//! `associations/set` and `associations/remove` for many secrets at once: a prefix, or a name with stars.
//! An addition to the founding API: no request that means something there means something else here.

use std::collections::BTreeMap;

use engine::{
    EntryView,
    rules::{Pattern, RuleRef, RuleView},
};
use model::{DestinationKey, MountPath, SecretPath};
use serde_json::{Value, json};

use super::{
    AppError, Caller, Fields, MayRead, Reply, Request, SYSTEM, SyncApi, associated_data, not_associated,
};

/// So many members are shown in the answer to a set; more are read from the destination's associations.
const SHOWN: usize = 1000;

/// What a request to set or remove is about.
pub(super) struct Asked {
    pub(super) mount: MountPath,
    pub(super) which: Which,
    /// The warning for what else was given.
    pub(super) unknown: Option<String>,
}

/// One secret, or all that match.
pub(super) enum Which {
    One(SecretPath),
    /// `path` is the secret of just that name, stars and all, if it could be one: what was associated
    /// singly is still found under its name.
    All {
        pattern: Pattern,
        exclude: Vec<Pattern>,
        path: Option<SecretPath>,
    },
}

impl Asked {
    /// Reads `mount`, and `secret_name` or `secret_prefix` with `exclude`.
    pub(super) fn of(request: &Request) -> Result<Self, AppError> {
        let mut fields = Fields::of(request)?;
        let mount = fields.text("mount")?.ok_or_else(|| missing("mount"))?;
        let (name, prefix) = (fields.text("secret_name")?, fields.text("secret_prefix")?);
        let exclude = fields.list("exclude")?;
        let mount = MountPath::parse(&mount).map_err(|error| AppError::invalid(format!("mount: {error}")))?;
        let which = match (name, prefix) {
            (Some(_), Some(_)) => {
                return Err(AppError::invalid(
                    "secret_prefix: give either secret_name or secret_prefix, not both",
                ));
            }
            (None, None) => return Err(missing("secret_name")),
            (Some(name), None) if !Pattern::is_meant(&name) => {
                if exclude.is_some() {
                    return Err(AppError::invalid(
                        "exclude: means something only with secret_prefix, or with a star in secret_name",
                    ));
                }
                let path = SecretPath::parse(&name);
                Which::One(path.map_err(|error| AppError::invalid(format!("secret_name: {error}")))?)
            }
            (Some(name), None) => Which::All {
                pattern: pattern("secret_name", Pattern::parse(&name))?,
                exclude: exclusions(exclude)?,
                path: SecretPath::parse(&name).ok(),
            },
            (None, Some(prefix)) => Which::All {
                pattern: pattern("secret_prefix", Pattern::below(&prefix))?,
                exclude: exclusions(exclude)?,
                path: None,
            },
        };
        Ok(Self { mount, which, unknown: fields.unknown() })
    }
}

fn missing(name: &str) -> AppError {
    AppError::invalid(format!("missing required field: {name}"))
}

fn pattern(field: &str, parsed: Result<Pattern, engine::rules::InvalidPattern>) -> Result<Pattern, AppError> {
    parsed.map_err(|error| AppError::invalid(format!("{field}: {error}")))
}

fn exclusions(given: Option<Vec<String>>) -> Result<Vec<Pattern>, AppError> {
    let given = given.unwrap_or_default().into_iter().enumerate();
    given
        .map(|(at, text)| {
            let parsed = if text.ends_with('/') { Pattern::below(&text) } else { Pattern::parse(&text) };
            pattern(&format!("exclude[{at}]"), parsed)
        })
        .collect()
}

impl SyncApi {
    /// Makes a rule, or gives it other exclusions. The caller must be allowed to read everything that is
    /// where the pattern begins: also what is not there yet, since that will be delivered too.
    pub(super) async fn set_rule(
        &self,
        caller: &Caller,
        key: &DestinationKey,
        mount: MountPath,
        pattern: Pattern,
        exclude: Vec<Pattern>,
    ) -> Result<Reply, AppError> {
        let found = self.mount(&mount).await?;
        let folder: String = pattern.folder().iter().flat_map(|segment| [*segment, "/"]).collect();
        if !MayRead(&caller.acl).all_below(&format!("{}data/{folder}", mount.as_str())) {
            return Err(AppError::Denied(format!(
                "permission denied to read the content of every secret below {folder} in mount {}",
                mount.bare()
            )));
        }
        let found = found.ok_or_else(|| super::no_kv_mount(&mount))?;
        let rule = RuleRef {
            accessor: found.accessor,
            mount,
            pattern,
            exclude,
            grantor: Some(super::grantor_of(caller)),
        };
        let made = self.engine.set_rule(key, &rule).await.map_err(not_associated)?;
        self.answer(key, made).await
    }

    async fn answer(&self, key: &DestinationKey, made: RuleView) -> Result<Reply, AppError> {
        let mut views = Vec::new();
        let mut warning = None;
        if made.covering {
            warning =
                Some("not all secrets are associated yet; read the associations to follow it".to_owned());
        } else {
            views = self.engine.associations(key).await?.unwrap_or_default();
            views
                .retain(|view| view.accessor == made.accessor && view.rule.as_deref() == Some(&made.pattern));
        }
        let members = views.len();
        let mut data = associated_data(key, if members > SHOWN { &[] } else { &views }, true);
        if members > SHOWN {
            data["sync_operation_counters"] = super::counters(&views);
            warning = Some(format!("{members} secrets are associated; read the associations to see them"));
        }
        data["association_rules"] = json!([shown(&made, members, None)]);
        let reply = Reply::serialized(SYSTEM, &data);
        Ok(match warning {
            Some(warning) => reply.warn(warning),
            None => reply,
        })
    }

    /// Removes a rule. `None`: there is none.
    pub(super) async fn remove_rule(
        &self,
        key: &DestinationKey,
        mount: &MountPath,
        pattern: &Pattern,
    ) -> Result<Option<Reply>, AppError> {
        let found = self.mount(mount).await?;
        let accessor = found.as_ref().map(|mount| &mount.accessor);
        let removed = self.engine.remove_rule(key, accessor, mount.bare(), pattern).await;
        let Some(removed) = removed.map_err(not_associated)? else { return Ok(None) };
        let mut data = associated_data(key, &[], true);
        data["association_rules"] = json!([shown(&removed, 0, None)]);
        let reply = Reply::serialized(SYSTEM, &data);
        Ok(Some(if removed.covering {
            reply.warn("its secrets are still being removed; read the associations to follow it")
        } else {
            reply
        }))
    }

    /// A destination's rules, each with its members.
    pub(super) async fn shown_rules(
        &self,
        key: &DestinationKey,
        views: &[EntryView],
    ) -> Result<Vec<Value>, AppError> {
        let rules = self.engine.rules(key).await?.unwrap_or_default();
        if rules.is_empty() {
            return Ok(Vec::new());
        }
        let mut members = BTreeMap::<(&str, &str), Vec<&str>>::new();
        for view in views {
            let Some(rule) = &view.rule else { continue };
            let its = members.entry((view.accessor.as_str(), rule)).or_default();
            // One secret may have several entries, one after the other.
            if its.last() != Some(&view.path.as_str()) {
                its.push(view.path.as_str());
            }
        }
        members.values_mut().for_each(|paths| paths.sort_unstable());
        Ok(rules
            .iter()
            .map(|rule| {
                let its = members.get(&(rule.accessor.as_str(), rule.pattern.as_str()));
                let its = its.map(Vec::as_slice).unwrap_or_default();
                shown(rule, its.len(), Some(its))
            })
            .collect())
    }
}

fn shown(rule: &RuleView, count: usize, members: Option<&[&str]>) -> Value {
    let mut shown = json!({
        "accessor": rule.accessor.as_str(),
        "mount": rule.mount,
        "secret_prefix": rule.pattern,
        "exclude": rule.exclude,
        "created_at": rule.created.to_string(),
        "covering": rule.covering,
        "member_count": count,
    });
    if let Some(members) = members {
        shown["members"] = json!(members);
    }
    shown
}
