//! Changes that collide with other rows on the way and fit at the end of their transaction.

use understudy_contract::{Applied, ChangeSink};
use understudy_model::RowChange;
use understudy_postgres::sink::ReplicaRole;

use crate::green::{Green, UNSENT, delete, each, insert, rekey, table, update};

const SHOW: &str = "SELECT concat_ws('|', id, name, note) FROM public.items ORDER BY id";

async fn items(name: &str, unique: &str) -> Option<Green> {
    let sql =
        format!("CREATE TABLE items (id int PRIMARY KEY, name text {unique}, note text, own int DEFAULT 5)");
    Green::with(name, &sql).await
}

/// Applies a transaction alone, then again on a fresh table in the middle of a large batch.
async fn both_forms(name: &str, unique: &str, start: Vec<RowChange>, then: Vec<RowChange>, wanted: &str) {
    for many in [false, true] {
        let Some(mut green) = items(&format!("{name}_{many}"), unique).await else {
            return;
        };
        let mut sink = green.sink(vec![table(0, "items", &["id", "name", "note"])]).await;
        let first = green.batch(vec![start.clone()]);
        assert_eq!(sink.apply(first).await.unwrap(), Applied::default());
        let mut transactions = vec![then.clone()];
        if many {
            transactions.insert(0, each(1000..1100, |n| insert(0, &[n, n, "x"])));
            transactions.push(each(1000..1100, |n| delete(0, n)));
        }
        let second = green.batch(transactions);
        assert_eq!(sink.apply(second).await.unwrap(), Applied::default(), "many: {many}");
        assert_eq!(green.rows(SHOW).await, wanted, "many: {many}");
        assert_eq!(green.rows("SELECT count(*) FROM understudy.mismatches").await, "0");
    }
}

fn three() -> Vec<RowChange> {
    vec![insert(0, &["1", "a", "x"]), insert(0, &["2", "b", "y"]), insert(0, &["3", "c", "z"])]
}

/// F24: values of a unique column change places within one transaction.
#[tokio::test]
async fn unique_values_swap() {
    let then = vec![update(0, &["1", "b", UNSENT]), update(0, &["2", "a", "yy"])];
    both_forms("swap_unique", "UNIQUE", three(), then, "1|b|x\n2|a|yy\n3|c|z").await;
}

/// F24: a value moves on to another row, by way of delete and insert, and of updates.
#[tokio::test]
async fn a_unique_value_moves_to_another_row() {
    let then = vec![
        delete(0, "1"),
        insert(0, &["9", "a", "new"]),
        update(0, &["2", "bb", "y"]),
        update(0, &["3", "b", "z"]),
        insert(0, &["4", "c", "w"]),
    ];
    both_forms("move_unique", "UNIQUE", three(), then, "2|bb|y\n3|b|z\n4|c|w\n9|a|new").await;
}

#[tokio::test]
async fn keys_move_in_a_chain() {
    let then = vec![
        rekey(0, "3", &["4", "c", UNSENT]),
        rekey(0, "2", &["3", "b", UNSENT]),
        rekey(0, "1", &["2", "a", "first"]),
    ];
    both_forms("chain", "", three(), then, "2|a|first\n3|b|y\n4|c|z").await;
}

/// A deferrable key on blue lets keys change places, each colliding on the way.
#[tokio::test]
async fn keys_swap_and_rotate() {
    let then = vec![
        rekey(0, "1", &["2", "a", UNSENT]),
        rekey(0, "2", &["3", "b", UNSENT]),
        rekey(0, "3", &["1", "c", "last"]),
    ];
    both_forms("rotate", "UNIQUE", three(), then, "1|c|last\n2|a|x\n3|b|y").await;
}

