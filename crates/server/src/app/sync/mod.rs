//! `sys/sync/*` and `sys/activation-flags`: the founding API (vault-sync-api.md 3 and 5).

mod restore;
mod rights;
mod rules;
mod shared;
mod view;

use std::collections::BTreeMap;

use destinations::Mode;
use engine::{AssociationError, DestinationError, Engine, Removal, SourceRef};
use model::{DestinationId, DestinationKey, DestinationName, MountPath, SecretPath};
use serde_json::{Map, Value, json};
use store::{
    Node, Store,
    records::{Grantor, Mount},
};

pub use rights::SourceRights;

use super::{
    App, AppError, Capability, Fields, Operation, Reply, Request, Work,
    auth::Caller,
    below,
    fields::ignored,
    keeper,
    policy::{Acl, Given},
    signal::SyncSignal,
};
use rules::{Asked, Which};
use view::{associated, associated_data, counters, status_of};

/// How the sync API answers.
#[derive(Debug, Clone, Copy, Default)]
pub struct SyncSettings {
    /// List keys of destination types carry a trailing slash, as newer Vaults print them
    /// (decisions 1).
    pub slash_list_keys: bool,
    /// Every call is refused until someone has activated the feature (decisions 3).
    pub require_activation: bool,
}

/// The sync use cases.
pub struct SyncApi {
    engine: Engine,
    store: Store,
    settings: SyncSettings,
}

impl SyncSignal for Engine {
    fn pending(&self, destination: DestinationId, source: Node) {
        Engine::pending(self, destination, source);
    }

    fn rights_changed(&self) {
        Engine::rights_changed(self);
    }
}

/// Whether a path belongs here.
pub(super) fn owns(path: &str) -> bool {
    below(path, "sys/sync").or_else(|| below(path, "sys/activation-flags")).is_some()
}

/// What answers a request that needs no token, if it is such.
pub(super) fn open<'a>(app: &'a App, request: &'a Request) -> Option<Work<'a>> {
    let sync = app.sync.as_ref()?;
    if let Some(document) = below(&request.path, engine::IDENTITY_PATH) {
        return Some(Box::pin(sync.identity_document(request, document)));
    }
    let asks =
        request.operation == Operation::Read && below(&request.path, "sys/activation-flags") == Some("");
    if asks { Some(Box::pin(sync.activation_flags())) } else { None }
}

/// Whether what a write names exists already: then it is an update and not a creation. Paths that
/// know no such difference are updates.
pub(super) async fn exists(app: &App, path: &str) -> Result<bool, AppError> {
    match (&app.sync, below(path, "sys/sync")) {
        (Some(sync), Some(path)) => sync.exists(path).await,
        _ => Ok(true),
    }
}

/// Answers an authorised request.
pub(super) async fn handle(app: &App, caller: &Caller, request: &Request) -> Result<Reply, AppError> {
    let sync = app.sync.as_ref().ok_or_else(AppError::unsupported_path)?;
    match (below(&request.path, "sys/sync"), below(&request.path, "sys/activation-flags")) {
        (Some(path), _) => sync.handle(caller, request, path).await,
        (_, Some("secrets-sync/activate")) if request.operation == Operation::Write => sync.activate().await,
        _ => Err(AppError::unsupported_path()),
    }
}

/// Whether the caller may read a path: asked before a secret is associated, so that nobody can have
/// delivered what they may not see (vault-sync-api.md 7.1).
struct MayRead<'a>(&'a Acl);

impl MayRead<'_> {
    fn one(&self, path: &str) -> bool {
        self.0.check(Capability::Read, path, &Given::default()).is_ok()
    }

    /// Everything that is or will be below a path that ends in `/`.
    fn all_below(&self, path: &str) -> bool {
        self.0.reads_all_below(path)
    }
}

/// By whose right an association lives, where that is watched.
fn grantor_of(caller: &Caller) -> Grantor {
    let token = &caller.token.record;
    Grantor {
        policies: token.policies.clone(),
        entity: token.entity.clone(),
        accessor: token.accessor.clone(),
    }
}

const SYSTEM: &str = "system";
const FEATURE: &str = "secrets-sync";

impl SyncApi {
    /// Answers with this engine.
    pub fn new(engine: Engine, store: Store, settings: SyncSettings) -> Self {
        Self { engine, store, settings }
    }

