//! The store's directory: a marker that says whose it is, a lock so that one instance uses it, the journal, and a file for each
//! object's body.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use super::record::Id;

/// What the marker says: another number is another format.
const MARKER: &str = "fileproxy store 1\n";

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// It is a file.
    #[error("{0} is no directory")]
    NoDirectory(PathBuf),
    /// Another process has the lock.
    #[error("{0} is used by another instance")]
    InUse(PathBuf),
    /// It holds something else.
    #[error("{0} holds files that are not of this store's format: give it a directory of its own")]
    Foreign(PathBuf),
    /// The system says no.
    #[error("{path} cannot be used: {cause}")]
    Io {
        /// Where.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
}

/// An open directory. Locked until it is dropped.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    _lock: File,
}

impl Directory {
    /// Opens `path`, and makes it where it is not there.
    ///
    /// # Errors
    ///
    /// [`DirectoryError`], with what it is.
    pub fn open(path: &Path) -> Result<Self, DirectoryError> {
        let io = |cause| DirectoryError::Io {
            path: path.to_owned(),
            cause,
        };
        if path.exists() && !path.is_dir() {
            return Err(DirectoryError::NoDirectory(path.to_owned()));
        }
        builder().create(path).map_err(io)?;
        let marker = path.join("format");
        match fs::read_to_string(&marker) {
            Ok(text) if text == MARKER => {}
            Ok(_) => return Err(DirectoryError::Foreign(path.to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if fs::read_dir(path).map_err(io)?.next().is_some() {
                    return Err(DirectoryError::Foreign(path.to_owned()));
                }
                let mut file = options().create_new(true).open(&marker).map_err(io)?;
                file.write_all(MARKER.as_bytes()).map_err(io)?;
            }
            Err(error) => return Err(io(error)),
        }
        let lock = options().create(true).truncate(false).open(path.join("lock")).map_err(io)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(DirectoryError::InUse(path.to_owned())),
            Err(TryLockError::Error(error)) => return Err(io(error)),
        }
        builder().create(path.join("bodies")).map_err(io)?;
        Ok(Directory {
            path: path.to_owned(),
            _lock: lock,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The journal's file.
    pub fn journal(&self) -> PathBuf {
        self.path.join("journal")
    }

    /// The file of an object's body: 256 folders keep each of them short.
    fn body(&self, id: Id) -> PathBuf {
        let name = String::from(id);
        self.path.join("bodies").join(&name[..2]).join(name)
    }

    /// Writes into the body of `id`, at this offset.
    ///
    /// # Errors
    ///
    /// What the system says; what was written may be a part.
    pub fn write(&self, id: Id, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let path = self.body(id);
        let open = || options().create(true).truncate(false).open(&path);
        let file = match open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if let Some(folder) = path.parent() {
                    builder().create(folder)?;
                }
                open()?
            }
            other => other?,
        };
        file.write_all_at(bytes, offset)
    }

    /// Reads so many bytes of the body of `id`.
    ///
    /// # Errors
    ///
    /// What the system says; fewer bytes are an error, too.
    pub fn read(&self, id: Id, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        File::open(self.body(id))?.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }

    /// Removes the body of `id`. One that is not there is gone already.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn remove(&self, id: Id) -> io::Result<()> {
        match fs::remove_file(self.body(id)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// The bodies that are there.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn bodies(&self) -> io::Result<Vec<Id>> {
        let mut found = Vec::new();
        for folder in fs::read_dir(self.path.join("bodies"))? {
            for file in fs::read_dir(folder?.path())? {
                let name = file?.file_name().to_string_lossy().into_owned();
                found.extend(Id::try_from(name).ok());
            }
        }
        Ok(found)
    }

    /// The whole of the journal, as far as it can be read.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn read_journal(&self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        match File::open(self.journal()) {
            Ok(mut file) => file.read_to_end(&mut bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
        Ok(bytes)
    }
}

/// Files are for this user alone.
pub fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    options
}

fn builder() -> DirBuilder {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_directory_is_for_one_instance_and_its_files_for_one_user() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("a/store");
        let open = Directory::open(&path).unwrap();
        assert!(matches!(Directory::open(&path), Err(DirectoryError::InUse(_))));
        open.write(Id(1), 5, b"abc").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&open.body(Id(1)))), (0o700, 0o600));
        assert_eq!(open.read(Id(1), 5, 3).unwrap(), b"abc");
        assert!(open.read(Id(1), 5, 4).is_err());
        assert_eq!(open.bodies().unwrap(), [Id(1)]);
        open.remove(Id(1)).unwrap();
        open.remove(Id(1)).unwrap();
        drop(open);
        assert!(Directory::open(&path).is_ok());
    }

    #[test]
    fn what_belongs_to_somebody_else_is_left_alone() {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("file");
        fs::write(&file, "x").unwrap();
        assert!(matches!(Directory::open(&file), Err(DirectoryError::NoDirectory(_))));
        assert!(matches!(Directory::open(temp.path()), Err(DirectoryError::Foreign(_))));
        fs::remove_file(&file).unwrap();
        fs::write(temp.path().join("format"), "fileproxy store 2\n").unwrap();
        assert!(matches!(Directory::open(temp.path()), Err(DirectoryError::Foreign(_))));
        assert!(matches!(Directory::open(Path::new("/proc/x/store")), Err(DirectoryError::Io { .. })));
    }
}
