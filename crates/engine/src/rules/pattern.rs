use std::fmt;

use model::SecretPath;

/// Which secrets of a mount a rule is about, by their paths.
///
/// `*` stands for any characters within one segment, `**` as a whole segment for any folders on the way
/// (none included), and at the end for everything below. `\*` is a star, `\\` a backslash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    segments: Vec<Segment>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Literal(String),
    /// What stands between the stars, at least two parts.
    Glob(Vec<String>),
    Any,
}

/// Why a text is not a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidPattern(&'static str);

impl Pattern {
    /// Reads a pattern for whole paths.
    ///
    /// # Errors
    /// A pattern that no secret's path could match, or that is too long.
    pub fn parse(text: &str) -> Result<Self, InvalidPattern> {
        if text.len() > 1024 {
            return Err(InvalidPattern("must be at most 1024 bytes long"));
        }
        if text.is_empty() || text.ends_with('/') {
            return Err(InvalidPattern("must name secrets, not a folder: end it in a name, in * or in **"));
        }
        if text.starts_with('/') {
            return Err(InvalidPattern("must not begin with '/'"));
        }
        if text.chars().any(char::is_control) {
            return Err(InvalidPattern("must have no control characters"));
        }
        if text.split('/').any(|segment| matches!(segment, "." | "..")) {
            return Err(InvalidPattern("must have no '.' or '..' segments"));
        }
        let segments = text.split('/').map(segment).collect::<Result<Vec<_>, _>>()?;
        if segments.windows(2).any(|two| two == [Segment::Any, Segment::Any]) {
            return Err(InvalidPattern("must not have ** twice in a row"));
        }
        Ok(Self { text: text.to_owned(), segments })
    }

    /// Reads a prefix: a folder stands for everything below it, nothing at all for the whole mount. A
    /// pattern is taken as it is.
    ///
    /// # Errors
    /// As [`Pattern::parse`].
    pub fn below(prefix: &str) -> Result<Self, InvalidPattern> {
        if Self::is_meant(prefix) && !prefix.ends_with('/') {
            return Self::parse(prefix);
        }
        match prefix.trim_end_matches('/') {
            "" => Self::parse("**"),
            folder => Self::parse(&format!("{folder}/**")),
        }
    }

