//! Blue's own reading of expressions, beside ours: a text that Postgres refuses, or reads differently, must not be evaluated.

use understudy_contract::{Class, Failure};
use understudy_model::TableName;
use understudy_postgres::error::{class_of, server_error};
use understudy_postgres::ident::quote_table;
use understudy_postgres::wire::{Client, Row};
use understudy_transform::expr::{Expression, Scope, SqlType, bracketed, own_text};

/// An expression over the columns of a table, as it was written and as we read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guarded {
    /// What it is for, to tell it from others.
    pub label: String,
    /// The text as it was written; names of types have their schema in front.
    pub text: String,
    /// The same with brackets around every part, so that there is one way to read it.
    pub bracketed: String,
    /// The type that it has to have, as SQL writes it without a modifier; `None` when any will do.
    pub ty: Option<String>,
}

impl Guarded {
    /// An expression over the columns of a scope, with the type that it has by itself: what stores it may cast it after that.
    /// `None` where it is not understood here.
    pub fn of(label: &str, text: &str, scope: &Scope) -> Option<Guarded> {
        let ty = Expression::compile(text, scope).ok()?.ty().clone();
        Some(Guarded {
            label: label.to_owned(),
            text: own_text(text, scope).ok()?,
            bracketed: bracketed(text, scope).ok()?,
            ty: is_known(&ty).then(|| ty.to_string()),
        })
    }
}

/// Of other types we know no more than that they are there.
fn is_known(ty: &SqlType) -> bool {
    match ty {
        SqlType::Opaque(_) | SqlType::Unknown => false,
        SqlType::Array(element) => is_known(element),
        _ => true,
    }
}

/// An expression that Postgres does not take as we do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disagreement {
    /// The expression's label.
    pub label: String,
    /// The code of the error, where Postgres refuses the text.
    pub sqlstate: Option<String>,
    /// What is the matter.
    pub message: String,
    /// What to do about it.
    pub remedy: Option<String>,
}

/// Nothing is read but the catalog: no statement looks at a row, and none waits long for a lock.
const BEGIN: &str = "BEGIN READ ONLY; SET LOCAL search_path = ''; SET LOCAL jit = off; SET LOCAL lock_timeout = '2s'; \
                     SET LOCAL statement_timeout = '30s'";

/// Asks blue how it reads these expressions over a table. The connection keeps its settings.
///
/// Fails only when blue cannot be asked.
pub async fn guard(
    blue: &mut Client,
    table: &TableName,
    checks: &[Guarded],
) -> Result<Vec<Disagreement>, Failure> {
    if checks.is_empty() {
        return Ok(Vec::new());
    }
    let what = || format!("ask blue how it reads the expressions over {table}");
    blue.batch(BEGIN).await.map_err(|failure| failure.while_doing(what()))?;
    let found = guard_all(blue, table, checks).await;
    blue.batch("ROLLBACK").await.map_err(|failure| failure.while_doing(what()))?;
    found.map_err(|failure| failure.while_doing(what()))
}

async fn guard_all(
    blue: &mut Client,
    table: &TableName,
    checks: &[Guarded],
) -> Result<Vec<Disagreement>, Failure> {
    let from = format!("ONLY {}", quote_table(table));
    // What fails here is not an expression's fault.
    blue.query(&format!("EXPLAIN SELECT FROM {from}")).await?;
    let mut found = Vec::new();
    for check in checks {
        found.extend(disagreement(blue, &from, check).await?);
    }
    Ok(found)
}

async fn disagreement(
    blue: &mut Client,
    from: &str,
    check: &Guarded,
) -> Result<Option<Disagreement>, Failure> {
    let differs = |sqlstate, message: String, remedy: Option<String>| {
        Some(Disagreement { label: check.label.clone(), sqlstate, message, remedy })
    };
    let written = match ask(blue, &explain_sql(&check.text, from)).await? {
        Ok(plan) => plan,
        Err(refusal) => return Ok(differs(Some(refusal.sqlstate), refusal.message, refusal.hint)),
    };
    let brackets = || Some("put brackets around what belongs together".to_owned());
    match ask(blue, &explain_sql(&check.bracketed, from)).await? {
        Ok(read) if texts(&read) == texts(&written) => {}
        Ok(_) => {
            let message = "Postgres reads this differently than understudy".to_owned();
            return Ok(differs(None, message, brackets()));
        }
        Err(refusal) => {
            let message = format!("Postgres refuses this as understudy reads it: {}", refusal.message);
            return Ok(differs(Some(refusal.sqlstate), message, brackets()));
        }
    }
    let Some(wanted) = &check.ty else { return Ok(None) };
    let actual = match ask(blue, &type_sql(&check.text, from)).await? {
        Ok(rows) => rows.first().map_or(Ok(""), |row| row.required(0))?.to_owned(),
        Err(refusal) => return Ok(differs(Some(refusal.sqlstate), refusal.message, refusal.hint)),
    };
    // Names are compared as the catalog has them: we write them without quotes.
    if actual.replace('"', "") == wanted.replace('"', "") {
        return Ok(None);
    }
    let message = format!("Postgres gives this the type {actual}, and understudy {wanted}");
    Ok(differs(None, message, Some(format!("cast it: (...)::{wanted}"))))
}

/// What a server has against a text.
struct Refusal {
    sqlstate: String,
    message: String,
    hint: Option<String>,
}

/// Runs one statement, and leaves the transaction usable where the server refuses it. One that holds several statements is
/// refused.
async fn ask(blue: &mut Client, sql: &str) -> Result<Result<Vec<Row>, Refusal>, Failure> {
    blue.batch("SAVEPOINT asked").await?;
    let failure = match blue.query_with(sql, &[]).await {
        Ok(rows) => {
            blue.batch("RELEASE asked").await?;
            return Ok(Ok(rows));
        }
        Err(failure) => failure,
    };
    let Some(error) = server_error(&failure) else { return Err(failure) };
    if !matches!(class_of(&error.sqlstate), Class::Configuration | Class::Data) {
        return Err(failure);
    }
    let (sqlstate, message, hint) = (error.sqlstate.clone(), error.message.clone(), error.hint.clone());
    blue.batch("ROLLBACK TO asked; RELEASE asked").await?;
    Ok(Err(Refusal { sqlstate, message, hint }))
}

/// The line break ends a comment that the text may end with.
fn explain_sql(text: &str, from: &str) -> String {
    format!("EXPLAIN (VERBOSE, COSTS OFF) SELECT ({text}\n) FROM {from}")
}

/// The type of an expression that is computed on no row: also the planner leaves alone what is asked for no row of.
fn type_sql(text: &str, from: &str) -> String {
    format!("SELECT pg_catalog.pg_typeof((SELECT ({text}\n) FROM {from} LIMIT 0))::pg_catalog.text")
}

fn texts(rows: &[Row]) -> Vec<Option<&str>> {
    rows.iter().map(|row| row.text(0)).collect()
}
