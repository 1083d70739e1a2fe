//! The runtime of a site: images, containers and their borders.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use edge_image::{ImageStore, PullLimits, PulledImage};
use edge_ports::{BoxFuture, RuntimeError, SiteRuntime, WorkloadId};
use edge_types::{AddressPolicy, Generation, IpNet, Rtt, Workload, WorkloadState};
use nix::sys::resource::{Resource, getrlimit};
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::cgroup::{ContainerUsage, Hierarchies, Owner, PARENT, unsupported};
use crate::clients::ClientRoundTrips;
use crate::container::ContainerProcess;
use crate::drain::check_origin;
use crate::forward::{ForwardLimits, Mode, serve_clients, serve_egress};
use crate::health::becomes_healthy;
use crate::netns::NetworkNamespace;
use crate::protocol::ContainerRequest;
use crate::spec::ID_RANGE;

/// Host ids 1,879,048,192 to 2,147,483,647 belong to nobody by the common conventions for user ids.
const FIRST_HOST_ID: u32 = 1_879_048_192;
const ID_RANGES: u32 = 4096;
const LOCKS: &str = "/run/exec-edge-agents";
const REASON_BYTES: usize = 512;
const MIN_MEMORY: u64 = 4 * 1024 * 1024;

/// How a site runs containers.
#[derive(Clone, Debug)]
pub struct RuntimeConfig {
    /// Directory for images; used by this agent alone.
    pub state_directory: PathBuf,
    /// Program and arguments of the helper process, which must call [`crate::run_helper`].
    pub helper: Vec<OsString>,
    /// Directory of the lock files that tell running agents from past ones; the same for all agents of a machine.
    pub lock_directory: PathBuf,
    /// Which registries and egress addresses may be contacted (security rule 14).
    pub addresses: AddressPolicy,
    /// What a pull may cost.
    pub pull: PullLimits,
    /// Bounds of each forwarded port.
    pub forward: ForwardLimits,
    /// Octets of a container's `/tmp`, at most its memory limit.
    pub temporary_bytes: u64,
    /// Largest number of open files of a container.
    pub open_files: u64,
    /// Map the container's users to host users that own nothing. Off only where the kernel has no user namespaces; the
    /// workload then runs as host user 65534.
    pub user_namespace: bool,
}

impl RuntimeConfig {
    /// The usual configuration: the helper is this program with the argument `runtime-helper`.
    pub fn new(state_directory: PathBuf, addresses: AddressPolicy) -> Self {
        Self {
            state_directory,
            helper: vec!["/proc/self/exe".into(), "runtime-helper".into()],
            lock_directory: PathBuf::from(LOCKS),
            addresses,
            pull: PullLimits::default(),
            forward: ForwardLimits::default(),
            temporary_bytes: 16 * 1024 * 1024,
            open_files: 4096,
            user_namespace: true,
        }
    }
}

/// Runs workloads in OCI containers on this machine.
#[derive(Debug)]
pub struct OciRuntime {
    config: RuntimeConfig,
    groups: Hierarchies,
    owner: Owner,
    images: ImageStore,
    slots: Mutex<BTreeMap<WorkloadId, Arc<Slot>>>,
    tokens: Mutex<BTreeMap<WorkloadId, String>>,
}

#[derive(Debug)]
struct Slot {
    /// Held while the workload is being started, drained or stopped.
    running: tokio::sync::Mutex<Option<Running>>,
    view: Mutex<View>,
    /// How far its clients are.
    distances: Arc<ClientRoundTrips>,
}

/// What can be told of a workload without waiting.
#[derive(Debug)]
struct View {
    generation: Generation,
    state: WorkloadState,
    group: Option<String>,
    pid: Option<i32>,
}

#[derive(Debug)]
struct Running {
    process: ContainerProcess,
    mode: watch::Sender<Mode>,
    /// Forwarders and the watcher; they end with this value.
    _tasks: JoinSet<()>,
    /// Keeps the image from being deleted.
    _image: Arc<PulledImage>,
    address: SocketAddr,
    group: String,
}

