use store::StoreError;

/// Why a request is refused. Texts are what clients see; they never repeat a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppError {
    /// Nothing is there. Without a text the answer's error list is empty, as clients expect.
    #[error("not found")]
    NotFound(Option<String>),
    /// The request cannot be carried out as it is.
    #[error("{0}")]
    Invalid(String),
    /// The caller is not known or not allowed.
    #[error("{0}")]
    Denied(String),
    /// The path exists and does not know the operation.
    #[error("unsupported operation")]
    UnsupportedOperation,
    /// The value or body is larger than can be taken.
    #[error("{0}")]
    TooLarge(String),
    /// Others changed the same data each time it was tried. Trying again is right.
    #[error("{0}")]
    Busy(String),
    /// The store is not open: nothing but the server's state can be told.
    #[error("Vault is sealed")]
    Sealed,
    /// A stored record is damaged. The text says which sort, and nothing it held.
    #[error("{0}")]
    Damaged(String),
    /// Our fault. The text is for the log; clients see `internal error`.
    #[error("{0}")]
    Internal(String),
}

impl AppError {
    /// Nothing is there: an empty error list.
    pub fn not_found() -> Self {
        Self::NotFound(None)
    }

    /// The request cannot be carried out as it is.
    pub fn invalid(text: impl Into<String>) -> Self {
        Self::Invalid(text.into())
    }

    /// The token is missing, unknown or expired. One text for all three: which it was is nobody's
    /// business.
    pub fn no_token() -> Self {
        Self::Denied("permission denied".to_owned())
    }

    /// The token is good and may not do this.
    pub fn denied() -> Self {
        Self::Denied("1 error occurred:\n\t* permission denied\n\n".to_owned())
    }

    /// No engine serves the path.
    pub fn no_route(path: &str) -> Self {
        Self::NotFound(Some(format!("no handler for route \"{path}\". route entry not found.")))
    }

    /// The engine serves no such path.
    pub fn unsupported_path() -> Self {
        Self::NotFound(Some("1 error occurred:\n\t* unsupported path\n\n".to_owned()))
    }
}

impl From<StoreError> for AppError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict | StoreError::Fenced => {
                Self::Busy("the data keeps changing underneath; try again".to_owned())
            }
            StoreError::TooLarge { size, limit } => Self::TooLarge(format!(
                "put failed due to value being too large; got {size} bytes, max: {limit} bytes"
            )),
            StoreError::Corrupt { .. } => Self::Damaged(error.to_string()),
            StoreError::Backend(_) | StoreError::Unknown => Self::Internal(error.to_string()),
        }
    }
}
