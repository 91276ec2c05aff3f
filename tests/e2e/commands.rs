//! The verbs around `run`: what `check` and `plan` leave alone, what `status` tells, and what `finish` and `abort` remove.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use understudy::demo::cluster::Cluster;
use understudy_tests::{
    Migration, Pair, Port, Same, Session, Sidecar, assert_same, understudy, understudy_with, until,
};

const TABLE: &str = "CREATE TABLE item (id int PRIMARY KEY, note text)";

/// Everything of ours on both sides.
async fn traces(blue: &mut Session, green: &mut Session) -> Vec<String> {
    let mut found = blue
        .column(
            "SELECT 'slot ' || slot_name FROM pg_replication_slots UNION ALL SELECT 'publication ' || pubname \
             FROM pg_publication UNION ALL SELECT 'schema ' || nspname FROM pg_namespace WHERE nspname LIKE 'understudy%'",
        )
        .await;
    found.extend(
        green
            .column(
                "SELECT 'green schema ' || nspname FROM pg_namespace WHERE nspname LIKE 'understudy%' \
                 UNION ALL SELECT 'origin ' || roname FROM pg_replication_origin",
            )
            .await,
    );
    found
}

async fn following(pair: &Pair) -> (Session, Session, Migration, Sidecar) {
    pair.on_both(TABLE).await;
    let (mut blue, green) = (pair.on_blue().await, pair.on_green().await);
    blue.batch("INSERT INTO item SELECT n, 'x' FROM generate_series(1, 100) n").await;
    let migration = Migration::between(pair, "verbs").table("public.item");
    let mut sidecar = Sidecar::start(&migration);
    sidecar.wait_copied().await;
    (blue, green, migration, sidecar)
}

#[tokio::test(flavor = "multi_thread")]
async fn check_and_plan_create_nothing() {
    let Some(pair) = Pair::start(15, 18).await else {
        return;
    };
    pair.on_both(TABLE).await;
    let (mut blue, mut green) = (pair.on_blue().await, pair.on_green().await);
    blue.batch(
        "CREATE UNLOGGED TABLE cache (id int PRIMARY KEY); CREATE MATERIALIZED VIEW summary AS SELECT 1",
    )
    .await;
    let file = Migration::between(&pair, "verbs").table("public.item").write(&Port::reserve());
    let file = file.to_string_lossy().into_owned();
    let exit = understudy(pair.scratch.path(), &["check", &file]).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    for unmoved in ["cache", "summary"] {
        assert!(
            exit.stdout.contains(unmoved),
            "what does not move is listed, {unmoved} too:\n{}",
            exit.stdout
        );
    }
    let exit = understudy(pair.scratch.path(), &["plan", &file]).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    assert!(
        exit.stdout.contains("understudy_verbs") && exit.stdout.contains("public.item"),
        "{}",
        exit.stdout
    );
    assert_eq!(traces(&mut blue, &mut green).await, Vec::<String>::new());
}

