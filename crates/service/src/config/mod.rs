//! Settings: `configs/default.toml` (built in), then the file in `TOLLGATE_CONFIG`, then `TOLLGATE__SECTION__KEY`.
//!
//! That file documents every key. An unknown key or a value out of range stops the start with a message that names the
//! key, the value (unless it is secret) and what is allowed.

use std::{ffi::OsString, path::PathBuf};

use serde::Deserialize;

mod bounds;
mod sources;
mod types;

pub use types::{HashKey, HeaderStyle, Listen, LogFormat, Network, OptionalListen, Origin, SyncMode, Url};

/// The variable that names the file of settings.
const FILE: &str = "TOLLGATE_CONFIG";
/// The variable with the first admin token. It is no setting, because only the first start uses it.
const BOOTSTRAP_TOKEN: &str = "TOLLGATE_BOOTSTRAP_TOKEN";

/// Why the settings cannot be used. No message repeats a secret.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file is missing, cannot be read, or has the wrong form.
    #[error("settings: {file}: {reason}")]
    File {
        /// Its path, and the setting that named it.
        file: String,
        /// What is wrong with the file.
        reason: String,
    },
    /// A key that does not exist.
    #[error("settings: {key} is unknown: {known}")]
    Unknown {
        /// The key, as given.
        key: String,
        /// The keys that exist.
        known: String,
    },
    /// A value of the wrong type or out of range.
    #[error("settings: {key} = {value} is not allowed: {allowed}")]
    NotAllowed {
        /// `section.key`.
        key: String,
        /// The value, as given.
        value: String,
        /// The allowed values.
        allowed: String,
    },
    /// A secret is given both directly and as a file.
    #[error("settings: {key} and {file} are both given: leave one out")]
    Twice {
        /// The setting with the secret itself.
        key: String,
        /// The setting that names its file.
        file: String,
    },
    /// A value that its type refuses.
    #[error("settings: {key}: {reason}")]
    Invalid {
        /// `section.key`.
        key: String,
        /// What is wrong and what is allowed.
        reason: String,
    },
}

impl ConfigError {
    fn not_allowed(key: impl Into<String>, value: impl Into<String>, allowed: impl Into<String>) -> Self {
        Self::NotAllowed { key: key.into(), value: value.into(), allowed: allowed.into() }
    }
}

