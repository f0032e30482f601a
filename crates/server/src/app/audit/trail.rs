//! One request's way past the audit devices: a line before it is carried out, and one before its answer is
//! given.

use std::sync::Arc;

use super::{conceal::Numbers, entry};
use crate::app::{
    App, AppError, Capability, Content, Operation, Reply, Request,
    auth::Caller,
    json::{self, Json, Object},
    mounts::{Router, built_in_accessor},
};

/// Who asks for what.
pub(super) struct Asker<'a> {
    /// `None`: nobody is known, or need be.
    pub(super) caller: Option<&'a Caller>,
    /// The policies that allow it; none where it is root's right. `None`: it is not allowed.
    pub(super) granted: Option<&'a [Arc<str>]>,
    pub(super) operation: &'static str,
}

/// The mount that a request goes to.
#[derive(Default)]
pub(super) struct Mounted {
    /// With its slash; empty: there is none.
    pub(super) path: String,
    pub(super) kind: String,
    pub(super) accessor: String,
    pub(super) class: &'static str,
    pub(super) clear_in_requests: Vec<String>,
    pub(super) clear_in_responses: Vec<String>,
    pub(super) secret_numbers: Numbers,
}

/// A request of which a line was written. Left alone, it ends as one that was given up.
pub(crate) struct Trail<'a> {
    app: &'a App,
    request: &'a Request,
    mounted: Mounted,
    /// What the second line repeats of the first, for each device.
    kept: Vec<(Option<Json>, Json)>,
    open: bool,
}

impl App {
    /// Writes down that a request is about to be carried out, or is refused with `refusal`.
    ///
    /// # Errors
    /// [`AppError::Internal`] when no device could take the line. Then it must not be carried out.
    pub(crate) async fn trail<'a>(
        &'a self,
        request: &'a Request,
        caller: Option<&Caller>,
        granted: Option<&[Arc<str>]>,
        capability: Option<Capability>,
        refusal: Option<&AppError>,
    ) -> Result<Trail<'a>, AppError> {
        let none = self.audit.devices.is_empty() || is_unaudited(&request.path);
        let mut trail =
            Trail { app: self, request, mounted: Mounted::default(), kept: Vec::new(), open: false };
        if none {
            return Ok(trail);
        }
        trail.mounted = self.mounted(&request.path).await?;
        let operation = operation(request.operation, capability);
        let asker = Asker { caller, granted, operation };
        trail.kept.reserve(self.audit.devices.len());
        let (kept, mounted) = (&mut trail.kept, &trail.mounted);
        self.audit.write(|salted, _| {
            let auth = entry::auth(salted, request, &asker);
            let what = entry::request(salted, request, &asker, mounted);
            let line = self.line("request", auth.as_ref(), &what, |o| {
                if let Some(refusal) = refusal {
                    o.put("error", &told(refusal));
                }
            });
            kept.push((auth, what));
            line
        })?;
        trail.open = true;
        Ok(trail)
    }

    fn line(
        &self,
        what: &str,
        auth: Option<&Json>,
        asked: &Json,
        fill: impl FnOnce(&mut Object<'_>),
    ) -> Vec<u8> {
        let mut line = json::object_with_room(2048, |o| {
            o.put_plain("time", self.clock.now()).put("type", what);
            if let Some(auth) = auth {
                o.put_json("auth", auth);
            }
            o.put_json("request", asked);
            fill(o);
        });
        std::mem::take(&mut *line)
    }

    async fn mounted(&self, path: &str) -> Result<Mounted, AppError> {
        let router: Arc<Router> = self.router().await?;
        if let Some(place) = router.find(path) {
            let mount = place.mount;
            return Ok(Mounted {
                path: mount.path.as_str().to_owned(),
                kind: mount.mount_type.clone(),
                accessor: mount.accessor.to_string(),
                class: "secret",
                clear_in_requests: mount.config.audit_non_hmac_request_keys.clone(),
                clear_in_responses: mount.config.audit_non_hmac_response_keys.clone(),
                secret_numbers: match mount.options.get("version").map(String::as_str) {
                    Some("2") => Numbers::Below("data"),
                    _ => Numbers::Hashed,
                },
            });
        }
        if let Some(below) = path.strip_prefix("auth/") {
            if below.starts_with("token/") {
                return Ok(Mounted {
                    path: "auth/token/".to_owned(),
                    kind: "token".to_owned(),
                    accessor: self.token_mount_accessor(),
                    class: "auth",
                    ..Mounted::default()
                });
            }
            let table = self.auth_table().await?;
            return Ok(match table.mounts.iter().find(|mount| below.starts_with(mount.path.as_str())) {
                Some(mount) => Mounted {
                    path: format!("auth/{}", mount.path),
                    kind: mount.method.clone(),
                    accessor: mount.accessor.to_string(),
                    class: "auth",
                    clear_in_requests: mount.config.audit_non_hmac_request_keys.clone(),
                    clear_in_responses: mount.config.audit_non_hmac_response_keys.clone(),
                    secret_numbers: Numbers::Clear,
                },
                None => Mounted::default(),
            });
        }
        let Some((first, _)) = path.split_once('/') else { return Ok(Mounted::default()) };
        Ok(match built_in_accessor(self, first) {
            Some((kind, accessor)) => Mounted {
                path: format!("{first}/"),
                kind: kind.to_owned(),
                accessor,
                class: "secret",
                secret_numbers: if is_anything(path) { Numbers::Hashed } else { Numbers::Clear },
                ..Mounted::default()
            },
            None => Mounted::default(),
        })
    }
}

