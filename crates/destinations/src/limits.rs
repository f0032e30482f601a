use std::time::Duration;

use model::SecretBytes;

/// What a provider allows, as data. The engine keeps to it: one set of counters for each provider
/// account ([`crate::Kind::account`]), shared by all destinations that draw on it. The figures are the
/// documented ones; the engine goes a little below them, and lower when the provider says so
/// ([`crate::Fault::throttled`]).
#[derive(Debug)]
pub struct Limits {
    /// What is counted. A call may draw on several.
    pub pools: &'static [Pool],
    /// What looking at one entry draws; for a kind with bulk calls, one bulk look.
    pub look: &'static [Draw],
    /// What a first write of an entry draws; for a kind with bulk calls, one bulk write.
    pub create: &'static [Draw],
    /// What a further write of an entry draws.
    pub update: &'static [Draw],
    /// What a removal draws; for a kind with bulk calls, one bulk removal.
    pub remove: &'static [Draw],
    /// Most calls at once from one account, where the provider minds.
    pub at_once: Option<usize>,
    /// Least time between two writes of the same entry. Zero where the provider does not mind.
    pub entry_pause: Duration,
}

/// A number of units that may be drawn in any stretch of time of a certain length.
#[derive(Debug)]
pub struct Pool {
    /// What it is called in messages: `writes`.
    pub name: &'static str,
    /// How many units.
    pub units: u32,
    /// In how much time.
    pub per: Duration,
    /// Background work is spread evenly over the time; only fresh changes may use what is left of a
    /// stretch at once. Right for limits of seconds or minutes. For limits of hours or days it would
    /// idle beside an unused allowance: there background work may run ahead, and leaves a little for
    /// fresh changes.
    pub paced: bool,
}

impl Pool {
    /// A paced pool.
    pub const fn paced(name: &'static str, units: u32, per: Duration) -> Self {
        Self { name, units, per, paced: true }
    }

    /// A pool that may be used up ahead of time.
    pub const fn stock(name: &'static str, units: u32, per: Duration) -> Self {
        Self { name, units, per, paced: false }
    }
}

/// What one call takes out of one pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Draw {
    /// Place of the pool in [`Limits::pools`].
    pub pool: usize,
    /// How many units.
    pub units: u32,
}

impl Draw {
    /// Some units of a pool.
    pub const fn of(pool: usize, units: u32) -> Self {
        Self { pool, units }
    }
}

/// The identity of a provider account made of several parts, for [`crate::Kind::account`]. Parts cannot
/// run together.
pub(crate) fn account_of(parts: &[&[u8]]) -> SecretBytes {
    let mut bytes = Vec::with_capacity(parts.iter().map(|part| part.len() + 8).sum());
    for part in parts {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part);
    }
    SecretBytes::new(bytes)
}

#[cfg(test)]
mod tests {
    use crate::{Config, kinds};

    /// Whatever a kind states must make sense: the engine takes it as it is.
    #[test]
    fn every_draw_is_on_a_pool_that_can_serve_it() {
        for kind in kinds() {
            let Some(limits) = kind.limits(&Config::default()) else { continue };
            let slug = kind.slug();
            assert!(!limits.pools.is_empty() && limits.at_once != Some(0), "{slug}");
            for pool in limits.pools {
                assert!(
                    pool.units > 0 && !pool.per.is_zero() && !pool.name.is_empty(),
                    "{slug} {}",
                    pool.name
                );
            }
            for draws in [limits.look, limits.create, limits.update, limits.remove] {
                assert!(!draws.is_empty(), "{slug}: a call that draws on nothing has no limit");
                for draw in draws {
                    let pool = limits.pools.get(draw.pool);
                    assert!(
                        pool.is_some_and(|pool| (1..=pool.units).contains(&draw.units)),
                        "{slug} {draw:?}"
                    );
                }
            }
        }
    }
}
