//! From an HTTP request to the app's: method, path, headers and body by Vault's rules
//! (kv-v2-api.md 2.1, 2.2).

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header, request::Parts};
use http_body_util::BodyExt as _;
use hyper::body::Body as HttpBody;
use model::{SecretBytes, json::check_limits, parse_duration};
use zeroize::Zeroizing;

use super::{respond::Refusal, service::Limits};
use crate::app::{Body, Operation, ROOT_ONLY, Request, parse_bool};

pub(super) const NAMESPACE: HeaderName = HeaderName::from_static("x-vault-namespace");
const TOKEN: HeaderName = HeaderName::from_static("x-vault-token");
const WRAP_TTL: HeaderName = HeaderName::from_static("x-vault-wrap-ttl");
const MERGE_PATCH: &str = "application/merge-patch+json";

/// Reads a request. Nothing of it has been authorised: all that is decided here is its form.
pub(super) async fn read_request<B>(
    parts: &Parts,
    body: B,
    limits: &Limits,
    id: String,
) -> Result<Request, Refusal>
where
    B: HttpBody<Data = Bytes>,
{
    let mut path = logical_path(&parts.uri)?;
    check_namespace(&parts.headers)?;
    let wrap_ttl = wrap_ttl(&parts.headers)?;
    let remote = parts.extensions.get::<SocketAddr>().copied();
    let mut query = parse_query(&parts.uri);
    let operation = operation(&parts.method, &path, &mut query)?;
    if path == "sys/metrics"
        && wants_openmetrics(&parts.headers)
        && !query.iter().any(|(name, _)| name == "format")
    {
        query.push(("format".to_owned(), "prometheus".to_owned()));
    }
    match operation {
        Operation::List | Operation::Scan if !path.ends_with('/') => path.push('/'),
        Operation::Write | Operation::Patch if path.ends_with('/') => {
            return Err(Refusal::new(StatusCode::BAD_REQUEST, "cannot write to a path ending in '/'"));
        }
        _ => {}
    }
    if operation == Operation::Patch {
        check_patch_type(&parts.headers, &path)?;
    }
    let body = match operation {
        Operation::Write | Operation::Patch | Operation::Delete => {
            read_body(&parts.headers, body, limits).await?
        }
        Operation::Read | Operation::List | Operation::Scan => Body::Empty,
    };
    let (token, trace) = (token(&parts.headers), parts.extensions.get().copied());
    let headers = Vec::new();
    Ok(Request { id, operation, path, token, body, query, wrap_ttl, remote, headers, trace })
}

/// The headers of these names that came with a request.
pub(super) fn read_headers(parts: &Parts, names: &[String]) -> Vec<(String, String)> {
    let read = |name: &String| {
        let value = parts.headers.get(name.as_str())?;
        Some((name.clone(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
    };
    names.iter().filter_map(read).collect()
}

/// Prometheus says what it reads, and then need not name a format.
fn wants_openmetrics(headers: &HeaderMap) -> bool {
    let accepts = headers.get(header::ACCEPT).and_then(|accepts| accepts.to_str().ok()).unwrap_or_default();
    accepts.starts_with("application/openmetrics-text") || accepts.starts_with("text/plain; version=0.0.4")
}

/// The path below `/v1/`, decoded once. What is refused here never reaches authorisation.
fn logical_path(uri: &Uri) -> Result<String, Refusal> {
    let raw = uri.path().strip_prefix("/v1/").ok_or_else(|| Refusal::silent(StatusCode::NOT_FOUND))?;
    let bad = |text| Refusal::new(StatusCode::BAD_REQUEST, text);
    let path = percent_decode(raw).ok_or_else(|| bad("the path is not valid percent-encoded UTF-8"))?;
    if path.chars().any(char::is_control) {
        return Err(bad("control characters in the path are not supported"));
    }
    if path.split('/').any(|segment| matches!(segment, "." | "..")) {
        return Err(bad("relative paths not supported"));
    }
    Ok(path)
}

fn percent_decode(raw: &str) -> Option<String> {
    if !raw.contains('%') {
        return Some(raw.to_owned());
    }
    let mut decoded = Vec::with_capacity(raw.len());
    let mut bytes = raw.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let digit =
                    |byte: Option<u8>| char::from(byte?).to_digit(16).and_then(|d| u8::try_from(d).ok());
                digit(bytes.next())? << 4 | digit(bytes.next())?
            }
            byte => byte,
        });
    }
    String::from_utf8(decoded).ok()
}

