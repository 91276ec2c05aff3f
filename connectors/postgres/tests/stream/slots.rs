//! Slots and lineage: created in time, compared before use, taken over from the dead and from nobody else.

use std::time::Duration;

use understudy_contract::{Class, Confirm, Failure, Lineage};
use understudy_model::{Checkpoint, Lsn, TableName};
use understudy_postgres::source::lineage;
use understudy_postgres::source::publication::{self, PublishedTable};
use understudy_postgres::source::slot::{self, CreateSlot};
use understudy_postgres::wire::Client;

use crate::harness::{Blue, NAME, create_slot, request};

async fn refused(blue: &Blue, from: Checkpoint) -> Failure {
    match blue.stream(from).await {
        Ok(_) => panic!("the stream started"),
        Err(failure) => {
            assert!(failure.remedy_text().is_some(), "{failure}");
            failure
        }
    }
}

#[tokio::test]
async fn a_slot_that_moved_or_vanished_is_refused() {
    // F9, F10: blue would silently start later.
    let Some(mut blue) = Blue::start("").await else {
        return;
    };
    blue.run("INSERT INTO public.t VALUES (1)").await;
    blue.run(&format!(
        "SELECT pg_catalog.pg_replication_slot_advance('{NAME}', pg_catalog.pg_current_wal_lsn())"
    ))
    .await;
    let failure = refused(&blue, blue.start).await;
    assert!(
        failure.class() == Class::Diverged && failure.to_string().contains("was moved forward"),
        "{failure}"
    );

    assert!(slot::drop(&mut blue.admin, NAME, "understudy/t").await.unwrap());
    assert!(!slot::drop(&mut blue.admin, NAME, "understudy/t").await.unwrap());
    let failure = refused(&blue, blue.start).await;
    assert!(
        failure.class() == Class::Diverged && failure.to_string().contains("does not exist"),
        "{failure}"
    );

    blue.run(&format!("SELECT pg_catalog.pg_create_logical_replication_slot('{NAME}', 'test_decoding')"))
        .await;
    let failure = refused(&blue, blue.start).await;
    assert!(
        failure.class() == Class::Configuration && failure.to_string().contains("is not ours"),
        "{failure}"
    );
    let failure = create_slot(&blue.options()).await.unwrap_err();
    assert!(
        failure.class() == Class::Configuration && failure.remedy_text().unwrap().contains("abort"),
        "{failure}"
    );
}

#[tokio::test]
async fn a_lost_slot_is_refused() {
    // F16: lost is final; retrying helps nobody.
    let Some(mut blue) =
        Blue::start("max_slot_wal_keep_size = '1MB'\nmin_wal_size = '32MB'\nmax_wal_size = '32MB'").await
    else {
        return;
    };
    for _ in 0..6 {
        blue.run("SELECT pg_catalog.pg_switch_wal(); INSERT INTO public.other VALUES (1)").await;
    }
    blue.run("CHECKPOINT").await;
    let failure = refused(&blue, blue.start).await;
    assert!(failure.class() == Class::Diverged && failure.to_string().contains("is lost"), "{failure}");
}

#[tokio::test]
async fn a_predecessor_of_ours_is_ended_and_a_stranger_is_not() {
    // F14
    let Some(mut blue) = Blue::start("").await else {
        return;
    };
    let mut old = blue.stream(blue.start).await.unwrap();
    let mut new = blue.stream(blue.start).await.unwrap();
    blue.run("INSERT INTO public.t VALUES (1)").await;
    assert_eq!(new.transaction().await.0, ["insert 1,null,null"]);
    let ended = loop {
        if let Err(failure) = understudy_contract::ChangeStream::next(&mut old.stream).await {
            break failure;
        }
    };
    assert_eq!(ended.class(), Class::Transient, "{ended}");
    drop(new);
    blue.slot_is_free().await;

    let foreign = blue.options().with_application_name("debezium");
    let mut stranger = crate::harness::Streaming::start(&foreign, &request(blue.start)).await.unwrap();
    let failure = refused(&blue, blue.start).await;
    assert!(
        failure.class() == Class::Configuration && failure.to_string().contains("\"debezium\""),
        "{failure}"
    );
    assert_eq!(stranger.transaction().await.0, ["insert 1,null,null"], "the stranger was harmed");
}

/// F14: dropping a slot ends readers of the same migration alone, not those of every migration.
#[tokio::test]
async fn a_reader_of_another_migration_survives_the_drop() {
    let Some(mut blue) = Blue::start("").await else {
        return;
    };
    let other = blue.options().with_application_name("understudy/t-v2/stream");
    let mut reader = crate::harness::Streaming::start(&other, &request(blue.start)).await.unwrap();
    let failure = slot::drop(&mut blue.admin, NAME, "understudy/t").await.unwrap_err();
    assert!(
        failure.class() == Class::Configuration && failure.to_string().contains("\"understudy/t-v2/stream\""),
        "{failure}"
    );
    blue.run("INSERT INTO public.t VALUES (1)").await;
    assert_eq!(reader.transaction().await.0, ["insert 1,null,null"], "the other migration was harmed");
    assert!(slot::drop(&mut blue.admin, NAME, "understudy/t-v2").await.unwrap(), "its own may end it");
}

