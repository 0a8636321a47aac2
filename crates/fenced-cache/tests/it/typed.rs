//! Typed values, and what does not decode.

use fenced_cache::{BoxError, Loaded, Outcome};
use serde::{Deserialize, Serialize};

use crate::support::{key, policy, process};

#[derive(Debug, Serialize, Deserialize, PartialEq)]
struct Post {
    title: String,
}

async fn load() -> Result<Option<(Post, Option<u64>)>, BoxError> {
    Ok(Some((Post { title: "t".into() }, Some(3))))
}

#[tokio::test]
async fn a_typed_value_comes_back_as_its_type() {
    let redis = testbed::redis().await;
    let cache = process(&redis.url()).await;
    let policy = policy(&cache);
    for outcome in [Outcome::Miss, Outcome::Hit] {
        let read = cache.get_or_load_json(&key(1), &policy, load).await.unwrap();
        assert_eq!((read.outcome, read.version), (outcome, Some(3)));
        assert_eq!(read.value, Some(Post { title: "t".into() }));
    }
    let none = || async { Ok::<Option<(Post, Option<u64>)>, BoxError>(None) };
    for outcome in [Outcome::Miss, Outcome::Negative] {
        let read = cache.get_or_load_json(&key(2), &policy, none).await.unwrap();
        assert_eq!((read.outcome, read.value), (outcome, None));
    }
}

#[tokio::test]
async fn what_does_not_decode_is_loaded_again_and_replaced() {
    let redis = testbed::redis().await;
    let cache = process(&redis.url()).await;
    let policy = policy(&cache);
    // Another version of the program stored something else.
    let other = || async { Ok::<_, BoxError>(Some(Loaded::new("[1, 2").version(3))) };
    cache.get_or_load(&key(1), &policy, other).await.unwrap();
    let read = cache.get_or_load_json(&key(1), &policy, load).await.unwrap();
    assert_eq!((read.outcome, read.value), (Outcome::Miss, Some(Post { title: "t".into() })));
    let read = cache.get_or_load_json(&key(1), &policy, load).await.unwrap();
    assert_eq!((read.outcome, read.value), (Outcome::Hit, Some(Post { title: "t".into() })));
}
