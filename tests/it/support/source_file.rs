//! The project's own source files, and which modules each of them names: what the test of the floors reads.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// A path of Rust, in its parts: `["traffic", "level", "Level"]`.
pub type Name = Vec<String>;

/// One `.rs` file.
pub struct SourceFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its module below the crate: `["path", "origin", "pool"]`; empty for `lib.rs`.
    pub module: Name,
    /// What is in it, without comments, texts and what is compiled for tests alone.
    pub code: String,
}

impl SourceFile {
    /// Every file below `folder`, which is one crate's `src`.
    pub fn all(folder: &Path) -> Vec<Self> {
        let mut paths = Vec::new();
        collect(folder, &mut paths);
        let read = |path: PathBuf| {
            let code = without_tests(&code(&fs::read_to_string(&path).unwrap()));
            let module = module(path.strip_prefix(folder).unwrap());
            Self { path, module, code }
        };
        paths.into_iter().map(read).collect()
    }
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn module(file: &Path) -> Name {
    let inside = file.with_extension("");
    let parts = inside
        .iter()
        .map(|part| part.to_string_lossy().into_owned());
    let mut module: Name = parts.collect();
    if module.last().is_some_and(|last| last == "mod") || module == ["lib"] {
        module.pop();
    }
    module
}

pub fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The code without comments, and with every text and character emptied, so that braces and paths are the code's own.
pub fn code(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(len) = raw_text(rest).filter(|_| !code.ends_with(is_word)) {
            code.push_str("\"\"");
            len
        } else if first == '"' {
            code.push_str("\"\"");
            1 + until_closed(&rest[1..], '"')
        } else if let Some(len) = character(rest) {
            code.push_str("' '");
            len
        } else {
            code.push(first);
            first.len_utf8()
        };
        rest = &rest[skipped..];
    }
    code
}

/// The length of `r"..."` or `r#"..."#` at the start.
fn raw_text(text: &str) -> Option<usize> {
    let inside = text.strip_prefix('r')?;
    let marks = inside.len() - inside.trim_start_matches('#').len();
    inside[marks..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(marks));
    let begin = 1 + marks + 1;
    let len = text[begin..].find(&end).map(|at| begin + at + end.len());
    Some(len.unwrap_or(text.len()))
}

/// The length of `'x'` or `'\n'` at the start; none for a lifetime.
fn character(text: &str) -> Option<usize> {
    let inside = text.strip_prefix('\'')?;
    let mut letters = inside.chars();
    let first = letters.next()?;
    (first == '\\' || letters.next() == Some('\'')).then(|| 1 + until_closed(inside, '\''))
}

/// How far it is to behind the next `end` that no backslash stands before.
fn until_closed(text: &str, end: char) -> usize {
    let mut escaped = false;
    for (at, letter) in text.char_indices() {
        if letter == end && !escaped {
            return at + letter.len_utf8();
        }
        escaped = letter == '\\' && !escaped;
    }
    text.len()
}

/// The code without the items behind `#[cfg(test)]`.
fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut kept = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(at) = rest.find(MARK) {
        kept.push_str(&rest[..at]);
        rest = &rest[at + MARK.len()..];
        let end = rest.find(['{', ';']).unwrap_or(rest.len());
        let skipped = match rest[end..].chars().next() {
            Some('{') => end + block(&rest[end..]),
            Some(_) => end + 1,
            None => end,
        };
        rest = &rest[skipped..];
    }
    kept + rest
}

/// The length of the block in braces that `code` begins with.
fn block(code: &str) -> usize {
    let mut depth = 0;
    for (at, letter) in code.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 1 => return at + 1,
            '}' => depth -= 1,
            _ => {}
        }
    }
    code.len()
}

/// Expands the path or the tree of `use` at the start of `text`: `a::{b, c::d}` is `a::b` and `a::c::d`. Returns how
/// much of `text` it took.
fn expand(text: &str, prefix: &[String], found: &mut Vec<Name>) -> usize {
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

/// Every path in `code` that begins with `root`, like `crate::`, without it; but for those that say who may see an item.
pub fn paths(code: &str, root: &str) -> Vec<Name> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices(root) {
        let before = &code[..at];
        if !before.ends_with(|c| is_word(c) || c == ':' || c == '$') && !before.ends_with("(in ") {
            expand(&code[at + root.len()..], &[], &mut found);
        }
    }
    found
}

