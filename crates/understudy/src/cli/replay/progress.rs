//! How far a replay has come, as green's own books say, and when it is done.

use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::sync::watch;
use understudy_contract::Failure;
use understudy_kafka::KafkaSettings;
use understudy_postgres::wire::{Client, ConnectOptions};

use super::look::{Look, capture_look, taken_so_far};
use crate::settings::Settings;

/// How often green is asked.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How often it is told how far it is.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// How long the capture has to bring rows that the log lacks, and copies of tables, counted from the last that has come.
const HEALS_MAX: Duration = Duration::from_secs(120);

/// How a replay has ended by itself.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Green has all that the log held.
    Built(Built),
    /// Something does not come. What, for a person.
    Lacking(String),
}

/// What was built.
#[derive(Debug, Serialize)]
pub(super) struct Built {
    schema: &'static str,
    migration: String,
    /// Everything that blue had committed before this is on green.
    position: String,
    /// The group that was the last one when it began.
    group: u64,
    records: u64,
    seconds: f64,
}

impl Built {
    /// For people.
    pub(super) fn to_text(&self) -> String {
        let Built { migration, position, records, seconds, .. } = self;
        format!("green of {migration} is built anew up to {position}: {records} records in {seconds:.1} s\n")
    }
}

/// Watches green while it is built.
pub(super) struct Progress {
    green: ConnectOptions,
    name: String,
    kafka: KafkaSettings,
    look: Look,
    follow: bool,
    reached: watch::Sender<bool>,
    /// How long it is watched whether a capture is at work.
    capture_look: Duration,
    began: Instant,
}

/// What green's books say.
struct Seen {
    group: u64,
    position: String,
    complete: usize,
    /// Rows that wait to be read again, by table.
    waiting: Vec<(String, u64)>,
    /// Parts of copies that are done.
    chunks: u64,
}

/// What is still lacking once green has all that the log held.
#[derive(Debug, Clone, Copy)]
struct Lacked {
    /// The least that was lacking so far: rows, and tables that are not complete.
    least: u64,
    chunks: u64,
    /// When the last of it came.
    since: Instant,
}

impl Lacked {
    /// Whether nothing of it has come for too long.
    fn is_over(&mut self, (lacking, chunks): (u64, u64), now: Instant) -> bool {
        if lacking < self.least || chunks != self.chunks {
            *self = Lacked { least: lacking.min(self.least), chunks, since: now };
        }
        now.duration_since(self.since) > HEALS_MAX
    }
}

impl Progress {
    pub(super) fn new(
        settings: &Settings,
        kafka: KafkaSettings,
        look: Look,
        (follow, reached): (bool, watch::Sender<bool>),
    ) -> Result<Progress, Failure> {
        let name = settings.name.application_name("replay");
        Ok(Progress {
            green: settings.green_postgres()?.clone().with_application_name(&name),
            name: settings.name.as_str().to_owned(),
            kafka,
            look,
            follow,
            reached,
            capture_look: capture_look(settings),
            began: Instant::now(),
        })
    }

    /// Comes back once green has what the log held, or cannot get it. What follows on never does.
    pub(super) async fn watch(self) -> Outcome {
        let mut client = None;
        let mut told = Instant::now();
        let mut first = None;
        let mut lacked = None::<Lacked>;
        let mut tick = tokio::time::interval(LOOK_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let seen = match self.ask(&mut client).await {
                Ok(Some(seen)) => seen,
                Ok(None) => continue,
                Err(failure) => {
                    tracing::debug!(error = %failure, "cannot ask green how far it is");
                    client = None;
                    continue;
                }
            };
            let records = self.look.survey.records_until(seen.group);
            let start = *first.get_or_insert(records);
            if told.elapsed() >= TELL_EVERY {
                told = Instant::now();
                self.tell(&seen, records, start);
            }
            if seen.group < self.look.survey.end.group {
                continue;
            }
            self.reached.send_if_modified(|reached| !std::mem::replace(reached, true));
            let waiting = seen.waiting.iter().map(|(_, rows)| rows).sum::<u64>();
            let lacking = waiting + self.look.routes.len().saturating_sub(seen.complete) as u64;
            if lacking == 0 && self.follow {
                tracing::info!(
                    position = seen.position,
                    "what the log held is on green: following what comes after"
                );
                std::future::pending::<()>().await;
            }
            if lacking == 0 {
                return Outcome::Built(self.built(seen, records - start));
            }
            if self.is_given_up((lacking, seen.chunks), &mut lacked).await {
                return Outcome::Lacking(seen.lacks());
            }
        }
    }

