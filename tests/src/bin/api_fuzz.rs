//! `make test-api-fuzz`: Schemathesis drives every operation of `/openapi.json` with all its checks, on each stack.
//!
//! The first argument is the program, those that follow are passed on, such as `--seed 7` or `--max-examples 500`.

use std::{
    path::Path,
    process::{Command, ExitCode},
};

use tollgate_tests::{BOOTSTRAP_TOKEN, app::Stack, process::Process};

const CONFIG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/api_fuzz/schemathesis.toml");
const HOOKS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/api_fuzz/hooks.py");
/// So that a failure is met again. Another one is given as an argument, and counts then.
const SEED: &str = "1";

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let program = arguments.next().expect("the path of schemathesis");
    let arguments: Vec<_> = arguments.collect();
    let mut clean = true;
    for stack in Stack::every().await {
        println!("\non {}", stack.name);
        let mut settings = stack.settings();
        // A busy machine may be slow to hand a connection on. That would be 503, and nothing of the API.
        settings.extend([("database.acquire_timeout_ms", "60000"), ("log.level", "warn")]);
        let mut api = Process::api(&settings);
        api.start_ready().await;
        clean &= is_clean(&program, &arguments, api.client().base());
        api.stop();
    }
    if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Whether it finds nothing.
fn is_clean(program: &str, arguments: &[String], base: &str) -> bool {
    let status = Command::new(program)
        .args(["--config-file", CONFIG, "run", "--checks", "all", "--seed", SEED])
        .args(arguments)
        .arg(format!("{base}/openapi.json"))
        // What it remembers of its runs lands next to it, and not in the sources.
        .current_dir(Path::new(program).parent().expect("the folder of a program"))
        .envs([("TOLLGATE_FUZZ_URL", base), ("TOLLGATE_FUZZ_TOKEN", BOOTSTRAP_TOKEN), ("TOLLGATE_FUZZ_HOOKS", HOOKS)])
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .status();
    status.unwrap_or_else(|error| panic!("{program} does not start: {error}")).success()
}