    /// The engine, to be told of commits and stopped.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Whether a write to this path (below `sys/sync/`) would change something that is there, for the
    /// choice between `create` and `update`.
    async fn exists(&self, path: &str) -> Result<bool, AppError> {
        match path.split('/').collect::<Vec<_>>().as_slice() {
            ["destinations", kind, name] => match destination_key(kind, name) {
                Ok(key) => Ok(self.engine.destination(&key).await.is_ok_and(|found| found.is_some())),
                Err(_) => Ok(false),
            },
            [sort, name] => self.shared_exists(sort, name).await,
            _ => Ok(true),
        }
    }

    /// Serves a path below `sys/sync/`.
    async fn handle(&self, caller: &Caller, request: &Request, path: &str) -> Result<Reply, AppError> {
        use Operation::{Delete, List, Patch, Read, Write};
        self.check_activated().await?;
        let parts: Vec<_> = path.trim_end_matches('/').split('/').collect();
        match (request.operation, parts.as_slice()) {
            (Read, ["config"]) => self.read_config().await,
            (Patch | Write, ["config"]) => self.change_config(request).await,
            (Delete, ["config"]) => self.reset_config().await,
            (Read, ["restore-plan"]) => restore::read_plan(&self.engine, request).await,
            (Write, ["restore-plan", "confirm"]) => restore::confirm(&self.engine, request).await,
            (List, ["destinations"]) => self.list_destinations().await,
            (List, ["destinations", kind]) => self.list_destinations_of(kind).await,
            (Read, ["destinations", kind, name]) => self.read_destination(kind, name).await,
            (Write, ["destinations", kind, name]) => {
                self.write_destination(request, kind, name, Mode::Replace).await
            }
            (Patch, ["destinations", kind, name]) => {
                self.write_destination(request, kind, name, Mode::Merge).await
            }
            (Delete, ["destinations", kind, name]) => self.delete_destination(request, kind, name).await,
            (Read, ["destinations", kind, name, "associations"]) => self.read_associations(kind, name).await,
            (Write, ["destinations", kind, name, "associations", "set"]) => {
                self.set_association(caller, request, kind, name).await
            }
            (Write, ["destinations", kind, name, "associations", "remove"]) => {
                self.remove_association(request, kind, name).await
            }
            (Write, ["destinations", kind, name, "confirm-deletes"]) => {
                self.confirm_deletes(kind, name).await
            }
            (List, ["associations"]) => self.list_associations().await,
            // The literal segment wins over a mount of that name.
            (Read, ["associations", "destinations"]) => self.find_associations(request).await,
            (Read, ["associations", mount, secret]) => self.associations_of(mount, secret).await,
            (_, ["config"] | ["destinations" | "associations" | "restore-plan", ..]) => {
                Err(AppError::UnsupportedOperation)
            }
            (_, [sort, rest @ ..]) => self.handle_shared(request, sort, rest).await,
            _ => Err(AppError::unsupported_path()),
        }
    }

    /// `GET sys/activation-flags`, for anyone.
    async fn activation_flags(&self) -> Result<Reply, AppError> {
        let on = self.activated().await?;
        let (active, inactive) = if on { (vec![FEATURE], vec![]) } else { (vec![], vec![FEATURE]) };
        Ok(Reply::serialized(SYSTEM, &json!({ "activated": active, "unactivated": inactive })))
    }

    /// The documents by which a provider checks identity tokens (vault-sync-api.md 4.7): public, and bare,
    /// as OpenID Connect wants them.
    async fn identity_document(&self, request: &Request, document: &str) -> Result<Reply, AppError> {
        let issuer = self.engine.identity().ok_or_else(|| {
            AppError::NotFound(Some(
                "this server issues no identity tokens: server.api_addr is not set in its configuration"
                    .into(),
            ))
        })?;
        let json = match (request.operation, document) {
            (Operation::Read, ".well-known/openid-configuration") => issuer.discovery(),
            (Operation::Read, ".well-known/keys") => issuer.jwks().await?,
            (_, ".well-known/openid-configuration" | ".well-known/keys") => {
                return Err(AppError::UnsupportedOperation);
            }
            _ => return Err(AppError::unsupported_path()),
        };
        Ok(Reply::bare(200, super::json::text(&json)))
    }

    /// `POST sys/activation-flags/secrets-sync/activate`. Twice is once.
    async fn activate(&self) -> Result<Reply, AppError> {
        let mut config = self.engine.sync_config().await?;
        if !config.activated {
            config.activated = true;
            self.engine.set_sync_config(&config).await?;
        }
        self.activation_flags().await
    }

    async fn activated(&self) -> Result<bool, AppError> {
        Ok(!self.settings.require_activation || self.engine.sync_config().await?.activated)
    }

