//! Paths that need `sudo` besides what their operation needs (kv-v2-api.md 6.3).

use crate::app::Operation;

/// Whether a request needs it.
pub(super) fn is_needed(path: &str, operation: Operation) -> bool {
    let lists = matches!(operation, Operation::List | Operation::Scan);
    if let Some(rest) = path.strip_prefix("sys/") {
        let within = |place: &str| {
            rest.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        return rest.starts_with("auth/") && rest.len() > "auth/".len()
            || [
                "seal",
                "step-down",
                "audit",
                "raw",
                "rotate",
                "remount",
                "config/cors",
                "config/auditing",
                "config/ui",
                "leases/revoke-prefix",
                "leases/revoke-force",
                "revoke-prefix",
                "revoke-force",
                "plugins/catalog",
                "storage/raft/snapshot-force",
            ]
            .into_iter()
            .any(within)
            // Looking a lease up by its id is for whoever was told it; listing them is not.
            || within("leases/lookup") && lists
            || rest.trim_end_matches('/') == "leases" && lists;
    }
    path.strip_prefix("auth/token/").is_some_and(|rest| rest.trim_end_matches('/') == "accessors")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_from_most() {
        use Operation::{List, Read, Write};
        for (path, operation, needed) in [
            ("sys/seal", Write, true),
            ("sys/storage/raft/snapshot", Read, false),
            ("sys/storage/raft/snapshot", Write, false),
            ("sys/storage/raft/snapshot-force", Write, true),
            ("sys/audit", Read, true),
            ("sys/audit/file", Write, true),
            ("sys/audit-hash/file", Write, false),
            ("sys/auth", Read, false),
            ("sys/auth/", List, false),
            ("sys/auth/github", Write, true),
            ("sys/auth/github/tune", Read, true),
            ("sys/rotate", Write, true),
            ("sys/remount", Write, true),
            ("sys/remount/status/x", Read, true),
            ("sys/config/cors", Read, true),
            ("sys/leases/lookup", Write, false),
            ("sys/leases/lookup/auth/", List, true),
            ("sys/leases/revoke-prefix/auth", Write, true),
            ("sys/leases/revoke", Write, false),
            ("sys/sealed", Write, false),
            ("sys/mounts/seal", Write, false),
            ("sys/policies/acl/x", Write, false),
            ("auth/token/accessors/", List, true),
            ("auth/token/create", Write, false),
            ("secret/sys/seal", Write, false),
        ] {
            assert_eq!(is_needed(path, operation), needed, "{path} {operation:?}");
        }
    }
}
