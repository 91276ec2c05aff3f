//! Blue's rows in the forms that items have, so that they compare with those of green.
//!
//! DynamoDB keeps no scale of numbers, no zone of times and no order of keys in documents. What becomes of a value there only
//! the codec knows, so blue's rows are read with their values, and digested here.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use understudy_contract::{
    Answer, BlueRead, BlueRows, Detail, Failure, KeyRange, RangeDigest, RowSeen, Which,
};
use understudy_model::{Key, Nonce, RouteId};

use super::route::{Route, StoredRoute, route, routes};

/// Reads blue's rows by way of another reader, which computes them as green's columns are mapped, and gives each value the form
/// that it is stored in. Rows whose time to live is over count as gone: DynamoDB may remove them from one moment to the next.
pub struct StoredBlueRows<B> {
    inner: B,
    routes: Arc<[Route]>,
}

impl<B: BlueRows> StoredBlueRows<B> {
    /// Wraps a reader of blue for these routes.
    pub fn new(inner: B, stored: &[StoredRoute]) -> Result<StoredBlueRows<B>, Failure> {
        Ok(StoredBlueRows { inner, routes: routes(stored)? })
    }

    async fn read(
        &mut self,
        of: RouteId,
        which: &Which,
        detail: Detail,
    ) -> Result<Answer<BlueRead<Vec<RowSeen>>>, Failure> {
        let read = match self.inner.rows(of, which, Detail::Values).await? {
            Ok(read) => read,
            Err(why) => return Ok(Err(why)),
        };
        let (route, now_s) = (route(&self.routes, of)?, now_s());
        let mut rows = Vec::with_capacity(read.value.len());
        for row in read.value {
            let Some(mut row) = route.of_blue(row, now_s)? else { continue };
            if detail == Detail::Digests {
                row.values = None;
            }
            rows.push(row);
        }
        Ok(Ok(BlueRead { moment: read.moment, value: rows }))
    }
}

/// Seconds since 1970.
pub(super) fn now_s() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

impl<B: BlueRows> BlueRows for StoredBlueRows<B> {
    async fn boundary(
        &mut self,
        route: RouteId,
        after: Option<&Key>,
        rows: u64,
    ) -> Result<Answer<Option<Key>>, Failure> {
        self.inner.boundary(route, after, rows).await
    }

    async fn digest(
        &mut self,
        route: RouteId,
        range: &KeyRange,
    ) -> Result<Answer<BlueRead<RangeDigest>>, Failure> {
        let read = self.read(route, &Which::Range(range.clone()), Detail::Digests).await?;
        Ok(read.map(|read| BlueRead {
            moment: read.moment,
            value: read.value.iter().map(|row| row.digest).collect(),
        }))
    }

    async fn rows(
        &mut self,
        route: RouteId,
        which: &Which,
        detail: Detail,
    ) -> Result<Answer<BlueRead<Vec<RowSeen>>>, Failure> {
        self.read(route, which, detail).await
    }

    async fn mark(&mut self, nonce: Nonce) -> Result<(), Failure> {
        self.inner.mark(nonce).await
    }
}
