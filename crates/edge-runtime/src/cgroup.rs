//! Control groups: are they there, what do they say, and make them go away.
//!
//! Containers live in `exec-edge/<owner>/<container>` of every hierarchy. `<owner>` names one running agent, which
//! holds a lock file of that name for its life; the groups of an owner whose lock is free are leftovers.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use edge_ports::RuntimeError;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The group under which all others are made.
pub(crate) const PARENT: &str = "exec-edge";

const REMOVE_TRIES: u32 = 100;
const REMOVE_PAUSE: Duration = Duration::from_millis(10);

/// Where this machine's control groups are mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hierarchies {
    /// Every mount that may hold our groups.
    mounts: Vec<PathBuf>,
    cpu: PathBuf,
    memory: PathBuf,
    pids: PathBuf,
    unified: bool,
}

/// Limits and counters of one container, read back from the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContainerUsage {
    /// Thousandths of a processor that it may use, `None` without a limit.
    pub milli_cpu: Option<u64>,
    /// Processor time used so far.
    pub cpu_time: Duration,
    /// Periods in which it was held back.
    pub throttled_periods: u64,
    /// Octets of memory that it may use.
    pub memory_limit: Option<u64>,
    /// Octets of memory and swap that it may use together, where the kernel counts swap.
    pub memory_and_swap_limit: Option<u64>,
    /// Octets in use.
    pub memory_bytes: u64,
    /// Processes killed for want of memory.
    pub memory_kills: u64,
    /// Processes and threads that it may have.
    pub pids_limit: Option<u64>,
    /// Processes and threads that it has.
    pub pids: u64,
}

impl Hierarchies {
    /// Finds the hierarchies with the processor, memory and pids controllers.
    pub(crate) fn find() -> Result<Self, RuntimeError> {
        let table = fs::read_to_string("/proc/self/mounts").map_err(|error| {
            unsupported(
                format!("/proc/self/mounts cannot be read ({error})"),
                "mount /proc",
            )
        })?;
        Self::from_mounts(&table, |root| {
            fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default()
        })
    }

    fn from_mounts(
        table: &str,
        unified_controllers: impl Fn(&Path) -> String,
    ) -> Result<Self, RuntimeError> {
        let mut mounts = Vec::new();
        let mut old: Vec<(PathBuf, Vec<&str>)> = Vec::new();
        let mut unified = None;
        for line in table.lines() {
            let fields: Vec<&str> = line.split(' ').collect();
            let [_, mount, kind, options, ..] = fields[..] else {
                continue;
            };
            if kind == "cgroup" {
                mounts.push(PathBuf::from(mount));
                old.push((PathBuf::from(mount), options.split(',').collect()));
            } else if kind == "cgroup2" {
                mounts.push(PathBuf::from(mount));
                unified = Some(PathBuf::from(mount));
            }
        }
        let is_unified = old.is_empty();
        let controllers = unified.as_deref().map(unified_controllers);
        let find = |name: &str| {
            if is_unified {
                let has = controllers
                    .as_deref()
                    .is_some_and(|all| all.split_whitespace().any(|controller| controller == name));
                unified.clone().filter(|_| has)
            } else {
                old.iter()
                    .find(|(_, options)| options.contains(&name))
                    .map(|(mount, _)| mount.clone())
            }
        };
        let need = |name: &str| {
            find(name).ok_or_else(|| {
                unsupported(
                    format!("the control group controller `{name}` is not available"),
                    "mount it below /sys/fs/cgroup (version 1), or have it delegated in \
                     cgroup.controllers (version 2), and run as root",
                )
            })
        };
        Ok(Self {
            cpu: need("cpu")?,
            memory: need("memory")?,
            pids: need("pids")?,
            mounts,
            unified: is_unified,
        })
    }

