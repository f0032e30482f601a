//! Credentials as JSON: a destination's own, or a file of the operator's (destinations.md 3.4).

use std::{borrow::Cow, collections::BTreeMap, path::PathBuf};

use http::{HeaderName, HeaderValue};
use model::{SecretBytes, json};
use serde::Deserialize;

use super::super::place;
use crate::{identity::Federation, jwt::SigningKey, net::Environment};

/// Where tokens are asked for when a file does not say.
const TOKEN_URL: &str = "https://oauth2.googleapis.com/token";

/// How long an impersonated account's token lasts, in seconds.
const IMPERSONATION_LASTS: u64 = 3600;

/// Who gave the file. It decides how far what it says is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Whose {
    /// It came with a destination.
    Destinations,
    /// It lies on the server.
    Operators,
}

/// What is wrong with a file, in words that repeat nothing of it.
pub(in super::super) type Problem = Cow<'static, str>;

/// What a file says, checked.
pub(in super::super) struct Login {
    pub(super) source: Source,
    pub(super) impersonation: Option<Impersonation>,
    pub(in super::super) project: Option<String>,
    pub(super) quota_project: Option<HeaderValue>,
    /// By tokens of this server: the addresses in it are Google's own or the operator's.
    pub(super) ours: bool,
}

impl Login {
    /// Acting as a service account by tokens that this server signs. What the operator's environment says
    /// about Google's token services holds; a destination has no say in where such a token goes.
    pub(in super::super) fn federated(
        federation: Federation,
        audience: &str,
        email: &str,
        environment: &dyn Environment,
    ) -> Self {
        let at = |variable: &str, service: &str| {
            let root =
                environment.var(variable).unwrap_or_else(|| format!("https://{service}.googleapis.com"));
            root.trim_end_matches('/').to_owned()
        };
        let sts = at("CLOUDSDK_API_ENDPOINT_OVERRIDES_STS", "sts");
        let iam = at("CLOUDSDK_API_ENDPOINT_OVERRIDES_IAMCREDENTIALS", "iamcredentials");
        Self {
            source: Source::External(External {
                audience: audience.to_owned(),
                subject_token_type: "urn:ietf:params:oauth:token-type:jwt".to_owned(),
                url: format!("{sts}/v1/token"),
                subject: Subject { place: Place::Own(federation), member: None },
                user_project: None,
            }),
            impersonation: Some(Impersonation {
                url: format!("{iam}/v1/projects/-/serviceAccounts/{email}:generateAccessToken"),
                delegates: Vec::new(),
                lifetime: IMPERSONATION_LASTS,
            }),
            project: email
                .split_once('@')
                .and_then(|(_, domain)| domain.strip_suffix(".iam.gserviceaccount.com"))
                .map(ToOwned::to_owned),
            quota_project: None,
            ours: true,
        }
    }
}

/// Where a first token comes from.
pub(super) enum Source {
    Account(Account),
    User(User),
    External(External),
}

/// A service account with a key.
pub(super) struct Account {
    pub(super) email: String,
    pub(super) key: SigningKey,
    pub(super) key_id: Option<String>,
    /// Whom its statement is for.
    pub(super) audience: String,
    /// Where it is sent: the same, unless a destination names another way there.
    pub(super) url: String,
}

/// A person who logged in with gcloud.
pub(super) struct User {
    pub(super) client_id: String,
    pub(super) client_secret: SecretBytes,
    pub(super) refresh_token: SecretBytes,
    pub(super) url: String,
}

/// An identity from elsewhere that Google exchanges (workload identity federation).
pub(super) struct External {
    pub(super) audience: String,
    pub(super) subject_token_type: String,
    pub(super) url: String,
    pub(super) subject: Subject,
    /// JSON in a JSON text; for people's pools only.
    pub(super) user_project: Option<String>,
}

/// Where the identity's token is.
pub(super) struct Subject {
    pub(super) place: Place,
    /// It is in this member of a JSON object; else it is the whole text.
    pub(super) member: Option<String>,
}

pub(super) enum Place {
    File(PathBuf),
    Url {
        url: String,
        headers: Vec<(HeaderName, HeaderValue)>,
    },
    /// This server signs it.
    Own(Federation),
}

/// Another account whose token is asked for with the first.
pub(super) struct Impersonation {
    pub(super) url: String,
    pub(super) delegates: Vec<String>,
    pub(super) lifetime: u64,
}

