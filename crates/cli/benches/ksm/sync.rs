//! `sync` against the official CLI, on the same pretend Keeper and the same pretend AWS, in alternating runs.
//!
//! Each run is a process of its own, measured from outside: wall time, processor time of user and system, and
//! the largest resident set. Every cold run writes names that no run before has written.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use destinations::fakes::FakeAws;
use keeper::{
    config::{Config, StoredConfig},
    server::{Fault, PretendKeeper},
};
use model::{Clock, SeededEntropy, Timestamp};
use serde_json::{Value, json};

use crate::Wanted;

const REGION: &str = "eu-west-1";

struct RealTime;

impl Clock for RealTime {
    #[expect(clippy::disallowed_methods, reason = "the processes that are measured live in the real time")]
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        Timestamp::from_nanos(i64::try_from(since.as_nanos()).unwrap())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Tool {
    Ours,
    Official,
}

/// What a run cost.
#[derive(Clone, Copy, Default)]
struct Cost {
    wall: f64,
    cpu: f64,
    mib: f64,
    keeper: usize,
    aws: usize,
}

struct Bench {
    keeper: PretendKeeper,
    aws: FakeAws,
    home: tempfile::TempDir,
    python: PathBuf,
    uids: Vec<String>,
    credentials: String,
}

/// Measures a command from outside. The argument list follows.
const MEASURE: &str = "
import json, resource, subprocess, sys, time
start = time.monotonic()
run = subprocess.run(sys.argv[1:], stdin=subprocess.DEVNULL, capture_output=True, close_fds=False)
wall = time.monotonic() - start
use = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps({'wall': wall, 'cpu': use.ru_utime + use.ru_stime, 'mib': use.ru_maxrss / 1024,
    'code': run.returncode, 'out': run.stdout.decode(), 'err': run.stderr.decode()[-2000:]}))
";

impl Bench {
    fn new(runtime: &tokio::runtime::Runtime, records: usize, python: &Path) -> Self {
        let (keeper, aws) = runtime.block_on(async {
            let keeper = PretendKeeper::start(Arc::new(SeededEntropy::new(1)), Arc::new(RealTime)).await;
            (keeper.unwrap(), FakeAws::start(Arc::new(RealTime)).await.unwrap())
        });
        let app = keeper.add_app("Bench").unwrap();
        let share = |body: Value| {
            let uid = keeper.add_record(&body.to_string()).unwrap();
            keeper.share_record(app, &uid, false);
            uid
        };
        let field = |label: &str, value: &str| json!({"type": "text", "label": label, "value": [value]});
        let credentials = share(json!({"title": "AWS", "type": "login", "fields": [], "custom": [
            field("AWS Access Key ID", FakeAws::ACCESS_KEY),
            field("AWS Secret Access Key", FakeAws::SECRET_KEY),
            field("AWS Region Name", REGION)]}));
        let login = |n: usize| {
            json!({"title": format!("Login {n}"), "type": "login", "custom": [], "fields": [
                {"type": "login", "value": [format!("user-{n}")]},
                {"type": "password", "value": [format!("p4ssw0rd-{n}-0123456789abcdef")]},
                {"type": "url", "value": ["https://example.com/"]}]})
        };
        let uids = (0..records).map(|n| share(login(n))).collect();
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("ca.pem"), keeper.ca_pem()).unwrap();
        let config = bare(&keeper.add_bound_device(app).unwrap());
        // Opened to be handed to the processes: it is made up.
        std::fs::write(home.path().join("config"), config.to_base64().expose_text().unwrap()).unwrap();
        Self { keeper, aws, home, python: python.to_owned(), uids, credentials }
    }

    /// Lets every answer of Keeper take so long.
    fn slow(&self, latency: Duration) {
        for call in ["get_secret", "get_folders"] {
            self.keeper.fail(call, Fault::Slow(latency), usize::MAX);
        }
    }

    fn run(&self, tool: Tool, arguments: &[String]) -> Cost {
        let mut command = Command::new("python3");
        command.args(["-c", MEASURE]);
        match tool {
            Tool::Official => {
                let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../keeper/tests/official/cli.py");
                command.arg(&self.python).arg(script);
            }
            Tool::Ours => {
                command.args([env!("CARGO_BIN_EXE_keyferry"), "ksm"]);
            }
        }
        let keys = json!({ self.keeper.server_key_id(): self.keeper.server_key() });
        let config = std::fs::read_to_string(self.home.path().join("config")).unwrap();
        command
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/bin:/bin:/usr/local/bin")
            .env("HOME", self.home.path())
            .env("KSM_CONFIG", config)
            .env("KSM_SERVER_PUBLIC_KEY", self.keeper.server_key())
            .env("TEST_SERVER_KEYS", keys.to_string())
            .env("REQUESTS_CA_BUNDLE", self.home.path().join("ca.pem"))
            .env("AWS_ENDPOINT_URL", self.aws.url())
            .current_dir(self.home.path())
            .stderr(Stdio::inherit());
        self.aws.forget_calls();
        let before = self.keeper_calls();
        let output = command.output().unwrap();
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(told["code"], 0, "{told}");
        if arguments.first().is_some_and(|word| word == "sync") {
            assert!(told["out"].as_str().unwrap().contains("\"failed\": 0"), "{told}");
        }
        let number = |name: &str| told[name].as_f64().unwrap();
        Cost {
            wall: number("wall"),
            cpu: number("cpu"),
            mib: number("mib"),
            keeper: self.keeper_calls() - before,
            aws: self.aws.all_calls(),
        }
    }

    fn keeper_calls(&self) -> usize {
        self.keeper.calls("get_secret") + self.keeper.calls("get_folders")
    }

    /// Mappings of the first so many records, by UID or by title, to names that begin with a prefix.
    fn mappings(&self, count: usize, by_title: bool, prefix: &str) -> Vec<String> {
        let mut words: Vec<String> =
            ["sync", "-t", "aws", "-c", &self.credentials].map(ToOwned::to_owned).to_vec();
        for (n, uid) in self.uids.iter().take(count).enumerate() {
            let record = if by_title { format!("Login {n}") } else { uid.clone() };
            words.extend([
                "-m".to_owned(),
                format!("{prefix}/{n}"),
                format!("keeper://{record}/field/password"),
            ]);
        }
        words
    }
}

