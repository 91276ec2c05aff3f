//! Clients of Kafka, and what they say while they are at work.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message as _};
use rdkafka::producer::{ProducerContext, ThreadedProducer};

use crate::error::Error;
use crate::settings::KafkaSettings;

/// How long an answer of a broker may take.
pub(crate) const ANSWER_MAX: Duration = Duration::from_secs(20);

/// How long the broker keeps a transaction open of which it hears nothing. Longer than anything takes that is done within
/// one, and no longer than brokers allow unless they are told otherwise.
const TRANSACTION_MAX: Duration = Duration::from_secs(300);

/// How long a record may take to be written, broker failures included.
const DELIVERY_MAX: Duration = Duration::from_secs(60);

/// The largest record that is handed to a broker, which then judges by what the topic takes. Far below what the client queues,
/// and readers take in all of it.
pub(crate) const RECORD_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The largest request that the client sends: the largest record, with room for what goes around it.
const REQUEST_BYTES_MAX: usize = RECORD_BYTES_MAX + 4 * 1024 * 1024;

/// The largest answer that a reader takes: the largest record, and what brokers put beside it.
const ANSWER_BYTES_MAX: usize = 2 * RECORD_BYTES_MAX;

/// A complaint that is older says nothing of a call that fails now: one that lasts is repeated with every try to connect.
const COMPLAINT_MAX: Duration = Duration::from_secs(30);

/// Remembers what a client last complained of, since a call that fails for it only says that time is up.
#[derive(Debug, Clone, Default)]
pub(crate) struct Watcher(Arc<Mutex<Heard>>);

#[derive(Debug, Default)]
struct Heard {
    /// Why brokers were not reached, or did not let us in, when that last happened.
    last: Option<(Error, Instant)>,
    /// The first record of the transaction that was not written, and why.
    undelivered: Option<Error>,
    /// A broker has gone away, or could not be reached, since somebody last asked for that.
    shaken: bool,
}

impl Watcher {
    /// What an error means, in the light of what else was heard.
    pub(crate) fn judge(&self, error: &KafkaError, subject: &str) -> Error {
        let heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let judged = Error::of(error, subject);
        let Error::Unreachable { why } = &judged else { return judged };
        let last = heard.last.as_ref().filter(|(_, at)| at.elapsed() < COMPLAINT_MAX);
        match (&heard.undelivered, last.map(|(error, _)| error)) {
            (Some(undelivered), _) => undelivered.clone(),
            (None, Some(Error::Unreachable { why: network })) => {
                Error::Unreachable { why: format!("{why} ({network})") }
            }
            (None, Some(login)) => login.clone(),
            (None, None) => judged,
        }
    }

    /// The first record that was not written, and why.
    pub(crate) fn undelivered(&self) -> Option<Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).undelivered.clone()
    }

    /// Whether a broker has gone away since this was last asked.
    pub(crate) fn take_shaken(&self) -> bool {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner).shaken)
    }

    /// What was written is looked at before anything more is, as after a broker has gone away.
    pub(crate) fn shake(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).shaken = true;
    }

    /// The last complaint counts: a broker that goes down can end a handshake in the middle, which looks like being refused until
    /// it cannot be reached at all.
    fn hear(&self, code: RDKafkaErrorCode, reason: &str) {
        if code == RDKafkaErrorCode::AllBrokersDown {
            // Follows upon each of the others, and says less.
            return;
        }
        let why = reason.to_owned();
        let last = match Error::of_code(code, "") {
            Error::Login { .. } => Error::Login { why },
            _ => Error::Unreachable { why },
        };
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heard.shaken |= matches!(last, Error::Unreachable { .. });
        heard.last = Some((last, Instant::now()));
    }

    /// Brokers have done what was asked of them: what was complained of before is over.
    pub(crate) fn content(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).last = None;
    }
}

impl ClientContext for Watcher {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                tracing::warn!(facility, "Kafka client: {message}");
            }
            // What matters of these is told by the call that fails for it.
            RDKafkaLogLevel::Error
            | RDKafkaLogLevel::Warning
            | RDKafkaLogLevel::Notice
            | RDKafkaLogLevel::Info
            | RDKafkaLogLevel::Debug => tracing::debug!(facility, "Kafka client: {message}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, "Kafka client: {reason}");
        if let Some(code) = error.rdkafka_error_code() {
            self.hear(code, reason);
        }
    }
}

impl ConsumerContext for Watcher {}

impl ProducerContext for Watcher {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let Err((error, message)) = result else { return };
        // What was still queued when its transaction was given up tells nothing of why.
        let code = error.rdkafka_error_code();
        if matches!(code, Some(RDKafkaErrorCode::PurgeQueue | RDKafkaErrorCode::PurgeInflight)) {
            return;
        }
        let mut judged = Error::of(error, message.topic());
        if let Error::TooLarge { bytes, .. } = &mut judged {
            *bytes = message.payload_len() + message.key_len();
        }
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heard.undelivered.get_or_insert(judged);
    }
}

