//! What is known of each probe at one moment.

use understudy_contract::AnswerDifference;

/// A side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProbeSide {
    /// The database that is migrated.
    Blue,
    /// The one that it is migrated to.
    Green,
}

impl ProbeSide {
    /// Its name, also as a label.
    pub const fn as_str(self) -> &'static str {
        match self {
            ProbeSide::Blue => "blue",
            ProbeSide::Green => "green",
        }
    }
}

/// Where a probe stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeState {
    /// Nothing can be said yet, and why.
    Waiting(String),
    /// Both sides have given the same answer to everything asked, and to everything that differed before.
    Agrees,
    /// They have not, for at least one set of parameters.
    Differs,
    /// A side does not answer.
    Failing {
        /// Which.
        side: ProbeSide,
        /// Why, without values.
        why: String,
    },
}

/// Parameters with which the sides differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DifferingSet {
    /// Tells them from others.
    pub params: u64,
    /// Where the answers differ.
    pub difference: AnswerDifference,
}

impl std::fmt::Display for DifferingSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let AnswerDifference { rows_blue, rows_green, row, column, order_only } = self.difference;
        write!(f, "parameters {:016x}: {rows_blue} rows on blue, {rows_green} on green", self.params)?;
        match (row, column) {
            (Some(row), Some(column)) => write!(f, ", first different in row {row}, column {column}")?,
            (Some(row), None) => write!(f, ", first different in row {row}")?,
            (None, _) => {}
        }
        if order_only {
            f.write_str("; the rows are the same and come in another order")?;
        }
        Ok(())
    }
}

/// How long answers took over the last five minutes, in microseconds: upper bounds of the buckets that they fell in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Latency {
    /// How many answers.
    pub count: u64,
    /// Half of them took at most this long.
    pub p50_us: u64,
    /// 99 % of them took at most this long.
    pub p99_us: u64,
}

/// One probe.
#[derive(Debug, Clone, PartialEq)]
pub struct ProbeReport {
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub state: ProbeState,
    /// Askings that came to an end: those that agreed, differed, failed, and those that could not be settled.
    pub asked: u64,
    /// Those that agreed.
    pub agreed: u64,
    /// Those that could not be settled, because blue's answer kept changing.
    pub unsettled: u64,
    /// Sets of parameters that differ; at most twenty.
    pub differing: Vec<DifferingSet>,
    /// Milliseconds since an asking last agreed or differed; `None` when none has.
    pub last_settled_age_ms: Option<u64>,
    /// The age from which on nothing is known any more.
    pub stale_after_ms: u64,
    /// How long blue took; `None` when it gave no answer lately.
    pub blue: Option<Latency>,
    /// How long green took.
    pub green: Option<Latency>,
    /// Where green's plan is worse than blue's.
    pub regressions: Vec<String>,
}

impl ProbeReport {
    /// A probe that nobody has asked yet.
    pub fn waiting(name: &str, why: &str) -> ProbeReport {
        ProbeReport {
            name: name.to_owned(),
            state: ProbeState::Waiting(why.to_owned()),
            asked: 0,
            agreed: 0,
            unsettled: 0,
            differing: Vec::new(),
            last_settled_age_ms: None,
            stale_after_ms: 0,
            blue: None,
            green: None,
            regressions: Vec::new(),
        }
    }

    /// The same report some time later, in which nothing new was learnt.
    #[must_use]
    pub fn aged(mut self, by_ms: u64) -> ProbeReport {
        self.last_settled_age_ms = self.last_settled_age_ms.map(|age| age.saturating_add(by_ms));
        self
    }

    /// Whether the last answers are too old to go by.
    pub fn is_stale(&self) -> bool {
        self.last_settled_age_ms.is_none_or(|age| age > self.stale_after_ms)
    }

    /// Whether both sides are known to agree at present.
    pub fn holds(&self) -> bool {
        self.state == ProbeState::Agrees && !self.is_stale()
    }

    /// Green's median over blue's; `None` while one of them is unknown.
    pub fn ratio_p50(&self) -> Option<f64> {
        Some(self.green?.p50_us as f64 / self.blue?.p50_us as f64)
    }

    /// The same for 99 % of the answers.
    pub fn ratio_p99(&self) -> Option<f64> {
        Some(self.green?.p99_us as f64 / self.blue?.p99_us as f64)
    }
}
