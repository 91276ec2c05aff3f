//! Partitions of blue that are emptied where nobody can tell which items came from them.

use std::sync::Arc;

use understudy_contract::{ChangeSink, Class};
use understudy_dynamodb::{NoLeaves, OnError};
use understudy_model::RowChange;
use understudy_tests::Dynamo;

use super::script::{ITEMS, heal, row, start, transaction};
use super::{Shape, Store};

/// Rows whose fate only blue knows are read again by their keys there, and stay until then; where items do not tell those, the run
/// stops before anything is removed.
#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_leaf_that_nobody_can_tell_are_asked_for() {
    let Some(dynamo) = Dynamo::shared() else { return };
    for tells_blue in [true, false] {
        let store = Store::new(dynamo, "untold", Shape::Items, OnError::Quarantine).await;
        let store = Store { tells_blue, leaves: Arc::new(NoLeaves), ..store };
        let mut sink = store.connect().await;
        start(&mut sink).await.expect("a start");
        let rows = ["1", "2"].map(|id| RowChange::Insert { route: ITEMS, new: row([id, "a", "x"]) });
        sink.apply(transaction(1, rows.to_vec())).await.expect("rows");
        let emptied = RowChange::TruncateLeaf { route: ITEMS, predicate: "(n = 'a')".to_owned() };
        let applied = sink.apply(transaction(2, vec![emptied])).await;
        if tells_blue {
            let mut heals = applied.expect("it is put off").heals;
            heals.sort();
            assert_eq!(heals, ["1", "2"].map(|id| (ITEMS, heal(id))));
        } else {
            let failure = applied.expect_err("nobody can tell");
            assert_eq!(failure.class(), Class::SchemaChange, "{failure}");
        }
        assert_eq!(store.rows(ITEMS).await.len(), 2);
    }
}
