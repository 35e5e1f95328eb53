//! The crate's floors: who may import whom. Imports go down, so nothing is circular, and what decides can be tested
//! without sockets.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use crate::support::source_file::{Graph, Name, SourceFile, code, paths};

/// Each module with its floor: it may import from every lower one.
const FLOORS: [(&str, u8); 14] = [
    ("main", 5),
    ("app", 4),
    ("settings", 4),
    ("telemetry", 4),
    // Alone: the origin that it plays knows nothing of the proxy.
    ("demo", 4),
    ("path", 3),
    ("actors", 3),
    ("api", 3),
    ("problem", 2),
    ("traffic", 2),
    ("store", 1),
    ("reloadable", 0),
    ("units", 0),
    ("lib", 0),
];

/// Imports on one floor, with the names they are for; an empty list is all names.
const BESIDE: [(&str, &str, &[&str]); 6] = [
    ("app", "settings", &[]),
    ("app", "telemetry", &["RequestSpan", "refilter"]),
    ("settings", "telemetry", &["Settings", "self"]),
    // Samples go to the actors by it. Whatever else the two share lies in `traffic`.
    ("path", "actors", &["Reporter"]),
    ("api", "actors", &[]),
    // A stream keeps its connection from counting as idle.
    ("api", "path", &["client"]),
];

/// The workspace's crates: the folder of each and its name.
const CRATES: [(&str, &str); 3] = [
    ("src", "fileproxy"),
    ("load/src", "fileproxy_load"),
    ("testbed/src", "fileproxy_testbed"),
];

/// What pure modules never name: anything that waits, or knows sockets.
const IMPURE: [&str; 10] = [
    "actix",
    "actix_http",
    "actix_rt",
    "actix_web",
    "awc",
    "futures_util",
    "redis",
    "socket2",
    "tokio",
    "tokio_rustls",
];

/// The crate's own names that a file uses. `depth` is how far its module is below the crate.
fn imports(code: &str, depth: usize) -> Vec<Name> {
    let mut found = paths(code, "crate::");
    found.extend(paths(code, "fileproxy::"));
    let known = |path: &Name| FLOORS.iter().any(|(module, _)| path[0] == *module);
    found.extend(
        paths(code, &"super::".repeat(depth.max(1)))
            .into_iter()
            .filter(known),
    );
    found
}

/// Why `module` may not have this import.
fn verdict(module: &str, import: &Name) -> Result<(), String> {
    let floors = BTreeMap::from(FLOORS);
    let target = import[0].as_str();
    let to = floors.get(target).ok_or_else(|| {
        format!("`{target}` stands on no floor: give it one in tests/it/floors.rs")
    })?;
    let beside = || {
        BESIDE.iter().any(|(from, to, names)| {
            let name = import.get(1).map(String::as_str).unwrap_or("self");
            (*from, *to) == (module, target) && (names.is_empty() || names.contains(&name))
        })
    };
    if module == target || floors[module] > *to || beside() {
        Ok(())
    } else {
        Err(format!("`{module}` may not import `{}`", import.join("::")))
    }
}

