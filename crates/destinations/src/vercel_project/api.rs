//! Calls to the variables of one project (destinations.md 5.1).

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::AtomicUsize},
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Uri, header};
use model::SecretBytes;
use serde::{Serialize, de::DeserializeOwned};
use url::Url;

use super::{
    faults::{self, Refusal},
    reconcile::Listing,
    targets::Targets,
    wire::{Created, Deleted, Ids, Narrowed, Page, Record, Variable},
};
use crate::{
    Fault, json,
    net::{Answer, Client, Effect, Net, wiped_bytes},
    tokens::bearer,
};

/// The service, unless the destination names another address.
pub(super) const PUBLIC: &str = "https://api.vercel.com";

/// So many pages of a list are read. Vercel allows 1,000 variables for an environment (UNSURE), and shows
/// at least 20 on a page.
const MOST_PAGES: usize = 500;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const AGENT: HeaderValue = HeaderValue::from_static("keyferry");

/// One project as one destination reaches it.
pub(super) struct Api {
    pub(super) net: Arc<Net>,
    pub(super) client: Client,
    pub(super) base: Url,
    pub(super) project: String,
    pub(super) team: Option<String>,
    pub(super) token: SecretBytes,
    /// How long an array may be, as far as is known.
    pub(super) most_in_array: AtomicUsize,
}

impl Api {
    /// Makes variables, or writes them over if they may be there. An answer tells of each: see
    /// [`Created`].
    pub(super) async fn create(&self, variables: &[Variable<'_>], upsert: bool) -> Result<Created, Refusal> {
        let mut url = self.url("v10", None);
        if upsert {
            url.query_pairs_mut().append_pair("upsert", "true");
        }
        // The answer to an array tells of each; one alone needs none.
        let body = match variables {
            [one] => encode(one)?,
            many => encode(&many)?,
        };
        let answer = self.call(Method::POST, url, Some(body), Effect::Write).await?;
        Ok(read(&answer, Effect::Write)?)
    }

    /// Everything the project shows, for all environments.
    pub(super) async fn list(&self) -> Result<Listing, Refusal> {
        let mut listing = Listing::default();
        let mut seen = BTreeSet::new();
        let mut until: Option<u64> = None;
        for _ in 0..MOST_PAGES {
            let mut url = self.url("v10", None);
            if let Some(until) = until {
                url.query_pairs_mut().append_pair("until", &until.to_string());
            }
            let answer = self.call(Method::GET, url, None, Effect::Read).await?;
            let page: Page = read(&answer, Effect::Read)?;
            listing.hidden |= page.hidden_production_env_count.is_some_and(|count| count > 0);
            let records = match page.envs {
                Some(records) => records,
                // Exactly one variable may be answered as itself.
                None => vec![read::<Record>(&answer, Effect::Read)?],
            };
            // Pages may overlap in what has the same time.
            listing.records.extend(records.into_iter().filter(|record| seen.insert(record.id.clone())));
            let next = page.pagination.and_then(|pagination| pagination.next);
            match next {
                None => return Ok(listing),
                Some(next) if until.is_none_or(|until| next < until) => until = Some(next),
                Some(_) => break,
            }
        }
        Err(Fault::external("list_incomplete", "Vercel's list of variables has no end").into())
    }

    /// Brings one record in line, addressed by its id.
    pub(super) async fn edit(&self, id: &str, variable: &Variable<'_>) -> Result<Record, Refusal> {
        let body = encode(variable)?;
        let answer = self.call(Method::PATCH, self.url("v9", Some(id)), Some(body), Effect::Write).await?;
        Ok(read(&answer, Effect::Write)?)
    }

    /// Leaves a record to the environments it is for beyond ours.
    pub(super) async fn narrow(&self, id: &str, rest: Targets) -> Result<(), Refusal> {
        let body = encode(&Narrowed { target: rest.words() })?;
        self.call(Method::PATCH, self.url("v9", Some(id)), Some(body), Effect::Write).await.map(drop)
    }

    pub(super) async fn delete(&self, id: &str) -> Result<(), Refusal> {
        self.call(Method::DELETE, self.url("v9", Some(id)), None, Effect::Write).await.map(drop)
    }

    /// Deletes many; the answer names those that are gone.
    pub(super) async fn delete_many(&self, ids: &[&str]) -> Result<BTreeSet<String>, Refusal> {
        let body = encode(&Ids { ids })?;
        let answer = self.call(Method::DELETE, self.url("v1", None), Some(body), Effect::Write).await?;
        let deleted: Deleted = read(&answer, Effect::Write)?;
        Ok(deleted.ids.into_iter().collect())
    }

    fn url(&self, version: &str, id: Option<&str>) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend([version, "projects", &self.project, "env"]).extend(id);
        }
        if let Some(team) = &self.team {
            url.query_pairs_mut().append_pair("teamId", team);
        }
        url
    }

    async fn call(
        &self,
        method: Method,
        url: Url,
        body: Option<Bytes>,
        effect: Effect,
    ) -> Result<Answer, Refusal> {
        let uri: Uri = url
            .as_str()
            .parse()
            .map_err(|_| Fault::client("bad_address", "the address of the destination is not a URL"))?;
        let bearer = bearer(&self.token).ok_or_else(|| {
            Fault::client("credentials_config", "the access token has a character no token has")
        })?;
        let mut request = Request::new(body.clone().unwrap_or_default());
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        headers.insert(header::AUTHORIZATION, bearer);
        headers.insert(header::USER_AGENT, AGENT);
        headers.insert(header::ACCEPT, JSON);
        if body.is_some() {
            headers.insert(header::CONTENT_TYPE, JSON);
        }
        let answer = self.client.call(request, effect).await?;
        if answer.status.is_success() {
            return Ok(answer);
        }
        // An answer to a refusal is opened to find its code.
        let now = self.net.clock().now();
        Err(faults::of_call(answer.status, &answer.headers, answer.body.expose(), now))
    }
}

fn encode(body: &impl Serialize) -> Result<Bytes, Fault> {
    json::compact(body)
        .map(wiped_bytes)
        .ok_or_else(|| Fault::internal("request_encoding", "a request cannot be written as JSON"))
}

fn read<T: DeserializeOwned>(answer: &Answer, effect: Effect) -> Result<T, Fault> {
    // Values in it are passed over.
    serde_json::from_slice(answer.body.expose()).map_err(|_| {
        let message = "Vercel answered with success, but not in the form it promises";
        let fault = Fault::internal("answer_unreadable", message).status(answer.status.as_u16());
        match effect {
            Effect::Read => fault,
            Effect::Write => fault.ambiguous(),
        }
    })
}
