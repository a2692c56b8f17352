//! A migrated PostgreSQL database for a story.

use std::time::Duration;

pub use tollgate_test_servers::database::Database;
use tollgate_test_servers::postgres::Postgres;

use tollgate_repository::{Options, Repository};

/// A migrated database on the run's server: a copy of a template that is migrated once per run.
pub async fn migrated() -> Database {
    Database::copy_of("tollgate_template", migrate).await
}

/// A migrated database on a server of the story's own.
pub async fn migrated_on(postgres: &Postgres) -> Database {
    let database = postgres.database();
    migrate(&database.url()).await;
    database
}

async fn migrate(url: &str) {
    // A loaded machine may take long to give a connection.
    let options = Options { max_connections: 1, acquire_timeout: Duration::from_secs(30), ..Options::default() };
    let repository = Repository::connect(url, options).await.expect("a valid address");
    repository.migrate().await.expect("the migrations apply");
    repository.close().await;
}
