//! Where a token comes from. With a client secret on the destination it is that app's. Without one it is
//! the server's own identity, and the first source that is there counts; one that is there and fails is
//! the answer, as going on would hide why.
//!
//! What the server holds (an identity token, a secret in its environment) goes to Azure's own sign-in or
//! to where the server's environment says, never to an address that came with a destination.

use std::{path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, header};
use model::{Clock, SecretBytes};
use url::form_urlencoded;
use zeroize::Zeroizing;

use super::{
    super::{cloud::Cloud, tenant_problem},
    answer::{self, Token},
};
use crate::{
    Fault, Retry,
    identity::Federation,
    net::{Answer, Client, Effect, Net, Policy, wiped_bytes},
    tokens::Life,
};

/// The identity service of virtual machines, unless the environment names another.
const MACHINE: &str = "http://169.254.169.254";

/// The machine's own services are near, or not there at all.
const MACHINE_PATIENCE: Duration = Duration::from_secs(10);

/// Longest identity token that is read.
const MAX_IDENTITY_TOKEN: usize = 64 << 10;

/// What a destination says about credentials.
pub(in super::super) struct Settings {
    pub(in super::super) tenant: Option<String>,
    pub(in super::super) client_id: Option<String>,
    pub(in super::super) client_secret: Option<SecretBytes>,
    /// `auth_endpoint`.
    pub(in super::super) authority: Option<String>,
    /// The cloud, where it is known.
    pub(in super::super) cloud: Option<&'static Cloud>,
    /// `identity_token_audience` and its like: the app is vouched for by a token this server signs.
    pub(in super::super) federation: Option<Federation>,
}

/// The sources of one destination.
pub(in super::super) struct Sources {
    net: Arc<Net>,
    settings: Settings,
    /// The client of the destination's network policy.
    client: Client,
}

/// A source that is there.
enum Source {
    /// An app with a secret or an identity token.
    App { app: App, proof: Proof },
    /// App Service, Functions, Container Apps.
    Service { url: String, header: HeaderValue },
    /// A virtual machine.
    Machine { base: String },
}

struct App {
    tenant: Option<String>,
    client_id: String,
    authority: Authority,
}

enum Proof {
    Secret(SecretBytes),
    /// The file of the identity token, which is replaced now and then.
    File(PathBuf),
    /// A token of this server's own signing.
    Own(Federation),
}

struct Authority {
    root: String,
    /// Named by the server's environment.
    operators: bool,
}

impl Sources {
    pub(in super::super) fn new(net: Arc<Net>, settings: Settings, client: Client) -> Self {
        Self { net, settings, client }
    }

    pub(super) fn clock(&self) -> &dyn Clock {
        self.net.clock().as_ref()
    }

    /// The tenant, as far as it is said anywhere.
    pub(super) fn tenant(&self) -> Option<String> {
        self.settings.tenant.clone()
    }

    /// Whether a tenant has to be known and is not said: then the vault's challenge tells it.
    pub(super) fn need_tenant(&self) -> bool {
        self.settings.client_secret.is_some() && self.settings.tenant.is_none()
    }

    /// A new token.
    pub(super) async fn token(
        &self,
        tenant: Option<&str>,
        resource: &str,
        claims: Option<&str>,
    ) -> Result<(Token, Life), Fault> {
        match self.source()? {
            Source::App { app, proof } => {
                let Some(tenant) = app.tenant.as_deref().or(tenant) else {
                    return Err(config_fault("tenant_id is not set, and the vault does not tell it"));
                };
                self.app_token(&app, tenant, proof, resource, claims).await
            }
            Source::Service { url, header } => {
                let mut query = vec![("api-version", "2019-08-01"), ("resource", resource)];
                query.extend(self.settings.client_id.as_deref().map(|id| ("client_id", id)));
                let mut request = get(&with_query(&url, &query))?;
                request.headers_mut().insert("x-identity-header", header);
                self.machine_token(request).await
            }
            Source::Machine { base } => {
                let mut query = vec![("api-version", "2018-02-01"), ("resource", resource)];
                query.extend(self.settings.client_id.as_deref().map(|id| ("client_id", id)));
                let url = format!("{}/metadata/identity/oauth2/token", base.trim_end_matches('/'));
                let mut request = get(&with_query(&url, &query))?;
                request.headers_mut().insert("metadata", HeaderValue::from_static("true"));
                self.machine_token(request).await
            }
        }
    }

