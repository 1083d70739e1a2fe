//! Finding and joining a lab that another process holds.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use serde::{Deserialize, Serialize};

use super::{LabError, mount_resolv_conf};
use crate::sandbox::{LabId, running_labs};

/// The file in a lab's directory that describes it.
const DESCRIPTION: &str = "lab.json";

/// A lab that a process of this user holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunningLab {
    /// Its name.
    pub lab: LabId,
    /// The scenario's file, absolute.
    pub scenario: PathBuf,
    /// The process that supervises it.
    pub supervisor: u32,
    /// Its resolver configuration.
    pub resolv_conf: PathBuf,
    /// The supervisor's descriptor of each party's network namespace.
    pub parties: Vec<(String, i32)>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    scenario: PathBuf,
    supervisor: u32,
    parties: Vec<(String, i32)>,
}

/// Why a running lab cannot be joined.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// It has no such party.
    #[error("the lab has no party {name:?}; it has {}", .known.join(", "))]
    NoParty {
        /// The name asked for.
        name: String,
        /// The names that it has.
        known: Vec<String>,
    },
    /// One of its namespaces does not open: it just ended, or belongs to another user.
    #[error("cannot open {} of the running lab", .path.display())]
    Open {
        /// The namespace.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl RunningLab {
    pub(super) fn write(&self, directory: &Path) -> Result<(), LabError> {
        let description = Description {
            scenario: self.scenario.clone(),
            supervisor: self.supervisor,
            parties: self.parties.clone(),
        };
        let file = directory.join(DESCRIPTION);
        let draft = directory.join("lab.json.new");
        serde_json::to_vec(&description)
            .map_err(io::Error::from)
            .and_then(|text| fs::write(&draft, text))
            // At once, so that nobody reads half of it.
            .and_then(|()| fs::rename(&draft, &file))
            .map_err(|source| LabError::Write { file, source })
    }

    /// A lab that runs a scenario's file and has told so, if any.
    pub fn find(scenario: &Path) -> Option<Self> {
        Self::find_all(scenario).into_iter().next()
    }

    /// All labs that run a scenario's file and have told so.
    pub fn find_all(scenario: &Path) -> Vec<Self> {
        let described = |(lab, directory): (LabId, PathBuf)| {
            let text = fs::read(directory.join(DESCRIPTION)).ok()?;
            let description: Description = serde_json::from_slice(&text).ok()?;
            (description.scenario == scenario).then(|| Self {
                lab,
                scenario: description.scenario,
                supervisor: description.supervisor,
                resolv_conf: directory.join("resolv.conf"),
                parties: description.parties,
            })
        };
        running_labs().into_iter().filter_map(described).collect()
    }

    /// A command whose process starts in a party of the lab: in its network, with its resolver, seeing the files and
    /// processes of the caller, with no signal blocked. It dies with the thread that starts it.
    pub fn command(&self, party: &str, program: impl AsRef<OsStr>) -> Result<Command, JoinError> {
        let proc = PathBuf::from(format!("/proc/{}", self.supervisor));
        let open = |path: PathBuf| {
            File::open(&path)
                .map(|file| (file, path.clone()))
                .map_err(|source| JoinError::Open { path, source })
        };
        let descriptor = self
            .parties
            .iter()
            .find(|(name, _)| name == party)
            .map(|(_, descriptor)| descriptor)
            .ok_or_else(|| JoinError::NoParty {
                name: party.to_owned(),
                known: self.parties.iter().map(|(name, _)| name.clone()).collect(),
            })?;
        let (network, _) = open(proc.join(format!("fd/{descriptor}")))?;
        let (user, _) = open(proc.join("ns/user"))?;
        let (own, _) = open(PathBuf::from("/proc/self/ns/user"))?;
        let inode = |file: &File| file.metadata().map(|metadata| metadata.ino()).ok();
        // Entering the own user namespace again is an error.
        let user = (inode(&user) != inode(&own)).then_some(user);
        let resolv_conf = self.resolv_conf.clone();
        let mut command = Command::new(program);
        #[expect(
            unsafe_code,
            reason = "a child must enter the lab's namespaces between fork and exec"
        )]
        // SAFETY: the closure makes system calls that are async-signal-safe; the paths that it passes are short enough
        // to be terminated on the stack, so that nothing is allocated.
        unsafe {
            command.pre_exec(move || {
                if let Some(user) = &user {
                    setns(user, CloneFlags::CLONE_NEWUSER)?;
                }
                setns(&network, CloneFlags::CLONE_NEWNET)?;
                unshare(CloneFlags::CLONE_NEWNS)?;
                mount(
                    None::<&str>,
                    "/",
                    None::<&str>,
                    MsFlags::MS_REC | MsFlags::MS_PRIVATE,
                    None::<&str>,
                )?;
                mount_resolv_conf(&resolv_conf)?;
                SigSet::empty().thread_set_mask()?;
                prctl::set_pdeathsig(Signal::SIGKILL)?;
                Ok(())
            });
        }
        Ok(command)
    }
}
