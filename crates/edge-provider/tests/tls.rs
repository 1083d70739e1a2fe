//! Sites whose files for TLS cannot be used do not start.

use edge_http::entry_tls::IdentityError;
use edge_provider::config::TEMPLATE;
use edge_provider::{Listening, ProviderConfig, ProviderError};

#[tokio::test]
async fn a_site_without_its_certificate_does_not_listen_in_the_clear_instead() {
    let files = "tls = { certificates = \"/nowhere/a.pem\", key = \"/nowhere/a.key\" }";
    let text = TEMPLATE
        .replace("192.0.2.1:80", "127.0.0.1:0")
        .replace("milli_cpu = 2000", &format!("{files}\nmilli_cpu = 2000"));
    let config = ProviderConfig::parse(&text).unwrap();
    let refused = Listening::bind(config).await.unwrap_err();
    let ProviderError::Identity { site, cause } = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(site.to_string(), "edge.isp.example:80");
    assert!(matches!(cause, IdentityError::File { .. }), "{cause:?}");
}
