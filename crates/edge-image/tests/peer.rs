//! Debian's skopeo reads our registry, and we read Debian's docker-registry. Needs both packages.

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use edge_image::build::build;
use edge_image::{BuiltImage, ImageOptions, ImageStore, PullLimits, ReadAccess, Registry};
use edge_types::ImageReference;
use tokio::net::{TcpListener, TcpStream};

const REPOSITORY: &str = "exec/app";

fn layout(directory: &Path) -> BuiltImage {
    let content = directory.join("content");
    fs::write(&content, vec![7; 300_000]).expect("a temporary directory");
    let files = BTreeMap::from([(PathBuf::from("/app"), content)]);
    build(&directory.join("layout"), &files, &ImageOptions::default()).expect("an image")
}

fn skopeo(arguments: &[String]) -> String {
    let output = Command::new("skopeo")
        .args(["--insecure-policy"])
        .args(arguments)
        .output()
        .expect("Debian's package skopeo is needed");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "skopeo {arguments:?}: {text}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ended = (self.0.kill(), self.0.wait());
    }
}

#[tokio::test]
async fn peer_skopeo_copies_from_our_registry() {
    let directory = tempfile::tempdir().unwrap();
    let image = layout(directory.path());
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let layout = directory.path().join("layout");
    let router = Registry::new(layout, REPOSITORY, ReadAccess::open()).router();
    tokio::spawn(async move { axum::serve(listener, router).await });
    let copy = directory.path().join("copy");
    for name in [
        "@".to_owned() + &image.digest.to_string(),
        ":latest".to_owned(),
    ] {
        let arguments = [
            "copy".to_owned(),
            "--src-tls-verify=false".to_owned(),
            format!("docker://{address}/{REPOSITORY}{name}"),
            format!("oci:{}:copied", copy.display()),
        ];
        tokio::task::spawn_blocking(move || skopeo(&arguments))
            .await
            .unwrap();
    }
    let index = fs::read_to_string(copy.join("index.json")).unwrap();
    assert!(index.contains(&image.digest.to_string()), "{index}");
}

#[tokio::test]
async fn peer_we_pull_from_docker_registry() {
    let directory = tempfile::tempdir().unwrap();
    let image = layout(directory.path());
    // No connection comes from this address and takes the port meanwhile.
    let free = TcpListener::bind("127.0.0.2:0").await.unwrap();
    let registry = free.local_addr().unwrap();
    drop(free);
    let configuration = directory.path().join("registry.yml");
    let text = format!(
        "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {registry}\n",
        directory.path().join("storage").display()
    );
    fs::write(&configuration, text).unwrap();
    let _server = Process(
        Command::new("docker-registry")
            .arg("serve")
            .arg(&configuration)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("Debian's package docker-registry is needed"),
    );
    let deadline = Instant::now() + Duration::from_secs(20);
    while TcpStream::connect(registry).await.is_err() {
        assert!(Instant::now() < deadline, "docker-registry does not listen");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let arguments = [
        "copy".to_owned(),
        "--dest-tls-verify=false".to_owned(),
        "--preserve-digests".to_owned(),
        format!("oci:{}:latest", directory.path().join("layout").display()),
        format!("docker://{registry}/{REPOSITORY}:latest"),
    ];
    tokio::task::spawn_blocking(move || skopeo(&arguments))
        .await
        .unwrap();
    let store = ImageStore::open(&directory.path().join("store"), PullLimits::default()).unwrap();
    let reference = ImageReference {
        registry,
        repository: REPOSITORY.to_owned(),
        digest: image.digest,
    };
    let pulled = store.pull(&reference, None).await.unwrap();
    assert_eq!(fs::read(pulled.root.join("app")).unwrap(), vec![7; 300_000]);
}
