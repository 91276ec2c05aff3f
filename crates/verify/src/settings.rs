//! How verification is paced, and how people change that while it runs.

use std::time::Duration;

/// What a run of verification is told.
#[derive(Debug, Clone, PartialEq)]
pub struct VerifySettings {
    /// About how many rows are compared at once.
    pub range_rows: u64,
    /// What holds full passes back.
    pub limits: VerifyLimits,
    /// Decides which ranges are read row by row although their digests agree.
    pub seed: u64,
}

/// What holds full passes back. Nothing of it concerns changed rows and open mismatches.
#[derive(Debug, Clone, PartialEq)]
pub struct VerifyLimits {
    /// Most rows per second.
    pub rows_per_second: Option<u64>,
    /// The share of time for which each connection to blue may be kept busy, above 0 and at most 1.
    pub busy: f64,
    /// They wait while more sessions are active on blue.
    pub max_active_sessions: Option<u64>,
    /// They wait while a standby of blue is further behind.
    pub max_replica_lag: Option<Duration>,
    /// Ranges are made smaller when reading one takes longer.
    pub max_read_time: Duration,
    /// They wait while green is further behind.
    pub yield_at_lag: Duration,
    /// Pause between passes. There is none while something has not been verified.
    pub pass_pause: Duration,
}

impl VerifyLimits {
    /// Changes one limit by its name in the migration file. The error says what is allowed.
    pub fn change(&mut self, name: &str, value: &str) -> Result<(), String> {
        let value = value.trim();
        let bad = |allowed: &str| format!("`{name}` cannot be `{value}`: write {allowed}");
        let span = "a duration such as 500ms, 5s or 1m30s";
        match name {
            "rows_per_second" => {
                let allowed = "a whole number above zero, or none";
                self.rows_per_second = number(value, 1).ok_or_else(|| bad(allowed))?;
            }
            "max_active_sessions" => {
                let allowed = "a whole number, or none";
                self.max_active_sessions = number(value, 0).ok_or_else(|| bad(allowed))?;
            }
            "busy" => {
                let share = value.parse::<f64>().ok().filter(|share| (0.001..=1.0).contains(share));
                self.busy = share.ok_or_else(|| bad("a share from 0.001 to 1"))?;
            }
            "max_replica_lag" => {
                let lag = if value == "none" { Some(None) } else { duration(value).map(Some) };
                self.max_replica_lag = lag.ok_or_else(|| bad(&format!("{span}, or none")))?;
            }
            "max_read_time" => self.max_read_time = duration(value).ok_or_else(|| bad(span))?,
            "yield_at_lag" => self.yield_at_lag = duration(value).ok_or_else(|| bad(span))?,
            "pass_pause" => self.pass_pause = duration(value).ok_or_else(|| bad(span))?,
            _ => {
                return Err(format!(
                    "there is no limit `{name}`: those are rows_per_second, busy, max_active_sessions, \
                     max_replica_lag, max_read_time, yield_at_lag and pass_pause"
                ));
            }
        }
        Ok(())
    }
}

/// `none`, or a number of at least `least`.
fn number(text: &str, least: u64) -> Option<Option<u64>> {
    if text == "none" {
        return Some(None);
    }
    text.parse().ok().filter(|number| *number >= least).map(Some)
}

/// `500ms`, `5s`, `1m30s`.
fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total_ms = 0_u64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number = rest[..digits].parse::<u64>().ok()?;
        let after = &rest[digits..];
        let end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let unit_ms = match &after[..end] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return None,
        };
        total_ms = total_ms.checked_add(number.checked_mul(unit_ms)?)?;
        rest = &after[end..];
    }
    (total_ms > 0).then(|| Duration::from_millis(total_ms))
}

/// A duration as people write it.
pub(crate) fn spelled(duration: Duration) -> String {
    let ms = duration.as_millis();
    match ms {
        _ if ms >= 3_600_000 && ms.is_multiple_of(3_600_000) => format!("{}h", ms / 3_600_000),
        _ if ms >= 60_000 && ms.is_multiple_of(60_000) => format!("{}m", ms / 60_000),
        _ if ms >= 1_000 && ms.is_multiple_of(1_000) => format!("{}s", ms / 1_000),
        _ => format!("{ms}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> VerifyLimits {
        VerifyLimits {
            rows_per_second: None,
            busy: 0.5,
            max_active_sessions: None,
            max_replica_lag: Some(Duration::from_secs(3)),
            max_read_time: Duration::from_secs(2),
            yield_at_lag: Duration::from_secs(5),
            pass_pause: Duration::from_secs(60),
        }
    }

    /// Every limit of the migration file can be changed live, and `none` removes those that may be absent.
    #[test]
    fn each_limit_takes_what_the_migration_file_takes() {
        let mut changed = limits();
        for (name, value) in [
            ("rows_per_second", "100"),
            ("busy", "0.25"),
            ("max_active_sessions", "0"),
            ("max_replica_lag", "none"),
            ("max_read_time", "500ms"),
            ("yield_at_lag", "1m30s"),
            ("pass_pause", "1h"),
        ] {
            changed.change(name, value).unwrap();
        }
        let wanted = VerifyLimits {
            rows_per_second: Some(100),
            busy: 0.25,
            max_active_sessions: Some(0),
            max_replica_lag: None,
            max_read_time: Duration::from_millis(500),
            yield_at_lag: Duration::from_secs(90),
            pass_pause: Duration::from_secs(3_600),
        };
        assert_eq!(changed, wanted);
    }

    /// A limit that nobody meant must not take effect, and whoever asked learns what is allowed.
    #[test]
    fn a_bad_limit_is_refused_with_what_is_allowed() {
        for (name, value, allowed) in [
            ("rows_per_second", "0", "above zero"),
            ("busy", "0", "0.001 to 1"),
            ("busy", "NaN", "0.001 to 1"),
            ("max_read_time", "none", "a duration"),
            ("yield_at_lag", "5", "a duration"),
            ("pass_pause", "0s", "a duration"),
            ("max_replica_lag", "99999999999999999999h", "or none"),
            ("speed", "1", "rows_per_second"),
        ] {
            let mut changed = limits();
            let refusal = changed.change(name, value).unwrap_err();
            assert!(refusal.contains(allowed), "{name}={value}: {refusal}");
            assert_eq!(changed, limits(), "{name}={value}");
        }
    }

    /// Reasons quote limits as people wrote them.
    #[test]
    fn durations_are_spelled_in_their_largest_whole_unit() {
        let spelled_ms = |ms| spelled(Duration::from_millis(ms));
        assert_eq!(
            [500, 5_000, 90_000, 120_000, 7_200_000].map(spelled_ms),
            ["500ms", "5s", "90s", "2m", "2h"]
        );
    }
}
