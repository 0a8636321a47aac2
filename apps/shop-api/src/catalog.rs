//! How documents are read and changes are written, by whichever strategy. Handlers do not know which.

use std::sync::Arc;
use std::time::Duration;

use fenced_cache::{
    Cache, Commit, ConfigError, Epochs, Read, ReadError, ReadOptions, WriteError, WriteOutcome, Written,
};
use futures_util::future::BoxFuture;
use outbox::{Outbox, Transaction};
use service::postgres::is_cut;
use service_cache::Answer;
use sqlx::PgConnection;
use tokio::time::timeout;

use crate::domain::{CategoryId, ProductId};
use crate::entry::Entry;
use crate::error::Error;
use crate::homes::{self, Homes};
use crate::metrics;
use crate::store::{Change, LoadError, Store};
use crate::strategies::{Strategies, Strategy, Tuning};

/// The most that the statements of one change may take together; each has its own, shorter limit in PostgreSQL,
/// which a PostgreSQL that was stopped does not keep.
const CHANGE: Duration = Duration::from_secs(5);

/// The same for thousands of rows.
const BULK_CHANGE: Duration = Duration::from_secs(12);

/// The catalog of products. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Catalog {
    store: Store,
    outbox: Outbox,
    cache: Cache,
    homes: Homes,
    strategies: Strategies,
    load_deadline: Duration,
}

/// A change of rows within the transaction that it is given.
pub trait Work<T>:
    for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<Change<T>, Error>> + Send + 'static
{
}

impl<T, F> Work<T> for F where
    F: for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<Change<T>, Error>> + Send + 'static
{
}

/// How large a change is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// One product that is not there yet.
    New,
    /// One product.
    One(ProductId),
    /// All of a category.
    Bulk,
}

/// What is known of a product before it is read.
enum Home {
    Known(CategoryId),
    /// The key does not depend on it.
    NotAsked,
    /// There is no such product, and this is how that is known.
    NoSuchProduct(Read),
}

impl Catalog {
    /// The catalog in this database, behind this cache.
    ///
    /// # Errors
    /// [`ConfigError`] for a time that the cache cannot work with.
    pub fn new(store: Store, outbox: Outbox, cache: Cache, tuning: &Tuning) -> Result<Self, ConfigError> {
        let strategies = Strategies::new(&cache, tuning)?;
        Ok(Self { store, outbox, cache, homes: Homes::new(), strategies, load_deadline: tuning.load_deadline })
    }

    /// All strategies.
    #[must_use]
    pub fn strategies(&self) -> &Strategies {
        &self.strategies
    }

    /// The rows.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The document of this entry. A client that has `seen` a version of it is shown no older one.
    ///
    /// # Errors
    /// When the database was needed and did not answer.
    pub async fn get(&self, strategy: &dyn Strategy, entry: &Entry, seen: Option<u64>) -> Result<Answer, ReadError> {
        let options = match seen {
            Some(version) => ReadOptions::new().at_least(version),
            None => ReadOptions::new(),
        };
        let home = match self.home(strategy, entry, options).await? {
            Home::NoSuchProduct(read) => return Ok(Answer::of_read(entry.validator(), read)),
            Home::Known(category) => Some(category),
            Home::NotAsked => None,
        };
        let Some(key) = strategy.key(entry, home) else { return Box::pin(self.bypass(entry)).await };
        let (store, loaded) = (self.store.clone(), entry.clone());
        let load = move || {
            let (store, entry) = (store.clone(), loaded.clone());
            async move {
                let document = entry.load(&store).await?;
                Ok::<_, LoadError>(document.map(|document| document.encode(entry.validator())))
            }
        };
        let read = self.cache.get_or_load_with(&key, strategy.kept().policy(entry), options, load).await?;
        Ok(Answer::of_read(entry.validator(), read))
    }

