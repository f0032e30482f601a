//! The configuration, one struct per section. What a key means is said once, in [`super::KEYS`],
//! from which the reference page is printed.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::telemetry::Ratio;

use super::{
    audit::{AuditDevice, FileMode},
    value::{Address, PublicUrl, Release, Span, Whole},
};

/// A whole configuration file.
#[derive(Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) storage: Storage,
    pub(crate) seal: Seal,
    pub(crate) listener: Listener,
    pub(crate) server: Server,
    pub(crate) sync: Sync,
    pub(crate) telemetry: Telemetry,
    pub(crate) sync_audit: SyncAudit,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) audit: Vec<AuditDevice>,
    pub(crate) log: Log,
}

/// `[storage]`
#[derive(Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Storage {
    pub(crate) r#type: StorageType,
    pub(crate) path: Option<PathBuf>,
    pub(crate) cache_size: Whole<1_048_576, 1_099_511_627_776>,
    pub(crate) check_on_open: bool,
    pub(crate) connection_url: Option<String>,
    pub(crate) password: Option<String>,
    pub(crate) password_file: Option<PathBuf>,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) schema: String,
    pub(crate) max_parallel: Whole<1, 1000>,
    pub(crate) timeout: Span,
}

impl Default for Storage {
    fn default() -> Self {
        Self {
            r#type: StorageType::Embedded,
            path: None,
            cache_size: Whole(64 << 20),
            check_on_open: true,
            connection_url: None,
            password: None,
            password_file: None,
            ca_file: None,
            schema: "keyferry".to_owned(),
            max_parallel: Whole(8),
            timeout: Span::secs(15),
        }
    }
}

/// What the store is in.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum StorageType {
    /// One file, one server.
    Embedded,
    /// A database, any number of servers.
    PostgreSQL,
}

/// `[seal]`
#[derive(Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Seal {
    pub(crate) r#type: SealType,
    pub(crate) key: Option<String>,
    pub(crate) key_file: Option<PathBuf>,
    pub(crate) kms_key_id: Option<String>,
    pub(crate) region: Option<String>,
    pub(crate) access_key: Option<String>,
    pub(crate) secret_key: Option<String>,
    pub(crate) session_token: Option<String>,
    pub(crate) endpoint: Option<String>,
}

impl Default for Seal {
    fn default() -> Self {
        Self {
            r#type: SealType::KeyFile,
            key: None,
            key_file: None,
            kms_key_id: None,
            region: None,
            access_key: None,
            secret_key: None,
            session_token: None,
            endpoint: None,
        }
    }
}

/// How the root key of the store is kept.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum SealType {
    /// In `root.key` beside the store.
    KeyFile,
    /// By people who hold shares.
    Shamir,
    /// Under a key that is handed to the server.
    Static,
    /// Under a key of AWS KMS.
    Awskms,
}

/// `[listener]`
#[derive(Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Listener {
    pub(crate) address: Address,
    pub(crate) tls_cert_file: Option<PathBuf>,
    pub(crate) tls_key_file: Option<PathBuf>,
    pub(crate) max_request_size: Whole<1024, 1_073_741_824>,
    pub(crate) max_request_duration: Span,
    pub(crate) max_json_depth: Whole<1, 10_000>,
    pub(crate) max_json_string_length: Whole<1024, 1_073_741_824>,
    pub(crate) max_json_members: Whole<1, 1_000_000>,
    pub(crate) max_connections: Whole<1, 1_000_000>,
    pub(crate) shutdown_deadline: Span,
}

impl Default for Listener {
    fn default() -> Self {
        Self {
            address: Address(([127, 0, 0, 1], 8200).into()),
            tls_cert_file: None,
            tls_key_file: None,
            max_request_size: Whole(32 << 20),
            max_request_duration: Span::secs(90),
            max_json_depth: Whole(500),
            max_json_string_length: Whole(1 << 20),
            max_json_members: Whole(10_000),
            max_connections: Whole(10_000),
            shutdown_deadline: Span::secs(30),
        }
    }
}

/// `[server]`
#[derive(Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Server {
    pub(crate) vault_version: Release,
    pub(crate) cluster_name: String,
    pub(crate) api_addr: Option<PublicUrl>,
    pub(crate) default_lease_ttl: Span,
    pub(crate) max_lease_ttl: Span,
    pub(crate) max_secret_size: Whole<1024, 16_777_216>,
    pub(crate) disable_mlock: bool,
    pub(crate) require_mlock: bool,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            vault_version: Release("1.20.0".to_owned()),
            cluster_name: "keyferry".to_owned(),
            api_addr: None,
            default_lease_ttl: Span::secs(2_764_800),
            max_lease_ttl: Span::secs(2_764_800),
            max_secret_size: Whole(1 << 20),
            disable_mlock: false,
            require_mlock: false,
        }
    }
}

/// `[sync]`
#[derive(Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Sync {
    pub(crate) list_key_style: ListKeyStyle,
    pub(crate) require_activation: bool,
    pub(crate) continuous_authorisation: bool,
    pub(crate) allow_private_networks: bool,
    pub(crate) concurrency: Whole<1, 1024>,
    pub(crate) quota_percent: Whole<0, 1000>,
    pub(crate) connect_timeout: Span,
    pub(crate) call_timeout: Span,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) file_root: Option<PathBuf>,
    pub(crate) sweep_interval: Span,
    pub(crate) mass_delete_count: Whole<0, 1_000_000>,
    pub(crate) mass_delete_percent: Whole<0, 100>,
    pub(crate) mass_delete_window: Span,
}

impl Default for Sync {
    fn default() -> Self {
        Self {
            list_key_style: ListKeyStyle::Plain,
            require_activation: false,
            continuous_authorisation: false,
            allow_private_networks: false,
            concurrency: Whole(64),
            quota_percent: Whole(100),
            connect_timeout: Span::secs(5),
            call_timeout: Span::secs(30),
            ca_file: None,
            file_root: None,
            sweep_interval: Span::secs(300),
            mass_delete_count: Whole(25),
            mass_delete_percent: Whole(30),
            mass_delete_window: Span::secs(600),
        }
    }
}

/// How `LIST sys/sync/destinations` writes its keys (decisions 1).
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ListKeyStyle {
    /// `aws-sm`
    Plain,
    /// `aws-sm/`
    Slash,
}

/// `[telemetry]`
#[derive(Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Telemetry {
    pub(crate) unauthenticated_metrics_access: bool,
    pub(crate) otlp_endpoint: Option<String>,
    pub(crate) otlp_headers: Option<String>,
    pub(crate) otlp_headers_file: Option<PathBuf>,
    pub(crate) trace_sample_ratio: Option<Ratio>,
    pub(crate) service_name: Option<String>,
}

/// `[sync_audit]`
#[derive(Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct SyncAudit {
    pub(crate) file: Option<PathBuf>,
    pub(crate) chain: String,
    pub(crate) mode: FileMode,
}

impl Default for SyncAudit {
    fn default() -> Self {
        Self { file: None, chain: "main".to_owned(), mode: FileMode::default() }
    }
}

/// `[log]`
#[derive(Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Log {
    pub(crate) format: LogFormat,
    pub(crate) level: LogLevel,
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: LogLevel::Info }
    }
}

/// How a log line is written.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    Text,
    Json,
}

/// The least a log line must matter to be written.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
}
