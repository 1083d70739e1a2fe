//! Messages of honest, lame and lying servers.

use super::*;
use hickory_proto::op::{MessageType, OpCode, Query};
use hickory_proto::rr::rdata::{A, CNAME, NS, SOA};

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

const HOST: &str = "host.isp.example.";

/// A message of a server of `example.` about `host.isp.example. A`.
struct Scripted(Message);

impl Scripted {
    fn new(authoritative: bool) -> Self {
        let mut message = Message::new(1, MessageType::Response, OpCode::Query);
        message.metadata.authoritative = authoritative;
        message.add_query(Query::query(name(HOST), RecordType::A));
        Self(message)
    }

    fn code(mut self, code: ResponseCode) -> Self {
        self.0.metadata.response_code = code;
        self
    }

    fn answer(mut self, owner: &str, data: RData) -> Self {
        self.0
            .add_answer(Record::from_rdata(name(owner), 300, data));
        self
    }

    fn authority(mut self, owner: &str, data: RData) -> Self {
        self.0
            .add_authority(Record::from_rdata(name(owner), 300, data));
        self
    }

    fn glue(mut self, owner: &str, address: [u8; 4]) -> Self {
        self.0
            .add_additional(Record::from_rdata(name(owner), 300, a(address)));
        self
    }

    fn judged(self) -> Judgement<Word> {
        self.judged_as(RecordType::A)
    }

    fn judged_as(self, kind: RecordType) -> Judgement<Word> {
        let policy = AddressPolicy::new(vec!["240.0.0.0/4".parse().unwrap()]);
        judge(self.0, &name("example."), (&name(HOST), kind), &policy)
    }
}

fn a(address: [u8; 4]) -> RData {
    RData::A(A(address.into()))
}

fn ns(server: &str) -> RData {
    RData::NS(NS(name(server)))
}

fn alias(target: &str) -> RData {
    RData::CNAME(CNAME(name(target)))
}

fn soa() -> RData {
    RData::SOA(SOA::new(name("ns."), name("admin."), 1, 1, 1, 1, 60))
}

fn answer(judgement: Judgement<Word>) -> Message {
    match judgement {
        Judgement::Decides(Word::Answer(message)) => message,
        other => panic!("{other:?}"),
    }
}

fn referral(judgement: Judgement<Word>) -> Delegation {
    match judgement {
        Judgement::Decides(Word::Referral(delegation)) => delegation,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn assert_lame(judgement: &Judgement<Word>) {
    assert!(matches!(judgement, Judgement::Lame(_)), "{judgement:?}");
}

#[test]
fn only_who_serves_the_zone_answers() {
    let found = answer(Scripted::new(true).answer(HOST, a([240, 0, 0, 1])).judged());
    assert_eq!(found.answers.len(), 1);
    assert_lame(
        &Scripted::new(false)
            .answer(HOST, a([240, 0, 0, 1]))
            .judged(),
    );
    assert_lame(
        &Scripted::new(false)
            .authority("isp.example.", soa())
            .judged(),
    );
    assert_lame(&Scripted::new(false).code(ResponseCode::NXDomain).judged());
    assert_lame(&Scripted::new(false).judged());
    assert_lame(&Scripted::new(true).code(ResponseCode::Refused).judged());
}

#[test]
fn a_server_speaks_for_its_zone_only() {
    let found = answer(
        Scripted::new(true)
            .answer(HOST, alias("bank.test."))
            .answer("bank.test.", a([240, 6, 6, 6]))
            .authority("bank.test.", ns("ns.bank.test."))
            .judged(),
    );
    assert_eq!(found.answers.len(), 1, "{:?}", found.answers);
    assert!(found.authorities.is_empty());
}

#[test]
fn what_an_alias_out_of_the_zone_leads_to_is_not_denied() {
    let found = answer(
        Scripted::new(true)
            .code(ResponseCode::NXDomain)
            .answer(HOST, alias("bank.test."))
            .authority("example.", soa())
            .judged(),
    );
    assert_eq!(found.metadata.response_code, ResponseCode::NoError);
    assert!(found.authorities.is_empty());
    let inside = answer(
        Scripted::new(true)
            .code(ResponseCode::NXDomain)
            .answer(HOST, alias("gone.isp.example."))
            .authority("example.", soa())
            .judged(),
    );
    assert_eq!(inside.metadata.response_code, ResponseCode::NXDomain);
}

#[test]
fn addresses_come_along_only_for_names_in_the_zone_and_only_allowed_ones() {
    let delegation = referral(
        Scripted::new(false)
            .authority("isp.example.", ns("ns1.isp.example."))
            .authority("isp.example.", ns("ns.other.test."))
            .glue("ns1.isp.example.", [240, 0, 0, 1])
            .glue("ns1.isp.example.", [169, 254, 169, 254])
            .glue("ns1.isp.example.", [127, 0, 0, 1])
            .glue("ns.other.test.", [240, 6, 6, 6])
            .glue("ns2.isp.example.", [240, 6, 6, 7])
            .judged(),
    );
    assert_eq!(delegation.zone, name("isp.example."));
    assert_eq!(
        delegation.servers,
        BTreeMap::from([
            (name("ns1.isp.example."), vec!["240.0.0.1".parse().unwrap()]),
            (name("ns.other.test."), vec![]),
        ])
    );
}

#[test]
fn a_referral_leads_down_towards_the_name() {
    for owner in [
        "example.",
        ".",
        "other.example.",
        "deep.host.isp.example.",
        "test.",
    ] {
        assert_lame(
            &Scripted::new(false)
                .authority(owner, ns("ns.isp.example."))
                .judged(),
        );
    }
    let at_name = |kind| {
        Scripted::new(false)
            .authority(HOST, ns("ns.isp.example."))
            .judged_as(kind)
    };
    assert_eq!(referral(at_name(RecordType::A)).zone, name(HOST));
    assert_lame(&at_name(RecordType::DS));
}

#[test]
fn a_delegation_is_bounded() {
    let mut scripted = Scripted::new(false);
    for server in 0..100 {
        let host = format!("ns{server}.isp.example.");
        scripted = scripted.authority("isp.example.", ns(&host));
        for last in 0..10 {
            scripted = scripted.glue(&host, [240, 0, 0, last]);
        }
    }
    let delegation = referral(scripted.judged());
    assert_eq!(delegation.servers.len(), MAX_SERVERS);
    assert!(
        delegation
            .servers
            .values()
            .all(|addresses| addresses.len() == MAX_ADDRESSES)
    );
}

#[test]
fn an_empty_answer_of_the_zones_server_is_an_absence() {
    assert!(answer(Scripted::new(true).judged()).answers.is_empty());
    assert!(
        answer(
            Scripted::new(true)
                .authority("isp.example.", soa())
                .judged()
        )
        .answers
        .is_empty()
    );
}
