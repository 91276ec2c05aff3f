//! Kafka between blue and green: a sink that a capture writes to, and a log that an apply reads.

pub mod codec;

mod names;
mod offsets;
mod settings;

mod aside;
mod client;
mod read_all;
mod settled;

mod difference;
mod followed;
mod owner;
mod topics;

mod debezium;
mod log;
mod replay;
mod requests;
mod sink;

pub mod preflight;

mod forget;

mod group;

mod error;

pub use debezium::{
    BinaryForm, BlueLook, BlueRows, DebeziumAsk, DebeziumLag, DebeziumLog, DebeziumSettings, DebeziumStart,
    DebeziumTable, DecimalForm, Declared, Kind, Progress, RowsRead, TimeForm,
    preflight as debezium_preflight,
};
pub use error::Error;
pub use followed::{CountedOn, counted_on};
pub use forget::forget;
pub use group::{GroupEvent, KafkaGroup, SESSION_MAX, Stopped};
pub use log::{
    Fences, KafkaLog, LagProbe, Lane, LaneLog, LanePlaces, Named, NamesLog, NamesPlace, PartitionLag,
    may_go_on,
};
pub use names::TopicNames;
pub use owner::{Claimant, LogJudge, Whose, whose};
pub use replay::{Mark, ReplayFrom, Survey, TableSurvey, group_of, is_written, partial_records, survey};
pub use requests::{KafkaRequests, RequestReader};
pub use settings::{
    ClientCertificate, Compression, Consistency, KafkaSettings, Sasl, SaslMechanism, Secret,
    TOPIC_PREFIX_LEN_MAX, Tls, Verify, topic_prefix_is_valid,
};
pub use sink::{CaptureNotes, CapturedTable, Handed, KafkaSink, transactional_id};
