//! Routes that leave rows out: changes to rows of which it is not known whether they were on green.

use std::collections::{BTreeMap, BTreeSet};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use understudy_contract::{Applied, ChangeSink, GreenTable, PlacedKind};
use understudy_model::{RouteId, RowChange};
use understudy_postgres::sink::PostgresSink;

use crate::green::{
    Green, UNSENT, delete, each, heal_key, insert, key, leave, put, put_rekey, reread, row, table, update,
};

const SQL: &str = "CREATE TABLE items (id int PRIMARY KEY, name text, note text, own int DEFAULT 7)";
const SHOW: &str = "SELECT concat_ws('|', id, name, note) FROM public.items ORDER BY id";
const MISMATCHES: &str = "SELECT kind || key[1] FROM understudy.mismatches ORDER BY id";
/// Rows that the transaction of the last batch wrote without savepoints, and so in one go.
const AT_ONCE: &str =
    "SELECT count(*) FROM public.items AS i JOIN understudy.migration AS m ON i.xmin = m.xmin";

fn items() -> GreenTable {
    GreenTable { filtered: true, ..table(0, "items", &["id", "name", "note"]) }
}

async fn filled(name: &str, sql: &str, rows: u32) -> Option<(Green, PostgresSink)> {
    let mut green = Green::with(name, sql).await?;
    let mut sink = green.sink(vec![items()]).await;
    let batch = green.batch(vec![each(0..rows, |n| insert(0, &[n, n, "old"]))]);
    assert_eq!(sink.apply(batch).await.unwrap(), Applied::default());
    Some((green, sink))
}

/// Promises 1 and 3: whole rows come or change, rows go if they are there, nothing of it is a mismatch; and it all goes in
/// one piece, in sets where there are many.
#[tokio::test]
async fn rows_that_may_be_there_come_change_and_go() {
    for many in [2, 100] {
        let Some((mut green, mut sink)) = filled(&format!("maybe_{many}"), SQL, 2 * many).await else {
            return;
        };
        green.admin.batch("UPDATE public.items SET own = 8").await.unwrap();
        let batch = green.batch(vec![
            each(many..3 * many, |n| put(0, &[n, n, "new"])),
            each(0..many, |n| leave(0, n)),
            each(5000..5000 + many, |n| leave(0, n)),
        ]);
        assert_eq!(sink.apply(batch).await.unwrap(), Applied::default());
        let counts =
            "SELECT note || own || '=' || count(*) FROM public.items GROUP BY note, own ORDER BY own";
        assert_eq!(green.rows(counts).await, format!("new7={many}\nnew8={many}"));
        assert_eq!(green.rows(AT_ONCE).await, (2 * many).to_string());
        assert_eq!(green.rows(MISMATCHES).await, "");
    }
}

/// Promise 1: a row of which only a part was sent and that is not there is read again, under both of its names; it is no
/// mismatch, and holds up nothing around it.
#[tokio::test]
async fn a_part_of_a_row_that_is_not_there_is_read_again() {
    for many in [2, 100] {
        let Some((mut green, mut sink)) = filled(&format!("maybe_part_{many}"), SQL, many).await else {
            return;
        };
        let mut changes = each(0..2 * many, |n| put(0, &[n, "part", UNSENT]));
        let last = changes.pop().unwrap();
        let RowChange::Update { route, old_key, new, before, .. } = last else { unreachable!() };
        changes.push(RowChange::Update { route, old_key, new, blue_key: Some(key(&["b"])), before });
        let batch = green.batch(vec![changes]);
        let applied = sink.apply(batch).await.unwrap();
        assert_eq!((applied.mismatches, applied.heals.len()), (0, many as usize));
        let last = (2 * many - 1).to_string();
        assert!(applied.heals.contains(&(RouteId(0), heal_key(&last, "b"))), "{:?}", applied.heals);
        let first = many.to_string();
        assert!(applied.heals.contains(&(RouteId(0), heal_key(&first, &first))));
        let found = "SELECT count(*) || min(name) || min(note) FROM public.items";
        assert_eq!(green.rows(found).await, format!("{many}partold"));
        assert_eq!(green.rows(AT_ONCE).await, many.to_string());
        drop(sink);
        let again = PostgresSink::connect(&green.options, green.settings(), vec![items()]);
        let mut saved = again.await.unwrap().claim().await.unwrap().unwrap().heals;
        let mut heals = applied.heals;
        saved.sort();
        heals.sort();
        assert_eq!(saved, heals);
    }
}

