//! Dependencies between our crates point one way.

use std::process::Command;

use serde_json::Value;

use crate::tree::{assert_none, root, rust_files};

/// Every edge that the house allows. A crate that is missing here may depend on nothing of ours.
const ALLOWED: [(&str, &[&str]); 16] = [
    ("understudy-model", &[]),
    ("understudy-contract", &["understudy-model"]),
    ("understudy-observe", &[]),
    ("understudy-pgoutput", &["understudy-model"]),
    ("understudy-transform", &["understudy-model"]),
    ("understudy-replicate", &["understudy-model", "understudy-contract", "understudy-transform"]),
    ("understudy-verify", &["understudy-model", "understudy-contract", "understudy-transform"]),
    ("understudy-cutover", &["understudy-contract"]),
    ("understudy-control", &["understudy-model", "understudy-observe"]),
    ("understudy-postgres", &["understudy-model", "understudy-contract", "understudy-pgoutput"]),
    ("understudy-kafka", &["understudy-model", "understudy-contract"]),
    ("understudy-dynamodb", &["understudy-model", "understudy-contract"]),
    (
        "understudy-testkit",
        &["understudy-model", "understudy-contract", "understudy-transform", "understudy-replicate"],
    ),
    (
        "understudy",
        &[
            "understudy-model",
            "understudy-contract",
            "understudy-transform",
            "understudy-replicate",
            "understudy-verify",
            "understudy-cutover",
            "understudy-observe",
            "understudy-control",
            "understudy-postgres",
            "understudy-kafka",
            "understudy-dynamodb",
        ],
    ),
    (
        "understudy-tests",
        &[
            "understudy",
            "understudy-model",
            "understudy-contract",
            "understudy-transform",
            "understudy-postgres",
            "understudy-kafka",
            "understudy-dynamodb",
            "understudy-observe",
        ],
    ),
    (
        "understudy-bench",
        &[
            "understudy",
            "understudy-model",
            "understudy-contract",
            "understudy-transform",
            "understudy-postgres",
            "understudy-dynamodb",
            "understudy-observe",
            "understudy-tests",
        ],
    ),
];

/// Crates that tests of any crate may use.
const FOR_TESTS: [&str; 1] = ["understudy-testkit"];

fn packages() -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--offline", "--no-deps", "--format-version", "1"])
        .current_dir(root())
        .output()
        .expect("run cargo metadata");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
    metadata["packages"].as_array().expect("packages").clone()
}

#[test]
fn dependencies_point_one_way() {
    let mut offences = Vec::new();
    for package in packages() {
        let name = package["name"].as_str().expect("a name").to_owned();
        let allowed =
            ALLOWED.iter().find(|(allowed, _)| *allowed == name).map_or(&[][..], |(_, edges)| edges);
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let to = dependency["name"].as_str().expect("a name");
            let ours = to == "understudy" || to.starts_with("understudy-");
            let for_tests = dependency["kind"].as_str() == Some("dev") && FOR_TESTS.contains(&to);
            if ours && !for_tests && !allowed.contains(&to) {
                offences.push(format!("{name} -> {to}"));
            }
        }
    }
    assert_none(
        "these edges are not in DESIGN section 3 (tests/tidy/crates.rs lists the allowed ones):",
        &offences,
    );
}

/// What nobody uses is built all the same, and an edge that is only allowed is an invitation.
#[test]
fn every_dependency_and_every_edge_is_used() {
    let mut offences = Vec::new();
    let sources = rust_files();
    for package in packages() {
        let name = package["name"].as_str().expect("a name");
        let manifest = package["manifest_path"].as_str().expect("a path");
        let folder = manifest.trim_end_matches("Cargo.toml");
        let own = sources.iter().filter(|(path, _)| root().join(path).starts_with(folder));
        let own: String = own.map(|(_, text)| text.as_str()).collect();
        let dependencies = package["dependencies"].as_array().expect("dependencies");
        let names: Vec<&str> = dependencies.iter().filter_map(|one| one["name"].as_str()).collect();
        // The library of this one has another name than its package.
        let word = |name: &str| if name == "md-5" { "md5".to_owned() } else { name.replace('-', "_") };
        let unused = names.iter().filter(|dependency| !own.contains(&word(dependency)));
        offences.extend(unused.map(|dependency| format!("{name} does not use {dependency}")));
        let edges = ALLOWED.iter().find(|(allowed, _)| *allowed == name).map_or(&[][..], |(_, edges)| edges);
        let idle = edges.iter().filter(|edge| !names.contains(edge));
        offences.extend(idle.map(|edge| format!("{name} -> {edge} is allowed, and is not there")));
    }
    assert_none("take these out:", &offences);
}

#[test]
fn the_middle_holds_no_sockets() {
    let pure = ["understudy-model", "understudy-contract", "understudy-pgoutput", "understudy-transform"];
    let mut offences = Vec::new();
    for package in packages() {
        let name = package["name"].as_str().expect("a name").to_owned();
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let to = dependency["name"].as_str().expect("a name");
            let runtime = dependency["kind"].is_null();
            if runtime && pure.contains(&name.as_str()) && ["tokio", "rustls", "axum"].contains(&to) {
                offences.push(format!("{name} -> {to}"));
            }
        }
    }
    assert_none("these crates are pure and stay so:", &offences);
}

#[test]
fn every_crate_inherits_the_lints() {
    let mut offences = Vec::new();
    for package in packages() {
        let manifest = package["manifest_path"].as_str().expect("a path");
        let text = std::fs::read_to_string(manifest).expect("read a manifest");
        if !text.contains("[lints]\nworkspace = true") {
            offences.push(manifest.to_owned());
        }
    }
    assert_none("these manifests lack `[lints] workspace = true`:", &offences);
}
