//! A registry and a puller over loopback, and registries that lie.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use edge_image::build::build;
use edge_image::digest::{digest_of, hex};
use edge_image::{
    BuiltImage, ImageOptions, ImageStore, PullError, PullLimits, ReadAccess, Registry,
};
use edge_types::{ImageDigest, ImageReference};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const REPOSITORY: &str = "exec/app";

fn layout() -> (tempfile::TempDir, BuiltImage) {
    let directory = tempfile::tempdir().unwrap();
    let content = directory.path().join("content");
    fs::write(&content, vec![7; 300_000]).unwrap();
    let files = BTreeMap::from([
        (PathBuf::from("/app"), content.clone()),
        (PathBuf::from("/lib/x/liby.so"), content),
    ]);
    let layout = directory.path().join("layout");
    let image = build(&layout, &files, &ImageOptions::default()).unwrap();
    (directory, image)
}

async fn listen(router: Router) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

async fn count(State(counter): State<Arc<AtomicUsize>>, request: Request, next: Next) -> Response {
    counter.fetch_add(1, Ordering::Relaxed);
    next.run(request).await
}

fn reference(registry: SocketAddr, digest: ImageDigest) -> ImageReference {
    ImageReference {
        registry,
        repository: REPOSITORY.to_owned(),
        digest,
    }
}

async fn ask(address: SocketAddr, head: &str) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("{head}\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    (head.to_lowercase(), bytes[end + 4..].to_vec())
}

#[test]
fn equal_input_gives_an_equal_digest() {
    assert_eq!(layout().1, layout().1);
}

#[tokio::test]
async fn an_image_is_pulled_once_and_shared() {
    let (directory, image) = layout();
    let requests = Arc::new(AtomicUsize::new(0));
    let router = Registry::new(
        directory.path().join("layout"),
        REPOSITORY,
        ReadAccess::open(),
    )
    .router()
    .layer(from_fn_with_state(Arc::clone(&requests), count));
    let reference = reference(listen(router).await, image.digest);
    let home = tempfile::tempdir().unwrap();
    let store = ImageStore::open(home.path(), PullLimits::default()).unwrap();
    let (one, two) = tokio::join!(store.pull(&reference, None), store.pull(&reference, None));
    let (one, two) = (one.unwrap(), two.unwrap());
    assert!(Arc::ptr_eq(&one, &two));
    assert_eq!(requests.load(Ordering::Relaxed), 3);
    assert_eq!(fs::read(one.root.join("app")).unwrap(), vec![7; 300_000]);
    assert_eq!(one.configuration.config.entrypoint, ["/app"]);
    assert!(one.root.join("tmp").is_dir() && one.root.join("proc").is_dir());
    assert_eq!(
        fs::read_dir(home.path().join("partial")).unwrap().count(),
        0
    );

    // A later process finds it without the registry.
    let later = ImageStore::open(home.path(), PullLimits::default()).unwrap();
    later.pull(&reference, None).await.unwrap();
    assert_eq!(requests.load(Ordering::Relaxed), 3);

    assert_eq!(store.evict_unused().await.unwrap(), 0);
    drop((one, two));
    assert_eq!(store.evict_unused().await.unwrap(), 1);
    store.pull(&reference, None).await.unwrap();
    assert_eq!(requests.load(Ordering::Relaxed), 6);
}

