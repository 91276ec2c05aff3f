//! What the catalog says of types and collations, on whatever version the server is.

use understudy_postgres::preflight::{
    CollationProvider, DatabaseFacts, TypeKind, describe, describe_database,
};
use understudy_postgres::wire::{Client, ConnectOptions};

use crate::databases::{connect, database, shared};
use crate::harness::table;

fn kind<'a>(facts: &'a DatabaseFacts, schema: &str, name: &str) -> Option<&'a TypeKind> {
    facts
        .types
        .iter()
        .find(|one| (one.schema.as_str(), one.name.as_str()) == (schema, name))
        .map(|one| &one.kind)
}

/// An expression that is compiled for another type than a column has would give other values than the server.
#[tokio::test]
async fn types_are_told_down_to_what_they_are_made_of() {
    let Some(cluster) = shared() else { return };
    let mut client = connect(&database(&cluster, "facts_types").await).await;
    let schema = "CREATE SCHEMA other; CREATE TYPE other.\"Mood\" AS ENUM ('sad', 'it''s, \"ok\"');
        ALTER TYPE other.\"Mood\" ADD VALUE 'first' BEFORE 'sad'; CREATE TYPE nothing AS ENUM ();
        CREATE DOMAIN short AS varchar(9); CREATE DOMAIN shorter AS short CHECK (length(VALUE) < 5);
        CREATE DOMAIN filled AS int NOT NULL; CREATE DOMAIN unused AS date;
        CREATE TYPE pair AS (a int, b money);
        CREATE TABLE t (id int PRIMARY KEY, moods other.\"Mood\"[], s shorter, v int2vector, c pair, r int4range, f filled, \
          x \"char\", n name)";
    client.batch(schema).await.unwrap();
    let (tables, facts) = describe_database(&mut client).await.unwrap();
    assert_eq!(tables, describe(&mut client).await.unwrap());
    let oid = |schema: &str, name: &str| {
        let of = |one: &&understudy_postgres::preflight::TypeFacts| one.schema == schema && one.name == name;
        facts.types.iter().find(of).unwrap().oid
    };
    let labels = ["first", "sad", "it's, \"ok\""].map(str::to_owned).to_vec();
    assert_eq!(kind(&facts, "other", "Mood"), Some(&TypeKind::Enum(labels)));
    assert_eq!(kind(&facts, "public", "nothing"), Some(&TypeKind::Enum(Vec::new())));
    let element = oid("other", "Mood");
    assert_eq!(kind(&facts, "other", "_Mood"), Some(&TypeKind::Array { element }));
    let domain = |base, modifier, constrained| TypeKind::Domain { base, modifier, constrained };
    assert_eq!(kind(&facts, "public", "short"), Some(&domain(1043, 13, false)));
    assert_eq!(kind(&facts, "public", "shorter"), Some(&domain(oid("public", "short"), -1, true)));
    assert_eq!(kind(&facts, "public", "filled"), Some(&domain(23, -1, true)));
    assert_eq!(kind(&facts, "public", "unused"), Some(&domain(1082, -1, false)), "it can be named in a cast");
    for (name, wanted) in
        [("int4", TypeKind::Base), ("int2vector", TypeKind::Base), ("int4range", TypeKind::Other)]
    {
        assert_eq!(kind(&facts, "pg_catalog", name), Some(&wanted), "{name}");
    }
    assert_eq!(kind(&facts, "public", "pair"), Some(&TypeKind::Other));
    assert_eq!(kind(&facts, "pg_catalog", "money"), None, "nobody needs it");
    for column in &tables.iter().find(|one| one.name == table("t")).unwrap().columns {
        let known = facts.type_of(column.type_oid).expect("the type of every column");
        let is_text = ["shorter", "name"].contains(&known.name.as_str());
        assert_eq!(known.collatable, is_text, "{known:?}");
    }
}

/// What letters become, and how they sort, is the collation's: it must not be taken for another.
#[tokio::test]
async fn collations_are_told_with_their_library() {
    let Some(cluster) = shared() else { return };
    let options = database(&cluster, "facts_collations").await;
    let mut client = connect(&options).await;
    let schema = "CREATE COLLATION numbers (provider = icu, locale = 'de-u-kn-true', deterministic = false);
        CREATE TABLE t (id int PRIMARY KEY, plain text, c text COLLATE \"C\", posix text[] COLLATE \"POSIX\",
          n text COLLATE numbers, u text COLLATE ucs_basic)";
    client.batch(schema).await.unwrap();
    let (tables, facts) = describe_database(&mut client).await.unwrap();
    assert_eq!((facts.encoding.as_str(), facts.collation.name.as_str()), ("UTF8", "\"default\""));
    assert_eq!(facts.collation.provider, CollationProvider::Libc);
    assert_eq!(facts.collation.collate.as_deref(), Some("C"));
    assert_eq!(facts.collation.ctype.as_deref(), Some("C"));
    let t = tables.iter().find(|one| one.name == table("t")).unwrap();
    let of = |name: &str| {
        let oid = t.column(name).unwrap().collation?;
        Some(facts.collations.iter().find(|one| one.oid == oid).unwrap())
    };
    assert_eq!((of("id"), of("plain")), (None, None));
    assert_eq!(of("c").map(|one| one.name.as_str()), Some("\"C\""));
    assert_eq!(of("posix").and_then(|one| one.ctype.as_deref()), Some("POSIX"));
    let numbers = of("n").unwrap();
    assert_eq!(numbers.name, "\"public\".\"numbers\"");
    assert_eq!((numbers.provider, numbers.deterministic), (CollationProvider::Icu, false));
    assert_eq!(numbers.locale.as_deref(), Some("de-u-kn-true"));
    let basic = of("u").unwrap();
    let version = client.server_version();
    let (provider, locale) = match version {
        140_000..170_000 => (CollationProvider::Libc, None),
        _ => (CollationProvider::Builtin, Some("C")),
    };
    assert_eq!((basic.provider, basic.locale.as_deref()), (provider, locale));
    assert!(basic.collate.is_none() || basic.collate.as_deref() == Some("C"));
    icu_database(&mut client, &options, version).await;
}

/// From 15 on a database can sort by ICU.
async fn icu_database(client: &mut Client, options: &ConnectOptions, version: u32) {
    if version < 150_000 {
        return;
    }
    let sql = "CREATE DATABASE facts_icu TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'und'";
    client.batch(sql).await.unwrap();
    let options = ConnectOptions { database: "facts_icu".to_owned(), ..options.clone() };
    let facts = describe_database(&mut connect(&options).await).await.unwrap().1;
    assert_eq!(facts.collation.provider, CollationProvider::Icu);
    assert_eq!(facts.collation.locale.as_deref(), Some("und"));
}
