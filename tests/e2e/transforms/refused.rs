//! Routes that cannot be: what `check` and `plan` say of them, with the place in the file and a caret under it.

use understudy_tests::{Exit, Snapshot};

use super::Case;

/// What each verb says, as an operator reads it.
const SNAPSHOT: &str = "tests/e2e/transforms/refused.txt";

const BLUE: &str = "CREATE TABLE item (id int PRIMARY KEY, n int NOT NULL, note text, born date); \
                    CREATE TABLE twin (id int PRIMARY KEY, n int, note text); \
                    CREATE TABLE part (id int, taken date, n int, PRIMARY KEY (id, taken)) PARTITION BY RANGE (taken); \
                    CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM ('2025-01-01') TO ('2026-01-01'); \
                    INSERT INTO item VALUES (1, 27182818, 'value 31415926')";

const GREEN: &str = "CREATE TABLE item (id int PRIMARY KEY, n int, note text); \
                     CREATE TABLE strict (id int PRIMARY KEY, n int, must text NOT NULL); \
                     CREATE TABLE keyed (code text PRIMARY KEY, n int); \
                     CREATE TABLE both_of (kind text, id int, note text, PRIMARY KEY (kind, id)); \
                     CREATE TABLE alone (id int PRIMARY KEY, note text); \
                     CREATE TABLE part (id int PRIMARY KEY, n int)";

/// Something that is wrong with a file.
struct Wrong {
    /// What it is.
    name: &'static str,
    /// Entries of `tables`.
    entries: &'static str,
    /// Where, as the text that stands there in the file; empty where it is about no place in an expression.
    at: &'static str,
    /// What must be said.
    words: &'static [&'static str],
}

const ITEM: &str = "  - from: '@.item'\n    columns:\n      id: id\n";

const WRONG: &[Wrong] = &[
    Wrong {
        name: "a column that blue does not have",
        entries: "{item}      note: upper(nope)\n",
        at: "nope",
        words: &["nope"],
    },
    Wrong {
        name: "a plain column that blue does not have",
        entries: "{item}      note: nope\n",
        at: "",
        words: &["nope", "refused.item"],
    },
    Wrong {
        name: "a type that green's column does not take",
        entries: "{item}      n: note || 'x'\n",
        at: "note || 'x'",
        words: &["integer", "text"],
    },
    Wrong {
        name: "an argument of the wrong type",
        entries: "{item}      note: \"'x' || upper(n)\"\n",
        at: "upper(n)",
        words: &["upper", "integer"],
    },
    Wrong {
        name: "a function that does not exist",
        entries: "{item}      note: |\n        upper(note)\n          || frobnicate(note)\n",
        at: "frobnicate",
        words: &["frobnicate"],
    },
    Wrong {
        name: "a call that could mean several functions",
        entries: "{item}      note: date_trunc('day', NULL)::text\n",
        at: "date_trunc",
        words: &["date_trunc"],
    },
    Wrong {
        name: "a value that depends on the clock",
        entries: "{item}      note: now()::text\n",
        at: "now()",
        words: &["now"],
    },
    Wrong {
        name: "a text that is no expression",
        entries: "{item}      note: upper(note\n",
        at: "",
        words: &["note"],
    },
    Wrong {
        name: "a condition that is none",
        entries: "  - from: '@.item'\n    where: n + 1\n    columns: { id: id }\n",
        at: "n + 1",
        words: &["boolean", "integer"],
    },
    Wrong {
        name: "a mask without a key",
        entries: "{item}      note: mask(note)\n",
        at: "mask",
        words: &["mask", "key"],
    },
    Wrong {
        name: "a column that green does not have",
        entries: "{item}      nowhere: upper(note)\n",
        at: "",
        words: &["refused.item", "nowhere"],
    },
    Wrong {
        name: "a column of green that nothing fills",
        entries: "  - from: '@.item'\n    to: '@.strict'\n    columns: { id: id, n: n * 2 }\n",
        at: "",
        words: &["refused.strict", "must", "NOT NULL"],
    },
    Wrong {
        name: "a key that is not filled",
        entries: "  - from: '@.item'\n    to: '@.keyed'\n    columns: { n: n * 2 }\n",
        at: "",
        words: &["refused.keyed", "`code`"],
    },
    Wrong {
        name: "a key computed from what blue does not send",
        entries: "  - from: '@.item'\n    to: '@.keyed'\n    columns: { code: id || note, n: n }\n",
        at: "",
        words: &["refused.keyed", "`code`", "`note`"],
    },
    Wrong {
        name: "two tables merged with nothing to tell them apart",
        entries: "  - from: '@.item'\n    to: '@.alone'\n    columns: { id: id, note: note }\n  \
                  - from: '@.twin'\n    to: '@.alone'\n    columns: { id: id, note: note }\n",
        at: "",
        words: &["refused.alone", "refused.item", "refused.twin"],
    },
    Wrong {
        name: "two tables merged under the same word",
        entries: "  - from: '@.item'\n    to: '@.both_of'\n    columns: { kind: \"'one'\", id: id, note: note }\n  \
                  - from: '@.twin'\n    to: '@.both_of'\n    columns: { kind: \"'one'\", id: id, note: note }\n",
        at: "",
        words: &["refused.both_of", "refused.item", "refused.twin"],
    },
    Wrong {
        name: "a table moved twice to the same place",
        entries: "  - from: '@.item'\n    to: '@.alone'\n    where: n > 5\n    columns: { id: id, note: note }\n  \
                  - from: '@.item'\n    to: '@.alone'\n    where: n <= 6\n    columns: { id: id, note: upper(note) }\n",
        at: "",
        words: &["refused.alone", "refused.item"],
    },
    Wrong {
        name: "partitions that green cannot tell apart",
        entries: "  - from: '@.part'\n    columns: { id: id, n: n * 2 }\n",
        at: "",
        words: &["refused.part", "taken"],
    },
];

