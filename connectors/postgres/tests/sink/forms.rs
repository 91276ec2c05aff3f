//! Few changes travel as pipelined statements, many in sets: both come to the same, whatever the table is like.

use std::collections::BTreeMap;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use understudy_contract::{Applied, ChangeSink};
use understudy_model::{Before, RouteId, RowChange};
use understudy_postgres::sink::PostgresSink;

use crate::green::{Green, UNSENT, delete, each, insert, rekey, row, table, update};

type Model = BTreeMap<u32, [String; 2]>;

/// Random transactions that fit a table, and what they come to. `fresh` keeps the second column unique.
fn workload(seed: u64, transactions: usize) -> (Vec<Vec<RowChange>>, Model) {
    let mut random = SmallRng::seed_from_u64(seed);
    let (mut model, mut fresh) = (Model::new(), 0u32);
    let mut work = Vec::new();
    for _ in 0..transactions {
        let mut changes = Vec::new();
        for _ in 0..random.random_range(1..8) {
            let id = random.random_range(0..60u32);
            fresh += 1;
            let (name, note) = (format!("n{fresh}"), format!("note\t{fresh}\\"));
            let text = id.to_string();
            match (model.contains_key(&id), random.random_range(0..10)) {
                (false, _) => {
                    changes.push(insert(0, &[&text, &name, &note]));
                    model.insert(id, [name, note]);
                }
                (true, 0..3) => {
                    changes.push(delete(0, &text));
                    model.remove(&id);
                }
                (true, 3..7) => {
                    changes.push(update(0, &[&text, &name, &note]));
                    model.insert(id, [name, note]);
                }
                (true, 7..9) => {
                    changes.push(update(0, &[&text, &name, UNSENT]));
                    model.get_mut(&id).unwrap()[0] = name;
                }
                (true, _) => {
                    let to = (0..).find(|to| !model.contains_key(to)).unwrap();
                    changes.push(rekey(0, &text, &[&to.to_string(), &name, UNSENT]));
                    let [_, note] = model.remove(&id).unwrap();
                    model.insert(to, [name, note]);
                }
            }
        }
        work.push(changes);
    }
    (work, model)
}

/// Applies the same work in small batches, in one large one, and as parts of one giant transaction.
pub(crate) async fn same_in_every_form(name: &str, sql: &str, limited: bool) {
    let (work, model) = workload(11, 400);
    let wanted =
        model.iter().map(|(id, [name, note])| format!("{id}|{name}|{note}")).collect::<Vec<_>>().join("\n");
    for form in 0..4 {
        let Some(mut green) = Green::with(&format!("{name}_{form}"), sql).await else {
            return;
        };
        let mut settings = green.settings();
        if limited {
            settings.replica_role = understudy_postgres::sink::ReplicaRole::Never;
        }
        let mut sink =
            green.sink_with(settings, vec![table(0, "items", &["id", "name", "note"])], true).await;
        let mut applied = Vec::new();
        match form {
            0 => {
                for changes in &work {
                    let batch = green.batch(vec![changes.clone()]);
                    applied.push(sink.apply(batch).await.unwrap());
                }
            }
            1 => {
                let batch = green.batch(work.clone());
                applied.push(sink.apply(batch).await.unwrap());
            }
            2 => {
                for many in work.chunks(60) {
                    let batch = green.batch(many.to_vec());
                    applied.push(sink.apply(batch).await.unwrap());
                }
            }
            _ => {
                let mut parts = work.chunks(90).map(<[_]>::concat).collect::<Vec<_>>();
                let last = parts.pop().unwrap();
                for part in parts {
                    let batch = green.part(part);
                    applied.push(sink.apply(batch).await.unwrap());
                    assert_eq!(
                        green.rows("SELECT count(*) FROM public.items").await,
                        "0",
                        "nothing shows before the commit"
                    );
                }
                let batch = green.batch(vec![last]);
                applied.push(sink.apply(batch).await.unwrap());
            }
        }
        assert!(applied.iter().all(|applied| *applied == Applied::default()), "form {form}: {applied:?}");
        let found = green.rows("SELECT concat_ws('|', id, name, note) FROM public.items ORDER BY id").await;
        assert_eq!(found, wanted, "form {form}");
        let saved =
            format!("SELECT checkpoint FROM understudy.migration WHERE checkpoint = '{}'", green.at());
        assert_eq!(green.rows(&saved).await, green.at().to_string());
    }
}

