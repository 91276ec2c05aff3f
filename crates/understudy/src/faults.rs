//! Defects planted on purpose, so that tests can show that verification finds them. Never for a migration that counts.
//!
//! `UNDERSTUDY_TEST_FAULT` names them, separated by commas: `lose=public.users:3` drops the third change of a table of
//! blue before it reaches green, `double=public.users:3` applies the row of its third change once more after five others
//! of that table, `stale=public.users:3` leaves one column of its third update as it was, `evaluate=public.users.email`
//! appends a letter to what replication computes for a column of green, `swap=public.users.name.email` exchanges what it
//! computes for two of them, and `digest=public.users` falsifies green's digests. While one is armed the log says so at each start, and the gate stays closed.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use understudy_contract::{
    Answer, Applied, Batch, ChangeSink, ChunkDone, Detail, Failure, GreenRead, GreenRows, KeyRange,
    LedgerEntry, Lineage, PlacedChunk, RangeDigest, RowSeen, Saved, Which,
};
use understudy_model::{
    Before, Checkpoint, Key, Lsn, RouteId, RowChange, TableName, Tuple, TupleBuilder, Value,
};
use understudy_transform::RouteSpec;

/// The variable that names the faults.
pub const VARIABLE: &str = "UNDERSTUDY_TEST_FAULT";

/// Changes of its table after which a row is applied once more.
const DOUBLE_AFTER: u64 = 5;

/// The faults of this process: none, unless a test asks for them.
#[derive(Debug, Clone, Default)]
pub struct TestFaults(Option<Arc<Armed>>);

#[derive(Debug)]
struct Armed {
    faults: Vec<Fault>,
    /// How far each of them is, over every attempt of this process.
    progress: Mutex<Vec<Progress>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Fault {
    kind: Kind,
    table: TableName,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    /// The change of this number is dropped.
    Lose(u64),
    /// The row of the change of this number is applied once more later.
    Double(u64),
    /// The update of this number leaves a column as it was.
    Stale(u64),
    /// A letter is appended to this column.
    Evaluate(String),
    /// The values of these two columns are exchanged.
    Swap(String, String),
    /// Digests are false.
    Digest,
}

#[derive(Debug, Clone, Default)]
struct Progress {
    /// Changes counted.
    seen: u64,
    /// The row to be applied once more, and after which change.
    kept: Option<(RowChange, u64)>,
    done: bool,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = &self.table;
        match &self.kind {
            Kind::Lose(at) => write!(f, "lose={table}:{at}"),
            Kind::Double(at) => write!(f, "double={table}:{at}"),
            Kind::Stale(at) => write!(f, "stale={table}:{at}"),
            Kind::Evaluate(column) => write!(f, "evaluate={table}.{column}"),
            Kind::Swap(one, other) => write!(f, "swap={table}.{one}.{other}"),
            Kind::Digest => write!(f, "digest={table}"),
        }
    }
}

impl TestFaults {
    /// Those that the environment of this process names.
    pub fn from_env() -> Result<TestFaults, String> {
        match std::env::var_os(VARIABLE) {
            Some(text) => TestFaults::parse(&text.to_string_lossy()),
            None => Ok(TestFaults::default()),
        }
    }

    /// Those that a text names. None where it is empty.
    pub fn parse(text: &str) -> Result<TestFaults, String> {
        let named = text.split(',').map(str::trim).filter(|one| !one.is_empty());
        let faults = named.map(parse_one).collect::<Result<Vec<_>, _>>()?;
        if faults.is_empty() {
            return Ok(TestFaults::default());
        }
        let progress = Mutex::new(vec![Progress::default(); faults.len()]);
        Ok(TestFaults(Some(Arc::new(Armed { faults, progress }))))
    }

    /// Whether any is armed.
    pub fn armed(&self) -> bool {
        self.0.is_some()
    }

    /// Those that are armed, as they were named.
    pub fn names(&self) -> Vec<String> {
        self.0.iter().flat_map(|armed| armed.faults.iter().map(Fault::to_string)).collect()
    }

    /// Says in the log that green is going to be wrong on purpose.
    pub fn warn(&self) {
        for fault in self.names() {
            tracing::error!(
                %fault,
                "A TEST FAULT IS ARMED: green is made wrong on purpose, and the gate stays closed. If this migration counts, \
                 stop it, take {VARIABLE} out of the environment, and copy its tables anew"
            );
        }
    }

