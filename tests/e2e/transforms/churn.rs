//! Changes beside the shop's load: what a great migration meets and no shop does.

use std::cell::Cell;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use understudy_tests::{Session, hold};

/// Statements in one round.
const ROUND: usize = 5;

/// Changes blue until it is over. Returns the number of statements.
pub(crate) async fn churn(mut blue: Session, mut dice: StdRng, over: &Cell<bool>) -> u64 {
    let mut count = 0;
    while !over.get() {
        hold(Duration::from_millis(1), async || {
            for _ in 0..ROUND {
                blue.batch(&statement(&mut dice)).await;
                count += 1;
            }
        })
        .await;
    }
    count
}

/// One statement, a transaction of its own unless it holds BEGIN.
fn statement(dice: &mut StdRng) -> String {
    let salt: u32 = dice.random_range(0..1_000_000);
    let (visit, document, reading) =
        (dice.random_range(1..=420), dice.random_range(1..=310), dice.random_range(1..=620));
    let region = ["north", "south", "west"][dice.random_range(0..3)];
    match dice.random_range(0..100) {
        0..5 => format!("INSERT INTO extra.web_visits (at, path) VALUES (now(), '/new/{salt}')"),
        5..9 => format!("UPDATE extra.web_visits SET agent = 'agent {salt}' WHERE abs(id) = {visit}"),
        9..12 => format!("UPDATE extra.web_visits SET id = -id WHERE abs(id) = {visit}"),
        12..14 => format!("DELETE FROM extra.web_visits WHERE id = {visit}"),
        14..20 => format!("INSERT INTO extra.app_visits (at, screen) VALUES (localtimestamp, 'new {salt}')"),
        20..26 => format!("UPDATE extra.app_visits SET device = '{{\"n\": {salt}.50}}' WHERE id = {visit}"),
        26..27 => format!(
            "BEGIN; TRUNCATE extra.app_visits; INSERT INTO extra.app_visits (at, screen) \
             SELECT localtimestamp, 'after {salt}/' || n FROM generate_series(1, 40) n; COMMIT"
        ),
        27..40 => format!("UPDATE extra.documents SET touched = touched + 1 WHERE id = {document}"),
        40..50 => format!("UPDATE extra.documents SET region = '{region}' WHERE id = {document}"),
        50..54 => format!(
            "UPDATE extra.documents SET body = repeat(md5('{salt}'), 90 + {salt} % 40) WHERE id = {document}"
        ),
        54..58 => format!("UPDATE extra.documents SET id = -id WHERE abs(id) = {document}"),
        58..60 => format!("DELETE FROM extra.documents WHERE id = {document}"),
        60..62 => format!(
            "INSERT INTO extra.documents (id, region, title, body) VALUES (1000 + {salt}, '{region}', 'new', repeat('{salt} ', 900)) \
             ON CONFLICT DO NOTHING"
        ),
        62..70 => {
            format!("UPDATE extra.readings SET celsius = nullif({salt} % 4, 0) * 7.35 WHERE id = {reading}")
        }
        70..76 => format!("UPDATE extra.readings SET region = '{region}' WHERE id = {reading}"),
        76..79 => format!("DELETE FROM extra.readings WHERE id = {reading}"),
        79..84 => format!(
            "INSERT INTO extra.readings VALUES ('{region}', 10000 + {salt}, {salt} / 1000.0, '2025-12-31') ON CONFLICT DO NOTHING"
        ),
        84..85 => "TRUNCATE extra.readings_west".to_owned(),
        85..93 => format!(
            "UPDATE shop.customers SET tier = (ARRAY['silver', 'gold'])[1 + {salt} % 2]::shop.tier, credit = {salt} % 1000 \
             WHERE id = {visit}"
        ),
        _ => format!(
            "UPDATE shop.orders SET status = (ARRAY['returned', 'sent'])[1 + {salt} % 2]::shop.order_status WHERE id = {reading}"
        ),
    }
}
