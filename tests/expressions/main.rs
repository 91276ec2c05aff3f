//! Expressions as we evaluate them, beside servers that evaluate the same: the same text, or a failure of the same class.
//!
//! UNDERSTUDY_EXPRESSIONS=n asks for n random expressions on each server, UNDERSTUDY_SEED=n for those of one seed alone.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]
#![allow(clippy::print_stdout, reason = "seeds and failures are shown")]

mod edges;
mod generate;
mod reading;
mod report;
mod server;

use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use understudy_tests::{Pair, Session};
use understudy_transform::expr::functions::Function;

use edges::{KINDS, hints, slot_type};
use generate::{Generator, Term, call, cast, element_types, functions, literal};
use report::Report;
use server::{Answer, Server};

/// Expressions of one round trip.
const BATCH: usize = 250;

/// How many random expressions, unless more or fewer are asked for.
const USUAL: usize = 20_000;

/// The seed, unless another is asked for: what holds on one machine holds on the next.
const SEED_USUAL: u64 = 1;

/// Lists of edge values of one function, unless more are asked for.
const ROWS_USUAL: usize = 60;

/// How many random expressions.
fn asked() -> usize {
    std::env::var("UNDERSTUDY_EXPRESSIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(USUAL)
}

fn seed(version: u32) -> u64 {
    let asked = std::env::var("UNDERSTUDY_SEED").ok().and_then(|text| text.parse().ok());
    let seed = asked.unwrap_or(SEED_USUAL);
    println!("expressions on {version}: UNDERSTUDY_SEED={seed}");
    seed
}

/// A session of its own on the server of a version, in a database of its own. `None` when the server may be skipped.
async fn server(version: u32, database: &str) -> Option<Server> {
    let pair = Pair::shared()?;
    let cluster = if version == 15 { &pair.blue } else { &pair.green };
    Session::open(cluster, "postgres").await.batch(&format!("CREATE DATABASE {database}")).await;
    Some(Server::prepare(Session::open(cluster, database).await).await)
}

/// Compares a batch, and takes apart what differs.
async fn compare(server: &mut Server, batch: Vec<Term>, report: &mut Report) {
    let mut open = batch;
    let mut is_first = true;
    while !open.is_empty() {
        let texts = open.iter().map(Term::sql).collect::<Vec<_>>();
        let theirs = server.on_server(&texts).await;
        let theirs = settled(server, &open, theirs, report).await;
        let mut inner = Vec::new();
        for ((term, text), theirs) in open.iter().zip(&texts).zip(theirs) {
            let ours = server.on_ours(text);
            if report.differs(term, text, (&ours, &theirs), is_first) {
                inner.extend(term.inner().cloned());
            }
        }
        (open, is_first) = (inner, false);
    }
}

/// A server computes constant parts first, and so fails where nobody asked, or is spared a failure beside a constant null.
/// Where a side has failed, the answer counts that the server gives without constants.
async fn settled(
    server: &mut Server,
    terms: &[Term],
    mut theirs: Vec<Answer>,
    report: &mut Report,
) -> Vec<Answer> {
    let ours = terms.iter().map(|term| server.on_ours(&term.sql())).collect::<Vec<_>>();
    let is_doubtful = |at: &usize| {
        let (ours, theirs) = (&ours[*at], &theirs[*at]);
        let is_evaluated = matches!(ours, Answer::Value(_) | Answer::Failure(_));
        is_evaluated && (ours.has_failed() || theirs.has_failed()) && !ours.is_like(theirs)
    };
    let doubtful = (0..terms.len()).filter(is_doubtful).collect::<Vec<_>>();
    for at in doubtful {
        let again = server.on_server(&[terms[at].sql_without_constants()]).await.remove(0);
        if !again.is_like(&theirs[at]) {
            report.is_folded();
            theirs[at] = again;
        }
        // Of two operands that fail, a few functions compute the second first; and constants without a type remain.
        if ours[at].has_failed() && theirs[at].has_failed() || terms[at].has_untyped() {
            let inner = terms[at].all_inner();
            let texts = inner.iter().map(|term| term.sql_without_constants()).collect::<Vec<_>>();
            let failed = |answer: &Answer| {
                answer.has_failed() && (answer.is_like(&ours[at]) || answer.is_like(&theirs[at]))
            };
            let parts = server.on_server(&texts).await;
            let mut both = parts.iter().zip(&inner).filter(|(answer, _)| failed(answer));
            if both.any(|(answer, term)| answer.is_like(&server.on_ours(&term.sql()))) {
                theirs[at] = ours[at].clone();
            }
        }
    }
    theirs
}

async fn random_expressions(version: u32) {
    let Some(mut server) = server(version, "random_expressions").await else { return };
    let mut generator = Generator::new(seed(version), version);
    let mut report = Report::default();
    let mut left = asked();
    while left > 0 {
        let count = left.min(BATCH);
        server.set_row(&generator.row()).await;
        let batch = (0..count).map(|_| generator.expression()).collect();
        compare(&mut server, batch, &mut report).await;
        left -= count;
    }
    report.conclude(&format!("random expressions on {version}"));
}

/// Promise: an expression gives on our side what Postgres would have stored.
#[tokio::test(flavor = "current_thread")]
async fn random_expressions_are_those_of_postgres_15() {
    random_expressions(15).await;
}

/// The same on the newest release.
#[tokio::test(flavor = "current_thread")]
async fn random_expressions_are_those_of_postgres_18() {
    random_expressions(18).await;
}

/// A function with its edge values crossed; of more than two arguments a handful.
fn crossed(function: &Function, random: &mut StdRng) -> Vec<Term> {
    let mut found = Vec::new();
    for element in element_types(function) {
        let mut rows: Vec<Vec<Term>> = vec![Vec::new()];
        for (at, slot) in function.args.iter().enumerate() {
            let any = random.random_range(0..KINDS.len());
            let ty = slot_type(*slot, &element).unwrap_or_else(|| KINDS[any].ty.clone());
            let texts = hints(function.name, at, &ty).unwrap_or_else(|| generate::edges(&ty));
            let mut terms = texts.iter().map(|text| literal(&ty, text)).collect::<Vec<_>>();
            if function.args.len() > 2 {
                terms.shuffle(random);
                terms.truncate(4);
            }
            let longer = |row: &Vec<Term>| {
                let with = |term: &Term| row.iter().cloned().chain([term.clone()]).collect::<Vec<_>>();
                terms.iter().map(with).collect::<Vec<_>>()
            };
            rows = rows.iter().flat_map(longer).collect();
        }
        // All of them in a campaign; otherwise others each time.
        if asked() <= USUAL {
            rows.shuffle(random);
            rows.truncate(ROWS_USUAL);
        }
        found.extend(rows.into_iter().map(|row| call(function, row)));
    }
    found
}

/// Types with something in brackets behind them.
const FITTED: [&str; 10] = [
    "varchar(3)",
    "char(4)",
    "numeric(5,2)",
    "numeric(3,-2)",
    "timestamp(2)",
    "timestamptz(0)",
    "time(1)",
    "timetz(3)",
    "interval(2)",
    "varchar(2)[]",
];

/// Every edge value of a type cast to every other type, where the server has such a cast.
async fn casts(server: &mut Server, version: u32) -> Vec<Term> {
    let is_whole = |sql: &str| matches!(sql, "smallint" | "integer" | "bigint");
    // Postgres 18 alone casts between integers and their bytes.
    let is_new = |from: &str, to: &str| {
        version >= 18 && (is_whole(from) && to == "bytea" || from == "bytea" && is_whole(to))
    };
    let targets = || KINDS.iter().map(|kind| kind.sql).chain(FITTED);
    let all = KINDS.iter().flat_map(|from| targets().map(move |to| (from, to)));
    let pairs = all.filter(|(from, to)| !is_new(from.sql, to)).collect::<Vec<_>>();
    let tried = pairs.iter().map(|(from, to)| cast(&literal(&from.ty, from.edges[0]), to).sql());
    let answers = server.on_server(&tried.collect::<Vec<_>>()).await;
    let known = pairs.into_iter().zip(answers).filter(|(_, answer)| !answer.is_failure("42846"));
    known
        .flat_map(|((from, to), _)| from.edges.iter().map(|text| cast(&literal(&from.ty, text), to)))
        .collect()
}

async fn edge_values(version: u32) {
    let Some(mut server) = server(version, "edge_values").await else { return };
    server.set_row(&vec![0; KINDS.len()]).await;
    let mut random = StdRng::seed_from_u64(seed(version));
    let mut report = Report::default();
    let mut terms = functions(version)
        .into_iter()
        .flat_map(|function| crossed(function, &mut random))
        .collect::<Vec<_>>();
    terms.extend(casts(&mut server, version).await);
    terms.shuffle(&mut random);
    println!("edge values on {version}: {} expressions", terms.len());
    terms.truncate(asked().saturating_mul(10));
    for batch in terms.chunks(BATCH) {
        compare(&mut server, batch.to_vec(), &mut report).await;
    }
    report.conclude(&format!("edge values on {version}"));
}

/// Bounds, signs and special values are where implementations differ.
#[tokio::test(flavor = "current_thread")]
async fn edge_values_are_those_of_postgres_15() {
    edge_values(15).await;
}

/// The same on the newest release.
#[tokio::test(flavor = "current_thread")]
async fn edge_values_are_those_of_postgres_18() {
    edge_values(18).await;
}

/// The comparison itself notices another value, another failure and a refusal.
#[test]
fn a_difference_is_a_failure() {
    let value = |text: &str| Answer::Value(Some(text.to_owned()));
    let failure = |code: &str| Answer::Failure(code.to_owned());
    let differ = [
        (value("1"), value("2")),
        (value("1"), Answer::Value(None)),
        (value("1"), failure("22012")),
        (failure("22012"), value("1")),
        (failure("22012"), failure("54000")),
        (Answer::Panic, value("1")),
    ];
    for (ours, theirs) in differ {
        let mut report = Report::default();
        assert!(
            report.differs(&literal(&KINDS[0].ty, "t"), "x", (&ours, &theirs), true),
            "{ours:?} {theirs:?}"
        );
    }
    let mut report = Report::default();
    let same = (&failure("22012"), &failure("22003"));
    assert!(!report.differs(&literal(&KINDS[0].ty, "t"), "x", same, true));
}
