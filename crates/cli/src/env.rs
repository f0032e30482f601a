//! The environment, read here and nowhere else.

/// Where variables come from.
pub(crate) trait Environment: Send + Sync {
    /// The variable's text. One that is empty or not UTF-8 counts as not set.
    fn var(&self, name: &str) -> Option<String>;
}

/// The process's own environment.
pub(crate) struct Process;

impl Environment for Process {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    fn var(&self, name: &str) -> Option<String> {
        std::env::var(name).ok().filter(|text| !text.is_empty())
    }
}

/// A fixed set, for tests.
#[cfg(test)]
#[derive(Default)]
pub(crate) struct Fixed(std::collections::BTreeMap<String, String>);

#[cfg(test)]
impl Fixed {
    pub(crate) fn new(vars: &[(&str, &str)]) -> Self {
        Self(vars.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect())
    }
}

#[cfg(test)]
impl Environment for Fixed {
    fn var(&self, name: &str) -> Option<String> {
        self.0.get(name).cloned()
    }
}
