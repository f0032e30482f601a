//! `sys/config/cors`: whether pages of other origins may call this server from a browser. They may not
//! until somebody says so.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use store::{Cached, records::Entry};

use super::{App, AppError, Fields, Operation, Reply, Request, entries::Table};

const MOUNT_TYPE: &str = "system";
const NAME: &str = "cors";

/// Headers that Vault's clients send.
const USUAL_HEADERS: [&str; 10] = [
    "Content-Type",
    "X-Requested-With",
    "X-Vault-AWS-IAM-Server-ID",
    "X-Vault-MFA",
    "X-Vault-No-Request-Forwarding",
    "X-Vault-Wrap-Format",
    "X-Vault-Wrap-TTL",
    "X-Vault-Policy-Override",
    "Authorization",
    "X-Vault-Token",
];

/// Who may call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cors {
    origins: Vec<String>,
    headers: Vec<String>,
}

impl Cors {
    /// Whether pages of an origin may call.
    pub fn allows(&self, origin: &str) -> bool {
        self.origins.iter().any(|allowed| allowed == "*" || allowed.eq_ignore_ascii_case(origin))
    }

    /// The headers they may send, as one text.
    pub fn headers(&self) -> String {
        self.headers.join(",")
    }
}

fn table(app: &App) -> Table<'_, Cors> {
    Table::new(&app.store, "config", NAME)
}

/// What is known of it.
pub(crate) type Held = Cached<Entry>;

impl App {
    /// Who may call from a browser; `None`: nobody.
    pub(crate) async fn cors(&self) -> Result<Option<Arc<Cors>>, AppError> {
        let stored = self.store.get_cached(&table(self).key(NAME), &self.cors_held).await?;
        match stored {
            None => Ok(None),
            Some(_) => Ok(table(self).get(NAME).await?.map(|kept| Arc::new(kept.value))),
        }
    }
}

/// `sys/config/cors`.
pub(super) async fn handle(app: &App, request: &Request) -> Result<Reply, AppError> {
    match request.operation {
        Operation::Read => {
            let cors = table(app).get(NAME).await?.map(|kept| kept.value);
            let reply = Reply::object(MOUNT_TYPE, |o| {
                o.put("enabled", &cors.is_some());
                if let Some(cors) = &cors {
                    o.put("allowed_headers", &cors.headers).put("allowed_origins", &cors.origins);
                }
            });
            Ok(reply.injected())
        }
        Operation::Write => {
            let mut fields = Fields::of(request)?;
            let origins = fields.list("allowed_origins")?.unwrap_or_default();
            if origins.is_empty() {
                return Err(AppError::invalid("at least one origin or the wildcard must be provided"));
            }
            if origins.len() > 1 && origins.iter().any(|origin| origin == "*") {
                return Err(AppError::invalid(
                    "to allow all origins the '*' must be the only value for allowed_origins",
                ));
            }
            let fine = |text: &String| {
                !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',')
            };
            let more = fields.list("allowed_headers")?.unwrap_or_default();
            if !origins.iter().all(fine) || !more.iter().all(fine) {
                return Err(AppError::invalid(
                    "allowed_origins and allowed_headers: expected printable ASCII without blanks",
                ));
            }
            let mut headers: Vec<String> = USUAL_HEADERS.map(str::to_owned).to_vec();
            headers.extend(more);
            let cors = Cors { origins, headers };
            table(app).change(NAME, |_| Ok((Some(cors.clone()), ()))).await?;
            Ok(Reply::empty())
        }
        Operation::Delete => {
            table(app).remove(NAME).await?;
            Ok(Reply::empty())
        }
        _ => Err(AppError::UnsupportedOperation),
    }
}
