//! The loop guard: how a site marks the clients that it sends back to the cloud.
//!
//! A client that follows a redirect adds no header of its own, so the mark is a part of the query. A request with the mark
//! is served by the cloud, whatever the table says; otherwise a client could go in circles between a site that drains
//! and a table that does not know yet.

/// The mark, as a part of the query.
pub const RETURN_MARK: &str = "exec-edge-return=1";

/// Was the client sent back by a site?
pub fn is_returning(path_and_query: &str) -> bool {
    query_parts(path_and_query).any(|part| part == RETURN_MARK)
}

/// The target with the mark, once.
pub fn mark_returning(path_and_query: &str) -> String {
    if is_returning(path_and_query) {
        return path_and_query.to_owned();
    }
    let joint = if path_and_query.contains('?') {
        '&'
    } else {
        '?'
    };
    format!("{path_and_query}{joint}{RETURN_MARK}")
}

/// The target as it was before [`mark_returning`], for the application.
pub fn strip_return_mark(path_and_query: &str) -> String {
    if !is_returning(path_and_query) {
        return path_and_query.to_owned();
    }
    let path = path_and_query.split('?').next().unwrap_or_default();
    let kept: Vec<&str> = query_parts(path_and_query)
        .filter(|part| *part != RETURN_MARK)
        .collect();
    if kept.is_empty() {
        path.to_owned()
    } else {
        format!("{path}?{}", kept.join("&"))
    }
}

fn query_parts(path_and_query: &str) -> impl Iterator<Item = &str> {
    path_and_query
        .split_once('?')
        .into_iter()
        .flat_map(|(_, query)| query.split('&'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mark_and_strip_are_inverse() {
        for (plain, marked) in [
            ("/", "/?exec-edge-return=1"),
            ("/a?b=c", "/a?b=c&exec-edge-return=1"),
            ("/a?b=c&&d", "/a?b=c&&d&exec-edge-return=1"),
        ] {
            assert!(!is_returning(plain));
            assert_eq!(mark_returning(plain), marked);
            assert!(is_returning(marked));
            assert_eq!(mark_returning(marked), marked, "marked once");
            assert_eq!(strip_return_mark(marked), plain);
            assert_eq!(strip_return_mark(plain), plain);
        }
        assert!(!is_returning("/exec-edge-return=1"), "only in the query");
        assert!(!is_returning("/?x=exec-edge-return=1"));
    }
}
