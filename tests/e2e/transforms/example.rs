//! config/transforms.yaml, the documented example, on tables as it describes them.

use std::path::Path;

use understudy_tests::{Migration, Pair, Port, Same, Sidecar, assert_same, understudy};

use super::{Masking, healed};

const BLUE: &str = "CREATE TABLE users (id bigint PRIMARY KEY, first_name text NOT NULL, last_name text NOT NULL, email text, phone text, \
     created_at timestamptz NOT NULL, spent_cents bigint NOT NULL, locale text, wants_news boolean NOT NULL, street text, city text, \
     country text, deleted_at timestamptz); \
     CREATE TABLE card_payments (id bigint PRIMARY KEY, amount_cents bigint NOT NULL, paid_at timestamptz NOT NULL); \
     CREATE TABLE bank_transfers (id bigint PRIMARY KEY, amount numeric(12,2) NOT NULL, booked_on date NOT NULL); \
     CREATE TABLE orders (order_no text PRIMARY KEY, user_id bigint NOT NULL, placed_at timestamptz NOT NULL); \
     CREATE TABLE settings (name text PRIMARY KEY, value text); \
     INSERT INTO users SELECT n, 'First ' || n, 'Last', upper('u' || n || '@Example.Org'), '+49 30 ' || n, \
     timestamptz '2025-01-01 22:30+00' + n * interval '7 hours', n * 1777, CASE n % 3 WHEN 0 THEN 'de' END, n % 2 = 0, \
     CASE WHEN n % 4 > 0 THEN 'Street ' || n END, 'City', 'de', CASE WHEN n % 7 = 0 THEN now() END FROM generate_series(1, 100) n; \
     INSERT INTO card_payments SELECT n, n * 333, timestamptz '2025-02-01' + n * interval '1 hour' FROM generate_series(1, 50) n; \
     INSERT INTO bank_transfers SELECT n, n * 1.11, date '2025-03-28' + n FROM generate_series(1, 50) n; \
     INSERT INTO orders SELECT (ARRAY['eu', 'us'])[1 + n % 2] || '-' || n, n, timestamptz '2025-02-01' FROM generate_series(1, 50) n; \
     INSERT INTO settings VALUES ('a', 'b'), ('c', NULL)";

const GREEN: &str = "CREATE SCHEMA app; CREATE SCHEMA billing; CREATE SCHEMA sales; \
     CREATE TABLE app.customers (customer_id bigint PRIMARY KEY, name varchar(80) NOT NULL, email text, phone text, signed_up date NOT NULL, \
     tier text NOT NULL, profile jsonb NOT NULL); \
     CREATE TABLE app.addresses (customer_id bigint PRIMARY KEY, street text NOT NULL, city text, country text); \
     CREATE TABLE billing.payments (kind text, payment_id bigint, amount numeric(12,2) NOT NULL, paid_at timestamptz NOT NULL, \
     PRIMARY KEY (kind, payment_id)); \
     CREATE TABLE sales.orders (region text, order_id bigint, user_id bigint NOT NULL, placed_at timestamptz NOT NULL, \
     PRIMARY KEY (region, order_id)); \
     CREATE TABLE settings (name text PRIMARY KEY, value text)";

const CHANGES: &[&str] = &[
    "UPDATE users SET deleted_at = now() WHERE id % 5 = 0 AND deleted_at IS NULL",
    "UPDATE users SET deleted_at = NULL, phone = '+49 30 again' WHERE id % 14 = 0",
    "UPDATE users SET street = NULL WHERE id % 9 = 0; UPDATE users SET spent_cents = 100000, locale = NULL WHERE id < 20",
    "UPDATE users SET id = id + 1000 WHERE id % 11 = 0",
    "UPDATE orders SET order_no = 'as-' || user_id WHERE user_id % 5 = 0; DELETE FROM orders WHERE user_id = 7",
    "DELETE FROM card_payments WHERE id < 10; UPDATE bank_transfers SET id = id + 100 WHERE id < 5",
    "INSERT INTO card_payments VALUES (5, 1999, '2025-07-01 12:00+02'); TRUNCATE settings; INSERT INTO settings VALUES ('d', 'e')",
];

fn same(masking: &Masking) -> [Same; 5] {
    let pair =
        |blue: &str, green: &str| Same { blue: blue.to_owned(), green: format!("SELECT * FROM {green}") };
    let customers = format!(
        "SELECT id, concat_ws(' ', first_name, last_name), lower(email), {}, (created_at AT TIME ZONE 'UTC')::date, \
         CASE WHEN spent_cents < 100000 THEN 'plain' ELSE 'gold' END, \
         jsonb_build_object('newsletter', wants_news, 'locale', CASE WHEN locale IS NULL THEN 'en' ELSE locale END) \
         FROM users WHERE deleted_at IS NULL",
        masking.sql("phone")
    );
    [
        pair(&customers, "app.customers"),
        pair(
            "SELECT id, street, city, upper(country) FROM users WHERE NOT (street IS NULL OR deleted_at IS NOT NULL)",
            "app.addresses",
        ),
        pair(
            "SELECT 'card', id, round(amount_cents * 0.01, 2), paid_at FROM card_payments UNION ALL \
             SELECT 'transfer', id, amount, (booked_on || ' 00:00 Europe/Berlin')::timestamptz FROM bank_transfers",
            "billing.payments",
        ),
        pair(
            "SELECT substring(order_no FROM '^[a-z]+'), substring(order_no FROM '[0-9]+$')::int, user_id, placed_at FROM orders",
            "sales.orders",
        ),
        pair("SELECT * FROM settings", "settings"),
    ]
}

/// Whoever copies the example gets what it says: it checks, shows its plan, copies and follows.
#[tokio::test(flavor = "multi_thread")]
async fn the_example_does_what_it_says() {
    let Some(pair) = Pair::start(15, 18).await else {
        return;
    };
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/transforms.yaml");
    let example = std::fs::read_to_string(file).expect("the example");
    let (_, tables) = example.split_once("\ntables:\n").expect("tables");
    let (tables, apply) = tables.split_once("\napply:").expect("what follows the tables");
    let (mut blue, mut green) = (pair.on_blue().await, pair.on_green().await);
    blue.batch(BLUE).await;
    green.batch(GREEN).await;
    let masking = Masking::of(&pair);
    let migration = Migration::between(&pair, "example").entry(&format!("{tables}\n"));
    let migration = migration.with(&format!("apply:{apply}")).with(&masking.section());
    let path = migration.write(&Port::reserve()).to_string_lossy().into_owned();
    for verb in ["check", "plan"] {
        let exit = understudy(pair.scratch.path(), &[verb, &path]).await;
        assert_eq!(exit.code, Some(0), "{verb}: {}{}", exit.stdout, exit.stderr);
    }
    let mut sidecar = Sidecar::start(&migration);
    sidecar.wait_copied().await;
    for change in CHANGES {
        blue.batch(change).await;
    }
    sidecar.wait_caught_up(&mut blue, &mut green).await;
    healed(&mut sidecar, &mut green, "example").await;
    assert_same(&mut blue, &mut green, &same(&masking)).await;
    assert_eq!(green.column("SELECT kind FROM understudy.mismatches").await, Vec::<String>::new());
    assert_eq!(green.column("SELECT reason FROM understudy.quarantine").await, Vec::<String>::new());
    sidecar.stop().await;
}
