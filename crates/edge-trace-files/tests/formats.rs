//! Samples of each format, and what they come to.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "support/warts.rs"]
mod warts;

use edge_trace_files::{Format, Import, Limits, Method, Place, read};
use edge_types::{Hop, HopReply, PathEnd, PathObservation, UtcTime};

fn import(format: Format, bytes: impl AsRef<[u8]>) -> Import {
    read(bytes.as_ref(), Some(format), &Limits::default()).unwrap()
}

fn reply(reply: &HopReply) -> String {
    let rtt = reply.rtt.map_or_else(String::new, |rtt| {
        format!("={}", rtt.0.as_nanos() as f64 / 1e6)
    });
    let shared = if reply.shared { " shared" } else { "" };
    let in_tunnel = if reply.in_tunnel { " tunnel" } else { "" };
    let ttl = reply
        .reply_ttl
        .map_or_else(String::new, |ttl| format!(" ttl {ttl}"));
    format!("{}{rtt}{shared}{in_tunnel}{ttl}", reply.address)
}

/// A path in one line: target, hops, further replies after a bar, end, probes.
fn shown(path: &PathObservation) -> String {
    let hops: Vec<String> = path
        .hops
        .iter()
        .map(|hop| match hop {
            Hop::Reply(first) => reply(first),
            Hop::NoReply => "*".to_owned(),
        })
        .collect();
    let further: Vec<String> = path
        .further
        .iter()
        .map(|(ttl, other)| format!("{ttl}:{}", reply(other)))
        .collect();
    let bar = if further.is_empty() { "" } else { " | " };
    format!(
        "{}: {}{bar}{} -> {:?}, {} probes",
        path.target,
        hops.join(", "),
        further.join(", "),
        path.end,
        path.probes_sent
    )
}

fn paths(import: &Import) -> Vec<String> {
    import
        .records
        .iter()
        .map(|record| shown(&record.path))
        .collect()
}

/// Every problem by its text.
fn problems(import: &Import) -> Vec<String> {
    import.log.first.iter().map(ToString::to_string).collect()
}

#[track_caller]
fn check(format: Format, bytes: impl AsRef<[u8]>, expected: &[&str], told: &[&str]) -> Import {
    let import = import(format, bytes);
    assert_eq!(paths(&import), expected);
    assert_eq!(problems(&import), told);
    assert_eq!(import.log.paths, expected.len() as u64);
    let log = &import.log;
    assert_eq!(
        log.records,
        log.paths + log.skipped + log.lost,
        "every record is one of these"
    );
    assert_eq!(log.lost + log.left_out, log.by_reason.values().sum::<u64>());
    import
}

#[test]
fn our_lines_are_read() {
    let import = check(
        Format::JsonLines,
        "{\"target\":\"240.0.9.1\",\"reached\":true,\"end\":\"reached\",\"hops\":[\
         {\"ttl\":1,\"addr\":\"240.1.0.1\",\"rtt_ms\":0.5,\"shared\":true,\"in_tunnel\":false},\
         {\"ttl\":2,\"addr\":null,\"rtt_ms\":null},{\"ttl\":3,\"addr\":\"240.0.9.1\",\"in_tunnel\":true}],\
         \"further\":[{\"ttl\":1,\"addr\":\"240.1.0.2\",\"rtt_ms\":2}],\"probes\":9,\"ended_utc_s\":1790000000,\
         \"method\":\"udp-paris\",\"dport\":33434}\n\
         {\"target\":\"3fff::1\",\"end\":\"unreachable\",\"unreachable_code\":1,\"hops\":[{\"ttl\":1,\"addr\":\"3fff::2\"}]}\n\
         \n\
         {\"target\":\"240.0.9.1\",\"end\":\"reached\",\"hops\":[]}\n\
         {\"target\":\"240.0.9.1\",\"end\":\"bored\",\"hops\":[]}\n\
         {\"target\":\"240.0.9.1\",\"end\":\"silent\",\"hops\":[{\"ttl\":2}]}\n\
         {\"target\":\"240.0.9.1\",\"end\":\"silent\",\n",
        &[
            "240.0.9.1: 240.1.0.1=0.5 shared, *, 240.0.9.1 tunnel | 1:240.1.0.2=2 -> Reached, 9 probes",
            "3fff::1: 3fff::2 -> Unreachable(1), 0 probes",
        ],
        &[
            "line 4, record 3: reached: \"true\" makes no sense",
            "line 5, record 4: end: \"bored\" makes no sense",
            "line 6, record 5: hops.ttl: \"2\" makes no sense",
            "line 7, record 6: EOF while parsing a value at line 1 column 37",
        ],
    );
    let details = import.records[0].details;
    assert_eq!(details.ended, Some(UtcTime(1_790_000_000)));
    assert_eq!(details.method, Some(Method::UdpParis));
    let path = import.records[0].clone().since(UtcTime(1_789_999_990));
    assert_eq!(path.observed_at.0.as_secs(), 10);
}

