//! What the database holds against what the buyers were told.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};
use sqlx::PgPool;

use super::buyers::{Answer, Purchase};

/// A booking as it lies in the table.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(crate) struct Row {
    pub(crate) id: i64,
    pub(crate) seats: i32,
    pub(crate) buyer: Option<String>,
    pub(crate) live: bool,
    pub(crate) seat_numbers: Option<Vec<i32>>,
}

/// What was found out about one event, or about all of a cell.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Judged {
    /// Bookings that are there.
    pub(crate) bookings: u64,
    /// Seats of those that are not cancelled.
    pub(crate) sold: u64,
    pub(crate) oversold: u64,
    /// Answered 201 and not there, or not as they were answered.
    pub(crate) lost: u64,
    /// There more than once, or a numbered seat that two have.
    pub(crate) doubled: u64,
    /// There although nobody asked for it, or although its only answer was 'sold out'.
    pub(crate) unasked: u64,
    /// Whoever asked never got an answer. It may be there or not, once.
    pub(crate) in_doubt: u64,
    /// Seats by which what the service counts by differs from what is sold.
    pub(crate) miscounted: u64,
    /// Bookings whose fence is not above that of the booking before.
    pub(crate) fences_out_of_order: u64,
}

impl Judged {
    /// Adds another event's.
    pub(crate) fn add(&mut self, other: &Self) {
        self.bookings += other.bookings;
        self.sold += other.sold;
        self.oversold += other.oversold;
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.unasked += other.unasked;
        self.in_doubt += other.in_doubt;
        self.miscounted += other.miscounted;
        self.fences_out_of_order += other.fences_out_of_order;
    }
}

/// All bookings of an event, by the lab's own statement.
pub(crate) async fn rows(database: &PgPool, event: i64) -> sqlx::Result<Vec<Row>> {
    sqlx::query_as(
        "select id, seats, buyer, cancelled_at is null as live, seat_numbers
         from booking.bookings where event_id = $1 order by id",
    )
    .bind(event)
    .fetch_all(database)
    .await
}

/// Seats of an event that are sold.
pub(crate) async fn sold(database: &PgPool, event: i64) -> sqlx::Result<u64> {
    let seats: i64 = sqlx::query_scalar(
        "select coalesce(sum(seats), 0) from booking.bookings where event_id = $1 and cancelled_at is null",
    )
    .bind(event)
    .fetch_one(database)
    .await?;
    Ok(u64::try_from(seats).unwrap_or(0))
}

/// Judges an event by the rows that it has now, those of the seats and its own included.
pub(crate) async fn judge_event(
    database: &PgPool,
    event: i64,
    capacity: u32,
    ledger: &[Purchase],
    cancelled: &HashSet<i64>,
) -> sqlx::Result<Judged> {
    let mut judged = judge(capacity, &rows(database, event).await?, ledger, cancelled);
    let own = super::super::judge::rows(database, event).await?;
    judged.miscounted = own.counted.abs_diff(own.seats_sold);
    judged.fences_out_of_order = u64::try_from(own.fences_out_of_order).unwrap_or(0);
    Ok(judged)
}

