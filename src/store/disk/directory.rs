//! The store's directory: a format marker, a lock that keeps other instances out, the journal, and one file for each object's body.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read as _, Write as _},
    num::NonZeroU64,
    os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::{Advice, FallocateFlags, fadvise, fallocate, statvfs};

use super::id::Id;

/// Content of the marker; the number is the format version.
const MARKER: &str = "fileproxy store 1\n";

/// What an unmarked directory may contain: leftovers of an interrupted start, and files of a new file system.
const MAY_BE_UNMARKED: [&str; 3] = ["format.new", "lock", "lost+found"];

/// Number of folders for bodies, to keep each of them small.
pub const FOLDERS: u16 = 256;

/// Why the directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// The path is a file.
    #[error("{0} is no directory")]
    NoDirectory(PathBuf),
    /// Another process holds the lock.
    #[error("{0} is used by another instance")]
    InUse(PathBuf),
    /// It contains something else.
    #[error("{0} holds files that are not of this store's format: give it a directory of its own")]
    Foreign(PathBuf),
    /// It is on another file system than before: the original one was unmounted.
    #[error("{0} is on another file system than at the start")]
    Moved(PathBuf),
    /// A system error.
    #[error("{path} cannot be used: {cause}")]
    Io {
        /// The path.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
}

/// An open directory; locked until dropped.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    lock: File,
    /// Device and inode of the lock file.
    identity: (u64, u64),
}

