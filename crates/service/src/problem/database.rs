//! What a client is told when the database fails: never the database's own words.

use std::time::Duration;

use crate::Problem;
use crate::problem::Chain;

/// How long a client should wait before it tries again what failed for want of the database.
const RETRY_AFTER: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// The database cannot be reached, is starting or stopping, or has no connection or time left: 503.
    Unavailable,
    /// The transaction lost against another one and may well win when tried again: 503.
    TryAgain,
    /// The value cannot be stored as what it is (a NUL character in a text, a number out of range): 422.
    Data,
    /// Ours: 500.
    Internal,
}

/// The last resort for an error that the application did not expect. A violated constraint that has a meaning to
/// the client (a duplicate, an unknown author) is the application's to name before it gets here.
///
/// 503 with `Retry-After` when the database cannot serve now, 422 when the database refused a value as such, 500
/// otherwise. Logged with its sources; the client gets none of the text.
impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        let verdict = verdict(&error);
        let error = Chain(&error);
        match verdict {
            Verdict::Unavailable => {
                tracing::warn!(%error, "database unavailable");
                Self::unavailable("The database cannot be used right now.", RETRY_AFTER)
            }
            Verdict::TryAgain => {
                tracing::info!(%error, "transaction lost against another");
                Self::unavailable("Another request changed the same data at the same time.", RETRY_AFTER)
            }
            Verdict::Data => {
                tracing::info!(%error, "value refused by the database");
                Self::unprocessable("A value has a character or a size that cannot be stored.")
            }
            Verdict::Internal => {
                tracing::error!(%error, "database error");
                Self::internal_logged()
            }
        }
    }
}

/// Whether the database cannot answer now, as opposed to having been asked a wrong question.
pub(crate) fn is_unavailable(error: &sqlx::Error) -> bool {
    verdict(error) == Verdict::Unavailable
}

fn verdict(error: &sqlx::Error) -> Verdict {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => Verdict::Unavailable,
        sqlx::Error::Database(error) => error.code().as_deref().map_or(Verdict::Internal, verdict_of_sqlstate),
        _ => Verdict::Internal,
    }
}

/// By SQLSTATE: <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
fn verdict_of_sqlstate(code: &str) -> Verdict {
    match code {
        // serialization_failure, deadlock_detected, lock_not_available
        "40001" | "40P01" | "55P03" => Verdict::TryAgain,
        // query_canceled (statement_timeout), too_many_connections, disk_full, out_of_memory
        "57014" | "53300" | "53100" | "53200" => Verdict::Unavailable,
        // character_not_in_repertoire, untranslatable_character, string too long, number out of range, bad datetime
        "22021" | "22P05" | "22001" | "22003" | "22008" => Verdict::Data,
        // read_only_sql_transaction: the connection is to a server that was demoted; idle in a transaction for too long
        "25006" | "25P03" => Verdict::Unavailable,
        // connection exceptions; operator intervention (shutdown, crash, starting up)
        code if code.starts_with("08") || code.starts_with("57P") => Verdict::Unavailable,
        _ => Verdict::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_connection_is_unavailable_and_a_programming_error_is_not() {
        assert_eq!(Problem::from(sqlx::Error::PoolTimedOut).status(), 503);
        assert_eq!(Problem::from(sqlx::Error::Io(std::io::Error::other("10.1.2.3 reset"))).status(), 503);
        assert_eq!(Problem::from(sqlx::Error::RowNotFound).status(), 500);
        for (code, expected) in [
            ("57P01", Verdict::Unavailable),
            ("08006", Verdict::Unavailable),
            ("40001", Verdict::TryAgain),
            ("22021", Verdict::Data),
            ("42703", Verdict::Internal),
            ("23505", Verdict::Internal),
        ] {
            assert_eq!(verdict_of_sqlstate(code), expected, "{code}");
        }
    }
}
