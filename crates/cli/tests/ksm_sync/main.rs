//! `ksm sync`, end to end: a pretend Keeper on one side, a stand-in of each cloud on the other, the binary
//! that is shipped between them.
#![expect(clippy::unwrap_used, reason = "helpers outside test functions fail their test by panicking")]

mod bench;
mod clouds;
mod founding;
mod output;
mod safety;
mod values;
mod wrong;

use bench::{Bench, Ran};
use clouds::Cloud;

/// A bench with a cloud and the record of its credentials.
pub(crate) struct Sync {
    pub(crate) bench: Bench,
    pub(crate) cloud: Box<dyn Cloud>,
    pub(crate) credentials: String,
}

impl Sync {
    /// With the first cloud, where it does not matter which.
    pub(crate) fn new() -> Self {
        Self::with(clouds::ALL[0].1)
    }

    pub(crate) fn with(start: clouds::Start) -> Self {
        let mut bench = Bench::new();
        let cloud = start(&bench.runtime);
        bench.variables.extend(cloud.variables());
        let credentials = bench.record(&cloud.credentials());
        Self { bench, cloud, credentials }
    }

    /// `ksm sync -t CLOUD -c UID` and these arguments.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        let mut all = vec!["sync", "-t", self.cloud.word(), "-c", &self.credentials];
        all.extend(arguments);
        self.bench.run(&all)
    }

    /// The text under a name, nothing where nothing is live.
    pub(crate) fn value(&self, name: &str) -> Option<String> {
        self.cloud.value(name).map(|bytes| String::from_utf8(bytes).unwrap())
    }
}

/// Runs a test for every cloud.
pub(crate) fn everywhere(test: impl Fn(Sync)) {
    for (_, start) in clouds::ALL {
        test(Sync::with(*start));
    }
}

/// The notation of a record's password.
pub(crate) fn password(uid: &str) -> String {
    format!("keeper://{uid}/field/password")
}