#[tokio::test]
async fn a_plain_table_is_folded_to_the_same_rows() {
    same_in_every_form("forms_plain", "CREATE TABLE items (id int PRIMARY KEY, name text, note text)", false)
        .await;
}

/// F24: with a second unique index changes are not folded, and their order is kept.
#[tokio::test]
async fn a_table_with_another_unique_index_ends_the_same() {
    let sql = "CREATE TABLE items (id int PRIMARY KEY, name text UNIQUE, note text)";
    same_in_every_form("forms_unique", sql, false).await;
}

#[tokio::test]
async fn a_key_with_several_texts_for_one_value_ends_the_same() {
    let sql = "CREATE TABLE items (id numeric PRIMARY KEY, name text, note text)";
    same_in_every_form("forms_numeric", sql, false).await;
}

#[tokio::test]
async fn a_partitioned_table_ends_the_same() {
    let sql = "CREATE TABLE items (id int PRIMARY KEY, name text, note text) PARTITION BY RANGE (id); \
        CREATE TABLE low PARTITION OF items FOR VALUES FROM (MINVALUE) TO (30); \
        CREATE TABLE high PARTITION OF items FOR VALUES FROM (30) TO (MAXVALUE)";
    same_in_every_form("forms_parts", sql, false).await;
}

#[tokio::test]
async fn a_view_ends_the_same() {
    let sql = "CREATE TABLE kept (id int PRIMARY KEY, name text, note text, more int DEFAULT 1); \
        CREATE VIEW items AS SELECT id, name, note FROM kept";
    same_in_every_form("forms_view", sql, false).await;
}

/// F25: without the replica role triggers fire and order is kept.
#[tokio::test]
async fn a_table_with_live_triggers_ends_the_same() {
    let sql = "CREATE TABLE items (id int PRIMARY KEY, name text, note text); CREATE TABLE log (n int); \
        CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS \
        $$ BEGIN INSERT INTO public.log VALUES (1); RETURN NULL; END $$; \
        CREATE TRIGGER t AFTER INSERT OR UPDATE OR DELETE ON items FOR EACH ROW EXECUTE FUNCTION note()";
    same_in_every_form("forms_triggers", sql, true).await;
}

/// F28: keys of several columns, wherever they stand; columns that no route fills keep what they hold on green.
#[tokio::test]
async fn composite_keys_and_columns_of_green_alone() {
    let sql = "CREATE TABLE items (name text, id int, note text, \"Order\" text, own int DEFAULT 7, \
        twice int GENERATED ALWAYS AS (id * 2) STORED, PRIMARY KEY (\"Order\", id))";
    let Some(mut green) = Green::with("forms_composite", sql).await else {
        return;
    };
    let mut items = table(0, "items", &["name", "id", "note", "Order"]);
    items.key = vec![1, 3];
    let mut sink = green.sink(vec![items]).await;
    let key = |n: &str| row(&[n, "o,\"\\"]).key(&[0, 1]).unwrap();
    let inserts = green.batch(vec![each(0..300, |n| insert(0, &["new", n, "x", "o,\"\\"]))]);
    assert_eq!(sink.apply(inserts).await.unwrap(), Applied::default());
    green.admin.batch("UPDATE public.items SET own = 8").await.unwrap();
    let changes = green.batch(vec![
        each(0..200, |n| update(0, &["changed", n, UNSENT, "o,\"\\"])),
        each(200..300, |n| RowChange::Delete { route: RouteId(0), key: key(n), before: Before::There }),
        vec![RowChange::Update {
            route: RouteId(0),
            old_key: Some(key("5")),
            new: row(&["moved", "500", UNSENT, "p"]),
            blue_key: None,
            before: Before::There,
        }],
    ]);
    assert_eq!(sink.apply(changes).await.unwrap(), Applied::default());
    let found = "SELECT string_agg(line, ' ') FROM (SELECT concat(name, count(*), note, own, max(twice)) AS line \
        FROM public.items GROUP BY name, note, own ORDER BY name) AS g";
    assert_eq!(green.rows(found).await, "changed199x8398 moved1x81000");
    // Keys are kept as they are, whatever they hold.
    let missing = green.batch(vec![vec![update(0, &["part", "9", UNSENT, "a\\\"{},b"])]]);
    let heals = sink.apply(missing).await.unwrap().heals;
    let again = PostgresSink::connect(&green.options, green.settings(), {
        let mut items = table(0, "items", &["name", "id", "note", "Order"]);
        items.key = vec![1, 3];
        vec![items]
    });
    let saved = again.await.unwrap().claim().await.unwrap().unwrap();
    assert_eq!(heals.len(), 1);
    assert_eq!(saved.heals, heals);
}

