//! `tollgate-worker`: runs the jobs that `tollgate-api` queues, next to it or on machines of its own.

use std::process::ExitCode;

use tokio_util::sync::CancellationToken;
use tollgate_domain::Clock;
use tollgate_service::{
    Config, Role, Service,
    config::{LogFormat, bootstrap_token},
};
use tollgate_telemetry as telemetry;
use tollgate_worker::{ops_server, run};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    let done = start().await;
    // Read on its own: the settings as a whole may be what is wrong.
    telemetry::exit_code("tollgate-worker", format(Config::log_format()), done)
}

async fn start() -> Result<(), Box<dyn std::error::Error>> {
    let config = Config::load()?;
    let format = format(config.log.format);
    let log = telemetry::init(format, &config.log.level);
    let _lines = log.map_err(|bad| format!("settings: log.level = {bad}"))?;
    // Fails only when a provider is already installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut shutdown = Box::pin(telemetry::shutdown()?);
    let watched = match &config.worker.listen.0 {
        Some(listen) => Some(ops_server::bind(listen).await?),
        None => None,
    };
    let bootstrap = bootstrap_token()?;
    let service = Service::connect(config, Clock::System, Role::Worker).await?;
    let stop = CancellationToken::new();
    if let Some(listener) = watched {
        tokio::spawn(ops_server::serve(listener, service.clone(), stop.clone().cancelled_owned()));
    }
    tokio::select! {
        prepared = service.prepare(bootstrap.as_deref()) => {
            // A worker that starts first makes the token, and only this message shows it.
            if let (Some(token), None) = (prepared?, &bootstrap) {
                let text = format!("Admin token, shown this once: {}", token.expose());
                telemetry::tell(&mut std::io::stdout(), format, &text)?;
            }
        }
        () = &mut shutdown => return Ok(()),
    }
    tracing::info!("running jobs");
    let ended = run(service.clone(), shutdown).await;
    service.drain();
    stop.cancel();
    service.close().await;
    Ok(ended?)
}

fn format(setting: LogFormat) -> telemetry::Format {
    match setting {
        LogFormat::Pretty => telemetry::Format::Pretty,
        LogFormat::Json => telemetry::Format::Json,
    }
}
