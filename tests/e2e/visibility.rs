//! Commits that are streamed before any reader can see them, as a synchronous standby on blue makes them.

use std::path::Path;
use std::time::Duration;

use understudy_tests::{Campaign, Migration, Pair, Process, Session, Shop, Sidecar, Signal, hold, until};

/// Names a standby that does not exist: commits are written and streamed, but stay invisible until `release`.
async fn withhold(blue: &mut Session) {
    blue.batch("ALTER SYSTEM SET synchronous_standby_names = 'nobody'").await;
    blue.batch("SELECT pg_reload_conf()").await;
}

async fn release(blue: &mut Session) {
    blue.batch("ALTER SYSTEM RESET synchronous_standby_names").await;
    blue.batch("SELECT pg_reload_conf()").await;
}

/// Commits are withheld again and again, from before the slot is born until long after the copy.
async fn late_commits(blue: u32, green: u32, test: &str) {
    let campaign = Campaign::of(test, 1, 30);
    for seed in campaign.seeds() {
        let Some(pair) = Pair::start(blue, green).await else {
            return;
        };
        let mut shop = Shop::open(&pair, 15_000).await;
        shop.start_load(&pair, 150.0).await;
        let mut control = pair.on_blue().await;
        withhold(&mut control).await;
        let slow = "copy: { chunk_bytes: 128KiB, chunk_blocks: 16, bytes_per_second: 6MiB }";
        let mut sidecar = Sidecar::start(&Migration::of_shop(&pair, "late").with(slow));
        let mut rounds_after_copy = 0;
        while rounds_after_copy < 5 {
            hold(Duration::from_millis(150 + seed % 7 * 50), async || {}).await;
            release(&mut control).await;
            hold(Duration::from_millis(60), async || {}).await;
            withhold(&mut control).await;
            sidecar.assert_running();
            rounds_after_copy += u32::from(sidecar.all_copied().await);
        }
        release(&mut control).await;
        shop.prove(&pair, &mut sidecar).await;
        sidecar.stop().await;
        campaign.passed(seed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_that_show_late_on_15() {
    late_commits(15, 18, "late_commits_15_18").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_that_show_late_on_18() {
    late_commits(18, 18, "late_commits_18_18").await;
}

/// A commit that no reader sees yet is a transaction in progress to a slot that is being born: `status` or the log
/// names it while it is waited for, and it is not lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_slot_is_born_while_a_commit_is_invisible() {
    let Some(pair) = Pair::start(15, 18).await else {
        return;
    };
    pair.on_both("CREATE TABLE born (id int PRIMARY KEY, note text)").await;
    let mut control = pair.on_blue().await;
    control.batch("INSERT INTO born SELECT n, 'before' FROM generate_series(1, 1000) n").await;
    // Only the writer waits for the standby, so that the sidecar gets as far as creating its slot.
    control.batch("ALTER DATABASE shop SET synchronous_commit = local").await;
    withhold(&mut control).await;
    let mut writer = pair.on_blue().await;
    writer.batch("SET synchronous_commit = on").await;
    let (writer, mut sidecar) = tokio::join!(
        async move {
            writer.batch("UPDATE born SET note = 'invisible' WHERE id <= 500").await;
            writer
        },
        async {
            until("the commit waits for the standby", async || {
                let waiting =
                    control.column("SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'").await;
                (!waiting.is_empty()).then_some(())
            })
            .await;
            let sidecar = Sidecar::start(&Migration::between(&pair, "born").table("public.born"));
            until("the slot is being made", async || {
                let slots = control.column("SELECT slot_name FROM pg_replication_slots").await;
                (!slots.is_empty()).then_some(())
            })
            .await;
            release(&mut control).await;
            sidecar
        }
    );
    drop(writer);
    sidecar.wait_copied().await;
    let mut green = pair.on_green().await;
    sidecar.wait_caught_up(&mut control, &mut green).await;
    assert_eq!(green.number("SELECT count(*) FROM born WHERE note = 'invisible'").await, 500);
    assert_eq!(green.number("SELECT count(*) FROM born").await, 1000);
    sidecar.stop().await;
}

/// A real synchronous standby that stalls now and then.
#[tokio::test(flavor = "multi_thread")]
async fn a_synchronous_standby_that_stalls() {
    let receiver = Path::new("/usr/lib/postgresql/15/bin/pg_receivewal");
    let Some(pair) = Pair::start(15, 15).await else {
        return;
    };
    let mut shop = Shop::open(&pair, 10_000).await;
    let folder = pair.scratch.path().join("standby");
    std::fs::create_dir(&folder).expect("a folder for the standby");
    let (host, folder) = (pair.blue.port().to_string(), folder.to_string_lossy().into_owned());
    let connection = format!(
        "host=127.0.0.1 port={host} user={} password={} application_name=standby",
        understudy::demo::cluster::SUPERUSER,
        pair.blue.password()
    );
    let args = ["--synchronous", "-D", folder.as_str(), "-d", connection.as_str()];
    let standby = Process::start("standby", pair.scratch.path(), receiver, &args, &[]);
    let mut control = pair.on_blue().await;
    control.batch("ALTER SYSTEM SET synchronous_standby_names = 'standby'").await;
    control.batch("SELECT pg_reload_conf()").await;
    until("the standby is synchronous", async || {
        let states = control.column("SELECT sync_state FROM pg_stat_replication").await;
        states.contains(&"sync".to_owned()).then_some(())
    })
    .await;
    shop.start_load(&pair, 100.0).await;
    let mut sidecar = Sidecar::start(&Migration::of_shop(&pair, "standby"));
    let mut rounds_after_copy = 0;
    while rounds_after_copy < 3 {
        standby.signal(Signal::Stop);
        hold(Duration::from_millis(200), async || {}).await;
        standby.signal(Signal::Cont);
        hold(Duration::from_millis(100), async || {}).await;
        sidecar.assert_running();
        rounds_after_copy += u32::from(sidecar.all_copied().await);
    }
    shop.prove(&pair, &mut sidecar).await;
    sidecar.stop().await;
}
