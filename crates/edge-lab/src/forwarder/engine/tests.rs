use edge_packet::{IcmpError, UdpPacket};

use super::*;
use crate::network::LinkEnd;
use crate::scenario::Scenario;

const CLOUD: [u8; 4] = [240, 0, 0, 10];

struct World {
    engine: Engine,
    statistics: Arc<Statistics>,
    network: Arc<Network>,
}

impl World {
    fn new(change: impl FnOnce(&mut Scenario)) -> Self {
        let text = include_str!("../../../../../scenarios/two-continents.toml");
        let mut scenario = Scenario::parse("two-continents.toml", text).unwrap();
        change(&mut scenario);
        let network = Arc::new(Network::compile(&scenario));
        let statistics = Arc::new(Statistics::new(&network));
        Self {
            engine: Engine::new(Arc::clone(&network), Arc::clone(&statistics)),
            statistics,
            network,
        }
    }

    /// Everything that is delivered, with the time when it was due.
    fn run(&mut self) -> Vec<(Duration, Device, Vec<u8>)> {
        let mut delivered = Vec::new();
        while let Some(due) = self.engine.next_due() {
            self.engine.run_due(&|| due, &mut |device, _, packet| {
                delivered.push((due, device, packet.to_vec()));
                true
            });
        }
        delivered
    }

    fn packets_over(&self, from: &str, to: &str) -> u64 {
        let end = |name: &str| {
            let mut routers = (0u16..).zip(self.network.routers());
            let (index, _) = routers.find(|(_, router)| router.id == name).unwrap();
            LinkEnd::Router(RouterIndex(index))
        };
        let links = (0u32..).map(LinkId).zip(self.network.links());
        links
            .filter(|(_, link)| (link.from, link.to) == (end(from), end(to)))
            .flat_map(|(id, _)| TrafficClass::ALL.map(|class| self.statistics.link(id, class)))
            .map(|volume| volume.packets)
            .sum()
    }
}

fn probe(to: [u8; 4], hop_limit: u8, port: u16, payload: &[u8]) -> Vec<u8> {
    let packet = UdpPacket {
        source: CLOUD.into(),
        destination: to.into(),
        hop_limit,
        ident: 1,
        flow_label: 0,
        source_port: 4711,
        destination_port: port,
        payload,
    };
    let mut octets = vec![0; packet.len()];
    packet.write(&mut octets).unwrap();
    octets
}

#[test]
fn answers_come_back_over_the_way_that_the_router_prefers() {
    let mut world = World::new(|_| {});
    for port in 0..40 {
        // The fourth router, lon, behind one of two cables.
        let mut packet = probe([240, 16, 2, 10], 4, 33434 + port, b"x");
        world.engine.receive(
            Duration::from_secs(u64::from(port) * 10),
            0,
            Offload::default(),
            &mut packet,
        );
        for (_, device, packet) in world.run() {
            let (header, error) = IcmpError::parse_packet(&packet).unwrap();
            assert_eq!(
                (device, header.source, error.kind),
                (0, [240, 1, 6, 1].into(), ErrorKind::TimeExceeded)
            );
            assert_eq!(error.quoted.hop_limit, 1);
        }
    }
    let (north, south) = (
        world.packets_over("cable-north", "lon"),
        world.packets_over("cable-south", "lon"),
    );
    assert_eq!(north + south, 40);
    assert!(north > 0 && south > 0, "{north} and {south}");
    assert_eq!(world.packets_over("lon", "cable-north"), 40);
    assert_eq!(world.packets_over("lon", "cable-south"), 0);
}

#[test]
fn a_full_link_delays_and_then_drops() {
    // 1250 octets take 10 ms, and 100 ms may wait.
    let mut world = World::new(|scenario| {
        let last = scenario.links.last_mut().unwrap();
        last.bandwidth_mbps = Some(1.0);
        for link in &mut scenario.links {
            link.jitter_ms = 0.0;
        }
    });
    for _ in 0..20 {
        let mut packet = probe([240, 16, 2, 10], 64, 9, &[0; 1250 - 28]);
        world
            .engine
            .receive(Duration::ZERO, 0, Offload::default(), &mut packet);
    }
    let times: Vec<Duration> = world.run().into_iter().map(|(due, ..)| due).collect();
    let gaps: Vec<Duration> = times
        .windows(2)
        .map(|pair| pair[1].saturating_sub(pair[0]))
        .collect();
    assert_eq!(gaps, [Duration::from_millis(10); 10]);
    assert_eq!(world.statistics.dropped(DropReason::LinkQueue), 9);
}

#[test]
fn jitter_never_reorders_a_flow() {
    let mut world = World::new(|scenario| {
        for link in &mut scenario.links {
            link.jitter_ms = 30.0;
        }
        let last = scenario.links.last_mut().unwrap();
        last.bandwidth_mbps = Some(100.0);
    });
    for number in 0u32..200 {
        let mut packet = probe([240, 16, 2, 10], 64, 9, &number.to_be_bytes());
        let now = Duration::from_micros(u64::from(number) * 500);
        world
            .engine
            .receive(now, 0, Offload::default(), &mut packet);
    }
    let numbers: Vec<u32> = world
        .run()
        .into_iter()
        .map(|(_, _, packet)| u32::from_be_bytes(*packet[28..].first_chunk().unwrap()))
        .collect();
    assert_eq!(numbers, (0..200).collect::<Vec<u32>>());
}

#[test]
fn no_error_is_sent_about_an_error() {
    let mut world = World::new(|_| {});
    let mut packet = probe([240, 16, 2, 10], 1, 9, b"x");
    world
        .engine
        .receive(Duration::ZERO, 0, Offload::default(), &mut packet);
    let (_, _, mut error) = world.run().pop().unwrap();
    // The same error, on its way from the cloud to nobody.
    error[12..16].copy_from_slice(&CLOUD);
    error[16..20].copy_from_slice(&[198, 51, 100, 1]);
    world
        .engine
        .receive(Duration::ZERO, 0, Offload::default(), &mut error);
    assert_eq!(world.run(), []);
    assert_eq!(world.statistics.dropped(DropReason::NoRoute), 1);
}

#[test]
fn any_octets_are_survived() {
    let mut world = World::new(|_| {});
    let good = probe([240, 16, 2, 10], 64, 9, b"payload");
    for length in 0..good.len() {
        let mut cut = good[..length].to_vec();
        world
            .engine
            .receive(Duration::ZERO, 0, Offload::default(), &mut cut);
    }
    assert_eq!(world.run(), []);
    for at in 0..good.len() {
        for value in [0, 1, 0x7f, 0xff] {
            let mut changed = good.clone();
            changed[at] = value;
            world
                .engine
                .receive(Duration::ZERO, 0, Offload::default(), &mut changed);
        }
    }
    world.run();
}
