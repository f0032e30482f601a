//! `keyferry demo`: a whole server, a pretend AWS and a file, in one process and on this machine only. A
//! secret is written, changed and deleted through the API, and watched where it should arrive.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use destinations::{fakes::FakeAws, net::Snapshot};
use serde_json::{Value, json};
use server::metrics::Metrics;
use tokio::time::Instant;

use crate::{
    client::Client,
    config::{Config, LogLevel},
    failure::Failure,
    house::{Builder, House, World},
    logging, printer,
};

const REGION: &str = "eu-central-1";
const AWS: &str = "sys/sync/destinations/aws-sm/demo";
const FILE: &str = "sys/sync/destinations/file/demo";
const SECRET: &str = "secret/data/app/db";

/// Looks this often whether something has arrived.
const EVERY: Duration = Duration::from_micros(500);
/// Waits at most so long for it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs it.
pub(crate) fn run() -> Result<(), Failure> {
    let mut config = Config::default();
    config.log.level = LogLevel::Warn;
    config.sync.allow_private_networks = true;
    logging::start(&config.log);
    let runtime = tokio::runtime::Runtime::new().map_err(Failure::failed)?;
    runtime.block_on(show(Arc::new(config)))
}

async fn show(config: Arc<Config>) -> Result<(), Failure> {
    let world = World::real();
    let aws = FakeAws::start(Arc::clone(&world.clock)).await.map_err(Failure::failed)?;
    let directory = Temporary::make(&world)?;
    let file = directory.0.join("secrets.json");
    // Nothing of this machine's own AWS settings is to reach the demo.
    let environment = Snapshot::default();
    let builder = Builder {
        config: Arc::clone(&config),
        environment,
        metrics: Metrics::new(world.clock.now()),
        traces: None,
        world,
        audit: Vec::new(),
        chain: None,
    };
    let (core, token, _) = builder.dev(None, true).await?;
    let house = House::open(core, Some(([127, 0, 0, 1], 0).into()), &config).await?;
    let client = Client::new(house.address().to_string(), token);
    let outcome = tell(&client, &aws, &file, &house.url()).await;
    house.close().await;
    outcome
}

async fn tell(client: &Client, aws: &FakeAws, file: &Path, url: &str) -> Result<(), Failure> {
    let pretend = json!({
        "access_key_id": FakeAws::ACCESS_KEY, "secret_access_key": FakeAws::SECRET_KEY, "region": REGION,
        "endpoint": aws.url(), "recovery_window_in_days": 0,
    });
    client.call("POST", AWS, Some(pretend)).await?;
    client.call("POST", FILE, Some(json!({ "path": file }))).await?;

    printer::data(format_args!("A keyferry server at {url}, and two destinations, all on this machine:"));
    printer::data(format_args!("  aws-sm/demo   a pretend AWS Secrets Manager at {}", aws.url()));
    printer::data(format_args!("  file/demo     {}\n", file.display()));

    let mount = client.call("GET", "sys/mounts/secret", None).await?;
    let name = format!("vault/{}/app/db", mount["accessor"].as_str().unwrap_or_default());
    let watch = Watch { aws, file, name: &name };
    let password = |text: &str| Some(json!({ "data": { "password": text } }));
    let pair = json!({ "mount": "secret", "secret_name": "app/db" });
    let set =
        async |at: &str| client.call("POST", &format!("{at}/associations/set"), Some(pair.clone())).await;

    printer::data(format_args!("{:<34} {:>12} {:>12}", "secret/app/db", "aws-sm/demo", "file/demo"));
    client.call("POST", SECRET, password("first")).await?;
    let both = async { tokio::try_join!(set(AWS), set(FILE)).map(drop) };
    watch.row("written and associated: first", both, Some("first")).await?;
    let update = async { client.call("POST", SECRET, password("second")).await.map(drop) };
    watch.row("updated: second", update, Some("second")).await?;
    let delete = async { client.call("DELETE", SECRET, None).await.map(drop) };
    watch.row("deleted: gone", delete, None).await?;
    printer::data(format_args!(
        "\nTimes are from the request to the arrival, as seen at the destination. Its name there:\n  {name}"
    ));
    Ok(())
}

/// Looks at both destinations from outside.
struct Watch<'a> {
    aws: &'a FakeAws,
    file: &'a Path,
    name: &'a str,
}

impl Watch<'_> {
    /// Sends a request and watches both destinations until they hold the password, or nothing; prints how
    /// long each took.
    async fn row(
        &self,
        what: &str,
        request: impl Future<Output = Result<(), Failure>>,
        password: Option<&str>,
    ) -> Result<(), Failure> {
        let begun = Instant::now();
        let (sent, aws, file) = tokio::join!(
            request,
            until(begun, || self.at_aws().as_deref() == password),
            until(begun, || self.in_file().as_deref() == password)
        );
        sent?;
        let (Some(aws), Some(file)) = (aws, file) else {
            return Err(Failure::failed(format!(
                "{what}: it did not arrive within {} s",
                PATIENCE.as_secs()
            )));
        };
        let shown = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1000.0);
        printer::data(format_args!("{what:<34} {:>12} {:>12}", shown(aws), shown(file)));
        Ok(())
    }

    fn at_aws(&self) -> Option<String> {
        let view = self.aws.view(REGION, self.name).filter(|view| !view.deleted)?;
        // EXPOSE: the demo looks at its own made-up password.
        password_in(view.value?.expose())
    }

    fn in_file(&self) -> Option<String> {
        let entries: Value = serde_json::from_slice(&std::fs::read(self.file).ok()?).ok()?;
        password_in(entries[self.name].as_str()?.as_bytes())
    }
}

fn password_in(secret: &[u8]) -> Option<String> {
    let secret: Value = serde_json::from_slice(secret).ok()?;
    secret["password"].as_str().map(str::to_owned)
}

/// How long after `begun` it was there; `None` when it took too long.
async fn until(begun: Instant, there: impl Fn() -> bool) -> Option<Duration> {
    while !there() {
        if begun.elapsed() > PATIENCE {
            return None;
        }
        tokio::time::sleep(EVERY).await;
    }
    Some(begun.elapsed())
}

/// A directory of this run's own, removed at its end.
struct Temporary(PathBuf);

impl Temporary {
    fn make(world: &World) -> Result<Self, Failure> {
        let path =
            std::env::temp_dir().join(format!("keyferry-demo-{}", model::uuid_v4(world.entropy.as_ref())));
        std::fs::create_dir(&path).map_err(|e| Failure::failed(format!("{}: {e}", path.display())))?;
        Ok(Self(path))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
