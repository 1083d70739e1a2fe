//! Writes warts objects, for tests of the reader.

use std::net::IpAddr;

/// One parameter: its flag, from 1, and its bytes.
pub(crate) type Parameter = (u32, Vec<u8>);

/// An object: header and content.
pub(crate) fn object(kind: u16, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x12, 0x05];
    bytes.extend(kind.to_be_bytes());
    bytes.extend(u32::try_from(content.len()).unwrap().to_be_bytes());
    bytes.extend(content);
    bytes
}

/// Flags, length and values. The parameters have to be in the order of their flags.
pub(crate) fn parameters(parameters: &[Parameter]) -> Vec<u8> {
    let last = parameters.last().map_or(1, |(flag, _)| *flag);
    let groups = usize::try_from(last.div_ceil(7)).unwrap();
    let mut bytes = vec![0_u8; groups];
    for (flag, _) in parameters {
        let bit = flag - 1;
        bytes[usize::try_from(bit / 7).unwrap()] |= 1 << (bit % 7);
    }
    for group in &mut bytes[..groups - 1] {
        *group |= 0x80;
    }
    let values: Vec<u8> = parameters
        .iter()
        .flat_map(|(_, value)| value.clone())
        .collect();
    if !parameters.is_empty() {
        bytes.extend(u16::try_from(values.len()).unwrap().to_be_bytes());
    }
    bytes.extend(values);
    bytes
}

/// An address with all its bytes.
pub(crate) fn address(address: &str) -> Vec<u8> {
    let (kind, octets) = match address.parse().unwrap() {
        IpAddr::V4(address) => (1, address.octets().to_vec()),
        IpAddr::V6(address) => (2, address.octets().to_vec()),
    };
    let mut bytes = vec![u8::try_from(octets.len()).unwrap(), kind];
    bytes.extend(octets);
    bytes
}

/// An address that was named before in the same object, by number from 0.
pub(crate) fn address_again(number: u32) -> Vec<u8> {
    let mut bytes = vec![0];
    bytes.extend(number.to_be_bytes());
    bytes
}

/// A trace: its parameters, those of its hops, and what is attached.
pub(crate) fn trace(told: &[Parameter], hops: &[Vec<Parameter>], attached: &[u8]) -> Vec<u8> {
    let mut content = parameters(told);
    content.extend(u16::try_from(hops.len()).unwrap().to_be_bytes());
    for hop in hops {
        content.extend(parameters(hop));
    }
    content.extend(attached);
    content.extend([0, 0]);
    object(6, &content)
}

/// A list and a cycle, which every trace belongs to.
pub(crate) fn list_and_cycle() -> Vec<u8> {
    let mut list = vec![0, 0, 0, 1, 0, 0, 0, 0];
    list.extend(b"sample\0\0");
    let cycle = [
        0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0x6b, 0x07, 0x60, 0x2c, 0,
    ];
    [object(1, &list), object(2, &cycle)].concat()
}

/// A trace over two routers, the second in a tunnel, to a target that answers the second of two probes; the first router's
/// address is given again by number where it answers twice.
pub(crate) fn sample_trace() -> Vec<u8> {
    let us = |rtt: u32| rtt.to_be_bytes().to_vec();
    // One stack with one entry: label 16, class 1, type 1.
    let labels = vec![0, 8, 0, 4, 1, 1, 0, 0x01, 0x01, 0x3f];
    trace(
        &[
            (1, vec![0, 0, 0, 1]),
            (2, vec![0, 0, 0, 1]),
            (
                5,
                [0x6b07_602c_u32.to_be_bytes(), [0, 9, 0xdb, 0xf8]].concat(),
            ),
            (6, vec![1]),
            (11, vec![5]),
            (13, 40_000_u16.to_be_bytes().to_vec()),
            (14, 33_434_u16.to_be_bytes().to_vec()),
            (19, vec![0, 4]),
            (23, vec![0, 6]),
            (26, address("240.0.0.10")),
            (27, address("240.0.9.1")),
        ],
        &[
            vec![
                (2, vec![1]),
                (5, vec![0]),
                (6, us(1500)),
                (7, vec![11, 0]),
                (18, address("240.1.0.1")),
            ],
            vec![
                (2, vec![1]),
                (5, vec![1]),
                (6, us(1250)),
                (7, vec![11, 0]),
                (18, address_again(2)),
            ],
            vec![
                (2, vec![3]),
                (5, vec![0]),
                (6, us(9000)),
                (7, vec![11, 0]),
                (17, labels),
                (18, address("240.1.3.1")),
            ],
            vec![
                (2, vec![4]),
                (5, vec![1]),
                (6, us(12_345)),
                (7, vec![3, 3]),
                (18, address_again(1)),
            ],
        ],
        &[],
    )
}

/// An old file: addresses are objects of their own, and traces refer to them by number from 1.
pub(crate) fn sample_numbered() -> Vec<u8> {
    let numbered = |check: u8, octets: [u8; 4]| object(5, &[&[check, 1][..], &octets].concat());
    let number = |number: u32| number.to_be_bytes().to_vec();
    [
        numbered(1, [240, 0, 0, 10]),
        numbered(2, [240, 0, 9, 1]),
        numbered(3, [240, 1, 0, 1]),
        trace(
            &[
                (1, vec![0, 0, 0, 1]),
                (2, vec![0, 0, 0, 1]),
                (3, number(1)),
                (4, number(2)),
                (6, vec![2]),
                (11, vec![4]),
                (13, vec![0x12, 0x34]),
                (14, vec![0x56, 0x78]),
                (19, vec![0, 1]),
            ],
            &[vec![
                (1, number(3)),
                (2, vec![1]),
                (6, number(700)),
                (7, vec![3, 13]),
            ]],
            &[],
        ),
    ]
    .concat()
}