    /// Whether a text is meant as a pattern: it has a star, be it one written as `\*`.
    pub fn is_meant(text: &str) -> bool {
        text.contains('*')
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether a secret's path matches.
    pub fn matches(&self, path: &SecretPath) -> bool {
        let path: Vec<&str> = path.segments().collect();
        // reachable[n]: the pattern so far matches the first n segments.
        let mut reachable = vec![false; path.len() + 1];
        reachable[0] = true;
        for (at, segment) in self.segments.iter().enumerate() {
            let mut next = vec![false; path.len() + 1];
            if let Segment::Any = segment {
                // At the end at least one segment must be there to match.
                let least = usize::from(at + 1 == self.segments.len());
                let first = reachable.iter().position(|reached| *reached);
                for (n, slot) in next.iter_mut().enumerate() {
                    *slot = first.is_some_and(|first| n >= first + least);
                }
            } else {
                for n in 0..path.len() {
                    next[n + 1] = reachable[n] && segment.matches(path[n]);
                }
            }
            reachable = next;
        }
        reachable[path.len()]
    }

    /// The folder, as its segments, that everything that matches is in.
    pub fn folder(&self) -> Vec<&str> {
        let leading = self.segments.iter().take(self.segments.len().saturating_sub(1));
        leading
            .map_while(
                |segment| if let Segment::Literal(text) = segment { Some(text.as_str()) } else { None },
            )
            .collect()
    }

    /// Whether something that matches may be directly or further below a folder that many segments
    /// deep.
    pub fn reaches(&self, depth: usize) -> bool {
        depth < self.segments.len() || self.segments.contains(&Segment::Any)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Segment {
    fn matches(&self, name: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Literal(text) => text == name,
            Self::Glob(parts) => {
                let [first, middle @ .., last] = parts.as_slice() else { return false };
                let Some(mut rest) = name.strip_prefix(first.as_str()) else { return false };
                // The first place that fits leaves the most for what follows.
                for part in middle {
                    let Some(at) = rest.find(part.as_str()) else { return false };
                    rest = &rest[at + part.len()..];
                }
                rest.ends_with(last.as_str())
            }
        }
    }
}

fn segment(text: &str) -> Result<Segment, InvalidPattern> {
    if text == "**" {
        return Ok(Segment::Any);
    }
    let mut parts = vec![String::new()];
    let mut chars = text.chars().peekable();
    let mut star_before = false;
    while let Some(c) = chars.next() {
        let escaped = c == '\\' && chars.peek().is_some_and(|next| matches!(next, '*' | '\\'));
        let (c, star) = if escaped { (chars.next().unwrap_or(c), false) } else { (c, c == '*') };
        if star {
            if star_before {
                return Err(InvalidPattern("must have ** only as a whole segment, such as in app/**"));
            }
            parts.push(String::new());
        } else if let Some(part) = parts.last_mut() {
            part.push(c);
        }
        star_before = star;
    }
    Ok(match parts.len() {
        1 => Segment::Literal(parts.swap_remove(0)),
        _ => Segment::Glob(parts),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn path(text: &str) -> SecretPath {
        SecretPath::parse(text).unwrap()
    }

    #[test]
    fn patterns_match_what_they_say() {
        for (pattern, yes, no) in [
            ("app/*", vec!["app/a", "app/"], vec!["app", "app/a/b", "apple/a", "b/app/a"]),
            ("app/**", vec!["app/a", "app/a/b/c"], vec!["app", "apple/a"]),
            ("**", vec!["a", "a/b/c"], vec![]),
            ("**/db", vec!["db", "a/db", "a/b/db"], vec!["dbx", "db/a"]),
            ("a/**/z", vec!["a/z", "a/b/z", "a/b/c/z"], vec!["a", "z", "a/z/b"]),
            ("a/**/m/**", vec!["a/m/x", "a/b/m/x/y"], vec!["a/m", "a/b/x"]),
            ("*/db-*", vec!["a/db-", "b/db-1"], vec!["db-1", "a/b/db-1", "a/xdb-1"]),
            ("x*y*z", vec!["xyz", "xaybz", "xyyz"], vec!["xz", "xy", "axyz"]),
            ("aa*aa", vec!["aaaa", "aabaa"], vec!["aaa", "aa"]),
            ("exact/one", vec!["exact/one"], vec!["exact/one/", "exact"]),
            (r"a\*b", vec!["a*b"], vec!["axb"]),
            (r"a\\*", vec![r"a\", r"a\x"], vec!["a*"]),
        ] {
            let parsed = Pattern::parse(pattern).unwrap();
            for text in yes {
                if let Ok(path) = SecretPath::parse(text) {
                    assert!(parsed.matches(&path), "{pattern} {text}");
                }
            }
            for text in no {
                if let Ok(path) = SecretPath::parse(text) {
                    assert!(!parsed.matches(&path), "{pattern} {text}");
                }
            }
        }
    }

    #[test]
    fn prefixes_are_folders() {
        for (prefix, pattern) in [
            ("", "**"),
            ("/", "**"),
            ("app", "app/**"),
            ("app/", "app/**"),
            ("app/*", "app/*"),
            ("a*/", "a*/**"),
        ] {
            assert_eq!(Pattern::below(prefix).unwrap().as_str(), pattern);
        }
    }

    #[test]
    fn what_can_match_nothing_is_refused() {
        for text in
            ["", "/", "/a", "a/", "a**", "a/**b", "**/**", "a/../b", "./a", "a\u{7}", &"x".repeat(1025)]
        {
            assert!(Pattern::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_walk_begins_and_ends_where_it_must() {
        let folder = |text: &str| Pattern::parse(text).unwrap().folder().join("/");
        assert_eq!(
            (folder("a/b/*"), folder("a/*/b"), folder("**"), folder("a/b")),
            ("a/b".into(), "a".into(), String::new(), "a".into())
        );
        let two = Pattern::parse("a/*").unwrap();
        assert!(two.reaches(0) && two.reaches(1) && !two.reaches(2));
        assert!(Pattern::parse("a/**").unwrap().reaches(9));
    }

    /// The plain, slow way.
    fn slowly(pattern: &[&str], path: &[&str]) -> bool {
        match pattern {
            [] => path.is_empty(),
            ["**"] => !path.is_empty(),
            ["**", rest @ ..] => (0..=path.len()).any(|n| slowly(rest, &path[n..])),
            [one, rest @ ..] => path
                .split_first()
                .is_some_and(|(first, after)| glob(one.as_bytes(), first.as_bytes()) && slowly(rest, after)),
        }
    }

    fn glob(pattern: &[u8], name: &[u8]) -> bool {
        match pattern {
            [] => name.is_empty(),
            [b'*', rest @ ..] => (0..=name.len()).any(|n| glob(rest, &name[n..])),
            [one, rest @ ..] => {
                name.split_first().is_some_and(|(first, after)| one == first && glob(rest, after))
            }
        }
    }

    proptest! {
        #[test]
        fn it_matches_as_the_plain_way_does(
            pattern in "(\\*\\*/)?([ab]{1,2}|a?\\*b?|\\*a\\*)(/(\\*\\*|[ab]|\\*|b\\*a?)){0,3}",
            name in "[ab]{1,3}(/[ab]{1,2}){0,4}",
        ) {
            prop_assume!(!pattern.contains("**/**"));
            let parsed = Pattern::parse(&pattern).unwrap();
            let (p, n): (Vec<&str>, Vec<&str>) = (pattern.split('/').collect(), name.split('/').collect());
            prop_assert_eq!(parsed.matches(&path(&name)), slowly(&p, &n), "{} {}", pattern, name);
        }

        #[test]
        fn no_text_makes_it_panic(text in "[*/\\\\a.]{0,12}|\\PC{0,20}", name in "[*/\\\\a]{1,8}") {
            let (parsed, below) = (Pattern::parse(&text), Pattern::below(&text));
            if let Ok(path) = SecretPath::parse(&name) {
                for pattern in [parsed, below].into_iter().flatten() {
                    pattern.matches(&path);
                    pattern.folder();
                }
            }
        }
    }
}