#[tokio::test]
async fn creating_a_slot_names_who_is_in_the_way_and_leaves_nothing_behind() {
    // F15
    let Some(mut blue) = Blue::start("").await else {
        return;
    };
    slot::drop(&mut blue.admin, NAME, "understudy/t").await.unwrap();
    let options = blue.cluster.options().with_application_name("long report");
    let mut writer = Client::connect(&options).await.unwrap();
    writer.batch("BEGIN; INSERT INTO public.t VALUES (1)").await.unwrap();
    let mut reported = Vec::new();
    let mut on_wait = |blockers: &[understudy_contract::Blocker]| reported.extend_from_slice(blockers);
    let create = CreateSlot { slot: NAME, patience: Duration::from_millis(2_500), on_wait: &mut on_wait };
    let failure = slot::create(&blue.options(), create).await.unwrap_err();
    assert!(
        failure.class() == Class::Transient && failure.to_string().contains("\"long report\""),
        "{failure}"
    );
    assert!(reported.iter().any(|blocker| blocker.description.contains("long report")));
    assert_eq!(slot::inspect(&mut blue.admin, NAME).await.unwrap(), None);

    writer.batch("COMMIT").await.unwrap();
    let start = create_slot(&blue.options()).await.unwrap();
    let state = slot::inspect(&mut blue.admin, NAME).await.unwrap().unwrap();
    assert_eq!(state.confirmed, Some(start.lsn()));
    assert!(!state.is_lost() && state.active_pid.is_none());
    assert_eq!(state.failover, blue.admin.server_version() >= 170_000);
}

#[tokio::test]
async fn dropping_a_slot_ends_our_own_reader_first() {
    // F40: abort must not fail because a forgotten instance still reads.
    let Some(mut blue) = Blue::start("").await else {
        return;
    };
    let _streaming = blue.stream(blue.start).await.unwrap();
    assert!(slot::drop(&mut blue.admin, NAME, "understudy/t").await.unwrap());
    assert_eq!(slot::inspect(&mut blue.admin, NAME).await.unwrap(), None);
}

#[tokio::test]
async fn another_cluster_or_a_log_set_back_is_noticed() {
    // F9
    let Some(blue) = Blue::start("").await else { return };
    let mut client = Client::connect_replication(&blue.options()).await.unwrap();
    let identity = lineage::identify(&mut client, NAME).await.unwrap();
    assert_eq!((identity.lineage.timeline, identity.lineage.database.as_str()), (1, "postgres"));
    let saved = identity.lineage;
    assert_eq!(lineage::verify(&mut client, &saved, blue.start).await.unwrap(), saved);
    let elsewhere = Lineage { system_id: saved.system_id ^ 1, ..saved.clone() };
    let ahead = Checkpoint::at_commit_end(Lsn::new(1 << 60));
    for (saved, at, said) in [(&elsewhere, blue.start, "another cluster"), (&saved, ahead, "was set back")] {
        let failure = lineage::verify(&mut client, saved, at).await.unwrap_err();
        assert!(failure.class() == Class::Diverged && failure.to_string().contains(said), "{failure}");
    }
}

#[tokio::test]
async fn a_promoted_standby_is_followed_only_while_green_is_not_ahead_of_it() {
    let Some(mut blue) = Blue::start("").await else {
        return;
    };
    let mut client = Client::connect_replication(&blue.options()).await.unwrap();
    let saved = lineage::identify(&mut client, NAME).await.unwrap().lineage;
    blue.run("INSERT INTO public.t VALUES (1)").await;
    let rows = blue.admin.query("SELECT pg_catalog.pg_current_wal_flush_lsn()").await.unwrap();
    let end: Lsn = rows[0].parse(0).unwrap();
    // Archive recovery without an archive ends at once and opens the next timeline.
    blue.cluster.control("stop");
    blue.cluster.append("postgresql.conf", "restore_command = 'false'");
    blue.cluster.append("recovery.signal", "");
    blue.cluster.control("start");
    let mut client = Client::connect_replication(&blue.options()).await.unwrap();
    crate::support::until("the new timeline is open", || async {
        let mut admin = blue.cluster.client().await;
        !admin.query("SELECT pg_catalog.pg_is_in_recovery()").await.unwrap()[0].is_true(0)
    })
    .await;
    let now = lineage::verify(&mut client, &saved, blue.start).await.unwrap();
    assert_eq!(now.timeline, 2);
    let ahead = Checkpoint::at_commit_end(Lsn::new(end.raw() + (64 << 20)));
    let failure = lineage::verify(&mut client, &saved, ahead).await.unwrap_err();
    assert!(failure.class() == Class::Diverged && failure.to_string().contains("blue has lost"), "{failure}");
    let stranger = Lineage { timeline: 7, ..saved };
    let failure = lineage::verify(&mut client, &stranger, blue.start).await.unwrap_err();
    assert!(failure.to_string().contains("does not descend"), "{failure}");
}

