//! The mounts: where each engine answers, and `sys/mounts` and its neighbours (kv-v2-api.md 4).

mod remount;
mod show;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use model::{MountAccessor, MountPath, uuid_v4};
use store::{
    Keys, Node, Revision, StoreError, Stored,
    records::{KvConfig, Mount, MountConfig, MountTable},
};

use super::{ATTEMPTS, App, AppError, Fields, Operation, Reply, Request, keeper};
pub(super) use remount::{Migrations, remount, remount_status};
use show::{BUILT_IN, put_mount, put_optional_config};
pub(super) use show::{built_in_accessor, list, put_common, put_for_anyone, token_mount, ui_list, ui_mount};

const MOUNT_TYPE: &str = "system";
/// First segments that no mount may take.
const RESERVED: [&str; 5] = ["sys", "auth", "cubbyhole", "identity", "audit"];
const LONGEST_DESCRIPTION: usize = 4096;

/// Finds the mount that serves a path.
pub(crate) struct Router {
    table: Option<Arc<Stored<MountTable>>>,
    by_path: HashMap<String, usize>,
    roots: Vec<Node>,
}

/// A mount and what is asked of it.
pub(crate) struct Place<'a> {
    /// The mount.
    pub(crate) mount: &'a Mount,
    /// The root of its tree.
    pub(crate) root: Node,
    /// The path below the mount.
    pub(crate) rest: &'a str,
}

impl Router {
    pub(crate) fn new(keys: &Keys, table: Option<Arc<Stored<MountTable>>>) -> Self {
        let mounts = table.as_ref().map_or(&[][..], |table| &table.record.mounts);
        let by_path = mounts.iter().enumerate().map(|(at, m)| (m.path.as_str().to_owned(), at)).collect();
        let roots = mounts.iter().map(|mount| keys.mount(&mount.accessor)).collect();
        Self { table, by_path, roots }
    }

    pub(crate) fn revision(&self) -> Option<Revision> {
        self.table.as_ref().map(|table| table.revision)
    }

    /// All mounts, in no order.
    pub(crate) fn all(&self) -> &[Mount] {
        self.mounts()
    }

    fn mounts(&self) -> &[Mount] {
        self.table.as_ref().map_or(&[], |table| &table.record.mounts)
    }

    /// The mount at or above a path. No mount is below another, so at most one is.
    pub(crate) fn find<'a>(&'a self, path: &'a str) -> Option<Place<'a>> {
        let ends = path.match_indices('/').map(|(at, _)| at + 1);
        for end in ends {
            if let Some(at) = self.by_path.get(&path[..end]) {
                return self.place(*at, &path[end..]);
            }
        }
        // The mount's own path without its slash.
        let at = if path.ends_with('/') { None } else { self.by_path.get(&format!("{path}/")) };
        self.place(*at?, "")
    }

    fn place<'a>(&'a self, at: usize, rest: &'a str) -> Option<Place<'a>> {
        let (mount, root) = (self.mounts().get(at)?, *self.roots.get(at)?);
        Some(Place { mount, root, rest })
    }

    /// The mount with an accessor.
    pub(crate) fn of_accessor(&self, accessor: &MountAccessor) -> Option<&Mount> {
        self.mounts().iter().find(|mount| mount.accessor == *accessor)
    }

    fn at(&self, path: &str) -> Option<&Mount> {
        self.by_path.get(path).and_then(|at| self.mounts().get(*at))
    }
}

/// Whether a mount answers as KV v2.
pub(crate) fn is_versioned(mount: &Mount) -> bool {
    mount.options.get("version").is_some_and(|version| version == "2")
}

/// `sys/mounts/<path>`.
pub(super) async fn mount(app: &App, request: &Request, path: &str) -> Result<Reply, AppError> {
    match request.operation {
        Operation::Read => {
            let path = MountPath::parse(path).map_err(|fault| AppError::invalid(fault.to_string()))?;
            if let Some(built_in) = BUILT_IN.iter().find(|built_in| built_in.path == path.as_str()) {
                return Ok(Reply::object(MOUNT_TYPE, |o| built_in.put(o, app)).injected());
            }
            let router = app.router().await?;
            match router.at(path.as_str()) {
                Some(mount) => Ok(Reply::object(MOUNT_TYPE, |o| put_mount(o, mount)).injected()),
                None => Err(AppError::invalid(format!("No secret engine mount at {path}"))),
            }
        }
        Operation::Write => enable(app, Fields::of(request)?, path).await,
        Operation::Delete => disable(app, path).await,
        _ => Err(AppError::UnsupportedOperation),
    }
}

