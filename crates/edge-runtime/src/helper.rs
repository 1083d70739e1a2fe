//! The helper process: single-threaded, makes one container, watches it and takes it down.
//!
//! It works in a mount namespace of its own, over whose `/tmp` it lays a small tmpfs that holds the bundle, the
//! container's state and a read-only view of the image. So nothing is left on disk however it ends, and the image can be
//! reached by the container's mapped root even when the agent's directory cannot. The container's first process is
//! killed by the kernel when the helper ends.

use std::fs;
use std::io::{self, BufRead, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

use libcontainer::container::Container;
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::oci_spec::runtime::Spec;
use libcontainer::syscall::syscall::SyscallType;
use libcontainer::workload::default::DefaultExecutor;
use libcontainer::workload::{Executor, ExecutorError, ExecutorValidationError};
use nix::fcntl::{OFlag, open};
use nix::mount::{MsFlags, mount};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use seccompiler::BpfProgram;

use crate::cgroup::Hierarchies;
use crate::protocol::{ContainerRequest, HelperEvent};
use crate::seccomp;
use crate::spec::specification;

const WORKSPACE: &str = "/tmp";
const ROOT: &str = "/tmp/root";
const BUNDLE: &str = "/tmp/bundle";
const STATE: &str = "/tmp/state";

/// Runs the helper to its end. The process must have one thread; standard input and output belong to the agent.
pub fn run_helper() -> io::Result<()> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    let request: ContainerRequest = serde_json::from_str(&line)?;
    let groups = Hierarchies::find().map_err(io::Error::other)?;
    let result = match start(&request) {
        Ok(pid) => watch(&groups, &request, pid),
        Err(detail) => tell(&HelperEvent::Failed { detail }),
    };
    // Whatever happened: nothing stays.
    let removed = groups.remove(&request.cgroup);
    result.and(removed)
}

fn tell(event: &HelperEvent) -> io::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, event)?;
    out.write_all(b"\n")?;
    out.flush()
}

fn start(request: &ContainerRequest) -> Result<Pid, String> {
    let filters = seccomp::filters().map_err(|error| format!("seccomp: {error}"))?;
    // The agent's directory need not exist in the new mounts.
    std::env::set_current_dir("/").map_err(|error| format!("changing to /: {error}"))?;
    prepare(&request.root).map_err(|error| format!("preparing the mounts: {error}"))?;
    let specification =
        specification(request, ROOT).map_err(|error| format!("specification: {error}"))?;
    specification
        .save(Path::new(BUNDLE).join("config.json"))
        .map_err(|error| format!("specification: {error}"))?;
    let mut container = make(request, filters).map_err(|error| chain(&error))?;
    let pid = container
        .pid()
        .ok_or_else(|| "the container has no process".to_owned())?;
    container.start().map_err(|error| chain(&error))?;
    Ok(Pid::from_raw(pid.as_raw()))
}

fn make(
    request: &ContainerRequest,
    filters: Vec<BpfProgram>,
) -> Result<Container, libcontainer::error::LibcontainerError> {
    let null =
        fs::File::open("/dev/null").map_err(libcontainer::error::LibcontainerError::OtherIO)?;
    // What the workload prints goes where the helper's own errors go; it must not reach the agent's event pipe.
    let out = io::stderr()
        .as_fd()
        .try_clone_to_owned()
        .map_err(libcontainer::error::LibcontainerError::OtherIO)?;
    ContainerBuilder::new(request.id.clone(), SyscallType::default())
        .with_executor(FilteredExecutor { filters })
        .with_root_path(STATE)?
        .with_stdin(OwnedFd::from(null))
        .with_stdout(out)
        .validate_id()?
        .as_init(BUNDLE)
        .with_systemd(false)
        .build()
}

/// A private mount namespace with a workspace and a read-only view of the image.
fn prepare(image: &Path) -> io::Result<()> {
    let none: Option<&str> = None;
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    // Opened before the workspace may cover it.
    let image = open(
        image,
        OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
        Mode::empty(),
    )?;
    mount(
        Some("tmpfs"),
        WORKSPACE,
        Some("tmpfs"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
        Some("mode=755,size=1m"),
    )?;
    for directory in [ROOT, BUNDLE, STATE] {
        fs::create_dir(directory)?;
    }
    let source = format!("/proc/self/fd/{}", image.as_raw_fd());
    mount(Some(source.as_str()), ROOT, none, MsFlags::MS_BIND, none)?;
    let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    let remount = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | flags;
    mount(none, ROOT, none, remount, none)?;
    Ok(())
}

/// Waits until the program ends or the agent lets go.
fn watch(groups: &Hierarchies, request: &ContainerRequest, pid: Pid) -> io::Result<()> {
    let process = open_process(pid)?;
    tell(&HelperEvent::Started { pid: pid.as_raw() })?;
    let stdin = io::stdin();
    let mut fds = [
        PollFd::new(process.as_fd(), PollFlags::POLLIN),
        PollFd::new(stdin.as_fd(), PollFlags::POLLIN),
    ];
    while let Err(error) = poll(&mut fds, PollTimeout::NONE) {
        if error != nix::errno::Errno::EINTR {
            break;
        }
    }
    let ended = fds[0].any().unwrap_or(false);
    if !ended {
        // The first process of the pid namespace takes all others along.
        kill(pid, Signal::SIGKILL)?;
    }
    let kills = groups
        .usage(&request.cgroup)
        .map_or(0, |usage| usage.memory_kills);
    let status = waitpid(pid, None)?;
    if !ended {
        return Ok(());
    }
    let mut detail = match status {
        WaitStatus::Exited(_, code) => format!("the program exited with status {code}"),
        WaitStatus::Signaled(_, signal, _) => format!("the program was killed by {signal}"),
        other => format!("the program ended: {other:?}"),
    };
    if kills > 0 {
        detail.push_str(", having used more memory than it may");
    }
    tell(&HelperEvent::Exited { detail })
}

fn open_process(pid: Pid) -> io::Result<OwnedFd> {
    #[expect(unsafe_code, reason = "no safe call gives a process file descriptor")]
    // SAFETY: the call takes two numbers and gives a new file descriptor, which is owned from here on.
    unsafe {
        let fd = libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0);
        match i32::try_from(fd) {
            Ok(fd) if fd >= 0 => Ok(OwnedFd::from_raw_fd(fd)),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// Becomes the workload, after a filter on system calls is installed that cannot be taken off.
#[derive(Clone)]
struct FilteredExecutor {
    filters: Vec<BpfProgram>,
}

impl Executor for FilteredExecutor {
    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        let result = self.become_workload(spec);
        // Nobody listens to the result any more, but the agent reads what is printed.
        if let Err(error) = &result {
            let _closed_pipe = writeln!(io::stderr(), "{error}");
        }
        result
    }

    fn validate(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        DefaultExecutor {}.validate(spec)
    }
}

impl FilteredExecutor {
    fn become_workload(&self, spec: &Spec) -> Result<(), ExecutorError> {
        let failed = |what: &str, error: &dyn std::error::Error| {
            ExecutorError::Other(format!("{what}: {error}"))
        };
        // Set here, since changing the user clears it.
        nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)
            .map_err(|error| failed("parent death signal", &error))?;
        for filter in &self.filters {
            seccompiler::apply_filter(filter).map_err(|error| failed("seccomp", &error))?;
        }
        DefaultExecutor {}.exec(spec)
    }
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}
