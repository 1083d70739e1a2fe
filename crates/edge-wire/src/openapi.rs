//! The API as an OpenAPI 3.1 document, for programs that are not ours. What it says is compared with the messages by a test.

use serde_json::{Value, json};

use crate::signing::{EXPIRES_HEADER, MAX_REQUEST_SECONDS, NONCE_HEADER, SIGNATURE_HEADER};
use crate::{BASE, JSON, MAX_BOUNCE_TOKEN, limits, problem};

/// A call of the API.
struct Call {
    path: &'static str,
    method: &'static str,
    id: &'static str,
    summary: &'static str,
    body: Option<&'static str>,
    answer: &'static str,
    is_signed: bool,
}

const fn open(
    (method, path): (&'static str, &'static str),
    id: &'static str,
    summary: &'static str,
    body: Option<&'static str>,
    answer: &'static str,
) -> Call {
    Call {
        path,
        method,
        id,
        summary,
        body,
        answer,
        is_signed: false,
    }
}

const fn signed(
    at: (&'static str, &'static str),
    id: &'static str,
    summary: &'static str,
    body: Option<&'static str>,
    answer: &'static str,
) -> Call {
    Call {
        is_signed: true,
        ..open(at, id, summary, body, answer)
    }
}

const CALLS: &[Call] = &[
    open(
        ("get", "/"),
        "greet",
        "Who answers here; the first thing asked of an address",
        None,
        "Greeting",
    ),
    open(
        ("get", "/healthz"),
        "health",
        "Whether the agent answers",
        None,
        "Health",
    ),
    open(
        ("get", "/openapi.json"),
        "openapi",
        "This document",
        None,
        "Document",
    ),
    open(
        ("get", "/services"),
        "services",
        "What is offered to clients nearby, if the owner lets it be known",
        None,
        "Services",
    ),
    open(
        ("get", "/texts/{hash}"),
        "text",
        "The prose of an agreement or content policy, by the hash that offers name",
        None,
        "Prose",
    ),
    open(
        ("post", "/hello"),
        "hello",
        "Ask for offers; an offer holds nothing",
        Some("Hello"),
        "Offers",
    ),
    signed(
        ("post", "/reservations"),
        "reserve",
        "Hold an offer's hardware free of charge until the money is due; asking again gives the same answer",
        Some("ReservationRequest"),
        "Reservation",
    ),
    signed(
        ("post", "/agreements"),
        "acknowledge",
        "The money for an offer is in escrow, or the buyer's acceptance where no chain holds it",
        Some("AgreementRequest"),
        "AgreementView",
    ),
    signed(
        ("get", "/agreements/{id}"),
        "agreement",
        "How the provider sees an agreement",
        None,
        "AgreementView",
    ),
    signed(
        ("put", "/agreements/{id}/deployment"),
        "deploy",
        "Run a workload; its generation only goes up",
        Some("Deployment"),
        "DeploymentView",
    ),
    signed(
        ("get", "/agreements/{id}/deployment"),
        "deployment",
        "Where the workload stands",
        None,
        "DeploymentView",
    ),
    signed(
        ("post", "/agreements/{id}/receipts"),
        "receipt",
        "What is due so far; cumulative",
        Some("Receipt"),
        "AgreementView",
    ),
    signed(
        ("post", "/agreements/{id}/close"),
        "close",
        "End the service now",
        Some("CloseRequest"),
        "AgreementView",
    ),
];

/// The document.
pub fn document() -> Value {
    let mut paths = json!({});
    for call in CALLS {
        paths[call.path][call.method] = operation(call);
        for (name, description) in [
            ("id", "The agreement, which has the id of its offer"),
            ("hash", "keccak-256 of the text"),
        ] {
            if call.path.contains(&format!("{{{name}}}")) {
                paths[call.path]["parameters"] = json!([{
                    "name": name, "in": "path", "required": true,
                    "description": description,
                    "schema": reference("Hash"),
                }]);
            }
        }
    }
    paths["/agreements/{id}/bounce/{token}"] = bounce();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Independent edge provider",
            "version": "1",
            "summary": "What an orchestrator asks of an edge provider: offers, reservations, agreements, deployments",
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": BASE }],
        "paths": paths,
        "components": {
            "schemas": schemas(),
            "securitySchemes": {
                "signature": header_key(SIGNATURE_HEADER,
                    "EIP-712 signature (r, s, v) of method, path, body hash, nonce, expiry and provider by the key that pays, 65 octets in hexadecimal"),
                "nonce": header_key(NONCE_HEADER,
                    "32 octets in hexadecimal, never used before; the request's idempotency key"),
                "expiry": header_key(EXPIRES_HEADER,
                    &format!("Last second in which the request counts, Unix time, at most {MAX_REQUEST_SECONDS} s ahead")),
            },
        },
    })
}

