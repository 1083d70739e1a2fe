//! The zones that every authoritative server serves, each with what the server says and what discovery has to find.

use std::fmt::Write as _;

use crate::signing::{Signer, Signing};
use crate::zones::{Case, Delegation};

const KEY: &str = "\"v=1\" \"key=eip155:31337:0x00000000000000000000000000000000000000aa\"";
const NONE: [&str; 0] = [];

/// One entry point and its key.
const PLAIN: &str = "_edge._tcp IN SRV 10 10 8080 site\n\
     _edge._tcp IN TXT \"v=1\" \"key=eip155:31337:0x00000000000000000000000000000000000000aa\"\n\
     site IN A 240.99.%i.1\n";

/// All of them.
pub(crate) fn all() -> Vec<Case> {
    let mut all = honest();
    all.extend(aliases());
    all.extend(wildcards());
    all.extend(useless());
    all.push(inside());
    all.extend(names());
    all.extend(broken_servers());
    all.extend(signed());
    all
}

fn honest() -> Vec<Case> {
    vec![
        Case::new(
            "good",
            &format!(
                "_edge._tcp IN SRV 10 30 8080 site1\n_edge._tcp IN SRV 10 10 8443 site2\n_edge._tcp IN TXT {KEY}\n\
                 site1 IN A 240.99.%i.1\nsite1 IN AAAA 3fff:99::%i:1\nsite2 IN A 240.99.%i.2\n"
            ),
        )
        .says("_edge._tcp", "SRV", "NOERROR", ["SRV 10 30 8080 site1.@@.", "SRV 10 10 8443 site2.@@."])
        .says("site1", "AAAA", "NOERROR", ["AAAA 3fff:99::%i:1"])
        .says("_t0ken._tcp", "SRV", "NXDOMAIN", NONE)
        .gives([
            "site1.@@:8080 candidate 240.99.%i.1 3fff:99::%i:1 key",
            "site2.@@:8443 candidate 240.99.%i.2 key",
        ]),
        Case::new("six", "_edge._tcp IN SRV 0 0 80 site\nsite IN AAAA 3fff:99::%i:2\n")
            .says("site", "A", "NOERROR", NONE)
            .says("site", "AAAA", "NOERROR", ["AAAA 3fff:99::%i:2"])
            .gives(["site.@@:80 candidate 3fff:99::%i:2"]),
        Case::new(
            "mixed",
            "_EDGE._Tcp IN SRV 0 0 80 SITE.MiXeD-%s.ExAmPlE.\nsItE IN A 240.99.%i.3\n",
        )
        .routers(&["R1.MIXED-%s.EXAMPLE."])
        .says("_edge._tcp", "SRV", "NOERROR", ["SRV 0 0 80 site.@@."])
        .gives(["site.@@:80 candidate 240.99.%i.3"]),
        many_targets(),
        Case::new("huge", &format!("{}_edge._tcp IN TXT {KEY}\n", huge_texts()))
            .says("_edge._tcp", "SRV", "NOERROR", ["SRV 0 0 80 site.@@."])
            .gives(["site.@@:80 candidate 240.99.%i.4 key"]),
        Case::new(
            "twokeys",
            &format!(
                "_edge._tcp IN SRV 0 0 80 site\nsite IN A 240.99.%i.5\n_edge._tcp IN TXT {KEY}\n\
                 _edge._tcp IN TXT \"v=1 key=eip155:1:0x00000000000000000000000000000000000000bb\"\n"
            ),
        )
        .gives(["site.@@:80 candidate 240.99.%i.5"]),
        Case::new("several", PLAIN)
            .routers(&["r1.@@. r2.@@. r3.pop.@@."])
            .gives(["pop.@@ none", "site.@@:8080 candidate 240.99.%i.1 key"]),
        Case::new("classless", &format!("{PLAIN}ptr IN PTR r1.@@.\n"))
            .routers(&["CNAME ptr.@@."])
            .says("ptr", "PTR", "NOERROR", ["PTR r1.@@."])
            .gives(["site.@@:8080 candidate 240.99.%i.1 key"]),
    ]
}

