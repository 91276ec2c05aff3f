//! No false alarm: hot rows, large values, floats, zones, collations, deletes and changed keys, under load and kill -9.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::{open, report, routes, wait_clean};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinSet;
use understudy_tests::{Campaign, Migration, Pair, Same, Session, Sidecar, assert_same, hold};

/// Sessions that change blue at the same time.
const WRITERS: usize = 8;

/// Transactions per second, over all of them.
const RATE: f64 = 1_000.0;

/// Rows that nearly half of all changes go to.
const HOT: i64 = 20;

/// Seconds of the usual run, and of the long form in a campaign; UNDERSTUDY_SOAK_SECONDS asks for others.
const SECONDS: (u64, u64) = (40, 3_600);

const ON_BLUE: &str = r#"
CREATE SCHEMA soak;
CREATE TABLE soak.accounts (id bigint PRIMARY KEY, balance numeric(14,2) NOT NULL, rate double precision, small real,
    note text, version bigint NOT NULL DEFAULT 0);
CREATE TABLE soak.documents (code text COLLATE "C" PRIMARY KEY, title text, body text, tags text[], doc jsonb,
    touched bigint NOT NULL DEFAULT 0);
ALTER TABLE soak.documents ALTER body SET STORAGE EXTERNAL;
CREATE TABLE soak.words (word text PRIMARY KEY, padded char(12), amount numeric, meaning text);
CREATE TABLE soak.moments (id uuid PRIMARY KEY, at timestamptz, local timestamp, span interval, day date, zone text);
CREATE TABLE soak.readings (region text NOT NULL, id bigint NOT NULL, celsius double precision, at timestamptz,
    PRIMARY KEY (region, id)) PARTITION BY LIST (region);
CREATE TABLE soak.readings_north PARTITION OF soak.readings FOR VALUES IN ('north');
CREATE TABLE soak.readings_rest PARTITION OF soak.readings DEFAULT;
INSERT INTO soak.accounts SELECT n, n, n / 7.0, n / 3.0, CASE WHEN n % 5 = 0 THEN NULL WHEN n % 5 = 1 THEN '' ELSE 'note ' || n END, 0
    FROM generate_series(1, 20000) n;
INSERT INTO soak.documents SELECT 'doc-' || n, 'Title ' || n, repeat(md5(n::text), 20 + n % 200), ARRAY['a', NULL, ''],
    jsonb_build_object('n', n, 'm', NULL), 0 FROM generate_series(1, 1500) n;
INSERT INTO soak.words SELECT 'wörd ' || n || CASE WHEN n % 2 = 0 THEN 'A' ELSE 'a' END, 'p' || n, n * 1.10, NULL
    FROM generate_series(1, 3000) n;
INSERT INTO soak.moments SELECT md5(n::text)::uuid, '2024-03-31 00:30Z'::timestamptz + n * interval '17 minutes',
    '2024-10-27 02:30'::timestamp + n * interval '1 hour', n * interval '1 day 3 hours', '2024-02-28'::date + n, 'Europe/Berlin'
    FROM generate_series(1, 3000) n;
INSERT INTO soak.readings SELECT CASE WHEN n % 2 = 0 THEN 'north' ELSE 'south' END, n, n / 9.0, now() FROM generate_series(1, 3000) n;
"#;

const ON_GREEN: &str = r#"
CREATE SCHEMA soak;
CREATE TABLE soak.accounts (account text PRIMARY KEY, cents bigint, rate double precision, small real, note text, version bigint);
CREATE TABLE soak.documents (code text COLLATE "C" PRIMARY KEY, title text, body text, tags text[], doc jsonb, touched bigint);
CREATE TABLE soak.words (word text PRIMARY KEY, padded char(12), amount numeric, meaning text);
CREATE TABLE soak.moments (id uuid PRIMARY KEY, at timestamptz, local timestamp, span interval, day date, hour int);
CREATE TABLE soak.readings (region text NOT NULL, id bigint NOT NULL, celsius double precision, at timestamptz,
    PRIMARY KEY (id, region));
"#;

const TABLES: &str = "  - from: soak.accounts\n    columns:\n      account: \"'a-' || id\"\n      cents: (balance * 100)::bigint\n      \
    rate: rate\n      small: small\n      note: note\n      version: version\n  - from: soak.documents\n  - from: soak.words\n  - from: soak.moments\n    \
    columns:\n      hour: \"extract(hour from at at time zone zone)::int\"\n      id: id\n      at: at\n      local: local\n      span: span\n      day: day\n  \
    - from: soak.readings\n";

