//! Where the stand-ins are not like the real service, so that a behaviour cannot be shown there.

/// Why a behaviour is not tried against a part.
pub(crate) fn lie(part: &str, behaviour: &str) -> Option<&'static str> {
    LIES.iter().find(|(p, b, _)| *p == part && *b == behaviour).map(|(.., why)| *why)
}

const LIES: &[(&str, &str, &str)] = &[
    (
        "ministack",
        "putting_twice_changes_nothing",
        "ministack gives a new secret's first version an id of its own, whatever token it was sent",
    ),
    (
        "ministack",
        "looking_tells_which_write_is_there",
        "ministack gives a new secret's first version an id of its own, whatever token it was sent",
    ),
    (
        "moto",
        "an_update_restores_what_is_being_deleted",
        "moto takes values for secrets that are scheduled for deletion",
    ),
    (
        "moto",
        "a_write_made_before_becomes_current_again",
        "moto goes on answering the old value after AWSCURRENT was moved",
    ),
];