#[test]
fn scampers_json_is_read() {
    let import = check(
        Format::ScamperJson,
        r#"{"type":"cycle-start", "list_name":"default", "id":0, "hostname":"vm", "start_time":1795645484}
{"type":"trace","version":"0.1", "userid":0, "method":"udp-paris", "src":"240.0.0.10", "dst":"240.0.9.1", "sport":40000, "dport":33434, "stop_reason":"COMPLETED", "stop_data":0, "start":{"sec":1790000000, "usec":6, "ftime":"2026-09-21 13:33:20"}, "hop_count":3, "attempts":2, "hoplimit":0, "probe_count":5, "hops":[{"addr":"240.1.0.1", "probe_ttl":1, "probe_id":1, "probe_size":44, "tx":{"sec":1, "usec":2}, "rtt":0.500, "reply_ttl":64, "icmp_type":11, "icmp_code":0, "icmpext":[{"ie_cn":1,"ie_ct":1,"ie_dl":4,"mpls_labels":[{"mpls_ttl":1,"mpls_s":1,"mpls_exp":0,"mpls_label":16}]}]},{"addr":"240.1.0.2", "probe_ttl":1, "probe_id":2, "rtt":0.250, "icmp_type":11, "icmp_code":0},{"addr":"240.0.9.1", "probe_ttl":3, "probe_id":1, "rtt":7.125, "icmp_type":3, "icmp_code":3}]}
{"type":"trace","version":"0.1", "method":"icmp-echo", "dst":"240.0.9.2", "stop_reason":"UNREACH", "hop_count":2, "hops":[{"addr":"240.1.0.1", "probe_ttl":2, "rtt":1, "icmp_type":3, "icmp_code":13}]}
{"type":"trace","version":"0.1", "dst":"240.0.9.3", "stop_reason":"GAPLIMIT", "hop_count":4, "hops":[{"addr":"240.1.0.1", "probe_ttl":1, "rtt":1}]}
{"type":"trace","version":"0.1", "dst":"240.0.9.4", "stop_reason":"NONE", "hop_count":0}
{"type":"trace","version":"0.1", "dst":"240.0.9.5", "stop_reason":"GSS", "hop_count":1, "hops":[{"addr":"240.1.0.1", "probe_ttl":1, "rtt":4294967.097}]}
{"type":"trace","version":"0.1", "dst":"240.0.9.6", "stop_reason":"COMPLETED", "hop_count":1, "hops":[{"addr":"240.0.9.6", "probe_ttl":256, "rtt":4}]}
{"type":"trace","version":"0.1", "stop_reason":"NONE"}
"#,
        &[
            "240.0.9.1: 240.1.0.1=0.5 tunnel ttl 64, *, 240.0.9.1=7.125 | 1:240.1.0.2=0.25 -> Reached, 5 probes",
            "240.0.9.2: *, 240.1.0.1=1 -> Unreachable(13), 0 probes",
            "240.0.9.3: 240.1.0.1=1, *, *, * -> Silent, 0 probes",
            "240.0.9.4:  -> Silent, 0 probes",
            "240.0.9.5: 240.1.0.1 -> TimedOut, 0 probes",
        ],
        &[
            "line 6, record 6: a round trip at TTL 1 makes no sense (left out)",
            "line 7, record 7: ttl: \"256\" makes no sense",
            "line 8, record 8: missing field `dst` at line 1 column 54",
        ],
    );
    let details = import.records[0].details;
    assert_eq!(details.started, Some(UtcTime(1_790_000_000)));
    assert_eq!(
        (details.source_port, details.destination_port),
        (Some(40_000), Some(33_434))
    );
    assert_eq!(import.log.skipped, 1);
}

