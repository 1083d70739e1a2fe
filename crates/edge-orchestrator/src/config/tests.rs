//! The configuration file: what is understood, and what is refused by the name of its field.

use super::*;

const SAMPLE: &str = r#"
    registry = "240.0.0.10:5000"
    state_directory = "/var/lib/exec-edge"
    [application]
    name = "gallery"
    listen = ["240.0.0.10:80"]
    hosts = ["app.example"]
    services = [
        { placement = "cloud", name = "origin", address = "127.0.0.1:8080", public_address = "240.0.0.10:8081" },
        { placement = "edge", name = "objects", image = "/var/image", digest = "sha256:0000000000000000000000000000000000000000000000000000000000000000", port = 8080, health = "/healthz", needs = { milli_cpu = 500, memory_mib = 64, pids = 32 } },
    ]
    calls = [{ from = "objects", to = "origin", local_port = 9000, share = 0.1 }]
    [resolver]
    addresses = ["240.0.0.53:53"]
    [wallet]
    key_file = "/run/key"
    chain_id = 1337
    rpc = "240.0.0.54:8545"
    escrow = "0x00000000000000000000000000000000000000aa"
    [budget]
    wei_per_hour = "1000"
    wei_per_day = "2000"
    wei_per_site = "100"
"#;

#[test]
fn a_complete_file_is_understood() {
    let settings = Settings::parse(SAMPLE).unwrap();
    assert_eq!(
        settings.edge_service.egress,
        [(9000, "240.0.0.10:8081".parse().unwrap())]
    );
    assert_eq!(settings.upstream, "127.0.0.1:8080".parse().unwrap());
    assert_eq!(settings.edge_service.needs.memory_bytes, 64 << 20);
    assert_eq!(settings.config.policy.key_binding, "dnssec");
}

#[test]
fn what_else_is_needed_of_sites_is_understood() {
    let text = SAMPLE.replace(
        "[resolver]",
        "content = [\"gambling\", \"adult\"]\n[resolver]",
    );
    let text = format!("{text}\n[policy]\nrequire_tee = [\"sev-snp\", \"tdx\"]\n");
    let conditions = Settings::parse(&text).unwrap().conditions;
    assert_eq!((conditions.content.len(), conditions.tee.len()), (2, 2));
    assert!(conditions.regions.is_empty());
    for (from, to, field) in [
        ("tdx", "tpm", "policy.require_tee"),
        ("gambling", "gambing", "application.content"),
    ] {
        let error = Settings::parse(&text.replace(from, to)).unwrap_err();
        assert!(error.to_string().starts_with(field), "{error}");
    }
}

#[test]
fn what_stands_behind_an_agreement_is_understood() {
    let none = Settings::parse(SAMPLE).unwrap().backing;
    assert_eq!(none, Backing::default());
    let (arbiter, text) = (
        "0x".to_owned() + &"ab".repeat(20),
        "0x".to_owned() + &"cd".repeat(32),
    );
    let policy = format!(
        "{SAMPLE}\n[policy]\nmin_stake = \"500\"\narbiters = [\"{arbiter}\"]\nsla_texts = [\"{text}\"]\n"
    );
    let backing = Settings::parse(&policy).unwrap().backing;
    assert_eq!(backing.min_stake, 500);
    assert_eq!(backing.arbiters, [arbiter.parse().unwrap()].into());
    assert_eq!(backing.texts, Some([text.parse().unwrap()].into()));
    for (from, to, field) in [
        ("\"500\"", "\"0.5 ether\"", "policy.min_stake"),
        ("abab", "abax", "policy.arbiters"),
        ("cdcd", "cd", "policy.sla_texts"),
    ] {
        let error = Settings::parse(&policy.replacen(from, to, 1)).unwrap_err();
        assert!(error.to_string().starts_with(field), "{error}");
    }
}

#[test]
fn a_token_is_paid_in_if_the_budget_says_so() {
    assert_eq!(Settings::parse(SAMPLE).unwrap().asset, Asset::Native);
    let token = "0x00000000000000000000000000000000000000ee";
    let text = SAMPLE.replace("[budget]", &format!("[budget]\n    asset = \"{token}\""));
    let text = text.replace("wei_per_", "units_per_");
    let settings = Settings::parse(&text).unwrap();
    assert_eq!(settings.asset, Asset::Token(token.parse().unwrap()));
    assert_eq!(settings.units_per_hour, 1_000);
    let error = Settings::parse(&text.replace(token, "gold")).unwrap_err();
    assert!(error.to_string().starts_with("budget.asset"), "{error}");
    let twice = text.replace("[budget]", "[budget]\n    wei_per_hour = \"1\"");
    assert!(Settings::parse(&twice).is_err());
}

#[test]
fn paths_may_be_imported() {
    let text = format!(
        "{SAMPLE}\n[topology]\nimported = [\"paths.jsonl\"]\nimported_use = \"replace\"\nimported_max_age_s = 3600\n"
    );
    let topology = Settings::parse(&text).unwrap().config.topology;
    assert_eq!(topology.imported, [PathBuf::from("paths.jsonl")]);
    assert_eq!(topology.imported_use, ImportedUse::Replace);
    assert_eq!(topology.imported_max_age_s, Some(3600));
    let without = Settings::parse(SAMPLE).unwrap().config.topology;
    assert_eq!(
        (without.imported.len(), without.imported_use),
        (0, ImportedUse::Augment)
    );
    assert!(Settings::parse(&text.replace("replace", "prefer")).is_err());
}

