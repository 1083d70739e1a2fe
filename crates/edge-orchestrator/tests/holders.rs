//! A whole orchestrator on a path whose routers have no names: it finds the provider by who holds their addresses. Registries
//! are real connections on loopback; names and paths are scripted.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use edge_chain::client::LedgerConfig;
use edge_chain::{EthLedger, LocalKey};
use edge_discovery::{
    Absence, Answer, AnswerName, Bootstrap, OriginRanges, Question, RecordData, RecordKind,
    Security, SrvRecord,
};
use edge_http::entry_tls::{RootCertStore, TlsPolicy};
use edge_orchestrator::places::Places;
use edge_orchestrator::status::{FoundSite, StatusReport};
use edge_orchestrator::{Adapters, ImageAccess, Settings, run};
use edge_ports::{
    BoxFuture, Clock, Listing, NameLookup, PathSource, SiteList, SystemClock, TraceError,
    TracePriority,
};
use edge_resolver::{Limited, PlainHttp, Registries};
use edge_types::{
    AddressPolicy, Hop, HopReply, IepId, IepOrigin, ListedSite, PathEnd, PathObservation, Rtt,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};

const PATIENCE: Duration = Duration::from_secs(20);
/// Longer than a whole discovery takes here.
const LONG: Duration = Duration::from_secs(2);

/// Everybody is behind two routers of one network.
#[derive(Debug)]
struct Paths(SystemClock);

impl PathSource for Paths {
    fn trace(
        &self,
        target: IpAddr,
        _: TracePriority,
    ) -> BoxFuture<'_, Result<PathObservation, TraceError>> {
        let hop = |address: IpAddr, ms| {
            Hop::Reply(HopReply::new(address, Rtt(Duration::from_millis(ms))))
        };
        let hops = vec![
            hop([240, 1, 2, 3].into(), 5),
            hop([240, 1, 2, 4].into(), 6),
            hop(target, 20),
        ];
        Box::pin(std::future::ready(Ok(PathObservation {
            target,
            observed_at: self.0.monotonic(),
            hops,
            further: Vec::new(),
            end: PathEnd::Reached,
            probes_sent: 3,
        })))
    }
}

/// No address has a name, `isp.example` has an entry point, and registries are on loopback.
#[derive(Debug)]
struct Names;

impl NameLookup for Names {
    fn lookup<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Answer> {
        let security = Security::Insecure;
        let record = match (question.name.as_str(), question.kind) {
            ("_edge._tcp.isp.example", RecordKind::Srv) => Some(RecordData::Srv(SrvRecord {
                priority: 0,
                weight: 0,
                port: 8080,
                target: AnswerName::parse("edge.isp.example"),
            })),
            ("edge.isp.example", RecordKind::A) => Some(RecordData::Address([240, 9, 0, 1].into())),
            ("rdap.example" | "whois.example", RecordKind::A) => {
                Some(RecordData::Address([127, 0, 0, 1].into()))
            }
            _ => None,
        };
        let answer = match record {
            Some(record) => Answer::Records {
                records: vec![record],
                ttl_seconds: 60,
                security,
            },
            None => Answer::Absent {
                absence: Absence::NxDomain,
                soa: None,
                security,
            },
        };
        Box::pin(std::future::ready(answer))
    }
}

#[derive(Debug)]
struct NoImages;

impl ImageAccess for NoImages {
    fn grant(&self) -> Option<String> {
        None
    }
    fn revoke(&self, _token: &str) {}
    fn admit(&self, _token: &str) {}
}

/// Answers every connection after its first octets; the port, and how many connections there were.
async fn serve(answer: &'static str) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            let mut question = [0; 2048];
            let _ = stream.read(&mut question).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    (port, count)
}

fn policy() -> AddressPolicy {
    let allowed = ["127.0.0.0/8", "240.0.0.0/4"];
    AddressPolicy::new(allowed.map(|prefix| prefix.parse().unwrap()).to_vec())
}

