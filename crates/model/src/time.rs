use std::{fmt, sync::Mutex, time::Duration};

use serde::{Deserialize, Serialize};

/// A moment, in nanoseconds since 1970-01-01T00:00:00Z. Good until the year 2262.
///
/// Printed as Vault prints time: RFC 3339, `Z`, up to nine fraction digits with trailing zeros cut
/// (kv-v2-api.md 2.3).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From nanoseconds since the epoch.
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// From whole seconds since the epoch.
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1_000_000_000))
    }

    /// Nanoseconds since the epoch.
    pub const fn as_nanos(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down.
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(1_000_000_000)
    }

    /// Later by `by`, at most the end of time.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(by.as_nanos()).unwrap_or(i64::MAX)))
    }

    /// How long ago `earlier` was; zero when it is not earlier.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_nanosecond(i128::from(self.0)) {
            Ok(t) => write!(f, "{t}"),
            Err(_) => f.write_str("0001-01-01T00:00:00Z"),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What time it is. Only `cli` builds the real one.
pub trait Clock: Send + Sync {
    /// The current wall-clock time. It may step backwards; nothing may rely on it for ordering.
    fn now(&self) -> Timestamp;
}

/// A clock that moves only when told to, for tests and simulation.
#[derive(Debug)]
pub struct ManualClock(Mutex<Timestamp>);

impl ManualClock {
    /// Starts at `now`.
    pub fn new(now: Timestamp) -> Self {
        Self(Mutex::new(now))
    }

    /// Moves to `now`, forwards or backwards.
    pub fn set(&self, now: Timestamp) {
        *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = now;
    }

    /// Moves forward.
    pub fn advance(&self, by: Duration) {
        let mut now = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *now = now.plus(by);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// A text that is no duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a duration: want seconds such as 90, or a form such as 1h30m, 250ms or 2d")]
pub struct InvalidDuration;

/// Reads a duration as Vault does: whole or fractional seconds without a unit, or a Go duration
/// (`1h30m`, `-5m`, `250ms`) with `d` for days added. The answer is in nanoseconds and may be
/// negative.
///
/// # Errors
/// [`InvalidDuration`] for anything else, overflow included.
pub fn parse_duration(text: &str) -> Result<i64, InvalidDuration> {
    let text = text.trim();
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest.is_empty() {
        return Err(InvalidDuration);
    }
    let mut total: i128 = 0;
    let bare = rest.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
        let (number, after) = rest.split_at(digits);
        let unit_len =
            if bare { 0 } else { after.bytes().take_while(|b| !b.is_ascii_digit() && *b != b'.').count() };
        let (unit, next) = after.split_at(unit_len);
        let scale: i128 = match unit {
            "" if bare => 1_000_000_000,
            "s" => 1_000_000_000,
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            "d" => 86_400_000_000_000,
            _ => return Err(InvalidDuration),
        };
        total = scaled(number, scale).and_then(|n| total.checked_add(n)).ok_or(InvalidDuration)?;
        rest = next;
    }
    i64::try_from(if negative { -total } else { total }).map_err(|_| InvalidDuration)
}

/// `number` (digits with at most one point) times `scale`, rounded towards zero.
fn scaled(number: &str, scale: i128) -> Option<i128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let mut total = if whole.is_empty() { 0 } else { whole.parse::<i128>().ok()?.checked_mul(scale)? };
    let mut unit = scale;
    for digit in fraction.bytes() {
        unit /= 10;
        total = total.checked_add(i128::from(digit - b'0') * unit)?;
    }
    Some(total)
}

/// Prints nanoseconds as Go's `Duration.String()` does: `0s`, `1.5s`, `30m0s`, `768h0m0s`, `-5m0s`,
/// `250ms`. KV v2 answers use it (kv-v2-api.md 2.3).
pub fn format_go_duration(nanos: i64) -> String {
    let magnitude = nanos.unsigned_abs();
    let sign = if nanos < 0 { "-" } else { "" };
    if magnitude == 0 {
        return "0s".to_owned();
    }
    if magnitude < 1_000_000_000 {
        let (unit, scale) = match magnitude {
            0..1_000 => ("ns", 1),
            1_000..1_000_000 => ("µs", 1_000),
            _ => ("ms", 1_000_000),
        };
        return format!("{sign}{}{unit}", decimal(magnitude, scale));
    }
    let (minutes, rest) = (magnitude / 60_000_000_000, magnitude % 60_000_000_000);
    let seconds = decimal(rest, 1_000_000_000);
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{sign}{seconds}s"),
        (0, m) => format!("{sign}{m}m{seconds}s"),
        (h, m) => format!("{sign}{h}h{m}m{seconds}s"),
    }
}

/// `value / scale` as a decimal without trailing zeros; `scale` is a power of ten.
fn decimal(value: u64, scale: u64) -> String {
    let (whole, rest) = (value / scale, value % scale);
    if rest == 0 {
        return whole.to_string();
    }
    let width = scale.ilog10() as usize;
    let fraction = format!("{rest:0width$}");
    format!("{whole}.{}", fraction.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn timestamps_print_like_vaults() {
        assert_eq!(Timestamp::from_nanos(0).to_string(), "1970-01-01T00:00:00Z");
        assert_eq!(
            Timestamp::from_nanos(1_695_221_513_961_861_000).to_string(),
            "2023-09-20T14:51:53.961861Z"
        );
    }

    #[test]
    fn go_durations_print_to_the_letter() {
        for (nanos, text) in [
            (0, "0s"),
            (1, "1ns"),
            (1_500, "1.5µs"),
            (250_000_000, "250ms"),
            (1_000_000_000, "1s"),
            (90_500_000_000, "1m30.5s"),
            (1_800_000_000_000, "30m0s"),
            (12_319_000_000_000, "3h25m19s"),
            (2_764_800_000_000_000, "768h0m0s"),
            (-300_000_000_000, "-5m0s"),
        ] {
            assert_eq!(format_go_duration(nanos), text);
        }
    }

    #[test]
    fn durations_come_in_seconds_go_form_and_days() {
        for (text, nanos) in [
            ("90", 90_000_000_000),
            ("1.5", 1_500_000_000),
            ("1h30m", 5_400_000_000_000),
            ("-5m", -300_000_000_000),
            ("2d", 172_800_000_000_000),
            ("1.5h", 5_400_000_000_000),
            ("0", 0),
            ("0s", 0),
        ] {
            assert_eq!(parse_duration(text), Ok(nanos), "{text}");
        }
        for text in ["", "-", "abc", "1x", "1h30", ".", "1..5s", "99999999999999999999", "h", "1 h"] {
            assert_eq!(parse_duration(text), Err(InvalidDuration), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(nanos in any::<i64>().prop_filter("unsigned_abs of MIN", |n| *n != i64::MIN)) {
            prop_assert_eq!(parse_duration(&format_go_duration(nanos)), Ok(nanos));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,24}") {
            let _ = parse_duration(&text);
        }
    }
}
