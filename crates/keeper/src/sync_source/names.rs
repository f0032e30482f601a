//! Names at the destinations, and names made of titles (keeper.md 4.5).

use super::Target;

/// What a name may be.
#[derive(Debug)]
pub(super) struct NameRule {
    cloud: &'static str,
    /// Signs beside ASCII letters and digits.
    signs: &'static str,
    longest: usize,
    /// Stands for a space of a title.
    space: &'static str,
    /// Whether `A` and `a` are one name.
    folded: bool,
    /// Whether `NAME+JSONKEY` means a member of an object.
    pub(super) json_keys: bool,
}

const AWS: NameRule =
    NameRule { cloud: "AWS", signs: "/_+=.@-", longest: 512, space: "_", folded: false, json_keys: true };
const AZURE: NameRule =
    NameRule { cloud: "Azure", signs: "-", longest: 127, space: "-", folded: true, json_keys: false };
const GCP: NameRule =
    NameRule { cloud: "GCP", signs: "_-", longest: 255, space: "_", folded: false, json_keys: false };

impl NameRule {
    pub(super) const fn of(target: Target) -> &'static Self {
        match target {
            Target::Aws | Target::Json => &AWS,
            Target::Azure => &AZURE,
            Target::Gcp => &GCP,
        }
    }

    /// Whether a name can be used as it is.
    pub(super) fn check(&self, name: &str) -> Result<(), String> {
        let fits = |c: char| c.is_ascii_alphanumeric() || self.signs.contains(c);
        if !(1..=self.longest).contains(&name.len()) || !name.chars().all(fits) {
            let Self { cloud, signs, longest, .. } = self;
            return Err(format!("a name at {cloud} is 1 to {longest} of A-Z a-z 0-9 {signs}"));
        }
        Ok(())
    }

    /// The name a title makes: prefix and title, without leading slashes, spaces replaced.
    pub(super) fn derive(&self, prefix: &str, title: Option<&str>) -> Result<String, String> {
        let title = title.ok_or("the record has no title to name it by")?.trim_start_matches('/');
        if title.split('/').any(|segment| segment == "..") {
            return Err("the record's title has a segment '..', which no name may have".to_owned());
        }
        let name = format!("{prefix}{title}").replace(' ', self.space);
        self.check(&name).map_err(|rule| format!("the record's title makes no name: {rule}"))?;
        Ok(name)
    }

    /// The form in which names are one that the destination takes for one.
    pub(super) fn identity(&self, name: &str) -> String {
        if self.folded { name.to_ascii_lowercase() } else { name.to_owned() }
    }

    /// AWS looks names up by their ARN, which ends in a hyphen and six characters of its own.
    pub(super) fn caution(&self, name: &str) -> Option<String> {
        let (_, end) = name.rsplit_once('-')?;
        let like_an_arn = end.len() == 6 && end.bytes().all(|b| b.is_ascii_alphanumeric());
        (self.cloud == "AWS" && like_an_arn).then(|| {
            format!(
                "the name {name} ends in a hyphen and six characters, which AWS may take for part of an ARN"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cloud_has_its_rule() {
        for (target, good, bad) in [
            (Target::Aws, "a/b_c+d=e.f@g-h", "a b"),
            (Target::Aws, "x", ""),
            (Target::Json, "a/b", "日本"),
            (Target::Azure, "a-B-9", "a_b"),
            (Target::Gcp, "a_B-9", "a/b"),
        ] {
            let rule = NameRule::of(target);
            assert_eq!(rule.check(good), Ok(()), "{target:?} {good}");
            assert!(rule.check(bad).is_err(), "{target:?} {bad}");
            assert_eq!(rule.check(&"x".repeat(rule.longest)), Ok(()));
            assert!(rule.check(&"x".repeat(rule.longest + 1)).is_err());
        }
    }

    #[test]
    fn titles_make_names() {
        for (target, prefix, title, name) in [
            (Target::Aws, "keeper/", "My DB login", Some("keeper/My_DB_login")),
            (Target::Aws, "", "//a/b", Some("a/b")),
            (Target::Azure, "app-", "My DB", Some("app-My-DB")),
            (Target::Gcp, "", "My DB", Some("My_DB")),
            (Target::Aws, "keeper/", "../root", None),
            (Target::Aws, "keeper/", "a/../b", None),
            (Target::Aws, "keeper/", "a..b", Some("keeper/a..b")),
            (Target::Aws, "", "本番DB", None),
            (Target::Aws, "", "", None),
        ] {
            assert_eq!(NameRule::of(target).derive(prefix, Some(title)).ok().as_deref(), name, "{title}");
        }
        assert!(NameRule::of(Target::Aws).derive("p/", None).is_err());
        assert!(NameRule::of(Target::Aws).caution("db-a1B2c3").is_some());
        assert!(NameRule::of(Target::Aws).caution("db-a1B2c").is_none());
        assert!(NameRule::of(Target::Gcp).caution("db-a1B2c3").is_none());
    }
}