    /// Can groups be made?
    pub(crate) fn check_writable(&self, owner: &str) -> Result<(), RuntimeError> {
        for mount in [&self.cpu, &self.memory, &self.pids] {
            let path = mount.join(PARENT).join(owner);
            // Another agent that sweeps or ends may take the empty parent away between the two steps.
            let mut made = fs::create_dir_all(&path);
            for _ in 0..100 {
                match &made {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        made = fs::create_dir_all(&path)
                    }
                    _ => break,
                }
            }
            made.map_err(|error| {
                unsupported(
                    format!(
                        "control groups cannot be made in {} ({error})",
                        mount.display()
                    ),
                    "run as root with a writable /sys/fs/cgroup; rootless limits need a delegated \
                     version 2 hierarchy",
                )
            })?;
        }
        Ok(())
    }

    /// Does the kernel count swap, so that memory and swap can be limited together?
    pub(crate) fn counts_swap(&self) -> bool {
        self.unified || self.memory.join("memory.memsw.limit_in_bytes").exists()
    }

    /// Reads a container's limits and counters.
    pub(crate) fn usage(&self, group: &str) -> io::Result<ContainerUsage> {
        let read = |mount: &Path, name: &str| fs::read_to_string(mount.join(group).join(name));
        let number = |mount: &Path, name: &str| read(mount, name).map(|text| limit(&text));
        if self.unified {
            let cpu = read(&self.cpu, "cpu.max")?;
            let mut fields = cpu.split_whitespace().map(limit);
            let statistics = read(&self.cpu, "cpu.stat")?;
            let memory = number(&self.memory, "memory.max")?;
            let swap = number(&self.memory, "memory.swap.max").unwrap_or(Some(0));
            return Ok(ContainerUsage {
                milli_cpu: per_mille(fields.next().flatten(), fields.next().flatten()),
                cpu_time: Duration::from_micros(keyed(&statistics, "usage_usec")),
                throttled_periods: keyed(&statistics, "nr_throttled"),
                memory_limit: memory,
                memory_and_swap_limit: memory.zip(swap).map(|(memory, swap)| memory + swap),
                memory_bytes: number(&self.memory, "memory.current")?.unwrap_or(0),
                memory_kills: keyed(&read(&self.memory, "memory.events")?, "oom_kill"),
                pids_limit: number(&self.pids, "pids.max")?,
                pids: number(&self.pids, "pids.current")?.unwrap_or(0),
            });
        }
        let cpuacct = self
            .mounts
            .iter()
            .find_map(|mount| number(mount, "cpuacct.usage").ok().flatten());
        Ok(ContainerUsage {
            milli_cpu: per_mille(
                number(&self.cpu, "cpu.cfs_quota_us")?,
                number(&self.cpu, "cpu.cfs_period_us")?,
            ),
            cpu_time: Duration::from_nanos(cpuacct.unwrap_or(0)),
            throttled_periods: keyed(&read(&self.cpu, "cpu.stat")?, "nr_throttled"),
            memory_limit: number(&self.memory, "memory.limit_in_bytes")?,
            memory_and_swap_limit: number(&self.memory, "memory.memsw.limit_in_bytes")
                .ok()
                .flatten(),
            memory_bytes: number(&self.memory, "memory.usage_in_bytes")?.unwrap_or(0),
            memory_kills: keyed(&read(&self.memory, "memory.oom_control")?, "oom_kill"),
            pids_limit: number(&self.pids, "pids.max")?,
            pids: number(&self.pids, "pids.current")?.unwrap_or(0),
        })
    }

    /// Kills what is left in a group and in those below it, and removes them everywhere.
    pub(crate) fn remove(&self, group: &str) -> io::Result<()> {
        for mount in &self.mounts {
            remove_tree(&mount.join(group))?;
        }
        Ok(())
    }

    /// Removes the groups that an owner's containers were in, where they are empty.
    pub(crate) fn remove_owner(&self, owner: &str) {
        for mount in &self.mounts {
            let _in_use = fs::remove_dir(mount.join(PARENT).join(owner));
        }
    }

    /// Removes what agents that no longer run left behind; tells how many.
    pub(crate) fn sweep(&self, locks: &Path) -> io::Result<usize> {
        let mut owners = std::collections::BTreeSet::new();
        for mount in &self.mounts {
            for entry in fs::read_dir(mount.join(PARENT)).into_iter().flatten() {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    owners.extend(entry.file_name().into_string().ok());
                }
            }
        }
        let mut swept = 0;
        for owner in owners {
            let path = locks.join(&owner);
            let free = match File::open(&path) {
                Ok(file) => match file.try_lock() {
                    Ok(()) => true,
                    Err(TryLockError::WouldBlock) => false,
                    Err(TryLockError::Error(error)) => return Err(error),
                },
                Err(error) if error.kind() == io::ErrorKind::NotFound => true,
                Err(error) => return Err(error),
            };
            if free {
                self.remove(&format!("{PARENT}/{owner}"))?;
                let _other_sweeper = fs::remove_file(&path);
                swept += 1;
            }
        }
        for mount in &self.mounts {
            let _others_run = fs::remove_dir(mount.join(PARENT));
        }
        Ok(swept)
    }
}