#[derive(Deserialize)]
struct Raw {
    #[serde(rename = "type")]
    kind: Option<String>,
    project_id: Option<String>,
    quota_project_id: Option<String>,
    universe_domain: Option<String>,
    client_email: Option<String>,
    private_key: Option<SecretBytes>,
    private_key_id: Option<String>,
    token_uri: Option<String>,
    client_id: Option<String>,
    client_secret: Option<SecretBytes>,
    refresh_token: Option<SecretBytes>,
    audience: Option<String>,
    subject_token_type: Option<String>,
    token_url: Option<String>,
    credential_source: Option<RawSource>,
    workforce_pool_user_project: Option<String>,
    service_account_impersonation_url: Option<String>,
    service_account_impersonation: Option<RawLifetime>,
    delegates: Option<Vec<String>>,
    source_credentials: Option<Box<Raw>>,
}

#[derive(Deserialize)]
struct RawSource {
    file: Option<String>,
    url: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, SecretBytes>,
    format: Option<RawFormat>,
    executable: Option<serde::de::IgnoredAny>,
    environment_id: Option<serde::de::IgnoredAny>,
    certificate: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct RawFormat {
    #[serde(rename = "type")]
    kind: Option<String>,
    subject_token_field_name: Option<String>,
}

#[derive(Deserialize)]
struct RawLifetime {
    token_lifetime_seconds: Option<u64>,
}

impl Login {
    /// Reads a file. `other_url`: where the destination wants tokens asked for.
    pub(in super::super) fn parse(
        text: &SecretBytes,
        whose: Whose,
        other_url: Option<&str>,
    ) -> Result<Self, Problem> {
        // Opened to be taken apart; keys and tokens stay wrapped.
        let text = text.expose();
        if text.trim_ascii_start().starts_with(b"@") {
            return Err(
                "is the name of a file; send the file's content (the CLI replaces @path by it)".into()
            );
        }
        if json::check_limits(text, &json::Limits { depth: 8, string: 1 << 16, members: 200 }).is_err() {
            return Err("is larger or more deeply nested than Google's credentials are".into());
        }
        // serde's own words may repeat what stands there; its position does not.
        let raw: Raw = serde_json::from_slice(text).map_err(|e| {
            let (line, column) = (e.line(), e.column());
            Problem::from(format!(
                "is not Google credentials in JSON; the problem is at line {line}, column {column}"
            ))
        })?;
        Self::checked(raw, whose, other_url)
    }

    fn checked(raw: Raw, whose: Whose, other_url: Option<&str>) -> Result<Self, Problem> {
        if raw.universe_domain.as_deref().is_some_and(|domain| domain != "googleapis.com") {
            return Err("names a universe_domain other than googleapis.com, which is not supported".into());
        }
        if raw.project_id.as_deref().is_some_and(|project| place::project_problem(project).is_some()) {
            return Err("has a project_id that is not a project's id".into());
        }
        let project = raw.project_id.clone();
        let quota_project = raw.quota_project_id.as_deref().map(header).transpose()?;
        let url = |given: Option<&str>| -> Result<String, Problem> {
            address("token_uri", other_url.or(given).unwrap_or(TOKEN_URL))
        };
        let source = match raw.kind.as_deref() {
            Some("service_account") => Source::Account(Account {
                email: required("client_email", raw.client_email)?,
                // Opened to make the key pair of it.
                key: SigningKey::from_pem(required("private_key", raw.private_key)?.expose())
                    .map_err(|problem| format!("has a private_key that cannot be used: it {problem}"))?,
                key_id: raw.private_key_id,
                audience: address("token_uri", raw.token_uri.as_deref().unwrap_or(TOKEN_URL))?,
                url: url(raw.token_uri.as_deref())?,
            }),
            Some("authorized_user") => Source::User(User {
                client_id: required("client_id", raw.client_id)?,
                client_secret: required("client_secret", raw.client_secret)?,
                refresh_token: required("refresh_token", raw.refresh_token)?,
                url: url(raw.token_uri.as_deref())?,
            }),
            Some("impersonated_service_account") => {
                let source = required("source_credentials", raw.source_credentials)?;
                if source.kind.as_deref() == Some("impersonated_service_account") {
                    return Err("has source_credentials that impersonate again; use delegates".into());
                }
                let mut login = Self::checked(*source, whose, other_url)?;
                let target =
                    required("service_account_impersonation_url", raw.service_account_impersonation_url)?;
                login.impersonation =
                    Some(impersonation(&target, raw.delegates, raw.service_account_impersonation)?);
                login.project = project.or(login.project);
                login.quota_project = quota_project.or(login.quota_project);
                return Ok(login);
            }
            Some("external_account") if whose == Whose::Destinations => {
                return Err("is of type external_account, whose token would be read from the server; leave \
                            credentials out to use the server's own"
                    .into());
            }
            Some("external_account") => return Self::external(raw, project, quota_project),
            Some("external_account_authorized_user" | "gdch_service_account") => {
                return Err("is of a type that is not supported; use service_account, authorized_user, \
                            external_account or impersonated_service_account"
                    .into());
            }
            Some(_) => {
                return Err(
                    "has a type that is not one of Google's; a service account's is service_account".into()
                );
            }
            None => return Err("has no type; a service account's is service_account".into()),
        };
        Ok(Self { source, impersonation: None, project, quota_project, ours: false })
    }

