//! GitHub: our pretend service, alone and with every request judged by Prism on GitHub's own description;
//! Prism by itself; PyNaCl, which opens what we seal; emulate, for what apps need; and the real one.

use std::{
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use destinations::{
    Config, Destination, Expect, FieldValue, Kind, Mode, NetSettings, PutOutcome, Remote,
    fakes::{FakeGithub, RsaPem, Trouble},
    kinds,
    net::Snapshot,
    testing::with,
};
use futures_util::future::BoxFuture;
use libtest_mimic::{Failed, Trial};
use model::json::SecretJson;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::{
    bench::{
        Backdoor, Bench, Call, Need, Part, Setting, SystemClock, Writing, missing, net_of, present, remove,
        variable,
    },
    judge::Judge,
    watch,
};

const SCOPE: &str = "repos/acme/app";

const PRISM: (&str, &str) = ("KEYFERRY_TEST_PRISM_GITHUB", "KEYFERRY_TEST_PRISM_GITHUB is not set");
const EMULATE: (&str, &str) = ("KEYFERRY_TEST_EMULATE_GITHUB", "KEYFERRY_TEST_EMULATE_GITHUB is not set");
const NACL: (&str, &str) = ("KEYFERRY_TEST_NACL_PYTHON", "KEYFERRY_TEST_NACL_PYTHON is not set");

pub(crate) fn parts() -> Vec<Part> {
    let judged = match variable(PRISM.0) {
        None => missing(PRISM.1),
        Some(prism) => Setting::There(Arc::new(move || {
            let prism = prism.clone();
            Box::pin(async move { bench(Some(prism)).await })
        })),
    };
    vec![
        Part {
            kind: "gh",
            name: "fake",
            setting: Setting::There(Arc::new(|| Box::pin(bench(None)))),
            able: &[Need::Holds, Need::Empty, Need::Troubles, Need::Calls, Need::Credentials],
        },
        // Troubles are about what Prism has never heard of.
        Part {
            kind: "gh",
            name: "fake-judged-by-prism",
            setting: judged,
            able: &[Need::Holds, Need::Empty, Need::Calls, Need::Credentials],
        },
    ]
}

fn kind() -> &'static dyn Kind {
    *kinds().iter().find(|kind| kind.slug() == "gh").unwrap()
}

/// No two runs against the real service share a name.
fn prefix() -> String {
    #[expect(clippy::disallowed_methods, reason = "names of different runs must differ")]
    let run = jiff::Timestamp::now().as_nanosecond() % 1_000_000_000_000_000;
    format!("KEYFERRY_CONTRACT_{run}_")
}

fn settings(url: &str, token: &str) -> Value {
    json!({"repository_owner": "acme", "repository_name": "app", "access_token": token, "endpoint": url})
}

async fn bench(prism: Option<String>) -> Bench {
    let fake = Arc::new(FakeGithub::start(Arc::new(SystemClock)).await.unwrap());
    let judge = match prism {
        Some(prism) => Some(Judge::start(fake.url(), prism).await),
        None => None,
    };
    let url = judge.as_ref().map_or_else(|| fake.url(), Judge::url);
    Bench {
        kind: kind(),
        settings: settings(&url, FakeGithub::TOKEN),
        wrong: settings(&url, "github_pat_of_someone_else"),
        back: Arc::new(FakeBackdoor { fake: Arc::clone(&fake), told: AtomicUsize::new(0) }),
        prefix: "KEYFERRY_".to_owned(),
        patient: false,
        keep: Box::new((fake, judge)),
    }
}

struct FakeBackdoor {
    fake: Arc<FakeGithub>,
    told: AtomicUsize,
}

#[async_trait]
impl Backdoor for FakeBackdoor {
    async fn value(&self, name: &str) -> Option<Vec<u8>> {
        self.fake.secret(SCOPE, name).map(|secret| secret.value.expose().to_vec())
    }

    async fn plant(&self, name: &str, value: &str) {
        self.fake.plant(SCOPE, name, value);
    }

    async fn take_away(&self, name: &str) {
        self.fake.take_away(SCOPE, name);
    }

    fn trouble(&self, call: Call, troubles: Vec<Trouble>) {
        let operation = match call {
            Call::Create | Call::Update => "write",
            Call::Remove => "remove",
            Call::Look => "look",
        };
        self.fake.trouble(
            operation,
            troubles.into_iter().map(|trouble| match trouble {
                Trouble::Refuse(code, _) if code.contains("Throttl") => Trouble::Answer(
                    403,
                    vec![("retry-after", "5".to_owned())],
                    r#"{"message":"You have exceeded a secondary rate limit. CANARY-FROM-REMOTE"}"#,
                ),
                other => other,
            }),
        );
    }

