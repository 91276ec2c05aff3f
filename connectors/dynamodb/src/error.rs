//! What goes wrong with DynamoDB, turned into failures with a class and a remedy, and without row values.

use std::fmt;

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use understudy_contract::{Class, Failure};

use crate::types::NotFit;

/// Something that DynamoDB, or the way to it, did not do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// Calls are refused for being too many, for longer than we wait.
    Throttled {
        /// The table.
        table: String,
    },
    /// There is no answer, or none that can be relied on, for longer than we wait. What was asked for may have been done.
    NoAnswer {
        /// What the client says of it.
        why: String,
    },
    /// The credentials are not valid any more.
    Expired,
    /// The credentials are not accepted.
    Login {
        /// The name of the refusal.
        code: String,
    },
    /// The credentials do not allow a call.
    NotAllowed {
        /// The call.
        operation: &'static str,
        /// The table.
        table: String,
    },
    /// A table is missing.
    NoTable {
        /// The table.
        table: String,
    },
    /// A table has another key, or an index another type, than it is said to have.
    Schema {
        /// The table.
        table: String,
    },
    /// A call is refused, and not for a reason that is known.
    Invalid {
        /// The call.
        operation: &'static str,
        /// The table.
        table: String,
        /// The name of the refusal.
        code: String,
    },
    /// A row cannot be stored.
    NotFit(NotFit),
    /// An item would be larger than DynamoDB takes.
    TooLarge {
        /// The table.
        table: String,
    },
    /// The item of a row is somebody else's: tagged so, or there before the first copy.
    Others {
        /// The table.
        table: String,
        /// The item, by a digest of its key.
        item: String,
    },
    /// An item is changed again and again while we write it.
    Unsteady {
        /// The table.
        table: String,
        /// The item, by a digest of its key.
        item: String,
    },
    /// Another instance has claimed the migration.
    Superseded,
    /// The state of the migration is not as this instance recorded it.
    Disturbed {
        /// The state table.
        table: String,
    },
    /// An item of the state table cannot be read.
    Unreadable {
        /// The state table.
        table: String,
        /// What is wrong, by the item's kind.
        what: &'static str,
    },
}

impl Error {
    /// Whether it is a row's fault alone, so that others can go on.
    pub(crate) fn is_of_row(&self) -> bool {
        matches!(self, Error::NotFit(_) | Error::TooLarge { .. } | Error::Others { .. })
    }

    fn class(&self) -> Class {
        match self {
            Error::Throttled { .. } | Error::NoAnswer { .. } | Error::Expired | Error::Unsteady { .. } => {
                Class::Transient
            }
            Error::Login { .. } | Error::NotAllowed { .. } | Error::NoTable { .. } | Error::Schema { .. } => {
                Class::Configuration
            }
            Error::NotFit(_) | Error::TooLarge { .. } | Error::Others { .. } => Class::Data,
            Error::Superseded => Class::Superseded,
            Error::Disturbed { .. } | Error::Unreadable { .. } => Class::Diverged,
            Error::Invalid { .. } => Class::Internal,
        }
    }

