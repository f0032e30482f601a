//! What a value of a field consists of.

use super::DraftFault;
use crate::{json::Json, notation::is_uid};

/// A type of field.
#[derive(Debug, Clone, Copy)]
pub struct FieldKind {
    /// Its name: `password`.
    pub name: &'static str,
    pub(super) shape: Shape,
}

/// The form of one value.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shape {
    /// Text, with what people are told about it.
    Text(&'static str, Check),
    /// Milliseconds since 1970, given so or as an ISO 8601 date.
    Date(&'static str),
    /// Yes or no.
    Flag(&'static str),
    /// A whole number.
    Whole(&'static str),
    /// A list of anything.
    List(&'static str),
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Some of these members.
    Object(&'static [(&'static str, Shape)]),
}

/// A rule for text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Check {
    None,
    Uid,
    OtpAuth,
    MonthYear,
}

impl FieldKind {
    /// Whether it has a key of that name, as in `name.first`.
    pub(super) fn has_key(&self, key: &str) -> bool {
        matches!(self.shape, Shape::Object(members) if members.iter().any(|(name, _)| *name == key))
    }

    pub(super) const fn is_object(&self) -> bool {
        matches!(self.shape, Shape::Object(_))
    }

    /// Checks one value, and brings it into its form.
    pub(super) fn settled(&self, value: &Json) -> Result<Json, DraftFault> {
        self.shape.settled(self.name, value)
    }
}

impl Shape {
    fn settled(self, field: &str, value: &Json) -> Result<Json, DraftFault> {
        let must_be = |rule| DraftFault::Value { field: field.to_owned(), rule };
        match self {
            Self::Text(_, check) => match value {
                Json::Text(text) => {
                    check.on(text).map_or_else(|| Ok(value.clone()), |rule| Err(must_be(rule)))
                }
                _ => Ok(value.clone()),
            },
            Self::Date(_) => match value {
                Json::Number(_) => Ok(value.clone()),
                Json::Text(text) => milliseconds(text).map(Json::int).ok_or(must_be(
                    "a date as 2026-01-31 or 2026-01-31T08:00:00Z, or milliseconds since 1970",
                )),
                _ => Err(must_be("a date")),
            },
            Self::Flag(_) => match value {
                Json::Bool(_) => Ok(value.clone()),
                Json::Text(text) if text.eq_ignore_ascii_case("true") => Ok(Json::Bool(true)),
                Json::Text(text) if text.eq_ignore_ascii_case("false") => Ok(Json::Bool(false)),
                _ => Err(must_be("true or false")),
            },
            Self::Whole(_) => match value {
                Json::Number(_) => Ok(value.clone()),
                Json::Text(text) => text.parse::<i64>().map(Json::int).map_err(|_| must_be("a whole number")),
                _ => Err(must_be("a whole number")),
            },
            Self::List(_) => match value {
                Json::Array(_) => Ok(value.clone()),
                other => Ok(Json::Array(vec![other.clone()])),
            },
            Self::Choice(words) => {
                let text = value.as_text().unwrap_or_default();
                let word = words.iter().find(|word| word.eq_ignore_ascii_case(text));
                word.map(|word| Json::text(*word)).ok_or(must_be("one of the words its template names"))
            }
            Self::Object(members) => object(field, members, value),
        }
    }
}

/// The members that hold something. One of an unknown name is a mistake, and not passed over.
fn object(field: &str, members: &[(&'static str, Shape)], value: &Json) -> Result<Json, DraftFault> {
    let given = value.as_object().ok_or_else(|| DraftFault::Value {
        field: field.to_owned(),
        rule: "an object, given as JSON or key by key (TYPE.KEY=VALUE)",
    })?;
    if let Some((name, _)) = given.iter().find(|(name, _)| !members.iter().any(|(known, _)| known == name)) {
        return Err(DraftFault::Value {
            field: format!("{field}.{name}"),
            rule: "left out: there is no such key",
        });
    }
    let mut out = Json::object([]);
    for (name, shape) in members {
        match value.get(name) {
            None | Some(Json::Null) => {}
            Some(Json::Text(text)) if text.is_empty() => {}
            Some(inner) => out.set(name, shape.settled(&format!("{field}.{name}"), inner)?),
        }
    }
    Ok(out)
}

impl Check {
    /// The rule a text breaks.
    fn on(self, text: &str) -> Option<&'static str> {
        let month_year = || {
            text.split_once('/').is_some_and(|(month, year)| {
                month.len() == 2 && year.len() == 4 && text.bytes().all(|b| b.is_ascii_digit() || b == b'/')
            })
        };
        match self {
            Self::None => None,
            Self::Uid => (!is_uid(text)).then_some("the UID of a record: 22 characters"),
            Self::OtpAuth => {
                let prefix = text.get(..10).is_some_and(|start| start.eq_ignore_ascii_case("otpauth://"));
                (!prefix).then_some("a URL that starts with otpauth://")
            }
            Self::MonthYear => (!month_year()).then_some("a month and year as MM/YYYY"),
        }
    }
}

/// Milliseconds since 1970 of a number, a date (midnight UTC), or a moment. Without an offset it is UTC.
fn milliseconds(text: &str) -> Option<i64> {
    let text = text.trim();
    if let Ok(number) = text.parse() {
        return Some(number);
    }
    if let Ok(moment) = text.parse::<jiff::Timestamp>() {
        return Some(moment.as_millisecond());
    }
    let local = text.parse::<jiff::civil::DateTime>().ok().or_else(|| {
        let date = text.parse::<jiff::civil::Date>().ok()?;
        Some(date.to_datetime(jiff::civil::Time::midnight()))
    })?;
    local.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|zoned| zoned.timestamp().as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::milliseconds;

    #[test]
    fn dates_are_read() {
        for (text, want) in [
            ("0", Some(0)),
            ("1700000000000", Some(1_700_000_000_000)),
            ("1970-01-02", Some(86_400_000)),
            ("1970-01-02T00:00:01", Some(86_401_000)),
            ("1970-01-02T00:00:01Z", Some(86_401_000)),
            ("1970-01-02T09:00:01+09:00", Some(86_401_000)),
            ("tomorrow", None),
            ("", None),
        ] {
            assert_eq!(milliseconds(text), want, "{text}");
        }
    }
}