    fn calls(&self) -> usize {
        let all = self.fake.all_calls();
        all - self.told.swap(all, Ordering::Relaxed)
    }
}

/// Further trials, against parts that cannot be the other end of the whole suite.
pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("prism/a_repositorys_secret_is_written_listed_and_removed", PRISM, |url| {
            Box::pin(prism(url, json!({})))
        }),
        trial("prism/an_environments_secret_is_written_listed_and_removed", PRISM, |url| {
            Box::pin(prism(url, json!({"environment_name": "prod/eu 1"})))
        }),
        trial("prism/an_organizations_secret_is_written_listed_and_removed", PRISM, |url| {
            let more = json!({
                "repository_owner": "", "repository_name": "", "secrets_location": "organization",
                "organization_name": "acme", "organization_visibility": "selected",
                "selected_repository_names": ["app"],
            });
            Box::pin(prism(url, more))
        }),
        trial("prism/an_apps_token_is_asked_for_and_read", PRISM, |url| Box::pin(prism_app(url))),
        trial("pynacl/what_is_sealed_here_opens_there_and_the_other_way_round", NACL, |python| {
            Box::pin(sealed_boxes(python))
        }),
        trial("emulate/an_app_gets_a_token_for_its_installation", EMULATE, |url| Box::pin(emulate(url))),
        real(),
    ]
}

fn trial(
    title: &str,
    (name, why): (&'static str, &'static str),
    run: fn(String) -> BoxFuture<'static, ()>,
) -> Trial {
    let part = variable(name);
    let ignored = part.is_none() && matches!(missing(why), Setting::Missing(_));
    let trial = Trial::test(format!("gh/{title}"), move || match part {
        Some(part) => watch::run(run(part)),
        None => Err(Failed::from(why)),
    });
    if ignored { trial.with_kind(why).with_ignored_flag(true) } else { trial }
}

fn open(settings: Value, app: Option<(i64, &str)>) -> Arc<dyn Destination> {
    let system_roots = settings.get("endpoint").is_none();
    let net = net_of(NetSettings { system_roots, ..NetSettings::default() }, Snapshot::default());
    let (mut config, _) = Config::read(kind(), &SecretJson::new(settings), Mode::Replace, None).unwrap();
    if let Some((id, key)) = app {
        let mut of_app = Config::default();
        of_app.set("app_id", FieldValue::Int(id));
        of_app.set("private_key", FieldValue::Secret(key.into()));
        if let Some(endpoint) = config.get("endpoint") {
            of_app.set("endpoint", endpoint.clone());
        }
        config.lay_in(kind().shared().unwrap(), &of_app);
    }
    kind().open(&config, &net).unwrap()
}

/// Prism answers with the examples of GitHub's description, in which there are always the same secrets.
async fn prism(url: String, more: Value) {
    let judge = Judge::alone(url).await;
    let destination = open(with(settings(&judge.url(), "ghp_anything"), more), None);
    let name = kind().remote_name("KEYFERRY").unwrap();
    let written = Writing::ours(&name, "a value", 1, None).send(&destination).await;
    assert!(matches!(written, Ok(PutOutcome::Written(_))), "{written:?}");
    let names = ["GIST_ID", "B", "C"].map(|name| kind().remote_name(name).unwrap());
    let seen = destination.look_many(&names).await;
    assert!(matches!(seen[0], Ok(Remote::Present(_))), "{seen:?}");
    assert_eq!(seen[1], Ok(Remote::Absent));
    let there = present(&destination, &names[0]).await;
    assert!(there.revision.is_some());
    let taken = Writing::new(&names[0], "a value", 1).taken(&destination).await;
    assert_eq!(taken.mark, None);
    remove(&destination, &name, None).await.unwrap();
}

async fn prism_app(url: String) {
    let judge = Judge::alone(url).await;
    let settings = json!({"repository_owner": "acme", "repository_name": "app", "endpoint": judge.url(),
        "app_name": "ours", "installation_id": 1});
    let destination = open(settings, Some((7, &RsaPem::generate().pkcs1)));
    let name = kind().remote_name("KEYFERRY").unwrap();
    // The example token expired years ago, so there is a new one for each call.
    let written = Writing::ours(&name, "a value", 1, None).send(&destination).await;
    assert!(matches!(written, Ok(PutOutcome::Written(_))), "{written:?}");
}