/// A producer that writes in transactions under this id.
pub(crate) fn producer(
    settings: &KafkaSettings,
    transactional_id: &str,
) -> Result<(Arc<ThreadedProducer<Watcher>>, Watcher), Error> {
    let watcher = Watcher::default();
    let mut config = settings.client_config(transactional_id);
    config.set("transactional.id", transactional_id);
    config.set("transaction.timeout.ms", TRANSACTION_MAX.as_millis().to_string());
    config.set("message.timeout.ms", DELIVERY_MAX.as_millis().to_string());
    // Implied by transactions; said so that nothing else can be implied.
    config.set("enable.idempotence", "true");
    config.set("acks", "all");
    config.set("compression.codec", settings.compression.codec());
    // A commit flushes, so that waiting for more only helps to fill the batches before it.
    config.set("linger.ms", "5");
    config.set("message.max.bytes", REQUEST_BYTES_MAX.to_string());
    config.set("queue.buffering.max.kbytes", "131072");
    let producer: ThreadedProducer<Watcher> =
        config.create_with_context(watcher.clone()).map_err(|error| Error::of(&error, "the Kafka client"))?;
    Ok((Arc::new(producer), watcher))
}

/// A client that only looks. It hears why brokers do not let us in, which a client for requests of administrators does not.
pub(crate) fn prober(settings: &KafkaSettings) -> Result<(ThreadedProducer<Watcher>, Watcher), Error> {
    let watcher = Watcher::default();
    let prober = settings.client_config("understudy-preflight").create_with_context(watcher.clone());
    Ok((prober.map_err(|error| Error::of(&error, "the Kafka client"))?, watcher))
}

/// The settings of a consumer that keeps its offsets itself and sees only what was committed.
pub(crate) fn reader_config(settings: &KafkaSettings, client_id: &str) -> ClientConfig {
    let mut config = settings.client_config(client_id);
    // Named because the client asks for one; nothing is ever stored under it.
    config.set("group.id", client_id);
    config.set("enable.auto.commit", "false");
    config.set("enable.auto.offset.store", "false");
    config.set("isolation.level", "read_committed");
    config.set("auto.offset.reset", "error");
    config.set("enable.partition.eof", "true");
    config.set("receive.message.max.bytes", ANSWER_BYTES_MAX.to_string());
    config
}

/// Whether a reader only complains that it may not take part in its group, which it is named for and asks nothing of.
pub(crate) fn is_of_group(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::GroupAuthorizationFailed)
}

/// A client that creates and describes topics.
pub(crate) fn admin(settings: &KafkaSettings) -> Result<AdminClient<DefaultClientContext>, Error> {
    let config = settings.client_config("understudy-admin");
    config.create().map_err(|error| Error::of(&error, "the Kafka client"))
}

/// How long requests to create and describe may take.
pub(crate) fn admin_options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(ANSWER_MAX)).operation_timeout(Some(ANSWER_MAX))
}

/// Does something that blocks its thread, where that disturbs nobody.
pub(crate) async fn blocking<T: Send + 'static>(
    doing: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(doing)
        .await
        .unwrap_or_else(|crash| Err(Error::Internal { why: format!("a task ended unexpectedly: {crash}") }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards that a wrong password is told as such although the call only timed out, and that a broker which went down in
    /// the middle of a handshake is not taken for one that refuses us.
    #[test]
    fn the_last_complaint_tells_why_a_call_failed() {
        let late = KafkaError::MetadataFetch(RDKafkaErrorCode::OperationTimedOut);
        let watcher = Watcher::default();
        watcher.hear(RDKafkaErrorCode::Authentication, "wrong password");
        watcher.hear(RDKafkaErrorCode::AllBrokersDown, "1/1 brokers are down");
        assert_eq!(watcher.judge(&late, "x"), Error::Login { why: "wrong password".to_owned() });
        watcher.hear(RDKafkaErrorCode::BrokerTransportFailure, "connection refused");
        assert!(matches!(watcher.judge(&late, "x"), Error::Unreachable { .. }));
    }

    /// Guards that a broker which refuses once, as while passwords are changed, does not have a capture that is let in again end
    /// for good when a call times out much later.
    #[test]
    fn an_old_complaint_is_over() {
        let late = KafkaError::MetadataFetch(RDKafkaErrorCode::OperationTimedOut);
        let watcher = Watcher::default();
        let refused = || watcher.hear(RDKafkaErrorCode::Authentication, "wrong password");
        refused();
        watcher.content();
        assert!(matches!(watcher.judge(&late, "x"), Error::Unreachable { .. }));
        refused();
        assert!(matches!(watcher.judge(&late, "x"), Error::Login { .. }));
        let long_ago = Instant::now().checked_sub(COMPLAINT_MAX).unwrap();
        watcher.0.lock().unwrap().last.as_mut().unwrap().1 = long_ago;
        assert!(matches!(watcher.judge(&late, "x"), Error::Unreachable { .. }));
    }
}
