//! A Lua script and its digest.

use std::sync::LazyLock;

use fred::bytes_utils::Str;
use fred::clients::Client;
use fred::interfaces::LuaInterface;
use fred::types::{Key, Value};
use futures_util::future::FutureExt;

use crate::error::RedisError;

#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) body: &'static str,
    pub(crate) digest: LazyLock<Str>,
}

/// Declares a script that is a file beside the caller.
macro_rules! script {
    ($name:ident, $file:literal) => {
        pub(crate) static $name: $crate::redis::script::Script = $crate::redis::script::Script {
            body: include_str!($file),
            digest: std::sync::LazyLock::new(|| fred::util::sha1_hash(include_str!($file)).into()),
        };
    };
}
pub(crate) use script;

impl Script {
    pub(crate) async fn load(&self, client: &Client) -> Result<(), RedisError> {
        Ok(client.script_load::<(), _>(self.body).await?)
    }

    /// Runs the script once. A server that does not know it says so *without* running it, so sending the body then
    /// is still the first run.
    ///
    /// To be put in a box, not into another future: a command of fred is a future of several kilobytes.
    pub(crate) async fn run<const ARGS: usize>(
        &self,
        client: &Client,
        keys: &[Key],
        args: [Value; ARGS],
    ) -> Result<Value, RedisError> {
        // `evalsha` on the client itself: `with_options` drops its options on scripts without a word.
        let reply: Result<Value, _> = client.evalsha(Str::clone(&self.digest), keys.to_vec(), args.to_vec()).await;
        match reply {
            Err(error) if error.details().starts_with("NOSCRIPT") => {
                Ok(client.eval::<Value, _, _, _>(self.body, keys.to_vec(), args.to_vec()).boxed().await?)
            }
            reply => Ok(reply?),
        }
    }
}
