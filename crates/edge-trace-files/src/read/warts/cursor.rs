//! Bytes in network order, warts' parameters and its addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::problem::Reason;

/// What is left of some bytes. Nothing is read beyond them.
#[derive(Clone, Debug)]
pub(super) struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) const fn rest(&self) -> &'a [u8] {
        self.0
    }

    pub(super) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array().map(|[octet]| octet)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }
}

/// An address of some kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Address {
    /// Of IP.
    Ip(IpAddr),
    /// Of the link layer, or none.
    Other,
}

impl Address {
    /// The IP address, if it is one.
    pub(super) const fn ip(self) -> Option<IpAddr> {
        match self {
            Self::Ip(address) => Some(address),
            Self::Other => None,
        }
    }
}

/// The addresses that one object may refer to: those it has named before, from 0, and those of the file, from 1.
#[derive(Debug)]
pub(super) struct Addresses<'a> {
    named: Vec<Address>,
    numbered: &'a [Address],
}

impl<'a> Addresses<'a> {
    pub(super) const fn new(numbered: &'a [Address]) -> Self {
        Self {
            named: Vec::new(),
            numbered,
        }
    }

    /// An address by its number in the file; 0 is none.
    pub(super) fn numbered(&self, number: u32) -> Result<Address, Reason> {
        let Some(index) = number.checked_sub(1) else {
            return Ok(Address::Other);
        };
        lookup(self.numbered, index).ok_or(Reason::AddressNumber(number))
    }

    /// The next address of an object: its length, type and bytes, or no length and the number of one before.
    fn next(&mut self, cursor: &mut Cursor<'_>) -> Option<Result<Address, Reason>> {
        let length = cursor.u8()?;
        if length == 0 {
            let number = cursor.u32()?;
            return Some(lookup(&self.named, number).ok_or(Reason::AddressNumber(number)));
        }
        let kind = cursor.u8()?;
        let bytes = cursor.take(usize::from(length))?;
        let read = address(kind, bytes);
        if let Ok(address) = read {
            self.named.push(address);
        }
        Some(read)
    }
}

fn lookup(table: &[Address], index: u32) -> Option<Address> {
    usize::try_from(index)
        .ok()
        .and_then(|index| table.get(index))
        .copied()
}

/// An address by its type.
pub(super) fn address(kind: u8, bytes: &[u8]) -> Result<Address, Reason> {
    let wrong = Reason::Length("an address");
    match kind {
        1 => match <[u8; 4]>::try_from(bytes) {
            Ok(octets) => Ok(Address::Ip(Ipv4Addr::from(octets).into())),
            Err(_) => Err(wrong),
        },
        2 => match <[u8; 16]>::try_from(bytes) {
            Ok(octets) => Ok(Address::Ip(Ipv6Addr::from(octets).into())),
            Err(_) => Err(wrong),
        },
        _ => Ok(Address::Other),
    }
}

/// The parameters of an object: flags in groups of seven, most significant bit set if more follow; their length; then the value of
/// each flag that is set, in order. Values beyond those asked for are of a newer writer and passed over.
#[derive(Debug)]
pub(super) struct Parameters<'a> {
    flags: u128,
    values: Cursor<'a>,
}

/// Groups of flags; so far there are at most five.
const GROUPS: usize = 16;

impl<'a> Parameters<'a> {
    pub(super) fn begin(cursor: &mut Cursor<'a>) -> Result<Self, Reason> {
        let mut flags = 0_u128;
        for group in 0..GROUPS {
            let octet = cursor.u8().ok_or(Reason::Truncated)?;
            flags |= u128::from(octet & 0x7f) << (7 * group);
            if octet & 0x80 == 0 {
                let values = if flags == 0 {
                    Cursor::new(&[])
                } else {
                    let length = cursor.u16().ok_or(Reason::Truncated)?;
                    Cursor::new(cursor.take(usize::from(length)).ok_or(Reason::Truncated)?)
                };
                return Ok(Self { flags, values });
            }
        }
        Err(Reason::Length("flags"))
    }

    /// The value of `flag`, from 1, if it is set.
    fn value<T>(
        &mut self,
        flag: u32,
        read: impl FnOnce(&mut Cursor<'a>) -> Option<T>,
    ) -> Result<Option<T>, Reason> {
        if self.flags >> (flag - 1) & 1 == 0 {
            return Ok(None);
        }
        let value = read(&mut self.values).ok_or(Reason::Length("parameters"))?;
        Ok(Some(value))
    }

    pub(super) fn u8(&mut self, flag: u32) -> Result<Option<u8>, Reason> {
        self.value(flag, Cursor::u8)
    }

    pub(super) fn u16(&mut self, flag: u32) -> Result<Option<u16>, Reason> {
        self.value(flag, Cursor::u16)
    }

    pub(super) fn u32(&mut self, flag: u32) -> Result<Option<u32>, Reason> {
        self.value(flag, Cursor::u32)
    }

    /// Seconds of a time; its microseconds are dropped.
    pub(super) fn time(&mut self, flag: u32) -> Result<Option<u32>, Reason> {
        self.value(flag, |values| {
            let seconds = values.u32()?;
            values.u32()?;
            Some(seconds)
        })
    }

    /// An address.
    pub(super) fn address(
        &mut self,
        flag: u32,
        addresses: &mut Addresses<'_>,
    ) -> Result<Option<Address>, Reason> {
        self.value(flag, |values| addresses.next(values))?
            .transpose()
    }

    /// ICMP extensions: true if one of them is an MPLS label stack (class 1, RFC 4950).
    pub(super) fn extensions(&mut self, flag: u32) -> Result<Option<bool>, Reason> {
        self.value(flag, |values| {
            let length = values.u16()?;
            let mut objects = Cursor::new(values.take(usize::from(length))?);
            let mut has_labels = false;
            while !objects.rest().is_empty() {
                let length = objects.u16()?;
                let class = objects.u8()?;
                objects.u8()?; // type within the class
                objects.take(usize::from(length))?;
                has_labels |= class == 1;
            }
            Some(has_labels)
        })
    }
}