#[test]
fn warts_are_read() {
    let unknown = warts::object(77, b"what is new");
    let bytes = [
        warts::list_and_cycle(),
        warts::sample_trace(),
        unknown,
        warts::sample_numbered(),
    ]
    .concat();
    let import = check(
        Format::Warts,
        &bytes,
        &[
            "240.0.9.1: 240.1.0.1=1.25, *, 240.1.3.1=9 tunnel, 240.0.9.1=12.345 | 1:240.1.0.1=1.5 -> Reached, 6 probes",
            "240.0.9.1: 240.1.0.1=0.7 -> Unreachable(13), 0 probes",
        ],
        &[],
    );
    assert_eq!(import.log.skipped, 6);
    let [first, second] = [0, 1].map(|index| import.records[index].details);
    assert_eq!(first.source, Some("240.0.0.10".parse().unwrap()));
    assert_eq!(
        (first.source_port, first.destination_port),
        (Some(40_000), Some(33_434))
    );
    assert_eq!(first.started, Some(UtcTime(0x6b07_602c)));
    // The fields of ports hold other things in ICMP.
    assert_eq!(
        (second.method, second.source_port),
        (Some(Method::IcmpEchoParis), None)
    );
}

#[test]
fn what_is_wrong_in_warts_costs_one_object() {
    let good = warts::sample_trace();
    let mut cut = good.clone();
    cut.truncate(40);
    let expected = "240.0.9.1: 240.1.0.1=1.25, *, 240.1.3.1=9 tunnel, 240.0.9.1=12.345 | 1:240.1.0.1=1.5 -> Reached, 6 probes";
    for (wrong, told) in [
        (b"gap".to_vec(), "byte 0, record 1: no object begins here"),
        (
            cut.clone(),
            "byte 0, record 1: the length of parameters disagrees with its content",
        ),
        (
            warts::object(6, &[0, 0, 0, 0]),
            "byte 0, record 1: destination address is absent",
        ),
        (
            warts::object(5, &[7, 1, 240, 0, 0, 1]),
            "byte 0, record 1: address number: \"7\" makes no sense",
        ),
        (
            warts::object(5, &[1, 1, 240]),
            "byte 0, record 1: the length of an address disagrees with its content",
        ),
        (
            warts::trace(&[(4, vec![0, 0, 0, 9])], &[], &[]),
            "byte 0, record 1: address number 9 is not defined",
        ),
        (
            warts::trace(&[(27, warts::address("240.0.0.1"))], &[], &[0, 0, 0x10]),
            "byte 0, record 1: the length of a trace disagrees with its content",
        ),
    ] {
        let bytes = [wrong.clone(), good.clone()].concat();
        let import = import(Format::Warts, &bytes);
        // A lying length may take the next object with it; here none does but for the cut one.
        let is_cut = wrong == cut;
        assert_eq!(
            paths(&import),
            if is_cut { vec![] } else { vec![expected] },
            "{told}"
        );
        if !is_cut {
            assert_eq!(problems(&import), [told]);
        }
    }
    // A length beyond the end of the file: whatever follows is found all the same.
    let mut lying = warts::object(3, b"");
    lying[4] = 0xff;
    let import = import(Format::Warts, [lying, good].concat());
    assert_eq!(paths(&import), [expected]);
    assert_eq!(problems(&import), ["byte 0, record 1: ends in the middle"]);
    assert_eq!(import.log.first[0].place, Place::Offset(0));
}