    async fn check_activated(&self) -> Result<(), AppError> {
        if self.activated().await? {
            return Ok(());
        }
        Err(AppError::invalid(
            "secrets sync is not activated; write to sys/activation-flags/secrets-sync/activate first",
        ))
    }

    async fn read_config(&self) -> Result<Reply, AppError> {
        let config = self.engine.sync_config().await?;
        let mut data = json!({ "disabled": config.disabled, "queue_capacity": config.queue_capacity });
        if let Some(restored) = self.engine.unconfirmed_restore().await? {
            restore::put_paused(&mut data, &restored);
        }
        Ok(Reply::serialized(SYSTEM, &data))
    }

    async fn change_config(&self, request: &Request) -> Result<Reply, AppError> {
        let mut fields = Fields::of(request)?;
        let mut config = self.engine.sync_config().await?;
        if let Some(disabled) = fields.boolean("disabled")? {
            config.disabled = disabled;
        }
        if let Some(capacity) = fields.unsigned("queue_capacity")? {
            if capacity == 0 {
                return Err(AppError::invalid("queue_capacity: must be at least 1"));
            }
            config.queue_capacity = capacity;
        }
        self.engine.set_sync_config(&config).await?;
        Ok(self.read_config().await?.warn_of_unknown(fields.unknown()))
    }

    async fn reset_config(&self) -> Result<Reply, AppError> {
        let activated = self.engine.sync_config().await?.activated;
        let config = store::records::SyncConfig { activated, ..Default::default() };
        self.engine.set_sync_config(&config).await?;
        self.read_config().await
    }

    async fn list_destinations(&self) -> Result<Reply, AppError> {
        let all = self.engine.destinations().await?;
        if all.is_empty() {
            return Err(AppError::not_found());
        }
        let total: usize = all.values().map(Vec::len).sum();
        let slash = if self.settings.slash_list_keys { "/" } else { "" };
        let info: BTreeMap<String, Vec<String>> =
            all.into_iter().map(|(kind, names)| (format!("{kind}{slash}"), names)).collect();
        let keys: Vec<_> = info.keys().collect();
        Ok(Reply::serialized(SYSTEM, &json!({ "keys": keys, "key_info": info, "total_destinations": total })))
    }

    async fn list_destinations_of(&self, kind: &str) -> Result<Reply, AppError> {
        self.check_kind(kind)?;
        let names = self.engine.destinations().await?.remove(kind).ok_or_else(AppError::not_found)?;
        Ok(Reply::serialized(SYSTEM, &json!({ "keys": names, "total_destinations": names.len() })))
    }

    async fn read_destination(&self, kind: &str, name: &str) -> Result<Reply, AppError> {
        let key = destination_key(kind, name)?;
        let view = self.engine.destination(&key).await.map_err(refused)?.ok_or_else(AppError::not_found)?;
        Ok(Reply::serialized(SYSTEM, &self.shown(&view)))
    }

    async fn write_destination(
        &self,
        request: &Request,
        kind: &str,
        name: &str,
        mode: Mode,
    ) -> Result<Reply, AppError> {
        let key = destination_key(kind, name)?;
        let body = Fields::of(request)?.into_inner();
        let (view, unknown) = self.engine.write_destination(&key, &body, mode).await.map_err(refused)?;
        // These mean something on DELETE, and `tags_to_remove` on PATCH (vault-sync-api.md 4); `name`
        // and `type` repeat the path.
        const ELSEWHERE: [&str; 5] = ["purge", "force_delete", "tags_to_remove", "name", "type"];
        let unknown: Vec<_> =
            unknown.into_iter().filter(|name| !ELSEWHERE.contains(&name.as_str())).collect();
        Ok(Reply::serialized(SYSTEM, &self.shown(&view)).warn_of_unknown(ignored(&unknown)))
    }

    async fn delete_destination(&self, request: &Request, kind: &str, name: &str) -> Result<Reply, AppError> {
        let key = destination_key(kind, name)?;
        let mut fields = Fields::of(request)?;
        let purge = fields.boolean("purge")?.unwrap_or_default();
        let force = fields.boolean("force_delete")?.unwrap_or_default();
        let how = match (purge, force) {
            (_, true) => Removal::Force,
            (true, false) => Removal::Purge,
            (false, false) => Removal::Plain,
        };
        self.engine.remove_destination(&key, how).await.map_err(refused)?;
        Ok(Reply::empty())
    }

    async fn confirm_deletes(&self, kind: &str, name: &str) -> Result<Reply, AppError> {
        let view = self.engine.confirm_deletes(&destination_key(kind, name)?).await.map_err(refused)?;
        Ok(Reply::serialized(SYSTEM, &self.shown(&view)))
    }

