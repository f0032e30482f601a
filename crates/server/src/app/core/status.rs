//! What the server says about itself to anybody (kv-v2-api.md 5).

use store::Guard;

use super::{
    super::{AppError, Operation, Reply, Request, json},
    Core, Unsealing,
};

impl Core {
    /// `sys/health`: for load balancers and start-up scripts, which may choose the status they want.
    pub(super) async fn health(&self, request: &Request) -> Result<Reply, AppError> {
        if request.operation != Operation::Read {
            return Err(AppError::UnsupportedOperation);
        }
        let (initialised, open) = (self.is_initialised().await?, self.open.load_full());
        let (wish, mut status) = match (initialised, &open) {
            (false, _) => ("uninitcode", 501),
            (true, None) => ("sealedcode", 503),
            (true, Some(_)) => ("activecode", 200),
        };
        for (name, text) in &request.query {
            if HEALTH_CODES.contains(&name.as_str()) {
                let code = text.parse::<u16>().ok().filter(|code| (200..=599).contains(code));
                let code = code
                    .ok_or_else(|| AppError::invalid(format!("{name} must be a status from 200 to 599")))?;
                if name == wish {
                    status = code;
                }
            }
        }
        let json = json::object(|o| {
            o.put("initialized", &initialised)
                .put("sealed", &open.is_none())
                .put("standby", &open.is_none())
                .put("performance_standby", &false)
                .put("replication_performance_mode", if open.is_some() { "disabled" } else { "unknown" })
                .put("replication_dr_mode", if open.is_some() { "disabled" } else { "unknown" })
                .put("server_time_utc", &self.clock.now().as_secs())
                .put("version", &self.settings.vault_version)
                .put("enterprise", &false);
            if let Some(serving) = &open {
                o.put("cluster_name", &self.settings.cluster_name)
                    .put("cluster_id", &serving.app.store.header().cluster_id);
            }
            o.put("echo_duration_ms", &0)
                .put("clock_skew_ms", &0)
                .put("replication_primary_canary_age_ms", &0)
                .put("keyferry_version", &self.settings.version);
        });
        Ok(Reply::bare(status, json))
    }

    /// `sys/seal-status`. Waits for nothing: while the server is being sealed, it says sealed from the moment on
    /// that no request is served any more.
    pub(super) async fn seal_status(&self, request: &Request) -> Result<Reply, AppError> {
        if request.operation != Operation::Read {
            return Err(AppError::UnsupportedOperation);
        }
        let (given, nonce) = {
            let sharing = self.unsealing_shares();
            (sharing.given.len(), sharing.nonce.clone())
        };
        self.seal_state(given, &nonce).await
    }

    /// The state as `sys/seal-status` and `sys/unseal` tell it.
    pub(super) async fn seal_state(&self, progress: usize, nonce: &str) -> Result<Reply, AppError> {
        let initialised = self.is_initialised().await?;
        let guard = self.guard().await?;
        let open = self.open.load_full();
        let (shares, threshold) = match (&guard, &self.unsealing) {
            (Some(Guard { shares, threshold, .. }), _) => (*shares, *threshold),
            (None, Unsealing::AtStart) => (1, 1),
            (None, _) => (0, 0),
        };
        let json = json::object(|o| {
            o.put("type", self.seal_type())
                .put("initialized", &initialised)
                .put("sealed", &open.is_none())
                .put("t", &threshold)
                .put("n", &shares)
                .put("progress", &progress)
                .put("nonce", nonce)
                .put("version", &self.settings.vault_version)
                .put("build_date", &self.settings.build_date)
                .put("migration", &false);
            if let Some(serving) = &open {
                o.put("cluster_name", &self.settings.cluster_name)
                    .put("cluster_id", &serving.app.store.header().cluster_id);
            }
            if let (None, Some(why)) = (&open, &*self.unseal_trouble.load()) {
                o.put("keyferry_unseal_error", why.as_str());
            }
            o.put("recovery_seal", &matches!(self.unsealing, Unsealing::Auto(_)))
                .put("storage_type", self.backend.name())
                .put("keyferry_version", &self.settings.version);
        });
        Ok(Reply::bare(200, json))
    }

    fn seal_type(&self) -> &str {
        match &self.unsealing {
            Unsealing::Shares => "shamir",
            Unsealing::Auto(service) => service.kind(),
            Unsealing::AtStart => &self.settings.seal_type,
        }
    }
}

const HEALTH_CODES: [&str; 6] =
    ["activecode", "standbycode", "sealedcode", "uninitcode", "drsecondarycode", "performancestandbycode"];