    /// A sink that plants what is armed.
    pub fn sink<K: ChangeSink>(&self, inner: K, routes: &[RouteSpec]) -> FaultySink<K> {
        FaultySink { inner, planted: self.planted(routes) }
    }

    /// A reader of green that plants what is armed.
    pub fn green<G: GreenRows>(&self, inner: G, routes: &[RouteSpec]) -> FaultyGreen<G> {
        FaultyGreen { inner, planted: self.planted(routes) }
    }

    /// What replication makes of a row of blue, as it is planted.
    pub fn evaluated(&self, spec: &RouteSpec, row: Tuple) -> Tuple {
        match &self.0 {
            Some(armed) => Table::of(spec).evaluated(armed, &row).unwrap_or(row),
            None => row,
        }
    }

    fn planted(&self, routes: &[RouteSpec]) -> Option<Box<Planted>> {
        let armed = self.0.clone()?;
        Some(Box::new(Planted { armed, tables: routes.iter().map(Table::of).collect() }))
    }
}

fn parse_one(text: &str) -> Result<Fault, String> {
    let wrong = || {
        format!(
            "{VARIABLE}: `{text}` is none of lose=TABLE:N, double=TABLE:N, stale=TABLE:N, evaluate=TABLE.COLUMN, \
             swap=TABLE.COLUMN.COLUMN and digest=TABLE"
        )
    };
    let (kind, what) = text.split_once('=').ok_or_else(wrong)?;
    let numbered = || {
        let (table, at) = what.split_once(':').ok_or_else(wrong)?;
        Ok::<_, String>((table, at.parse::<u64>().ok().filter(|at| *at > 0).ok_or_else(wrong)?))
    };
    let (kind, table) = match kind {
        "lose" => numbered().map(|(table, at)| (Kind::Lose(at), table))?,
        "double" => numbered().map(|(table, at)| (Kind::Double(at), table))?,
        "stale" => numbered().map(|(table, at)| (Kind::Stale(at), table))?,
        "evaluate" => {
            let (table, column) = what.rsplit_once('.').ok_or_else(wrong)?;
            (Kind::Evaluate(column.to_owned()), table)
        }
        "swap" => {
            let (table, other) = what.rsplit_once('.').ok_or_else(wrong)?;
            let (table, one) = table.rsplit_once('.').ok_or_else(wrong)?;
            (Kind::Swap(one.to_owned(), other.to_owned()), table)
        }
        "digest" => (Kind::Digest, what),
        _ => return Err(wrong()),
    };
    let (schema, name) = table.split_once('.').ok_or_else(wrong)?;
    Ok(Fault { kind, table: TableName::new(schema, name) })
}

/// The faults, and the routes that they may befall.
struct Planted {
    armed: Arc<Armed>,
    tables: Vec<Table>,
}

/// What a fault has to know of a route.
struct Table {
    source: TableName,
    columns: Vec<String>,
    key: Vec<usize>,
}

impl Table {
    fn of(spec: &RouteSpec) -> Table {
        let columns = spec.columns.iter().map(|column| column.name.clone()).collect();
        Table { source: spec.source.clone(), columns, key: spec.key.clone() }
    }

    /// The row as it is planted, with a letter more or with values exchanged; `None` where nothing of that is armed.
    fn evaluated(&self, armed: &Armed, row: &Tuple) -> Option<Tuple> {
        let at = |name: &String| self.columns.iter().position(|column| column == name);
        let mut values = row.values().collect::<Vec<_>>();
        let mut is_spoilt = false;
        for fault in armed.faults.iter().filter(|fault| fault.table == self.source) {
            match &fault.kind {
                Kind::Evaluate(column) => {
                    let Some(value) = at(column).and_then(|at| values.get_mut(at)) else { continue };
                    is_spoilt = true;
                    if let Value::Text(text) = value {
                        *value = Value::Text([&**text, b"x"].concat().into());
                    }
                }
                Kind::Swap(one, other) => {
                    let (Some(one), Some(other)) = (at(one), at(other)) else { continue };
                    is_spoilt = true;
                    values.swap(one, other);
                }
                Kind::Lose(_) | Kind::Double(_) | Kind::Stale(_) | Kind::Digest => {}
            }
        }
        if !is_spoilt {
            return None;
        }
        let mut out = TupleBuilder::with_capacity(row.bytes_len() + 1);
        values.iter().for_each(|value| out.push(value));
        Some(out.finish())
    }

