//! Which partition a row's records go to, and which tables cannot have topics side by side.

use std::collections::HashMap;

use understudy_model::TableName;

use crate::names::{TopicNames, collision_key};

/// The partition of a key, as Kafka's own clients choose it by default.
pub fn partition_of(key: &[u8], partitions: u32) -> u32 {
    (murmur2(key) & 0x7FFF_FFFF) % partitions.max(1)
}

/// The hash by which Kafka's own clients choose a partition.
fn murmur2(data: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_B28C;
    const FACTOR: u32 = 0x5BD1_E995;
    let mut hash = SEED ^ data.len() as u32;
    let (words, tail) = data.as_chunks::<4>();
    for word in words {
        let mut word = u32::from_le_bytes(*word).wrapping_mul(FACTOR);
        word ^= word >> 24;
        hash = hash.wrapping_mul(FACTOR) ^ word.wrapping_mul(FACTOR);
    }
    if !tail.is_empty() {
        for (at, byte) in tail.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * at);
        }
        hash = hash.wrapping_mul(FACTOR);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(FACTOR);
    hash ^ (hash >> 15)
}

/// Two tables whose topics Kafka takes for one, if there are any; or twice the same table, where its topic is one of our own.
pub fn colliding_tables<'a>(
    names: &TopicNames,
    tables: impl IntoIterator<Item = &'a TableName>,
) -> Option<(&'a TableName, &'a TableName)> {
    let own = [names.order(), names.schema(), names.state(), names.requests(), names.lanes()];
    let mut taken = own.iter().map(|topic| (collision_key(topic), None)).collect::<HashMap<_, _>>();
    tables.into_iter().find_map(|table| match taken.insert(collision_key(&names.table(table)), Some(table)) {
        None => None,
        Some(None) => Some((table, table)),
        Some(Some(other)) => (other != table).then_some((other, table)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// F41: a row's records go where Kafka's own producers would put them, so that a consumer which joins by key finds them:
    /// the hashes are those that Kafka's tests list.
    #[test]
    fn keys_hash_as_kafkas_own_clients_hash_them() {
        for (key, hash) in [
            ("21", -973_932_308_i32),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key.as_bytes()) as i32, hash, "{key}");
            assert_eq!(partition_of(key.as_bytes(), 1), 0);
            assert_eq!(partition_of(key.as_bytes(), 12), (hash as u32 & 0x7FFF_FFFF) % 12);
        }
    }

    /// Guards that two tables never share a topic, and no table has one of ours.
    #[test]
    fn tables_that_would_share_a_topic_are_told() {
        let names = TopicNames::new("shop");
        let table = |schema: &str, name: &str| TableName::new(schema, name);
        let fine = [table("public", "a"), table("public", "b"), table("public", "A"), table("a", "public")];
        assert_eq!(colliding_tables(&names, &fine), None);
        assert_eq!(
            colliding_tables(&names, fine.iter().chain(&fine)),
            None,
            "a table does not collide with itself"
        );
        for pair in [
            [table("public", "a b"), table("public", "a_b")],
            [table("a.b", "c"), table("a", "b.c")],
            [table("a", "b_c"), table("a_b", "c")],
            [table("public", "Größe"), table("public", "Gr__e")],
        ] {
            assert_eq!(colliding_tables(&names, &pair), Some((&pair[0], &pair[1])));
        }
        let ours = [table("public", "a"), table("understudy", "order")];
        assert_eq!(colliding_tables(&names, &ours), Some((&ours[1], &ours[1])));
    }
}
