//! The token service and the metadata services of machines.

use bytes::Bytes;
use http::{Response, request::Parts};
use http_body_util::Full;
use serde_json::json;

use super::{Key, Shared};

/// What a request asks for, by its AWS name.
pub(super) fn operation_of(head: &Parts, body: &[u8]) -> String {
    let target = head.headers.get("x-amz-target").and_then(|target| target.to_str().ok());
    if let Some((_, operation)) = target.and_then(|target| target.split_once('.')) {
        return operation.to_owned();
    }
    match head.uri.path() {
        path if path.starts_with("/latest/") => "imds".to_owned(),
        path if path.starts_with("/ecs/") => "ecs".to_owned(),
        _ => parameter(head, body, "Action").unwrap_or_default(),
    }
}

/// A parameter of a form, in the query or the body.
fn parameter(head: &Parts, body: &[u8], name: &str) -> Option<String> {
    let query = head.uri.query().unwrap_or_default().as_bytes();
    [query, body]
        .into_iter()
        .flat_map(url::form_urlencoded::parse)
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
}

impl Shared {
    /// Answers what is not Secrets Manager's.
    pub(super) fn tokens(&self, operation: &str, head: &Parts, body: &[u8]) -> Option<Response<Full<Bytes>>> {
        match operation {
            "imds" => Some(self.metadata(head)),
            "ecs" => {
                let authorized = head.headers.get("authorization").is_none_or(|token| token == "ecs-token");
                Some(if authorized { self.container() } else { self.answer(401, "text/plain", "") })
            }
            "AssumeRole" => Some(match self.check_signature(head, body) {
                Err(code) => self.xml_refusal(code, 403),
                Ok(_) if parameter(head, body, "ExternalId").as_deref() == Some("wrong") => {
                    self.xml_refusal("AccessDenied", 403)
                }
                Ok(_) => self.role(operation),
            }),
            "AssumeRoleWithWebIdentity" => Some(match parameter(head, body, "WebIdentityToken").as_deref() {
                Some("good-token") => self.role(operation),
                _ => self.xml_refusal("InvalidIdentityToken", 400),
            }),
            _ => None,
        }
    }

    /// New keys that last for an hour.
    fn mint(&self) -> (String, String, String, String) {
        let mut state = self.state();
        let suffix = state.suffix();
        let access_key = format!("ASIA{:0>16}", suffix.to_uppercase());
        let (secret, token) = (format!("secret-{suffix}"), format!("token-{suffix}"));
        let key = Key { secret: secret.as_str().into(), token: Some(token.clone()), expired: false };
        state.keys.insert(access_key.clone(), key);
        let expires = self.clock.now().as_secs() + 3600;
        let expires = jiff::Timestamp::from_second(expires).unwrap_or_default().to_string();
        (access_key, secret, token, expires)
    }

    fn role(&self, operation: &str) -> Response<Full<Bytes>> {
        let (access_key, secret, token, expires) = self.mint();
        self.answer(
            200,
            "text/xml",
            format!(
                "<{operation}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><{operation}Result>\
                 <Credentials><AccessKeyId>{access_key}</AccessKeyId><SecretAccessKey>{secret}</SecretAccessKey>\
                 <SessionToken>{token}</SessionToken><Expiration>{expires}</Expiration></Credentials>\
                 </{operation}Result></{operation}Response>"
            ),
        )
    }

    fn xml_refusal(&self, code: &str, status: u16) -> Response<Full<Bytes>> {
        let body = format!(
            "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>CANARY-FROM-REMOTE</Message>\
             </Error></ErrorResponse>"
        );
        self.answer(status, "text/xml", body)
    }

    fn container(&self) -> Response<Full<Bytes>> {
        let (access_key, secret, token, expires) = self.mint();
        let body = json!({"AccessKeyId": access_key, "SecretAccessKey": secret, "Token": token,
            "Expiration": expires});
        self.answer(200, "application/json", body.to_string())
    }

    /// Version 2 only: without a session token there is no answer.
    fn metadata(&self, head: &Parts) -> Response<Full<Bytes>> {
        if head.uri.path() == "/latest/api/token" {
            return self.answer(200, "text/plain", "imds-session");
        }
        if head.headers.get("x-aws-ec2-metadata-token").is_none_or(|token| token != "imds-session") {
            return self.answer(401, "text/plain", "");
        }
        match head.uri.path() {
            "/latest/meta-data/placement/region" => self.answer(200, "text/plain", "eu-north-1"),
            "/latest/meta-data/iam/security-credentials/" => self.answer(200, "text/plain", "machine-role"),
            "/latest/meta-data/iam/security-credentials/machine-role" => {
                let (access_key, secret, token, expires) = self.mint();
                let body = json!({"Code": "Success", "Message": "", "AccessKeyId": access_key,
                    "SecretAccessKey": secret, "Token": token, "Expiration": expires});
                self.answer(200, "application/json", body.to_string())
            }
            _ => self.answer(404, "text/plain", ""),
        }
    }
}
