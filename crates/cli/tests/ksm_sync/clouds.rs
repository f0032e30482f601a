//! The clouds' stand-ins. A further cloud is an implementation and one line of [`ALL`].

use std::sync::Arc;

use destinations::fakes::{FakeAws, FakeAzure, FakeGcp, Refuse, Trouble};
use serde_json::json;
use tokio::runtime::Runtime;

use crate::bench::RealTime;

/// A stand-in of a cloud, seen from behind.
pub(crate) trait Cloud {
    /// The word of `--type`.
    fn word(&self) -> &'static str;
    /// The body of the record with its credentials.
    fn credentials(&self) -> String;
    /// The same with a key that does not fit.
    fn wrong_credentials(&self) -> String;
    /// Where it is found.
    fn variables(&self) -> Vec<(String, String)>;
    /// What is live under a name.
    fn value(&self, name: &str) -> Option<Vec<u8>>;
    /// Puts a secret there that nobody asked us for.
    fn plant(&self, name: &str, value: &str);
    /// Calls that changed something, and reads of values, since the last time this was asked.
    fn calls(&self) -> Calls;
    /// The coming reads of metadata or values fail so often, with an answer of the service's own trouble.
    fn fail_reads(&self, times: usize);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Calls {
    pub(crate) writes: usize,
    pub(crate) reads: usize,
    pub(crate) all: usize,
}

pub(crate) type Start = fn(&Runtime) -> Box<dyn Cloud>;

pub(crate) const ALL: &[(&str, Start)] = &[
    ("aws", |runtime| Box::new(Aws::start(runtime))),
    ("azure", |runtime| Box::new(Azure::start(runtime))),
    ("gcp", |runtime| Box::new(Gcp::start(runtime))),
];

pub(crate) const REGION: &str = "eu-west-1";

/// A record with fields of these labels.
fn record(fields: &[(&str, &str)]) -> String {
    let field = |(label, value): &(&str, &str)| json!({"type": "text", "label": label, "value": [value]});
    let fields: Vec<_> = fields.iter().map(field).collect();
    json!({"title": "Credentials", "type": "login", "fields": [], "custom": fields}).to_string()
}

fn variables(pairs: &[(&str, String)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
}

pub(crate) struct Aws(pub(crate) FakeAws);

impl Aws {
    pub(crate) fn start(runtime: &Runtime) -> Self {
        Self(runtime.block_on(FakeAws::start(Arc::new(RealTime))).unwrap())
    }
}

impl Cloud for Aws {
    fn word(&self) -> &'static str {
        "aws"
    }

    fn credentials(&self) -> String {
        record(&[
            ("AWS Access Key ID", FakeAws::ACCESS_KEY),
            ("AWS Secret Access Key", FakeAws::SECRET_KEY),
            ("AWS Region Name", REGION),
        ])
    }

    fn wrong_credentials(&self) -> String {
        self.credentials().replace(FakeAws::SECRET_KEY, "another secret")
    }

    fn variables(&self) -> Vec<(String, String)> {
        variables(&[("AWS_ENDPOINT_URL", self.0.url())])
    }

    fn value(&self, name: &str) -> Option<Vec<u8>> {
        let view = self.0.view(REGION, name).filter(|view| !view.deleted)?;
        view.value.map(|value| value.expose().to_vec())
    }

    fn plant(&self, name: &str, value: &str) {
        self.0.plant(REGION, name, value, &[]);
    }

    fn calls(&self) -> Calls {
        let writes = ["CreateSecret", "PutSecretValue", "DeleteSecret", "RestoreSecret", "TagResource"];
        let count = |operations: &[&str]| operations.iter().map(|name| self.0.calls(name)).sum();
        let calls = Calls {
            writes: count(&writes),
            reads: count(&["GetSecretValue", "BatchGetSecretValue"]),
            all: self.0.all_calls(),
        };
        self.0.forget_calls();
        calls
    }

    fn fail_reads(&self, times: usize) {
        for operation in ["DescribeSecret", "ListSecrets", "GetSecretValue", "BatchGetSecretValue"] {
            let troubles = (0..times).map(|_| Trouble::Refuse("InternalServiceError", 500));
            self.0.trouble(operation, troubles);
        }
    }
}

pub(crate) struct Azure(FakeAzure);

impl Azure {
    fn start(runtime: &Runtime) -> Self {
        Self(runtime.block_on(FakeAzure::start(Arc::new(RealTime))).unwrap())
    }
}

impl Cloud for Azure {
    fn word(&self) -> &'static str {
        "azure"
    }

