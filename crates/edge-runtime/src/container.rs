//! The agent's side of one container: its helper process.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::protocol::{ContainerRequest, HelperEvent};

const START_TIMEOUT: Duration = Duration::from_secs(20);
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
const TAIL_BYTES: usize = 2048;

/// A container and the process that watches it. When dropped, the helper notices and takes the container down.
#[derive(Debug)]
pub(crate) struct ContainerProcess {
    child: Child,
    stdin: ChildStdin,
    /// Process id of the workload, outside.
    pub(crate) pid: i32,
    /// How the workload ended by itself; empty while it runs.
    pub(crate) ended: watch::Receiver<Option<String>>,
}

impl ContainerProcess {
    /// Starts the helper and waits until the workload's program runs.
    pub(crate) async fn start(
        helper: &[OsString],
        request: &ContainerRequest,
    ) -> Result<Self, String> {
        let (program, arguments) = helper
            .split_first()
            .ok_or_else(|| "no helper program is configured".to_owned())?;
        let mut child = Command::new(program)
            .args(arguments)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A signal from the terminal is for the agent, which then lets the helpers go.
            .process_group(0)
            .spawn()
            .map_err(|error| format!("the helper process: {error}"))?;
        let (Some(mut stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err("the helper process has no pipes".to_owned());
        };
        let tail = Arc::new(Mutex::new(VecDeque::new()));
        tokio::spawn(keep_tail(stderr, Arc::clone(&tail)));
        let mut events = BufReader::new(stdout).lines();
        let begin = async {
            let mut line = serde_json::to_vec(request).map_err(io::Error::other)?;
            line.push(b'\n');
            stdin.write_all(&line).await?;
            next_event(&mut events).await
        };
        let event = match timeout(START_TIMEOUT, begin).await {
            Err(_) => return Err(format!("the helper was silent for {START_TIMEOUT:?}")),
            Ok(Err(error)) => return Err(with_tail(&error.to_string(), &tail)),
            Ok(Ok(event)) => event,
        };
        let pid = match event {
            Some(HelperEvent::Started { pid }) => pid,
            Some(HelperEvent::Failed { detail } | HelperEvent::Exited { detail }) => {
                return Err(with_tail(&detail, &tail));
            }
            None => return Err(with_tail("the helper ended", &tail)),
        };
        let (ended_sender, ended) = watch::channel(None);
        tokio::spawn(async move {
            let detail = match next_event(&mut events).await {
                Ok(Some(HelperEvent::Exited { detail } | HelperEvent::Failed { detail })) => detail,
                _ => "the helper ended".to_owned(),
            };
            ended_sender.send_replace(Some(with_tail(&detail, &tail)));
        });
        Ok(Self {
            child,
            stdin,
            pid,
            ended,
        })
    }

    /// Kills the workload and waits until the helper has cleaned up.
    pub(crate) async fn stop(mut self) -> io::Result<()> {
        drop(self.stdin);
        if let Ok(status) = timeout(STOP_TIMEOUT, self.child.wait()).await {
            status?;
        } else {
            // The kernel kills the workload with the helper.
            self.child.kill().await?;
        }
        Ok(())
    }
}

async fn next_event(events: &mut Lines<BufReader<ChildStdout>>) -> io::Result<Option<HelperEvent>> {
    match events.next_line().await? {
        Some(line) => Ok(Some(serde_json::from_str(&line)?)),
        None => Ok(None),
    }
}

/// Reads what helper and workload print, so that they never block, and keeps the end.
async fn keep_tail(mut stderr: ChildStderr, tail: Arc<Mutex<VecDeque<u8>>>) {
    let mut buffer = vec![0; 4096];
    while let Ok(read @ 1..) = stderr.read(&mut buffer).await {
        let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
        tail.extend(&buffer[..read]);
        let surplus = tail.len().saturating_sub(TAIL_BYTES);
        tail.drain(..surplus);
    }
}

/// `detail` and the last thing printed, without control characters.
fn with_tail(detail: &str, tail: &Mutex<VecDeque<u8>>) -> String {
    let tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
    let bytes: Vec<u8> = tail.iter().copied().collect();
    let text: String = String::from_utf8_lossy(&bytes)
        .lines()
        .rev()
        .find(|line| !line.trim().is_empty())
        .unwrap_or_default()
        .chars()
        .filter(|character| !character.is_control())
        .take(200)
        .collect();
    if text.is_empty() {
        detail.to_owned()
    } else {
        format!("{detail}; it last said: {text}")
    }
}
