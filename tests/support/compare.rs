//! Row-by-row comparison of a table of blue with one of green.

use std::collections::BTreeSet;

use crate::session::Session;

/// Differences shown when two tables are not the same.
const SHOWN_MAX: usize = 10;

/// Two queries that should return the same rows, in any order.
#[derive(Debug, Clone)]
pub struct Same {
    /// Rows of blue, as green should hold them.
    pub blue: String,
    /// Rows of green.
    pub green: String,
}

impl Same {
    /// The same table on both sides.
    pub fn table(name: &str) -> Same {
        Same { blue: format!("SELECT * FROM {name}"), green: format!("SELECT * FROM {name}") }
    }
}

fn digest(query: &str) -> String {
    format!(
        "SELECT count(*) || ' rows, ' || coalesce(md5(string_agg(md5(r), '' ORDER BY r COLLATE \"C\")), 'none') \
         FROM (SELECT ROW(q.*)::text AS r FROM ({query}) q) t"
    )
}

/// Fails unless both queries return the same rows byte for byte, and then shows the first rows that differ.
pub async fn assert_same(blue: &mut Session, green: &mut Session, what: &[Same]) {
    for same in what {
        let (left, right) = (blue.value(&digest(&same.blue)).await, green.value(&digest(&same.green)).await);
        if left != right {
            let difference = difference(blue, green, same).await;
            panic!(
                "blue ({left}) and green ({right}) differ\n  {}\n  {}\n{difference}",
                same.blue, same.green
            );
        }
    }
}

async fn difference(blue: &mut Session, green: &mut Session, same: &Same) -> String {
    let rows = |query: &str| {
        format!("SELECT ROW(q.*)::text || ' x' || count(*) FROM ({query}) q GROUP BY ROW(q.*)::text")
    };
    let left: BTreeSet<String> = blue.column(&rows(&same.blue)).await.into_iter().collect();
    let right: BTreeSet<String> = green.column(&rows(&same.green)).await.into_iter().collect();
    let missing = left.difference(&right).map(|row| format!("  only on blue:  {row:.300}"));
    let extra = right.difference(&left).map(|row| format!("  only on green: {row:.300}"));
    let shown: Vec<String> = missing.take(SHOWN_MAX).chain(extra.take(SHOWN_MAX)).collect();
    shown.join("\n")
}
