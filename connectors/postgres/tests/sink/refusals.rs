//! Rows that green refuses: a clean stop before their transaction, or quarantine with the reason.

use understudy_contract::{Applied, ChangeSink, Class};
use understudy_model::RowChange;
use understudy_postgres::sink::{OnError, PostgresSink, ReplicaRole};

use crate::green::{Green, UNSENT, delete, each, insert, rekey, table, update};

const SQL: &str = "CREATE TABLE items (id int PRIMARY KEY, name varchar(5) NOT NULL, n int CONSTRAINT small CHECK (n < 100))";
const COLUMNS: [&str; 3] = ["id", "name", "n"];
const SHOW: &str = "SELECT concat_ws('|', id, name, n) FROM public.items ORDER BY id";

async fn quarantining(green: &mut Green) -> PostgresSink {
    let mut settings = green.settings();
    settings.on_error = OnError::Quarantine;
    green.sink_with(settings, vec![table(0, "items", &COLUMNS)], true).await
}

/// F26, F30: the pipeline stops at the transaction that does not fit; those before it are committed, nothing of it is.
#[tokio::test]
async fn a_refused_row_stops_cleanly_before_its_transaction() {
    for many in [0, 100] {
        let Some(mut green) = Green::with(&format!("stop_{many}"), SQL).await else {
            return;
        };
        let mut sink = green.sink(vec![table(0, "items", &COLUMNS)]).await;
        let batch = green.batch(vec![
            each(1000..1000 + many, |n| insert(0, &[n, "x", "1"])),
            vec![insert(0, &["1", "one", "1"])],
            vec![
                insert(0, &["2", "two", "2"]),
                insert(0, &["3", "three", "4711"]),
                insert(0, &["4", "four", "4"]),
            ],
            vec![insert(0, &["5", "five", "5"])],
        ]);
        let (before, refused) = (batch.commits[1].checkpoint, batch.commits[2].position.commit);
        let failure = sink.apply(batch).await.unwrap_err();
        assert_eq!(failure.class(), Class::Data);
        let position = failure.position().unwrap();
        assert_eq!((position.commit, position.ordinal), (refused, 1));
        let text = failure.to_string();
        assert!(text.contains("insert into public.items on green") && text.contains("small"), "{text}");
        assert!(text.contains("23514") && !text.contains("4711"), "{text}");
        assert!(failure.remedy_text().unwrap().contains("on_error: quarantine"));
        assert_eq!(green.rows("SELECT count(*) FROM public.items").await, (many + 1).to_string());
        let mut sink =
            PostgresSink::connect(&green.options, green.settings(), vec![table(0, "items", &COLUMNS)])
                .await
                .unwrap();
        let saved = sink.claim().await.unwrap().unwrap();
        assert_eq!((saved.checkpoint, saved.unseen), (before, None));
    }
}

/// A part of a giant transaction that does not fit takes the whole of it back, and nothing before it.
#[tokio::test]
async fn a_refused_row_takes_its_giant_transaction_back() {
    let Some(mut green) = Green::with("stop_giant", SQL).await else {
        return;
    };
    let mut sink = green.sink(vec![table(0, "items", &COLUMNS)]).await;
    let first = green.batch(vec![vec![insert(0, &["1", "one", "1"])]]);
    sink.apply(first).await.unwrap();
    let before = green.at();
    let part = green.part(each(10..100, |n| insert(0, &[n, "part", "1"])));
    sink.apply(part).await.unwrap();
    let part = green.part(vec![insert(0, &["200", "too long", "1"])]);
    let failure = sink.apply(part).await.unwrap_err();
    assert_eq!((failure.class(), failure.position().unwrap().ordinal), (Class::Data, 0));
    assert!(failure.to_string().contains("22001"), "{failure}");
    assert_eq!(green.rows(SHOW).await, "1|one|1");
    let saved = format!("SELECT count(*) FROM understudy.migration WHERE checkpoint = '{before}'");
    assert_eq!(green.rows(&saved).await, "1");
}

