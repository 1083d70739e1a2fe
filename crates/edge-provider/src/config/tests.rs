//! The configuration file: what is understood, and what is refused by its name.

use edge_types::{Asset, ContentCategory, TeeKind};

use super::*;

#[test]
fn the_template_is_a_valid_configuration() {
    let config = ProviderConfig::parse(TEMPLATE).unwrap();
    assert_eq!(config.sites.len(), 1);
    let short: String = TEMPLATE
        .lines()
        .filter(|line| !line.contains("# default"))
        .flat_map(|line| [line, "\n"])
        .collect();
    assert_eq!(
        ProviderConfig::parse(&short).unwrap(),
        config,
        "its values are the defaults"
    );
}

#[test]
fn a_site_says_what_it_is_and_takes() {
    let said = "region = \"fi\"\ntee = \"tdx\"\nrefuses = [\"mining\", \"adult\"]";
    let config = ProviderConfig::parse(&TEMPLATE.replace("refuses = []", said)).unwrap();
    let conditions = &config.sites[0].conditions;
    assert_eq!(conditions.region.unwrap().to_string(), "FI");
    assert_eq!(conditions.tee.as_ref().unwrap().as_str(), "tdx");
    assert_eq!(conditions.content.refuses.len(), 2);
    for kind in ContentCategory::KNOWN.iter().chain(TeeKind::KNOWN) {
        assert!(TEMPLATE.contains(kind), "{kind} is not in the template");
    }
}

#[test]
fn a_site_may_be_paid_in_a_token() {
    let token = "0x00000000000000000000000000000000000000ee";
    let text = TEMPLATE
        .replace("asset = \"native\"", &format!("asset = \"{token}\""))
        .replace(
            "price_per_second_wei = \"1000000000000\"",
            "price_per_second = \"7\"",
        )
        .replace("stake_wei = \"0\"", "stake = \"9\"");
    let site = &ProviderConfig::parse(&text).unwrap().sites[0];
    let price = Amount {
        asset: Asset::Token(token.parse().unwrap()),
        units: 7,
    };
    assert_eq!((site.price_per_second, site.guarantee.stake), (price, 9));
    for (from, to, named) in [
        (
            "price_per_second =",
            "price_per_second_wei =",
            "price_per_second_wei",
        ),
        ("stake =", "stake_wei =", "stake_wei"),
        ("stake =", "stake_wei = \"1\"\nstake =", "stake_wei"),
        ("price_per_second = \"7\"", "", "price_per_second"),
        (token, "gold", "asset"),
    ] {
        let error = ProviderConfig::parse(&text.replace(from, to)).unwrap_err();
        assert!(error.to_string().contains(named), "{error}");
    }
}

#[test]
fn behind_a_relay_sites_are_known_by_its_address() {
    let relayed = format!("relay = \"203.0.113.5:7000\"\n{TEMPLATE}");
    let config = ProviderConfig::parse(&relayed).unwrap();
    assert_eq!(
        config.sites[0].public_address,
        Some([203, 0, 113, 5].into())
    );
    let services = config.relayed_services();
    assert_eq!(services.len(), 101);
    assert_eq!(services[&80], "192.0.2.1:80".parse().unwrap());
    assert_eq!(services[&20_099], "192.0.2.1:20099".parse().unwrap());
    let many = relayed.replace("20099", "20900");
    assert!(
        ProviderConfig::parse(&many)
            .unwrap_err()
            .to_string()
            .contains("relay")
    );
    let direct = ProviderConfig::parse(TEMPLATE).unwrap();
    assert_eq!((direct.relay, direct.sites[0].public_address), (None, None));
}

#[test]
fn bad_settings_are_named() {
    for (from, to, named) in [
        ("port = 80", "port = 80\nprot = 81", "prot"),
        ("20000, 20099", "20099, 20000", "service_ports"),
        ("20000, 20099", "80, 20099", "service_ports"),
        ("\"1000000000000\"", "\"1e12\"", "price_per_second_wei"),
        ("\"edge.isp.example\"", "\"edge isp\"", "host"),
        ("confirmations = 1", "confirmations = 0", "confirmations"),
        ("max_fee_gwei = 100", "max_fee_gwei = 0", "max_fee_gwei"),
        ("milli_cpu = 2000", "milli_cpu = 0", "milli_cpu"),
        (
            "milli_cpu",
            "tls = { certificates = \"a.pem\" }\nmilli_cpu",
            "key",
        ),
        (
            "milli_cpu",
            "tls = { certificates = \"a\", key = \"b\", keys = \"c\" }\nmilli_cpu",
            "keys",
        ),
        ("milli_cpu", "region = \"Finland\"\nmilli_cpu", "region"),
        ("milli_cpu", "tee = \"tpm\"\nmilli_cpu", "tee"),
        (
            "refuses = []",
            "refuses = [\"adult\", \"noise\"]",
            "refuses",
        ),
        (
            "listing = true",
            "listing = true\nservice = [{ name = \"a\", url = \"ftp://a\" }]\n#",
            "[[site.service]]",
        ),
    ] {
        let text = TEMPLATE.replace(from, to);
        assert_ne!(text, TEMPLATE, "{from}");
        let error = ProviderConfig::parse(&text).unwrap_err();
        let cause = std::error::Error::source(&error);
        let told = format!(
            "{error} {}",
            cause.map(ToString::to_string).unwrap_or_default()
        );
        assert!(told.contains(named), "{told}");
    }
}
