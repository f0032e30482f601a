//! The server's own Google credentials, in the order of Google's libraries: the file that
//! `GOOGLE_APPLICATION_CREDENTIALS` names, gcloud's well-known file, the machine (destinations.md 3.4).
//! What is there and cannot be used is the answer; nothing else is tried in its place.

use std::{io::ErrorKind, path::PathBuf, sync::Arc, time::Duration};

use super::file::{Login, Whose};
use crate::{
    Fault, Retry,
    net::{Answer, Effect, Environment, Net, Policy},
};

/// How long the machine's metadata service may take: it is near, or not there at all.
const PATIENCE: Duration = Duration::from_secs(2);

/// The metadata service, unless the environment names another.
const METADATA: &str = "169.254.169.254";

/// Where the server's own credentials are.
pub(super) enum Found {
    File(Box<Login>),
    Machine,
}

/// Finds them. Reads files, off the async threads.
pub(super) async fn find(net: &Net) -> Result<Found, Fault> {
    let environment = Arc::clone(net.environment());
    tokio::task::spawn_blocking(move || look(environment.as_ref()))
        .await
        .map_err(|_| Fault::internal("credentials_task", "reading the Google credentials was cut short"))?
}

fn look(environment: &dyn Environment) -> Result<Found, Fault> {
    let named = environment.var("GOOGLE_APPLICATION_CREDENTIALS").map(PathBuf::from);
    let gcloud = environment
        .var("CLOUDSDK_CONFIG")
        .map(PathBuf::from)
        .or_else(|| environment.home().map(|home| home.join(".config/gcloud")));
    let (path, required) = match (named, gcloud) {
        (Some(path), _) => (path, true),
        (None, Some(folder)) => (folder.join("application_default_credentials.json"), false),
        (None, None) => return machine(environment),
    };
    match environment.read(&path) {
        Ok(text) => match Login::parse(&text, Whose::Operators, None) {
            Ok(login) => Ok(Found::File(Box::new(login))),
            Err(problem) => Err(config_fault(format!("the server's Google credentials file {problem}"))),
        },
        Err(e) if !required && e.kind() == ErrorKind::NotFound => machine(environment),
        Err(_) => Err(config_fault("the server's Google credentials file cannot be read".to_owned())),
    }
}

fn machine(environment: &dyn Environment) -> Result<Found, Fault> {
    if environment.var("NO_GCE_CHECK").as_deref() == Some("true") {
        Err(missing())
    } else {
        Ok(Found::Machine)
    }
}

/// Asks the metadata service of the machine.
pub(super) async fn ask_machine(net: &Net, path: &str) -> Result<Answer, Fault> {
    let environment = net.environment();
    let host = environment
        .var("GCE_METADATA_HOST")
        .or_else(|| environment.var("GCE_METADATA_IP"))
        .unwrap_or_else(|| METADATA.to_owned());
    let request = http::Request::get(format!("http://{host}/computeMetadata/v1/{path}"))
        .header("metadata-flavor", "Google")
        .body(bytes::Bytes::new())
        .map_err(|_| {
            config_fault("GCE_METADATA_HOST of the server's environment is not a host".to_owned())
        })?;
    let client = net.client(&Policy::of_operator());
    let answer = tokio::time::timeout(PATIENCE, client.call(request, Effect::Read)).await;
    match answer {
        // Something else may live at that address.
        Ok(Ok(answer)) if answer.headers.get("metadata-flavor").is_some_and(|flavor| flavor == "Google") => {
            Ok(answer)
        }
        _ => Err(missing()),
    }
}

/// The project that the server's own credentials are of.
pub(in super::super) async fn project(net: &Net) -> Result<Option<String>, Fault> {
    let environment = net.environment();
    let named = environment.var("GOOGLE_CLOUD_PROJECT").or_else(|| environment.var("GCLOUD_PROJECT"));
    if named.is_some() {
        return Ok(named);
    }
    match find(net).await? {
        Found::File(login) => Ok(login.project),
        Found::Machine => {
            let answer = ask_machine(net, "project/project-id").await?;
            // The name of a project, not a secret.
            let text = answer.body.expose_text().ok().map(|text| text.trim().to_owned());
            Ok(text.filter(|text| answer.status.is_success() && !text.is_empty()))
        }
    }
}

pub(super) fn missing() -> Fault {
    Fault::client(
        "credentials_missing",
        "no Google credentials: none on the destination, and none in GOOGLE_APPLICATION_CREDENTIALS, gcloud's \
         file or the machine's metadata service",
    )
    .retry(Retry::Slowly)
}

pub(super) fn config_fault(message: String) -> Fault {
    Fault::client("credentials_config", message).retry(Retry::Slowly)
}
