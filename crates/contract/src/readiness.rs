//! What has to be true of both servers before a flip, beside the data: each check by name, and what was found.

/// One check of both servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ReadinessCheck {
    /// Blue's slot is in use, and its write-ahead log is kept.
    Slot,
    /// No transaction on blue has been open for long.
    LongTransactions,
    /// No transaction on blue is prepared and waits.
    PreparedTransactions,
    /// Sequences of blue have room for the headroom that the flip adds, and green has each.
    Sequences,
    /// Every index of blue's tables has its like on green, and every index there is valid.
    Indexes,
    /// Constraints of blue's tables have their like on green, and all there are validated.
    Constraints,
    /// Green's tables were analysed after their copy.
    Analysed,
    /// Roles that may log in on blue exist on green with the same attributes.
    Roles,
    /// Rights on the migrated tables, sequences and schemas are granted on green as on blue.
    Grants,
    /// Row security and its policies are on green as on blue.
    Policies,
    /// Extensions of blue are on green.
    Extensions,
    /// Limits of green, such as `max_connections`, are no lower than blue's.
    Limits,
    /// What replication does not move is acknowledged: tables outside the migration, large objects, views and the like.
    NotMoved,
}

impl ReadinessCheck {
    /// Every check.
    pub const ALL: [ReadinessCheck; 13] = [
        ReadinessCheck::Slot,
        ReadinessCheck::LongTransactions,
        ReadinessCheck::PreparedTransactions,
        ReadinessCheck::Sequences,
        ReadinessCheck::Indexes,
        ReadinessCheck::Constraints,
        ReadinessCheck::Analysed,
        ReadinessCheck::Roles,
        ReadinessCheck::Grants,
        ReadinessCheck::Policies,
        ReadinessCheck::Extensions,
        ReadinessCheck::Limits,
        ReadinessCheck::NotMoved,
    ];

    /// Its name in reports, labels and the migration file.
    pub const fn as_str(self) -> &'static str {
        match self {
            ReadinessCheck::Slot => "slot",
            ReadinessCheck::LongTransactions => "long_transactions",
            ReadinessCheck::PreparedTransactions => "prepared_transactions",
            ReadinessCheck::Sequences => "sequences",
            ReadinessCheck::Indexes => "indexes",
            ReadinessCheck::Constraints => "constraints",
            ReadinessCheck::Analysed => "analysed",
            ReadinessCheck::Roles => "roles",
            ReadinessCheck::Grants => "grants",
            ReadinessCheck::Policies => "policies",
            ReadinessCheck::Extensions => "extensions",
            ReadinessCheck::Limits => "limits",
            ReadinessCheck::NotMoved => "not_moved",
        }
    }
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lack {
    /// What it is about, by a name that the migration file can acknowledge: `index public.orders_email_idx`.
    pub subject: String,
    /// What is wrong with it, as a sentence.
    pub reason: String,
    /// What the operator does about it: a statement where one does it.
    pub remedy: Option<String>,
}

/// What one check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Everything is as it should be.
    Good,
    /// These are not.
    Lacks(Vec<Lack>),
    /// It could not be told, and why.
    Unknown(String),
    /// Such a migration has nothing to check here, and why.
    Inapplicable(String),
}

/// One check and what it found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readiness {
    /// The check.
    pub check: ReadinessCheck,
    /// What it found.
    pub found: Found,
}
