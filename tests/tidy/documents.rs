//! What documents claim exists.

use crate::tree::{assert_none, exists, read, root, texts_below};

/// The documents whose paths must exist.
fn documents() -> Vec<(String, String)> {
    let mut documents = vec![("README.md".to_owned(), read("README.md"))];
    documents.extend(texts_below("docs").into_iter().filter(|(path, _)| path.ends_with(".md")));
    documents
}

/// Words in backquotes that look like a path of this project.
fn named_paths(text: &str) -> Vec<String> {
    let folders = ["crates/", "connectors/", "tests/", "dev/", "docs/", "config/", "bench/", ".ci/"];
    text.split('`')
        .skip(1)
        .step_by(2)
        .filter(|word| folders.iter().any(|folder| word.starts_with(folder)))
        .filter(|word| !word.contains(['*', '<', ' ', '{']))
        .map(|word| word.trim_end_matches('/').to_owned())
        .collect()
}

/// Targets of Markdown links that stay inside the project, resolved from the folder of the document.
fn linked_paths(document: &str, text: &str) -> Vec<String> {
    let folder = document.rsplit_once('/').map_or("", |(folder, _)| folder);
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split([')', '#']).next())
        .filter(|target| !target.is_empty() && !target.contains("://"))
        .map(|target| if folder.is_empty() { target.to_owned() } else { format!("{folder}/{target}") })
        .collect()
}

#[test]
fn every_path_that_a_document_names_exists() {
    let mut offences = Vec::new();
    for (document, text) in documents() {
        for path in named_paths(&text).into_iter().chain(linked_paths(&document, &text)) {
            if !exists(&path) {
                offences.push(format!("{document}: {path}"));
            }
        }
    }
    assert_none("these paths do not exist:", &offences);
}

/// The folder map of the README is complete: a newcomer finds every folder in it.
#[test]
fn the_folder_map_names_every_folder() {
    let map = read("README.md");
    let mut offences = Vec::new();
    for parent in ["crates", "connectors"] {
        for entry in std::fs::read_dir(root().join(parent)).expect("list a folder") {
            let name = format!("{parent}/{}", entry.expect("an entry").file_name().to_string_lossy());
            if !map.contains(&format!("`{name}`")) {
                offences.push(name);
            }
        }
    }
    assert_none("README.md does not name:", &offences);
}

/// Every example under config/ is named in a document, so that none is forgotten there.
#[test]
fn every_example_is_named() {
    let documents: String = documents().into_iter().map(|(_, text)| text).collect();
    let offences: Vec<String> = texts_below("config")
        .into_iter()
        .map(|(path, _)| path)
        .filter(|path| path.ends_with(".yaml") || path.ends_with(".yml"))
        .filter(|path| !documents.contains(path.as_str()))
        .collect();
    assert_none("no document names these examples:", &offences);
}

#[test]
fn the_changelog_has_a_section_for_what_is_not_released() {
    assert!(read("CHANGELOG.md").contains("## Unreleased"));
}
