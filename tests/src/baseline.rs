//! What a check on Redis is measured against: one call of a script as small as it can be, per check, on a connection that
//! all callers share.

use std::time::Duration;

use ::redis::{AsyncConnectionConfig, Client, RedisResult, Script, aio::MultiplexedConnection};

/// A weighted two-window count of one limit, on the server's clock, in one packed value.
const SCRIPT: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local window, limit = tonumber(ARGV[1]), tonumber(ARGV[2])
local start = now - now % window
local begun, previous, current = start, 0, 0
local packed = redis.call('GET', KEYS[1])
if packed then
  begun, previous, current = struct.unpack('<ddd', packed)
  if begun ~= start then
    previous, current = begun == start - window and current or 0, 0
  end
end
local used = math.ceil(previous * (start + window - now) / window) + current
if used >= limit then return {0, used} end
redis.call('SET', KEYS[1], struct.pack('<ddd', start, previous, current + 1), 'PX', window / 500)
return {1, used + 1}";
const WINDOW_MICROS: u64 = 3_600_000_000;
/// Nothing is refused within a benchmark.
const LIMIT: u64 = 1_000_000_000;
/// A benchmark that saturates the server may wait, and fails rather than hang.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A connection to a server that runs the script.
#[derive(Clone)]
pub struct Baseline {
    connection: MultiplexedConnection,
    script: Script,
}

impl Baseline {
    /// Connects to `redis://…`.
    pub async fn connect(url: &str) -> RedisResult<Self> {
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(TIMEOUT));
        let connection = Client::open(url)?.get_multiplexed_async_connection_with_config(&config).await?;
        Ok(Self { connection, script: Script::new(SCRIPT) })
    }

    /// Counts one call of `subject`; whether it was allowed, and what is used now.
    pub async fn check(&self, subject: &str) -> RedisResult<(bool, u64)> {
        let mut connection = self.connection.clone();
        let mut call = self.script.key(format!("tg:{{0}}:s:{subject}"));
        call.arg(WINDOW_MICROS).arg(LIMIT).invoke_async(&mut connection).await
    }
}
