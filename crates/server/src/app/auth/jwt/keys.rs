//! The keys that tokens are signed with: given outright, or fetched through the guarded way out.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ED25519, ParsedPublicKey,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
    RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters,
    RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use destinations::net::Effect;
use model::Timestamp;
use rustls::pki_types::{SubjectPublicKeyInfoDer, pem::PemObject as _};
use serde_json::Value;
use store::Revision;

use super::config::Config;
use crate::app::{App, AppError, auth::methods::Site, entries::Kept};

/// What tokens may be signed with: only what needs no shared secret.
pub(super) const ALGORITHMS: [&str; 10] =
    ["ES256", "ES384", "ES512", "EdDSA", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512"];

/// Keys that were fetched are good for so long.
const FRESH: Duration = Duration::from_hours(1);
/// A token with a key nobody knows makes us fetch again, but not more often than this.
const PATIENCE: Duration = Duration::from_secs(10);
/// Keys of one set that are looked at.
const MOST_KEYS: usize = 64;

/// One public key.
#[derive(Debug, Clone)]
pub(super) struct Key {
    id: Option<String>,
    /// The one algorithm it is for, if it says so.
    algorithm: Option<String>,
    form: Form,
}

#[derive(Debug, Clone)]
enum Form {
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// An uncompressed point, and the curve's name.
    Ec {
        curve: String,
        point: Vec<u8>,
    },
    Ed {
        bytes: Vec<u8>,
    },
    /// `SubjectPublicKeyInfo`: the key itself says of which kind it is.
    Spki(Vec<u8>),
}

impl Key {
    /// Whether a signature of `algorithm` over `message` is this key's. `id` is the token's `kid`.
    pub(super) fn verifies(
        &self,
        algorithm: &str,
        id: Option<&str>,
        message: &[u8],
        signature: &[u8],
    ) -> bool {
        if self.algorithm.as_deref().is_some_and(|own| own != algorithm) {
            return false;
        }
        if let (Some(own), Some(id)) = (&self.id, id)
            && own != id
        {
            return false;
        }
        match (&self.form, rsa(algorithm), other(algorithm)) {
            (Form::Rsa { n, e }, Some(parameters), _) => {
                RsaPublicKeyComponents { n, e }.verify(parameters, message, signature).is_ok()
            }
            (Form::Ec { curve, point }, _, Some((algorithm, wanted))) if curve == wanted => {
                UnparsedPublicKey::new(algorithm, point).verify(message, signature).is_ok()
            }
            (Form::Ed { bytes }, _, Some((algorithm, "Ed25519"))) => {
                UnparsedPublicKey::new(algorithm, bytes).verify(message, signature).is_ok()
            }
            (Form::Spki(der), Some(parameters), _) => {
                UnparsedPublicKey::new(parameters, der).verify(message, signature).is_ok()
            }
            (Form::Spki(der), _, Some((algorithm, _))) => {
                UnparsedPublicKey::new(algorithm, der).verify(message, signature).is_ok()
            }
            _ => false,
        }
    }
}

fn rsa(algorithm: &str) -> Option<&'static RsaParameters> {
    Some(match algorithm {
        "RS256" => &RSA_PKCS1_2048_8192_SHA256,
        "RS384" => &RSA_PKCS1_2048_8192_SHA384,
        "RS512" => &RSA_PKCS1_2048_8192_SHA512,
        "PS256" => &RSA_PSS_2048_8192_SHA256,
        "PS384" => &RSA_PSS_2048_8192_SHA384,
        "PS512" => &RSA_PSS_2048_8192_SHA512,
        _ => return None,
    })
}

/// The algorithm and the curve it is on.
fn other(algorithm: &str) -> Option<(&'static dyn VerificationAlgorithm, &'static str)> {
    Some(match algorithm {
        "ES256" => (&ECDSA_P256_SHA256_FIXED, "P-256"),
        "ES384" => (&ECDSA_P384_SHA384_FIXED, "P-384"),
        "ES512" => (&ECDSA_P521_SHA512_FIXED, "P-521"),
        "EdDSA" => (&ED25519, "Ed25519"),
        _ => return None,
    })
}

/// The keys of a JSON Web Key Set. Those of other kinds or uses are left out.
pub(super) fn parse_set(text: &[u8]) -> Result<Vec<Key>, &'static str> {
    let set: Value = serde_json::from_slice(text).map_err(|_| "the key set is not JSON")?;
    let keys = set.get("keys").and_then(Value::as_array).ok_or("the key set has no list \"keys\"")?;
    if keys.len() > MOST_KEYS {
        return Err("the key set holds too many keys");
    }
    let keys: Vec<_> = keys.iter().filter_map(parse_key).collect();
    if keys.is_empty() { Err("the key set holds no key that can be used") } else { Ok(keys) }
}