#[tokio::test]
async fn the_registry_speaks_the_protocol() {
    let (directory, image) = layout();
    let layout = directory.path().join("layout");
    let blob = fs::read(layout.join("blobs/sha256").join(hex(&image.digest))).unwrap();
    let address = listen(Registry::new(layout, REPOSITORY, ReadAccess::open()).router()).await;
    let (head, body) = ask(address, "GET /v2/ HTTP/1.1").await;
    assert!(head.starts_with("http/1.1 200") && body == b"{}", "{head}");
    let digest = image.digest;
    for name in ["latest".to_owned(), digest.to_string()] {
        let (head, body) = ask(
            address,
            &format!("GET /v2/exec/app/manifests/{name} HTTP/1.1"),
        )
        .await;
        assert!(
            head.contains("application/vnd.oci.image.manifest.v1+json"),
            "{head}"
        );
        assert!(
            head.contains(&format!("docker-content-digest: {digest}")),
            "{head}"
        );
        assert_eq!(body, blob);
    }
    let at = format!("/v2/exec/app/blobs/{digest}");
    let (head, body) = ask(address, &format!("HEAD {at} HTTP/1.1")).await;
    assert!(
        head.contains(&format!("content-length: {}", blob.len())) && body.is_empty(),
        "{head}"
    );
    for (range, expected) in [
        ("0-9", &blob[..10]),
        ("5-", &blob[5..]),
        ("-4", &blob[blob.len() - 4..]),
        ("3-99999999", &blob[3..]),
    ] {
        let (head, body) = ask(
            address,
            &format!("GET {at} HTTP/1.1\r\nRange: bytes={range}"),
        )
        .await;
        assert!(head.starts_with("http/1.1 206"), "{head}");
        assert_eq!(body, expected, "{range}");
    }
    let missing = digest_of(b"nothing");
    for (request, status, code) in [
        (
            format!("GET {at} HTTP/1.1\r\nRange: bytes=999999-"),
            416,
            "RANGE_INVALID",
        ),
        (
            format!("GET /v2/exec/app/blobs/{missing} HTTP/1.1"),
            404,
            "BLOB_UNKNOWN",
        ),
        (
            "GET /v2/exec/app/blobs/../../index.json HTTP/1.1".to_owned(),
            400,
            "DIGEST_INVALID",
        ),
        (
            "GET /v2/exec/app/manifests/none HTTP/1.1".to_owned(),
            404,
            "MANIFEST_UNKNOWN",
        ),
        (
            "GET /v2/other/manifests/latest HTTP/1.1".to_owned(),
            404,
            "NAME_UNKNOWN",
        ),
        (format!("DELETE {at} HTTP/1.1"), 405, "UNSUPPORTED"),
    ] {
        let (head, body) = ask(address, &request).await;
        assert!(
            head.starts_with(&format!("http/1.1 {status}")),
            "{request}: {head}"
        );
        assert!(String::from_utf8(body).unwrap().contains(code), "{request}");
    }
}

#[tokio::test]
async fn without_a_granted_token_nothing_is_read() {
    let (directory, image) = layout();
    let access = ReadAccess::by_token();
    let registry = Registry::new(directory.path().join("layout"), REPOSITORY, access.clone());
    let reference = reference(listen(registry.router()).await, image.digest);
    let home = tempfile::tempdir().unwrap();
    let store = ImageStore::open(home.path(), PullLimits::default()).unwrap();
    access.grant("good".to_owned());
    for token in [None, Some("bad")] {
        let refused = store.pull(&reference, token).await;
        assert!(
            matches!(refused, Err(PullError::Status { status, .. }) if status == 401),
            "{refused:?}"
        );
    }
    store.pull(&reference, Some("good")).await.unwrap();
    store.evict_unused().await.unwrap();
    access.revoke("good");
    assert!(store.pull(&reference, Some("good")).await.is_err());
}

/// Changes a layout, and says how the pull must fail.
async fn pull_broken(
    change: impl FnOnce(&Path, ImageDigest) -> ImageDigest,
    limits: PullLimits,
) -> PullError {
    let (directory, image) = layout();
    let layout = directory.path().join("layout");
    let digest = change(&layout.join("blobs/sha256"), image.digest);
    let index = fs::read_to_string(layout.join("index.json")).unwrap();
    let index = index.replace(&image.digest.to_string(), &digest.to_string());
    fs::write(layout.join("index.json"), index).unwrap();
    let address = listen(Registry::new(layout, REPOSITORY, ReadAccess::open()).router()).await;
    let home = tempfile::tempdir().unwrap();
    let store = ImageStore::open(home.path(), limits).unwrap();
    let error = store
        .pull(&reference(address, digest), None)
        .await
        .expect_err("a broken image was pulled");
    for directory in ["partial", "rootfs"] {
        let left = fs::read_dir(home.path().join(directory)).unwrap().count();
        assert_eq!(left, 0, "{directory} after {error}");
    }
    error
}

fn manifest(blobs: &Path, digest: ImageDigest) -> serde_json::Value {
    serde_json::from_slice(&fs::read(blobs.join(hex(&digest))).unwrap()).unwrap()
}

fn put(blobs: &Path, document: &[u8]) -> ImageDigest {
    let digest = digest_of(document);
    fs::write(blobs.join(hex(&digest)), document).unwrap();
    digest
}

fn blob_of(blobs: &Path, descriptor: &serde_json::Value) -> PathBuf {
    blobs.join(
        descriptor["digest"]
            .as_str()
            .unwrap()
            .trim_start_matches("sha256:"),
    )
}

/// Puts another archive in the place of the layer, with digests that fit.
fn with_layer(archive: Vec<u8>) -> impl FnOnce(&Path, ImageDigest) -> ImageDigest {
    move |blobs, digest| {
        let mut manifest = manifest(blobs, digest);
        let config = blob_of(blobs, &manifest["config"]);
        let mut config: serde_json::Value =
            serde_json::from_slice(&fs::read(config).unwrap()).unwrap();
        let layer = put(blobs, &archive);
        config["rootfs"]["diff_ids"][0] = layer.to_string().into();
        let config = serde_json::to_vec(&config).unwrap();
        manifest["config"]["digest"] = put(blobs, &config).to_string().into();
        manifest["config"]["size"] = config.len().into();
        manifest["layers"][0]["digest"] = layer.to_string().into();
        manifest["layers"][0]["size"] = archive.len().into();
        manifest["layers"][0]["mediaType"] = "application/vnd.oci.image.layer.v1.tar".into();
        put(blobs, &serde_json::to_vec(&manifest).unwrap())
    }
}

