//! The clouds' stand-ins. A further cloud is an implementation and one line of [`ALL`].

use destinations::fakes::{FakeAws, Trouble};
use tokio::runtime::Runtime;

use crate::bench::now;

/// A stand-in of a cloud, seen from behind.
pub(crate) trait Cloud {
    /// The word of `--type`.
    fn word(&self) -> &'static str;
    /// The body of the record with its credentials.
    fn credentials(&self) -> String;
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

pub(crate) const ALL: &[(&str, Start)] = &[("aws", |runtime| Box::new(Aws::start(runtime)))];

pub(crate) const REGION: &str = "eu-west-1";

pub(crate) struct Aws(pub(crate) FakeAws);

impl Aws {
    pub(crate) fn start(runtime: &Runtime) -> Self {
        Self(runtime.block_on(FakeAws::start(now())).unwrap())
    }
}

impl Cloud for Aws {
    fn word(&self) -> &'static str {
        "aws"
    }

    fn credentials(&self) -> String {
        serde_json::json!({"title": "AWS credentials", "type": "login", "fields": [], "custom": [
            {"type": "text", "label": "AWS Access Key ID", "value": [FakeAws::ACCESS_KEY]},
            {"type": "secret", "label": "AWS Secret Access Key", "value": [FakeAws::SECRET_KEY]},
            {"type": "text", "label": "AWS Region Name", "value": [REGION]},
        ]})
        .to_string()
    }

    fn variables(&self) -> Vec<(String, String)> {
        vec![("AWS_ENDPOINT_URL".to_owned(), self.0.url())]
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
