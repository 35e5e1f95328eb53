//! The Helm chart: what it renders is kept beside it, and by its defaults is what the plain manifests are.
//!
//! Where helm is, what is kept is held against it, and `UPDATE_CHART=1` writes it anew. Elsewhere a hash over the chart's files
//! tells that they were changed and what is kept was not.

use std::{fmt::Write as _, fs, path::Path, process::Command};

use ring::digest::{Context, SHA256};
use serde_json::{Value, json};

use crate::support::manifests::{assert_hold, has_yaml, of, parse, read};

const CHART: &str = "packaging/helm/fileproxy";
/// What is kept, and the values that it is rendered with.
const RENDERED: [(&str, Option<&str>); 2] = [
    ("packaging/helm/rendered/default.yaml", None),
    (
        "packaging/helm/rendered/everything.yaml",
        Some("packaging/helm/fileproxy/ci/everything-values.yaml"),
    ),
];
const PLAIN: &str = "settings/kubernetes/fileproxy.yaml";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Helm, with what it is asked; what it printed. None where it is not installed.
fn helm(arguments: &[&str]) -> Option<String> {
    let output = Command::new("helm")
        .args(arguments)
        .current_dir(root())
        .output()
        .ok()?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "helm {arguments:?}: {said}");
    Some(String::from_utf8(output.stdout).unwrap())
}

/// SHA-256 over all that is rendered, names included.
fn hash() -> String {
    let mut files = Vec::new();
    let mut folders = vec![root().join(CHART)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.extension() {
                _ if path.is_dir() => folders.push(path),
                Some(kind) if kind == "md" => {}
                _ => files.push(path),
            }
        }
    }
    files.sort();
    assert!(files.len() > 8, "{files:?}");
    let mut context = Context::new(&SHA256);
    for file in files {
        let name = file.strip_prefix(root()).unwrap().display().to_string();
        context.update(name.as_bytes());
        context.update(&[0]);
        context.update(&fs::read(&file).unwrap());
    }
    let mut text = String::new();
    for byte in context.finish().as_ref() {
        write!(text, "{byte:02x}").unwrap();
    }
    text
}

fn head() -> String {
    format!(
        "# Rendered by helm: UPDATE_CHART=1 cargo test --workspace --test it chart\n# of files with the hash {}\n",
        hash()
    )
}

#[test]
fn what_is_kept_is_what_the_chart_renders() {
    for (kept, values) in RENDERED {
        let path = root().join(kept);
        let mut with = vec![CHART];
        with.extend(values.into_iter().flat_map(|values| ["--values", values]));
        let rendered = helm(&[&["template", "fileproxy"], &*with].concat());
        if let Some(rendered) = &rendered {
            helm(&[&["lint", "--strict"], &*with].concat());
            if std::env::var_os("UPDATE_CHART").is_some() {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(&path, head() + rendered).unwrap();
            }
        }
        let text = fs::read_to_string(&path).unwrap();
        assert!(
            text.starts_with(&head()),
            "{kept} is of another chart: UPDATE_CHART=1 with helm on the PATH"
        );
        if let Some(rendered) = rendered.filter(|_| has_yaml()) {
            // In whatever order this version of helm has them.
            let (mut kept, mut rendered) = (parse(&text), parse(&rendered));
            kept.sort_by_key(Value::to_string);
            rendered.sort_by_key(Value::to_string);
            assert_eq!(kept, rendered);
        }
    }
}

/// Takes out what only a chart has: labels of the release, and what is Kubernetes' own default.
fn without_release(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for name in ["instance", "version", "managed-by"] {
                fields.remove(&format!("app.kubernetes.io/{name}"));
            }
            fields.remove("helm.sh/chart");
            fields.remove("imagePullPolicy");
            fields.remove("checksum/settings");
            fields.values_mut().for_each(without_release);
            fields.retain(|name, field| name != "annotations" || *field != json!({}));
            fields.retain(|name, field| name != "type" || *field != "ClusterIP");
        }
        Value::Array(list) => list.iter_mut().for_each(without_release),
        _ => {}
    }
}