fn registries(table: Option<&str>, rdap: Option<u16>, whois: Option<u16>) -> Registries {
    let mut bootstrap = Bootstrap::default();
    if let Some(port) = rdap {
        let file = format!(r#"{{"services":[[["240.0.0.0/8"],["http://rdap.example:{port}/"]]]}}"#);
        bootstrap.read(file.as_bytes()).unwrap();
    }
    Registries {
        table: table.map(|text| Arc::new(OriginRanges::read(text))),
        bootstrap,
        http: Some(Arc::new(PlainHttp {
            lookup: Arc::new(Names),
            policy: policy(),
        })),
        whois: whois.map(|_| "whois.example".parse().unwrap()),
        whois_port: whois.unwrap_or(43),
        lookup: Arc::new(Names),
        policy: policy(),
        clock: Arc::new(SystemClock::start()),
        limited: Limited::default(),
    }
}

fn settings(home: &Path) -> Settings {
    let text = format!(
        "registry = \"127.0.0.1:5000\"\nstate_directory = {:?}\nadmin = {:?}\n\
         [application]\nname = \"shop\"\nlisten = [\"127.0.0.1:80\"]\nhosts = [\"shop.example\"]\n\
         services = [\n\
         {{ placement = \"cloud\", name = \"origin\", address = \"127.0.0.1:9\" }},\n\
         {{ placement = \"edge\", name = \"objects\", image = \"/none\", digest = \"sha256:{:064}\", port = 8080, \
         health = \"/healthz\", needs = {{ milli_cpu = 500, memory_mib = 64, pids = 32 }} }},\n\
         ]\n\
         [resolver]\naddresses = [\"127.0.0.1:53\"]\n\
         [wallet]\nkey_file = \"unused\"\nchain_id = 1337\nrpc = \"127.0.0.1:9\"\nescrow = \"{}\"\n\
         [budget]\nwei_per_hour = \"1\"\nwei_per_day = \"1\"\nwei_per_site = \"1\"\n\
         [policy]\nkey_binding = \"dns\"\nrequests_before_trace = 1\nallowed_prefixes = [\"127.0.0.0/8\", \"240.0.0.0/4\"]\n\
         [pace]\ntopology_ms = 100\n[discovery]\nrefresh_s = 1\n",
        home.join("state"),
        home.join("admin"),
        0,
        "0x0000000000000000000000000000000000000001",
    );
    Settings::parse(&text).unwrap()
}

/// What the admin interface says.
async fn status(socket: &Path) -> Option<StatusReport> {
    let mut stream = UnixStream::connect(socket).await.ok()?;
    let request = b"GET /status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    let (_, body) = answer.split_once("\r\n\r\n")?;
    let body = &body[body.find('{')?..=body.rfind('}')?];
    serde_json::from_str(body).ok()
}

/// Lets a client ask, and waits for the first entry point that is found, as long as `patience` allows.
async fn first_site(owners: Option<Registries>, patience: Duration) -> Option<FoundSite> {
    let sites = watch(owners, Vec::new(), patience, |sites| !sites.is_empty()).await?;
    sites.into_iter().next()
}

/// Lets clients ask until the entry points found are as they should be, as long as `patience` allows.
async fn watch(
    owners: Option<Registries>,
    lists: Vec<Arc<dyn SiteList>>,
    patience: Duration,
    is_enough: impl Fn(&[FoundSite]) -> bool,
) -> Option<Vec<FoundSite>> {
    let home = tempfile::tempdir().unwrap();
    let settings = settings(home.path());
    let socket = home.path().join("admin");
    let key = LocalKey::generate().unwrap();
    let (chain, escrow) = settings.escrow.unwrap();
    let ledger = LedgerConfig::dev("http://127.0.0.1:9".to_owned(), chain, escrow);
    let clock = SystemClock::start();
    let adapters = Adapters {
        paths: Arc::new(Paths(clock)),
        lookup: Arc::new(Names),
        tls: TlsPolicy::new(RootCertStore::empty(), true),
        lists,
        places: Places::default(),
        owners: owners.map(|owners| Arc::new(owners) as _),
        ledger: Some(Arc::new(EthLedger::new(ledger, key.clone()).unwrap())),
        signer: Arc::new(key),
        images: Arc::new(NoImages),
        clock: Arc::new(clock),
        control_label: "t0ken".to_owned(),
        recorder: None,
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let front = listener.local_addr().unwrap();
    let running = tokio::spawn(run(settings, adapters, vec![listener]));
    let started = Instant::now();
    let mut found = None;
    while found.is_none() && started.elapsed() < patience {
        assert!(!running.is_finished(), "{:?}", running.await);
        let mut client = TcpStream::connect(front).await.unwrap();
        let request = b"GET / HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n";
        client.write_all(request).await.unwrap();
        let _ = client.read_to_end(&mut Vec::new()).await;
        found = match status(&socket).await {
            Some(report) => Some(report.discovery.sites).filter(|sites| is_enough(sites)),
            None => None,
        };
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    running.abort();
    found
}

const RDAP: &str = concat!(
    "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
    r#"{"objectClassName":"ip network","startAddress":"240.1.0.0","endAddress":"240.1.255.255","#,
    r#""entities":[{"roles":["registrant"],"vcardArray":["vcard",[["email",{},"text","noc@isp.example"]]]}]}"#
);
const WHOIS: &str = "inetnum: 240.1.0.0 - 240.1.255.255\norg-name: ISP\ne-mail: noc@isp.example\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_holds_the_addresses_of_nameless_routers_is_found_by_each_source() {
    let (rdap, asked_rdap) = serve(RDAP).await;
    let (whois, asked_whois) = serve(WHOIS).await;
    for (source, owners) in [
        (
            "table",
            registries(Some("240.1.0.0/16 64500 isp.example ISP"), None, None),
        ),
        ("rdap", registries(None, Some(rdap), None)),
        ("whois", registries(None, None, Some(whois))),
    ] {
        let site = first_site(Some(owners), PATIENCE).await;
        let site = site.unwrap_or_else(|| panic!("nothing is found by {source}"));
        assert_eq!(
            (&*site.site, &*site.zone),
            ("edge.isp.example:8080", "isp.example"),
            "{source}"
        );
    }
    // One answer serves the whole prefix; both routers may have been asked about at once.
    for asked in [asked_rdap, asked_whois] {
        assert!((1..=2).contains(&asked.load(Ordering::SeqCst)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nameless_routers_lead_nowhere_where_nobody_may_be_asked() {
    assert_eq!(first_site(None, LONG).await, None);
}

/// Names a site, then none, then cannot be read, then names another.
#[derive(Debug, Default)]
struct Changing(AtomicUsize);

impl SiteList for Changing {
    fn origin(&self) -> IepOrigin {
        IepOrigin::Configured
    }

    fn read(&self) -> BoxFuture<'_, Listing> {
        let site = |host: &str| ListedSite {
            id: IepId {
                host: host.parse().unwrap(),
                port: 8080,
            },
            addresses: vec!["240.1.0.30".parse().unwrap()],
            key: None,
            tls: false,
        };
        let (sites, was_read) = match self.0.fetch_add(1, Ordering::SeqCst) {
            0 => (vec![site("a.isp.example")], true),
            1 => (Vec::new(), false),
            _ => (vec![site("b.isp.example")], true),
        };
        Box::pin(std::future::ready(Listing {
            sites,
            was_read,
            ..Listing::default()
        }))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_list_no_longer_names_is_forgotten_once_it_could_be_read() {
    let list = Arc::new(Changing::default());
    let reads = Arc::clone(&list);
    let sites = watch(None, vec![list], PATIENCE, |sites| {
        let names: Vec<&str> = sites.iter().map(|site| &*site.site).collect();
        if reads.0.load(Ordering::SeqCst) == 2 {
            assert_eq!(names, ["a.isp.example:8080"], "the list could not be read");
        }
        names == ["b.isp.example:8080"]
    });
    assert!(sites.await.is_some());
    assert!(reads.0.load(Ordering::SeqCst) >= 3);
}
