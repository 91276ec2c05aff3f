//! Finds Java and the pinned jars of Kafka, of Kafka Connect and of Debezium.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

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
    match search(prefixes) {
        Ok(homes) => Some(Programs { homes, pace }),
        Err(failure) => {
            assert!(
                std::env::var("ALLOW_SKIP").is_ok_and(|value| value == "1"),
                "{failure}, or set ALLOW_SKIP=1 to go on without it",
            );
            let test = std::thread::current().name().unwrap_or("a test").to_owned();
            println!("SKIPPED {test}: {failure}");
            None
        }
    }
}

/// The folders of the pinned releases with these prefixes.
fn search(prefixes: &[&str]) -> Result<Vec<PathBuf>, String> {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("inside the project");
    let pinned = std::fs::read_dir(project.join("dev/jars")).expect("the lists of jars");
    let names = pinned.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let names: Vec<String> = names.filter_map(|name| name.strip_suffix(".lock").map(str::to_owned)).collect();
    let home = |prefix: &&str| {
        let name = names.iter().find(|name| name.starts_with(*prefix)).expect("a pinned release");
        let home = project.join(".servers").join(name);
        if home.join("libs").is_dir() { Ok(home) } else { Err(format!("{name} is missing: run dev/servers")) }
    };
    let homes = prefixes.iter().map(home).collect::<Result<Vec<_>, _>>()?;
    let java = Command::new("java").arg("-version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    match java {
        Ok(status) if status.success() => Ok(homes),
        _ => Err("Java is missing: run `dev/setup test`".to_owned()),
    }
}