#[test]
fn atlas_results_are_read() {
    let traceroute = r#"{"fw":5080,"lts":20,"endtime":1790000003,"dst_name":"x.example","dst_addr":"240.0.9.1","src_addr":"192.168.1.2","proto":"UDP","af":4,"size":40,"paris_id":3,"result":[
 {"hop":1,"result":[{"from":"240.1.0.1","ttl":64,"size":68,"rtt":0.5},{"x":"*"},{"from":"240.1.0.1","rtt":0.4,"dup":true}]},
 {"hop":2,"result":[{"from":"240.1.0.2","rtt":5,"icmpext":{"version":2,"rfc4884":1,"obj":[{"class":1,"type":1,"mpls":[{"exp":0,"label":16,"s":1,"ttl":1}]}]}},{"from":"240.1.0.3","late":2}]},
 {"hop":3,"result":[{"from":"240.0.9.1","rtt":9.5,"err":"p"}]}],"msm_id":5001,"prb_id":1,"timestamp":1790000000,"type":"traceroute"}"#;
    let refused = r#"{"dst_addr":"3fff::9","proto":"ICMP","paris_id":0,"prb_id":1,"type":"traceroute","result":[{"hop":1,"result":[{"err":"A","from":"3fff::1","rtt":1}]},{"hop":255,"result":[{"from":"3fff::9","rtt":8}]}]}"#;
    let no_trace = r#"{"dst_name":"x.example","prb_id":1,"type":"traceroute","result":[{"error":"name resolution failed: nodename nor servname provided"}]}"#;
    let ping =
        r#"{"dst_addr":"240.0.9.1","prb_id":1,"type":"ping","result":[{"rtt":1.5}],"avg":1.5}"#;
    let expected = [
        "240.0.9.1: 240.1.0.1=0.5 ttl 64, 240.1.0.2=5 tunnel, 240.0.9.1=9.5 | 2:240.1.0.3 -> Reached, 6 probes",
        "3fff::9: 3fff::1=1 -> Unreachable(1), 2 probes",
    ];
    let array =
        format!("[{traceroute},{refused},\n{no_trace},{ping},{{\"prb_id\":1,\"result\":3}}]");
    let import = check(
        Format::Atlas,
        array,
        &expected,
        &[
            "line 4, record 2: a reply tells no distance (left out)",
            "line 5, record 3: holds no trace",
            "line 5, record 5: invalid type: integer `3`, expected a sequence at line 1 column 22",
        ],
    );
    let details = import.records[0].details;
    assert_eq!(details.method, Some(Method::UdpParis));
    assert_eq!(
        (details.started, details.ended),
        (Some(UtcTime(1_790_000_000)), Some(UtcTime(1_790_000_003)))
    );
    assert_eq!(import.log.skipped, 1);

    // One object a line, and data sets that have only what is needed.
    let lines = format!(
        "{}\n{}\n",
        traceroute.replace('\n', ""),
        r#"{"dst_addr":"240.0.9.2","cc":"US","lat":"1.5","result":[{"hop":1,"result":[{"from":"240.1.0.1","ptr":null,"rtt":0.5},{"x":"*"}]},{"hop":2,"result":[{"x":"*"}]}]}"#
    );
    check(
        Format::Atlas,
        lines,
        &[
            expected[0],
            "240.0.9.2: 240.1.0.1=0.5, * -> Silent, 3 probes",
        ],
        &[],
    );
}