/// The document as it is served and checked in.
pub fn text() -> String {
    let mut text = serde_json::to_string_pretty(&document()).expect("plain data");
    text.push('\n');
    text
}

fn header_key(name: &str, description: &str) -> Value {
    json!({ "type": "apiKey", "in": "header", "name": name, "description": description })
}

fn operation(call: &Call) -> Value {
    let content = |schema: &str, kind: &str| json!({ kind: { "schema": reference(schema) } });
    let mut operation = json!({
        "operationId": call.id,
        "summary": call.summary,
        "responses": {
            "200": { "description": "Done", "content": content(call.answer, JSON) },
            "default": {
                "description": "Refused, and why",
                "content": content("Problem", problem::PROBLEM_JSON),
            },
        },
    });
    if let Some(body) = call.body {
        operation["requestBody"] = json!({ "required": true, "content": content(body, JSON) });
    }
    if call.is_signed {
        operation["security"] = json!([{ "signature": [], "nonce": [], "expiry": [] }]);
    }
    operation
}

/// The one call that clients make; it answers with a redirect.
fn bounce() -> Value {
    json!({
        "parameters": [
            {
                "name": "id", "in": "path", "required": true,
                "description": "The agreement, which has the id of its offer",
                "schema": reference("Hash"),
            },
            {
                "name": "token", "in": "path", "required": true,
                "description": "What the buyer reads when its client comes back",
                "schema": { "type": "string", "pattern": "^[A-Za-z0-9_-]+$", "maxLength": MAX_BOUNCE_TOKEN },
            },
        ],
        "get": {
            "operationId": "bounce",
            "summary": "Send a client of the buyer straight back, so that the buyer sees how far the client is from the site",
            "responses": {
                "302": {
                    "description": "To the origin of the agreement's deployment, at /.exec/bounced/ and the token; the connection is closed",
                    "headers": { "Location": { "schema": { "type": "string" } } },
                },
                "default": {
                    "description": "Refused, and why",
                    "content": { problem::PROBLEM_JSON: { "schema": reference("Problem") } },
                },
            },
        },
    })
}

fn reference(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}

fn hexadecimal(octets: usize, description: &str) -> Value {
    json!({
        "type": "string", "description": description,
        "pattern": format!("^0x[0-9a-f]{{{}}}$", 2 * octets),
    })
}

fn number(least: u64, most: u64) -> Value {
    json!({ "type": "integer", "minimum": least, "maximum": most })
}

fn text_of(most: usize) -> Value {
    json!({ "type": "string", "maxLength": most })
}

/// An object whose members are all required, but those in `optional`.
fn object(members: &[(&str, Value)], optional: &[&str], is_closed: bool) -> Value {
    let required: Vec<_> = members
        .iter()
        .map(|(name, _)| *name)
        .filter(|name| !optional.contains(name))
        .collect();
    let properties: serde_json::Map<String, Value> = members
        .iter()
        .map(|(name, schema)| ((*name).to_owned(), schema.clone()))
        .collect();
    let mut schema = json!({ "type": "object", "properties": properties, "required": required });
    if is_closed {
        schema["additionalProperties"] = json!(false);
    }
    schema
}

const U32: u64 = u32::MAX as u64;
/// Times are below this.
const TIME: u64 = (1 << 35) - 1;
const WHOLE: u64 = u64::MAX;

