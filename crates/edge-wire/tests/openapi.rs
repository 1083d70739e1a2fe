//! The OpenAPI document: checked in as it is, and true of what the messages are.

#![expect(clippy::unwrap_used, reason = "tests")]

use edge_types::RejectReason;
use edge_types::agreement::detail;
use edge_wire::message::{
    AgreementRequest, AgreementView, CloseRequest, Deployment, DeploymentView, Greeting, Hello,
    OfferMessage, ReceiptMessage, Reservation, ReservationRequest,
};
use edge_wire::problem::{ProblemJson, write_problem};
use edge_wire::prose::Prose;
use edge_wire::{Message, Problem, decode, encode, openapi};
use serde_json::{Value, json};

#[test]
fn the_checked_in_document_is_the_generated_one() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
    let checked_in = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        checked_in == openapi::text(),
        "docs/openapi.json is out of date: exec-edge provider openapi > docs/openapi.json"
    );
}

/// Whether a value is what a schema says, as far as our schemas go.
fn check(document: &Value, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    if let Some(reference) = schema["$ref"].as_str() {
        let pointer = reference.trim_start_matches('#');
        let schema = document
            .pointer(pointer)
            .ok_or(format!("{at}: {reference}"))?;
        return check(document, schema, value, at);
    }
    let wrong = |what: &str| Err(format!("{at}: {value} is not {what}"));
    if let Some(choices) = schema["oneOf"].as_array() {
        let fitting = choices
            .iter()
            .filter(|schema| check(document, schema, value, at).is_ok());
        return if fitting.count() == 1 {
            Ok(())
        } else {
            wrong("one of them")
        };
    }
    if let Some(expected) = schema.get("const")
        && expected != value
    {
        return wrong("the constant");
    }
    if let Some(words) = schema["enum"].as_array()
        && !words.contains(value)
    {
        return wrong("one of the words");
    }
    match schema["type"].as_str() {
        Some("object") => {
            let Some(members) = value.as_object() else {
                return wrong("an object");
            };
            for required in schema["required"].as_array().unwrap() {
                if !members.contains_key(required.as_str().unwrap()) {
                    return wrong(&format!("complete: {required}"));
                }
            }
            for (name, member) in members {
                match schema["properties"].get(name) {
                    Some(schema) => check(document, schema, member, &format!("{at}.{name}"))?,
                    None => return wrong(&format!("described: {name}")),
                }
            }
        }
        Some("array") => {
            let Some(items) = value.as_array() else {
                return wrong("a list");
            };
            for item in items {
                check(document, &schema["items"], item, at)?;
            }
        }
        Some("integer") => {
            let number = value.as_u64().ok_or(format!("{at}: {value}"))?;
            let bound = |name: &str| schema[name].as_u64().unwrap();
            if number < bound("minimum") || number > bound("maximum") {
                return wrong("in range");
            }
        }
        Some("string") => {
            let Some(text) = value.as_str() else {
                return wrong("a text");
            };
            if schema["maxLength"]
                .as_u64()
                .is_some_and(|most| text.len() as u64 > most)
            {
                return wrong("short enough");
            }
            if let Some(digits) = schema["pattern"]
                .as_str()
                .and_then(|pattern| pattern.strip_prefix("^0x[0-9a-f]{")?.strip_suffix("}$"))
            {
                let length: usize = digits.parse().unwrap();
                if text.len() != length + 2 || !text.starts_with("0x") {
                    return wrong("of this length");
                }
            }
        }
        _ => {}
    }
    Ok(())
}

