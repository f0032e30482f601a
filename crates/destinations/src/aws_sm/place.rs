//! Where a destination's calls go: region, hosts, and who named them.

use http::Uri;

use super::profile::{self, Profiles};
use crate::{
    Config, Fault, Retry,
    net::{Client, Effect, Environment, Net, Policy},
};

/// The instance metadata service, unless the environment names another.
const METADATA: &str = "http://169.254.169.254";

/// An address to call, and how far it is trusted.
#[derive(Debug, Clone)]
pub(super) struct Endpoint {
    /// Scheme, host and path.
    pub(super) uri: Uri,
    /// As in the `Host` header.
    pub(super) host: String,
    /// It came from the server's environment, not with the destination, and is called whatever the
    /// destination's network policy says.
    pub(super) operators: bool,
}

impl Endpoint {
    pub(super) fn parse(url: &str, operators: bool) -> Option<Self> {
        let uri: Uri = url.parse().ok()?;
        let authority = uri.authority()?;
        let usual = match uri.scheme_str()? {
            "https" => 443,
            "http" => 80,
            _ => return None,
        };
        // As hyper sends it: without the port where that is the scheme's own.
        let host = match authority.port_u16() {
            Some(port) if port != usual => format!("{}:{port}", authority.host()),
            _ => authority.host().to_owned(),
        };
        Some(Self { uri, host, operators })
    }

    /// Whether a URI is at the same scheme, host and port.
    pub(super) fn is_origin_of(&self, uri: &Uri) -> bool {
        uri.scheme() == self.uri.scheme() && uri.authority() == self.uri.authority()
    }
}

/// The region: as configured, else from the environment, the profile, or the machine itself.
pub(super) async fn region(config: &Config, net: &Net) -> Result<String, Fault> {
    if let Some(region) = config.text("region") {
        return Ok(region.to_owned());
    }
    let environment = net.environment();
    for variable in ["AWS_REGION", "AWS_DEFAULT_REGION"] {
        if let Some(region) = environment.var(variable) {
            return checked_region(&region);
        }
    }
    let reading = std::sync::Arc::clone(environment);
    let found = tokio::task::spawn_blocking(move || {
        let profile = profile::selected(reading.as_ref());
        Profiles::read(reading.as_ref()).get(&profile, "region").map(ToOwned::to_owned)
    });
    if let Ok(Some(region)) = found.await {
        return checked_region(&region);
    }
    match region_of_machine(net).await {
        Some(region) => checked_region(&region),
        None => Err(Fault::client(
            "region_missing",
            "no region is set; set region on the destination, or AWS_REGION for the server",
        )
        .retry(Retry::Slowly)),
    }
}

fn checked_region(region: &str) -> Result<String, Fault> {
    match region_problem(region) {
        None => Ok(region.to_owned()),
        Some(_) => {
            Err(Fault::client("region_missing", "the region in the server's environment is not valid")
                .retry(Retry::Slowly))
        }
    }
}

/// What is wrong with the name of a region, if anything. It becomes part of a host name.
pub(super) fn region_problem(region: &str) -> Option<&'static str> {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let ok = (3..=64).contains(&region.len())
        && region.bytes().all(inner)
        && !region.starts_with('-')
        && !region.ends_with('-');
    (!ok).then_some("must be a region such as eu-west-1")
}

/// Asks the instance metadata service (version 2).
async fn region_of_machine(net: &Net) -> Option<String> {
    let environment = net.environment().as_ref();
    if environment.var("AWS_EC2_METADATA_DISABLED").as_deref() == Some("true") {
        return None;
    }
    let base = environment.var("AWS_EC2_METADATA_SERVICE_ENDPOINT").unwrap_or_else(|| METADATA.to_owned());
    let base = base.trim_end_matches('/');
    let client = net.client(&Policy::of_operator());
    let token = http::Request::put(format!("{base}/latest/api/token"))
        .header("x-aws-ec2-metadata-token-ttl-seconds", "60")
        .header(http::header::CONTENT_LENGTH, "0");
    let token = ask_metadata(&client, token).await?;
    let region = http::Request::get(format!("{base}/latest/meta-data/placement/region"))
        .header("x-aws-ec2-metadata-token", token);
    ask_metadata(&client, region).await
}

async fn ask_metadata(client: &Client, request: http::request::Builder) -> Option<String> {
    let request = request.body(bytes::Bytes::new()).ok()?;
    let call = client.call(request, Effect::Read);
    let answer = tokio::time::timeout(super::credentials::METADATA_PATIENCE, call).await.ok()?.ok()?;
    // A region or a session token for the metadata service, not a secret of a store.
    let text = answer.body.expose_text().ok()?.trim();
    (answer.status.is_success() && !text.is_empty()).then(|| text.to_owned())
}

