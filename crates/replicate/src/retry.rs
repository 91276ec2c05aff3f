//! What happens after a failure: one exhaustive table.

use understudy_contract::Class;

/// What to do after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Connect again after a pause and go on from the last checkpoint.
    Retry,
    /// Stop. Going on would repeat the failure or make it worse.
    Stop,
}

/// Decides by class alone. The remedy for the operator travels with the failure.
pub const fn decide(class: Class) -> Decision {
    match class {
        Class::Transient => Decision::Retry,
        Class::Configuration
        | Class::Data
        | Class::SchemaChange
        | Class::Diverged
        | Class::Superseded
        | Class::Internal => Decision::Stop,
    }
}
