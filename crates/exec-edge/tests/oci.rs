//! Real containers made from this program's own image: limits, isolation, borders, and nothing left behind.
//!
//! They need root and control groups.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use edge_image::{ReadAccess, Registry};
use edge_ports::{RuntimeError, SiteRuntime, WorkloadId};
use edge_runtime::{OciRuntime, RuntimeConfig, sweep_leftovers};
use edge_types::{
    AddressPolicy, Generation, HealthCheck, ImageDigest, ImageReference, ResourceLimits, Workload,
    WorkloadState,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const BINARY: &str = env!("CARGO_BIN_EXE_exec-edge");
const SERVICE_PORT: u16 = 8080;
const BACKEND_PORT: u16 = 9000;
const REPOSITORY: &str = "exec/app";

/// One image for all tests, made by the program itself.
fn image() -> &'static (tempfile::TempDir, ImageDigest) {
    static IMAGE: OnceLock<(tempfile::TempDir, ImageDigest)> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let layout = tempfile::tempdir().unwrap();
        let output = Command::new(BINARY)
            .args(["app", "image", "--compression", "1"])
            .arg(layout.path())
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{text}");
        let digest = text.split(' ').next().unwrap().parse().unwrap();
        (layout, digest)
    })
}

/// A site: a registry on loopback and a runtime with a state directory of its own.
struct Site {
    registry: SocketAddr,
    runtime: OciRuntime,
    state: tempfile::TempDir,
    locks: PathBuf,
}

impl Site {
    async fn new() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let registry = listener.local_addr().unwrap();
        let router =
            Registry::new(image().0.path().into(), REPOSITORY, ReadAccess::open()).router();
        tokio::spawn(async move { axum::serve(listener, router).await });
        let state = tempfile::tempdir().unwrap();
        let config = config(state.path());
        Self {
            registry,
            locks: config.lock_directory.clone(),
            runtime: OciRuntime::open(config).expect("these tests need root and control groups"),
            state,
        }
    }

    fn workload(&self, command: &[&str]) -> Workload {
        Workload {
            generation: Generation(1),
            image: ImageReference {
                registry: self.registry,
                repository: REPOSITORY.to_owned(),
                digest: image().1,
            },
            command: command.iter().map(|&word| word.to_owned()).collect(),
            environment: vec![
                ("SITE".to_owned(), "test".to_owned()),
                ("BACKEND".to_owned(), format!("127.0.0.1:{BACKEND_PORT}")),
            ],
            service_port: SERVICE_PORT,
            egress: Vec::new(),
            limits: ResourceLimits {
                milli_cpu: 500,
                memory_bytes: 96 * 1024 * 1024,
                pids: 32,
            },
            health: HealthCheck {
                path: "/healthz".to_owned(),
                start_timeout: Duration::from_secs(20),
            },
        }
    }
}

fn config(state: &Path) -> RuntimeConfig {
    let loopback = AddressPolicy::new(vec!["127.0.0.0/8".parse().unwrap()]);
    RuntimeConfig {
        helper: vec![BINARY.into(), "runtime-helper".into()],
        ..RuntimeConfig::new(state.into(), loopback)
    }
}

fn id(number: u8) -> WorkloadId {
    let mut bytes = [number; 32];
    bytes[..4].copy_from_slice(&std::process::id().to_be_bytes());
    edge_types::AgreementId(bytes)
}

/// A free address for a service; not one that connections come from, so that none of them takes the port meanwhile.
fn free_address() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.2:0").unwrap();
    listener.local_addr().unwrap()
}

struct Answer {
    status: u16,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

async fn get(address: SocketAddr, target: &str) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {target} HTTP/1.1\r\nHost: site\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await?;
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n");
    let end = end.ok_or(std::io::ErrorKind::UnexpectedEof)?;
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let mut lines = head.lines();
    let status = lines
        .next()
        .unwrap()
        .split(' ')
        .nth(1)
        .unwrap()
        .parse()
        .unwrap();
    let headers = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    Ok(Answer {
        status,
        headers,
        body: bytes[end + 4..].to_vec(),
    })
}