#[test]
fn the_text_of_traceroute_is_read() {
    check(
        Format::Traceroute,
        "traceroute to host.example (240.0.9.1), 30 hops max, 60 byte packets\n\
         \x201  gw.example (240.1.0.1) [AS64500]  0.5 ms  0.4 ms *\n\
         \x202  * * *\n\
         \x203  a.example (240.1.3.1) <MPLS:L=16,E=0,S=1,T=1/L=17,E=0,S=1,T=1>  3.5 ms b.example (240.1.3.2) '-5'  4 ms !X 3.25 ms\n\
         \x204  240.0.9.1 (240.0.9.1)  9 ms  8 ms  7 ms\n\
         traceroute to 240.0.9.2 (240.0.9.2), 3 hops max, 60 byte packets\r\n\
         \x201  240.1.0.1  0.5 ms  0.4 ms  0.3 ms\r\n\
         \x202  240.1.0.2  1 ms !H * 2 ms !H\r\n\
         traceroute to 3fff::9 (3fff::9), 30 hops max, 80 byte packets\n\
         \x201  fe80::1%eth0 (fe80::1%eth0)  0.5 ms F=1400  0.4 ms !N *\n\
         \x202  3fff::1  4 ms !X\n\
         traceroute to 240.0.9.3 (240.0.9.3), 64 hops max\n\
         \x201  240.1.0.1 (240.1.0.1)  1 ms\n\
         \x20   240.1.0.2 (240.1.0.2)  2 ms\n\
         \x20   MPLS Label=16 CoS=0 TTL=1 S=1\n",
        &[
            "240.0.9.1: 240.1.0.1=0.4, *, 240.1.3.1=3.5 tunnel, 240.0.9.1=7 | 1:240.1.0.1=0.5, 3:240.1.3.2=4, 3:240.1.3.2=3.25, 4:240.0.9.1=9, 4:240.0.9.1=8 -> Reached, 12 probes",
            "240.0.9.2: 240.1.0.1=0.3, 240.1.0.2=1 | 1:240.1.0.1=0.5, 1:240.1.0.1=0.4, 2:240.1.0.2=2 -> Unreachable(1), 6 probes",
            "3fff::9: fe80::1=0.4, 3fff::1=4 | 1:fe80::1=0.5 -> Unreachable(1), 4 probes",
            "240.0.9.3: 240.1.0.1=1 | 1:240.1.0.2=2 tunnel -> MaxTtl, 2 probes",
        ],
        &[],
    );
}

#[test]
fn a_bad_line_of_traceroute_loses_its_trace_alone() {
    check(
        Format::Traceroute,
        "traceroute: Warning: something\n\
         traceroute to 240.0.9.1 (240.0.9.1), 30 hops max\n\
         \x201  240.1.0.1  0.5 ms\n\
         \x202  240.1.0.999  0.5 ms\n\
         \x203  240.1.0.3  0.5 ms\n\
         traceroute to nowhere, 30 hops max\n\
         traceroute to 240.0.9.2 (240.0.9.2), 30 hops max\n\
         \x201  1.5 ms\n\
         traceroute to 240.0.9.3 (240.0.9.3), 30 hops max\n\
         \x201  240.1.0.1  1.5 ms !?\n\
         traceroute to 240.0.9.4 (240.0.9.4), 30 hops max\n\
         \x201  240.1.0.1  1.5 ms\n",
        &["240.0.9.4: 240.1.0.1=1.5 -> MaxTtl, 1 probes"],
        &[
            "line 1, record 1: belongs to no record",
            "line 4, record 2: hop: \"240.1.0.999\" makes no sense",
            "line 6, record 3: target address is absent",
            "line 8, record 4: hop address is absent",
            "line 10, record 5: annotation: \"!?\" makes no sense",
        ],
    );
}

const NMAP: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE nmaprun>
<?xml-stylesheet href="file:///nmap.xsl" type="text/xsl"?>
<!-- Nmap 7.93 scan <host> -->
<nmaprun scanner="nmap" start="1790000000" version="7.93" xmloutputversion="1.05">
<hosthint><status state="up"/><address addr="240.0.9.1" addrtype="ipv4"/></hosthint>
<host starttime="1790000000" endtime="1790000005"><status state="up" reason="reset" reason_ttl="50"/>
<address addr="240.0.9.1" addrtype="ipv4"/><address addr="00:00:5E:00:53:01" addrtype="mac"/>
<hostnames><hostname name="a &amp; b" type="PTR"/></hostnames>
<trace port="80" proto="tcp">
<hop ttl="1" ipaddr="240.1.0.1" rtt="0.52" host="gw.example"/>
<hop ttl="3" ipaddr="240.1.3.1" rtt="--"/>
<hop ttl="4" ipaddr="240.0.9.1" rtt="9.50"/>
</trace>
</host>
<host starttime="0" endtime="0"><status state="up"/><address addr="127.0.0.1" addrtype="ipv4"/></host>
"#;

