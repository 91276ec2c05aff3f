//! Everything that can be said of a file's SQL without a database, by the message that the user reads.

use understudy_transform::{ColumnSource, Requested, expr};

use super::*;

const HEAD: &str = "version: 1
name: shop-v2
blue: { url: postgres://understudy@blue/shop }
green: { postgres: { url: postgres://understudy@green/shop } }
";

fn around(variables: &[(&str, &str)]) -> Surroundings {
    let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let variables = variables.iter().map(own).collect();
    Surroundings { variables, folder: PathBuf::from("/nonexistent"), secrets: Secrets::Read }
}

/// A file whose head is good, with the given lines from line 5 on.
fn read(rest: &str) -> Result<Settings, String> {
    let key = ("MASK", "  0123456789abcdef\n");
    let around = around(&[key, ("SHORT", " 0123456789abcde "), ("NOTHING", "")]);
    parse("shop.yaml", &format!("{HEAD}{rest}"), &around).map_err(|error| error.to_string())
}

/// A file with one entry, whose `columns` are the given lines from line 8 on.
fn columns(lines: &str) -> Result<Settings, String> {
    read(&format!("tables:\n  - from: public.users\n    columns:\n      {lines}\n"))
}

fn refused(rest: &str) -> String {
    read(rest).map(|settings| format!("accepted: {settings:?}")).unwrap_or_else(|message| message)
}

/// SQL reaches the compiler as it was written, in every style of YAML; what needs no evaluation stays without.
#[test]
fn sql_is_kept_as_it_was_written() {
    let sql = |text: &str| Requested::Sql("x".to_owned(), text.to_owned());
    let column = |from: ColumnSource| Requested::Column("x".to_owned(), from);
    let constant = |value: &str| column(ColumnSource::Constant(Some(value.to_owned())));
    let cases = [
        ("x: first_name || ' ' ||  last_name # both", sql("first_name || ' ' ||  last_name")),
        ("x: id # -> of blue", column(ColumnSource::Column("id".to_owned()))),
        ("x: '''a'' || b'", sql("'a' || b")),
        ("x: \"'a' || \\\"Odd\\\"\"", sql("'a' || \"Odd\"")),
        ("x: |\n        CASE WHEN a THEN 1\n          ELSE 2 END\n", sql("CASE WHEN a THEN 1\n  ELSE 2 END")),
        ("x: >-\n        a\n        + b", sql("a + b")),
        ("x: current_date", sql("current_date")),
        ("x: price::numeric(10,2)", sql("price::numeric(10,2)")),
        ("x: \"'2024-01-01'::date\"", sql("'2024-01-01'::date")),
        ("x: (id)", sql("(id)")),
        ("x: -1.5e3", constant("-1.5e3")),
        ("x: true", constant("true")),
        ("x: \"'it''s'\"", constant("it's")),
        ("x: ~", column(ColumnSource::Constant(None))),
        ("x: |\n        id\n", column(ColumnSource::Column("id".to_owned()))),
    ];
    for (line, expected) in cases {
        assert_eq!(columns(line).unwrap().tables[0].columns, Some(vec![expected]), "{line}");
    }
}

#[test]
fn every_key_for_sql_is_read() {
    let settings = read(
        "tables:
  - from: public.users
    to: app.customers
    where: deleted_at IS NULL
    columns: { name: first || last, \"*\": \"*\" }
    back:
      first: split_part(name, ' ', 1)
      closed: NULL
  - { from: public.*, where: true }
mask: { key: { env: MASK } }
",
    )
    .unwrap();
    let [users, rest] = settings.tables.as_slice() else { panic!("{settings:?}") };
    assert_eq!(users.filter_text(), Some("deleted_at IS NULL"));
    assert_eq!(users.filter.as_ref().unwrap().place, Some(Place { line: 8, column: 12 }));
    let back = users.back.iter().map(|(name, sql)| (name.as_str(), sql.text.as_str())).collect::<Vec<_>>();
    assert_eq!(back, [("first", "split_part(name, ' ', 1)"), ("closed", "NULL")]);
    assert_eq!((rest.filter_text(), rest.back.len()), (Some("true"), 0));
    assert_eq!(settings.mask_key.as_ref().unwrap().expose(), "0123456789abcdef");
    assert!(!format!("{settings:?}").contains("0123456789abcdef"));
}

/// The lines of `columns` from line 8 on, and the whole message.
const BAD_SQL: &[(&str, &str)] = &[
    (
        "name: first || ) last",
        "shop.yaml:8:22: tables[0].columns.name: Expected: an expression, found: )
  8 |       name: first || ) last
    |                      ^",
    ),
    (
        "name: lower(email",
        "shop.yaml:8:24: tables[0].columns.name: the expression ends where more of it is expected
  8 |       name: lower(email
    |                        ^",
    ),
    (
        "name: first last",
        "shop.yaml:8:19: tables[0].columns.name: `last` does not belong to the expression
  8 |       name: first last
    |                   ^^^^",
    ),
    (
        "name: '''Dr '' || last || THEN x' # title",
        "shop.yaml:8:38: tables[0].columns.name: `x` does not belong to the expression
  8 |       name: '''Dr '' || last || THEN x'
    |                                      ^",
    ),
    (
        "name: \"\\\"First\\\" last\"",
        "shop.yaml:8:24: tables[0].columns.name: `last` does not belong to the expression
  8 |       name: \"\\\"First\\\" last\"
    |                        ^^^^",
    ),
    (
        "id: id\n      name: |\n        first ||\n          ' ' || )\n      x: y",
        "shop.yaml:11:18: tables[0].columns.name: Expected: an expression, found: )
  11 |           ' ' || )
     |                  ^",
    ),
    (
        "name: >-\n        first ||\n        last last",
        "shop.yaml:10:14: tables[0].columns.name: `last` does not belong to the expression
  10 |         last last
     |              ^^^^",
    ),
    (
        "name: first ||\n        last last",
        "shop.yaml:9:14: tables[0].columns.name: `last` does not belong to the expression
  9 |         last last
    |              ^^^^",
    ),
    (
        "name: ${LAST:-last} last",
        "shop.yaml:8:13: tables[0].columns.name: `last` does not belong to the expression
  8 |       name: ${LAST:-last} last
    |             ^",
    ),
    (
        "name: first = 'x",
        "shop.yaml:8:21: tables[0].columns.name: Unterminated string literal
  8 |       name: first = 'x
    |                     ^",
    ),
    (
        "name: mask(first)",
        "shop.yaml:8:13: tables[0].columns.name: `mask` needs a key, and the file names none
  8 |       name: mask(first)
    |             ^^^^
  remedy: add at the top level: mask: { key: { file: /run/secrets/mask } }; make a key with: openssl rand -hex 32",
    ),
    (
        "name: ''",
        "shop.yaml:8:13: tables[0].columns.name: is empty
  remedy: write SQL, or '' in quotes of its own for an empty text: \"''\"",
    ),
    (
        "name: (data) #>> '{a}'",
        "shop.yaml:8:20: tables[0].columns.name: YAML takes what follows ` #` for a comment
  remedy: put the whole expression in quotes, or behind `|` on lines of its own",
    ),
    (
        "name: 'Dr ' || last",
        "shop.yaml:8:19: not valid YAML: invalid trailing content after single-quoted scalar
  remedy: SQL that begins with a quote, or holds a colon before a space, stands behind `|` on lines of its own, or in \
         quotes as a whole",
    ),
];

#[test]
fn bad_sql_is_shown_where_it_stands() {
    for (lines, expected) in BAD_SQL {
        let told = columns(lines).map(|settings| format!("{settings:?}")).unwrap_or_else(|told| told);
        assert_eq!(&told, expected, "for {lines}");
    }
}

/// The lines from line 5 on, and the whole message.
#[test]
fn bad_conditions_ways_back_and_keys_are_refused() {
    let cases = [
        (
            "tables:\n  - from: a.b\n    where: x = = 1\n",
            "shop.yaml:7:16: tables[0].where: Expected: an expression, found: =
  7 |     where: x = = 1
    |                ^",
        ),
        (
            "tables: [{ from: a.b, where: ' ' }]\n",
            "shop.yaml:5:30: tables[0].where: is empty
  remedy: give a condition, or leave the key out: all rows move then",
        ),
        (
            "tables: [{ from: a.b, where: [x] }]\n",
            "shop.yaml:5:30: tables[0].where: must be a single value, not a list
  remedy: write the value after the colon",
        ),
        (
            "tables:\n  - from: a.b\n    where: a\n    back:\n      y: x y\n",
            "shop.yaml:9:12: tables[0].back.y: `y` does not belong to the expression
  9 |       y: x y
    |            ^",
        ),
        (
            "tables:\n  - from: a.b\n    where: x AND Mask (y) IS NULL\n",
            "shop.yaml:7:18: tables[0].where: `mask` needs a key, and the file names none
  7 |     where: x AND Mask (y) IS NULL
    |                  ^^^^
  remedy: add at the top level: mask: { key: { file: /run/secrets/mask } }; make a key with: openssl rand -hex 32",
        ),
        (
            "tables: [{ from: a.b, back: { \"*\": \"*\" } }]\n",
            "shop.yaml:5:36: tables[0].back.*: `*` has no meaning here
  remedy: name single columns of blue; what passes unchanged comes back by itself",
        ),
        (
            "tables: [{ from: a.b }]\nmask: { key: { env: SHORT } }\n",
            "shop.yaml:6:14: mask.key: the key is shorter than 16 bytes, so masks could be guessed
  remedy: make one with: openssl rand -hex 32",
        ),
        (
            "tables: [{ from: a.b }]\nmask: { key: { env: NO_MASK } }\n",
            "shop.yaml:6:21: mask.key: the environment variable `NO_MASK` is not set
  remedy: put the key there, or name another place; make one with: openssl rand -hex 32",
        ),
        (
            "tables: [{ from: a.b }]\nmask: { key: 0123456789abcdef }\n",
            "shop.yaml:6:14: mask.key: a secret does not stand in the file itself
  remedy: write where it is kept: { file: /run/secrets/name } or { env: NAME }",
        ),
    ];
    for (lines, expected) in cases {
        assert_eq!(refused(lines), expected, "for {lines}");
    }
}

/// What stands beside SQL in a line may be a URL, and is never shown.
#[test]
fn only_sql_is_shown_of_a_line() {
    let text = "{ version: 1, name: s, blue: { url: 'postgres://u:hunter2@b/d' }, green: { postgres: { url: 'postgres://g/d' } }, \
                tables: [{ from: a.b, columns: { x: lower(y) z, w: hunter2 } }] }";
    let told = parse("s", text, &around(&[])).unwrap_err().to_string();
    assert!(told.contains("\n  1 | ... lower(y) z\n    |              ^"), "{told}");
    assert!(!told.contains("hunter2"), "{told}");
}

/// What the compiler finds once it knows blue's columns is shown in the file, in each part of an entry.
#[test]
fn later_problems_are_shown_in_the_file() {
    let settings = read(
        "tables:
  - from: public.users
    where: gone IS NULL
    columns:
      id: id
      name: fist_name || ' ' || last_name
      \"*\": \"*\"
    back: { first: split(name) }
",
    )
    .unwrap();
    let table = &settings.tables[0];
    let problem = |what: &str, (column, column_end): (u64, u64)| expr::Problem {
        what: what.to_owned(),
        remedy: Some("its columns are: id".to_owned()),
        place: expr::Place { line: 1, column, column_end: Some(column_end) },
    };
    let told = table.problem_at(Some("name"), &problem("public.users has no column `fist_name`", (1, 10)));
    assert_eq!(
        told.in_file("shop.yaml"),
        "shop.yaml:10:13: tables[0].columns.name: public.users has no column `fist_name`
  10 |       name: fist_name || ' ' || last_name
     |             ^^^^^^^^^
  remedy: its columns are: id"
    );
    let told = table.problem_at(None, &problem("no column `gone`", (1, 5))).to_string();
    assert!(
        told.starts_with("7:12: tables[0].where: no column `gone`\n  7 |     where: gone IS NULL\n"),
        "{told}"
    );
    let told = table.problem_at(Some("back.first"), &problem("no function", (1, 6))).to_string();
    let expected = "12:20: tables[0].back.first: no function\n  12 | ... split(name)\n     |     ^^^^^\n";
    assert!(told.starts_with(expected), "{told}");
    let told = table.problem_of(Some("id"), "the key is not covered").to_string();
    assert_eq!(
        told,
        "9:11: tables[0].columns.id: the key is not covered\n  9 |       id: id\n    |           ^^"
    );
    // A column that `"*"` takes has no SQL of its own: the entry is named.
    let told = table.problem_at(Some("email"), &problem("too narrow", (1, 2)));
    assert_eq!((told.place, told.caret), (Some(Place { line: 6, column: 11 }), None));
}

/// A split takes all entries that name a table, a merge fills one table from several, and no pattern joins in.
#[test]
fn several_entries_may_share_a_source_or_a_target() {
    let settings = read(
        "tables:
  - { from: public.*, to: old.* }
  - { from: public.users, to: app.customers }
  - { from: public.users, to: app.addresses, columns: { id: id, street: street } }
  - { from: public.users, to: app.contacts, columns: { id: id, kind: \"'home'\", phone: home } }
  - { from: public.users, to: app.contacts, columns: { id: id, kind: \"'work'\", phone: work } }
  - { from: public.guests, to: app.customers, where: id > 0 }
  - { from: public.guests, to: app.customers, where: id <= 0 }
  - { from: public.*, to: new.* }
  - { from: public.user*, to: never.* }
",
    )
    .unwrap();
    let goes_to = |name: &str| {
        let table = TableName::new("public", name);
        let entries = settings.entries_for(&table);
        entries.iter().map(|entry| entry.target_of(&table).to_string()).collect::<Vec<_>>()
    };
    assert_eq!(goes_to("users"), ["app.customers", "app.addresses", "app.contacts", "app.contacts"]);
    assert_eq!(goes_to("guests"), ["app.customers", "app.customers"]);
    assert_eq!(goes_to("orders"), ["old.orders", "new.orders"]);
    assert_eq!(goes_to("user_log"), ["old.user_log", "new.user_log"]);
    let told = settings.warnings().iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    assert!(
        told.contains("tables[8].from: `public.user*` takes nothing") && !told.contains("tables[7]"),
        "{told}"
    );
}

/// The same entry twice can never be told apart.
#[test]
fn an_entry_twice_is_refused() {
    let one = "  - { from: a.b, to: c.d, where: x = 1, columns: { id: id, y: lower(y) } }\n";
    assert_eq!(
        refused(&format!("tables:\n{one}{one}")),
        "shop.yaml:7:13: tables[1]: `a.b` already goes to the same place in line 6\n  remedy: keep one of the two"
    );
}

#[test]
fn what_is_rendered_means_the_same() {
    let text = format!(
        "{HEAD}tables:
  - from: public.users
    where: |
      deleted_at IS NULL
        AND note <> 'a: b # c'
    columns:
      name: \"first_name || E'\\\\n' || \\\"lastName\\\"\"
      long: 'coalesce(a_rather_long_name, another_rather_long_name) || ''  '' || coalesce(a_third_name, a_fourth_name, ''x'')'
      masked: mask(email)
      level: 42
      \"*\": \"*\"
    back: {{ first_name: \"split_part(name, ' ', 1)\" }}
mask: {{ key: {{ env: MASK }} }}
"
    );
    let file = std::env::temp_dir().join(format!("understudy-render-{}.yaml", std::process::id()));
    std::fs::write(&file, &text).unwrap();
    let rendered = render(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    let key = [("MASK", "0123456789abcdef-secret")];
    let (one, other) =
        (parse("a", &text, &around(&key)).unwrap(), parse("b", &rendered, &around(&key)).unwrap());
    let (one, other) = (&one.tables[0], &other.tables[0]);
    assert_eq!((&one.columns, one.filter_text()), (&other.columns, other.filter_text()));
    let back = |table: &TableSettings| {
        table.back.iter().map(|(name, sql)| (name.clone(), sql.text.clone())).collect::<Vec<_>>()
    };
    assert_eq!(back(one), back(other));
    assert!(rendered.contains("env: MASK") && !rendered.contains("-secret"), "{rendered}");
}

/// Without secrets a file is whole when it says where the key is kept.
#[test]
fn the_key_need_not_be_there_to_check_a_file() {
    let text = format!(
        "{HEAD}tables:\n  - from: a.b\n    where: mask(x) = 'y'\nmask: {{ key: {{ file: gone }} }}\n"
    );
    let around = Surroundings { secrets: Secrets::LeaveOut, ..around(&[]) };
    assert!(parse("a", &text, &around).unwrap().mask_key.is_none());
}
