//! Rows that are read from blue beside the topics of others: that they cannot be read is what green waits for.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use understudy_contract::{Class, Failure};
use understudy_control::StatusHandle;
use understudy_kafka::{BlueLook, BlueRows, RowsRead};
use understudy_model::{Key, TableName};

/// Reads rows, and tells the status of those that have to wait.
pub(crate) struct ToldReads<B> {
    rows: B,
    status: StatusHandle,
    waits: Arc<AtomicBool>,
}

impl<B> ToldReads<B> {
    pub(crate) fn new(rows: B, status: StatusHandle) -> ToldReads<B> {
        ToldReads { rows, status, waits: Arc::default() }
    }
}

impl<B: BlueRows> BlueRows for ToldReads<B> {
    fn look(&self) -> Pin<Box<dyn Future<Output = Result<BlueLook, Failure>> + Send>> {
        self.rows.look()
    }

    fn read(
        &self,
        table: TableName,
        keys: Vec<Key>,
    ) -> Pin<Box<dyn Future<Output = Result<RowsRead, Failure>> + Send>> {
        let reading = self.rows.read(table.clone(), keys);
        let (status, waits) = (self.status.clone(), Arc::clone(&self.waits));
        Box::pin(async move {
            let read = reading.await;
            match &read {
                Err(failure) if failure.class() == Class::Transient => {
                    waits.store(true, Ordering::Relaxed);
                    status.waiting_for(vec![format!("blue, to read rows of {table} again: {failure}")]);
                }
                Ok(_) if waits.swap(false, Ordering::Relaxed) => status.waiting_for(Vec::new()),
                Ok(_) | Err(_) => {}
            }
            read
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use understudy_control::Status;
    use understudy_model::Lsn;

    use super::*;

    /// A blue of which rows can be read while it is there.
    struct Blue(Arc<AtomicBool>);

    impl BlueRows for Blue {
        fn look(&self) -> Pin<Box<dyn Future<Output = Result<BlueLook, Failure>> + Send>> {
            Box::pin(async { Ok(BlueLook { end: Lsn::ZERO, confirmed: None }) })
        }

        fn read(
            &self,
            _: TableName,
            _: Vec<Key>,
        ) -> Pin<Box<dyn Future<Output = Result<RowsRead, Failure>> + Send>> {
            let is_there = self.0.load(Ordering::Relaxed);
            Box::pin(async move {
                let away = || Failure::new(Class::Transient, "nobody answers");
                is_there.then_some(RowsRead { rows: Vec::new(), at: Lsn::ZERO }).ok_or_else(away)
            })
        }
    }

    /// Promise 3: an apply whose rows cannot be read says so in its status, for as long as that is so.
    #[tokio::test]
    async fn what_cannot_be_read_is_waited_for() {
        let (status, is_there) = (Status::new("m", "1", Duration::ZERO), Arc::new(AtomicBool::new(false)));
        let rows = ToldReads::new(Blue(Arc::clone(&is_there)), status.clone());
        let read = async || rows.read(TableName::new("public", "t"), Vec::new()).await;
        assert!(read().await.is_err());
        assert_eq!(status.report().waiting_for, ["blue, to read rows of public.t again: nobody answers"]);
        is_there.store(true, Ordering::Relaxed);
        assert!(read().await.is_ok());
        assert!(status.report().waiting_for.is_empty());
        status.waiting_for(vec!["another".to_owned()]);
        assert!(read().await.is_ok());
        assert_eq!(status.report().waiting_for, ["another"]);
    }
}
