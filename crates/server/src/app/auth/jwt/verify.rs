//! Whether a token is whose it says it is, and still good.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use model::{SecretBytes, Timestamp};
use serde_json::{Map, Value};

use super::{
    config::Config,
    keys::{self, ALGORITHMS},
};
use crate::app::{AppError, auth::methods::Site, entries::Kept};

const LONGEST: usize = 32 << 10;

/// What a token says.
pub(super) type Claims = Map<String, Value>;

fn bad(problem: &str) -> AppError {
    AppError::invalid(format!("error validating token: {problem}"))
}

/// The claims of a token that was signed with one of the mount's keys.
pub(super) async fn verified(
    at: &Site<'_>,
    config: &Kept<Config>,
    jwt: &SecretBytes,
) -> Result<Claims, AppError> {
    // EXPOSE: to check its signature.
    let text = jwt.expose_text().ok().filter(|text| text.len() <= LONGEST);
    let text = text.ok_or_else(|| bad("it is no JSON Web Token"))?.trim();
    let parts: Vec<&str> = text.split('.').collect();
    let [header, claims, signature] = parts.as_slice() else { return Err(bad("it is no JSON Web Token")) };
    let message = text.rsplit_once('.').map_or("", |(message, _)| message);
    let decoded = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| bad("it is no JSON Web Token"));
    let object = |bytes: &[u8]| {
        serde_json::from_slice::<Map<String, Value>>(bytes).map_err(|_| bad("it is no JSON Web Token"))
    };
    let header = object(&decoded(header)?)?;
    let algorithm = header.get("alg").and_then(Value::as_str).unwrap_or_default();
    let allowed = &config.value.jwt_supported_algs;
    let known = ALGORITHMS.contains(&algorithm);
    if !known || !allowed.is_empty() && !allowed.iter().any(|name| name == algorithm) {
        return Err(bad("it is signed with an algorithm that is not taken"));
    }
    // Whatever is critical there is not understood here.
    if header.contains_key("crit") {
        return Err(bad("it has critical header parameters that are not understood"));
    }
    let id = header.get("kid").and_then(Value::as_str);
    let signature = decoded(signature)?;
    for anew in [false, true] {
        let Some(keys) = keys::keys(at, config, anew).await? else { break };
        if keys.iter().any(|key| key.verifies(algorithm, id, message.as_bytes(), &signature)) {
            return object(&decoded(claims)?);
        }
    }
    Err(bad("its signature is not by a known key"))
}

/// A time in seconds, which may have a fraction.
fn seconds(claims: &Claims, name: &str) -> Result<Option<Timestamp>, AppError> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let number = match value {
        Value::Number(number) => number.as_f64().filter(|number| (0.0..=4e10).contains(number)),
        _ => None,
    };
    let number = number.ok_or_else(|| bad(&format!("claim {name} is no time")))?;
    Ok(Some(Timestamp::from_secs(0).plus(Duration::from_secs_f64(number))))
}

/// Whether a token is good at `now`, give or take `leeway`.
pub(super) fn check_times(claims: &Claims, now: Timestamp, leeway: Duration) -> Result<(), AppError> {
    let Some(expires) = seconds(claims, "exp")? else {
        return Err(bad("it has no claim exp, so it would be good for ever"));
    };
    if expires.plus(leeway) <= now {
        return Err(bad("it has expired"));
    }
    for name in ["nbf", "iat"] {
        if seconds(claims, name)?.is_some_and(|begins| now.plus(leeway) < begins) {
            return Err(bad("it is not good yet"));
        }
    }
    Ok(())
}

/// Whether a token is by whom it should be.
pub(super) fn check_issuer(claims: &Claims, config: &Config) -> Result<(), AppError> {
    let issuer = claims.get("iss").and_then(Value::as_str).unwrap_or_default();
    if config.bound_issuer.is_empty() || issuer == config.bound_issuer {
        return Ok(());
    }
    Err(bad("it is by another issuer (iss)"))
}