/// The name of one running agent, locked for as long as this value lives.
#[derive(Debug)]
pub(crate) struct Owner {
    name: String,
    path: PathBuf,
    /// Holds the lock.
    _file: File,
}

impl Owner {
    /// Takes the name. `name` must be unique among agents, past ones too.
    pub(crate) fn lock(locks: &Path, name: String) -> io::Result<Self> {
        fs::create_dir_all(locks)?;
        let path = locks.join(&name);
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)?;
        file.try_lock().map_err(io::Error::from)?;
        Ok(Self {
            name,
            path,
            _file: file,
        })
    }

    /// The name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let _already_gone = fs::remove_file(&self.path);
    }
}

pub(crate) fn unsupported(missing: String, remedy: &str) -> RuntimeError {
    RuntimeError::Unsupported {
        missing,
        remedy: remedy.to_owned(),
    }
}

fn remove_tree(directory: &Path) -> io::Result<()> {
    match fs::read_dir(directory) {
        Ok(children) => {
            for child in children {
                let child = child?;
                if child.file_type()?.is_dir() {
                    remove_tree(&child.path())?;
                }
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    for _ in 0..REMOVE_TRIES {
        match fs::remove_dir(directory) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(_) => {
                kill_all(directory);
                thread::sleep(REMOVE_PAUSE);
            }
        }
    }
    fs::remove_dir(directory)
}

fn kill_all(group: &Path) {
    let procs = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    for pid in procs.lines().filter_map(|line| line.parse().ok()) {
        // 0 stands for a process of another pid namespace; it must not reach kill(2), where it means "my group".
        if pid > 0 {
            let _ended = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

/// A number, where `max`, -1 and version 1's largest value mean that there is no limit.
fn limit(text: &str) -> Option<u64> {
    let number = text.trim().parse::<u64>().ok()?;
    (number < 1 << 62).then_some(number)
}

fn per_mille(quota: Option<u64>, period: Option<u64>) -> Option<u64> {
    quota?.saturating_mul(1000).checked_div(period?)
}

fn keyed(text: &str, key: &str) -> u64 {
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(name, _)| *name == key)
        .and_then(|(_, value)| value.trim().parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_found_and_what_is_missing_is_named() {
        let old = "cgroup /c/cpu,cpuacct cgroup rw,cpu,cpuacct 0 0\n\
                   cgroup /c/memory cgroup rw,memory 0 0\n\
                   cgroup /c/pids cgroup rw,pids 0 0\n\
                   cgroup2 /c/unified cgroup2 rw 0 0\n";
        let found = Hierarchies::from_mounts(old, |_| String::new()).unwrap();
        assert!(!found.unified && found.cpu == Path::new("/c/cpu,cpuacct"));
        assert_eq!(found.mounts.len(), 4);
        let unified = "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0";
        let found = Hierarchies::from_mounts(unified, |_| "cpuset cpu memory pids\n".into());
        assert!(
            found.is_ok_and(|found| found.unified && found.pids == Path::new("/sys/fs/cgroup"))
        );
        let Err(RuntimeError::Unsupported { missing, remedy }) =
            Hierarchies::from_mounts(unified, |_| "cpu memory".into())
        else {
            panic!("a missing controller must be told");
        };
        assert!(
            missing.contains("`pids`") && !remedy.is_empty(),
            "{missing}"
        );
    }

    #[test]
    fn numbers_without_a_limit_are_none() {
        for text in ["max", "-1", "9223372036854771712", ""] {
            assert_eq!(limit(text), None, "{text}");
        }
        assert_eq!(limit("100663296\n"), Some(100_663_296));
        assert_eq!(per_mille(Some(50_000), Some(100_000)), Some(500));
        assert_eq!(per_mille(Some(1), Some(0)), None);
        assert_eq!(keyed("oom_kill_disable 0\noom_kill 3\n", "oom_kill"), 3);
    }
}
