//! Progress: what is saved, when it is committed, and what is not.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

use understudy_contract::{ChangeSink, Failure};
use understudy_model::{Checkpoint, Xid};

use super::*;

/// A persist that goes on beside everything else.
type Persist = Pin<Box<dyn Future<Output = Result<Checkpoint, Failure>> + Send>>;

/// How often a persist is started until one is not over at once.
const STARTS_MAX: u32 = 100;

pub(super) async fn what_was_saved_is_claimed<S: SinkUnderTest>(store: &S) -> Verdict {
    let sink = begun(store).await?;
    drop(sink);
    let saved = saved(store).await?;
    ensure(saved.lineage == lineage() && saved.checkpoint == checkpoint(0), "the start is not as recorded")?;
    ensure(saved.unseen.is_none(), "a start knows of no transactions, and says so")?;
    ensure(saved.heals.is_empty() && saved.units.is_empty(), "it is not empty")
}

pub(super) async fn rows_and_progress_are_committed_together<S: SinkUnderTest>(store: &S) -> Verdict {
    let mut sink = begun(store).await?;
    let changes = vec![insert(ITEMS, ["1", "a", "x"]), insert(PLACES, ["1", "east", "b"])];
    sink.apply(transaction(1, changes)).await.map_err(failed)?;
    holds(store, ITEMS, &[["1", "a", "x"]]).await?;
    holds(store, PLACES, &[["1", "east", "b"]]).await?;
    drop(sink);
    let saved = saved(store).await?;
    ensure(saved.checkpoint == checkpoint(1), "the checkpoint is not that of the last commit")?;
    ensure(saved.unseen == Some(vec![Xid::new(501)]), "the unseen transactions are not as in the batch")
}

pub(super) async fn a_part_of_a_transaction_waits_for_its_end<S: SinkUnderTest>(store: &S) -> Verdict {
    let mut sink = begun(store).await?;
    sink.apply(part(1, 0, vec![insert(ITEMS, ["1", "a", "x"])])).await.map_err(failed)?;
    sink.apply(part(1, 1, vec![insert(ITEMS, ["2", "b", "y"])])).await.map_err(failed)?;
    if S::IS_ATOMIC {
        holds(store, ITEMS, &[]).await?;
    }
    let mut end = transaction(1, vec![update(ITEMS, ["1", "c", UNSENT])]);
    end.first_ordinal = 2;
    sink.apply(end).await.map_err(failed)?;
    holds(store, ITEMS, &[["1", "c", "x"], ["2", "b", "y"]]).await?;
    drop(sink);
    ensure(saved(store).await?.checkpoint == checkpoint(1), "the checkpoint is not that of the commit")
}

pub(super) async fn what_was_not_committed_is_forgotten<S: SinkUnderTest>(store: &S) -> Verdict {
    let mut sink = begun(store).await?;
    sink.apply(transaction(1, vec![insert(ITEMS, ["1", "a", "x"])])).await.map_err(failed)?;
    let more = vec![delete(ITEMS, &["1"]), update(ITEMS, ["7", "a", UNSENT])];
    sink.apply(part(2, 0, more.clone())).await.map_err(failed)?;
    drop(sink);
    let mut sink = store.connect().await;
    let saved = sink.claim().await.map_err(failed)?.ok_or("nothing is saved")?;
    ensure(saved.checkpoint == checkpoint(1), "the checkpoint has moved without a commit")?;
    ensure(saved.heals.is_empty(), "a heal outlives its transaction")?;
    if S::IS_ATOMIC {
        holds(store, ITEMS, &[["1", "a", "x"]]).await?;
    }
    let applied = sink.apply(transaction(2, more)).await.map_err(failed)?;
    ensure(applied.heals == [(ITEMS, heal("7"))], "what is applied again reports another heal")?;
    ensure(applied.mismatches == 0, "what is applied again counts as a mismatch")?;
    holds(store, ITEMS, &[]).await
}

