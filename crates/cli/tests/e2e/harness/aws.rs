//! Reads AWS Secrets Manager stand-ins directly, to see what really arrived.

use http_body_util::Full;
use hyper::Request;
use serde_json::{Value, json};

use super::Client;

/// One AWS endpoint, one region.
pub(crate) struct Aws {
    client: Client,
    region: &'static str,
}

impl Aws {
    pub(crate) fn new(endpoint: &str, region: &'static str) -> Self {
        Self { client: Client::new(endpoint, None), region }
    }

    /// One call, its answer or its error code.
    pub(crate) async fn call(&self, operation: &str, body: Value) -> Result<Value, String> {
        let scope = format!("AKIDTEST/20260101/{}/secretsmanager/aws4_request", self.region);
        let request = Request::post("/")
            .header("Content-Type", "application/x-amz-json-1.1")
            .header("X-Amz-Target", format!("secretsmanager.{operation}"))
            // The stand-ins route by this header's scope and do not check the signature.
            .header(
                "Authorization",
                format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=00"),
            )
            .body(Full::new(body.to_string().into()))
            .unwrap();
        let answer = self.client.try_send(request).await?;
        let json = answer.json();
        if answer.status.is_success() {
            Ok(json)
        } else {
            Err(json["__type"].as_str().unwrap_or(&answer.text).to_owned())
        }
    }

    /// The value under a name; none when there is no such live secret.
    pub(crate) async fn value(&self, name: &str) -> Option<Value> {
        let answer = self.call("GetSecretValue", json!({ "SecretId": name })).await.ok()?;
        serde_json::from_str(answer["SecretString"].as_str()?).ok()
    }

    /// Every live secret's name that begins with a prefix, sorted.
    pub(crate) async fn names(&self, prefix: &str) -> Vec<String> {
        let (mut names, mut next) = (Vec::new(), None);
        loop {
            let mut body = json!({ "MaxResults": 100, "Filters": [{ "Key": "name", "Values": [prefix] }] });
            if let Some(next) = &next {
                body["NextToken"] = Value::clone(next);
            }
            let page = self.call("ListSecrets", body).await.unwrap();
            let found = page["SecretList"].as_array().unwrap();
            names.extend(found.iter().map(|secret| secret["Name"].as_str().unwrap().to_owned()));
            match page.get("NextToken") {
                Some(token) if token.is_string() => next = Some(token.clone()),
                _ => break,
            }
        }
        names.sort();
        names
    }

    /// The tags of a secret.
    pub(crate) async fn tags(&self, name: &str) -> Value {
        self.call("DescribeSecret", json!({ "SecretId": name })).await.unwrap()["Tags"].clone()
    }
}
