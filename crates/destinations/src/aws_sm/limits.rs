//! What AWS allows an account in a region (destinations.md 1.6).

use std::time::Duration;

use model::SecretBytes;

use crate::{Config, Draw, Limits, Pool, limits::account_of};

const SECOND: Duration = Duration::from_secs(1);

const CREATE: usize = 0;
const PUT: usize = 1;
const DELETE: usize = 2;
const DESCRIBE: usize = 3;

/// Creating and deleting have quotas of their own beside the shared one of PutSecretValue and its like;
/// their figures are not in AWS's table, and are taken to be the same 50 a second.
pub(super) static LIMITS: Limits = Limits {
    pools: &[
        Pool::paced("CreateSecret calls", 50, SECOND),
        Pool::paced("PutSecretValue calls", 50, SECOND),
        Pool::paced("DeleteSecret calls", 50, SECOND),
        Pool::paced("DescribeSecret calls", 10_000, SECOND),
    ],
    look: &[Draw::of(DESCRIBE, 1)],
    create: &[Draw::of(CREATE, 1)],
    update: &[Draw::of(PUT, 1)],
    // The mark is read first.
    remove: &[Draw::of(DESCRIBE, 1), Draw::of(DELETE, 1)],
    at_once: None,
    entry_pause: Duration::ZERO,
};

/// The caller's account is charged. A role's account is in its ARN; an access key stands for its own
/// account, so that two keys of one account are counted apart, which throttle answers then correct.
pub(super) fn account(config: &Config) -> SecretBytes {
    let region = config.text("region").unwrap_or_default().as_bytes();
    let endpoint = config.text("endpoint").unwrap_or_default().as_bytes();
    let role_account = config.text("role_arn").and_then(|arn| arn.split(':').nth(4));
    match (role_account, config.secret("access_key_id")) {
        (Some(account), _) => account_of(&[b"role", account.as_bytes(), region, endpoint]),
        // EXPOSE: into what the engine digests at once.
        (None, Some(key)) => account_of(&[b"key", key.expose(), region, endpoint]),
        (None, None) => account_of(&[b"server", region, endpoint]),
    }
}

#[cfg(test)]
mod tests {
    use model::json::SecretJson;

    use super::*;
    use crate::{Kind, Mode, aws_sm::AwsSmKind};

    fn of(settings: &str) -> Vec<u8> {
        let body = SecretJson::parse(settings.as_bytes()).unwrap();
        let (config, _) = Config::read(&AwsSmKind, &body, Mode::Replace, None).unwrap();
        AwsSmKind.account(&config).unwrap().expose().to_vec()
    }

    #[test]
    fn destinations_of_one_account_and_region_share_its_quota() {
        let keys = r#"{"access_key_id":"AKIA1","secret_access_key":"x","region":"eu-west-1"}"#;
        let other_template = r#"{"access_key_id":"AKIA1","secret_access_key":"x","region":"eu-west-1","secret_name_template":"a/{{ .SecretPath }}"}"#;
        assert_eq!(of(keys), of(other_template));
        let role = |name: &str, account: &str| {
            format!(r#"{{"role_arn":"arn:aws:iam::{account}:role/{name}","region":"eu-west-1"}}"#)
        };
        assert_eq!(of(&role("one", "123456789012")), of(&role("two", "123456789012")));
        let apart = [
            of(keys),
            of(&keys.replace("AKIA1", "AKIA2")),
            of(&keys.replace("eu-west-1", "eu-west-2")),
            of(&role("one", "123456789012")),
            of(&role("one", "123456789013")),
            of(r#"{"region":"eu-west-1"}"#),
        ];
        for (at, one) in apart.iter().enumerate() {
            assert!(!apart[..at].contains(one), "{at}");
        }
    }
}