async fn enable(app: &App, mut fields: Fields, path: &str) -> Result<Reply, AppError> {
    let path = mountable(path, |path| format!("cannot mount \"{path}\""))?;
    let (mount_type, mut options) = engine_options(&mut fields)?;
    let settings = match mount_type {
        keeper::MOUNT_TYPE => Some(keeper::take(&mut options)?.ok_or_else(|| {
            AppError::invalid(
                "a keeper mount needs options.ksm_config: the configuration of a device of the application, as \
                 `ksm profile export` prints it",
            )
        })?),
        _ => None,
    };
    let mount = Mount {
        path: path.clone(),
        accessor: MountAccessor::random(mount_type, app.entropy.as_ref()),
        uuid: uuid_v4(app.entropy.as_ref()),
        mount_type: mount_type.to_owned(),
        description: description(&mut fields)?.unwrap_or_default(),
        options,
        config: match fields.take_object("config")? {
            Some(config) => mount_config(config.expose(), MountConfig::default(), app)?,
            None => MountConfig::default(),
        },
        kv: KvConfig::default(),
    };
    for flag in ["local", "seal_wrap", "external_entropy_access"] {
        if fields.boolean(flag)?.unwrap_or(false) {
            return Err(AppError::invalid(format!("{flag} mounts are not available in keyferry")));
        }
    }
    // Before the mount is there, so that it is never there without.
    if let Some(settings) = settings {
        keeper::keep(app, &mount.accessor, settings).await?;
    }
    let enabled = change_table(app, |table| {
        if let Some(taken) = table.mounts.iter().find(|other| overlaps(&other.path, &path)) {
            return Err(AppError::invalid(format!("path is already in use at {}", taken.path)));
        }
        table.mounts.push(mount.clone());
        Ok(())
    })
    .await;
    if mount.mount_type == keeper::MOUNT_TYPE {
        if enabled.is_err() {
            keeper::forget(app, &mount.accessor).await?;
        }
        app.keepers.wake();
    }
    enabled.map(|()| Reply::empty())
}

/// Whether one of two mounts would be at or below the other.
fn overlaps(a: &MountPath, b: &MountPath) -> bool {
    a.as_str().starts_with(b.as_str()) || b.as_str().starts_with(a.as_str())
}

/// Reads a path that a mount may take; what is ours to answer is refused by `refuse`.
fn mountable(path: &str, refuse: impl Fn(&MountPath) -> String) -> Result<MountPath, AppError> {
    let path = MountPath::parse(path).map_err(|fault| AppError::invalid(fault.to_string()))?;
    let first = path.as_str().split('/').next().unwrap_or_default();
    if RESERVED.contains(&first) {
        return Err(AppError::invalid(refuse(&path)));
    }
    Ok(path)
}

pub(super) fn description(fields: &mut Fields) -> Result<Option<String>, AppError> {
    let description = fields.text("description")?;
    if description.as_ref().is_some_and(|text| text.len() > LONGEST_DESCRIPTION) {
        return Err(AppError::invalid(format!("description must be at most {LONGEST_DESCRIPTION} bytes")));
    }
    Ok(description)
}

