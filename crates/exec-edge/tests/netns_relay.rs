//! A provider behind a NAT device, whose ports nobody can reach, found and asked through a relay; in a lab.

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

fn within(file: &Path, party: &str, command_line: &[&str]) -> Command {
    let mut command = program(&["lab", "run"]);
    command.arg(file).args(["--at", party, "--"]);
    command.args(command_line);
    command
}

fn at(file: &Path, party: &str) -> Command {
    within(file, party, &[BINARY])
}

/// A home network behind a NAT device, as homes have it: a namespace with one private address, whose way out is translated
/// to the address of the party that this runs at. Then runs `$@` there, for as long as this runs. The device forwards no port
/// inwards.
const HOME: &str = r#"set -e
iptables -t nat -A POSTROUTING -s 192.168.77.0/24 -j SNAT --to-source 240.16.0.9
sysctl -q -w net.ipv4.ip_forward=1
ip link add home type veth peer name wan
ip address add 192.168.77.1/24 dev wan
ip link set wan up
mkfifo "$0"
setpriv --pdeathsig KILL unshare --net sh -e -c 'read ready < "$0"
ip link set lo up
ip address add 192.168.77.2/24 dev home
ip link set home up
ip route add default via 192.168.77.1
exec "$@"' "$0" "$@" &
inside=$!
while [ "$(readlink /proc/$inside/ns/net)" = "$(readlink /proc/$$/ns/net)" ]; do sleep 0.01; done
ip link set home netns $inside
echo > "$0"
wait $inside
"#;

#[test]
fn netns_oci_a_provider_behind_nat_is_found_through_a_relay() {
    let directory = tempfile::tempdir().unwrap();
    let file = scenario(directory.path(), "two-continents.toml", |text| text);
    let key = directory.path().join("key");
    let account = run(program(&["chain", "key"]).arg(&key), PATIENCE).out;
    let config = directory.path().join("provider.toml");
    let text = format!(
        "key_file = {key:?}\nstate_directory = {state:?}\nrelay = \"240.32.0.1:7000\"\n\
         [ledger]\nrpc_url = \"http://240.0.0.80:8545\"\nchain_id = 1337\ncontract = \"0x0000000000000000000000000000000000000001\"\n\
         [[site]]\nhost = \"edge1.eastlink.example\"\nport = 80\nlisten = \"192.168.77.2:8080\"\nservice_address = \"192.168.77.2\"\n\
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
    let begin = directory.path().join("begin");
    let mut home = within(&file, "clients", &["sh", "-c", HOME]);
    home.arg(begin)
        .args([BINARY, "provider", "--config"])
        .arg(config);
    let _provider = Running::start(&mut home, "reachable through the relay", Signal::SIGKILL);
    // From outside there is nobody at the device's own address, and no way to the one behind it.
    for address in ["240.16.0.9:8080", "240.16.0.9:20000", "192.168.77.2:8080"] {
        let url = format!("http://{address}/");
        let curl = ["curl", "--silent", "--connect-timeout", "2", &url];
        let code = run(&mut within(&file, "cloud", &curl), PATIENCE).code;
        assert!(matches!(code, Some(7 | 28)), "{address}: {code:?}");
    }
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
    let list = ["iptables", "-t", "nat", "-nvxL", "POSTROUTING"];
    let rules = run(&mut within(&file, "clients", &list), PATIENCE);
    let translated = rules.out.lines().find(|line| line.contains("SNAT"));
    let connections = translated.and_then(|line| line.split_whitespace().next()?.parse().ok());
    assert!(
        connections > Some(1_u64),
        "nothing was translated: {rules:?}"
    );
}
