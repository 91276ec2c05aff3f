//! Evaluates expressions on rows in memory: how many rows one core takes through a route in a second.

use std::hint::black_box;
use std::time::{Duration, Instant};

use understudy_contract::{Class, Failure};
use understudy_model::Tuple;
use understudy_transform::{Binding, Mapped};

use crate::customers::{self, Entry, FIVE, THREE};
use crate::options::Options;
use crate::report::{Figure, Target};
use crate::rig::Who;
use crate::say;

/// Rows that are taken through a route again and again; few enough to stay in the processor's caches, as rows do that
/// have just arrived.
const ROWS: u64 = 2_000;

/// Measures routes with more and more expressions, on rows of the stream and on lines of a copy.
pub(crate) async fn evaluate(options: &Options) -> Result<Vec<Figure>, Failure> {
    let options = options.clone();
    let measured = tokio::task::spawn_blocking(move || measure(&options)).await;
    measured.map_err(|error| Failure::new(Class::Internal, format!("the evaluation ended: {error}")))?
}

fn measure(options: &Options) -> Result<Vec<Figure>, Failure> {
    let rows = (0..ROWS).map(customers::row).collect::<Vec<_>>();
    let lines = rows.iter().map(as_line).collect::<Vec<_>>();
    let turns = options.scaled(1_000_000).div_ceil(ROWS);
    let routes: [(&str, &[Entry], Target); 3] = [
        ("rows that pass through", &[], Target::Open),
        ("rows with three simple expressions", THREE, Target::AtLeast(1.0)),
        ("rows with five typical expressions", FIVE, Target::Open),
    ];
    let mut figures = Vec::new();
    for (what, entries, target) in routes {
        let binding = customers::bound(entries)?;
        for (form, rows) in [("stream", &rows), ("copy", &lines)] {
            let mut figure = Figure::new(format!("evaluate {what} ({form})"), "M rows/s per core", target);
            for _ in 0..options.rounds {
                figure.add(
                    Who::Expressions,
                    turns as f64 * rows.len() as f64 / 1e6 / run(&binding, rows, turns)?,
                );
            }
            say(&figure.summary());
            figures.push(figure);
        }
    }
    Ok(figures)
}

fn as_line(row: &Tuple) -> Tuple {
    let mut line = Vec::new();
    row.push_copy_line(&mut line);
    Tuple::from_copy_line(line.into())
}

/// Takes all rows through the route so many times; returns the seconds of processor time.
fn run(binding: &Binding, rows: &[Tuple], turns: u64) -> Result<f64, Failure> {
    let began = Worked::so_far();
    for _ in 0..turns {
        for row in rows {
            match binding.up(black_box(row)) {
                Ok(Mapped::Row(row)) => drop(black_box(row)),
                Ok(Mapped::Unknown) | Err(_) => {
                    return Err(Failure::new(
                        Class::Internal,
                        "a row of the benchmark has no value on green",
                    ));
                }
            }
        }
    }
    Ok(began.until_now().as_secs_f64())
}

/// What this thread has used of a processor; other work on the machine does not count. Where the kernel does not tell, the
/// time on the wall stands in.
struct Worked {
    on_processor: Option<Duration>,
    on_wall: Instant,
}

impl Worked {
    fn so_far() -> Worked {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
        let nanoseconds = text.and_then(|text| text.split(' ').next()?.parse().ok());
        Worked { on_processor: nanoseconds.map(Duration::from_nanos), on_wall: Instant::now() }
    }

    fn until_now(&self) -> Duration {
        match (self.on_processor, Worked::so_far().on_processor) {
            (Some(before), Some(now)) if now > before => now - before,
            _ => self.on_wall.elapsed(),
        }
    }
}
