//! Labs and demos that are ended in every rude way: nothing of them stays.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "support/program.rs"]
mod program;
#[path = "support/remains.rs"]
mod remains;

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use program::{program, run, scenario, traces_of};
use remains::{Holdings, Run};
use serde_json::Value;

/// How long anything awaited may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long the kernel may take to bury what was killed.
const BURIAL: Duration = Duration::from_secs(5);

/// A lab that is up.
struct Up {
    outermost: Child,
    run: Run,
    holdings: Holdings,
}

impl Up {
    fn start(file: &Path) -> Self {
        let mut command = program(&["lab", "up"]);
        command
            .arg(file)
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let run = Run::mark(&mut command);
        let mut outermost = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(outermost.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert_eq!(line, "lab two-continents is up; Ctrl-C ends it\n");
        let holdings = run.holdings();
        // Outermost, keeper, init, supervisor and the name server; cloud, dns, chain, clients and two providers.
        assert!(holdings.processes.len() >= 5, "{holdings:?}");
        assert!(count(&holdings, "net") >= 6, "{holdings:?}");
        assert!(!traces_of(outermost.id()).is_empty());
        Self {
            outermost,
            run,
            holdings,
        }
    }

    fn pid(&self) -> u32 {
        self.outermost.id()
    }
}

/// Namespaces of one kind.
fn count(holdings: &Holdings, kind: &str) -> usize {
    let of_kind = |name: &&String| name.split(':').next() == Some(kind);
    holdings.namespaces.iter().filter(of_kind).count()
}

fn send(pid: u32, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(pid).unwrap()), signal).unwrap();
}

fn ended(child: &mut Child, patience: Duration) -> ExitStatus {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        assert!(
            Instant::now() < deadline,
            "{} still runs after {patience:?}",
            child.id()
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The next run works, and sweeps what the kernel does not.
fn next_run_works(file: &Path, before: u32) {
    let mut command = program(&["lab", "run"]);
    command.arg(file).args(["--", "true"]);
    let run_of_it = Run::mark(&mut command);
    let answer = run(&mut command, PATIENCE);
    let said = answer.out + &answer.err;
    assert_eq!((answer.code, said.as_str()), (Some(0), ""));
    assert_eq!(traces_of(before), Vec::<String>::new());
    run_of_it.holdings().expect_gone(BURIAL);
}

#[test]
fn netns_a_killed_lab_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let file = scenario(directory.path(), "two-continents.toml", |text| text);
    let mut lab = Up::start(&file);
    send(lab.pid(), Signal::SIGKILL);
    ended(&mut lab.outermost, PATIENCE);
    lab.holdings.expect_gone(BURIAL);
    assert_eq!(lab.run.holdings(), Holdings::default());
    next_run_works(&file, lab.pid());
}

#[test]
fn netns_a_lab_told_to_end_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let file = scenario(directory.path(), "two-continents.toml", |text| text);
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let mut lab = Up::start(&file);
        send(lab.pid(), signal);
        let status = ended(&mut lab.outermost, PATIENCE);
        assert_eq!(status.code(), Some(128 + signal as i32), "{signal}");
        assert_eq!(traces_of(lab.pid()), Vec::<String>::new(), "{signal}");
        lab.holdings.expect_gone(BURIAL);
        next_run_works(&file, lab.pid());
    }
}

/// Whichever of its processes is killed, the lab ends as a whole, and says so by its exit code.
#[test]
fn netns_a_lab_ends_with_any_of_its_sandbox_processes() {
    let directory = tempfile::tempdir().unwrap();
    let file = scenario(directory.path(), "two-continents.toml", |text| text);
    for depth in 1..=3 {
        let mut lab = Up::start(&file);
        let victim = (0..depth).fold(lab.pid(), |pid, _| only_child(pid));
        send(victim, Signal::SIGKILL);
        let status = ended(&mut lab.outermost, PATIENCE);
        assert_eq!(status.code(), Some(128 + 9), "depth {depth}");
        lab.holdings.expect_gone(BURIAL);
        assert_eq!(traces_of(lab.pid()), Vec::<String>::new(), "depth {depth}");
    }
}

/// A command with a terminal of its own, whose keyboard is the child's standard input.
fn in_terminal(command: &Command) -> Command {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(|word| format!("'{}'", word.display())).collect();
    let mut script = Command::new("script");
    script.args([
        "-q",
        "-e",
        "-c",
        &format!("exec {}", words.join(" ")),
        "/dev/null",
    ]);
    script.stdin(Stdio::piped()).stdout(Stdio::piped());
    script
}