/// More than a datagram holds.
fn many_targets() -> Case {
    let (mut records, mut said, mut found) = (String::new(), Vec::new(), Vec::new());
    for n in 1..=50 {
        let _infallible = write!(
            records,
            "_edge._tcp IN SRV 10 {n} 8080 a-rather-long-host-name-{n}\na-rather-long-host-name-{n} IN A 240.99.%i.{n}\n"
        );
        said.push(format!("SRV 10 {n} 8080 a-rather-long-host-name-{n}.@@."));
        found.push(format!(
            "a-rather-long-host-name-{n}.@@:8080 candidate 240.99.%i.{n}"
        ));
    }
    Case::new("many", &records)
        .says("_edge._tcp", "SRV", "NOERROR", said)
        .gives(found)
}

/// Some 24 kB of text beside the entry point, and a record that would be a key were it not far too long.
fn huge_texts() -> String {
    let string = format!(" \"{}\"", "x".repeat(250));
    let long = string.repeat(48);
    format!(
        "_edge._tcp IN SRV 0 0 80 site\nsite IN A 240.99.%i.4\n_edge._tcp IN TXT{long}\n\
         _edge._tcp IN TXT \"v=1 key=eip155:1:0x00000000000000000000000000000000000000bb\"{long}\n"
    )
}

fn aliases() -> Vec<Case> {
    let chain: String = (1..=10).fold(String::new(), |mut chain, n| {
        let _infallible = writeln!(chain, "c{n} IN CNAME c{}", n + 1);
        chain
    });
    vec![
        Case::new(
            "alias",
            "_edge._tcp IN SRV 0 0 80 one\none IN CNAME two\ntwo IN CNAME site\nsite IN A 240.99.%i.6\n",
        )
        .says("one", "A", "NOERROR", ["CNAME two.@@.", "CNAME site.@@.", "A 240.99.%i.6"])
        .gives(["one.@@:80 candidate 240.99.%i.6"]),
        Case::new("borrowed", "_edge._tcp IN CNAME _edge._tcp.good-%s.example.\n").gives([
            "site1.good-%s.example:8080 candidate 240.99.%i.1 3fff:99::%i:1 key",
            "site2.good-%s.example:8443 candidate 240.99.%i.2 key",
        ]),
        Case::new(
            "dname",
            "_edge._tcp IN SRV 0 0 80 site.old\nold IN DNAME new\nsite.new IN A 240.99.%i.7\n",
        )
        .says("site.old", "A", "NOERROR", ["DNAME new.@@.", "CNAME site.new.@@.", "A 240.99.%i.7"])
        .gives(["site.old.@@:80 candidate 240.99.%i.7"]),
        Case::new(
            "chain",
            &format!("_edge._tcp IN SRV 0 0 80 c1\n{chain}c11 IN A 240.99.%i.8\n"),
        )
        .says("c10", "A", "NOERROR", ["CNAME c11.@@.", "A 240.99.%i.8"])
        .gives(["c1.@@:80 refused NoAddress"]),
        Case::new("loop", "_edge._tcp IN SRV 0 0 80 l1\nl1 IN CNAME l2\nl2 IN CNAME l1\n")
            .gives(["l1.@@:80 refused NoAddress"]),
        Case::new("round", "_edge._tcp IN CNAME _edge._tcp\n")
            .gives(["@@ unanswered"]),
    ]
}

fn wildcards() -> Vec<Case> {
    vec![
        Case::new("wild", "*._tcp IN SRV 0 0 80 site\nsite IN A 240.99.%i.9\n")
            .says("_edge._tcp", "SRV", "NOERROR", ["SRV 0 0 80 site.@@."])
            .says("_t0ken._tcp", "SRV", "NOERROR", ["SRV 0 0 80 site.@@."])
            .gives(["site.@@:80 refused Wildcard"]),
        Case::new("wildest", "* IN SRV 0 0 80 site\n* IN TXT \"x\"\nsite IN A 240.99.%i.9\n")
            .says("_t0ken._tcp", "SRV", "NOERROR", ["SRV 0 0 80 site.@@."])
            .gives(["site.@@:80 refused Wildcard"]),
        Case::new(
            "meant",
            "*._tcp IN SRV 0 0 80 parking\n_edge._tcp IN SRV 0 0 80 site\nparking IN A 240.99.%i.10\nsite IN A 240.99.%i.11\n",
        )
        .says("_edge._tcp", "SRV", "NOERROR", ["SRV 0 0 80 site.@@."])
        .says("_t0ken._tcp", "SRV", "NOERROR", ["SRV 0 0 80 parking.@@."])
        .gives(["site.@@:80 candidate 240.99.%i.11"]),
        // A wildcard at the apex does not speak for names below `_tcp` where that exists.
        Case::new(
            "tcp",
            "* IN SRV 0 0 80 parking\n_http._tcp IN SRV 0 0 80 web\nparking IN A 240.99.%i.12\nweb IN A 240.99.%i.13\n",
        )
        .says("_edge._tcp", "SRV", "NXDOMAIN", NONE)
        .gives(["@@ none"]),
    ]
}

