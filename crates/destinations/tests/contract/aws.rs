//! AWS Secrets Manager: our pretend service, two stand-ins not written by us, and the real one.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use destinations::{
    Kind, NetSettings,
    fakes::{FakeAws, Trouble},
    kinds,
    net::{Client, Effect, Policy, Snapshot},
};
use reqsign_aws_v4::{Credential, RequestSigner};
use reqsign_core::{Context, SignRequest};
use serde_json::{Value, json};

use crate::bench::{Backdoor, Bench, Call, Need, Part, Setting, SystemClock, missing, net_of, variable};

const REGION: &str = "us-east-1";

/// What every part can.
const COMMON: &[Need] = &[
    Need::Marks,
    Need::Tags,
    Need::Recovery,
    Need::Handles,
    Need::Versions,
    Need::Writes,
    Need::Binary,
    Need::NoEmpty,
];

pub(crate) fn parts() -> Vec<Part> {
    let outside = |name, setting, able| Part { kind: "aws-sm", name, setting, able };
    vec![
        Part {
            kind: "aws-sm",
            name: "fake",
            setting: Setting::There(Arc::new(|| Box::pin(fake()))),
            able: &[
                Need::Marks,
                Need::Tags,
                Need::Recovery,
                Need::Handles,
                Need::Versions,
                Need::Writes,
                Need::Binary,
                Need::NoEmpty,
                Need::Troubles,
                Need::Calls,
                Need::Credentials,
            ],
        },
        outside("moto", stand_in("KEYFERRY_TEST_MOTO", "KEYFERRY_TEST_MOTO is not set"), COMMON),
        outside(
            "moto-auth",
            stand_in("KEYFERRY_TEST_MOTO_AUTH", "KEYFERRY_TEST_MOTO_AUTH is not set"),
            // Nothing is let in there.
            &[Need::Credentials],
        ),
        outside(
            "ministack",
            stand_in("KEYFERRY_TEST_MINISTACK", "KEYFERRY_TEST_MINISTACK is not set"),
            COMMON,
        ),
        outside("real", real(), COMMON),
    ]
}

pub(crate) fn kind() -> &'static dyn Kind {
    *kinds().iter().find(|kind| kind.slug() == "aws-sm").unwrap()
}

/// No two trials share a name, also where they share a service, and over several runs.
pub(crate) fn prefix() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    #[expect(clippy::disallowed_methods, reason = "names of different runs must differ")]
    let run = jiff::Timestamp::now().as_nanosecond() % 1_000_000_000_000_000;
    format!("keyferry-contract/{run}-{next}/")
}

async fn fake() -> Bench {
    let fake = Arc::new(FakeAws::start(Arc::new(SystemClock)).await.unwrap());
    let probe = Probe::new(&fake.url(), FakeAws::ACCESS_KEY, FakeAws::SECRET_KEY, REGION);
    let settings = settings(&fake.url(), FakeAws::ACCESS_KEY, FakeAws::SECRET_KEY);
    Bench {
        kind: kind(),
        wrong: with_keys(&settings, FakeAws::ACCESS_KEY, "another secret"),
        settings,
        back: Arc::new(FakeBackdoor { fake: Arc::clone(&fake), probe, told: AtomicU64::new(0) }),
        prefix: prefix(),
        patient: false,
        keep: Box::new(fake),
    }
}

