//! Masked values: on green, in logs and in what `plan` shows there is nothing but their hash.

use super::{Case, Masking};

const SECRET: &str = "anna.secret";

/// Nothing that reaches green holds the value, whatever carried it there; the same value has the same mask.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_masked_shows_nowhere() {
    let blue = "CREATE TABLE person (id int PRIMARY KEY, email text, born date); \
                INSERT INTO person SELECT n, 'anna.secret' || n % 20 || '@example.org', date '1980-01-01' + n FROM generate_series(1, 60) n";
    let green = "CREATE TABLE person (id int PRIMARY KEY, email text, born text, domain text)";
    let Some(mut case) = Case::open("masked", blue, green).await else {
        return;
    };
    let masking = Masking::of(case.pair);
    let entry = "  - from: '@.person'\n    columns: { id: id, email: mask(lower(email)), born: mask(born), domain: \"split_part(email, '@', 2)\" }\n";
    let migration = case.migration(entry).with(&masking.section());
    let expected = format!(
        "SELECT id, {}, {}, 'example.org' FROM person",
        masking.sql("lower(email)"),
        masking.sql("born::text")
    );
    let (_, exit) = case.verb(&migration, &["plan", "--output", "json"]).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    let plan: serde_json::Value = serde_json::from_str(&exit.stdout).expect("JSON on stdout");
    let samples = plan["tables"][0]["samples"].as_array().expect("samples");
    assert!(!samples.is_empty(), "{plan:#}");
    for sample in samples {
        let after = sample["after"].to_string();
        assert!(!after.contains(SECRET) && !after.contains("1980-"), "{after}");
        assert!(sample["after"]["email"].as_str().is_some_and(|mask| mask.len() == 64), "{after}");
    }
    assert!(!exit.stdout.contains(Masking::KEY) && !exit.stderr.contains(Masking::KEY), "the key was shown");
    let mut sidecar = case.follow(&migration).await;
    case.same("SELECT * FROM person", &expected).await;
    case.blue
        .batch("UPDATE person SET email = upper(email) WHERE id < 30; INSERT INTO person VALUES (100, 'anna.secret@example.org')")
        .await;
    case.blue.batch("UPDATE person SET email = NULL WHERE id = 7; DELETE FROM person WHERE id = 8").await;
    case.settle(&mut sidecar).await;
    let expected = expected
        .replace("'example.org'", "CASE WHEN email IS NOT NULL THEN lower(split_part(email, '@', 2)) END");
    case.same("SELECT id, email, born, lower(domain) FROM person", &expected).await;
    let dump = "SELECT coalesce(string_agg(p::text, ' '), '') FROM person p";
    assert!(!case.green.value(dump).await.to_lowercase().contains(SECRET), "a value reached green");
    let log = sidecar.log();
    assert!(
        !log.to_lowercase().contains(SECRET) && !log.contains(Masking::KEY),
        "a value or the key was logged"
    );
    let books = "SELECT coalesce(string_agg(r::text, ' '), '') FROM understudy.routes r";
    assert!(!case.green.value(books).await.contains(Masking::KEY), "the bookkeeping knows the key");
    case.close(sidecar).await;
}
