//! A client of keyferry's own API, for the commands that speak to a server.

use http_body_util::{BodyExt as _, Full};
use hyper::{
    Request,
    body::{Bytes, Incoming},
};
use hyper_util::rt::TokioIo;
use model::SecretBytes;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::failure::Failure;

/// One server and a token for it.
pub(crate) struct Client {
    address: String,
    token: SecretBytes,
}

impl Client {
    /// `address` is `host:port`; plain HTTP.
    pub(crate) fn new(address: impl Into<String>, token: SecretBytes) -> Self {
        Self { address: address.into(), token }
    }

    /// Reads an answer below `/v1/` that is no JSON into a file, as it comes.
    pub(crate) async fn save(&self, path: &str, into: &mut impl std::io::Write) -> Result<(), Failure> {
        let failed = |fault: &dyn std::fmt::Display| Failure::failed(format!("GET {path}: {fault}"));
        let mut body = self.exchange("GET", path, Bytes::new()).await?;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|fault| failed(&fault))?;
            if let Some(data) = frame.data_ref() {
                into.write_all(data).map_err(|fault| failed(&fault))?;
            }
        }
        Ok(())
    }

    /// Sends bytes that are no JSON.
    pub(crate) async fn send(&self, path: &str, bytes: Vec<u8>) -> Result<(), Failure> {
        self.exchange("POST", path, bytes.into()).await.map(drop)
    }

    /// The body of the answer, if it is none of refusal.
    async fn exchange(&self, method: &str, path: &str, body: Bytes) -> Result<Incoming, Failure> {
        let failed = |fault: &dyn std::fmt::Display| Failure::failed(format!("{method} {path}: {fault}"));
        let stream = TcpStream::connect(&self.address).await.map_err(|fault| failed(&fault))?;
        let (mut send, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|fault| failed(&fault))?;
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(format!("/v1/{path}"))
            .header("Host", &self.address)
            // EXPOSE: the token goes to the server it belongs to.
            .header("X-Vault-Token", self.token.expose())
            .body(Full::new(body))
            .map_err(|fault| failed(&fault))?;
        let answer = send.send_request(request).await.map_err(|fault| failed(&fault))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer.into_body());
        }
        let body = answer.into_body().collect().await.map_err(|fault| failed(&fault))?.to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        Err(failed(&format_args!("{status}: {}", body["errors"])))
    }

    /// One call below `/v1/`. Returns the answer's `data`, or what the server says is wrong.
    pub(crate) async fn call(&self, method: &str, path: &str, body: Option<Value>) -> Result<Value, Failure> {
        let failed = |fault: &dyn std::fmt::Display| Failure::failed(format!("{method} {path}: {fault}"));
        let stream = TcpStream::connect(&self.address).await.map_err(|fault| failed(&fault))?;
        let (mut send, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|fault| failed(&fault))?;
        let connection = tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(format!("/v1/{path}"))
            .header("Host", &self.address)
            // EXPOSE: the token goes to the server it belongs to.
            .header("X-Vault-Token", self.token.expose())
            .body(Full::new(body.map_or_else(Bytes::new, |body| body.to_string().into())))
            .map_err(|fault| failed(&fault))?;
        let answer = send.send_request(request).await.map_err(|fault| failed(&fault))?;
        let status = answer.status();
        let body = answer.into_body().collect().await.map_err(|fault| failed(&fault))?.to_bytes();
        drop(send);
        connection.abort();
        let mut body: Value = serde_json::from_slice(&body).unwrap_or_default();
        if status.is_success() {
            Ok(body["data"].take())
        } else {
            Err(failed(&format_args!("{status}: {}", body["errors"])))
        }
    }
}
