//! Clients of Kafka, and what they say while they are at work.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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

/// A complaint that is older says nothing of a call that fails now: the client tells one that lasts twice, and then once in 30 s and a
/// pause before it connects again.
const COMPLAINT_MAX: Duration = Duration::from_secs(45);

/// Refusals that follow each other within this time are one row of them.
const REFUSALS_APART_MAX: Duration = Duration::from_secs(120);

/// For how long a client that has been let in before must be refused, and how often, until that is believed.
const REFUSED_AGAIN: (Duration, u32) = (Duration::from_secs(30), 4);

/// The same for one that never was: a broker that goes down while it shakes hands does that once.
const REFUSED_FIRST: (Duration, u32) = (Duration::ZERO, 2);

/// Remembers what a client last complained of, since a call that fails for it only says that time is up.
#[derive(Debug, Clone, Default)]
pub(crate) struct Watcher(Arc<Mutex<Heard>>);

#[derive(Debug, Default)]
struct Heard {
    /// Why brokers were not reached, or did not let us in, when that last happened.
    last: Option<(Error, Instant)>,
    /// The first record of the transaction that was not written, and why.
    undelivered: Option<Error>,
    /// A broker could not be reached, or has complained otherwise, since somebody last asked for that. Of one that has merely
    /// closed its connection the client says nothing.
    shaken: bool,
    refusals: Refusals,
}

impl Heard {
    /// Says of what only was not reached what else was heard. `refused`: whether it is believed that we are not let in.
    fn explain(&self, judged: Error, refused: bool) -> Error {
        let why = match &judged {
            Error::Login { why } if !refused => return Error::Unreachable { why: why.clone() },
            Error::Unreachable { why } => why,
            _ => return judged,
        };
        let last = self.last.as_ref().filter(|(_, at)| at.elapsed() < COMPLAINT_MAX);
        match (&self.undelivered, last.map(|(error, _)| error)) {
            (Some(undelivered), _) => undelivered.clone(),
            (None, Some(login @ Error::Login { .. })) if refused => login.clone(),
            (None, Some(Error::Unreachable { why: last } | Error::Login { why: last })) => {
                Error::Unreachable { why: format!("{why} ({last})") }
            }
            (None, Some(_) | None) => judged,
        }
    }
}

/// Brokers that do not let a client in. The client says the same of one that goes down before it has answered a login.
#[derive(Debug, Default)]
struct Refusals {
    was_let_in: bool,
    /// The first and the last one of a row, and how many.
    row: Option<(Instant, Instant, u32)>,
}

impl Refusals {
    fn refused(&mut self, at: Instant) {
        self.row = match self.row {
            Some((first, last, times)) if at.duration_since(last) <= REFUSALS_APART_MAX => {
                Some((first, at, times + 1))
            }
            Some(_) | None => Some((at, at, 1)),
        };
    }

    fn let_in(&mut self) {
        (self.was_let_in, self.row) = (true, None);
    }

    /// Whether that is how it stays, for who has nothing else to go by than what the client says.
    fn stay(&self) -> bool {
        let (least, often) = if self.was_let_in { REFUSED_AGAIN } else { REFUSED_FIRST };
        self.row.is_some_and(|(first, last, times)| times >= often && last.duration_since(first) >= least)
    }

    /// The same for who has waited for an answer in vain.
    fn explain(&self) -> bool {
        !self.was_let_in || self.stay()
    }
}

impl Watcher {
    /// What it means that something was asked for in vain, in the light of what else was heard.
    pub(crate) fn judge(&self, error: &KafkaError, subject: &str) -> Error {
        let heard = self.heard();
        heard.explain(Error::of(error, subject), heard.refusals.explain())
    }

    /// What it means that the client complains by itself, while nobody waits for an answer. Each complaint is heard before it comes
    /// here.
    pub(crate) fn judge_complaint(&self, error: &KafkaError, subject: &str) -> Error {
        let heard = self.heard();
        heard.explain(Error::of(error, subject), heard.refusals.stay())
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first record that was not written, and why.
    pub(crate) fn undelivered(&self) -> Option<Error> {
        self.heard().undelivered.clone()
    }

    /// Whether there was anything amiss with a broker since this was last asked. What only moved from one broker to another, with
    /// nobody connecting to the first one again, does not show here.
    pub(crate) fn take_shaken(&self) -> bool {
        std::mem::take(&mut self.heard().shaken)
    }

    /// What was written is looked at before anything more is, as after a broker has gone away.
    pub(crate) fn shake(&self) {
        self.heard().shaken = true;
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
        let (mut heard, now) = (self.heard(), Instant::now());
        match last {
            Error::Login { .. } => heard.refusals.refused(now),
            _ => heard.shaken = true,
        }
        heard.last = Some((last, now));
    }

    /// Brokers have done what was asked of them: what was complained of before is over.
    pub(crate) fn content(&self) {
        let mut heard = self.heard();
        heard.last = None;
        heard.refusals.let_in();
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
        let mut heard = self.heard();
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
    // Only what was not written is looked at: that a transaction was written, its commit tells.
    config.set("delivery.report.only.error", "true");
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
        watcher.hear(RDKafkaErrorCode::Authentication, "wrong password");
        assert!(matches!(watcher.judge(&late, "x"), Error::Login { .. }));
        let long_ago = Instant::now().checked_sub(COMPLAINT_MAX).unwrap();
        watcher.0.lock().unwrap().last.as_mut().unwrap().1 = long_ago;
        assert!(matches!(watcher.judge(&late, "x"), Error::Unreachable { .. }));
    }

    /// Guards a rolling restart of brokers where clients log in: one that goes down in the middle of a login is told of as one that
    /// refuses us, which would end an apply or a capture for good while the others serve.
    #[test]
    fn a_login_that_was_cut_short_is_no_refusal() {
        let late = KafkaError::MetadataFetch(RDKafkaErrorCode::OperationTimedOut);
        let cut = KafkaError::MessageConsumption(RDKafkaErrorCode::Authentication);
        let watcher = Watcher::default();
        let hear = || watcher.hear(RDKafkaErrorCode::Authentication, "handshake failed: disconnected");
        let complaint = || watcher.judge_complaint(&cut, "x");
        hear();
        assert!(matches!(complaint(), Error::Unreachable { .. }), "the first broker it ever asked");
        watcher.content();
        for _ in 0..3 {
            hear();
            assert!(matches!(complaint(), Error::Unreachable { .. }), "it was let in before");
            let judged = watcher.judge(&late, "x");
            assert!(matches!(judged, Error::Unreachable { why } if why.contains("handshake")));
        }
    }

    /// Guards that a wrong password is told at once, and one that was changed under way once it is certain.
    #[test]
    fn a_refusal_that_stays_is_told() {
        let start = Instant::now();
        let stays = |was_let_in: bool, seconds: &[u64]| {
            let mut refusals = Refusals { was_let_in, ..Refusals::default() };
            for at in seconds {
                refusals.refused(start + Duration::from_secs(*at));
            }
            refusals.stay()
        };
        assert!(!stays(false, &[0]) && stays(false, &[0, 0]));
        assert!(!stays(true, &[0, 1, 31]) && stays(true, &[0, 1, 31, 62]));
        assert!(!stays(true, &[0, 1, 2, 3]), "one broker that comes and goes within seconds");
        assert!(!stays(true, &[0, 200, 400, 600, 800]), "each of them was cut short by itself");
        let mut refusals = Refusals::default();
        refusals.refused(start);
        assert!(refusals.explain(), "whoever waited in vain is told why");
        refusals.let_in();
        refusals.refused(start);
        assert!(!refusals.explain());
    }
}
