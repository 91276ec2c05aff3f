//! The containers for users, as far as they can be checked without an engine: shape, references, health and order.

use std::process::Command;

use serde_json::Value;

use crate::tree::{exists, read, root};

/// The keys of a service that the compose specification knows and that we use.
const SERVICE_KEYS: [&str; 12] = [
    "build",
    "command",
    "depends_on",
    "environment",
    "healthcheck",
    "image",
    "ports",
    "profiles",
    "restart",
    "secrets",
    "volumes",
    "user",
];

fn compose() -> Value {
    serde_saphyr::from_str(&read("docker-compose.yml")).expect("docker-compose.yml is YAML")
}

/// A service with what it merges from an anchor; its own keys win.
fn services() -> Vec<(String, Value)> {
    let document = compose();
    let services = document["services"].as_object().expect("services").clone();
    let merge = |(name, mut service): (String, Value)| {
        if let Some(merged) = service.as_object_mut().expect("a service").remove("<<") {
            for (key, value) in merged.as_object().expect("an anchor's mapping") {
                service.as_object_mut().expect("a service").entry(key.clone()).or_insert(value.clone());
            }
        }
        (name, service)
    };
    services.into_iter().map(merge).collect()
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

#[test]
fn it_has_the_demos_services() {
    let names: Vec<String> = services().into_iter().map(|(name, _)| name).collect();
    for name in ["blue", "green", "understudy", "loadgen"] {
        assert!(names.iter().any(|found| found == name), "no service {name} among {names:?}");
    }
}

#[test]
fn its_keys_are_known() {
    for key in compose().as_object().expect("a mapping").keys() {
        let known =
            key.starts_with("x-") || ["name", "services", "volumes", "secrets"].contains(&key.as_str());
        assert!(known, "unknown key {key}");
    }
    for (name, service) in services() {
        for key in service.as_object().expect("a service").keys() {
            assert!(SERVICE_KEYS.contains(&key.as_str()), "{name}: unknown key {key}");
        }
    }
}

#[test]
fn every_image_is_pinned_and_every_port_is_local_and_shifted() {
    for (name, service) in services() {
        let image = service["image"].as_str().expect("an image");
        let (_, tag) = image.split_once(':').expect("a tag");
        assert!(tag.contains(":-") && !tag.contains("latest"), "{name}: {image} has no pinned default");
        for port in texts(&service["ports"]) {
            assert!(port.starts_with("127.0.0.1:${"), "{name}: {port} is open to everybody");
            assert!(!port.contains(":-5432}"), "{name}: {port} may be taken by a server of the machine");
        }
    }
}

#[test]
fn every_file_it_names_exists() {
    for (name, service) in services() {
        for volume in texts(&service["volumes"]) {
            let source = volume.split(':').next().expect("a source");
            if let Some(path) = source.strip_prefix("./") {
                assert!(exists(path), "{name}: {path} does not exist");
            } else {
                assert!(
                    compose()["volumes"].get(source).is_some(),
                    "{name}: volume {source} is not declared"
                );
            }
        }
        for secret in texts(&service["secrets"]) {
            let file = compose()["secrets"][&secret]["file"].as_str().expect("the secret's file").to_owned();
            assert!(exists(file.trim_start_matches("./")), "{name}: {file} does not exist");
        }
        if !service["build"].is_null() {
            assert!(exists("Dockerfile"));
        }
    }
}

/// Whoever is waited for says when it is ready, and nobody waits for a service that does not exist.
#[test]
fn the_order_rests_on_health() {
    let services = services();
    for (name, service) in &services {
        for (other, how) in service["depends_on"].as_object().into_iter().flatten() {
            let awaited = services.iter().find(|(found, _)| found == other).map(|(_, awaited)| awaited);
            let awaited = awaited.unwrap_or_else(|| panic!("{name} waits for {other}, which does not exist"));
            match how["condition"].as_str().expect("a condition") {
                "service_healthy" => {
                    assert!(awaited["healthcheck"]["test"].is_array(), "{other} has no health check")
                }
                "service_completed_successfully" => {
                    assert_eq!(awaited["restart"], "no", "{other} starts again")
                }
                condition => panic!("{name} waits for {other} by {condition}, which proves nothing"),
            }
        }
    }
    for (name, service) in &services {
        let test = texts(&service["healthcheck"]["test"]);
        assert!(test.first().is_none_or(|first| first == "CMD"), "{name}: the image may have no shell");
    }
}

/// Guards `docker compose up` as the README tells it: what belongs to a profile is not waited for without it, and what it runs
/// is the release that the tests run.
#[test]
fn other_servers_are_there_on_request_and_as_tested() {
    let services = services();
    for (server, pinned) in [("kafka", "kafka"), ("dynamodb", "dynamodb-local")] {
        let (_, found) = services.iter().find(|(name, _)| name == server).expect("the service");
        assert_eq!(texts(&found["profiles"]), [server]);
        for (name, service) in &services {
            assert!(
                service["profiles"].is_array() || service["depends_on"][server].is_null(),
                "{name} waits for {server}"
            );
        }
        let image = found["image"].as_str().expect("an image");
        let release = image.rsplit_once(":-").expect("a pinned tag").1.trim_end_matches('}');
        let lock = format!("dev/jars/{pinned}-{release}.lock");
        assert!(exists(&lock), "{image} is not the release in dev/jars");
    }
}

#[test]
fn the_image_is_slim_and_not_root() {
    let dockerfile = read("Dockerfile");
    let (_, shipped) = dockerfile.rsplit_once("\nFROM ").expect("two stages");
    assert!(shipped.contains("\nUSER 65532:65532\n"), "the image runs as root");
    assert!(shipped.contains("HEALTHCHECK") && shipped.contains("[\"understudy\", \"healthcheck\"]"));
    assert!(!shipped.contains("cargo"), "the compiler is shipped");
    for ignored in [".git", "target", ".servers"] {
        assert!(read(".dockerignore").lines().any(|line| line == ignored), "{ignored} is sent to the build");
    }
}

/// Where the compose plugin is installed, it has the last word.
#[test]
fn the_plugin_accepts_it() {
    let run = |args: &[&str]| Command::new("docker").args(args).current_dir(root()).output();
    if !run(&["compose", "version"]).is_ok_and(|output| output.status.success()) {
        return;
    }
    let output = run(&["compose", "config", "--quiet"]).expect("run docker compose");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