/// Promise 1: a row that takes another key comes whole where it was not, moves where it was, and is read again under its
/// new key where only a part is known; few and among many.
#[tokio::test]
async fn rows_that_take_another_key_may_not_have_been_there() {
    for many in [0, 100] {
        let Some((mut green, mut sink)) = filled(&format!("maybe_rekey_{many}"), SQL, 3).await else {
            return;
        };
        green.admin.batch("UPDATE public.items SET own = 8").await.unwrap();
        let batch = green.batch(vec![
            each(1000..1000 + many, |n| put(0, &[n, n, "x"])),
            vec![put_rekey(0, "0", &["10", "moved", UNSENT]), put_rekey(0, "1", &["11", "moved", "new"])],
            vec![put_rekey(0, "50", &["12", "came", "whole"]), put_rekey(0, "51", &["13", "part", UNSENT])],
            each(1000..1000 + many, |n| leave(0, n)),
        ]);
        let applied = sink.apply(batch).await.unwrap();
        let heals = vec![(RouteId(0), heal_key("13", "13"))];
        assert_eq!(applied, Applied { heals, ..Applied::default() });
        let show = "SELECT concat_ws('|', id, name, note, own) FROM public.items ORDER BY id";
        assert_eq!(green.rows(show).await, "2|2|old|8\n10|moved|old|8\n11|moved|new|8\n12|came|whole|7");
        assert_eq!(green.rows(AT_ONCE).await, "3");
    }
}

/// F24: a row that comes under a key, or with a unique value, that another still has does not take that one's place while
/// it may make room; at the end of the transaction it stands, whatever was there.
#[tokio::test]
async fn rows_that_come_wait_for_others_to_make_room() {
    let sql = SQL.replace("name text", "name text UNIQUE");
    for many in [0, 100] {
        let Some((mut green, mut sink)) = filled(&format!("maybe_room_{many}"), &sql, 4).await else {
            return;
        };
        green.admin.batch("UPDATE public.items SET own = 8").await.unwrap();
        let noise = |change: fn(&str) -> RowChange| each(1000..1000 + many, change);
        let batch = green.batch(vec![
            noise(|n| put(0, &[n, n, "x"])),
            // 9 was left out, 2 was not: they change places.
            vec![put_rekey(0, "9", &["2", "nine", "new"]), put_rekey(0, "2", &["9", "2", UNSENT])],
            // The part of 8 that is known waits for nobody: what stands under its key moves away.
            vec![put_rekey(0, "8", &["1", "eight", UNSENT]), put_rekey(0, "1", &["8", "1", UNSENT])],
            // A unique value is taken over.
            vec![put(0, &["7", "3", "new"]), leave(0, "3")],
            vec![put_rekey(0, "30", &["31", "0", "new"]), put(0, &["0", "zero", "new"])],
            noise(|n| leave(0, n)),
        ]);
        let applied = sink.apply(batch).await.unwrap();
        let heals = vec![(RouteId(0), heal_key("1", "1"))];
        assert_eq!((applied.mismatches, &applied.heals), (0, &heals));
        let show = "SELECT concat_ws('|', id, name, note, own) FROM public.items ORDER BY id";
        let wanted = "0|zero|new|8\n2|nine|new|7\n7|3|new|7\n8|1|old|8\n9|2|old|8\n31|0|new|7";
        assert_eq!(green.rows(show).await, wanted);
        // Nobody makes room: the row that blue has is the one that stands.
        let batch = green.batch(vec![vec![put_rekey(0, "40", &["2", "over", "it"])]]);
        assert_eq!(sink.apply(batch).await.unwrap(), Applied::default());
        assert_eq!(green.rows("SELECT name FROM public.items WHERE id = 2").await, "over");
        assert_eq!(green.rows(MISMATCHES).await, "");
        // Not even while a row is looked for among those that were put off.
        let swap = [put_rekey(0, "50", &["7", "fifty", "new"]), put_rekey(0, "7", &["50", "3", UNSENT])];
        let [comes, goes] = swap;
        let batch = green.batch(vec![vec![comes, delete(0, "7777"), goes]]);
        assert_eq!(sink.apply(batch).await.unwrap().mismatches, 1);
        let swapped = "SELECT string_agg(id || name, ' ' ORDER BY id) FROM public.items WHERE id IN (7, 50)";
        assert_eq!(green.rows(swapped).await, "7fifty 503");
    }
}