fn parse_query(uri: &Uri) -> Vec<(String, String)> {
    let query = uri.query().unwrap_or_default().as_bytes();
    url::form_urlencoded::parse(query).map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
}

fn operation(method: &Method, path: &str, query: &mut Vec<(String, String)>) -> Result<Operation, Refusal> {
    match method.as_str() {
        "GET" => {
            let (list, scan) = (take_flag(query, "list")?, take_flag(query, "scan")?);
            match (list, scan) {
                (true, true) => {
                    Err(Refusal::new(StatusCode::BAD_REQUEST, "list and scan exclude each other"))
                }
                (true, false) => Ok(Operation::List),
                (false, true) => Ok(Operation::Scan),
                (false, false) => Ok(Operation::Read),
            }
        }
        "HEAD" if path == "sys/health" => Ok(Operation::Read),
        "POST" | "PUT" => Ok(Operation::Write),
        "PATCH" => Ok(Operation::Patch),
        "DELETE" => Ok(Operation::Delete),
        "LIST" => Ok(Operation::List),
        "SCAN" => Ok(Operation::Scan),
        _ => Err(Refusal::silent(StatusCode::METHOD_NOT_ALLOWED)),
    }
}

/// Reads a truth value out of the query, in any form that Go takes.
fn take_flag(query: &mut Vec<(String, String)>, name: &str) -> Result<bool, Refusal> {
    let Some(at) = query.iter().position(|(given, _)| given == name) else { return Ok(false) };
    let value = &query[at].1;
    let flag = if value.is_empty() { Some(false) } else { parse_bool(value) };
    let flag = flag.ok_or_else(|| {
        Refusal::new(StatusCode::BAD_REQUEST, format!("the {name} parameter must be a boolean"))
    })?;
    query.retain(|(given, _)| given != name);
    Ok(flag)
}

fn token(headers: &HeaderMap) -> Option<SecretBytes> {
    let vault = headers.get(TOKEN).map(HeaderValue::as_bytes).filter(|token| !token.is_empty());
    vault.or_else(|| bearer(headers)).map(SecretBytes::from)
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.as_bytes().split_at_checked(7)?;
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"Bearer ") && !token.is_empty()).then_some(token)
}

/// There is the root namespace only.
fn check_namespace(headers: &HeaderMap) -> Result<(), Refusal> {
    let Some(namespace) = headers.get(NAMESPACE) else { return Ok(()) };
    match namespace.to_str().map(|namespace| namespace.trim_matches('/')) {
        Ok("" | "root") => Ok(()),
        _ => Err(Refusal::new(StatusCode::NOT_FOUND, ROOT_ONLY)),
    }
}

/// For how many seconds the answer is to be wrapped. Anything shorter than a second is one.
fn wrap_ttl(headers: &HeaderMap) -> Result<Option<u64>, Refusal> {
    let Some(ttl) = headers.get(WRAP_TTL).filter(|ttl| !ttl.is_empty()) else { return Ok(None) };
    let nanos = ttl.to_str().ok().and_then(|ttl| parse_duration(ttl).ok());
    let text = match nanos {
        None => "error parsing X-Vault-Wrap-TTL header: not a duration",
        Some(nanos) if nanos < 0 => {
            "error parsing X-Vault-Wrap-TTL header: requested wrap ttl cannot be negative"
        }
        Some(0) => return Ok(None),
        Some(nanos) => return Ok(Some(nanos.unsigned_abs().div_ceil(1_000_000_000))),
    };
    Err(Refusal::new(StatusCode::BAD_REQUEST, text))
}