/// One transaction of the load.
fn transaction(dice: &mut StdRng) -> String {
    let salt: u32 = dice.random_range(0..1_000_000);
    let (hot, cold) = (dice.random_range(1..=HOT), dice.random_range(1..=20_000));
    let (small, row) = (dice.random_range(1..=1_500), dice.random_range(1..=3_000));
    match dice.random_range(0..100) {
        0..40 => format!(
            "UPDATE soak.accounts SET balance = balance + {salt} % 100, rate = rate * 1.0000001, version = version + 1 WHERE id = {hot}"
        ),
        40..48 => format!(
            "UPDATE soak.accounts SET note = nullif('{}', 'x'), small = {salt} / 7.0 WHERE id = {cold}",
            ["", "x", "é"][salt as usize % 3]
        ),
        48..50 => format!("DELETE FROM soak.accounts WHERE id = {cold}"),
        50..54 => format!(
            "INSERT INTO soak.accounts VALUES ({cold}, {salt}, 'NaN', '-0', '', 1) ON CONFLICT DO NOTHING"
        ),
        54..57 => format!(
            "BEGIN; DELETE FROM soak.accounts WHERE id = {hot}; INSERT INTO soak.accounts VALUES ({hot}, 1, 1, 1, NULL, 1); COMMIT"
        ),
        57..66 => format!("UPDATE soak.documents SET touched = touched + 1 WHERE code = 'doc-{small}'"),
        66..69 => format!(
            "UPDATE soak.documents SET body = repeat(md5('{salt}'), 60 + {salt} % 200) WHERE code = 'doc-{small}'"
        ),
        69..71 => format!(
            "UPDATE soak.documents SET code = CASE WHEN code LIKE 'x%' THEN substr(code, 2) ELSE 'x' || code END \
             WHERE code IN ('doc-{small}', 'xdoc-{small}') \
             AND 1 = (SELECT count(*) FROM soak.documents WHERE code IN ('doc-{small}', 'xdoc-{small}'))"
        ),
        71..73 => format!("DELETE FROM soak.documents WHERE code = 'doc-{small}'"),
        73..75 => format!(
            "INSERT INTO soak.documents VALUES ('doc-{small}', NULL, repeat('{salt} ', 700), '{{}}', '{{}}', 0) ON CONFLICT DO NOTHING"
        ),
        75..80 => format!(
            "UPDATE soak.words SET amount = round((amount * 1.5) % 1000000, 4), padded = 'p{}  ' WHERE word LIKE 'wörd {row}_'",
            salt % 10
        ),
        80..83 => {
            format!("UPDATE soak.words SET word = upper(word) || '{salt}' WHERE word = 'wörd {row}A'")
        }
        83..85 => format!("DELETE FROM soak.words WHERE word = 'wörd {row}a'"),
        85..87 => format!(
            "INSERT INTO soak.words VALUES ('wörd {row}a', 'new', {salt}.50, '') ON CONFLICT DO NOTHING"
        ),
        87..92 => format!(
            "UPDATE soak.moments SET at = at + interval '13 minutes', span = -span, zone = '{}' WHERE id = md5('{row}')::uuid",
            ["UTC", "America/New_York", "Asia/Kolkata"][salt as usize % 3]
        ),
        92..97 => format!(
            "UPDATE soak.readings SET region = CASE region WHEN 'north' THEN 'south' ELSE 'north' END \
             WHERE id = {row} AND 1 = (SELECT count(*) FROM soak.readings WHERE id = {row})"
        ),
        97..98 => format!("DELETE FROM soak.readings WHERE id = {row}"),
        _ => format!(
            "INSERT INTO soak.readings VALUES ('south', {row}, {salt} / 3.0, now()) ON CONFLICT DO NOTHING"
        ),
    }
}

/// Changes blue at its share of the rate until it is over. Returns how many transactions were committed, and how many not.
async fn write(mut blue: Session, mut dice: StdRng, over: Arc<AtomicBool>) -> (u64, u64) {
    let (began, mut count, mut failed) = (Instant::now(), 0_u64, 0);
    while !over.load(Ordering::Relaxed) {
        let due = (began.elapsed().as_secs_f64() * RATE / WRITERS as f64) as u64;
        while count < due && !over.load(Ordering::Relaxed) {
            // Two writers may want the same new key, or wait for each other: what was not committed needs no second try.
            if blue.try_batch(&transaction(&mut dice)).await.is_err() {
                failed += 1;
                let _ = blue.try_batch("ROLLBACK").await;
            }
            count += 1;
        }
        hold(Duration::from_millis(2), async || {}).await;
    }
    (count - failed, failed)
}

fn seconds() -> u64 {
    let asked = std::env::var("UNDERSTUDY_SOAK_SECONDS").ok().and_then(|text| text.parse().ok());
    let usual = if understudy_tests::is_campaign() { SECONDS.1 } else { SECONDS.0 };
    asked.unwrap_or(usual)
}

