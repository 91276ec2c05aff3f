//! How anything fails: what was being done, which class of failure it is, and what an operator does next.

use std::error::Error;
use std::fmt;

use understudy_model::Position;

/// The classes that decide what happens next. The retry table matches them without a wildcard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// A server or the network is away or busy: connect again with back-off, nothing is lost.
    Transient,
    /// Settings, credentials or objects on a server are wrong: stop until they are mended.
    Configuration,
    /// A row cannot be applied as it is.
    Data,
    /// Blue's schema no longer fits the mapping: stop cleanly before the first change that does not fit.
    SchemaChange,
    /// Saved state and the servers disagree: going on could lose changes, so an operator decides.
    Diverged,
    /// Another instance owns the migration now: stop at once.
    Superseded,
    /// A defect of ours, or a server that breaks its protocol.
    Internal,
}

/// A failure with its class and remedy. It never holds a row value.
#[derive(Debug)]
pub struct Failure {
    class: Class,
    /// Verb phrases from the outermost to the innermost: "apply a batch", "insert into public.orders".
    context: Vec<String>,
    cause: String,
    remedy: Option<String>,
    position: Option<Position>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl Failure {
    /// A failure of a class, with its cause as a sentence fragment.
    pub fn new(class: Class, cause: impl Into<String>) -> Failure {
        Failure {
            class,
            context: Vec::new(),
            cause: cause.into(),
            remedy: None,
            position: None,
            source: None,
        }
    }

    /// Adds what was being done, as a verb phrase: "read the slot".
    #[must_use]
    pub fn while_doing(mut self, what: impl Into<String>) -> Failure {
        self.context.insert(0, what.into());
        self
    }

    /// Sets what the operator does next, unless an inner step has said it.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Failure {
        self.remedy.get_or_insert(remedy.into());
        self
    }

    /// Names the change that could not be applied.
    #[must_use]
    pub fn at(mut self, position: Position) -> Failure {
        self.position.get_or_insert(position);
        self
    }

    /// Keeps the native error for logs and for matching.
    #[must_use]
    pub fn caused_by(mut self, source: impl Error + Send + Sync + 'static) -> Failure {
        self.source = Some(Box::new(source));
        self
    }

    /// The class.
    pub const fn class(&self) -> Class {
        self.class
    }

    /// What the operator does next.
    pub fn remedy_text(&self) -> Option<&str> {
        self.remedy.as_deref()
    }

    /// The change that could not be applied.
    pub const fn position(&self) -> Option<Position> {
        self.position
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.context.is_empty() {
            write!(f, "could not {}: ", self.context.join(": "))?;
        }
        f.write_str(&self.cause)?;
        if let Some(position) = self.position {
            write!(
                f,
                " (change {} of the transaction that committed at {})",
                position.ordinal, position.commit
            )?;
        }
        Ok(())
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}
