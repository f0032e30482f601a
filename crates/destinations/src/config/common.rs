use ipnet::{Ipv4Net, Ipv6Net};

use crate::{Field, Shape};

/// The fields every kind has (vault-sync-api.md 4 and 4.6; the last three are ours, decisions 6 and
/// 12a).
pub const COMMON_FIELDS: &[Field] = &[
    Field::new(
        "secret_name_template",
        Shape::Text,
        "Template of the names given to secrets at the destination. Associations made before a change \
         move to the new name.",
    )
    .option(),
    Field::new(
        "granularity",
        Shape::OneOf(&["secret-path", "secret-key"]),
        "Whether a secret becomes one remote entry (secret-path) or one per key (secret-key).",
    )
    .option(),
    Field::new("custom_tags", Shape::Map, "Tags put on every remote entry, beside those keyferry needs.")
        .per_secret()
        .option(),
    Field::new(
        "on_conflict",
        Shape::OneOf(&["refuse", "overwrite"]),
        "What to do when a remote entry of that name exists and is not ours: leave it alone (refuse, the \
         default) or take it over (overwrite).",
    )
    .option(),
    Field::new(
        "on_latest_deleted",
        Shape::OneOf(&["remove", "previous"]),
        "What to do when the newest version of a secret is deleted: remove the remote entry (remove, the \
         default) or deliver the newest version that is left (previous).",
    )
    .option(),
    Field::new(
        "ownership_check",
        Shape::OneOf(&["identity", "always"]),
        "How an update makes sure that the remote entry is still ours: by addressing it under the \
         immutable identity it got when we made it (identity, the default, no extra call), or by reading \
         its mark each time (always, one extra call).",
    )
    .option(),
    Field::new(
        "disable_strict_networking",
        Shape::Bool,
        "Lifts every limit on the addresses and ports this destination may be reached at.",
    ),
    Field::new(
        "allowed_ipv4_addresses",
        Shape::List,
        "IPv4 ranges in CIDR notation that may be connected to although they are not public. An instance metadata \
         address is opened by naming it alone (/32), never by a range.",
    )
    .checked(|text| {
        text.parse::<Ipv4Net>()
            .is_err()
            .then_some("must be an IPv4 range in CIDR notation such as 10.0.0.0/8")
    }),
    Field::new(
        "allowed_ipv6_addresses",
        Shape::List,
        "IPv6 ranges in CIDR notation that may be connected to although they are not public. An instance metadata \
         address is opened by naming it alone (/128), never by a range.",
    )
    .checked(|text| {
        text.parse::<Ipv6Net>().is_err().then_some("must be an IPv6 range in CIDR notation such as fd00::/8")
    }),
    Field::new(
        "allowed_ports",
        Shape::IntList { min: 1, max: 65_535 },
        "Ports that may be connected to besides 80 and 443.",
    ),
];

/// The field by which a kind that speaks HTTP lets its service be found elsewhere: a private endpoint,
/// a stand-in for tests (decisions 12 and 27). Guarded like every other address.
pub const ENDPOINT: Field = Field::new(
    "endpoint",
    Shape::Url,
    "Base URL of the service instead of the provider's public one, for private endpoints and tests.",
)
.immutable();