#[tokio::test]
async fn what_is_not_of_its_digest_is_refused() {
    let limits = PullLimits::default();
    let error = pull_broken(
        |blobs, digest| {
            let path = blobs.join(hex(&digest));
            let mut text = fs::read(&path).unwrap();
            text.push(b' ');
            fs::write(&path, text).unwrap();
            digest
        },
        limits,
    )
    .await;
    assert!(matches!(error, PullError::Digest { .. }), "{error}");
    let error = pull_broken(
        |blobs, digest| {
            let path = blob_of(blobs, &manifest(blobs, digest)["layers"][0]);
            let mut layer = fs::read(&path).unwrap();
            layer[100] ^= 1;
            fs::write(&path, layer).unwrap();
            digest
        },
        limits,
    )
    .await;
    assert!(matches!(error, PullError::Digest { .. }), "{error}");
    let error = pull_broken(
        |blobs, digest| {
            let path = blob_of(blobs, &manifest(blobs, digest)["layers"][0]);
            let mut layer = fs::read(&path).unwrap();
            layer.resize(layer.len() + 100_000, 0);
            fs::write(&path, layer).unwrap();
            digest
        },
        limits,
    )
    .await;
    assert!(matches!(error, PullError::TooLarge { .. }), "{error}");
}

#[tokio::test]
async fn limits_hold() {
    let usual = PullLimits::default();
    let same = |_: &Path, digest| digest;
    let small = PullLimits {
        document_bytes: 100,
        ..usual
    };
    let error = pull_broken(same, small).await;
    assert!(matches!(error, PullError::TooLarge { .. }), "{error}");
    let small = PullLimits {
        layer_bytes: 100,
        ..usual
    };
    let error = pull_broken(same, small).await;
    assert!(matches!(error, PullError::Document { .. }), "{error}");
    let small = PullLimits { layers: 0, ..usual };
    let error = pull_broken(same, small).await;
    assert!(matches!(error, PullError::Document { .. }), "{error}");
    let mut small = usual;
    small.unpacked.bytes = 400_000;
    let error = pull_broken(same, small).await;
    assert_eq!(
        cause(&error),
        "the image unpacks to more octets than allowed"
    );
    small = usual;
    small.unpacked.entries = 3;
    let error = pull_broken(same, small).await;
    assert_eq!(cause(&error), "the image has more entries than allowed");
}

#[tokio::test]
async fn silence_and_redirects_end_a_pull() {
    let limits = PullLimits {
        stall: Duration::from_millis(200),
        ..PullLimits::default()
    };
    let home = tempfile::tempdir().unwrap();
    let store = ImageStore::open(home.path(), limits).unwrap();
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let reference = reference(silent.local_addr().unwrap(), digest_of(b"x"));
    let error = store.pull(&reference, None).await.unwrap_err();
    assert!(matches!(error, PullError::Stalled { .. }), "{error}");
    let moved = listen(
        Router::new()
            .fallback(|| async { axum::response::Redirect::temporary("http://127.0.0.1/") }),
    )
    .await;
    let moved = ImageReference {
        registry: moved,
        ..reference
    };
    let error = store.pull(&moved, None).await.unwrap_err();
    assert!(matches!(error, PullError::Status { .. }), "{error}");
    let named = ImageReference {
        repository: "a/../b".to_owned(),
        ..moved
    };
    let error = store.pull(&named, None).await.unwrap_err();
    assert!(matches!(error, PullError::Name { .. }), "{error}");
}

fn cause(error: &PullError) -> String {
    std::error::Error::source(error)
        .map(ToString::to_string)
        .unwrap_or_default()
}

enum Entry<'a> {
    File(&'a str, &'a [u8]),
    Link(tar::EntryType, &'a str, &'a str),
    Other(tar::EntryType, &'a str),
}

