//! Texts that are compared as a whole with a file of the project.

use std::fs;
use std::path::{Path, PathBuf};

/// A file that holds what a test is to see.
#[derive(Debug)]
pub struct Snapshot {
    path: String,
    file: PathBuf,
}

impl Snapshot {
    /// The file at a path from the root of the project.
    pub fn of(path: &str) -> Snapshot {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("inside the project");
        Snapshot { path: path.to_owned(), file: root.join(path) }
    }

    /// Fails unless the file holds this text, and shows the first line that differs; with UPDATE_DOCS=1 the text is written.
    pub fn compare(&self, text: &str) {
        if std::env::var("UPDATE_DOCS").is_ok_and(|value| value == "1") {
            fs::write(&self.file, text).expect("write a snapshot");
        }
        let kept = fs::read_to_string(&self.file).unwrap_or_default();
        if kept == text {
            return;
        }
        let (mut old, mut new) = (kept.lines(), text.lines());
        let mut line = 0;
        let (old, new) = loop {
            line += 1;
            let pair = (old.next(), new.next());
            if pair.0 != pair.1 || pair.0.is_none() {
                break (pair.0.unwrap_or("(the end)"), pair.1.unwrap_or("(the end)"));
            }
        };
        panic!(
            "{} differs in line {line}; where that is meant, run this test with UPDATE_DOCS=1\n  kept: {old}\n  seen: {new}\n\n{text}",
            self.path
        );
    }
}
