//! `tollgate-api`: command line, settings, log, sockets, signals; the rest is the library's.

use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};
use tollgate_api::{Command, Listeners, announce, carry_out, run};
use tollgate_domain::Clock;
use tollgate_service::{Config, Role, Service, config::bootstrap_token};
use tollgate_worker::telemetry;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    let done = match Command::parse(std::env::args().skip(1)) {
        Some(Command::Serve) => start().await,
        other => carry_out(other, &mut std::io::stdout()).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            telemetry::say_why("tollgate-api", &error);
            ExitCode::FAILURE
        }
    }
}

async fn start() -> Result<(), Box<dyn std::error::Error>> {
    let config = Config::load()?;
    let _lines = telemetry::init(&config.log)?;
    // Fails only when a provider is there already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let bootstrap = bootstrap_token()?;
    let listeners = Listeners::bind(&config).await?;
    let (address, format) = (listeners.public.local_addr()?, config.log.format);
    let service = Service::connect(config, Clock::System, Role::Api).await?;
    let say = |first: Option<tollgate_domain::TokenSecret>| {
        if let Err(error) = announce(&mut std::io::stdout(), format, address, first.as_ref(), bootstrap.is_some()) {
            tracing::warn!(%error, "nobody reads the standard output");
        }
    };
    let told_to_stop = async move {
        tokio::select! { _ = term.recv() => {} _ = int.recv() => {} }
    };
    run(service, listeners, bootstrap.as_deref(), say, told_to_stop).await?;
    Ok(())
}
