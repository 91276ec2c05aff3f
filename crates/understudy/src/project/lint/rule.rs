//! The rules: what each is called, how grave it is, and what to write instead.

/// One rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rule {
    /// `CREATE INDEX` without `CONCURRENTLY`.
    IndexNotConcurrent,
    /// `DROP INDEX` without `CONCURRENTLY`.
    DropIndexNotConcurrent,
    /// A column that is `NOT NULL` and has no default.
    AddNotNullWithoutDefault,
    /// A column whose values must be computed row by row.
    AddColumnRewrites,
    /// `ALTER COLUMN ... TYPE`.
    AlterColumnType,
    /// `SET NOT NULL` without a validated check.
    SetNotNull,
    /// A foreign key that is checked at once.
    ForeignKeyValidated,
    /// A check that is checked at once.
    CheckValidated,
    /// A key whose index is built under the lock.
    AddKey,
    /// An exclusion constraint.
    AddExclude,
    /// A table or a column gets another name.
    Rename,
    /// A column goes.
    DropColumn,
    /// A table or a schema goes.
    DropTable,
    /// `CONCURRENTLY` between `BEGIN` and `COMMIT`.
    ConcurrentlyInTransaction,
    /// `LOCK TABLE`.
    LockTable,
    /// `VACUUM FULL` or `CLUSTER`.
    RewritesTable,
    /// `CREATE TABLE` without a primary key.
    TableWithoutPrimaryKey,
    /// Something in the schema `understudy`.
    TouchesBookkeeping,
    /// `UPDATE` or `DELETE` of every row.
    WriteWithoutWhere,
    /// `BEGIN`, `COMMIT` and their like.
    TransactionControl,
    /// A statement outside transactions that a crash would leave in doubt.
    NotResumable,
    /// Commands of psql, and `COPY ... FROM STDIN`.
    ClientCommand,
    /// A comment that allows nothing.
    AllowanceWithoutEffect,
}

impl Rule {
    /// Every rule, in the order of the documentation.
    pub const ALL: [Rule; 23] = [
        Rule::IndexNotConcurrent,
        Rule::DropIndexNotConcurrent,
        Rule::AddNotNullWithoutDefault,
        Rule::AddColumnRewrites,
        Rule::AlterColumnType,
        Rule::SetNotNull,
        Rule::ForeignKeyValidated,
        Rule::CheckValidated,
        Rule::AddKey,
        Rule::AddExclude,
        Rule::Rename,
        Rule::DropColumn,
        Rule::DropTable,
        Rule::LockTable,
        Rule::RewritesTable,
        Rule::TableWithoutPrimaryKey,
        Rule::WriteWithoutWhere,
        Rule::AllowanceWithoutEffect,
        Rule::ConcurrentlyInTransaction,
        Rule::TouchesBookkeeping,
        Rule::TransactionControl,
        Rule::NotResumable,
        Rule::ClientCommand,
    ];

    /// Its stable name, as comments and programs use it.
    pub const fn code(self) -> &'static str {
        match self {
            Rule::IndexNotConcurrent => "index-not-concurrent",
            Rule::DropIndexNotConcurrent => "drop-index-not-concurrent",
            Rule::AddNotNullWithoutDefault => "add-not-null-without-default",
            Rule::AddColumnRewrites => "add-column-rewrites",
            Rule::AlterColumnType => "alter-column-type",
            Rule::SetNotNull => "set-not-null",
            Rule::ForeignKeyValidated => "foreign-key-validated",
            Rule::CheckValidated => "check-validated",
            Rule::AddKey => "add-key",
            Rule::AddExclude => "add-exclude",
            Rule::Rename => "rename",
            Rule::DropColumn => "drop-column",
            Rule::DropTable => "drop-table",
            Rule::ConcurrentlyInTransaction => "concurrently-in-transaction",
            Rule::LockTable => "lock-table",
            Rule::RewritesTable => "rewrites-table",
            Rule::TableWithoutPrimaryKey => "table-without-primary-key",
            Rule::TouchesBookkeeping => "touches-bookkeeping",
            Rule::WriteWithoutWhere => "write-without-where",
            Rule::TransactionControl => "transaction-control",
            Rule::NotResumable => "not-resumable",
            Rule::ClientCommand => "client-command",
            Rule::AllowanceWithoutEffect => "allowance-without-effect",
        }
    }

    /// Whether the file cannot be run with it. Anything else is a warning, and a comment can allow it.
    pub const fn is_fatal(self) -> bool {
        matches!(
            self,
            Rule::ConcurrentlyInTransaction
                | Rule::TouchesBookkeeping
                | Rule::TransactionControl
                | Rule::NotResumable
                | Rule::ClientCommand
        )
    }

    /// What to write instead.
    pub const fn remedy(self) -> &'static str {
        match self {
            Rule::IndexNotConcurrent => "CREATE INDEX CONCURRENTLY, which lets writes go on",
            Rule::DropIndexNotConcurrent => "DROP INDEX CONCURRENTLY",
            Rule::AddNotNullWithoutDefault => {
                "give it a DEFAULT, or add it without NOT NULL, let the mapping fill it, and set NOT NULL in contract.sql"
            }
            Rule::AddColumnRewrites => {
                "add the column without it, set the default afterwards (it then counts for new rows), and let the mapping fill the rest"
            }
            Rule::AlterColumnType => {
                "add a column of the new type and let the mapping fill it; drop the old one in contract.sql"
            }
            Rule::SetNotNull => {
                "ADD CONSTRAINT c CHECK (column IS NOT NULL) NOT VALID, then VALIDATE CONSTRAINT c, then SET NOT NULL, then drop c"
            }
            Rule::ForeignKeyValidated | Rule::CheckValidated => {
                "add it as NOT VALID, and VALIDATE CONSTRAINT in a statement of its own, best in contract.sql"
            }
            Rule::AddKey => {
                "CREATE UNIQUE INDEX CONCURRENTLY i first, then ADD CONSTRAINT c UNIQUE (or PRIMARY KEY) USING INDEX i"
            }
            Rule::AddExclude => {
                "it cannot be added without the lock: give it to a new table, and let the mapping fill that one"
            }
            Rule::Rename => {
                "add the new name beside the old one and let the mapping fill it; drop the old one in contract.sql"
            }
            Rule::DropColumn | Rule::DropTable => "drop it in contract.sql, once nobody goes back to it",
            Rule::ConcurrentlyInTransaction => {
                "leave BEGIN and COMMIT out: the file is then run statement by statement"
            }
            Rule::LockTable => {
                "leave it out: statements take the locks that they need, for no longer than they need them"
            }
            Rule::RewritesTable => "leave it out, or let a new table be filled by the mapping",
            Rule::TableWithoutPrimaryKey => {
                "give it one: rows are found by key, and a way back to blue needs it too"
            }
            Rule::TouchesBookkeeping => {
                "leave it out: the schema understudy holds the state of every migration on green"
            }
            Rule::WriteWithoutWhere => {
                "let the mapping compute the values (`columns:` in understudy.yaml): the copy fills them in small transactions"
            }
            Rule::TransactionControl => {
                "leave it out: the file is run in one transaction, or statement by statement where it must be"
            }
            Rule::NotResumable => "give the index a name; run anything else by hand before the migration",
            Rule::ClientCommand => "write plain SQL; load rows with INSERT, or with a mapping",
            Rule::AllowanceWithoutEffect => {
                "write `-- understudy:allow CODE reason` on the line above the statement"
            }
        }
    }
}
