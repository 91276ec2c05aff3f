//! Extensions and settings of both sides.

use std::sync::Arc;

use understudy_contract::ReadinessCheck;

use crate::harness::{case, case_on};
use crate::support::{Cluster, Setup};

/// A function of an extension that green lacks, or has in an older form, fails after the flip.
#[tokio::test]
async fn extensions_that_green_lacks_or_has_older_are_told() {
    let blue =
        "CREATE EXTENSION pg_trgm; CREATE EXTENSION \"uuid-ossp\"; CREATE EXTENSION hstore VERSION '1.4'";
    let green = "CREATE EXTENSION pg_trgm VERSION '1.3'; CREATE EXTENSION hstore; CREATE EXTENSION citext";
    let Some(case) = case("extended", blue, green).await else { return };
    let expected =
        [("extension pg_trgm", "has version 1.3 on green"), ("extension uuid-ossp", "is not on green")];
    let lacks = case.expect(ReadinessCheck::Extensions, &expected).await;
    case.on_green("SET search_path = public; CREATE EXTENSION \"uuid-ossp\"; ALTER EXTENSION pg_trgm UPDATE")
        .await;
    assert_eq!(lacks[1].remedy.as_deref(), Some("CREATE EXTENSION \"uuid-ossp\""));
    assert_eq!(lacks[0].remedy.as_deref(), Some("ALTER EXTENSION \"pg_trgm\" UPDATE"));
    case.expect(ReadinessCheck::Extensions, &[]).await;
}

/// Lower limits on green refuse connections or locks under blue's load.
#[tokio::test]
async fn limits_that_are_lower_on_green_are_told() {
    let start = |settings: &str| Cluster::start_with(&Setup { settings: settings.to_owned(), hba: None });
    let (Some(blue), Some(green)) =
        (start("max_connections = 60\nmax_locks_per_transaction = 100"), start("max_connections = 50"))
    else {
        return;
    };
    let case = case_on([Arc::new(blue), Arc::new(green)], "limited", "", "").await.unwrap();
    let expected = [
        ("setting max_connections", "is 50 on green and 60 on blue"),
        ("setting max_locks_per_transaction", "is 64 on green and 100 on blue"),
    ];
    let lacks = case.expect(ReadinessCheck::Limits, &expected).await;
    assert_eq!(lacks[0].remedy.as_deref(), Some("ALTER SYSTEM SET max_connections = 60, then restart green"));
}

/// What is set for the database or a role is easily forgotten: time limits may be wider on green and no tighter, the rest
/// has to be the same, and values that may be secret are not shown.
#[tokio::test]
async fn settings_of_the_database_and_its_roles_are_compared() {
    let blue =
        "CREATE ROLE st_app LOGIN; GRANT CONNECT ON DATABASE set_up TO st_app; CREATE ROLE st_other LOGIN;
        ALTER ROLE st_other SET statement_timeout = '1s';
        ALTER DATABASE set_up SET statement_timeout = '30s'; ALTER DATABASE set_up SET lock_timeout = '1min';
        ALTER DATABASE set_up SET search_path = app, public; ALTER DATABASE set_up SET app.secret = 'hush';
        ALTER ROLE st_app SET idle_in_transaction_session_timeout = '10s';
        ALTER ROLE st_app IN DATABASE set_up SET work_mem = '8MB'";
    let green = "CREATE ROLE st_app LOGIN; GRANT CONNECT ON DATABASE set_up TO st_app;
        ALTER DATABASE set_up SET statement_timeout = '20s'; ALTER DATABASE set_up SET lock_timeout = '60000';
        ALTER DATABASE set_up SET app.secret = 'whisper'; ALTER ROLE st_app SET lock_timeout = '5s'";
    let Some(case) = case("set_up", blue, green).await else { return };
    let expected = [
        ("setting idle_in_transaction_session_timeout of role st_app", "is not set on green and 10s on blue"),
        ("setting work_mem of role st_app in the database", "is not set on green"),
        ("setting app.secret of the database", "has another value on green"),
        ("setting search_path of the database", "is not set on green"),
        ("setting statement_timeout of the database", "is 20s on green and 30s on blue"),
        ("setting lock_timeout of role st_app", "is 5s on green, and not set on blue"),
    ];
    let lacks = case.expect(ReadinessCheck::Limits, &expected).await;
    assert!(!format!("{lacks:?}").contains("hush") && !format!("{lacks:?}").contains("whisper"), "{lacks:?}");
    for at in [0, 4, 5] {
        case.on_green(lacks[at].remedy.as_deref().unwrap()).await;
    }
    case.on_green(
        "ALTER ROLE st_app IN DATABASE set_up SET work_mem = '8MB'; ALTER DATABASE set_up SET search_path = app, public; \
         ALTER DATABASE set_up SET app.secret = 'hush'",
    )
    .await;
    case.expect(ReadinessCheck::Limits, &[]).await;
}
