//! What reqsign's credential sources may reach, and how their requests are signed.

use std::{
    collections::HashMap,
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Uri};
use model::SecretBytes;
use reqsign_aws_v4::Credential;
use reqsign_core::{Context, Env, Error, FileRead, HttpSend, ProvideCredential, SignRequest};
use zeroize::Zeroizing;

use super::{
    api::Skew,
    credentials::METADATA_PATIENCE,
    faults::{self, error_code_of_xml},
    place::Endpoint,
    sign::{self, Parts, SigningKey, Stamp},
};
use crate::{
    Fault,
    net::{Client, Effect, Environment, Net, wiped_bytes},
};

/// The first failure of a call, in our words.
#[derive(Clone, Default)]
pub(super) struct Failure(Arc<Mutex<Option<Fault>>>);

impl Failure {
    fn note(&self, fault: Fault) -> Error {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(fault);
        Error::unexpected("the call failed")
    }

    pub(super) fn take(&self) -> Option<Fault> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Credentials that are there already.
pub(super) struct Fixed(pub(super) Credential);

impl fmt::Debug for Fixed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fixed")
    }
}

impl ProvideCredential for Fixed {
    type Credential = Credential;

    async fn provide_credential(&self, _: &Context) -> reqsign_core::Result<Option<Credential>> {
        Ok(Some(self.0.clone()))
    }
}

/// Signs requests to the token service, by our clock and for the host they really go to.
pub(super) struct SignSts {
    pub(super) region: String,
    pub(super) endpoint: Option<Endpoint>,
    pub(super) net: Arc<Net>,
    pub(super) skew: Arc<Skew>,
}

impl fmt::Debug for SignSts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SignSts")
    }
}

impl SignRequest for SignSts {
    type Credential = Credential;

    async fn sign_request(
        &self,
        _: &Context,
        request: &mut http::request::Parts,
        credential: Option<&Credential>,
        _: Option<Duration>,
    ) -> reqsign_core::Result<()> {
        let Some(credential) = credential else { return Err(Error::unexpected("nothing to sign with")) };
        if let Some(endpoint) = &self.endpoint {
            request.uri = moved(&request.uri, endpoint).ok_or_else(|| Error::unexpected("bad endpoint"))?;
        }
        let host = Endpoint::parse(&request.uri.to_string(), false)
            .ok_or_else(|| Error::unexpected("bad endpoint"))?
            .host;
        let stamp = Stamp::of(self.skew.correct(self.net.clock().now()));
        request.headers.insert("x-amz-date", HeaderValue::from_str(stamp.as_str())?);
        if let Some(token) = &credential.session_token {
            let mut token = HeaderValue::from_str(token)?;
            token.set_sensitive(true);
            request.headers.insert("x-amz-security-token", token);
        }
        let payload = match request.headers.get("x-amz-content-sha256") {
            Some(hash) => hash.to_str()?.to_owned(),
            None => sign::sha256_hex(b""),
        };
        let mut headers: Vec<(&str, &str)> = vec![("host", &host)];
        for (name, value) in &request.headers {
            headers.push((name.as_str(), value.to_str()?));
        }
        headers.sort_unstable();
        // The copy for reqsign's credential type lives as long as this call.
        let secret = SecretBytes::from(credential.secret_access_key.as_str());
        let key = SigningKey::derive(&secret, &stamp, &self.region, "sts");
        let parts = Parts {
            method: request.method.as_str(),
            path: &sign::canonical_path(request.uri.path()),
            query: &sign::canonical_query(request.uri.query().unwrap_or_default()),
            headers: &headers,
            payload: &payload,
        };
        let mut header =
            HeaderValue::from_str(&sign::authorization(&key, &credential.access_key_id, &stamp, &parts))?;
        header.set_sensitive(true);
        request.headers.insert(http::header::AUTHORIZATION, header);
        Ok(())
    }
}

/// The URI with scheme and authority of the endpoint. Its path goes before.
fn moved(uri: &Uri, endpoint: &Endpoint) -> Option<Uri> {
    let base = endpoint.uri.path().trim_end_matches('/');
    let rest = uri.path_and_query().map_or("/", |rest| rest.as_str());
    Uri::builder()
        .scheme(endpoint.uri.scheme_str()?)
        .authority(endpoint.uri.authority()?.clone())
        .path_and_query(format!("{base}{rest}"))
        .build()
        .ok()
}

