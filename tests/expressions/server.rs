//! A server that evaluates many expressions in one round trip, and the row that they are evaluated on.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};

use understudy_model::TableName;
use understudy_tests::Session;
use understudy_transform::expr::{
    Collation, Expression, Modifier, NamedType, Problem, Scope, ScopeColumn, SqlType,
};

use crate::edges::{KINDS, mood};

/// What came out of an expression.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Answer {
    /// Its text; `None` for null.
    Value(Option<String>),
    /// The code of a failure.
    Failure(String),
    /// It was not compiled.
    Refused(Problem),
    /// The process would have ended.
    Panic,
}

impl Answer {
    /// The same value, or a failure of the same class.
    pub(crate) fn is_like(&self, other: &Answer) -> bool {
        match (self, other) {
            (Answer::Failure(ours), Answer::Failure(theirs)) => ours.get(..2) == theirs.get(..2),
            (ours, theirs) => ours == theirs,
        }
    }

    /// A failure on a row.
    pub(crate) fn has_failed(&self) -> bool {
        matches!(self, Answer::Failure(_))
    }

    /// A failure with this code.
    pub(crate) fn is_failure(&self, wanted: &str) -> bool {
        matches!(self, Answer::Failure(code) if code == wanted)
    }
}

/// Evaluates each expression by itself and answers N for null, V and the text, or E and the code.
const EVALUATE: &str = r"
CREATE OR REPLACE FUNCTION public.evaluate(expressions text[]) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
  expression text;
  answer text;
BEGIN
  FOREACH expression IN ARRAY expressions LOOP
    BEGIN
      EXECUTE 'SELECT CASE WHEN v IS NULL THEN ''N'' ELSE ''V'' || pg_catalog.format(''%s'', v) END FROM (SELECT ('
        || expression || ') AS v FROM public.sample OFFSET 0) q' INTO answer;
    EXCEPTION WHEN OTHERS THEN
      answer := 'E' || SQLSTATE;
    END;
    RETURN NEXT answer;
  END LOOP;
END $$";

/// As the connection to blue sets them.
const SETTINGS: &str = "SET client_encoding = 'UTF8'; SET DateStyle = 'ISO, MDY'; SET IntervalStyle = 'postgres'; \
    SET extra_float_digits = 3; SET bytea_output = 'hex'; SET TimeZone = 'UTC'; SET lc_monetary = 'C'; \
    SET search_path = ''; SET jit = off; SET client_min_messages = 'error'";

/// A server, a table with a column of every type, and the row in it.
pub(crate) struct Server {
    session: Session,
    scope: Scope,
    row: Vec<Option<String>>,
}

/// The column that holds a value of a kind, and the one that holds null.
pub(crate) fn columns(at: usize) -> [String; 2] {
    [format!("c{at}"), format!("n{at}")]
}

impl Server {
    /// Prepares a database.
    pub(crate) async fn prepare(mut session: Session) -> Server {
        session.batch(SETTINGS).await;
        let mut sql = String::from(
            "DROP TABLE IF EXISTS public.sample; DROP TYPE IF EXISTS public.mood; \
             CREATE TYPE public.mood AS ENUM ('sad', 'ok', 'Happy day'); CREATE TABLE public.sample (id int",
        );
        let mut scope_columns = Vec::new();
        for (at, kind) in KINDS.iter().enumerate() {
            for name in columns(at) {
                let _ = write!(sql, ", {name} {}", kind.sql);
                let is_string = kind.ty.element().unwrap_or(&kind.ty).is_string();
                scope_columns.push(ScopeColumn {
                    name,
                    ty: kind.ty.clone(),
                    modifier: Modifier::NONE,
                    collation: is_string.then(Collation::bytes),
                });
            }
        }
        session.batch(&format!("{sql})")).await;
        session.batch(EVALUATE).await;
        let name = NamedType { schema: Some("public".to_owned()), name: "mood".to_owned() };
        let types: HashMap<NamedType, SqlType> = [(name, mood())].into_iter().collect();
        let table = TableName::new("public", "sample");
        let collation = Collation::bytes();
        let scope = Scope { table, columns: scope_columns, types, collation, mask_key: None };
        Server { session, scope, row: Vec::new() }
    }

    /// What expressions over the row may name.
    pub(crate) fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Puts other values into the row, given by their places among the edges of each type.
    pub(crate) async fn set_row(&mut self, places: &[usize]) {
        let values = KINDS.iter().zip(places).map(|(kind, at)| {
            let edge = kind.edges[at % kind.edges.len()];
            format!("{}::{}, NULL", quoted(edge), kind.sql)
        });
        let values = values.collect::<Vec<_>>().join(", ");
        self.session
            .batch(&format!("TRUNCATE public.sample; INSERT INTO public.sample VALUES (1, {values})"))
            .await;
        let names = (0..KINDS.len()).flat_map(columns).collect::<Vec<_>>();
        self.row = self
            .on_server(&names)
            .await
            .into_iter()
            .map(|answer| match answer {
                Answer::Value(text) => text,
                other => panic!("a column cannot be read: {other:?}"),
            })
            .collect();
    }

    /// The server's answers.
    pub(crate) async fn on_server(&mut self, expressions: &[String]) -> Vec<Answer> {
        if expressions.is_empty() {
            return Vec::new();
        }
        let list = expressions.iter().map(|expression| quoted(expression)).collect::<Vec<_>>().join(",");
        let answers = self.session.column(&format!("SELECT public.evaluate(ARRAY[{list}]::text[])")).await;
        assert_eq!(answers.len(), expressions.len(), "an answer to each expression");
        let answer = |text: String| match text.split_at_checked(1) {
            Some(("V", value)) => Answer::Value(Some(value.to_owned())),
            Some(("N", _)) => Answer::Value(None),
            Some((_, code)) => Answer::Failure(code.to_owned()),
            None => panic!("an empty answer"),
        };
        answers.into_iter().map(answer).collect()
    }

    /// Our answer.
    pub(crate) fn on_ours(&self, expression: &str) -> Answer {
        let row = self.row.iter().map(|value| value.as_deref().map(Cow::Borrowed)).collect::<Vec<_>>();
        let answer = || match Expression::compile(expression, &self.scope) {
            Err(problem) => Answer::Refused(problem),
            Ok(compiled) => match compiled.evaluate(&row) {
                Ok(text) => Answer::Value(text),
                Err(failure) => Answer::Failure(failure.state().to_string()),
            },
        };
        catch_unwind(AssertUnwindSafe(answer)).unwrap_or(Answer::Panic)
    }
}

/// A literal of SQL.
pub(crate) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
