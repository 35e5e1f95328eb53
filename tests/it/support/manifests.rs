//! Kubernetes resources in YAML.

use std::{
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use fileproxy::{reloadable::Reloadable as _, settings::Settings};
use serde_json::Value;

use super::need::need;

/// All resources of a file, named from the root of the repository.
pub fn read(file: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    parse(&std::fs::read_to_string(path).unwrap())
}

/// All resources of a text.
pub fn parse(text: &str) -> Vec<Value> {
    let script = "import json, sys, yaml; print(json.dumps([one for one in yaml.safe_load_all(sys.stdin) if one]))";
    let mut python = Command::new("python3")
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // All of it is read before anything is answered.
    let mut input = python.stdin.take().unwrap();
    input.write_all(text.as_bytes()).unwrap();
    drop(input);
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success(), "not YAML: {text}");
    serde_json::from_slice(&output.stdout).unwrap()
}

pub fn has_yaml() -> bool {
    let output = Command::new("python3").args(["-c", "import yaml"]).output();
    need(
        "python3 with yaml",
        "Kubernetes manifests are read",
        output.is_ok_and(|output| output.status.success()),
    )
}

pub fn of<'a>(resources: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let found = resources
        .iter()
        .find(|one| one["kind"] == kind && one["metadata"]["name"] == name);
    found.unwrap_or_else(|| panic!("there is no {kind} {name}"))
}

/// The variables of a ConfigMap are settings, and the program takes them. Certificates are not there.
pub fn assert_hold(variables: &Value) {
    let keys = Settings::base().unwrap().keys();
    let folder = tempfile::tempdir().unwrap();
    let mut check = Command::new(env!("CARGO_BIN_EXE_fileproxy"));
    check
        .env_clear()
        .env("FILEPROXY_SETTINGS", folder.path())
        .arg("check");
    for (variable, value) in variables.as_object().unwrap() {
        let key = variable.strip_prefix("FILEPROXY__").unwrap();
        let key = key.replace("__", ".").to_lowercase();
        assert!(keys.iter().any(|(known, _)| *known == key), "{key}");
        if !key.starts_with("tls.") {
            check.env(variable, value.as_str().unwrap());
        }
    }
    check.env("FILEPROXY__STORE__DIRECTORY", folder.path().join("store"));
    let checked = check.output().unwrap();
    let said = String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success(), "{said}");
}
