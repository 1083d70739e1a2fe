//! What ICMP errors carry behind the quote (RFC 4884): MPLS label stacks (RFC 4950).

use crate::checksum;

/// Length of a quote without a length field before extensions, as routers wrote them before RFC 4884 (its section 5.5).
const OLD_QUOTE: usize = 128;

/// The objects of an extension structure; none if there is no structure or it is mangled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extensions<'a>(&'a [u8]);

/// One entry of the label stack with which the packet arrived at the router, the outermost first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MplsLabel {
    /// Label, 20 bits.
    pub label: u32,
    /// Traffic class, 3 bits.
    pub class: u8,
    /// Is it the innermost?
    pub is_bottom: bool,
    /// Its TTL.
    pub ttl: u8,
}

impl<'a> Extensions<'a> {
    /// Splits what follows the 8 bytes of the ICMP header into quote and extensions. `quote_len` is what the header says,
    /// 0 if nothing. A length beyond the end is not believed.
    pub(crate) fn split(body: &'a [u8], quote_len: usize) -> (&'a [u8], Self) {
        if quote_len > 0 {
            return match body.split_at_checked(quote_len) {
                Some((quote, rest)) => (quote, Self::read(rest, true).unwrap_or_default()),
                None => (body, Self::default()),
            };
        }
        body.split_at_checked(OLD_QUOTE)
            .and_then(|(quote, rest)| Some((quote, Self::read(rest, false)?)))
            .unwrap_or((body, Self::default()))
    }

    /// Reads a structure. Its checksum may be missing only where its place was told.
    fn read(structure: &'a [u8], may_lack_checksum: bool) -> Option<Self> {
        let (header, objects) = structure.split_first_chunk::<4>()?;
        let is_unchecked = may_lack_checksum && header[2..] == [0, 0];
        let is_whole = header[0] >> 4 == 2 && (is_unchecked || checksum::of(structure) == 0);
        is_whole.then_some(Self(objects))
    }

    /// Class, type and payload of each object, up to the first that is mangled.
    fn objects(self) -> impl Iterator<Item = (u8, u8, &'a [u8])> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let [high, low, class, kind] = *rest.first_chunk()?;
            let length = usize::from(u16::from_be_bytes([high, low]));
            let payload = rest.get(4..length)?;
            rest = &rest[length..];
            Some((class, kind, payload))
        })
    }

    /// The MPLS label stack, outermost first.
    pub fn mpls(self) -> impl Iterator<Item = MplsLabel> + use<'a> {
        self.objects()
            .filter(|(class, kind, _)| (*class, *kind) == (1, 1))
            .flat_map(|(_, _, payload)| payload.chunks_exact(4))
            .map(|entry| MplsLabel {
                label: u32::from(entry[0]) << 12
                    | u32::from(entry[1]) << 4
                    | u32::from(entry[2] >> 4),
                class: entry[2] >> 1 & 7,
                is_bottom: entry[2] & 1 == 1,
                ttl: entry[3],
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Another object, then a stack of two labels.
    const OBJECTS: [u8; 20] = [
        0, 8, 2, 1, 9, 9, 9, 9, 0, 12, 1, 1, 0x12, 0x34, 0x5a, 7, 0, 0, 0x11, 255,
    ];

    fn structure(with_checksum: bool) -> Vec<u8> {
        let mut structure = vec![0x20, 0, 0, 0];
        structure.extend(OBJECTS);
        if with_checksum {
            let sum = checksum::of(&structure);
            structure[2..4].copy_from_slice(&sum.to_be_bytes());
        }
        structure
    }

    fn labels(extensions: Extensions<'_>) -> Vec<u32> {
        extensions.mpls().map(|label| label.label).collect()
    }

    #[test]
    fn the_stack_is_read_from_behind_the_quote() {
        let body = [vec![1; 32], structure(false)].concat();
        let (quote, extensions) = Extensions::split(&body, 32);
        assert_eq!(quote.len(), 32);
        let stack: Vec<_> = extensions.mpls().collect();
        let outer = MplsLabel {
            label: 0x12345,
            class: 5,
            is_bottom: false,
            ttl: 7,
        };
        assert_eq!(stack[0], outer);
        assert_eq!(
            (stack[1].label, stack[1].is_bottom, stack.len()),
            (1, true, 2)
        );
    }

    #[test]
    fn without_a_length_only_a_checksum_tells_extensions_from_quote() {
        let body = [vec![1; 128], structure(true)].concat();
        let (quote, extensions) = Extensions::split(&body, 0);
        assert_eq!((quote.len(), labels(extensions)), (128, vec![0x12345, 1]));
        let body = [vec![1; 128], structure(false)].concat();
        let (quote, extensions) = Extensions::split(&body, 0);
        assert_eq!((quote.len(), labels(extensions)), (body.len(), vec![]));
    }

    #[test]
    fn what_is_mangled_tells_nothing() {
        let mut wrong = structure(true);
        wrong[2] ^= 1;
        assert_eq!(labels(Extensions::split(&wrong_body(&wrong), 32).1), [0; 0]);
        let mut long = structure(false);
        long[13] = 200; // the object of labels claims to go on
        assert_eq!(labels(Extensions::split(&wrong_body(&long), 32).1), [0; 0]);
        let mut none = structure(false);
        none[5] = 0; // an object shorter than its own header
        assert_eq!(labels(Extensions::split(&wrong_body(&none), 32).1), [0; 0]);
        assert_eq!(Extensions::split(&[1; 8], 32).0.len(), 8);
    }

    fn wrong_body(structure: &[u8]) -> Vec<u8> {
        [&[1; 32], structure].concat()
    }
}