/// F24: a row that was put off in the middle of its transaction is found by what comes after, though that need not find
/// any: it does not come back at the end with what it held before.
#[tokio::test]
async fn rows_that_were_put_off_are_found_by_later_changes() {
    let sql = SQL.replace("name text", "name text UNIQUE");
    let taken = || put(0, &["1", "2", "new"]);
    let moved = || put(0, &["2", "free", "new"]);
    for (n, (changes, wanted)) in [
        (vec![taken(), leave(0, "1")], "0|0|old\n2|2|old"),
        (vec![taken(), leave(0, "1"), moved()], "0|0|old\n2|free|new"),
        (vec![taken(), put(0, &["1", "one", "newer"])], "0|0|old\n1|one|newer\n2|2|old"),
        (vec![taken(), put_rekey(0, "1", &["9", "nine", "n"]), moved()], "0|0|old\n2|free|new\n9|nine|n"),
        (vec![taken(), moved(), put(0, &["1", "one", UNSENT])], "0|0|old\n1|one|new\n2|free|new"),
    ]
    .into_iter()
    .enumerate()
    {
        let Some((mut green, mut sink)) = filled(&format!("maybe_put_off_{n}"), &sql, 3).await else {
            return;
        };
        let batch = green.batch(vec![changes]);
        assert_eq!(sink.apply(batch).await.unwrap(), Applied::default(), "{n}");
        assert_eq!(green.rows(SHOW).await, wanted, "{n}");
    }
}

/// Promise 2: what is known is checked as ever, beside what is not, few and many.
#[tokio::test]
async fn rows_that_must_be_there_are_checked_beside_others() {
    for many in [2, 100] {
        let Some((mut green, mut sink)) = filled(&format!("maybe_strict_{many}"), SQL, many).await else {
            return;
        };
        let mut leaves = each(5000..5000 + many, |n| leave(0, n));
        leaves.push(delete(0, "7001"));
        let mut puts = each(0..many, |n| put(0, &[n, n, "new"]));
        puts.push(update(0, &["7002", "whole", "row"]));
        let mut parts = each(0..many, |n| put(0, &[n, "part", UNSENT]));
        parts.push(update(0, &["7003", "part", UNSENT]));
        for (changes, heals) in [(leaves, 0), (puts, 0), (parts, 1)] {
            let batch = green.batch(vec![changes]);
            let applied = sink.apply(batch).await.unwrap();
            assert_eq!((applied.mismatches, applied.heals.len()), (1, heals));
        }
        assert_eq!(green.rows(MISMATCHES).await, "missing7001\nmissing7002\nmissing7003");
    }
}

/// One row on blue: its texts, and whether the condition holds for it.
type Blue = BTreeMap<u32, ([String; 2], bool)>;

/// Random transactions of a route that leaves rows out, as blue without old images sends them, and what blue holds in the
/// end. The second column is kept unique.
fn workload(seed: u64, transactions: usize) -> (Vec<Vec<RowChange>>, Blue) {
    let mut random = SmallRng::seed_from_u64(seed);
    let (mut blue, mut fresh) = (Blue::new(), 0u32);
    let mut work = Vec::new();
    for _ in 0..transactions {
        let mut changes = Vec::new();
        for _ in 0..random.random_range(1..8) {
            fresh += 1;
            let (id, fits) = (random.random_range(0..60u32), random.random_range(0..3) > 0);
            let (text, name, note) = (id.to_string(), format!("n{fresh}"), format!("note{fresh}"));
            let Some((mut values, _)) = blue.get(&id).cloned() else {
                if fits {
                    changes.push(insert(0, &[&text, &name, &note]));
                }
                blue.insert(id, ([name, note], fits));
                continue;
            };
            let whole = random.random_range(0..3) > 0;
            values[0] = name.clone();
            if whole {
                values[1] = note.clone();
            }
            let sent = if whole { note.as_str() } else { UNSENT };
            match random.random_range(0..10) {
                0..2 => {
                    changes.push(leave(0, &text));
                    blue.remove(&id);
                }
                2..4 => {
                    let to = (0..).find(|to| !blue.contains_key(to)).unwrap();
                    blue.remove(&id);
                    blue.insert(to, (values, fits));
                    let to = to.to_string();
                    match (fits, whole || random.random()) {
                        (true, true) => changes.push(put_rekey(0, &text, &[&to, &name, sent])),
                        (_, false) => changes.extend([leave(0, &text), reread(0, &to, &to)]),
                        (false, _) => changes.push(leave(0, &text)),
                    }
                }
                _ => {
                    blue.insert(id, (values, fits));
                    match (fits, whole || random.random()) {
                        (true, true) => changes.push(put(0, &[&text, &name, sent])),
                        // The condition reads what was not sent.
                        (_, false) => changes.push(reread(0, &text, &text)),
                        (false, _) => changes.push(leave(0, &text)),
                    }
                }
            }
        }
        work.push(changes);
    }
    (work, blue)
}