#[test]
fn nmaps_xml_is_read() {
    let import = check(
        Format::Nmap,
        format!(
            "{NMAP}<host><address addr=\"240.0.9.2\" addrtype=\"ipv4\"/><trace>\n<host><trace/></host>\n\
             <host><address addr=\"240.0.9.3\" addrtype=\"ipv4\"/><trace><hop ttl=\"x\"/></trace></host>\n\
             <host><address addr=\"240.0.9.4\" addrtype=\"ipv4\"/><trace><hop ttl=\"1\" ipaddr=\"&e;\"/></trace></host>\n\
             <host><address addr=\"240.0.9.5\" addrtype=\"ipv4\"/><trace/></host></nmaprun>"
        ),
        &[
            "240.0.9.1: 240.1.0.1=0.52, *, 240.1.3.1, 240.0.9.1=9.5 -> Reached, 0 probes",
            "240.0.9.5:  -> Silent, 0 probes",
        ],
        &[
            "line 17, record 3: ends in the middle",
            "line 18, record 4: address is absent",
            "line 19, record 5: ttl: \"x\" makes no sense",
            "line 20, record 6: unknown entity reference 'e' at 1:78",
        ],
    );
    assert_eq!(import.log.skipped, 1, "a host that was not traced");
    let details = import.records[0].details;
    assert_eq!(
        (details.method, details.destination_port),
        (Some(Method::Tcp), Some(80))
    );
    assert_eq!(details.ended, Some(UtcTime(1_790_000_005)));
}

#[test]
fn entities_of_an_xml_file_are_refused() {
    let bomb = "<?xml version=\"1.0\"?>\n<!DOCTYPE nmaprun [\n<!ENTITY a \"240.0.9.1\">\n<!ENTITY b \"&a;&a;&a;\">]>\n\
                <nmaprun><host><address addr=\"&a;\" addrtype=\"ipv4\"/><trace/></host>\n\
                <host><!DOCTYPE host [<!ENTITY a \"240.0.9.1\">]><trace/></host></nmaprun>";
    let import = import(Format::Nmap, bomb);
    assert_eq!(paths(&import), [""; 0]);
    assert_eq!(import.log.by_reason.get("declarations"), Some(&1));
    assert_eq!(import.log.by_reason.get("xml"), Some(&2));
    assert_eq!(
        problems(&import)[0],
        "line 2, record 1: declares entities or other document types"
    );
}

#[test]
fn routes_of_rtrack_are_read() {
    check(
        Format::Rtrack,
        "#\nTarget: 240.0.9.1\nTTL: 4\n1 - Anonymous\n2 - 240.1.2.1 [Repaired-1]\n3 - 240.1.3.1 [Cycle]\n\
         #\nTarget: 240.0.9.1 (opinion n°2)\nUnreachable\n1 - 240.1.0.1\n2 - Anonymous\n\
         #\nTarget: 240.0.9.2\nTTL: 3\n1 - 240.1.0.1\n2 - nobody\n\
         #\nTarget: 240.0.9.3\nTTL: 300\n\
         lost\n#\nlost again\nTarget:  \n",
        &[
            "240.0.9.1: *, 240.1.2.1 shared, 240.1.3.1, 240.0.9.1 -> Reached, 0 probes",
            "240.0.9.1: 240.1.0.1, * -> Silent, 0 probes",
        ],
        &[
            "line 16, record 3: hop: \"nobody\" makes no sense",
            "line 19, record 4: ttl: \"300\" makes no sense",
            "line 22, record 5: belongs to no record",
            "line 23, record 6: target address is absent",
        ],
    );
}

