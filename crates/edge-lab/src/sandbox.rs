//! Starting this program inside namespaces of its own, so that nothing it makes there outlives it.
//!
//! The calling process re-executes itself three times: a **keeper** that makes the namespaces, the **init** of the new
//! process namespace, which only buries orphans, and the **supervisor**, which goes on with the caller's arguments.
//! Each dies with its parent, and all processes of the namespace die with its init: killing the outermost process in
//! any way ends everything. Namespaces and mounts have no names, so they vanish with the processes.

mod identity;
mod leftovers;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Pid, getegid, geteuid, getppid};

pub use identity::{LabId, LabIdError};
pub use leftovers::{running_labs, runtime_root, sweep};

use crate::party::{TUN_DEVICE, open_tun_device, tun_remedy};

/// First argument of the program's re-executions of itself.
const ROLE: &str = "sandbox-role";

/// How long the supervisor may take to end by itself after an interrupt from the keyboard, which it also got.
const GRACE: Duration = Duration::from_secs(5);

/// Where a process stands, and what it is to do.
#[derive(Debug)]
pub enum Begin {
    /// A sandbox process has done its part; the program is to end with this code.
    Finished(ExitCode),
    /// The program is to go on.
    Proceed {
        /// Its arguments, without the sandbox's own.
        arguments: Vec<OsString>,
        /// Within a sandbox: which.
        inside: Option<Inside>,
    },
}

/// The sandbox that the calling process supervises.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inside {
    /// The lab.
    pub lab: LabId,
    /// The lab's directory for files.
    pub directory: PathBuf,
    /// This process as seen from outside.
    pub outer_pid: u32,
}

impl Inside {
    /// Makes a folder in the lab's directory whose files stay in memory, `octets` at most, and vanish with the sandbox.
    ///
    /// For what many parties write at once: a disk that catches up later takes the processors when it suits it.
    pub fn memory_directory(&self, name: &str, octets: u64) -> io::Result<PathBuf> {
        let directory = self.directory.join(name);
        fs::create_dir_all(&directory)?;
        mount(
            Some("tmpfs"),
            &directory,
            Some("tmpfs"),
            MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
            Some(format!("size={octets},mode=700").as_str()),
        )?;
        Ok(directory)
    }
}