/// Promise 3: while everything is replicated as it should be, nothing is ever called a mismatch.
async fn soak(blue: u32, green: u32, campaign: Campaign) {
    for seed in campaign.seeds() {
        let Some(pair) = Pair::start(blue, green).await else { return };
        pair.on_blue().await.batch(ON_BLUE).await;
        pair.on_green().await.batch(ON_GREEN).await;
        let migration = Migration::between(&pair, "soak")
            .entry(TABLES)
            .with("verify: { range_rows: 2000, pass_pause: 1s, busy: 1.0 }");
        let mut dice = StdRng::seed_from_u64(seed);
        let mut sidecar = Sidecar::start(&migration);
        let over = Arc::new(AtomicBool::new(false));
        let mut writers = JoinSet::new();
        for _ in 0..WRITERS {
            let dice = StdRng::seed_from_u64(dice.random());
            writers.spawn(write(pair.on_blue().await, dice, over.clone()));
        }
        sidecar.wait_copied_within(Duration::from_secs(240)).await;
        let until = Instant::now() + Duration::from_secs(seconds());
        let mut kill_at = Instant::now() + Duration::from_secs(8);
        let (mut oldest, mut suspended, mut checked, mut p99) = (0.0_f64, 0_u64, 0_u64, 0.0_f64);
        while Instant::now() < until {
            hold(Duration::from_millis(500), async || sidecar.assert_running()).await;
            if let Some(report) = report(&sidecar).await {
                assert_eq!(open(&report), 0, "seed {seed}: a false mismatch: {report:#}");
                let changed = &report["changed"];
                oldest = oldest.max(changed["oldest_seconds"].as_f64().unwrap_or(0.0));
                p99 = p99.max(changed["age_p99_seconds"].as_f64().unwrap_or(0.0));
                let of = routes(&report).iter().filter_map(|route| route["suspended"].as_u64());
                suspended = suspended.max(of.sum());
                let of = routes(&report).iter().filter_map(|route| route["changes_checked"].as_u64());
                checked = checked.max(of.sum());
            }
            if Instant::now() > kill_at {
                kill_at = Instant::now() + Duration::from_secs(dice.random_range(6..40));
                sidecar.kill();
                sidecar = Sidecar::start(&migration);
            }
        }
        over.store(true, Ordering::Relaxed);
        let done = writers.join_all().await;
        let (transactions, failed) =
            done.iter().fold((0, 0), |(all, none), (done, failed)| (all + done, none + failed));
        assert!(
            failed < transactions / 100,
            "seed {seed}: {failed} transactions failed: the load is not what it says"
        );
        campaign.measured("transactions", transactions as f64);
        campaign.measured("oldest_unchecked_seconds", oldest);
        campaign.measured("changed_age_p99_seconds", p99);
        campaign.measured("suspended_rows", suspended as f64);
        campaign.measured("changes_checked_in_one_run", checked as f64);
        assert!(checked > 0, "seed {seed}: no changed row was ever checked: no alarm means nothing");
        // Once blue is quiet every row is verified, those too that moved too fast before.
        wait_clean(&mut sidecar, 5).await;
        let (mut on_blue, mut on_green) = (pair.on_blue().await, pair.on_green().await);
        let found = on_green.number("SELECT count(*) FROM understudy.verify_mismatches").await;
        assert_eq!(found, 0, "seed {seed}: false mismatches");
        assert_same(&mut on_blue, &mut on_green, &same()).await;
        sidecar.stop().await;
        campaign.passed(seed);
    }
}

/// Both sides by hand-written queries.
fn same() -> Vec<Same> {
    let pair = |blue: &str, green: &str| Same { blue: blue.to_owned(), green: green.to_owned() };
    vec![
        pair(
            "SELECT 'a-' || id, (balance * 100)::bigint, rate, small, note, version FROM soak.accounts ORDER BY ('a-' || id) COLLATE \"C\"",
            "SELECT account, cents, rate, small, note, version FROM soak.accounts ORDER BY account COLLATE \"C\"",
        ),
        pair("SELECT * FROM soak.documents ORDER BY code", "SELECT * FROM soak.documents ORDER BY code"),
        pair(
            "SELECT * FROM soak.words ORDER BY word COLLATE \"C\"",
            "SELECT * FROM soak.words ORDER BY word COLLATE \"C\"",
        ),
        pair(
            "SELECT id, at, local, span, day, extract(hour from at at time zone zone)::int FROM soak.moments ORDER BY id",
            "SELECT id, at, local, span, day, hour FROM soak.moments ORDER BY id",
        ),
        pair(
            "SELECT region, id, celsius, at FROM soak.readings ORDER BY region COLLATE \"C\", id",
            "SELECT region, id, celsius, at FROM soak.readings ORDER BY region COLLATE \"C\", id",
        ),
    ]
}

/// The usual run is short; its long form in a campaign is the same for an hour.
#[tokio::test(flavor = "multi_thread")]
async fn a_busy_blue_raises_no_false_alarm() {
    soak(15, 18, Campaign::of("soak_15_18", 1, 1)).await;
}
