//! Kafka between blue and green: a sink that a capture writes to, and a log that an apply reads.

pub mod codec;

mod names;
mod settings;

mod client;
mod read_all;
mod settled;
mod topics;

mod log;
mod requests;
mod sink;

pub mod preflight;

mod forget;

mod error;

pub use error::Error;
pub use forget::forget;
pub use log::{KafkaLog, LagProbe, PartitionLag};
pub use names::TopicNames;
pub use requests::{KafkaRequests, RequestReader};
pub use settings::{
    ClientCertificate, Compression, KafkaSettings, Sasl, SaslMechanism, Secret, TOPIC_PREFIX_LEN_MAX, Tls,
    Verify, topic_prefix_is_valid,
};
pub use sink::{CaptureNotes, CapturedTable, KafkaSink, transactional_id};
