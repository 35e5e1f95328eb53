//! The crate's floors: who may import whom. Imports go down, so nothing is circular, and what decides can be tested
//! without sockets.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Each module with its floor: it may import from every lower one.
const FLOORS: [(&str, u8); 13] = [
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

/// One name that a file takes from another part of the crate, or from outside.
type Import = Vec<String>;

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The code without comments. A `//` in a string is taken for one too, which hides at most the rest of that line.
fn code(text: &str) -> String {
    text.lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n")
}

/// Expands the path or the tree of `use` at the start of `text`: `a::{b, c::d}` is `a::b` and `a::c::d`. Returns how
/// much of `text` it took.
fn expand(text: &str, prefix: &[String], found: &mut Vec<Import>) -> usize {
    let mut path = prefix.to_vec();
    let mut at = text.len() - text.trim_start().len();
    loop {
        let rest = &text[at..];
        if let Some(inside) = rest.strip_prefix('{') {
            at += 1;
            let mut left = inside;
            loop {
                let taken = expand(left, &path, found);
                at += taken;
                left = &left[taken..];
                match left.chars().next() {
                    Some(',') => {
                        at += 1;
                        left = &left[1..];
                    }
                    Some('}') => return at + 1,
                    _ => return at,
                }
            }
        }
        let len = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        if len == 0 {
            if rest.starts_with('*') {
                at += 1;
                path.push("*".to_owned());
            }
            break;
        }
        path.push(rest[..len].to_owned());
        at += len;
        match text[at..].strip_prefix("::") {
            Some(_) => at += 2,
            None => break,
        }
    }
    // `as other`, and the space before a comma or a brace
    if let Some(renamed) = text[at..].trim_start().strip_prefix("as ") {
        let after = renamed.trim_start_matches(is_word);
        at = text.len() - after.len();
    }
    at += text[at..].len() - text[at..].trim_start().len();
    if path.len() > prefix.len() {
        found.push(path);
    }
    at
}

/// Every path in `code` that begins with `root`, like `crate::`.
fn paths(code: &str, root: &str) -> Vec<Import> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices(root) {
        if !code[..at].ends_with(|c| is_word(c) || c == ':' || c == '$') {
            expand(&code[at + root.len()..], &[], &mut found);
        }
    }
    found
}

/// The crate's own names that a file uses. `depth` is how far its module is below the crate.
fn imports(code: &str, depth: usize) -> Vec<Import> {
    let mut found = paths(code, "crate::");
    found.extend(paths(code, "fileproxy::"));
    let known = |path: &Import| FLOORS.iter().any(|(module, _)| path[0] == *module);
    found.extend(
        paths(code, &"super::".repeat(depth))
            .into_iter()
            .filter(known),
    );
    found
}

/// Why `module` may not have this import.
fn verdict(module: &str, import: &Import) -> Result<(), String> {
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

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Every source file, with the names of the modules above and of its own: `path`, `origin`, `pool`.
fn modules() -> Vec<(PathBuf, Vec<String>)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    files
        .into_iter()
        .map(|file| {
            let inside = file.strip_prefix(&src).unwrap().with_extension("");
            let mut names: Vec<_> = inside
                .iter()
                .map(|name| name.to_string_lossy().into_owned())
                .collect();
            if names.last().is_some_and(|name| name == "mod") {
                names.pop();
            }
            (file, names)
        })
        .collect()
}

#[test]
fn no_module_imports_from_a_floor_above_or_unasked_from_beside() {
    let mut wrong = Vec::new();
    let mut seen = BTreeSet::new();
    for (file, names) in modules() {
        let code = code(&fs::read_to_string(&file).unwrap());
        for import in imports(&code, names.len()) {
            seen.insert((names[0].clone(), import[0].clone()));
            if let Err(why) = verdict(&names[0], &import) {
                wrong.push(format!("{}: {why}", file.display()));
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
fn what_decides_knows_neither_the_runtime_nor_sockets() {
    for (file, names) in modules() {
        if names[0] == "traffic" || names[0] == "units" {
            let code = code(&fs::read_to_string(&file).unwrap());
            for impure in IMPURE {
                assert!(
                    paths(&code, &format!("{impure}::")).is_empty(),
                    "{} names {impure}",
                    file.display()
                );
            }
        }
    }
}

#[test]
fn every_module_of_the_crate_stands_on_a_floor() {
    let floors = BTreeMap::from(FLOORS);
    for (file, names) in modules() {
        assert!(floors.contains_key(names[0].as_str()), "{}", file.display());
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
