//! The configuration in the words of the crates that are configured.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use destinations::{
    Net, NetSettings,
    aws::{KmsKey, KmsSettings},
    net::{Environment as _, Snapshot},
};
use model::SecretBytes;
use server::{
    app::{self, core::Unsealing},
    awskms::AwsKms,
    http,
};
use store::{BadConnection, EmbeddedOptions, GivenKey, PostgresOptions, ShareKey};
use zeroize::Zeroizing;

use super::{
    Config, ConfigError,
    sections::{ListKeyStyle, Seal, SealType, StorageType},
};
use crate::{
    house::World,
    telemetry::{Exporting, Traces},
};

impl Config {
    /// The store's file.
    pub(crate) fn embedded(&self) -> EmbeddedOptions {
        EmbeddedOptions {
            cache_bytes: self.storage.cache_size.usize(),
            check_on_open: self.storage.check_on_open,
        }
    }

    /// The store's database; none when it is a file.
    pub(crate) fn postgresql(&self) -> Result<Option<PostgresOptions>, ConfigError> {
        let storage = &self.storage;
        if storage.r#type == StorageType::Embedded {
            for (name, set) in [
                ("connection_url", storage.connection_url.is_some()),
                ("password", storage.password.is_some()),
                ("password_file", storage.password_file.is_some()),
                ("ca_file", storage.ca_file.is_some()),
            ] {
                if set {
                    return Err(ConfigError(format!(
                        "storage.{name} has a meaning with storage.type = \"postgresql\" only"
                    )));
                }
            }
            return Ok(None);
        }
        let read = |name: &str, path: &Path| {
            std::fs::read(path)
                .map(Zeroizing::new)
                .map_err(|e| ConfigError(format!("storage.{name}: {}: cannot be read: {e}", path.display())))
        };
        let url = storage.connection_url.as_deref().ok_or_else(|| {
            ConfigError(
                "storage.connection_url is not set: storage.type = \"postgresql\" needs it, or KEYFERRY_STORAGE_CONNECTION_URL"
                    .into(),
            )
        })?;
        let password = match (&storage.password, &storage.password_file) {
            (Some(_), Some(_)) => {
                return Err(ConfigError("storage.password and storage.password_file are both set".into()));
            }
            (Some(password), None) => Some(SecretBytes::from(password.as_str())),
            (None, Some(path)) => {
                let text = read("password_file", path)?;
                let line = text.strip_suffix(b"\n").unwrap_or(&text);
                Some(SecretBytes::from(line.strip_suffix(b"\r").unwrap_or(line)))
            }
            (None, None) => None,
        };
        let roots = storage.ca_file.as_deref().map(|path| read("ca_file", path)).transpose()?;
        let roots = roots.as_ref().map(|pem| pem.as_slice());
        let mut options = PostgresOptions::new(url, password.as_ref(), roots).map_err(|bad| {
            let key = if matches!(bad, BadConnection::Roots) { "ca_file" } else { "connection_url" };
            ConfigError(format!("storage.{key}: {bad}"))
        })?;
        options.schema.clone_from(&storage.schema);
        options.max_parallel = storage.max_parallel.usize();
        options.timeout = storage.timeout.0;
        options.cache_bytes = storage.cache_size.usize();
        options.check().map_err(|bad| ConfigError(format!("storage.schema: {bad}")))?;
        Ok(Some(options))
    }

    /// How the store's root key is had.
    pub(crate) fn unsealing(&self, world: &World, env: &Snapshot) -> Result<Unsealing, ConfigError> {
        let Seal { r#type, key, key_file, .. } = &self.seal;
        if *r#type != SealType::Static && (key.is_some() || key_file.is_some()) {
            return Err(ConfigError(
                "seal.key and seal.key_file have a meaning with seal.type = \"static\" only".into(),
            ));
        }
        let seal = &self.seal;
        let of_kms = [
            &seal.kms_key_id,
            &seal.region,
            &seal.access_key,
            &seal.secret_key,
            &seal.session_token,
            &seal.endpoint,
        ];
        if *r#type != SealType::Awskms && of_kms.iter().any(|given| given.is_some()) {
            return Err(ConfigError(
                "seal.kms_key_id, region, access_key, secret_key, session_token and endpoint have a meaning with \
                 seal.type = \"awskms\" only"
                    .into(),
            ));
        }
        match r#type {
            SealType::Awskms => self.awskms(world, env),
            SealType::KeyFile => Ok(Unsealing::AtStart),
            SealType::Shamir => Ok(Unsealing::Shares),
            SealType::Static => {
                let text = match (key, key_file) {
                    (Some(key), None) => Zeroizing::new(key.clone().into_bytes()),
                    (None, Some(path)) => Zeroizing::new(std::fs::read(path).map_err(|e| {
                        ConfigError(format!("seal.key_file: {}: cannot be read: {e}", path.display()))
                    })?),
                    _ => {
                        return Err(ConfigError(
                            "seal.type = \"static\" needs either seal.key (best by KEYFERRY_SEAL_KEY) or seal.key_file".into(),
                        ));
                    }
                };
                let key = hex::decode(text.trim_ascii()).ok().map(SecretBytes::new);
                let key = key.and_then(ShareKey::from_bytes).ok_or_else(|| {
                    ConfigError("seal.key: must be 32 bytes as 64 hexadecimal digits".into())
                })?;
                Ok(Unsealing::Auto(Arc::new(GivenKey::new(key, Arc::clone(&world.entropy)))))
            }
        }
    }

    fn awskms(&self, world: &World, env: &Snapshot) -> Result<Unsealing, ConfigError> {
        let seal = &self.seal;
        let key_id = seal.kms_key_id.clone().or_else(|| env.var("VAULT_AWSKMS_SEAL_KEY_ID"));
        let key_id = key_id.ok_or_else(|| {
            ConfigError(
                "seal.type = \"awskms\" needs seal.kms_key_id (or VAULT_AWSKMS_SEAL_KEY_ID): the ARN, id or alias of a KMS key"
                    .into(),
            )
        })?;
        let secret = |text: &String| SecretBytes::from(text.as_str());
        let keys = match (&seal.access_key, &seal.secret_key) {
            (Some(id), Some(key)) => Some((secret(id), secret(key))),
            (None, None) if seal.session_token.is_none() => None,
            _ => {
                return Err(ConfigError(
                    "seal.access_key and seal.secret_key go together, and seal.session_token with them; without them the \
                     server's own AWS credentials are used"
                        .into(),
                ));
            }
        };
        let settings = KmsSettings {
            key_id,
            region: seal.region.clone(),
            keys,
            session_token: seal.session_token.as_ref().map(secret),
            endpoint: seal.endpoint.clone(),
        };
        let (clock, entropy) = (Arc::clone(&world.clock), Arc::clone(&world.entropy));
        let net = Net::new(self.net()?, Arc::new(env.clone()), clock, Arc::clone(&entropy))
            .map_err(|fault| ConfigError(fault.to_string()))?;
        Ok(Unsealing::Auto(Arc::new(AwsKms::new(KmsKey::new(settings, &net), entropy))))
    }

    /// Where traces go, if anywhere. To be called where tasks can be spawned.
    pub(crate) fn traces(&self, env: &Snapshot, world: &World) -> Result<Option<Arc<Traces>>, ConfigError> {
        let Some(exporting) = Exporting::of(&self.telemetry, env).map_err(ConfigError)? else {
            return Ok(None);
        };
        let (clock, entropy) = (Arc::clone(&world.clock), Arc::clone(&world.entropy));
        let net = Net::new(self.net()?, Arc::new(env.clone()), clock, Arc::clone(&entropy))
            .map_err(|fault| ConfigError(fault.to_string()))?;
        Ok(Some(Traces::start(exporting, &net, entropy)))
    }

    /// The way out.
    pub(crate) fn net(&self) -> Result<NetSettings, ConfigError> {
        let extra_roots = match &self.sync.ca_file {
            Some(path) => std::fs::read(path)
                .map_err(|e| ConfigError(format!("sync.ca_file: {}: cannot be read: {e}", path.display())))?,
            None => Vec::new(),
        };
        Ok(NetSettings {
            extra_roots,
            connect_timeout: self.sync.connect_timeout.0,
            call_timeout: self.sync.call_timeout.0,
            allow_private_networks: self.sync.allow_private_networks,
            file_root: self.file_root()?,
            ..NetSettings::default()
        })
    }

    fn file_root(&self) -> Result<Option<PathBuf>, ConfigError> {
        let Some(root) = &self.sync.file_root else { return Ok(None) };
        let wrong = |what: &str| ConfigError(format!("sync.file_root: {}: {what}", root.display()));
        // A relative one would be another directory for whoever starts the server elsewhere.
        if !root.is_absolute() {
            return Err(wrong("must be an absolute path"));
        }
        match std::fs::metadata(root) {
            Ok(meta) if meta.is_dir() => Ok(Some(root.clone())),
            Ok(_) => Err(wrong("is not a directory")),
            Err(e) => Err(wrong(&format!("cannot be used: {e}"))),
        }
    }

    /// The way to Keeper, for mounts that show what is there.
    pub(crate) fn keeper(&self) -> Result<keeper::Options, ConfigError> {
        let NetSettings { extra_roots, connect_timeout, call_timeout, .. } = self.net()?;
        Ok(keeper::Options {
            connect_timeout,
            request_timeout: call_timeout,
            extra_ca: (!extra_roots.is_empty()).then_some(extra_roots),
            ..keeper::Options::default()
        })
    }

    /// The engine.
    pub(crate) fn engine(&self) -> engine::Settings {
        let sync = &self.sync;
        engine::Settings {
            concurrency: sync.concurrency.usize(),
            quota_percent: u32::try_from(sync.quota_percent.usize()).unwrap_or(100),
            sweep_interval: sync.sweep_interval.0,
            mass_delete_count: sync.mass_delete_count.usize(),
            mass_delete_percent: sync.mass_delete_percent.usize(),
            mass_delete_window: sync.mass_delete_window.0,
            cluster: engine::ClusterSettings {
                name: host_name(),
                api_addr: self.server.api_addr.as_ref().map(|url| url.0.clone()).unwrap_or_default(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                ..engine::ClusterSettings::default()
            },
            ..engine::Settings::default()
        }
    }

    /// The sync API.
    pub(crate) fn sync_api(&self) -> app::SyncSettings {
        app::SyncSettings {
            slash_list_keys: self.sync.list_key_style == ListKeyStyle::Slash,
            require_activation: self.sync.require_activation,
        }
    }

    /// The use cases.
    pub(crate) fn app(&self) -> app::Settings {
        let server = &self.server;
        app::Settings {
            vault_version: server.vault_version.0.clone(),
            cluster_name: server.cluster_name.clone(),
            seal_type: "key-file".to_owned(),
            default_lease_ttl: server.default_lease_ttl.0.as_secs(),
            max_lease_ttl: server.max_lease_ttl.0.as_secs(),
            max_secret_size: server.max_secret_size.usize(),
            unauthenticated_metrics: self.telemetry.unauthenticated_metrics_access,
            ..app::Settings::default()
        }
    }

    /// The listener. `listen` wins over what is configured.
    pub(crate) fn http(&self, listen: Option<SocketAddr>) -> http::Config {
        let listener = &self.listener;
        let tls = match (&listener.tls_cert_file, &listener.tls_key_file) {
            (Some(certificate), Some(key)) => {
                Some(http::TlsFiles { certificate: certificate.clone(), key: key.clone() })
            }
            _ => None,
        };
        http::Config {
            listen: listen.unwrap_or(listener.address.0),
            tls,
            limits: http::Limits {
                body: listener.max_request_size.usize(),
                json: model::json::Limits {
                    depth: listener.max_json_depth.usize(),
                    string: listener.max_json_string_length.usize(),
                    members: listener.max_json_members.usize(),
                },
                request: listener.max_request_duration.0,
                connections: listener.max_connections.usize(),
                shutdown: listener.shutdown_deadline.0,
                // Beside the store, where there is room for one like it.
                spool: Some(self.storage.path.clone().unwrap_or_else(crate::env::scratch)),
                ..http::Limits::default()
            },
        }
    }
}

/// What this machine is called, for `sys/ha-status`; empty where it does not say.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}
