//! A provider whose ports nobody can reach, found and asked through a relay; in a lab.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "support/program.rs"]
#[expect(dead_code, reason = "helpers of other tests")]
mod program;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use program::{BINARY, program, run, scenario};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_mins(1);

/// A command that runs until it is told to end, by this signal.
struct Running(Child, Signal);

impl Running {
    /// Starts it, and waits for the line with which it says that it is ready.
    fn start(command: &mut Command, ready: &str, end: Signal) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut said = Vec::new();
        for line in lines {
            said.push(line.unwrap());
            if said.last().unwrap().starts_with(ready) {
                return Self(child, end);
            }
        }
        panic!("{command:?} ended: {said:?}");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let pid = Pid::from_raw(i32::try_from(self.0.id()).unwrap());
        let _ = kill(pid, self.1);
        let _ = self.0.wait();
    }
}

fn at(file: &Path, party: &str) -> Command {
    let mut command = program(&["lab", "run"]);
    command.arg(file).args(["--at", party, "--", BINARY]);
    command
}

#[test]
fn netns_oci_a_provider_that_only_dials_out_is_found_through_a_relay() {
    let directory = tempfile::tempdir().unwrap();
    let file = scenario(directory.path(), "two-continents.toml", |text| text);
    let key = directory.path().join("key");
    let account = run(program(&["chain", "key"]).arg(&key), PATIENCE).out;
    let config = directory.path().join("provider.toml");
    let text = format!(
        "key_file = {key:?}\nstate_directory = {state:?}\nrelay = \"240.32.0.1:7000\"\n\
         [ledger]\nrpc_url = \"http://240.0.0.80:8545\"\nchain_id = 1337\ncontract = \"0x0000000000000000000000000000000000000001\"\n\
         [[site]]\nhost = \"edge1.eastlink.example\"\nport = 80\nlisten = \"127.0.0.1:8080\"\nservice_address = \"127.0.0.1\"\n\
         service_ports = [20000, 20003]\nmilli_cpu = 1000\nmemory_mib = 64\npids = 64\nprice_per_second_wei = \"1\"\n\
         service = [{{ name = \"pitch view\", url = \"http://edge1.eastlink.example/view\" }}]\n",
        state = directory.path().join("state"),
    );
    fs::write(&config, text).unwrap();

    // What runs in the lab ends with the lab.
    let _lab = Running::start(program(&["lab", "up"]).arg(&file), "lab ", Signal::SIGTERM);
    let discover = || {
        let arguments = [
            "discover",
            "--resolver",
            "240.0.0.53",
            "--allow",
            "240.0.0.0/4",
            "--zone",
            "eastlink.example",
            "--services",
            "--json",
        ];
        let found = run(at(&file, "cloud").args(arguments), PATIENCE);
        let found: Value =
            serde_json::from_str(&found.out).unwrap_or_else(|error| panic!("{error}: {found:?}"));
        let sites = found["sites"].as_array().unwrap().clone();
        sites
            .into_iter()
            .find(|site| site["site"] == "edge1.eastlink.example:80")
            .unwrap()
    };
    let before = discover();
    assert!(
        before["problem"].is_string(),
        "nobody is there yet: {before}"
    );

    let admit = format!("{}=80,20000-20003", account.trim());
    let relay = ["relay", "--listen", "240.32.0.1:7000", "--provider", &admit];
    let _relay = Running::start(
        at(&file, "edge1.eastlink.example").args(relay),
        "relay ready",
        Signal::SIGKILL,
    );
    // Its ports are on loopback, so that nothing reaches them from outside its own machine.
    let provider = ["provider", "--config", config.to_str().unwrap()];
    let _provider = Running::start(
        at(&file, "clients").args(provider),
        "reachable through the relay",
        Signal::SIGKILL,
    );
    let found = discover();
    assert_eq!(
        found["services"]["listed"][0]["name"], "pitch view",
        "{found}"
    );
    assert_eq!(found["address"], "240.32.0.1", "where the relay is");
    assert!(
        found["rtt_ms"].as_f64().unwrap() > 1.0,
        "measured to the relay: {found}"
    );
}
