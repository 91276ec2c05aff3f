//! The gates by name, and which checks each of them asks.

/// A gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GateName {
    /// Everything is copied and nothing waits to be mended.
    Backfilled,
    /// And both sides are proved to agree.
    Verified,
    /// And everything else that must hold before the flip, for as long as the policy asks.
    Cutover,
}

/// The checks of [`GateName::Backfilled`].
const BACKFILLED: [&str; 5] = ["test_fault", "replication", "copy", "heals", "quarantine"];

/// Those that [`GateName::Verified`] asks too.
const VERIFIED: [&str; 9] = [
    "verification",
    "mismatches",
    "foreign_writes",
    "pending",
    "suspended",
    "digests",
    "coverage",
    "age",
    "changed_rows",
];

impl GateName {
    /// Every gate.
    pub const ALL: [GateName; 3] = [GateName::Backfilled, GateName::Verified, GateName::Cutover];

    /// Its name in addresses, labels and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            GateName::Backfilled => "backfilled",
            GateName::Verified => "verified",
            GateName::Cutover => "cutover",
        }
    }

    /// The gate of a name.
    pub fn parse(name: &str) -> Option<GateName> {
        GateName::ALL.into_iter().find(|gate| gate.as_str() == name)
    }

    /// Whether the gate asks a check.
    pub fn asks(self, check: &str) -> bool {
        match self {
            GateName::Backfilled => BACKFILLED.contains(&check),
            GateName::Verified => BACKFILLED.contains(&check) || VERIFIED.contains(&check),
            GateName::Cutover => true,
        }
    }

    /// Whether everything must have held for a while. The other two tell of a state that, once reached, is reached.
    pub const fn soaks(self) -> bool {
        match self {
            GateName::Backfilled | GateName::Verified => false,
            GateName::Cutover => true,
        }
    }
}
