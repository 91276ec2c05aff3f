//! Clients that end where that disturbs nobody.

use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

/// Pause between looks whether others have let go.
const LOOK_PAUSE: Duration = Duration::from_millis(10);

/// How long others may take to let go.
const LET_GO_MAX: Duration = Duration::from_secs(30);

/// Ends a client on a thread for what blocks: that waits for brokers and for the client's own threads. To be dropped last among
/// those who hold the client.
pub(crate) struct EndAside<T: Send + Sync + 'static> {
    client: Option<Arc<T>>,
    /// Gone at once when this is dropped, while the client may take its time.
    held: Arc<()>,
}

impl<T: Send + Sync + 'static> EndAside<T> {
    pub(crate) fn new(client: &Arc<T>) -> EndAside<T> {
        EndAside { client: Some(Arc::clone(client)), held: Arc::default() }
    }

    /// The client, for those who only look at it.
    pub(crate) fn look_at(&self) -> Looked<T> {
        let client = self.client.as_ref().map(Arc::downgrade).unwrap_or_default();
        Looked { client, held: Arc::downgrade(&self.held) }
    }
}

/// A client, for as long as it is not ended.
pub(crate) struct Looked<T> {
    client: Weak<T>,
    held: Weak<()>,
}

impl<T> Looked<T> {
    /// The client, unless it has been let go of.
    pub(crate) fn get(&self) -> Option<Arc<T>> {
        self.client.upgrade().filter(|_| self.held.strong_count() > 0)
    }
}

impl<T> Clone for Looked<T> {
    fn clone(&self) -> Looked<T> {
        Looked { client: Weak::clone(&self.client), held: Weak::clone(&self.held) }
    }
}

impl<T: Send + Sync + 'static> Drop for EndAside<T> {
    fn drop(&mut self) {
        let Some(client) = self.client.take() else { return };
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
        let looked = end.look_at();
        assert!(looked.get().is_some());
        drop(end);
        assert!(looked.get().is_none(), "it is looked at after its end");
        drop(client);
        let thread = tokio::task::spawn_blocking(move || ended.recv_timeout(Duration::from_secs(30))).await;
        assert_ne!(thread.unwrap().unwrap(), thread::current().id());
    }
}