/// However far apart in their transaction, rows that make room for each other fit at its end.
#[tokio::test]
async fn values_swap_far_apart_in_a_long_transaction() {
    let between = each(100..900, |n| insert(0, &[n, n, "x"]));
    let then = [
        vec![rekey(0, "1", &["2", "b", UNSENT])],
        between,
        vec![rekey(0, "2", &["1", "a", UNSENT])],
        each(100..900, |n| delete(0, n)),
    ];
    both_forms("far_apart", "UNIQUE", three(), then.concat(), "1|a|y\n2|b|x\n3|c|z").await;
}

/// F25: a deferred foreign key may be violated inside a transaction, also where it is applied change by change.
#[tokio::test]
async fn deferred_foreign_keys_are_checked_at_the_end_of_the_transaction() {
    let sql = "CREATE TABLE parents (id int PRIMARY KEY); \
        CREATE TABLE children (id int PRIMARY KEY, parent int REFERENCES parents DEFERRABLE INITIALLY DEFERRED)";
    let Some(mut green) = Green::with("fk_deferred", sql).await else { return };
    let mut settings = green.settings();
    settings.replica_role = ReplicaRole::Never;
    let tables = vec![table(0, "children", &["id", "parent"]), table(1, "parents", &["id"])];
    let mut sink = green.sink_with(settings, tables, true).await;
    let long = [each(0..900, |n| insert(0, &[n, n])), each(0..900, |n| insert(1, &[n]))].concat();
    // The delete of a missing row makes the batch go change by change.
    let batch = green.batch(vec![long, vec![delete(0, "5000")]]);
    assert_eq!(sink.apply(batch).await.unwrap(), Applied { mismatches: 1, ..Applied::default() });
    assert_eq!(green.rows("SELECT count(*) FROM public.children").await, "900");
}

/// F25: with foreign keys alive on green, changes keep their order across tables, in sets too.
#[tokio::test]
async fn foreign_keys_are_never_violated_on_the_way() {
    let sql = "CREATE TABLE parents (id int PRIMARY KEY, name text); \
        CREATE TABLE children (id int PRIMARY KEY, parent int REFERENCES parents, note text)";
    let Some(mut green) = Green::with("fk_order", sql).await else {
        return;
    };
    let mut settings = green.settings();
    settings.replica_role = ReplicaRole::Never;
    let tables = vec![table(0, "children", &["id", "parent", "note"]), table(1, "parents", &["id", "name"])];
    let mut sink = green.sink_with(settings, tables, true).await;
    assert!(sink.limits().iter().any(|limit| limit.contains("stay alive")), "{:?}", sink.limits());
    let family = |n: &str| vec![insert(1, &[n, "p"]), insert(0, &[n, n, "c"])];
    let gone = |n: &str| vec![delete(0, n), delete(1, n)];
    let mut together = (0..200).map(|n: u32| family(&n.to_string())).collect::<Vec<_>>();
    together.extend((0..150).map(|n: u32| gone(&n.to_string())));
    let batch = green.batch(together);
    assert_eq!(sink.apply(batch).await.unwrap(), Applied::default());
    let apart = [
        each(300..400, |n| insert(1, &[n, "p"])),
        each(300..400, |n| insert(0, &[n, n, "c"])),
        each(300..400, |n| delete(0, n)),
        each(300..400, |n| delete(1, n)),
    ];
    let batch = green.batch(vec![apart.concat()]);
    assert_eq!(sink.apply(batch).await.unwrap(), Applied::default());
    let left =
        "SELECT (SELECT count(*) FROM public.parents) || '|' || (SELECT count(*) FROM public.children)";
    assert_eq!(green.rows(left).await, "50|50");
}

