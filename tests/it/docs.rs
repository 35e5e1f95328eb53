//! The documents: what they name is there, and the reference of settings is what `settings/base.toml` says.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
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
    const FOLDERS: [&str; 6] = [
        "src/",
        "settings/",
        "tests/",
        "docs/",
        "load/src/",
        "load/peers/",
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

/// One section of `settings/base.toml`: its name, what stands above it, and its keys with default and why.
struct Section {
    name: String,
    about: String,
    keys: Vec<[String; 3]>,
}

/// The sections, as the file has them. A comment that begins at the keys' comments goes on with the one before.
fn sections(text: &str) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    let mut above = Vec::new();
    // Of a list that is written over several lines.
    for line in text.lines() {
        let trimmed = line.trim();
        if let Some(comment) = trimmed.strip_prefix('#') {
            let optional = comment.trim_start();
            match (sections.last_mut(), line.starts_with('#')) {
                (Some(section), false) => {
                    let last = section.keys.last_mut().expect("a comment that goes on");
                    write!(last[2], " {}", comment.trim()).unwrap();
                }
                (Some(section), true) if above.is_empty() && is_key(optional) => {
                    section.keys.push(key(optional));
                }
                _ => above.push(comment.trim().to_owned()),
            }
        } else if let Some(header) = trimmed.strip_prefix('[') {
            let (name, about) = header.split_once(']').unwrap();
            let about = about.trim().trim_start_matches('#').trim();
            if !about.is_empty() {
                above.push(about.to_owned());
            }
            sections.push(Section {
                name: name.to_owned(),
                about: above.join(" "),
                keys: Vec::new(),
            });
            above.clear();
        } else if trimmed.is_empty() {
            above.clear();
        } else {
            sections.last_mut().unwrap().keys.push(key(trimmed));
        }
    }
    sections
}

fn is_key(line: &str) -> bool {
    line.split_once(" = ")
        .is_some_and(|(name, _)| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
}

fn key(line: &str) -> [String; 3] {
    let (name, rest) = line.split_once('=').unwrap();
    let (value, why) = rest.split_once(" #").unwrap_or((rest, ""));
    [name, value, why].map(|part| part.trim().to_owned())
}

/// The keys that few operators touch stand last: sections whose description begins with this word.
const ADVANCED: &str = "Advanced:";

fn reference(text: &str) -> String {
    let mut page = String::from(
        "# Every setting\n\nMade from `settings/base.toml` by `UPDATE_DOCS=1 cargo test --test it docs`. [settings.md](settings.md) \
         says where settings\ncome from. In the environment a key is `FILEPROXY__SECTION__KEY`.\n",
    );
    let (advanced, first): (Vec<_>, Vec<_>) = sections(text)
        .into_iter()
        .partition(|section| section.about.starts_with(ADVANCED));
    for (chapter, sections) in [("Settings", first), ("Advanced settings", advanced)] {
        write!(page, "\n## {chapter}\n").unwrap();
        for Section { name, about, keys } in sections {
            write!(page, "\n### {name}\n\n").unwrap();
            let about = about.trim_start_matches(ADVANCED).trim();
            if !about.is_empty() {
                write!(page, "{about}\n\n").unwrap();
            }
            page.push_str("| key | default | |\n|---|---|---|\n");
            for [key, default, why] in keys {
                let why = why.replace('|', "\\|");
                writeln!(page, "| `{name}.{key}` | `{default}` | {why} |").unwrap();
            }
        }
    }
    page
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
