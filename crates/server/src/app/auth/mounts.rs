//! `sys/auth`: where one can log in.

use std::{collections::BTreeMap, sync::Arc};

use model::{MountAccessor, MountPath, uuid_v4};
use store::{
    StoreError,
    records::{AuthMount, AuthTable, MountConfig},
};

use super::{methods, terms::Kind};
use crate::app::{
    ATTEMPTS, App, AppError, Fields, Operation, Reply, Request, entries, identity,
    json::{self, Json, Object},
    mounts,
    policy::Acl,
};

const MOUNT_TYPE: &str = "system";
const TOKEN: &str = "token/";

impl App {
    /// The auth mounts as they are now.
    pub(crate) async fn auth_table(&self) -> Result<Arc<AuthTable>, StoreError> {
        let stored = self.store.get_cached(&self.store.keys().auth_mounts(), &self.auth_mounts).await?;
        let revision = stored.as_ref().map(|stored| stored.revision);
        if let Some(held) = &*self.auth_held.load()
            && held.0 == revision
        {
            return Ok(Arc::clone(&held.1));
        }
        let table = Arc::new(stored.map(|stored| stored.record.clone()).unwrap_or_default());
        self.auth_held.store(Some(Arc::new((revision, Arc::clone(&table)))));
        Ok(table)
    }
}

/// Path and type of every auth mount, by accessor.
pub(in crate::app) async fn mount_infos(app: &App) -> Result<BTreeMap<String, (String, String)>, AppError> {
    let table = app.auth_table().await?;
    let mut infos: BTreeMap<_, _> = table
        .mounts
        .iter()
        .map(|mount| (mount.accessor.to_string(), (format!("auth/{}", mount.path), mount.method.clone())))
        .collect();
    infos.insert(app.token_mount_accessor(), ("auth/token/".to_owned(), "token".to_owned()));
    Ok(infos)
}

/// The auth mounts that a caller may know of; without one those that are listed for everyone.
pub(in crate::app) async fn mounts_seen(
    app: &App,
    acl: Option<&Acl>,
) -> Result<BTreeMap<String, Json>, AppError> {
    let table = app.auth_table().await?;
    let mut seen = BTreeMap::new();
    let (path, info) = mounts::token_mount(app);
    if acl.is_some_and(|acl| acl.reaches(&format!("auth/{path}"))) {
        seen.insert(path.to_owned(), info);
    }
    for mount in &table.mounts {
        let visible = match acl {
            Some(acl) => acl.reaches(&format!("auth/{}", mount.path)),
            None => mount.config.listing_visibility == "unauth",
        };
        if visible {
            let shown = json::object(|o| match acl {
                Some(_) => put(o, mount),
                None => {
                    mounts::put_for_anyone(o, &mount.method, &mount.description);
                    o.put_object("options", |_| {});
                }
            });
            seen.insert(mount.path.to_string(), shown);
        }
    }
    Ok(seen)
}

fn put(o: &mut Object<'_>, mount: &AuthMount) {
    mounts::put_common(
        o,
        &mount.method,
        &mount.description,
        mount.accessor.as_str(),
        &mount.uuid,
        &mount.config,
        Some(&mount.token_type),
    );
    o.put("local", &false)
        .put("seal_wrap", &false)
        .put_object("options", |_| {})
        .put("deprecation_status", "supported");
}

/// `sys/auth/<rest>`, or the list for an empty rest.
pub(in crate::app) async fn sys_auth(app: &App, request: &Request, rest: &str) -> Result<Reply, AppError> {
    if rest.is_empty() {
        return match request.operation {
            Operation::Read => list(app).await,
            _ => Err(AppError::UnsupportedOperation),
        };
    }
    if let Some(path) = rest.strip_suffix("/tune") {
        return tune(app, request, path).await;
    }
    match request.operation {
        Operation::Read => read(app, rest).await,
        Operation::Write => enable(app, Fields::of(request)?, rest).await,
        Operation::Delete => disable(app, rest).await,
        _ => Err(AppError::UnsupportedOperation),
    }
}

async fn list(app: &App) -> Result<Reply, AppError> {
    let table = app.auth_table().await?;
    let (path, info) = mounts::token_mount(app);
    let mut infos = BTreeMap::from([(path.to_owned(), info)]);
    infos.extend(table.mounts.iter().map(|mount| (mount.path.to_string(), json::object(|o| put(o, mount)))));
    let reply = Reply::object(MOUNT_TYPE, |o| {
        for (path, info) in &infos {
            o.put_json(path, info);
        }
    });
    Ok(reply.injected())
}

fn parsed(path: &str) -> Result<MountPath, AppError> {
    MountPath::parse(path).map_err(|fault| AppError::invalid(fault.to_string()))
}

async fn read(app: &App, path: &str) -> Result<Reply, AppError> {
    let path = parsed(path)?;
    let (token, info) = mounts::token_mount(app);
    if path.as_str() == token {
        return Ok(Reply::data(MOUNT_TYPE, info).injected());
    }
    let table = app.auth_table().await?;
    match table.mounts.iter().find(|mount| mount.path == path) {
        Some(mount) => Ok(Reply::object(MOUNT_TYPE, |o| put(o, mount)).injected()),
        None => Err(AppError::invalid(format!("No auth engine at {path}"))),
    }
}