impl Directory {
    /// Opens the directory, and creates it if needed.
    ///
    /// # Errors
    ///
    /// [`DirectoryError`], with the reason.
    pub fn open(path: &Path) -> Result<Self, DirectoryError> {
        let io = |cause| DirectoryError::Io {
            path: path.to_owned(),
            cause,
        };
        match fs::metadata(path) {
            Ok(found) if !found.is_dir() => {
                return Err(DirectoryError::NoDirectory(path.to_owned()));
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                builder().recursive(true).create(path).map_err(io)?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                return Err(DirectoryError::NoDirectory(path.to_owned()));
            }
            Err(error) => return Err(io(error)),
        }
        if !is_marked(path).map_err(io)? {
            for entry in fs::read_dir(path).map_err(io)? {
                let name = entry.map_err(io)?.file_name();
                if !MAY_BE_UNMARKED.iter().any(|known| name == *known) {
                    return Err(DirectoryError::Foreign(path.to_owned()));
                }
            }
        }
        let lock_path = path.join("lock");
        let lock = options()
            .create(true)
            .truncate(false)
            .open(lock_path)
            .map_err(io)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(DirectoryError::InUse(path.to_owned())),
            Err(TryLockError::Error(error)) => return Err(io(error)),
        }
        let found = lock.metadata().map_err(io)?;
        let directory = Directory {
            path: path.to_owned(),
            lock,
            identity: (found.dev(), found.ino()),
        };
        directory.mark().map_err(io)?;
        Ok(directory)
    }

    /// Writes the marker and creates the folders, if they do not exist.
    fn mark(&self) -> io::Result<()> {
        if !is_marked(&self.path)? {
            // Written to a new file and renamed, so that it is never incomplete.
            let new = self.path.join("format.new");
            let mut file = options().create(true).truncate(true).open(&new)?;
            file.write_all(MARKER.as_bytes())?;
            file.sync_all()?;
            fs::rename(new, self.path.join("format"))?;
        }
        make(&self.path.join("bodies"))
    }

    /// Opens the same path again, after the directory had vanished.
    ///
    /// # Errors
    ///
    /// [`DirectoryError`]; among them another file system than before, because the original one is not mounted.
    pub fn open_again(&self) -> Result<Self, DirectoryError> {
        // If the directory does not exist, it would be created on the file system of its parent.
        let holder = if self.path.exists() {
            Some(&*self.path)
        } else {
            self.path.parent()
        };
        let device = holder.and_then(|holder| fs::metadata(holder).ok());
        if device.is_none_or(|found| found.dev() != self.identity.0) {
            return Err(DirectoryError::Moved(self.path.clone()));
        }
        Directory::open(&self.path)
    }

    /// Whether the directory still exists and is the one that was opened.
    pub fn is_there(&self) -> bool {
        let lock = fs::metadata(self.path.join("lock"));
        lock.is_ok_and(|found| (found.dev(), found.ino()) == self.identity)
            && is_marked(&self.path).unwrap_or(false)
    }

    /// Releases the lock.
    pub fn unlock(&self) {
        // The system releases it in any case when the process ends.
        _ = self.lock.unlock();
    }

    /// The path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Path of the journal.
    pub fn journal(&self) -> PathBuf {
        self.path.join("journal")
    }

    /// Path of the journal that is being rewritten.
    pub fn next_journal(&self) -> PathBuf {
        self.path.join("journal.new")
    }

    /// Replaces the journal by the rewritten one, durably.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn turn_over(&self) -> io::Result<()> {
        fs::rename(self.next_journal(), self.journal())?;
        File::open(&self.path)?.sync_all()
    }

    /// Removes the journal durably, so that nothing in it is restored.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn forget_journal(&self) -> io::Result<()> {
        match fs::remove_file(self.journal()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        File::open(&self.path)?.sync_all()
    }

    /// Free bytes of its file system.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn space(&self) -> io::Result<Space> {
        let space = statvfs(&self.path)?;
        let bytes = |blocks: u64| blocks.saturating_mul(space.f_frsize);
        Ok(Space {
            free: bytes(space.f_bavail),
            whole: bytes(space.f_blocks),
        })
    }

    /// Writes, syncs and removes some bytes, to test whether the disk is writable.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn probe(&self) -> io::Result<()> {
        // Beside the bodies, which may be on a file system of their own.
        let path = self.path.join("bodies/probe");
        let mut file = options().create(true).truncate(true).open(&path)?;
        let written = file
            .write_all(&[0; 16 * 1024])
            .and_then(|()| file.sync_data());
        fs::remove_file(path)?;
        written
    }

    /// Path of an object's body.
    fn body(&self, id: Id) -> PathBuf {
        let name = String::from(id);
        self.path.join("bodies").join(&name[..2]).join(name)
    }

    /// Writes into the body of `id` at this offset.
    ///
    /// # Errors
    ///
    /// What the system says; part of the bytes may be written.
    pub fn write(&self, id: Id, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let path = self.body(id);
        let open = || options().create(true).truncate(false).open(&path);
        let file = match open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // Creates only the object's folder: if more has vanished, nothing must be created in its place.
                if let Some(folder) = path.parent() {
                    make(folder)?;
                }
                open()?
            }
            other => other?,
        };
        file.write_all_at(bytes, offset)
    }

    /// Reads `len` bytes of the body of `id`, and lets the kernel read ahead `ahead` bytes.
    ///
    /// # Errors
    ///
    /// What the system says; a short read is an error too.
    pub fn read(&self, id: Id, offset: u64, len: usize, ahead: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        let file = open_for_reading(&self.body(id))?;
        file.read_exact_at(&mut bytes, offset)?;
        if let Some(ahead) = NonZeroU64::new(ahead) {
            // Only a hint: it may fail.
            _ = fadvise(&file, offset + len as u64, Some(ahead), Advice::WillNeed);
        }
        Ok(bytes)
    }

    /// Frees the disk space of a range in the body of `id`.
    ///
    /// # Errors
    ///
    /// What the system says; [`io::ErrorKind::Unsupported`] if the file system does not support holes.
    pub fn punch(&self, id: Id, offset: u64, len: u64) -> io::Result<()> {
        let file = options().open(self.body(id))?;
        let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        Ok(fallocate(&file, hole, offset, len)?)
    }

    /// Removes the body of `id`. A missing file is not an error, and something else than a file is left.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn remove(&self, id: Id) -> io::Result<()> {
        match fs::remove_file(self.body(id)) {
            Err(error) => match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::IsADirectory => Ok(()),
                _ => Err(error),
            },
            Ok(()) => Ok(()),
        }
    }

    /// The ids of the bodies in one of the [`FOLDERS`].
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn bodies(&self, folder: u8) -> io::Result<Vec<Id>> {
        let folder = self.path.join("bodies").join(format!("{folder:02x}"));
        let files = match fs::read_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            files => files?,
        };
        let mut found = Vec::new();
        for file in files {
            let name = file?.file_name().to_string_lossy().into_owned();
            found.extend(Id::try_from(name).ok());
        }
        Ok(found)
    }
}

