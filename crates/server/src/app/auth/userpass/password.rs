//! Passwords, kept as Argon2id makes them.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use argon2::{Algorithm, Argon2, Block, Params, Version};
use model::{Entropy, SecretBytes};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;
use tokio::sync::Semaphore;

use crate::app::AppError;

/// Passwords worked on at once, on threads of their own: each takes 19 MiB and tens of milliseconds, so
/// that a crowd at the door must queue rather than take the machine.
const AT_ONCE: usize = 4;

/// Longer passwords are cut off nowhere; they are refused.
const LONGEST: usize = 4096;

/// A password that cannot be read back. The default one is nobody's.
#[derive(Clone, Serialize, Deserialize, Default)]
pub(super) struct Hashed {
    /// KiB.
    memory: u32,
    turns: u32,
    salt: Vec<u8>,
    hash: Vec<u8>,
}

impl fmt::Debug for Hashed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hashed")
    }
}

/// What one password was worked on in, wiped.
type Memory = Vec<Block>;

/// Does the work.
pub(crate) struct Passwords {
    room: Semaphore,
    /// Kept for the next: allocators keep what was freed, thread by thread, and a few logins would leave a
    /// process many times as large.
    memories: Arc<Mutex<Vec<Memory>>>,
    memory: u32,
    turns: u32,
    /// What was worked on so far: memory and turns.
    #[cfg(test)]
    worked: std::sync::Mutex<Vec<(u32, u32)>>,
}

impl Default for Passwords {
    fn default() -> Self {
        // OWASP's first choice (2024): 19 MiB, two turns.
        Self {
            room: Semaphore::new(AT_ONCE),
            memories: Arc::default(),
            memory: Params::DEFAULT_M_COST,
            turns: Params::DEFAULT_T_COST,
            #[cfg(test)]
            worked: std::sync::Mutex::default(),
        }
    }
}

impl Passwords {
    pub(super) async fn hash(
        &self,
        entropy: &dyn Entropy,
        password: SecretBytes,
    ) -> Result<Hashed, AppError> {
        if password.len() > LONGEST {
            return Err(AppError::invalid(format!("a password must be at most {LONGEST} bytes")));
        }
        let mut salt = vec![0; 16];
        entropy.fill(&mut salt);
        let (memory, turns) = (self.memory, self.turns);
        let hash = self.work(memory, turns, salt.clone(), password).await?;
        Ok(Hashed { memory, turns, salt, hash })
    }

    /// Whether it is this password. It takes as long for nobody's.
    pub(super) async fn verify(&self, hashed: Hashed, password: SecretBytes) -> Result<bool, AppError> {
        let nobody = hashed.hash.is_empty() || password.len() > LONGEST;
        let (memory, turns, salt) = if nobody {
            (self.memory, self.turns, vec![0; 16])
        } else {
            (hashed.memory, hashed.turns, hashed.salt)
        };
        let password = if password.len() > LONGEST { SecretBytes::from("-") } else { password };
        let hash = self.work(memory, turns, salt, password).await?;
        Ok(bool::from(hash.ct_eq(&hashed.hash)) && !nobody)
    }

    async fn work(
        &self,
        memory: u32,
        turns: u32,
        salt: Vec<u8>,
        password: SecretBytes,
    ) -> Result<Vec<u8>, AppError> {
        #[cfg(test)]
        self.worked.lock().unwrap().push((memory, turns));
        let failed = || AppError::Internal("a password could not be hashed".to_owned());
        let _turn = self.room.acquire().await.map_err(|_| failed())?;
        let memories = Arc::clone(&self.memories);
        let work = move || {
            let params = Params::new(memory, turns, 1, Some(32)).ok()?;
            let mut blocks =
                memories.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
            blocks.resize(params.block_count(), Block::default());
            let mut hash = vec![0; 32];
            // EXPOSE: into the hash.
            let hashed = Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
                .hash_password_into_with_memory(password.expose(), &salt, &mut hash, &mut blocks);
            blocks.fill(Block::default());
            let mut memories = memories.lock().unwrap_or_else(PoisonError::into_inner);
            if memories.len() < AT_ONCE {
                memories.push(blocks);
            }
            hashed.ok().map(|()| hash)
        };
        tokio::task::spawn_blocking(work).await.ok().flatten().ok_or_else(failed)
    }
}

#[cfg(test)]
mod tests {
    use model::SeededEntropy;

    use super::*;

    #[tokio::test]
    async fn only_the_password_is_the_password() {
        let passwords = Passwords { memory: 64, turns: 1, ..Passwords::default() };
        let entropy = SeededEntropy::new(1);
        let hashed = passwords.hash(&entropy, "hunter2".into()).await.unwrap();
        assert_ne!(hashed.hash, passwords.hash(&entropy, "hunter2".into()).await.unwrap().hash);
        assert!(!format!("{hashed:?}").contains("hash:"));
        for (password, right) in [("hunter2", true), ("hunter3", false), ("", false), ("hunter2\0", false)] {
            assert_eq!(passwords.verify(hashed.clone(), password.into()).await, Ok(right), "{password}");
        }
        // Nobody has a password that somebody could know.
        for password in ["", "-", "hunter2"] {
            assert_eq!(passwords.verify(Hashed::default(), password.into()).await, Ok(false));
        }
        // Every verification was the same work, whoever it was.
        let worked = passwords.worked.lock().unwrap().clone();
        assert_eq!(worked, [(64, 1); 9]);
        // One after the other needs memory for one, and nothing of a password stays in it.
        let kept = passwords.memories.lock().unwrap().clone();
        assert_eq!(kept.len(), 1);
        assert!(kept[0].iter().all(|block| block.as_ref().iter().all(|word| *word == 0)));
        let long = "x".repeat(LONGEST + 1);
        assert_eq!(passwords.verify(hashed, long.as_str().into()).await, Ok(false));
        assert!(passwords.hash(&entropy, long.as_str().into()).await.is_err());
    }
}
