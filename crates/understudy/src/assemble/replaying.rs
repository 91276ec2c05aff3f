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
/// written, a later record mostly has all. Whoever asks waits until then.
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
        let Some(has_reached) = &mut self.has_reached else { return self.inner.ask(rows).await };
        // Who watches is gone: the run ends too.
        if has_reached.wait_for(|reached| *reached).await.is_err() {
            return Ok(());
        }
        self.inner.ask(rows).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use understudy_model::{Key, TableName};

    use super::*;

    #[derive(Debug, Default, Clone)]
    struct Counting(Arc<AtomicUsize>);

    impl Counting {
        fn asked(&self) -> usize {
            self.0.load(Ordering::Relaxed)
        }
    }

    impl AskCapture for Counting {
        async fn ask(&mut self, rows: Vec<Wanted>) -> Result<(), Failure> {
            self.0.fetch_add(rows.len(), Ordering::Relaxed);
            Ok(())
        }
    }

    /// A log of a billion changes must not have its capture read millions of rows again that a later record brings; and what is
    /// wanted from early on is asked for as soon as the end is there, not a quarter of an hour later.
    #[tokio::test]
    async fn what_is_wanted_is_asked_for_at_the_end_of_the_log() {
        let (reached, has_reached) = watch::channel(false);
        let replay = Replaying { begin: None, has_reached };
        let counting = Counting::default();
        let mut ask = Patient::new(counting.clone(), Some(&replay));
        let row = Wanted { table: TableName::new("public", "t"), key: Key::from_texts([b"1".as_slice()]) };
        let end = async {
            tokio::task::yield_now().await;
            assert_eq!(counting.asked(), 0);
            reached.send_replace(true);
        };
        let (asked, ()) = tokio::join!(ask.ask(vec![row.clone()]), end);
        assert!(asked.is_ok());
        assert_eq!(counting.asked(), 1);
        assert!(ask.ask(vec![row.clone()]).await.is_ok());
        assert_eq!(counting.asked(), 2);
        let follows = Counting::default();
        assert!(Patient::new(follows.clone(), None).ask(vec![row]).await.is_ok());
        assert_eq!(follows.asked(), 1);
    }
}