fn stand_in(variable_name: &'static str, why: &'static str) -> Setting {
    let Some(url) = variable(variable_name) else { return missing(why) };
    Setting::There(Arc::new(move || {
        let url = url.clone();
        Box::pin(async move {
            let (access_key, secret) = ("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
            let settings = settings(&url, access_key, secret);
            Bench {
                kind: kind(),
                wrong: settings.clone(),
                settings,
                back: Arc::new(Probe::new(&url, access_key, secret, REGION)),
                prefix: prefix(),
                patient: false,
                keep: Box::new(()),
            }
        })
    }))
}

fn real() -> Setting {
    let variables = (
        variable("KEYFERRY_TEST_REAL_AWS_REGION"),
        variable("KEYFERRY_TEST_REAL_AWS_ACCESS_KEY_ID"),
        variable("KEYFERRY_TEST_REAL_AWS_SECRET_ACCESS_KEY"),
    );
    let (Some(region), Some(access_key), Some(secret)) = variables else {
        return Setting::Missing("KEYFERRY_TEST_REAL_AWS_* are not set");
    };
    Setting::There(Arc::new(move || {
        let (region, access_key, secret) = (region.clone(), access_key.clone(), secret.clone());
        Box::pin(async move {
            let url = format!("https://secretsmanager.{region}.amazonaws.com");
            Bench {
                kind: kind(),
                settings: json!({"region": region, "access_key_id": access_key, "secret_access_key": secret}),
                wrong: json!({"region": region, "access_key_id": access_key, "secret_access_key": "wrong"}),
                back: Arc::new(Probe::new(&url, &access_key, &secret, &region)),
                prefix: prefix(),
                patient: false,
                keep: Box::new(()),
            }
        })
    }))
}

pub(crate) fn settings(url: &str, access_key: &str, secret: &str) -> Value {
    json!({"region": REGION, "endpoint": url, "auth_endpoint": url,
        "access_key_id": access_key, "secret_access_key": secret})
}

fn with_keys(settings: &Value, access_key: &str, secret: &str) -> Value {
    let mut settings = settings.clone();
    settings["access_key_id"] = access_key.into();
    settings["secret_access_key"] = secret.into();
    settings
}

/// Speaks to the service on its own, with reqsign's signatures.
pub(crate) struct Probe {
    client: Client,
    url: String,
    credential: Credential,
    region: String,
}

impl Probe {
    pub(crate) fn new(url: &str, access_key: &str, secret: &str, region: &str) -> Self {
        let system_roots = url.starts_with("https");
        let net = net_of(NetSettings { system_roots, ..NetSettings::default() }, Snapshot::default());
        Self {
            client: net.client(&Policy::default()),
            url: format!("{url}/"),
            credential: Credential {
                access_key_id: access_key.to_owned(),
                secret_access_key: secret.to_owned(),
                session_token: None,
                expires_in: None,
            },
            region: region.to_owned(),
        }
    }

    /// One operation. `None` when the service refuses it.
    pub(crate) async fn call(&self, operation: &str, request: &Value) -> Option<Value> {
        let body = serde_json::to_vec(request).unwrap();
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &body);
        let request = http::Request::post(&self.url)
            .header("content-type", "application/x-amz-json-1.1")
            .header("x-amz-target", format!("secretsmanager.{operation}"))
            .header("x-amz-content-sha256", hex::encode(hash))
            .body(Bytes::from(body))
            .unwrap();
        let (mut head, body) = request.into_parts();
        let signer = RequestSigner::new("secretsmanager", &self.region);
        signer.sign_request(&Context::new(), &mut head, Some(&self.credential), None).await.unwrap();
        let answer = self.client.call(http::Request::from_parts(head, body), Effect::Write).await.unwrap();
        answer.status.is_success().then(|| serde_json::from_slice(answer.body.expose()).unwrap())
    }

    async fn forget(&self, name: &str) {
        self.call("DeleteSecret", &json!({"SecretId": name, "ForceDeleteWithoutRecovery": true})).await;
        // The real service lets go of the name a little later.
        for _ in 0..100 {
            if self.call("DescribeSecret", &json!({"SecretId": name})).await.is_none() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    }
}

#[async_trait]
impl Backdoor for Probe {
    async fn value(&self, name: &str) -> Option<Vec<u8>> {
        let answer = self.call("GetSecretValue", &json!({ "SecretId": name })).await?;
        match (answer["SecretString"].as_str(), answer["SecretBinary"].as_str()) {
            (Some(text), _) => Some(text.as_bytes().to_vec()),
            (_, Some(binary)) => Some(BASE64_STANDARD.decode(binary).unwrap()),
            _ => None,
        }
    }

    async fn plant(&self, name: &str, value: &str) {
        self.forget(name).await;
        let token = format!("{:0>32}", value.len());
        let request = json!({"Name": name, "SecretString": value, "ClientRequestToken": token});
        self.call("CreateSecret", &request).await.unwrap();
    }

    async fn take_away(&self, name: &str) {
        self.forget(name).await;
    }

    async fn schedule_deletion(&self, name: &str) {
        self.call("DeleteSecret", &json!({"SecretId": name, "RecoveryWindowInDays": 7})).await.unwrap();
    }

    async fn tags(&self, name: &str) -> BTreeMap<String, String> {
        let Some(answer) = self.call("DescribeSecret", &json!({ "SecretId": name })).await else {
            return BTreeMap::new();
        };
        let tags = answer["Tags"].as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        tags.iter().map(|tag| (text(&tag["Key"]), text(&tag["Value"]))).collect()
    }

    async fn versions(&self, name: &str) -> usize {
        let answer = self.call("DescribeSecret", &json!({ "SecretId": name })).await.unwrap();
        answer["VersionIdsToStages"].as_object().map_or(0, |versions| {
            versions.values().filter(|stages| stages.as_array().is_some_and(|s| !s.is_empty())).count()
        })
    }
}

struct FakeBackdoor {
    fake: Arc<FakeAws>,
    probe: Probe,
    told: AtomicU64,
}

#[async_trait]
impl Backdoor for FakeBackdoor {
    async fn value(&self, name: &str) -> Option<Vec<u8>> {
        let view = self.fake.view(REGION, name).filter(|view| !view.deleted)?;
        view.value.map(|value| value.expose().to_vec())
    }

    async fn plant(&self, name: &str, value: &str) {
        let calls = self.fake.all_calls();
        self.probe.plant(name, value).await;
        self.leave_out(calls);
    }

    async fn take_away(&self, name: &str) {
        let calls = self.fake.all_calls();
        self.probe.take_away(name).await;
        self.leave_out(calls);
    }

    async fn schedule_deletion(&self, name: &str) {
        let calls = self.fake.all_calls();
        self.probe.schedule_deletion(name).await;
        self.leave_out(calls);
    }

    async fn tags(&self, name: &str) -> BTreeMap<String, String> {
        self.fake.view(REGION, name).map(|view| view.tags).unwrap_or_default()
    }

    async fn versions(&self, name: &str) -> usize {
        self.fake.view(REGION, name).map_or(0, |view| view.versions)
    }

    fn trouble(&self, call: Call, troubles: Vec<Trouble>) {
        let operation = match call {
            Call::Create => "CreateSecret",
            Call::Update => "PutSecretValue",
            Call::Remove => "DeleteSecret",
            Call::Look => "DescribeSecret",
        };
        self.fake.trouble(operation, troubles);
    }

    fn calls(&self) -> usize {
        let all = self.fake.all_calls();
        let told = self.told.swap(all as u64, Ordering::Relaxed);
        all - usize::try_from(told).unwrap()
    }
}

impl FakeBackdoor {
    /// Calls made past the destination do not count.
    fn leave_out(&self, calls_before: usize) {
        let ours = self.fake.all_calls() - calls_before;
        self.told.fetch_add(ours as u64, Ordering::Relaxed);
    }
}
