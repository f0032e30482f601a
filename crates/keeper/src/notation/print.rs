//! Writing a notation in its canonical form.

use std::fmt;

use super::ast::{Notation, Pick, Selector};

/// `keeper://`, and all of `/ \ [ ]` escaped, also where the parser takes them bare.
impl fmt::Display for Notation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "keeper://{}/{}", Escaped(&self.record), self.selector.word())?;
        match &self.selector {
            Selector::Type | Selector::Title | Selector::Notes => Ok(()),
            Selector::File(name) => write!(f, "/{}", Escaped(name.as_str())),
            Selector::Field(_, name, pick) => write!(f, "/{}{pick}", Escaped(name.as_str())),
        }
    }
}

impl fmt::Display for Pick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::First => Ok(()),
            Self::All => f.write_str("[]"),
            Self::Nth(n) => write!(f, "[{n}]"),
            Self::Property(property) => write!(f, "[{}]", Escaped(property.as_str())),
            Self::AllProperty(property) => write!(f, "[][{}]", Escaped(property.as_str())),
            Self::NthProperty(n, property) => write!(f, "[{n}][{}]", Escaped(property.as_str())),
        }
    }
}

/// A text with the notation's own signs escaped.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in self.0.split_inclusive(['/', '\\', '[', ']']) {
            match part.char_indices().next_back() {
                Some((end, sign @ ('/' | '\\' | '[' | ']'))) => write!(f, "{}\\{sign}", &part[..end])?,
                _ => f.write_str(part)?,
            }
        }
        Ok(())
    }
}
