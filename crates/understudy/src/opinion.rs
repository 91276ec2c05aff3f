//! Blue's opinion of the file's expressions: whether it reads them as we do.

use understudy_contract::{Failure, Finding, Severity};
use understudy_postgres::wire::Client;
use understudy_transform::{ColumnSource, Computed};

use crate::collisions::collisions;
use crate::guard::{Disagreement, Guarded, guard};
use crate::mapping::Drawn;

/// The label of the condition among expressions: no column has this name, as it would have to be quoted.
const CONDITION: &str = "(where)";

/// What blue thinks of every expression of these routes, and of the keys that they come to; nothing where it reads all of
/// them as we do, and where no two rows have one key.
pub async fn second_opinion(blue: &mut Client, drawn: &[&Drawn<'_>]) -> Result<Vec<Finding>, Failure> {
    let mut findings = Vec::new();
    for one in drawn {
        let checks = guarded(one);
        let told = guard(blue, &one.spec.source, &checks).await?;
        findings.extend(told.into_iter().map(|told| finding(one, told)));
    }
    // What blue cannot read it cannot compute.
    if findings.is_empty() {
        findings.extend(collisions(blue, drawn).await?);
    }
    Ok(findings)
}

fn guarded(one: &Drawn<'_>) -> Vec<Guarded> {
    let columns = one.spec.columns.iter().filter_map(|column| match &column.from {
        ColumnSource::Computed(computed) => Some((column.name.as_str(), computed)),
        ColumnSource::Column(_) | ColumnSource::Constant(_) => None,
    });
    let filter = one.spec.filter.iter().map(|filter| (CONDITION, filter));
    let guarded = |(label, computed): (&str, &Computed)| {
        Guarded::of(label, computed.expression.text(), one.blue.scope.as_ref()?)
    };
    columns.chain(filter).filter_map(guarded).collect()
}

fn finding(one: &Drawn<'_>, told: Disagreement) -> Finding {
    let column = (told.label != CONDITION).then_some(told.label.as_str());
    let state = told.sqlstate.map(|state| format!(" (SQLSTATE {state})")).unwrap_or_default();
    let problem = one.taken.entry.problem_of(column, format!("blue says: {}{state}", told.message));
    Finding {
        severity: Severity::Error,
        code: "expression-read-otherwise",
        subject: format!("expression over {}", one.spec.source),
        what: problem.to_string(),
        remedy: told.remedy.unwrap_or_else(|| "write it in another way".to_owned()),
    }
}