/// Promises 1 and 3: in small batches, in one large one, as parts of one giant transaction, and change by change because
/// each batch has a mismatch, green comes to the rows for which the condition holds, once those that were reported have
/// been read again; and nothing else is a mismatch.
async fn ends_as_blue(name: &str, sql: &str) {
    let (work, blue) = workload(5, 400);
    let fits = |(id, ([name, note], fits)): (&u32, &([String; 2], bool))| {
        fits.then(|| [id.to_string(), name.clone(), note.clone()])
    };
    let wanted = blue.iter().filter_map(fits).map(|row| row.join("|")).collect::<Vec<_>>().join("\n");
    for (form, size) in [1, 60, work.len(), 90, 1].into_iter().enumerate() {
        let Some(mut green) = Green::with(&format!("{name}_{form}"), sql).await else { return };
        let mut sink = green.sink(vec![items()]).await;
        let mut heals = BTreeSet::new();
        let (mut pieces, mismatches) = (work.chunks(size).peekable(), u64::from(form == 4));
        while let Some(piece) = pieces.next() {
            let mut piece = if form == 3 { vec![piece.concat()] } else { piece.to_vec() };
            (0..mismatches).for_each(|_| piece[0].insert(0, delete(0, "7777")));
            let ends = form != 3 || pieces.peek().is_none();
            let batch = if ends { green.batch(piece) } else { green.part(piece.concat()) };
            let applied = sink.apply(batch).await.unwrap();
            assert_eq!((applied.mismatches, applied.quarantined), (mismatches, 0), "form {form}");
            heals.extend(applied.heals.into_iter().map(|(_, key)| key));
        }

        assert!(!heals.is_empty());
        let read = heals.iter().filter_map(|key| {
            let id = std::str::from_utf8(key.blue.texts().next().unwrap()).unwrap().parse::<u32>().unwrap();
            blue.get_key_value(&id)
        });
        let read = read.collect::<Vec<_>>();
        let rows = read.iter().filter_map(|read| fits(*read));
        let rows = rows.map(|texts| row(&texts.each_ref().map(String::as_str))).collect();
        let kind = PlacedKind::Heal { keys: heals.iter().cloned().collect() };
        let mut chunk = green.chunk(1, 0, kind, rows);
        let left_out = read.iter().filter(|(_, (_, fits))| !fits);
        chunk.left_out = left_out.map(|(id, _)| key(&[&id.to_string()])).collect();
        sink.place(chunk).await.unwrap();
        sink.placed().await.unwrap();
        assert_eq!(green.rows(SHOW).await, wanted, "form {form}");
        assert_eq!(green.rows("SELECT count(*) FROM understudy.heals").await, "0");
    }
}

#[tokio::test]
async fn a_plain_table_ends_as_blue() {
    ends_as_blue("maybe_plain", SQL).await;
}

/// Without folding.
#[tokio::test]
async fn a_table_with_another_unique_index_ends_as_blue() {
    ends_as_blue("maybe_unique", &SQL.replace("name text", "name text UNIQUE")).await;
}

#[tokio::test]
async fn a_table_with_a_key_that_green_numbers_ends_as_blue() {
    let sql = SQL.replace("id int", "id int GENERATED ALWAYS AS IDENTITY");
    ends_as_blue("maybe_drawn", &sql).await;
}

#[tokio::test]
async fn a_view_ends_as_blue() {
    let sql = "CREATE TABLE kept (id int PRIMARY KEY, name text, note text); \
        CREATE VIEW items AS SELECT id, name, note FROM kept";
    ends_as_blue("maybe_view", sql).await;
}
