//! What Google allows a project (destinations.md 3.6).

use std::time::Duration;

use model::SecretBytes;
use serde::Deserialize;

use crate::{Config, Draw, Limits, Pool, limits::account_of};

const MINUTE: Duration = Duration::from_secs(60);

const WRITES: usize = 0;
const READS: usize = 1;

pub(super) static LIMITS: Limits = Limits {
    pools: &[
        Pool::paced("Secret Manager write requests", 600, MINUTE),
        Pool::paced("Secret Manager read requests", 600, MINUTE),
    ],
    // The secret, and its newest version.
    look: &[Draw::of(READS, 2)],
    // Made, and given a version.
    create: &[Draw::of(WRITES, 2)],
    // A version added, and the one before destroyed.
    update: &[Draw::of(WRITES, 2)],
    // The mark is read first.
    remove: &[Draw::of(READS, 1), Draw::of(WRITES, 1)],
    at_once: None,
    // A secret takes two versions a second.
    entry_pause: Duration::from_millis(500),
};

/// The project, as far as the configuration says it: its quotas are shared by whoever works on it.
pub(super) fn account(config: &Config) -> SecretBytes {
    #[derive(Deserialize)]
    struct File {
        project_id: Option<String>,
    }
    let endpoint = config.text("endpoint").unwrap_or_default().as_bytes();
    // Opened to find the name of the project, which is no secret.
    let file =
        config.secret("credentials").and_then(|text| serde_json::from_slice::<File>(text.expose()).ok());
    let project = config.text("project_id").map(ToOwned::to_owned).or(file.and_then(|file| file.project_id));
    match project {
        Some(project) => account_of(&[b"project", project.as_bytes(), endpoint]),
        None => account_of(&[b"server", endpoint]),
    }
}

#[cfg(test)]
mod tests {
    use model::json::SecretJson;
    use serde_json::{Value, json};

    use super::*;
    use crate::{Kind, Mode, gcp_sm::GcpSmKind};

    fn of(settings: Value) -> Vec<u8> {
        let (config, _) = Config::read(&GcpSmKind, &SecretJson::new(settings), Mode::Replace, None).unwrap();
        GcpSmKind.account(&config).unwrap().expose().to_vec()
    }

    #[test]
    fn destinations_of_one_project_share_its_quota() {
        let file = |project: &str| json!({"credentials": json!({"project_id": project}).to_string()});
        assert_eq!(of(file("p1")), of(json!({"project_id": "p1"})));
        assert_eq!(of(json!({"project_id": "p1", "keep_versions": 2})), of(json!({"project_id": "p1"})));
        let apart = [
            of(file("p1")),
            of(file("p2")),
            of(json!({"project_id": "p1", "endpoint": "https://x.googleapis.com"})),
            of(json!({})),
            of(json!({"credentials": "{"})),
        ];
        assert_eq!(apart[3], apart[4]);
        for (at, one) in apart[..4].iter().enumerate() {
            assert!(!apart[..at].contains(one), "{at}");
        }
    }
}
