//! AWS KMS, in the two operations that a server needs to have its root key kept there: not a destination, but
//! at home here for the credentials and the signatures.

use std::{collections::BTreeMap, sync::Arc};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::StatusCode;
use model::SecretBytes;
use reqsign_aws_v4::Credential;
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;
use zeroize::Zeroizing;

use super::{
    api::{self, Operation, Signing, Skew},
    credentials::{Cache, Credentials, Load, Settings},
    faults::{self, Mend},
    place::{self, Endpoint},
    sign,
};
use crate::{
    Config, Fault, Retry, json,
    net::{Client, Effect, Net, Policy, wiped_bytes},
};

/// What a KMS key is found and used by. All but the key's name may be left to the server's own AWS settings.
#[derive(Default)]
pub struct KmsSettings {
    /// ARN, id or alias of the key.
    pub key_id: String,
    /// The region it is in.
    pub region: Option<String>,
    /// Access key id and secret access key.
    pub keys: Option<(SecretBytes, SecretBytes)>,
    /// The session token that belongs to them.
    pub session_token: Option<SecretBytes>,
    /// Base URL instead of AWS's own.
    pub endpoint: Option<String>,
}

/// A key in AWS KMS.
pub struct KmsKey {
    net: Arc<Net>,
    client: Client,
    settings: KmsSettings,
    reach: OnceCell<Reach>,
    skew: Arc<Skew>,
}

/// Where it is and as whom it is asked, once that is known.
struct Reach {
    endpoint: Endpoint,
    path: String,
    region: String,
    credentials: Source,
}