/// `config check --connect` is for pipelines: it looks at the servers of every file and touches none.
#[tokio::test(flavor = "multi_thread")]
async fn files_are_checked_beside_their_servers() {
    let Some(pair) = Pair::start(15, 18).await else {
        return;
    };
    pair.on_both(TABLE).await;
    let (mut blue, mut green) = (pair.on_blue().await, pair.on_green().await);
    let file = |migration: Migration| migration.write(&Port::reserve()).to_string_lossy().into_owned();
    let good = file(Migration::between(&pair, "good").table("public.item"));
    let bad = file(Migration::between(&pair, "bad").table("public.item").table("public.nowhere"));
    let run =
        async |more: &[&str]| understudy(pair.scratch.path(), &[&["config", "check"], more].concat()).await;
    let exit = run(&[&good, &bad]).await;
    assert_eq!(exit.code, Some(0), "without --connect no server is asked: {}", exit.stderr);
    let exit = run(&[&good, "--connect", "--strict"]).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    let exit = run(&[&bad, &good, "--connect", "-o", "json"]).await;
    assert_eq!(exit.code, Some(2), "{}{}", exit.stdout, exit.stderr);
    assert!(exit.stderr.contains("public.nowhere"), "{}", exit.stderr);
    let report: serde_json::Value = serde_json::from_str(&exit.stdout).expect("JSON on stdout");
    let verdicts =
        report["files"].as_array().expect("files").iter().map(|one| &one["good"]).collect::<Vec<_>>();
    assert_eq!(verdicts, [&serde_json::json!(false), &serde_json::json!(true)]);
    // A warning about a server stands in the way only where that is asked for.
    green.batch("CREATE UNIQUE INDEX ON item (note)").await;
    let exit = run(&[&good, "--connect"]).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    assert!(exit.stdout.contains("item_note_idx"), "{}", exit.stdout);
    assert_eq!(run(&[&good, "--connect", "--strict"]).await.code, Some(2));
    assert_eq!(traces(&mut blue, &mut green).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_sidecar_answers() {
    let Some(pair) = Pair::start(15, 18).await else {
        return;
    };
    let (mut blue, mut green, _, mut sidecar) = following(&pair).await;
    sidecar.wait_caught_up(&mut blue, &mut green).await;
    for path in ["/livez", "/readyz"] {
        assert_eq!(sidecar.get(path).await.map(|(code, _)| code), Some(200), "{path}");
    }
    let (_, metrics) = sidecar.get("/metrics").await.expect("metrics");
    for name in ["understudy_apply_lag_bytes", "understudy_slot_retained_wal_bytes", "understudy_build_info"]
    {
        assert!(metrics.contains(name), "{name} is not in:\n{metrics}");
    }
    let control = sidecar.control();
    let exit = understudy(pair.scratch.path(), &["status", "--control", &control]).await;
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    assert!(exit.stdout.contains("following"), "{}", exit.stdout);
    let exit = understudy(pair.scratch.path(), &["status", "--control", &control, "--output", "json"]).await;
    let status: serde_json::Value = serde_json::from_str(&exit.stdout).expect("JSON on stdout");
    assert_eq!(status["tables"][0]["source"], "public.item");
    let exit = understudy(pair.scratch.path(), &["healthcheck", "--control", &control]).await;
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    sidecar.stop().await;
    let exit = understudy(pair.scratch.path(), &["healthcheck", "--control", &control]).await;
    assert_ne!(exit.code, Some(0), "nobody is healthy any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn abort_removes_everything_but_the_rows() {
    let Some(pair) = Pair::start(15, 18).await else {
        return;
    };
    let (mut blue, mut green, _, sidecar) = following(&pair).await;
    let file = sidecar.file.to_string_lossy().into_owned();
    sidecar.stop().await;
    assert!(!traces(&mut blue, &mut green).await.is_empty());
    let exit = understudy(pair.scratch.path(), &["abort", &file, "--yes"]).await;
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    assert_eq!(traces(&mut blue, &mut green).await, Vec::<String>::new());
    assert_eq!(blue.number("SELECT count(*) FROM item").await, 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn finish_leaves_green_complete() {
    let Some(pair) = Pair::start(15, 18).await else {
        return;
    };
    let (mut blue, mut green, _, mut sidecar) = following(&pair).await;
    blue.batch("UPDATE item SET note = 'last'").await;
    sidecar.wait_caught_up(&mut blue, &mut green).await;
    let file = sidecar.file.to_string_lossy().into_owned();
    sidecar.stop().await;
    let exit = understudy(pair.scratch.path(), &["finish", &file, "--yes"]).await;
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    assert_eq!(traces(&mut blue, &mut green).await, Vec::<String>::new());
    assert_eq!(green.number("SELECT count(*) FROM item WHERE note = 'last'").await, 100);
}

/// A file drafted from two databases is complete: it checks, runs and moves the rows.
#[tokio::test(flavor = "multi_thread")]
async fn init_drafts_a_file_that_runs() {
    let Some(pair) = Pair::start(15, 18).await else {
        return;
    };
    pair.on_both(TABLE).await;
    let line = |cluster: &Cluster| format!("127.0.0.1:{}:*:*:{}\n", cluster.port(), cluster.password());
    let passfile = pair.scratch.path().join("pgpass");
    std::fs::write(&passfile, line(&pair.blue) + &line(&pair.green)).expect("write a password file");
    std::fs::set_permissions(&passfile, Permissions::from_mode(0o600)).expect("protect the password file");
    let passfile = passfile.to_string_lossy().into_owned();
    let run =
        async |args: &[&str]| understudy_with(pair.scratch.path(), args, &[("PGPASSFILE", &passfile)]).await;
    let (blue, green) = (pair.blue.url("shop"), pair.green.url("shop"));
    let exit = run(&["init", "--name", "drafted", "--blue", &blue, "--green", &green]).await;
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    assert!(exit.stdout.contains("public.item") || exit.stdout.contains("public.*"), "{}", exit.stdout);
    let file = pair.scratch.path().join("drafted.yaml");
    std::fs::write(&file, &exit.stdout).expect("write the drafted file");
    let file = file.to_string_lossy().into_owned();
    let exit = run(&["check", &file]).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    pair.on_blue().await.batch("INSERT INTO item VALUES (1, 'x')").await;
    let exit = run(&["run", &file, "--until-caught-up"]).await;
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    assert_eq!(pair.on_green().await.value("SELECT note FROM item").await, "x");
}

/// Promise 2: `--recopy` is no proof that rows were removed which no copy replaces. Where none had to be, it takes a table
/// that is full.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_copy_sees_to_it_that_stale_rows_are_gone() {
    let Some(pair) = Pair::start(15, 18).await else {
        return;
    };
    pair.on_both(&format!(
        "{TABLE}; CREATE TABLE tree (id int PRIMARY KEY) PARTITION BY RANGE (id); \
         CREATE TABLE leaf PARTITION OF tree FOR VALUES FROM (0) TO (1000)"
    ))
    .await;
    let (mut blue, mut green) = (pair.on_blue().await, pair.on_green().await);
    blue.batch(
        "INSERT INTO item SELECT n, 'x' FROM generate_series(1, 100) n; INSERT INTO tree SELECT id FROM item",
    )
    .await;
    let migration = Migration::between(&pair, "again").table("public.item").table("public.tree");
    let mut sidecar = Sidecar::start(&migration);
    sidecar.wait_copied().await;
    sidecar.wait_caught_up(&mut blue, &mut green).await;
    sidecar.stop().await;
    blue.batch("ALTER TABLE tree DETACH PARTITION leaf; DELETE FROM leaf WHERE id = 7").await;
    blue.batch("ALTER TABLE tree ATTACH PARTITION leaf FOR VALUES FROM (0) TO (1000)").await;
    blue.batch("ALTER TABLE item ALTER id TYPE int USING id + 10000").await;
    let recopy = ["--recopy", "public.item", "--recopy", "public.tree"];
    for (again, full) in [(&recopy[..], "item"), (&recopy[2..], "tree")] {
        let exit = Sidecar::start_with(&migration, again).exit().await;
        assert_eq!(exit.code, Some(2), "{}", exit.stderr);
        let remedy = format!("TRUNCATE \"public\".\"{full}\"");
        assert!(exit.stderr.contains(&remedy), "{}", exit.stderr);
        green.batch(&format!("TRUNCATE {full}")).await;
    }
    let same = [Same::table("item"), Same::table("tree")];
    for _ in 0..2 {
        let mut sidecar = Sidecar::start_with(&migration, &recopy);
        sidecar.wait_copied().await;
        sidecar.wait_caught_up(&mut blue, &mut green).await;
        assert_same(&mut blue, &mut green, &same).await;
        sidecar.stop().await;
    }
}

/// Green must not be able to stop blue: what can be set wrong at any time is looked at by every start, not by the first alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_later_start_sees_that_commits_would_wait_for_it() {
    let Some(pair) = Pair::start(15, 18).await else {
        return;
    };
    let (mut blue, _, migration, sidecar) = following(&pair).await;
    sidecar.stop().await;
    blue.batch("ALTER SYSTEM SET synchronous_standby_names = '*'").await;
    blue.batch("SELECT pg_reload_conf()").await;
    until("blue has the setting", async || {
        (blue.value("SHOW synchronous_standby_names").await == "*").then_some(())
    })
    .await;
    let exit = Sidecar::start(&migration).exit().await;
    assert_eq!(exit.code, Some(2), "{}", exit.stderr);
    assert!(exit.stderr.contains("name the real standbys"), "{}", exit.stderr);
}
