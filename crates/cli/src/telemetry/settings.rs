//! Where traces go and how many: the configuration, and OpenTelemetry's own variables where it says nothing.

use std::time::Duration;

use destinations::net::Environment;
use http::{HeaderMap, HeaderName, HeaderValue};
use model::TraceContext;
use serde::{Deserialize, Deserializer, Serialize, de};

use crate::config::Telemetry;

/// Which share of traces that begin here is recorded.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub(crate) struct Ratio(f64);

impl Ratio {
    pub(crate) const ALL: Self = Self(1.0);

    pub(crate) fn parse(text: &str) -> Option<Self> {
        text.parse().ok().and_then(Self::of)
    }

    fn of(ratio: f64) -> Option<Self> {
        (0.0..=1.0).contains(&ratio).then_some(Self(ratio))
    }

    pub(super) fn is_zero(self) -> bool {
        self.0 <= 0.0
    }

    /// By the trace's id, so that everybody who uses the same ratio decides the same.
    pub(super) fn takes(self, trace: &TraceContext) -> bool {
        // The last seven bytes, which the standard wants random.
        let random = u128::from_be_bytes(trace.trace) & ((1 << 56) - 1);
        #[expect(clippy::cast_precision_loss, reason = "56 bits; what is lost is a rounding of the ratio")]
        let share = random as f64 / (1_u128 << 56) as f64;
        share < self.0
    }
}

impl<'de> Deserialize<'de> for Ratio {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Given {
            Number(f64),
            Text(String),
        }
        let ratio = match Given::deserialize(deserializer) {
            Ok(Given::Number(ratio)) => Self::of(ratio),
            Ok(Given::Text(text)) => Self::parse(&text),
            Err(_) => None,
        };
        ratio.ok_or_else(|| de::Error::custom("want a share from 0.0 to 1.0"))
    }
}

/// How traces are sent.
pub(crate) struct Exporting {
    /// The whole URL.
    pub(super) endpoint: String,
    headers: HeaderMap,
    pub(super) timeout: Duration,
    pub(super) ratio: Ratio,
    /// Who sends.
    pub(super) resource: Vec<(String, String)>,
}

impl Exporting {
    /// What the configuration asks for, or else the variables. `None`: traces are not sent.
    ///
    /// # Errors
    /// Names the key or the variable, and no value.
    pub(crate) fn of(telemetry: &Telemetry, env: &dyn Environment) -> Result<Option<Self>, String> {
        let var = |name: &str| env.var(name);
        let is = |name: &str, wanted: &str| var(name).is_some_and(|given| given.eq_ignore_ascii_case(wanted));
        let endpoint = match &telemetry.otlp_endpoint {
            Some(base) => {
                checked("telemetry.otlp_endpoint", &format!("{}/v1/traces", base.trim_end_matches('/')))?
            }
            None if is("OTEL_SDK_DISABLED", "true") || is("OTEL_TRACES_EXPORTER", "none") => return Ok(None),
            None => {
                let (whole, base) = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT");
                match (var(whole), var(base)) {
                    (Some(url), _) => checked(whole, &url)?,
                    (None, Some(url)) => checked(base, &format!("{}/v1/traces", url.trim_end_matches('/')))?,
                    (None, None) => return Ok(None),
                }
            }
        };
        for name in ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"] {
            if var(name).is_some_and(|protocol| protocol != "http/protobuf") {
                return Err(format!("{name}: only http/protobuf is spoken here"));
            }
        }
        let headers = match (&telemetry.otlp_headers, &telemetry.otlp_headers_file) {
            (Some(_), Some(_)) => {
                return Err(
                    "telemetry.otlp_headers and telemetry.otlp_headers_file exclude each other".to_owned()
                );
            }
            (Some(text), None) => headers("telemetry.otlp_headers", text)?,
            (None, Some(path)) => {
                let text = std::fs::read_to_string(path).map_err(|e| {
                    format!("telemetry.otlp_headers_file: {}: cannot be read: {e}", path.display())
                })?;
                headers("telemetry.otlp_headers_file", text.trim())?
            }
            (None, None) => {
                let names = ["OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"];
                match names.into_iter().find_map(|name| Some((name, var(name)?))) {
                    Some((name, text)) => headers(name, &text)?,
                    None => HeaderMap::new(),
                }
            }
        };
        let names = ["OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"];
        let timeout = match names.into_iter().find_map(|name| Some((name, var(name)?))) {
            Some((name, millis)) => {
                millis.parse().map(Duration::from_millis).map_err(|_| format!("{name}: want milliseconds"))?
            }
            None => Duration::from_secs(10),
        };
        Ok(Some(Self {
            endpoint,
            headers,
            timeout,
            ratio: ratio(telemetry, env)?,
            resource: resource(telemetry, env),
        }))
    }

    pub(super) fn headers(&self) -> HeaderMap {
        self.headers.clone()
    }
}

fn checked(name: &str, url: &str) -> Result<String, String> {
    let uri: Option<http::Uri> = url.parse().ok();
    let plain = uri.is_some_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.authority().is_some_and(|at| !at.as_str().contains('@'))
    });
    if plain {
        Ok(url.to_owned())
    } else {
        Err(format!("{name}: want an http or https URL without a password in it"))
    }
}

/// `name=value,name=value`, values percent-encoded where need be.
fn headers(name: &str, text: &str) -> Result<HeaderMap, String> {
    let wrong = || format!("{name}: want name=value pairs with commas between them");
    let mut headers = HeaderMap::new();
    for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').ok_or_else(wrong)?;
        let value = decoded(value.trim()).ok_or_else(wrong)?;
        let mut value = HeaderValue::from_bytes(&value).map_err(|_| wrong())?;
        value.set_sensitive(true);
        headers.insert(key.trim().parse::<HeaderName>().map_err(|_| wrong())?, value);
    }
    Ok(headers)
}

