//! Sequences of blue and their likes on green.

use understudy_contract::{Found, ReadinessCheck};

use crate::harness::case;

/// After the flip green draws its own numbers: a sequence that is missing there, or counts otherwise, repeats or skips.
#[tokio::test]
async fn a_sequence_that_green_lacks_is_created_by_the_remedy() {
    let blue = "CREATE TABLE orders (id serial PRIMARY KEY, no int GENERATED ALWAYS AS IDENTITY, gone serial, v text);
        CREATE SEQUENCE \"Odd one\" INCREMENT BY 5; CREATE SEQUENCE round CYCLE; CREATE SEQUENCE good; SELECT nextval('good');
        CREATE TABLE elsewhere (id serial)";
    let green =
        "CREATE SCHEMA app; CREATE TABLE app.orders (key bigint PRIMARY KEY, no int NOT NULL, v text);
        CREATE SEQUENCE app.good; CREATE SEQUENCE \"Odd one\" INCREMENT BY 2; CREATE SEQUENCE round";
    let Some(case) = case("numbers", blue, green).await else { return };
    let case = case.route("orders", "app.orders", &["id=key", "no", "v"]);
    let lacks = case
        .expect(
            ReadinessCheck::Sequences,
            &[
                ("sequence public.orders_id_seq", "has no like on green"),
                ("sequence public.orders_no_seq", "has no like on green"),
                ("sequence public.Odd one", "counts by 2 on green"),
                ("sequence public.round", "does not start over at its end on green"),
            ],
        )
        .await;
    case.mend(ReadinessCheck::Sequences, &lacks).await;
}

/// The flip skips numbers: where they do not fit, in blue's sequence, in green's or in either column, it would fail.
#[tokio::test]
async fn room_counts_steps_directions_and_columns() {
    let blue = "CREATE TABLE t (a bigint, b int, c int, d bigint, e bigint); CREATE SEQUENCE sa MAXVALUE 1500; CREATE SEQUENCE sb;
        CREATE SEQUENCE sc INCREMENT -10 MINVALUE -12000; CREATE SEQUENCE sd; CREATE SEQUENCE fresh MAXVALUE 1001;
        ALTER TABLE t ALTER a SET DEFAULT nextval('sa'), ALTER b SET DEFAULT nextval('sb'), ALTER c SET DEFAULT nextval('sc'),
          ALTER d SET DEFAULT nextval('sd');
        SELECT setval('sa', 500), setval('sb', 2147482647), setval('sc', -2000), setval('sd', 31767)";
    let green = "CREATE TABLE t (a bigint, b bigint, c int, d smallint, e bigint); CREATE SEQUENCE sa; CREATE SEQUENCE sb;
        CREATE SEQUENCE sc INCREMENT -10; CREATE SEQUENCE sd; CREATE SEQUENCE fresh";
    let Some(mut case) = case("room", blue, green).await else { return };
    case = case.route("t", "t", &["a", "b", "c", "d", "e"]);
    case.expect(ReadinessCheck::Sequences, &[]).await;
    case.plan.sequence_headroom = 1001;
    let lacks = case
        .expect(
            ReadinessCheck::Sequences,
            &[
                ("sequence public.sa", "blue's sequence public.sa ends before"),
                ("sequence public.sb", "blue's column public.t.b ends before"),
                ("sequence public.sc", "blue's sequence public.sc ends before"),
                ("sequence public.sd", "green's column public.t.d ends before"),
                ("sequence public.fresh", "blue's sequence public.fresh ends before"),
            ],
        )
        .await;
    for lack in lacks {
        let (side, sql) = lack.remedy.as_deref().unwrap().split_once(": ").unwrap();
        if side == "on blue" { case.on_blue(sql).await } else { case.on_green(sql).await }
    }
    case.expect(ReadinessCheck::Sequences, &[]).await;
    case.on_green("ALTER SEQUENCE sa MAXVALUE 1000 CYCLE").await;
    let gists = [
        ("sequence public.sa", "starts over"),
        ("sequence public.sa", "green's sequence public.sa ends before"),
    ];
    case.expect(ReadinessCheck::Sequences, &gists).await;
}

/// A sequence whose value may not be read is not taken for a new one.
#[tokio::test]
async fn a_value_that_may_not_be_read_makes_the_check_unknown() {
    let sql = "CREATE TABLE t (id serial)";
    let Some(case) = case("veiled", sql, sql).await else { return };
    let case = case.route("t", "t", &["id"]).with_role("veiled_role").await;
    let found = case.found(ReadinessCheck::Sequences).await;
    let Found::Unknown(reason) = &found else { panic!("{found:?}") };
    assert!(
        reason.contains("GRANT SELECT ON SEQUENCE \"public\".\"t_id_seq\" TO \"veiled_role\""),
        "{reason}"
    );
    case.on_blue("GRANT SELECT ON SEQUENCE t_id_seq TO veiled_role").await;
    let gists = [("sequence public.t_id_seq", "may not be set by role veiled_role on green")];
    let lacks = case.expect(ReadinessCheck::Sequences, &gists).await;
    case.mend(ReadinessCheck::Sequences, &lacks).await;
}