fn useless() -> Vec<Case> {
    vec![
        Case::new("absent", "www IN A 240.99.%i.14\n")
            .says("_edge._tcp", "SRV", "NXDOMAIN", NONE)
            .gives(["@@ none"]),
        Case::new("nodata", &format!("_edge._tcp IN TXT {KEY}\n"))
            .says("_edge._tcp", "SRV", "NOERROR", NONE)
            .gives(["@@ none"]),
        Case::new("denied", "_edge._tcp IN SRV 0 0 0 .\n")
            .says("_edge._tcp", "SRV", "NOERROR", ["SRV 0 0 0 ."])
            .gives([".:0 refused NotAvailable"]),
        Case::new(
            "port",
            "_edge._tcp IN SRV 0 0 0 site\nsite IN A 240.99.%i.15\n",
        )
        .says("_edge._tcp", "SRV", "NOERROR", ["SRV 0 0 0 site.@@."])
        .gives(["site.@@:0 refused PortZero"]),
        Case::new(
            "homeless",
            "_edge._tcp IN SRV 0 0 80 site\nsite IN TXT \"x\"\n",
        )
        .says("site", "A", "NOERROR", NONE)
        .gives(["site.@@:80 refused NoAddress"]),
        Case::new(
            "idn",
            "_edge._tcp IN SRV 0 0 80 xn--bcher-kva\n_edge._tcp IN SRV 0 0 80 b\\195\\188cher\n\
             xn--bcher-kva IN A 240.99.%i.16\nb\\195\\188cher IN A 240.99.%i.17\n",
        )
        .says(
            "_edge._tcp",
            "SRV",
            "NOERROR",
            [
                "SRV 0 0 80 xn--bcher-kva.@@.",
                "SRV 0 0 80 b\\195\\188cher.@@.",
            ],
        )
        .gives([
            "?:80 refused UnacceptableTarget",
            "xn--bcher-kva.@@:80 candidate 240.99.%i.16",
        ]),
    ]
}

/// Targets at addresses that must not be contacted.
fn inside() -> Case {
    let addresses = [
        ("127.0.0.1", "loopback"),
        ("10.0.0.1", "private"),
        ("172.16.0.1", "private"),
        ("192.168.1.1", "private"),
        ("169.254.169.254", "link-local"),
        ("100.64.0.1", "shared address space"),
        ("0.0.0.0", "this network"),
        ("224.0.0.1", "multicast"),
        ("255.255.255.255", "broadcast"),
        ("192.0.2.1", "documentation"),
        ("::1", "loopback"),
        ("::ffff:127.0.0.1", "loopback"),
        ("64:ff9b::a9fe:a9fe", "link-local"),
        ("64:ff9b:1::a00:1", "private"),
        ("2002:7f00:1::1", "loopback"),
        ("fe80::1", "link-local"),
        ("fd00:ec2::254", "unique local"),
        ("ff02::1", "multicast"),
        ("2001:db8::1", "documentation"),
    ];
    let mut records =
        "_edge._tcp IN SRV 0 0 80 both\nboth IN A 127.0.0.1\nboth IN A 240.99.%i.18\n".to_owned();
    let mut outcome = vec!["both.@@:80 candidate 240.99.%i.18, 127.0.0.1 is loopback".to_owned()];
    for (n, (address, kind)) in addresses.into_iter().enumerate() {
        let family = if address.contains(':') { "AAAA" } else { "A" };
        let _infallible = write!(
            records,
            "_edge._tcp IN SRV 0 0 80 h{n}\nh{n} IN {family} {address}\n"
        );
        outcome.push(format!(
            "h{n}.@@:80 refused NoAllowedAddress, {address} is {kind}"
        ));
    }
    Case::new("inside", &records)
        .says("h0", "A", "NOERROR", ["A 127.0.0.1"])
        .says("h11", "AAAA", "NOERROR", ["AAAA ::ffff:127.0.0.1"])
        .gives(outcome)
}