/// `python` has PyNaCl: libsodium itself, on the other side.
async fn sealed_boxes(python: String) {
    const SCRIPT: &str = "
import json, sys
from nacl.public import PrivateKey, SealedBox
from base64 import b64decode, b64encode
job = json.load(sys.stdin)
private = PrivateKey(b64decode(job['private']))
box = SealedBox(private)
sealed = b64decode(job['sealed'], validate=True)
opened = box.decrypt(sealed)
other = SealedBox(private.public_key).encrypt(opened)
json.dump({'opened': b64encode(opened).decode(), 'longer_by': len(sealed) - len(opened),
           'sealed': b64encode(other).decode()}, sys.stdout)
";
    use base64::{Engine, prelude::BASE64_STANDARD};
    let fake = FakeGithub::start(Arc::new(SystemClock)).await.unwrap();
    let destination = open(settings(&fake.url(), FakeGithub::TOKEN), None);
    for (n, value) in ["x", "", "a\nb\u{0}é環🔑", &"y".repeat(48 * 1024)].into_iter().enumerate() {
        let name = kind().remote_name(&format!("N{n}")).unwrap();
        Writing::new(&name, value, 1).written(&destination).await;
        let (private, sealed) = fake.sealed(SCOPE, name.as_str()).unwrap();
        let mut child = tokio::process::Command::new(&python)
            .args(["-c", SCRIPT])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let job = json!({"private": private, "sealed": sealed}).to_string();
        child.stdin.take().unwrap().write_all(job.as_bytes()).await.unwrap();
        let output = child.wait_with_output().await.unwrap();
        assert!(output.status.success());
        let said: Value = serde_json::from_slice(&output.stdout).unwrap();
        let text = |member: &str| BASE64_STANDARD.decode(said[member].as_str().unwrap()).unwrap();
        assert_eq!(text("opened"), value.as_bytes());
        assert_eq!(said["longer_by"], 48);
        // And the library that opens boxes in the pretend service opens libsodium's.
        assert_eq!(fake.open_box(SCOPE, &text("sealed")).unwrap().expose(), value.as_bytes());
    }
}

/// emulate checks the app's signature and gives a token, which it then lets do little: it has no public
/// keys (test-parts.md 5).
async fn emulate(url: String) {
    let key = variable("KEYFERRY_TEST_EMULATE_GITHUB_KEY").expect("a PEM file of the seeded app's key");
    let key = std::fs::read_to_string(key).unwrap();
    let settings = json!({"repository_owner": "octocat", "repository_name": "hello-world", "endpoint": url,
        "app_name": "ours", "installation_id": 9001});
    let name = kind().remote_name("KEYFERRY").unwrap();
    let ours = open(settings.clone(), Some((4242, &key)));
    // The token is let in: what is missing afterwards is not there, or not for it.
    let seen = ours.look(&name).await;
    assert!(
        matches!(&seen, Ok(Remote::CannotTell | Remote::Absent))
            || matches!(&seen, Err(fault) if fault.code == "target_not_found"),
        "{seen:?}"
    );
    for (app, key) in [(4242, RsaPem::generate().pkcs8), (4243, key)] {
        let fault = watch::fault(open(settings.clone(), Some((app, &key))).look(&name).await);
        assert_eq!(fault.code, "credentials_rejected");
    }
}

fn real() -> Trial {
    const WHY: &str = "KEYFERRY_TEST_REAL_GITHUB_* are not set";
    let variables = (
        variable("KEYFERRY_TEST_REAL_GITHUB_TOKEN"),
        variable("KEYFERRY_TEST_REAL_GITHUB_OWNER"),
        variable("KEYFERRY_TEST_REAL_GITHUB_REPOSITORY"),
    );
    let (Some(token), Some(owner), Some(repository)) = variables else {
        return Trial::test("gh/real", || Ok(())).with_kind(WHY).with_ignored_flag(true);
    };
    Trial::test("gh/real/a_secret_comes_changes_and_goes", move || {
        watch::run(async move {
            let settings =
                json!({"repository_owner": owner, "repository_name": repository, "access_token": token});
            let destination = open(settings, None);
            let name = kind().remote_name(&format!("{}A", prefix())).unwrap();
            assert_eq!(destination.look(&name).await, Ok(Remote::Absent));
            Writing::new(&name, "first", 1).written(&destination).await;
            assert!(present(&destination, &name).await.revision.is_some());
            Writing::ours(&name, "second", 2, None).written(&destination).await;
            let other = open(
                json!({"repository_owner": owner, "repository_name": repository, "access_token": token}),
                None,
            );
            Writing::new(&name, "theirs", 1).taken(&other).await;
            let take = Writing { expect: Expect::Anything, ..Writing::new(&name, "third", 3) };
            take.written(&other).await;
            remove(&destination, &name, None).await.unwrap();
            remove(&destination, &name, None).await.unwrap();
            assert_eq!(destination.look(&name).await, Ok(Remote::Absent));
        })
    })
}
