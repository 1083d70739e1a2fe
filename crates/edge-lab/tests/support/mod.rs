//! A harness whose tests are processes, and probes with a hop limit.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::{Duration, Instant};

use edge_lab::lab::Lab;
use edge_lab::network::Network;
use edge_lab::party::PartyNamespace;
use edge_lab::sandbox::{self, Begin, LabId};
use edge_lab::scenario::Scenario;
use edge_packet::{IcmpError, IpVersion};
use libtest_mimic::{Arguments, Failed, Trial};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::{Gid, Uid, setgid, setgroups, setuid};
use socket2::{Domain, Protocol, Socket, Type};

/// What a test does in the supervisor of its sandbox. It fails by panicking.
pub(crate) type InSandbox = fn(&Lab);

/// First argument of the outermost process of a sandbox, and of its supervisor.
const RUN: &str = "run-in-sandbox";

/// The test whose scenario loses a tenth of the packets between lon and fra.
pub(crate) const LOSSY: &str = "netns_links_lose_what_they_should";

/// How long anything awaited may take.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Test(Trial);

impl Test {
    /// A test that runs in a sandbox of its own.
    pub(crate) fn in_sandbox(name: &'static str) -> Self {
        Self(Trial::test(name, move || {
            let output = outermost(name).output()?;
            if output.status.success() {
                return Ok(());
            }
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            Err(Failed::from(format!("{}\n{text}", output.status)))
        }))
    }

    /// A test that makes its own.
    pub(crate) fn new(name: &'static str, test: fn()) -> Self {
        Self(Trial::test(name, move || {
            test();
            Ok(())
        }))
    }
}

pub(crate) fn conclude(tests: Vec<Test>) -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Their timing is what they test.
    arguments.test_threads = Some(1);
    let tests = tests.into_iter().map(|Test(trial)| trial).collect();
    libtest_mimic::run(&arguments, tests).exit_code()
}

/// Does the part of a process other than the test runner, if it is one.
pub(crate) fn run_inside(tests: &[(&str, InSandbox)]) -> Option<ExitCode> {
    let arguments = std::env::args_os().skip(1).collect();
    match sandbox::begin(arguments) {
        Ok(Begin::Finished(code)) => Some(code),
        Ok(Begin::Proceed { arguments, inside }) => {
            if arguments.first()? != RUN {
                return None;
            }
            let Some(inside) = inside else {
                return Some(sandbox::enclose(&arguments).unwrap());
            };
            let (_, test) = tests
                .iter()
                .find(|(name, _)| arguments.get(1).is_some_and(|wanted| wanted == name))
                .unwrap();
            let mut scenario = scenario();
            if arguments.get(1).is_some_and(|name| name == LOSSY) {
                let last = scenario.links.last_mut().unwrap();
                last.loss = 0.1;
            }
            let network = Arc::new(Network::compile(&scenario));
            let lab = Lab::start(inside, network).unwrap();
            test(&lab);
            lab.stop().unwrap();
            Some(ExitCode::SUCCESS)
        }
        Err(error) => panic!("{error}: {:?}", std::error::Error::source(&error)),
    }
}

/// The command that runs one test as a sandbox's outermost process.
pub(crate) fn outermost(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg(RUN).arg(test);
    command
}

pub(crate) fn scenario_file() -> PathBuf {
    PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../scenarios/two-continents.toml"
    ))
}

pub(crate) fn scenario() -> Scenario {
    let text = include_str!("../../../../scenarios/two-continents.toml");
    Scenario::parse("two-continents.toml", text).unwrap()
}

pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Processes whose arguments name the lab, or that are in a process namespace below it.
pub(crate) fn processes_of(lab: LabId) -> Vec<u32> {
    let name = lab.to_string();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|pid| pid.parse().ok()) else {
            continue;
        };
        let arguments = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let environment = std::fs::read(entry.path().join("status")).unwrap_or_default();
        let in_namespace = String::from_utf8_lossy(&environment)
            .lines()
            .any(|line| line.starts_with("NSpid:") && line.split_ascii_whitespace().count() > 2);
        let is_sleeper = arguments.starts_with(b"sleep\x001000\x00") && in_namespace;
        if is_sleeper || String::from_utf8_lossy(&arguments).contains(&name) {
            found.push(pid);
        }
    }
    found
}

/// In a child before exec: a TUN device that everybody may open, in private mounts, and no privileges.
pub(crate) fn become_ordinary_user() -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>)?;
    let tmpfs = Some("tmpfs");
    mount(tmpfs, "/dev/net", tmpfs, MsFlags::empty(), Some("mode=755"))?;
    let everybody = Mode::from_bits_truncate(0o666);
    nix::sys::stat::umask(Mode::empty());
    mknod("/dev/net/tun", SFlag::S_IFCHR, everybody, makedev(10, 200))?;
    setgroups(&[])?;
    setgid(Gid::from_raw(65_534))?;
    setuid(Uid::from_raw(65_534))?;
    Ok(())
}

/// A socket that sends whole IPv4 packets.
pub(crate) fn raw_socket() -> Socket {
    const RAW: i32 = 255;
    Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(RAW))).unwrap()
}

/// Sends UDP probes with a hop limit from one port, and collects the errors about them.
pub(crate) struct Probes {
    sender: UdpSocket,
    errors: UdpSocket,
    version: IpVersion,
}

impl Probes {
    pub(crate) fn open(party: &PartyNamespace, from: IpAddr) -> Self {
        let (domain, protocol) = match from {
            IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
            IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
        };
        let (probes, errors) = party
            .run(|| {
                let probes = UdpSocket::bind((from, 0)).unwrap();
                let errors = Socket::new(domain, Type::RAW, Some(protocol)).unwrap();
                // Receiving is the same for all datagrams.
                (probes, UdpSocket::from(errors))
            })
            .unwrap();
        Self {
            sender: probes,
            errors,
            version: IpVersion::of(from),
        }
    }

    /// Who answers `count` probes sent at once; waits for 250 ms after the last answer.
    pub(crate) fn send(&mut self, to: SocketAddr, hop_limit: u8, count: usize) -> Vec<IpAddr> {
        let socket = socket2::SockRef::from(&self.sender);
        let hops = u32::from(hop_limit);
        match self.version {
            IpVersion::V4 => socket.set_ttl_v4(hops).unwrap(),
            IpVersion::V6 => socket.set_unicast_hops_v6(hops).unwrap(),
        }
        for _ in 0..count {
            self.sender.send_to(b"probe", to).unwrap();
        }
        self.errors
            .set_read_timeout(Some(Duration::from_millis(250)))
            .unwrap();
        let mut answers = Vec::new();
        let mut octets = [0; 2048];
        while answers.len() < count {
            let Ok((length, from)) = self.errors.recv_from(&mut octets) else {
                break;
            };
            let octets = &octets[..length];
            let parsed = match self.version {
                IpVersion::V4 => IcmpError::parse_packet(octets).map(|(_, error)| error),
                IpVersion::V6 => IcmpError::parse_message(IpVersion::V6, octets),
            };
            let is_ours = parsed.is_ok_and(|error| {
                error.quoted.destination == to.ip()
                    && error
                        .quoted
                        .ports()
                        .is_some_and(|(_, port)| port == to.port())
            });
            if is_ours {
                answers.push(from.ip());
            }
        }
        answers
    }
}