    fn remedy(&self) -> &'static str {
        match self {
            Error::Throttled { .. } => {
                "raise the table's capacity or its on-demand limits, or look for a hot key; nothing is lost, the sidecar goes on by \
                 itself"
            }
            Error::NoAnswer { .. } => {
                "check the network and AWS's health; nothing is lost, the sidecar goes on by itself"
            }
            Error::Expired => {
                "renew the credentials where the sidecar finds them; it looks for them again and goes on by itself"
            }
            Error::Login { .. } => {
                "`aws sts get-caller-identity` says who the sidecar is; correct the credentials"
            }
            Error::NotAllowed { .. } => {
                "add the call to the policy of the sidecar's role: `understudy plan` prints it"
            }
            Error::NoTable { .. } => "create the table: `understudy plan` prints its definition",
            Error::Schema { .. } => "compare the table's key and indexes with `understudy plan`",
            Error::NotFit(_) | Error::TooLarge { .. } => {
                "change the mapping so that the row can be stored, or set `on_error: quarantine`, and run again"
            }
            Error::Others { .. } => {
                "find out who writes such keys: give the route a prefix of its own, remove the item, or set `existing_rows: adopt` \
                 if it is blue's without a tag of ours, and run again"
            }
            Error::Unsteady { .. } => {
                "find out who else writes this table; the sidecar tries again by itself"
            }
            Error::Superseded => "nothing: the other instance goes on",
            Error::Disturbed { .. } | Error::Unreadable { .. } => {
                "someone changed the state table: find out who before running again"
            }
            Error::Invalid { .. } => "report this with the log around it",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Throttled { table } => {
                write!(f, "DynamoDB keeps refusing calls to table {table} for being too many")
            }
            Error::NoAnswer { why } => write!(f, "DynamoDB does not answer: {why}"),
            Error::Expired => f.write_str("the credentials for DynamoDB have expired"),
            Error::Login { code } => write!(f, "DynamoDB does not accept the credentials ({code})"),
            Error::NotAllowed { operation, table } => {
                write!(f, "{operation} on table {table} is not allowed")
            }
            Error::NoTable { table } => write!(f, "there is no table {table} on DynamoDB"),
            Error::Schema { table } => write!(f, "the key of table {table} is not as the mapping says"),
            Error::Invalid { operation, table, code } => {
                write!(f, "{operation} on table {table} is refused ({code})")
            }
            Error::NotFit(not_fit) => write!(f, "{not_fit}"),
            Error::TooLarge { table } => {
                write!(f, "an item of table {table} would have more than the 400 KB that DynamoDB takes")
            }
            Error::Others { table, item } => {
                write!(
                    f,
                    "the item {item} of table {table} is another route's or another migration's, or was there before"
                )
            }
            Error::Unsteady { table, item } => {
                write!(f, "the item {item} of table {table} is changed by somebody else all the time")
            }
            Error::Superseded => f.write_str("another instance has taken over this migration on green"),
            Error::Disturbed { table } => {
                write!(f, "the state in table {table} is not the one that this instance recorded")
            }
            Error::Unreadable { table, what } => {
                write!(f, "the state in table {table} is not readable: {what}")
            }
        }
    }
}

impl std::error::Error for Error {}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::new(error.class(), error.to_string()).remedy(error.remedy())
    }
}

impl From<NotFit> for Error {
    fn from(not_fit: NotFit) -> Error {
        Error::NotFit(not_fit)
    }
}

/// What an attempt at a call comes to, where it does not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It was not done, since there are too many: to be tried again, with fewer at once.
    Throttled,
    /// It may have been done or not: to be tried again.
    Unsure(String),
    /// A condition does not hold.
    Unmet,
    /// The map below which something was to be written is not there.
    NoRoom,
    /// A transaction is given up, for reasons that its own error tells.
    Canceled,
    /// There is no point in trying again.
    Failed(Error),
}

