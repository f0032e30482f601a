//! An AWS Secrets Manager that takes no time: it answers at once, counts calls, and remembers when which
//! value arrived.

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use http_body_util::{BodyExt as _, Full};
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// A running stub.
#[derive(Clone)]
pub(crate) struct Stub {
    pub(crate) address: String,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    calls: AtomicUsize,
    secrets: Mutex<HashMap<String, Held>>,
    /// The number in a value (`"n":…`) → when it arrived.
    arrivals: Mutex<HashMap<u64, Instant>>,
}

/// One secret: its newest version and its tags.
struct Held {
    version: String,
    tags: Value,
}

impl Stub {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let seen = Arc::new(Seen::default());
        let shared = Arc::clone(&seen);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let seen = Arc::clone(&shared);
                tokio::spawn(async move {
                    let service = service_fn(|request| answer(Arc::clone(&seen), request));
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self { address, seen }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Calls answered so far.
    pub(crate) fn calls(&self) -> usize {
        self.seen.calls.load(Ordering::Relaxed)
    }

    /// Secrets held.
    pub(crate) fn secrets(&self) -> usize {
        self.seen.secrets.lock().unwrap().len()
    }

    /// How many different values have arrived.
    pub(crate) fn arrived(&self) -> usize {
        self.seen.arrivals.lock().unwrap().len()
    }

    /// When the value with this number arrived.
    pub(crate) fn arrival(&self, number: u64) -> Option<Instant> {
        self.seen.arrivals.lock().unwrap().get(&number).copied()
    }

    /// Forgets secrets, values and calls.
    pub(crate) fn reset(&self) {
        self.seen.calls.store(0, Ordering::Relaxed);
        self.seen.secrets.lock().unwrap().clear();
        self.seen.arrivals.lock().unwrap().clear();
    }
}

async fn answer(seen: Arc<Seen>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let operation = request
        .headers()
        .get("x-amz-target")
        .and_then(|target| target.to_str().ok())
        .and_then(|target| target.rsplit('.').next())
        .unwrap_or_default()
        .to_owned();
    let body =
        request.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let now = Instant::now();
    seen.calls.fetch_add(1, Ordering::Relaxed);
    let (status, body) = match serve(&seen, &operation, &body, now) {
        Ok(body) => (200, body),
        Err(code) => (400, json!({ "__type": code, "message": "the stub says so" })),
    };
    let answer = Response::builder()
        .status(status)
        .header("Content-Type", "application/x-amz-json-1.1")
        .body(Full::new(body.to_string().into()))
        .unwrap();
    Ok(answer)
}

fn serve(seen: &Seen, operation: &str, body: &[u8], now: Instant) -> Result<Value, &'static str> {
    const MISSING: &str = "ResourceNotFoundException";
    let body: Value = serde_json::from_slice(body).map_err(|_| "ValidationException")?;
    let given = body["SecretId"].as_str().or(body["Name"].as_str()).unwrap_or_default();
    let name = given.strip_prefix("arn:stub:").unwrap_or(given).to_owned();
    let arn = format!("arn:stub:{name}");
    let version = body["ClientRequestToken"].as_str().unwrap_or_default().to_owned();
    if let Some(value) = body["SecretString"].as_str()
        && let Some(number) = serde_json::from_str::<Value>(value).ok().and_then(|value| value["n"].as_u64())
    {
        seen.arrivals.lock().unwrap().entry(number).or_insert(now);
    }
    let mut secrets = seen.secrets.lock().unwrap();
    match operation {
        "CreateSecret" => {
            if secrets.contains_key(&name) {
                return Err("ResourceExistsException");
            }
            secrets.insert(name.clone(), Held { version: version.clone(), tags: body["Tags"].clone() });
            Ok(json!({ "ARN": arn, "Name": name, "VersionId": version }))
        }
        "PutSecretValue" | "UpdateSecret" => {
            secrets.get_mut(&name).ok_or(MISSING)?.version.clone_from(&version);
            // As AWS answers: an adapter that is not told that the version is current must look.
            Ok(json!({ "ARN": arn, "Name": name, "VersionId": version, "VersionStages": ["AWSCURRENT"] }))
        }
        "TagResource" => {
            secrets.get_mut(&name).ok_or(MISSING)?.tags = body["Tags"].clone();
            Ok(json!({}))
        }
        "DescribeSecret" => {
            let held = secrets.get(&name).ok_or(MISSING)?;
            let stages = json!({ &held.version: ["AWSCURRENT"] });
            Ok(json!({ "ARN": arn, "Name": name, "Tags": held.tags, "VersionIdsToStages": stages }))
        }
        "DeleteSecret" => {
            secrets.remove(&name).ok_or(MISSING)?;
            Ok(json!({ "ARN": arn, "Name": name }))
        }
        _ => Err("ValidationException"),
    }
}
