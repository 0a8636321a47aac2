//! The scripts, row by row.

use fred::clients::Client;
use fred::interfaces::{HashesInterface, KeysInterface, LuaInterface};
use fred::types::Value;

use super::Stage;

/// One script after the other on one event's keys.
struct Table {
    stage: Stage,
    client: Client,
}

impl Table {
    async fn set() -> Self {
        let stage = Stage::set(20).await;
        let client = stage.client().await;
        Self { stage, client }
    }

    /// With a pool of these seats, all below 16, of generation `g`.
    async fn with(seats: &[u32]) -> Self {
        let table = Self::set().await;
        assert_eq!(table.rebuild(seats, "g").await, "1");
        table
    }

    async fn run(&self, script: &str, args: Vec<Value>) -> String {
        shown(self.client.eval(script, self.stage.keys(), args).await.unwrap())
    }

    async fn reserve(&self, token: &str, seats: i64) -> String {
        let script = include_str!("../../../src/strategies/reserve/scripts/reserve.lua");
        self.run(script, vec![token.into(), seats.into()]).await
    }

    async fn release(&self, token: &str, kept: &[i64]) -> String {
        let script = include_str!("../../../src/strategies/reserve/scripts/release.lua");
        self.run(script, std::iter::once(token.into()).chain(kept.iter().map(|seat| (*seat).into())).collect()).await
    }

    async fn restore(&self, seats: &[i64]) -> String {
        let script = include_str!("../../../src/strategies/reserve/scripts/restore.lua");
        self.run(script, seats.iter().map(|seat| (*seat).into()).collect()).await
    }

    /// The times are left out.
    async fn look(&self, milliseconds: i64) -> String {
        let script = include_str!("../../../src/strategies/reserve/scripts/look.lua");
        self.run(script, vec![milliseconds.into()]).await
    }

    async fn rebuild(&self, seats: &[u32], generation: &str) -> String {
        let script = include_str!("../../../src/strategies/reserve/scripts/rebuild.lua");
        let bits = seats.iter().fold(0_u16, |bits, seat| bits | 0x8000 >> seat);
        let bitmap = Value::Bytes(bits.to_be_bytes().to_vec().into());
        self.run(script, vec![bitmap, generation.into(), 60.into()]).await
    }

    async fn drop(&self, generation: &str) -> String {
        let script = include_str!("../../../src/strategies/reserve/scripts/drop.lua");
        self.run(script, vec![generation.into()]).await
    }

    /// The free seats, or nothing if there is no pool.
    async fn free(&self) -> Option<Vec<usize>> {
        let bytes: Option<Vec<u8>> = self.client.get(self.stage.key("free")).await.unwrap();
        Some(
            (0..16)
                .filter(|seat| bytes.as_ref().is_some_and(|bytes| bytes[seat / 8] & 0x80 >> (seat % 8) != 0))
                .collect(),
        )
        .filter(|_| bytes.is_some())
    }
}

fn shown(value: Value) -> String {
    match value {
        Value::Array(parts) => parts.into_iter().map(shown).collect::<Vec<_>>().join(" | "),
        value => {
            let text = value.into_string().unwrap();
            // A reservation: since when, and its seats.
            match text.split_once(' ') {
                Some((since, seats)) if since.len() == 13 => format!("then {seats}"),
                _ => text,
            }
        }
    }
}

#[tokio::test]
async fn reserve_takes_the_lowest_or_none() {
    let table = Table::set().await;
    assert_eq!(table.reserve("a", 1).await, "-1", "no pool");
    assert_eq!(table.rebuild(&[2, 3, 7, 8, 15], "g").await, "1");
    assert_eq!(table.reserve("a", 3).await, "g | 2 | 3 | 7");
    assert_eq!(table.reserve("b", 3).await, "0", "there are two");
    assert_eq!(table.free().await, Some(vec![8, 15]), "and still are");
    assert_eq!(table.reserve("a", 3).await, "g | 2 | 3 | 7", "the same again");
    assert_eq!(table.reserve("b", 2).await, "g | 8 | 15");
    assert_eq!(table.reserve("c", 1).await, "0");
    assert_eq!(table.free().await, Some(vec![]), "none is free, and yet there is a pool");
    let held: i64 = table.client.hlen(table.stage.key("held")).await.unwrap();
    assert_eq!(held, 2);
}

