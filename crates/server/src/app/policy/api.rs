//! `sys/policies/acl`, the older `sys/policy`, and what interfaces ask about rights.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use store::{StoreError, records};

use super::{DEFAULT, DEFAULT_TEXT, RESPONSE_WRAPPING, ROOT, rules};
use crate::app::{ATTEMPTS, App, AppError, Fields, Operation, Reply, Request, auth::Caller, json};

const MOUNT_TYPE: &str = "system";
const LONGEST_NAME: usize = 256;

/// `sys/policies/acl/<name>`, or the list for an empty name.
pub(in crate::app) async fn handle(app: &App, request: &Request, name: &str) -> Result<Reply, AppError> {
    match (request.operation, name) {
        (Operation::List, "") => list(app, false).await,
        (_, "") => Err(AppError::UnsupportedOperation),
        (Operation::Read, name) => read(app, name, "policy").await,
        (Operation::Write, name) => write(app, request, name, false).await,
        (Operation::Delete, name) => delete(app, name).await,
        _ => Err(AppError::UnsupportedOperation),
    }
}

/// `sys/policy/<name>`, or the list for an empty name.
pub(in crate::app) async fn handle_old(app: &App, request: &Request, name: &str) -> Result<Reply, AppError> {
    match (request.operation, name) {
        (Operation::List | Operation::Read, "") => list(app, true).await.map(Reply::injected),
        (_, "") => Err(AppError::UnsupportedOperation),
        (Operation::Read, name) => read(app, name, "rules").await.map(Reply::injected),
        (Operation::Write, name) => write(app, request, name, true).await,
        (Operation::Delete, name) => delete(app, name).await,
        _ => Err(AppError::UnsupportedOperation),
    }
}

async fn list(app: &App, old: bool) -> Result<Reply, AppError> {
    let index = app.store.get(&app.store.keys().policy_index()).await?;
    let mut names = index.map(|index| index.record.names).unwrap_or_default();
    names.extend([DEFAULT.to_owned(), ROOT.to_owned()]);
    names.sort();
    names.dedup();
    Ok(Reply::object(MOUNT_TYPE, |o| {
        o.put("keys", &names);
        if old {
            o.put("policies", &names);
        }
    }))
}

async fn read(app: &App, name: &str, field: &str) -> Result<Reply, AppError> {
    let name = name.to_lowercase();
    let stored = app.store.get(&app.store.keys().policy(&name)).await?;
    let text = match (&stored, name.as_str()) {
        (Some(stored), _) => stored.record.text.as_str(),
        (None, DEFAULT) => DEFAULT_TEXT,
        // Root has no text: it is everything.
        (None, ROOT) => "",
        (None, _) => return Err(AppError::not_found()),
    };
    Ok(Reply::object(MOUNT_TYPE, |o| {
        o.put("name", &name).put(field, text);
    }))
}

async fn write(app: &App, request: &Request, given: &str, old: bool) -> Result<Reply, AppError> {
    let name = given.to_lowercase();
    if matches!(name.as_str(), ROOT | RESPONSE_WRAPPING) {
        return Err(AppError::invalid(format!("cannot update \"{name}\" policy")));
    }
    if name.len() > LONGEST_NAME || name.trim() != name || name.contains(',') {
        return Err(AppError::invalid(format!(
            "a policy's name must be at most {LONGEST_NAME} bytes, without commas and without blanks at its ends"
        )));
    }
    let mut fields = Fields::of(request)?;
    let mut reply = Reply::empty();
    let mut text = fields.text("policy")?.filter(|text| !text.is_empty());
    if old && text.is_none() {
        text = fields.text("rules")?.filter(|text| !text.is_empty());
        if text.is_some() {
            reply = reply.warn("'rules' is deprecated, please use 'policy' instead");
        }
    }
    let text = text.ok_or_else(|| AppError::invalid("'policy' parameter not supplied or empty"))?;
    let text = decoded(text)?;
    if text.trim().is_empty() {
        return Err(AppError::invalid("'policy' parameter not supplied or empty"));
    }
    rules::parse(&text).map_err(AppError::Invalid)?;
    change(app, &name, Some(text)).await?;
    if name != given {
        reply = reply.warn(format!("policy name was converted to {name}"));
    }
    Ok(reply.of_engine(MOUNT_TYPE))
}

/// A text that is base64 as a whole is taken decoded; no policy looks like that.
fn decoded(text: String) -> Result<String, AppError> {
    match STANDARD.decode(text.trim()) {
        Ok(bytes) => {
            String::from_utf8(bytes).map_err(|_| AppError::invalid("the decoded policy is not UTF-8 text"))
        }
        Err(_) => Ok(text),
    }
}

async fn delete(app: &App, name: &str) -> Result<Reply, AppError> {
    let name = name.to_lowercase();
    match name.as_str() {
        ROOT | RESPONSE_WRAPPING => {
            return Err(AppError::invalid(format!("cannot delete \"{name}\" policy")));
        }
        DEFAULT => return Err(AppError::invalid("cannot delete default policy")),
        _ => {}
    }
    change(app, &name, None).await?;
    Ok(Reply::empty())
}

/// Writes or removes a policy, and the index with it.
async fn change(app: &App, name: &str, text: Option<String>) -> Result<(), AppError> {
    let keys = app.store.keys();
    let (key, index_key) = (keys.policy(name), keys.policy_index());
    let _turn = app.locks.of(index_key.as_bytes()).await;
    for _ in 0..ATTEMPTS {
        let index = app.store.get(&index_key).await?;
        let mut transaction = app.store.transaction();
        transaction.expect(&index_key, index.as_ref().map(|index| index.revision));
        let mut next = index.map(|index| index.record).unwrap_or_default();
        match (&text, next.names.binary_search_by(|known| known.as_str().cmp(name))) {
            (Some(_), Err(at)) => next.names.insert(at, name.to_owned()),
            (None, Ok(at)) => {
                next.names.remove(at);
            }
            (None, Err(_)) => return Ok(()),
            (Some(_), Ok(_)) => {}
        }
        // Written in any case: its revision is what tells that policies have changed.
        transaction.put(&index_key, &next);
        match &text {
            Some(text) => transaction.put(
                &key,
                &records::Policy { name: name.to_owned(), text: text.clone(), modified: app.clock.now() },
            ),
            None => transaction.delete(&key),
        };
        match transaction.commit().await {
            Ok(_) => {
                app.rights_changed();
                return Ok(());
            }
            Err(StoreError::Conflict) => {}
            Err(other) => return Err(other.into()),
        }
    }
    Err(StoreError::Conflict.into())
}

/// `sys/internal/ui/resultant-acl`: all that the caller's policies say, for interfaces.
pub(in crate::app) fn resultant_acl(caller: &Caller, request: &Request) -> Result<Reply, AppError> {
    if request.operation != Operation::Read {
        return Err(AppError::UnsupportedOperation);
    }
    let (exact, open) = caller.acl.shown();
    let shown = |rules: Vec<(String, super::capabilities::Capabilities)>| {
        let rules: BTreeMap<_, _> = rules.into_iter().collect();
        json::object(|o| {
            for (pattern, capabilities) in &rules {
                o.put_object(pattern, |o| {
                    o.put("capabilities", &capabilities.words());
                });
            }
        })
    };
    let (exact, open) = (shown(exact), shown(open));
    Ok(Reply::object(MOUNT_TYPE, |o| {
        o.put("root", &caller.acl.is_root()).put_json("exact_paths", &exact).put_json("glob_paths", &open);
    }))
}