    /// The first source that is there.
    fn source(&self) -> Result<Source, Fault> {
        let Settings { tenant, client_id, client_secret, .. } = &self.settings;
        if let (Some(client_id), Some(secret)) = (client_id, client_secret) {
            let authority = self.authority_of_destination();
            let app = App { tenant: tenant.clone(), client_id: client_id.clone(), authority };
            return Ok(Source::App { app, proof: Proof::Secret(secret.clone()) });
        }
        if let (Some(client_id), Some(federation)) = (client_id, &self.settings.federation) {
            let authority = self.authority_of_server();
            let app = App { tenant: tenant.clone(), client_id: client_id.clone(), authority };
            return Ok(Source::App { app, proof: Proof::Own(federation.clone()) });
        }
        let var = |name: &str| self.net.environment().var(name);
        // A destination that names another app means another identity than the environment's secret.
        let same = |asked: &Option<String>, found: &str| asked.as_ref().is_none_or(|asked| asked == found);
        if let (Some(env_tenant), Some(env_id), Some(secret)) =
            (var("AZURE_TENANT_ID"), var("AZURE_CLIENT_ID"), var("AZURE_CLIENT_SECRET"))
            && same(tenant, &env_tenant)
            && same(client_id, &env_id)
        {
            let app = App {
                tenant: Some(checked_tenant(env_tenant)?),
                client_id: env_id,
                authority: self.authority_of_server(),
            };
            return Ok(Source::App { app, proof: Proof::Secret(secret.into()) });
        }
        if let Some(file) = var("AZURE_FEDERATED_TOKEN_FILE") {
            let tenant = tenant.clone().or_else(|| var("AZURE_TENANT_ID"));
            let client_id = client_id.clone().or_else(|| var("AZURE_CLIENT_ID"));
            let (Some(tenant), Some(client_id)) = (tenant, client_id) else {
                return Err(config_fault(
                    "AZURE_FEDERATED_TOKEN_FILE is set, but tenant_id and client_id are neither on the \
                     destination nor in AZURE_TENANT_ID and AZURE_CLIENT_ID",
                ));
            };
            let app = App {
                tenant: Some(checked_tenant(tenant)?),
                client_id,
                authority: self.authority_of_server(),
            };
            return Ok(Source::App { app, proof: Proof::File(file.into()) });
        }
        if let Some(url) = var("IDENTITY_ENDPOINT") {
            let (Some(header), None) = (var("IDENTITY_HEADER"), var("IDENTITY_SERVER_THUMBPRINT")) else {
                return Err(config_fault(
                    "the managed identity of Azure Arc and Service Fabric is not supported; set client_id \
                     and client_secret",
                ));
            };
            let mut header =
                HeaderValue::try_from(header).map_err(|_| config_fault("IDENTITY_HEADER is malformed"))?;
            header.set_sensitive(true);
            return Ok(Source::Service { url, header });
        }
        let base = var("AZURE_POD_IDENTITY_AUTHORITY_HOST").unwrap_or_else(|| MACHINE.to_owned());
        Ok(Source::Machine { base })
    }

    /// Where the destination's own secret goes: where the destination says, else the cloud's sign-in.
    fn authority_of_destination(&self) -> Authority {
        match (&self.settings.authority, self.settings.cloud) {
            (Some(root), _) => Authority { root: root.clone(), operators: false },
            (None, Some(cloud)) => Authority { root: cloud.authority.to_owned(), operators: false },
            (None, None) => self.authority_of_server(),
        }
    }

    /// Where what the server holds goes: where its environment says, else the cloud's sign-in.
    fn authority_of_server(&self) -> Authority {
        match self.net.environment().var("AZURE_AUTHORITY_HOST") {
            Some(host) => {
                let root = if host.contains("://") { host } else { format!("https://{host}") };
                Authority { root, operators: true }
            }
            None => {
                let cloud = self.settings.cloud.unwrap_or(super::super::cloud::PUBLIC);
                Authority { root: cloud.authority.to_owned(), operators: false }
            }
        }
    }