fn parse_key(key: &Value) -> Option<Key> {
    let text = |name: &str| key.get(name).and_then(Value::as_str);
    let bytes = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?.trim_end_matches('=')).ok();
    if text("use").is_some_and(|purpose| purpose != "sig") {
        return None;
    }
    let form = match (text("kty")?, text("crv")) {
        ("RSA", _) => Form::Rsa { n: bytes("n")?, e: bytes("e")? },
        ("EC", Some(curve @ ("P-256" | "P-384" | "P-521"))) => {
            let length = match curve {
                "P-256" => 32,
                "P-384" => 48,
                _ => 66,
            };
            let (x, y) = (bytes("x")?, bytes("y")?);
            if x.len() > length || y.len() > length {
                return None;
            }
            let mut point = vec![4];
            for part in [x, y] {
                point.resize(point.len() + length - part.len(), 0);
                point.extend(part);
            }
            Form::Ec { curve: curve.to_owned(), point }
        }
        ("OKP", Some("Ed25519")) => Form::Ed { bytes: bytes("x")? },
        _ => return None,
    };
    Some(Key { id: text("kid").map(str::to_owned), algorithm: text("alg").map(str::to_owned), form })
}

fn parse_pem(text: &str) -> Result<Key, AppError> {
    let der = SubjectPublicKeyInfoDer::from_pem_slice(text.as_bytes()).map_err(|_| {
        AppError::invalid("jwt_validation_pubkeys: expected public keys in PEM (BEGIN PUBLIC KEY)")
    })?;
    let der = der.as_ref();
    let kinds: [&'static dyn VerificationAlgorithm; 5] = [
        &RSA_PKCS1_2048_8192_SHA256,
        &ECDSA_P256_SHA256_FIXED,
        &ECDSA_P384_SHA384_FIXED,
        &ECDSA_P521_SHA512_FIXED,
        &ED25519,
    ];
    if !kinds.iter().any(|kind| ParsedPublicKey::new(*kind, der).is_ok()) {
        return Err(AppError::invalid(
            "jwt_validation_pubkeys: a key is not one of RSA (2048 to 8192 bits), P-256, P-384, P-521 or Ed25519",
        ));
    }
    Ok(Key { id: None, algorithm: None, form: Form::Spki(der.to_vec()) })
}

/// Keys that were fetched, by mount.
#[derive(Default)]
pub(crate) struct KeyCache(Mutex<HashMap<String, Held>>);

#[derive(Clone)]
struct Held {
    /// Of the configuration that they were fetched by.
    revision: Revision,
    keys: Arc<Vec<Key>>,
    at: Timestamp,
}

