//! Where the secrets are: which GitHub, and which of its scopes (destinations.md 4.1).

use http::Uri;
use url::Url;

use crate::{Config, Fault, FieldFault, Retry, Shared};

/// GitHub.com's own.
const PUBLIC: &str = "https://api.github.com/";

/// What holds the secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Scope {
    Repository { owner: String, name: String },
    Environment { owner: String, name: String, environment: String },
    Organization { name: String },
}

impl Scope {
    /// How many secrets GitHub takes there (destinations.md 4.1).
    pub(super) const fn most(&self) -> usize {
        match self {
            Self::Repository { .. } | Self::Environment { .. } => 100,
            Self::Organization { .. } => 1000,
        }
    }

    /// In sentences.
    pub(super) const fn word(&self) -> &'static str {
        match self {
            Self::Repository { .. } => "repository",
            Self::Environment { .. } => "environment",
            Self::Organization { .. } => "organization",
        }
    }

    /// What a fine-grained token or an app needs to be granted.
    pub(super) const fn permission(&self) -> &'static str {
        match self {
            Self::Repository { .. } => "secrets: write",
            Self::Environment { .. } => "environments: write",
            Self::Organization { .. } => "organization_secrets: write",
        }
    }

    fn segments(&self) -> Vec<&str> {
        match self {
            Self::Repository { owner, name } => vec!["repos", owner, name, "actions", "secrets"],
            Self::Environment { owner, name, environment } => {
                vec!["repos", owner, name, "environments", environment, "secrets"]
            }
            Self::Organization { name } => vec!["orgs", name, "actions", "secrets"],
        }
    }
}

/// A scope of one GitHub.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) base: Url,
    pub(super) scope: Scope,
}

impl Place {
    /// The address of the scope's secrets, or of something below.
    pub(super) fn secrets(&self, below: &[&str]) -> Result<Uri, Fault> {
        let mut segments = self.scope.segments();
        segments.extend_from_slice(below);
        address(&self.base, &segments, "")
    }

    /// One page of the list of names, at most a hundred.
    pub(super) fn page(&self, page: usize) -> Result<Uri, Fault> {
        address(&self.base, &self.scope.segments(), &format!("per_page=100&page={page}"))
    }
}

/// Below the base address. Each segment is percent-encoded, slashes included.
pub(super) fn address(base: &Url, segments: &[&str], query: &str) -> Result<Uri, Fault> {
    let mut url = base.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(segments);
    }
    if !query.is_empty() {
        url.set_query(Some(query));
    }
    url.as_str().parse().map_err(|_| {
        Fault::client("bad_address", "the address of GitHub is not an http or https URL").retry(Retry::Slowly)
    })
}

/// Where the API is, by what a destination says.
pub(super) fn base_of(config: &Config) -> Result<Url, FieldFault> {
    base(config.text("endpoint"), config.text("enterprise_url"))
}

/// Where the API of a shared app is, whose settings were laid into those of a destination.
pub(super) fn base_of_app(config: &Config, app: &Shared) -> Result<Url, FieldFault> {
    base(config.text(&app.place("endpoint")), config.text(&app.place("enterprise_url")))
}

/// `endpoint` is taken as it is. `enterprise_url` is where people go; the API is found from it as GitHub's
/// own clients do it: `/api/v3` on an Enterprise Server, a host of its own elsewhere.
fn base(endpoint: Option<&str>, enterprise: Option<&str>) -> Result<Url, FieldFault> {
    let wrong = |field: &'static str| FieldFault::new(field, "must be an http or https URL with a host");
    if let Some(endpoint) = endpoint {
        return Url::parse(endpoint).map_err(|_| wrong("endpoint"));
    }
    let Some(enterprise) = enterprise else { return Url::parse(PUBLIC).map_err(|_| wrong("endpoint")) };
    let mut url = Url::parse(enterprise).map_err(|_| wrong("enterprise_url"))?;
    let host = url.host_str().unwrap_or_default().to_owned();
    let is_api = host.starts_with("api.") || host.contains(".api.");
    if !is_api && (host == "github.com" || host.ends_with(".ghe.com")) {
        url.set_host(Some(&format!("api.{host}"))).map_err(|_| wrong("enterprise_url"))?;
    } else if !is_api && !url.path().trim_end_matches('/').ends_with("/api/v3") {
        url.path_segments_mut().map_err(|()| wrong("enterprise_url"))?.pop_if_empty().extend(["api", "v3"]);
    }
    Ok(url)
}

/// Whether it is GitHub.com, where the server's own token may be sent.
pub(super) fn is_public(base: &Url) -> bool {
    base.as_str() == PUBLIC
}

/// Whether two addresses are of one GitHub.
pub(super) fn same(a: &Url, b: &Url) -> bool {
    a.origin() == b.origin() && a.path().trim_end_matches('/') == b.path().trim_end_matches('/')
}

/// Where a redirect leads, if it may be followed: with credentials, to the same host only.
pub(super) fn redirected(from: &Uri, location: &str) -> Option<Uri> {
    let from = Url::parse(&from.to_string()).ok()?;
    let to = from.join(location).ok()?;
    let plain = to.username().is_empty() && to.password().is_none() && to.fragment().is_none();
    if to.origin() != from.origin() || !plain { None } else { to.as_str().parse().ok() }
}