/// The engine and its options, from `type`, `plugin_name` and `options`.
fn engine_options(fields: &mut Fields) -> Result<(&'static str, BTreeMap<String, String>), AppError> {
    let named = fields.text("type")?.filter(|text| !text.is_empty());
    let plugin = fields.text("plugin_name")?.filter(|text| !text.is_empty());
    let engine = match named.as_deref() {
        None | Some("plugin") => plugin,
        Some(_) => named,
    };
    let engine = engine.ok_or_else(|| AppError::invalid("backend type must be specified as a string"))?;
    let mut options = fields.map("options")?.unwrap_or_default();
    let mut version = |version: &str| options.insert("version".to_owned(), version.to_owned());
    let engine = match engine.as_str() {
        "kv" | "generic" => "kv",
        "kv-v1" => {
            version("1");
            "kv"
        }
        "kv-v2" => {
            version("2");
            "kv"
        }
        keeper::MOUNT_TYPE => {
            // It answers as KV v2 does.
            version("2");
            keeper::MOUNT_TYPE
        }
        _ => {
            let text = "plugin not found in the catalog: only kv and keeper engines are available";
            return Err(AppError::invalid(text));
        }
    };
    check_version(&options)?;
    Ok((engine, options))
}

fn check_version(options: &BTreeMap<String, String>) -> Result<(), AppError> {
    match options.get("version").map(String::as_str) {
        None | Some("1" | "2") => Ok(()),
        Some(_) => Err(AppError::invalid("options.version must be \"1\" or \"2\"")),
    }
}

/// The mount configuration with what `given` changes.
pub(super) fn mount_config(
    given: &serde_json::Value,
    mut config: MountConfig,
    app: &App,
) -> Result<MountConfig, AppError> {
    let mut fields = Fields::nested(given);
    if let Some(seconds) = lease_ttl(&mut fields, "default_lease_ttl")? {
        config.default_lease_ttl = seconds;
    }
    if let Some(seconds) = lease_ttl(&mut fields, "max_lease_ttl")? {
        config.max_lease_ttl = seconds;
    }
    let effective_max =
        if config.max_lease_ttl == 0 { app.settings.max_lease_ttl } else { config.max_lease_ttl };
    if config.default_lease_ttl > effective_max {
        let max = match config.max_lease_ttl {
            0 => format!("system max lease TTL of {effective_max}"),
            _ => "given max lease TTL".to_owned(),
        };
        return Err(AppError::invalid(format!("given default lease TTL greater than {max}")));
    }
    if let Some(force) = fields.boolean("force_no_cache")? {
        config.force_no_cache = force;
    }
    match fields.text("listing_visibility")?.as_deref() {
        None => {}
        Some(word @ ("" | "hidden" | "unauth")) => word.clone_into(&mut config.listing_visibility),
        Some(_) => {
            return Err(AppError::invalid("invalid listing_visibility: must be unauth, hidden or empty"));
        }
    }
    for (name, list) in [
        ("audit_non_hmac_request_keys", &mut config.audit_non_hmac_request_keys),
        ("audit_non_hmac_response_keys", &mut config.audit_non_hmac_response_keys),
        ("passthrough_request_headers", &mut config.passthrough_request_headers),
        ("allowed_response_headers", &mut config.allowed_response_headers),
    ] {
        if let Some(given) = fields.list(name)? {
            *list = given;
        }
    }
    Ok(config)
}

/// A lease time in seconds; `system` means the system's.
fn lease_ttl(fields: &mut Fields, name: &'static str) -> Result<Option<u64>, AppError> {
    if fields.get(name).is_some_and(|value| value == "system") {
        return Ok(Some(0));
    }
    fields.seconds(name)
}

async fn disable(app: &App, path: &str) -> Result<Reply, AppError> {
    let path = mountable(path, |path| format!("cannot unmount \"{path}\""))?;
    let gone = change_table(app, |table| {
        let at = table.mounts.iter().position(|mount| mount.path == path);
        let gone = at.map(|at| table.mounts.swap_remove(at).accessor);
        table.erasing.extend(gone.clone());
        Ok(gone)
    })
    .await?;
    app.chores.wake();
    if let (Some(sync), Some(gone)) = (&app.sync, gone) {
        sync.engine().mount_gone(&gone).await?;
    }
    Ok(Reply::empty())
}

