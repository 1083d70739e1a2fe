//! The built program, run as its users run it.

use std::fs;
use std::io::{Read as _, Seek as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_exec-edge");

/// The program with these arguments.
pub(crate) fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command.args(arguments);
    command
}

/// What a command said, and how it ended.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Exit code; `None` if a signal ended it.
    pub(crate) code: Option<i32>,
    /// Standard output.
    pub(crate) out: String,
    /// Standard error.
    pub(crate) err: String,
}

/// Runs a command to its end; fails if it takes longer than `patience`, or leaves files, mounts or cgroups of a lab.
pub(crate) fn run(command: &mut Command, patience: Duration) -> Answer {
    let [mut out, mut err] = [(); 2].map(|()| tempfile::tempfile().unwrap());
    let mut child = command
        .stdin(Stdio::null())
        .stdout(out.try_clone().unwrap())
        .stderr(err.try_clone().unwrap())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    let deadline = Instant::now() + patience;
    let mut is_late = false;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > deadline {
            is_late = true;
            child.kill().unwrap();
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let [out, err] = [&mut out, &mut err].map(|file| {
        let mut octets = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut octets).unwrap();
        String::from_utf8_lossy(&octets).into_owned()
    });
    let code = status.code();
    assert!(
        !is_late,
        "{command:?} took more than {patience:?}: {out}{err}"
    );
    assert_eq!(
        traces_of(child.id()),
        Vec::<String>::new(),
        "left by {command:?}"
    );
    Answer { code, out, err }
}

/// A copy of a shipped scenario, so that no lab that already runs the original is joined.
pub(crate) fn scenario(
    directory: &Path,
    name: &str,
    change: impl FnOnce(String) -> String,
) -> PathBuf {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios");
    let text = fs::read_to_string(shipped.join(name)).unwrap();
    let file = directory.join(name);
    fs::write(&file, change(text)).unwrap();
    file
}

/// Files, mounts and cgroups of the lab whose outermost process is or was `pid`.
pub(crate) fn traces_of(pid: u32) -> Vec<String> {
    let prefix = format!("{pid}-");
    let mut parents = vec![
        PathBuf::from("/run/exec-edge"),
        std::env::temp_dir().join("exec-edge-65534"),
        PathBuf::from("/sys/fs/cgroup/exec-edge"),
    ];
    let hierarchies = fs::read_dir("/sys/fs/cgroup")
        .into_iter()
        .flatten()
        .flatten();
    parents.extend(hierarchies.map(|hierarchy| hierarchy.path().join("exec-edge")));
    let mut found: Vec<String> = parents
        .into_iter()
        .flat_map(|parent| fs::read_dir(parent).into_iter().flatten().flatten())
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))
        .map(|entry| entry.path().display().to_string())
        .collect();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let of_lab = |line: &&str| line.contains(&format!("exec-edge/{prefix}"));
    found.extend(mounts.lines().filter(of_lab).map(str::to_owned));
    found
}