/// Judges the bookings of one event. `cancelled` are the bookings that the lab itself has cancelled.
fn judge(capacity: u32, rows: &[Row], ledger: &[Purchase], cancelled: &HashSet<i64>) -> Judged {
    let mut judged = Judged { bookings: rows.len() as u64, ..Judged::default() };
    let mut by_buyer: HashMap<&str, Vec<&Row>> = HashMap::new();
    let mut holders: HashMap<i32, u64> = HashMap::new();
    for row in rows {
        if row.live {
            judged.sold += u64::try_from(row.seats).unwrap_or(0);
            for seat in row.seat_numbers.iter().flatten() {
                *holders.entry(*seat).or_default() += 1;
            }
        }
        match row.buyer.as_deref() {
            Some(buyer) => by_buyer.entry(buyer).or_default().push(row),
            None => judged.unasked += 1,
        }
    }
    judged.oversold = judged.sold.saturating_sub(u64::from(capacity));
    judged.doubled = holders.values().map(|holders| holders - 1).sum();
    for purchase in ledger {
        let there = by_buyer.remove(purchase.buyer.as_str()).unwrap_or_default();
        judged.doubled += there.len().saturating_sub(1) as u64;
        match purchase.answer {
            Answer::Booked(id) => {
                let kept = there.iter().any(|row| {
                    row.id == id
                        && i64::from(row.seats) == i64::from(purchase.seats)
                        && (row.live || cancelled.contains(&id))
                });
                judged.lost += u64::from(!kept);
            }
            // An attempt without an answer may still have been under way when the next one was told that all is sold.
            Answer::SoldOut if purchase.unanswered == 0 => judged.unasked += there.len() as u64,
            Answer::SoldOut => {}
            Answer::Doubt => judged.in_doubt += 1,
        }
    }
    judged.unasked += by_buyer.values().map(|rows| rows.len() as u64).sum::<u64>();
    judged
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn row(id: i64, buyer: &str) -> Row {
        Row { id, seats: 1, buyer: Some(buyer.to_owned()), live: true, seat_numbers: None }
    }

    fn told(buyer: &str, answer: Answer) -> Purchase {
        let now = Instant::now();
        Purchase { buyer: buyer.to_owned(), seats: 1, answer, unanswered: 0, attempts: 1, began: now, ended: now }
    }

    fn judged(capacity: u32, rows: &[Row], ledger: &[Purchase]) -> Judged {
        judge(capacity, rows, ledger, &HashSet::new())
    }

    #[test]
    fn what_was_told_and_is_there_is_in_order() {
        let rows = [row(1, "a"), row(2, "b")];
        let ledger = [
            told("a", Answer::Booked(1)),
            told("b", Answer::Booked(2)),
            told("c", Answer::SoldOut),
            told("d", Answer::Doubt),
        ];
        assert_eq!(judged(2, &rows, &ledger), Judged { bookings: 2, sold: 2, in_doubt: 1, ..Judged::default() });
    }

    #[test]
    fn more_seats_than_there_are() {
        let rows = [row(1, "a"), Row { seats: 4, ..row(2, "b") }];
        assert_eq!(judged(2, &rows, &[told("a", Answer::Booked(1)), told("b", Answer::Doubt)]).oversold, 3);
    }

    #[test]
    fn a_booking_that_is_gone_or_another_one_is_lost() {
        let ledger = [told("a", Answer::Booked(1))];
        assert_eq!(judged(9, &[], &ledger).lost, 1);
        assert_eq!(judged(9, &[row(2, "a")], &ledger).lost, 1);
        assert_eq!(judged(9, &[Row { seats: 2, ..row(1, "a") }], &ledger).lost, 1);
        // Nobody cancelled it.
        let cancelled = Row { live: false, ..row(1, "a") };
        assert_eq!(judged(9, std::slice::from_ref(&cancelled), &ledger).lost, 1);
        assert_eq!(judge(9, &[cancelled], &ledger, &HashSet::from([1])).lost, 0);
    }

    #[test]
    fn one_key_two_bookings() {
        let rows = [row(1, "a"), row(2, "a"), row(3, "a")];
        assert_eq!(judged(9, &rows, &[told("a", Answer::Booked(1))]).doubled, 2);
        assert_eq!(judged(9, &rows, &[told("a", Answer::Doubt)]).doubled, 2);
    }

    #[test]
    fn one_seat_two_holders() {
        let numbered = |id, buyer| Row { seat_numbers: Some(vec![7]), ..row(id, buyer) };
        let ledger = [told("a", Answer::Booked(1)), told("b", Answer::Booked(2))];
        assert_eq!(judged(9, &[numbered(1, "a"), numbered(2, "b")], &ledger).doubled, 1);
        let given_back = Row { live: false, ..numbered(1, "a") };
        assert_eq!(judge(9, &[given_back, numbered(2, "b")], &ledger, &HashSet::from([1])).doubled, 0);
    }

    #[test]
    fn a_booking_that_nobody_asked_for() {
        assert_eq!(judged(9, &[row(1, "nobody")], &[]).unasked, 1);
        assert_eq!(judged(9, &[Row { buyer: None, ..row(1, "") }], &[]).unasked, 1);
        assert_eq!(judged(9, &[row(1, "a")], &[told("a", Answer::SoldOut)]).unasked, 1);
        let once_unanswered = Purchase { unanswered: 1, ..told("a", Answer::SoldOut) };
        assert_eq!(judged(9, &[row(1, "a")], &[once_unanswered]).unasked, 0);
    }
}