/// Space of a file system, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Available to this user.
    pub free: u64,
    /// Total size.
    pub whole: u64,
}

/// Opens a file without updating its access time, which could make the read wait for the file system's journal.
fn open_for_reading(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let quiet = options.read(true).custom_flags(libc::O_NOATIME).open(path);
    match quiet {
        // Only the owner may do that.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => File::open(path),
        opened => opened,
    }
}

/// Whether the marker exists and has this format.
fn is_marked(path: &Path) -> io::Result<bool> {
    let mut text = Vec::new();
    match File::open(path.join("format")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        file => file?.take(MARKER.len() as u64 + 1).read_to_end(&mut text)?,
    };
    Ok(text == MARKER.as_bytes())
}

/// Creates a folder in an existing one.
fn make(folder: &Path) -> io::Result<()> {
    match builder().create(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

/// Options for files that only this user may access.
pub fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    options
}

fn builder() -> DirBuilder {
    let mut builder = DirBuilder::new();
    builder.mode(0o700);
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
        assert!(matches!(
            Directory::open(&path),
            Err(DirectoryError::InUse(_))
        ));
        open.write(Id(1), 5, b"abc").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&open.body(Id(1)))), (0o700, 0o600));
        assert_eq!(open.read(Id(1), 5, 3, 100).unwrap(), b"abc");
        assert!(open.read(Id(1), 5, 4, 0).is_err());
        assert_eq!(open.bodies(0).unwrap(), [Id(1)]);
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
        assert!(matches!(
            Directory::open(&file),
            Err(DirectoryError::NoDirectory(_))
        ));
        assert!(matches!(
            Directory::open(temp.path()),
            Err(DirectoryError::Foreign(_))
        ));
        fs::remove_file(&file).unwrap();
        fs::write(temp.path().join("format"), "fileproxy store 2\n").unwrap();
        assert!(matches!(
            Directory::open(temp.path()),
            Err(DirectoryError::Foreign(_))
        ));
        assert!(matches!(
            Directory::open(Path::new("/proc/x/store")),
            Err(DirectoryError::Io { .. })
        ));
    }

    #[test]
    fn a_start_that_was_broken_off_is_no_foreign_directory() {
        let temp = tempfile::tempdir().unwrap();
        fs::write(temp.path().join("format.new"), "file").unwrap();
        fs::write(temp.path().join("lock"), "").unwrap();
        assert!(Directory::open(temp.path()).is_ok());
    }

    #[test]
    fn what_vanished_is_noticed_and_nothing_is_made_in_its_place() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("store");
        let open = Directory::open(&path).unwrap();
        assert!(open.is_there());
        fs::remove_dir_all(&path).unwrap();
        assert!(!open.is_there());
        assert!(open.write(Id(1), 0, b"abc").is_err() && open.probe().is_err());
        assert!(!path.exists());
        let again = open.open_again().unwrap();
        assert!(again.is_there() && !open.is_there());
    }

    #[test]
    fn a_hole_gives_its_room_back_and_keeps_the_rest() {
        let temp = tempfile::tempdir().unwrap();
        let open = Directory::open(temp.path()).unwrap();
        open.write(Id(1), 0, &[7; 1 << 20]).unwrap();
        let blocks = || fs::metadata(open.body(Id(1))).unwrap().blocks();
        let before = blocks();
        match open.punch(Id(1), 0, 1 << 19) {
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::Unsupported),
            Ok(()) => {
                assert!(blocks() < before);
                assert_eq!(open.read(Id(1), 1 << 19, 1, 0).unwrap(), [7]);
            }
        }
    }
}
