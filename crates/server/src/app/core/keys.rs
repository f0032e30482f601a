//! `sys/rotate` and `sys/key-status`: the key ring's newest term.

use super::{
    super::{App, AppError, Envelope, Operation, Reply, Request, json},
    Core, write_only,
};

impl Core {
    /// `sys/rotate`: records written from now on are sealed under a new key.
    pub(super) async fn rotate(&self, app: &App, request: &Request) -> Result<Reply, AppError> {
        write_only(request)?;
        let term = app.store.rotate(self.clock.as_ref()).await?;
        tracing::info!(term, "the encryption key was rotated");
        Ok(Reply::empty())
    }

    /// `sys/key-status`.
    pub(super) async fn key_status(&self, app: &App, request: &Request) -> Result<Reply, AppError> {
        if request.operation != Operation::Read {
            return Err(AppError::UnsupportedOperation);
        }
        let made = app.store.term_created().await?;
        let data = json::object(|o| {
            o.put("term", &app.store.term()).put_plain("install_time", made);
        });
        Ok(Reply::envelope(Envelope {
            data: Some(data),
            injected: true,
            mount_type: "system",
            ..Envelope::default()
        }))
    }
}
