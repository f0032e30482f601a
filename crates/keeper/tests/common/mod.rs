//! What the tests share: a pretend Keeper with a client that trusts it.
#![allow(dead_code, reason = "each test binary uses a part of it")]

pub(crate) mod conformance;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use keeper::{Around, Client, Error, Options, Wait, config::Config, server::PretendKeeper};
use model::{Clock, ManualClock, SeededEntropy, Timestamp};

/// Notes how long it should have waited.
#[derive(Default)]
pub(crate) struct Noted(Mutex<Vec<Duration>>);

impl Noted {
    pub(crate) fn taken(&self) -> Vec<Duration> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

#[async_trait]
impl Wait for Noted {
    async fn wait(&self, time: Duration) {
        self.0.lock().unwrap().push(time);
    }
}

pub(crate) struct Bench {
    pub(crate) server: PretendKeeper,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) waits: Arc<Noted>,
    pub(crate) app: usize,
}

impl Bench {
    pub(crate) async fn new() -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp::from_secs(1_700_000_000)));
        let ticking: Arc<dyn Clock> = clock.clone();
        let server = PretendKeeper::start(Arc::new(SeededEntropy::new(1)), ticking).await.unwrap();
        let app = server.add_app("Bench").unwrap();
        Self { server, clock, waits: Arc::default(), app }
    }

    pub(crate) fn around(&self) -> Around {
        // Each client draws other keys than the server and than the ones before it.
        static SEED: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(100);
        let seed = SEED.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Around {
            entropy: Arc::new(SeededEntropy::new(seed)),
            clock: self.clock.clone(),
            wait: self.waits.clone(),
            guard: None,
        }
    }

    pub(crate) fn options(&self) -> Options {
        Options { extra_ca: Some(self.server.ca_pem().into()), ..Options::default() }
    }

    pub(crate) fn config(&self) -> Config {
        self.server.add_bound_device(self.app).unwrap()
    }

    pub(crate) fn client(&self) -> Client {
        self.client_with(self.config(), self.options()).unwrap()
    }

    pub(crate) fn client_with(&self, config: Config, options: Options) -> Result<Client, Error> {
        Client::new(config, options, self.around())
    }

    /// Adds a record and shares it, to be edited.
    pub(crate) fn record(&self, body: &str) -> String {
        let uid = self.server.add_record(body).unwrap();
        self.server.share_record(self.app, &uid, true);
        uid
    }
}
