//! Which requests are worth a line in the access log, as Istio's `access_log_policy` extension.

use std::time::Duration;

use lru::LruCache;
use serde::Deserialize;

/// What the extension assumes.
const DEFAULT_WINDOW: Duration = Duration::from_secs(12 * 60 * 60);
const DEFAULT_CLIENTS: usize = 500;

/// Names of clients that are longer are cut, so that no client takes more memory than others.
const MAX_NAME_BYTES: usize = 512;

/// The configuration.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// How long a client that was logged is not logged again, such as `12h`, which it is unless said.
    #[serde(alias = "logWindowDuration")]
    pub log_window_duration: Option<String>,
    /// How many clients are remembered; 500 unless said, and for 0 and less.
    #[serde(alias = "maxClientCacheSize")]
    pub max_client_cache_size: Option<i64>,
}

/// Who sent a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Client {
    /// The address with its port, as `source.address` tells it. A window is therefore one of a connection.
    pub address: String,
    /// The first URI name in its certificate; may be empty.
    pub principal: String,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ending {
    /// The HTTP status; 0 where there was no response.
    pub status: u64,
    /// The gRPC status of a gRPC request.
    pub grpc_status: Option<u64>,
}

impl Ending {
    /// Whether it is logged whoever sent it.
    #[must_use]
    pub fn failed(self) -> bool {
        self.status >= 400 || self.grpc_status.is_some_and(|status| status != 0)
    }
}

/// Remembers who was logged when.
#[derive(Debug)]
pub struct Policy {
    window: Duration,
    limit: usize,
    logged: LruCache<Client, Duration>,
}

impl Policy {
    /// Remembers nobody yet.
    ///
    /// # Errors
    ///
    /// `log_window_duration` is no span of time.
    pub fn new(config: &Config) -> Result<Self, &'static str> {
        let window = match &config.log_window_duration {
            None => DEFAULT_WINDOW,
            Some(text) => crate::duration::parse(text).ok_or("not a span of time such as `12h` or `1m30s`")?,
        };
        let size = config.max_client_cache_size.and_then(|size| usize::try_from(size).ok()).filter(|size| *size > 0);
        Ok(Self { window, limit: size.unwrap_or(DEFAULT_CLIENTS), logged: LruCache::unbounded() })
    }

    /// Whether a request that has ended is logged; `now` is any clock that does not go back.
    ///
    /// What has failed always is, and changes nothing for others. What has not is logged once per client and window.
    pub fn logs(&mut self, ending: Ending, client: impl FnOnce() -> Client, now: Duration) -> bool {
        if ending.failed() {
            return true;
        }
        let mut client = client();
        for name in [&mut client.address, &mut client.principal] {
            while name.len() > MAX_NAME_BYTES {
                name.pop();
            }
        }
        let last = self.logged.get(&client);
        if last.is_some_and(|last| now.saturating_sub(*last) <= self.window) {
            return false;
        }
        self.logged.put(client, now);
        while self.logged.len() > self.limit {
            self.logged.pop_lru();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(window: &str, size: i64) -> Policy {
        let config = Config { log_window_duration: Some(window.to_owned()), max_client_cache_size: Some(size) };
        Policy::new(&config).unwrap()
    }

    fn ok() -> Ending {
        Ending { status: 200, grpc_status: None }
    }

    fn from(address: &str) -> impl FnOnce() -> Client {
        let client = Client { address: address.to_owned(), principal: String::new() };
        move || client
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_client_is_logged_once_per_window() {
        let mut policy = policy("10s", 5);
        assert!(policy.logs(ok(), from("a:1"), SECOND));
        assert!(!policy.logs(ok(), from("a:1"), 11 * SECOND));
        assert!(policy.logs(ok(), from("a:2"), 11 * SECOND));
        assert!(policy.logs(ok(), from("a:1"), 12 * SECOND));
    }

    #[test]
    fn failures_are_always_logged() {
        let mut policy = policy("10s", 5);
        for (status, grpc_status) in [(400, None), (503, None), (200, Some(7))] {
            for _ in 0..2 {
                assert!(policy.logs(Ending { status, grpc_status }, from("a"), SECOND));
            }
        }
        assert!(policy.logs(Ending { status: 200, grpc_status: Some(0) }, from("a"), SECOND));
        assert!(!policy.logs(Ending { status: 0, grpc_status: None }, from("a"), SECOND));
    }

    #[test]
    fn a_hundred_thousand_clients_take_the_place_of_the_last() {
        let mut policy = policy("1h", 100);
        for number in 0..100_000 {
            assert!(policy.logs(ok(), from(&number.to_string()), SECOND));
        }
        assert_eq!(policy.logged.len(), 100);
        let long = "x".repeat(100_000);
        policy.logs(ok(), from(&long), SECOND);
        assert!(policy.logged.iter().all(|(client, _)| client.address.len() <= MAX_NAME_BYTES));
    }

    #[test]
    fn a_window_that_is_none_is_refused_and_sizes_have_a_floor() {
        assert!(Policy::new(&Config { log_window_duration: Some("soon".to_owned()), ..Config::default() }).is_err());
        assert_eq!((policy("1s", 0).limit, policy("1s", -1).limit), (500, 500));
        assert_eq!(Policy::new(&Config::default()).unwrap().window, DEFAULT_WINDOW);
    }
}
