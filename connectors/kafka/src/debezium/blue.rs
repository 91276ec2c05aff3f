//! The way back to blue: rows that green lacks are read there by key, since a connector cannot be asked for them.

use std::future::Future;
use std::pin::Pin;

use tokio::sync::mpsc;
use understudy_contract::{AskCapture, Failure, Wanted};
use understudy_model::{Key, Lsn, TableName, Tuple};

/// Looks at blue, beside whatever the connector does there.
pub trait BlueRows: Send + Sync + 'static {
    /// Looks where blue's log is.
    fn look(&self) -> Pin<Box<dyn Future<Output = Result<BlueLook, Failure>> + Send>>;

    /// Reads rows by their keys, under one snapshot.
    fn read(
        &self,
        table: TableName,
        keys: Vec<Key>,
    ) -> Pin<Box<dyn Future<Output = Result<RowsRead, Failure>> + Send>>;
}

/// Where blue's log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlueLook {
    /// Its end: everything that has been committed by now lies before it.
    pub end: Lsn,
    /// How far the connector has confirmed to its slot; `None` where that is not looked at.
    pub confirmed: Option<Lsn>,
}

/// Rows of blue, and when they were read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowsRead {
    /// Those that are there, in the columns of the table.
    pub rows: Vec<Tuple>,
    /// Where blue's log ended after that: whatever they show lies before.
    pub at: Lsn,
}

/// Hands what an apply wants to have read again to the log itself, which places it.
#[derive(Debug, Clone)]
pub struct DebeziumAsk(pub(super) mpsc::Sender<Vec<Wanted>>);

impl AskCapture for DebeziumAsk {
    async fn ask(&mut self, rows: Vec<Wanted>) -> Result<(), Failure> {
        // A log that is gone ends the run by itself; the rows are asked for again by the next one.
        let _ = self.0.send(rows).await;
        Ok(())
    }
}
