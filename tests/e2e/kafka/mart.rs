//! Another green for the demo's shop: other tables, filled by another mapping from the same log.

use understudy_tests::{Kafka, Migration, Pair, Same};

/// The tables on green.
pub(crate) const CREATE: &str = "
    CREATE SCHEMA mart;
    CREATE TABLE mart.people (person bigint PRIMARY KEY, mail text, name text, tags text[], revision bigint);
    CREATE TABLE mart.texts (id bigint PRIMARY KEY, code int, heading text, body text, revision bigint);
    CREATE TABLE mart.operations (entry bigint PRIMARY KEY, operation bigint, kind text, revision bigint);
    CREATE TABLE mart.events (id bigint, happened_at timestamptz, kind text, detail jsonb, PRIMARY KEY (id, happened_at));";

/// What fills them: computed values, rows that enter and leave, and a partitioned table.
const ENTRIES: &str = "  - from: shop.customers
    to: mart.people
    where: revision % 2 = 0
    columns: { person: id, mail: upper(email), name: full_name, tags: tags, revision: revision }
  - from: shop.articles
    to: mart.texts
    columns: { id: id, code: code, heading: lower(title), body: body, revision: revision }
  - from: shop.operations
    to: mart.operations
    columns: { entry: entry, operation: operation, kind: kind, revision: revision }
  - from: shop.events
    to: mart.events
";

/// Its migration file: it reads the log of a capture that has another one.
pub(crate) fn migration(pair: &Pair, name: &str, through: &str) -> Migration {
    Migration::between(pair, name).through_as(through).entry(ENTRIES)
}

/// The `through` section of all files that share a log.
pub(crate) fn through(kafka: &Kafka, prefix: &str) -> String {
    let brokers = kafka.bootstrap();
    format!("{{ kafka: {{ brokers: [\"{brokers}\"], topic_prefix: {prefix}, partitions: 3 }} }}")
}

/// Blue's rows as the mapping makes them, beside green's.
pub(crate) fn same() -> Vec<Same> {
    let same = |blue: &str, green: &str| Same { blue: blue.to_owned(), green: green.to_owned() };
    vec![
        same(
            "SELECT id, upper(email), full_name, tags, revision FROM shop.customers WHERE revision % 2 = 0",
            "SELECT * FROM mart.people",
        ),
        same("SELECT id, code, lower(title), body, revision FROM shop.articles", "SELECT * FROM mart.texts"),
        same("SELECT entry, operation, kind, revision FROM shop.operations", "SELECT * FROM mart.operations"),
        same("SELECT id, happened_at, kind, detail FROM shop.events", "SELECT * FROM mart.events"),
    ]
}