#[tokio::test]
async fn a_pool_without_its_generation_is_none() {
    let table = Table::with(&[1]).await;
    table.client.del::<(), _>(table.stage.key("generation")).await.unwrap();
    assert_eq!(table.reserve("a", 1).await, "-1");
    assert_eq!(table.look(0).await, " | 1 | 0");
    assert_eq!(table.rebuild(&[1, 2], "h").await, "1");
    assert_eq!(table.reserve("a", 1).await, "h | 1");
}

#[tokio::test]
async fn release_gives_back_once() {
    let table = Table::with(&[1, 2, 3]).await;
    table.reserve("a", 2).await;
    assert_eq!(table.release("b", &[]).await, "0", "nobody's");
    assert_eq!(table.release("a", &[]).await, "1");
    assert_eq!(table.free().await, Some(vec![1, 2, 3]));
    table.reserve("b", 2).await;
    assert_eq!(table.release("a", &[]).await, "0", "a second time");
    assert_eq!(table.free().await, Some(vec![3]), "what has become another's stays its own");
    assert_eq!(table.release("b", &[2, 9]).await, "1");
    assert_eq!(table.free().await, Some(vec![1, 3]), "seat 2 is not to be had");
}

#[tokio::test]
async fn nothing_that_is_given_back_makes_a_pool() {
    let table = Table::with(&[1, 2]).await;
    table.reserve("a", 1).await;
    assert_eq!(table.drop("other").await, "0");
    assert_eq!(table.drop("g").await, "1");
    assert_eq!(table.drop("g").await, "0");
    assert_eq!(table.release("a", &[]).await, "1");
    assert_eq!(table.restore(&[1]).await, "0");
    assert_eq!(table.free().await, None);
    assert_eq!(table.reserve("b", 1).await, "-1");
}

#[tokio::test]
async fn restore_is_idempotent() {
    let table = Table::with(&[5]).await;
    assert_eq!(table.restore(&[2, 3]).await, "1");
    assert_eq!(table.restore(&[3]).await, "1");
    assert_eq!(table.free().await, Some(vec![2, 3, 5]));
}

#[tokio::test]
async fn look_shows_what_is_too_old() {
    let table = Table::set().await;
    assert_eq!(table.look(0).await, " | 0 | 0", "no pool");
    table.rebuild(&[1, 2, 3, 4], "g").await;
    assert_eq!(table.look(0).await, "g | 4 | 0");
    table.reserve("a", 2).await;
    assert_eq!(table.look(3_600_000).await, "g | 2 | 2");
    // Older than in an hour.
    assert_eq!(table.look(-3_600_000).await, "g | 2 | 2 | a | then 1 2");
}

#[tokio::test]
async fn rebuild_leaves_out_what_is_reserved_and_happens_once() {
    let table = Table::with(&[1, 2, 3, 4]).await;
    table.reserve("a", 2).await;
    assert_eq!(table.rebuild(&[1, 2, 3, 4, 5], "h").await, "0", "there is one");
    table.drop("g").await;
    assert_eq!(table.rebuild(&[1, 2, 3, 4, 5], "h").await, "1");
    assert_eq!(table.rebuild(&[9], "i").await, "0");
    assert_eq!(table.free().await, Some(vec![3, 4, 5]));
    assert_eq!(table.reserve("b", 1).await, "h | 3");
    for key in ["free", "generation"] {
        let life: i64 = table.client.ttl(table.stage.key(key)).await.unwrap();
        assert!((1..=60).contains(&life), "{key} lives for {life} s");
    }
}
