//! AWS Secrets Manager, by a moto server that both sides write to: each in a region of its own, under names
//! no other run uses.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::TcpStream,
    sync::OnceLock,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use crate::bench::Side;

/// The address of the moto server, without a path.
pub(crate) fn moto() -> Option<&'static str> {
    static MOTO: OnceLock<Option<String>> = OnceLock::new();
    #[expect(clippy::disallowed_methods, reason = "tests are told where their parts are")]
    let moto = MOTO.get_or_init(|| {
        let url = std::env::var("KEYFERRY_TEST_MOTO").ok().filter(|url| !url.is_empty())?;
        Some(url.trim_end_matches('/').to_owned())
    });
    moto.as_deref()
}

fn region(side: &Side) -> &'static str {
    if side.is_ours() { "us-west-2" } else { "us-east-1" }
}

/// What names of this row begin with. Ends in a sign that separates.
fn prefix(row: &str) -> String {
    static RUN: OnceLock<u32> = OnceLock::new();
    #[expect(clippy::disallowed_methods, reason = "names of different runs must differ")]
    let run = RUN.get_or_init(|| {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        since.subsec_nanos() ^ std::process::id().rotate_left(16)
    });
    format!("{row}/{run:08x}/")
}

/// Adds the record of the credentials, and plants secrets. A value that begins with `gone:` is of a secret
/// that is scheduled for deletion.
pub(crate) fn prepare(side: &mut Side, row: &str, planted: &[(&str, &str)]) {
    let region = region(side);
    let field = |label: &str, value: &str| json!({"type": "text", "label": label, "value": [value]});
    let body = json!({"title": "AWS", "type": "login", "fields": [], "custom": [
        field("AWS Access Key ID", "AKIAEXAMPLE"),
        field("AWS Secret Access Key", "example"),
        field("AWS Region Name", region),
    ]});
    side.record("aws", None, &body.to_string());
    side.uids.insert("run", prefix(row));
    side.uids.insert("moto", moto().unwrap_or_default().to_owned());
    for (name, value) in planted {
        let (name, value) = (side.filled(name), side.filled(value));
        let live = value.strip_prefix("gone:").unwrap_or(&value);
        call(region, "CreateSecret", &json!({"Name": name, "SecretString": live}));
        if live != value {
            call(region, "DeleteSecret", &json!({"SecretId": name}));
        }
    }
}

/// What is live under the names of this row, values by name; those scheduled for deletion are null.
pub(crate) fn state(side: &Side) -> Value {
    let (region, prefix) = (region(side), &side.uids["run"]);
    let filter = json!({"MaxResults": 100, "IncludePlannedDeletion": true,
        "Filters": [{"Key": "name", "Values": [prefix]}]});
    let list = call(region, "ListSecrets", &filter);
    let mut state = BTreeMap::new();
    for secret in list["SecretList"].as_array().into_iter().flatten() {
        let name = secret["Name"].as_str().unwrap_or_default();
        let value = if secret["DeletedDate"].is_null() {
            let value = call(region, "GetSecretValue", &json!({"SecretId": name}));
            let binary = value["SecretBinary"].as_str().and_then(|text| BASE64_STANDARD.decode(text).ok());
            match (&value["SecretString"], binary) {
                (Value::String(text), _) => serde_json::from_str(text).unwrap_or_else(|_| json!(text)),
                (_, Some(bytes)) => json!({"bytes": bytes}),
                _ => json!("no value"),
            }
        } else {
            Value::Null
        };
        state.insert(name.strip_prefix(prefix.as_str()).unwrap_or(name).to_owned(), value);
    }
    json!(state)
}

/// One call, over a connection of its own.
fn call(region: &str, operation: &str, body: &Value) -> Value {
    let address = moto().unwrap_or_default().trim_start_matches("http://");
    let body = body.to_string();
    let request = format!(
        "POST / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/x-amz-json-1.1\r\n\
         X-Amz-Target: secretsmanager.{operation}\r\nContent-Length: {}\r\nAuthorization: AWS4-HMAC-SHA256 \
         Credential=AKIAEXAMPLE/20260101/{region}/secretsmanager/aws4_request, SignedHeaders=host, Signature=00\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    serde_json::from_str(body).unwrap_or_default()
}
