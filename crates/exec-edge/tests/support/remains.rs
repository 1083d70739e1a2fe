//! What a run of the program holds in the kernel and on the disk, and what of it stays.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Environment variable that all processes of a run inherit.
const MARK: &str = "EXEC_EDGE_TEST_RUN";

/// One run of the program, told from all others on this machine.
#[derive(Debug)]
pub(crate) struct Run {
    mark: String,
}

/// A process and when it started, so that a reused number is not taken for it.
type Process = (u32, u64);

/// What a run holds at one moment.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Holdings {
    pub(crate) processes: BTreeSet<Process>,
    /// Namespaces that the test itself is not in, as `net:[4026531840]`.
    pub(crate) namespaces: BTreeSet<String>,
    /// Cgroups of its containers, as `exec-edge/OWNER`, below each hierarchy's mount.
    pub(crate) cgroups: BTreeSet<String>,
}

impl Run {
    /// Marks a command that is not yet started.
    pub(crate) fn mark(command: &mut Command) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let mark = format!("{}-{number}", std::process::id());
        command.env(MARK, &mark);
        Self { mark }
    }

    /// What the run holds now: its marked processes, their descendants, and all their namespaces.
    pub(crate) fn holdings(&self) -> Holdings {
        let wanted = format!("{MARK}={}", self.mark);
        let all = processes();
        let mut pids: BTreeSet<u32> = all
            .keys()
            .copied()
            .filter(|pid| is_marked(*pid, &wanted))
            .collect();
        loop {
            let found = all.iter().filter(|(_, (parent, _))| pids.contains(parent));
            let before = pids.len();
            let found: Vec<u32> = found.map(|(pid, _)| *pid).collect();
            pids.extend(found);
            if pids.len() == before {
                break;
            }
        }
        let own = namespaces_of("self");
        Holdings {
            namespaces: pids
                .iter()
                .flat_map(|pid| namespaces_of(&pid.to_string()))
                .filter(|namespace| !own.contains(namespace))
                .collect(),
            cgroups: pids.iter().flat_map(|pid| cgroups_of(*pid)).collect(),
            processes: pids.iter().map(|pid| (*pid, all[pid].1)).collect(),
        }
    }
}

impl Holdings {
    /// What of this is still there, but for cgroups, which only the next run removes.
    pub(crate) fn left(&self) -> Self {
        let all = processes();
        let is_left =
            |(pid, started): &&Process| all.get(pid).is_some_and(|(_, now)| now == started);
        let held: BTreeSet<String> = all
            .keys()
            .flat_map(|pid| namespaces_of(&pid.to_string()))
            .collect();
        Self {
            processes: self.processes.iter().filter(is_left).copied().collect(),
            namespaces: self.namespaces.intersection(&held).cloned().collect(),
            cgroups: BTreeSet::new(),
        }
    }

    /// Waits until nothing of this is left.
    pub(crate) fn expect_gone(&self, patience: Duration) {
        let deadline = Instant::now() + patience;
        loop {
            let left = self.left();
            if left == Self::default() {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "after {patience:?} there is still {left:?}"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Every process that is not a zombie, with its parent and its start.
fn processes() -> std::collections::BTreeMap<u32, (u32, u64)> {
    fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
            let [state, parent, ..] = fields.as_slice() else {
                return None;
            };
            let started = fields.get(19)?.parse().ok()?;
            (*state != "Z" && *state != "X").then_some((pid, (parent.parse().ok()?, started)))
        })
        .collect()
}

fn is_marked(pid: u32, wanted: &str) -> bool {
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environment
        .split(|octet| *octet == 0)
        .any(|variable| variable == wanted.as_bytes())
}

/// The namespaces that a process is in or holds open; nothing if it may not be looked at.
fn namespaces_of(pid: &str) -> BTreeSet<String> {
    let directory = Path::new("/proc").join(pid);
    let mut names = BTreeSet::new();
    for part in ["ns", "fd"] {
        let entries = fs::read_dir(directory.join(part))
            .into_iter()
            .flatten()
            .flatten();
        let targets = entries.filter_map(|entry| fs::read_link(entry.path()).ok());
        names.extend(
            targets
                .map(|target| target.display().to_string())
                .filter(|name| {
                    [
                        "net:[", "mnt:[", "pid:[", "user:[", "cgroup:[", "ipc:[", "uts:[",
                    ]
                    .iter()
                    .any(|kind| name.starts_with(kind))
                }),
        );
    }
    names
}

/// The agents' cgroups that a process is in.
fn cgroups_of(pid: u32) -> BTreeSet<String> {
    let lines = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let paths = lines
        .lines()
        .filter_map(|line| line.splitn(3, ':').nth(2)?.strip_prefix("/exec-edge/"));
    paths
        .filter_map(|path| Some(format!("exec-edge/{}", path.split('/').next()?)))
        .collect()
}
