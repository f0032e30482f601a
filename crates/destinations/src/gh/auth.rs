//! Who the calls are made as: a token, or an installation of a GitHub app (destinations.md 4.3).
//!
//! An app proves itself with a short statement signed by its private key, and gets a token for one
//! installation in exchange, which is narrowed to what this destination needs and lasts an hour.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, Uri};
use model::{SecretBytes, Timestamp};
use serde::{Deserialize, Serialize};

use super::{account, api::Wire, faults, place::Scope};
use crate::{
    Fault, Retry,
    jwt::SigningKey,
    net::Effect,
    tokens::{Life, TokenCache, bearer},
};

/// Tokens are renewed this long before they expire.
const RENEW_BEFORE: Duration = Duration::from_secs(300);

/// How long an app's statement lasts; GitHub takes ten minutes at most, counted by its own clock.
const STATEMENT_LASTS: i64 = 540;

/// How far back it is dated, for clocks that are a little fast.
const STATEMENT_BACKDATED: i64 = 60;

/// A difference below this is no reason to doubt the clock.
const NOTABLE_SKEW_SECS: u64 = 30;

/// What calls are authorised with.
pub(super) struct Token {
    pub(super) header: HeaderValue,
}

/// Where tokens come from.
pub(super) enum Source {
    /// A personal access token.
    Fixed(Arc<Token>),
    /// An installation of an app.
    App(Box<App>),
}

impl Source {
    /// A token that does not change. `None` if it cannot stand in a header.
    pub(super) fn fixed(token: &SecretBytes) -> Option<Self> {
        bearer(token).map(|header| Self::Fixed(Arc::new(Token { header })))
    }

    /// A token that will last for a while.
    pub(super) async fn get(&self, wire: &Wire, scope: &Scope) -> Result<Arc<Token>, Fault> {
        match self {
            Self::Fixed(token) => Ok(Arc::clone(token)),
            Self::App(app) => app.held.get(wire.net.clock().as_ref(), || app.load(wire, scope)).await,
        }
    }

    /// Forgets a token that was refused. Whether there may be another.
    pub(super) fn refused(&self, used: &Arc<Token>) -> bool {
        let Self::App(app) = self else { return false };
        app.held.forget(used);
        true
    }
}

/// One installation of an app, as one destination uses it.
pub(super) struct App {
    pub(super) id: i64,
    pub(super) key: SigningKey,
    /// Where its tokens are made.
    pub(super) tokens: Uri,
    /// What they are narrowed to.
    pub(super) narrowed: Bytes,
    pub(super) held: TokenCache<Token>,
    /// How many seconds GitHub's clock is ahead of ours, once that has been noticed.
    pub(super) skew: AtomicI64,
}

impl App {
    async fn load(&self, wire: &Wire, scope: &Scope) -> Result<(Token, Option<Life>), Fault> {
        let mut corrected = false;
        loop {
            wire.account.check()?;
            let now = wire.net.clock().now();
            let theirs = now.as_secs().saturating_add(self.skew.load(Ordering::Relaxed));
            let statement = self.statement(theirs)?;
            let Some(statement) = bearer(&statement) else {
                return Err(Fault::internal("statement_malformed", "the app's statement cannot be sent"));
            };
            let post = (Method::POST, self.tokens.clone(), Some(self.narrowed.clone()));
            // It makes a token that nobody uses if the answer is lost: nothing that would have to be undone.
            let answer = wire.exchange(post, &statement, Effect::Read).await?;
            if answer.status.is_success() {
                return read(&answer.body, theirs.saturating_sub(now.as_secs()), now);
            }
            if answer.status == StatusCode::UNAUTHORIZED && !corrected {
                corrected = true;
                if let Some(date) = account::date(&answer.headers)
                    && date.as_secs().abs_diff(theirs) >= NOTABLE_SKEW_SECS
                {
                    self.skew.store(date.as_secs().saturating_sub(now.as_secs()), Ordering::Relaxed);
                    tracing::warn!(
                        "this machine's clock is off; GitHub app requests are dated with GitHub's time"
                    );
                    continue;
                }
            }
            // Opened for a few phrases.
            return Err(faults::of_token_request(
                scope,
                answer.status,
                &faults::message(answer.body.expose()),
            ));
        }
    }
}

/// Reads an installation's token, given at `now`. Its time is GitHub's, which is `ahead` of ours by so many
/// seconds.
fn read(body: &SecretBytes, ahead: i64, now: Timestamp) -> Result<(Token, Option<Life>), Fault> {
    #[derive(Deserialize)]
    struct Made {
        token: SecretBytes,
        expires_at: String,
    }
    let unreadable = || {
        Fault::internal("answer_unreadable", "GitHub answered with success, but not in the form it promises")
    };
    // Opened to be taken apart; the token goes into a wrapper of its own.
    let made: Made = serde_json::from_slice(body.expose()).map_err(|_| unreadable())?;
    let expires: jiff::Timestamp = made.expires_at.parse().map_err(|_| unreadable())?;
    let expires = Timestamp::from_secs(expires.as_second().saturating_sub(ahead));
    let header = bearer(&made.token).ok_or_else(unreadable)?;
    Ok((Token { header }, Some(Life::until(expires, now, RENEW_BEFORE))))
}

/// What an app says of itself: who it is, and since and until when that is said.
#[derive(Serialize)]
struct Statement {
    iat: i64,
    exp: i64,
    iss: String,
}

impl App {
    /// Signed with the app's key, at `now`.
    fn statement(&self, now: i64) -> Result<SecretBytes, Fault> {
        let statement = Statement {
            iat: now.saturating_sub(STATEMENT_BACKDATED),
            exp: now.saturating_add(STATEMENT_LASTS),
            iss: self.id.to_string(),
        };
        self.key.sign(None, &statement).ok_or_else(|| {
            Fault::client("credentials_config", "the app's private key cannot sign").retry(Retry::Slowly)
        })
    }
}

/// As GitHub shows it beside the key: the SHA-256 of the public key's DER (vault-sync-api.md 3.6).
pub(super) fn fingerprint(key: &SigningKey) -> Option<String> {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &key.public_der()?);
    Some(BASE64_STANDARD.encode(digest))
}
