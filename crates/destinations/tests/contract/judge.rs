//! A judge between an adapter and a pretend service: every request is also shown to a Prism, which knows the
//! vendor's own description, and one that Prism objects to, or an answer of a status that the description does
//! not have, fails the trial.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use destinations::{
    NetSettings,
    net::{Answer, Client, Effect, Policy, Snapshot},
};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{net::TcpListener, task::JoinHandle};

use crate::bench::net_of;

pub(crate) struct Judge {
    address: SocketAddr,
    objections: Arc<Mutex<Vec<String>>>,
    server: JoinHandle<()>,
}

struct Court {
    client: Client,
    /// What answers; without one Prism does, with its examples.
    service: Option<String>,
    prism: String,
    objections: Arc<Mutex<Vec<String>>>,
}

impl Judge {
    /// In front of a service.
    pub(crate) async fn start(service: String, prism: String) -> Self {
        Self::of(Some(service), prism).await
    }

    /// With nothing behind it but Prism's examples.
    pub(crate) async fn alone(prism: String) -> Self {
        Self::of(None, prism).await
    }

    async fn of(service: Option<String>, prism: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let objections = Arc::default();
        let net = net_of(NetSettings { system_roots: false, ..NetSettings::default() }, Snapshot::default());
        let client = net.client(&Policy::default());
        let court = Arc::new(Court { client, service, prism, objections: Arc::clone(&objections) });
        let server = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let court = Arc::clone(&court);
                tokio::spawn(async move {
                    let service = hyper::service::service_fn(move |request| {
                        let court = Arc::clone(&court);
                        async move { Ok::<_, std::convert::Infallible>(court.handle(request).await) }
                    });
                    let builder = auto::Builder::new(TokioExecutor::new());
                    let _ = builder.serve_connection(TokioIo::new(socket), service).await;
                });
            }
        });
        Self { address, objections, server }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Judge {
    fn drop(&mut self) {
        self.server.abort();
        let objections = self.objections.lock().unwrap_or_else(PoisonError::into_inner);
        // A trial that has failed already need not fail twice, which would end the process.
        if !std::thread::panicking() {
            assert!(objections.is_empty(), "Prism objects: {objections:#?}");
        }
    }
}

impl Court {
    async fn handle(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        let answer = match &self.service {
            Some(service) => Some(self.send(service, path, &head, &body, None).await),
            None => None,
        };
        let status = answer.as_ref().map(|answer| answer.status.as_u16());
        // What Prism cannot judge: it knows no credentials, and few refusals are in the description.
        let judged = status.filter(|status| !matches!(status, 401 | 403 | 404 | 422));
        // GitHub recommends this type and its description does not have it.
        let mut to_prism = head.clone();
        if to_prism.headers.get("accept").is_some_and(|accept| accept == "application/vnd.github+json") {
            to_prism.headers.insert("accept", HeaderValue::from_static("application/json"));
        }
        let verdict = self.send(&self.prism, path, &to_prism, &body, judged).await;
        // Some of the description's own examples violate it; those are not about the request.
        let violations = verdict
            .headers
            .get("sl-violations")
            .is_some_and(|told| String::from_utf8_lossy(told.as_bytes()).contains("\"request\""));
        let problem = verdict
            .headers
            .get("content-type")
            .is_some_and(|kind| kind.as_bytes().starts_with(b"application/problem"));
        if problem || violations {
            let said = String::from_utf8_lossy(verdict.body.expose()).into_owned();
            self.objections
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(format!("{} {path} (answered with {status:?}): {said}", head.method));
        }
        let answer = answer.unwrap_or(verdict);
        let mut response = Response::new(Full::new(Bytes::copy_from_slice(answer.body.expose())));
        *response.status_mut() = answer.status;
        for name in ["content-type", "location", "date", "retry-after"] {
            if let Some(value) = answer.headers.get(name) {
                response.headers_mut().insert(name, value.clone());
            }
        }
        response
    }

    async fn send(
        &self,
        base: &str,
        path: &str,
        head: &http::request::Parts,
        body: &Bytes,
        prefer: Option<u16>,
    ) -> Answer {
        let mut request = Request::new(body.clone());
        *request.method_mut() = head.method.clone();
        *request.uri_mut() = format!("{base}{path}").parse().unwrap();
        let mut headers: HeaderMap = head.headers.clone();
        headers.remove("host");
        if let Some(status) = prefer {
            headers.insert("prefer", format!("code={status}").parse().unwrap());
        }
        *request.headers_mut() = headers;
        self.client.call(request, Effect::Read).await.unwrap()
    }
}