/// Paths whose parameters or answers may be anything at all.
fn is_anything(path: &str) -> bool {
    path.starts_with("cubbyhole/") || path == "sys/wrapping/wrap"
}

/// Paths of which Vault keeps no account: they tell the server's state to anybody.
fn is_unaudited(path: &str) -> bool {
    matches!(path, "sys/leader" | "sys/health" | "sys/seal-status")
}

fn operation(operation: Operation, capability: Option<Capability>) -> &'static str {
    match (operation, capability) {
        (Operation::Write, Some(Capability::Create)) => "create",
        (Operation::Write, _) => "update",
        (Operation::Read, _) => "read",
        (Operation::Patch, _) => "patch",
        (Operation::Delete, _) => "delete",
        (Operation::List, _) => "list",
        (Operation::Scan, _) => "scan",
    }
}

/// An error as whoever asked is told of it.
fn told(error: &AppError) -> String {
    match error {
        AppError::NotFound(Some(text)) => text.clone(),
        AppError::Internal(_) => "internal error".to_owned(),
        other => other.to_string(),
    }
}

impl Trail<'_> {
    /// Writes down what it came to.
    ///
    /// # Errors
    /// [`AppError::Internal`] when no device could take the line. Then the answer must not be given.
    pub(crate) fn end(mut self, outcome: Result<Reply, AppError>) -> Result<Reply, AppError> {
        self.settle(outcome.as_ref())?;
        outcome
    }

    /// The same for a refusal: what whoever asked is to be told.
    pub(crate) fn refuse(mut self, error: AppError) -> AppError {
        match self.settle(Err(&error)) {
            Ok(()) => error,
            Err(unwritten) => unwritten,
        }
    }

    fn settle(&mut self, outcome: Result<&Reply, &AppError>) -> Result<(), AppError> {
        if std::mem::take(&mut self.open) { self.write(outcome) } else { Ok(()) }
    }

    fn write(&self, outcome: Result<&Reply, &AppError>) -> Result<(), AppError> {
        self.app.audit.write(|salted, at| {
            let Some((auth, asked)) = self.kept.get(at) else { return Vec::new() };
            // Who has just logged in is who it was.
            let issued = match (auth, outcome) {
                (None, Ok(Reply { content: Content::Envelope(envelope), .. })) => {
                    envelope.auth.as_deref().and_then(|auth| entry::issued(salted, auth))
                }
                _ => None,
            };
            self.app.line("response", auth.as_ref().or(issued.as_ref()), asked, |o| match outcome {
                Ok(reply) => {
                    let response = entry::response(salted, self.request, reply, &self.mounted);
                    o.put_json("response", &response);
                }
                Err(error) => {
                    o.put("error", &told(error));
                }
            })
        })
    }
}

impl Drop for Trail<'_> {
    /// The client went away, or its time was up, or a task panicked: what had been begun may have taken
    /// effect.
    fn drop(&mut self) {
        if self.open {
            let given_up = "the request was given up before it was answered; it may have taken effect";
            // Nobody is there to be refused.
            let _ = self.write(Err(&AppError::Busy(given_up.to_owned())));
        }
    }
}