#[test]
fn keys_bound_by_dnssec_are_proven_unless_the_resolver_is_believed() {
    assert_eq!(
        Settings::parse(SAMPLE).unwrap().validation(),
        Validation::Own
    );
    let addresses = "addresses = [\"240.0.0.53:53\"]";
    for (to, want) in [
        ("validation = \"resolver\"", Validation::Resolver),
        ("mode = \"direct\"", Validation::Own),
    ] {
        let text = SAMPLE.replace(addresses, &format!("{addresses}\n{to}"));
        assert_eq!(Settings::parse(&text).unwrap().validation(), want);
    }
    let by_plain_dns = format!("{SAMPLE}\n[policy]\nkey_binding = \"dns\"\n");
    let settings = Settings::parse(&by_plain_dns).unwrap();
    assert_eq!(settings.validation(), Validation::None);
}

#[test]
fn mistakes_name_their_field() {
    for (from, to, field) in [
        (
            "addresses = [\"240.0.0.53:53\"]",
            "addresses = []",
            "resolver.addresses",
        ),
        (
            "addresses = [\"240.0.0.53:53\"]",
            "mode = \"direct\"\nvalidation = \"resolver\"",
            "resolver.validation",
        ),
        (
            "wei_per_site = \"100\"",
            "wei_per_site = \"1e3\"",
            "budget.units_per_site",
        ),
        (
            "chain_id = 1337",
            "chain_id = 1337\nmax_fee_gwei = 0",
            "wallet.max_fee_gwei",
        ),
        ("to = \"origin\"", "to = \"nobody\"", "application.calls.to"),
        (
            ", public_address = \"240.0.0.10:8081\"",
            "",
            "public_address",
        ),
        (
            "hosts = [\"app.example\"]",
            "hosts = []",
            "application.hosts",
        ),
        ("health = \"/healthz\"", "health = \"healthz\"", "health"),
        ("port = 8080, health", "port = 8080, colour = 1, health", ""),
        (
            "port = 8080, health",
            "port = 8080, most_requests_per_s = 0.0, health",
            "most_requests_per_s",
        ),
        (
            "[resolver]",
            "[policy]\ncountries = [\"FI\"]\n[resolver]",
            "policy.countries",
        ),
        (
            "[resolver]",
            "[policy]\ncountries = [\"Finland\"]\ncountry_tables = [\"t\"]\n[resolver]",
            "policy.countries",
        ),
        (
            "[resolver]",
            "[policy]\nautonomous_systems = [64500]\n[resolver]",
            "policy.autonomous_systems",
        ),
    ] {
        let text = SAMPLE.replace(from, to);
        assert_ne!(text, SAMPLE, "{from}");
        let error = Settings::parse(&text).unwrap_err().to_string();
        assert!(error.contains(field), "{error} does not name {field}");
    }
}

#[test]
fn plans_are_acted_on_unless_told_otherwise() {
    let settings = Settings::parse(SAMPLE).unwrap();
    assert_eq!(settings.config.placement.mode, Mode::Act);
    assert_eq!(settings.value_per_second, None);
    assert_eq!(settings.edge_service.calls_per_thousand, 100);
    let text =
        format!("{SAMPLE}\n[placement]\nmode = \"recommend\"\nvalue_wei_per_client_s = \"7000\"\n");
    let settings = Settings::parse(&text).unwrap();
    assert_eq!(settings.config.placement.mode, Mode::Recommend);
    assert_eq!(settings.value_per_second, Some(7000));
    assert!(Settings::parse(&text.replace("recommend", "advise")).is_err());
    let chatty = SAMPLE
        .replace("share = 0.1", "share = 0.1, round_trips = 3")
        .replace("pids = 32 }", "pids = 32 }, most_requests_per_s = 2.5");
    let service = Settings::parse(&chatty).unwrap().edge_service;
    assert_eq!(
        (service.calls_per_thousand, service.capacity),
        (300, Some(2500))
    );
    let shares = SAMPLE.replace("share = 0.1", "share = 1.5");
    let error = Settings::parse(&shares).unwrap_err().to_string();
    assert!(error.contains("application.calls.share"), "{error}");
}

#[test]
fn trust_is_understood_and_grows_with_what_is_at_stake() {
    let with = |lines: &str| Settings::parse(&format!("{SAMPLE}\n    [policy]\n{lines}"));
    let settings = Settings::parse(SAMPLE).unwrap();
    assert_eq!(settings.trust.contact, Tier::Unverified);
    assert_eq!(settings.trust.money, Tier::Measured);
    assert_eq!(settings.units_per_trial, 10, "a tenth of a site's");
    let strict = with("    contact = \"measured\"\n    money = \"authenticated\"").unwrap();
    assert_eq!(strict.trust.contact, Tier::Measured);
    assert_eq!(strict.trust.trial, Tier::Measured);
    for (lines, field) in [
        ("contact = \"friends\"", "policy.contact"),
        (
            "trial = \"authenticated\"",
            "policy.contact, policy.trial, policy.money",
        ),
        (
            "contact = \"authenticated\"",
            "policy.contact, policy.trial, policy.money",
        ),
    ] {
        let Err(ConfigError::Value { field: found, .. }) = with(lines) else {
            panic!("{lines} is taken");
        };
        assert_eq!(found, field);
    }
}
