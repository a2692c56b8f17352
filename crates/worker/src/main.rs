//! `tollgate-worker`: runs the jobs that `tollgate-api` queues, beside it or on machines of its own.

use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tollgate_domain::Clock;
use tollgate_service::{Config, Role, Service, config::bootstrap_token};
use tollgate_worker::{run, telemetry, watch};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    match start().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            telemetry::say_why("tollgate-worker", &error);
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
    let watched = match &config.worker.listen.0 {
        Some(listen) => Some(watch::bind(listen).await?),
        None => None,
    };
    let (bootstrap, format) = (bootstrap_token()?, config.log.format);
    let service = Service::connect(config, Clock::System, Role::Worker).await?;
    let stop = CancellationToken::new();
    if let Some(listener) = watched {
        tokio::spawn(watch::serve(listener, service.clone(), stop.clone().cancelled_owned()));
    }
    let told_to_stop = async move {
        tokio::select! { _ = term.recv() => {} _ = int.recv() => {} }
    };
    let mut told_to_stop = Box::pin(told_to_stop);
    tokio::select! {
        prepared = service.prepare(bootstrap.as_deref()) => {
            // A worker that was the first to start has made the token: nobody else will be told.
            if let (Some(token), None) = (prepared?, &bootstrap) {
                let text = format!("Admin token, shown this once: {}", token.expose());
                telemetry::tell(&mut std::io::stdout(), format, &text)?;
            }
        }
        () = &mut told_to_stop => return Ok(()),
    }
    tracing::info!("running jobs");
    let ended = run(service.clone(), told_to_stop).await;
    service.drain();
    stop.cancel();
    service.close().await;
    Ok(ended?)
}
