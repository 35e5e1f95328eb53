//! The Kubernetes manifests: they name what is there, set settings that exist, and give a drain the time that it takes.

use std::time::Duration;

use serde_json::Value;

use crate::support::manifests::{assert_hold, has_yaml, of, read};

fn time(value: &Value) -> Duration {
    humantime::parse_duration(value.as_str().unwrap()).unwrap()
}

#[test]
fn the_manifests_set_settings_that_hold_and_leave_a_drain_its_time() {
    if !has_yaml() {
        return;
    }
    let resources = read("settings/kubernetes/fileproxy.yaml");
    let settings = of(&resources, "ConfigMap", "fileproxy")["data"].clone();
    assert_hold(&settings);

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
    let resources = read("settings/kubernetes/fileproxy.yaml");
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
    let monitor = &read("settings/kubernetes/servicemonitor.yaml")[0]["spec"];
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