/// Ctrl-C at a terminal goes to all processes of the lab at once.
#[test]
fn netns_ctrl_c_ends_a_lab_well_and_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let file = scenario(directory.path(), "two-continents.toml", |text| text);
    let mut command = in_terminal(program(&["lab", "up"]).arg(&file));
    let run = Run::mark(&mut command);
    let mut terminal = command.spawn().unwrap();
    let mut lines = BufReader::new(terminal.stdout.take().unwrap()).lines();
    let last = lines.find(|line| line.as_ref().is_ok_and(|line| line.starts_with("targets:")));
    assert!(last.is_some(), "the lab did not come up");
    let holdings = run.holdings();
    terminal.stdin.as_ref().unwrap().write_all(b"\x03").unwrap();
    assert_eq!(ended(&mut terminal, PATIENCE).code(), Some(0));
    holdings.expect_gone(BURIAL);
    let left = holdings
        .processes
        .iter()
        .flat_map(|(pid, _)| traces_of(*pid));
    assert_eq!(left.collect::<Vec<_>>(), Vec::<String>::new());
}

/// What a demo holds as soon as one of its containers runs.
fn once_a_container_runs(run: &Run, outermost: &mut Child) -> Holdings {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let holdings = run.holdings();
        if !holdings.cgroups.is_empty() {
            return holdings;
        }
        assert_eq!(
            outermost.try_wait().unwrap(),
            None,
            "the demo ended before a container ran"
        );
        assert!(
            Instant::now() < deadline,
            "no container after {PATIENCE:?}: {holdings:?}"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Directories of these cgroups in any hierarchy.
fn cgroups_left(cgroups: &BTreeSet<String>) -> Vec<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    let hierarchies = fs::read_dir(root)
        .unwrap()
        .flatten()
        .map(|entry| entry.path());
    let mounts: Vec<PathBuf> = hierarchies.chain([root.to_owned()]).collect();
    let all = cgroups
        .iter()
        .flat_map(|cgroup| mounts.iter().map(move |mount| mount.join(cgroup)));
    all.filter(|path| path.exists()).collect()
}

fn only_child(pid: u32) -> u32 {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    children
        .trim()
        .parse()
        .unwrap_or_else(|_| panic!("children of {pid}: {children:?}"))
}

/// The demo on the small network.
fn demo(file: &Path, report: &Path) -> (Command, Run) {
    let mut command = program(&["demo", "--headless", "--duration", "20", "--scenario"]);
    command
        .arg(file)
        .arg("--report")
        .arg(report)
        .stdin(Stdio::null());
    let run = Run::mark(&mut command);
    (command, run)
}

/// A demo is killed; the next is interrupted from the keyboard, and has swept what the first left.
#[test]
fn netns_oci_killed_and_interrupted_demos_leave_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let file = scenario(directory.path(), "two-continents.toml", |text| text);
    let (mut command, run) = demo(&file, &directory.path().join("report"));
    let mut outermost = command.stderr(Stdio::null()).spawn().unwrap();
    let killed = once_a_container_runs(&run, &mut outermost);
    assert!(!cgroups_left(&killed.cgroups).is_empty());
    send(outermost.id(), Signal::SIGKILL);
    ended(&mut outermost, PATIENCE);
    killed.expect_gone(BURIAL);
    assert_eq!(run.holdings(), Holdings::default());

    let mut command = in_terminal(&command);
    let run = Run::mark(&mut command);
    let mut terminal = command.stdout(Stdio::null()).spawn().unwrap();
    let interrupted = once_a_container_runs(&run, &mut terminal);
    terminal.stdin.as_ref().unwrap().write_all(b"\x03").unwrap();
    let status = ended(&mut terminal, Duration::from_secs(8));
    assert_ne!(status.code(), Some(0));
    interrupted.expect_gone(BURIAL);
    assert_eq!(run.holdings(), Holdings::default());
    let pids = interrupted
        .processes
        .iter()
        .chain(&killed.processes)
        .map(|(pid, _)| *pid);
    let traces: Vec<String> = pids.flat_map(traces_of).collect();
    assert_eq!(traces, Vec::<String>::new());
    for holdings in [killed, interrupted] {
        assert_eq!(cgroups_left(&holdings.cgroups), Vec::<PathBuf>::new());
    }
}