macro_rules! section {
    ($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name { $(#[doc = concat!("See `", stringify!($field), "` in `configs/default.toml`.")] pub $field: $type),+ }
    };
}

section! {
    /// All settings, validated.
    Config {
        api: Api, database: Database, limiter: Limiter, queue: Queue, journal: Journal, cache: Cache, worker: Worker,
        retention: Retention, billing: Billing, privacy: Privacy, log: Log,
    }
}
section! {
    /// The HTTP service.
    Api {
        listen: Listen, admin_listen: OptionalListen, headers: HeaderStyle, cors_origins: Vec<Origin>,
        trusted_proxies: Vec<Network>, max_connections: usize, max_connections_per_ip: usize, listen_backlog: u32,
        header_timeout_seconds: u64, idle_timeout_seconds: u64, request_timeout_seconds: u64, drain_seconds: u64,
    }
}
section! {
    /// The database with all durable state.
    Database { url: Url, replica_url: Url, pooler: bool, max_connections: u32, acquire_timeout_ms: u64 }
}
section! {
    /// The store of counters.
    Limiter { url: Url, hash_key: HashKey, call_budget_ms: u64, max_subjects: usize, snapshot: PathBuf, snapshot_seconds: u64 }
}
section! {
    /// The queue that carries jobs.
    Queue { url: Url }
}
section! {
    /// The journal of decisions that are not in the database yet.
    Journal {
        dir: PathBuf, sync: SyncMode, sync_interval_ms: u64, segment_mib: u64, retention_hours: u64, retention_mib: u64, ship_interval_ms: u64,
        max_unshipped_seconds: u64,
    }
}
section! {
    /// The cache of known and unknown keys.
    Cache {
        max_keys: usize, max_mib: usize, refresh_seconds: u64, stale_seconds: u64, max_unknown: usize, unknown_seconds: u64, poll_ms: u64,
    }
}
section! {
    /// The worker that runs the jobs.
    Worker {
        in_process: bool, listen: OptionalListen, critical_concurrency: usize, default_concurrency: usize, low_concurrency: usize,
    }
}
section! {
    /// How long history is kept, in days.
    Retention { usage_minutes_days: u32, violations_days: u32, usage_events_days: u32, secrets_days: u32 }
}
section! {
    /// When months are closed, and when their records are to be paid.
    Billing { grace_seconds: u32, due_days: u32 }
}
section! {
    /// What is stored about people.
    Privacy { full_ip: bool }
}
section! {
    /// The log, on standard error.
    Log { format: LogFormat, level: String, sample_checks: u64 }
}

impl Config {
    /// Reads the defaults, the file in `TOLLGATE_CONFIG` and the environment.
    pub fn load() -> Result<Self, ConfigError> {
        let file = std::env::var_os(FILE).filter(|path| !path.is_empty()).map(PathBuf::from);
        Self::read(file, std::env::vars_os())
    }

    /// The defaults with `overrides` (`("api.listen", "127.0.0.1:0")`): for tests and tools.
    pub fn with(overrides: &[(&str, &str)]) -> Result<Self, ConfigError> {
        let name = |key: &str| OsString::from(format!("TOLLGATE__{}", key.replace('.', "__").to_uppercase()));
        Self::read(None, overrides.iter().map(|(key, value)| (name(key), OsString::from(value))))
    }

    /// The format of log lines, as far as it can be determined when the other settings are invalid.
    pub fn log_format() -> LogFormat {
        let file = std::env::var_os(FILE).filter(|path| !path.is_empty()).map(PathBuf::from);
        sources::log_format(file, std::env::var_os("TOLLGATE__LOG__FORMAT"))
    }

    fn read(
        file: Option<PathBuf>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigError> {
        let table = sources::merged(file, environment)?;
        let config: Self = serde_path_to_error::deserialize(toml::Value::Table(table)).map_err(|error| {
            ConfigError::Invalid { key: error.path().to_string(), reason: error.inner().message().to_owned() }
        })?;
        config.validate()?;
        Ok(config)
    }
}

/// The first admin token, if the operator chose one: `TOLLGATE_BOOTSTRAP_TOKEN`, or the file in
/// `TOLLGATE_BOOTSTRAP_TOKEN_FILE`.
///
/// # Errors
/// When both are given, or the file cannot be read.
pub fn bootstrap_token() -> Result<Option<String>, ConfigError> {
    let named = |name: &str| std::env::var_os(name).filter(|text| !text.is_empty());
    sources::secret(
        BOOTSTRAP_TOKEN,
        named(BOOTSTRAP_TOKEN),
        named(&sources::file_of(BOOTSTRAP_TOKEN)).map(PathBuf::from),
    )
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// The error message for a wrong setting.
    fn refused(key: &str, value: &str) -> String {
        Config::with(&[(key, value)]).unwrap_err().to_string()
    }

    /// A file of settings that is deleted with its folder.
    fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("settings.toml");
        fs::write(&path, text).unwrap();
        (dir, path)
    }

    fn with_file(text: &str) -> Result<Config, ConfigError> {
        let (_dir, path) = file(text);
        Config::read(Some(path), [])
    }

    #[test]
    fn the_defaults_are_complete_and_in_range() {
        let config = Config::with(&[]).unwrap();
        assert_eq!(config.api.listen.to_string(), "127.0.0.1:8080");
        config.validate_for_api().unwrap();
    }

    #[test]
    fn the_shipped_files_hold_known_keys_only() {
        for file in ["development", "production"] {
            let path = format!("{}/../../configs/{file}.toml", env!("CARGO_MANIFEST_DIR"));
            Config::read(Some(path.into()), []).unwrap();
        }
    }

    #[test]
    fn a_wrong_setting_is_named_with_its_value_and_what_is_allowed() {
        for (key, value, words) in [
            ("api.max_connections", "0", "api.max_connections = 0 is not allowed: 1 to 1000000"),
            ("retention.usage_events_days", "35", "retention.usage_events_days = 35 is not allowed: 36 to 3660"),
            ("api.max_connections", "many", "api.max_connections = \"many\" is not allowed: a whole number"),
            ("api.max_connections", "", "api.max_connections = \"\" is not allowed: a whole number"),
            ("api.max_connections", "yes", "a whole number"),
            ("api.max_connections", "10.7", "a whole number"),
            ("api.max_connections", "99999999999999999999", "a whole number"),
            ("api.max_connections", "-5", "api.max_connections"),
            ("worker.in_process", "2", "worker.in_process = \"2\" is not allowed: true or false"),
            ("database.url", "mysql://x:secret@y", "sqlite://… or postgres://…"),
            ("limiter.hash_key", "secret", "limiter.hash_key: it must be 32 hexadecimal digits"),
            ("api.listne", "x", "api.listne (TOLLGATE__API__LISTNE) is unknown: [api] has admin_listen, cors_origins"),
            ("ipa.listen", "x", "ipa.listen (TOLLGATE__IPA__LISTEN) is unknown: the sections are api, billing, cache"),
            ("queue", "redis://:secret@y", "queue (TOLLGATE__QUEUE) is unknown"),
            ("queue.url.x", "redis://:secret@y", "is unknown"),
            ("journal.sync", "sometimes", "journal.sync: unknown variant `sometimes`, expected one of `none`"),
            ("api.listen", "nowhere", "api.listen: \"nowhere\" is no address"),
            ("api.trusted_proxies", "10.0.0.1, proxy", "api.trusted_proxies[1]: \"proxy\""),
            ("api.cors_origins", "https://a.example/", "api.cors_origins[0]: \"https://a.example/\" is no origin"),
        ] {
            let message = refused(key, value);
            assert!(message.contains(words), "{key}: {message}");
            assert!(!message.contains("secret"), "{message}");
        }
    }

    #[test]
    fn text_from_the_environment_is_read_as_the_settings_own_type() {
        let digits = "00000000000000000000000000000042";
        for text in ["0", "0042", "1e3", "true", digits, "12345678901234567890123456789012"] {
            let config = Config::with(&[("journal.dir", text), ("log.level", text)]).unwrap();
            assert_eq!((config.journal.dir.to_str(), config.log.level.as_str()), (Some(text), text));
        }
        let hash_key = |text: &str| Config::with(&[("limiter.hash_key", text)]).unwrap().limiter.hash_key.0;
        assert_eq!(hash_key(digits), 0x42_u128.to_be_bytes());
        assert_eq!(hash_key("12345678901234567890123456789012"), 0x12345678901234567890123456789012_u128.to_be_bytes());
        assert_eq!(hash_key("1234567890123456789012345678e901"), 0x1234567890123456789012345678e901_u128.to_be_bytes());
        for (text, expected) in [("true", true), ("False", false), ("1", true), ("no", false)] {
            assert_eq!(Config::with(&[("privacy.full_ip", text)]).unwrap().privacy.full_ip, expected, "{text}");
        }
    }

    #[test]
    fn lists_are_trimmed_and_an_empty_value_is_an_empty_list() {
        for (text, count) in
            [("", 0), (" ", 0), (" , ", 0), ("10.0.0.0/8,::1", 2), (" 10.0.0.0/8 , ::1 ", 2), ("::1,", 1)]
        {
            let config = Config::with(&[("api.trusted_proxies", text)]).unwrap();
            assert_eq!(config.api.trusted_proxies.len(), count, "{text:?}");
        }
        let config = Config::with(&[("api.cors_origins", " https://a.example , http://localhost:3000")]).unwrap();
        let origins: Vec<_> = config.api.cors_origins.iter().map(Origin::as_str).collect();
        assert_eq!(origins, ["https://a.example", "http://localhost:3000"]);
        let config = with_file("[api]\ncors_origins = [\" https://a.example \"]\ntrusted_proxies = []").unwrap();
        assert_eq!(config.api.cors_origins.len(), 1);
    }

    #[test]
    fn a_file_has_values_of_the_settings_types_and_the_environment_is_above_it() {
        for (text, words) in [
            ("[journal]\ndir = 42", "journal.dir = 42 is not allowed: a text in quotes"),
            ("[api]\nmax_connections = \"10\"", "api.max_connections = \"10\" is not allowed: a whole number"),
            ("[api]\nmax_connections = 10.5", "a whole number"),
            ("[api]\ntrusted_proxies = \"::1\"", "a list of texts"),
            ("[api]\ntrusted_proxies = [1]", "a list of texts"),
            ("[worker]\nin_process = 1", "true or false"),
            ("[queue]\nurl = 5551234", "queue.url = … is not allowed"),
            ("[api]\nlistne = 1", "api.listne is unknown: [api] has admin_listen"),
            ("api = 1", "api = … is not allowed: a section, [api]"),
            ("[api]\nlisten = \"x\n", "settings.toml (TOLLGATE_CONFIG): line 2: "),
            ("[queue]\nurl = redis://:secret@x", "line 2: "),
        ] {
            let message = with_file(text).unwrap_err().to_string();
            assert!(message.contains(words) && !message.contains("secret"), "{text}: {message}");
        }
        let (_dir, path) = file("[api]\ndrain_seconds = 1\nmax_connections = 7");
        let variable = ("tollgate__Api__drain_seconds".into(), "2".into());
        let config = Config::read(Some(path), [variable, ("TOLLGATE_OTHER".into(), "3".into())]).unwrap();
        assert_eq!((config.api.drain_seconds, config.api.max_connections), (2, 7));
        let message = Config::read(Some("/nowhere.toml".into()), []).unwrap_err().to_string();
        assert!(message.contains("/nowhere.toml (TOLLGATE_CONFIG): No such file"), "{message}");
    }

    #[test]
    fn a_secret_may_stand_in_a_file_that_ends_in_a_newline() {
        let dir = tempfile::tempdir().unwrap();
        for (key, text) in [
            ("database.url", "postgres://u:p@h/d"),
            ("database.replica_url", "postgres://u:p@r/d"),
            ("limiter.url", "redis://:p@h/0"),
            ("limiter.hash_key", "12345678901234567890123456789012"),
            ("queue.url", "redis://:p@h/1"),
        ] {
            let (section, name) = key.split_once('.').unwrap();
            let path = dir.path().join(name);
            let named = path.to_str().unwrap();
            for end in ["", "\n", "\r\n", "\n\n"] {
                fs::write(&path, format!("{text}{end}")).unwrap();
                let shown = |config: Config| {
                    let hash_key = format!("{:032x}", u128::from_be_bytes(config.limiter.hash_key.0));
                    let urls =
                        [&config.database.url, &config.database.replica_url, &config.limiter.url, &config.queue.url];
                    [urls.map(|url| url.expose().to_owned()).to_vec(), vec![hash_key]].concat()
                };
                let variable = Config::with(&[(&format!("{key}_file"), named)]).unwrap();
                assert!(shown(variable).contains(&text.to_owned()), "{key}");
                let in_file = with_file(&format!("[{section}]\n{name}_file = {named:?}")).unwrap();
                assert!(shown(in_file).contains(&text.to_owned()), "{key}");
                let direct = Config::with(&[(key, &format!("{text}{end}"))]).unwrap();
                assert!(shown(direct).contains(&text.to_owned()), "{key}");
            }
            let both = Config::with(&[(key, text), (&format!("{key}_file"), named)]).unwrap_err().to_string();
            assert!(both.contains(&format!("{key} and {key}_file are both given")) && !both.contains(text), "{both}");
            Config::with(&[(key, ""), (&format!("{key}_file"), named)]).unwrap();
            let message = refused(&format!("{key}_file"), "/nowhere");
            assert!(message.contains(&format!("/nowhere ({key}_file): No such file")), "{message}");
        }
    }
}
