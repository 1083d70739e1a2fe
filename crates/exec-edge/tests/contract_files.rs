//! Contracts without a chain as people pass them between them: the provider's offer, the buyer's signature, and what is not signed.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "support/program.rs"]
#[expect(dead_code, reason = "helpers of other tests")]
mod program;

use std::fs;
use std::time::Duration;

use edge_types::ChainAddress;
use edge_wire::contract::ContractFile;
use edge_wire::signing;
use program::{Answer, program, run};

const PATIENCE: Duration = Duration::from_secs(30);

fn tell(arguments: &[&str]) -> Answer {
    run(&mut program(arguments), PATIENCE)
}

struct Desk {
    folder: tempfile::TempDir,
    buyer: String,
}

impl Desk {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut desk = Self {
            folder,
            buyer: String::new(),
        };
        tell(&["chain", "key", &desk.path("provider.key")]);
        let made = tell(&["chain", "key", &desk.path("buyer.key")]);
        made.out.trim().clone_into(&mut desk.buyer);
        let config = format!(
            "key_file = {:?}\nstate_directory = {:?}\n\
             [[site]]\nhost = \"edge.isp.example\"\nport = 80\nlisten = \"127.0.0.1:0\"\n\
             service_address = \"127.0.0.1\"\nservice_ports = [20000, 20001]\n\
             milli_cpu = 1000\nmemory_mib = 128\npids = 64\nprice_per_second_wei = \"7\"\n\
             contact = \"mailto:noc@isp.example\"\n",
            desk.path("provider.key"),
            desk.path("state"),
        );
        fs::write(desk.path("provider.toml"), config).unwrap();
        desk
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// What the provider offers, in a file.
    fn offered(&self) -> String {
        let config = self.path("provider.toml");
        let offer = [
            "provider",
            "offer",
            "--config",
            &config,
            "--buyer",
            &self.buyer,
        ];
        let answer = tell(&[&offer[..], &["--seconds", "600", "--milli-cpu", "500"]].concat());
        assert_eq!(answer.code, Some(0), "{answer:?}");
        let file = self.path("contract.json");
        fs::write(&file, answer.out).unwrap();
        file
    }

    fn sign(&self, file: &str, key: &str) -> Answer {
        tell(&["agreement", "sign", file, "--key", &self.path(key)])
    }
}

#[test]
fn two_people_sign_a_contract_and_an_import_wants_both_signatures() {
    let desk = Desk::new();
    let contract = desk.offered();
    let import = |file: &str| {
        let socket = desk.path("no.sock");
        tell(&["agreement", "import", file, "--admin", &socket, "--dry-run"])
    };
    let unsigned = import(&contract);
    assert_eq!(unsigned.code, Some(64), "{unsigned:?}");
    assert!(unsigned.err.contains("agreement sign"), "{unsigned:?}");

    let answer = desk.sign(&contract, "buyer.key");
    assert_eq!(answer.code, Some(0), "{answer:?}");
    assert!(answer.err.contains("4200 wei in all"), "{answer:?}");
    let signed: ContractFile = edge_wire::decode(answer.out.trim().as_bytes()).unwrap();
    let (offer, acceptance) = signed.signed().unwrap();
    assert_eq!(signing::verify_offer(&offer), Ok(()));
    let buyer: ChainAddress = desk.buyer.parse().unwrap();
    assert_eq!(
        signing::verify_acceptance(&acceptance, &offer, buyer),
        Ok(())
    );
    assert_eq!(offer.hardware.milli_cpu, 500);

    let file = desk.path("signed.json");
    fs::write(&file, answer.out).unwrap();
    let would = import(&file);
    assert_eq!(would.code, Some(0), "{would:?}");
    let nobody = desk.path("no.sock");
    let nobody = tell(&["agreement", "import", &file, "--admin", &nobody]);
    assert_eq!(nobody.code, Some(2), "{nobody:?}");
}

#[test]
fn nobody_signs_what_was_offered_to_another_or_changed_on_the_way() {
    let desk = Desk::new();
    let contract = desk.offered();
    let other = desk.sign(&contract, "provider.key");
    assert_eq!(other.code, Some(64), "{other:?}");
    let text = fs::read_to_string(&contract).unwrap();
    fs::write(
        &contract,
        text.replace("\"units\":\"7\"", "\"units\":\"8\""),
    )
    .unwrap();
    let changed = desk.sign(&contract, "buyer.key");
    assert_eq!(changed.code, Some(64), "{changed:?}");
    assert!(changed.out.is_empty(), "{changed:?}");
    fs::write(&contract, "{}").unwrap();
    assert_eq!(desk.sign(&contract, "buyer.key").code, Some(64));
}
