//! Reports of browsers on requests that failed: Network Error Logging (W3C) by the Reporting API's `application/reports+json`.
//!
//! Anybody can send them. They are read for what they say of one address, and everything else in them, such as what the client
//! had asked for, is neither kept nor shown. Browsers take a site's word that it wants reports (headers `NEL` and `Report-To`), and send
//! them, only over `https` and for names: of sites that are redirected to by address over `http` only other programs report.

use std::net::SocketAddr;

use serde::Deserialize;

/// Media type of a body.
pub const REPORTS: &str = "application/reports+json";
/// Longest body, in octets.
pub const MAX_REPORTS_BYTES: usize = 16 * 1024;
/// Reports of one body that are looked at; more are left.
pub const MOST_REPORTS: usize = 32;
/// Older ones, milliseconds, say nothing of now.
const MAX_AGE_MS: u64 = 600_000;

/// A body is not a list of reports.
#[derive(Debug, thiserror::Error)]
pub enum ReportsError {
    /// Longer than [`MAX_REPORTS_BYTES`].
    #[error("{0} octets of reports, more than {MAX_REPORTS_BYTES}")]
    TooLarge(usize),
    /// Not the JSON of a list of reports.
    #[error("reading the JSON failed")]
    Json(#[source] serde_json::Error),
}

#[derive(Deserialize)]
struct Report {
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    age: u64,
    #[serde(default)]
    url: String,
    #[serde(default)]
    body: Body,
}

#[derive(Default, Deserialize)]
struct Body {
    #[serde(default)]
    server_ip: String,
    #[serde(default, rename = "type")]
    kind: String,
}

/// The servers that failed, one for each report of a failure; reports of other things, of successes and of requests that the client gave
/// up itself count for nothing. The address is the one that the report names, or that of its URL.
pub fn failed_servers(body: &[u8]) -> Result<Vec<SocketAddr>, ReportsError> {
    if body.len() > MAX_REPORTS_BYTES {
        return Err(ReportsError::TooLarge(body.len()));
    }
    let reports: Vec<Report> = serde_json::from_slice(body).map_err(ReportsError::Json)?;
    let failures = reports.iter().take(MOST_REPORTS).filter(|report| {
        report.kind == "network-error"
            && report.age <= MAX_AGE_MS
            && !matches!(report.body.kind.as_str(), "" | "ok" | "abandoned")
    });
    Ok(failures.filter_map(server).collect())
}

fn server(report: &Report) -> Option<SocketAddr> {
    let (scheme, rest) = report.url.split_once("://")?;
    let usual = match scheme {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    let authority = rest.split(['/', '?', '#']).next()?;
    if let Ok(address) = authority.parse() {
        return Some(address);
    }
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
        _ => (authority, usual),
    };
    let named = report.body.server_ip.as_str();
    let host = if named.is_empty() { host } else { named };
    let ip = host.trim_start_matches('[').trim_end_matches(']').parse();
    Some(SocketAddr::new(ip.ok()?, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(url: &str, server_ip: &str, kind: &str) -> String {
        format!(
            r#"{{"age":10,"type":"network-error","url":"{url}","user_agent":"x","body":{{"sampling_fraction":1.0,
            "referrer":"","server_ip":"{server_ip}","protocol":"h2","method":"GET","status_code":0,"elapsed_time":823,
            "phase":"connection","type":"{kind}"}}}}"#
        )
    }

    fn failed(reports: &[String]) -> Vec<String> {
        let body = format!("[{}]", reports.join(","));
        let servers = failed_servers(body.as_bytes()).unwrap();
        servers.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn failures_are_counted_by_server() {
        let of = |url, ip| failed(&[report(url, ip, "tcp.timed_out")]);
        assert_eq!(of("http://240.5.0.1:20000/a?b", ""), ["240.5.0.1:20000"]);
        assert_eq!(of("https://240.5.0.1/", ""), ["240.5.0.1:443"]);
        assert_eq!(
            of("https://a.example:8443/", "240.5.0.1"),
            ["240.5.0.1:8443"]
        );
        assert_eq!(of("https://a.example", "3fff::1"), ["[3fff::1]:443"]);
        assert_eq!(of("http://[3fff::1]:81/x", ""), ["[3fff::1]:81"]);
        assert_eq!(of("http://[3fff::1]/x", ""), ["[3fff::1]:80"]);
        for (url, ip) in [
            ("https://a.example/", ""),
            ("ftp://240.5.0.1/", ""),
            ("240.5.0.1:80", ""),
            ("http://a.example:x/", "240.5.0.1"),
            ("", "240.5.0.1"),
        ] {
            assert_eq!(of(url, ip), [""; 0], "{url} {ip}");
        }
    }

    #[test]
    fn other_reports_count_for_nothing() {
        let site = "http://240.5.0.1:20000/";
        let fine = report(site, "", "ok");
        let given_up = report(site, "", "abandoned");
        let old = report(site, "", "dns.unreachable").replace("\"age\":10", "\"age\":700000");
        let other = report(site, "", "x").replace("network-error", "deprecation");
        assert_eq!(
            failed(&[fine, given_up, old, other, "{}".to_owned()]),
            [""; 0]
        );
        let many = vec![report(site, "", "http.error"); 2 * MOST_REPORTS];
        let short: Vec<_> = many.iter().map(|text| text.replace(' ', "")).collect();
        assert!(failed(&short[..MOST_REPORTS + 8]).len() <= MOST_REPORTS);
    }

    #[test]
    fn what_is_no_list_of_reports_is_refused() {
        for body in ["", "{}", "[1]", "[{\"age\":-1}]", &"[".repeat(10_000)] {
            assert!(failed_servers(body.as_bytes()).is_err(), "{body:.20}");
        }
        let large = vec![b' '; MAX_REPORTS_BYTES + 1];
        assert!(matches!(
            failed_servers(&large),
            Err(ReportsError::TooLarge(_))
        ));
    }
}
