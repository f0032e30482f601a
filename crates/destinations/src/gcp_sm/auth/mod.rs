//! Who the calls are made as: a destination's own credentials, or the server's (destinations.md 3.4).

mod adc;
mod exchange;
mod file;

use std::{sync::Arc, time::Duration};

use http::HeaderValue;

use adc::Found;
pub(super) use adc::project as servers_project;
use exchange::{Caller, Granted};
pub(super) use file::{Login, Whose};

use crate::{
    Fault,
    net::{Client, Net, Policy},
    tokens::{Life, TokenCache, bearer},
};

/// Tokens are renewed this long before they expire (destinations.md 3.4).
const RENEW_BEFORE: Duration = Duration::from_secs(225);

/// What calls are authorised with.
pub(super) struct Token {
    pub(super) header: HeaderValue,
    /// Another project than the secrets' that is charged for the calls.
    pub(super) quota_project: Option<HeaderValue>,
}

/// The token of one destination, asked for when first needed and renewed in time.
pub(super) struct Auth {
    net: Arc<Net>,
    /// The client of the destination's network policy.
    client: Client,
    /// The destination's own credentials; the server's are used without.
    own: Option<Arc<Login>>,
    held: TokenCache<Token>,
}

impl Auth {
    pub(super) fn new(net: Arc<Net>, client: Client, own: Option<Arc<Login>>) -> Self {
        Self { net, client, own, held: TokenCache::new("a Google access token") }
    }

    /// A token that will last for a while.
    pub(super) async fn token(&self) -> Result<Arc<Token>, Fault> {
        self.held.get(self.net.clock().as_ref(), || self.ask()).await
    }

    /// Forgets a token that was refused.
    pub(super) fn refused(&self, used: &Arc<Token>) {
        self.held.forget(used);
    }

    async fn ask(&self) -> Result<(Token, Option<Life>), Fault> {
        if let Some(login) = &self.own {
            // What a destination brings may go where it says; what this server vouches for has its own way.
            let client =
                if login.ours { self.net.client(&Policy::of_operator()) } else { self.client.clone() };
            let caller = Caller { net: &self.net, client };
            return self.made(&caller.log_in(login).await?, login.quota_project.clone());
        }
        // What the operator's files and the machine name is the operator's word.
        let caller = Caller { net: &self.net, client: self.net.client(&Policy::of_operator()) };
        let named = self.net.environment().var("GOOGLE_CLOUD_QUOTA_PROJECT");
        let named = named.and_then(|project| file::header(&project).ok());
        match adc::find(&self.net).await? {
            Found::File(login) => self.made(&caller.log_in(&login).await?, named.or(login.quota_project)),
            Found::Machine => self.made(&caller.machine().await?, named),
        }
    }

    fn made(
        &self,
        granted: &Granted,
        quota_project: Option<HeaderValue>,
    ) -> Result<(Token, Option<Life>), Fault> {
        let header = bearer(&granted.token).ok_or_else(|| {
            Fault::internal("answer_unreadable", "Google's token service gave a token that cannot be sent")
        })?;
        let life = Life::until(granted.expires, self.net.clock().now(), RENEW_BEFORE);
        Ok((Token { header, quota_project }, Some(life)))
    }
}
