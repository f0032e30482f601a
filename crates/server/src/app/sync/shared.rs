//! `sys/sync/github-apps`, and whatever else destinations share (vault-sync-api.md 3.6).

use destinations::Shared;
use engine::SharedError;
use model::DestinationName;
use serde_json::{Value, json};

use super::{AppError, Fields, Operation, Reply, Request, SYSTEM, SyncApi, ignored};

impl SyncApi {
    fn shared_sort(&self, slug: &str) -> Option<&'static Shared> {
        self.engine.shared_sorts().find(|shared| shared.slug == slug)
    }

    /// Whether a write would change one that is there. What is no such path is told later.
    pub(super) async fn shared_exists(&self, sort: &str, name: &str) -> Result<bool, AppError> {
        match self.shared_sort(sort) {
            Some(shared) => Ok(self.engine.shared(shared, name).await.is_ok_and(|found| found.is_some())),
            None => Ok(true),
        }
    }

    /// Serves a path below `sys/sync/` that is none of the fixed ones.
    pub(super) async fn handle_shared(
        &self,
        request: &Request,
        sort: &str,
        rest: &[&str],
    ) -> Result<Reply, AppError> {
        let shared = self.shared_sort(sort).ok_or_else(AppError::unsupported_path)?;
        match (request.operation, rest) {
            (Operation::List, []) => self.list_shared(shared).await,
            (Operation::Read, [name]) => self.read_shared(shared, name).await,
            (Operation::Write, [name]) => self.write_shared(request, shared, name).await,
            (Operation::Delete, [name]) => {
                let was_there = self.engine.remove_shared(shared, name).await.map_err(refused)?;
                if was_there { Ok(Reply::empty()) } else { Err(AppError::not_found()) }
            }
            (_, [] | [_]) => Err(AppError::UnsupportedOperation),
            _ => Err(AppError::unsupported_path()),
        }
    }

    async fn list_shared(&self, shared: &'static Shared) -> Result<Reply, AppError> {
        let names = self.engine.shared_names(shared).await?;
        if names.is_empty() {
            return Err(AppError::not_found());
        }
        Ok(Reply::serialized(SYSTEM, &json!({ "keys": names })))
    }

    async fn read_shared(&self, shared: &'static Shared, name: &str) -> Result<Reply, AppError> {
        let found = self.engine.shared(shared, name).await.map_err(refused)?;
        Ok(shown(found.ok_or_else(AppError::not_found)?))
    }

    async fn write_shared(
        &self,
        request: &Request,
        shared: &'static Shared,
        name: &str,
    ) -> Result<Reply, AppError> {
        DestinationName::parse(name)
            .map_err(|fault| AppError::invalid(format!("name of the {}: {}", shared.title, fault.rule)))?;
        let body = Fields::of(request)?.into_inner();
        let (view, unknown) = self.engine.write_shared(shared, name, &body).await.map_err(refused)?;
        // This repeats the path.
        let unknown: Vec<_> = unknown.into_iter().filter(|member| member != "name").collect();
        Ok(shown(view).warn_of_unknown(ignored(&unknown)))
    }
}

fn shown(view: engine::SharedView) -> Reply {
    let mut data = view.settings;
    data.insert("name".into(), json!(view.name));
    Reply::serialized(SYSTEM, &Value::Object(data))
}

fn refused(error: SharedError) -> AppError {
    match error {
        SharedError::Store(error) => error.into(),
        SharedError::Field(_) | SharedError::InUse { .. } | SharedError::Unfit { .. } => {
            AppError::Invalid(error.to_string())
        }
    }
}
