//! Where a destination's calls go, and who named the place.

use url::Url;

use crate::{Config, Fault, FieldFault, Retry, net::Environment};

/// The service, unless someone names another place.
const SERVICE: &str = "https://secretmanager.googleapis.com";

/// By which the operator names another place, as gcloud does.
const OVERRIDE: &str = "CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER";

/// The service's base URL without a slash at its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub(super) base: String,
    /// It came from the server's environment, not with the destination, and is called whatever the
    /// destination's network policy says.
    pub(super) operators: bool,
}

/// Where the service is.
pub(super) fn service(config: &Config, environment: &dyn Environment) -> Result<Endpoint, Fault> {
    let bare = |url: &str| url.trim_end_matches('/').to_owned();
    if let Some(url) = config.text("endpoint") {
        return Ok(Endpoint { base: bare(url), operators: false });
    }
    match environment.var(OVERRIDE) {
        None => Ok(Endpoint { base: SERVICE.to_owned(), operators: false }),
        Some(url) if address_problem(&url).is_none() => Ok(Endpoint { base: bare(&url), operators: true }),
        Some(_) => Err(Fault::client(
            "bad_address",
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER in the server's environment is not an http or \
             https URL",
        )
        .retry(Retry::Slowly)),
    }
}

/// Whether the server's own credentials may be sent to an `endpoint` that a destination names. A token
/// is good for everything its account may do, so it goes to Google and nowhere else: whoever configures
/// destinations must not be able to collect it.
pub(super) fn check_endpoint_for_own_credentials(config: &Config) -> Result<(), FieldFault> {
    let Some(endpoint) = config.text("endpoint") else { return Ok(()) };
    let googles = Url::parse(endpoint).is_ok_and(|url| {
        let host = url.host_str().unwrap_or_default();
        url.scheme() == "https" && (host == "googleapis.com" || host.ends_with(".googleapis.com"))
    });
    if googles {
        return Ok(());
    }
    Err(FieldFault::new(
        "endpoint",
        "without credentials of the destination's own the server's are used, and those go only to https \
         addresses under googleapis.com; set credentials, or let the server's environment name the address \
         (CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER)",
    ))
}

/// What is wrong with an address that stands in a credentials file, if anything.
pub(super) fn address_problem(address: &str) -> Option<&'static str> {
    let Ok(url) = Url::parse(address) else { return Some("is not an absolute URL") };
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Some("is not an http or https URL with a host");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Some("holds a user name or password");
    }
    url.fragment().is_some().then_some("has a fragment (#)")
}

/// What is wrong with a project's id or number, if anything. It becomes part of every path.
pub(super) fn project_problem(project: &str) -> Option<&'static str> {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.:".contains(&b);
    let plain = project.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && !project.ends_with(['-', '.', ':']);
    let ok = (1..=100).contains(&project.len()) && project.bytes().all(inner) && plain;
    (!ok).then_some("must be a project id such as my-project-123456, or a project number")
}

/// What is wrong with a location, if anything.
pub(super) fn location_problem(location: &str) -> Option<&'static str> {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let ok = (2..=63).contains(&location.len())
        && location.bytes().all(inner)
        && location.starts_with(|c: char| c.is_ascii_lowercase())
        && !location.ends_with('-');
    (!ok).then_some("must be a location such as europe-west1")
}

/// The location of a KMS key by its resource name; what is wrong with the name otherwise.
pub(super) fn location_of_key(name: &str) -> Result<&str, &'static str> {
    let parts: Vec<&str> = name.split('/').collect();
    match parts.as_slice() {
        ["projects", project, "locations", location, "keyRings", ring, "cryptoKeys", key]
            if [project, location, ring, key].iter().all(|part| !part.is_empty()) =>
        {
            Ok(location)
        }
        _ => Err("must be a key such as projects/P/locations/L/keyRings/R/cryptoKeys/K"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FieldValue, net::Snapshot};

    fn config(endpoint: &str) -> Config {
        let mut config = Config::default();
        config.set("endpoint", FieldValue::Text(endpoint.to_owned()));
        config
    }

    #[test]
    fn the_destination_wins_over_the_environment() {
        let named =
            Snapshot { vars: [(OVERRIDE.to_owned(), "http://stand-in:8080/".to_owned())].into(), home: None };
        let endpoint = service(&Config::default(), &Snapshot::default()).unwrap();
        assert_eq!(endpoint, Endpoint { base: SERVICE.to_owned(), operators: false });
        let endpoint = service(&Config::default(), &named).unwrap();
        assert_eq!(endpoint, Endpoint { base: "http://stand-in:8080".to_owned(), operators: true });
        let endpoint = service(&config("https://mine/base/"), &named).unwrap();
        assert_eq!(endpoint, Endpoint { base: "https://mine/base".to_owned(), operators: false });
        let wrong = Snapshot { vars: [(OVERRIDE.to_owned(), "stand-in".to_owned())].into(), home: None };
        assert_eq!(service(&Config::default(), &wrong).unwrap_err().code, "bad_address");
    }

    #[test]
    fn the_servers_own_credentials_go_to_google_only() {
        for good in [
            "https://secretmanager.googleapis.com",
            "https://secretmanager-psc.p.googleapis.com/",
            "https://secretmanager.mtls.googleapis.com:443",
        ] {
            assert!(check_endpoint_for_own_credentials(&config(good)).is_ok(), "{good}");
        }
        for bad in [
            "http://secretmanager.googleapis.com",
            "https://googleapis.com.evil.example",
            "https://evilgoogleapis.com",
            "https://127.0.0.1",
        ] {
            let fault = check_endpoint_for_own_credentials(&config(bad)).unwrap_err();
            assert_eq!(fault.field, "endpoint", "{bad}");
        }
        assert!(check_endpoint_for_own_credentials(&Config::default()).is_ok());
    }

    #[test]
    fn names_of_places_are_parts_of_paths() {
        for good in ["my-project", "example.com:my-project", "123456789012", "p"] {
            assert_eq!(project_problem(good), None, "{good}");
        }
        for bad in ["", "My-Project", "a/b", "-a", "a-", "a?b", "a b", "../a"] {
            assert!(project_problem(bad).is_some(), "{bad}");
        }
        for good in ["europe-west1", "us", "northamerica-northeast1"] {
            assert_eq!(location_problem(good), None, "{good}");
        }
        for bad in ["", "Europe-West1", "a_b", "1a", "us-", "e"] {
            assert!(location_problem(bad).is_some(), "{bad}");
        }
        let key = "projects/p/locations/europe-west1/keyRings/r/cryptoKeys/k";
        assert_eq!(location_of_key(key), Ok("europe-west1"));
        for bad in
            ["", "k", "projects/p/locations//keyRings/r/cryptoKeys/k", &format!("{key}/cryptoKeyVersions/1")]
        {
            assert!(location_of_key(bad).is_err(), "{bad}");
        }
        for bad in ["", "x", "ftp://a", "https://u:p@a", "https://a/#b"] {
            assert!(address_problem(bad).is_some(), "{bad}");
        }
        assert_eq!(address_problem("https://oauth2.googleapis.com/token"), None);
    }
}