/// Why there is no sandbox. The text is one line with the remedy.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// `/dev/net/tun` is missing or not accessible.
    #[error("cannot open {TUN_DEVICE}: {}", tun_remedy(.0))]
    TunDevice(#[source] io::Error),
    /// The kernel or the system's policy refuses an unprivileged user namespace.
    #[error("cannot make a user namespace: {}", user_namespace_remedy(*.0))]
    UserNamespace(#[source] Errno),
    /// The kernel refuses namespaces to a process that should be allowed to make them.
    #[error(
        "cannot make namespaces: run as root with CAP_SYS_ADMIN and CAP_NET_ADMIN, or as a user who may make user \
         namespaces"
    )]
    Namespaces(#[source] Errno),
    /// Writing the user namespace's identity failed.
    #[error(
        "cannot write {file}; this system may restrict user namespaces (kernel.apparmor_restrict_unprivileged_userns=0 allows them)"
    )]
    Identity {
        /// The file.
        file: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A mount failed.
    #[error(
        "cannot mount {what} privately; this system may restrict user namespaces (kernel.apparmor_restrict_unprivileged_userns=0 allows them)"
    )]
    Mount {
        /// What.
        what: &'static str,
        /// Why.
        #[source]
        source: Errno,
    },
    /// The lab's directory could not be made.
    #[error("cannot make a directory below {}", .parent.display())]
    Directory {
        /// Its parent.
        parent: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The program could not be started again.
    #[error("cannot start the {role} process")]
    Spawn {
        /// Which part it was to play.
        role: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Signals or child processes could not be waited for.
    #[error("cannot wait for the {role} process")]
    Wait {
        /// Which part it plays.
        role: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// `/proc` is missing or says nothing of this process.
    #[error("cannot read /proc, which the lab needs; mount it")]
    Proc(#[source] io::Error),
    /// The arguments of a sandbox process are not what its parent gives.
    #[error("{ROLE} is for this program's own use")]
    Arguments,
}

fn user_namespace_remedy(errno: Errno) -> &'static str {
    match errno {
        Errno::ENOSPC => "as root: sysctl user.max_user_namespaces=10000",
        Errno::EINVAL => "this kernel has none; run as root",
        _ => {
            "run as root, or as root once: sysctl kernel.unprivileged_userns_clone=1 \
             kernel.apparmor_restrict_unprivileged_userns=0 (whichever exists; in a container, its seccomp profile)"
        }
    }
}

/// To be called first in `main`, before any thread exists, with the program's arguments but its name.
pub fn begin(mut arguments: Vec<OsString>) -> Result<Begin, SandboxError> {
    if arguments.first().map(OsString::as_os_str) != Some(OsStr::new(ROLE)) {
        return Ok(Begin::Proceed {
            arguments,
            inside: None,
        });
    }
    let rest = arguments.split_off(arguments.len().min(5));
    let [_, role, lab, directory, parent] = arguments.as_slice() else {
        return Err(SandboxError::Arguments);
    };
    let lab: LabId = parse(lab)?;
    let directory = Path::new(directory);
    let parent: u32 = parse(parent)?;
    match role.to_str() {
        Some("keeper") => keep(lab, directory, parent, &rest).map(Begin::Finished),
        Some("init") => init(lab, directory, parent, &rest).map(Begin::Finished),
        Some("supervisor") => {
            let inside = settle_in(lab, directory)?;
            Ok(Begin::Proceed {
                arguments: rest,
                inside: Some(inside),
            })
        }
        _ => Err(SandboxError::Arguments),
    }
}

fn parse<T: std::str::FromStr>(text: &OsStr) -> Result<T, SandboxError> {
    text.to_str()
        .and_then(|text| text.parse().ok())
        .ok_or(SandboxError::Arguments)
}

/// Runs this program with `arguments` inside a new sandbox, until it ends or this process is told to. Returns its
/// exit code: 128 + the signal's number where a signal ended it.
///
/// Call it before any thread exists, from a process without other children. Leftovers of killed labs go first.
pub fn enclose(arguments: &[OsString]) -> Result<ExitCode, SandboxError> {
    drop(open_tun_device().map_err(SandboxError::TunDevice)?);
    let stuck = sweep();
    if !stuck.is_empty() {
        tracing::warn!(?stuck, "leftovers of an earlier lab cannot be removed");
    }
    let lab = LabId::of_this_process()
        .ok_or_else(|| SandboxError::Proc(io::ErrorKind::NotFound.into()))?;
    let directory = leftovers::make_directory(lab).map_err(|source| SandboxError::Directory {
        parent: runtime_root(),
        source,
    })?;
    let outcome = guard(lab, &directory, arguments);
    if let Some(stuck) = leftovers::remove(lab) {
        tracing::warn!(?stuck, "the lab's directory cannot be removed");
    }
    outcome.map(exit_code)
}

/// Starts the keeper and waits for it, and for everything that it started.
fn guard(lab: LabId, directory: &Path, arguments: &[OsString]) -> Result<ExitStatus, SandboxError> {
    let waiting = |source: io::Error| SandboxError::Wait {
        role: "keeper",
        source,
    };
    // An init whose keeper is killed becomes our child, so that its end can be waited for.
    prctl::set_child_subreaper(true).map_err(|errno| waiting(errno.into()))?;
    let mut signals = SigSet::empty();
    for signal in [
        Signal::SIGCHLD,
        Signal::SIGINT,
        Signal::SIGTERM,
        Signal::SIGHUP,
        Signal::SIGQUIT,
    ] {
        signals.add(signal);
    }
    let before = signals
        .thread_swap_mask(SigmaskHow::SIG_BLOCK)
        .map_err(|errno| waiting(errno.into()))?;
    let signals = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .map_err(|errno| waiting(errno.into()))?;
    let mut keeper = start("keeper", lab, directory, std::process::id(), arguments)?;
    let status = watch(&mut keeper, &signals);
    if status.is_err() {
        let _ = keeper.kill();
        let _ = keeper.wait();
    }
    while !matches!(waitpid(None::<Pid>, None), Err(errno) if errno != Errno::EINTR) {}
    before
        .thread_set_mask()
        .map_err(|errno| waiting(errno.into()))?;
    status.map_err(waiting)
}

fn watch(keeper: &mut Child, signals: &SignalFd) -> io::Result<ExitStatus> {
    let mut deadline: Option<Instant> = None;
    // What is reported where a signal to us ended the sandbox: as if it had ended us.
    let mut ended_by = None;
    loop {
        if let Some(status) = keeper.try_wait()? {
            return Ok(ended_by.map_or(status, ExitStatus::from_raw));
        }
        while let Some(signal) = signals.read_signal()? {
            let number = signal.ssi_signo.cast_signed();
            match Signal::try_from(number) {
                Ok(Signal::SIGCHLD) => {}
                // The terminal sent it to the whole group; a second one means now.
                Ok(Signal::SIGINT) if signal.ssi_code == libc::SI_KERNEL && deadline.is_none() => {
                    deadline = Some(Instant::now() + GRACE);
                }
                _ => {
                    ended_by = Some(number);
                    keeper.kill()?;
                    keeper.wait()?;
                }
            }
        }
        if let Some(status) = keeper.try_wait()? {
            return Ok(ended_by.map_or(status, ExitStatus::from_raw));
        }
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left == Some(Duration::ZERO) {
            keeper.kill()?;
            keeper.wait()?;
            return Ok(ExitStatus::from_raw(Signal::SIGINT as i32));
        }
        let timeout = left.map_or(PollTimeout::NONE, |left| {
            PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
        });
        let mut descriptors = [PollFd::new(
            std::os::fd::AsFd::as_fd(signals),
            PollFlags::POLLIN,
        )];
        match poll(&mut descriptors, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Starts this program in one of the sandbox's roles.
fn start(
    role: &'static str,
    lab: LabId,
    directory: &Path,
    parent: u32,
    arguments: &[OsString],
) -> Result<Child, SandboxError> {
    let mut command = Command::new("/proc/self/exe");
    if let Some(name) = std::env::args_os().next() {
        command.arg0(name);
    }
    command
        .arg(ROLE)
        .arg(role)
        .arg(lab.to_string())
        .arg(directory)
        .arg(parent.to_string())
        .args(arguments)
        .spawn()
        .map_err(|source| SandboxError::Spawn { role, source })
}

/// The keeper: makes the namespaces, starts the init, and ends as it ends.
fn keep(
    lab: LabId,
    directory: &Path,
    parent: u32,
    arguments: &[OsString],
) -> Result<ExitCode, SandboxError> {
    let mut signals = SigSet::empty();
    for signal in [
        Signal::SIGINT,
        Signal::SIGTERM,
        Signal::SIGHUP,
        Signal::SIGQUIT,
    ] {
        signals.add(signal);
    }
    signals.thread_block().map_err(|errno| SandboxError::Wait {
        role: "init",
        source: errno.into(),
    })?;
    make_namespaces()?;
    mount(
        None::<&str>,
        "/",
        None::<&str>,
        MsFlags::MS_REC | MsFlags::MS_PRIVATE,
        None::<&str>,
    )
    .map_err(|source| SandboxError::Mount { what: "/", source })?;
    // After the change of identity, which would clear it.
    die_with_parent()?;
    if getppid().as_raw().cast_unsigned() != parent {
        return Ok(ExitCode::FAILURE);
    }
    let mut init = start("init", lab, directory, std::process::id(), arguments)?;
    let status = init.wait().map_err(|source| SandboxError::Wait {
        role: "init",
        source,
    })?;
    Ok(exit_code(status))
}

fn make_namespaces() -> Result<(), SandboxError> {
    let plain = CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET;
    let (user, group) = (geteuid(), getegid());
    if user.is_root() {
        match unshare(plain) {
            Ok(()) => return Ok(()),
            // Root of a container without the capability may still make a user namespace.
            Err(Errno::EPERM) => {}
            Err(errno) => return Err(SandboxError::Namespaces(errno)),
        }
    }
    unshare(CloneFlags::CLONE_NEWUSER).map_err(SandboxError::UserNamespace)?;
    for (file, content) in [
        ("/proc/self/setgroups", "deny".to_owned()),
        ("/proc/self/uid_map", format!("0 {user} 1\n")),
        ("/proc/self/gid_map", format!("0 {group} 1\n")),
    ] {
        fs::write(file, content).map_err(|source| SandboxError::Identity { file, source })?;
    }
    unshare(plain).map_err(SandboxError::Namespaces)
}

/// The init: starts the supervisor and buries orphans until it ends; everything else in the namespace dies then.
fn init(
    lab: LabId,
    directory: &Path,
    keeper: u32,
    arguments: &[OsString],
) -> Result<ExitCode, SandboxError> {
    die_with_parent()?;
    // The parent is out of sight of this namespace, but not of the outer /proc, which is still mounted.
    let status = fs::read_to_string("/proc/self/status").map_err(SandboxError::Proc)?;
    let parent = status
        .lines()
        .find_map(|line| line.strip_prefix("PPid:")?.trim().parse().ok());
    if parent != Some(keeper) {
        return Ok(ExitCode::FAILURE);
    }
    let supervisor = start("supervisor", lab, directory, std::process::id(), arguments)?;
    let supervisor = Pid::from_raw(supervisor.id().cast_signed());
    loop {
        match waitpid(None::<Pid>, None) {
            Ok(WaitStatus::Exited(pid, code)) if pid == supervisor => {
                return Ok(exit_code(ExitStatus::from_raw(code << 8)));
            }
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == supervisor => {
                return Ok(exit_code(ExitStatus::from_raw(signal as i32)));
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => {
                return Err(SandboxError::Wait {
                    role: "supervisor",
                    source: errno.into(),
                });
            }
        }
    }
}

/// The supervisor's first steps: note its outer name, see only the sandbox's processes, and let signals through.
fn settle_in(lab: LabId, directory: &Path) -> Result<Inside, SandboxError> {
    let outer_pid = fs::read_link("/proc/self")
        .map_err(SandboxError::Proc)?
        .to_str()
        .and_then(|pid| pid.parse().ok())
        .ok_or(SandboxError::Arguments)?;
    let mounted = mount(
        Some("proc"),
        "/proc",
        Some("proc"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC,
        None::<&str>,
    );
    match mounted {
        // A container that masks parts of /proc refuses a fresh one; the outer one does, with the outer numbers.
        Ok(()) | Err(Errno::EPERM) => {}
        Err(source) => {
            return Err(SandboxError::Mount {
                what: "/proc",
                source,
            });
        }
    }
    // The outer processes wait for signals instead of ending by them; what they blocked was inherited.
    SigSet::empty()
        .thread_set_mask()
        .map_err(|errno| SandboxError::Wait {
            role: "supervisor",
            source: errno.into(),
        })?;
    Ok(Inside {
        lab,
        directory: directory.to_owned(),
        outer_pid,
    })
}

fn die_with_parent() -> Result<(), SandboxError> {
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(|errno| SandboxError::Wait {
        role: "parent",
        source: errno.into(),
    })
}

/// A process's end as this process's exit code.
pub fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .and_then(|code| u8::try_from(code).ok());
    code.map_or(ExitCode::FAILURE, ExitCode::from)
}

/// Interrupts of this process, kept back from ending it.
#[derive(Debug)]
pub struct Interrupts(SigSet);

impl Interrupts {
    /// Keeps back SIGINT and SIGTERM from the calling thread and from threads and programs that it starts, but for
    /// those in a party of a lab. A lab's supervisor calls it before it starts any thread.
    pub fn hold() -> io::Result<Self> {
        let mut signals = SigSet::empty();
        signals.add(Signal::SIGINT);
        signals.add(Signal::SIGTERM);
        signals.thread_block()?;
        Ok(Self(signals))
    }

    /// Waits for one.
    pub fn wait(&self) -> io::Result<()> {
        self.0.wait()?;
        Ok(())
    }
}