/// F23: values that were not sent stay, in every form.
#[tokio::test]
async fn unchanged_large_values_stay() {
    let sql = "CREATE TABLE docs (id int PRIMARY KEY, title text, body text)";
    let Some(mut green) = Green::with("forms_toast", sql).await else {
        return;
    };
    let mut sink = green.sink(vec![table(0, "docs", &["id", "title", "body"])]).await;
    let body = "x".repeat(9000);
    let inserts = green.batch(vec![each(0..100, |n| insert(0, &[n, "old", &body]))]);
    sink.apply(inserts).await.unwrap();
    let one = green.batch(vec![vec![update(0, &["5", "one", UNSENT])]]);
    let many = green.batch(vec![each(10..90, |n| update(0, &[n, "many", UNSENT]))]);
    sink.apply(one).await.unwrap();
    sink.apply(many).await.unwrap();
    let found = green
        .rows("SELECT title || count(*) || min(length(body)) FROM public.docs GROUP BY title ORDER BY 1")
        .await;
    assert_eq!(found, "many809000\nold199000\none19000");
}

/// F22, F30: whatever a type is, its text goes through unchanged, one by one and in sets.
#[tokio::test]
async fn every_kind_of_type_passes_as_text() {
    let sql = "CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE DOMAIN zip AS text CHECK (length(VALUE) < 9); \
        CREATE TYPE pair AS (a int, b text); CREATE TABLE wide (id uuid PRIMARY KEY, a int[], b text[][], m mood, z zip, \
        p pair, j jsonb, r int4range, mr int4multirange, n numeric, f float8, i interval, t timestamptz, by bytea, \
        bits bit(3), ip inet, c char(4), x xml, ms mood[])";
    let Some(mut green) = Green::with("forms_types", sql).await else {
        return;
    };
    let columns = [
        "id", "a", "b", "m", "z", "p", "j", "r", "mr", "n", "f", "i", "t", "by", "bits", "ip", "c", "x", "ms",
    ];
    let mut sink = green.sink(vec![table(0, "wide", &columns)]).await;
    let id = |n: &str| format!("00000000-0000-0000-0000-{:0>12}", n);
    let values = |n: &str| {
        [
            id(n),
            "{1,NULL,3}".into(),
            "{{a,\"b\\\"c\"},{d,NULL}}".into(),
            "ok".into(),
            "1234".into(),
            "(1,\"x, y\")".into(),
            "{\"k\": [1, \"\\t\"]}".into(),
            "[1,5)".into(),
            "{[1,3),[7,9)}".into(),
            "NaN".into(),
            "-Infinity".into(),
            "1 mon -2 days".into(),
            "2024-02-29 12:00:00.123456+00".into(),
            "\\x00ff0a5c".into(),
            "101".into(),
            "10.0.0.1/8".into(),
            "ab  ".into(),
            "<a>\n</a>".into(),
            "{sad,ok}".into(),
        ]
    };
    let change = |make: fn(u16, &[&str]) -> RowChange| {
        move |n: &str| make(0, &values(n).each_ref().map(String::as_str))
    };
    let few = green.batch(vec![each(0..3, change(insert))]);
    let many = green.batch(vec![each(3..99, change(insert))]);
    let updates = green.batch(vec![each(0..99, change(update))]);
    for batch in [few, many, updates] {
        assert_eq!(sink.apply(batch).await.unwrap(), Applied::default());
    }
    let same = "SELECT count(*) || '|' || md5(w) FROM (SELECT (a, b, m, z, p, j, r, mr, n, f, i, t, by, bits, ip, c, \
        x::text, ms)::text AS w FROM public.wide) AS w GROUP BY w";
    let found = green.rows(same).await;
    assert!(found.starts_with("99|") && !found.contains('\n'), "{found}");
    let deletes = green.batch(vec![each(0..99, |n| RowChange::Delete {
        route: understudy_model::RouteId(0),
        key: row(&[&id(n)]).key(&[0]).unwrap(),
        before: Before::There,
    })]);
    assert_eq!(sink.apply(deletes).await.unwrap(), Applied::default());
    assert_eq!(green.rows("SELECT count(*) FROM public.wide").await, "0");
}
