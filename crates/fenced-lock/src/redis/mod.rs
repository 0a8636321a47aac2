//! Locks that live in Redis.

mod fenced;
mod link;
mod plain;
mod redlock;
mod script;
mod session;

pub use fenced::{FencedSettings, RedisFenced, Timing};
pub use plain::{PlainSettings, RedisPlain};
pub use redlock::{Redlock, RedlockSettings};

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::name::Namespace;

    #[test]
    fn settings_are_checked_before_anything_starts() {
        let (url, ns) = ("redis://127.0.0.1:1", || Namespace::new("ns").unwrap());
        assert_eq!(FencedSettings::new(url, ns()).check(), Ok(()));
        assert_eq!(PlainSettings::new(url, ns()).check(), Ok(()));
        assert_eq!(RedlockSettings::new([url; 3], ns()).check(), Ok(()));
        let short = Timing::default().first_lease(Duration::from_millis(1));
        let wrong = [
            FencedSettings::new("http://x", ns()).check(),
            FencedSettings::new(url, ns()).timing(short).check(),
            PlainSettings::new(url, ns()).lease(Duration::ZERO).check(),
            RedlockSettings::new([url; 2], ns()).check(),
        ];
        let named: Vec<_> = wrong.into_iter().map(|wrong| wrong.unwrap_err().setting).collect();
        assert_eq!(named, ["redis_url", "first_lease", "lease", "redlock urls"]);
    }
}
