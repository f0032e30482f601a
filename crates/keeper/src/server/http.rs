//! Connections, and the envelope around every call (keeper.md 3.5, 3.8).

use std::{io, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Method, Request, Response, StatusCode, body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::{Shared, calls, faults::Fault, files, state::State};
use crate::crypto::{Key, PublicKey, from_base64};

/// Largest body that is read, in bytes.
const LARGEST_BODY: usize = 256 << 20;

/// An answer that is not 200, in Keeper's form.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) code: &'static str,
    pub(super) message: &'static str,
    pub(super) more: Value,
}

impl Refusal {
    pub(super) fn new(status: u16, code: &'static str, message: &'static str) -> Self {
        Self { status, code, message, more: json!({}) }
    }

    /// A request that no correct client sends.
    pub(super) fn bad(message: &'static str) -> Self {
        Self::new(400, "bad_request", message)
    }

    fn denied(message: &'static str) -> Self {
        Self::new(403, "access_denied", message)
    }

    fn response(self, path: &str) -> Response<Full<Bytes>> {
        let mut body = json!({
            "path": format!("https://localhost, POST, /api/rest/sm/v1/{path}, python-requests"),
            "additional_info": self.message,
            "location": "pretend",
            "error": self.code,
            "message": self.message,
        });
        if let (Value::Object(body), Value::Object(more)) = (&mut body, self.more) {
            body.extend(more);
        }
        let mut response = plain(self.status, body.to_string());
        response
            .headers_mut()
            .insert("content-type", hyper::header::HeaderValue::from_static("application/json"));
        response
    }
}

pub(super) fn plain(status: u16, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
}

/// Takes connections until the task is ended.
pub(super) async fn accept(listener: TcpListener, acceptor: TlsAcceptor, shared: Arc<Shared>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let (acceptor, connection) = (acceptor.clone(), Arc::clone(&shared));
        let task = tokio::spawn(async move {
            let _ = stream.set_nodelay(true);
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let serve = service_fn(move |request| serve(Arc::clone(&connection), request));
            // A connection that breaks is the client's to notice.
            let _ =
                auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), serve).await;
        });
        let mut state = shared.state();
        state.connections += 1;
        state.tasks.retain(|task| !task.is_finished());
        state.tasks.push(task.abort_handle());
    }
}

async fn serve(shared: Arc<Shared>, request: Request<Incoming>) -> io::Result<Response<Full<Bytes>>> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, LARGEST_BODY).collect().await.map_err(io::Error::other)?.to_bytes();
    let path = head.uri.path();
    let call = if let Some(call) = path.strip_prefix("/api/rest/sm/v1/") {
        call
    } else if path.starts_with("/files/") {
        "file_download"
    } else if path.starts_with("/upload/") {
        "file_upload"
    } else {
        return Ok(plain(404, "not here"));
    };
    let fault = {
        let mut state = shared.state();
        *state.calls.entry(call.to_owned()).or_default() += 1;
        state.take_fault(call)
    };
    match fault {
        Some(Fault::Status(status)) => return Ok(plain(status, "<html>bad gateway</html>")),
        Some(Fault::Refuse(status, code)) => {
            return Ok(Refusal::new(status, code, "refused on request").response(call));
        }
        Some(Fault::Throttled(after)) => {
            let mut refusal = Refusal::new(403, "throttled", "too many requests");
            if let Some(after) = after {
                refusal.more = json!({"retry_after": after});
            }
            return Ok(refusal.response(call));
        }
        Some(Fault::AskForKey(id)) => return Ok(ask_for_key(id).response(call)),
        Some(Fault::Garbage) => return Ok(plain(200, vec![0x5a; 64])),
        Some(Fault::Slow(time)) => tokio::time::sleep(time).await,
        Some(Fault::Sealed(_) | Fault::LostAnswer) | None => {}
    }
    let response = match (call, &head.method) {
        ("file_download", &Method::GET) => files::download(&shared.state(), path),
        ("file_upload", &Method::POST) => files::upload(&mut shared.state(), path, &head.headers, &body),
        (call, &Method::POST) => {
            let text = if let Some(Fault::Sealed(text)) = fault { Some(text) } else { None };
            api(&shared, call, &head.headers, &body, text)
        }
        _ => plain(405, "not so"),
    };
    if fault == Some(Fault::LostAnswer) {
        return Err(io::Error::other("the answer is lost on request"));
    }
    Ok(response)
}

