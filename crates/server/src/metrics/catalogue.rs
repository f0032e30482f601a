//! Every metric there is: its name, what its labels are, what it means.

/// What sort of number a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// Goes up and down.
    Gauge,
    /// Only grows, from the start of the process.
    Counter,
    /// A distribution, with `_bucket`, `_sum` and `_count`.
    Histogram,
}

/// One metric.
#[derive(Debug, Clone, Copy)]
pub struct Described {
    /// With dots, as Vault's JSON has it. Prometheus shows dots and hyphens as `_`.
    pub name: &'static str,
    /// What sort of number it is.
    pub sort: Sort,
    /// What tells its series apart.
    pub labels: &'static [&'static str],
    /// What it means, without a full stop.
    pub help: &'static str,
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Described {
    Described { name, sort: Sort::Gauge, labels, help }
}

const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Described {
    Described { name, sort: Sort::Counter, labels, help }
}

const fn histogram(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Described {
    Described { name, sort: Sort::Histogram, labels, help }
}

/// Every metric, in the order of the page.
pub const CATALOGUE: &[Described] = &[
    gauge("vault.core.unsealed", &[], "1 while the store is open, 0 while it is sealed or not made yet"),
    gauge("vault.core.active", &[], "1 while this server answers for its store"),
    gauge("vault.core.in_flight_requests", &[], "Requests being answered"),
    histogram(
        "vault.core.handle_request",
        &[],
        "Milliseconds to handle a request that is no login, without reading it and writing the answer",
    ),
    histogram("vault.core.handle_login_request", &[], "The same for logins"),
    counter(
        "vault.core.response_status_code",
        &["code", "type"],
        "Answers, by status and by its class such as 2xx",
    ),
    histogram(
        super::routes::NAME,
        &[],
        "Milliseconds a secrets engine took, one metric for each operation (read, update for every write, patch, delete, \
         list) and mount. Beyond 100 mounts, the mount is other",
    ),
    histogram("vault.barrier.put", &[], "Milliseconds to commit a change durably"),
    counter(
        "vault.token.creation",
        &["auth_method", "token_type"],
        "Tokens made, by the sort of auth mount and of token",
    ),
    counter(
        "vault.quota.rate_limit.violation",
        &[],
        "Requests refused because a rate limit quota was exceeded",
    ),
    histogram(
        "keyferry.http.request.seconds",
        &["api"],
        "Time to answer a request, from its head to its answer, by part of the API (sync, sys, auth, identity, cubbyhole, \
         secrets, other)",
    ),
    counter("keyferry.http.requests", &["api", "status"], "Answers, by part of the API and status"),
    histogram("keyferry.store.commit.seconds", &[], "Time to commit a change durably"),
    counter(
        "keyferry.store.commits",
        &["outcome"],
        "Commits: done, conflict (somebody else was faster, and it was decided anew), failed",
    ),
    gauge("keyferry.store.size.bytes", &[], "Size of the store's file. Missing where the store is no file"),
    gauge("vault.secrets-sync.destinations.count", &["destination_type"], "Destinations, by type"),
    gauge(
        "vault.secrets-sync.associations.count",
        &["destination_type"],
        "Associated secrets, by type of destination",
    ),
    counter(
        "vault.secrets-sync.reconciliation.correction",
        &["destination_type"],
        "Entries written or removed because the slow look at everything found that they were not as they should be",
    ),
    counter(
        "vault.secrets-sync.reconciliation.retry",
        &["destination_type"],
        "Deliveries tried again after a failure",
    ),
    counter(
        "vault.secrets-sync.reconciliation.retry.success",
        &["destination_type"],
        "Those of them that succeeded",
    ),
    counter(
        "vault.secrets-sync.reconciliation.retry.failure",
        &["destination_type"],
        "Those of them that failed again",
    ),
    gauge(
        "keyferry.sync.queue.depth",
        &["destination"],
        "Associated secrets whose newest change is not delivered: waiting, under way, or to be tried again. At most 15 s \
         old, older where the store is so large that counting takes long",
    ),
    gauge(
        "keyferry.sync.oldest_undelivered.seconds",
        &["destination"],
        "How long ago the oldest change was made that is not delivered; 0 when all are",
    ),
    gauge(
        "keyferry.sync.failed_associations",
        &["destination"],
        "Associated secrets that failed when last looked at",
    ),
    gauge(
        "keyferry.sync.held_removals",
        &["destination"],
        "Removals held back until a person confirms them, because too many came at once",
    ),
    counter(
        "keyferry.sync.deliveries",
        &["destination_type", "act"],
        "Remote entries brought in line: written, removed, verified (looked at and found right), unchanged (known to be \
         right without a call), forgotten",
    ),
    counter(
        "keyferry.sync.errors",
        &["destination", "code"],
        "Deliveries that failed, by the stable code that associations show as error_code",
    ),
    counter("keyferry.sync.retries", &["destination"], "Deliveries tried again after a failure"),
    counter("keyferry.sync.throttled", &["destination"], "Calls answered with too many calls"),
    histogram(
        "keyferry.sync.propagation.seconds",
        &["destination_type"],
        "Time from the commit of a change to the answer of the destination that has it",
    ),
    counter(
        "keyferry.provider.calls",
        &["destination_type", "operation", "outcome"],
        "Calls to providers: operation is look, create, update or remove; outcome is done, throttled or failed",
    ),
    histogram(
        "keyferry.provider.call.seconds",
        &["destination_type", "operation"],
        "Time a call takes, its answer included",
    ),
    histogram(
        "keyferry.provider.quota_wait.seconds",
        &["destination_type"],
        "Time a call waits for its turn within the provider's limits",
    ),
    gauge("keyferry.build.info", &["version"], "Always 1; the version is the label"),
    gauge("process.resident_memory_bytes", &[], "Memory in use"),
    gauge("process.virtual_memory_bytes", &[], "Address space in use"),
    gauge("process.locked_memory_bytes", &[], "Memory that cannot be swapped out"),
    gauge("process.threads", &[], "Threads"),
    gauge("process.open_fds", &[], "Open files and sockets"),
    gauge("process.max_fds", &[], "Most that may be open"),
    counter("process.cpu_seconds", &[], "Processor time"),
    gauge("process.start_time_seconds", &[], "When the server started, in seconds since 1970"),
];

/// As Prometheus shows a name, without the suffixes of its samples.
pub(super) fn printed(name: &str) -> String {
    name.replace(['.', '-'], "_")
}

/// What a metric means.
pub(super) fn help(name: &str) -> &'static str {
    CATALOGUE.iter().find(|described| described.name == name).map_or("", |described| described.help)
}

/// The name that Vault's JSON has for one that Prometheus shows.
pub(super) fn dotted(shown: &str) -> &str {
    let bare = shown.strip_suffix("_total").unwrap_or(shown);
    CATALOGUE
        .iter()
        .find(|described| printed(described.name) == bare)
        .map_or(shown, |described| described.name)
}

impl Described {
    /// As Prometheus shows it.
    pub fn shown(&self) -> String {
        let total = self.sort == Sort::Counter && !self.name.starts_with("vault.");
        printed(self.name) + if total { "_total" } else { "" }
    }
}
