//! From one secret to the entries that should exist for it.

use destinations::{Abilities, Encoding, Fault, Kind};
use model::{Granularity, RemoteName, SecretBytes, json::SecretJson};
use serde_json::Value;

use crate::{
    options::Options,
    template::{Template, Values},
};

/// One entry that should exist.
#[derive(Debug, Clone)]
pub struct Desired {
    /// The key it holds, for `secret-key` granularity.
    pub sub_key: Option<String>,
    /// Its name.
    pub name: RemoteName,
    /// Its value, as it will be sent.
    pub value: SecretBytes,
    /// Text or bytes.
    pub encoding: Encoding,
}

/// One thing to deliver: an entry, or the reason why there can be none.
#[derive(Debug)]
pub enum Target {
    /// It can be delivered.
    Entry(Desired),
    /// It cannot.
    Illegal {
        /// The key, for `secret-key` granularity.
        sub_key: Option<String>,
        /// The name, if it is the value that is at fault.
        name: Option<RemoteName>,
        /// Why.
        fault: Fault,
    },
}

/// The targets of one secret. `values` names it; its `secret_key` is filled in here.
///
/// # Errors
/// A [`Fault`] when the secret as a whole cannot be spread.
pub fn spread(
    kind: &dyn Kind,
    options: &Options,
    values: &Values<'_>,
    data: &SecretBytes,
) -> Result<Vec<Target>, Fault> {
    let targets = match options.granularity {
        Granularity::SecretPath => {
            vec![target(kind, &options.template, values, None, || data.clone())]
        }
        Granularity::SecretKey => {
            let unreadable =
                || Fault::internal("source_unreadable", "the stored secret is not a JSON object");
            // EXPOSE: a secret is cut into one entry per key here.
            let json = SecretJson::parse(data.expose()).map_err(|_| unreadable())?;
            let Value::Object(members) = json.expose() else { return Err(unreadable()) };
            members
                .iter()
                .map(|(key, value)| {
                    let values = Values { secret_key: key, ..*values };
                    target(kind, &options.template, &values, Some(key), || text_of(value))
                })
                .collect()
        }
    };
    Ok(refuse_twins(kind.abilities(), targets))
}

/// A string as it is, anything else as its JSON text (vault-sync-api.md 7.2).
fn text_of(value: &Value) -> SecretBytes {
    match value {
        Value::String(text) => SecretBytes::from(text.as_str()),
        other => SecretBytes::new(serde_json::to_vec(other).unwrap_or_default()),
    }
}

fn target(
    kind: &dyn Kind,
    template: &Template,
    values: &Values<'_>,
    key: Option<&str>,
    value: impl FnOnce() -> SecretBytes,
) -> Target {
    let sub_key = key.map(ToOwned::to_owned);
    let name = match kind.remote_name(&template.render(values)) {
        Ok(name) => name,
        Err(fault) => return Target::Illegal { sub_key, name: None, fault },
    };
    let value = value();
    match refuse_value(kind.abilities(), &value) {
        Some(fault) => Target::Illegal { sub_key, name: Some(name), fault },
        None => Target::Entry(Desired { sub_key, name, value, encoding: Encoding::Text }),
    }
}

/// Why the destination cannot hold a value of this size, if it cannot.
pub(crate) fn refuse_value(abilities: &Abilities, value: &SecretBytes) -> Option<Fault> {
    if value.len() > abilities.max_value_bytes {
        return Some(Fault::client(
            "value_too_large",
            format!(
                "the value has {} bytes; the destination takes at most {}",
                value.len(),
                abilities.max_value_bytes
            ),
        ));
    }
    (value.is_empty() && !abilities.empty_values)
        .then(|| Fault::client("value_empty", "the value is empty, which the destination does not take"))
}

/// Two keys of one secret may render to one name: neither is delivered then, since either choice
/// would be a guess.
fn refuse_twins(abilities: &Abilities, targets: Vec<Target>) -> Vec<Target> {
    let identity = |target: &Target| match target {
        Target::Entry(desired) => Some(abilities.names.identity(&desired.name).into_owned()),
        Target::Illegal { .. } => None,
    };
    let twins: Vec<String> = {
        let mut all: Vec<String> = targets.iter().filter_map(identity).collect();
        all.sort_unstable();
        all.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0].clone()).collect()
    };
    if twins.is_empty() {
        return targets;
    }
    targets
        .into_iter()
        .map(|target| match target {
            Target::Entry(desired)
                if twins.contains(&abilities.names.identity(&desired.name).into_owned()) =>
            {
                Target::Illegal {
                    sub_key: desired.sub_key,
                    name: None,
                    fault: Fault::client(
                        "name_collision",
                        "another key of this secret renders to the same remote name; change the template or the key",
                    ),
                }
            }
            other => other,
        })
        .collect()
}