    /// The row without one of its values, so that green keeps the one that it has.
    fn without_a_value(&self, row: &Tuple) -> Option<Tuple> {
        let last = (0..self.columns.len()).rev().find(|at| !self.key.contains(at))?;
        let mut out = TupleBuilder::with_capacity(row.bytes_len());
        for (at, value) in row.values().enumerate() {
            out.push(if at == last { &Value::Unchanged } else { &value });
        }
        Some(out.finish())
    }
}

impl Planted {
    fn table(&self, route: RouteId) -> Option<&Table> {
        self.tables.get(route.index())
    }

    fn spoil(&self, batch: &mut Batch) {
        let mut marks = std::mem::take(&mut batch.commits).into_iter().peekable();
        let changes = std::mem::take(&mut batch.changes);
        let count = changes.len();
        for (at, change) in changes.into_iter().enumerate() {
            while let Some(mark) = marks.next_if(|mark| mark.changes_before <= at) {
                batch
                    .commits
                    .push(understudy_model::CommitMark { changes_before: batch.changes.len(), ..mark });
            }
            self.change(change, &mut batch.changes);
        }
        for mark in marks {
            debug_assert!(mark.changes_before == count, "a commit lies beyond its batch");
            batch.commits.push(understudy_model::CommitMark { changes_before: batch.changes.len(), ..mark });
        }
    }

    /// What becomes of one change.
    fn change(&self, mut change: RowChange, out: &mut Vec<RowChange>) {
        let Some(table) = change.routes().first().and_then(|route| self.table(*route)) else {
            return out.push(change);
        };
        if let RowChange::Insert { new, .. } | RowChange::Update { new, .. } = &mut change
            && let Some(spoilt) = table.evaluated(&self.armed, new)
        {
            *new = spoilt;
        }
        let mut progress = self.armed.progress.lock().unwrap_or_else(PoisonError::into_inner);
        let mut is_lost = false;
        let mut again = None;
        for (fault, progress) in self.armed.faults.iter().zip(progress.iter_mut()) {
            if fault.table != table.source || progress.done {
                continue;
            }
            match fault.kind {
                Kind::Lose(at) => {
                    progress.seen += 1;
                    (is_lost, progress.done) = (progress.seen == at, progress.seen == at);
                }
                Kind::Double(at) => {
                    progress.seen += 1;
                    if progress.kept.is_none() && progress.seen >= at {
                        progress.kept = whole(&change).map(|row| (row, progress.seen + DOUBLE_AFTER));
                    } else if let Some((row, _)) = progress.kept.take_if(|(_, due)| *due <= progress.seen) {
                        (again, progress.done) = (Some(row), true);
                    }
                }
                Kind::Stale(at) => {
                    let RowChange::Update { new, .. } = &mut change else { continue };
                    progress.seen += 1;
                    if progress.seen == at
                        && let Some(row) = table.without_a_value(new)
                    {
                        (*new, progress.done) = (row, true);
                    }
                }
                Kind::Evaluate(_) | Kind::Swap(..) | Kind::Digest => {}
            }
        }
        out.extend((!is_lost).then_some(change).into_iter().chain(again));
    }

    fn spoil_chunk(&self, chunk: &mut PlacedChunk) {
        let Some(table) = self.table(chunk.route) else { return };
        for row in &mut chunk.rows {
            if let Some(spoilt) = table.evaluated(&self.armed, row) {
                *row = spoilt;
            }
        }
    }

    fn falsifies(&self, route: RouteId) -> bool {
        let of = |table: &Table| {
            let is_it = |fault: &Fault| fault.kind == Kind::Digest && fault.table == table.source;
            self.armed.faults.iter().any(is_it)
        };
        self.table(route).is_some_and(of)
    }
}

/// The row that a change brings, to be applied once more; `None` where it brings none as a whole.
fn whole(change: &RowChange) -> Option<RowChange> {
    let (RowChange::Insert { route, new } | RowChange::Update { route, new, .. }) = change else {
        return None;
    };
    let (route, new, before) = (*route, new.clone(), Before::Unknown);
    (!new.has_unchanged()).then_some(RowChange::Update { route, old_key: None, new, blue_key: None, before })
}

