//! What a consumer complains of: what passes by itself, and what does not.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::client::Watcher;
use crate::error::Error;

/// Something that a consumer complains of.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The client goes on trying.
    Passes,
    /// Nothing more comes until something else is done.
    Stays(Error),
}

/// What an error means for who reads this topic.
pub(crate) fn judge(error: &KafkaError, topic: &str, watcher: &Watcher) -> Trouble {
    use RDKafkaErrorCode as Code;
    let code = error.rdkafka_error_code();
    let judged = match code {
        Some(Code::AutoOffsetReset | Code::OffsetOutOfRange) => {
            let why = "the record to go on from is no longer there".to_owned();
            Error::Expired { topic: topic.to_owned(), why }
        }
        // The group is only a name: nothing is asked of it.
        Some(Code::GroupAuthorizationFailed) => return Trouble::Passes,
        _ => watcher.judge_complaint(error, topic),
    };
    let is_down = matches!(code, Some(Code::AllBrokersDown));
    if matches!(judged, Error::Unreachable { .. }) && !is_down {
        tracing::debug!(topic, %error, "the Kafka client tries again");
        return Trouble::Passes;
    }
    Trouble::Stays(judged)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(code: RDKafkaErrorCode) -> Trouble {
        judge(&KafkaError::MessageConsumption(code), "shop.public.orders", &Watcher::default())
    }

    /// Guards that a log which was shortened, deleted or closed to us stops the apply, and that a broker which restarts does
    /// not.
    #[test]
    fn only_what_stays_stops_an_apply() {
        use RDKafkaErrorCode as Code;
        for passes in
            [Code::BrokerTransportFailure, Code::NotLeaderForPartition, Code::GroupAuthorizationFailed]
        {
            assert!(matches!(of(passes), Trouble::Passes), "{passes:?}");
        }
        assert!(matches!(of(Code::AutoOffsetReset), Trouble::Stays(Error::Expired { .. })));
        assert!(matches!(of(Code::UnknownTopicOrPartition), Trouble::Stays(Error::NoTopic { .. })));
        assert!(matches!(of(Code::TopicAuthorizationFailed), Trouble::Stays(Error::NotAllowed { .. })));
        assert!(matches!(of(Code::AllBrokersDown), Trouble::Stays(Error::Unreachable { .. })));
        assert!(
            matches!(of(Code::Authentication), Trouble::Passes),
            "it may have gone down in the middle of a login"
        );
    }
}
