//! Connections.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::future::try_join_all;
use tokio::{
    sync::Semaphore,
    task::AbortHandle,
    time::{Instant, sleep, timeout_at},
};
use tokio_postgres::{Client, Row, Statement, types::ToSql};

use super::{
    PostgresOptions,
    fault::{Fault, Kind},
};
use crate::StoreError;

/// Where the store is, and how its connections are made.
pub(super) struct Target {
    pub(super) options: PostgresOptions,
    settings: String,
    /// Why the database could not be had the last time.
    last_failure: Mutex<Option<String>>,
}

/// What goes into a statement.
pub(super) type Arguments<'a> = &'a [&'a (dyn ToSql + Sync)];

/// One connection, with its statements prepared.
pub(super) struct Session {
    client: Client,
    statements: Vec<Statement>,
    connection: AbortHandle,
}

impl Target {
    pub(super) fn new(options: PostgresOptions) -> Self {
        // A node that is cut off in the middle of a commit holds up the others for no longer than this.
        let (statement, idle) = (options.timeout / 2, options.timeout / 3);
        // Only what weakens durability is overruled: `remote_apply` and its like are the operator's.
        let settings = format!(
            "SET statement_timeout = {}; SET idle_in_transaction_session_timeout = {}; \
             SELECT set_config('synchronous_commit', 'on', false) \
             WHERE current_setting('synchronous_commit', true) = 'off'",
            statement.as_millis(),
            idle.as_millis()
        );
        Self { options, settings, last_failure: Mutex::new(None) }
    }

    /// How long an answer may take before the connection is given up: half of what a caller waits, so that
    /// another can be made in time.
    pub(super) fn patience(&self) -> Duration {
        self.options.timeout / 2
    }

    /// Connects, sets the session up and prepares its statements.
    pub(super) async fn connect(&self, statements: &[String]) -> Result<Session, Fault> {
        let deadline = Instant::now() + self.patience();
        let connecting = async {
            let (client, connection) = self.options.config.connect(self.options.tls.clone()).await?;
            // It ends with the client, or by being aborted.
            let connection = tokio::spawn(async move {
                let _ = connection.await;
            })
            .abort_handle();
            let mut session = Session { client, statements: Vec::new(), connection };
            session.client.batch_execute(&self.settings).await?;
            let prepared = statements.iter().map(|statement| session.client.prepare(statement));
            session.statements = try_join_all(prepared).await?;
            Ok(session)
        };
        let made = match timeout_at(deadline, connecting).await {
            Ok(made) => made,
            Err(_) => Err(Fault::lost("no answer in time")),
        };
        if let Err(fault) = &made {
            self.failed(fault);
        }
        made
    }

    /// [`Target::connect`], again and again until the deadline; refusals are final.
    pub(super) async fn connect_by(
        &self,
        deadline: Instant,
        statements: &[String],
    ) -> Result<Session, Fault> {
        let mut pause = Pause::default();
        loop {
            match self.connect(statements).await {
                Err(fault) if fault.kind != Kind::Refused && pause.fits(deadline) => pause.wait().await,
                made => return made,
            }
        }
    }

    /// Remembers why, for those who wait in vain.
    pub(super) fn failed(&self, fault: &Fault) {
        let mut last = self.last_failure.lock().unwrap_or_else(PoisonError::into_inner);
        if last.as_ref() != Some(&fault.what) {
            tracing::warn!(database = self.options.place(), error = fault.what, "the database is in trouble");
            *last = Some(fault.what.clone());
        }
    }

    /// It answered.
    pub(super) fn works(&self) {
        let mut last = self.last_failure.lock().unwrap_or_else(PoisonError::into_inner);
        if last.take().is_some() {
            tracing::info!(database = self.options.place(), "the database answers again");
        }
    }

    /// What a caller is told who waited in vain.
    pub(super) fn waited(&self) -> StoreError {
        let last = self.last_failure.lock().unwrap_or_else(PoisonError::into_inner);
        let why = last.as_deref().unwrap_or("it answered too late");
        StoreError::Backend(format!("the database {} could not be used in time: {why}", self.options.place()))
    }

    pub(super) fn error(&self, fault: &Fault) -> StoreError {
        StoreError::Backend(format!("the database {}: {}", self.options.place(), fault.what))
    }
}

impl Session {
    /// Sends a prepared statement at once, by its place among those the session was made with, and reads its
    /// rows. Several calls made before one is awaited go out together and are carried out in order.
    pub(super) async fn query(&self, statement: usize, arguments: Arguments<'_>) -> Result<Vec<Row>, Fault> {
        Ok(self.client.query(&self.statements[statement], arguments).await?)
    }

    /// Sends statements without arguments.
    pub(super) async fn run(&self, statements: &str) -> Result<(), Fault> {
        Ok(self.client.batch_execute(statements).await?)
    }

    /// Sends a statement that is not prepared.
    pub(super) async fn ask(&self, statement: &str, arguments: Arguments<'_>) -> Result<Vec<Row>, Fault> {
        Ok(self.client.query(statement, arguments).await?)
    }

    /// Ends a transaction whatever its state; a session that cannot even do that is of no more use.
    pub(super) async fn roll_back(&self) -> Result<(), Fault> {
        self.run("ROLLBACK").await
    }

    /// Closes the connection at once, without saying so.
    pub(super) fn cut(self) {
        self.connection.abort();
    }
}

/// Growing pauses between attempts.
#[derive(Default)]
pub(super) struct Pause(u32);

impl Pause {
    const LONGEST: Duration = Duration::from_secs(1);

    fn next(&self) -> Duration {
        (Duration::from_millis(10) * 2_u32.pow(self.0.min(10))).min(Self::LONGEST)
    }

    pub(super) fn fits(&self, deadline: Instant) -> bool {
        Instant::now() + self.next() < deadline
    }

    pub(super) async fn wait(&mut self) {
        sleep(self.next()).await;
        self.0 += 1;
    }
}

/// What a pool is asked.
#[derive(Clone, Copy)]
pub(super) enum What<'a> {
    /// One of its prepared statements.
    Prepared(usize),
    /// Another statement.
    Text(&'a str),
    /// Statements without arguments and rows.
    Several(&'a str),
}

/// Connections that are taken, used for one thing and put back.
pub(super) struct Pool {
    target: Arc<Target>,
    statements: Vec<String>,
    free: Mutex<Vec<Session>>,
    room: Semaphore,
}

impl Pool {
    pub(super) fn new(target: Arc<Target>, statements: Vec<String>) -> Self {
        let room = Semaphore::new(target.options.max_parallel.max(1));
        Self { target, statements, free: Mutex::new(Vec::new()), room }
    }

    /// Asks something that may be asked twice, on another connection when one fails.
    pub(super) async fn ask(&self, what: What<'_>, arguments: Arguments<'_>) -> Result<Vec<Row>, StoreError> {
        let deadline = Instant::now() + self.target.options.timeout;
        let place = timeout_at(deadline, self.room.acquire()).await;
        let Ok(Ok(_place)) = place else { return Err(self.target.waited()) };
        let mut pause = Pause::default();
        loop {
            let free = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let session = match free {
                Some(session) => session,
                None => match self.target.connect_by(deadline, &self.statements).await {
                    Ok(session) => session,
                    Err(fault) if fault.kind == Kind::Refused => return Err(self.target.error(&fault)),
                    Err(_) => return Err(self.target.waited()),
                },
            };
            let attempt = async {
                match what {
                    What::Prepared(statement) => session.query(statement, arguments).await,
                    What::Text(statement) => session.ask(statement, arguments).await,
                    What::Several(statements) => session.run(statements).await.map(|()| Vec::new()),
                }
            };
            let until = (Instant::now() + self.target.patience()).min(deadline);
            let fault = match timeout_at(until, attempt).await {
                Ok(Ok(done)) => {
                    self.target.works();
                    self.free.lock().unwrap_or_else(PoisonError::into_inner).push(session);
                    return Ok(done);
                }
                Ok(Err(fault)) => fault,
                Err(_) => Fault::lost("no answer in time"),
            };
            self.target.failed(&fault);
            session.cut();
            if fault.kind == Kind::Refused {
                return Err(self.target.error(&fault));
            }
            // All that were made before it are as old, and likely as dead.
            self.free.lock().unwrap_or_else(PoisonError::into_inner).clear();
            if !pause.fits(deadline) {
                return Err(self.target.waited());
            }
            pause.wait().await;
        }
    }
}
