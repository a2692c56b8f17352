//! `make seed`: fills the configured database with a demonstration, through the same settings as the service.

use tollgate_domain::{Clock, TenantId};
use tollgate_service::{Config, Role, Service, ops::seed};

#[tokio::main]
#[expect(clippy::print_stdout, reason = "a command's output")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let service = Service::connect(Config::load()?, Clock::System, Role::Api).await?;
    let token = service.prepare(std::env::var("TOLLGATE_BOOTSTRAP_TOKEN").ok().as_deref()).await?;
    if let Some(token) = token {
        println!("first admin token (shown this once): {}", token.expose());
    }
    match seed::run(&service, TenantId::DEFAULT).await? {
        seed::Seeded::Made { keys, minutes } => println!("made {keys} demonstration keys with {minutes} rows of usage"),
        seed::Seeded::Already => println!("the demonstration data is there already"),
    }
    service.close().await;
    Ok(())
}
