//! What a lab keeps outside its namespaces, its runtime directory, and how leftovers of killed labs go.
//!
//! Processes, namespaces, mounts and interfaces vanish with the lab's first process. Files do not; their directory
//! carries the [`LabId`] as its name, so that the next lab can tell which have no owner any more.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use super::LabId;

/// Name of the parent of all labs.
const PARENT: &str = "exec-edge";

/// The directory that holds one directory for each running lab of this user.
pub fn runtime_root() -> PathBuf {
    let user = nix::unistd::geteuid();
    if user.is_root() {
        return Path::new("/run").join(PARENT);
    }
    std::env::var_os("XDG_RUNTIME_DIR")
        .map(PathBuf::from)
        .filter(|directory| directory.is_absolute() && directory.is_dir())
        .map_or_else(
            || std::env::temp_dir().join(format!("{PARENT}-{user}")),
            |directory| directory.join(PARENT),
        )
}

/// Makes the lab's directory, readable by this user only.
pub(super) fn make_directory(lab: LabId) -> io::Result<PathBuf> {
    let root = runtime_root();
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&root)?;
    if fs::symlink_metadata(&root)?.uid() != nix::unistd::geteuid().as_raw() {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("{} belongs to another user", root.display()),
        ));
    }
    let directory = root.join(lab.to_string());
    fs::DirBuilder::new().mode(0o700).create(&directory)?;
    Ok(directory)
}

/// Labs of this user whose process still runs, with their directories.
pub fn running_labs() -> Vec<(LabId, PathBuf)> {
    named_by_labs(&runtime_root())
        .into_iter()
        .filter(|(lab, _)| lab.is_alive())
        .collect()
}

/// Removes what killed labs left: their runtime directories. Returns what could not be removed.
pub fn sweep() -> Vec<PathBuf> {
    named_by_labs(&runtime_root())
        .into_iter()
        .filter(|(lab, directory)| !lab.is_alive() && fs::remove_dir_all(directory).is_err())
        .map(|(_, directory)| directory)
        .collect()
}

/// Removes what this lab leaves behind, when all its processes have ended. Returns what could not be removed.
pub(super) fn remove(lab: LabId) -> Option<PathBuf> {
    let directory = runtime_root().join(lab.to_string());
    match fs::remove_dir_all(&directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Some(directory),
        _ => None,
    }
}

/// Subdirectories whose names are lab ids.
fn named_by_labs(parent: &Path) -> Vec<(LabId, PathBuf)> {
    let mut found: Vec<_> = fs::read_dir(parent)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let lab = entry.file_name().to_str()?.parse().ok()?;
            Some((lab, entry.path()))
        })
        .collect();
    found.sort();
    found
}
