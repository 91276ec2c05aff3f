//! Rows of blue that come to one and the same row of green, or to none that has a name: asked of blue before anything moves.

use understudy_contract::{Class, Failure, Finding, Severity};
use understudy_postgres::error::server_error;
use understudy_postgres::ident::quote_ident;
use understudy_postgres::wire::Client;
use understudy_transform::ColumnSource;
use understudy_transform::expr::MaskKey;

use crate::mapping::Drawn;

/// The whole table is read once by blue itself; where that takes longer it is left to the first copy to find out.
const BEGIN: &str = "BEGIN READ ONLY; SET LOCAL search_path = ''; SET LOCAL lock_timeout = '2s'; \
                     SET LOCAL statement_timeout = '60s'";

/// Lets a session evaluate `mask`.
pub(crate) async fn set_mask_key(blue: &mut Client, key: Option<&MaskKey>) -> Result<(), Failure> {
    let Some(key) = key else { return Ok(()) };
    for (name, value) in key.settings() {
        blue.query_with("SELECT set_config($1, $2, false)", &[Some(name), Some(&value)]).await?;
    }
    Ok(())
}

/// The routes whose key on green is computed, and that rows of blue share a key of. A copy would write one over the other.
pub(crate) async fn collisions(blue: &mut Client, drawn: &[&Drawn<'_>]) -> Result<Vec<Finding>, Failure> {
    let mut findings = Vec::new();
    for one in drawn.iter().filter(|one| !names_every_row(one)) {
        set_mask_key(blue, one.blue.scope.as_ref().and_then(|scope| scope.mask_key.as_ref())).await?;
        blue.batch(BEGIN).await?;
        let asked = ask(blue, one).await;
        blue.batch("ROLLBACK").await?;
        findings.extend(asked.map_err(|failure| {
            failure.while_doing(format!(
                "ask blue whether {} has one row for each key of green",
                one.spec.source
            ))
        })?);
    }
    Ok(findings)
}

/// Whether blue's own key stands in green's, column by column and unchanged: then no two rows come to the same.
fn names_every_row(one: &Drawn<'_>) -> bool {
    let spec = &one.spec;
    let stands = |blue: &String| {
        spec.key.iter().any(|at| spec.columns[*at].from == ColumnSource::Column(blue.clone()))
    };
    spec.key_source.iter().all(stands)
}

async fn ask(blue: &mut Client, one: &Drawn<'_>) -> Result<Option<Finding>, Failure> {
    let spec = &one.spec;
    let query = spec.query(one.green.as_ref(), one.blue.scope.as_ref());
    let key = spec.key.iter().map(|at| quote_ident(&spec.columns[*at].name)).collect::<Vec<_>>();
    let nameless = key.iter().map(|name| format!("{name} IS NULL")).collect::<Vec<_>>().join(" OR ");
    let key = key.join(", ");
    let sql = format!(
        "SELECT coalesce((SELECT 'shared' FROM (\n{query}\n) AS q GROUP BY {key} HAVING count(*) > 1 LIMIT 1), \
         (SELECT 'nameless' FROM (\n{query}\n) AS q WHERE {nameless} LIMIT 1))"
    );
    match blue.query(&sql).await {
        Ok(rows) => Ok(rows.first().and_then(|row| row.text(0)).map(|what| found(one, what, &key))),
        // A row that blue cannot compute is told of where rows are sampled, and when it is copied.
        Err(failure) if failure.class() == Class::Data && !blue.is_broken() => Ok(None),
        Err(failure) if server_error(&failure).is_some_and(|error| error.sqlstate == "57014") => {
            Ok(Some(unknown(one)))
        }
        Err(failure) => Err(failure),
    }
}

fn found(one: &Drawn<'_>, what: &str, key: &str) -> Finding {
    let spec = &one.spec;
    let (what, remedy) = if what == "shared" {
        (
            format!(
                "several rows of it come to one key ({key}) of {} on green: each would be written over the other",
                spec.target
            ),
            "make green's key of all that tells blue's rows apart, or leave the others out with `where`",
        )
    } else {
        (
            format!("rows of it have null in the key ({key}) of {} on green", spec.target),
            "fill the key for every row, with coalesce for example, or leave such rows out with `where`",
        )
    };
    finding(Severity::Error, one, what, remedy)
}

fn unknown(one: &Drawn<'_>) -> Finding {
    let what = format!(
        "whether its rows all come to different keys of {} on green could not be told within 60 s",
        one.spec.target
    );
    finding(
        Severity::Warning,
        one,
        what,
        "count the keys of the mapping's query (understudy plan -o json) on a copy of blue",
    )
}

fn finding(severity: Severity, one: &Drawn<'_>, what: String, remedy: &str) -> Finding {
    Finding {
        severity,
        code: "key-collides",
        subject: format!("blue table {}", one.spec.source),
        what,
        remedy: remedy.to_owned(),
    }
}