/// A value with each of its members, at every depth, left out, doubled, empty, overlong and of other kinds, one at a time:
/// what was done, and the text.
fn spoilt(value: &Value) -> Vec<(String, String)> {
    let mut all = Vec::new();
    let others = [
        ("null", Value::Null),
        ("true", json!(true)),
        ("minus one", json!(-1)),
        ("a half", json!(0.5)),
        ("a number beyond all", json!(u64::MAX)),
        ("a number beyond that", json!(1e30)),
        ("an empty text", json!("")),
        ("an overlong text", json!("a".repeat(5_000))),
        ("control characters", json!("a\u{0}b\r\nc")),
        ("an empty list", json!([])),
        ("an empty object", json!({})),
    ];
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let with = |what: &str, member: Option<Value>| {
                    let mut changed = members.clone();
                    match member {
                        Some(member) => drop(changed.insert(name.clone(), member)),
                        None => drop(changed.remove(name)),
                    }
                    (
                        format!("{name}: {what}"),
                        Value::Object(changed).to_string(),
                    )
                };
                all.push(with("left out", None));
                all.extend(
                    others
                        .iter()
                        .map(|(what, other)| with(what, Some(other.clone()))),
                );
                let rest = Value::Object(members.clone()).to_string();
                let doubled = format!("{{{}:{member},{}", json!(name), &rest[1..]);
                all.push((format!("{name}: doubled"), doubled));
                for (what, inner) in spoilt(member) {
                    // By its text, since a value cannot hold a member twice.
                    let mark = json!("\u{1}mark").to_string();
                    let (_, text) = with("", Some(json!("\u{1}mark")));
                    all.push((format!("{name}.{what}"), text.replace(&mark, &inner)));
                }
            }
        }
        Value::Array(items) => {
            if let Some(first) = items.first() {
                for (what, inner) in spoilt(first) {
                    all.push((format!("[].{what}"), format!("[{inner}]")));
                }
                for (what, other) in &others {
                    all.push((format!("[]: {what}"), json!([other]).to_string()));
                }
                let many = vec![first.clone(); 1_000];
                all.push(("[]: a thousand".to_owned(), json!(many).to_string()));
            }
        }
        _ => {}
    }
    all
}

/// Every member that a message writes is described, and every member that the document requires is needed to read one.
fn holds<T: Message>(schema: &str, example: &Value) {
    let document = openapi::document();
    let message: T = decode(example.to_string().as_bytes())
        .unwrap_or_else(|error| panic!("{schema}: {error:?}"));
    let written: Value = serde_json::from_slice(&encode(&message)).unwrap();
    let pointer = format!("/components/schemas/{schema}");
    let described = document.pointer(&pointer).unwrap();
    check(&document, described, &written, schema).unwrap();
    for required in described["required"].as_array().unwrap() {
        let mut without = written.clone();
        without
            .as_object_mut()
            .unwrap()
            .remove(required.as_str().unwrap());
        assert!(
            decode::<T>(without.to_string().as_bytes()).is_err(),
            "{schema} is read without {required}"
        );
    }
    for (what, text) in spoilt(&written) {
        let read = decode::<T>(text.as_bytes());
        let value: Value = serde_json::from_str(&text).unwrap();
        let is_right = check(&document, described, &value, schema);
        let is_doubled = what.ends_with("doubled");
        // None of an optional member may be said by null too.
        let may_be_none = what.ends_with("null");
        match read {
            Err(_) => {}
            // Any member of a problem may be missing or unheard of (RFC 9457), and so it is only read and shown.
            Ok(_) if what.starts_with("problem") && !is_doubled => {}
            Ok(_) if is_doubled => panic!("{schema} is read with {what}"),
            Ok(message) => {
                if let Err(error) = is_right
                    && !may_be_none
                {
                    panic!("{schema} is read with {what}: {error}");
                }
                let again: Value = serde_json::from_slice(&encode(&message)).unwrap();
                check(&document, described, &again, schema)
                    .unwrap_or_else(|error| panic!("{schema} with {what} became {error}"));
            }
        }
    }
    let mut with_more = written;
    with_more["unheard_of"] = json!(1);
    let is_closed = described["additionalProperties"] == json!(false);
    assert_eq!(
        decode::<T>(with_more.to_string().as_bytes()).is_err(),
        is_closed,
        "{schema} with a member more"
    );
}