/// Every source file of the proxy.
fn files() -> Vec<SourceFile> {
    SourceFile::all(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"))
}

/// The module of the crate that a file belongs to.
fn top(file: &SourceFile) -> &str {
    file.module.first().map_or("lib", String::as_str)
}

#[test]
fn no_module_imports_from_a_floor_above_or_unasked_from_beside() {
    let mut wrong = Vec::new();
    let mut seen = BTreeSet::new();
    for file in files() {
        let module = top(&file);
        for import in imports(&file.code, file.module.len()) {
            seen.insert((module.to_owned(), import[0].clone()));
            if let Err(why) = verdict(module, &import) {
                wrong.push(format!("{}: {why}", file.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // The scan sees something at all.
    for pair in [("app", "path"), ("path", "actors"), ("actors", "traffic")] {
        let pair = (pair.0.to_owned(), pair.1.to_owned());
        assert!(seen.contains(&pair), "{pair:?} is not among {seen:?}");
    }
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut wrong = Vec::new();
    for (folder, crate_name) in CRATES {
        let files = SourceFile::all(&root.join(folder));
        for circle in Graph::new(&files, crate_name).circles() {
            let circle: Vec<_> = circle.into_iter().collect();
            wrong.push(format!("in {folder}: {}", circle.join(", ")));
        }
    }
    assert!(
        wrong.is_empty(),
        "these files import each other:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn what_decides_knows_neither_the_runtime_nor_sockets() {
    for file in files() {
        if ["traffic", "reloadable", "units"].contains(&top(&file)) {
            for impure in IMPURE {
                assert!(
                    paths(&file.code, &format!("{impure}::")).is_empty(),
                    "{} names {impure}",
                    file.path.display()
                );
            }
        }
    }
}

#[test]
fn what_origins_are_made_of_is_for_the_demo_alone_and_knows_no_runtime() {
    let names = |file: &SourceFile, of: &str| !paths(&file.code, &format!("{of}::")).is_empty();
    for file in files() {
        let known = names(&file, "fileproxy_testbed");
        assert!(!known || top(&file) == "demo", "{}", file.path.display());
    }
    let testbed = Path::new(env!("CARGO_MANIFEST_DIR")).join("testbed/src");
    for file in SourceFile::all(&testbed) {
        let impure = IMPURE.iter().find(|impure| names(&file, impure));
        assert_eq!(impure, None, "{}", file.path.display());
    }
}

#[test]
fn every_module_of_the_crate_stands_on_a_floor() {
    let floors = BTreeMap::from(FLOORS);
    for file in files() {
        assert!(floors.contains_key(top(&file)), "{}", file.path.display());
    }
}

#[test]
fn a_wrong_import_is_seen_however_it_is_written() {
    let refused = |module: &str, depth, text: &str| {
        imports(&code(text), depth)
            .iter()
            .filter(|import| verdict(module, import).is_err())
            .count()
    };
    for text in [
        "use crate::actors::Actors;",
        "use crate::{\n    traffic::{level::Level, rate},\n    actors::{Actors, Reporter},\n};",
        "use crate::actors as a;",
        "use super::actors::Actors;",
        "fn f() { crate::actors::start() }",
    ] {
        assert_eq!(refused("path", 1, text), 1, "{text}");
    }
    for text in [
        "use crate::{actors::Reporter, traffic::published::Published};",
        "// use crate::actors::Actors;",
        "use super::origin::Origin;",
    ] {
        assert_eq!(refused("path", 1, text), 0, "{text}");
    }
    assert_eq!(refused("path", 2, "use super::super::api::State;"), 1);
    assert_eq!(refused("traffic", 1, "use crate::problem::Problem;"), 1);
    assert_eq!(refused("actors", 1, "use crate::path::tcp;"), 1);
}

#[test]
fn a_circle_is_seen_however_its_files_name_each_other() {
    let file = |module: &str, text: &str| SourceFile {
        path: PathBuf::from(module),
        module: module
            .split('/')
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
            .collect(),
        code: code(text),
    };
    for (parent, child) in [
        ("use child::Thing;", "use super::Other;"),
        ("fn f() -> child::Thing {}", "fn f() -> super::Other {}"),
        ("pub use self::child::Thing;", "use crate::{parent::Other};"),
        (
            "use crate::parent::child;",
            "mod inner { use super::super::Other; }",
        ),
        (
            "use child::{\n    Thing,\n};",
            "macro_rules! m { () => { $crate::parent::Other }; }",
        ),
    ] {
        let files = [
            file("", "pub mod parent;"),
            file("parent", &format!("mod child;\n{parent}")),
            file("parent/child", child),
        ];
        let circles = Graph::new(&files, "it").circles();
        assert_eq!(circles.len(), 1, "{parent} {child}");
        assert_eq!(circles[0].len(), 2, "{parent} {child}");
    }
    for (parent, child) in [
        // One way only, texts and comments, and a module written out that names its own file.
        ("mod child;", "use super::Other;"),
        (
            "use child::Thing;",
            "// use super::Other;\nconst A: &str = \"super::Other\";",
        ),
        ("use child::Thing;", "mod inner { use super::Thing; }"),
        ("use child::Thing;", "pub(in crate::parent) struct Thing;"),
    ] {
        let files = [file("parent", parent), file("parent/child", child)];
        assert!(
            Graph::new(&files, "it").circles().is_empty(),
            "{parent} {child}"
        );
    }
}

/// Lines of a file, without its module of tests.
fn lines_without_tests(text: &str) -> usize {
    text.split("#[cfg(test)]\nmod tests {")
        .next()
        .unwrap_or(text)
        .lines()
        .count()
}

#[test]
fn files_are_small() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (folder, _) in CRATES {
        let mut lengths = Vec::new();
        for file in SourceFile::all(&root.join(folder)) {
            let text = std::fs::read_to_string(&file.path).unwrap();
            let below = file.path.strip_prefix(root).unwrap();
            let parts: Vec<_> = below.iter().collect();
            if !parts.contains(&"tests".as_ref()) && !file.path.ends_with("tests.rs") {
                lengths.push((lines_without_tests(&text), file.path));
            }
        }
        lengths.sort();
        let (longest, file) = lengths.last().unwrap();
        assert!(
            *longest <= 500,
            "{} has {longest} lines without its tests: divide it",
            file.display()
        );
        let median = lengths[lengths.len() / 2].0;
        assert!(
            median < 160,
            "the median file of {folder} has {median} lines"
        );
    }
}
