//! Through Kafka, on real brokers.

mod alone;
mod broker;
mod debezium;
mod debezium_apply;
mod ending;
mod fan_out;
mod frozen;
mod gained;
mod lanes;
mod lanes_verified;
mod load;
mod log;
mod mart;
mod outages;
mod preflight;
mod refused;
mod replay;
mod sink;
mod stock;
mod through;
mod unreached;
