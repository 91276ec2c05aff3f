//! Probes: pairs of queries, one for each side, whose answers are compared as an application would see them.

use std::collections::hash_map::DefaultHasher;
use std::future::Future;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use understudy_model::Lsn;

use crate::{BlueMoment, Failure, GreenMoment};

/// One set of parameters, in text form. Its `Debug` never shows them.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct ProbeParams(Arc<[Option<Box<str>>]>);

impl ProbeParams {
    /// Parameters in the order of their numbers; `None` for null.
    pub fn new(texts: impl IntoIterator<Item = Option<Box<str>>>) -> ProbeParams {
        ProbeParams(texts.into_iter().collect())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Their texts.
    pub fn texts(&self) -> impl ExactSizeIterator<Item = Option<&str>> {
        self.0.iter().map(Option::as_deref)
    }

    /// What may be told of them: the same for the same parameters, in every run.
    pub fn digest(&self) -> u64 {
        digest_of(&self.0)
    }
}

impl std::fmt::Debug for ProbeParams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ProbeParams({} of digest {:016x})", self.len(), self.digest())
    }
}

/// Odd, so that no row is lost on the way, and with bits all over, so that neighbours do not cancel out.
const CHAIN_FACTOR: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;

/// The answer to a query, as digests of its values. It holds no value and no name of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeAnswer {
    ordered: bool,
    /// Zero while there is no row.
    columns: usize,
    rows: u64,
    /// Digests of the rows' values, one row behind the other; `None` when there were more than are kept.
    cells: Option<Vec<u64>>,
    /// Digest over all rows, whatever their order.
    sum: u128,
    /// Digest over all rows in their order.
    chain: u128,
}

/// Where two answers differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnswerDifference {
    /// Rows that blue answered with.
    pub rows_blue: u64,
    /// Rows that green answered with.
    pub rows_green: u64,
    /// The first row that differs, counted from one; where the order of rows does not matter, in blue's answer. `None` where
    /// answers are too large to tell, and where green only has more rows than blue.
    pub row: Option<u64>,
    /// The first column of it that differs, counted from one; `None` where rows have no order, and where that is not known.
    pub column: Option<u64>,
    /// Whether the rows are the same, and only their order is not: rows that the query's ORDER BY leaves equal come in any.
    pub order_only: bool,
}

impl ProbeAnswer {
    /// Values that are kept apart, so that it can be told where answers differ.
    pub const CELLS_MAX: usize = 200_000;
    /// Rows that are kept apart.
    pub const ROWS_MAX: u64 = 10_000;

    /// An answer without rows. Whether the order of rows matters is up to the query.
    pub fn new(ordered: bool) -> ProbeAnswer {
        ProbeAnswer { ordered, columns: 0, rows: 0, cells: Some(Vec::new()), sum: 0, chain: 0 }
    }

    /// Takes the next row in.
    pub fn add<'a>(&mut self, row: impl ExactSizeIterator<Item = Option<&'a str>>) {
        self.columns = self.columns.max(row.len());
        self.rows += 1;
        let kept = self.cells.as_ref().map_or(0, Vec::len);
        if self.rows > Self::ROWS_MAX || kept + row.len() > Self::CELLS_MAX {
            self.cells = None;
        }
        let mut digests = Vec::with_capacity(row.len());
        digests.extend(row.map(|text| digest_of(&text)));
        let row = u128::from(digest_of(&(&digests, 0))) << 64 | u128::from(digest_of(&(&digests, 1)));
        self.sum = self.sum.wrapping_add(row);
        self.chain = self.chain.wrapping_mul(CHAIN_FACTOR).wrapping_add(row);
        if let Some(cells) = &mut self.cells {
            cells.append(&mut digests);
        }
    }

    /// How many rows it has.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Whether both answers say the same. Names of columns do not matter, nor does the number of them where there is no row.
    pub fn agrees(&self, other: &ProbeAnswer) -> bool {
        self.has_rows_of(other) && (!self.ordered || self.chain == other.chain)
    }

    /// How green's answer differs from this one of blue; `None` where it does not.
    pub fn difference(&self, green: &ProbeAnswer) -> Option<AnswerDifference> {
        if self.agrees(green) {
            return None;
        }
        let (row, column) = match (self.by_row(), green.by_row()) {
            (Some(blue), Some(green)) if self.ordered => first_in_order(&blue, &green),
            (Some(blue), Some(green)) => (first_missing(&blue, green), None),
            _ => (None, None),
        };
        let (rows_blue, rows_green) = (self.rows, green.rows);
        Some(AnswerDifference { rows_blue, rows_green, row, column, order_only: self.has_rows_of(green) })
    }

    /// Whether both have the same rows, in whatever order.
    fn has_rows_of(&self, other: &ProbeAnswer) -> bool {
        (self.rows, self.columns, self.sum) == (other.rows, other.columns, other.sum)
    }

    fn by_row(&self) -> Option<Vec<&[u64]>> {
        let cells = self.cells.as_ref()?;
        if self.columns == 0 {
            // Rows without columns are told apart by their number only.
            return Some(Vec::new());
        }
        Some(cells.chunks(self.columns).collect())
    }
}

