//! The running apply: one loop feeds the core from the log and from green's reports, and asks the capture for rows.

use std::future::Future;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use understudy_contract::{AskCapture, ChangeLog, ChangeSink, Class, Confirm, Failure, LogEvent, Wanted};
use understudy_model::Lsn;

use super::LogCore;
use crate::core::Work;
use crate::pipeline::{
    BATCH_WORTHWHILE_CHANGES, CATALOG_TICKS, EVENTS_PER_TURN, End, Observer, Reread, SEALED_MAX, Ticks,
    after, finish, joined,
};
use crate::writer::{Report, Writer};

/// Rows that the capture is asked for at once.
const ASK_ROWS_MAX: usize = 500;

/// Paces, in ticks.
#[derive(Debug, Clone)]
pub struct LogLimits {
    /// Ticks for which the end of a run waits for green.
    pub grace_ticks: u32,
    /// Ticks after which the capture is asked once more for rows that have not come: at first. Each further pause is twice as
    /// long, up to [`ASK_AGAIN_PAUSES_MAX`] of these, until something has come: who asks a capture that is away for hours
    /// leaves it as many requests to read.
    pub ask_again_ticks: u32,
}

/// The longest pause between two times of asking, in first ones.
const ASK_AGAIN_PAUSES_MAX: u32 = 32;

/// When the capture is asked once more.
#[derive(Debug, Clone, Copy)]
struct Asking {
    /// The pause, in ticks, and what of it is left.
    pause: u32,
    left: u32,
    /// Rows that waited when it was asked last.
    waited: usize,
}

impl Asking {
    fn new(first: u32) -> Asking {
        Asking { pause: first.max(1), left: first.max(1), waited: 0 }
    }

    /// Called at every tick with the number of rows that wait. Whether it is time to ask.
    fn is_due(&mut self, waiting: usize, first: u32) -> bool {
        self.left -= 1;
        if self.left > 0 {
            return false;
        }
        let first = first.max(1);
        let comes = waiting != self.waited;
        self.pause =
            if comes { first } else { (self.pause.saturating_mul(2)).min(first * ASK_AGAIN_PAUSES_MAX) };
        (self.left, self.waited) = (self.pause, waiting);
        waiting > 0
    }

    /// What was wanted has not even been handed on: nobody has failed to answer.
    fn unheard(&mut self, first: u32) {
        self.pause = first.max(1);
        self.left = self.left.min(self.pause);
    }
}

/// Everything a run is made of.
pub struct LogPipeline<L, K, A, O> {
    /// The deciding part.
    pub core: LogCore,
    /// The log, from where green is.
    pub log: L,
    /// Green, already claimed.
    pub sink: K,
    /// The way back to the capture.
    pub ask: A,
    /// Hears what happens.
    pub observer: Arc<O>,
    /// Rows that somebody asks to have read again. It may be closed.
    pub rereads: mpsc::Receiver<Reread>,
    /// Paces.
    pub limits: LogLimits,
}

/// A log keeps what it has for as long as it likes: nobody is told what green has.
struct Unconfirmed;

impl Confirm for Unconfirmed {
    fn confirm(&self, _: Lsn) {}
}

impl<L, K, A, O> LogPipeline<L, K, A, O>
where
    L: ChangeLog,
    K: ChangeSink + 'static,
    A: AskCapture + 'static,
    O: Observer + 'static,
{
    /// Runs until `shutdown` resolves or something fails. `ticks` gives each task its own beat.
    ///
    /// On shutdown, in order: no more events are taken; what is whole is applied; chunks being written are finished; all of it
    /// is made durable. A green that takes nothing is left to itself after a grace.
    pub async fn run<T: Ticks + 'static>(
        self,
        shutdown: impl Future<Output = ()> + Send,
        ticks: impl Fn() -> T,
    ) -> Result<End, Failure> {
        let start = self.core.last_checkpoint();
        let (work, work_queue) = mpsc::channel(1);
        let (report_queue, reports) = mpsc::channel(64);
        let (asks, ask_queue) = mpsc::channel(1);
        let mut asking = JoinSet::new();
        asking.spawn(ask_capture(self.ask, ask_queue));
        let mut writer = JoinSet::new();
        let heard = (Arc::new(Unconfirmed), self.observer.clone());
        let writing = Writer::new(self.sink, heard, report_queue, start, self.core.route_keys());
        writer.spawn(writing.run(work_queue, ticks()));
        let LogLimits { grace_ticks, ask_again_ticks } = self.limits;
        let mut turn = Turn {
            turns_told: self.core.copy_turns(),
            core: self.core,
            observer: self.observer,
            limits: self.limits,
            held: None,
            tick: 0,
            asking: Asking::new(ask_again_ticks),
            quiet_ticks: 0,
            awaits_copy: false,
        };
        let mut inputs = Inputs { log: self.log, reports, rereads: self.rereads, asks };
        let ended = turn.follow(&mut inputs, &work, (&mut asking, &mut writer), shutdown, ticks()).await;
        drop((asking, inputs.asks));
        // What is whole is kept, however the run ended; only a writer that has failed itself takes no more.
        let mut core = turn.core;
        core.seal_last();
        let last = finish(|| core.next_work(), work, inputs.reports, &mut writer);
        let drained = tokio::select! {
            biased;
            drained = last => drained.map(|()| End::InOrder),
            () = after(grace_ticks, ticks()) => Ok(End::GivenUp),
        };
        ended.and(drained)
    }
}

