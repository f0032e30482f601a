//! Requests as Keeper wants them: sealed, signed, and tried again within bounds (keeper.md 3.5, 3.8).

use std::{
    error::Error as _,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use model::{Entropy, SecretBytes};
use reqwest::{StatusCode, header};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::{
    Around, Options, cache,
    guard::{Guard, Guarded, NoAddress, USUAL_PORT},
    server_keys::ServerKeys,
};
use crate::{
    Error,
    config::{Config, Host},
    crypto::{Key, PrivateKey, to_base64},
};

/// How often Keeper may ask for another of its keys in one request.
const KEY_SWITCHES: u32 = 2;
/// How often a throttled request is sent again.
const THROTTLE_RETRIES: u32 = 5;
/// The first wait when Keeper does not say how long; it doubles. Keeper counts in windows of 10 s.
const THROTTLE_WAIT: Duration = Duration::from_secs(11);
/// A longer wait than this is not worth blocking for.
const LONGEST_WAIT: Duration = Duration::from_mins(10);
/// How often a request is sent again after a failure of the server or the network.
const FAILURE_RETRIES: u32 = 3;
/// The first wait after such a failure; it doubles.
const FAILURE_WAIT: Duration = Duration::from_millis(500);

/// How waiting is done. The ordinary way is [`TokioWait`]; tests hand in one that only notes.
#[async_trait]
pub trait Wait: Send + Sync {
    /// Returns after this long.
    async fn wait(&self, time: Duration);
}

/// Waiting by tokio's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct TokioWait;

#[async_trait]
impl Wait for TokioWait {
    async fn wait(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}

/// Whether a request may be sent again when nobody knows whether it arrived.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    /// It changes nothing.
    Safe,
    /// It may have happened already.
    Unsafe,
}

pub(super) struct Transport {
    pub(super) http: reqwest::Client,
    pub(super) host: Host,
    keys: ServerKeys,
    key_id: Mutex<String>,
    signer: PrivateKey,
    pub(super) options: Options,
    pub(super) around: Around,
}

/// The part of an error answer we act on.
#[derive(Deserialize, Default)]
struct Refusal {
    result_code: Option<String>,
    error: Option<String>,
    key_id: Option<serde_json::Value>,
    retry_after: Option<serde_json::Value>,
}

/// What to do after an answer that is none.
enum Next {
    SwitchKey(String),
    Throttled(Option<Duration>),
    Failed(u16),
    Give(Error),
}

impl Transport {
    pub(super) fn new(config: &Config, options: Options, around: Around) -> Result<Self, Error> {
        let keys = ServerKeys::new(config.server_key.clone(), &options.server_keys)?;
        // Opened to sign with.
        let signer = PrivateKey::from_pkcs8(config.private_key.expose())?;
        Ok(Self {
            http: http_client(&options, around.guard.as_ref())?,
            host: config.host.clone(),
            key_id: Mutex::new(keys.first_id(config)),
            keys,
            signer,
            options,
            around,
        })
    }

    pub(super) fn entropy(&self) -> &dyn Entropy {
        &*self.around.entropy
    }

    /// The client's public key, which binding tells Keeper.
    pub(super) fn public_key(&self) -> String {
        to_base64(self.signer.public().as_bytes())
    }

    pub(super) fn key_id(&self) -> String {
        self.key_id.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// Sends one request and opens the answer, which may be empty.
    pub(super) async fn post(
        &self,
        path: &str,
        payload: &[u8],
        repeat: Repeat,
    ) -> Result<Zeroizing<Vec<u8>>, Error> {
        let (key, answer) = self.exchange(path, payload, repeat).await?;
        opened(&key, &answer)
    }

    /// The same for a request that changes nothing, with the last answer in place of one where Keeper cannot
    /// be reached and answers are kept. The second part says whether that is so.
    pub(super) async fn post_or_recall(
        &self,
        path: &str,
        payload: &[u8],
    ) -> Result<(Zeroizing<Vec<u8>>, bool), Error> {
        let exchanged = self.exchange(path, payload, Repeat::Safe).await;
        let Some(cache) = &self.options.cache else {
            let (key, answer) = exchanged?;
            return Ok((opened(&key, &answer)?, false));
        };
        match exchanged {
            Ok((key, answer)) => {
                let open = opened(&key, &answer)?;
                if cache::keep(cache, &key, &answer).is_err() {
                    tracing::warn!("the answer could not be kept in the cache");
                }
                Ok((open, false))
            }
            Err(
                error @ (Error::Connect { .. }
                | Error::Timeout { .. }
                | Error::Broken { .. }
                | Error::Server { .. }),
            ) => {
                let (key, answer) = cache::recall(cache).ok_or_else(|| error.clone())?;
                let open = opened(&key, &answer).map_err(|_| error.clone())?;
                tracing::warn!("{error}; the last answer is used, which may be out of date");
                Ok((open, true))
            }
            Err(error) => Err(error),
        }
    }

    /// Sends one request. The answer is still sealed, with the key that opens it.
    async fn exchange(&self, path: &str, payload: &[u8], repeat: Repeat) -> Result<(Key, Vec<u8>), Error> {
        let (mut switches, mut throttles, mut failures) = (0, 0, 0);
        loop {
            let key = Key::random(self.entropy());
            let next = match self.send(path, payload, &key).await {
                Ok((200, answer)) => return Ok((key, answer)),
                Ok((status, answer)) => self.refusal(status, &answer),
                // A request that never left can be sent again whatever it asks for.
                Err(error @ Error::Connect { .. }) => Next::Give(error),
                Err(error) if repeat == Repeat::Unsafe => return Err(error),
                Err(error) => Next::Give(error),
            };
            match next {
                Next::SwitchKey(id) => {
                    switches += 1;
                    if switches > KEY_SWITCHES {
                        return Err(Error::KeySwitches);
                    }
                    *self.key_id.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = id;
                }
                Next::Throttled(wanted) => {
                    let wait = wanted.unwrap_or(THROTTLE_WAIT * 2_u32.pow(throttles));
                    if throttles == THROTTLE_RETRIES || wait > LONGEST_WAIT {
                        return Err(Error::Throttled { retries: throttles, retry_after: wanted });
                    }
                    throttles += 1;
                    tracing::warn!(retry = throttles, "Keeper throttles this application; waiting");
                    self.wait(wait).await;
                }
                Next::Failed(status) if repeat == Repeat::Unsafe => return Err(Error::Server { status }),
                Next::Failed(status) => self.after(&mut failures, Error::Server { status }).await?,
                Next::Give(error) if error.is_passing() => self.after(&mut failures, error).await?,
                Next::Give(error) => return Err(error),
            }
        }
    }

    /// Waits before another attempt, or gives up with the error.
    pub(super) async fn after(&self, failures: &mut u32, error: Error) -> Result<(), Error> {
        if *failures == FAILURE_RETRIES {
            return Err(error);
        }
        self.wait(FAILURE_WAIT * 2_u32.pow(*failures)).await;
        *failures += 1;
        Ok(())
    }

    /// Waits about this long: a quarter more or less, so that clients do not come back in step.
    async fn wait(&self, time: Duration) {
        let mut dice = [0; 2];
        self.entropy().fill(&mut dice);
        let share = 0.75 + 0.5 * f64::from(u16::from_le_bytes(dice)) / f64::from(u16::MAX);
        self.around.wait.wait(time.mul_f64(share)).await;
    }

    async fn send(&self, path: &str, payload: &[u8], key: &Key) -> Result<(u16, Vec<u8>), Error> {
        let id = self.key_id();
        let server_key = self.keys.get(&id).ok_or_else(|| Error::UnknownServerKey { id: id.clone() })?;
        // Opened to be sealed for Keeper.
        let wrapped = server_key.seal(key.expose(), self.entropy())?;
        let body = key.seal(payload, self.entropy())?;
        let signature = self.signer.sign(&[wrapped.as_slice(), &body].concat())?;
        let request = self
            .http
            .post(format!("https://{}/api/rest/sm/v1/{path}", self.host))
            .header(header::CONTENT_TYPE, "application/octet-stream")
            .header("PublicKeyId", id)
            .header("TransmissionKey", to_base64(&wrapped))
            .header(header::AUTHORIZATION, format!("Signature {}", to_base64(&signature)))
            .body(body);
        let response = self.execute(request).await?;
        let status = response.status().as_u16();
        Ok((status, self.body(response).await?))
    }

    /// The body of an answer, up to the size we take.
    pub(super) async fn body(&self, mut response: reqwest::Response) -> Result<Vec<u8>, Error> {
        let expected = response.content_length().unwrap_or(0);
        if expected > self.options.largest_answer as u64 {
            return Err(Error::Answer("is too large"));
        }
        let mut body = Vec::with_capacity(usize::try_from(expected).unwrap_or(0));
        while let Some(chunk) = response.chunk().await.map_err(|e| self.network(&e))? {
            if body.len() + chunk.len() > self.options.largest_answer {
                return Err(Error::Answer("is too large"));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    /// The class of an answer that is not 200. `result_code` wins over `error` (keeper.md 3.8).
    fn refusal(&self, status: u16, body: &[u8]) -> Next {
        let refusal: Refusal = serde_json::from_slice(body).unwrap_or_default();
        let code = refusal.result_code.or(refusal.error).unwrap_or_default();
        match code.as_str() {
            "key" => match refusal.key_id.as_ref().and_then(short_id) {
                Some(id) if self.keys.get(&id).is_some() => Next::SwitchKey(id),
                Some(id) => Next::Give(Error::UnknownServerKey { id }),
                None => Next::Give(Error::Answer("asks for another public key without saying which")),
            },
            "throttled" if status == 403 => Next::Throttled(refusal.retry_after.as_ref().and_then(seconds)),
            "invalid_client_version" => Next::Give(Error::ClientVersion),
            "access_denied" => Next::Give(Error::AccessDenied),
            _ if status >= 500 => Next::Failed(status),
            _ => Next::Give(Error::Refused { status, code: word(&code) }),
        }
    }

    /// Sends a request where the guard lets it go. Names are looked up by the guard when they are connected to;
    /// literal addresses and unusual ports are asked about here.
    async fn execute(&self, request: reqwest::RequestBuilder) -> Result<reqwest::Response, Error> {
        let request = request.build().map_err(|e| self.network(&e))?;
        if let Some(guard) = &self.around.guard {
            let (host, literal) = match request.url().host() {
                Some(url::Host::Domain(name)) => (name.to_owned(), false),
                Some(url::Host::Ipv4(address)) => (address.to_string(), true),
                Some(url::Host::Ipv6(address)) => (address.to_string(), true),
                None => return Err(Error::Connect { host: self.host.to_string() }),
            };
            let port = request.url().port_or_known_default().unwrap_or(USUAL_PORT);
            if literal || port != USUAL_PORT {
                match guard.addresses(&host, port).await {
                    Ok(_) => {}
                    Err(NoAddress::Blocked(why)) => return Err(Error::Blocked { host, why }),
                    Err(NoAddress::NotFound) => return Err(Error::Connect { host }),
                }
            }
        }
        self.http.execute(request).await.map_err(|e| self.network(&e))
    }

    pub(super) fn network(&self, error: &reqwest::Error) -> Error {
        let host = self.host.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            if let Some(NoAddress::Blocked(why)) = cause.downcast_ref() {
                return Error::Blocked { host, why: why.clone() };
            }
            if let Some(rustls::Error::InvalidCertificate(why)) = cause.downcast_ref() {
                return if is_of_time(why) {
                    Error::CertificateTime { host }
                } else {
                    Error::Certificate { host }
                };
            }
            // An I/O error keeps what it wraps out of its own chain of sources.
            let inner = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
            source = inner.map_or_else(|| cause.source(), |inner| Some(inner as &dyn std::error::Error));
        }
        if error.is_connect() {
            Error::Connect { host }
        } else if error.is_timeout() {
            Error::Timeout { host }
        } else {
            Error::Broken { host }
        }
    }

    /// A download or upload at an address Keeper has given. No redirects are followed.
    pub(super) async fn transfer(
        &self,
        request: reqwest::RequestBuilder,
    ) -> Result<(StatusCode, Vec<u8>), Error> {
        let response = self.execute(request).await?;
        let status = response.status();
        Ok((status, self.body(response).await?))
    }
}

/// Whether a certificate would be right at another time.
const fn is_of_time(why: &rustls::CertificateError) -> bool {
    use rustls::CertificateError::{Expired, ExpiredContext, NotValidYet, NotValidYetContext};
    matches!(why, Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. })
}

/// Opens an answer. One without content is not sealed either.
fn opened(key: &Key, answer: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
    if answer.is_empty() {
        return Ok(Zeroizing::default());
    }
    key.open(answer).map_err(|_| Error::Answer("does not decrypt"))
}

/// A key id is a number in fact; anything short and plain is taken.
fn short_id(value: &serde_json::Value) -> Option<String> {
    let id = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    word(&id)
}

/// A text if it looks like one of Keeper's own words, and cannot be anything else.
fn word(text: &str) -> Option<String> {
    let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    (plain && (1..=40).contains(&text.len())).then(|| text.to_owned())
}

/// Seconds above zero, as a number or as text.
fn seconds(value: &serde_json::Value) -> Option<Duration> {
    let seconds = value.as_f64().or_else(|| value.as_str()?.parse().ok())?;
    Duration::try_from_secs_f64(seconds).ok().filter(|wait| !wait.is_zero())
}

#[expect(
    clippy::disallowed_methods,
    reason = "keeper may import only `model`; the rules of the house's own \
    client (no redirects, no proxy from the environment, time limits, bounded bodies) are kept right here"
)]
fn http_client(options: &Options, guard: Option<&Arc<dyn Guard>>) -> Result<reqwest::Client, Error> {
    // reqwest takes the process-wide provider; whoever came first has chosen the same one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut builder = reqwest::Client::builder()
        .https_only(true)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .connect_timeout(options.connect_timeout)
        .timeout(options.request_timeout)
        .referer(false);
    if let Some(guard) = guard {
        builder = builder.dns_resolver(Guarded(Arc::clone(guard)));
    }
    if let Some(pem) = &options.extra_ca {
        let certificates = reqwest::Certificate::from_pem_bundle(pem)
            .ok()
            .filter(|certificates| !certificates.is_empty())
            .ok_or(Error::Setup("the CA file holds no PEM certificate"))?;
        builder = builder.tls_certs_merge(certificates);
    }
    if !options.verify {
        builder = builder.tls_danger_accept_invalid_certs(true);
    }
    if let Some(proxy) = &options.proxy {
        // Opened to be used: a proxy's URL may hold a password.
        let proxy = proxy.expose_text().ok().and_then(|url| reqwest::Proxy::all(url).ok());
        builder = builder.proxy(proxy.ok_or(Error::Setup("the proxy is not a URL"))?);
    }
    builder.build().map_err(|_| {
        Error::Setup("no trusted root certificates are to be had: install the system's CA certificates")
    })
}

/// A payload as the bytes that are sealed.
pub(super) fn payload(body: &impl serde::Serialize) -> Result<SecretBytes, Error> {
    serde_json::to_vec(body).map(SecretBytes::new).map_err(|_| Error::Crypto)
}
