//! Values as types: JSON in Redis, decoded on the way out.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::cache::Cache;
use crate::entry::Seen;
use crate::error::{BoxError, ReadError};
use crate::key::Key;
use crate::options::ReadOptions;
use crate::outcome::{Loaded, Read, TypedRead};
use crate::policy::Policy;
use crate::read::{SlowRead, loader};

impl Cache {
    /// [`get_or_load`](Self::get_or_load) for a type: `load` returns the value and its row's version.
    ///
    /// A stored value that does not decode (written by another version of the program, say) is counted and loaded
    /// again; it is never an error of the reader.
    ///
    /// # Errors
    /// As `get_or_load`; a value that can not be *encoded* is a failed load.
    pub async fn get_or_load_json<T, F, Fut, E>(
        &self,
        key: &Key,
        policy: &Policy,
        load: F,
    ) -> Result<TypedRead<T>, ReadError>
    where
        T: Serialize + DeserializeOwned,
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Option<(T, Option<u64>)>, E>> + Send + 'static,
        E: Into<BoxError>,
    {
        self.get_or_load_json_with(key, policy, ReadOptions::new(), load).await
    }

    /// [`get_or_load_json`](Self::get_or_load_json) for a reader who wants more than its policy says; see [`ReadOptions`].
    ///
    /// # Errors
    /// As `get_or_load_json`.
    pub async fn get_or_load_json_with<T, F, Fut, E>(
        &self,
        key: &Key,
        policy: &Policy,
        options: ReadOptions,
        load: F,
    ) -> Result<TypedRead<T>, ReadError>
    where
        T: Serialize + DeserializeOwned,
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Option<(T, Option<u64>)>, E>> + Send + 'static,
        E: Into<BoxError>,
    {
        let load = Arc::new(load);
        let encoded = {
            let load = Arc::clone(&load);
            move || {
                let loading = load();
                async move {
                    let Some((value, version)) = loading.await.map_err(Into::into)? else { return Ok(None) };
                    let payload = serde_json::to_vec(&value)?;
                    Ok::<_, BoxError>(Some(Loaded { payload: payload.into(), version }))
                }
            }
        };
        let encoded = loader(encoded);
        let again = Arc::clone(&encoded);
        let (read, token) = self.get(key, policy, options, move || encoded()).await?;
        match decode(&read) {
            Ok(value) => Ok(typed(read, value)),
            Err(error) => {
                policy.0.metrics.undecodable.increment(1);
                tracing::debug!(%error, policy = policy.name(), "a stored value does not decode: loading it again");
                let seen = token.map_or(Seen::Absent, Seen::Invalid);
                let mut slow = SlowRead::new(&self.inner, key, policy, options, again, Instant::now());
                let (read, _) = Box::pin(slow.run(Some(seen))).await?;
                if let Ok(value) = decode(&read) {
                    return Ok(typed(read, value));
                }
                // Somebody who writes it otherwise was faster. What this read loads itself does decode.
                let read = slow.bypass().await?;
                let value = decode(&read).map_err(|error| ReadError::Load(Arc::new(error)))?;
                Ok(typed(read, value))
            }
        }
    }
}

fn decode<T: DeserializeOwned>(read: &Read) -> Result<Option<T>, serde_json::Error> {
    read.value.as_ref().map(|bytes: &Bytes| serde_json::from_slice(bytes)).transpose()
}

fn typed<T>(read: Read, value: Option<T>) -> TypedRead<T> {
    TypedRead { value, outcome: read.outcome, age: read.age, fresh_for: read.fresh_for, version: read.version }
}
