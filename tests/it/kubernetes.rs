//! The Kubernetes manifests: they name what is there, set settings that exist, and give a drain the time that it takes.

use std::{path::Path, process::Command, time::Duration};

use fileproxy::{reloadable::Reloadable as _, settings::Settings};
use serde_json::Value;

use crate::support::need::need;

/// All resources of a file, as JSON.
fn read(file: &str) -> Vec<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("settings/kubernetes");
    let script =
        "import json, sys, yaml; print(json.dumps(list(yaml.safe_load_all(open(sys.argv[1])))))";
    let output = Command::new("python3")
        .args(["-c", script])
        .arg(folder.join(file))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{file}: {said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn has_yaml() -> bool {
    let output = Command::new("python3").args(["-c", "import yaml"]).output();
    need(
        "python3 with yaml",
        "Kubernetes manifests are read",
        output.is_ok_and(|output| output.status.success()),
    )
}

fn of<'a>(resources: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let found = resources
        .iter()
        .find(|one| one["kind"] == kind && one["metadata"]["name"] == name);
    found.unwrap_or_else(|| panic!("there is no {kind} {name}"))
}

fn time(value: &Value) -> Duration {
    humantime::parse_duration(value.as_str().unwrap()).unwrap()
}

#[test]
fn the_manifests_set_settings_that_hold_and_leave_a_drain_its_time() {
    if !has_yaml() {
        return;
    }
    let resources = read("fileproxy.yaml");
    let settings = of(&resources, "ConfigMap", "fileproxy")["data"].clone();
    let keys = Settings::base().unwrap().keys();
    let folder = tempfile::tempdir().unwrap();
    let mut check = Command::new(env!("CARGO_BIN_EXE_fileproxy"));
    check
        .env_clear()
        .env("FILEPROXY_SETTINGS", folder.path())
        .arg("check");
    for (variable, value) in settings.as_object().unwrap() {
        let key = variable.strip_prefix("FILEPROXY__").unwrap();
        let key = key.replace("__", ".").to_lowercase();
        assert!(keys.iter().any(|(known, _)| *known == key), "{key}");
        check.env(variable, value.as_str().unwrap());
    }
    check.env("FILEPROXY__STORE__DIRECTORY", folder.path().join("store"));
    let checked = check.output().unwrap();
    let said = String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success(), "{said}");

    let deployment = &of(&resources, "Deployment", "fileproxy")["spec"];
    let pod = &deployment["template"]["spec"];
    let grace = pod["terminationGracePeriodSeconds"].as_u64().unwrap();
    let drain = time(&settings["FILEPROXY__SERVER__DRAIN_NOTICE"])
        + time(&settings["FILEPROXY__SERVER__DRAIN_TIMEOUT"]);
    assert!(Duration::from_secs(grace) > drain);
    assert_eq!(deployment["strategy"]["rollingUpdate"]["maxUnavailable"], 0);
    let container = &pod["containers"][0];
    for (probe, path) in [
        ("startupProbe", "/health/live"),
        ("livenessProbe", "/health/live"),
        ("readinessProbe", "/health/ready"),
    ] {
        let get = &container[probe]["httpGet"];
        assert_eq!(
            (&get["path"], &get["port"]),
            (&path.into(), &"admin".into())
        );
    }
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
    let listen = settings["FILEPROXY__ADMIN__LISTEN"].as_str().unwrap();
    let ports = container["ports"].as_array().unwrap();
    let admin = ports.iter().find(|port| port["name"] == "admin").unwrap();
    assert!(listen.ends_with(&format!(":{}", admin["containerPort"])));
}

#[test]
fn what_the_manifests_select_is_there() {
    if !has_yaml() {
        return;
    }
    let resources = read("fileproxy.yaml");
    let deployment = &of(&resources, "Deployment", "fileproxy")["spec"];
    let labels = &deployment["template"]["metadata"]["labels"];
    assert_eq!(deployment["selector"]["matchLabels"], *labels);
    let ports = deployment["template"]["spec"]["containers"][0]["ports"].clone();
    let is_there = |name: &Value| {
        ports
            .as_array()
            .unwrap()
            .iter()
            .any(|port| port["name"] == *name)
    };
    for service in ["fileproxy", "fileproxy-admin"] {
        let spec = &of(&resources, "Service", service)["spec"];
        assert_eq!(spec["selector"], *labels);
        assert!(is_there(&spec["ports"][0]["targetPort"]), "{service}");
    }
    let budget = &of(&resources, "PodDisruptionBudget", "fileproxy")["spec"];
    assert_eq!(budget["selector"]["matchLabels"], *labels);
    let monitor = &read("servicemonitor.yaml")[0]["spec"];
    let service = of(&resources, "Service", "fileproxy-admin");
    assert_eq!(
        monitor["selector"]["matchLabels"],
        service["metadata"]["labels"]
    );
    assert_eq!(
        monitor["endpoints"][0]["port"],
        service["spec"]["ports"][0]["name"]
    );
    let volume = &deployment["template"]["spec"]["volumes"][0];
    let mount = &deployment["template"]["spec"]["containers"][0]["volumeMounts"][0];
    assert_eq!(volume["name"], mount["name"]);
}
