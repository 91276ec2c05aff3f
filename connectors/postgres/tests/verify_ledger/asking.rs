//! Requests of people and findings of the stream reach the verifier once each, and answers reach who asked.

use understudy_contract::{Ask, Class, LedgerWrite, MismatchId, MismatchKind, RowName, VerifyLedger, Waiver};
use understudy_model::{Lsn, RouteId, TableName};
use understudy_postgres::verify_ledger::{answer, ask};

use crate::books::{Books, MIGRATION, key, mismatch};

/// A request that is told twice would be carried out twice; one that is never told again after a restart would be lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_told_once_until_it_is_answered() {
    let Some(mut books) = Books::open("asked").await else { return };
    let mut ledger = books.ledger().await;
    ledger.claim().await.unwrap();
    assert_eq!(ledger.news().await.unwrap(), Default::default());
    let asks = [
        Ask::Repair(vec![MismatchId(1), MismatchId(2)]),
        Ask::Waive(MismatchId(1), Waiver { by: "me".to_owned(), reason: "it's \"fine\"".to_owned() }),
        Ask::Pass(vec![TableName::new("public", "t_blue")]),
        Ask::Limits(vec![("rows_per_second".to_owned(), "5".to_owned())]),
    ];
    let mut ids = Vec::new();
    for one in &asks {
        ids.push(ask(&mut books.admin, MIGRATION, one, "me").await.unwrap());
    }
    let told = ledger.news().await.unwrap().requests;
    assert_eq!(told.iter().map(|request| request.id).collect::<Vec<_>>(), ids);
    assert_eq!(told.into_iter().map(|request| request.ask).collect::<Vec<_>>(), asks);
    assert!(ledger.news().await.unwrap().requests.is_empty(), "they have been told");

    assert_eq!(answer(&mut books.admin, ids[0]).await.unwrap(), None);
    ledger.write(&[LedgerWrite::Answered(ids[0], "done, \"both\"".to_owned())]).await.unwrap();
    assert_eq!(answer(&mut books.admin, ids[0]).await.unwrap().as_deref(), Some("done, \"both\""));
    ledger.claim().await.unwrap();
    let again = ledger.news().await.unwrap().requests;
    assert_eq!(
        again.iter().map(|request| request.id).collect::<Vec<_>>(),
        ids[1..],
        "all but the answered one"
    );
}

/// A request for a migration that is not there would wait for ever; one of a newer program must not stop the verifier.
#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_would_answer_is_refused_or_passed_over() {
    let Some(mut books) = Books::open("unasked").await else { return };
    let refused = ask(&mut books.admin, "other", &Ask::Pass(vec![]), "me").await.unwrap_err();
    assert_eq!(refused.class(), Class::Configuration);
    let odd = "INSERT INTO understudy.requests (migration, kind, body, asked_by) VALUES \
        ('ledger', 'dance', '{}', 'x'), ('ledger', 'waive', '{1}', 'x'), ('other', 'pass', '{}', 'x')";
    books.admin.batch(odd).await.unwrap();
    let mut ledger = books.ledger().await;
    ledger.claim().await.unwrap();
    assert_eq!(ledger.news().await.unwrap(), Default::default());
}

/// What the stream found is told once, with both keys; also after a restart, but not again once what came of it is written.
#[tokio::test(flavor = "multi_thread")]
async fn findings_of_the_stream_are_told_once() {
    let Some(mut books) = Books::open("surprised").await else { return };
    let found = |key: &str, kind: &str| {
        format!(
            "INSERT INTO understudy.mismatches (migration, route, key, kind, commit_lsn, ordinal) \
             VALUES ('ledger', 0, '{key}', '{kind}', '0/77', 3), ('other', 0, '{key}', '{kind}', '0/77', 3)"
        )
    };
    books.admin.batch(&found("{x,7}", "missing")).await.unwrap();
    let mut ledger = books.ledger().await;
    ledger.claim().await.unwrap();
    let first = (RouteId(0), RowName { green: key(&["x", "7"]), blue: Some(key(&["7", "x"])) });
    let first = (first.0, first.1, MismatchKind::Missing, Lsn::new(0x77));
    assert_eq!(ledger.news().await.unwrap().surprises, std::slice::from_ref(&first));
    assert!(ledger.news().await.unwrap().surprises.is_empty(), "it has been told");
    ledger.claim().await.unwrap();
    assert_eq!(ledger.news().await.unwrap().surprises, [first], "nothing that came of it was written");
    ledger.write(&[LedgerWrite::Mismatch(mismatch(1))]).await.unwrap();
    books.admin.batch(&found("{y,8}", "extra")).await.unwrap();
    ledger.claim().await.unwrap();
    let second = ledger.news().await.unwrap().surprises;
    assert_eq!(
        second.iter().map(|one| (one.1.green.clone(), one.2)).collect::<Vec<_>>(),
        [(key(&["y", "8"]), MismatchKind::Extra)]
    );
}
