//! Where settings are read from: layered files and environment variables, and which of them set a key.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

use config::{Config, ConfigError, Environment, File, FileFormat};
use toml::{Table, Value};

use super::spelling::{nearest, variable_of};

/// Prefix of the environment variables in lower case: two underscores, as between all parts.
const PREFIX: &str = "fileproxy__";

/// Which files to read.
#[derive(Clone, Debug, Default)]
pub struct SettingsFiles {
    /// The folder of the files, if one was given: then it must exist.
    pub folder: Option<PathBuf>,
    /// The name of the file above the base, if one was given: then it must exist.
    pub name: Option<String>,
}

/// Why the layers cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LayersError {
    /// A file exists but cannot be read. Ignoring it would put other settings in force.
    #[error("{} cannot be read: {source}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file is not valid TOML.
    #[error("{}: {}", file.display(), without_quotes(&source.to_string()))]
    Toml {
        /// The file.
        file: PathBuf,
        /// The parser's message, with the line.
        source: toml::de::Error,
    },
    /// The given folder does not exist.
    #[error("there is no folder {}: FILEPROXY_SETTINGS or --settings names it", .0.display())]
    NoFolder(PathBuf),
    /// The given file does not exist.
    #[error("there is no {}: FILEPROXY_ENV or --env names it", .0.display())]
    NoFile(PathBuf),
}

/// The layers, lowest first; the environment is above all files.
#[derive(Clone, Debug, Default)]
pub struct Layers {
    files: Vec<SettingsFile>,
    variables: Vec<Variable>,
}

#[derive(Clone, Debug)]
struct SettingsFile {
    path: PathBuf,
    text: String,
    table: Table,
}

/// An environment variable that sets a key.
#[derive(Clone, Debug)]
struct Variable {
    name: String,
    key: String,
}

/// An unknown key.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown setting {key} {place}{}", did_you_mean(.nearest.as_deref()))]
pub struct UnknownKey {
    /// The full key.
    pub key: String,
    /// `in` a file, or `by` a variable.
    pub place: String,
    /// The most similar known key, as it would be written there.
    pub nearest: Option<String>,
}

/// An environment variable that looks like a setting but is none.
#[derive(Debug, PartialEq, Eq)]
pub struct Stray {
    /// The variable.
    pub name: String,
    /// The most similar valid one.
    pub meant: String,
}

impl Layers {
    /// Reads the files and the environment variables.
    ///
    /// # Errors
    ///
    /// [`LayersError`], with the file.
    pub fn read(files: &SettingsFiles) -> Result<Self, LayersError> {
        let folder = match &files.folder {
            Some(folder) if !folder.is_dir() => return Err(LayersError::NoFolder(folder.clone())),
            Some(folder) => folder,
            None => Path::new("settings"),
        };
        let name = files.name.as_deref().unwrap_or("local");
        let own = folder.join(format!("{name}.toml"));
        let base = SettingsFile::read(&folder.join("base.toml"))?;
        let named = SettingsFile::read(&own)?;
        if named.is_none() && files.name.is_some() {
            return Err(LayersError::NoFile(own));
        }
        Ok(Self {
            files: base.into_iter().chain(named).collect(),
            variables: variables(),
        })
    }

    /// All layers above `base`, in the form of the config library.
    pub(super) fn over(&self, base: &str) -> Result<Config, ConfigError> {
        let environment = Environment::with_prefix("FILEPROXY")
            .prefix_separator("__")
            .separator("__");
        let files = self.files.iter().map(|file| file.text.as_str());
        let mut layers = Config::builder();
        for text in std::iter::once(base).chain(files) {
            layers = layers.add_source(File::from_str(text, FileFormat::Toml));
        }
        layers.add_source(environment).build()
    }

    /// The files that were read.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|file| &*file.path)
    }

    /// The variables that were read.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        self.variables.iter().map(|variable| &*variable.name)
    }

    /// Where a key, or one below it, was set: `in` a file or `by` a variable. None: it has its default.
    pub fn place_of(&self, key: &str) -> Option<String> {
        let below = |given: &str| {
            let rest = given.strip_prefix(key);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        if let Some(variable) = self.variables.iter().rfind(|given| below(&given.key)) {
            return Some(variable.place());
        }
        let has = |file: &&SettingsFile| value(&file.table, key).is_some();
        self.files.iter().rfind(has).map(SettingsFile::place)
    }

    /// Checks that all keys are `known` keys or their sections; the first unknown one is an error.
    ///
    /// # Errors
    ///
    /// [`UnknownKey`]
    pub fn check(&self, known: &[String]) -> Result<(), UnknownKey> {
        for file in &self.files {
            if let Some(key) = unknown(&file.table, "", known) {
                let nearest = nearest(&key, known);
                let place = file.place();
                return Err(UnknownKey {
                    key,
                    place,
                    nearest,
                });
            }
        }
        for variable in &self.variables {
            if !is_section(&variable.key, known) && !known.contains(&variable.key) {
                return Err(UnknownKey {
                    key: variable.key.clone(),
                    place: variable.place(),
                    nearest: nearest(&variable.key, known).map(|key| variable_of(&key)),
                });
            }
        }
        Ok(())
    }
}

