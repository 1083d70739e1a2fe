//! A running lab, held by the process that supervises a sandbox.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use nix::mount::{MsFlags, mount};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::forwarder::{Forwarder, Priority, Statistics};
use crate::network::{Network, PartyId};
use crate::party::{PartyError, PartyNamespace};
use crate::sandbox::Inside;
use crate::scenario::Scenario;

mod running;

pub use running::{JoinError, RunningLab};

/// The file whose content tells the C library where names are resolved.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// A running lab: namespaces for all parties, and the forwarder between them.
#[derive(Debug)]
pub struct Lab {
    inside: Inside,
    network: Arc<Network>,
    parties: Vec<PartyNamespace>,
    statistics: Arc<Statistics>,
    forwarder: Forwarder,
}

/// Why a lab does not start.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// A party's namespace could not be made.
    #[error(transparent)]
    Party(#[from] PartyError),
    /// The forwarder's thread could not be started.
    #[error("cannot start the forwarder")]
    Forwarder(#[source] io::Error),
    /// A file that belongs to the lab could not be written.
    #[error("cannot write {}", .file.display())]
    Write {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The lab's resolver configuration could not be put in place.
    #[error("cannot mount the lab's resolver configuration over {RESOLV_CONF}")]
    ResolvConf(#[source] io::Error),
    /// A thread could not be started or failed.
    #[error("cannot run a thread for the namespaces")]
    Thread(#[source] io::Error),
}

impl Lab {
    /// Makes the namespaces of all parties and starts the forwarder. Names resolve by the lab's own server afterwards,
    /// for this process and all that it starts.
    pub fn start(inside: Inside, network: Arc<Network>) -> Result<Self, LabError> {
        raise_file_limit();
        let made: Result<Vec<_>, PartyError> = std::thread::scope(|scope| {
            // The thread changes namespace with every party, and takes its own to the grave.
            let maker = scope.spawn(|| {
                network
                    .parties()
                    .iter()
                    .map(|party| PartyNamespace::make(party.clone(), network.carries_bursts()))
                    .collect()
            });
            maker
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        let (parties, devices) = made?.into_iter().unzip();
        let statistics = Arc::new(Statistics::new(&network));
        let forwarder = Forwarder::start(Arc::clone(&network), Arc::clone(&statistics), devices)
            .map_err(LabError::Forwarder)?;
        let lab = Self {
            inside,
            network,
            parties,
            statistics,
            forwarder,
        };
        let resolv_conf = lab.write_resolv_conf()?;
        mount_resolv_conf(&resolv_conf).map_err(LabError::ResolvConf)?;
        Ok(lab)
    }

    /// Lets other processes of this user find and join the lab until it ends.
    pub fn announce(&self, scenario: &Path) -> Result<(), LabError> {
        let running = RunningLab {
            lab: self.inside.lab,
            scenario: scenario.to_owned(),
            supervisor: self.inside.outer_pid,
            resolv_conf: self.inside.directory.join("resolv.conf"),
            parties: self
                .parties
                .iter()
                .map(|party| {
                    let descriptor = party.namespace().as_raw_fd();
                    (party.party().name.clone(), descriptor)
                })
                .collect(),
        };
        running.write(&self.inside.directory)
    }

    fn write_resolv_conf(&self) -> Result<PathBuf, LabError> {
        let servers = self
            .parties
            .iter()
            .find(|party| party.party().id == PartyId::Dns)
            .map(|party| party.party().addresses.as_slice())
            .unwrap_or_default();
        let file = self.inside.directory.join("resolv.conf");
        fs::write(&file, resolv_conf(servers)).map_err(|source| LabError::Write {
            file: file.clone(),
            source,
        })?;
        Ok(file)
    }

    /// The sandbox around it.
    pub const fn inside(&self) -> &Inside {
        &self.inside
    }

    /// The network that it runs.
    pub const fn network(&self) -> &Arc<Network> {
        &self.network
    }

    /// All parties, in the order of [`Network::parties`].
    pub fn parties(&self) -> &[PartyNamespace] {
        &self.parties
    }

    /// One party.
    pub fn party(&self, id: PartyId) -> Option<&PartyNamespace> {
        self.parties.iter().find(|party| party.party().id == id)
    }

    /// The party with that name, or with that address.
    pub fn party_at(&self, name: &str) -> Option<&PartyNamespace> {
        let by_address = || {
            let location = self.network.locate(name.parse::<IpAddr>().ok()?)?;
            self.party(location.party)
        };
        self.parties
            .iter()
            .find(|party| party.party().name == name)
            .or_else(by_address)
    }

    /// A command that runs this program again in a party's namespace.
    pub fn own_command(&self, party: &PartyNamespace) -> io::Result<Command> {
        party.command(OsStr::new("/proc/self/exe"))
    }

    /// The forwarder's counters.
    pub const fn statistics(&self) -> &Arc<Statistics> {
        &self.statistics
    }

    /// How the forwarder's thread is scheduled.
    pub const fn priority(&self) -> Priority {
        self.forwarder.priority()
    }

    /// Do idle processors wait awake while the lab runs, so that packets are in time? Root may ask the kernel for it.
    pub const fn keeps_processors_awake(&self) -> bool {
        self.forwarder.keeps_processors_awake()
    }

    /// Stops the forwarder; the namespaces go when their last process ends.
    ///
    /// # Errors
    /// What ended the forwarder before, if anything did.
    pub fn stop(self) -> io::Result<()> {
        self.forwarder.stop()
    }
}

/// The name of the party that has a name or address: a party's own name, a site's host name, the application's, or any
/// address of a host or client.
pub fn party_name(scenario: &Scenario, network: &Network, at: &str) -> Option<String> {
    let name_of = |id: PartyId| {
        let mut parties = network.parties().iter();
        parties
            .find(|party| party.id == id)
            .map(|party| party.name.clone())
    };
    if let Some(party) = network.parties().iter().find(|party| party.name == at) {
        return Some(party.name.clone());
    }
    if let Ok(address) = at.parse::<IpAddr>() {
        return name_of(network.locate(address)?.party);
    }
    if scenario.cloud.host.as_str() == at {
        return name_of(PartyId::Cloud);
    }
    let provider = scenario
        .providers
        .iter()
        .find(|provider| provider.sites.iter().any(|site| site.host.as_str() == at))?;
    Some(provider.domain.as_str().to_owned())
}

fn resolv_conf(servers: &[IpAddr]) -> String {
    let mut text = String::from("# the lab's own server\n");
    // The C library reads at most three.
    for server in servers.iter().take(3) {
        text.push_str("nameserver ");
        text.push_str(&server.to_string());
        text.push('\n');
    }
    // The longest path of a lab is far below a second, but packets may be lost.
    text.push_str("options timeout:2 attempts:3\n");
    text
}

/// Puts a file in place of the resolver's configuration, in the mount namespace of the calling process, which must be
/// its own.
fn mount_resolv_conf(file: &Path) -> io::Result<()> {
    if !Path::new(RESOLV_CONF).exists() {
        // Then nobody looks there either.
        return Ok(());
    }
    mount(
        Some(file),
        RESOLV_CONF,
        None::<&str>,
        MsFlags::MS_BIND,
        None::<&str>,
    )?;
    Ok(())
}

/// A lab of hundreds of clients has more connections open than systems allow by default.
fn raise_file_limit() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}