/// Without the server's key, which the official CLI does not keep.
fn bare(config: &Config) -> Config {
    // Opened to be changed: it is made up.
    let mut json: Value = serde_json::from_slice(config.to_json().expose()).unwrap();
    json.as_object_mut().unwrap().remove("serverPublicKey");
    match StoredConfig::parse(&json.to_string()).unwrap() {
        StoredConfig::Bound(config) => config,
        StoredConfig::Unbound(_) => panic!("it was bound"),
    }
}

fn median(mut costs: Vec<Cost>) -> Cost {
    let mid = costs.len() / 2;
    let mut middle = |of: fn(&Cost) -> f64| {
        costs.sort_by(|a, b| of(a).total_cmp(&of(b)));
        of(&costs[mid])
    };
    let (wall, cpu, mib) = (middle(|c| c.wall), middle(|c| c.cpu), middle(|c| c.mib));
    Cost { wall, cpu, mib, ..costs[mid] }
}

fn show(name: &str, cost: Cost) {
    let Cost { wall, cpu, mib, keeper, aws } = cost;
    println!(
        "  {name:<34} {wall:>8.3} s  cpu {cpu:>7.3} s  {mib:>6.1} MiB  Keeper {keeper:>4}  AWS {aws:>5}"
    );
}

/// Alternating runs of both; medians.
fn compare(
    bench: &Bench,
    title: &str,
    rounds: usize,
    arguments: impl Fn(Tool, usize) -> Vec<String>,
) -> [Cost; 2] {
    println!("{title}");
    let mut costs = [Vec::new(), Vec::new()];
    for round in 0..rounds {
        for (at, tool) in [Tool::Official, Tool::Ours].into_iter().enumerate() {
            costs[at].push(bench.run(tool, &arguments(tool, round)));
        }
    }
    let [official, ours] = costs.map(median);
    show("official", official);
    show("ours", ours);
    println!(
        "  {:.0} times faster, 1/{:.0} of the processor time",
        official.wall / ours.wall,
        official.cpu / ours.cpu
    );
    [official, ours]
}

/// Measures it.
pub(crate) fn sync(wanted: &Wanted) {
    println!(
        "\nsync (bars: 10 times faster by UID, 20 times by title, 1/10 of the processor time; 1,000 mappings"
    );
    println!("cold in 1 s, nothing to do in 0.3 s, 25 MiB; 3 calls of Keeper)");
    let rounds = wanted.runs.min(3);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let prefix = |what: &str, tool: Tool, round: usize| {
        format!("{what}-{}-{round}", if tool == Tool::Ours { "ours" } else { "official" })
    };

    let bench = Bench::new(&runtime, 1000, &wanted.python);
    println!("1,000 mappings by UID, no latency");
    let (mut cold, mut idle) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let arguments = bench.mappings(1000, false, &prefix("k", Tool::Ours, round));
        cold.push(bench.run(Tool::Ours, &arguments));
        idle.push(bench.run(Tool::Ours, &arguments));
    }
    show("ours, cold", median(cold));
    show("ours, nothing to do", median(idle));

    bench.slow(Duration::from_millis(50));
    println!("50 ms of Keeper latency, 1,000 mappings by title, cold");
    let ours = (0..rounds)
        .map(|round| bench.run(Tool::Ours, &bench.mappings(1000, true, &prefix("title", Tool::Ours, round))));
    let ours = median(ours.collect());
    show("ours", ours);
    // The official CLI asks for everything once per title, so that its time grows with their number; a few
    // of them tell how long a thousand take.
    let few: u16 = 5;
    let official =
        bench.run(Tool::Official, &bench.mappings(few.into(), true, &prefix("title", Tool::Official, 0)));
    show("official, 5 of them", official);
    let share = 1000.0 / f64::from(few);
    println!(
        "  official, reckoned from that: {:.0} s: {:.0} times faster, 1/{:.0} of the processor time",
        official.wall * share,
        official.wall * share / ours.wall,
        official.cpu * share / ours.cpu
    );

    let bench = Bench::new(&runtime, 100, &wanted.python);
    bench.slow(Duration::from_millis(50));
    compare(&bench, "50 ms of Keeper latency, 100 mappings by UID, cold", rounds, |tool, round| {
        bench.mappings(100, false, &prefix("cold", tool, round))
    });
}
