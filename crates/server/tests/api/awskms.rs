//! A store whose root key is kept by AWS KMS: made, opened, and what happens when KMS refuses.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use destinations::{
    Net, NetSettings,
    aws::{KmsKey, KmsSettings},
    fakes::{FakeAws, Trouble},
    net::Snapshot,
};
use http_body_util::{BodyExt as _, Full};
use model::{Clock, Entropy, ManualClock, SeededEntropy, Timestamp};
use serde_json::{Value, json};
use server::{
    app::{
        App, AppParts, NoSignal, Settings,
        core::{Alone, Core, CoreParts, Opened, Opener, Unsealing},
    },
    awskms::AwsKms,
    http::{Limits, Service},
};
use store::{Backend, Memory, Store};

const KEY: &str = "alias/keyferry";

struct Apps(Arc<dyn Clock>, Arc<dyn Entropy>);

#[async_trait]
impl Opener for Apps {
    async fn open(&self, store: Store) -> Result<Opened, String> {
        let app = App::new(AppParts {
            net: None,
            store,
            clock: self.0.clone(),
            entropy: Arc::clone(&self.1),
            signal: Arc::new(NoSignal),
            sync: None,
            settings: Settings::default(),
        });
        Ok(Opened { app: Arc::new(app), beside: Box::new(Alone) })
    }
}

struct Bench {
    aws: FakeAws,
    backend: Arc<dyn Backend>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

impl Bench {
    async fn new() -> Self {
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(Timestamp::from_secs(1_700_000_000)));
        let aws = FakeAws::start(Arc::clone(&clock)).await.unwrap();
        aws.kms_key(KEY, None);
        Self { aws, backend: Arc::new(Memory::new()), clock, entropy: Arc::new(SeededEntropy::new(5)) }
    }

    /// The server, started anew over what is stored.
    fn start(&self, key: &str) -> (Arc<Core>, Service) {
        let settings = NetSettings {
            system_roots: false,
            call_timeout: Duration::from_millis(300),
            ..NetSettings::default()
        };
        let vars = [
            ("AWS_ACCESS_KEY_ID", FakeAws::ACCESS_KEY),
            ("AWS_SECRET_ACCESS_KEY", FakeAws::SECRET_KEY),
            ("AWS_REGION", "eu-west-1"),
        ];
        let vars = vars.map(|(name, text)| (name.to_owned(), text.to_owned())).into();
        let environment = Arc::new(Snapshot { vars, home: None });
        let net = Net::new(settings, environment, self.clock.clone(), self.entropy.clone()).unwrap();
        let settings =
            KmsSettings { key_id: key.to_owned(), endpoint: Some(self.aws.url()), ..KmsSettings::default() };
        let kms = AwsKms::new(KmsKey::new(settings, &net), self.entropy.clone());
        let core = Core::new(CoreParts {
            backend: self.backend.clone(),
            unsealing: Unsealing::Auto(Arc::new(kms)),
            opener: Arc::new(Apps(self.clock.clone(), self.entropy.clone())),
            clock: self.clock.clone(),
            entropy: self.entropy.clone(),
            settings: Settings::default(),
        });
        let service = Service::new(Arc::clone(&core), Limits::default());
        (core, service)
    }

    /// A store that was made, its server stopped.
    async fn made() -> Self {
        let bench = Self::new().await;
        let (core, service) = bench.start(KEY);
        let made =
            call(&service, "PUT", "sys/init", &json!({ "recovery_shares": 3, "recovery_threshold": 2 }))
                .await;
        assert_eq!(made["recovery_keys"].as_array().map(Vec::len), Some(3), "{made}");
        assert_eq!(call(&service, "GET", "sys/seal-status", &Value::Null).await["sealed"], false);
        core.close().await;
        bench
    }
}

async fn call(service: &Service, method: &str, path: &str, body: &Value) -> Value {
    let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
    let request =
        http::Request::builder().method(method).uri(format!("/v1/{path}")).body(Full::new(body)).unwrap();
    let body = service.answer(request).await.into_body().collect().await.unwrap().to_bytes();
    serde_json::from_slice(&body).unwrap_or_default()
}

async fn status(service: &Service) -> Value {
    call(service, "GET", "sys/seal-status", &Value::Null).await
}

#[tokio::test]
async fn a_store_kept_by_kms_opens_by_itself() {
    let bench = Bench::made().await;
    assert_eq!(bench.aws.calls("Encrypt"), 1);
    let (core, service) = bench.start(KEY);
    core.unseal_by_itself().await;
    let told = status(&service).await;
    assert_eq!(
        (&told["sealed"], &told["type"], &told["recovery_seal"]),
        (&false.into(), &"awskms".into(), &true.into())
    );
    assert_eq!(bench.aws.calls("Decrypt"), 1);
    assert!(told.get("keyferry_unseal_error").is_none(), "{told}");
    core.close().await;
}

#[tokio::test]
async fn while_kms_refuses_the_server_stays_sealed_says_why_and_tries_again() {
    let bench = Bench::made().await;
    for (wrong, code) in [
        ("DisabledException", "kms_key_disabled"),
        ("KMSInvalidStateException", "kms_key_unusable"),
        ("AccessDeniedException", "access_denied"),
        ("ThrottlingException", "throttled"),
    ] {
        bench.aws.kms_key(KEY, Some(wrong));
        let (core, service) = bench.start(KEY);
        core.unseal_by_itself().await;
        let told = status(&service).await;
        assert_eq!((&told["sealed"], &told["initialized"]), (&true.into(), &true.into()), "{wrong}");
        let why = told["keyferry_unseal_error"].as_str().unwrap();
        assert!(why.contains(code) && !why.contains("CANARY"), "{wrong}: {why}");
        bench.aws.kms_key(KEY, None);
        for _ in 0..200 {
            if status(&service).await["sealed"] == false {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let told = status(&service).await;
        assert_eq!(told["sealed"], false, "{wrong}: it was not tried again: {told}");
        core.close().await;
    }
}

#[tokio::test]
async fn a_silent_kms_and_a_wrong_key_leave_it_sealed() {
    let bench = Bench::made().await;
    bench.aws.trouble("Decrypt", [Trouble::Hang]);
    let (core, service) = bench.start(KEY);
    core.unseal_by_itself().await;
    let told = status(&service).await;
    assert_eq!(told["sealed"], true);
    assert!(told["keyferry_unseal_error"].as_str().unwrap().contains("timeout"), "{told}");
    core.close().await;
    bench.aws.kms_key("alias/another", None);
    for (key, code) in [("alias/another", "kms_wrong_key"), ("alias/none", "kms_key_missing")] {
        let (core, service) = bench.start(key);
        core.unseal_by_itself().await;
        let told = status(&service).await;
        assert_eq!(told["sealed"], true);
        assert!(told["keyferry_unseal_error"].as_str().unwrap().contains(code), "{told}");
        core.close().await;
    }
}

#[tokio::test]
async fn a_store_is_not_made_while_kms_refuses() {
    let bench = Bench::new().await;
    bench.aws.kms_key(KEY, Some("DisabledException"));
    let (core, service) = bench.start(KEY);
    let init = json!({ "recovery_shares": 1, "recovery_threshold": 1 });
    assert!(call(&service, "PUT", "sys/init", &init).await["errors"][0].is_string());
    assert_eq!(status(&service).await["initialized"], false);
    bench.aws.kms_key(KEY, None);
    assert!(call(&service, "PUT", "sys/init", &init).await["root_token"].is_string());
    core.close().await;
}