impl OciRuntime {
    /// Checks that this machine can run containers, and removes what past agents left behind.
    pub fn open(config: RuntimeConfig) -> Result<Self, RuntimeError> {
        let groups = Hierarchies::find()?;
        let name = owner_name(&config.state_directory);
        let owner = Owner::lock(&config.lock_directory, name).map_err(|error| {
            unsupported(
                format!(
                    "the lock directory {} cannot be used ({error})",
                    config.lock_directory.display()
                ),
                "run as root, or name a directory that can be written",
            )
        })?;
        groups
            .sweep(&config.lock_directory)
            .map_err(|error| RuntimeError::Start {
                detail: format!("removing leftovers of past agents: {error}"),
            })?;
        groups.check_writable(owner.name())?;
        let images = ImageStore::open(&config.state_directory, config.pull)
            .map_err(|error| RuntimeError::Pull(Box::new(error)))?;
        Ok(Self {
            config,
            groups,
            owner,
            images,
            slots: Mutex::default(),
            tokens: Mutex::default(),
        })
    }

    /// Shows `token` to the registry when the image of `id` is pulled (security rule 12); forgotten when it is stopped.
    pub fn set_image_token(&self, id: WorkloadId, token: String) {
        lock(&self.tokens).insert(id, token);
    }

    /// Limits and counters of a running container.
    pub fn usage(&self, id: WorkloadId) -> Option<io::Result<ContainerUsage>> {
        let group = lock(&self.slot(id)?.view).group.clone()?;
        Some(self.groups.usage(&group))
    }

    /// Process id of a running workload's first process, as seen from here.
    pub fn process_id(&self, id: WorkloadId) -> Option<i32> {
        lock(&self.slot(id)?.view).pid
    }

    fn slot(&self, id: WorkloadId) -> Option<Arc<Slot>> {
        lock(&self.slots).get(&id).cloned()
    }

    async fn start_workload(
        &self,
        id: WorkloadId,
        workload: &Workload,
        address: SocketAddr,
    ) -> Result<(), RuntimeError> {
        self.check(workload)?;
        let slot = Arc::clone(lock(&self.slots).entry(id).or_insert_with(|| {
            Arc::new(Slot {
                running: tokio::sync::Mutex::default(),
                view: Mutex::new(View {
                    generation: workload.generation,
                    state: WorkloadState::Absent,
                    group: None,
                    pid: None,
                }),
                distances: Arc::default(),
            })
        }));
        let mut running = slot.running.lock().await;
        {
            let mut view = lock(&slot.view);
            if view.generation > workload.generation {
                return Err(RuntimeError::StaleGeneration {
                    offered: workload.generation.0,
                    current: view.generation.0,
                });
            }
            let runs = matches!(
                view.state,
                WorkloadState::Running { .. } | WorkloadState::Draining { .. }
            );
            if view.generation == workload.generation && runs && running.is_some() {
                return Ok(());
            }
            view.generation = workload.generation;
            view.state = WorkloadState::Pulling;
        }
        // Names what failed also when the caller gives up half way.
        let mut outcome = Outcome {
            slot: &slot,
            state: Some(WorkloadState::Failed {
                reason: "the start was given up".to_owned(),
            }),
        };
        if let Some(old) = running.take() {
            self.take_down(old).await?;
        }
        match self.bring_up(id, workload, address, &slot).await {
            Ok(new) => {
                *running = Some(new);
                outcome.state = None;
                Ok(())
            }
            Err(error) => {
                outcome.state = Some(WorkloadState::Failed {
                    reason: shorten(&describe(&error)),
                });
                Err(error)
            }
        }
    }

    fn check(&self, workload: &Workload) -> Result<(), RuntimeError> {
        let refuse = |detail: String| RuntimeError::Start { detail };
        let outside = workload.egress.iter().map(|(_, address)| *address);
        for address in outside.chain([workload.image.registry]) {
            self.config
                .addresses
                .check(address.ip())
                .map_err(|refusal| refuse(refusal.to_string()))?;
        }
        let limits = workload.limits;
        if limits.milli_cpu == 0 || limits.pids == 0 || limits.memory_bytes < MIN_MEMORY {
            return Err(refuse(format!(
                "limits are too small to run anything: {limits:?}"
            )));
        }
        if !workload.health.path.starts_with('/') {
            return Err(refuse("the health check has no absolute path".to_owned()));
        }
        Ok(())
    }

