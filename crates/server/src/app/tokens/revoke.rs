//! Revoking, and sweeping what is left of dead tokens.

use store::{RecordKey, StoreError, Stored, records::Token};

use crate::app::{ATTEMPTS, App, AppError, Reply, auth::live_token};

/// Removes a token. Its children are dead from the same moment on, because a token lives only while
/// all its ancestors do; their records are swept afterwards.
pub(crate) async fn revoke(app: &App, key: &RecordKey<Token>) -> Result<(), AppError> {
    for _ in 0..ATTEMPTS {
        let Some(token) = app.store.get(key).await? else { return Ok(()) };
        let mut transaction = app.store.transaction();
        // Unchanged: a token of the same text made anew meanwhile has another accessor.
        transaction.expect(key, Some(token.revision));
        transaction.delete(key).delete(&app.store.keys().token_by_accessor(&token.record.accessor));
        match transaction.commit().await {
            Ok(_) => {
                app.chores.wake();
                return Ok(());
            }
            Err(StoreError::Conflict) => {}
            Err(other) => return Err(other.into()),
        }
    }
    Err(StoreError::Conflict.into())
}

/// Removes a token and makes orphans of its children, all in one.
pub(super) async fn revoke_orphan(app: &App, key: &RecordKey<Token>) -> Result<Reply, AppError> {
    for _ in 0..ATTEMPTS {
        let Some(token) = app.store.get(key).await? else {
            return Err(AppError::invalid("token to revoke not found"));
        };
        let accessor = &token.record.accessor;
        let mut transaction = app.store.transaction();
        transaction.expect(key, Some(token.revision));
        transaction.delete(key).delete(&app.store.keys().token_by_accessor(accessor));
        for (child_key, child) in app.store.scan_all(&app.store.keys().tokens()).await? {
            if child.record.parent.as_ref() == Some(accessor) {
                let orphan = Token { orphan: true, parent: None, ..child.record };
                transaction.expect(&child_key, Some(child.revision)).put(&child_key, &orphan);
            }
        }
        match transaction.commit().await {
            Ok(_) => return Ok(Reply::empty()),
            Err(StoreError::Conflict) => {}
            Err(other) => return Err(other.into()),
        }
    }
    Err(StoreError::Conflict.into())
}

/// Removes every token whose record says so.
pub(crate) async fn revoke_all(app: &App, which: impl Fn(&Token) -> bool) -> Result<(), AppError> {
    for (key, token) in app.store.scan_all(&app.store.keys().tokens()).await? {
        if which(&token.record) {
            revoke(app, &key).await?;
        }
    }
    Ok(())
}

/// Removes the records of tokens that are dead: expired, or hanging on something that is gone. A page at a
/// time, each in one commit: more may expire in a minute than there could be commits of their own.
pub(crate) async fn sweep(app: &App) -> Result<(), StoreError> {
    const PAGE: usize = 256;
    let prefix = app.store.keys().tokens();
    let mut after = None;
    loop {
        let page = app.store.scan(&prefix, after.as_ref(), PAGE).await?;
        let last = page.len() < PAGE;
        after = page.last().map(|(key, _)| key.clone());
        let mut dead = Vec::new();
        for (key, token) in page {
            if live_token(app, &key).await?.is_none() {
                dead.push((key, token));
            }
        }
        if !remove(app, &dead).await? {
            // One of them changed meanwhile; the others are dead all the same.
            for one in dead.chunks(1) {
                remove(app, one).await?;
            }
        }
        if last {
            return Ok(());
        }
    }
}

/// Removes tokens in one commit; tells whether they were still as they had been read.
async fn remove(app: &App, dead: &[(RecordKey<Token>, Stored<Token>)]) -> Result<bool, StoreError> {
    if dead.is_empty() {
        return Ok(true);
    }
    let mut transaction = app.store.transaction();
    for (key, token) in dead {
        // Unchanged: a token of the same text made anew meanwhile is another.
        transaction.expect(key, Some(token.revision));
        transaction.delete(key).delete(&app.store.keys().token_by_accessor(&token.record.accessor));
    }
    match transaction.commit().await {
        Ok(_) => Ok(true),
        Err(StoreError::Conflict) => Ok(false),
        Err(other) => Err(other),
    }
}