pub(super) async fn the_place_in_a_log_is_committed_with_the_checkpoint<S: SinkUnderTest>(
    store: &S,
) -> Verdict {
    let place = |text: &'static [u8]| Some(Cursor(text.into()));
    // Neither text nor short: whatever a log has to say is kept as it is.
    let (first, second) = (place(b"{\"at\": '1'}\\\0\xff"), place(b""));
    let mut sink = begun(store).await?;
    let changes = vec![insert(ITEMS, ["1", "a", "x"])];
    sink.apply(Batch { cursor: first.clone(), ..transaction(1, changes) }).await.map_err(failed)?;
    let more = vec![insert(ITEMS, ["2", "b", "y"])];
    sink.apply(Batch { cursor: second.clone(), ..part(2, 0, more) }).await.map_err(failed)?;
    drop(sink);
    let mut sink = store.connect().await;
    let saved = sink.claim().await.map_err(failed)?.ok_or("nothing is saved")?;
    ensure(saved.checkpoint == checkpoint(1) && saved.cursor == first, "it is not that of the last commit")?;
    sink.apply(Batch { cursor: second.clone(), ..transaction(2, Vec::new()) }).await.map_err(failed)?;
    drop(sink);
    ensure(self::saved(store).await?.cursor == second, "it is not that of a transaction without changes")
}

pub(super) async fn persist_names_what_is_applied<S: SinkUnderTest>(store: &S) -> Verdict {
    let mut sink = begun(store).await?;
    sink.apply(transaction(1, vec![insert(ITEMS, ["1", "a", "x"])])).await.map_err(failed)?;
    sink.apply(transaction(2, Vec::new())).await.map_err(failed)?;
    let durable = sink.persist().await.map_err(failed)?;
    ensure(durable == checkpoint(2), "persist does not name the last checkpoint")
}

pub(super) async fn changes_are_applied_while_persisting<S: SinkUnderTest>(store: &S) -> Verdict {
    let mut sink = begun(store).await?;
    sink.apply(transaction(1, vec![insert(ITEMS, ["1", "a", "x"])])).await.map_err(failed)?;
    let persist = under_way::<S>(&mut sink).await?;
    sink.apply(transaction(2, vec![insert(ITEMS, ["2", "b", "y"])])).await.map_err(failed)?;
    sink.apply(part(3, 0, vec![insert(ITEMS, ["3", "c", "z"])])).await.map_err(failed)?;
    if S::IS_ATOMIC {
        holds(store, ITEMS, &[["1", "a", "x"], ["2", "b", "y"]]).await?;
    }
    let durable = persist.await.map_err(failed)?;
    ensure(durable == checkpoint(1), "persist names what was applied after it was started")?;
    let durable = sink.persist().await.map_err(failed)?;
    ensure(durable == checkpoint(2), "persist does not name the end of the last whole transaction")
}

pub(super) async fn persists_follow_each_other<S: SinkUnderTest>(store: &S) -> Verdict {
    let mut sink = begun(store).await?;
    sink.apply(transaction(1, vec![insert(ITEMS, ["1", "a", "x"])])).await.map_err(failed)?;
    let earlier = under_way::<S>(&mut sink).await?;
    sink.apply(transaction(2, vec![insert(ITEMS, ["2", "b", "y"])])).await.map_err(failed)?;
    let later = sink.persist();
    let (earlier, later) = tokio::join!(earlier, later);
    ensure(earlier.map_err(failed)? == checkpoint(1), "the earlier one does not name what it covers")?;
    ensure(later.map_err(failed)? == checkpoint(2), "the later one does not name what it covers")
}

/// A persist that has been started and, where that takes a while, is not over. A server can be so quick, or we so slow, that one
/// is over at once.
async fn under_way<S: SinkUnderTest>(sink: &mut S::Sink) -> Result<Persist, String> {
    if !S::PERSISTS_LATER {
        return Ok(Box::pin(sink.persist()));
    }
    for _ in 0..STARTS_MAX {
        let mut persist: Persist = Box::pin(sink.persist());
        if !is_over(persist.as_mut()).await {
            return Ok(persist);
        }
    }
    Err("everything is durable at once, so the case shows nothing".to_owned())
}

/// Gets something going, and tells whether that was all there is to it.
async fn is_over(mut doing: Pin<&mut (dyn Future<Output = Result<Checkpoint, Failure>> + Send)>) -> bool {
    poll_fn(|context| Poll::Ready(doing.as_mut().poll(context).is_ready())).await
}