/// What is wrong with an owner or organization.
pub(super) fn owner_problem(name: &str) -> Option<&'static str> {
    // Managed users and old accounts have underscores and ends that today's rules forbid.
    let ok = name.len() <= 100 && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    (!ok).then_some("must be the name of a GitHub user or organization: letters, digits, - and _")
}

/// What is wrong with a repository's name.
pub(super) fn repository_problem(name: &str) -> Option<&'static str> {
    let word = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let ok = name.len() <= 100 && name.bytes().all(word) && !matches!(name, "." | "..");
    (!ok).then_some("must be the name of a repository without its owner: letters, digits, -, _ and .")
}

/// What is wrong with an environment's name.
pub(super) fn environment_problem(name: &str) -> Option<&'static str> {
    let ok = name.chars().count() <= 255
        && !name.chars().any(char::is_control)
        && !matches!(name, "." | "..")
        && name.trim() == name;
    (!ok).then_some("must be the name of an environment: at most 255 characters, no control character")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(enterprise: &str) -> String {
        base(None, Some(enterprise)).unwrap().to_string()
    }

    #[test]
    fn the_api_is_found_from_where_people_go() {
        assert_eq!(base(None, None).unwrap().as_str(), PUBLIC);
        for (enterprise, api) in [
            ("https://git.example.com", "https://git.example.com/api/v3"),
            ("https://git.example.com/", "https://git.example.com/api/v3"),
            ("https://git.example.com/api/v3/", "https://git.example.com/api/v3/"),
            ("https://git.example.com:8443/github", "https://git.example.com:8443/github/api/v3"),
            ("https://api.git.example.com", "https://api.git.example.com/"),
            ("https://acme.ghe.com", "https://api.acme.ghe.com/"),
            ("https://api.acme.ghe.com/", "https://api.acme.ghe.com/"),
            ("https://github.com", "https://api.github.com/"),
        ] {
            assert_eq!(found(enterprise), api, "{enterprise}");
        }
        let endpoint = base(Some("http://127.0.0.1:1/x"), Some("https://git.example.com")).unwrap();
        assert_eq!(endpoint.as_str(), "http://127.0.0.1:1/x");
        assert!(is_public(&base(None, Some("https://github.com")).unwrap()));
        assert!(!is_public(&endpoint));
    }

    #[test]
    fn paths_are_those_of_the_scope() {
        let place = |scope| Place { base: Url::parse("https://git.example.com/api/v3").unwrap(), scope };
        let (owner, name) = ("o".to_owned(), "r.s".to_owned());
        let at = |scope| place(scope).secrets(&["A"]).unwrap().to_string();
        let root = "https://git.example.com/api/v3";
        assert_eq!(
            at(Scope::Repository { owner: owner.clone(), name: name.clone() }),
            format!("{root}/repos/o/r.s/actions/secrets/A")
        );
        let environment = "a/b c?%é".to_owned();
        assert_eq!(
            at(Scope::Environment { owner, name, environment }),
            format!("{root}/repos/o/r.s/environments/a%2Fb%20c%3F%25%C3%A9/secrets/A")
        );
        let organization = place(Scope::Organization { name: "acme".into() });
        assert_eq!(
            organization.page(2).unwrap(),
            format!("{root}/orgs/acme/actions/secrets?per_page=100&page=2").as_str()
        );
    }

    #[test]
    fn redirects_stay_on_the_host() {
        let from: Uri = "https://api.github.com/repos/o/old/actions/secrets/A".parse().unwrap();
        assert_eq!(
            redirected(&from, "https://api.github.com/repositories/1/actions/secrets/A").unwrap().path(),
            "/repositories/1/actions/secrets/A"
        );
        assert_eq!(redirected(&from, "/repositories/1").unwrap(), "https://api.github.com/repositories/1");
        for elsewhere in [
            "https://evil.example/repositories/1",
            "http://169.254.169.254/latest/meta-data/",
            "http://api.github.com/repositories/1",
            "https://api.github.com:444/repositories/1",
            "https://x@api.github.com/repositories/1",
            "//evil.example/",
            "https://api.github.com.evil.example/",
            "ftp://api.github.com/",
            "http://",
        ] {
            assert_eq!(redirected(&from, elsewhere), None, "{elsewhere}");
        }
    }

    #[test]
    fn names_cannot_lead_elsewhere() {
        for bad in ["a/b", "..", "a b", "a%2f", "é", "a?b"] {
            assert!(owner_problem(bad).is_some(), "{bad}");
            assert!(repository_problem(bad).is_some(), "{bad}");
        }
        for bad in ["..", ".", "a\n", " a"] {
            assert!(environment_problem(bad).is_some(), "{bad:?}");
        }
        assert_eq!(owner_problem("my-organization-or-username"), None);
        assert_eq!(repository_problem(".github"), None);
        assert_eq!(environment_problem("prod/eu 1"), None);
    }
}
