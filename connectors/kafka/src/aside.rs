//! Clients that end where that disturbs nobody.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// Pause between looks whether others have let go.
const LOOK_PAUSE: Duration = Duration::from_millis(10);

/// How long others may take to let go.
const LET_GO_MAX: Duration = Duration::from_secs(30);

/// Ends a client on a thread for what blocks: that waits for brokers and for the client's own threads. To be dropped last among
/// those who hold the client.
pub(crate) struct EndAside<T: Send + Sync + 'static>(Option<Arc<T>>);

impl<T: Send + Sync + 'static> EndAside<T> {
    pub(crate) fn new(client: &Arc<T>) -> EndAside<T> {
        EndAside(Some(Arc::clone(client)))
    }
}

impl<T: Send + Sync + 'static> Drop for EndAside<T> {
    fn drop(&mut self) {
        let Some(client) = self.0.take() else { return };
        // Without a runtime nobody is disturbed.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn_blocking(move || {
            let began = Instant::now();
            while Arc::strong_count(&client) > 1 && began.elapsed() < LET_GO_MAX {
                thread::sleep(LOOK_PAUSE);
            }
            drop(client);
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    struct Client(mpsc::SyncSender<thread::ThreadId>);

    impl Drop for Client {
        fn drop(&mut self) {
            let _ = self.0.send(thread::current().id());
        }
    }

    /// Guards everything else that runs here: a client that takes its time to end stops no thread that serves others, whoever lets
    /// go of it last.
    #[tokio::test]
    async fn a_client_ends_on_another_thread() {
        let (told, ended) = mpsc::sync_channel(1);
        let client = Arc::new(Client(told));
        let end = EndAside::new(&client);
        drop(end);
        drop(client);
        let thread = tokio::task::spawn_blocking(move || ended.recv_timeout(Duration::from_secs(30))).await;
        assert_ne!(thread.unwrap().unwrap(), thread::current().id());
    }
}
