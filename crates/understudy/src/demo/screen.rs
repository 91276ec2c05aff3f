//! What the person who runs the demonstration sees: steps and progress on stderr, the result on stdout.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// How often progress is shown where lines cannot be written over.
const PLAIN_EVERY: Duration = Duration::from_secs(2);

/// Writes steps and progress. On a terminal progress overwrites itself; elsewhere it is a line now and then.
#[derive(Debug)]
pub struct Screen {
    terminal: bool,
    began: Instant,
    shown: Option<Instant>,
    open: bool,
}

impl Default for Screen {
    fn default() -> Screen {
        Screen::new()
    }
}

impl Screen {
    /// A screen whose clock starts now.
    pub fn new() -> Screen {
        let terminal =
            std::io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        Screen { terminal, began: Instant::now(), shown: None, open: false }
    }

    /// Something has been done or begins.
    pub fn step(&mut self, topic: &str, text: &str) {
        self.end_progress();
        self.write(&format!("{:5.1}s  {topic:<9} {text}\n", self.began.elapsed().as_secs_f64()));
        self.shown = None;
    }

    /// How far something is.
    pub fn progress(&mut self, topic: &str, text: &str) {
        let elapsed = self.began.elapsed().as_secs_f64();
        if self.terminal {
            self.write(&format!("\r\x1b[K{elapsed:5.1}s  {topic:<9} {text}"));
            self.open = true;
        } else if self.shown.is_none_or(|shown| shown.elapsed() >= PLAIN_EVERY) {
            self.write(&format!("{elapsed:5.1}s  {topic:<9} {text}\n"));
            self.shown = Some(Instant::now());
        }
    }

    /// A line of the result.
    pub fn result(&mut self, topic: &str, text: &str) {
        self.end_progress();
        let mut out = std::io::stdout();
        drop(writeln!(out, "  {topic:<18} {text}").and_then(|()| out.flush()));
    }

    fn end_progress(&mut self) {
        if self.open {
            self.write("\n");
            self.open = false;
        }
    }

    /// A screen that went away stops nothing.
    fn write(&self, text: &str) {
        let mut out = std::io::stderr();
        drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
    }
}

/// A count with its thousands apart: 1,234,567.
pub fn thousands(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A duration as a person reads it.
pub fn brief(duration: Duration) -> String {
    let ms = duration.as_secs_f64() * 1000.0;
    match ms {
        ms if ms < 10.0 => format!("{ms:.1} ms"),
        ms if ms < 1000.0 => format!("{ms:.0} ms"),
        ms => format!("{:.1} s", ms / 1000.0),
    }
}

/// How many a second, rounded.
pub fn per_second(count: u64, duration: Duration) -> String {
    let seconds = duration.as_secs_f64().max(0.001);
    thousands((count as f64 / seconds).round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1_234_567), "1,234,567");
        assert_eq!(brief(Duration::from_micros(1250)), "1.2 ms");
        assert_eq!(brief(Duration::from_millis(1250)), "1.2 s");
        assert_eq!(per_second(500, Duration::from_millis(250)), "2,000");
    }
}
