//! What an error of a server means for a read: try later, ask for less, look at the mapping, or give up.

use understudy_contract::{Failure, NotRead};

use crate::error::{ServerError, server_error};

/// Why a read ended without a result.
#[derive(Debug)]
pub(super) enum Stop {
    /// The server and the connection are in order.
    Not(NotRead),
    /// They are not.
    Failed(Failure),
}

pub(super) type Step<T> = Result<T, Stop>;

impl From<NotRead> for Stop {
    fn from(why: NotRead) -> Stop {
        Stop::Not(why)
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Stop {
        match server_error(&failure).filter(|error| !error.is_fatal()).and_then(not_read) {
            Some(why) => Stop::Not(why),
            None => Stop::Failed(failure),
        }
    }
}

impl Stop {
    /// The same for a statement that does nothing but wait for a lock.
    pub(super) fn waiting(failure: Failure) -> Stop {
        match Stop::from(failure) {
            Stop::Not(NotRead::TooSlow) => Stop::Not(NotRead::Busy),
            other => other,
        }
    }
}

fn not_read(error: &ServerError) -> Option<NotRead> {
    match error.sqlstate.as_str() {
        "57014" => return Some(NotRead::TooSlow),
        "55P03" | "40P01" => return Some(NotRead::Busy),
        // A missing right is for an operator to grant, and a syntax error is ours.
        "42501" | "42601" => return None,
        _ => {}
    }
    match error.sqlstate.get(..2)? {
        // Messages of this class hold names and types, and no values.
        "42" | "3F" => Some(NotRead::Changed(error.to_string())),
        "22" | "21" | "23" | "44" | "54" | "P0" | "2F" | "38" | "39" | "0A" => {
            Some(NotRead::Unreadable(unreadable(&error.sqlstate)))
        }
        "XX" if matches!(error.sqlstate.as_str(), "XX001" | "XX002") => {
            Some(NotRead::Unreadable(unreadable(&error.sqlstate)))
        }
        _ => None,
    }
}

/// What a SQLSTATE stands for. The server's own message may quote the row.
fn unreadable(sqlstate: &str) -> String {
    let meaning = match sqlstate {
        "22012" => "a division by zero",
        "22001" => "a text too long for its type",
        "22003" => "a number out of its type's range",
        "22007" | "22008" | "22009" => "a date or time that is malformed or out of range",
        "22021" | "22P05" => "a character that the encoding does not have",
        "22023" => "a value that a function does not take",
        "22P02" | "22P03" => "a text that is malformed for its type",
        "2201B" | "22025" => "a malformed pattern",
        "22004" | "23502" => "a null where none may be",
        "23514" => "a value that a constraint of its type refuses",
        "XX001" => "damaged data on the server's disk",
        "XX002" => "a damaged index",
        _ => match sqlstate.get(..2) {
            Some("22") => "a value that an expression does not take",
            Some("21") => "more than one row where one is expected",
            Some("54") => "a value beyond a limit of the server",
            Some("0A") => "something that the server does not support",
            Some("P0" | "38" | "39" | "2F") => "an error that a function on the server raised",
            _ => "a value that is refused",
        },
    };
    format!("reading met {meaning} (SQLSTATE {sqlstate})")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stop(sqlstate: &str, message: &str) -> Stop {
        let body = format!("SERROR\0VERROR\0C{sqlstate}\0M{message}\0\0");
        Stop::from(ServerError::from_fields(body.as_bytes()).into_failure())
    }

    /// Promise: every way a read can fail is told apart, so that none is taken for rows that are not there.
    #[test]
    fn errors_become_answers_or_stay_failures() {
        for (sqlstate, wanted) in
            [("57014", NotRead::TooSlow), ("55P03", NotRead::Busy), ("40P01", NotRead::Busy)]
        {
            assert!(matches!(stop(sqlstate, "m"), Stop::Not(why) if why == wanted), "{sqlstate}");
        }
        for sqlstate in ["42P01", "42703", "42883", "42804", "3F000", "42704"] {
            assert!(matches!(stop(sqlstate, "m"), Stop::Not(NotRead::Changed(_))), "{sqlstate}");
        }
        for sqlstate in ["22012", "22P02", "23514", "P0001", "54000", "0A000", "XX001", "21000"] {
            assert!(matches!(stop(sqlstate, "m"), Stop::Not(NotRead::Unreadable(_))), "{sqlstate}");
        }
        for sqlstate in ["42501", "42601", "53100", "57P01", "40001", "XX000", "55000"] {
            assert!(matches!(stop(sqlstate, "m"), Stop::Failed(_)), "{sqlstate}");
        }
        assert!(matches!(
            Stop::from(Failure::new(understudy_contract::Class::Transient, "gone")),
            Stop::Failed(_)
        ));
    }

    /// Promise: what is told of a row holds no value of it.
    #[test]
    fn no_value_survives_in_an_answer() {
        for sqlstate in ["22P02", "22003", "P0001", "23514", "2201B", "39004"] {
            let told = format!("{:?}", stop(sqlstate, "value 4711 is bad: \"4711\""));
            assert!(told.contains(sqlstate) && !told.contains("4711"), "{told}");
        }
    }

    /// A statement time limit below the lock's must not make a locked table look slow.
    #[test]
    fn running_out_of_time_for_a_lock_is_busy() {
        let body = b"SERROR\0VERROR\0C57014\0Mm\0\0";
        let failure = ServerError::from_fields(body).into_failure();
        assert!(matches!(Stop::waiting(failure), Stop::Not(NotRead::Busy)));
    }
}
