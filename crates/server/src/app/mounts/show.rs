//! What is shown of mounts: `sys/mounts`, `sys/auth` and the listings of web interfaces and clients.

use std::collections::BTreeMap;

use store::records::{Mount, MountConfig};

use super::{MOUNT_TYPE, Place, Router};
use crate::app::{
    App, AppError, Operation, Reply, Request, auth,
    json::{self, Json, Object},
};

/// `sys/mounts`.
pub(in crate::app) async fn list(app: &App, request: &Request) -> Result<Reply, AppError> {
    if request.operation != Operation::Read {
        return Err(AppError::UnsupportedOperation);
    }
    let router = app.router().await?;
    let reply = Reply::object(MOUNT_TYPE, |o| put_mounts(o, app, &router, |_| true));
    Ok(reply.injected())
}

fn put_mounts(o: &mut Object<'_>, app: &App, router: &Router, visible: impl Fn(&str) -> bool) {
    let mut infos: BTreeMap<&str, Json> =
        BUILT_IN.iter().map(|built_in| (built_in.path, json::object(|o| built_in.put(o, app)))).collect();
    for mount in router.mounts() {
        infos.insert(mount.path.as_str(), json::object(|o| put_mount(o, mount)));
    }
    for (path, info) in infos.iter().filter(|(path, _)| visible(path)) {
        o.put_json(path, info);
    }
}

pub(super) fn put_optional_config(o: &mut Object<'_>, config: &MountConfig) {
    if !config.listing_visibility.is_empty() {
        o.put("listing_visibility", &config.listing_visibility);
    }
    for (name, list) in [
        ("audit_non_hmac_request_keys", &config.audit_non_hmac_request_keys),
        ("audit_non_hmac_response_keys", &config.audit_non_hmac_response_keys),
        ("passthrough_request_headers", &config.passthrough_request_headers),
        ("allowed_response_headers", &config.allowed_response_headers),
    ] {
        if !list.is_empty() {
            o.put(name, list);
        }
    }
}

pub(super) fn put_mount(o: &mut Object<'_>, mount: &Mount) {
    put_common(
        o,
        &mount.mount_type,
        &mount.description,
        mount.accessor.as_str(),
        &mount.uuid,
        &mount.config,
        None,
    );
    o.put("local", &false)
        .put("seal_wrap", &false)
        .put("options", &mount.options)
        .put("deprecation_status", "supported");
}

/// What is told of a mount to somebody who has not said who they are.
pub(in crate::app) fn put_for_anyone(o: &mut Object<'_>, mount_type: &str, description: &str) {
    o.put("type", mount_type).put("description", description);
}

/// What the mounts of engines and auth methods tell alike.
pub(in crate::app) fn put_common(
    o: &mut Object<'_>,
    mount_type: &str,
    description: &str,
    accessor: &str,
    uuid: &str,
    config: &MountConfig,
    token_type: Option<&str>,
) {
    o.put("type", mount_type)
        .put("description", description)
        .put("accessor", accessor)
        .put("uuid", uuid)
        .put("external_entropy_access", &false)
        .put("plugin_version", "")
        .put("running_plugin_version", concat!("v", env!("CARGO_PKG_VERSION"), "+builtin"))
        .put("running_sha256", "")
        .put_object("config", |o| {
            o.put("default_lease_ttl", &config.default_lease_ttl)
                .put("max_lease_ttl", &config.max_lease_ttl)
                .put("force_no_cache", &config.force_no_cache);
            put_optional_config(o, config);
            if let Some(token_type) = token_type {
                o.put("token_type", token_type);
            }
        });
}

/// A mount that is always there.
pub(super) struct BuiltIn {
    pub(super) path: &'static str,
    mount_type: &'static str,
    pub(super) description: &'static str,
    local: bool,
    seal_wrap: bool,
}

pub(super) const BUILT_IN: &[BuiltIn] = &[
    BuiltIn {
        path: "cubbyhole/",
        mount_type: "cubbyhole",
        description: "per-token private secret storage",
        local: true,
        seal_wrap: false,
    },
    BuiltIn {
        path: "identity/",
        mount_type: "identity",
        description: "identity store",
        local: false,
        seal_wrap: false,
    },
    BuiltIn {
        path: "sys/",
        mount_type: "system",
        description: "system endpoints used for control, policy and debugging",
        local: false,
        seal_wrap: true,
    },
];