/// Environment variables of this process that look like settings but are none, mostly because of a single underscore.
pub fn strays(known: &[String]) -> Vec<Stray> {
    let plain = |text: &str| text.replace(['.', '_'], "").to_lowercase();
    names()
        .filter(|name| !name.to_lowercase().starts_with(PREFIX))
        .filter_map(|name| {
            let rest = plain(name.strip_prefix("FILEPROXY_")?);
            let meant = known.iter().find(|key| plain(key) == rest)?;
            let meant = variable_of(meant);
            Some(Stray { name, meant })
        })
        .collect()
}

impl SettingsFile {
    /// None if the file does not exist.
    fn read(path: &Path) -> Result<Option<Self>, LayersError> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => {
                let file = path.to_owned();
                return Err(LayersError::Unreadable { file, source });
            }
        };
        let table = text.parse().map_err(|source| LayersError::Toml {
            file: path.to_owned(),
            source,
        })?;
        let path = path.to_owned();
        Ok(Some(Self { path, text, table }))
    }

    fn place(&self) -> String {
        format!("in {}", self.path.display())
    }
}

impl Variable {
    fn place(&self) -> String {
        format!("by {}", self.name)
    }
}

fn names() -> impl Iterator<Item = String> {
    env::vars_os().filter_map(|(name, _)| name.into_string().ok())
}

fn variables() -> Vec<Variable> {
    let mut variables: Vec<_> = names()
        .filter_map(|name| {
            let key = name.to_lowercase();
            let key = key.strip_prefix(PREFIX)?.replace("__", ".");
            Some(Variable { name, key })
        })
        .collect();
    variables.sort_by(|one, other| one.name.cmp(&other.name));
    variables
}

fn value<'a>(table: &'a Table, key: &str) -> Option<&'a Value> {
    match key.split_once('.') {
        None => table.get(key),
        Some((section, rest)) => value(table.get(section)?.as_table()?, rest),
    }
}

/// Whether there are known keys below this one.
fn is_section(key: &str, known: &[String]) -> bool {
    let below = |known: &String| {
        let rest = known.strip_prefix(key);
        rest.is_some_and(|rest| rest.starts_with('.'))
    };
    known.iter().any(below)
}

/// The first unknown key in a table, which is the section `above`.
fn unknown(table: &Table, above: &str, known: &[String]) -> Option<String> {
    table.iter().find_map(|(name, value)| {
        let key = match above {
            "" => name.clone(),
            above => format!("{above}.{name}"),
        };
        if known.contains(&key) {
            return None;
        }
        if !is_section(&key, known) {
            return Some(key);
        }
        unknown(value.as_table()?, &key, known)
    })
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |nearest| format!(": did you mean {nearest}?"))
}

/// A parser message without the lines that it quotes from the file: they may contain a secret.
fn without_quotes(reason: &str) -> String {
    let quotes = |line: &&str| {
        let line = line.trim_start_matches(|c: char| c.is_ascii_digit() || c == ' ');
        !line.starts_with('|')
    };
    let lines: Vec<_> = reason.lines().filter(quotes).map(str::trim).collect();
    lines.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Vec<String> {
        ["server.workers", "origin.url", "origin.tls.verify"]
            .map(str::to_owned)
            .to_vec()
    }

    fn file(path: &str, text: &str) -> SettingsFile {
        SettingsFile {
            path: path.into(),
            text: text.to_owned(),
            table: text.parse().unwrap(),
        }
    }

    #[test]
    fn the_highest_layer_that_has_a_key_is_named() {
        let layers = Layers {
            files: vec![
                file("base.toml", "[server]\nworkers = 1\n[origin]\nurl = \"a\""),
                file("local.toml", "[server]\nworkers = 2"),
            ],
            variables: vec![Variable {
                name: "FILEPROXY__ORIGIN__TLS__VERIFY".to_owned(),
                key: "origin.tls.verify".to_owned(),
            }],
        };
        let place = |key| layers.place_of(key);
        assert_eq!(place("server.workers").unwrap(), "in local.toml");
        assert_eq!(place("origin.url").unwrap(), "in base.toml");
        assert_eq!(
            place("origin.tls.verify").unwrap(),
            "by FILEPROXY__ORIGIN__TLS__VERIFY"
        );
        assert_eq!(place("log.format"), None);
        assert_eq!(layers.check(&known()), Ok(()));
    }

    #[test]
    fn a_key_that_no_setting_has_is_told_with_the_one_that_was_meant() {
        for (text, words) in [
            (
                "[server]\nworkes = 1",
                "unknown setting server.workes in local.toml: did you mean server.workers?",
            ),
            (
                "[sever]\nworkers = 1",
                "unknown setting sever in local.toml: did you mean server?",
            ),
            (
                "workers = 1",
                "unknown setting workers in local.toml: did you mean server.workers?",
            ),
            (
                "[origin.tls]\nquite_another = 1",
                "unknown setting origin.tls.quite_another in local.toml",
            ),
        ] {
            let layers = Layers {
                files: vec![file("local.toml", text)],
                variables: Vec::new(),
            };
            let error = layers.check(&known()).unwrap_err();
            assert_eq!(error.to_string(), words);
        }
    }
}