/// An archive with names that a well-behaved writer would not write.
fn archive(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in entries {
        let (kind, name, link, content) = match entry {
            Entry::File(name, content) => (tar::EntryType::Regular, *name, "", *content),
            Entry::Link(kind, name, link) => (*kind, *name, *link, [].as_slice()),
            Entry::Other(kind, name) => (*kind, *name, "", [].as_slice()),
        };
        let mut header = tar::Header::new_ustar();
        let raw = header.as_old_mut();
        raw.name[..name.len()].copy_from_slice(name.as_bytes());
        raw.linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(0o4755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(content.len() as u64);
        header.set_cksum();
        bytes.extend(header.as_bytes());
        bytes.extend(content);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.extend([0; 1024]);
    bytes
}

#[tokio::test]
async fn archives_cannot_reach_outside() {
    use tar::EntryType::{Block, Char, Fifo, Link, Symlink};
    let cases: &[(&[Entry<'_>], &str)] = &[
        (&[Entry::File("../evil", b"x")], "outside of the image"),
        (&[Entry::File("a/../../evil", b"x")], "outside of the image"),
        (&[Entry::File("/evil", b"x")], "outside of the image"),
        (
            &[Entry::Link(Link, "a", "../../../etc/passwd")],
            "outside of the image",
        ),
        (
            &[Entry::Link(Link, "a", "/etc/passwd")],
            "outside of the image",
        ),
        (
            &[
                Entry::Link(Symlink, "l", "/etc"),
                Entry::Link(Link, "a", "l/passwd"),
            ],
            "unpacking",
        ),
        (
            &[
                Entry::Link(Symlink, "l", "/etc/passwd"),
                Entry::Link(Link, "a", "l"),
            ],
            "cannot be resolved",
        ),
        (
            &[
                Entry::Link(Symlink, "a", "b"),
                Entry::Link(Symlink, "b", "a"),
                Entry::File("a/x", b"x"),
            ],
            "cannot be resolved",
        ),
        (&[Entry::Other(Char, "dev/null")], "of a kind"),
        (&[Entry::Other(Block, "dev/sda")], "of a kind"),
        (&[Entry::Other(Fifo, "pipe")], "of a kind"),
        (&[Entry::File(".wh...", b"")], "outside of the image"),
    ];
    for (entries, expected) in cases {
        let error = pull_broken(with_layer(archive(entries)), PullLimits::default()).await;
        let cause = cause(&error);
        assert!(cause.contains(expected), "{cause} instead of {expected}");
    }
    // Mount points that are links.
    let tricky = archive(&[Entry::Link(Symlink, "proc", "/etc")]);
    let error = pull_broken(with_layer(tricky), PullLimits::default()).await;
    assert!(matches!(error, PullError::Document { .. }), "{error}");
}

#[test]
fn long_names_cannot_fill_memory() {
    // A "long name" of 64 MiB of zeros that costs nothing to send compressed.
    let mut header = tar::Header::new_gnu();
    header.as_gnu_mut().unwrap().name[..13].copy_from_slice(b"././@LongLink");
    header.set_entry_type(tar::EntryType::GNULongName);
    header.set_size(64 << 20);
    header.set_cksum();
    let start = std::io::Cursor::new(header.as_bytes().to_vec());
    let reader = Read::chain(start, std::io::repeat(b'a'));
    let root = tempfile::tempdir().unwrap();
    let mut allowance = PullLimits::default().unpacked;
    let error = edge_image::unpack::unpack_layer(reader, root.path(), &mut allowance).unwrap_err();
    assert!(
        std::error::Error::source(&error)
            .unwrap()
            .to_string()
            .contains("too long"),
        "{error}"
    );
}

#[test]
fn layers_change_lower_ones_and_links_stay_inside() {
    use tar::EntryType::{Directory, Symlink};
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    let mut allowance = PullLimits::default().unpacked;
    let mut unpack = |entries: &[Entry<'_>]| {
        let archive = archive(entries);
        edge_image::unpack::unpack_layer(archive.as_slice(), root.path(), &mut allowance).unwrap();
    };
    unpack(&[
        Entry::Other(Directory, "usr/lib"),
        Entry::Link(Symlink, "lib", "/usr/lib"),
        Entry::Link(Symlink, "up", "../../../../usr"),
        Entry::File("usr/lib/old", b"old"),
        Entry::File("gone", b"x"),
        Entry::File("data/low", b"x"),
    ]);
    unpack(&[
        Entry::File("lib/new", b"new"),
        Entry::File("up/lib/newer", b"newer"),
        Entry::File(".wh.gone", b""),
        Entry::File("data/high", b"x"),
        Entry::File("data/.wh..wh..opq", b""),
        // A file takes the place of a link instead of writing through it.
        Entry::File("lib", b"not a link"),
    ]);
    assert_eq!(fs::read(at("usr/lib/new")).unwrap(), b"new");
    assert_eq!(fs::read(at("usr/lib/newer")).unwrap(), b"newer");
    assert_eq!(fs::read(at("usr/lib/old")).unwrap(), b"old");
    assert_eq!(fs::read(at("lib")).unwrap(), b"not a link");
    assert!(!at("gone").exists() && !at("data/low").exists() && at("data/high").exists());
    let mode = fs::metadata(at("lib")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o755, "set-uid bits are dropped");
}
