//! Making passwords by the rules of `secret password` (keeper.md 4.2).

use model::{Entropy, SecretBytes};
use zeroize::Zeroizing;

/// The special characters of the official CLI.
pub const SPECIAL: &str = "\"!@#$%()+;<>=?[]{}^.,";
const LOWERCASE: &str = "abcdefghijklmnopqrstuvwxyz";
const UPPERCASE: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
const DIGITS: &str = "0123456789";
/// Characters of a password when nothing is said.
const DEFAULT_LENGTH: usize = 64;
/// Longest password that is made.
const LONGEST: usize = 4096;

/// What a password consists of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PasswordRule {
    /// Characters in all; 0 leaves it to the counts, or to the default of 64.
    pub length: usize,
    /// Exactly so many, when any of the four is given.
    pub lowercase: usize,
    /// Likewise.
    pub uppercase: usize,
    /// Likewise.
    pub digits: usize,
    /// Likewise.
    pub special: usize,
}

/// A rule that cannot be followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasswordFault {
    /// The counts and the length disagree.
    #[error(
        "give either the length or the counts of characters: the counts add up to {counted}, the length is {length}"
    )]
    Disagree {
        /// The length that was given.
        length: usize,
        /// The sum of the counts.
        counted: usize,
    },
    /// Too long.
    #[error("a password has at most {LONGEST} characters")]
    TooLong,
}

impl PasswordRule {
    /// Makes a password. With counts it has exactly those, in random order; without, each character is
    /// drawn from all four groups together.
    pub fn generate(&self, entropy: &dyn Entropy) -> Result<SecretBytes, PasswordFault> {
        let groups = [
            (self.lowercase, LOWERCASE),
            (self.uppercase, UPPERCASE),
            (self.digits, DIGITS),
            (self.special, SPECIAL),
        ];
        let counted = groups.iter().try_fold(0_usize, |sum, (n, _)| sum.checked_add(*n));
        let counted = counted.ok_or(PasswordFault::TooLong)?;
        if counted > 0 && self.length > 0 && self.length != counted {
            return Err(PasswordFault::Disagree { length: self.length, counted });
        }
        let length =
            [counted, self.length, DEFAULT_LENGTH].into_iter().find(|n| *n > 0).unwrap_or(DEFAULT_LENGTH);
        if length > LONGEST {
            return Err(PasswordFault::TooLong);
        }
        let mut password = Zeroizing::new(Vec::with_capacity(length));
        if counted == 0 {
            let all = [LOWERCASE, UPPERCASE, DIGITS, SPECIAL].concat();
            password.extend((0..length).map(|_| pick(&all, entropy)));
        } else {
            for (count, signs) in groups {
                password.extend((0..count).map(|_| pick(signs, entropy)));
            }
            // Fisher-Yates, from the end.
            for at in (1..password.len()).rev() {
                password.swap(at, below(at + 1, entropy));
            }
        }
        Ok(password.into())
    }
}

fn pick(signs: &str, entropy: &dyn Entropy) -> u8 {
    signs.as_bytes()[below(signs.len(), entropy)]
}

/// A number below `limit` (at most 4096), each as likely as any other: draws that would favour some
/// are thrown away.
fn below(limit: usize, entropy: &dyn Entropy) -> usize {
    let range = 1_usize << 16;
    loop {
        let mut dice = Zeroizing::new([0; 2]);
        entropy.fill(&mut *dice);
        let drawn = usize::from(u16::from_le_bytes(*dice));
        if drawn < range - range % limit {
            return drawn % limit;
        }
    }
}

#[cfg(test)]
mod tests {
    use model::SeededEntropy;
    use proptest::prelude::*;

    use super::*;

    fn counts(password: &str) -> [usize; 4] {
        [LOWERCASE, UPPERCASE, DIGITS, SPECIAL]
            .map(|signs| password.chars().filter(|c| signs.contains(*c)).count())
    }

    #[test]
    fn without_a_rule_all_groups_are_drawn_from() {
        let entropy = SeededEntropy::new(1);
        let password = PasswordRule::default().generate(&entropy).unwrap();
        assert_eq!(password.len(), 64);
        let long = PasswordRule { length: 4096, ..PasswordRule::default() }.generate(&entropy).unwrap();
        let counts = counts(long.expose_text().unwrap());
        assert_eq!(counts.iter().sum::<usize>(), 4096);
        // 26, 26, 10 and 21 of 83 signs.
        for (count, share) in counts.iter().zip([26.0, 26.0, 10.0, 21.0]) {
            let expected = 4096.0 * share / 83.0;
            assert!(
                (expected * 0.8..expected * 1.2).contains(&f64::from(u32::try_from(*count).unwrap())),
                "{counts:?}"
            );
        }
    }

    #[test]
    fn counts_and_length_must_agree() {
        let entropy = SeededEntropy::new(2);
        let rule = PasswordRule { length: 9, lowercase: 5, digits: 3, ..PasswordRule::default() };
        assert_eq!(rule.generate(&entropy).unwrap_err(), PasswordFault::Disagree { length: 9, counted: 8 });
        for rule in [
            PasswordRule { length: 4097, ..PasswordRule::default() },
            PasswordRule { digits: usize::MAX, special: 1, ..PasswordRule::default() },
        ] {
            assert_eq!(rule.generate(&entropy).unwrap_err(), PasswordFault::TooLong);
        }
    }

    proptest! {
        #[test]
        fn counts_are_kept_exactly(lowercase in 0_usize..9, uppercase in 0_usize..9, digits in 0_usize..9, special in 1_usize..9, seed: u64) {
            let rule = PasswordRule { length: 0, lowercase, uppercase, digits, special };
            let password = rule.generate(&SeededEntropy::new(seed)).unwrap();
            prop_assert_eq!(counts(password.expose_text().unwrap()), [lowercase, uppercase, digits, special]);
        }

        #[test]
        fn no_number_reaches_the_limit(limit in 1_usize..4096, seed: u64) {
            prop_assert!(below(limit, &SeededEntropy::new(seed)) < limit);
        }
    }
}