/// A sink that gets what is armed instead of what it should.
pub struct FaultySink<K> {
    inner: K,
    planted: Option<Box<Planted>>,
}

impl<K: ChangeSink + 'static> ChangeSink for FaultySink<K> {
    async fn claim(&mut self) -> Result<Option<Saved>, Failure> {
        self.inner.claim().await
    }

    async fn begin(&mut self, lineage: &Lineage, checkpoint: Checkpoint) -> Result<(), Failure> {
        self.inner.begin(lineage, checkpoint).await
    }

    async fn apply(&mut self, mut batch: Batch) -> Result<Applied, Failure> {
        if let Some(planted) = &self.planted {
            planted.spoil(&mut batch);
        }
        self.inner.apply(batch).await
    }

    async fn place(&mut self, mut chunk: PlacedChunk) -> Result<(), Failure> {
        if let Some(planted) = &self.planted {
            planted.spoil_chunk(&mut chunk);
        }
        self.inner.place(chunk).await
    }

    async fn placed(&mut self) -> Result<ChunkDone, Failure> {
        self.inner.placed().await
    }

    async fn record(&mut self, entry: LedgerEntry) -> Result<(), Failure> {
        self.inner.record(entry).await
    }

    fn persist(&mut self) -> impl Future<Output = Result<Checkpoint, Failure>> + Send + use<K> + 'static {
        self.inner.persist()
    }

    fn aside(&self) -> u64 {
        self.inner.aside()
    }
}

/// A reader of green that gives what is armed instead of what is there.
pub struct FaultyGreen<G> {
    inner: G,
    planted: Option<Box<Planted>>,
}

impl<G: GreenRows> GreenRows for FaultyGreen<G> {
    async fn boundary(
        &mut self,
        route: RouteId,
        after: Option<&Key>,
        rows: u64,
    ) -> Result<Answer<Option<Key>>, Failure> {
        self.inner.boundary(route, after, rows).await
    }

    async fn digest(
        &mut self,
        route: RouteId,
        range: &KeyRange,
        at_least: Lsn,
    ) -> Result<Answer<GreenRead<RangeDigest>>, Failure> {
        let mut answer = self.inner.digest(route, range, at_least).await?;
        if let (Some(planted), Ok(read)) = (&self.planted, &mut answer)
            && planted.falsifies(route)
        {
            read.value.lower += 1;
        }
        Ok(answer)
    }

    async fn rows(
        &mut self,
        route: RouteId,
        which: &Which,
        detail: Detail,
        at_least: Lsn,
    ) -> Result<Answer<GreenRead<Vec<RowSeen>>>, Failure> {
        self.inner.rows(route, which, detail, at_least).await
    }
}

#[cfg(test)]
mod tests {
    use understudy_model::{CommitMark, Position, Xid};
    use understudy_transform::{BlueTable, Mapping};

    use super::*;

    fn routes() -> Vec<RouteSpec> {
        let name = TableName::new("public", "users");
        let table = BlueTable::named(name.clone(), &["id", "email"], &["id"]);
        vec![RouteSpec::compile(RouteId(0), &table, (name, None), Mapping::default()).unwrap()]
    }

    fn row(id: &str, email: Option<&str>) -> Tuple {
        let mut out = TupleBuilder::default();
        out.push(&Value::Text(id.as_bytes().into()));
        out.push(&email.map_or(Value::Unchanged, |email| Value::Text(email.as_bytes().into())));
        out.finish()
    }

    fn update(id: &str, email: Option<&str>) -> RowChange {
        let (old_key, blue_key, before) = (None, None, Before::Unknown);
        RowChange::Update { route: RouteId(0), old_key, new: row(id, email), blue_key, before }
    }

    /// Each change is a transaction of its own.
    fn spoilt(fault: &str, changes: &[RowChange]) -> (Vec<RowChange>, Vec<usize>) {
        let mark = |at| CommitMark {
            changes_before: at + 1,
            position: Position { commit: Lsn::new(at as u64), ordinal: 1 },
            checkpoint: Checkpoint::at_commit_end(Lsn::new(at as u64 + 1)),
            commit_time_us: 0,
            xid: Xid::new(7),
        };
        let commits = (0..changes.len()).map(mark).collect();
        let mut batch = Batch { changes: changes.to_vec(), commits, ..Batch::default() };
        let faults = TestFaults::parse(fault).unwrap();
        if let Some(planted) = faults.planted(&routes()) {
            planted.spoil(&mut batch);
        }
        (batch.changes, batch.commits.iter().map(|mark| mark.changes_before).collect())
    }

