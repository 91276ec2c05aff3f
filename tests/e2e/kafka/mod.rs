//! Through Kafka, on real brokers.

mod broker;
mod debezium;
mod debezium_apply;
mod fan_out;
mod lanes;
mod log;
mod mart;
mod preflight;
mod replay;
mod sink;
mod stock;
mod through;
