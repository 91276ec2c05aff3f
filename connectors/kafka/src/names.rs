//! What the topics of a migration are called.

use understudy_model::TableName;

/// Gives the names of a migration's topics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicNames {
    prefix: String,
}

impl TopicNames {
    /// The names of the topics with this prefix.
    pub fn new(prefix: impl Into<String>) -> TopicNames {
        TopicNames { prefix: prefix.into() }
    }

    /// What every name starts with.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The rows of a table. Letters that Kafka does not take in a name become `_`, as Debezium's consumers expect; two tables
    /// can come to the same name by that, which preflight refuses.
    pub fn table(&self, table: &TableName) -> String {
        let mut name = format!("{}.", self.prefix);
        push_allowed(&mut name, &table.schema);
        name.push('.');
        push_allowed(&mut name, &table.name);
        name
    }

    /// The group records.
    pub fn order(&self) -> String {
        self.own("order")
    }

    /// The shapes of the tables.
    pub fn schema(&self) -> String {
        self.own("schema")
    }

    /// The capture's bookkeeping.
    pub fn state(&self) -> String {
        self.own("state")
    }

    /// Rows that an apply wants the capture to read again.
    pub fn requests(&self) -> String {
        self.own("requests")
    }

    /// Nothing: its partitions are shared out among those that apply the log together.
    pub fn lanes(&self) -> String {
        self.own("lanes")
    }

    fn own(&self, what: &str) -> String {
        format!("{}.understudy.{what}", self.prefix)
    }
}

fn push_allowed(name: &mut String, text: &str) {
    name.extend(text.chars().map(|letter| {
        let allowed = letter.is_ascii_alphanumeric() || matches!(letter, '.' | '_' | '-');
        if allowed { letter } else { '_' }
    }));
}

/// What Kafka tells topics apart by: its own metrics write `.` as `_`, so that it refuses a topic which differs from another
/// in nothing else.
pub(crate) fn collision_key(topic: &str) -> String {
    topic.replace('.', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The longest name that Kafka allows a topic.
    const TOPIC_NAME_LEN_MAX: usize = 249;

    /// Guards the names by which stock consumers find tables, and that none is one that Kafka refuses.
    #[test]
    fn names_are_what_consumers_and_kafka_expect() {
        let names = TopicNames::new("shop");
        assert_eq!(names.table(&TableName::new("public", "orders")), "shop.public.orders");
        assert_eq!(names.table(&TableName::new("public", "Größe $1")), "shop.public.Gr__e__1");
        assert_eq!(names.order(), "shop.understudy.order");
        let longest = TableName::new("s".repeat(63), "t".repeat(63));
        let prefix = "p".repeat(crate::settings::TOPIC_PREFIX_LEN_MAX);
        assert!(TopicNames::new(prefix).table(&longest).len() <= TOPIC_NAME_LEN_MAX);
    }
}