    async fn bring_up(
        &self,
        id: WorkloadId,
        workload: &Workload,
        address: SocketAddr,
        slot: &Arc<Slot>,
    ) -> Result<Running, RuntimeError> {
        let token = lock(&self.tokens).get(&id).cloned();
        let image = self
            .images
            .pull(&workload.image, token.as_deref())
            .await
            .map_err(|error| RuntimeError::Pull(Box::new(error)))?;
        lock(&slot.view).state = WorkloadState::Starting;
        let request = self.request(id, workload, &image);
        let failed = |detail: String| RuntimeError::Start { detail };
        let process = ContainerProcess::start(&self.config.helper, &request)
            .await
            .map_err(failed)?;
        let started = async {
            let inside = NetworkNamespace::enter(process.pid)
                .await
                .map_err(|error| failed(format!("entering the network namespace: {error}")))?;
            let inside = Arc::new(inside);
            let mut tasks = JoinSet::new();
            for (port, outside) in &workload.egress {
                let listener = inside.listen(*port).await.map_err(|error| {
                    failed(format!(
                        "listening on port {port} in the container: {error}"
                    ))
                })?;
                tasks.spawn(serve_egress(listener, *outside, self.config.forward));
            }
            let listener = TcpListener::bind(address)
                .await
                .map_err(|error| failed(format!("listening at {address}: {error}")))?;
            let (mode, mode_receiver) = watch::channel(Mode::Forward);
            let clients = tasks.spawn(serve_clients(
                listener,
                inside,
                workload.service_port,
                mode_receiver,
                self.config.forward,
                Arc::clone(&slot.distances),
            ));
            let mut ended = process.ended.clone();
            tokio::select! {
                healthy = becomes_healthy(address, &workload.health) => {
                    if !healthy {
                        return Err(RuntimeError::Unhealthy {
                            waited: workload.health.start_timeout,
                        });
                    }
                }
                detail = end_of(&mut ended) => return Err(failed(detail)),
            }
            // Weak, since the slot holds the tasks: together they would outlive the runtime, and the container with them.
            let watched = Arc::downgrade(slot);
            let generation = workload.generation;
            tasks.spawn(async move {
                let detail = end_of(&mut ended).await;
                clients.abort();
                let Some(watched) = watched.upgrade() else {
                    return;
                };
                let mut view = lock(&watched.view);
                if view.generation == generation {
                    view.state = WorkloadState::Failed {
                        reason: shorten(&detail),
                    };
                }
            });
            Ok((mode, tasks))
        };
        match started.await {
            Ok((mode, tasks)) => {
                let mut view = lock(&slot.view);
                view.state = WorkloadState::Running { address };
                view.group = Some(request.cgroup.clone());
                view.pid = Some(process.pid);
                Ok(Running {
                    process,
                    mode,
                    _tasks: tasks,
                    _image: image,
                    address,
                    group: request.cgroup,
                })
            }
            Err(error) => {
                let cleaned = self.end(process, request.cgroup).await;
                if let Err(error) = cleaned {
                    tracing::warn!(%error, "a container that did not start was not cleaned up");
                }
                Err(error)
            }
        }
    }

    fn request(
        &self,
        id: WorkloadId,
        workload: &Workload,
        image: &PulledImage,
    ) -> ContainerRequest {
        let config = &image.configuration.config;
        let arguments = if workload.command.is_empty() {
            [&config.entrypoint[..], &config.cmd[..]].concat()
        } else {
            workload.command.clone()
        };
        let mut environment = config.env.clone();
        if !environment.iter().any(|entry| entry.starts_with("PATH=")) {
            environment
                .push("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into());
        }
        environment.extend(
            workload
                .environment
                .iter()
                .map(|(name, value)| format!("{name}={value}")),
        );
        let name = format!("{}-{}", &hex(&id.0)[..16], workload.generation.0);
        let range = Sha256::digest(format!("{}/{name}", self.owner.name()));
        let range = u32::from(u16::from_be_bytes([range[0], range[1]])) % ID_RANGES;
        let most_files = getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(_, hard)| hard);
        ContainerRequest {
            root: image.root.clone(),
            arguments,
            environment,
            working_directory: match config.working_dir.as_str() {
                "" => "/".to_owned(),
                directory => directory.to_owned(),
            },
            cgroup: format!("{PARENT}/{}/{name}", self.owner.name()),
            id: name,
            milli_cpu: workload.limits.milli_cpu,
            memory_bytes: workload.limits.memory_bytes,
            limit_swap: self.groups.counts_swap(),
            pids: workload.limits.pids,
            temporary_bytes: self
                .config
                .temporary_bytes
                .min(workload.limits.memory_bytes),
            first_host_id: self
                .config
                .user_namespace
                .then_some(FIRST_HOST_ID + range * ID_RANGE),
            open_files: self.config.open_files.min(most_files),
        }
    }

    async fn take_down(&self, running: Running) -> Result<(), RuntimeError> {
        let Running { process, group, .. } = running;
        self.end(process, group)
            .await
            .map_err(|error| RuntimeError::Start {
                detail: format!("taking the container down: {error}"),
            })
    }