#[test]
fn maps_give_paths_over_their_links() {
    let map = "exec-map 1\n# the root and a triangle behind it\nroot 240.1.0.1\n\
               link 240.1.0.1 240.1.0.2 1.5\nlink 240.1.0.2 240.1.0.3 10\nlink 240.1.0.2 240.1.0.4 1\n\
               link 240.1.0.4 240.1.0.3 1 # the fast way\nlink 240.1.0.3 240.0.9.1 0.25\n\
               path 240.0.9.2 240.1.0.2=3 * 240.0.9.2=8.5\n";
    check(
        Format::Map,
        map,
        &[
            "240.0.9.2: 240.1.0.2=3, *, 240.0.9.2=8.5 -> Reached, 0 probes",
            "240.0.9.1: 240.1.0.2=3, 240.1.0.4=5, 240.1.0.3=7, 240.0.9.1=7.5 -> Reached, 0 probes",
        ],
        &[],
    );
    // One link without a delay: the fewest links, and round trips up to it.
    check(
        Format::Map,
        map.replace("0.25", "")
            .replace("path", "target 240.1.0.3\ntarget 240.7.7.7\n# path"),
        &["240.1.0.3: 240.1.0.2=3, 240.1.0.3=23 -> Reached, 0 probes"],
        &["line 10, record 2: no way from the root to 240.7.7.7"],
    );
    check(
        Format::Map,
        "exec-map 2\nlink 240.1.0.1 240.1.0.1\nlink 240.1.0.1 240.1.0.2 -1\nlink 240.1.0.1 240.1.0.2 1 2\nroad\n",
        &[],
        &[
            "line 1, record 1: version: \"2\" makes no sense",
            "line 2, record 2: link: \"240.1.0.1\" makes no sense",
            "line 3, record 3: delay: \"-1\" makes no sense",
            "line 4, record 4: statement: \"2\" makes no sense",
            "line 5, record 5: statement: \"road\" makes no sense",
            "line 5, record 6: root is absent",
        ],
    );
}

#[test]
fn limits_are_told() {
    let line = "{\"target\":\"240.0.9.1\",\"end\":\"silent\",\"hops\":[{\"ttl\":1,\"addr\":\"240.1.0.1\"},{\"ttl\":2}]}\n";
    let limits = Limits {
        records: 2,
        ..Limits::default()
    };
    let two = read(line.repeat(2).as_bytes(), None, &limits).unwrap();
    assert_eq!((two.log.paths, two.log.lost), (2, 0));
    let three = read(line.repeat(3).as_bytes(), None, &limits).unwrap();
    assert_eq!(paths(&three), paths(&two));
    assert_eq!(
        problems(&three),
        ["line 2, record 3: more than 2 records; the rest is not read"]
    );
    for (limits, told) in [
        (
            Limits {
                record_bytes: 40,
                ..Limits::default()
            },
            "line 1, record 1: larger than 40 bytes",
        ),
        (
            Limits {
                replies: 1,
                ..Limits::default()
            },
            "line 1, record 1: more than 1 replies",
        ),
    ] {
        let import = read(line.as_bytes(), None, &limits).unwrap();
        assert_eq!(problems(&import), [told]);
    }
    let links = Limits {
        links: 0,
        ..Limits::default()
    };
    let import = read(
        b"exec-map 1\nroot 240.1.0.1\nlink 240.1.0.1 240.0.9.1\n",
        None,
        &links,
    )
    .unwrap();
    assert_eq!(problems(&import), ["line 3, record 1: more than 0 links"]);
    // Of many problems the first are listed and all are counted.
    let listed = Limits {
        problems: 1,
        ..Limits::default()
    };
    let import = read("{\"target\"\n".repeat(5).as_bytes(), None, &listed).unwrap();
    assert_eq!((import.log.first.len(), import.log.lost), (1, 5));
    assert_eq!(import.log.by_reason["json"], 5);
}

#[test]
fn the_end_of_a_path_without_a_target_is_what_the_hops_show() {
    let ends: Vec<PathEnd> = ["1 - 240.1.0.1\n", "1 - 240.1.0.1\n2 - Anonymous\n", ""]
        .map(|hops| {
            let import = import(Format::Rtrack, format!("Target: 240.0.9.1\n{hops}"));
            import.records[0].path.end
        })
        .to_vec();
    assert_eq!(ends, [PathEnd::MaxTtl, PathEnd::Silent, PathEnd::Silent]);
}