/// The service itself.
pub(super) fn service(
    config: &Config,
    environment: &dyn Environment,
    region: &str,
) -> Result<Endpoint, Fault> {
    if let Some(url) = config.text("endpoint") {
        return Endpoint::parse(url, false).ok_or_else(bad_endpoint);
    }
    if let Some(url) = from_environment(environment, "AWS_ENDPOINT_URL_SECRETS_MANAGER") {
        return Endpoint::parse(&url, true).ok_or_else(bad_endpoint);
    }
    let fips = environment.var("AWS_USE_FIPS_ENDPOINT").as_deref() == Some("true");
    let name = if fips { "secretsmanager-fips" } else { "secretsmanager" };
    let url = format!("https://{name}.{region}.{}/", dns_suffix(region));
    Endpoint::parse(&url, false).ok_or_else(bad_endpoint)
}

/// The token service for requests that are signed, which give nothing away: the destination may name
/// it.
pub(super) fn sts(config: &Config, environment: &dyn Environment) -> Option<Endpoint> {
    match config.text("auth_endpoint") {
        Some(url) => Endpoint::parse(url, false),
        None => operators_sts(environment),
    }
}

/// The token service for requests that carry the server's own identity token. Only the server's
/// environment may name it: whoever configures destinations must not be able to have that token sent
/// somewhere.
pub(super) fn operators_sts(environment: &dyn Environment) -> Option<Endpoint> {
    from_environment(environment, "AWS_ENDPOINT_URL_STS").and_then(|url| Endpoint::parse(&url, true))
}

pub(super) fn from_environment(environment: &dyn Environment, variable: &str) -> Option<String> {
    if environment.var("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS").as_deref() == Some("true") {
        return None;
    }
    environment.var(variable).or_else(|| environment.var("AWS_ENDPOINT_URL"))
}

fn bad_endpoint() -> Fault {
    Fault::client("bad_address", "the endpoint is not an http or https URL").retry(Retry::Slowly)
}

/// The domain of the partition a region belongs to.
pub(super) fn dns_suffix(region: &str) -> &'static str {
    match region.split('-').next() {
        Some("cn") => "amazonaws.com.cn",
        Some("eusc") => "amazonaws.eu",
        _ if region.starts_with("us-iso-") => "c2s.ic.gov",
        _ if region.starts_with("us-isob-") => "sc2s.sgov.gov",
        _ if region.starts_with("us-isof-") => "csp.hci.ic.gov",
        _ if region.starts_with("eu-isoe-") => "cloud.adc-e.uk",
        _ => "amazonaws.com",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FieldValue, net::Snapshot};

    fn environment(vars: &[(&str, &str)]) -> Snapshot {
        let vars = vars.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Snapshot { vars, home: None }
    }

    #[test]
    fn hosts_follow_the_partition() {
        for (region, uri) in [
            ("eu-west-1", "https://secretsmanager.eu-west-1.amazonaws.com/"),
            ("cn-north-1", "https://secretsmanager.cn-north-1.amazonaws.com.cn/"),
            ("us-gov-west-1", "https://secretsmanager.us-gov-west-1.amazonaws.com/"),
        ] {
            let endpoint = service(&Config::default(), &Snapshot::default(), region).unwrap();
            assert_eq!(endpoint.uri.to_string(), uri);
            assert!(!endpoint.operators);
        }
        let fips = environment(&[("AWS_USE_FIPS_ENDPOINT", "true")]);
        let endpoint = service(&Config::default(), &fips, "us-east-1").unwrap();
        assert_eq!(endpoint.host, "secretsmanager-fips.us-east-1.amazonaws.com");
    }

    #[test]
    fn the_destination_wins_over_the_environment_and_specific_over_general() {
        let both = environment(&[
            ("AWS_ENDPOINT_URL", "http://general:1"),
            ("AWS_ENDPOINT_URL_SECRETS_MANAGER", "http://specific:2"),
        ]);
        let endpoint = service(&Config::default(), &both, "us-east-1").unwrap();
        assert_eq!((endpoint.host.as_str(), endpoint.operators), ("specific:2", true));
        assert_eq!(operators_sts(&both).unwrap().host, "general:1");

        let mut config = Config::default();
        config.set("endpoint", FieldValue::Text("https://mine:443/base".into()));
        let endpoint = service(&config, &both, "us-east-1").unwrap();
        assert_eq!((endpoint.host.as_str(), endpoint.operators), ("mine", false));

        let ignored = environment(&[
            ("AWS_ENDPOINT_URL", "http://general:1"),
            ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true"),
        ]);
        assert!(operators_sts(&ignored).is_none());
    }

    #[test]
    fn regions_are_parts_of_host_names() {
        for good in ["us-east-1", "eusc-de-east-1", "local"] {
            assert_eq!(region_problem(good), None, "{good}");
        }
        for bad in ["", "us", "US-EAST-1", "us.evil", "us/x", "-us-east", "us-east-", "a b c"] {
            assert!(region_problem(bad).is_some(), "{bad}");
        }
    }
}