    /// The client credentials flow.
    async fn app_token(
        &self,
        app: &App,
        tenant: &str,
        proof: Proof,
        resource: &str,
        claims: Option<&str>,
    ) -> Result<(Token, Life), Fault> {
        let federated = matches!(proof, Proof::File(_) | Proof::Own(_));
        let secret = match proof {
            Proof::Secret(secret) => secret,
            Proof::File(file) => self.identity_token(file).await?,
            Proof::Own(federation) => federation.token().await?,
        };
        let scope = format!("{resource}/.default");
        let mut form = Form::new();
        form.add("grant_type", b"client_credentials");
        form.add("client_id", app.client_id.as_bytes());
        form.add("scope", scope.as_bytes());
        if federated {
            form.add("client_assertion_type", b"urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
        }
        let field = if federated { "client_assertion" } else { "client_secret" };
        // The secret or the identity token, on its way to the authority.
        form.add(field, secret.expose());
        if let Some(claims) = claims {
            form.add("claims", claims.as_bytes());
        }
        let url = format!("{}/{tenant}/oauth2/v2.0/token", app.authority.root.trim_end_matches('/'));
        let mut request = get(&url)?;
        *request.method_mut() = Method::POST;
        request
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        *request.body_mut() = form.bytes();
        let client = if app.authority.operators {
            self.net.client(&Policy::of_operator())
        } else {
            self.client.clone()
        };
        let answer = client.call(request, Effect::Read).await?;
        if answer.status.is_success() {
            return answer::token(&answer, self.clock().now());
        }
        // A refusal holds no token; it is opened to find its codes.
        let fault = answer::of_authority(answer.status, answer.body.expose(), federated);
        Err(super::super::api::asked_to_wait(fault, &answer.headers))
    }

    async fn identity_token(&self, file: PathBuf) -> Result<SecretBytes, Fault> {
        let environment = Arc::clone(self.net.environment());
        let read = tokio::task::spawn_blocking(move || environment.read(&file)).await;
        let unreadable = || config_fault("the file that AZURE_FEDERATED_TOKEN_FILE names cannot be read");
        let Ok(Ok(token)) = read else { return Err(unreadable()) };
        // An identity token; its line end does not belong to it.
        let text = token.expose_text().map_err(|_| unreadable())?.trim();
        if text.is_empty() || text.len() > MAX_IDENTITY_TOKEN {
            return Err(config_fault("the file that AZURE_FEDERATED_TOKEN_FILE names holds no token"));
        }
        Ok(SecretBytes::from(text))
    }

    /// One of the machine's own services.
    async fn machine_token(&self, request: Request<Bytes>) -> Result<(Token, Life), Fault> {
        let client = self.net.client(&Policy::of_operator());
        let call = client.call(request, Effect::Read);
        let answer: Answer = match tokio::time::timeout(MACHINE_PATIENCE, call).await {
            Ok(Ok(answer)) => answer,
            Err(_) => {
                return Err(Fault::external(
                    "identity_unavailable",
                    "the machine's identity service did not answer in time",
                ));
            }
            Ok(Err(fault)) if !no_such_service(&fault) => return Err(fault),
            Ok(Err(_)) => {
                return Err(Fault::client(
                    "credentials_missing",
                    "no Azure credentials: no client secret on the destination, and no client secret, \
                     workload identity or managed identity for the server",
                )
                .retry(Retry::Slowly));
            }
        };
        if answer.status.is_success() {
            return answer::token(&answer, self.clock().now());
        }
        Err(super::super::api::asked_to_wait(answer::of_machine(answer.status), &answer.headers))
    }
}

/// Nothing is listening, as everywhere but on the machines of Azure.
fn no_such_service(fault: &Fault) -> bool {
    matches!(fault.code, "connect_failed" | "connect_timeout" | "host_not_found" | "dns_failed" | "not_http")
}

fn config_fault(message: &'static str) -> Fault {
    Fault::client("credentials_config", message).retry(Retry::Slowly)
}

fn checked_tenant(tenant: String) -> Result<String, Fault> {
    match tenant_problem(&tenant) {
        None => Ok(tenant),
        Some(_) => Err(config_fault("AZURE_TENANT_ID is not a tenant's id or domain")),
    }
}

fn get(url: &str) -> Result<Request<Bytes>, Fault> {
    let uri = url.parse::<http::Uri>().ok().filter(|uri| uri.authority().is_some());
    let uri = uri.ok_or_else(|| config_fault("the address to get an Azure token from is not a URL"))?;
    let mut request = Request::new(Bytes::new());
    *request.uri_mut() = uri;
    request.headers_mut().insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    request.headers_mut().insert(header::USER_AGENT, HeaderValue::from_static("keyferry"));
    Ok(request)
}

fn with_query(url: &str, pairs: &[(&str, &str)]) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(pairs);
    let join = if url.contains('?') { '&' } else { '?' };
    format!("{url}{join}{}", query.finish())
}

/// A form that leaves no copies of what is in it.
struct Form(Vec<(&'static str, Zeroizing<Vec<u8>>)>);

impl Form {
    fn new() -> Self {
        Self(Vec::with_capacity(6))
    }

    fn add(&mut self, name: &'static str, value: &[u8]) {
        // At most three bytes become of one.
        let mut encoded = Zeroizing::new(Vec::with_capacity(3 * value.len()));
        for part in form_urlencoded::byte_serialize(value) {
            encoded.extend_from_slice(part.as_bytes());
        }
        self.0.push((name, encoded));
    }

    fn bytes(self) -> Bytes {
        let length = self.0.iter().map(|(name, value)| name.len() + value.len() + 2).sum();
        let mut whole = Zeroizing::new(Vec::with_capacity(length));
        for (name, value) in &self.0 {
            if !whole.is_empty() {
                whole.push(b'&');
            }
            whole.extend_from_slice(name.as_bytes());
            whole.push(b'=');
            whole.extend_from_slice(value);
        }
        wiped_bytes(whole)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_form_is_read_back(secret in ".{0,40}", id in ".{0,20}") {
            let mut form = Form::new();
            form.add("client_id", id.as_bytes());
            form.add("client_secret", secret.as_bytes());
            let bytes = form.bytes();
            let read: Vec<(String, String)> = form_urlencoded::parse(&bytes).into_owned().collect();
            prop_assert_eq!(read, [("client_id".to_owned(), id), ("client_secret".to_owned(), secret)]);
        }
    }
}
