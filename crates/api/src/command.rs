//! The command line of `tollgate-api`: serve, or create a token on the machine itself.

use std::{error::Error, io::Write};

use tollgate_domain::Clock;
use tollgate_service::{Config, StartError, access::tokens};

const USAGE: &str = "\
usage: tollgate-api                          serve (settings: configs/default.toml)
       tollgate-api token new [--name NAME]  make an admin token with every scope, for one that was lost";

/// The name of a token for which none is given.
const NAME: &str = "made on the machine";

/// A parsed command line.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    /// Serve the API.
    Serve,
    /// Create an admin token with this name.
    NewToken(String),
    /// Print the usage.
    Help,
}

impl Command {
    /// Parses the arguments after the program's name. None when they are not valid.
    pub fn parse(arguments: impl IntoIterator<Item = String>) -> Option<Self> {
        let arguments: Vec<_> = arguments.into_iter().collect();
        let words: Vec<_> = arguments.iter().map(String::as_str).collect();
        match words.as_slice() {
            [] => Some(Self::Serve),
            ["token", "new"] => Some(Self::NewToken(NAME.to_owned())),
            ["token", "new", "--name", name] => Some(Self::NewToken((*name).to_owned())),
            ["--help" | "-h" | "help"] => Some(Self::Help),
            _ => None,
        }
    }
}

/// Carries out any command except serving. `None` stands for an invalid command line, and
/// returns the usage as the error.
///
/// # Errors
/// Also when the settings are invalid, the database cannot be reached or the name is not allowed.
pub async fn carry_out(command: Option<Command>, out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    match command {
        Some(Command::NewToken(name)) => new_token(&Config::load()?, &name, out).await,
        Some(Command::Help) => Ok(writeln!(out, "{USAGE}")?),
        Some(Command::Serve) | None => Err(USAGE.into()),
    }
}

/// Creates an admin token in the database of the settings, and writes its text and nothing else. The service may be
/// running: every node accepts the token at once.
async fn new_token(config: &Config, name: &str, out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    let secret = tokens::new_token(config, &Clock::System, name).await.map_err(|error| match error {
        StartError::Argument(invalid) => invalid.to_string().replacen('/', "--", 1),
        other => other.to_string(),
    })?;
    writeln!(out, "{}", secret.expose())?;
    Ok(out.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_is_read_whole_or_not_at_all() {
        let read = |line: &str| Command::parse(line.split_whitespace().map(str::to_owned));
        assert_eq!(read(""), Some(Command::Serve));
        assert_eq!(read("token new"), Some(Command::NewToken(NAME.to_owned())));
        assert_eq!(read("token new --name spare"), Some(Command::NewToken("spare".to_owned())));
        assert_eq!(read("--help"), Some(Command::Help));
        for wrong in ["token", "token new spare", "token new --name", "token delete", "serve now", "--version"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
