//! Keeper's public keys, by their ids (keeper.md 3.5). They are public: every official client has
//! them inside.

use crate::{
    config::{Config, ConfigError},
    crypto::{PublicKey, from_base64},
};

/// The id a client begins with when it knows no better.
pub(super) const DEFAULT_ID: &str = "10";

const FIRST: &str = "BK9w6TZFxE6nFNbMfIpULCup2a8xc6w2tUTABjxny7yFmxW0dAEojwC6j6zb5nTlmb1dAx8nwo3qF7RPYGmloRM";

const PUBLISHED: &[(&str, &str)] = &[
    ("1", FIRST),
    ("2", FIRST),
    ("3", FIRST),
    ("4", FIRST),
    ("5", FIRST),
    ("6", FIRST),
    ("7", FIRST),
    ("8", "BKnhy0obglZJK-igwthNLdknoSXRrGB-mvFRzyb_L-DKKefWjYdFD2888qN1ROczz4n3keYSfKz9Koj90Z6w_tQ"),
    ("9", "BAsPQdCpLIGXdWNLdAwx-3J5lNqUtKbaOMV56hUj8VzxE2USLHuHHuKDeno0ymJt-acxWV1xPlBfNUShhRTR77g"),
    ("10", "BNYIh_Sv03nRZUUJveE8d2mxKLIDXv654UbshaItHrCJhd6cT7pdZ_XwbdyxAOCWMkBb9AZ4t1XRCsM8-wkEBRg"),
    ("11", "BA6uNfeYSvqagwu4TOY6wFK4JyU5C200vJna0lH4PJ-SzGVXej8l9dElyQ58_ljfPs5Rq6zVVXpdDe8A7Y3WRhk"),
    ("12", "BMjTIlXfohI8TDymsHxo0DqYysCy7yZGJ80WhgOBR4QUd6LBDA6-_318a-jCGW96zxXKMm8clDTKpE8w75KG-FY"),
    ("13", "BJBDU1P1H21IwIdT2brKkPqbQR0Zl0TIHf7Bz_OO9jaNgIwydMkxt4GpBmkYoprZ_DHUGOrno2faB7pmTR7HhuI"),
    ("14", "BJFF8j-dH7pDEw_U347w2CBM6xYM8Dk5fPPAktjib-opOqzvvbsER-WDHM4ONCSBf9O_obAHzCyygxmtpktDuiE"),
    ("15", "BDKyWBvLbyZ-jMueORl3JwJnnEpCiZdN7yUvT0vOyjwpPBCDf6zfL4RWzvSkhAAFnwOni_1tQSl8dfXHbXqXsQ8"),
    ("16", "BDXyZZnrl0tc2jdC5I61JjwkjK2kr7uet9tZjt8StTiJTAQQmnVOYBgbtP08PWDbecxnHghx3kJ8QXq1XE68y8c"),
    ("17", "BFX68cb97m9_sweGdOVavFM3j5ot6gveg6xT4BtGahfGhKib-zdZyO9pwvv1cBda9ahkSzo1BQ4NVXp9qRyqVGU"),
    ("18", "BNhngQqTT1bPKxGuB6FhbPTAeNVFl8PKGGSGo5W06xWIReutm6ix6JPivqnbvkydY-1uDQTr-5e6t70G01Bb5JA"),
];

/// The keys one client may seal requests for.
#[derive(Debug, Clone)]
pub(super) struct ServerKeys {
    /// Stands for every id, where it is there.
    custom: Option<PublicKey>,
    /// Beside the published ones, and before them.
    extra: Vec<(String, PublicKey)>,
}

impl ServerKeys {
    pub(super) fn new(custom: Option<PublicKey>, extra: &[(String, String)]) -> Result<Self, ConfigError> {
        let bad =
            ConfigError::Bad { key: "serverPublicKey", problem: "not base64 of a P-256 point of 65 bytes" };
        let extra = extra
            .iter()
            .map(|(id, key)| {
                Some((id.clone(), from_base64(key).and_then(|k| PublicKey::from_bytes(&k).ok())?))
            })
            .collect::<Option<_>>();
        Ok(Self { custom, extra: extra.ok_or(bad)? })
    }

    /// The key for an id, if we have it.
    pub(super) fn get(&self, id: &str) -> Option<PublicKey> {
        let extra = || self.extra.iter().find(|(known, _)| known == id).map(|(_, key)| key.clone());
        let published = || {
            let (_, key) = PUBLISHED.iter().find(|(known, _)| *known == id)?;
            PublicKey::from_bytes(&from_base64(key)?).ok()
        };
        self.custom.clone().or_else(extra).or_else(published)
    }

    /// The id to begin with: the one that was in use last, if we have its key.
    pub(super) fn first_id(&self, config: &Config) -> String {
        let known = config.server_key_id().filter(|id| self.get(id).is_some());
        known.unwrap_or(DEFAULT_ID).to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_published_keys_are_points() {
        let keys = ServerKeys::new(None, &[]).unwrap();
        for id in 1..=18 {
            let key = keys.get(&id.to_string()).unwrap();
            assert!(key.seal(b"k", &model::SeededEntropy::new(1)).is_ok(), "key {id} is on the curve");
        }
        assert_eq!(keys.get("0"), None);
        assert_eq!(keys.get("19"), None);
    }
}