/// The files of one crate, and which of them each names. `crate_name` is what the crate's program calls its library.
pub struct Graph<'a> {
    files: &'a [SourceFile],
    by_module: BTreeMap<&'a [String], usize>,
    crate_name: &'a str,
}

impl<'a> Graph<'a> {
    pub fn new(files: &'a [SourceFile], crate_name: &'a str) -> Self {
        let by_module = files.iter().enumerate();
        let by_module = by_module.map(|(n, file)| (file.module.as_slice(), n));
        Self {
            files,
            by_module: by_module.collect(),
            crate_name,
        }
    }

    /// The files that this one names: a path leads to the file of the innermost module in it, a re-exported item to the
    /// file that re-exports it. Declaring a module is not naming it.
    pub fn named_by(&self, file: usize) -> BTreeSet<usize> {
        let mut named = BTreeSet::new();
        let SourceFile { module, code, .. } = &self.files[file];
        self.follow(module, code, &mut named);
        named.remove(&file);
        named
    }

    fn follow(&self, module: &[String], code: &str, named: &mut BTreeSet<usize>) {
        let code = &self.inline(module, code, named);
        let mut found = paths(&code.replace("$crate::", "crate::"), "crate::");
        found.extend(paths(code, &format!("{}::", self.crate_name)));
        named.extend(found.iter().filter_map(|path| self.file_of(&[], path)));
        let mut above = module;
        let mut root = String::from("super::");
        while let [parent @ .., _] = above {
            let found = paths(code, &root);
            let found = found.iter().filter(|path| path[0] != "super");
            named.extend(found.filter_map(|path| self.file_of(parent, path)));
            (above, root) = (parent, root + "super::");
        }
        let own = paths(code, "self::");
        named.extend(own.iter().filter_map(|path| self.file_of(module, path)));
        for (child, at) in self.children(module) {
            if !paths(code, &format!("{child}::")).is_empty() {
                named.insert(at);
            }
        }
    }

    /// Follows what stands in modules that `code` writes out, and returns the rest of it.
    fn inline(&self, module: &[String], code: &str, named: &mut BTreeSet<usize>) -> String {
        let mut kept = String::new();
        let mut rest = code;
        while let Some(at) = rest.find("mod ") {
            let behind = &rest[at + "mod ".len()..];
            let len = behind.find(|c| !is_word(c)).unwrap_or(behind.len());
            let body = behind[len..].trim_start();
            let is_inline = body.starts_with('{') && !rest[..at].ends_with(is_word);
            if is_inline {
                let block = &body[..block(body)];
                let inner = [module, &[behind[..len].to_owned()]].concat();
                let inside = block.strip_prefix('{').unwrap();
                self.follow(&inner, inside.strip_suffix('}').unwrap_or(inside), named);
                kept.push_str(&rest[..at]);
                rest = &body[block.len()..];
            } else {
                let (before, after) = rest.split_at(at + "mod ".len());
                kept.push_str(before);
                rest = after;
            }
        }
        kept + rest
    }

    fn children(&self, module: &[String]) -> impl Iterator<Item = (&'a String, usize)> {
        self.by_module
            .iter()
            .filter_map(move |(other, at)| match other.split_last() {
                Some((last, above)) if above == module => Some((last, *at)),
                _ => None,
            })
    }

    fn file_of(&self, base: &[String], path: &[String]) -> Option<usize> {
        let whole = [base, path].concat();
        (0..=whole.len())
            .rev()
            .find_map(|len| self.by_module.get(&whole[..len]).copied())
    }

    /// The circles: files each of which leads to every other of its circle, by their modules.
    pub fn circles(&self) -> Vec<BTreeSet<String>> {
        let count = self.files.len();
        let mut reaches: Vec<_> = (0..count).map(|file| self.named_by(file)).collect();
        // Warshall's closure: as many files as these take no time.
        for via in 0..count {
            let further = reaches[via].clone();
            for reach in reaches.iter_mut().filter(|reach| reach.contains(&via)) {
                reach.extend(&further);
            }
        }
        let circle_of = |file: usize| {
            let others = reaches[file].iter();
            let circle = others.filter(|other| reaches[**other].contains(&file));
            circle
                .map(|other| self.files[*other].module.join("/"))
                .collect::<BTreeSet<_>>()
        };
        let circles: BTreeSet<_> = (0..count).map(circle_of).collect();
        let circles = circles.into_iter();
        circles.filter(|circle| !circle.is_empty()).collect()
    }
}