impl KeyCache {
    fn held(&self) -> std::sync::MutexGuard<'_, HashMap<String, Held>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The keys of a mount. `anew`: those known did not do.
pub(super) async fn keys(
    at: &Site<'_>,
    config: &Kept<Config>,
    anew: bool,
) -> Result<Option<Arc<Vec<Key>>>, AppError> {
    if let Some(keys) = given(&config.value)? {
        return Ok((!anew).then(|| Arc::new(keys)));
    }
    let accessor = at.mount.accessor.as_str();
    let now = at.app.clock.now();
    let good = |held: &Held| {
        let age = now.since(held.at);
        held.revision == config.revision && if anew { age < PATIENCE } else { age < FRESH }
    };
    let known = || at.app.jwt_keys.held().get(accessor).filter(|held| good(held)).cloned();
    if let Some(held) = known() {
        return Ok((!anew).then_some(held.keys));
    }
    // One at a time; whoever waited finds what the first one fetched.
    let digest = at.app.store.keys().digest("jwt keys", &[accessor.as_bytes()]);
    let _turn = at.app.locks.of(&digest).await;
    if let Some(held) = known() {
        return Ok(Some(held.keys));
    }
    let (keys, _) = fetch(at.app, &config.value).await?;
    let keys = Arc::new(keys);
    let held = Held { revision: config.revision, keys: Arc::clone(&keys), at: now };
    at.app.jwt_keys.held().insert(accessor.to_owned(), held);
    Ok(Some(keys))
}

/// The keys that a configuration holds itself.
fn given(config: &Config) -> Result<Option<Vec<Key>>, AppError> {
    if !config.jwks.is_empty() {
        let keys = parse_set(config.jwks.as_bytes());
        return keys.map(Some).map_err(|problem| AppError::invalid(format!("jwks: {problem}")));
    }
    if !config.jwt_validation_pubkeys.is_empty() {
        return config
            .jwt_validation_pubkeys
            .iter()
            .map(|pem| parse_pem(pem))
            .collect::<Result<_, _>>()
            .map(Some);
    }
    Ok(None)
}

/// Whether the keys of a configuration can be had. Tells the issuer, where it is discovered.
pub(super) async fn try_out(at: &Site<'_>, config: &Config) -> Result<Option<String>, AppError> {
    if given(config)?.is_some() {
        return Ok(None);
    }
    let (_, issuer) = fetch(at.app, config).await.map_err(|error| AppError::invalid(error.to_string()))?;
    Ok(issuer)
}

async fn fetch(app: &App, config: &Config) -> Result<(Vec<Key>, Option<String>), AppError> {
    let failed = |problem: &str| {
        AppError::Busy(format!("the keys that tokens are signed with could not be had: {problem}"))
    };
    let (url, issuer) = if config.oidc_discovery_url.is_empty() {
        (config.jwks_url.clone(), None)
    } else {
        let at = format!("{}/.well-known/openid-configuration", config.oidc_discovery_url);
        let document = get(app, config, &at).await?;
        let document: Value =
            serde_json::from_slice(&document).map_err(|_| failed("the discovery document is not JSON"))?;
        let text = |name: &str| document.get(name).and_then(Value::as_str).map(str::to_owned);
        let issuer = text("issuer").ok_or_else(|| failed("the discovery document names no issuer"))?;
        if issuer.trim_end_matches('/') != config.oidc_discovery_url {
            return Err(failed("the discovery document is another issuer's"));
        }
        (text("jwks_uri").ok_or_else(|| failed("the discovery document names no jwks_uri"))?, Some(issuer))
    };
    let set = get(app, config, &url).await?;
    Ok((parse_set(&set).map_err(failed)?, issuer))
}

/// Reads what is at a URL, through the guard: no redirect, limits on addresses, time and size.
async fn get(app: &App, config: &Config, url: &str) -> Result<Vec<u8>, AppError> {
    let failed = |problem: &str| {
        AppError::Busy(format!("the keys that tokens are signed with could not be had: {problem}"))
    };
    let net = app.net.as_ref().ok_or_else(|| failed("this server has no way out"))?;
    let request = http::Request::get(url)
        .header(http::header::ACCEPT, "application/json")
        .body(Bytes::new())
        .map_err(|_| failed("its address is not a URL"))?;
    let answer = net.client(&config.policy()).call(request, Effect::Read).await;
    let answer = answer.map_err(|fault| failed(&fault.message))?;
    if answer.status != http::StatusCode::OK {
        return Err(failed(&format!("the answer was {}", answer.status.as_u16())));
    }
    // EXPOSE: public keys.
    Ok(answer.body.expose().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_sets_are_read_and_what_cannot_be_used_is_left_out() {
        let set = r#"{"keys":[
            {"kty":"RSA","n":"AQAB","e":"AQAB","kid":"r","alg":"RS256","use":"sig"},
            {"kty":"RSA","n":"AQAB","e":"AQAB","use":"enc"},
            {"kty":"EC","crv":"P-256","x":"AQ","y":"Ag","kid":"e"},
            {"kty":"EC","crv":"secp256k1","x":"AQ","y":"Ag"},
            {"kty":"OKP","crv":"Ed25519","x":"AQ"},
            {"kty":"oct","k":"c2VjcmV0"},
            {"n":1}]}"#;
        let keys = parse_set(set.as_bytes()).unwrap();
        assert_eq!(keys.len(), 3);
        let Form::Ec { point, .. } = &keys[1].form else { panic!() };
        assert_eq!((point.len(), point[0], point[32], point[64]), (65, 4, 1, 2));
        for (text, problem) in [
            ("x", "the key set is not JSON"),
            ("{}", "the key set has no list \"keys\""),
            (r#"{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}"#, "the key set holds no key that can be used"),
        ] {
            assert_eq!(parse_set(text.as_bytes()).unwrap_err(), problem);
        }
    }

    #[test]
    fn a_key_is_for_its_own_algorithms_only() {
        let set = r#"{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB","kid":"r"}]}"#;
        let key = &parse_set(set.as_bytes()).unwrap()[0];
        for algorithm in ["HS256", "none", "ES256", "EdDSA", "", "RS256"] {
            assert!(!key.verifies(algorithm, None, b"message", b"signature"), "{algorithm}");
        }
    }
}
