//! What every configuration key is called, takes and means: the source of the `KEYFERRY_*`
//! variables and of `docs/configuration.md`.

/// One key.
pub(crate) struct Key {
    pub(crate) section: &'static str,
    pub(crate) name: &'static str,
    pub(crate) takes: Takes,
    #[cfg_attr(not(test), expect(dead_code, reason = "printed into docs/configuration.md, by a test"))]
    pub(crate) help: &'static str,
}

/// What a key's value looks like in TOML, hence how a variable's text becomes one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Takes {
    Text,
    Whole,
    Bool,
}

impl Key {
    /// The variable that overrides it: `KEYFERRY_LISTENER_ADDRESS`.
    pub(crate) fn variable(&self) -> String {
        format!("KEYFERRY_{}_{}", self.section, self.name).to_uppercase()
    }
}

const fn key(section: &'static str, name: &'static str, takes: Takes, help: &'static str) -> Key {
    Key { section, name, takes, help }
}

/// Every key, in the order of the reference page.
pub(crate) const KEYS: &[Key] = &[
    key(
        "storage",
        "type",
        Takes::Text,
        "`embedded`: a file in `path`, for one server. `postgresql`: a database, shared by any number of servers.",
    ),
    key(
        "storage",
        "path",
        Takes::Text,
        "The directory `keyferry init` made. Required, unless `--data` names it. With `postgresql` it only holds \
         `root.key`, and is not needed where people or a service keep the root key; every server has a copy of that file.",
    ),
    key("storage", "cache_size", Takes::Whole, "Most memory the store's cache takes, in bytes."),
    key(
        "storage",
        "check_on_open",
        Takes::Bool,
        "Whether every page of the store's file is verified at start, which reads the whole file. For `embedded`.",
    ),
    key(
        "storage",
        "connection_url",
        Takes::Text,
        "For `postgresql`: such as `postgres://user@host:5432/database`. `?sslmode=` may be `verify-full` (the default, \
         except for sockets and loopback), `require` (TLS, but to whoever answers) or `disable`.",
    ),
    key(
        "storage",
        "password",
        Takes::Text,
        "The database user's password, if it is not in the URL. Best given by the variable, or as `password_file`.",
    ),
    key("storage", "password_file", Takes::Text, "A file that holds the password and at most a line's end."),
    key(
        "storage",
        "ca_file",
        Takes::Text,
        "Certificate authorities in PEM for the database's certificate, in place of those of the operating system.",
    ),
    key(
        "storage",
        "schema",
        Takes::Text,
        "The database schema that is the store's own. Made if it is missing; one that holds other tables is refused.",
    ),
    key(
        "storage",
        "max_parallel",
        Takes::Whole,
        "Most connections for scans. One for other reads, one for writes and one for announcements come on top.",
    ),
    key(
        "storage",
        "timeout",
        Takes::Text,
        "How long a request waits for the database, reconnecting included, before it fails.",
    ),
    key(
        "seal",
        "type",
        Takes::Text,
        "How the store's root key is kept. `key-file`: in `root.key` beside the store, made by `keyferry init`. `shamir`: \
         by people, each with a share; the store is made by `sys/init` and opened by `sys/unseal`. `static`: under the key \
         below; the store is made by `sys/init` and opened when the server starts. `awskms`: the same under a key of AWS KMS.",
    ),
    key(
        "seal",
        "key",
        Takes::Text,
        "For `static`: 32 random bytes as 64 hexadecimal digits. Best given by the variable, from wherever the \
         machine keeps its secrets.",
    ),
    key("seal", "key_file", Takes::Text, "For `static`: a file that holds the key instead."),
    key(
        "seal",
        "kms_key_id",
        Takes::Text,
        "For `awskms`: ARN, id or alias of the key. Or `VAULT_AWSKMS_SEAL_KEY_ID`. The credentials need `kms:Encrypt` and \
         `kms:Decrypt` on it.",
    ),
    key(
        "seal",
        "region",
        Takes::Text,
        "For `awskms`: its region. Or `AWS_REGION`, the AWS profile, the machine's own.",
    ),
    key(
        "seal",
        "access_key",
        Takes::Text,
        "For `awskms`: access key to sign with. Without one the server's own AWS credentials are used: environment, \
         profile, web identity, container, instance.",
    ),
    key("seal", "secret_key", Takes::Text, "For `awskms`: the secret that belongs to `access_key`."),
    key(
        "seal",
        "session_token",
        Takes::Text,
        "For `awskms`: the session token that belongs to `access_key`.",
    ),
    key(
        "seal",
        "endpoint",
        Takes::Text,
        "For `awskms`: URL of KMS instead of AWS's own. Or `AWS_KMS_ENDPOINT`, `AWS_ENDPOINT_URL_KMS`.",
    ),
    key(
        "listener",
        "address",
        Takes::Text,
        "IP address and port to listen on. Port 0 lets the system choose one, which is printed.",
    ),
    key(
        "listener",
        "tls_cert_file",
        Takes::Text,
        "Certificate chain in PEM, the server's own first. With `tls_key_file` it turns TLS on (1.2 and 1.3).",
    ),
    key("listener", "tls_key_file", Takes::Text, "The certificate's private key in PEM, not encrypted."),
    key(
        "listener",
        "max_request_size",
        Takes::Whole,
        "Largest request body, in bytes. More is answered with 413.",
    ),
    key("listener", "max_request_duration", Takes::Text, "Longest time one request may take."),
    key(
        "listener",
        "max_json_depth",
        Takes::Whole,
        "Deepest nesting of objects and arrays in a request body.",
    ),
    key(
        "listener",
        "max_json_string_length",
        Takes::Whole,
        "Longest string in a request body, in bytes as written.",
    ),
    key(
        "listener",
        "max_json_members",
        Takes::Whole,
        "Most members of one object, or elements of one array, in a request body.",
    ),
    key("listener", "max_connections", Takes::Whole, "Most connections at once; more wait to be accepted."),
    key(
        "listener",
        "shutdown_deadline",
        Takes::Text,
        "How long requests and deliveries under way may go on once the server is told to stop (SIGTERM, SIGINT).",
    ),
    key(
        "server",
        "vault_version",
        Takes::Text,
        "The Vault version clients are to treat this server as; Terraform's provider chooses its features by it.",
    ),
    key("server", "cluster_name", Takes::Text, "Shown by `sys/health` and `sys/seal-status`."),
    key(
        "server",
        "api_addr",
        Takes::Text,
        "URL under which clients and providers reach this server, such as `https://keyferry.example.com`. Workload \
         identity federation needs it: it is what identity tokens name as their issuer.",
    ),
    key(
        "server",
        "default_lease_ttl",
        Takes::Text,
        "How long a token lasts when it does not ask for a time.",
    ),
    key("server", "max_lease_ttl", Takes::Text, "How long a token lasts at most."),
    key(
        "server",
        "max_secret_size",
        Takes::Whole,
        "Largest `data` of one secret version, in bytes as stored.",
    ),
    key(
        "server",
        "disable_mlock",
        Takes::Bool,
        "Whether memory may be swapped out. Otherwise all of it is locked where the system allows that (Linux, with \
         CAP_IPC_LOCK or without a limit on locked memory); where it does not, the log says so. Not done with `--dev`.",
    ),
    key(
        "server",
        "require_mlock",
        Takes::Bool,
        "Whether the server refuses to start where memory cannot be locked.",
    ),
    key(
        "sync",
        "list_key_style",
        Takes::Text,
        "How `LIST sys/sync/destinations` writes a type: `plain` (`aws-sm`) or `slash` (`aws-sm/`).",
    ),
    key(
        "sync",
        "require_activation",
        Takes::Bool,
        "Whether the sync API must be switched on once with `sys/activation-flags/secrets-sync/activate`.",
    ),
    key(
        "sync",
        "continuous_authorisation",
        Takes::Bool,
        "Whether an association is held back, the remote entry untouched, while whoever made it may not read the \
         secret any more. What counts is what their policies and entity allow now; their token may have ended.",
    ),
    key(
        "sync",
        "allow_private_networks",
        Takes::Bool,
        "Whether destinations may be at loopback, private and other special-purpose addresses. `--dev` turns it on.",
    ),
    key("sync", "concurrency", Takes::Whole, "Most calls under way at once to one destination."),
    key(
        "sync",
        "quota_percent",
        Takes::Whole,
        "How much of the limits that providers document may be used, in percent. Less leaves room for others on the same account, more is for limits that were raised. 0 makes calls as fast as they can be made, until the provider complains.",
    ),
    key(
        "sync",
        "connect_timeout",
        Takes::Text,
        "Longest time to reach a destination: name lookup, TCP and TLS together.",
    ),
    key("sync", "call_timeout", Takes::Text, "Longest time for one call to a destination, answer included."),
    key(
        "sync",
        "ca_file",
        Takes::Text,
        "Certificate authorities in PEM that destinations may be signed by, besides those of the operating system.",
    ),
    key(
        "sync",
        "file_root",
        Takes::Text,
        "The directory, by its absolute path, below which every destination of type `file` must be; links that lead out \
         of it are not followed. Without it, they may be wherever the server's user may write.",
    ),
    key("sync", "sweep_interval", Takes::Text, "How often everything is looked at again for lost work."),
    key(
        "sync",
        "mass_delete_count",
        Takes::Whole,
        "A destination is held back when more than this many removals caused by source deletes come within \
         `mass_delete_window` and they are also more than `mass_delete_percent` of its associations. 0 turns the guard off.",
    ),
    key("sync", "mass_delete_percent", Takes::Whole, "See `mass_delete_count`. 0 turns the guard off."),
    key("sync", "mass_delete_window", Takes::Text, "See `mass_delete_count`."),
    key(
        "telemetry",
        "unauthenticated_metrics_access",
        Takes::Bool,
        "Whether `sys/metrics` is shown to whoever asks, also while the store is sealed. Otherwise it takes a token that \
         may read that path.",
    ),
    key(
        "telemetry",
        "otlp_endpoint",
        Takes::Text,
        "URL of an OpenTelemetry collector such as `http://localhost:4318`; traces are sent to `/v1/traces` below it. \
         Without, `OTEL_EXPORTER_OTLP_ENDPOINT` and its like are heeded; without these, nothing is traced.",
    ),
    key(
        "telemetry",
        "otlp_headers",
        Takes::Text,
        "Headers for the collector, such as `api-key=...,team=core`. Best given as a file.",
    ),
    key("telemetry", "otlp_headers_file", Takes::Text, "A file that holds them instead."),
    key(
        "telemetry",
        "trace_sample_ratio",
        Takes::Text,
        "Share of requests that is traced, from 0.0 to 1.0, where the client does not say (`traceparent`). All, unless \
         `OTEL_TRACES_SAMPLER` says otherwise.",
    ),
    key(
        "telemetry",
        "service_name",
        Takes::Text,
        "How the collector is told who sends. `keyferry`, unless `OTEL_SERVICE_NAME` is set.",
    ),
    key(
        "sync_audit",
        "file",
        Takes::Text,
        "The file that the chain of sync events is appended to: what was delivered where, by whose right; no values. \
         Without it there is none. While it cannot be written, nothing is delivered. Checked by `keyferry audit \
         verify`; SIGHUP opens it anew by its name, after it was moved away.",
    ),
    key(
        "sync_audit",
        "chain",
        Takes::Text,
        "The chain's name. Each server that delivers from a store needs one of its own.",
    ),
    key("sync_audit", "mode", Takes::Text, "The file's permissions, as for audit devices."),
    key(
        "log",
        "format",
        Takes::Text,
        "`text` for people, `json` for machines: one line per event, on stderr.",
    ),
    key(
        "log",
        "level",
        Takes::Text,
        "`error`, `warn`, `info` or `debug`. No level shows a value or a token.",
    ),
];