fn first_in_order(blue: &[&[u64]], green: &[&[u64]]) -> (Option<u64>, Option<u64>) {
    let Some(row) = blue.iter().zip(green).position(|(blue, green)| blue != green) else {
        let shared = blue.len().min(green.len()) as u64;
        return ((blue.len() > green.len()).then_some(shared + 1), None);
    };
    let column = match (blue[row], green[row]) {
        (blue, green) if blue.len() == green.len() => blue.iter().zip(green).position(|(b, g)| b != g),
        _ => None,
    };
    (Some(row as u64 + 1), column.map(|column| column as u64 + 1))
}

fn first_missing(blue: &[&[u64]], mut green: Vec<&[u64]>) -> Option<u64> {
    green.sort_unstable();
    let mut taken = vec![false; green.len()];
    for (at, row) in blue.iter().enumerate() {
        let first = green.partition_point(|other| other < row);
        let same = green[first..].iter().take_while(|other| *other == row).count();
        // Equal rows stand side by side: the first of them that nobody has taken.
        match taken[first..first + same].iter().position(|taken| !taken) {
            Some(free) => taken[first + free] = true,
            None => return Some(at as u64 + 1),
        }
    }
    None
}

/// 64 bits that are the same in every run of the program.
fn digest_of<T: Hash + ?Sized>(value: &T) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// Why there is no answer. None of these is ever agreement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotAnswered {
    /// Somebody holds a table exclusively: ask again later.
    Busy,
    /// Green has not applied what is asked for yet.
    NotYet,
    /// The first copy is not complete, or has not begun.
    NotCopied,
    /// It took longer than the time limit, given in milliseconds.
    TooSlow(u64),
    /// The server refuses the query. The text says why, with the SQLSTATE, and holds no value.
    Refused(String),
}

/// What came of asking.
pub type Tried<T> = Result<T, NotAnswered>;

/// A query to be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeQuery {
    /// The query, with `$1`, `$2` … for parameters.
    pub sql: String,
    /// Whether the order of rows matters.
    pub ordered: bool,
}

/// Blue's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlueAnswer {
    /// When.
    pub moment: BlueMoment,
    /// What.
    pub answer: ProbeAnswer,
    /// How long it took, from sending the query to the end of the answer.
    pub took: Duration,
}

/// Green's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GreenAnswer {
    /// When.
    pub moment: GreenMoment,
    /// What.
    pub answer: ProbeAnswer,
    /// How long it took, from sending the query to the end of the answer.
    pub took: Duration,
    /// Whether replication owes rows to green at that moment: what differs may be theirs.
    pub owed: bool,
}

/// How a plan reads one relation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScannedRelation {
    /// Its schema and name.
    pub name: String,
    /// Rows that it is estimated to hold.
    pub rows: u64,
    /// Whether it is read from its beginning to its end, and not through an index.
    pub sequential: bool,
}

/// Asks blue, on a connection of its own that is made again after a failure.
///
/// - Every answer comes from one short transaction that writes nothing.
/// - After an answer a marker is committed, so that the stream goes beyond its moment also where nobody else writes.
/// - A failure is of the connection; what the server has against a query is no failure.
pub trait BlueProbe: Send {
    /// The rows of a query as sets of parameters, at most a thousand.
    fn sample(&mut self, sql: &str) -> impl Future<Output = Result<Tried<Vec<ProbeParams>>, Failure>> + Send;

    /// Asks a query.
    fn ask(
        &mut self,
        query: &ProbeQuery,
        params: &ProbeParams,
    ) -> impl Future<Output = Result<Tried<BlueAnswer>, Failure>> + Send;

    /// The relations that the query's plan reads, whatever the parameters.
    fn plan(
        &mut self,
        query: &ProbeQuery,
    ) -> impl Future<Output = Result<Tried<Vec<ScannedRelation>>, Failure>> + Send;
}

