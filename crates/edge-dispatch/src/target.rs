//! The part of a redirect's location that comes from the client.

use std::net::SocketAddr;

/// Longest path and query that is carried over, in octets. 8000 is what RFC 9112 section 3 asks of servers at least.
pub const MAX_TARGET_OCTETS: usize = 8000;

/// Why a request target is not carried over into a location.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum TargetError {
    /// It is not an absolute path (RFC 9112 section 3.2.1): the absolute, authority and asterisk forms end here too.
    #[error("the request target is not an absolute path")]
    NotAbsolutePath,
    /// It is too long.
    #[error("the request target has {octets} octets, more than {MAX_TARGET_OCTETS}")]
    TooLong {
        /// Its length.
        octets: usize,
    },
    /// It has an octet that no URI has (RFC 3986 section 2), such as CR, LF, a space or a backslash.
    #[error("octet {octet:#04x} at {at} of the request target is in no URI")]
    ForbiddenOctet {
        /// The octet.
        octet: u8,
        /// Its place, from 0.
        at: usize,
    },
}

/// Checks that a request's path and query can stand in a `Location` header as they are.
pub fn check_target(path_and_query: &str) -> Result<(), TargetError> {
    let octets = path_and_query.as_bytes();
    if octets.len() > MAX_TARGET_OCTETS {
        return Err(TargetError::TooLong {
            octets: octets.len(),
        });
    }
    if octets.first() != Some(&b'/') {
        return Err(TargetError::NotAbsolutePath);
    }
    match octets.iter().position(|octet| !may_stand(*octet)) {
        Some(at) => Err(TargetError::ForbiddenOctet {
            octet: octets[at],
            at,
        }),
        None => Ok(()),
    }
}

/// The absolute URL of the same resource at a site. The authority is the table's address and nothing else: since the
/// path starts with `/`, nothing in it can reach into the authority.
pub fn location(site: SocketAddr, path_and_query: &str) -> Result<String, TargetError> {
    check_target(path_and_query)?;
    Ok(if site.port() == 80 {
        match site {
            SocketAddr::V4(v4) => format!("http://{}{path_and_query}", v4.ip()),
            SocketAddr::V6(v6) => format!("http://[{}]{path_and_query}", v6.ip()),
        }
    } else {
        match site {
            SocketAddr::V4(v4) => format!("http://{v4}{path_and_query}"),
            SocketAddr::V6(v6) => format!("http://[{}]:{}{path_and_query}", v6.ip(), v6.port()),
        }
    })
}

/// Characters of a path and query: unreserved, sub-delims, percent, and `:@/?` (RFC 3986 sections 3.3 and 3.4), with
/// the few more that browsers send unescaped in queries and that do no harm in a header.
const fn may_stand(octet: u8) -> bool {
    octet.is_ascii_alphanumeric()
        || matches!(
            octet,
            b'-' | b'.'
                | b'_'
                | b'~'
                | b'!'
                | b'$'
                | b'&'
                | b'\''
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b','
                | b';'
                | b'='
                | b'%'
                | b':'
                | b'@'
                | b'/'
                | b'?'
                | b'['
                | b']'
                | b'|'
                | b'^'
                | b'`'
                | b'{'
                | b'}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_and_query_are_kept_as_they_are() {
        for (site, path, expected) in [
            ("240.5.0.1:8080", "/", "http://240.5.0.1:8080/"),
            (
                "240.5.0.1:80",
                "/a%20b?c=d&e=%0d%0a",
                "http://240.5.0.1/a%20b?c=d&e=%0d%0a",
            ),
            (
                "[3fff::1]:8080",
                "//evil.example/@x",
                "http://[3fff::1]:8080//evil.example/@x",
            ),
            ("[3fff::1]:80", "/x", "http://[3fff::1]/x"),
        ] {
            assert_eq!(
                location(site.parse().unwrap(), path).as_deref(),
                Ok(expected)
            );
        }
    }

    #[test]
    fn what_cannot_stand_in_a_header_is_refused() {
        let forbidden = |octet, at| TargetError::ForbiddenOctet { octet, at };
        for (path, error) in [
            ("", TargetError::NotAbsolutePath),
            ("*", TargetError::NotAbsolutePath),
            ("http://evil.example/", TargetError::NotAbsolutePath),
            ("@evil.example/", TargetError::NotAbsolutePath),
            ("/a\r\nSet-Cookie: b", forbidden(b'\r', 2)),
            ("/a\nb", forbidden(b'\n', 2)),
            ("/a b", forbidden(b' ', 2)),
            ("/a\\b", forbidden(b'\\', 2)),
            ("/#fragment", forbidden(b'#', 1)),
            ("/\u{e4}", forbidden(0xc3, 1)),
            ("/\0", forbidden(0, 1)),
        ] {
            assert_eq!(check_target(path), Err(error), "{path:?}");
        }
        let octets = MAX_TARGET_OCTETS + 1;
        assert_eq!(
            check_target(&"/".repeat(octets)),
            Err(TargetError::TooLong { octets })
        );
    }
}
