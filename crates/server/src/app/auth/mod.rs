//! Who is calling, and how they come to have a token.
//!
//! [`authenticate`] tells who a token stands for; what they may do is [`super::policy`]'s to decide. A
//! way to log in is a [`methods::Method`]: one folder here, and one line in [`methods::ALL`]. What a method learns of
//! somebody becomes a token in one place, [`login::issue`].

mod approle;
mod caller;
mod capabilities;
mod jwt;
mod lockout;
mod login;
mod methods;
mod mounts;
mod terms;
mod userpass;

pub use caller::Caller;
pub(super) use caller::{
    BATCH, Found, LONGEST_TOKEN, TokenCache, authenticate, identify, key_of_accessor, live_token, look,
    rights_of,
};
pub(super) use capabilities::{capabilities_of_accessor, capabilities_of_token, capabilities_self};
pub(super) use jwt::KeyCache;
pub(super) use lockout::Lockouts;
pub(super) use login::renewal_limits;
pub(super) use methods::{exists, handle, open};
pub(super) use mounts::{erase_disabled, mount_infos, mounts_seen, sys_auth};
pub(super) use terms::{Kind, cidrs, positive};
pub(super) use userpass::Passwords;