/// Changes the table of mounts, deciding anew when others were faster.
pub(super) async fn change_table<T>(
    app: &App,
    decide: impl Fn(&mut MountTable) -> Result<T, AppError>,
) -> Result<T, AppError> {
    let key = app.store.keys().mounts();
    let _turn = app.locks.of(key.as_bytes()).await;
    for _ in 0..ATTEMPTS {
        let stored = app.store.get(&key).await?;
        let revision = stored.as_ref().map(|stored| stored.revision);
        let before = stored.map(|stored| stored.record).unwrap_or_default();
        let mut table = before.clone();
        let answer = decide(&mut table)?;
        if table == before {
            return Ok(answer);
        }
        let mut transaction = app.store.transaction();
        transaction.expect(&key, revision).put(&key, &table);
        match transaction.commit().await {
            Ok(_) => return Ok(answer),
            Err(StoreError::Conflict) => {}
            Err(other) => return Err(other.into()),
        }
    }
    Err(StoreError::Conflict.into())
}

/// `sys/mounts/<path>/tune`.
pub(super) async fn tune(app: &App, request: &Request, path: &str) -> Result<Reply, AppError> {
    let path = MountPath::parse(path).map_err(|fault| AppError::invalid(fault.to_string()))?;
    let built_in = BUILT_IN.iter().find(|built_in| built_in.path == path.as_str());
    match (request.operation, built_in) {
        (Operation::Read, Some(built_in)) => {
            Ok(tuning(app, built_in.description, None, &MountConfig::default(), None))
        }
        (Operation::Read, None) => {
            let router = app.router().await?;
            let mount = router.at(path.as_str());
            let mount = mount
                .ok_or_else(|| AppError::invalid(format!("cannot fetch sysview for path \"{path}\"")))?;
            Ok(tuning(app, &mount.description, Some(&mount.options), &mount.config, None))
        }
        (Operation::Write, Some(_)) => Err(AppError::invalid(format!("cannot tune \"{path}\""))),
        (Operation::Write, None) => {
            let mut fields = Fields::of(request)?;
            if fields.has("token_type") {
                return Err(AppError::invalid("'token_type' can only be modified on auth mounts"));
            }
            let description = description(&mut fields)?;
            let mut options = fields.map("options")?;
            if let Some(options) = &mut options {
                check_version(options)?;
                if let Some(mount) = app.router().await?.at(path.as_str())
                    && mount.mount_type == keeper::MOUNT_TYPE
                {
                    keeper::retune(app, mount, options).await?;
                }
            }
            let given = fields.into_inner();
            change_table(app, |table| {
                let mount = table.mounts.iter_mut().find(|mount| mount.path == path).ok_or_else(|| {
                    AppError::invalid(format!("tune of path \"{path}\" failed: no mount entry found"))
                })?;
                mount.config = mount_config(given.expose(), mount.config.clone(), app)?;
                if let Some(description) = &description {
                    mount.description.clone_from(description);
                }
                if let Some(options) = &options {
                    let downgrade = options.get("version").is_some_and(|version| version == "1");
                    if is_versioned(mount) && downgrade {
                        return Err(AppError::invalid("cannot downgrade mount from version 2"));
                    }
                    // What is not given stays. A v1 secret is stored as version 1 of a v2 secret, so
                    // the engine needs nothing but the option to become v2.
                    mount.options.extend(options.clone());
                }
                Ok(())
            })
            .await?;
            Ok(Reply::empty())
        }
        _ => Err(AppError::UnsupportedOperation),
    }
}

/// What `tune` tells of a mount. `token_type`: of an auth mount.
pub(super) fn tuning(
    app: &App,
    description: &str,
    options: Option<&BTreeMap<String, String>>,
    config: &MountConfig,
    token_type: Option<&str>,
) -> Reply {
    let effective = |seconds: u64, system: u64| if seconds == 0 { system } else { seconds };
    let reply = Reply::object(MOUNT_TYPE, |o| {
        if let Some(token_type) = token_type {
            o.put("token_type", token_type);
        }
        o.put("default_lease_ttl", &effective(config.default_lease_ttl, app.settings.default_lease_ttl))
            .put("max_lease_ttl", &effective(config.max_lease_ttl, app.settings.max_lease_ttl))
            .put("force_no_cache", &config.force_no_cache)
            .put("description", description);
        if let Some(options) = options.filter(|options| !options.is_empty()) {
            o.put("options", options);
        }
        put_optional_config(o, config);
    });
    reply.injected()
}
