//! Which cluster, timeline and database a stream comes from, and whether a saved checkpoint still means something there.

use understudy_contract::{Class, Failure, Lineage};
use understudy_model::{Checkpoint, Lsn};

use crate::error::protocol;
use crate::wire::Client;

/// A server's answer to IDENTIFY_SYSTEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Where a stream from this server comes from.
    pub lineage: Lineage,
    /// How far the server's log has been flushed.
    pub flushed: Lsn,
}

/// Asks a server who it is. Needs a replication connection.
pub async fn identify(client: &mut Client, slot: &str) -> Result<Identity, Failure> {
    let rows =
        client.query("IDENTIFY_SYSTEM").await.map_err(|failure| failure.while_doing("identify blue"))?;
    let row = rows.first().ok_or_else(|| protocol("no answer to IDENTIFY_SYSTEM"))?;
    let lineage = Lineage {
        system_id: row.parse(0)?,
        timeline: row.parse(1)?,
        database: row.required(3)?.to_owned(),
        slot: slot.to_owned(),
        publication: None,
    };
    Ok(Identity { lineage, flushed: row.parse(2)? })
}

/// Compares saved state with the server that is there now, and returns the lineage to go on with: the saved one, except
/// that the timeline may have moved on. Needs a replication connection.
///
/// On a newer timeline the checkpoint must not lie beyond the point where that timeline left the saved one.
pub async fn verify(
    client: &mut Client,
    saved: &Lineage,
    checkpoint: Checkpoint,
) -> Result<Lineage, Failure> {
    let now = identify(client, &saved.slot).await?;
    same_place(saved, &now.lineage)?;
    if now.lineage.timeline != saved.timeline {
        let file = client.query(&format!("TIMELINE_HISTORY {}", now.lineage.timeline)).await;
        let file = file.map_err(|failure| failure.while_doing("read blue's timeline history"))?;
        let history = file.first().ok_or_else(|| protocol("no timeline history"))?;
        let switch = left_at(history.required(1)?, saved.timeline).ok_or_else(|| {
            diverged(format!(
                "blue is on timeline {}, which does not descend from {}",
                now.lineage.timeline, saved.timeline
            ))
        })?;
        if checkpoint.lsn() > switch {
            return Err(diverged(format!(
                "green has applied changes up to {checkpoint}, but blue's new timeline {} left the old one at {switch}: \
                 green holds changes that blue has lost",
                now.lineage.timeline
            )));
        }
    }
    if checkpoint.lsn() > now.flushed {
        return Err(diverged(format!(
            "green has applied changes up to {checkpoint}, but blue's log ends at {}: blue was set back",
            now.flushed
        )));
    }
    Ok(Lineage { publication: saved.publication.clone(), ..now.lineage })
}

fn same_place(saved: &Lineage, now: &Lineage) -> Result<(), Failure> {
    if saved.system_id != now.system_id {
        return Err(diverged(format!(
            "blue is another cluster: its system identifier is {}, and this migration began on {}",
            now.system_id, saved.system_id
        )));
    }
    if saved.database != now.database {
        return Err(diverged(format!(
            "blue is another database: \"{}\", and this migration began on \"{}\"",
            now.database, saved.database
        )));
    }
    Ok(())
}

fn diverged(cause: String) -> Failure {
    Failure::new(Class::Diverged, cause).remedy(
        "point blue at the server that this migration began on; if that one is gone for good, changes may be \
         missing: run `understudy abort`, empty green's tables, and run again",
    )
}

/// Where the history of a timeline says that it, or an ancestor of it, left `timeline`.
fn left_at(history: &str, timeline: u32) -> Option<Lsn> {
    history.lines().find_map(|line| {
        let mut fields = line.split_whitespace();
        let parent: u32 = fields.next()?.parse().ok()?;
        let switch = fields.next()?.parse().ok()?;
        (parent == timeline).then_some(switch)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn history_files_tell_where_a_timeline_was_left() {
        let history =
            "1\t0/3000060\tno recovery target specified\n\n# note\n2\t0/5000000\tafter a failover\n";
        assert_eq!(left_at(history, 1), Some(Lsn::new(0x300_0060)));
        assert_eq!(left_at(history, 2), Some(Lsn::new(0x500_0000)));
        assert_eq!(left_at(history, 3), None);
    }

    #[test]
    fn another_cluster_or_database_is_refused() {
        // F9: a slot of the same name elsewhere must never be taken for ours.
        let saved = Lineage {
            system_id: 1,
            timeline: 1,
            database: "a".into(),
            slot: "s".into(),
            publication: Some("1.2".into()),
        };
        assert!(same_place(&saved, &Lineage { timeline: 2, ..saved.clone() }).is_ok());
        for other in
            [Lineage { system_id: 2, ..saved.clone() }, Lineage { database: "b".into(), ..saved.clone() }]
        {
            let failure = same_place(&saved, &other).unwrap_err();
            assert_eq!(failure.class(), Class::Diverged);
            assert!(failure.to_string().contains("blue is another") && failure.remedy_text().is_some());
        }
    }
}
