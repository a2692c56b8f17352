//! Where streams live: `dir/<boot>/`, held through a lock that the kernel frees when the process dies.
use crate::{BootId, Error};
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

const EXTENSION: &str = "seg";

/// A stream's folder, with the lock that owns it.
#[derive(Debug)]
pub(crate) struct Folder {
    pub(crate) boot: BootId,
    pub(crate) path: PathBuf,
    root: PathBuf,
    /// Never read. Closing it, which the kernel does at the latest, releases the stream.
    _lock: File,
}

impl Folder {
    /// Makes the folder of a new boot.
    pub(crate) fn create(root: &Path, boot: BootId) -> Result<Folder, Error> {
        fs::create_dir_all(root).map_err(Error::at(root))?;
        let _guard = guard(root)?;
        let path = root.join(boot.to_string());
        match fs::create_dir(&path) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => return Err(Error::Taken(boot)),
            other => other.map_err(Error::at(&path))?,
        }
        lock(root, boot)?.ok_or(Error::Taken(boot))
    }

    /// The streams below `root` that no live process holds. This process holds them from now on.
    pub(crate) fn abandoned(root: &Path) -> Result<Vec<Folder>, Error> {
        if !root.try_exists().map_err(Error::at(root))? {
            return Ok(Vec::new());
        }
        let _guard = guard(root)?;
        let mut found = Vec::new();
        for entry in fs::read_dir(root).map_err(Error::at(root))? {
            let name = entry.map_err(Error::at(root))?.file_name();
            if let Some(boot) = name.to_str().and_then(|name| name.parse().ok()) {
                found.extend(lock(root, boot)?);
            }
        }
        found.sort_by_key(|folder| folder.boot);
        Ok(found)
    }

    pub(crate) fn segment(&self, base: u64) -> PathBuf {
        self.path.join(format!("{base:016x}.{EXTENSION}"))
    }

    /// The path at which a segment is made before it is whole.
    pub(crate) fn unfinished(&self) -> PathBuf {
        self.path.join("next.tmp")
    }

    /// Base positions of the segments on disk, ascending.
    pub(crate) fn segments(&self) -> Result<Vec<u64>, Error> {
        let mut bases = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(Error::at(&self.path))? {
            let path = entry.map_err(Error::at(&self.path))?.path();
            if path.extension().is_some_and(|e| e == EXTENSION)
                && let Some(stem) = path.file_stem().and_then(|s| s.to_str())
                && let Ok(base) = u64::from_str_radix(stem, 16)
            {
                bases.push(base);
            }
        }
        bases.sort_unstable();
        Ok(bases)
    }

    pub(crate) fn remove(&self) -> Result<(), Error> {
        let _guard = guard(&self.root)?;
        fs::remove_dir_all(&self.path).map_err(Error::at(&self.path))
    }

    /// Makes the names in the folder, and the folder's own name, survive a power loss.
    pub(crate) fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()?;
        File::open(&self.root)?.sync_all()
    }
}

/// Held for a moment to make, list or remove folders. Without it, another process could take a folder that is made but
/// not locked yet for an abandoned one.
fn guard(root: &Path) -> Result<File, Error> {
    let path = root.join(".lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(Error::at(&path))?;
    file.lock().map_err(Error::at(&path))?;
    Ok(file)
}

/// None when a live process holds it.
fn lock(root: &Path, boot: BootId) -> Result<Option<Folder>, Error> {
    let folder = root.join(boot.to_string());
    let path = folder.join("lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(Error::at(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(Folder { boot, path: folder, root: root.to_owned(), _lock: file })),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(e)) => Err(Error::at(&path)(e)),
    }
}
