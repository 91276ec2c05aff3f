//! An apply that builds green anew from the log: where it begins, and when it may ask for rows.

use tokio::sync::watch;
use understudy_contract::{AskCapture, Cursor, Failure, Saved, Wanted};

use super::Attempt;

/// How an apply that builds green anew differs from one that follows.
#[derive(Debug, Clone)]
pub(crate) struct Replaying {
    /// Where it begins on a green that has taken nothing yet; `None`: at the start of the log.
    pub(crate) begin: Option<Cursor>,
    /// Whether what the log held when that began has been applied.
    pub(crate) has_reached: watch::Receiver<bool>,
}

impl Attempt<'_> {
    /// What green remembers, or the place from which it is built anew as long as it remembers none.
    pub(super) fn begin_in_the_middle(&self, saved: Saved) -> Saved {
        let begin = self.options.replay.as_ref().and_then(|replay| replay.begin.clone());
        Saved { cursor: saved.cursor.or(begin), ..saved }
    }

    /// Whether tables that green knows nothing of are copied further on in the log.
    pub(super) fn copies_are_ahead(&self) -> bool {
        self.options.replay.as_ref().is_some_and(|replay| replay.begin.is_some())
    }
}

/// Asks the capture for rows, but not while the log itself may still bring them: of a row that was incomplete when the log was
/// written, a later record mostly has all. What is passed over here is asked for again in time.
#[derive(Debug)]
pub(super) struct Patient<A> {
    inner: A,
    has_reached: Option<watch::Receiver<bool>>,
}

impl<A> Patient<A> {
    pub(super) fn new(inner: A, replay: Option<&Replaying>) -> Patient<A> {
        Patient { inner, has_reached: replay.map(|replay| replay.has_reached.clone()) }
    }
}

impl<A: AskCapture> AskCapture for Patient<A> {
    async fn ask(&mut self, rows: Vec<Wanted>) -> Result<(), Failure> {
        if self.has_reached.as_ref().is_some_and(|reached| !*reached.borrow()) {
            return Ok(());
        }
        self.inner.ask(rows).await
    }
}

#[cfg(test)]
mod tests {
    use understudy_model::{Key, TableName};

    use super::*;

    #[derive(Debug, Default)]
    struct Counting(usize);

    impl AskCapture for Counting {
        async fn ask(&mut self, rows: Vec<Wanted>) -> Result<(), Failure> {
            self.0 += rows.len();
            Ok(())
        }
    }

    /// A log of a billion changes must not have its capture read millions of rows again that a later record brings.
    #[tokio::test]
    async fn nothing_is_asked_for_before_the_end_of_the_log() {
        let (reached, has_reached) = watch::channel(false);
        let replay = Replaying { begin: None, has_reached };
        let mut ask = Patient::new(Counting::default(), Some(&replay));
        let row = Wanted { table: TableName::new("public", "t"), key: Key::from_texts([b"1".as_slice()]) };
        assert!(ask.ask(vec![row.clone()]).await.is_ok());
        assert_eq!(ask.inner.0, 0);
        reached.send_replace(true);
        assert!(ask.ask(vec![row.clone()]).await.is_ok());
        assert_eq!(ask.inner.0, 1);
        let mut follows = Patient::new(Counting::default(), None);
        assert!(follows.ask(vec![row]).await.is_ok());
        assert_eq!(follows.inner.0, 1);
    }
}