const TOKEN_METHOD: BuiltIn = BuiltIn {
    path: "token/",
    mount_type: "token",
    description: "token based credentials",
    local: false,
    seal_wrap: false,
};

impl App {
    /// The accessor of the token store's mount.
    pub(crate) fn token_mount_accessor(&self) -> String {
        TOKEN_METHOD.accessor(self)
    }
}

/// Type and accessor of the mount that is always there at a first segment.
pub(in crate::app) fn built_in_accessor(app: &App, segment: &str) -> Option<(&'static str, String)> {
    let found = BUILT_IN.iter().find(|built_in| built_in.path.trim_end_matches('/') == segment)?;
    Some((found.mount_type, found.accessor(app)))
}

impl BuiltIn {
    fn accessor(&self, app: &App) -> String {
        let digest = app.store.keys().digest("built-in mount", &[self.path.as_bytes()]);
        let auth = if self.mount_type == "token" { "auth_" } else { "" };
        format!("{auth}{}_{}", self.mount_type, hex::encode(&digest[0..4]))
    }

    /// Its accessor and UUID come from the store's own key, so they stay the same for the life of a
    /// store and differ between stores.
    pub(super) fn put(&self, o: &mut Object<'_>, app: &App) {
        let digest = app.store.keys().digest("built-in mount", &[self.path.as_bytes()]);
        let hex = |range: std::ops::Range<usize>| hex::encode(&digest[range]);
        let accessor = self.accessor(app);
        let uuid = [hex(4..8), hex(8..10), hex(10..12), hex(12..14), hex(14..20)].join("-");
        let token_type = (self.mount_type == "token").then_some("default-service");
        put_common(
            o,
            self.mount_type,
            self.description,
            &accessor,
            &uuid,
            &MountConfig::default(),
            token_type,
        );
        o.put("local", &self.local).put("seal_wrap", &self.seal_wrap).put("options", &None::<()>);
    }
}

/// The auth mount that is always there: its path and what is shown of it.
pub(in crate::app) fn token_mount(app: &App) -> (&'static str, Json) {
    (TOKEN_METHOD.path, json::object(|o| TOKEN_METHOD.put(o, app)))
}

/// `sys/internal/ui/mounts`: the mounts the caller may know of; without a good token those that are
/// listed for everyone.
pub(in crate::app) async fn ui_list(app: &App, request: &Request) -> Result<Reply, AppError> {
    if request.operation != Operation::Read {
        return Err(AppError::UnsupportedOperation);
    }
    let acl = match auth::look(app, request).await {
        Ok(caller) => Some(caller.acl),
        Err(AppError::Denied(_)) => None,
        Err(other) => return Err(other),
    };
    let router = app.router().await?;
    let methods = auth::mounts_seen(app, acl.as_deref()).await?;
    Ok(Reply::object(MOUNT_TYPE, |o| {
        o.put_object("secret", |o| match &acl {
            Some(acl) => put_mounts(o, app, &router, |path| acl.reaches(path)),
            None => {
                let listed = |mount: &&Mount| mount.config.listing_visibility == "unauth";
                let mut listed: Vec<_> = router.mounts().iter().filter(listed).collect();
                listed.sort_by(|a, b| a.path.cmp(&b.path));
                for mount in listed {
                    o.put_object(mount.path.as_str(), |o| {
                        put_for_anyone(o, &mount.mount_type, &mount.description);
                        o.put("options", &mount.options);
                    });
                }
            }
        });
        o.put_object("auth", |o| {
            for (path, info) in &methods {
                o.put_json(path, info);
            }
        });
    }))
}

/// `sys/internal/ui/mounts/<path>`: the first call of every `kv` command. It is answered by the
/// token's rights at the mount, not at this path; an unknown mount looks like a forbidden one.
pub(in crate::app) async fn ui_mount(app: &App, request: &Request, path: &str) -> Result<Reply, AppError> {
    if request.operation != Operation::Read {
        return Err(AppError::UnsupportedOperation);
    }
    let acl = auth::look(app, request).await?.acl;
    let router = app.router().await?;
    let place = router.find(path).filter(|place| acl.reaches(place.mount.path.as_str()));
    let Some(Place { mount, .. }) = place else {
        let bare = path.trim_end_matches('/');
        return Err(AppError::Denied(format!(
            "preflight capability check returned 403, please ensure client's policies grant access to path \
             \"{bare}/\""
        )));
    };
    Ok(Reply::object(MOUNT_TYPE, |o| {
        put_mount(o, mount);
        o.put("path", mount.path.as_str());
    }))
}
