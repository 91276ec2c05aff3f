//! Finds Java and the jars of the pinned Kafka release.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where `dev/servers` has put the release, and how its programs are run.
#[derive(Debug)]
pub(super) struct Programs {
    jars: PathBuf,
}

impl Programs {
    /// A missing one fails the test, unless ALLOW_SKIP=1: then the test is named as skipped.
    pub(super) fn find() -> Option<Programs> {
        match search() {
            Ok(found) => Some(found),
            Err(failure) => {
                assert!(
                    std::env::var("ALLOW_SKIP").is_ok_and(|value| value == "1"),
                    "{failure}, or set ALLOW_SKIP=1 to go on without Kafka",
                );
                let test = std::thread::current().name().unwrap_or("a test").to_owned();
                println!("SKIPPED {test}: {failure}");
                None
            }
        }
    }

    /// The arguments of `java` that run a program of Kafka with the settings of its log in `log4j2`.
    pub(super) fn arguments(&self, log4j2: &Path, program: &str) -> Vec<String> {
        let mut arguments: Vec<String> = [
            // A start takes half as long without the second compiler, and nobody measures these brokers.
            "-XX:TieredStopAtLevel=1",
            "-XX:+UseSerialGC",
            "-XX:-UsePerfData",
            "-Xms64m",
            "-Xmx512m",
        ]
        .map(str::to_owned)
        .to_vec();
        arguments.push(format!("-Dlog4j2.configurationFile={}", log4j2.display()));
        arguments.extend(["-cp".to_owned(), self.jars.join("*").display().to_string(), program.to_owned()]);
        arguments
    }
}

fn search() -> Result<Programs, String> {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("inside the project");
    let pinned = std::fs::read_dir(project.join("dev/jars")).expect("the lists of jars");
    let names = pinned.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let mut names = names.filter_map(|name| name.strip_suffix(".lock").map(str::to_owned));
    let name = names.find(|name| name.starts_with("kafka-")).expect("a pinned Kafka release");
    let jars = project.join(".servers").join(&name).join("libs");
    if !jars.is_dir() {
        return Err(format!("{name} is missing: run dev/servers"));
    }
    let java = Command::new("java").arg("-version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    match java {
        Ok(status) if status.success() => Ok(Programs { jars }),
        _ => Err("Java is missing: run `dev/setup test`".to_owned()),
    }
}
