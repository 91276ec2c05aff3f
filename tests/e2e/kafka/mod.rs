//! Through Kafka, on real brokers.

mod broker;
mod log;
mod preflight;
mod sink;
mod through;
