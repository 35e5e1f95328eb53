//! The documents: what they name is there, and the reference of settings is what `settings/base.toml` says.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use fileproxy::{
    reloadable::{Reloadable as _, TakesEffect},
    settings::Settings,
};

/// The longest that the README may be: it is a first page and not a manual.
const README_LINES: usize = 200;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every page of Markdown in the project.
fn pages() -> Vec<PathBuf> {
    let mut pages = Vec::new();
    let mut folders = vec![root().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                if !name.starts_with('.') && !["target", "out", "node_modules"].contains(&&*name) {
                    folders.push(path);
                }
            } else if name.ends_with(".md") {
                pages.push(path);
            }
        }
    }
    assert!(pages.len() > 10, "no pages were found");
    pages
}

/// The lines outside of fenced blocks.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut fenced = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

/// The name that a heading can be linked by, as code hosts make it.
fn anchor(heading: &str) -> String {
    let heading = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = heading.chars().filter_map(|c| match c {
        ' ' => Some('-'),
        c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
        _ => None,
    });
    kept.collect()
}

fn anchors(text: &str) -> BTreeSet<String> {
    let headings = prose(text).filter(|line| line.starts_with('#'));
    headings.map(anchor).collect()
}

/// The targets of the links of a page.
fn links(text: &str) -> Vec<String> {
    let text: String = prose(text).collect::<Vec<_>>().join("\n");
    let targets = text.split("](").skip(1);
    targets
        .filter_map(|rest| Some(rest[..rest.find(')')?].to_owned()))
        .collect()
}

