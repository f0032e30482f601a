//! Keeper Notation: `keeper://RECORD/SELECTOR`, the query that names one value in a vault.
//!
//! [`parse()`] reads a text, [`Notation`] is what it means and prints back in canonical form,
//! [`evaluate`] looks it up in fetched records. All pure.
//!
//! The grammar is keeper.md 1.1, the meaning is the official SDK's value dialect (1.2), which the
//! official CLI uses. Where we differ, on purpose:
//!
//! - `[][prop]` gives every value's property as one CSV line, as the notation page says (the SDK
//!   gives the first one's only).
//! - Selector words are taken in any case, and `fields`/`custom_fields` for `field`/`custom_field`:
//!   the page itself writes `fields`.
//! - Base64 is taken without padding too.
//! - A record that is shared twice counts once, by title too.
//! - A label or type that fits twice takes the first, as the SDK does, and says so in a warning.
//! - What could not be read is a [`Failure`], never a missing value.

mod ast;
mod eval;
mod fault;
mod parse;
mod print;

pub use ast::{Name, Notation, Pick, Property, Section, Selector, is_uid};
pub(crate) use eval::inflated;
pub use eval::{Evaluation, Failure, FailureKind, Value, Warning, evaluate};
pub use fault::{Part, SyntaxError, SyntaxKind};
pub use parse::{Parsed, parse};
