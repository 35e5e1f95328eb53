//! The compose files: they name what is there, and set settings that exist.

use std::{fs, path::Path, process::Command};

use fileproxy::{reloadable::Reloadable as _, settings::Settings};
use serde_json::Value;

use crate::support::need::need;

const FILES: [&str; 2] = ["docker-compose.yml", "docker-compose.fleet.yml"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The file as JSON, its anchors resolved.
fn read(file: &str) -> Value {
    let output = Command::new("python3")
        .args([
            "-c",
            "import json, sys, yaml; print(json.dumps(yaml.safe_load(open(sys.argv[1]))))",
        ])
        .arg(root().join(file))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{file}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Whether this command is there and does what it is asked.
fn works(program: &str, arguments: &[&str]) -> bool {
    let output = Command::new(program).args(arguments).output();
    output.is_ok_and(|output| output.status.success())
}

#[test]
fn compose_files_name_what_is_there_and_set_settings_that_exist() {
    let has_yaml = works("python3", &["-c", "import yaml"]);
    if !need("python3 with yaml", "compose files are read", has_yaml) {
        return;
    }
    let keys = Settings::base().unwrap().keys();
    for file in FILES {
        let compose = read(file);
        let services = compose["services"].as_object().unwrap();
        let mut variables = 0;
        for (name, service) in services {
            // A limit above the host's own stops the container's start; the proxy raises its own as far as it may.
            assert!(service.get("ulimits").is_none(), "{file}: {name}");
            for variable in service["environment"].as_object().into_iter().flatten() {
                let key = variable.0.strip_prefix("FILEPROXY__").unwrap();
                let key = key.replace("__", ".").to_lowercase();
                assert!(keys.iter().any(|(known, _)| *known == key), "{file}: {key}");
                variables += 1;
            }
            let after = match &service["depends_on"] {
                Value::Object(after) => after.keys().cloned().collect(),
                Value::Array(after) => after
                    .iter()
                    .map(|name| name.as_str().unwrap().to_owned())
                    .collect(),
                _ => Vec::new(),
            };
            for other in after {
                assert!(
                    services.contains_key(&other),
                    "{file}: {name} after {other}"
                );
            }
            for volume in service["volumes"].as_array().into_iter().flatten() {
                let from = volume.as_str().unwrap().split(':').next().unwrap();
                let is_there = match from.strip_prefix("./") {
                    Some(path) => root().join(path).exists(),
                    None => compose["volumes"].get(from).is_some(),
                };
                assert!(is_there, "{file}: {name} mounts {from}");
            }
        }
        assert!(variables >= 5, "{file}");
        if works("docker", &["compose", "version"]) {
            let output = Command::new("docker")
                .args(["compose", "-f", file, "config", "--quiet"])
                .env("FILEPROXY_ADMIN_TOKEN", "t")
                .current_dir(root())
                .output()
                .unwrap();
            assert!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
    }
}

#[test]
fn the_balancer_of_the_fleet_knows_every_instance_and_takes_its_settings() {
    let text = fs::read_to_string(root().join("settings/balancer/haproxy.cfg")).unwrap();
    for instance in ["proxy-1:10080", "proxy-2:10080"] {
        assert!(text.contains(instance), "{instance}");
    }
    if !need(
        "haproxy",
        "the balancer's settings are checked",
        works("haproxy", &["-v"]),
    ) {
        return;
    }
    let output = Command::new("haproxy")
        .args(["-c", "-f", "settings/balancer/haproxy.cfg"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