/// What is to be made of an error of an operation on a table.
pub(crate) fn fault<E, R>(error: &SdkError<E, R>, (operation, table): (&'static str, &str)) -> Fault
where
    E: ProvideErrorMetadata,
{
    let service = match error {
        SdkError::ServiceError(service) => service.err(),
        SdkError::TimeoutError(_) => return Fault::Unsure("no answer came in time".to_owned()),
        SdkError::DispatchFailure(failure) => {
            let why = match (failure.is_timeout(), failure.is_io()) {
                (true, _) => "no connection came about in time",
                (_, true) => "the connection broke",
                // Whoever hands out credentials may be away for a while as well.
                _ => "the request could not be sent",
            };
            return Fault::Unsure(why.to_owned());
        }
        SdkError::ResponseError(_) => return Fault::Unsure("the answer is not readable".to_owned()),
        _ => {
            return Fault::Failed(Error::Invalid {
                operation,
                table: table.to_owned(),
                code: "not sent".to_owned(),
            });
        }
    };
    let (code, message) = (service.code().unwrap_or("unknown"), service.message().unwrap_or_default());
    named((operation, table), code, message)
}

/// What is to be made of what is against a part of a transaction, where that has the name of an error without its ending.
pub(crate) fn refusal((operation, table): (&'static str, &str), code: &str, message: &str) -> Fault {
    match code {
        "ConditionalCheckFailed" => Fault::Unmet,
        "ItemCollectionSizeLimitExceeded" => Fault::Failed(Error::TooLarge { table: table.to_owned() }),
        _ => named((operation, table), code, message),
    }
}

fn named((operation, table): (&'static str, &str), code: &str, message: &str) -> Fault {
    let name = || table.to_owned();
    Fault::Failed(match code {
        "ProvisionedThroughputExceededException"
        | "ThrottlingException"
        | "Throttling"
        | "RequestLimitExceeded"
        | "TransactionInProgressException"
        | "TransactionConflictException"
        | "ReplicatedWriteConflictException" => return Fault::Throttled,
        "InternalServerError" | "InternalFailure" | "ServiceUnavailable" | "ServiceUnavailableException" => {
            return Fault::Unsure(format!("an error of the server ({code})"));
        }
        "ConditionalCheckFailedException" => return Fault::Unmet,
        "TransactionCanceledException" => return Fault::Canceled,
        "ExpiredTokenException" | "ExpiredToken" | "RequestExpired" => Error::Expired,
        "UnrecognizedClientException"
        | "InvalidSignatureException"
        | "IncompleteSignatureException"
        | "IncompleteSignature"
        | "InvalidClientTokenId"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException" => Error::Login { code: code.to_owned() },
        "AccessDeniedException" | "AccessDenied" | "NotAuthorized" | "OptInRequired" => {
            Error::NotAllowed { operation, table: name() }
        }
        "ResourceNotFoundException" | "TableNotFoundException" => Error::NoTable { table: name() },
        "ItemCollectionSizeLimitExceededException" => Error::TooLarge { table: name() },
        "ValidationException" | "ValidationError" => return invalid((operation, table), message),
        other => Error::Invalid { operation, table: name(), code: other.to_owned() },
    })
}

/// A request that is refused as such. Its message may hold values, so nothing of it is passed on.
fn invalid((operation, table): (&'static str, &str), message: &str) -> Fault {
    let message = message.to_ascii_lowercase();
    let table = table.to_owned();
    if message.contains("document path") && message.contains("invalid for update") {
        return Fault::NoRoom;
    }
    Fault::Failed(if message.contains("item size") || message.contains("exceeded the maximum allowed size") {
        Error::TooLarge { table }
    } else if message.contains("does not match the schema")
        || message.contains("type mismatch for")
        || message.contains("missing the key")
    {
        Error::Schema { table }
    } else {
        Error::Invalid { operation, table, code: "ValidationException".to_owned() }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALL: (&str, &str) = ("PutItem", "shop");

    /// What passes by itself is tried again, and what does not is told apart: a wrong class stops a run that could go on, or
    /// tries for ever what an operator has to mend.
    #[test]
    fn refusals_are_told_apart() {
        assert_eq!(named(CALL, "ThrottlingException", ""), Fault::Throttled);
        assert!(matches!(named(CALL, "InternalServerError", ""), Fault::Unsure(_)));
        for (code, class) in [
            ("ExpiredTokenException", Class::Transient),
            ("InvalidSignatureException", Class::Configuration),
            ("AccessDeniedException", Class::Configuration),
            ("ResourceNotFoundException", Class::Configuration),
            ("ItemCollectionSizeLimitExceededException", Class::Data),
            ("Unheard", Class::Internal),
        ] {
            let Fault::Failed(error) = named(CALL, code, "") else { panic!("{code} is tried again") };
            let failure = Failure::from(error);
            assert_eq!(failure.class(), class, "{code}");
            assert!(failure.remedy_text().is_some());
        }
    }

    /// Promise 8: what the server says of a value is not passed on.
    #[test]
    fn messages_of_the_server_are_not_shown() {
        let message = "A value provided cannot be converted into a number: guarded";
        let Fault::Failed(error) = named(CALL, "ValidationException", message) else { panic!("a failure") };
        assert!(!error.to_string().contains("guarded"), "{error}");
        let message = "Item size to update has exceeded the maximum allowed size";
        assert_eq!(
            named(CALL, "ValidationException", message),
            Fault::Failed(Error::TooLarge { table: "shop".to_owned() })
        );
        let message = "The document path provided in the update expression is invalid for update";
        assert_eq!(named(CALL, "ValidationException", message), Fault::NoRoom);
    }
}
