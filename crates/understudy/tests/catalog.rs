//! Catalogs of real servers as expressions see them, and what these servers make of expressions.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]
#![expect(clippy::print_stderr, reason = "a skipped test says so")]

use understudy::demo::cluster::{Cluster, Scratch};
use understudy::demo::installation::Installation;
use understudy::guard::{Disagreement, Guarded, guard};
use understudy::scope::Catalog;
use understudy_model::TableName;
use understudy_postgres::preflight::{TableDescription, describe_database};
use understudy_postgres::wire::Client;
use understudy_transform::expr::functions::CaseRule;
use understudy_transform::expr::{Modifier, NamedType, SqlType};

/// A server of this version, gone with these values. `None` where it is missing and may be skipped.
async fn server(major: u32) -> Option<(Scratch, Cluster)> {
    let programs = match Installation::of_major(major) {
        Ok(programs) => programs,
        Err(failure) => {
            let may_skip = std::env::var("ALLOW_SKIP").is_ok_and(|value| value == "1");
            assert!(may_skip, "{failure}: run dev/servers, or set ALLOW_SKIP=1");
            eprintln!("SKIPPED: Postgres {major} is missing");
            return None;
        }
    };
    let scratch = Scratch::create("catalogs").unwrap();
    let cluster = Cluster::create(&programs, &scratch, "blue", &[("fsync", "off")]).await.unwrap();
    Some((scratch, cluster))
}

async fn connect(cluster: &Cluster, schema: &str) -> Client {
    let mut client = Client::connect(&cluster.options("postgres").unwrap()).await.unwrap();
    client.batch(&format!("SET search_path = public; {schema}")).await.unwrap();
    client
}

fn public(name: &str) -> TableName {
    TableName::new("public", name)
}

fn table(tables: &[TableDescription], name: &str) -> TableDescription {
    tables.iter().find(|one| one.name == public(name)).expect("a table").clone()
}

fn guarded(text: &str, bracketed: &str, ty: &str) -> Guarded {
    let ty = Some(ty.to_owned());
    Guarded { label: text.to_owned(), text: text.to_owned(), bracketed: bracketed.to_owned(), ty }
}

