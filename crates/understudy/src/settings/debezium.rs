//! The `debezium` section under `through.kafka`: how the connector is set whose topics are read.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use understudy_kafka::{
    BinaryForm, DebeziumSettings, DecimalForm, Declared, KafkaSettings, Progress, TimeForm,
};

use super::Settings;
use super::resolve::Resolver;
use super::yaml::Placed;

/// How the connector is set whose topics are read. Its settings have their own names here, with `_` for dots.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields, rename = "Debezium")]
pub(super) struct RawDebezium {
    /// The connector's `slot.name` on blue, which tells how far it has come. Left out: `debezium`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    slot: Option<Placed<String>>,
    /// In place of `slot` the topic in which Kafka Connect keeps its offsets (`offset.storage.topic`): it tells the same, and
    /// never too much.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    offsets_topic: Option<Placed<String>>,
    /// Whether the converter writes the default of a column for null. It does unless it is told not to, and what was null
    /// cannot be told then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    replace_null_with_default: Option<bool>,
    /// How decimals are written. Only needed for records without a schema.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    decimal_handling_mode: Option<RawDecimals>,
    /// How dates and times are written. Only needed for records without a schema.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    time_precision_mode: Option<RawTimes>,
    /// How bytes are written. Only needed for records without a schema, and for those that hold them as texts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    binary_handling_mode: Option<RawBinaries>,
}

/// How decimals are written.
#[derive(Debug, Clone, Copy, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "DebeziumDecimals")]
enum RawDecimals {
    /// As texts.
    String,
}

/// How dates and times are written.
#[derive(Debug, Clone, Copy, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "DebeziumTimes")]
enum RawTimes {
    /// By the digits that the column has.
    Adaptive,
    /// The same, and times of the day always in microseconds.
    AdaptiveTimeMicroseconds,
    /// As ISO texts.
    #[serde(rename = "isostring")]
    IsoString,
    /// In microseconds.
    Microseconds,
    /// In nanoseconds.
    Nanoseconds,
}

/// How bytes are written.
#[derive(Debug, Clone, Copy, Deserialize, Serialize, JsonSchema)]
#[schemars(rename = "DebeziumBinaries")]
enum RawBinaries {
    /// As bytes, which JSON holds as base64.
    #[serde(rename = "bytes")]
    Bytes,
    /// As base64.
    #[serde(rename = "base64")]
    Base64,
    /// As base64 with the letters that may stand in addresses.
    #[serde(rename = "base64-url-safe")]
    Base64UrlSafe,
    /// In hexadecimal.
    #[serde(rename = "hex")]
    Hex,
}

impl Settings {
    /// The log that a capture of ours fills. Topics of Debezium are none: nothing in them, nor on blue, is ours.
    pub fn own_log(&self) -> Option<&KafkaSettings> {
        self.through.as_ref().filter(|kafka| kafka.debezium.is_none())
    }
}

impl Resolver<'_> {
    /// What is set for Debezium's topics, if the topics are those. The outer `None`: it cannot be.
    pub(super) fn debezium(
        &mut self,
        (is_debezium, raw): (bool, Option<&RawDebezium>),
        path: &str,
    ) -> Option<Option<DebeziumSettings>> {
        let path = format!("{path}.debezium");
        if !is_debezium {
            if raw.is_none() {
                return Some(None);
            }
            self.report(
                None,
                &path,
                "it is set for topics of our own",
                "add `format: debezium`, or take it out",
            );
            return None;
        }
        let raw = raw.cloned().unwrap_or_default();
        let progress = match (&raw.slot, &raw.offsets_topic) {
            (Some(_), Some(topic)) => {
                self.report(
                    topic.place,
                    &format!("{path}.offsets_topic"),
                    "`slot` is set too",
                    "keep one of them: the topic where the worker has one, else the slot",
                );
                return None;
            }
            (None, Some(topic)) => Progress::Offsets(self.filled(topic, &format!("{path}.offsets_topic"))?),
            (Some(slot), None) => Progress::Slot(self.filled(slot, &format!("{path}.slot"))?),
            (None, None) => DebeziumSettings::default().progress,
        };
        let declared = Declared {
            decimals: raw.decimal_handling_mode.map(|RawDecimals::String| DecimalForm::String),
            times: raw.time_precision_mode.map(|mode| match mode {
                RawTimes::Adaptive => TimeForm::Adaptive,
                RawTimes::AdaptiveTimeMicroseconds => TimeForm::AdaptiveTimeMicroseconds,
                RawTimes::IsoString => TimeForm::IsoString,
                RawTimes::Microseconds => TimeForm::Microseconds,
                RawTimes::Nanoseconds => TimeForm::Nanoseconds,
            }),
            binaries: raw.binary_handling_mode.map(|mode| match mode {
                RawBinaries::Bytes | RawBinaries::Base64 => BinaryForm::Base64,
                RawBinaries::Base64UrlSafe => BinaryForm::Base64UrlSafe,
                RawBinaries::Hex => BinaryForm::Hex,
            }),
            replaces_null: raw.replace_null_with_default,
        };
        Some(Some(DebeziumSettings { progress, declared }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{read, refused, with};
    use super::*;

    fn of(kafka: &str) -> String {
        with(&format!(
            "tables: [{{ from: public.* }}]\nthrough:\n  kafka: {{ brokers: ['kafka:9092'], {kafka} }}\n"
        ))
    }

    /// Guards that what a person says of a connector is what records are read by: a wrong unit makes wrong moments.
    #[test]
    fn what_is_said_of_the_connector_arrives() {
        let set = |kafka: &str| read(&of(kafka)).unwrap().through.and_then(|through| through.debezium);
        assert_eq!(set("partitions: 1"), None);
        assert_eq!(set("format: debezium"), Some(DebeziumSettings::default()));
        let full = "format: debezium, debezium: { offsets_topic: offsets, replace_null_with_default: false, \
                    decimal_handling_mode: string, time_precision_mode: isostring, binary_handling_mode: base64-url-safe }";
        let expected = DebeziumSettings {
            progress: Progress::Offsets("offsets".to_owned()),
            declared: Declared {
                decimals: Some(DecimalForm::String),
                times: Some(TimeForm::IsoString),
                binaries: Some(BinaryForm::Base64UrlSafe),
                replaces_null: Some(false),
            },
        };
        assert_eq!(set(full), Some(expected));
    }

    /// Guards that a section which would do nothing, or two answers to one question, are not passed over.
    #[test]
    fn what_contradicts_itself_is_refused() {
        assert!(refused(&of("debezium: { slot: debezium }")).contains("format: debezium"));
        let both = "format: debezium, debezium: { slot: debezium, offsets_topic: offsets }";
        assert!(refused(&of(both)).contains("keep one of them"));
    }
}
