//! What runs on Java: where `dev/servers` has put the pinned jars.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The folders of the pinned releases with these prefixes. A missing one, or a missing Java, fails the test, unless ALLOW_SKIP=1:
/// then the test is named as skipped.
pub(crate) fn homes(prefixes: &[&str]) -> Option<Vec<PathBuf>> {
    match search(prefixes) {
        Ok(homes) => Some(homes),
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