    fn credentials(&self) -> String {
        record(&[
            ("Azure Key Vault Name", "pretend"),
            ("Azure Tenant ID", FakeAzure::TENANT),
            ("Azure Client ID", FakeAzure::CLIENT_ID),
            ("Azure Client Secret", FakeAzure::CLIENT_SECRET),
        ])
    }

    fn wrong_credentials(&self) -> String {
        self.credentials().replace(FakeAzure::CLIENT_SECRET, "another secret")
    }

    fn variables(&self) -> Vec<(String, String)> {
        variables(&[
            ("KEYFERRY_AZURE_KV_ENDPOINT", self.0.url()),
            ("KEYFERRY_AZURE_KV_AUTH_ENDPOINT", self.0.url()),
        ])
    }

    fn value(&self, name: &str) -> Option<Vec<u8>> {
        let view = self.0.view(name).filter(|view| !view.deleted)?;
        Some(view.value.expose().to_vec())
    }

    fn plant(&self, name: &str, value: &str) {
        self.0.plant(name, value, &[]);
    }

    fn calls(&self) -> Calls {
        let count = |operations: &[&str]| operations.iter().map(|name| self.0.calls(name)).sum();
        let calls = Calls {
            writes: count(&["Set", "Update", "Delete", "Recover", "Purge"]),
            reads: count(&["Get"]),
            all: self.0.vault_calls(),
        };
        self.0.forget_calls();
        calls
    }

    fn fail_reads(&self, times: usize) {
        for operation in ["Versions", "List", "Get", "GetDeleted"] {
            let refusal = Refuse { status: 500, code: "InternalServerError", ..Refuse::default() };
            self.0.refuse(operation, (0..times).map(|_| refusal));
        }
    }
}

pub(crate) struct Gcp(FakeGcp);

impl Gcp {
    fn start(runtime: &Runtime) -> Self {
        Self(runtime.block_on(FakeGcp::start(Arc::new(RealTime))).unwrap())
    }
}

impl Cloud for Gcp {
    fn word(&self) -> &'static str {
        "gcp"
    }

    fn credentials(&self) -> String {
        record(&[
            ("Google Cloud Project ID", FakeGcp::PROJECT),
            ("Google Application Credentials", &self.0.credentials()),
        ])
    }

    fn wrong_credentials(&self) -> String {
        record(&[
            ("Google Cloud Project ID", FakeGcp::PROJECT),
            ("Google Application Credentials", &self.0.stale_credentials()),
        ])
    }

    fn variables(&self) -> Vec<(String, String)> {
        variables(&[("KEYFERRY_GCP_SM_ENDPOINT", self.0.url())])
    }

    fn value(&self, name: &str) -> Option<Vec<u8>> {
        self.0.view(name)?.value.map(|value| value.expose().to_vec())
    }

    fn plant(&self, name: &str, value: &str) {
        self.0.plant(name, value, &[]);
    }

    fn calls(&self) -> Calls {
        let count = |operations: &[&str]| operations.iter().map(|name| self.0.calls(name)).sum();
        let calls = Calls {
            writes: count(&["create", "patch", "delete", "addVersion", "destroy", "disable"]),
            reads: count(&["access"]),
            all: self.0.all_calls(),
        };
        self.0.forget_calls();
        calls
    }

    fn fail_reads(&self, times: usize) {
        for operation in ["get", "list", "getVersion", "listVersions", "access"] {
            let troubles = (0..times).map(|_| Trouble::Refuse("INTERNAL", 500));
            self.0.trouble(operation, troubles);
        }
    }
}