    async fn read_associations(&self, kind: &str, name: &str) -> Result<Reply, AppError> {
        self.check_kind(kind)?;
        let key = destination_key(kind, name)?;
        let views = self.engine.associations(&key).await?;
        let shown = views.as_deref().unwrap_or_default();
        let mut data = associated_data(&key, shown, false);
        let rules = self.shown_rules(&key, shown).await?;
        if !rules.is_empty() {
            data["association_rules"] = json!(rules);
        }
        let reply = Reply::serialized(SYSTEM, &data);
        // Not a 404: the Terraform provider takes a missing body badly (vault-sync-api.md 3.5).
        Ok(if views.is_none() { reply.warn(format!("there is no destination {key}")) } else { reply })
    }

    async fn set_association(
        &self,
        caller: &Caller,
        request: &Request,
        kind: &str,
        name: &str,
    ) -> Result<Reply, AppError> {
        self.check_kind(kind)?;
        let key = destination_key(kind, name)?;
        let Asked { mount, which, unknown } = Asked::of(request)?;
        let found = self.mount(&mount).await?;
        let path = match which {
            Which::One(path) => path,
            Which::All { pattern, exclude, path } => {
                match self.associated_singly(&key, found.as_ref(), path).await? {
                    Some(path) => path,
                    None => {
                        let reply = self.set_rule(caller, &key, mount, pattern, exclude).await?;
                        return Ok(reply.warn_of_unknown(unknown));
                    }
                }
            }
        };
        // A caller who may not read the secret learns nothing about mount or secret.
        if !MayRead(&caller.acl).one(&format!("{}data/{path}", mount.as_str())) {
            return Err(AppError::Denied(format!(
                "permission denied to read the content of the secret {path} in mount {}",
                mount.bare()
            )));
        }
        let found = found.ok_or_else(|| no_kv_mount(&mount))?;
        let grantor = Some(grantor_of(caller));
        let source = SourceRef { accessor: found.accessor, mount, path, grantor };
        let views = self.engine.set_association(&key, &source).await.map_err(not_associated)?;
        Ok(associated(&key, &views, true).warn_of_unknown(unknown))
    }

    async fn remove_association(&self, request: &Request, kind: &str, name: &str) -> Result<Reply, AppError> {
        self.check_kind(kind)?;
        let key = destination_key(kind, name)?;
        let Asked { mount, which, unknown } = Asked::of(request)?;
        let found = self.mount(&mount).await?;
        let path = match which {
            Which::One(path) => path,
            Which::All { pattern, path, .. } => {
                if let Some(reply) = self.remove_rule(&key, &mount, &pattern).await? {
                    return Ok(reply.warn_of_unknown(unknown));
                }
                match path {
                    Some(path) => path,
                    // Removing what is not there succeeds.
                    None => return Ok(associated(&key, &[], true).warn_of_unknown(unknown)),
                }
            }
        };
        let accessor = found.as_ref().map(|mount| &mount.accessor);
        let views = self
            .engine
            .remove_association(&key, accessor, mount.bare(), &path)
            .await
            .map_err(not_associated)?;
        Ok(associated(&key, &views, true).warn_of_unknown(unknown))
    }

    async fn list_associations(&self) -> Result<Reply, AppError> {
        let secrets = self.engine.associated_secrets().await?;
        let rules = self.engine.count_rules().await?;
        if secrets.is_empty() && rules == 0 {
            return Err(AppError::not_found());
        }
        let mut info = BTreeMap::<String, Vec<Value>>::new();
        for (mount, path, _) in &secrets {
            info.entry(format!("{mount}/{path}"))
                .or_default()
                .push(json!({ "mount": format!("{mount}/"), "secret_path": path.as_str() }));
        }
        let total: usize = secrets.iter().map(|(_, _, destinations)| destinations).sum();
        let keys: Vec<_> = info.keys().collect();
        let mut data = json!({
            "keys": keys, "key_info": info, "total_associations": total, "total_secrets": secrets.len(),
        });
        if rules > 0 {
            data["total_rules"] = json!(rules);
        }
        Ok(Reply::serialized(SYSTEM, &data))
    }

    /// The query form can name mounts and secrets with slashes.
    async fn find_associations(&self, request: &Request) -> Result<Reply, AppError> {
        let (mount, path, _) = source_fields(request)?;
        self.associations_of(mount.bare(), path.as_str()).await
    }