/// Green's own cascade removes children before blue's own deletes arrive: that is no mismatch.
#[tokio::test]
async fn a_live_cascade_raises_no_false_alarm() {
    let sql = "CREATE TABLE parents (id int PRIMARY KEY); \
        CREATE TABLE children (id int PRIMARY KEY, parent int REFERENCES parents ON DELETE CASCADE)";
    let Some(mut green) = Green::with("fk_cascade", sql).await else {
        return;
    };
    let mut settings = green.settings();
    settings.replica_role = ReplicaRole::Never;
    let mut sink = green
        .sink_with(
            settings,
            vec![table(0, "children", &["id", "parent"]), table(1, "parents", &["id"])],
            true,
        )
        .await;
    assert!(sink.limits().iter().any(|limit| limit.contains("cascades")));
    let batch = green
        .batch(vec![vec![insert(1, &["1"]), insert(0, &["10", "1"])], vec![delete(1, "1"), delete(0, "10")]]);
    assert_eq!(sink.apply(batch).await.unwrap(), Applied::default());
    assert_eq!(green.rows("SELECT count(*) FROM public.children").await, "0");
}

/// Promise 2: where deleting a row of green has live foreign keys delete or change others, no row is taken out to make
/// room for another; below a view too.
#[tokio::test]
async fn rows_that_others_hang_on_are_not_taken_out() {
    let tables_sql = "CREATE TABLE parents (id int PRIMARY KEY, name text UNIQUE); \
        CREATE TABLE drawn (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text); \
        CREATE VIEW seen AS SELECT * FROM parents";
    for (n, action) in ["CASCADE", "SET NULL", "SET DEFAULT"].into_iter().enumerate() {
        let refer = |table: &str| format!("REFERENCES {table} ON DELETE {action}");
        let sql = format!(
            "{tables_sql}; CREATE TABLE children (id int PRIMARY KEY, p int {}, d int {}); \
             INSERT INTO parents VALUES (1, 'a'), (2, 'b'); \
             INSERT INTO drawn OVERRIDING SYSTEM VALUE VALUES (1, 'a'); INSERT INTO children VALUES (1, 1, 1)",
            refer("parents"),
            refer("drawn"),
        );
        let swap = vec![update(0, &["1", "b"]), update(0, &["2", "a"])];
        for (nth, (name, changes)) in
            [("parents", swap.clone()), ("seen", swap), ("drawn", vec![rekey(0, "1", &["5", "a"])])]
                .into_iter()
                .enumerate()
        {
            let Some(mut green) = Green::with(&format!("stay_{n}_{nth}"), &sql).await else {
                return;
            };
            let mut settings = green.settings();
            settings.replica_role = ReplicaRole::Never;
            let mut sink = green.sink_with(settings, vec![table(0, name, &["id", "name"])], true).await;
            let batch = green.batch(vec![changes]);
            let failure = sink.apply(batch).await.unwrap_err();
            let remedy = failure.remedy_text().unwrap();
            assert!(remedy.contains("ON DELETE NO ACTION") && remedy.contains(name), "{failure}: {remedy}");
            let free = "ALTER TABLE \"public\".\"drawn\" ALTER COLUMN \"id\" SET GENERATED BY DEFAULT";
            assert_eq!(remedy.contains(free), name == "drawn", "{remedy}");
            assert_eq!(green.rows("SELECT concat(id, p, d) FROM public.children").await, "111", "{name}");
        }
    }
}

/// With the replica role neither triggers nor foreign keys of green act on our changes.
#[tokio::test]
async fn the_replica_role_passes_over_triggers_and_foreign_keys() {
    let sql = "CREATE TABLE parents (id int PRIMARY KEY); \
        CREATE TABLE children (id int PRIMARY KEY, parent int REFERENCES parents ON DELETE CASCADE); \
        CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$; \
        CREATE TRIGGER t BEFORE INSERT ON children FOR EACH ROW EXECUTE FUNCTION no()";
    let Some(mut green) = Green::with("replica_role", sql).await else {
        return;
    };
    let mut sink =
        green.sink(vec![table(0, "children", &["id", "parent"]), table(1, "parents", &["id"])]).await;
    let batch = green.batch(vec![vec![insert(0, &["10", "1"])], vec![insert(1, &["1"]), delete(1, "1")]]);
    assert_eq!(sink.apply(batch).await.unwrap(), Applied::default());
    assert_eq!(green.rows("SELECT count(*) FROM public.children").await, "1");
}
