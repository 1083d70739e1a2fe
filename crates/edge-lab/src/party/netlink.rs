//! The few rtnetlink requests that set up a party's interfaces, addresses and routes.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use edge_types::IpNet;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::address::{
    AddressAttribute, AddressHeaderFlags, AddressMessage, AddressScope,
};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

/// Largest answer read: an acknowledgement quotes the request, which is small.
const ANSWER_OCTETS: usize = 8192;

/// Routing table of routes to the host's own addresses.
const TABLE_LOCAL: u8 = 255;

/// A connection to the kernel's routing configuration, in the network namespace of the thread that opens it.
pub(super) struct Netlink {
    socket: Socket,
    sequence: u32,
}

impl Netlink {
    pub(super) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self {
            socket,
            sequence: 0,
        })
    }

    /// Brings an interface up, with `mtu` and a queue of `queue` packets where given.
    pub(super) fn bring_up(
        &mut self,
        index: u32,
        mtu: Option<u32>,
        queue: Option<u32>,
    ) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        message.attributes = mtu
            .map(LinkAttribute::Mtu)
            .into_iter()
            .chain(queue.map(LinkAttribute::TxQueueLen))
            .collect();
        self.request(RouteNetlinkMessage::SetLink(message), 0)
    }

    /// Gives an interface one address, without a route to a neighbourhood.
    pub(super) fn add_address(&mut self, index: u32, address: IpAddr) -> io::Result<()> {
        let mut message = AddressMessage::default();
        message.header.family = family(address);
        message.header.prefix_len = bits(address);
        message.header.flags = AddressHeaderFlags::Nodad | AddressHeaderFlags::Permanent;
        message.header.scope = AddressScope::Universe;
        message.header.index = index;
        message.attributes = vec![
            AddressAttribute::Local(address),
            AddressAttribute::Address(address),
        ];
        self.request(
            RouteNetlinkMessage::NewAddress(message),
            NLM_F_CREATE | NLM_F_EXCL,
        )
    }

    /// Sends everything that is not local to an interface.
    pub(super) fn add_default_route(
        &mut self,
        index: u32,
        any: IpAddr,
        preferred_source: IpAddr,
    ) -> io::Result<()> {
        let mut message = route(
            any,
            0,
            RouteType::Unicast,
            RouteHeader::RT_TABLE_MAIN,
            RouteScope::Link,
        );
        message.attributes.push(RouteAttribute::Oif(index));
        message
            .attributes
            .push(RouteAttribute::PrefSource(preferred_source.into()));
        self.request(
            RouteNetlinkMessage::NewRoute(message),
            NLM_F_CREATE | NLM_F_EXCL,
        )
    }

    /// Makes every address of a prefix the host's own ("`AnyIP`"), on the interface `index` (the loopback).
    pub(super) fn own_prefix(&mut self, index: u32, prefix: IpNet) -> io::Result<()> {
        let mut message = route(
            prefix.network(),
            prefix.prefix_len(),
            RouteType::Local,
            TABLE_LOCAL,
            RouteScope::Host,
        );
        message
            .attributes
            .push(RouteAttribute::Destination(RouteAddress::from(
                prefix.network(),
            )));
        message.attributes.push(RouteAttribute::Oif(index));
        self.request(
            RouteNetlinkMessage::NewRoute(message),
            NLM_F_CREATE | NLM_F_EXCL,
        )
    }

    /// Sends one request and waits for its acknowledgement.
    fn request(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.sequence += 1;
        let mut message = NetlinkMessage::from(message);
        message.header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        message.header.sequence_number = self.sequence;
        message.finalize();
        let mut octets = vec![0; message.buffer_len()];
        message.serialize(&mut octets);
        self.socket.send(&octets, 0)?;

        let mut answer = Vec::with_capacity(ANSWER_OCTETS);
        self.socket.recv(&mut answer, 0)?;
        let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer)
            .map_err(|cause| io::Error::new(io::ErrorKind::InvalidData, cause.to_string()))?;
        match answer.payload {
            NetlinkPayload::Error(error) if error.code.is_none() => Ok(()),
            NetlinkPayload::Error(error) => Err(error.to_io()),
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the kernel answered with something else than an acknowledgement",
            )),
        }
    }
}

/// The unspecified address of each family.
pub(super) const ANY: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    IpAddr::V6(Ipv6Addr::UNSPECIFIED),
];

fn route(
    family_of: IpAddr,
    prefix_len: u8,
    kind: RouteType,
    table: u8,
    scope: RouteScope,
) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family(family_of);
    message.header.destination_prefix_length = prefix_len;
    message.header.table = table;
    message.header.protocol = RouteProtocol::Boot;
    message.header.scope = match family_of {
        IpAddr::V4(_) => scope,
        IpAddr::V6(_) => RouteScope::Universe,
    };
    message.header.kind = kind;
    message
}

const fn family(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}

const fn bits(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}