fn status_field(pid: i32, field: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let prefix = format!("{field}:");
    let line = status.lines().find(|line| line.starts_with(&prefix));
    line.unwrap()[prefix.len()..].trim().to_owned()
}

fn namespace(pid: &str, kind: &str) -> PathBuf {
    fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap()
}

/// Groups of every hierarchy whose path holds `part`.
fn groups_with(part: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut to_do = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(directory) = to_do.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                if entry.file_name().to_string_lossy().contains(part) {
                    found.push(entry.path());
                }
                to_do.push(entry.path());
            }
        }
    }
    found
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn name_of(id: WorkloadId) -> String {
    id.to_string()[2..18].to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn oci_a_container_is_confined_serves_and_leaves_nothing() {
    let site = Site::new().await;
    let (id, address) = (id(1), free_address());
    let workload = site.workload(&[]);
    let begin = Instant::now();
    site.runtime.start(id, &workload, address).await.unwrap();
    let cold = begin.elapsed();
    assert_eq!(site.runtime.state(id), WorkloadState::Running { address });
    let answer = get(address, "/object?size=25k").await.unwrap();
    assert_eq!((answer.status, answer.body.len()), (200, 25_000));
    assert_eq!(answer.headers["x-served-by"], "edge test");
    let answer = get(address, "/object?size=1m").await.unwrap();
    assert_eq!((answer.status, answer.body.len()), (200, 1_000_000));
    let measured = site.runtime.round_trips(id);
    let [(clients, rtt)] = measured[..] else {
        panic!("{measured:?}");
    };
    assert!(clients.addr().is_loopback(), "{clients}");
    assert!(rtt.0 < Duration::from_millis(500), "{rtt:?}");

    // Limits, read back from the kernel.
    let usage = site.runtime.usage(id).unwrap().unwrap();
    assert_eq!(usage.milli_cpu, Some(500));
    assert_eq!(usage.memory_limit, Some(96 * 1024 * 1024));
    assert_eq!(usage.memory_and_swap_limit, Some(96 * 1024 * 1024));
    assert_eq!(usage.pids_limit, Some(32));
    assert_eq!(usage.pids, 1);

    // Credentials and filter.
    let pid = site.runtime.process_id(id).unwrap();
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(status_field(pid, set), "0000000000000000", "{set}");
    }
    assert_eq!(status_field(pid, "NoNewPrivs"), "1");
    assert_eq!(status_field(pid, "Seccomp"), "2");
    let host_user: u32 = status_field(pid, "Uid")
        .split('\t')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    assert!(host_user >= 1_879_048_192, "host user {host_user}");
    assert!(status_field(pid, "NSpid").ends_with("\t1"));

    // Namespaces.
    for kind in ["pid", "mnt", "ipc", "uts", "net", "user", "cgroup"] {
        assert_ne!(
            namespace(&pid.to_string(), kind),
            namespace("self", kind),
            "{kind}"
        );
    }
    let devices = fs::read_to_string(format!("/proc/{pid}/net/dev")).unwrap();
    let interfaces: Vec<_> = devices
        .lines()
        .skip(2)
        .map(|l| l.split(':').next().unwrap().trim())
        .collect();
    assert_eq!(interfaces, ["lo"]);
    let routes = fs::read_to_string(format!("/proc/{pid}/net/route")).unwrap();
    assert_eq!(routes.lines().count(), 1, "{routes}");

    // Mounts.
    let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap();
    let options = |at: &str| {
        let line = mounts
            .lines()
            .rfind(|line| line.split(' ').nth(4) == Some(at));
        line.map(|line| line.split(' ').nth(5).unwrap().to_owned())
            .unwrap_or_default()
    };
    assert!(
        options("/").split(',').any(|option| option == "ro"),
        "{mounts}"
    );
    assert!(options("/tmp").contains("nosuid,nodev,noexec"), "{mounts}");
    assert!(options("/proc/sys").starts_with("ro"), "{mounts}");
    let files = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    assert!(
        files
            .lines()
            .any(|l| l.starts_with("Max core file size        0 ")),
        "{files}"
    );

    // The same generation again changes nothing, an older one is refused.
    site.runtime.start(id, &workload, address).await.unwrap();
    assert_eq!(site.runtime.process_id(id), Some(pid));
    let newer = Workload {
        generation: Generation(2),
        ..workload.clone()
    };
    let begin = Instant::now();
    site.runtime.start(id, &newer, address).await.unwrap();
    let warm = begin.elapsed();
    assert_ne!(site.runtime.process_id(id), Some(pid));
    let refused = site.runtime.start(id, &workload, address).await;
    assert!(matches!(
        refused,
        Err(RuntimeError::StaleGeneration {
            offered: 1,
            current: 2
        })
    ));

    let pid = site.runtime.process_id(id).unwrap();
    let begin = Instant::now();
    site.runtime.stop(id).await.unwrap();
    println!(
        "pull and start {cold:?}, replace {warm:?}, stop {:?}",
        begin.elapsed()
    );
    assert_eq!(site.runtime.state(id), WorkloadState::Stopped);
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
    assert_eq!(groups_with(&name_of(id)), Vec::<PathBuf>::new());
    let own_mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!own_mounts.contains("exec-edge"), "{own_mounts}");
    assert!(get(address, "/healthz").await.is_err());
    site.runtime.stop(id).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn oci_only_the_named_egress_is_reachable() {
    let site = Site::new().await;
    let (id, address) = (id(2), free_address());
    let backend = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let backend_address = backend.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = backend.accept().await {
            let mut buffer = [0; 1024];
            let read = stream.read(&mut buffer).await.unwrap();
            assert!(buffer[..read].starts_with(b"GET /dynamic HTTP/1.1"));
            let answer =
                b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\nthe cloud";
            stream.write_all(answer).await.unwrap();
        }
    });
    let mut workload = site.workload(&[]);
    site.runtime.start(id, &workload, address).await.unwrap();
    assert_eq!(get(address, "/dynamic").await.unwrap().status, 502);

    workload.generation = Generation(2);
    workload.egress = vec![(BACKEND_PORT, backend_address)];
    site.runtime.start(id, &workload, address).await.unwrap();
    let answer = get(address, "/dynamic").await.unwrap();
    assert_eq!(
        (answer.status, answer.body.as_slice()),
        (200, b"the cloud".as_slice())
    );
    assert_eq!(answer.headers["x-served-by"], "edge test");

    // Addresses that the provider's policy refuses are refused before anything starts.
    workload.generation = Generation(3);
    workload.egress = vec![(BACKEND_PORT, SocketAddr::from(([169, 254, 169, 254], 80)))];
    let refused = site.runtime.start(id, &workload, address).await;
    assert!(
        matches!(refused, Err(RuntimeError::Start { .. })),
        "{refused:?}"
    );
    site.runtime.stop(id).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn oci_the_root_is_read_only_and_strangers_cannot_be_called() {
    let site = Site::new().await;
    let (id, address) = (id(3), free_address());
    let workload = site.workload(&["/app", "app", "misbehave", "reach"]);
    site.runtime.start(id, &workload, address).await.unwrap();
    let answer = get(address, "/report").await.unwrap();
    let report = String::from_utf8(answer.body).unwrap();
    assert_eq!(
        report,
        "write=Err(ReadOnlyFilesystem) temporary=Ok(()) connect=Err(NetworkUnreachable)"
    );
    site.runtime.stop(id).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn oci_a_busy_loop_gets_its_quota_and_no_more() {
    let site = Site::new().await;
    let (id, address) = (id(4), free_address());
    let mut workload = site.workload(&["/app", "app", "misbehave", "busy"]);
    workload.limits.milli_cpu = 200;
    site.runtime.start(id, &workload, address).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = site.runtime.usage(id).unwrap().unwrap();
    let begin = Instant::now();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let after = site.runtime.usage(id).unwrap().unwrap();
    let share = (after.cpu_time - before.cpu_time).as_secs_f64() / begin.elapsed().as_secs_f64();
    assert!((0.05..0.25).contains(&share), "{share} of a processor");
    assert!(after.throttled_periods > before.throttled_periods);
    site.runtime.stop(id).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn oci_a_fork_bomb_is_stopped_by_the_pids_limit() {
    let site = Site::new().await;
    let (id, address) = (id(5), free_address());
    let mut workload = site.workload(&["/app", "app", "misbehave", "fork"]);
    workload.limits.milli_cpu = 1000;
    workload.limits.pids = 12;
    site.runtime.start(id, &workload, address).await.unwrap();
    let pids = || site.runtime.usage(id).unwrap().unwrap().pids;
    eventually("the limit is reached", || pids() == 12).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(pids(), 12);
    let group = groups_with(&name_of(id));
    let procs = group
        .iter()
        .find(|path| path.starts_with("/sys/fs/cgroup/pids"))
        .or(group.first());
    let procs = fs::read_to_string(procs.unwrap().join("cgroup.procs")).unwrap();
    assert!(procs.lines().count() > 3, "{procs}");
    site.runtime.stop(id).await.unwrap();
    for pid in procs.lines() {
        assert!(
            !Path::new(&format!("/proc/{pid}")).exists(),
            "{pid} is still there"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn oci_a_memory_hog_is_killed_and_the_reason_told() {
    let site = Site::new().await;
    let (id, address) = (id(6), free_address());
    let mut workload = site.workload(&["/app", "app", "misbehave", "memory"]);
    workload.limits.milli_cpu = 1000;
    workload.limits.memory_bytes = 48 * 1024 * 1024;
    site.runtime.start(id, &workload, address).await.unwrap();
    eventually("it is killed", || {
        matches!(site.runtime.state(id), WorkloadState::Failed { .. })
    })
    .await;
    let WorkloadState::Failed { reason } = site.runtime.state(id) else {
        unreachable!("checked before");
    };
    assert!(reason.contains("used more memory than it may"), "{reason}");
    assert!(get(address, "/healthz").await.is_err());
    eventually("its groups are gone", || {
        groups_with(&name_of(id)).is_empty()
    })
    .await;
    site.runtime.stop(id).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn oci_draining_sends_new_requests_to_the_cloud() {
    let site = Site::new().await;
    let (id, address) = (id(7), free_address());
    site.runtime
        .start(id, &site.workload(&[]), address)
        .await
        .unwrap();
    // A connection from before, which a client keeps open.
    let mut kept = TcpStream::connect(address).await.unwrap();
    kept.write_all(b"GET /healthz HTTP/1.1\r\nHost: site\r\n\r\n")
        .await
        .unwrap();
    let mut buffer = [0; 4096];
    let read = kept.read(&mut buffer).await.unwrap();
    assert!(buffer[..read].starts_with(b"HTTP/1.1 200"));

    assert!(site.runtime.drain(id, "not an origin").await.is_err());
    site.runtime.drain(id, "http://240.0.0.1").await.unwrap();
    assert_eq!(site.runtime.state(id), WorkloadState::Draining { address });
    let answer = get(address, "/object?size=25k").await.unwrap();
    assert_eq!(answer.status, 307);
    assert_eq!(
        answer.headers["location"],
        "http://240.0.0.1/object?size=25k&exec-edge-return=1"
    );
    assert_eq!(answer.headers["cache-control"], "no-store");
    // Once quiet, the kept connection is closed, so that its client comes back and is told, too.
    let closed = tokio::time::timeout(Duration::from_secs(5), kept.read(&mut buffer)).await;
    assert_eq!(closed.unwrap().unwrap(), 0);
    site.runtime.stop(id).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn oci_a_workload_that_ends_or_is_missing_fails_with_the_reason() {
    let site = Site::new().await;
    let address = free_address();
    let quit = site.workload(&["/app", "app", "misbehave", "quit"]);
    let error = site.runtime.start(id(8), &quit, address).await.unwrap_err();
    assert!(
        error.to_string().contains("exited with status 0"),
        "{error}"
    );
    let missing = site.workload(&["/nowhere"]);
    let error = site
        .runtime
        .start(id(9), &missing, address)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("/nowhere"), "{error}");
    // What it printed last is told, too.
    let mut wrong = site.workload(&[]);
    wrong.environment = vec![("BACKEND".to_owned(), "nonsense".to_owned())];
    let error = site
        .runtime
        .start(id(15), &wrong, address)
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("BACKEND is not an address"),
        "{error}"
    );
    let mut unhealthy = site.workload(&[]);
    unhealthy.health.path = "/else".to_owned();
    unhealthy.environment.clear();
    unhealthy.health.start_timeout = Duration::from_millis(700);
    let error = site
        .runtime
        .start(id(10), &unhealthy, address)
        .await
        .unwrap_err();
    assert!(matches!(error, RuntimeError::Unhealthy { .. }), "{error}");
    for number in [8, 9, 10, 15] {
        assert!(matches!(
            site.runtime.state(id(number)),
            WorkloadState::Failed { .. }
        ));
        assert_eq!(groups_with(&name_of(id(number))), Vec::<PathBuf>::new());
    }
    assert_eq!(site.runtime.state(id(11)), WorkloadState::Absent);
    assert!(matches!(
        site.runtime.drain(id(11), "http://240.0.0.1").await,
        Err(RuntimeError::Unknown)
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn oci_containers_end_with_their_agent() {
    let site = Site::new().await;
    let (id, address) = (id(12), free_address());
    site.runtime
        .start(id, &site.workload(&[]), address)
        .await
        .unwrap();
    let pid = site.runtime.process_id(id).unwrap();
    drop(site);
    eventually("the container is gone", || {
        !Path::new(&format!("/proc/{pid}")).exists() && groups_with(&name_of(id)).is_empty()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oci_killed_helpers_and_agents_leave_nothing_after_the_next_start() {
    let site = Site::new().await;
    let (id, address) = (id(13), free_address());
    site.runtime
        .start(id, &site.workload(&[]), address)
        .await
        .unwrap();
    let pid = site.runtime.process_id(id).unwrap();
    let helper = status_field(pid, "PPid");
    // The helper is killed without any chance to clean up: the kernel ends the container with it.
    assert!(
        Command::new("kill")
            .args(["-9", &helper])
            .status()
            .unwrap()
            .success()
    );
    eventually("the container is gone", || {
        !Path::new(&format!("/proc/{pid}")).exists()
    })
    .await;
    assert!(!groups_with(&name_of(id)).is_empty());
    eventually("the failure is seen", || {
        matches!(site.runtime.state(id), WorkloadState::Failed { .. })
    })
    .await;
    // A living agent's groups are not swept by another one.
    let state = tempfile::tempdir().unwrap();
    let other = OciRuntime::open(config(state.path())).unwrap();
    assert!(!groups_with(&name_of(id)).is_empty());
    drop(other);
    // As if the agent had been killed: its groups stay, its lock does not.
    let locks = site.locks.clone();
    drop(site);
    let other = OciRuntime::open(RuntimeConfig {
        lock_directory: locks,
        ..config(state.path())
    });
    drop(other.unwrap());
    sweep_leftovers(None).unwrap();
    assert_eq!(groups_with(&name_of(id)), Vec::<PathBuf>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn oci_an_unreadable_parent_directory_is_no_obstacle() {
    // The user that the container runs as may not enter the agent's directory.
    let site = Site::new().await;
    fs::set_permissions(site.state.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let (id, address) = (id(14), free_address());
    site.runtime
        .start(id, &site.workload(&[]), address)
        .await
        .unwrap();
    site.runtime.stop(id).await.unwrap();
}