async fn enable(app: &App, mut fields: Fields, path: &str) -> Result<Reply, AppError> {
    let path = parsed(path)?;
    let given = fields.text("type")?.filter(|text| !text.is_empty() && text != "plugin");
    let given = match given {
        Some(given) => Some(given),
        None => fields.text("plugin_name")?.filter(|text| !text.is_empty()),
    };
    let given = given.ok_or_else(|| AppError::invalid("backend type must be specified as a string"))?;
    // What Vault calls its OIDC plugin is the same as its JWT plugin; ours has the bearer half.
    let method = methods::method(&given).ok_or_else(|| {
        let known = methods::ALL.map(methods::Method::slug).join(", ");
        AppError::invalid(format!("plugin not found in the catalog: available auth methods are {known}"))
    })?;
    for flag in ["local", "seal_wrap", "external_entropy_access"] {
        if fields.boolean(flag)?.unwrap_or(false) {
            return Err(AppError::invalid(format!("{flag} mounts are not available in keyferry")));
        }
    }
    let mut mount = AuthMount {
        path: path.clone(),
        accessor: MountAccessor::random(&format!("auth_{}", method.slug()), app.entropy.as_ref()),
        uuid: uuid_v4(app.entropy.as_ref()),
        method: method.slug().to_owned(),
        description: mounts::description(&mut fields)?.unwrap_or_default(),
        config: MountConfig::default(),
        token_type: Kind::DefaultService.as_str().to_owned(),
    };
    if let Some(config) = fields.take_object("config")? {
        configure(app, &mut mount, config.expose())?;
    }
    change(app, |table| {
        let overlaps = |taken: &str| taken.starts_with(path.as_str()) || path.as_str().starts_with(taken);
        let taken = table.mounts.iter().map(|other| other.path.as_str()).chain([TOKEN]).find(|p| overlaps(p));
        if let Some(taken) = taken {
            return Err(AppError::invalid(format!("path is already in use at {taken}")));
        }
        table.mounts.push(mount.clone());
        Ok(())
    })
    .await?;
    Ok(Reply::empty())
}

fn configure(app: &App, mount: &mut AuthMount, given: &serde_json::Value) -> Result<(), AppError> {
    mount.config = mounts::mount_config(given, mount.config.clone(), app)?;
    if let Some(word) = Fields::nested(given).text("token_type")? {
        mount.token_type = match Kind::parse(&word) {
            Some(Kind::Default) => Kind::DefaultService.as_str().to_owned(),
            Some(kind) => kind.as_str().to_owned(),
            None => return Err(AppError::invalid("invalid value for 'token_type'")),
        };
    }
    Ok(())
}

async fn disable(app: &App, path: &str) -> Result<Reply, AppError> {
    let path = parsed(path)?;
    if path.as_str() == TOKEN {
        return Err(AppError::invalid("token credential backend cannot be disabled"));
    }
    change(app, |table| {
        let at = table.mounts.iter().position(|mount| mount.path == path);
        let gone = at.map(|at| table.mounts.swap_remove(at).accessor);
        table.erasing.extend(gone);
        Ok(())
    })
    .await?;
    // Its tokens are dead from now on.
    app.chores.wake();
    app.rights_changed();
    Ok(Reply::empty())
}

/// `sys/auth/<path>/tune`, and `sys/mounts/auth/<path>/tune`, by which command lines call it.
async fn tune(app: &App, request: &Request, path: &str) -> Result<Reply, AppError> {
    let path = parsed(path)?;
    match request.operation {
        Operation::Read if path.as_str() == TOKEN => {
            let kind = Some(Kind::DefaultService.as_str());
            Ok(mounts::tuning(app, "token based credentials", None, &MountConfig::default(), kind))
        }
        Operation::Read => {
            let table = app.auth_table().await?;
            let mount = table.mounts.iter().find(|mount| mount.path == path);
            let mount = mount
                .ok_or_else(|| AppError::invalid(format!("cannot fetch sysview for path \"auth/{path}\"")))?;
            Ok(mounts::tuning(app, &mount.description, None, &mount.config, Some(&mount.token_type)))
        }
        Operation::Write if path.as_str() == TOKEN => Err(AppError::invalid("cannot tune \"auth/token/\"")),
        Operation::Write => {
            let mut fields = Fields::of(request)?;
            let description = mounts::description(&mut fields)?;
            let given = fields.into_inner();
            change(app, |table| {
                let mount = table.mounts.iter_mut().find(|mount| mount.path == path).ok_or_else(|| {
                    AppError::invalid(format!("tune of path \"auth/{path}\" failed: no mount entry found"))
                })?;
                configure(app, mount, given.expose())?;
                if let Some(description) = &description {
                    mount.description.clone_from(description);
                }
                Ok(())
            })
            .await?;
            Ok(Reply::empty())
        }
        _ => Err(AppError::UnsupportedOperation),
    }
}

async fn change<T>(app: &App, decide: impl Fn(&mut AuthTable) -> Result<T, AppError>) -> Result<T, AppError> {
    let key = app.store.keys().auth_mounts();
    let _turn = app.locks.of(key.as_bytes()).await;
    for _ in 0..ATTEMPTS {
        let stored = app.store.get(&key).await?;
        let revision = stored.as_ref().map(|stored| stored.revision);
        let mut table = stored.map(|stored| stored.record).unwrap_or_default();
        let answer = decide(&mut table)?;
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

/// Erases what disabled auth mounts kept, and lets the others remove what has expired.
pub(in crate::app) async fn erase_disabled(app: &App) -> Result<(), StoreError> {
    let table = app.auth_table().await?;
    for accessor in &table.erasing {
        entries::erase_owned(&app.store, accessor.as_str()).await?;
        identity::forget_mount(&app.store, accessor.as_str()).await?;
        let done = change(app, |table| {
            table.erasing.retain(|erasing| erasing != accessor);
            Ok(())
        });
        match done.await {
            Ok(()) => {}
            Err(error) => tracing::warn!(?error, "an erased auth mount could not be crossed off"),
        }
    }
    for mount in &table.mounts {
        if let Some(method) = methods::method(&mount.method) {
            method.tidy(&methods::Site { app, mount }).await?;
        }
    }
    Ok(())
}
