//! A column changes its type on blue while an expression reads it.

use understudy_tests::{Migration, Sidecar};

use super::Case;

const BLUE: &str = "CREATE TABLE item (id int PRIMARY KEY, n int, note text); \
                    INSERT INTO item SELECT n, n, 'note' FROM generate_series(1, 200) n";

const GREEN: &str = "CREATE TABLE item (id int PRIMARY KEY, twice bigint, note text)";

const ENTRY: &str =
    "  - from: '@.item'\n    where: n <> 13\n    columns: { id: id, twice: n + n, note: upper(note) }\n";

const EXPECTED: &str =
    "SELECT id, 2 * n::bigint, upper(note) FROM item WHERE n IS DISTINCT FROM 13 AND n IS NOT NULL";

async fn open(name: &'static str) -> Option<(Case, Migration)> {
    let case = Case::open(name, BLUE, GREEN).await?;
    let migration = case.migration(ENTRY);
    Some((case, migration))
}

/// A wider type: the run compiles its expressions anew by itself, and values that only the new type holds come through.
#[tokio::test(flavor = "multi_thread")]
async fn a_column_that_an_expression_reads_becomes_wider() {
    let Some((mut case, migration)) = open("wider").await else {
        return;
    };
    let mut sidecar = case.follow(&migration).await;
    case.blue.batch("UPDATE item SET n = n + 1000 WHERE id % 3 = 0").await;
    case.blue.batch("ALTER TABLE item ALTER n TYPE bigint").await;
    // As an integer the sum overflows.
    case.blue.batch("UPDATE item SET n = 5000000000 + id WHERE id % 5 = 0").await;
    case.blue.batch("INSERT INTO item VALUES (1000, 2147483647, 'new')").await;
    case.settle(&mut sidecar).await;
    sidecar.wait_copied().await;
    case.settle(&mut sidecar).await;
    case.same("SELECT * FROM item", EXPECTED).await;
    case.blue.batch("UPDATE item SET n = 13 WHERE id = 1000; UPDATE item SET n = 14 WHERE id = 13").await;
    case.settle(&mut sidecar).await;
    case.same("SELECT * FROM item", EXPECTED).await;
    case.close(sidecar).await;
}

/// The same while the sidecar is stopped: what was written under the old type is in front of the change.
#[tokio::test(flavor = "multi_thread")]
async fn a_column_becomes_wider_while_the_sidecar_is_stopped() {
    let Some((mut case, migration)) = open("wider-stopped").await else {
        return;
    };
    case.follow(&migration).await.stop().await;
    case.blue.batch("UPDATE item SET n = n + 1000 WHERE id % 3 = 0").await;
    case.blue.batch("ALTER TABLE item ALTER n TYPE bigint").await;
    case.blue.batch("UPDATE item SET n = 5000000000 + id WHERE id % 5 = 0").await;
    let mut sidecar = Sidecar::start(&migration);
    sidecar.wait_copied().await;
    case.settle(&mut sidecar).await;
    case.same("SELECT * FROM item", EXPECTED).await;
    case.close(sidecar).await;
}

/// A type with which the expression means nothing stops the run, and says which column of which table it is about.
#[tokio::test(flavor = "multi_thread")]
async fn a_column_gets_a_type_that_its_expression_cannot_take() {
    let Some((mut case, migration)) = open("unfit").await else {
        return;
    };
    let sidecar = case.follow(&migration).await;
    case.blue.batch("UPDATE item SET n = 7000 WHERE id = 1").await;
    case.blue.batch("ALTER TABLE item ALTER n TYPE boolean USING n > 5").await;
    case.blue.batch("UPDATE item SET n = NOT n WHERE id = 2").await;
    let file = sidecar.file.to_string_lossy().into_owned();
    let exit = sidecar.exit().await;
    assert!(matches!(exit.code, Some(2 | 9)), "{:?} {}", exit.code, exit.stderr);
    for word in ["unfit.item", "n + n"] {
        assert!(exit.stderr.contains(word), "`{word}` is not in:\n{}", exit.stderr);
    }
    assert_eq!(
        case.green.value("SELECT twice FROM item WHERE id = 1").await,
        "14000",
        "what preceded is there"
    );
    case.abort(&file).await;
}