/// F26: with quarantine the refused row is set aside with its reason, and so is what follows it; the rest is applied.
#[tokio::test]
async fn refused_rows_are_set_aside_with_what_follows_them() {
    for many in [0, 100] {
        let Some(mut green) = Green::with(&format!("aside_{many}"), SQL).await else {
            return;
        };
        let mut sink = quarantining(&mut green).await;
        let batch = green.batch(vec![
            each(1000..1000 + many, |n| insert(0, &[n, "x", "1"])),
            vec![
                insert(0, &["1", "one", "1"]),
                insert(0, &["2", "two", "999"]),
                insert(0, &["3", "NULL", "3"]),
            ],
            vec![update(0, &["2", "two", "2"]), rekey(0, "2", &["9", "nine", "9"])],
            each(1000..1000 + many, |n| delete(0, n)),
        ]);
        let applied = sink.apply(batch).await.unwrap();
        assert_eq!(applied, Applied { quarantined: 4, ..Applied::default() });
        assert_eq!(green.rows(SHOW).await, "1|one|1");
        let kept = "SELECT concat_ws('|', key[1], ordinal, sqlstate, constraint_name) FROM understudy.quarantine ORDER BY id";
        assert_eq!(green.rows(kept).await, "2|1|23514|small\n3|2|23502\n2|0\n2|1\n9|1");
        assert_eq!(
            green.rows("SELECT count(*) FROM understudy.quarantine WHERE reason LIKE '%999%'").await,
            "0"
        );

        // Later batches know, and so does the next instance.
        let next = green.batch(vec![vec![update(0, &["9", UNSENT, "1"]), insert(0, &["4", "four", "4"])]]);
        assert_eq!(sink.apply(next).await.unwrap(), Applied { quarantined: 1, ..Applied::default() });
        drop(sink);
        let mut settings = green.settings();
        settings.on_error = OnError::Quarantine;
        let mut sink =
            PostgresSink::connect(&green.options, settings, vec![table(0, "items", &COLUMNS)]).await.unwrap();
        assert_eq!(sink.aside(), 0);
        sink.claim().await.unwrap();
        assert_eq!(sink.aside(), 3, "2, 3 and 9, of which five changes are set aside");
        let next = green.batch(vec![vec![delete(0, "3"), delete(0, "4")]]);
        assert_eq!(sink.apply(next).await.unwrap(), Applied { quarantined: 1, ..Applied::default() });
        assert_eq!(green.rows("SELECT count(*) FROM understudy.mismatches").await, "0");

        // Emptied, the table is right again.
        let emptied = green.batch(vec![
            vec![RowChange::Truncate { routes: vec![understudy_model::RouteId(0)] }],
            vec![insert(0, &["3", "three", "3"])],
        ]);
        assert_eq!((sink.apply(emptied).await.unwrap(), sink.aside()), (Applied::default(), 0));
        assert_eq!(green.rows(SHOW).await, "3|three|3");
        assert_eq!(green.rows("SELECT count(*) FROM understudy.quarantine WHERE NOT settled").await, "0");
    }
}

/// A deferred constraint speaks up at the end: the transaction that violates it is found and named.
#[tokio::test]
async fn a_deferred_constraint_stops_at_the_transaction_that_violates_it() {
    let sql = "CREATE TABLE parents (id int PRIMARY KEY); \
        CREATE TABLE items (id int PRIMARY KEY, name text, n int REFERENCES parents DEFERRABLE INITIALLY DEFERRED)";
    let Some(mut green) = Green::with("stop_deferred", sql).await else {
        return;
    };
    let mut settings = green.settings();
    settings.replica_role = ReplicaRole::Never;
    let mut sink = green
        .sink_with(settings, vec![table(0, "items", &COLUMNS), table(1, "parents", &["id"])], true)
        .await;
    let batch = green.batch(vec![
        vec![insert(0, &["1", "child", "7"]), insert(1, &["7"])],
        vec![insert(0, &["2", "orphan", "8"])],
        vec![insert(1, &["9"])],
    ]);
    let refused = batch.commits[1].position.commit;
    let failure = sink.apply(batch).await.unwrap_err();
    assert_eq!((failure.class(), failure.position().unwrap().commit), (Class::Data, refused), "{failure}");
    assert_eq!(green.rows(SHOW).await, "1|child|7");
}

/// The same where the transaction began in an earlier batch: the last part is not lost in a nameless commit.
#[tokio::test]
async fn a_deferred_constraint_names_the_giant_transaction_that_violates_it() {
    let sql = "CREATE TABLE parents (id int PRIMARY KEY); \
        CREATE TABLE items (id int PRIMARY KEY, name text, n int REFERENCES parents DEFERRABLE INITIALLY DEFERRED)";
    let Some(mut green) = Green::with("stop_giant_deferred", sql).await else {
        return;
    };
    let mut settings = green.settings();
    settings.replica_role = ReplicaRole::Never;
    let tables = vec![table(0, "items", &COLUMNS), table(1, "parents", &["id"])];
    let mut sink = green.sink_with(settings, tables, true).await;
    let part = green.part(vec![insert(0, &["1", "child", "7"]), insert(0, &["2", "orphan", "8"])]);
    sink.apply(part).await.unwrap();
    let last = green.batch(vec![vec![insert(1, &["7"])]]);
    let refused = last.commits[0].position.commit;
    let failure = sink.apply(last).await.unwrap_err();
    assert_eq!(failure.position().map(|position| position.commit), Some(refused), "{failure}");
    assert!(failure.remedy_text().unwrap().contains("make green hold what the constraint asks for"));
    assert_eq!(green.rows(SHOW).await, "");
}

