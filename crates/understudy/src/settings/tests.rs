//! Every way in which a migration file can be wrong, by the message that the user reads.

use std::time::Duration;

use understudy_transform::Requested;

use super::*;

const HEAD: &str = "version: 1
name: shop-v2
blue: { url: postgres://understudy@blue/shop }
green: { postgres: { url: postgres://understudy@green/shop } }
";

fn surroundings(variables: &[(&str, &str)]) -> Surroundings {
    let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Surroundings {
        variables: variables.iter().map(own).collect(),
        folder: PathBuf::from("/nonexistent"),
        secrets: Secrets::Read,
    }
}

pub(super) fn read(text: &str) -> Result<Settings, String> {
    let variables = [("BLUE_PASSWORD", "hush"), ("HOST", "db1"), ("NOTHING", ""), ("READERS", "7")];
    parse("shop.yaml", text, &surroundings(&variables)).map_err(|error| error.to_string())
}

/// A file whose head is good, with the given lines from line 5 on.
pub(super) fn with(rest: &str) -> String {
    format!("{HEAD}{rest}")
}

pub(super) fn refused(text: &str) -> String {
    read(text).map(|settings| format!("accepted: {settings:?}")).unwrap_or_else(|message| message)
}

#[test]
fn the_smallest_file_has_the_documented_defaults() {
    let settings = read(&with("tables: [{ from: public.* }]\n")).unwrap();
    assert_eq!(settings.name.slot(), "understudy_shop_v2");
    assert_eq!(settings.name.application_name("stream"), "understudy/shop-v2/stream");
    assert_eq!(settings.blue.to_string(), "understudy@blue:5432/shop");
    assert_eq!((settings.existing_rows, settings.on_detach), (ExistingRows::Refuse, OnDetach::Stop));
    assert_eq!(
        settings.copy,
        CopySettings { readers: 2, chunk_bytes: 8 << 20, chunk_blocks: 1024, bytes_per_second: None }
    );
    assert_eq!((settings.apply.writers, settings.apply.batch_changes), (2, 10_000));
    assert_eq!((settings.apply.on_error, settings.apply.replica_role), (OnError::Stop, ReplicaRole::Auto));
    assert_eq!(settings.stream.heartbeat, Duration::from_secs(1));
    assert_eq!(settings.wal, WalSettings { budget: None, waiver: None });
    assert_eq!(settings.control.listen.to_string(), "127.0.0.1:7070");
}

#[test]
fn every_key_is_read() {
    let text = "version: 1
name: shop-v2
blue:
  url: postgres://understudy@${HOST}:5433/shop
  password: { env: BLUE_PASSWORD }
green:
  postgres:
    url: postgres://understudy@green/shop
    standbys: [green-a]
tables:
  - from: public.users
    to: app.customers
    columns:
      customer_id: id
      \"Odd Name\": '\"oddName\"'
      region: \"'it''s'\"
      level: 42
      rate: -1.5
      active: true
      note: NULL
      quoted: \"NULL\"
      \"*\": \"*\"
  - { from: audit.log_*, to: audit.* }
  - { from: 'public.\"odd.name\"' }
existing_rows: adopt
partitions: { on_detach: delete }
copy:
  readers: ${READERS}
  chunk_bytes: 1MiB
  chunk_blocks: 64
  bytes_per_second: 10MB
apply: { writers: 3, batch_changes: 5, batch_bytes: 64KiB, stop_grace: 5s, on_error: quarantine, replica_role: never }
stream: { heartbeat: 500ms, stall_timeout: 1m30s, status_interval: 5s, slot_create_timeout: 1h }
wal: { budget: 50GiB, waiver: managed server without the setting }
control:
  listen: 0.0.0.0:${PORT:-7171}
";
    let settings = read(text).unwrap();
    assert_eq!(settings.blue.to_string(), "understudy@db1:5433/shop");
    assert_eq!(settings.blue.password.as_ref().unwrap().expose(), "hush");
    assert_eq!(settings.standbys, ["green-a"]);
    assert_eq!(settings.copy.readers, 7);
    assert_eq!(settings.copy.bytes_per_second, Some(10_000_000));
    assert_eq!((settings.apply.batch_bytes, settings.apply.on_error), (65_536, OnError::Quarantine));
    assert_eq!(settings.apply.stop_grace, Duration::from_secs(5));
    assert_eq!(settings.stream.stall_timeout, Duration::from_secs(90));
    assert_eq!(settings.wal.budget, Some(50 << 30));
    assert_eq!(settings.control.listen.port(), 7171);
    let constant = |value: Option<&str>| ColumnSource::Constant(value.map(str::to_owned));
    let column = |name: &str, from: ColumnSource| Requested::Column(name.to_owned(), from);
    let expected = vec![
        column("customer_id", ColumnSource::Column("id".to_owned())),
        column("Odd Name", ColumnSource::Column("oddName".to_owned())),
        column("region", constant(Some("it's"))),
        column("level", constant(Some("42"))),
        column("rate", constant(Some("-1.5"))),
        column("active", constant(Some("true"))),
        column("note", constant(None)),
        column("quoted", constant(None)),
        Requested::Rest,
    ];
    assert_eq!(settings.tables[0].columns, Some(expected));
    assert_eq!(settings.tables[0].place, Some(Place { line: 11, column: 11 }));
    assert_eq!(settings.tables[2].from, TablePattern::Table(TableName::new("public", "odd.name")));
}

#[test]
fn a_named_table_is_not_taken_by_a_pattern() {
    let tables =
        "tables:\n  - from: public.*\n    to: app.*\n  - from: public.users\n    to: app.customers\n";
    let settings = read(&with(tables)).unwrap();
    let goes_to = |name: &str| {
        let table = TableName::new("public", name);
        settings
            .entries_for(&table)
            .iter()
            .map(|entry| entry.target_of(&table).to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(goes_to("users"), ["app.customers"]);
    assert_eq!(goes_to("orders"), ["app.orders"]);
    assert!(settings.entries_for(&TableName::new("other", "users")).is_empty());
}

#[test]
fn unknown_keys_are_refused_with_a_suggestion() {
    assert_eq!(
        refused(&with("tables:\n  - form: public.users\n")),
        "shop.yaml:6:5: tables[0]: unknown key `form`\n  remedy: did you mean `from`?\n\
         shop.yaml:6:5: tables[0]: key `from` is missing\n  remedy: `schema.table` on blue, or a pattern: \
         `schema.*`, `schema.prefix*`."
    );
}

#[test]
fn keys_of_later_versions_are_not_unknown() {
    let text = with("tables:\n  - from: public.users\nflip: {}\n");
    let later = |place: &str, path: &str, key: &str, what: &str| {
        format!(
            "shop.yaml:{place}: {path}`{key}` ({what}) is not part of this version\n  remedy: leave it out for now"
        )
    };
    assert_eq!(refused(&text), later("7:1", "", "flip", "the flip"));
}

#[test]
fn every_problem_is_told_at_once() {
    let text = "version: 2
name: Shop
blue: { url: mysql://x, pasword: 1 }
green: { postgres: { url: postgres://u@h/d } }
tables: [{ from: users }]
copy: { readers: 0, chunk_bytes: 8 }
apply: { on_error: quarantin }
";
    let shown = refused(text);
    let places = shown.lines().filter_map(|line| line.split(": ").next()).filter(|at| at.starts_with("shop"));
    assert_eq!(
        places.collect::<Vec<_>>(),
        ["shop.yaml:1:10", "shop.yaml:3:25", "shop.yaml:6:18", "shop.yaml:7:20"],
        "{shown}"
    );
}

/// One problem each: the lines from line 5 on, the message after the file's name, the remedy.
const BAD_VALUES: &[(&str, &str, &str)] = &[
    ("tables: []\n", "5:9: tables: is empty", "list at least one"),
    ("tables: public.*\n", "5:9: tables: must be a list, not text", "begin each item with `- `"),
    (
        "tables: [{ from: [a] }]\n",
        "5:18: tables[0].from: must be a single value, not a list",
        "write the value after the colon",
    ),
    (
        "tables: [{ from: users }]\n",
        "5:18: tables[0].from: `users` is not of the form schema.table",
        "write both parts, such as public.orders; quote a part that holds a dot: public.\"odd.name\"",
    ),
    (
        "tables: [{ from: public.a*b }]\n",
        "5:18: tables[0].from: `public.a*b` holds `*` elsewhere than at the end",
        "a pattern is `schema.*` or `schema.prefix*`",
    ),
    (
        "tables: [{ from: public.*, to: app.users }]\n",
        "5:32: tables[0].to: the pattern `public.*` takes several tables, and `app.users` is one",
        "write `public.*` or another schema, or list the tables one by one",
    ),
    (
        "tables: [{ from: a.b }, { from: a.b }]\n",
        "5:33: tables[1]: `a.b` already goes to the same place in line 5",
        "keep one of the two",
    ),
    ("tables: [{ from: a.b, columns: {} }]\n", "5:32: tables[0].columns: is empty", "list at least one"),
    (
        "tables: [{ from: a.b, columns: { x: userId } }]\n",
        "5:37: tables[0].columns.x: `userId` holds capital letters, which SQL folds to `userid`",
        "write '\"userId\"' for the column of that very name",
    ),
    (
        "tables: [{ from: a.b, columns: { x: \"*\" } }]\n",
        "5:37: tables[0].columns.x: `*` stands for the rest of the columns on both sides",
        "write \"*\": \"*\"",
    ),
    (
        "tables:\n  - from: a.b\n    columns:\n      x:\n",
        "8:7: tables[0].columns.x: has no source",
        "write a column of blue, or NULL for an empty value; to leave it out, leave out the line",
    ),
    ("tables: [{ from: a.b }]\ncopy:\n", "6:5: copy: is empty", "give a value, or leave the key out"),
    (
        "tables: [{ from: a.b }]\ncopy: fast\n",
        "6:7: copy: must be a mapping of keys, not text",
        "known keys here: bytes_per_second, chunk_blocks, chunk_bytes, readers",
    ),
    (
        "tables: [{ from: a.b }]\ncopy: { readers: 0 }\n",
        "6:18: copy.readers: 0 is out of range",
        "from 1 to 64",
    ),
    (
        "tables: [{ from: a.b }]\ncopy: { readers: two }\n",
        "6:18: copy.readers: must be a whole number, not text",
        "write digits only",
    ),
    (
        "tables: [{ from: a.b }]\ncopy: { chunk_bytes: 8 }\n",
        "6:22: copy.chunk_bytes: `8` is not a size",
        "write a whole number with its unit: 512KiB, 64MiB, 10GiB",
    ),
    (
        "tables: [{ from: a.b }]\nstream: { heartbeat: soon }\n",
        "6:22: stream.heartbeat: `soon` is not a duration",
        "write a number with its unit: 500ms, 5s, 2m, 1h30m, 7d",
    ),
    (
        "tables: [{ from: a.b }]\nstream: { heartbeat: 2m }\n",
        "6:22: stream.stall_timeout: must be longer than `stream.heartbeat`, or every pause looks like a stall",
        "several times the heartbeat is usual",
    ),
    (
        "tables: [{ from: a.b }]\napply: { on_error: quarantin }\n",
        "6:20: apply.on_error: `quarantin` is not a choice here",
        "did you mean `quarantine`?",
    ),
    (
        "tables: [{ from: a.b }]\nexisting_rows: yes\n",
        "6:16: existing_rows: `yes` is not a choice here",
        "write one of: refuse, adopt",
    ),
    (
        "tables: [{ from: a.b }]\ncontrol: { listen: localhost }\n",
        "6:20: control.listen: `localhost` is not an address to listen on",
        "write an IP address and a port: 127.0.0.1:7070, or 0.0.0.0:7070 for every interface",
    ),
    (
        "tables: [{ from: a.b }]\nwal: { waiver: '' }\n",
        "6:16: wal.waiver: is empty",
        "give a value, or leave the key out",
    ),
    (
        "tables: [{ from: \"${HOST}.b\" }]\ncontrol:\n  listen: ${NOPE}\n",
        "7:11: the environment variable `NOPE` is not set",
        "set it, or give a default: ${NOPE:-...}; $${NOPE} keeps the text as it is",
    ),
    (
        "tables: [{ from: a.b }]\ncopy: { readers: ${READERS} }\n",
        "6:19: not valid YAML: ",
        "`${...}` cannot stand inside { } or [ ]: give its key a line of its own",
    ),
    (
        "tables: [{ from: a.b }]\ncontrol:\n  listen: ${NOTHING:?which port}\n",
        "7:11: the environment variable `NOTHING` is not set",
        "which port",
    ),
    ("tables: [{ from: a.b }]\ntables: []\n", "6:1: key `tables` is given twice", "keep one of the two"),
    ("tables: [{ from: a.b }\n", "5:9: not valid YAML: ", "mend the syntax; indentation is by spaces"),
];

#[test]
fn each_bad_value_has_its_message() {
    for (rest, what, remedy) in BAD_VALUES {
        let shown = refused(&with(rest));
        let (shown_what, shown_remedy) = shown.split_once("\n  remedy: ").unwrap_or((&shown, ""));
        let good = if what.ends_with(": ") {
            shown_what.starts_with(&format!("shop.yaml:{what}"))
        } else {
            shown_what == format!("shop.yaml:{what}")
        };
        assert!(
            good && shown_remedy == *remedy,
            "for {rest}\nexpected {what}\n  remedy: {remedy}\ngot      {shown}"
        );
    }
}

/// The server sections: the value of `blue`, and the message.
#[test]
fn each_bad_server_has_its_message() {
    let cases = [
        (
            "{ url: postgres://u@h/d, password: hunter2 }",
            "3:42: blue.password: a secret does not stand in the file itself",
            "write where it is kept: { file: /run/secrets/name } or { env: NAME }",
        ),
        (
            "{ url: postgres://u:hunter2@h/d }",
            "3:14: blue.url: the URL holds a password",
            "take it out, and write where it is kept: password: { file: /run/secrets/name } or { env: NAME }",
        ),
        (
            "{ url: postgres://u@h/d?password=hunter2 }",
            "3:14: blue.url: the URL holds a password",
            "take it out, and write where it is kept: password: { file: /run/secrets/name } or { env: NAME }",
        ),
        (
            "{ url: postgres://u@h/d, password: { env: UNSET_ONE } }",
            "3:49: blue.password: the environment variable `UNSET_ONE` is not set",
            "put the password there, or name another place",
        ),
        (
            "{ url: postgres://u@h/d, password: { env: NOTHING } }",
            "3:49: blue.password: the environment variable `NOTHING` is empty",
            "put the password there",
        ),
        (
            "{ url: postgres://u@h/d, password: { file: gone } }",
            "3:50: blue.password: secret file `gone` cannot be read: No such file or directory (os error 2)",
            "put the password there, or name another place",
        ),
        (
            "{ url: postgres://u@h/d, password: {} }",
            "3:42: blue.password: must hold exactly one key",
            "known keys here: env, file",
        ),
        (
            "{ url: postgres://u@h/d, password: { env: A, file: b } }",
            "3:42: blue.password: must hold exactly one key",
            "known keys here: env, file",
        ),
        (
            "{}",
            "3:7: blue: key `url` is missing",
            "Connection URL without a password: `postgres://user@host:port/database?sslmode=verify-full`.",
        ),
    ];
    for (blue, what, remedy) in cases {
        let text =
            with("tables: [{ from: a.b }]\n").replace("{ url: postgres://understudy@blue/shop }", blue);
        let shown = refused(&text);
        assert_eq!(shown, format!("shop.yaml:{what}\n  remedy: {remedy}"), "for {blue}");
        assert!(!shown.contains("hunter2"));
    }
}

#[test]
fn urls_that_cannot_be_used_keep_their_place() {
    let text = with("tables: [{ from: a.b }]\n").replace("postgres://understudy@blue/shop", "mysql://u@h/d");
    let shown = refused(&text);
    assert!(shown.starts_with("shop.yaml:3:14: blue.url: "), "{shown}");
    assert!(shown.contains("\n  remedy: "), "{shown}");
}

#[test]
fn names_are_checked() {
    for name in ["Shop", "1shop", "shop_v2", "", "a-name-that-is-longer-than-thirty-six-letters"] {
        let shown = refused(&with("tables: [{ from: a.b }]\n").replace("shop-v2", &format!("'{name}'")));
        let expected = format!(
            "shop.yaml:2:7: name: `{name}` is not a migration name\n  remedy: lower-case letters, digits and \
             hyphens, a letter first, at most 36 in all"
        );
        assert_eq!(shown, expected);
    }
}

#[test]
fn files_without_content_are_refused() {
    assert_eq!(refused(""), "shop.yaml: the file is empty\n  remedy: draft one with: understudy init");
    let list = refused("- a\n");
    assert!(list.starts_with("shop.yaml:1:1: the file is not a mapping of keys\n"), "{list}");
    let missing = load(Path::new("/nonexistent/shop.yaml"), Secrets::Read).unwrap_err().to_string();
    assert!(missing.starts_with("/nonexistent/shop.yaml: cannot be read: "), "{missing}");
}

#[test]
fn secrets_can_be_left_out() {
    let mut around = surroundings(&[]);
    around.secrets = Secrets::LeaveOut;
    let text =
        with("tables: [{ from: a.b }]\n").replace("blue/shop }", "blue/shop, password: { env: NOT_HERE } }");
    assert!(parse("shop.yaml", &text, &around).is_ok());
}

#[test]
fn secrets_are_read_from_files_beside_the_migration() {
    let folder = std::env::temp_dir().join(format!("understudy-secret-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("blue"), "s3cret\n").unwrap();
    let text =
        with("tables: [{ from: a.b }]\n").replace("blue/shop }", "blue/shop, password: { file: blue } }");
    std::fs::write(folder.join("shop.yaml"), &text).unwrap();
    let settings = load(&folder.join("shop.yaml"), Secrets::Read).unwrap();
    let rendered = render(&folder.join("shop.yaml")).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!(settings.blue.password.as_ref().unwrap().expose(), "s3cret");
    assert!(!format!("{settings:?}").contains("s3cret"));
    assert!(!rendered.contains("s3cret"), "{rendered}");
    // What is rendered means the same as what was written.
    let again =
        parse("again", &rendered, &Surroundings { secrets: Secrets::LeaveOut, ..surroundings(&[]) }).unwrap();
    assert_eq!((again.copy, again.apply, again.name), (settings.copy, settings.apply, settings.name));
}

#[test]
fn passwords_are_taken_out_of_urls() {
    for (given, kept) in [
        ("postgres://u:p@h:1/d", "postgres://u@h:1/d"),
        ("postgres://u:p:q@h/d?sslmode=require&password=x", "postgres://u@h/d?sslmode=require"),
        ("postgresql:///d?host=/run&password=x", "postgresql:///d?host=/run"),
        ("postgres://h", "postgres://h"),
    ] {
        assert_eq!(url_without_password(given), kept);
    }
}
