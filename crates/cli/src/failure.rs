use std::fmt;

/// Why a command did not do what it was asked. The text is meant for the person who asked.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It was asked for wrongly: exit code 2.
    Wrong(String),
    /// It failed: exit code 1.
    Failed(String),
}

impl Failure {
    pub(crate) fn wrong(why: impl fmt::Display) -> Self {
        Self::Wrong(why.to_string())
    }

    pub(crate) fn failed(why: impl fmt::Display) -> Self {
        Self::Failed(why.to_string())
    }

    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Wrong(_) => 2,
            Self::Failed(_) => 1,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Wrong(why) | Self::Failed(why)) = self;
        f.write_str(why)
    }
}