/// The whole loop on the small network, and what its report says.
#[test]
fn netns_oci_a_demo_closes_the_loop_and_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let file = scenario(directory.path(), "two-continents.toml", |text| text);
    let folder = directory.path().join("report");
    let (mut command, marked) = demo(&file, &folder);
    let mut outermost = command
        .stderr(fs::File::create(directory.path().join("said")).unwrap())
        .spawn()
        .unwrap();
    let cgroups = once_a_container_runs(&marked, &mut outermost).cgroups;
    let status = ended(&mut outermost, Duration::from_secs(90));
    let said = fs::read_to_string(directory.path().join("said")).unwrap();
    assert_eq!(status.code(), Some(0), "{said}");
    assert_eq!(traces_of(outermost.id()), Vec::<String>::new());
    assert_eq!(marked.holdings(), Holdings::default());
    assert_eq!(cgroups_left(&cgroups), Vec::<PathBuf>::new());

    let report = fs::read_to_string(folder.join("report.json")).unwrap();
    let report: Value = serde_json::from_str(&report).unwrap();
    for number in NUMBERS {
        let value = report.pointer(number).and_then(Value::as_f64);
        assert!(
            value.is_some_and(|value| value >= 0.0),
            "{number}: {value:?} in {report:#}"
        );
    }
    let number = |pointer: &str| report.pointer(pointer).and_then(Value::as_u64).unwrap();
    let wei = |name: &str| -> u128 {
        let text = report["escrow"][name].as_str();
        text.and_then(|text| text.parse().ok())
            .unwrap_or_else(|| panic!("escrow {name}: {text:?}"))
    };
    assert!(wei("deposited") > 0);
    assert_eq!(
        wei("deposited"),
        wei("released") + wei("refunded") + wei("burned") + wei("held")
    );
    assert!(number("/clients/served_by_edge") > 0, "{said}");
    assert_eq!(number("/clients/errors"), 0, "{said}");
    assert_eq!(
        number("/clients/requests"),
        number("/clients/served_by_edge")
            + number("/clients/served_by_cloud")
            + number("/clients/errors")
    );
    assert_eq!(number("/discovery/false_positives"), 0, "{said}");
    assert!(number("/agreements/confirmed") > 0, "{said}");
    assert!(
        number("/agreements/confirmed") <= number("/agreements/proposed"),
        "{said}"
    );
    for picture in ["tree.svg", "latency.svg"] {
        let text = fs::read_to_string(folder.join(picture)).unwrap();
        let document = roxmltree::Document::parse(&text).unwrap();
        assert_eq!(
            document.root_element().tag_name().name(),
            "svg",
            "{picture}"
        );
        assert!(
            document
                .descendants()
                .filter(roxmltree::Node::is_element)
                .count()
                > 10,
            "{picture}"
        );
    }
}

/// Every number that a report has; amounts of wei are text.
const NUMBERS: &[&str] = &[
    "/topology/nodes",
    "/topology/leaves",
    "/discovery/zones_asked",
    "/discovery/ieps_found",
    "/discovery/ieps_true",
    "/discovery/undiscoverable",
    "/discovery/false_positives",
    "/agreements/proposed",
    "/agreements/confirmed",
    "/agreements/rejected",
    "/agreements/settled",
    "/sites/found",
    "/sites/rented",
    "/clients/requests",
    "/clients/served_by_edge",
    "/clients/served_by_cloud",
    "/clients/errors",
    "/latency_ms/cloud_only/mean",
    "/latency_ms/cloud_only/p50",
    "/latency_ms/cloud_only/p95",
    "/latency_ms/exec/mean",
    "/latency_ms/exec/p50",
    "/latency_ms/exec/p95",
    "/latency_steady_ms/cloud_only/mean",
    "/latency_steady_ms/cloud_only/p50",
    "/latency_steady_ms/cloud_only/p95",
    "/latency_steady_ms/exec/mean",
    "/latency_steady_ms/exec/p50",
    "/latency_steady_ms/exec/p95",
    "/core_byte_links/cloud_only",
    "/core_byte_links/exec",
    "/unseen_prefix_to_edge_s/p50",
    "/unseen_prefix_to_edge_s/p95",
    "/lateness_p99_ms",
    "/wall_s",
    "/pss_mb",
    "/seed",
];
