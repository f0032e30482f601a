//! Who the calls are made as: a destination's own credentials, or the server's (destinations.md 3.4).

mod adc;
mod exchange;
mod file;

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use http::HeaderValue;
use model::{SecretBytes, Timestamp};
use zeroize::Zeroizing;

use adc::Found;
pub(super) use adc::project as servers_project;
use exchange::{Caller, Granted};
pub(super) use file::{Login, Whose};

use crate::{
    Fault,
    net::{Client, Net, Policy},
};

/// Tokens are renewed this long before they expire (destinations.md 3.4).
const RENEW_BEFORE: Duration = Duration::from_secs(225);

/// Tokens that expire sooner than this are not used any more.
const LAST_USE_BEFORE: Duration = Duration::from_secs(20);

/// What calls are authorised with.
pub(super) struct Token {
    pub(super) header: HeaderValue,
    /// Another project than the secrets' that is charged for the calls.
    pub(super) quota_project: Option<HeaderValue>,
    expires: Timestamp,
}

impl Token {
    fn lasts(&self, now: Timestamp, at_least: Duration) -> bool {
        self.expires > now.plus(at_least)
    }
}

/// The token of one destination, asked for when first needed and renewed in time.
pub(super) struct Auth {
    net: Arc<Net>,
    /// The client of the destination's network policy.
    client: Client,
    /// The destination's own credentials; the server's are used without.
    own: Option<Arc<Login>>,
    current: ArcSwapOption<Token>,
    asking: tokio::sync::Mutex<()>,
}

impl Auth {
    pub(super) fn new(net: Arc<Net>, client: Client, own: Option<Arc<Login>>) -> Self {
        Self { net, client, own, current: ArcSwapOption::empty(), asking: tokio::sync::Mutex::new(()) }
    }

    /// A token that will last for a while. Whoever comes first asks for it; the others wait.
    pub(super) async fn token(&self) -> Result<Arc<Token>, Fault> {
        let clock = self.net.clock();
        if let Some(current) = self.current.load_full().filter(|t| t.lasts(clock.now(), RENEW_BEFORE)) {
            return Ok(current);
        }
        let _turn = self.asking.lock().await;
        let current = self.current.load_full();
        if let Some(current) = current.as_ref().filter(|t| t.lasts(clock.now(), RENEW_BEFORE)) {
            return Ok(Arc::clone(current));
        }
        match self.ask().await {
            Ok(fresh) => {
                let fresh = Arc::new(fresh);
                self.current.store(Some(Arc::clone(&fresh)));
                Ok(fresh)
            }
            Err(fault) => match current.filter(|t| t.lasts(clock.now(), LAST_USE_BEFORE)) {
                Some(current) => {
                    tracing::warn!(%fault, "a Google access token could not be renewed yet");
                    Ok(current)
                }
                None => Err(fault),
            },
        }
    }

    /// Forgets a token that was refused.
    pub(super) fn refused(&self, used: &Arc<Token>) {
        let current = self.current.load();
        if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, used)) {
            self.current.store(None);
        }
    }

    async fn ask(&self) -> Result<Token, Fault> {
        if let Some(login) = &self.own {
            // What a destination brings may go where it says; what this server vouches for has its own way.
            let client =
                if login.ours { self.net.client(&Policy::of_operator()) } else { self.client.clone() };
            let caller = Caller { net: &self.net, client };
            return token(&caller.log_in(login).await?, login.quota_project.clone());
        }
        // What the operator's files and the machine name is the operator's word.
        let caller = Caller { net: &self.net, client: self.net.client(&Policy::of_operator()) };
        let named = self.net.environment().var("GOOGLE_CLOUD_QUOTA_PROJECT");
        let named = named.and_then(|project| file::header(&project).ok());
        match adc::find(&self.net).await? {
            Found::File(login) => token(&caller.log_in(&login).await?, named.or(login.quota_project)),
            Found::Machine => token(&caller.machine().await?, named),
        }
    }
}

fn token(granted: &Granted, quota_project: Option<HeaderValue>) -> Result<Token, Fault> {
    let header = bearer(&granted.token).ok_or_else(|| {
        Fault::internal("answer_unreadable", "Google's token service gave a token that cannot be sent")
    })?;
    Ok(Token { header, quota_project, expires: granted.expires })
}

/// A token as a header.
fn bearer(token: &SecretBytes) -> Option<HeaderValue> {
    // Into the header it is sent in, by way of a copy that wipes itself.
    let mut bytes = Zeroizing::new(Vec::with_capacity(7 + token.len()));
    bytes.extend_from_slice(b"Bearer ");
    bytes.extend_from_slice(token.expose());
    let mut header = HeaderValue::from_bytes(&bytes).ok()?;
    header.set_sensitive(true);
    Some(header)
}
