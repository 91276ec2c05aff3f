//! Blue by itself, where green is no server of Postgres.

use understudy_contract::{Found, ReadinessCheck};

use crate::harness::case;

/// What would make a flip wait or lose something is found whatever green is; nothing else is said to be good or bad.
#[tokio::test]
async fn blue_is_examined_without_a_green() {
    let Some(case) =
        case("alone", "CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE outside (id int); CREATE VIEW v AS SELECT 1 AS one", "").await
    else {
        return;
    };
    let case = case.route("t", "t", &["id"]);
    for one in case.examined_alone("green holds items").await {
        match (one.check, one.found) {
            (ReadinessCheck::Slot, Found::Lacks(lacks)) => {
                assert!(lacks[0].reason.contains("is not on blue"), "{lacks:?}");
            }
            (ReadinessCheck::NotMoved, Found::Lacks(lacks)) => {
                let subjects = lacks.iter().map(|lack| lack.subject.as_str()).collect::<Vec<_>>();
                assert_eq!(subjects, ["table public.outside"], "rows stay behind, and a view is none");
            }
            (ReadinessCheck::LongTransactions | ReadinessCheck::PreparedTransactions, Found::Good) => {}
            (_, Found::Inapplicable(why)) => assert_eq!(why, "green holds items"),
            (check, found) => panic!("{check:?}: {found:?}"),
        }
    }
}