/// What a reading of our own gets wrong must come to light before the first row is computed: precedence that differs, a
/// function that is not there, a type that is another.
#[tokio::test]
async fn postgres_has_the_last_word_on_expressions() {
    for major in [15, 18] {
        let Some((_scratch, cluster)) = server(major).await else { continue };
        let schema = "CREATE TYPE \"Mood\" AS ENUM ('sad'); CREATE DOMAIN short AS varchar(9);
            CREATE TABLE t (a int, b int, c int, s text, m \"Mood\", d short, n numeric(5, 1), ts timestamptz(3));
            CREATE TABLE p (a int, b int, c int) PARTITION BY RANGE (a); INSERT INTO t (a, b) VALUES (1, 0)";
        let mut client = connect(&cluster, schema).await;
        let fine = [
            guarded("a + b * c", "(a + (b * c))", "integer"),
            guarded("a / b -- no row is looked at", "(a / b)", "integer"),
            guarded(
                "s || 'x' = 'y' AND NOT a IS NULL",
                "(((s || 'x') = 'y') AND (NOT (a IS NULL)))",
                "boolean",
            ),
            guarded("m", "m", "public.Mood"),
            guarded("d", "(d)", "public.short"),
            guarded("n", "n", "numeric"),
            guarded("ts", "ts", "timestamp with time zone"),
            guarded("'x'", "'x'", "text"),
            guarded("'sad'::public.\"Mood\"", "'sad'::public.\"Mood\"", "public.Mood"),
            guarded("ARRAY[a, b]", "ARRAY[a, b]", "integer[]"),
        ];
        let found = guard(&mut client, &public("t"), &fine).await.unwrap();
        assert_eq!(found, [], "on {major}");

        let wrong = [
            guarded("a + b * c", "((a + b) * c)", "integer"),
            guarded("nowhere(a)", "nowhere(a)", "integer"),
            guarded("a + s", "(a + s)", "integer"),
            guarded("a +", "a", "integer"),
            guarded("'secret'::int", "'secret'::int", "integer"),
            guarded("a", "a", "bigint"),
            guarded("a", "nope(a)", "integer"),
            guarded("s::nothing", "s", "text"),
            guarded("1); DROP TABLE t; SELECT (1", "1", "integer"),
        ];
        let found = guard(&mut client, &public("t"), &wrong).await.unwrap();
        let codes = found.iter().map(|one| one.sqlstate.as_deref()).collect::<Vec<_>>();
        let expected = [
            None,
            Some("42883"),
            Some("42883"),
            Some("42601"),
            Some("22P02"),
            None,
            Some("42883"),
            Some("42704"),
            Some("42601"),
        ];
        assert_eq!(codes, expected, "on {major}: {found:#?}");
        assert_eq!(found[0].message, "Postgres reads this differently than understudy");
        assert!(found[0].remedy.as_ref().unwrap().starts_with("put brackets"));
        assert_eq!(found[5].message, "Postgres gives this the type integer, and understudy bigint");
        assert!(found.iter().all(|one| !one.message.contains("secret")), "{found:#?}");

        let is_differing = |found: &[Disagreement]| found.len() == 1 && found[0].sqlstate.is_none();
        let of_root = [fine[0].clone(), wrong[0].clone()];
        let found = guard(&mut client, &public("p"), &of_root).await.unwrap();
        assert!(is_differing(&found), "a partitioned table on {major}: {found:#?}");
        assert!(guard(&mut client, &public("nowhere"), &fine).await.is_err());
        let path = client.query("SHOW search_path").await.unwrap();
        assert_eq!(path[0].text(0), Some("public"), "the session is as it was");
    }
}

/// An expression is compiled against the columns as they are: another type, modifier or collation gives other values.
#[tokio::test]
async fn scopes_are_what_the_catalog_says() {
    for major in [15, 18] {
        let Some((_scratch, cluster)) = server(major).await else { continue };
        let schema = "CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE DOMAIN short AS varchar(9);
            CREATE DOMAIN shorter AS short CHECK (VALUE <> ''); CREATE DOMAIN shortest AS shorter;
            CREATE TABLE t (id int PRIMARY KEY, v varchar(5), c \"char\", m mood[], d shortest, r int4range,
              g int GENERATED ALWAYS AS (id) STORED, x text COLLATE \"C\", u text COLLATE \"und-x-icu\",
              tr text COLLATE \"tr-x-icu\", b bytea, UNIQUE (v), UNIQUE (x));
            ALTER TABLE t ALTER x SET NOT NULL;
            CREATE TABLE f (a text NOT NULL UNIQUE, b int); ALTER TABLE f REPLICA IDENTITY FULL";
        let mut client = connect(&cluster, schema).await;
        let (tables, facts) = describe_database(&mut client).await.unwrap();
        let (catalog, described) = (Catalog::new(&facts), table(&tables, "t"));
        let blue = catalog.blue_table(&described);
        assert_eq!(blue.columns, ["id", "v", "c", "m", "d", "r", "x", "u", "tr", "b"], "no generated ones");
        assert_eq!((blue.types[1], blue.types.len()), ((1043, 9), blue.columns.len()));
        assert_eq!((blue.key.as_slice(), blue.identity_is_full), (&["id".to_owned()][..], false));
        let full = catalog.blue_table(&table(&tables, "f"));
        assert_eq!((full.key.as_slice(), full.identity_is_full), (&["a".to_owned()][..], true));
        let scope = blue.scope.unwrap();
        let column = |name: &str| scope.columns.iter().find(|one| one.name == name).unwrap();
        let types = scope.columns.iter().map(|one| one.ty.to_string()).collect::<Vec<_>>();
        let varchar = "character varying";
        let wanted = [
            "integer",
            varchar,
            "char",
            "public.mood[]",
            "public.shortest",
            "int4range",
            "text",
            "text",
            "text",
            "bytea",
        ];
        assert_eq!(types, wanted);
        assert!(matches!(column("c").ty, SqlType::Opaque(_)), "one byte, and no string");
        assert_eq!(column("v").modifier, Modifier(9));
        let SqlType::Domain(domain) = &column("d").ty else { unreachable!("a domain") };
        assert!(domain.is_constrained, "by what is below it");
        let short = NamedType { schema: Some("public".into()), name: "short".into() };
        let is_free = matches!(&scope.types[&short], SqlType::Domain(own) if !own.is_constrained && own.modifier.0 == 13);
        assert!(is_free && scope.types.len() == 4, "{:?}", scope.types);

        let case = |name: &str| column(name).collation.as_ref().map(|one| (one.sorts_by_bytes, one.case));
        assert_eq!((case("id"), case("b")), (None, None));
        assert_eq!(case("x"), Some((true, Some(CaseRule::Ascii))));
        assert_eq!(case("u"), Some((false, Some(CaseRule::Full))));
        assert_eq!(case("tr"), Some((false, None)), "a dotless i");
        assert!(column("v").collation.as_ref().is_some_and(|one| one.is_default && *one == scope.collation));

        let shape = catalog.green_shape(&described, &catalog);
        assert_eq!(shape.keys, [["id"], ["x"]], "a column that may be null names no row");
        let taken = |name: &str| {
            let one = shape.columns.iter().find(|one| one.name == name).unwrap();
            (one.ty.to_string(), one.modifier.0)
        };
        assert_eq!(taken("d"), (varchar.to_owned(), 13), "green checks its domains itself");
        assert_eq!((taken("m").0.as_str(), taken("v").1), ("public.mood[]", 9));
        client.batch("ALTER TYPE mood RENAME VALUE 'sad' TO 'blue'").await.unwrap();
        let other = Catalog::new(&describe_database(&mut client).await.unwrap().1);
        let shape = catalog.green_shape(&described, &other);
        let m = shape.columns.iter().find(|one| one.name == "m").unwrap();
        assert_eq!(m.ty.to_string(), "text[]", "labels that only blue has go there as texts");
    }
}

/// Letters and order are the library's: a locale taken for another would change values without a word.
#[tokio::test]
async fn collations_are_taken_for_what_they_are() {
    let Some((_scratch, cluster)) = server(18).await else { return };
    let mut client = connect(&cluster, "CREATE TABLE t (id int PRIMARY KEY)").await;
    for (collation, wanted) in [
        ("\"C\"", (true, Some(CaseRule::Ascii))),
        ("\"POSIX\"", (true, Some(CaseRule::Ascii))),
        ("ucs_basic", (true, Some(CaseRule::Ascii))),
        ("pg_c_utf8", (true, Some(CaseRule::Simple))),
        ("pg_unicode_fast", (true, Some(CaseRule::Full))),
        ("\"C.utf8\"", (false, Some(CaseRule::Simple))),
        ("\"de-x-icu\"", (false, Some(CaseRule::Full))),
        ("\"el-x-icu\"", (false, None)),
        ("\"lt-x-icu\"", (false, None)),
    ] {
        let sql = format!("ALTER TABLE t DROP IF EXISTS v; ALTER TABLE t ADD v text COLLATE {collation}");
        client.batch(&sql).await.unwrap();
        let (tables, facts) = describe_database(&mut client).await.unwrap();
        let scope = Catalog::new(&facts).scope(&table(&tables, "t"));
        let own = scope.columns[1].collation.clone().unwrap();
        assert_eq!((own.sorts_by_bytes, own.case), wanted, "{collation}");
        assert!(own.is_deterministic && !own.is_default);
        let mut latin = facts.clone();
        latin.encoding = "EUC_JP".to_owned();
        let own = Catalog::new(&latin).scope(&table(&tables, "t")).columns[1].collation.clone().unwrap();
        assert!(!own.sorts_by_bytes, "the server's bytes are others");
        assert_eq!(own.case, wanted.1.filter(|rule| *rule == CaseRule::Ascii));
    }
}