/// A constraint below a view is not known, and speaks up at the commit: even then it is said what to do.
#[tokio::test]
async fn a_commit_that_green_refuses_has_a_remedy() {
    let sql = "CREATE TABLE below (id int PRIMARY KEY, name text, n int); \
        CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no %', NEW.n; END $$; \
        CREATE CONSTRAINT TRIGGER late AFTER INSERT ON below DEFERRABLE INITIALLY DEFERRED \
        FOR EACH ROW EXECUTE FUNCTION no(); ALTER TABLE below ENABLE ALWAYS TRIGGER late; \
        CREATE VIEW items AS SELECT * FROM below";
    let Some(mut green) = Green::with("stop_view", sql).await else {
        return;
    };
    let mut sink = green.sink(vec![table(0, "items", &COLUMNS)]).await;
    let batch = green.batch(vec![vec![insert(0, &["1", "one", "4711"])]]);
    let failure = sink.apply(batch).await.unwrap_err();
    assert_eq!(failure.class(), Class::Data);
    assert!(
        failure.to_string().contains("commit on green") && !failure.to_string().contains("4711"),
        "{failure}"
    );
    assert!(failure.remedy_text().unwrap().contains("make green hold what the constraint asks for"));
}

/// F26: what is set aside is settled with a truncate, also when the piece that holds it is applied twice.
#[tokio::test]
async fn a_truncate_settles_what_was_set_aside_even_if_its_piece_is_refused() {
    let Some(mut green) = Green::with("aside_twice", SQL).await else {
        return;
    };
    let mut sink = quarantining(&mut green).await;
    let first = green.batch(vec![vec![insert(0, &["2", "two", "999"])]]);
    sink.apply(first).await.unwrap();
    let next = green.batch(vec![
        vec![RowChange::Truncate { routes: vec![understudy_model::RouteId(0)] }],
        vec![insert(0, &["3", "three", "999"])],
    ]);
    assert_eq!(sink.apply(next).await.unwrap(), Applied { quarantined: 1, ..Applied::default() });
    assert_eq!(green.rows("SELECT key[1] FROM understudy.quarantine WHERE NOT settled").await, "3");
}

#[tokio::test]
async fn tables_that_cannot_be_filled_exactly_are_refused_at_once() {
    let sql = "CREATE TABLE computed (id int PRIMARY KEY, a int GENERATED ALWAYS AS (id + 1) STORED); \
        CREATE TABLE keyless (id int, a int); CREATE UNIQUE INDEX ON keyless (id) WHERE a > 1; \
        CREATE TABLE put_off (id int UNIQUE DEFERRABLE, a int); \
        CREATE VIEW joined AS SELECT c.id, k.a FROM computed c JOIN keyless k USING (id)";
    let Some(green) = Green::with("unfit", sql).await else {
        return;
    };
    for (name, columns, cause, remedy) in [
        ("absent", ["id", "a"], "public.absent on green does not exist", "create the table"),
        ("computed", ["id", "a"], "computes its column \"a\" itself", "leave the column out"),
        ("computed", ["id", "b"], "has no column \"b\"", "add the column"),
        ("keyless", ["id", "a"], "has no unique index on exactly (\"id\")", "ADD PRIMARY KEY (\"id\")"),
        ("put_off", ["id", "a"], "has no unique index on exactly (\"id\")", "immediate unique index"),
        ("joined", ["id", "a"], "is not a table that rows can be put into", "fill a table"),
    ] {
        let tables = vec![table(0, name, &columns)];
        let failure = PostgresSink::connect(&green.options, green.settings(), tables).await.err().unwrap();
        assert_eq!(failure.class(), Class::Configuration);
        assert!(failure.to_string().contains(cause), "{failure}");
        assert!(failure.remedy_text().unwrap().contains(remedy), "{:?}", failure.remedy_text());
    }
}