/// Asks green, on a connection of its own that is made again after a failure.
///
/// - Answer and checkpoint are read in one snapshot, which shows at least everything before `at_least`: asking waits for
///   that a while, and then says [`NotAnswered::NotYet`].
/// - A failure is of the connection; what the server has against a query is no failure.
pub trait GreenProbe: Send {
    /// Asks a query.
    fn ask(
        &mut self,
        query: &ProbeQuery,
        params: &ProbeParams,
        at_least: Lsn,
    ) -> impl Future<Output = Result<Tried<GreenAnswer>, Failure>> + Send;

    /// The relations that the query's plan reads, whatever the parameters.
    fn plan(
        &mut self,
        query: &ProbeQuery,
    ) -> impl Future<Output = Result<Tried<Vec<ScannedRelation>>, Failure>> + Send;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(ordered: bool, rows: &[&[Option<&str>]]) -> ProbeAnswer {
        let mut answer = ProbeAnswer::new(ordered);
        rows.iter().for_each(|row| answer.add(row.iter().copied()));
        answer
    }

    /// Rows without an order agree however they come, and rows with one only in it.
    #[test]
    fn the_order_of_rows_matters_only_where_the_query_has_one() {
        let (a, b): (&[Option<&str>], &[Option<&str>]) = (&[Some("1"), None], &[Some("2"), Some("")]);
        assert!(answer(false, &[a, b, a]).agrees(&answer(false, &[a, a, b])));
        let (one, other) = (answer(true, &[a, b, b]), answer(true, &[a, b, a]));
        let difference = one.difference(&other).unwrap();
        assert_eq!((difference.row, difference.column, difference.order_only), (Some(3), Some(1), false));
        let turned = answer(true, &[a, b]).difference(&answer(true, &[b, a])).unwrap();
        assert!(turned.order_only);
    }

    /// A null, an empty text, a value in the next column and a row too many are differences, each told where it is.
    #[test]
    fn small_differences_are_differences() {
        let null = answer(true, &[&[Some("1"), None]]);
        let empty = answer(true, &[&[Some("1"), Some("")]]);
        let difference = null.difference(&empty).unwrap();
        assert_eq!((difference.row, difference.column), (Some(1), Some(2)));
        assert!(
            !answer(true, &[&[Some("ab"), Some("c")]]).agrees(&answer(true, &[&[Some("a"), Some("bc")]]))
        );
        let (one, two) = (answer(false, &[&[Some("1")]]), answer(false, &[&[Some("1")], &[Some("1")]]));
        let difference = two.difference(&one).unwrap();
        assert_eq!((difference.rows_blue, difference.rows_green, difference.row), (2, 1, Some(2)));
        assert_eq!(one.difference(&two).unwrap().row, None);
        assert_eq!(one.difference(&one), None);
        let (none, some) = (answer(false, &[&[]]), answer(false, &[&[], &[]]));
        assert!(none.difference(&some).is_some());
    }

    /// An answer beyond what is kept is still compared whole: in the order of its rows, or without it.
    #[test]
    fn answers_too_large_to_keep_are_compared_all_the_same() {
        let numbers = || (0..ProbeAnswer::ROWS_MAX + 5).map(|n| n.to_string());
        let of = |ordered, texts: &mut dyn Iterator<Item = String>| {
            let mut answer = ProbeAnswer::new(ordered);
            texts.for_each(|text| answer.add([Some(text.as_str())].into_iter()));
            answer
        };
        let backwards = || numbers().collect::<Vec<_>>().into_iter().rev();
        assert!(of(false, &mut numbers()).agrees(&of(false, &mut backwards())));
        assert!(of(true, &mut numbers()).agrees(&of(true, &mut numbers())));
        assert!(!of(true, &mut numbers()).agrees(&of(true, &mut backwards())));
        let changed = of(false, &mut numbers().map(|text| if text == "9" { "x".to_owned() } else { text }));
        let difference = of(false, &mut numbers()).difference(&changed).unwrap();
        assert_eq!((difference.rows_blue, difference.row), (ProbeAnswer::ROWS_MAX + 5, None));
    }

    /// What is printed in logs and assertions shows no parameter.
    #[test]
    fn parameters_are_not_shown() {
        let params = ProbeParams::new([Some("4711".into()), None]);
        assert!(!format!("{params:?}").contains("4711"));
        assert_eq!(params.digest(), ProbeParams::new([Some("4711".into()), None]).digest());
    }
}