fn api(
    shared: &Shared,
    call: &str,
    headers: &hyper::HeaderMap,
    body: &[u8],
    instead: Option<&'static str>,
) -> Response<Full<Bytes>> {
    let mut state = shared.state();
    let answer = open(shared, &mut state, headers, body).and_then(|request| {
        let answer = match instead {
            Some(text) => text.as_bytes().to_vec(),
            None => match calls::call(shared, &mut state, call, &request)? {
                Some(answer) => answer.to_string().into_bytes(),
                None => return Ok(Vec::new()),
            },
        };
        request.key.seal(&answer, &*shared.entropy).map_err(|_| Refusal::new(500, "internal", "cannot seal"))
    });
    match answer {
        Ok(answer) => plain(200, answer),
        Err(refusal) => refusal.response(call),
    }
}

/// The id goes out as a number, where it is one.
fn ask_for_key(id: &str) -> Refusal {
    let id = id.parse::<i64>().map_or_else(|_| json!(id), |id| json!(id));
    Refusal { more: json!({ "key_id": id }), ..Refusal::new(401, "key", "use another key") }
}

/// A request that was opened and whose signature fits.
pub(super) struct Opened {
    pub(super) key: Key,
    pub(super) payload: Value,
    pub(super) client_id: String,
    pub(super) app: usize,
}

impl Opened {
    /// A text of the payload; none where it is absent, null or empty.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.payload.get(name)?.as_str().filter(|text| !text.is_empty())
    }

    pub(super) fn needed(&self, name: &str) -> Result<&str, Refusal> {
        self.text(name).ok_or(Refusal::bad("a key of the payload is missing"))
    }

    pub(super) fn bytes(&self, name: &str) -> Result<Vec<u8>, Refusal> {
        from_base64(self.needed(name)?).ok_or(Refusal::bad("a key of the payload is not base64"))
    }

    pub(super) fn texts(&self, name: &str) -> Option<Vec<&str>> {
        Some(self.payload.get(name)?.as_array()?.iter().filter_map(Value::as_str).collect())
    }
}

fn open(
    shared: &Shared,
    state: &mut State,
    headers: &hyper::HeaderMap,
    body: &[u8],
) -> Result<Opened, Refusal> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if header("content-type") != Some("application/octet-stream") {
        return Err(Refusal::bad("the content type is not application/octet-stream"));
    }
    if header("publickeyid") != Some(state.key_id.as_str()) {
        return Err(ask_for_key(&state.key_id));
    }
    // Standard base64, padded, as the service is sent by every official client.
    let strict = |text: Option<&str>| text.and_then(|text| STANDARD.decode(text).ok());
    let wrapped = strict(header("transmissionkey")).ok_or(Refusal::bad("no transmission key"))?;
    let signature = header("authorization").and_then(|value| value.strip_prefix("Signature "));
    let signature = strict(signature).ok_or(Refusal::bad("no signature"))?;
    let key = state.server_keys[&state.key_id]
        .open(&wrapped)
        .and_then(|key| Key::from_bytes(&key))
        .map_err(|_| Refusal::bad("the transmission key does not open"))?;
    let payload = key.open(body).map_err(|_| Refusal::bad("the payload does not open"))?;
    let payload: Value =
        serde_json::from_slice(&payload).map_err(|_| Refusal::bad("the payload is no JSON"))?;
    let version = payload["clientVersion"].as_str().unwrap_or_default().to_owned();
    let registered = match &state.registered_version {
        Some(only) => *only == version,
        None => is_version(&version),
    };
    state.last_version = Some(version);
    if !registered {
        return Err(Refusal::new(400, "invalid_client_version", "invalid client version id"));
    }
    let client_id = payload["clientId"].as_str().unwrap_or_default().to_owned();
    let now = shared.clock.now();
    let device = state
        .devices
        .get(&client_id)
        .filter(|device| !device.revoked && device.expires.is_none_or(|end| now < end))
        .ok_or(Refusal::denied("Unable to validate application access"))?;
    let public_key = match &device.public_key {
        Some(key) => key.clone(),
        None => payload["publicKey"]
            .as_str()
            .and_then(|key| PublicKey::from_bytes(&STANDARD.decode(key).ok()?).ok())
            .ok_or(Refusal::denied("Unable to validate application access"))?,
    };
    if !public_key.verifies(&[wrapped.as_slice(), body].concat(), &signature) {
        return Err(Refusal::denied("Signature is invalid"));
    }
    let app = device.app;
    Ok(Opened { key, payload, client_id, app })
}

/// Two letters and three numbers: `mp17.3.0`.
fn is_version(text: &str) -> bool {
    text.strip_prefix('m').and_then(|rest| rest.strip_prefix(|c: char| c.is_ascii_lowercase())).is_some_and(
        |version| {
            let parts: Vec<_> = version.split('.').collect();
            parts.len() == 3 && parts.iter().all(|part| part.parse::<u32>().is_ok())
        },
    )
}
