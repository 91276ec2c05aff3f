//! Finds Java and the pinned jars of Kafka, of Kafka Connect and of Debezium.

use std::path::{Path, PathBuf};

use crate::jars;

/// What a Java machine is started for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// A test: a start takes half as long without the second compiler, and nobody measures it.
    Quick,
    /// A measurement: as Kafka's own scripts start it.
    Measured,
}

/// Where `dev/servers` has put the jars, and how their programs are run.
#[derive(Debug)]
pub(super) struct Programs {
    homes: Vec<PathBuf>,
    pace: Pace,
}

impl Programs {
    /// Kafka. A missing one fails the test, unless ALLOW_SKIP=1: then the test is named as skipped.
    pub(super) fn kafka(pace: Pace) -> Option<Programs> {
        found(pace, &["kafka-"])
    }

    /// Kafka Connect with Debezium's connectors; so with a missing one.
    pub(super) fn connect(pace: Pace) -> Option<Programs> {
        found(pace, &["kafka-", "connect-", "debezium-"])
    }

    /// The arguments of `java` that run a program with the settings of its log in `log4j2`, for as much `heap` where it is tested.
    pub(super) fn arguments(&self, log4j2: &Path, heap: &str, program: &str) -> Vec<String> {
        let machine: &[&str] = match self.pace {
            Pace::Quick => {
                &["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-XX:-UsePerfData", "-Xms64m", heap]
            }
            Pace::Measured => &[
                "-server",
                "-XX:+UseG1GC",
                "-XX:MaxGCPauseMillis=20",
                "-XX:InitiatingHeapOccupancyPercent=35",
                "-XX:+ExplicitGCInvokesConcurrent",
                "-XX:MaxInlineLevel=15",
                "-Xms256m",
                "-Xmx2g",
            ],
        };
        let mut arguments: Vec<String> = machine.iter().map(|each| (*each).to_owned()).collect();
        arguments.push(format!("-Dlog4j2.configurationFile={}", log4j2.display()));
        // Connectors bring their jars in folders of their own, which Connect looks through itself.
        let jars = self.homes.iter().take(2).map(|home| home.join("libs/*").display().to_string());
        let jars = jars.collect::<Vec<_>>().join(":");
        arguments.extend(["-cp".to_owned(), jars, program.to_owned()]);
        arguments
    }

    /// What they are started for.
    pub(super) const fn pace(&self) -> Pace {
        self.pace
    }

    /// The folder that holds folders of connectors.
    pub(super) fn plugins(&self) -> &Path {
        self.homes.last().expect("at least Kafka")
    }
}

fn found(pace: Pace, prefixes: &[&str]) -> Option<Programs> {
    jars::homes(prefixes).map(|homes| Programs { homes, pace })
}
