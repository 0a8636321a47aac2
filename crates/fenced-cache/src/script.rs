//! The five scripts of the protocol's section 2, each on exactly one key.

use std::sync::LazyLock;

use bytes::Bytes;
use fred::clients::Client;
use fred::error::Error;
use fred::interfaces::LuaInterface;
use fred::types::{Key, Value};

use crate::error::RedisError;
use crate::layout::version_digits;

/// A script and its digest.
#[derive(Debug)]
pub(crate) struct Script {
    body: &'static str,
    digest: LazyLock<String>,
}

macro_rules! script {
    ($name:ident, $file:literal) => {
        pub(crate) static $name: Script =
            Script { body: include_str!($file), digest: LazyLock::new(|| fred::util::sha1_hash(include_str!($file))) };
    };
}
script!(ACQUIRE, "scripts/acquire.lua");
script!(FILL, "scripts/fill.lua");
script!(PUT, "scripts/put.lua");
script!(SOFTEN, "scripts/soften.lua");
script!(ABANDON, "scripts/abandon.lua");

impl Script {
    /// Runs the script once. A server that does not know it answers NOSCRIPT *without* running it, so sending
    /// the body then is still the first run.
    async fn run(&self, client: &Client, key: &Bytes, args: Vec<Value>) -> Result<i64, RedisError> {
        // `evalsha` on the client itself: `with_options` would drop its options on scripts without a word.
        let key = Key::from(key.clone());
        let known: Result<i64, Error> = client.evalsha(self.digest.as_str(), key.clone(), args.clone()).await;
        match known {
            Err(error) if error.details().starts_with("NOSCRIPT") => Ok(client.eval(self.body, key, args).await?),
            reply => Ok(reply?),
        }
    }
}

/// 128 random bits, new for each acquisition: a late fill can not pass for a later lease of the same client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token(pub(crate) [u8; 16]);

impl Token {
    pub(crate) fn random() -> Self {
        Self(random_id())
    }

    fn value(self) -> Value {
        Value::Bytes(Bytes::copy_from_slice(&self.0))
    }
}

/// 128 bits from the operating system.
pub(crate) fn random_id() -> [u8; 16] {
    let mut id = [0; 16];
    // Without randomness there is no safety, and getrandom on a running system does not fail.
    getrandom::fill(&mut id).expect("the operating system has random numbers");
    id
}

/// ACQUIRE's reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Acquired {
    /// The lease is this token's.
    Granted,
    /// Somebody stored since this reader's READ: read again.
    Changed,
    /// Somebody else's lease, for so many more milliseconds.
    Held(u64),
}

/// PUT's reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PutReply {
    Stored,
    Newer,
    Killed,
}

fn integer(number: u64) -> Value {
    Value::String(number.to_string().into())
}

pub(crate) async fn acquire(
    client: &Client,
    key: &Bytes,
    token: Token,
    lease_ms: u64,
    seen: &Bytes,
    drop: bool,
) -> Result<Acquired, RedisError> {
    let flag = Value::from_static_str(if drop { "1" } else { "" });
    let args = vec![token.value(), integer(lease_ms), Value::Bytes(seen.clone()), flag];
    Ok(match ACQUIRE.run(client, key, args).await? {
        0 => Acquired::Granted,
        -1 => Acquired::Changed,
        rest => Acquired::Held(u64::try_from(rest).unwrap_or(1)),
    })
}

/// `true`: stored; `false`: the lease is no longer this token's.
pub(crate) async fn fill(
    client: &Client,
    key: &Bytes,
    token: Token,
    entry: Bytes,
    hard_ttl_ms: u64,
) -> Result<bool, RedisError> {
    let args = vec![token.value(), Value::Bytes(entry), integer(hard_ttl_ms)];
    Ok(FILL.run(client, key, args).await? == 1)
}

pub(crate) async fn put(
    client: &Client,
    key: &Bytes,
    version: u64,
    entry: Bytes,
    hard_ttl_ms: u64,
) -> Result<PutReply, RedisError> {
    let args = vec![Value::String(version_digits(version).into()), Value::Bytes(entry), integer(hard_ttl_ms)];
    Ok(match PUT.run(client, key, args).await? {
        0 => PutReply::Newer,
        1 => PutReply::Stored,
        _ => PutReply::Killed,
    })
}

pub(crate) async fn soften(client: &Client, key: &Bytes) -> Result<(), RedisError> {
    SOFTEN.run(client, key, Vec::new()).await.map(drop)
}

/// `true`: the lease was still this token's, so nothing has been invalidated since it was granted.
pub(crate) async fn abandon(client: &Client, key: &Bytes, token: Token) -> Result<bool, RedisError> {
    Ok(ABANDON.run(client, key, vec![token.value()]).await? == 1)
}

/// Loads every script, so that the first readers after a restart of Redis do not each send a body.
pub(crate) async fn load_all(client: &Client) -> Result<(), RedisError> {
    for script in [&ACQUIRE, &FILL, &PUT, &SOFTEN, &ABANDON] {
        let _: () = client.script_load(script.body).await?;
    }
    Ok(())
}
