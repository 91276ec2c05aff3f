//! `understudy verify` as people and scripts use it: a new pass, its outcome as an exit code, and limits.

use serde_json::Value;
use understudy_tests::{Migration, Pair, Sidecar};

use super::{verb, wait_clean};

const ON_BOTH: &str = "CREATE SCHEMA asked; CREATE TABLE asked.users (id bigint PRIMARY KEY, name text)";

const ROWS: &str = "INSERT INTO asked.users SELECT n, 'name ' || n FROM generate_series(1, 2000) n";

/// A sidecar that has verified every row of a table in ranges of `rows` rows.
async fn verified(name: &str, rows: u32) -> Option<(Pair, Migration, Sidecar)> {
    let pair = Pair::start(15, 18).await?;
    pair.on_both(ON_BOTH).await;
    pair.on_blue().await.batch(ROWS).await;
    let migration = Migration::between(&pair, name)
        .entry("  - from: asked.users\n")
        .with(&format!("verify: {{ range_rows: {rows}, pass_pause: 1h, busy: 1.0 }}"));
    let mut sidecar = Sidecar::start(&migration);
    sidecar.wait_copied().await;
    wait_clean(&mut sidecar, 1).await;
    Some((pair, migration, sidecar))
}

/// Scripts go by the exit code: 4 while rows differ, 0 once they do not, each after a whole pass of its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_pass_ends_with_a_code_that_tells_what_it_found() {
    let Some((pair, migration, sidecar)) = verified("asked", 500).await else { return };
    pair.on_green().await.batch("UPDATE asked.users SET name = 'else' WHERE id = 3").await;
    let verify = |more: &'static [&'static str]| verb(&migration, &sidecar, &["verify"], more);
    let found = verify(&["--wait", "2m"]).await;
    assert_eq!(found.code, Some(4), "{}\n{}", found.stdout, found.stderr);
    assert!(found.stderr.contains("understudy mismatches list"), "{}", found.stderr);
    pair.on_green().await.batch("UPDATE asked.users SET name = 'name 3' WHERE id = 3").await;
    let clean = verify(&["--wait", "2m", "--output", "json", "--table", "asked.users"]).await;
    assert_eq!(clean.code, Some(0), "{}\n{}", clean.stdout, clean.stderr);
    let outcome: Value = serde_json::from_str(&clean.stdout).expect("JSON");
    assert_eq!(outcome["complete"], true, "{outcome:#}");
    assert_eq!(outcome["tables"][0]["rows"], 2_000, "{outcome:#}");
    let unknown = verify(&["--table", "asked.nosuch"]).await;
    assert_eq!(unknown.code, Some(2), "{}\n{}", unknown.stdout, unknown.stderr);
    assert!(unknown.stderr.contains("asked.users"), "what is compared is named: {}", unknown.stderr);
    sidecar.stop().await;
}

/// A limit takes effect at once and says until when; one that cannot be is refused and changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn limits_are_changed_while_it_runs() {
    let Some((_pair, migration, sidecar)) = verified("limits", 100).await else { return };
    let verify = |more: &'static [&'static str]| verb(&migration, &sidecar, &["verify"], more);
    let slow = verify(&["--limit", "rows_per_second=5"]).await;
    assert_eq!(slow.code, Some(0), "{}\n{}", slow.stdout, slow.stderr);
    assert_eq!(slow.stdout, "until the next start, rows_per_second is 5\n");
    for (limit, named) in [
        ("rows_per_second=0", "rows_per_second"),
        ("rows_per_second=fast", "rows_per_second"),
        ("busy=2", "busy"),
        ("nosuch=1", "max_read_time"),
    ] {
        let args: &'static [&'static str] = Vec::leak(vec!["--limit", limit]);
        let refused = verify(args).await;
        assert_eq!(refused.code, Some(2), "{limit}: {}\n{}", refused.stdout, refused.stderr);
        assert!(refused.stderr.contains(named), "{limit}: {}", refused.stderr);
    }
    let late = verify(&["--wait", "3s"]).await;
    assert_eq!(late.code, Some(5), "2000 rows take minutes:\n{}\n{}", late.stdout, late.stderr);
    let quick = verify(&["--limit", "rows_per_second=none", "--wait", "2m"]).await;
    assert_eq!(quick.code, Some(0), "{}\n{}", quick.stdout, quick.stderr);
    sidecar.stop().await;
}