#[test]
fn by_its_defaults_the_chart_is_what_the_plain_manifests_are() {
    if !has_yaml() {
        return;
    }
    let (plain, mut chart) = (read(PLAIN), read(RENDERED[0].0));
    assert_eq!(plain.len(), chart.len());
    chart.iter_mut().for_each(without_release);
    for resource in &plain {
        let (kind, name) = (&resource["kind"], &resource["metadata"]["name"]);
        let rendered = of(&chart, kind.as_str().unwrap(), name.as_str().unwrap());
        assert_eq!(resource, rendered, "{kind} {name}");
    }
    let mut full = read(RENDERED[1].0);
    full.iter_mut().for_each(without_release);
    let monitor = &read("settings/kubernetes/servicemonitor.yaml")[0]["spec"];
    let rendered = &of(&full, "ServiceMonitor", "fileproxy")["spec"];
    assert_eq!(monitor["selector"], rendered["selector"]);
    assert_eq!(
        monitor["endpoints"][0]["port"],
        rendered["endpoints"][0]["port"]
    );
}

#[test]
fn a_chart_with_everything_sets_settings_that_hold_and_finds_its_pods() {
    if !has_yaml() {
        return;
    }
    let resources = read(RENDERED[1].0);
    let settings = &of(&resources, "ConfigMap", "fileproxy")["data"];
    assert_hold(settings);
    // As text: Helm reads numbers as floating-point ones, and YAML's own types are none of a ConfigMap.
    assert_eq!(settings["FILEPROXY__SERVER__MAX_CONNECTIONS"], "1000000");
    assert_eq!(settings["FILEPROXY__LEVELS__HIGH__STORE"], "false");
    let networks = &settings["FILEPROXY__SERVER__TRUSTED_PROXIES"];
    assert_eq!(*networks, "10.0.0.0/8,192.0.2.7");

    let deployment = &of(&resources, "Deployment", "fileproxy")["spec"];
    let pod = &deployment["template"]["spec"];
    // 20s and 2m and 10 more.
    assert_eq!(pod["terminationGracePeriodSeconds"], 150);
    let labels = &deployment["selector"]["matchLabels"];
    assert_eq!(deployment["template"]["metadata"]["labels"], *labels);
    let selectors = [
        ("Service", "fileproxy", "/spec/selector"),
        ("Service", "fileproxy-admin", "/spec/selector"),
        (
            "PodDisruptionBudget",
            "fileproxy",
            "/spec/selector/matchLabels",
        ),
        (
            "NetworkPolicy",
            "fileproxy",
            "/spec/podSelector/matchLabels",
        ),
    ];
    for (kind, name, selector) in selectors {
        let resource = of(&resources, kind, name);
        assert_eq!(resource.pointer(selector), Some(labels), "{kind} {name}");
    }
    let monitor = &of(&resources, "ServiceMonitor", "fileproxy")["spec"]["selector"];
    let service = &of(&resources, "Service", "fileproxy-admin")["metadata"]["labels"];
    for (label, value) in monitor["matchLabels"].as_object().unwrap() {
        assert_eq!(service[label], *value, "{label}");
    }
    let volumes = pod["volumes"].as_array().unwrap();
    let mounts = pod["containers"][0]["volumeMounts"].as_array().unwrap();
    for mount in mounts {
        let named = |volume: &&Value| volume["name"] == mount["name"];
        assert!(volumes.iter().any(|volume| named(&volume)), "{mount}");
    }
    let certificate = settings["FILEPROXY__TLS__CERTIFICATE"].as_str().unwrap();
    let mounted = |mount: &Value| certificate.starts_with(mount["mountPath"].as_str().unwrap());
    assert!(mounts.iter().any(mounted), "{certificate}");
}

#[test]
fn the_chart_is_of_the_programs_version() {
    let text = fs::read_to_string(root().join(CHART).join("Chart.yaml")).unwrap();
    for field in ["version", "appVersion"] {
        let line = format!("{field}: {}", env!("CARGO_PKG_VERSION"));
        assert!(text.lines().any(|one| one == line), "{line}");
    }
}