fn schemas() -> Value {
    let list =
        |schema: Value, most: usize| json!({ "type": "array", "items": schema, "maxItems": most });
    let set = |schema: Value| json!({ "type": "array", "items": schema, "maxItems": 32, "uniqueItems": true });
    let word_of = |description: &str| json!({ "type": "string", "maxLength": 32, "pattern": "^[a-z0-9-]+$", "description": description });
    let country = json!({ "type": "string", "maxLength": 2, "pattern": "^[A-Za-z]{2}$", "description": "ISO 3166-1 alpha-2" });
    let word = |words: &[&str]| json!({ "type": "string", "enum": words });
    let time = number(0, TIME);
    let port = number(1, 65_535);
    let address = json!({ "type": "string", "description": "address:port, IPv6 in brackets" });
    let hardware = [
        ("milli_cpu", number(1, U32)),
        ("memory_bytes", number(1, WHOLE)),
        ("pids", number(1, U32)),
    ];
    let mut schemas = json!({
        "Address": hexadecimal(20, "An account"),
        "Hash": hexadecimal(32, "keccak-256, or a random name"),
        "Signature": hexadecimal(65, "r, s and v (27 or 28) with s in the lower half of the order"),
        "Document": { "type": "object", "required": ["openapi"] },
        "Health": object(&[("healthy", json!({ "type": "boolean" })), ("version", number(1, U32))], &[], false),
        "Amount": object(&[
            ("asset", json!({ "type": "string", "pattern": "^(native|0x[0-9a-f]{40})$", "description": "native, or a token" })),
            ("units", json!({ "type": "string", "pattern": "^[0-9]+$", "maxLength": 39, "description": "Smallest units, below 2^128" })),
        ], &[], false),
        "Slot": object(&[("start", time.clone()), ("end", time.clone())], &[], false),
        "Hardware": object(&hardware, &[], false),
        "Site": object(&[("host", text_of(253)), ("port", port.clone())], &[], false),
        "Sla": object(&[
            ("text_hash", reference("Hash")),
            ("availability_ppm", number(0, 1_000_000)),
            ("receipt_interval_seconds", number(0, U32)),
            ("notice_seconds", number(0, U32)),
            ("round_trip_ms", number(0, limits::MAX_ROUND_TRIP_MS.into())),
        ], &["round_trip_ms"], false),
        "Guarantee": object(&[
            ("stake", json!({ "type": "string", "pattern": "^[0-9]+$", "maxLength": 39 })),
            ("arbiter", reference("Address")),
            ("answer_seconds", number(0, U32)),
        ], &["arbiter"], false),
        "Settlement": { "oneOf": [
            object(&[("kind", json!({ "const": "contact" })), ("contact", text_of(256))], &[], false),
            object(&[("kind", json!({ "const": "escrow" })), ("chain", number(0, WHOLE)), ("contract", reference("Address"))], &[], false),
            object(&[("kind", json!({ "const": "allowance" }))], &[], false),
        ] },
        "Conditions": object(&[
            ("region", country.clone()),
            ("tee", word_of("A trusted execution environment that is claimed, e.g. sev-snp, tdx or sgx; nothing here attests to it")),
            ("content", object(&[
                ("refuses", set(word_of("A kind of content that is refused, e.g. adult, gambling or mining"))),
                ("text_hash", reference("Hash")),
                ("text_url", json!({ "type": "string", "maxLength": 255, "pattern": "^https?://" })),
            ], &["refuses", "text_hash", "text_url"], false)),
        ], &["region", "tee", "content"], false),
        "WantedConditions": object(&[
            ("regions", set(country)),
            ("tee", set(word_of("A trusted execution environment, of which one is needed"))),
            ("content", set(word_of("A kind of content that the application has"))),
        ], &["regions", "tee", "content"], true),
        "Confirmation": object(&[("until", time.clone()), ("signature", reference("Signature"))], &[], true),
    });
    let messages = json!({
        "Greeting": object(&[
            ("protocol", json!({ "const": "exec" })),
            ("versions", list(number(0, U32), 16)),
            ("software", text_of(128)),
            ("provider", reference("Address")),
            ("site", reference("Site")),
            ("chain", number(0, WHOLE)),
            ("settlements", list(text_of(32), 16)),
            ("runtimes", list(text_of(32), 16)),
        ], &[], false),
        "Services": object(&[("services", list(object(&[
            ("name", json!({ "type": "string", "minLength": 1, "maxLength": 64 })),
            ("description", text_of(256)),
            ("url", json!({ "type": "string", "maxLength": 255, "pattern": "^https?://" })),
        ], &["description"], false), 64))], &[], false),
        "Prose": object(&[("text", json!({ "type": "string", "minLength": 1, "maxLength": 30720 }))], &[], false),
        "Hello": object(&[
            ("application", text_of(64)),
            ("buyer", reference("Address")),
            ("slot", reference("Slot")),
            ("hardware", reference("Hardware")),
            ("price_ceiling_per_second", reference("Amount")),
            ("expected_requests_per_second", number(0, U32)),
            ("conditions", reference("WantedConditions")),
        ], &["conditions"], true),
        "Offer": object(&[
            ("id", reference("Hash")),
            ("provider", reference("Address")),
            ("buyer", reference("Address")),
            ("site", reference("Site")),
            ("slot", reference("Slot")),
            ("hardware", reference("Hardware")),
            ("price_per_second", reference("Amount")),
            ("sla", reference("Sla")),
            ("guarantee", reference("Guarantee")),
            ("conditions", reference("Conditions")),
            ("settlement", reference("Settlement")),
            ("expires", time.clone()),
            ("nonce", reference("Hash")),
            ("signature", reference("Signature")),
        ], &["buyer", "guarantee", "conditions"], false),
        "Offers": object(&[("offers", list(reference("Offer"), 16))], &[], false),
        "ReservationRequest": object(&[("offer", reference("Offer"))], &[], true),
        "Reservation": object(&[
            ("id", reference("Hash")),
            ("expires", time),
            ("confirmation", reference("Confirmation")),
        ], &["confirmation"], false),
        "AgreementRequest": object(&[
            ("offer", reference("Offer")),
            ("reservation", reference("Hash")),
            ("acceptance", object(&[
                ("confirmation", reference("Confirmation")),
                ("signature", reference("Signature")),
            ], &[], true)),
        ], &["acceptance"], true),
        "AgreementView": object(&[
            ("id", reference("Hash")),
            ("state", word(&["proposed", "confirmed", "claimed", "disputed", "rejected", "expired", "settled"])),
            ("slot", reference("Slot")),
            ("due", reference("Amount")),
            ("problem", reference("Problem")),
            ("closing", object(&[
                ("due", reference("Amount")),
                ("signature", reference("Signature")),
            ], &[], false)),
        ], &["problem", "closing"], false),
        "Deployment": object(&[
            ("generation", number(1, WHOLE)),
            ("image", object(&[
                ("registry", address.clone()),
                ("repository", text_of(128)),
                ("digest", json!({ "type": "string", "pattern": "^sha256:[0-9a-f]{64}$" })),
            ], &[], true)),
            ("image_token", text_of(1024)),
            ("command", list(text_of(4096), 64)),
            ("environment", list(object(&[("name", text_of(128)), ("value", text_of(4096))], &[], true), 64)),
            ("service_port", port.clone()),
            ("egress", list(object(&[("port", port), ("address", address.clone())], &[], true), 16)),
            ("limits", object(&hardware, &[], true)),
            ("health", object(&[("path", text_of(255)), ("start_timeout_seconds", number(1, 600))], &[], true)),
            ("origin", json!({ "type": "string", "maxLength": 255, "pattern": "^http://" })),
        ], &["image_token", "command", "environment", "egress"], true),
        "DeploymentView": object(&[
            ("generation", number(0, WHOLE)),
            ("state", word(&["absent", "pulling", "starting", "running", "draining", "failed", "stopped"])),
            ("address", address),
            ("reason", text_of(512)),
            ("round_trips", list(object(&[
                ("clients", json!({ "type": "string", "description": "A network in CIDR notation" })),
                ("micros", number(0, U32)),
            ], &[], true), 1024)),
        ], &["address", "reason", "round_trips"], false),
        "Receipt": object(&[
            ("agreement", reference("Hash")),
            ("due", reference("Amount")),
            ("signature", reference("Signature")),
        ], &[], true),
        "CloseRequest": object(&[
            ("reason", text_of(256)),
            ("receipt", reference("Receipt")),
        ], &["receipt"], true),
        "Problem": object(&[
            ("type", json!({ "type": "string", "description": "Which refusal", "enum": problem::types() })),
            ("title", json!({ "type": "string" })),
            ("status", number(400, 599)),
            ("detail", json!({ "type": "string" })),
            ("seconds", number(0, WHOLE)),
            ("held", number(0, U32)),
            ("limit", number(0, U32)),
            ("offered", number(0, WHOLE)),
            ("current", number(0, WHOLE)),
        ], &["detail", "seconds", "held", "limit", "offered", "current"], false),
    });
    if let (Some(all), Value::Object(messages)) = (schemas.as_object_mut(), messages) {
        all.extend(messages);
    }
    schemas
}