    async fn associations_of(&self, mount: &str, secret: &str) -> Result<Reply, AppError> {
        let mount = MountPath::parse(mount).map_err(|error| AppError::invalid(error.to_string()))?;
        let path = SecretPath::parse(secret).map_err(|error| AppError::invalid(error.to_string()))?;
        let found = self.mount(&mount).await?.ok_or_else(AppError::not_found)?;
        let views = self.engine.associations_of_secret(&found.accessor, &path).await?;
        if views.is_empty() {
            return Err(AppError::not_found());
        }
        let entries: Map<String, Value> = views
            .iter()
            .map(|view| {
                let mut entry = status_of(view);
                entry.insert("type".into(), json!(view.destination.kind));
                entry.insert("name".into(), json!(view.destination.name.as_str()));
                let sub_key = view.sub_key.as_ref().map(|key| format!("/{key}")).unwrap_or_default();
                (format!("{}{sub_key}", view.destination), Value::Object(entry))
            })
            .collect();
        Ok(Reply::serialized(SYSTEM, &json!({ "associated_destinations": entries })))
    }

    /// The path, if a secret of just that name is associated with the destination, stars and all.
    async fn associated_singly(
        &self,
        key: &DestinationKey,
        mount: Option<&Mount>,
        path: Option<SecretPath>,
    ) -> Result<Option<SecretPath>, AppError> {
        let (Some(mount), Some(path)) = (mount, path) else { return Ok(None) };
        let views = self.engine.associations_of_secret(&mount.accessor, &path).await?;
        Ok(views.iter().any(|view| view.destination == *key).then_some(path))
    }

    /// The KV v2 mount at a path.
    async fn mount(&self, path: &MountPath) -> Result<Option<Mount>, AppError> {
        let table = self.store.get(&self.store.keys().mounts()).await?;
        Ok(table.into_iter().flat_map(|table| table.record.mounts).find(|mount| {
            mount.path == *path
                && matches!(mount.mount_type.as_str(), "kv" | keeper::MOUNT_TYPE)
                && mount.options.get("version").is_some_and(|version| version == "2")
        }))
    }

    fn check_kind(&self, kind: &str) -> Result<(), AppError> {
        if self.engine.kinds().iter().any(|known| known.slug() == kind) {
            return Ok(());
        }
        Err(refused(DestinationError::UnknownKind {
            given: kind.to_owned(),
            known: self.engine.kinds().iter().map(|kind| kind.slug()).collect(),
        }))
    }
}

fn no_kv_mount(mount: &MountPath) -> AppError {
    AppError::invalid(format!(
        "no KV version 2 mount at {}; only KV version 2 secrets can be associated",
        mount.as_str()
    ))
}

fn destination_key(kind: &str, name: &str) -> Result<DestinationKey, AppError> {
    let name = DestinationName::parse(name).map_err(|error| AppError::invalid(error.to_string()))?;
    Ok(DestinationKey { kind: kind.to_owned(), name })
}

/// `mount` and `secret_name`, and the warning for what else was given.
fn source_fields(request: &Request) -> Result<(MountPath, SecretPath, Option<String>), AppError> {
    let mut fields = Fields::of(request)?;
    let missing = |name: &str| AppError::invalid(format!("missing required field: {name}"));
    let mount = fields.text("mount")?.ok_or_else(|| missing("mount"))?;
    let name = fields.text("secret_name")?.ok_or_else(|| missing("secret_name"))?;
    let mount = MountPath::parse(&mount).map_err(|error| AppError::invalid(format!("mount: {error}")))?;
    let path =
        SecretPath::parse(&name).map_err(|error| AppError::invalid(format!("secret_name: {error}")))?;
    Ok((mount, path, fields.unknown()))
}

fn refused(error: DestinationError) -> AppError {
    match error {
        DestinationError::NoDestination(_) => AppError::NotFound(Some(error.to_string())),
        DestinationError::Store(error) => error.into(),
        DestinationError::UnknownKind { .. }
        | DestinationError::Field(_)
        | DestinationError::Immutable { .. }
        | DestinationError::PurgeInProgress(_)
        | DestinationError::InUse(_)
        | DestinationError::Disabled => AppError::Invalid(error.to_string()),
    }
}

fn not_associated(error: AssociationError) -> AppError {
    match error {
        AssociationError::NoDestination(_) => AppError::NotFound(Some(error.to_string())),
        AssociationError::Store(error) => error.into(),
        AssociationError::Unreadable(text) => AppError::Internal(text),
        AssociationError::PurgeInProgress(_)
        | AssociationError::NoSecret { .. }
        | AssociationError::RuleMember { .. }
        | AssociationError::NoRule { .. }
        | AssociationError::NameHeld { .. }
        | AssociationError::QueueFull(_) => AppError::Invalid(error.to_string()),
    }
}
