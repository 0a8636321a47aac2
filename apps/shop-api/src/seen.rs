//! `X-Seen-Version`: the version of a product that a client has seen, as a header.
//!
//! Who hands it on is shown no older version, under any strategy and by any replica: older entries are passed over, in the near
//! cache and in Redis. A version that nobody has written yet would cost a load per read, so only what was given out counts: it is
//! signed, with a secret that lies in the database. What is not signed rightly asks for nothing.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use sha2::{Digest as _, Sha256};
use tokio::sync::OnceCell;

use crate::domain::ProductId;
use crate::store::Store;

/// The version of a product that the client has seen.
pub const X_SEEN_VERSION: HeaderName = HeaderName::from_static("x-seen-version");

/// Bytes of a signature: as hard to guess as a request is cheap to count.
const SIGNATURE: usize = 8;

/// Block size of SHA-256, for HMAC (RFC 2104).
const BLOCK: usize = 64;

/// Signs versions, and knows them again. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    secret: Arc<OnceCell<Secret>>,
}

/// The key, padded for HMAC; it is not shown.
#[derive(Clone)]
struct Secret([u8; BLOCK]);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Seen {
    /// Knows the secret after it was asked for the first time.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The header for a version of a product; `None` while the secret cannot be read.
    pub async fn sign(&self, store: &Store, id: ProductId, version: u64) -> Option<HeaderValue> {
        let secret = self.secret(store).await?;
        let signature = hex(secret.sign(id, version));
        HeaderValue::try_from(format!("{version}-{signature}")).ok()
    }

    /// The version that this header says of this product, if it was given out for it.
    pub async fn read(&self, store: &Store, id: ProductId, header: &HeaderValue) -> Option<u64> {
        let (version, signature) = header.to_str().ok()?.trim().split_once('-')?;
        let number: u64 = version.parse().ok()?;
        let secret = self.secret(store).await?;
        (hex(secret.sign(id, number)) == signature).then_some(number)
    }

    async fn secret(&self, store: &Store) -> Option<&Secret> {
        let read = self.secret.get_or_try_init(|| async { store.secret().await.map(|value| Secret::new(&value)) });
        read.await.inspect_err(|error| tracing::warn!(%error, "seen versions cannot be signed")).ok()
    }
}

impl Secret {
    fn new(key: &[u8]) -> Self {
        let mut padded = [0; BLOCK];
        if key.len() <= BLOCK {
            padded[..key.len()].copy_from_slice(key);
        } else {
            padded[..32].copy_from_slice(&Sha256::digest(key));
        }
        Self(padded)
    }

    fn sign(&self, id: ProductId, version: u64) -> [u8; SIGNATURE] {
        let mut message = [0; 16];
        message[..8].copy_from_slice(&id.get().to_be_bytes());
        message[8..].copy_from_slice(&version.to_be_bytes());
        self.hmac(&message)
    }

    /// HMAC-SHA-256, cut.
    fn hmac(&self, message: &[u8]) -> [u8; SIGNATURE] {
        let padded = |with: u8| self.0.map(|byte| byte ^ with);
        let inner = Sha256::new().chain_update(padded(0x36)).chain_update(message).finalize();
        let outer = Sha256::new().chain_update(padded(0x5c)).chain_update(inner).finalize();
        std::array::from_fn(|index| outer[index])
    }
}

fn hex(bytes: [u8; SIGNATURE]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * SIGNATURE), |mut text, byte| {
        // Writing into a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(key: &[u8]) -> Seen {
        Seen { secret: Arc::new(OnceCell::from(Secret::new(key))) }
    }

    fn store() -> Store {
        Store::new(sqlx::PgPool::connect_lazy("postgres://127.0.0.1:1/none").unwrap())
    }

    #[test]
    fn the_signature_is_the_published_one() {
        // RFC 4231, test case 1.
        assert_eq!(Secret::new(&[0x0b; 20]).hmac(b"Hi There"), [0xb0, 0x34, 0x4c, 0x61, 0xd8, 0xdb, 0x38, 0x53]);
    }

    #[tokio::test]
    async fn only_what_was_given_out_for_this_product_counts() {
        let (seen_by_one, seen_by_other, id) = (seen(b"key"), seen(b"key"), ProductId::of_row(42));
        let header = seen_by_one.sign(&store(), id, 7).await.unwrap();
        assert_eq!(seen_by_other.read(&store(), id, &header).await, Some(7));
        assert_eq!(seen_by_other.read(&store(), ProductId::of_row(43), &header).await, None);
        assert_eq!(seen(b"another").read(&store(), id, &header).await, None);
        let text = header.to_str().unwrap();
        let higher = text.replacen('7', "8", 1);
        let longer = format!("{text}0");
        for odd in ["", "7", "7-", "-7", "x-y", "18446744073709551616-0", &higher, &longer, &text[..text.len() - 1]] {
            let header = HeaderValue::try_from(odd).unwrap();
            assert_eq!(seen_by_one.read(&store(), id, &header).await, None, "{odd}");
        }
    }
}