/// Line and column of `at` in the file, from one, as they are shown.
fn place(file: &str, at: &str) -> String {
    let text = std::fs::read_to_string(file).expect("the file is there");
    let tables = text.lines().position(|line| line.starts_with("tables:")).expect("a list of tables");
    let found = text.lines().enumerate().skip(tables).find_map(|(line, text)| Some((line, text.find(at)?)));
    let (line, column) = found.unwrap_or_else(|| panic!("`{at}` is not in the file"));
    format!("{}:{}", line + 1, column + 1)
}

/// Whether a caret stands right below the start of `at`.
fn has_caret(message: &str, at: &str) -> bool {
    let lines = message.lines().collect::<Vec<_>>();
    lines.windows(2).any(|pair| {
        let caret = pair[1].find('^');
        caret.is_some() && pair[0].find(at) == caret
    })
}

fn assert_refused(wrong: &Wrong, file: &str, exit: &Exit) -> String {
    let name = wrong.name;
    let said = exit.stdout.clone() + &exit.stderr;
    assert_eq!(exit.code, Some(2), "{name}:\n{said}");
    for word in wrong.words {
        assert!(said.contains(word), "{name}: `{word}` is not in:\n{said}");
    }
    if !wrong.at.is_empty() {
        let place = place(file, wrong.at);
        assert!(said.contains(&place), "{name}: {place} is not in:\n{said}");
        assert!(has_caret(&said, wrong.at), "{name}: no caret stands below `{}`:\n{said}", wrong.at);
    }
    assert!(!said.contains("27182818") && !said.contains("31415926"), "{name}: a value was shown:\n{said}");
    without_others(&said.replace(file, "migration.yaml"))
}

/// What is said of this file, without what other tests have on the same servers.
fn without_others(said: &str) -> String {
    let others = ["Worth knowing:", "May stop it later:", "Does not move:"];
    let kept =
        said.trim_end().split("\n\n").filter(|part| !others.iter().any(|title| part.starts_with(title)));
    let kept = kept.collect::<Vec<_>>().join("\n\n");
    let count = |line: &str| line.starts_with("error: ") && line.ends_with(" must be mended first");
    let lines = kept.lines().map(|line| if count(line) { "error: ... must be mended first" } else { line });
    lines.collect::<Vec<_>>().join("\n")
}

/// Each mistake is found by `check` and by `plan` before anything is created: exit code 2, and where it is about SQL in the
/// file its line and column with a caret under the place.
#[tokio::test(flavor = "multi_thread")]
async fn routes_that_cannot_be_are_refused() {
    let Some(mut case) = Case::open("refused", BLUE, GREEN).await else {
        return;
    };
    let mut all = String::new();
    for wrong in WRONG {
        let migration = case.migration(&wrong.entries.replace("{item}", ITEM));
        let (file, exit) = case.verb(&migration, &["plan"]).await;
        // What is no matter of the file alone is listed by `check`: the plan is shown as far as there is one.
        if exit.code != Some(0) || !exit.stdout.contains("\nNot ready: ") {
            assert_refused(wrong, &file, &exit);
        }
        let (file, exit) = case.verb(&migration, &["check"]).await;
        let said = assert_refused(wrong, &file, &exit);
        all.push_str(&format!("# {}\n{said}\n\n", wrong.name));
    }
    let left = "SELECT slot_name FROM pg_replication_slots WHERE slot_name = 'understudy_refused' \
                UNION ALL SELECT pubname FROM pg_publication WHERE pubname = 'understudy_refused'";
    assert_eq!(case.blue.column(left).await, Vec::<String>::new());
    Snapshot::of(SNAPSHOT).compare(&all);
}

/// What needs no server to be seen is seen without one, at the same place.
#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_is_no_expression_is_refused_without_servers() {
    let Some(case) = Case::open("unparsed", BLUE, GREEN).await else {
        return;
    };
    for (entry, at) in
        [("note: upper(note, ,)", ", ,)"), ("note: n +* 2", "* 2"), ("note: note FROM item", "FROM item")]
    {
        let migration = case.migration(&format!("{ITEM}      {entry}\n"));
        let (file, exit) = case.verb(&migration, &["config", "check"]).await;
        assert_eq!(exit.code, Some(2), "{entry}: {}{}", exit.stdout, exit.stderr);
        let line = place(&file, at);
        let line = line.split_once(':').map_or("", |(line, _)| line);
        assert!(
            exit.stderr.contains(&format!(":{line}:")),
            "{entry}: line {line} is not in:\n{}",
            exit.stderr
        );
        assert!(exit.stderr.contains('^'), "{entry}: no caret:\n{}", exit.stderr);
    }
}
