//! The credential chain against the stand-ins: the token service of both, the metadata service of
//! ministack. (Our pretend service and every source are tried in tests/aws_sm.)

use std::collections::BTreeMap;

use destinations::{Config, Mode, NetSettings, PutOutcome, net::Snapshot};
use libtest_mimic::{Failed, Trial};
use model::json::SecretJson;
use serde_json::{Value, json};

use crate::{
    aws,
    bench::{Setting, Writing, missing, net_of, variable},
    watch,
};

const MOTO: (&str, &str, &str) = ("moto", "KEYFERRY_TEST_MOTO", "KEYFERRY_TEST_MOTO is not set");
const MINISTACK: (&str, &str, &str) =
    ("ministack", "KEYFERRY_TEST_MINISTACK", "KEYFERRY_TEST_MINISTACK is not set");

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial(MOTO, "a_role_is_assumed_with_keys", |url| role(&url)),
        trial(MINISTACK, "a_role_is_assumed_with_keys", |url| role(&url)),
        trial(MOTO, "a_role_is_assumed_with_an_identity_token", |url| web_identity(&url)),
        trial(MINISTACK, "the_machine_gives_credentials", |url| machine(&url)),
    ]
}

type Case = (Value, Snapshot, Box<dyn Send>);

fn trial(
    (part, name, why): (&'static str, &'static str, &'static str),
    title: &str,
    case: fn(String) -> Case,
) -> Trial {
    let title = format!("aws-sm/{part}/{title}");
    let url = variable(name);
    let absent = missing(why);
    let ignored = url.is_none() && matches!(absent, Setting::Missing(_));
    let trial = Trial::test(title, move || match url {
        Some(url) => watch::run(async move { write(case(url)).await }),
        None => Err(Failed::from(why)),
    });
    if ignored { trial.with_kind(why).with_ignored_flag(true) } else { trial }
}

/// What the credentials are good for: a secret can be written.
async fn write((settings, environment, _keep): Case) {
    let net = net_of(NetSettings { system_roots: false, ..NetSettings::default() }, environment);
    let kind = aws::kind();
    let (config, _) = Config::read(kind, &SecretJson::new(settings), Mode::Replace, None).unwrap();
    let destination = kind.open(&config, &net).unwrap();
    let name = kind.remote_name(&format!("{}a", aws::prefix())).unwrap();
    let outcome = Writing::new(&name, "v", 1).send(&destination).await;
    assert!(matches!(outcome, Ok(PutOutcome::Written(_))), "{outcome:?}");
}

fn role(url: &str) -> Case {
    let mut settings = aws::settings(url, "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
    settings["role_arn"] = "arn:aws:iam::123456789012:role/sync".into();
    settings["external_id"] = "an-external-id".into();
    (settings, Snapshot::default(), Box::new(()))
}

fn environment(variables: &[(&str, &str)]) -> Snapshot {
    let vars: BTreeMap<String, String> =
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Snapshot { vars, home: None }
}

fn web_identity(url: &str) -> Case {
    let dir = tempfile::TempDir::new().unwrap();
    let token = dir.path().join("token");
    std::fs::write(&token, "an.identity.token\n").unwrap();
    let environment = environment(&[
        ("AWS_REGION", "us-east-1"),
        ("AWS_ENDPOINT_URL", url),
        ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/pod"),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", token.to_str().unwrap()),
    ]);
    (json!({}), environment, Box::new(dir))
}

fn machine(url: &str) -> Case {
    let environment = environment(&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", url)]);
    (json!({"endpoint": url, "region": "us-east-1"}), environment, Box::new(()))
}
