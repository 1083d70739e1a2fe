//! What a lab keeps outside its namespaces, its runtime directory and cgroups, and how leftovers of killed labs go.
//!
//! Processes, namespaces, mounts and interfaces vanish with the lab's first process. Cgroups and files do not; both
//! carry the [`LabId`] as their name, so that the next lab can tell which have no owner any more.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::LabId;

/// Where the kernel's cgroup hierarchies are mounted.
const CGROUPS: &str = "/sys/fs/cgroup";

/// Name of the parent of all labs, in the runtime directory and in every cgroup hierarchy.
const PARENT: &str = "exec-edge";

/// How deep cgroups below a lab are looked for.
const MAX_DEPTH: u32 = 8;

/// Times that removing a cgroup is tried, 10 ms apart: it is busy until the kernel has buried its last process.
const REMOVE_ATTEMPTS: u32 = 50;

/// The cgroup of a lab within a hierarchy: `exec-edge/<lab id>`, relative to the hierarchy's mount.
pub fn cgroup_of(lab: LabId) -> PathBuf {
    Path::new(PARENT).join(lab.to_string())
}

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

/// Removes what killed labs left: their runtime directories and cgroups. Returns what could not be removed.
pub fn sweep() -> Vec<PathBuf> {
    let dead = |(lab, path): (LabId, PathBuf)| (!lab.is_alive()).then_some(path);
    let mut stuck = Vec::new();
    for directory in named_by_labs(&runtime_root()).into_iter().filter_map(dead) {
        if fs::remove_dir_all(&directory).is_err() {
            stuck.push(directory);
        }
    }
    for parent in cgroup_parents(Path::new(CGROUPS)) {
        for cgroup in named_by_labs(&parent).into_iter().filter_map(dead) {
            stuck.extend(remove_cgroup(cgroup));
        }
        // Stays while another lab runs.
        let _ = fs::remove_dir(&parent);
    }
    stuck
}

/// Removes what this lab leaves behind, when all its processes have ended.
pub(super) fn remove(lab: LabId) -> Vec<PathBuf> {
    let mut stuck = Vec::new();
    let directory = runtime_root().join(lab.to_string());
    if let Err(error) = fs::remove_dir_all(&directory)
        && error.kind() != io::ErrorKind::NotFound
    {
        stuck.push(directory);
    }
    for parent in cgroup_parents(Path::new(CGROUPS)) {
        let cgroup = parent.join(lab.to_string());
        if cgroup.is_dir() {
            stuck.extend(remove_cgroup(cgroup));
        }
        let _ = fs::remove_dir(&parent);
    }
    stuck
}

/// The labs' parent in each hierarchy: the only one of version 2, or one for each controller of version 1.
fn cgroup_parents(mounts: &Path) -> Vec<PathBuf> {
    let mut parents = vec![mounts.join(PARENT)];
    for entry in fs::read_dir(mounts).into_iter().flatten().flatten() {
        parents.push(entry.path().join(PARENT));
    }
    parents.retain(|parent| parent.is_dir());
    parents
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

/// Kills what is left in a cgroup and removes it and all below it. Returns it if it stays.
fn remove_cgroup(cgroup: PathBuf) -> Option<PathBuf> {
    kill_members(&cgroup, MAX_DEPTH);
    for _ in 0..REMOVE_ATTEMPTS {
        remove_tree(&cgroup, MAX_DEPTH);
        if !cgroup.exists() {
            return None;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Some(cgroup)
}

/// Kills every process of a cgroup. Only ever called on cgroups that a lab made for its own containers.
fn kill_members(cgroup: &Path, depth: u32) {
    for child in subdirectories(cgroup, depth) {
        kill_members(&child, depth - 1);
    }
    let members = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    for pid in members.lines().filter_map(|line| line.parse::<i32>().ok()) {
        // 0 stands for a process of another process namespace, and a signal to "0" is one to ourselves.
        if pid > 1 {
            let _ = nix::sys::signal::kill(
                nix::unistd::Pid::from_raw(pid),
                nix::sys::signal::Signal::SIGKILL,
            );
        }
    }
}

fn remove_tree(cgroup: &Path, depth: u32) {
    for child in subdirectories(cgroup, depth) {
        remove_tree(&child, depth - 1);
    }
    let _ = fs::remove_dir(cgroup);
}

fn subdirectories(cgroup: &Path, depth: u32) -> Vec<PathBuf> {
    if depth == 0 {
        return Vec::new();
    }
    fs::read_dir(cgroup)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}