enum Source {
    Given(Arc<Credentials>),
    Chain(Box<Cache>),
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Encrypt<'a> {
    key_id: &'a str,
    plaintext: &'a str,
    encryption_context: &'a BTreeMap<&'a str, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Decrypt<'a> {
    key_id: &'a str,
    ciphertext_blob: &'a str,
    encryption_context: &'a BTreeMap<&'a str, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Encrypted {
    ciphertext_blob: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Decrypted {
    plaintext: SecretBytes,
}

impl KmsKey {
    /// Makes no call.
    pub fn new(settings: KmsSettings, net: &Arc<Net>) -> Self {
        let client = net.client(&Policy::of_operator());
        Self { net: Arc::clone(net), client, settings, reach: OnceCell::new(), skew: Arc::default() }
    }

    /// Encrypts up to 4,096 bytes. `context` is bound to what comes out, and is shown in AWS's own log.
    pub async fn encrypt(
        &self,
        plain: &SecretBytes,
        context: &BTreeMap<&str, String>,
    ) -> Result<Vec<u8>, Fault> {
        // EXPOSE: into the body of the request, which is wiped.
        let plaintext = Zeroizing::new(BASE64_STANDARD.encode(plain.expose()));
        let request =
            Encrypt { key_id: &self.settings.key_id, plaintext: &plaintext, encryption_context: context };
        let answer: Encrypted = self.call("TrentService.Encrypt", &request).await?;
        BASE64_STANDARD.decode(answer.ciphertext_blob).map_err(|_| unreadable())
    }

    /// Decrypts what was encrypted with the same context.
    pub async fn decrypt(
        &self,
        sealed: &[u8],
        context: &BTreeMap<&str, String>,
    ) -> Result<SecretBytes, Fault> {
        let blob = BASE64_STANDARD.encode(sealed);
        let request =
            Decrypt { key_id: &self.settings.key_id, ciphertext_blob: &blob, encryption_context: context };
        let answer: Decrypted = self.call("TrentService.Decrypt", &request).await?;
        // EXPOSE: out of its text form, into bytes that wipe themselves.
        BASE64_STANDARD.decode(answer.plaintext.expose()).map(SecretBytes::new).map_err(|_| unreadable())
    }

    /// One operation. Expired credentials are renewed once, a wrong clock is corrected for once.
    async fn call<T: for<'de> Deserialize<'de>>(
        &self,
        target: &'static str,
        body: &impl Serialize,
    ) -> Result<T, Fault> {
        let body = json::compact(body)
            .ok_or_else(|| Fault::internal("request_encoding", "a request cannot be written as JSON"))?;
        let payload = sign::sha256_hex(&body);
        let body = wiped_bytes(body);
        let reach = self.reach.get_or_try_init(|| self.find()).await?;
        let (mut renewed, mut corrected) = (false, false);
        loop {
            let credentials = match &reach.credentials {
                Source::Given(given) => Arc::clone(given),
                Source::Chain(chain) => chain.get().await?,
            };
            let now = self.net.clock().now();
            let signing = Signing {
                endpoint: &reach.endpoint,
                path: &reach.path,
                region: &reach.region,
                service: "kms",
                target,
            };
            let request =
                api::signed(&signing, body.clone(), &payload, &credentials, self.skew.correct(now))?;
            let answer = self.client.call(request, Effect::Read).await?;
            if answer.status.is_success() {
                return serde_json::from_slice(answer.body.expose()).map_err(|_| unreadable());
            }
            // An answer to a refusal holds no key; it is opened to find its code.
            let code = faults::error_code(&answer.headers, answer.body.expose());
            let renews = |chain: &Source| match chain {
                Source::Given(_) => false,
                Source::Chain(chain) => chain.refused(&credentials),
            };
            match faults::mend(code.as_deref()) {
                Mend::Credentials if !renewed && renews(&reach.credentials) => renewed = true,
                Mend::Clock if !corrected && self.skew.learn(&answer.headers, now) => corrected = true,
                _ => {
                    let fault = refused(code.as_deref(), answer.status);
                    if fault.code.starts_with("credentials_") {
                        // Someone may have put others in their place by the next try.
                        renews(&reach.credentials);
                    }
                    return Err(fault);
                }
            }
        }
    }

    async fn find(&self) -> Result<Reach, Fault> {
        let environment = self.net.environment().as_ref();
        let region = match &self.settings.region {
            Some(region) => region.clone(),
            None => place::region(&Config::default(), &self.net).await.map_err(|fault| {
                Fault::client("region_missing", "no region is set; set seal.region, or AWS_REGION")
                    .retry(fault.retry)
            })?,
        };
        let bad = || Fault::client("bad_address", "the endpoint of KMS is not an http or https URL");
        let named = self.settings.endpoint.clone().or_else(|| environment.var("AWS_KMS_ENDPOINT"));
        let named = named.or_else(|| place::from_environment(environment, "AWS_ENDPOINT_URL_KMS"));
        let endpoint = match named {
            Some(url) => Endpoint::parse(&url, true).ok_or_else(bad)?,
            None => {
                let fips = environment.var("AWS_USE_FIPS_ENDPOINT").as_deref() == Some("true");
                let name = if fips { "kms-fips" } else { "kms" };
                let url = format!("https://{name}.{region}.{}/", place::dns_suffix(&region));
                Endpoint::parse(&url, true).ok_or_else(bad)?
            }
        };
        let credentials = match (&self.settings.keys, &self.settings.session_token) {
            (Some((id, secret)), token) => {
                let malformed = || Fault::client("credentials_config", "the AWS keys are malformed");
                // EXPOSE: into the form in which all credentials are held.
                let text =
                    |bytes: &SecretBytes| bytes.expose_text().map(ToOwned::to_owned).map_err(|_| malformed());
                let given = Credential {
                    access_key_id: text(id)?,
                    secret_access_key: text(secret)?,
                    session_token: token.as_ref().map(text).transpose()?,
                    expires_in: None,
                };
                Source::Given(Arc::new(Credentials::from_reqsign(given, self.net.clock().now())?.0))
            }
            (None, _) => {
                let sts = place::operators_sts(environment);
                Source::Chain(Box::new(Cache::new(Load {
                    net: Arc::clone(&self.net),
                    settings: Settings { keys: None, role: None, federation: None },
                    client: self.client.clone(),
                    region: region.clone(),
                    sts: sts.clone(),
                    operators_sts: sts,
                    skew: Arc::clone(&self.skew),
                })))
            }
        };
        let path = sign::canonical_path(endpoint.uri.path());
        Ok(Reach { endpoint, path, region, credentials })
    }
}

fn unreadable() -> Fault {
    Fault::internal("answer_unreadable", "KMS answered with success, but not in the form it promises")
}

/// The meaning of a refusal.
fn refused(code: Option<&str>, status: StatusCode) -> Fault {
    let slowly = |code, message| Fault::client(code, message).retry(Retry::Slowly);
    let fault = match code {
        Some("DisabledException") => slowly("kms_key_disabled", "the KMS key is disabled"),
        Some("KMSInvalidStateException") => slowly(
            "kms_key_unusable",
            "the KMS key is in a state in which it cannot be used, such as waiting to be deleted",
        ),
        Some("NotFoundException") => {
            slowly("kms_key_missing", "there is no such KMS key in this region and account")
        }
        Some("InvalidKeyUsageException") => slowly("kms_key_usage", "the KMS key is not made for encryption"),
        Some("InvalidCiphertextException" | "IncorrectKeyException") => slowly(
            "kms_wrong_key",
            "KMS does not open the wrapped root key: it was wrapped by another key, or was changed",
        ),
        Some("AccessDeniedException" | "AccessDenied") => slowly(
            "access_denied",
            "the AWS credentials lack kms:Encrypt or kms:Decrypt on the key, or its policy refuses them",
        ),
        Some("ThrottlingException" | "LimitExceededException") => {
            Fault::throttled("KMS asks for fewer calls")
        }
        _ => faults::of_service(Operation::Describe, code, status).fault(),
    };
    fault.status(status.as_u16())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_says_what_is_to_be_mended() {
        for (code, told) in [
            ("DisabledException", "kms_key_disabled"),
            ("KMSInvalidStateException", "kms_key_unusable"),
            ("NotFoundException", "kms_key_missing"),
            ("InvalidCiphertextException", "kms_wrong_key"),
            ("AccessDeniedException", "access_denied"),
            ("ThrottlingException", "throttled"),
            ("UnrecognizedClientException", "credentials_rejected"),
            ("ExpiredTokenException", "credentials_expired"),
        ] {
            assert_eq!(refused(Some(code), StatusCode::BAD_REQUEST).code, told, "{code}");
        }
        let down = refused(Some("KMSInternalException"), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(down.blame, model::Blame::External, "{down:?}");
    }
}
