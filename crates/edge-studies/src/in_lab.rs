//! A lab for a measurement: held by a process of this program, joined by others.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use edge_lab::lab::RunningLab;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long the lab, or a server in it, may take until it is there.
const START: Duration = Duration::from_secs(20);

/// How long the lab may take to end.
const END: Duration = Duration::from_secs(5);

/// A running lab; ends when dropped.
#[derive(Debug)]
pub(super) struct HeldLab {
    running: RunningLab,
    /// Servers in it, in the order in which they were started.
    servers: Vec<Child>,
    _lab: Lab,
    /// Where the scenario is.
    _directory: Directory,
}

/// The process that holds the lab; told to end when dropped, so that nothing is left.
#[derive(Debug)]
struct Lab(Child);

impl Drop for Lab {
    fn drop(&mut self) {
        let pid = i32::try_from(self.0.id()).map(Pid::from_raw);
        let _already_ended = pid.map(|pid| kill(pid, Signal::SIGTERM));
        let deadline = Instant::now() + END;
        while matches!(self.0.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                let _ended = self.0.kill();
                let _reaped = self.0.wait();
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// A directory that is removed when dropped.
#[derive(Debug)]
pub(super) struct Directory(PathBuf);

impl Directory {
    /// A new one among the temporary files.
    pub(super) fn new() -> Result<Self> {
        let base = std::env::temp_dir();
        let mut number = 0;
        loop {
            let path = base.join(format!("exec-edge-figures-{}-{number}", std::process::id()));
            match std::fs::create_dir(&path) {
                Ok(()) => return Ok(Self(path)),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => number += 1,
                Err(error) => {
                    return Err(error).with_context(|| format!("making {}", path.display()));
                }
            }
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _best_effort = std::fs::remove_dir_all(&self.0);
    }
}

impl HeldLab {
    /// Starts a lab of a scenario's text.
    pub(super) fn start(scenario: &str) -> Result<Self> {
        let directory = Directory::new()?;
        let file = directory.path().join("scenario.toml");
        std::fs::write(&file, scenario).with_context(|| format!("writing {}", file.display()))?;
        let log = directory.path().join("log");
        let errors = File::create(&log).with_context(|| format!("making {}", log.display()))?;
        let mut command = Command::new(program()?);
        command.args(["lab", "up"]).arg(&file).stdin(Stdio::null());
        let child = command.stdout(Stdio::null()).stderr(errors).spawn();
        let mut lab = Lab(child.context("starting the lab")?);
        let deadline = Instant::now() + START;
        let running = loop {
            if let Some(running) = RunningLab::find(&file) {
                break running;
            }
            if let Some(status) = lab.0.try_wait().context("waiting for the lab")? {
                let said = std::fs::read_to_string(&log).unwrap_or_default();
                bail!("the lab ended at once with {status}: {}", said.trim());
            }
            if Instant::now() > deadline {
                bail!("the lab is not there after {START:?}");
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        Ok(Self {
            running,
            servers: Vec::new(),
            _lab: lab,
            _directory: directory,
        })
    }

    /// This program in the namespace of `at`.
    fn command(&self, at: &str) -> Result<Command> {
        let command = self.running.command(at, program()?);
        let mut command = command.with_context(|| format!("joining the lab as {at}"))?;
        command.stdin(Stdio::null());
        Ok(command)
    }

    /// Starts a server of this program; it is ended with the lab.
    pub(super) fn serve(&mut self, at: &str, arguments: &[&str]) -> Result<()> {
        let mut command = self.command(at)?;
        command.args(arguments).stdout(Stdio::null());
        let child = command
            .spawn()
            .with_context(|| format!("starting {}", arguments.join(" ")))?;
        self.servers.push(child);
        Ok(())
    }

    /// Runs this program to its end and gives what it printed.
    pub(super) fn output(&self, at: &str, arguments: &[&str]) -> Result<String> {
        let mut command = self.command(at)?;
        let what = arguments.join(" ");
        let output = command
            .args(arguments)
            .stderr(Stdio::inherit())
            .output()
            .with_context(|| format!("running {what} in the lab"))?;
        if !output.status.success() {
            bail!("{what} in the lab ended with {}", output.status);
        }
        String::from_utf8(output.stdout).with_context(|| format!("reading what {what} printed"))
    }

    /// Waits until something listens at all `addresses`, asked from within the namespace of `at`.
    pub(super) fn await_listeners(&mut self, at: &str, addresses: &[&str]) -> Result<()> {
        let deadline = Instant::now() + START;
        for address in addresses {
            loop {
                let mut command = self.command(at)?;
                command.args(["simulate", "part", "connect", address]);
                let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
                if status.context("asking for a server in the lab")?.success() {
                    break;
                }
                for child in &mut self.servers {
                    if let Some(status) = child.try_wait().context("waiting for a server")? {
                        bail!("a server in the lab ended at once with {status}");
                    }
                }
                if Instant::now() > deadline {
                    bail!("nobody listens at {address} after {START:?}");
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        Ok(())
    }
}

impl Drop for HeldLab {
    fn drop(&mut self) {
        for child in self.servers.iter_mut().rev() {
            // Already ended is fine.
            let _ended = child.kill();
            let _reaped = child.wait();
        }
    }
}

fn program() -> Result<PathBuf> {
    std::env::current_exe().context("finding this program")
}
