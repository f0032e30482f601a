//! Requests as HTTP sees them: how many are under way, what they were answered, how long it took.

use std::sync::OnceLock;

use prometheus_client::metrics::{counter::Counter, family::Family, gauge::Gauge};
use tokio::time::Instant;

use super::{Labels, Making, timing::Timing};

/// The parts of the API, each with what its paths begin with below `/v1/`. What begins with none of these
/// is a secrets engine's.
const PARTS: [(&str, &str); 6] = [
    ("sync", "sys/sync/"),
    ("sys", "sys/"),
    ("auth", "auth/"),
    ("identity", "identity/"),
    ("cubbyhole", "cubbyhole/"),
    ("secrets", ""),
];

/// Not below `/v1/`.
const OUTSIDE: &str = "other";

/// What is answered. Anything else is `other`.
const STATUSES: [u16; 16] = [200, 204, 400, 403, 404, 405, 412, 413, 415, 429, 472, 473, 500, 501, 502, 503];

pub(super) struct Requests {
    under_way: Gauge,
    parts: [Part; PARTS.len() + 1],
    answered: Family<Labels, Counter>,
    codes: Family<Labels, Counter>,
    /// Kept, so that counting asks no map.
    code: [OnceLock<Counter>; STATUSES.len() + 1],
}

struct Part {
    name: &'static str,
    took: Timing,
    answered: [OnceLock<Counter>; STATUSES.len() + 1],
}

impl Requests {
    pub(super) fn new(made: &mut Making) -> Self {
        let times = Family::<Labels, Timing>::new_with_constructor(Timing::serving);
        let times = made.add("keyferry.http.request.seconds", times);
        let mut names = PARTS.iter().map(|(name, _)| *name).chain([OUTSIDE]);
        let parts = std::array::from_fn(|_| {
            let name = names.next().unwrap_or(OUTSIDE);
            let took = times.get_or_create(&vec![("api", name.to_owned())]).clone();
            Part { name, took, answered: Default::default() }
        });
        Self {
            under_way: made.add("vault.core.in_flight_requests", Gauge::default()),
            parts,
            answered: made.add("keyferry.http.requests", Family::default()),
            codes: made.add("vault.core.response_status_code", Family::default()),
            code: Default::default(),
        }
    }

    pub(super) fn begin(&self, path: &str) -> UnderWay<'_> {
        self.under_way.inc();
        let at = match path.strip_prefix("/v1/") {
            Some(path) => PARTS.iter().position(|(_, begins)| path.starts_with(begins)),
            None => None,
        };
        UnderWay { requests: self, part: at.unwrap_or(PARTS.len()), begun: Instant::now() }
    }
}

/// A request that is being answered.
pub(crate) struct UnderWay<'a> {
    requests: &'a Requests,
    part: usize,
    begun: Instant,
}

impl UnderWay<'_> {
    /// The part of the API it is for.
    pub(crate) fn part(&self) -> &'static str {
        PARTS.get(self.part).map_or(OUTSIDE, |(name, _)| name)
    }

    /// It was answered.
    pub(crate) fn answered(self, status: u16) {
        let Some(part) = self.requests.parts.get(self.part) else { return };
        part.took.observe(self.begun.elapsed());
        let at = STATUSES.iter().position(|known| *known == status).unwrap_or(STATUSES.len());
        let word = || STATUSES.get(at).map_or_else(|| "other".to_owned(), ToString::to_string);
        if let Some(counter) = part.answered.get(at) {
            counter
                .get_or_init(|| {
                    let labels = vec![("api", part.name.to_owned()), ("status", word())];
                    self.requests.answered.get_or_create(&labels).clone()
                })
                .inc();
        }
        if let Some(counter) = self.requests.code.get(at) {
            counter
                .get_or_init(|| {
                    let class = format!("{}xx", status / 100);
                    self.requests.codes.get_or_create(&vec![("code", word()), ("type", class)]).clone()
                })
                .inc();
        }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.requests.under_way.dec();
    }
}