    async fn end(&self, process: ContainerProcess, group: String) -> io::Result<()> {
        let stopped = process.stop().await;
        // The helper has done this unless it was killed.
        let groups = self.groups.clone();
        tokio::task::spawn_blocking(move || groups.remove(&group))
            .await
            .map_err(io::Error::other)??;
        stopped
    }

    async fn drain_workload(&self, id: WorkloadId, origin: &str) -> Result<(), RuntimeError> {
        let origin = check_origin(origin).ok_or_else(|| RuntimeError::Start {
            detail: format!("{origin:?} is not an origin to send clients to"),
        })?;
        let slot = self.slot(id).ok_or(RuntimeError::Unknown)?;
        let running = slot.running.lock().await;
        let running = running.as_ref().ok_or(RuntimeError::Unknown)?;
        running.mode.send_replace(Mode::Drain(origin.into()));
        let mut view = lock(&slot.view);
        if matches!(view.state, WorkloadState::Running { .. }) {
            view.state = WorkloadState::Draining {
                address: running.address,
            };
        }
        Ok(())
    }

    async fn stop_workload(&self, id: WorkloadId) -> Result<(), RuntimeError> {
        let Some(slot) = self.slot(id) else {
            return Ok(());
        };
        let mut running = slot.running.lock().await;
        let result = match running.take() {
            Some(old) => self.take_down(old).await,
            None => Ok(()),
        };
        lock(&self.tokens).remove(&id);
        let mut view = lock(&slot.view);
        view.state = WorkloadState::Stopped;
        view.group = None;
        view.pid = None;
        drop(view);
        result
    }
}

impl SiteRuntime for OciRuntime {
    fn start<'a>(
        &'a self,
        id: WorkloadId,
        workload: &'a Workload,
        service_address: SocketAddr,
    ) -> BoxFuture<'a, Result<(), RuntimeError>> {
        Box::pin(self.start_workload(id, workload, service_address))
    }

    fn drain<'a>(
        &'a self,
        id: WorkloadId,
        origin: &'a str,
    ) -> BoxFuture<'a, Result<(), RuntimeError>> {
        Box::pin(self.drain_workload(id, origin))
    }

    fn stop(&self, id: WorkloadId) -> BoxFuture<'_, Result<(), RuntimeError>> {
        Box::pin(self.stop_workload(id))
    }

    fn state(&self, id: WorkloadId) -> WorkloadState {
        self.slot(id)
            .map_or(WorkloadState::Absent, |slot| lock(&slot.view).state.clone())
    }

    fn round_trips(&self, id: WorkloadId) -> Vec<(IpNet, Rtt)> {
        let slot = self.slot(id);
        slot.map_or_else(Vec::new, |slot| slot.distances.fresh(Instant::now()))
    }
}

impl Drop for OciRuntime {
    /// Containers end with their helpers' pipes, and each helper removes its group; what is left is removed by the next
    /// [`sweep_leftovers`].
    fn drop(&mut self) {
        self.groups.remove_owner(self.owner.name());
    }
}

/// Ends containers and removes control groups of agents that no longer run; tells how many agents that were.
///
/// [`OciRuntime::open`] does this, too; a supervisor calls it after its agents have ended. `lock_directory` is that of the
/// agents' [`RuntimeConfig`], none is the usual one.
pub fn sweep_leftovers(lock_directory: Option<&Path>) -> io::Result<usize> {
    match Hierarchies::find() {
        Ok(groups) => groups.sweep(lock_directory.unwrap_or(Path::new(LOCKS))),
        // Where no container can be started none is left.
        Err(_) => Ok(0),
    }
}

/// Writes the state of a start that did not succeed, also when its future was dropped.
struct Outcome<'a> {
    slot: &'a Slot,
    state: Option<WorkloadState>,
}

impl Drop for Outcome<'_> {
    fn drop(&mut self) {
        if let Some(state) = self.state.take() {
            lock(&self.slot.view).state = state;
        }
    }
}

async fn end_of(ended: &mut watch::Receiver<Option<String>>) -> String {
    match ended.wait_for(Option::is_some).await {
        Ok(detail) => detail.clone().unwrap_or_default(),
        Err(_) => "the helper ended".to_owned(),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

fn shorten(text: &str) -> String {
    let mut end = text.len().min(REASON_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

/// Unique among agents, past ones too.
fn owner_name(state_directory: &Path) -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos());
    let seed = format!("{}/{}/{now}", state_directory.display(), std::process::id());
    hex(&Sha256::digest(seed)[..8])
}