/// Asks for rows, as told, until the queue is closed. What cannot be asked for now is asked for again with what still waits then: green
/// takes whatever else the log brings.
async fn ask_capture<A: AskCapture>(
    mut ask: A,
    mut asks: mpsc::Receiver<Vec<Wanted>>,
) -> Result<(), Failure> {
    while let Some(rows) = asks.recv().await {
        match ask.ask(rows).await {
            Err(failure) if failure.class() == Class::Transient => {}
            asked => asked?,
        }
    }
    Ok(())
}

/// Where events come from, and questions go.
struct Inputs<L> {
    log: L,
    reports: mpsc::Receiver<Report>,
    rereads: mpsc::Receiver<Reread>,
    asks: mpsc::Sender<Vec<Wanted>>,
}

/// The tasks beside the loop.
type Helpers<'a> = (&'a mut JoinSet<Result<(), Failure>>, &'a mut JoinSet<Result<(), Failure>>);

/// The core and what surrounds it while it follows the log.
struct Turn<O> {
    core: LogCore,
    observer: Arc<O>,
    limits: LogLimits,
    /// An event that waits until green has every chunk.
    held: Option<LogEvent>,
    tick: u32,
    asking: Asking,
    /// Ticks since the log has brought anything of a copy, and whether somebody was told that one is awaited.
    quiet_ticks: u32,
    awaits_copy: bool,
    /// The copies that were begun or completed when that was last told.
    turns_told: u64,
}

impl<O: Observer> Turn<O> {
    async fn follow<L: ChangeLog>(
        &mut self,
        inputs: &mut Inputs<L>,
        work: &mpsc::Sender<Work>,
        (asking, writer): Helpers<'_>,
        shutdown: impl Future<Output = ()> + Send,
        mut ticks: impl Ticks,
    ) -> Result<(), Failure> {
        tokio::pin!(shutdown);
        self.core.name_rows(self.observer.wants_changed());
        loop {
            self.tell_turns();
            if work.capacity() > 0
                && !self.core.has_work()
                && !(inputs.log.ready() && self.core.gathered() < BATCH_WORTHWHILE_CHANGES)
            {
                self.core.seal();
            }
            self.release()?;
            let reading = self.held.is_none() && self.core.work_waiting() < SEALED_MAX;
            tokio::select! {
                biased;
                // 1: the end.
                () = &mut shutdown => return Ok(()),
                Some(ended) = writer.join_next() => return joined(ended).and(Err(Failure::new(Class::Internal, "the writer ended early"))),
                Some(ended) = asking.join_next() => joined(ended)?,
                // 2: green is waiting for work.
                Ok(permit) = work.reserve(), if self.core.has_work() => {
                    if let Some(next) = self.core.next_work() {
                        if matches!(next, Work::Batch(_)) {
                            self.core.name_rows(self.observer.wants_changed());
                        }
                        permit.send(next);
                    }
                }
                // 3: what others have done, and ask.
                Some(report) = inputs.reports.recv() => self.on_report(report),
                Ok(permit) = inputs.asks.reserve(), if self.core.wants_rows() => {
                    let wanted = self.core.wanted(ASK_ROWS_MAX);
                    if !wanted.is_empty() {
                        permit.send(wanted);
                    }
                }
                () = ticks.tick() => self.on_tick(),
                Some(reread) = inputs.rereads.recv(), if self.core.takes_rereads() => {
                    // Whole tables only a capture can bring, which is asked for them before an apply starts.
                    if let Reread::Row { route, key } = reread {
                        self.core.reread(route, key);
                    }
                }
                // 4: the log.
                event = inputs.log.next(), if reading => self.on_events(event?, &mut inputs.log).await?,
            }
        }
    }

    /// A copy that begins is told at once: until it is complete, rows that green lacks are no differences.
    fn tell_turns(&mut self) {
        let turns = self.core.copy_turns();
        if std::mem::replace(&mut self.turns_told, turns) != turns {
            self.observer.progress(&self.core.progress());
        }
    }

    /// Takes the event that waits, once green has every chunk.
    fn release(&mut self) -> Result<(), Failure> {
        match self.held.take() {
            Some(event) if self.core.must_wait(&event) => {
                self.held = Some(event);
                Ok(())
            }
            Some(event) => self.take(event),
            None => Ok(()),
        }
    }

