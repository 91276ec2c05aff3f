//! Blue by itself, where green is no server of Postgres.

use understudy_contract::{Found, ReadinessCheck};

use crate::harness::case;

/// What would make a flip wait or lose something is found whatever green is; nothing else is said to be good or bad.
#[tokio::test]
async fn blue_is_examined_without_a_green() {
    let Some(case) =
        case("alone", "CREATE TABLE t (id int PRIMARY KEY); CREATE ROLE alone_only LOGIN", "").await
    else {
        return;
    };
    let case = case.route("t", "t", &["id"]);
    for one in case.examined_alone("green holds items").await {
        match (one.check, one.found) {
            (ReadinessCheck::Slot, Found::Lacks(lacks)) => {
                assert!(lacks[0].reason.contains("is not on blue"), "{lacks:?}");
            }
            (ReadinessCheck::LongTransactions | ReadinessCheck::PreparedTransactions, Found::Good) => {}
            (_, Found::Inapplicable(why)) => assert_eq!(why, "green holds items"),
            (check, found) => panic!("{check:?}: {found:?}"),
        }
    }
}