    /// A test that plants a fault must get it, and whoever plants none must get none: not even by a slip of the pen.
    #[test]
    fn only_what_is_named_is_armed() {
        for text in ["", " ", ","] {
            assert!(!TestFaults::parse(text).unwrap().armed(), "{text:?}");
        }
        let all = "lose=public.users:3,double=a.b:1,stale=a.b:2,evaluate=public.users.email,swap=a.b.c.d,digest=a.b";
        assert_eq!(TestFaults::parse(all).unwrap().names().join(","), all);
        for text in [
            "1",
            "lose=users:3",
            "lose=public.users",
            "lose=public.users:0",
            "evaluate=email",
            "swap=a.b.c",
            "gain=a.b:1",
        ] {
            assert!(TestFaults::parse(text).is_err(), "{text:?}");
        }
    }

    /// The planted defects are those that tests of verification name: a change is missing, an old row comes back, a value stays
    /// as it was; and commits still end where their changes do.
    #[test]
    fn changes_are_lost_doubled_and_left_stale_once() {
        let changes = ["a", "b", "c", "d", "e", "f", "g", "h"].map(|email| update("1", Some(email)));
        let (left, commits) = spoilt("lose=public.users:3", &changes);
        assert_eq!((left.len(), &left[2], &commits[..]), (7, &changes[3], &[1, 2, 2, 3, 4, 5, 6, 7][..]));
        let (more, commits) = spoilt("double=public.users:2", &changes);
        assert_eq!((more.len(), &more[7], &commits[..]), (9, &changes[1], &[1, 2, 3, 4, 5, 6, 8, 9][..]));
        let (same, _) = spoilt("stale=public.users:2", &changes);
        assert_eq!((&same[1], &same[2]), (&update("1", None), &changes[2]));
        let (same, _) = spoilt("lose=public.orders:3,digest=public.users", &changes);
        assert_eq!(same, changes);
    }

    /// What is computed for a column is wrong wherever it goes: in changes, in copied rows, and where it is explained.
    #[test]
    fn a_column_is_computed_wrongly_everywhere() {
        let (changes, _) =
            spoilt("evaluate=public.users.email", &[update("1", Some("a")), update("1", None)]);
        assert_eq!(changes, [update("1", Some("ax")), update("1", None)]);
        let faults = TestFaults::parse("evaluate=public.users.email").unwrap();
        assert_eq!(faults.evaluated(&routes()[0], row("1", Some("a"))), row("1", Some("ax")));
        assert_eq!(TestFaults::default().evaluated(&routes()[0], row("1", Some("a"))), row("1", Some("a")));
    }

    /// Two columns that are taken for each other are so wherever they go, also where one of them is not sent: green's own
    /// value of the other then stays.
    #[test]
    fn columns_are_exchanged_everywhere() {
        let swapped = |one: Option<&str>, other: &str| {
            let value = |text: Option<&str>| {
                text.map_or(Value::Unchanged, |text| Value::Text(text.as_bytes().to_vec().into()))
            };
            let mut out = TupleBuilder::default();
            out.push(&value(one));
            out.push(&value(Some(other)));
            out.finish()
        };
        let fault = "swap=public.users.id.email";
        let (changes, _) = spoilt(fault, &[update("1", Some("a")), update("1", None)]);
        let rows = changes.iter().map(|change| match change {
            RowChange::Update { new, .. } => new.clone(),
            _ => panic!("no update"),
        });
        assert_eq!(rows.collect::<Vec<_>>(), [swapped(Some("a"), "1"), swapped(None, "1")]);
        let faults = TestFaults::parse(fault).unwrap();
        assert_eq!(faults.evaluated(&routes()[0], row("1", Some("a"))), swapped(Some("a"), "1"));
        let other = TestFaults::parse("swap=public.users.id.nosuch").unwrap();
        assert_eq!(other.evaluated(&routes()[0], row("1", Some("a"))), row("1", Some("a")));
    }
}
