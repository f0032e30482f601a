//! What Vercel allows a token (destinations.md 5.2).

use std::time::Duration;

use model::SecretBytes;

use crate::{Config, Draw, Limits, Pool, limits::account_of};

const MINUTE: Duration = Duration::from_secs(60);

const LIST: usize = 0;
const WRITE: usize = 1;
const DELETE: usize = 2;

/// Each sort of call has an allowance of its own. Seen were 60 and 120 a minute; the smaller is planned
/// with for all, and answers say when it is less.
pub(super) static LIMITS: Limits = Limits {
    pools: &[
        Pool::paced("lists", 60, MINUTE),
        Pool::paced("writes", 60, MINUTE),
        Pool::paced("deletions", 60, MINUTE),
    ],
    look: &[Draw::of(LIST, 1)],
    create: &[Draw::of(WRITE, 1)],
    // A batch reads the list first; a single change may be one of two records.
    update: &[Draw::of(LIST, 1), Draw::of(WRITE, 1)],
    // The marks are read first.
    remove: &[Draw::of(LIST, 1), Draw::of(DELETE, 1)],
    at_once: None,
    entry_pause: Duration::ZERO,
};

/// The token's.
pub(super) fn account(config: &Config) -> Option<SecretBytes> {
    let endpoint = config.text("endpoint").unwrap_or_default().as_bytes();
    // EXPOSE: into what the engine digests at once.
    Some(account_of(&[config.secret("access_token")?.expose(), endpoint]))
}

#[cfg(test)]
mod tests {
    use model::json::SecretJson;
    use serde_json::json;

    use super::*;
    use crate::{Kind, Mode, vercel_project::VercelProjectKind};

    #[test]
    fn destinations_with_one_token_share_its_allowance() {
        let of = |token: &str, project: &str| {
            let body =
                json!({"access_token": token, "project_id": project, "deployment_environments": "preview"});
            let read = Config::read(&VercelProjectKind, &SecretJson::new(body), Mode::Replace, None);
            VercelProjectKind.account(&read.unwrap().0).unwrap().expose().to_vec()
        };
        assert_eq!(of("a", "one"), of("a", "two"));
        assert_ne!(of("a", "one"), of("b", "one"));
    }
}