fn decoded(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => {
                let pair = [bytes.next()?, bytes.next()?];
                u8::from_str_radix(std::str::from_utf8(&pair).ok()?, 16).ok()?
            }
            byte => byte,
        });
    }
    Some(out)
}

fn ratio(telemetry: &Telemetry, env: &dyn Environment) -> Result<Ratio, String> {
    if let Some(ratio) = telemetry.trace_sample_ratio {
        return Ok(ratio);
    }
    let argument = || match env.var("OTEL_TRACES_SAMPLER_ARG") {
        None => Ok(Ratio::ALL),
        Some(text) => {
            Ratio::parse(&text).ok_or("OTEL_TRACES_SAMPLER_ARG: want a share from 0.0 to 1.0".to_owned())
        }
    };
    match env.var("OTEL_TRACES_SAMPLER").as_deref() {
        None | Some("always_on" | "parentbased_always_on") => Ok(Ratio::ALL),
        Some("always_off" | "parentbased_always_off") => Ok(Ratio(0.0)),
        Some("traceidratio" | "parentbased_traceidratio") => argument(),
        Some(_) => {
            Err("OTEL_TRACES_SAMPLER: want always_on, always_off or traceidratio, or one of these with \
                        parentbased_ before it"
                .to_owned())
        }
    }
}

fn resource(telemetry: &Telemetry, env: &dyn Environment) -> Vec<(String, String)> {
    let mut resource: Vec<(String, String)> = env
        .var("OTEL_RESOURCE_ATTRIBUTES")
        .iter()
        .flat_map(|text| text.split(','))
        .filter_map(|pair| {
            let (key, value) = pair.split_once('=')?;
            Some((key.trim().to_owned(), String::from_utf8(decoded(value.trim())?).ok()?))
        })
        .filter(|(key, _)| !matches!(key.as_str(), "service.version"))
        .collect();
    let name = telemetry.service_name.clone().or_else(|| env.var("OTEL_SERVICE_NAME"));
    if let Some(name) = name {
        resource.retain(|(key, _)| key != "service.name");
        resource.push(("service.name".to_owned(), name));
    } else if !resource.iter().any(|(key, _)| key == "service.name") {
        resource.push(("service.name".to_owned(), "keyferry".to_owned()));
    }
    resource.push(("service.version".to_owned(), env!("CARGO_PKG_VERSION").to_owned()));
    resource
}

#[cfg(test)]
mod tests {
    use destinations::net::Snapshot;

    use super::*;

    fn of(telemetry: &Telemetry, vars: &[(&str, &str)]) -> Result<Option<Exporting>, String> {
        let vars = vars.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        Exporting::of(telemetry, &Snapshot { vars, home: None })
    }

    const BASE: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/");

    #[test]
    fn nothing_is_sent_unless_somebody_says_where_to() {
        let off = Telemetry::default();
        assert!(of(&off, &[]).unwrap().is_none());
        assert!(of(&off, &[BASE, ("OTEL_SDK_DISABLED", "true")]).unwrap().is_none());
        assert!(of(&off, &[BASE, ("OTEL_TRACES_EXPORTER", "none")]).unwrap().is_none());
        let told = of(&off, &[BASE, ("OTEL_SERVICE_NAME", "vaults"), ("OTEL_TRACES_SAMPLER", "always_off")]);
        let told = told.unwrap().unwrap();
        assert_eq!((told.endpoint.as_str(), told.ratio), ("http://collector:4318/v1/traces", Ratio(0.0)));
        assert_eq!(told.resource[0], ("service.name".to_owned(), "vaults".to_owned()));
    }

    #[test]
    fn the_configuration_wins_over_the_variables() {
        let telemetry = Telemetry {
            otlp_endpoint: Some("https://other".to_owned()),
            otlp_headers: Some("api-key=a%20b, x=y".to_owned()),
            trace_sample_ratio: Ratio::parse("0.5"),
            ..Telemetry::default()
        };
        let told = of(&telemetry, &[BASE, ("OTEL_TRACES_SAMPLER", "always_off")]).unwrap().unwrap();
        assert_eq!((told.endpoint.as_str(), told.ratio), ("https://other/v1/traces", Ratio(0.5)));
        assert_eq!(told.headers()["api-key"], "a b");
    }

    #[test]
    fn what_cannot_work_is_refused_without_its_value() {
        for (name, text) in [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "hunter2"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://me:hunter2@collector"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "hunter2"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=%hunter2"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "hunter2"),
            ("OTEL_TRACES_SAMPLER", "hunter2"),
        ] {
            let vars = if name == BASE.0 { vec![(name, text)] } else { vec![BASE, (name, text)] };
            let fault = of(&Telemetry::default(), &vars).err().unwrap();
            assert!(fault.starts_with(name) && !fault.contains("hunter2"), "{fault}");
        }
    }

    #[test]
    fn a_ratio_takes_its_share_of_traces() {
        let entropy = model::SeededEntropy::new(3);
        let taken = (0..2000).filter(|_| Ratio(0.25).takes(&TraceContext::root(&entropy))).count();
        assert!((400..600).contains(&taken), "{taken}");
        assert!(
            !Ratio(0.0).takes(&TraceContext::root(&entropy))
                && Ratio::ALL.takes(&TraceContext::root(&entropy))
        );
        assert_eq!(Ratio::parse("1.1"), None);
    }
}
