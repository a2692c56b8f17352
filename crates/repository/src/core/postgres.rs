//! PostgreSQL's connections, straight to the server or through a pooler in transaction mode.
//!
//! Such a pooler lends a server's connection for one transaction, so nothing may outlive a transaction.
//! Statements have no names, settings belong to the transaction, and even a single statement (two round
//! trips: parse, execute) runs in one.

use std::{
    ops::{Deref, DerefMut},
    str::FromStr,
};

use futures_util::{
    FutureExt, StreamExt, TryStreamExt,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use sqlx::{
    ConnectOptions, Either, Execute, Executor, PgConnection, PgPool, Postgres, SqlStr, Transaction,
    postgres::{PgArguments, PgConnectOptions, PgPoolOptions, PgQueryResult, PgRow, PgStatement, PgTypeInfo},
};

use crate::{Error, core::options::Options};

type Step = Either<PgQueryResult, PgRow>;

/// PostgreSQL ends our transaction when we stop in the middle of it, because it would hold the
/// locks that every write needs.
macro_rules! limits {
    ($set:literal) => {
        concat!($set, " idle_in_transaction_session_timeout = '15s'; ", $set, " statement_timeout = '30s'")
    };
}

const BEGIN: Begin = Begin { direct: "begin", pooled: concat!("begin; ", limits!("set local")) };
const BEGIN_SNAPSHOT: Begin = Begin {
    direct: "begin isolation level repeatable read, read only",
    pooled: concat!("begin isolation level repeatable read, read only; ", limits!("set local")),
};

struct Begin {
    direct: &'static str,
    pooled: &'static str,
}

/// A pool of connections that executes single statements.
#[derive(Clone, Debug)]
pub(crate) struct PgDatabase {
    pool: PgPool,
    pooler: bool,
}

/// A transaction. It dereferences to the executor of its statements, as sqlx's own does.
pub(crate) struct PgTx(PgSession);

#[derive(Debug)]
pub(crate) struct PgSession {
    transaction: Transaction<'static, Postgres>,
    pooler: bool,
}

impl PgDatabase {
    /// Connects at the first use.
    pub(crate) fn new(url: &str, options: &Options) -> Result<Self, Error> {
        if !(url.starts_with("postgres://") || url.starts_with("postgresql://")) {
            return Err(Error::Url("must begin with sqlite:// or postgres://".to_owned()));
        }
        let mut connect = PgConnectOptions::from_str(url)
            .map_err(|e| Error::Url(e.to_string()))?
            .application_name("tollgate")
            .disable_statement_logging();
        let mut pool =
            PgPoolOptions::new().max_connections(options.max_connections).acquire_timeout(options.acquire_timeout);
        if options.pooler {
            // Poolers refuse connection settings that they do not know.
            connect = connect.statement_cache_capacity(0).extra_float_digits(None);
        } else {
            pool = pool.after_connect(|connection, _| {
                Box::pin(async move { sqlx::raw_sql(limits!("set")).execute(connection).await.map(|_| ()) })
            });
        }
        Ok(Self { pool: pool.connect_lazy_with(connect), pooler: options.pooler })
    }

    /// Separate connections to the same server, at most `max`.
    pub(crate) fn with_connections_of_its_own(&self, max: u32) -> Self {
        let options = self.pool.options().clone().max_connections(max);
        Self { pool: options.connect_lazy_with((*self.pool.connect_options()).clone()), pooler: self.pooler }
    }

    pub(crate) async fn begin(&self) -> Result<PgTx, sqlx::Error> {
        self.begin_as(BEGIN).await
    }

    /// A transaction for several reads of the same state.
    pub(crate) async fn begin_snapshot(&self) -> Result<PgTx, sqlx::Error> {
        self.begin_as(BEGIN_SNAPSHOT).await
    }

    async fn begin_as(&self, begin: Begin) -> Result<PgTx, sqlx::Error> {
        let text = if self.pooler { begin.pooled } else { begin.direct };
        Ok(PgTx(PgSession { transaction: self.pool.begin_with(text).await?, pooler: self.pooler }))
    }
}

impl Deref for PgDatabase {
    type Target = PgPool;

    fn deref(&self) -> &PgPool {
        &self.pool
    }
}

impl PgTx {
    pub(crate) async fn commit(self) -> Result<(), sqlx::Error> {
        self.0.transaction.commit().await
    }
}

impl Deref for PgTx {
    type Target = PgSession;

    fn deref(&self) -> &PgSession {
        &self.0
    }
}

impl DerefMut for PgTx {
    fn deref_mut(&mut self) -> &mut PgSession {
        &mut self.0
    }
}

impl PgSession {
    /// For code that always names its statements. Behind a pooler it must neither meet the names of others nor leave
    /// its own: call [`PgSession::drop_names`] before and after.
    pub(crate) fn connection(&mut self) -> &mut PgConnection {
        &mut self.transaction
    }

    pub(crate) async fn drop_names(&mut self) -> Result<(), sqlx::Error> {
        if self.pooler {
            sqlx::raw_sql("deallocate all").execute(&mut *self).await?;
        }
        Ok(())
    }
}

impl<'c> Executor<'c> for &'c mut PgSession {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Result<Step, sqlx::Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        self.transaction.fetch_many(Statement { query, may_be_named: !self.pooler })
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>, sqlx::Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        self.transaction.fetch_optional(Statement { query, may_be_named: !self.pooler })
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, Result<PgStatement, sqlx::Error>>
    where
        'c: 'e,
    {
        self.transaction.prepare_with(sql, parameters)
    }
}

impl<'c> Executor<'c> for &'c PgDatabase {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Result<Step, sqlx::Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        if !self.pooler {
            return self.pool.fetch_many(query);
        }
        let steps = async move {
            let mut tx = self.begin().await?;
            let steps: Vec<_> = (&mut *tx).fetch_many(query).try_collect().await?;
            tx.commit().await?;
            Ok::<_, sqlx::Error>(stream::iter(steps.into_iter().map(Ok)))
        };
        steps.into_stream().try_flatten().boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>, sqlx::Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        if !self.pooler {
            return self.pool.fetch_optional(query);
        }
        let row = async move {
            let mut tx = self.begin().await?;
            let row = (&mut *tx).fetch_optional(query).await?;
            tx.commit().await?;
            Ok(row)
        };
        row.boxed()
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, Result<PgStatement, sqlx::Error>>
    where
        'c: 'e,
    {
        self.pool.prepare_with(sql, parameters)
    }
}

/// A query, and whether its statement may have a name on the server.
struct Statement<E> {
    query: E,
    may_be_named: bool,
}

impl<'q, E: Execute<'q, Postgres>> Execute<'q, Postgres> for Statement<E> {
    fn sql(self) -> SqlStr {
        self.query.sql()
    }

    fn statement(&self) -> Option<&PgStatement> {
        self.query.statement()
    }

    fn take_arguments(&mut self) -> Result<Option<PgArguments>, sqlx::error::BoxDynError> {
        self.query.take_arguments()
    }

    fn persistent(&self) -> bool {
        self.may_be_named && self.query.persistent()
    }
}
