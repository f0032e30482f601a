//! emulate's Vercel keeps its variables well, and answers some calls in a form the real one does not have
//! (test-parts.md 6; the vendor's own SDK refuses those answers). This stands between it and the
//! destination, puts the answers right, and changes nothing else:
//!
//! - a POST is answered by `{"envs": [...]}` and 200, in place of `{"created": ..., "failed": []}` and 201;
//! - a conflict is a 409 `env_already_exists`, in place of a 400 `ENV_ALREADY_EXISTS`;
//! - two writes may be of one millisecond, which no network lets happen: a write waits until the one before is past.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use destinations::{
    NetSettings,
    net::{Client, Effect, Policy, Snapshot},
};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

use crate::bench::net_of;

/// The token emulate knows from the start.
pub(crate) const TOKEN: &str = "test_token_admin";

pub(crate) struct Shim {
    address: SocketAddr,
    server: JoinHandle<()>,
}

impl Shim {
    pub(crate) async fn start(behind: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let net = net_of(NetSettings { system_roots: false, ..NetSettings::default() }, Snapshot::default());
        let (client, behind) = (net.client(&Policy::default()), behind.to_owned());
        let server = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let (client, behind) = (client.clone(), behind.clone());
                connections.spawn(async move {
                    let service = hyper::service::service_fn(move |request| {
                        let (client, behind) = (client.clone(), behind.clone());
                        async move { pass_on(&client, &behind, request).await }
                    });
                    let builder = auto::Builder::new(TokioExecutor::new());
                    let _ = builder.serve_connection(TokioIo::new(socket), service).await;
                });
            }
        });
        Self { address, server }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Shim {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn pass_on(
    client: &Client,
    behind: &str,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let (mut head, body) = request.into_parts();
    let sent = body.collect().await?.to_bytes();
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    head.uri = format!("{behind}{path}").parse().unwrap();
    head.headers.remove("host");
    head.version = http::Version::HTTP_11;
    let method = head.method.clone();
    if method != Method::GET {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let answer = client.call(Request::from_parts(head, sent.clone()), Effect::Write).await.unwrap();
    let (mut status, mut body) = (answer.status, answer.body.expose().to_vec());
    if method == Method::POST {
        (status, body) = put_right(status, body, sent.starts_with(b"["));
    }
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    Ok(response)
}

fn put_right(status: StatusCode, body: Vec<u8>, many: bool) -> (StatusCode, Vec<u8>) {
    let Ok(answer) = serde_json::from_slice::<Value>(&body) else { return (status, body) };
    if let (StatusCode::OK, Some(made)) = (status, answer["envs"].as_array()) {
        let created = if many { json!(made) } else { made.first().cloned().unwrap_or_default() };
        let answer = json!({"created": created, "failed": []});
        return (StatusCode::CREATED, answer.to_string().into_bytes());
    }
    if status == StatusCode::CONFLICT && answer["error"]["code"] == "env_already_exists" {
        let answer = json!({"error": {"code": "ENV_ALREADY_EXISTS", "message": ""}});
        return (StatusCode::BAD_REQUEST, answer.to_string().into_bytes());
    }
    (status, body)
}
