//! A Lua script and its digest.

use std::sync::LazyLock;

use fred::clients::Client;
use fred::interfaces::LuaInterface;
use fred::types::{Key, Value};
use futures_util::future::{BoxFuture, FutureExt};

use crate::error::RedisError;

#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) body: &'static str,
    pub(crate) digest: LazyLock<String>,
}

/// Declares a script that is a file beside the caller.
macro_rules! script {
    ($name:ident, $file:literal) => {
        pub(crate) static $name: $crate::redis::script::Script = $crate::redis::script::Script {
            body: include_str!($file),
            digest: std::sync::LazyLock::new(|| fred::util::sha1_hash(include_str!($file))),
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
    /// In a box: a command of fred is a future of several kilobytes, which would otherwise be part of every future that
    /// has one of them in it, and be copied whenever that is moved.
    pub(crate) fn run<'a>(
        &'a self,
        client: &'a Client,
        keys: Vec<Key>,
        args: Vec<Value>,
    ) -> BoxFuture<'a, Result<Value, RedisError>> {
        async move {
            // `evalsha` on the client itself: `with_options` drops its options on scripts without a word.
            let reply: Result<Value, _> = client.evalsha(self.digest.as_str(), keys.clone(), args.clone()).await;
            match reply {
                Err(error) if error.details().starts_with("NOSCRIPT") => {
                    Ok(client.eval::<Value, _, _, _>(self.body, keys, args).boxed().await?)
                }
                reply => Ok(reply?),
            }
        }
        .boxed()
    }
}
