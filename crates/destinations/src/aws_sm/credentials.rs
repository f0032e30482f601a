//! Who the calls are made as: explicit keys, or AWS's chain, and on top of either a role.
//!
//! The sources are reqsign's. The order, the cache and the way in which failures are told are ours:
//! reqsign's own chain goes on to the next source when one fails, so that a rejected role ends as "no
//! instance metadata", and puts answers into its errors and its log. What its sources see of a failed
//! call is therefore only that it failed.

use std::{path::PathBuf, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use http::HeaderValue;
use model::{SecretBytes, Timestamp};
use reqsign_aws_v4::{
    AssumeRoleCredentialProvider, AssumeRoleWithWebIdentityCredentialProvider, Credential,
    ECSCredentialProvider, EnvCredentialProvider, IMDSv2CredentialProvider, ProfileCredentialProvider,
    SSOCredentialProvider,
};
use reqsign_core::{Context, ProvideCredential, Signer};
use zeroize::{Zeroize, Zeroizing};

use super::{
    api::Skew,
    outside::{
        EnvironmentOf, Failure, FilesOf, Fixed, IDENTITY_TOKEN_PATH, Outside, SignSts, trusted_origins,
    },
    place::Endpoint,
    profile::{self, Profiles},
    sign::{SigningKey, Stamp},
};
use crate::{
    Fault, Retry,
    identity::Federation,
    net::{Client, Environment, Net, Policy},
    tokens::{Life, TokenCache},
};

/// How long the metadata services of the machine may take: they are near, or not there at all.
pub(super) const METADATA_PATIENCE: Duration = Duration::from_secs(2);

/// Credentials are renewed this long before they expire (destinations.md 1.2).
const RENEW_BEFORE: Duration = Duration::from_secs(300);

/// How far `source_profile` is followed.
const MAX_ROLES: usize = 5;

/// One set of keys, with the signing key derived from it last.
pub(super) struct Credentials {
    pub(super) access_key_id: String,
    secret: SecretBytes,
    pub(super) token: Option<HeaderValue>,
    key: ArcSwapOption<SigningKey>,
}

impl Credentials {
    /// With how long they last, as of `now`.
    pub(super) fn from_reqsign(mut found: Credential, now: Timestamp) -> Result<(Self, Option<Life>), Fault> {
        let token = match found.session_token.take().map(Zeroizing::new) {
            Some(token) => {
                let mut header = HeaderValue::from_str(&token)
                    .map_err(|_| Fault::client("credentials_config", "the session token is malformed"))?;
                header.set_sensitive(true);
                Some(header)
            }
            None => None,
        };
        let secret = SecretBytes::from(found.secret_access_key.as_str());
        found.secret_access_key.zeroize();
        let expires = found.expires_in.map(|at| Timestamp::from_secs(at.as_second()));
        let made = Self { access_key_id: found.access_key_id, secret, token, key: ArcSwapOption::empty() };
        Ok((made, expires.map(|expires| Life::until(expires, now, RENEW_BEFORE))))
    }

    /// The signing key of the day. Credentials serve one region and service, so one key is enough.
    pub(super) fn signing_key(&self, stamp: &Stamp, region: &str, service: &str) -> Arc<SigningKey> {
        if let Some(key) = self.key.load_full().filter(|key| key.good_for(stamp)) {
            return key;
        }
        let key = Arc::new(SigningKey::derive(&self.secret, stamp, region, service));
        self.key.store(Some(Arc::clone(&key)));
        key
    }
}

/// What a destination says about credentials.
pub(super) struct Settings {
    /// `access_key_id` and `secret_access_key`.
    pub(super) keys: Option<(SecretBytes, SecretBytes)>,
    /// `role_arn` and `external_id`.
    pub(super) role: Option<(String, Option<String>)>,
    /// `identity_token_audience` and its like: the role is taken by a token this server signs.
    pub(super) federation: Option<Federation>,
}

/// The credentials of one destination, loaded when first needed and renewed in time.
pub(super) struct Cache {
    load: Load,
    held: TokenCache<Credentials>,
}

impl Cache {
    pub(super) fn new(load: Load) -> Self {
        Self { load, held: TokenCache::new("a set of AWS credentials") }
    }

    /// Credentials that will last for a while.
    pub(super) async fn get(&self) -> Result<Arc<Credentials>, Fault> {
        self.held.get(self.load.net.clock().as_ref(), || self.load.run()).await
    }

    /// Forgets credentials that were refused. Whether loading them again could give others.
    pub(super) fn refused(&self, used: &Arc<Credentials>) -> bool {
        self.held.forget(used);
        self.load.settings.keys.is_none() || self.load.settings.role.is_some()
    }
}

/// Everything loading needs.
pub(super) struct Load {
    pub(super) net: Arc<Net>,
    pub(super) settings: Settings,
    /// The client of the destination's network policy.
    pub(super) client: Client,
    pub(super) region: String,
    /// Where roles are assumed, if not at AWS's own address.
    pub(super) sts: Option<Endpoint>,
    /// Where the server's identity token may be sent, if not to AWS's own address.
    pub(super) operators_sts: Option<Endpoint>,
    pub(super) skew: Arc<Skew>,
}

impl Load {
    async fn run(&self) -> Result<(Credentials, Option<Life>), Fault> {
        let failure = Failure::default();
        let environment = Arc::clone(self.net.environment());
        let identity = match &self.settings.federation {
            Some(federation) => Some(federation.token().await?),
            None => None,
        };
        let federated = identity.is_some();
        let context = Context::new()
            .with_env(EnvironmentOf(Arc::clone(&environment)))
            .with_file_read(FilesOf { environment: Arc::clone(&environment), identity })
            .with_http_send(Outside {
                destination: self.client.clone(),
                operator: self.net.client(&Policy::of_operator()),
                trusted: trusted_origins(environment.as_ref(), self.operators_sts.as_ref()),
                operators_sts: self.operators_sts.clone(),
                failure: failure.clone(),
            });
        let profiles = {
            let environment = Arc::clone(&environment);
            tokio::task::spawn_blocking(move || Profiles::read(environment.as_ref()))
                .await
                .map_err(|_| Fault::internal("credentials_task", "reading the AWS profiles was cut short"))?
        };
        let found = if let (true, Some((arn, _))) = (federated, &self.settings.role) {
            self.by_identity(&context, arn).await
        } else {
            let base = self.base(&context, environment.as_ref(), &profiles).await;
            self.in_role(&context, base).await
        };
        match found {
            Ok(credential) => Credentials::from_reqsign(credential, self.net.clock().now()),
            // A call that failed says more than its source can.
            Err(Failed::Source(source)) => {
                Err(failure.take().unwrap_or_else(|| Failed::Source(source).fault()))
            }
            Err(failed) => Err(failed.fault()),
        }
    }

    /// Takes the role by a token that this server signed.
    async fn by_identity(&self, context: &Context, arn: &str) -> Result<Credential, Failed> {
        let provider = AssumeRoleWithWebIdentityCredentialProvider::with_config(
            arn.to_owned(),
            PathBuf::from(IDENTITY_TOKEN_PATH),
        )
        .with_region(self.region.clone())
        .with_regional_sts_endpoint()
        .with_role_session_name(SESSION.to_owned());
        one(provider.provide_credential(context).await, "identity token")
    }

    /// Takes the role, if one is to be taken, on top of other credentials.
    async fn in_role(
        &self,
        context: &Context,
        base: Result<Credential, Failed>,
    ) -> Result<Credential, Failed> {
        match (base, &self.settings.role) {
            (Ok(base), None) => Ok(base),
            (Ok(base), Some((arn, external_id))) => {
                self.assume(context, base, arn, external_id.as_deref(), None).await
            }
            (Err(failed), _) => Err(failed),
        }
    }

    /// The first source that applies, in the order of AWS's Rust SDK. A source that applies and fails
    /// is the answer: going on would hide why.
    async fn base(
        &self,
        context: &Context,
        environment: &dyn Environment,
        profiles: &Profiles,
    ) -> Result<Credential, Failed> {
        if let Some((id, secret)) = &self.settings.keys {
            // Opened to assume a role with; reqsign's copies live for this call.
            let text = |bytes: &SecretBytes| bytes.expose_text().map(ToOwned::to_owned);
            return match (text(id), text(secret)) {
                (Ok(access_key_id), Ok(secret_access_key)) => {
                    Ok(Credential { access_key_id, secret_access_key, session_token: None, expires_in: None })
                }
                _ => Err(Failed::Source("keys")),
            };
        }
        let set = |variable| environment.var(variable).is_some();
        if set("AWS_ACCESS_KEY_ID") && set("AWS_SECRET_ACCESS_KEY") {
            return one(EnvCredentialProvider::new().provide_credential(context).await, "environment");
        }
        let profile = profile::selected(environment);
        if profiles.has(&profile) {
            if let Some(found) = Box::pin(self.profile(context, profiles, &profile, MAX_ROLES)).await? {
                return Ok(found);
            }
        } else if set("AWS_PROFILE") {
            return Err(Failed::Fault(config_fault(
                "the profile that AWS_PROFILE names is in neither AWS configuration file",
            )));
        }
        if set("AWS_WEB_IDENTITY_TOKEN_FILE") && set("AWS_ROLE_ARN") {
            let mut provider = AssumeRoleWithWebIdentityCredentialProvider::new()
                .with_region(self.region.clone())
                .with_regional_sts_endpoint();
            if !set("AWS_ROLE_SESSION_NAME") {
                provider = provider.with_role_session_name(SESSION.to_owned());
            }
            return one(provider.provide_credential(context).await, "web identity");
        }
        if set("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") || set("AWS_CONTAINER_CREDENTIALS_FULL_URI") {
            return one(ECSCredentialProvider::new().provide_credential(context).await, "container");
        }
        match IMDSv2CredentialProvider::new().provide_credential(context).await {
            Ok(Some(found)) => Ok(found),
            Ok(None) | Err(_) => Err(Failed::Nothing),
        }
    }

    /// What a profile gives: keys, a role on top of another profile, a role by token, or single sign-on.
    async fn profile(
        &self,
        context: &Context,
        profiles: &Profiles,
        profile: &str,
        roles_left: usize,
    ) -> Result<Option<Credential>, Failed> {
        let get = |key| profiles.get(profile, key);
        if let (Some(arn), Some(left)) = (get("role_arn"), roles_left.checked_sub(1)) {
            let source = if let Some(file) = get("web_identity_token_file") {
                let mut provider = AssumeRoleWithWebIdentityCredentialProvider::with_config(
                    arn.to_owned(),
                    PathBuf::from(file),
                )
                .with_region(self.region.clone())
                .with_regional_sts_endpoint();
                provider =
                    provider.with_role_session_name(get("role_session_name").unwrap_or(SESSION).to_owned());
                return one(provider.provide_credential(context).await, "web identity").map(Some);
            } else if let Some(source) = get("source_profile") {
                let keys_of_itself = source == profile;
                let left = if keys_of_itself { 0 } else { left };
                let found = Box::pin(self.profile(context, profiles, source, left)).await?;
                found.ok_or_else(|| {
                    Failed::Fault(config_fault(
                        "the AWS profile that source_profile names holds no credentials",
                    ))
                })?
            } else {
                match get("credential_source") {
                    Some("Environment") => {
                        one(EnvCredentialProvider::new().provide_credential(context).await, "environment")?
                    }
                    Some("EcsContainer") => {
                        one(ECSCredentialProvider::new().provide_credential(context).await, "container")?
                    }
                    Some("Ec2InstanceMetadata") => {
                        one(IMDSv2CredentialProvider::new().provide_credential(context).await, "metadata")?
                    }
                    _ => {
                        return Err(Failed::Fault(config_fault(
                            "the AWS profile has role_arn but no usable source_profile or credential_source",
                        )));
                    }
                }
            };
            return self
                .assume(context, source, arn, get("external_id"), get("role_session_name"))
                .await
                .map(Some);
        }
        let keys = ProfileCredentialProvider::new().with_profile(profile);
        match keys.provide_credential(context).await {
            Ok(Some(found)) => return Ok(Some(found)),
            Ok(None) => {}
            Err(_) => return Err(Failed::Source("profile")),
        }
        if get("sso_start_url").is_some() && get("sso_session").is_none() {
            let provider = SSOCredentialProvider::new().with_profile(profile);
            return one(provider.provide_credential(context).await, "single sign-on").map(Some);
        }
        for unsupported in ["credential_process", "sso_session"] {
            if get(unsupported).is_some() {
                return Err(Failed::Fault(config_fault(
                    "the AWS profile uses credential_process or sso_session, which are not supported",
                )));
            }
        }
        Ok(None)
    }

    async fn assume(
        &self,
        context: &Context,
        source: Credential,
        arn: &str,
        external_id: Option<&str>,
        session: Option<&str>,
    ) -> Result<Credential, Failed> {
        let signer = Signer::new(
            context.clone(),
            Fixed(source),
            SignSts {
                region: self.region.clone(),
                endpoint: self.sts.clone(),
                net: Arc::clone(&self.net),
                skew: Arc::clone(&self.skew),
            },
        );
        let mut provider = AssumeRoleCredentialProvider::new(arn.to_owned(), signer)
            .with_role_session_name(session.unwrap_or(SESSION).to_owned())
            .with_region(self.region.clone())
            .with_regional_sts_endpoint();
        if let Some(id) = external_id {
            provider = provider.with_external_id(id.to_owned());
        }
        one(provider.provide_credential(context).await, "role")
    }
}

/// The name sessions of assumed roles bear in AWS's audit log.
const SESSION: &str = "keyferry";

/// Why there are no credentials.
enum Failed {
    Source(&'static str),
    Nothing,
    Fault(Fault),
}

impl Failed {
    fn fault(self) -> Fault {
        match self {
            Self::Fault(fault) => fault,
            Self::Nothing => Fault::client(
                "credentials_missing",
                "no AWS credentials: none on the destination, and none in the server's environment, AWS \
                 profile, web identity, container or instance metadata",
            )
            .retry(Retry::Slowly),
            Self::Source(source) => Fault::client(
                "credentials_config",
                format!("the AWS credentials from this source cannot be used: {source}"),
            )
            .retry(Retry::Slowly),
        }
    }
}

fn config_fault(message: &'static str) -> Fault {
    Fault::client("credentials_config", message).retry(Retry::Slowly)
}

/// reqsign's error says more, but may repeat what it was sent.
fn one(found: reqsign_core::Result<Option<Credential>>, source: &'static str) -> Result<Credential, Failed> {
    found.ok().flatten().ok_or(Failed::Source(source))
}