    /// Whether nobody brings what is still lacking.
    async fn is_given_up(&self, (lacking, chunks): (u64, u64), lacked: &mut Option<Lacked>) -> bool {
        if self.follow {
            return false;
        }
        if let Some(lacked) = lacked {
            return lacked.is_over((lacking, chunks), Instant::now());
        }
        tracing::info!(
            lacking,
            "the capture is asked for rows that the log holds in part only, and for tables that are copied anew"
        );
        *lacked = Some(Lacked { least: lacking, chunks, since: Instant::now() });
        // Whoever cannot be asked is waited for.
        matches!(understudy_kafka::is_written(&self.kafka, self.capture_look).await, Ok(false))
    }

    fn tell(&self, seen: &Seen, records: u64, start: u64) {
        let of = self.look.survey.records();
        let percent = (records * 100).checked_div(of).unwrap_or(100);
        let rate = (records - start) as f64 / self.began.elapsed().as_secs_f64();
        let left =
            if rate > 0.0 { format!("{:.0}s", (of - records) as f64 / rate) } else { "unknown".to_owned() };
        tracing::info!(
            records,
            of,
            percent,
            per_second = rate as u64,
            left,
            position = seen.position,
            "replaying"
        );
    }

    fn built(&self, seen: Seen, records: u64) -> Built {
        Built {
            schema: "understudy/v1/replay",
            migration: self.name.clone(),
            position: seen.position,
            group: self.look.survey.end.group,
            records,
            seconds: self.began.elapsed().as_secs_f64(),
        }
    }

    /// `None`: nothing is recorded yet.
    async fn ask(&self, client: &mut Option<Client>) -> Result<Option<Seen>, Failure> {
        let green = match client {
            Some(green) => green,
            None => client.insert(Client::connect(&self.green).await?),
        };
        let Some(group) = taken_so_far(green, &self.name).await? else { return Ok(None) };
        let ours = "(name = $1 OR pg_catalog.starts_with(name, $1 || '#'))";
        let sql = format!("SELECT min(checkpoint)::text FROM understudy.migration WHERE {ours}");
        let rows = green.query_with(&sql, &[Some(&self.name)]).await?;
        let position = rows.first().and_then(|row| row.text(0)).unwrap_or("0/0").to_owned();
        let sql = "SELECT source_schema || '.' || source_name, bool_and(complete), \
                          sum((SELECT count(*) FROM understudy.heals AS waiting \
                               WHERE waiting.migration = routes.migration AND waiting.route = routes.route)) \
                   FROM understudy.routes WHERE migration = $1 OR pg_catalog.starts_with(migration, $1 || '#') \
                   GROUP BY route, source_schema, source_name";
        let (mut complete, mut waiting) = (0, Vec::new());
        for row in green.query_with(sql, &[Some(&self.name)]).await? {
            complete += usize::from(row.is_true(1));
            let rows = row.parse::<u64>(2)?;
            if rows > 0 {
                waiting.push((row.required(0)?.to_owned(), rows));
            }
        }
        let sql = "SELECT count(*) FROM understudy.chunks_done \
                   WHERE migration = $1 OR pg_catalog.starts_with(migration, $1 || '#')";
        let rows = green.query_with(sql, &[Some(&self.name)]).await?;
        let chunks = rows.first().map_or(Ok(0), |row| row.parse(0))?;
        Ok(Some(Seen { group, position, complete, waiting, chunks }))
    }
}

impl Seen {
    /// What is missing, for a person.
    fn lacks(&self) -> String {
        if self.waiting.is_empty() {
            return "the copy of a table does not come to its end".to_owned();
        }
        let rows = self.waiting.iter().map(|(table, rows)| format!("{rows} rows of {table}"));
        format!("{} wait to be read again from blue", rows.collect::<Vec<_>>().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards a replay whose table blue copies anew when the log is at its end: it is not complete for as long as that takes, and
    /// each part of it that comes is a reason to wait for the next.
    #[test]
    fn a_copy_that_comes_is_waited_for() {
        let start = Instant::now();
        let mut lacked = Lacked { least: 1, chunks: 4, since: start };
        let mut is_over = |lacking, chunks, minutes: u32| {
            lacked.is_over((lacking, chunks), start + minutes * Duration::from_secs(60))
        };
        for minutes in 1..10 {
            assert!(!is_over(1, 4 + u64::from(minutes), minutes), "after {minutes} minutes");
        }
        assert!(!is_over(1, 13, 11) && is_over(1, 13, 12), "nothing more has come");
        assert!(!is_over(3, 0, 12), "a copy that begins anew has come to that");
        assert!(is_over(2, 0, 15), "it was less before");
        assert!(!is_over(0, 0, 15));
    }
}
