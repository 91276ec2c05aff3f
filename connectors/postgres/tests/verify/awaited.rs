//! Rows that replication knows it owes are told with the rows, under whatever number their route is recorded.

use understudy_contract::{Awaited, Awaits, BlueRows, Detail, GreenRows, KeyRange, Which};
use understudy_model::Lsn;

use crate::harness::{ROUTE, all, both, copied, key, named, route};

/// Failure: a row that is being read again, or that is set aside, would be called a mismatch that nobody can explain.
#[tokio::test]
async fn awaited_rows_are_told_by_name() {
    let odd = r#"it's "odd", \ {x}"#;
    let schema = format!(
        "CREATE TABLE t (id text, n int, PRIMARY KEY (id, n)); INSERT INTO t VALUES ('a', 1), ('b', 1), ('NULL', 1); {}",
        copied("t")
    );
    let Some(mut both) = both("awaiting", &schema, vec![route("t", &["id", "n"], &["id", "n"])]).await else {
        return;
    };
    // A route of an earlier run comes first, so that the number in the bookkeeping is not that of this run.
    let record = format!(
        "DELETE FROM understudy.routes WHERE migration = 'verify-test';
         INSERT INTO understudy.routes (migration, route, source_schema, source_name, target_schema, target_name, fingerprint)
         VALUES ('verify-test', 4, 'public', 't', 'public', 't_green', 'f1'), ('verify-test', 0, 'public', 'x', 'public', 'y', 'f1'),
           ('another', 7, 'public', 't', 'public', 't_green', 'f1');
         INSERT INTO understudy.heals (migration, route, key, blue_key, commit_lsn, ordinal) VALUES
           ('verify-test', 4, ARRAY['a', '1'], ARRAY['a', '1'], '0/1', 0), ('verify-test', 4, ARRAY['a', '1'], ARRAY['z', '1'], '0/1', 1),
           ('verify-test', 4, ARRAY[$${odd}$$, '1'], ARRAY['q', '1'], '0/1', 0), ('verify-test', 4, ARRAY['NULL', '1'], ARRAY['q', '1'], '0/1', 0),
           ('verify-test', 0, ARRAY['b', '1'], ARRAY['b', '1'], '0/1', 0), ('another', 7, ARRAY['b', '1'], ARRAY['b', '1'], '0/1', 0),
           ('verify-test', 7, ARRAY['b', '1'], ARRAY['b', '1'], '0/1', 0);
         INSERT INTO understudy.quarantine (migration, route, key, commit_lsn, ordinal, reason, settled) VALUES
           ('verify-test', 4, ARRAY['a', '1'], '0/1', 0, 'r', false), ('verify-test', 4, ARRAY['a', '1'], '0/1', 1, 'r', false),
           ('verify-test', 4, ARRAY['gone', '1'], '0/1', 0, 'r', false),
           ('verify-test', 4, ARRAY['b', '1'], '0/1', 0, 'r', true), ('verify-test', 0, ARRAY['b', '1'], '0/1', 0, 'r', false)"
    );
    both.admin.batch(&record).await.unwrap();
    let asked = [
        &["a", "1"][..],
        &["b", "1"],
        &[odd, "1"],
        &["NULL", "1"],
        &["gone", "1"],
        &["beyond", "99999999999"],
    ];
    let which = Which::Names(asked.iter().map(|texts| named(texts)).collect());
    let read = both.green.rows(ROUTE, &which, Detail::Digests, Lsn::ZERO).await.unwrap().unwrap();
    assert_eq!(read.value.len(), 3);
    let wanted = |texts: &[&str], why| Awaited { key: key(texts), why };
    let all_of_them = [
        wanted(&["a", "1"], Awaits::Heal),
        wanted(&["a", "1"], Awaits::Quarantine),
        wanted(&[odd, "1"], Awaits::Heal),
        wanted(&["NULL", "1"], Awaits::Heal),
        wanted(&["gone", "1"], Awaits::Quarantine),
    ];
    assert_eq!(read.awaited, all_of_them);
    let thorough = Which::Thorough(vec![key(&["gone", "1"]), key(&["b", "1"])]);
    let read = both.green.rows(ROUTE, &thorough, Detail::Values, Lsn::ZERO).await.unwrap().unwrap();
    assert_eq!(read.awaited, [wanted(&["gone", "1"], Awaits::Quarantine)]);
    // Only rows asked for by name.
    let read = both.green.rows(ROUTE, &all(), Detail::Digests, Lsn::ZERO).await.unwrap().unwrap();
    assert!(read.awaited.is_empty());
    let digest = both.green.digest(ROUTE, &KeyRange::default(), Lsn::ZERO).await.unwrap().unwrap();
    assert!(digest.awaited.is_empty());
    assert!(both.blue.rows(ROUTE, &all(), Detail::Digests).await.unwrap().is_ok());
}