#[test]
fn the_document_is_true_of_every_message() {
    let hash = format!("0x{}", "01".repeat(32));
    let account = format!("0x{}", "02".repeat(20));
    let signature = format!("0x{}", "03".repeat(65));
    let slot = json!({ "start": 1_800_000_000, "end": 1_800_000_060 });
    let hardware = json!({ "milli_cpu": 500, "memory_bytes": 67_108_864, "pids": 32 });
    let amount = json!({ "asset": "native", "units": "7" });
    let site = json!({ "host": "edge.isp.example", "port": 80 });
    let offer = json!({
        "id": hash, "provider": account, "buyer": account, "site": site, "slot": slot, "hardware": hardware,
        "price_per_second": amount,
        "sla": { "text_hash": hash, "availability_ppm": 990_000, "receipt_interval_seconds": 30, "notice_seconds": 5 },
        "guarantee": { "stake": "1000", "arbiter": account, "answer_seconds": 60 },
        "conditions": {
            "region": "FI", "tee": "tdx",
            "content": { "refuses": ["adult", "mining"], "text_hash": hash, "text_url": "https://isp.example/content" },
        },
        "settlement": { "kind": "escrow", "chain": 1337, "contract": account },
        "expires": 1_799_999_999, "nonce": hash, "signature": signature,
    });
    let receipt = json!({ "agreement": hash, "due": amount, "signature": signature });
    holds::<Greeting>(
        "Greeting",
        &json!({
            "protocol": "exec", "versions": [1], "software": "x/1", "provider": account, "site": site, "chain": 1337,
            "settlements": ["escrow"], "runtimes": ["oci"],
        }),
    );
    holds::<Prose>("Prose", &json!({ "text": "We serve.\n" }));
    holds::<Hello>(
        "Hello",
        &json!({
            "application": "shop", "buyer": account, "slot": slot, "hardware": hardware,
            "price_ceiling_per_second": amount, "expected_requests_per_second": 10,
            "conditions": { "regions": ["FI", "SE"], "tee": ["tdx"], "content": ["adult"] },
        }),
    );
    holds::<OfferMessage>("Offer", &offer);
    let mut by_contact = offer.clone();
    by_contact["settlement"] = json!({ "kind": "contact", "contact": "mailto:noc@isp.example" });
    holds::<OfferMessage>("Offer", &by_contact);
    let mut out_of_allowance = offer.clone();
    out_of_allowance["settlement"] = json!({ "kind": "allowance" });
    holds::<OfferMessage>("Offer", &out_of_allowance);
    holds::<ReservationRequest>("ReservationRequest", &json!({ "offer": offer }));
    holds::<Reservation>(
        "Reservation",
        &json!({
            "id": hash, "expires": 1_800_000_000, "confirmation": { "until": 1_800_000_000, "signature": signature },
        }),
    );
    holds::<AgreementRequest>(
        "AgreementRequest",
        &json!({
            "offer": offer, "reservation": hash,
            "acceptance": { "confirmation": { "until": 1_800_000_000, "signature": signature }, "signature": signature },
        }),
    );
    let problem = Problem::Rejected(RejectReason::SlotTaken);
    let problem: Value = serde_json::from_slice(&write_problem(&problem)).unwrap();
    holds::<AgreementView>(
        "AgreementView",
        &json!({
            "id": hash, "state": "disputed", "slot": slot, "due": amount, "problem": problem,
            "closing": { "due": amount, "signature": signature },
        }),
    );
    holds::<Deployment>(
        "Deployment",
        &json!({
            "generation": 3,
            "image": { "registry": "240.0.0.1:5000", "repository": "shop/edge", "digest": format!("sha256:{}", "ab".repeat(32)) },
            "image_token": "t", "command": ["/bin/edge"], "environment": [{ "name": "PORT", "value": "8080" }],
            "service_port": 8080, "egress": [{ "port": 9000, "address": "[3fff::1]:80" }], "limits": hardware,
            "health": { "path": "/healthz", "start_timeout_seconds": 10 }, "origin": "http://240.0.0.1:80",
        }),
    );
    holds::<DeploymentView>(
        "DeploymentView",
        &json!({
            "generation": 3, "state": "running", "address": "192.0.2.1:20000",
        "round_trips": [{ "clients": "192.0.2.0/24", "micros": 1500 }],
        }),
    );
    holds::<ReceiptMessage>("Receipt", &receipt);
    holds::<CloseRequest>(
        "CloseRequest",
        &json!({ "reason": "over", "receipt": receipt }),
    );
}

#[test]
fn every_refusal_is_described() {
    let document = openapi::document();
    let schema = document.pointer("/components/schemas/Problem").unwrap();
    let reasons = [
        RejectReason::SlotTaken,
        RejectReason::OfferExpired { seconds_ago: 7 },
        RejectReason::Unknown { what: "agreement" },
        RejectReason::Capacity { resource: "memory" },
        RejectReason::TooManyReservations { held: 4, limit: 4 },
        RejectReason::NotFunded,
        RejectReason::NotAuthorised {
            detail: detail::PARTY,
        },
        RejectReason::StaleGeneration {
            offered: 1,
            current: 2,
        },
        RejectReason::Policy {
            detail: detail::ADDRESS,
        },
    ];
    let others = [
        Problem::Malformed {
            detail: "x".to_owned(),
        },
        Problem::TooLarge,
        Problem::Replayed,
        Problem::TooManyRequests {
            retry_after_seconds: 3,
        },
        Problem::NotFound,
        Problem::Unavailable {
            detail: "chain".to_owned(),
        },
    ];
    for problem in reasons.map(Problem::Rejected).into_iter().chain(others) {
        let written: Value = serde_json::from_slice(&write_problem(&problem)).unwrap();
        check(&document, schema, &written, "Problem").unwrap();
        let _read: ProblemJson = decode(written.to_string().as_bytes()).unwrap();
    }
}
