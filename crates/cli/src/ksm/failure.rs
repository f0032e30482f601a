//! Errors of the parts as failures of a command.

use keeper::config::ConfigError;

use crate::failure::Failure;

impl From<keeper::Error> for Failure {
    fn from(error: keeper::Error) -> Self {
        Self::failed(error)
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::failed(error)
    }
}