#[tokio::test]
async fn a_publication_is_exactly_what_was_asked_for() {
    let Some(mut blue) = Blue::start("").await else {
        return;
    };
    blue.run(
        "CREATE TABLE public.child () INHERITS (public.other); CREATE TABLE public.\"Odd name\" (id int PRIMARY KEY); \
         CREATE TABLE public.root (id int PRIMARY KEY) PARTITION BY RANGE (id); \
         CREATE TABLE public.leaf PARTITION OF public.root DEFAULT",
    )
    .await;
    let table =
        |name: &str, partitioned| PublishedTable { name: TableName::new("public", name), partitioned };
    let tables = [table("other", false), table("Odd name", false), table("root", true)];
    publication::create(&mut blue.admin, "p", &tables).await.unwrap();
    let state = publication::inspect(&mut blue.admin, "p").await.unwrap().unwrap();
    state.expect("p", &tables).unwrap();
    assert_eq!(state.tables.len(), 3, "inheritance children come by name or not at all");

    publication::set_tables(&mut blue.admin, "p", &tables[..2]).await.unwrap();
    let changed = publication::inspect(&mut blue.admin, "p").await.unwrap().unwrap();
    assert!(changed.expect("p", &tables).unwrap_err().to_string().contains("public.root is missing"));
    assert!(publication::create(&mut blue.admin, "p", &tables).await.unwrap_err().remedy_text().is_some());
    assert!(publication::drop(&mut blue.admin, "p").await.unwrap());
    assert!(!publication::drop(&mut blue.admin, "p").await.unwrap());
    assert_eq!(publication::inspect(&mut blue.admin, "p").await.unwrap(), None);
}

/// Promise 2: an edit that was undone before anybody looked shows all the same, and our own edits do not.
#[tokio::test]
async fn what_was_changed_and_put_back_is_another_publication() {
    let Some(mut blue) = Blue::start("").await else {
        return;
    };
    blue.run("CREATE TABLE public.third (id int PRIMARY KEY)").await;
    let table = |name: &str| PublishedTable { name: TableName::new("public", name), partitioned: false };
    let tables = [table("t"), table("other")];
    publication::create(&mut blue.admin, "p", &tables).await.unwrap();
    let before = publication::inspect(&mut blue.admin, "p").await.unwrap().unwrap();
    let places = |state: &publication::PublicationState| {
        let one = |table: &publication::PublicationTable| (table.name.name.clone(), table.version.clone());
        state.tables.iter().map(one).collect::<std::collections::BTreeMap<_, _>>()
    };

    // What this migration itself does leaves the publication and the other tables as they were.
    publication::set_tables(&mut blue.admin, "p", &[table("t"), table("other"), table("third")])
        .await
        .unwrap();
    for sql in [
        "VACUUM FREEZE pg_publication",
        "VACUUM FULL pg_publication_rel",
        "ALTER TABLE public.t REPLICA IDENTITY FULL",
    ] {
        blue.run(sql).await;
    }
    publication::set_tables(&mut blue.admin, "p", &tables).await.unwrap();
    let after = publication::inspect(&mut blue.admin, "p").await.unwrap().unwrap();
    assert_eq!(after, before);

    blue.run("ALTER PUBLICATION p DROP TABLE public.t; ALTER PUBLICATION p ADD TABLE ONLY public.t").await;
    let put_back = publication::inspect(&mut blue.admin, "p").await.unwrap().unwrap();
    assert_eq!(put_back.version, before.version);
    assert_ne!(places(&put_back)["t"], places(&before)["t"]);
    assert_eq!(places(&put_back)["other"], places(&before)["other"]);

    let edits = [
        "ALTER PUBLICATION p SET (publish = 'insert'); ALTER PUBLICATION p SET (publish = 'insert,update,delete,truncate')",
        "ALTER PUBLICATION p RENAME TO q; ALTER PUBLICATION q RENAME TO p",
        "DROP PUBLICATION p; CREATE PUBLICATION p FOR TABLE ONLY public.t, ONLY public.other",
    ];
    let mut last = put_back;
    for edit in edits {
        blue.run(edit).await;
        let now = publication::inspect(&mut blue.admin, "p").await.unwrap().unwrap();
        now.expect("p", &tables).unwrap();
        assert_ne!(now.version, last.version, "{edit}");
        last = now;
    }
}

#[tokio::test]
async fn a_missing_publication_is_reported_by_the_stream() {
    let Some(mut blue) = Blue::start("").await else {
        return;
    };
    publication::drop(&mut blue.admin, NAME).await.unwrap();
    let mut streaming = blue.stream(blue.start).await.unwrap();
    streaming.confirm.confirm(Lsn::ZERO);
    blue.run("INSERT INTO public.t VALUES (1)").await;
    let failure = loop {
        match understudy_contract::ChangeStream::next(&mut streaming.stream).await {
            Ok(event) => drop(event),
            Err(failure) => break failure,
        }
    };
    assert!(
        failure.class() == Class::Configuration && failure.to_string().contains("does not exist"),
        "{failure}"
    );
}