    async fn home(&self, strategy: &dyn Strategy, entry: &Entry, options: ReadOptions) -> Result<Home, ReadError> {
        let Entry::Product(id) = *entry else { return Ok(Home::NotAsked) };
        if !strategy.needs_home() {
            return Ok(Home::NotAsked);
        }
        if let Some(category) = self.homes.known(id) {
            return Ok(Home::Known(category));
        }
        let kept = strategy.kept();
        let store = self.store.clone();
        let load = move || {
            let store = store.clone();
            async move { Ok::<_, LoadError>(store.home(id).await?.map(homes::encode)) }
        };
        let read = self.cache.get_or_load_with(&kept.names.home(id), kept.home(), options, load).await?;
        Ok(match self.homes.learn(id, &read) {
            Some(category) => Home::Known(category),
            None => Home::NoSuchProduct(Read { value: None, ..read }),
        })
    }

    /// What a strategy does not cache is loaded for each reader.
    async fn bypass(&self, entry: &Entry) -> Result<Answer, ReadError> {
        let document = match timeout(self.load_deadline, entry.load(&self.store)).await {
            Ok(loaded) => loaded.map_err(|error| ReadError::Load(Arc::new(error)))?,
            Err(_) => return Err(ReadError::LoadTimeout),
        };
        Ok(Answer::bypassed(document))
    }

    /// Changes rows, and does for the cache what that means by this strategy. Runs to its end although the caller be dropped.
    ///
    /// # Errors
    /// When nothing was changed; [`Error::InDoubt`] when that is not known.
    pub async fn write<T: Send + 'static>(
        &self,
        strategy: &Arc<dyn Strategy>,
        scale: Scale,
        work: impl Work<T>,
    ) -> Result<Written<T>, Error> {
        let (this, by) = (self.clone(), Arc::clone(strategy));
        let task = async move {
            let epochs = this.capture(&*by, scale).await;
            this.transact(&*by, scale, epochs, work).await
        };
        let written = self.cache.write(task).await.map_err(|error| match error {
            WriteError::Failed(error) => error,
            WriteError::RolledBack => Error::RolledBack,
            _ => Error::Panicked,
        })?;
        metrics::written(strategy.about().name, written.outcome);
        if written.outcome == WriteOutcome::Unknown { Err(Error::InDoubt) } else { Ok(written) }
    }

    /// The epochs for a put; without them, whatever the reason, the entry is deleted instead.
    async fn capture(&self, strategy: &dyn Strategy, scale: Scale) -> Option<Epochs> {
        if !strategy.puts() {
            return None;
        }
        let id = match scale {
            Scale::New => return None,
            Scale::One(id) => id,
            // A strategy that puts many files them under no tag, so any of them will do.
            Scale::Bulk if strategy.needs_home() => return None,
            Scale::Bulk => ProductId::of_row(1),
        };
        let entry = Entry::Product(id);
        let home = match self.home(strategy, &entry, ReadOptions::new()).await.ok()? {
            Home::NoSuchProduct(_) => return None,
            Home::Known(category) => Some(category),
            Home::NotAsked => None,
        };
        self.cache.capture(&strategy.key(&entry, home)?).await.ok()
    }

    /// Runs the work and commits it with what the strategy records of it.
    async fn transact<T>(
        &self,
        strategy: &dyn Strategy,
        scale: Scale,
        epochs: Option<Epochs>,
        work: impl Work<T>,
    ) -> Result<Commit<T>, Error> {
        let mut transaction = self.begin().await?;
        let limit = if scale == Scale::Bulk { BULK_CHANGE } else { CHANGE };
        let change = timeout(limit, work(transaction.connection())).await.unwrap_or_else(|_| {
            let text = format!("the change did not end within {limit:?}");
            Err(sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, text)).into())
        });
        let Change { value, touched } = change?;
        // After the row was locked: so the events of one product are in the order of its versions.
        if let Some(event) = strategy.event(&touched) {
            transaction.event(event.to_payload()).await?;
        }
        Ok(transaction.commit(value, strategy.effects(&touched, epochs)).await?)
    }

    /// Nothing has happened before BEGIN is answered, so it may be tried again on another connection.
    async fn begin(&self) -> Result<Transaction, sqlx::Error> {
        let mut left = 3_u32;
        loop {
            match self.outbox.begin().await {
                Err(error) if left > 0 && is_cut(&error) => left -= 1,
                result => return result,
            }
        }
    }
}
