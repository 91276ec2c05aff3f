//! Blue's rows compare with those of green whatever DynamoDB makes of their texts.

use understudy_contract::{
    Answer, BlueMoment, BlueRead, BlueRows, Detail, Failure, GreenRows, KeyRange, RangeDigest, RowDigest,
    RowName, RowSeen, SeenValue, Which,
};
use understudy_dynamodb::StoredBlueRows;
use understudy_model::{Key, Lsn, Nonce, RouteId, Snapshot};
use understudy_tests::Dynamo;

use super::super::Shape;
use super::super::script::{ITEMS, key};
use super::{filled, item_key};

/// A blue that has these rows of `items`.
struct Rows(Vec<[&'static str; 3]>);

impl BlueRows for Rows {
    async fn boundary(
        &mut self,
        _: RouteId,
        _: Option<&Key>,
        _: u64,
    ) -> Result<Answer<Option<Key>>, Failure> {
        Ok(Ok(None))
    }

    async fn digest(&mut self, _: RouteId, _: &KeyRange) -> Result<Answer<BlueRead<RangeDigest>>, Failure> {
        panic!("a digest of blue's own is of no use")
    }

    async fn rows(
        &mut self,
        _: RouteId,
        _: &Which,
        detail: Detail,
    ) -> Result<Answer<BlueRead<Vec<RowSeen>>>, Failure> {
        assert_eq!(detail, Detail::Values);
        let value = |text: &&str| SeenValue { text: Some((*text).into()), compared: None };
        let row = |texts: &[&'static str; 3]| RowSeen {
            name: RowName { green: item_key(texts[0]), blue: Some(key(texts[0])) },
            digest: RowDigest(0),
            version: None,
            values: Some(texts.iter().chain([&"items"]).map(value).collect()),
            foreign: None,
        };
        let snapshot = "10:10:".parse::<Snapshot>().expect("a snapshot");
        let moment = BlueMoment { snapshot, lsn: Lsn::new(7) };
        Ok(Ok(BlueRead { moment, value: self.0.iter().map(row).collect() }))
    }

    async fn mark(&mut self, _: Nonce) -> Result<(), Failure> {
        Ok(())
    }
}

/// Equal rows have equal digests on both sides, for single rows and for ranges, and others have not.
#[tokio::test(flavor = "multi_thread")]
async fn equal_rows_have_equal_digests_on_both_sides() {
    let Some(dynamo) = Dynamo::shared() else { return };
    for shape in [Shape::Items, Shape::Parts] {
        let store = filled(dynamo, "both", shape).await;
        let mut green = store.reader().await;
        let range = KeyRange::default();
        let on_green = green.digest(ITEMS, &range, Lsn::ZERO).await.expect("an answer").expect("a digest");
        for (doc, is_same) in [("doc", true), ("dog", false)] {
            let rows = Rows(vec![["1", "n", "doc"], ["2", "n", doc]]);
            let mut blue = StoredBlueRows::new(rows, &store.stored()).expect("a reader");
            let on_blue = blue.digest(ITEMS, &range).await.expect("an answer").expect("a digest");
            assert_eq!(on_blue.value == on_green.value, is_same, "{doc}");
            let rows = blue.rows(ITEMS, &Which::Range(range.clone()), Detail::Digests).await;
            let rows = rows.expect("an answer").expect("rows").value;
            assert!(rows.iter().all(|row| row.values.is_none() && row.name.blue.is_some()));
        }
    }
}
