//! Databases for tests that can share one cluster: it starts with the first of them and goes with the last.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "every test binary compiles this file and uses its own part of it"
)]

use std::sync::{Arc, Mutex, Weak};

use understudy_postgres::wire::{Client, ConnectOptions};

use crate::support::Cluster;

static SHARED: Mutex<Weak<Cluster>> = Mutex::new(Weak::new());

/// The shared cluster. `None` where no server is to be had and skipping is allowed.
pub fn shared() -> Option<Arc<Cluster>> {
    let mut slot = SHARED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if let Some(cluster) = slot.upgrade() {
        return Some(cluster);
    }
    let cluster = Arc::new(Cluster::start()?);
    *slot = Arc::downgrade(&cluster);
    Some(cluster)
}

/// A new, empty database, and how to connect to it as the superuser.
pub async fn database(cluster: &Cluster, name: &str) -> ConnectOptions {
    cluster.client().await.batch(&format!("CREATE DATABASE {name} TEMPLATE template0")).await.unwrap();
    ConnectOptions { database: name.to_owned(), ..cluster.options() }
}

/// A connection that finds tables in `public`, as an application's would.
pub async fn connect(options: &ConnectOptions) -> Client {
    let mut client = Client::connect(options).await.unwrap();
    client.batch("SET search_path = public").await.unwrap();
    client
}