    async fn on_events<L: ChangeLog>(&mut self, first: LogEvent, log: &mut L) -> Result<(), Failure> {
        let mut event = first;
        let mut taken = 0;
        loop {
            if self.core.must_wait(&event) {
                self.held = Some(event);
                return Ok(());
            }
            self.take(event)?;
            taken += 1;
            // What is fetched from here on must be taken: nothing else may end the turn after this line.
            if taken == EVENTS_PER_TURN || !log.ready() || self.core.work_waiting() >= SEALED_MAX {
                return Ok(());
            }
            event = log.next().await?;
        }
    }

    fn take(&mut self, event: LogEvent) -> Result<(), Failure> {
        let is_beat = matches!(event, LogEvent::Beat { .. });
        if matches!(event, LogEvent::Rows(_) | LogEvent::Entry(_)) {
            self.quiet_ticks = 0;
        }
        if let LogEvent::Commit { end, .. } | LogEvent::Reached { end } = &event {
            self.observer.received(*end);
        }
        self.core.on_event(event)?;
        if is_beat {
            for beat in self.core.beats_seen() {
                self.observer.beat_seen(beat.nonce, beat.sent_us, beat.at);
            }
        }
        Ok(())
    }

    /// A copy that green needs and that does not come may be one that the capture was never told of.
    fn tell_awaited(&mut self) {
        let is_quiet = self.quiet_ticks >= self.limits.ask_again_ticks;
        let tables = if is_quiet { self.core.tables_to_copy() } else { Vec::new() };
        let awaits = !tables.is_empty();
        if std::mem::replace(&mut self.awaits_copy, awaits) || awaits {
            self.observer.awaits_copy(&tables);
        }
    }

    fn on_report(&mut self, report: Report) {
        match report {
            Report::Applied(applied) => self.core.on_applied(applied),
            Report::Placed(done) => self.core.on_chunk_done(&done),
        }
    }

    fn on_tick(&mut self) {
        self.tick = self.tick.wrapping_add(1);
        self.observer.alive();
        self.core.on_tick();
        if self.tick.is_multiple_of(CATALOG_TICKS) {
            self.observer.progress(&self.core.progress());
            self.tell_awaited();
        }
        self.quiet_ticks = self.quiet_ticks.saturating_add(1);
        if self.core.wants_rows() {
            self.asking.unheard(self.limits.ask_again_ticks);
        }
        if self.asking.is_due(self.core.rows_waiting(), self.limits.ask_again_ticks) {
            self.core.ask_again();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails in these ways, one after the other, and takes what comes then.
    struct Away(Vec<Class>, mpsc::Sender<usize>);

    impl AskCapture for Away {
        async fn ask(&mut self, rows: Vec<Wanted>) -> Result<(), Failure> {
            match self.0.pop() {
                Some(class) => Err(Failure::new(class, "nobody takes requests")),
                None => {
                    self.1.send(rows.len()).await.expect("somebody hears");
                    Ok(())
                }
            }
        }
    }

    /// Guards an apply that can read its log while its requests topic is away: it goes on, with its gate and its verification, and
    /// asks again. What does not pass by itself still ends it.
    #[tokio::test]
    async fn requests_that_are_away_end_nothing() {
        let (told, mut heard) = mpsc::channel(1);
        let (asks, queue) = mpsc::channel(3);
        for _ in 0..2 {
            asks.send(Vec::new()).await.expect("there is room");
        }
        drop(asks);
        ask_capture(Away(vec![Class::Transient], told.clone()), queue).await.expect("it passes");
        assert_eq!(heard.recv().await, Some(0));
        let (asks, queue) = mpsc::channel(1);
        asks.send(Vec::new()).await.expect("there is room");
        let ended = ask_capture(Away(vec![Class::Configuration], told), queue).await;
        assert_eq!(ended.expect_err("it does not").class(), Class::Configuration);
    }

    /// A capture that is away is not left a request for every row twice a minute: what it would have to read again then keeps it
    /// and blue busy for hours. Once rows come it is asked as at first.
    #[test]
    fn a_capture_that_does_not_answer_is_asked_less_and_less() {
        let asked = |asking: &mut Asking, ticks: u32, waiting: usize| {
            (1..=ticks).filter(|_| asking.is_due(waiting, 10)).count()
        };
        let mut asking = Asking::new(10);
        assert_eq!(asked(&mut asking, 10, 5), 1, "the first time");
        assert_eq!(asked(&mut asking, 10, 5), 1, "rows were new then");
        assert!(asked(&mut asking, 10_000, 5) < 10 + 10_000 / 320);
        assert_eq!(asked(&mut asking, 1_000, 5), 3, "every 320 ticks");
        asking.unheard(10);
        assert_eq!(asked(&mut asking, 10, 5), 1, "nobody had been asked: soon again");
        while asked(&mut asking, 1, 4) == 0 {}
        assert_eq!(asked(&mut asking, 10, 4), 1, "some have come");
        assert_eq!(asked(&mut Asking::new(10), 100, 0), 0, "nothing to ask for");
    }
}
