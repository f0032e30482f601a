//! What a restore leaves behind in the store: see [`Restored`]. No server delivers anything from a restored
//! store before a person says so.

use model::Clock;

use crate::{Store, StoreError, records::Restored};

impl Store {
    /// Whether the store was restored and nobody has said yet that it is to be delivered from.
    pub async fn unconfirmed_restore(&self) -> Result<Option<Restored>, StoreError> {
        let stored = self.get(&self.keys().restored()).await?;
        Ok(stored.map(|stored| stored.record).filter(|restored| restored.confirmed.is_none()))
    }

    /// Says that what was restored is to be delivered from. Nothing happens where that is so already.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when somebody restored it again meanwhile.
    pub async fn confirm_restore(&self, clock: &dyn Clock) -> Result<(), StoreError> {
        let key = self.keys().restored();
        let Some(stored) = self.get(&key).await? else { return Ok(()) };
        if stored.record.confirmed.is_some() {
            return Ok(());
        }
        let mut transaction = self.transaction();
        let confirmed = Restored { confirmed: Some(clock.now()), ..stored.record };
        transaction.expect(&key, Some(stored.revision)).put(&key, &confirmed);
        transaction.commit().await.map(drop)
    }
}