/// The only way out for reqsign's sources.
pub(super) struct Outside {
    pub(super) destination: Client,
    pub(super) operator: Client,
    pub(super) trusted: Vec<Endpoint>,
    pub(super) operators_sts: Option<Endpoint>,
    pub(super) failure: Failure,
}

impl fmt::Debug for Outside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Outside")
    }
}

/// Origins that the machine or its operator name, and that are reached for credentials only.
pub(super) fn trusted_origins(environment: &dyn Environment, sts: Option<&Endpoint>) -> Vec<Endpoint> {
    let machine = ["http://169.254.169.254", "http://[fd00:ec2::254]", "http://169.254.170.2"];
    let named = ["AWS_EC2_METADATA_SERVICE_ENDPOINT", "AWS_CONTAINER_CREDENTIALS_FULL_URI"];
    let named = named.iter().filter_map(|variable| environment.var(variable));
    machine
        .iter()
        .map(ToString::to_string)
        .chain(named)
        .filter_map(|url| Endpoint::parse(&url, true))
        .chain(sts.cloned())
        .collect()
}

impl HttpSend for Outside {
    async fn http_send(
        &self,
        mut request: http::Request<Bytes>,
    ) -> reqsign_core::Result<http::Response<Bytes>> {
        let signed = request.headers().contains_key(http::header::AUTHORIZATION);
        let to_sts = request.uri().host().is_some_and(|host| host.starts_with("sts."));
        if let (Some(sts), true, false) = (&self.operators_sts, to_sts, signed) {
            *request.uri_mut() =
                moved(request.uri(), sts).ok_or_else(|| Error::unexpected("bad endpoint"))?;
        }
        let trusted = self.trusted.iter().any(|origin| origin.is_origin_of(request.uri()));
        let near = trusted && !to_sts;
        let client = if trusted { &self.operator } else { &self.destination };
        let call = client.call(request, Effect::Read);
        let answer = if near {
            let silent = || Fault::external("timeout", "the machine's metadata service did not answer");
            tokio::time::timeout(METADATA_PATIENCE, call).await.unwrap_or_else(|_| Err(silent()))
        } else {
            call.await
        };
        let answer = answer.map_err(|fault| self.failure.note(fault))?;
        if !answer.status.is_success() {
            let code = error_code_of_xml(answer.body.expose());
            return Err(self.failure.note(faults::of_token_service(code.as_deref(), answer.status)));
        }
        // Credentials, on their way to reqsign's parser.
        let body = wiped_bytes(Zeroizing::new(answer.body.expose().to_vec()));
        http::Response::builder().status(answer.status).body(body).map_err(Error::from)
    }
}

/// reqsign asks for all variables and then picks. It gets those it is known to pick.
const VARIABLES: &[&str] = &[
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_PROFILE",
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_REGION",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_EC2_METADATA_DISABLED",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
];

/// The variables, for reqsign.
pub(super) struct EnvironmentOf(pub(super) Arc<dyn Environment>);

impl fmt::Debug for EnvironmentOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EnvironmentOf")
    }
}

impl Env for EnvironmentOf {
    fn var(&self, key: &str) -> Option<String> {
        self.0.var(key)
    }

    fn vars(&self) -> HashMap<String, String> {
        let value = |name: &&str| Some(((*name).to_owned(), self.0.var(name)?));
        VARIABLES.iter().filter_map(value).collect()
    }

    fn home_dir(&self) -> Option<PathBuf> {
        self.0.home()
    }
}

/// Where reqsign finds the token this server signed. No file is read for it, and no path of the machine
/// is spelled like this.
pub(super) const IDENTITY_TOKEN_PATH: &str = "\0identity token";

/// The machine's files, for reqsign, and the identity token as one of them.
pub(super) struct FilesOf {
    pub(super) environment: Arc<dyn Environment>,
    pub(super) identity: Option<SecretBytes>,
}

impl fmt::Debug for FilesOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FilesOf")
    }
}

impl FileRead for FilesOf {
    async fn file_read(&self, path: &str) -> reqsign_core::Result<Vec<u8>> {
        if let (IDENTITY_TOKEN_PATH, Some(token)) = (path, &self.identity) {
            // On its way to the token service.
            return Ok(token.expose().to_vec());
        }
        let (environment, path) = (Arc::clone(&self.environment), PathBuf::from(path));
        let read = tokio::task::spawn_blocking(move || environment.read(&path)).await;
        match read {
            // Keys or an identity token, on their way to reqsign's parser.
            Ok(Ok(bytes)) => Ok(bytes.expose().to_vec()),
            _ => Err(Error::config_invalid("the file cannot be read")),
        }
    }
}
