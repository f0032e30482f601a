//! What a run does: made from its seed before it begins, so that it can be cut down.

use std::{collections::BTreeSet, fmt, str::FromStr};

use model::{Entropy, SeededEntropy};

/// What may go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// A process dies at a call that leaves it.
    Crash,
    /// The store refuses a commit, or its answer is lost.
    Disk,
    /// The store takes its time.
    Slow,
    /// A destination fails, is throttled, its answer is lost, it does a thing twice.
    Calls,
    /// A call takes effect long after it was sent.
    SlowCalls,
    /// Announcements are lost, late and doubled.
    Announcements,
    /// A process is frozen, and goes on.
    Freeze,
    /// A process does not reach the store.
    Cut,
    /// A clock is set.
    Jump,
    /// A server is given up by the others though it is well.
    Expelled,
    /// A destination wants fewer calls, for everybody.
    Storm,
    /// Several entries are written with one call, of which only some may take effect.
    Torn,
}

impl Fault {
    const ALL: [Self; 12] = [
        Self::Crash,
        Self::Disk,
        Self::Slow,
        Self::Calls,
        Self::SlowCalls,
        Self::Announcements,
        Self::Freeze,
        Self::Cut,
        Self::Jump,
        Self::Expelled,
        Self::Storm,
        Self::Torn,
    ];
}

/// A set of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Faults(u16);

impl Faults {
    pub(super) fn has(self, fault: Fault) -> bool {
        self.0 & 1 << fault as u16 != 0
    }

    pub(super) fn without(self, fault: Fault) -> Self {
        Self(self.0 & !(1 << fault as u16))
    }

    pub(super) fn each(self) -> impl Iterator<Item = Fault> {
        Fault::ALL.into_iter().filter(move |fault| self.has(*fault))
    }
}

pub(super) const SECRETS: [&str; 4] = ["a", "b/c", "b/d", "e"];
pub(super) const DESTINATIONS: [&str; 2] = ["whole", "keys"];
pub(super) const TEMPLATES: [&str; 3] = ["{{ .SecretPath }}", "x/{{ .SecretPath }}", "{{ .SecretBaseName }}"];
pub(super) const PATTERNS: [&str; 3] = ["b/*", "**", "a"];

/// One thing that happens. Numbers of servers are taken modulo how many there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Write {
        path: &'static str,
        keys: u64,
    },
    Delete {
        path: &'static str,
    },
    Undelete {
        path: &'static str,
    },
    Set {
        node: usize,
        at: &'static str,
        path: &'static str,
    },
    Unset {
        node: usize,
        at: &'static str,
        path: &'static str,
    },
    Configure {
        node: usize,
        at: &'static str,
        template: &'static str,
    },
    Rule {
        node: usize,
        at: &'static str,
        pattern: &'static str,
        exclude: bool,
    },
    NoRule {
        node: usize,
        at: &'static str,
        pattern: &'static str,
    },
    Purge {
        node: usize,
        at: &'static str,
    },
    Crash {
        node: usize,
    },
    Restart {
        node: usize,
    },
    Resign {
        node: usize,
    },
    Freeze {
        node: usize,
        ms: u64,
    },
    /// Whoever is just delivering a change is frozen, and meanwhile there is another.
    Ambush {
        path: &'static str,
        after: u64,
        ms: u64,
    },
    Cut {
        node: usize,
        ms: u64,
        silent: bool,
    },
    Jump {
        node: usize,
        ms: i64,
    },
    Expel {
        node: usize,
    },
    Storm {
        ms: u64,
    },
    Wait {
        ms: u64,
    },
}

/// One run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Case {
    pub(super) seed: u64,
    pub(super) marks: bool,
    pub(super) faults: Faults,
    /// Steps that are left out.
    pub(super) skip: BTreeSet<usize>,
}

pub(super) const STEPS: usize = 40;

impl Case {
    pub(super) fn of(seed: u64, marks: bool) -> Self {
        // Every run has its own selection of what goes wrong; one in eight has all of it.
        let entropy = SeededEntropy::new(seed ^ 0xfa17);
        let mut bytes = [0; 8];
        entropy.fill(&mut bytes);
        let bits = u64::from_le_bytes(bytes);
        #[expect(clippy::cast_possible_truncation, reason = "as many bits as are wanted")]
        let faults = if bits >> 61 == 0 { u16::MAX } else { bits as u16 };
        Self { seed, marks, faults: Faults(faults), skip: BTreeSet::new() }
    }

    pub(super) fn nodes(&self) -> usize {
        [1, 2, 2, 3][usize::try_from(self.seed % 4).unwrap()]
    }

    pub(super) fn steps(&self) -> Vec<(usize, Step)> {
        let entropy = SeededEntropy::new(self.seed);
        let roll = |sides: u64| {
            let mut bytes = [0; 8];
            entropy.fill(&mut bytes);
            u64::from_le_bytes(bytes) % sides
        };
        let all = (0..STEPS).map(|_| {
            let pick = |list: &[&'static str], n: u64| list[usize::try_from(n % list.len() as u64).unwrap()];
            let (what, n, ms) = (roll(40), roll(1 << 32), roll(9000));
            let node = usize::try_from(roll(64)).unwrap();
            let (path, at) = (pick(&SECRETS, n), pick(&DESTINATIONS, n >> 8));
            let (pattern, template) = (pick(&PATTERNS, n >> 16), pick(&TEMPLATES, n >> 16));
            match what {
                0..10 => Step::Write { path, keys: n >> 20 & 1 | n >> 21 & 1 },
                10..12 => Step::Delete { path },
                12 => Step::Undelete { path },
                13..18 => Step::Set { node, at, path },
                18..20 => Step::Unset { node, at, path },
                20 => Step::Configure { node, at, template },
                21 => Step::Rule { node, at, pattern, exclude: n >> 20 & 1 == 0 },
                22 => Step::NoRule { node, at, pattern },
                23 => Step::Purge { node, at },
                24 => Step::Crash { node },
                25 => Step::Restart { node },
                26 => Step::Resign { node },
                27 => Step::Freeze { node, ms: ms + 500 },
                28..30 => Step::Ambush { path, after: n >> 20 & 127, ms: ms + 3000 },
                30..32 => Step::Cut { node, ms: ms + 500, silent: n >> 20 & 1 == 0 },
                32 => Step::Jump { node, ms: i64::try_from(ms).unwrap() * 4 - 18_000 },
                33 => Step::Expel { node },
                34 => Step::Storm { ms },
                _ => Step::Wait { ms: ms * 2 / 3 },
            }
        });
        all.enumerate().filter(|(number, _)| !self.skip.contains(number)).collect()
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let skip: Vec<_> = self.skip.iter().map(ToString::to_string).collect();
        write!(
            f,
            "{}/{}/{:x}/{}",
            self.seed,
            if self.marks { "marks" } else { "none" },
            self.faults.0,
            skip.join(",")
        )
    }
}

impl FromStr for Case {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let [seed, marks, faults, skip] = text.split('/').collect::<Vec<_>>()[..] else { return Err(()) };
        let skip = skip.split(',').filter(|n| !n.is_empty()).map(str::parse);
        Ok(Self {
            seed: seed.parse().map_err(drop)?,
            marks: marks == "marks",
            faults: Faults(u16::from_str_radix(faults, 16).map_err(drop)?),
            skip: skip.collect::<Result<_, _>>().map_err(drop)?,
        })
    }
}