#[test]
fn every_link_of_the_documents_leads_somewhere() {
    let mut broken = Vec::new();
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for link in links(&text) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (file, fragment) = link.split_once('#').unwrap_or((&link, ""));
            let target = if file.is_empty() {
                page.clone()
            } else {
                page.parent().unwrap().join(file)
            };
            let found = target.exists()
                && (fragment.is_empty()
                    || fs::read_to_string(&target)
                        .is_ok_and(|text| anchors(&text).contains(fragment)));
            if !found {
                broken.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn every_file_that_the_documents_name_is_there() {
    const FOLDERS: [&str; 7] = [
        "src/",
        "settings/",
        "tests/",
        "docs/",
        "load/src/",
        "load/peers/",
        "testbed/",
    ];
    let mut missing = Vec::new();
    for page in pages() {
        // What a report or an old release names may be gone.
        if page.starts_with(root().join("load/reports")) || page.ends_with("CHANGELOG.md") {
            continue;
        }
        let text = fs::read_to_string(&page).unwrap();
        let prose: String = prose(&text).collect::<Vec<_>>().join("\n");
        for quoted in prose.split('`').skip(1).step_by(2) {
            let named = FOLDERS.iter().any(|folder| quoted.starts_with(folder));
            let pattern = quoted.contains(['<', '*', '{', ' ']) || quoted.ends_with("local.toml");
            if named && !pattern && !root().join(quoted).exists() {
                missing.push(format!("{}: {quoted}", page.display()));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn the_index_names_every_document() {
    let index = fs::read_to_string(root().join("docs/README.md")).unwrap();
    let linked = links(&index);
    for entry in fs::read_dir(root().join("docs")).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        if name.ends_with(".md") && name != "README.md" {
            assert!(
                linked.contains(&name),
                "docs/README.md does not name {name}"
            );
        }
    }
}

#[test]
fn the_readme_is_a_first_page() {
    let lines = fs::read_to_string(root().join("README.md"))
        .unwrap()
        .lines()
        .count();
    assert!(lines <= README_LINES, "README.md has {lines} lines");
}

/// One section of `settings/base.toml`: its name, what stands above it, and its keys.
struct Section {
    name: String,
    about: String,
    keys: Vec<Key>,
}

/// One key, with its default and why.
struct Key {
    name: String,
    default: String,
    why: String,
    is_advanced: bool,
}

/// The keys that no operator should need stand last: all of a section whose description begins with this word, and those
/// of any section below a comment that is this word alone.
const ADVANCED: &str = "Advanced:";

/// The sections, as the file has them. A comment that begins at the keys' comments goes on with the one before.
fn sections(text: &str) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    let mut above = Vec::new();
    let mut is_advanced = false;
    for line in text.lines() {
        let trimmed = line.trim();
        if let Some(comment) = trimmed.strip_prefix('#') {
            let comment = comment.trim();
            match (sections.last_mut(), line.starts_with('#')) {
                (Some(section), false) => {
                    let last = section.keys.last_mut().expect("a comment that goes on");
                    write!(last.why, " {comment}").unwrap();
                }
                (Some(_), true) if comment == ADVANCED => is_advanced = true,
                (Some(section), true) if above.is_empty() && is_key(comment) => {
                    section.keys.push(key(comment, is_advanced));
                }
                _ => above.push(comment.to_owned()),
            }
        } else if let Some(header) = trimmed.strip_prefix('[') {
            let (name, about) = header.split_once(']').unwrap();
            let about = about.trim().trim_start_matches('#').trim();
            if !about.is_empty() {
                above.push(about.to_owned());
            }
            let about = above.join(" ");
            is_advanced = about.starts_with(ADVANCED);
            sections.push(Section {
                name: name.to_owned(),
                about: about.trim_start_matches(ADVANCED).trim().to_owned(),
                keys: Vec::new(),
            });
            above.clear();
        } else if trimmed.is_empty() {
            above.clear();
        } else {
            let section = sections.last_mut().unwrap();
            section.keys.push(key(trimmed, is_advanced));
        }
    }
    sections
}

fn is_key(line: &str) -> bool {
    line.split_once(" = ")
        .is_some_and(|(name, _)| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
}

fn key(line: &str, is_advanced: bool) -> Key {
    let (name, rest) = line.split_once('=').unwrap();
    let (value, why) = rest.split_once(" #").unwrap_or((rest, ""));
    let [name, default, why] = [name, value, why].map(|part| part.trim().to_owned());
    Key {
        name,
        default,
        why,
        is_advanced,
    }
}

/// When a change of each key takes effect, as the settings types say.
fn effects() -> BTreeMap<String, TakesEffect> {
    let keys = Settings::base().unwrap().keys();
    let count = keys.len();
    let effects: BTreeMap<_, _> = keys.into_iter().collect();
    assert_eq!(effects.len(), count, "a key is there twice");
    effects
}

fn reference(text: &str) -> String {
    let mut page = String::from(
        "# Every setting\n\nMade from `settings/base.toml` by `UPDATE_DOCS=1 cargo test --test it docs`. [settings.md](settings.md) \
         says where settings\ncome from. In the environment a key is `FILEPROXY__SECTION__KEY`. *In force* is when a change is, after \
         a [reload](operations.md#reload).\n",
    );
    let (sections, effects) = (sections(text), effects());
    for (chapter, is_advanced) in [("Settings", false), ("Advanced settings", true)] {
        write!(page, "\n## {chapter}\n").unwrap();
        if is_advanced {
            page.push_str("\nNo operator should need to touch these.\n");
        }
        for Section { name, about, keys } in &sections {
            let mut keys = keys
                .iter()
                .filter(|key| key.is_advanced == is_advanced)
                .peekable();
            if keys.peek().is_none() {
                continue;
            }
            write!(page, "\n### {name}\n\n").unwrap();
            if !about.is_empty() {
                write!(page, "{about}\n\n").unwrap();
            }
            page.push_str("| key | default | in force | |\n|---|---|---|---|\n");
            for key in keys {
                let why = key.why.replace('|', "\\|");
                let (whole, default) = (format!("{name}.{}", key.name), &key.default);
                let effect = effects
                    .get(&whole)
                    .unwrap_or_else(|| panic!("no settings type lists {whole}"));
                writeln!(page, "| `{whole}` | `{default}` | {effect} | {why} |").unwrap();
            }
        }
    }
    page
}

#[test]
fn the_reference_has_every_key_that_the_settings_types_have() {
    let base = fs::read_to_string(root().join("settings/base.toml")).unwrap();
    let sections = sections(&base);
    // Those that follow the class where a level does not set them stand with the other levels.
    let in_file: BTreeSet<_> = sections
        .iter()
        .flat_map(|section| {
            let keys = section.keys.iter();
            keys.map(|key| format!("{}.{}", section.name, key.name))
        })
        .collect();
    for key in effects().into_keys() {
        let elsewhere = key.replace("levels.high.", "levels.low.");
        assert!(
            in_file.contains(&key) || in_file.contains(&elsewhere),
            "settings/base.toml has no {key}"
        );
    }
}

/// The keys that a cell of a table names: `` `a.b`, `.c` `` is `a.b` and `a.c`.
fn named(cell: &str) -> Vec<String> {
    let mut section = String::new();
    let quoted = cell.split('`').skip(1).step_by(2);
    quoted
        .map(|name| match name.strip_prefix('.') {
            Some(key) => format!("{section}.{key}"),
            None => {
                section = name.rsplit_once('.').unwrap().0.to_owned();
                name.to_owned()
            }
        })
        .collect()
}

#[test]
fn the_table_of_what_is_in_force_when_is_what_the_settings_types_say() {
    let page = fs::read_to_string(root().join("docs/operations.md")).unwrap();
    let rows = page
        .lines()
        .skip_while(|line| !line.starts_with("| settings | when"));
    let rows: Vec<(Vec<String>, &str)> = rows
        .skip(2)
        .map_while(|line| line.strip_prefix('|')?.split_once('|'))
        .map(|(keys, when)| (named(keys), when))
        .collect();
    let fits = |pattern: &String, key: &str| match pattern.strip_suffix('*') {
        Some(begin) => key.starts_with(begin),
        None => pattern == key,
    };
    let mut wrong = Vec::new();
    for (key, effect) in effects() {
        let told: Vec<_> = rows
            .iter()
            .filter(|(patterns, _)| patterns.iter().any(|pattern| fits(pattern, &key)))
            .map(|(_, when)| *when)
            .collect();
        if told.len() != 1 || !told[0].contains(&effect.to_string()) {
            wrong.push(format!("{key} is in force {effect}, told: {told:?}"));
        }
    }
    assert!(wrong.is_empty(), "docs/operations.md: {wrong:#?}");
}

#[test]
fn the_reference_of_settings_is_what_the_defaults_say() {
    let base = fs::read_to_string(root().join("settings/base.toml")).unwrap();
    let made = reference(&base);
    let path = root().join("docs/settings-reference.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &made).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == made,
        "docs/settings-reference.md is not what settings/base.toml says: UPDATE_DOCS=1 cargo test --test it docs"
    );
    // Every key of the file is in it.
    let parsed: toml::Table = base.parse().unwrap();
    let mut tables = vec![(String::new(), parsed)];
    let mut keys = 0;
    while let Some((prefix, table)) = tables.pop() {
        for (name, value) in table {
            match value {
                toml::Value::Table(table) => tables.push((format!("{prefix}{name}."), table)),
                _ => {
                    keys += 1;
                    assert!(
                        made.contains(&format!("`{prefix}{name}`")),
                        "{prefix}{name}"
                    );
                }
            }
        }
    }
    assert!(keys > 100);
}
