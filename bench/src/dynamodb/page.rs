//! What calls have come to, as the sidecar's page of metrics says.

use understudy_contract::{Class, Failure};
use understudy_observe::names::{DYNAMODB_CALLS, DYNAMODB_CAPACITY, DYNAMODB_THROTTLED, Metric};

/// What calls have come to.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Spent {
    /// How many there were.
    pub(super) calls: f64,
    /// Units of capacity that writes took.
    pub(super) write_units: f64,
    /// Units of capacity that reads took.
    pub(super) read_units: f64,
    /// How many of the calls were refused for being too many.
    pub(super) throttled: f64,
}

impl Spent {
    /// Reads it from the page.
    pub(super) fn of(page: &str) -> Result<Spent, Failure> {
        Ok(Spent {
            calls: sum(page, &DYNAMODB_CALLS, "")?,
            write_units: sum(page, &DYNAMODB_CAPACITY, "capacity=\"write\"")?,
            read_units: sum(page, &DYNAMODB_CAPACITY, "capacity=\"read\"")?,
            throttled: sum(page, &DYNAMODB_THROTTLED, "")?,
        })
    }

    /// For each of so many rows.
    pub(super) fn per_row(self, rows: u64) -> (f64, f64) {
        (self.calls / rows as f64, self.write_units / rows as f64)
    }
}

/// The sum of the series with a label.
fn sum(page: &str, metric: &Metric, label: &str) -> Result<f64, Failure> {
    let is_meant = |line: &&str| {
        line.strip_prefix(metric.name).is_some_and(|rest| rest.starts_with('{')) && line.contains(label)
    };
    let mut values = Vec::new();
    for line in page.lines().filter(is_meant) {
        let value = line.rsplit_once(' ').and_then(|(_, value)| value.parse::<f64>().ok());
        values.push(value.ok_or_else(|| unreadable(metric))?);
    }
    if values.is_empty() {
        return Err(unreadable(metric));
    }
    Ok(values.iter().sum())
}

fn unreadable(metric: &Metric) -> Failure {
    Failure::new(Class::Internal, format!("the sidecar's page of metrics does not tell {}", metric.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A series of another metric, or reads among writes, would make the sidecar look dearer or cheaper than it is.
    #[test]
    fn only_what_is_meant_is_added() {
        let page = "# TYPE understudy_dynamodb_calls_total counter\n\
            understudy_dynamodb_calls_total{table=\"a\",operation=\"PutItem\"} 40\n\
            understudy_dynamodb_calls_total{table=\"b\",operation=\"GetItem\"} 2\n\
            understudy_dynamodb_throttled_total{table=\"a\",operation=\"PutItem\"} 3\n\
            understudy_dynamodb_consumed_capacity_units_total{table=\"a\",capacity=\"write\"} 80\n\
            understudy_dynamodb_consumed_capacity_units_total{table=\"b\",capacity=\"read\"} 5\n";
        let spent = Spent::of(page).unwrap();
        assert_eq!(spent, Spent { calls: 42.0, write_units: 80.0, read_units: 5.0, throttled: 3.0 });
        assert_eq!(spent.per_row(40), (1.05, 2.0));
        assert!(Spent::of("").is_err(), "what is not told is not zero");
    }
}
