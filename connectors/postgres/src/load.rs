//! How busy blue is, as far as its statistics views say.

use understudy_contract::Failure;

use crate::wire::Client;

/// How busy a server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerLoad {
    /// Sessions of others that run a statement right now.
    pub active_sessions: u64,
    /// How far the furthest of its physical standbys is behind, in milliseconds; zero without one.
    pub replica_lag_ms: u64,
}

/// An idle standby reports no lag. Readers of logical slots are no standbys.
const LOAD: &str = "\
SELECT (SELECT count(*) FROM pg_catalog.pg_stat_activity a \
         WHERE a.state = 'active' AND a.backend_type = 'client backend' \
           AND NOT pg_catalog.starts_with(coalesce(a.application_name, ''), 'understudy/')), \
       (SELECT coalesce(max(extract(epoch FROM r.replay_lag) * 1000), 0)::bigint FROM pg_catalog.pg_stat_replication r \
         WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_replication_slots s \
                            WHERE s.active_pid = r.pid AND s.slot_type = 'logical'))";

/// Asks a server how busy it is.
pub async fn server_load(client: &mut Client) -> Result<ServerLoad, Failure> {
    let rows =
        client.query(LOAD).await.map_err(|failure| failure.while_doing("ask how busy the server is"))?;
    let row = rows.first().ok_or_else(|| {
        Failure::new(understudy_contract::Class::Internal, "the server answered without a row")
    })?;
    Ok(ServerLoad { active_sessions: row.parse(0)?, replica_lag_ms: row.parse(1)? })
}