/// Names of routers that lead nowhere.
fn names() -> Vec<Case> {
    vec![
        Case::new("names", "")
            .routers(&[
                "10.1.2.3.",
                "localhost.",
                "a\\.b.@@.",
                "host\\032name.@@.",
                ".",
                "_dmarc.@@.",
                "router.",
                "co.uk.",
                "gw.home.local.",
                "1.2.0.240.in-addr.arpa.",
                "-bad.@@.",
                "",
            ])
            .gives([
                // Where but a router's own labels are odd, the rest tells whose it is.
                "@@ none",
                "router 1 refused NumericTop",
                "router 2 refused SpecialTop",
                "router 5 refused NotAHostName",
                "router 6 refused ServiceLabel",
                "router 7 refused SingleLabel",
                "router 8 refused PublicSuffix",
                "router 9 refused SpecialTop",
                "router 10 refused SpecialTop",
                "router 12 none",
            ]),
        // As real networks call their routers. The zone's first "none" says that no zone starts in between.
        Case::new("isp", PLAIN)
            .routers(&[
                "ae-7.r21.frnkge13.de.bb.@@.",
                "be3187.ccr42.lon13.atlas.@@.",
                "xe-1-0-2.cr0-tky1.@@.",
                "et-0-0-55-0.edge4.nyc2.us.@@.",
                "ip-240-15-3-1.static.@@.",
                "unassigned-9.@@.",
                "hundredgige0-3-0-1.nyktr2.-.@@.",
                "wnpg-gr01_0/4/0.net.@@.",
                "tcore1\\032_be6.pop3.net.@@.",
                "Te-0-1-0.CORE_1.col.@@.",
                "190.208.9.86.@@.",
                "15.3.15.240.-rev.@@.",
            ])
            .gives([
                "208.9.86.@@ none",
                "ccr42.lon13.atlas.@@ none",
                "core_1.col.@@ none",
                "cr0-tky1.@@ none",
                "edge4.nyc2.us.@@ none",
                "net.@@ none",
                "pop3.net.@@ none",
                "r21.frnkge13.de.bb.@@ none",
                "router 6 refused Template",
                "site.@@:8080 candidate 240.99.%i.1 key",
                "static.@@ none",
            ]),
    ]
}

fn broken_servers() -> Vec<Case> {
    vec![
        Case::new("lame", PLAIN)
            .delegated(Delegation::Lame)
            .gives(["@@ unanswered"]),
        Case::new("halflame", PLAIN)
            .delegated(Delegation::HalfLame)
            .gives(["site.@@:8080 candidate 240.99.%i.1 key"]),
        Case::new("dead", PLAIN)
            .delegated(Delegation::Dead)
            .gives(["@@ unanswered"]),
        Case::new("nsinside", PLAIN)
            .delegated(Delegation::Inside)
            .gives(["@@ unanswered"]),
    ]
}

fn signed() -> Vec<Case> {
    let proven = "site.@@:8080 candidate 240.99.%i.1 secure key";
    let unproven = "site.@@:8080 candidate 240.99.%i.1 key";
    let case =
        |name, signing, outcome: &str| Case::new(name, PLAIN).signed(signing).gives([outcome]);
    vec![
        case("secure", Signing::Good, proven),
        case("hashed", Signing::Hashed, proven),
        case("bindrsa", Signing::By(Signer::BindRsa), proven),
        case("ldnsrsa", Signing::By(Signer::LdnsRsaHashed), proven),
        case("ldnsp384", Signing::By(Signer::LdnsP384), proven),
        case("knoted", Signing::By(Signer::KnotEd25519), proven),
        case("knothash", Signing::By(Signer::KnotHashed), proven),
        case("own", Signing::Own, proven),
        // Nothing but the denials of those who sign.
        Case::new("ownnone", "www IN A 240.99.%i.14\n")
            .signed(Signing::Own)
            .says("_edge._tcp", "SRV", "NXDOMAIN", NONE)
            .gives(["@@ none"]),
        case("nods", Signing::NoDs, unproven),
        case("expired", Signing::Expired, "@@ bogus"),
        case("wrongkey", Signing::WrongKey, "@@ bogus"),
        case("stripped", Signing::Stripped, "@@ bogus"),
        case("forged", Signing::Forged, "@@ bogus"),
        Case::new(
            "sigwild",
            "*._tcp IN SRV 0 0 80 site\nsite IN A 240.99.%i.9\n",
        )
        .signed(Signing::Good)
        .gives(["site.@@:80 refused Wildcard"]),
        Case::new("signone", "www IN A 240.99.%i.14\n")
            .signed(Signing::Hashed)
            .gives(["@@ none"]),
    ]
}
