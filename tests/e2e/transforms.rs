//! Routes with expressions on real servers: split, merge, `where`, new keys, masks, and what goes wrong with them.

use understudy_tests::{Exit, Migration, Pair, Port, Same, Session, Sidecar, assert_same, understudy, until};

mod churn;
mod example;
mod great;
mod opinion;

mod failing;
mod filtered;
mod keys;
mod masked;
mod retyped;
mod told;
mod truncated;

mod refused;

pub(crate) use great::{BLUE as GREAT_BLUE, GREEN as GREAT_GREEN, TABLES as GREAT_TABLES};

/// A schema of its own on the shared servers.
struct Case {
    pair: &'static Pair,
    name: &'static str,
    blue: Session,
    green: Session,
}

impl Case {
    /// Creates the schema and what is in it, on blue and on green.
    async fn open(name: &'static str, blue_sql: &str, green_sql: &str) -> Option<Case> {
        let pair = Pair::shared()?;
        let schema = name.replace('-', "_");
        let (mut blue, mut green) = (pair.on_blue().await, pair.on_green().await);
        for (session, sql) in [(&mut blue, blue_sql), (&mut green, green_sql)] {
            session.batch(&format!("CREATE SCHEMA {schema}")).await;
            session.batch(&format!("SET search_path = {schema}")).await;
            session.batch(sql).await;
        }
        Some(Case { pair, name, blue, green })
    }

    fn schema(&self) -> String {
        self.name.replace('-', "_")
    }

    /// A migration with these entries of `tables`, in which `@.` stands for the schema and its dot.
    fn migration(&self, entries: &str) -> Migration {
        Migration::between(self.pair, self.name).entry(&entries.replace("@.", &format!("{}.", self.schema())))
    }

    /// Starts the sidecar and waits until every row is copied.
    async fn follow(&mut self, migration: &Migration) -> Sidecar {
        let mut sidecar = Sidecar::start(migration);
        sidecar.wait_copied().await;
        self.settle(&mut sidecar).await;
        sidecar
    }

    /// Waits until green has everything that blue has committed, and no row waits to be read again.
    async fn settle(&mut self, sidecar: &mut Sidecar) {
        sidecar.wait_caught_up(&mut self.blue, &mut self.green).await;
        healed(sidecar, &mut self.green, self.name).await;
    }

    /// Makes changes, each a transaction of its own.
    async fn change(&mut self, changes: &[&str]) {
        for change in changes {
            self.blue.batch(change).await;
        }
    }

    /// Copies, makes changes while the sidecar follows, and makes them once more while it is stopped. After each, green's
    /// table holds what a query gives on blue.
    async fn twice(
        &mut self,
        migration: &Migration,
        changes: &[&str],
        (green, blue): (&str, &str),
    ) -> Sidecar {
        let mut sidecar = self.follow(migration).await;
        self.same(green, blue).await;
        self.change(changes).await;
        self.settle(&mut sidecar).await;
        self.same(green, blue).await;
        sidecar.stop().await;
        self.change(changes).await;
        let mut sidecar = Sidecar::start(migration);
        self.settle(&mut sidecar).await;
        self.same(green, blue).await;
        sidecar
    }

    /// Fails unless green's table holds what a query gives on blue, and nothing was mended on the way.
    async fn same(&mut self, green: &str, blue: &str) {
        let same = Same { blue: blue.to_owned(), green: green.to_owned() };
        assert_same(&mut self.blue, &mut self.green, &[same]).await;
        let mended = format!(
            "SELECT row_to_json(m)::text FROM understudy.mismatches m WHERE migration = '{}'",
            self.name
        );
        assert_eq!(self.green.column(&mended).await, Vec::<String>::new(), "mended rows");
    }

    /// Ends the sidecar in order and gives the servers back what it held of them.
    async fn close(self, sidecar: Sidecar) {
        let file = sidecar.file.to_string_lossy().into_owned();
        sidecar.stop().await;
        self.abort(&file).await;
    }

    /// Removes what a migration left on the shared servers.
    async fn abort(self, file: &str) {
        let exit = understudy(self.pair.scratch.path(), &["abort", file, "--yes"]).await;
        assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    }

    /// Runs a verb on a migration's file, which nobody listens for.
    async fn verb(&self, migration: &Migration, verb: &[&str]) -> (String, Exit) {
        let file = migration.write(&Port::reserve()).to_string_lossy().into_owned();
        let exit = understudy(self.pair.scratch.path(), &[verb, &[&file]].concat()).await;
        assert!(!exit.stderr.contains("panicked"), "{}", exit.stderr);
        (file, exit)
    }
}

/// Waits until no row of a migration waits to be read again.
async fn healed(sidecar: &mut Sidecar, green: &mut Session, name: &str) {
    let waiting = format!("SELECT count(*) FROM understudy.heals WHERE migration = '{name}'");
    until("every row is whole", async || {
        sidecar.assert_running();
        (green.value(&waiting).await == "0").then_some(())
    })
    .await;
}

/// A key for `mask`, and HMAC by hand.
pub(crate) struct Masking {
    file: String,
    pads: [String; 2],
}

impl Masking {
    pub(crate) const KEY: &str = "a key that only the settings hold";

    pub(crate) fn of(pair: &Pair) -> Masking {
        let file = pair.scratch.path().join("mask.key");
        std::fs::write(&file, Self::KEY).expect("write the key");
        let pads = [0x36_u8, 0x5c].map(|pad| {
            let byte = |at: usize| Self::KEY.as_bytes().get(at).copied().unwrap_or(0) ^ pad;
            (0..64).map(|at| format!("{:02x}", byte(at))).collect()
        });
        Masking { file: file.to_string_lossy().into_owned(), pads }
    }

    /// The section of the migration file.
    pub(crate) fn section(&self) -> String {
        format!("mask: {{ key: {{ file: {} }} }}", self.file)
    }

    /// What masks a text, as SQL.
    fn sql(&self, text: &str) -> String {
        let [inner, outer] = &self.pads;
        format!(
            "encode(sha256('\\x{outer}'::bytea || sha256('\\x{inner}'::bytea || convert_to({text}, 'UTF8'))), 'hex')"
        )
    }

    /// Lets a session run queries that mask.
    async fn tell(&self, session: &mut Session) {
        for (name, value) in ["understudy.mask_inner", "understudy.mask_outer"].iter().zip(&self.pads) {
            session.batch(&format!("SELECT set_config('{name}', '{value}', false)")).await;
        }
    }
}
