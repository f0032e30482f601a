//! What a role, a user or a mount says about the tokens it gives out: the `token_*` parameters that all
//! auth methods share.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::app::{AppError, Fields, json::Object, policy};

/// About the tokens of one role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(default)]
pub(crate) struct Terms {
    /// Seconds; 0 = the mount's.
    pub(crate) ttl: u64,
    /// Seconds; 0 = the mount's.
    pub(crate) max_ttl: u64,
    /// Sorted, lower case, without `root`.
    pub(crate) policies: Vec<String>,
    /// Where a login may come from, and its token be used from; empty = anywhere.
    pub(crate) bound_cidrs: Vec<String>,
    /// Seconds; 0 = none.
    pub(crate) explicit_max_ttl: u64,
    pub(crate) no_default_policy: bool,
    /// 0 = any number.
    pub(crate) num_uses: u64,
    /// Seconds; 0 = not periodic.
    pub(crate) period: u64,
    pub(crate) kind: Kind,
}

/// Of which kind tokens are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// As the mount says.
    #[default]
    Default,
    /// Service, unless whoever asks wants another.
    DefaultService,
    /// Batch, unless whoever asks wants another.
    DefaultBatch,
    Service,
    Batch,
}

impl Kind {
    pub(crate) fn parse(word: &str) -> Option<Self> {
        match word {
            "" | "default" => Some(Self::Default),
            "default-service" => Some(Self::DefaultService),
            "default-batch" => Some(Self::DefaultBatch),
            "service" => Some(Self::Service),
            "batch" => Some(Self::Batch),
            _ => None,
        }
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::DefaultService => "default-service",
            Self::DefaultBatch => "default-batch",
            Self::Service => "service",
            Self::Batch => "batch",
        }
    }

    /// Whether tokens are batch tokens where nobody asks for another kind.
    pub(crate) fn is_batch(self) -> bool {
        matches!(self, Self::Batch | Self::DefaultBatch)
    }
}

impl Terms {
    /// Takes over what a request says; what it does not say stays.
    pub(crate) fn read(&mut self, fields: &mut Fields) -> Result<(), AppError> {
        if let Some(policies) = fields.list("token_policies")? {
            self.policies = policy::cleaned(&policies)?;
        }
        for (name, seconds) in [
            ("token_ttl", &mut self.ttl),
            ("token_max_ttl", &mut self.max_ttl),
            ("token_explicit_max_ttl", &mut self.explicit_max_ttl),
            ("token_period", &mut self.period),
        ] {
            if let Some(given) = positive(fields, name)? {
                *seconds = given;
            }
        }
        if let Some(ranges) = fields.list("token_bound_cidrs")? {
            self.bound_cidrs = cidrs("token_bound_cidrs", &ranges)?;
        }
        if let Some(no_default) = fields.boolean("token_no_default_policy")? {
            self.no_default_policy = no_default;
        }
        if let Some(uses) = fields.integer("token_num_uses")? {
            self.num_uses =
                u64::try_from(uses).map_err(|_| AppError::invalid("'token_num_uses' cannot be negative"))?;
        }
        if let Some(word) = fields.text("token_type")? {
            self.kind = Kind::parse(&word).ok_or_else(|| AppError::invalid("invalid 'token_type' value"))?;
        }
        self.check()
    }

    /// The same under the names that the parameters had before; the newer name wins.
    pub(crate) fn read_older(&mut self, fields: &mut Fields) -> Result<(), AppError> {
        if !fields.has("token_policies")
            && let Some(policies) = fields.list("policies")?
        {
            self.policies = policy::cleaned(&policies)?;
        }
        for (old, new, seconds) in [
            ("ttl", "token_ttl", &mut self.ttl),
            ("max_ttl", "token_max_ttl", &mut self.max_ttl),
            ("period", "token_period", &mut self.period),
        ] {
            if !fields.has(new)
                && let Some(given) = positive(fields, old)?
            {
                *seconds = given;
            }
        }
        if !fields.has("token_bound_cidrs")
            && let Some(ranges) = fields.list("bound_cidrs")?
        {
            self.bound_cidrs = cidrs("bound_cidrs", &ranges)?;
        }
        self.check()
    }

    fn check(&self) -> Result<(), AppError> {
        if self.max_ttl > 0 && self.ttl > self.max_ttl {
            return Err(AppError::invalid("'token_ttl' cannot be greater than 'token_max_ttl'"));
        }
        let limit = match self {
            Self { num_uses: 1.., .. } => "with limited use count",
            Self { period: 1.., .. } => "that are periodic",
            Self { explicit_max_ttl: 1.., .. } => "with an explicit max TTL",
            _ => return Ok(()),
        };
        if self.kind.is_batch() {
            return Err(AppError::invalid(format!(
                "'token_type' cannot be 'batch' or 'default-batch' when set to generate tokens {limit}"
            )));
        }
        Ok(())
    }

    /// Writes them as a role is shown.
    pub(crate) fn put(&self, o: &mut Object<'_>) {
        o.put("token_bound_cidrs", &self.bound_cidrs)
            .put("token_explicit_max_ttl", &self.explicit_max_ttl)
            .put("token_max_ttl", &self.max_ttl)
            .put("token_no_default_policy", &self.no_default_policy)
            .put("token_num_uses", &self.num_uses)
            .put("token_period", &self.period)
            .put("token_policies", &self.policies)
            .put("token_ttl", &self.ttl)
            .put("token_type", self.kind.as_str());
    }
}

/// A duration in whole seconds whose sign has its own text. `None` when it is not given.
pub(crate) fn positive(fields: &mut Fields, name: &'static str) -> Result<Option<u64>, AppError> {
    match fields.signed_duration(name)? {
        Some(nanos) if nanos < 0 => Err(AppError::invalid(format!("{name} must be positive"))),
        given => Ok(given.map(|nanos| nanos.unsigned_abs() / 1_000_000_000)),
    }
}

/// Ranges of addresses. One address stands for itself.
pub(crate) fn cidrs(name: &str, ranges: &[String]) -> Result<Vec<String>, AppError> {
    let range = |text: &String| {
        let text = text.trim();
        let range = text.parse::<IpNet>().or_else(|_| text.parse().map(|ip: std::net::IpAddr| ip.into()));
        range.map(|range| range.to_string()).map_err(|_| {
            AppError::invalid(format!("{name}: expected address ranges such as 10.0.0.0/8 or 2001:db8::/32"))
        })
    };
    ranges.iter().filter(|text| !text.trim().is_empty()).map(range).collect()
}