    fn external(
        raw: Raw,
        project: Option<String>,
        quota_project: Option<HeaderValue>,
    ) -> Result<Self, Problem> {
        if raw.client_secret.is_some() {
            return Err("is an external_account with a client_secret, which is not supported".into());
        }
        let source = required("credential_source", raw.credential_source)?;
        let impersonation = match &raw.service_account_impersonation_url {
            Some(url) => Some(impersonation(url, None, raw.service_account_impersonation)?),
            None => None,
        };
        let user_project = raw
            .workforce_pool_user_project
            .map(|project| serde_json::json!({ "userProject": project }).to_string());
        let external = External {
            audience: required("audience", raw.audience)?,
            subject_token_type: required("subject_token_type", raw.subject_token_type)?,
            url: address(
                "token_url",
                raw.token_url.as_deref().unwrap_or("https://sts.googleapis.com/v1/token"),
            )?,
            subject: subject(source)?,
            user_project,
        };
        Ok(Self { source: Source::External(external), impersonation, project, quota_project, ours: false })
    }
}

fn subject(source: RawSource) -> Result<Subject, Problem> {
    if source.executable.is_some() {
        return Err(
            "has an executable as credential_source; this server runs no programs for credentials".into()
        );
    }
    if source.environment_id.is_some() || source.certificate.is_some() {
        return Err("has a credential_source that is not supported; use file or url".into());
    }
    let member = match source.format {
        None => None,
        Some(format) => match format.kind.as_deref() {
            None | Some("text") => None,
            Some("json") => Some(required(
                "credential_source.format.subject_token_field_name",
                format.subject_token_field_name,
            )?),
            Some(_) => return Err("has a credential_source.format that is neither text nor json".into()),
        },
    };
    let place = match (source.file, source.url) {
        (Some(file), None) => Place::File(PathBuf::from(file)),
        (None, Some(url)) => {
            let mut headers = Vec::new();
            for (name, value) in source.headers {
                let name = HeaderName::try_from(name);
                // Into the request that fetches the token.
                let value = HeaderValue::from_bytes(value.expose());
                let (Ok(name), Ok(mut value)) = (name, value) else {
                    return Err("has a credential_source with a malformed header".into());
                };
                value.set_sensitive(true);
                headers.push((name, value));
            }
            Place::Url { url: address("credential_source.url", &url)?, headers }
        }
        _ => return Err("has a credential_source with neither or both of file and url".into()),
    };
    Ok(Subject { place, member })
}

fn impersonation(
    url: &str,
    delegates: Option<Vec<String>>,
    lifetime: Option<RawLifetime>,
) -> Result<Impersonation, Problem> {
    let lifetime = lifetime.and_then(|l| l.token_lifetime_seconds).unwrap_or(IMPERSONATION_LASTS);
    if !(600..=43_200).contains(&lifetime) {
        return Err("has a token_lifetime_seconds outside 600 to 43200".into());
    }
    Ok(Impersonation {
        url: address("service_account_impersonation_url", url)?,
        delegates: delegates.unwrap_or_default(),
        lifetime,
    })
}

fn required<T>(member: &'static str, given: Option<T>) -> Result<T, Problem> {
    given.ok_or_else(|| format!("lacks the member {member}").into())
}

fn address(member: &'static str, given: &str) -> Result<String, Problem> {
    match place::address_problem(given) {
        None => Ok(given.to_owned()),
        Some(problem) => Err(format!("has a {member} that {problem}").into()),
    }
}

/// A project that is charged, as a header.
pub(super) fn header(project: &str) -> Result<HeaderValue, Problem> {
    match place::project_problem(project) {
        None => HeaderValue::from_str(project).map_err(|_| "has a malformed quota project".into()),
        Some(_) => Err("has a quota_project_id that is not a project's id".into()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn problem(text: &str, whose: Whose) -> String {
        match Login::parse(&text.into(), whose, None) {
            Ok(_) => panic!("accepted: {text}"),
            Err(problem) => {
                assert!(!problem.contains("CANARY"), "{problem}");
                problem.into_owned()
            }
        }
    }

    #[test]
    fn what_is_wrong_with_credentials_is_said_without_repeating_them() {
        for (text, says) in [
            ("", "line 1"),
            ("@/home/me/key.json", "the file's content"),
            ("CANARY", "line 1, column 1"),
            (r#"{"type":"CANARY"}"#, "a type that is not one of Google's"),
            (r#"{"type":5}"#, "line 1"),
            ("{}", "no type"),
            (r#"{"type":"service_account"}"#, "client_email"),
            (r#"{"type":"service_account","client_email":"a"}"#, "private_key"),
            (r#"{"type":"service_account","client_email":"a","private_key":"CANARY"}"#, "BEGIN PRIVATE KEY"),
            (r#"{"type":"service_account","project_id":"../x"}"#, "project_id"),
            (r#"{"type":"authorized_user","client_id":"a","client_secret":"b"}"#, "refresh_token"),
            (
                r#"{"type":"authorized_user","client_id":"a","client_secret":"b","refresh_token":"c",
                    "token_uri":"file:///etc/passwd"}"#,
                "token_uri",
            ),
            (r#"{"type":"impersonated_service_account"}"#, "source_credentials"),
            (
                r#"{"type":"impersonated_service_account","source_credentials":
                    {"type":"impersonated_service_account"}}"#,
                "delegates",
            ),
            (r#"{"type":"external_account"}"#, "leave credentials out"),
            (r#"{"type":"gdch_service_account"}"#, "not supported"),
            (r#"{"type":"service_account","universe_domain":"CANARY.example"}"#, "universe_domain"),
        ] {
            let problem = problem(text, Whose::Destinations);
            assert!(problem.contains(says), "{text}: {problem}");
        }
        assert!(problem(&"[".repeat(50), Whose::Destinations).contains("nested"));
    }

    #[test]
    fn the_operators_federation_is_followed_as_far_as_it_is_safe() {
        let external = |source: &str| {
            format!(
                r#"{{"type":"external_account","audience":"a","subject_token_type":"t","credential_source":{source}}}"#
            )
        };
        for (source, says) in [
            (r#"{"executable":{"command":"/bin/CANARY"}}"#, "runs no programs"),
            (r#"{"environment_id":"aws1"}"#, "use file or url"),
            (r#"{"certificate":{}}"#, "use file or url"),
            ("{}", "neither or both"),
            (r#"{"file":"a","url":"http://b"}"#, "neither or both"),
            (r#"{"url":"gopher://b"}"#, "credential_source.url"),
            (r#"{"url":"http://b","headers":{"a b":"c"}}"#, "header"),
            (r#"{"file":"a","format":{"type":"json"}}"#, "subject_token_field_name"),
            (r#"{"file":"a","format":{"type":"xml"}}"#, "format"),
        ] {
            let problem = problem(&external(source), Whose::Operators);
            assert!(problem.contains(says), "{source}: {problem}");
        }
        let good = external(r#"{"file":"/token","format":{"type":"json","subject_token_field_name":"t"}}"#);
        let login = Login::parse(&good.as_str().into(), Whose::Operators, None).ok().unwrap();
        let Source::External(external) = login.source else { panic!("external") };
        assert_eq!(external.url, "https://sts.googleapis.com/v1/token");
        assert_eq!(external.subject.member.as_deref(), Some("t"));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,60}") {
            let _ = Login::parse(&text.as_str().into(), Whose::Operators, None);
        }
    }
}
