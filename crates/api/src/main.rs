//! `tollgate-api`: command line, settings, log, sockets, signals. The library does the rest.

use std::process::ExitCode;

use tollgate_api::{Command, Listeners, announce, carry_out, run};
use tollgate_domain::{Clock, TokenSecret};
use tollgate_service::{
    Config, Role, Service,
    config::{LogFormat, bootstrap_token},
};
use tollgate_telemetry as telemetry;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    let done = match Command::parse(std::env::args().skip(1)) {
        Some(Command::Serve) => start().await,
        other => carry_out(other, &mut std::io::stdout()).await,
    };
    // Read on its own: the settings as a whole may be what is wrong.
    telemetry::exit_code("tollgate-api", format(Config::log_format()), done)
}

async fn start() -> Result<(), Box<dyn std::error::Error>> {
    let config = Config::load()?;
    let format = format(config.log.format);
    let log = telemetry::init(format, &config.log.level);
    let _lines = log.map_err(|bad| format!("settings: log.level = {bad}"))?;
    // Fails only when a provider is already installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let shutdown = telemetry::shutdown()?;
    let bootstrap = bootstrap_token()?;
    let listeners = Listeners::bind(&config).await?;
    let address = listeners.public.local_addr()?;
    let service = Service::connect(config, Clock::System, Role::Api).await?;
    let on_ready = |first: Option<TokenSecret>| {
        if let Err(error) = announce(&mut std::io::stdout(), format, address, first.as_ref(), bootstrap.is_some()) {
            tracing::warn!(%error, "cannot write to standard output");
        }
    };
    run(service, listeners, tollgate_worker::run, bootstrap.as_deref(), on_ready, shutdown).await?;
    Ok(())
}

fn format(setting: LogFormat) -> telemetry::Format {
    match setting {
        LogFormat::Pretty => telemetry::Format::Pretty,
        LogFormat::Json => telemetry::Format::Json,
    }
}
