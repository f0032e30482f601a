//! What Azure allows a vault (destinations.md 2.4).

use std::time::Duration;

use model::SecretBytes;

use super::address;
use crate::{Config, Draw, Limits, Pool, limits::account_of};

const TEN_SECONDS: Duration = Duration::from_secs(10);

const WRITES: usize = 0;
const OTHERS: usize = 1;

/// Creating secrets is limited to 300 in ten seconds, all other calls to 4,000. Azure does not say whether
/// a new version of a secret counts as creating one; it is taken to, and paced a little below.
pub(super) static LIMITS: Limits = Limits {
    pools: &[Pool::paced("secret writes", 250, TEN_SECONDS), Pool::paced("other calls", 4000, TEN_SECONDS)],
    look: &[Draw::of(OTHERS, 1)],
    create: &[Draw::of(WRITES, 1)],
    update: &[Draw::of(WRITES, 1)],
    // The mark is read first.
    remove: &[Draw::of(OTHERS, 2)],
    at_once: None,
    entry_pause: Duration::ZERO,
};

/// The vault is charged, whoever calls.
pub(super) fn account(config: &Config) -> Option<SecretBytes> {
    let (host, _) = address(config, "key_vault_uri").ok()??;
    let endpoint = config.text("endpoint").unwrap_or_default();
    Some(account_of(&[host.to_ascii_lowercase().as_bytes(), endpoint.as_bytes()]))
}

#[cfg(test)]
mod tests {
    use model::json::SecretJson;

    use super::*;
    use crate::{Kind, Mode, azure_kv::AzureKvKind};

    fn of(settings: &str) -> Vec<u8> {
        let body = SecretJson::parse(settings.as_bytes()).unwrap();
        let (config, _) = Config::read(&AzureKvKind, &body, Mode::Replace, None).unwrap();
        AzureKvKind.account(&config).unwrap().expose().to_vec()
    }

    #[test]
    fn destinations_of_one_vault_share_its_quota() {
        let one = of(r#"{"key_vault_uri":"https://a.vault.azure.net"}"#);
        assert_eq!(one, of(r#"{"key_vault_uri":"https://A.vault.azure.net/","client_id":"x"}"#));
        assert_ne!(one, of(r#"{"key_vault_uri":"https://b.vault.azure.net"}"#));
    }
}