fn media_type(headers: &HeaderMap) -> &str {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim()
}

/// A merge patch says that it is one. The sync API's generated clients say JSON.
fn check_patch_type(headers: &HeaderMap, path: &str) -> Result<(), Refusal> {
    let given = media_type(headers);
    let sync = path.starts_with("sys/sync/") && given.eq_ignore_ascii_case("application/json");
    if sync || given.eq_ignore_ascii_case(MERGE_PATCH) {
        return Ok(());
    }
    let text = format!("PATCH requires Content-Type of {MERGE_PATCH}");
    Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, text))
}

async fn read_body<B>(headers: &HeaderMap, body: B, limits: &Limits) -> Result<Body, Refusal>
where
    B: HttpBody<Data = Bytes>,
{
    let bytes = collect(body, limits.body).await?;
    let bad = |text: String| Refusal::new(StatusCode::BAD_REQUEST, text);
    let Some(first) = bytes.iter().find(|byte| !byte.is_ascii_whitespace()) else { return Ok(Body::Empty) };
    let is_form = media_type(headers).eq_ignore_ascii_case("application/x-www-form-urlencoded")
        && !matches!(first, b'{' | b'[');
    if is_form {
        if bytes.split(|byte| *byte == b'&').count() > limits.json.members {
            return Err(bad(format!("form data exceeds {} parameters", limits.json.members)));
        }
        return Ok(Body::Form(bytes));
    }
    check_limits(&bytes, &limits.json)
        .map_err(|fault| bad(format!("failed to parse JSON input: {fault}")))?;
    Ok(Body::Json(bytes))
}

/// Gathers a body into one buffer that is wiped.
async fn collect<B>(body: B, limit: usize) -> Result<Zeroizing<Vec<u8>>, Refusal>
where
    B: HttpBody<Data = Bytes>,
{
    let too_large = || Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "http: request body too large");
    let announced = body.size_hint();
    if announced.lower() > limit as u64 {
        return Err(too_large());
    }
    // The announced length at once, so that the buffer need not grow and leave copies behind. Memory
    // that is never written to costs nothing.
    let room = usize::try_from(announced.upper().unwrap_or(4096)).unwrap_or(0).min(limit);
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    let mut body = std::pin::pin!(body);
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|_| Refusal::new(StatusCode::BAD_REQUEST, "error reading the request body"))?;
        if let Some(data) = frame.data_ref() {
            if bytes.len() + data.len() > limit {
                return Err(too_large());
            }
            bytes.extend_from_slice(data);
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(uri: &str) -> Result<String, u16> {
        logical_path(&uri.parse().unwrap()).map_err(|refusal| refusal.status.as_u16())
    }

    #[test]
    fn paths_are_decoded_exactly_once() {
        for (uri, decoded) in [
            ("/v1/secret/data/a", "secret/data/a"),
            ("/v1/secret/data/%E7%92%B0%20b%25", "secret/data/環 b%"),
            ("/v1/a%2Fb", "a/b"),
            ("/v1/a%252e%252e/b", "a%2e%2e/b"),
            ("/v1/a//b", "a//b"),
            ("/v1/a+b", "a+b"),
            ("/v1/", ""),
        ] {
            assert_eq!(path(uri).as_deref(), Ok(decoded), "{uri}");
        }
    }

    #[test]
    fn odd_paths_are_refused() {
        for uri in [
            "/v1/secret/../sys/mounts",
            "/v1/secret/%2e%2e/sys",
            "/v1/secret/%2E",
            "/v1/a%2f..%2fb",
            "/v1/a%0ab",
            "/v1/a%00",
            "/v1/a%7f",
            "/v1/a%c2%85",
            "/v1/a%zz",
            "/v1/a%2",
            "/v1/a%",
            "/v1/a%ff",
        ] {
            assert_eq!(path(uri), Err(400), "{uri}");
        }
        for uri in ["/", "/v1", "/v2/secret", "/V1/secret"] {
            assert_eq!(path(uri), Err(404), "{uri}");
        }
    }
}
