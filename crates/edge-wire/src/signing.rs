//! What is signed: offers, receipts and requests, as EIP-712 typed data.
//!
//! ## Rule
//! A digest is `keccak256(0x19 0x01 ‖ domain ‖ struct)`; a struct is `keccak256(type hash ‖ one 32-octet word per field)`
//! with text and octets replaced by their keccak-256. Money is signed in the domain `("ExEC", "1", chain, escrow contract)`,
//! requests in `("ExEC API", "1", chain, 0)`. Contact offers have chain and contract 0, so that no contract accepts them; those
//! out of an allowance have chain 0 and the provider's own address, so that no other provider does either.
//!
//! ## Limits
//! Only recoverable secp256k1 signatures with v 27 or 28 and s in the lower half count (EIP-2): each message then has
//! one valid signature per key and nonce, and copies cannot be varied.
//!
//! ## Source
//! EIP-712, EIP-2. The typed data are the project's own; the escrow contract computes the same.

use alloy_primitives::{B256, U256, keccak256};
use edge_types::{
    Acceptance, AgreementId, Amount, Asset, ChainAddress, ChainId, Confirmation, HardwareProfile,
    Hash32, IepId, Offer, OfferId, Receipt, Settlement, Signature, SiteConditions, UtcTime,
};

const DOMAIN_TYPE: &str =
    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)";
const OFFER_TYPE: &str = "Offer(address provider,address buyer,bytes32 site,uint64 slotStart,uint64 slotEnd,bytes32 hardware,bytes32 sla,uint64 receiptInterval,uint64 notice,uint64 answerTime,address asset,uint256 pricePerSecond,uint256 stake,address arbiter,uint64 expires,bytes32 nonce)";
const CONFIRMATION_TYPE: &str = "Confirmation(bytes32 agreement,address buyer,uint64 until)";
const ACCEPTANCE_TYPE: &str = "Acceptance(bytes32 agreement,uint64 until)";
const CLOSING_TYPE: &str = "Closing(bytes32 agreement,uint256 due)";
const RECEIPT_TYPE: &str = "Receipt(bytes32 agreement,uint256 due)";
const REQUEST_TYPE: &str = "Request(string method,string path,bytes32 bodyHash,bytes32 nonce,uint64 expires,address provider)";

/// Half the order of secp256k1; s may not be above it (EIP-2).
const HALF_ORDER: U256 = U256::from_be_bytes([
    0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0x5d, 0x57, 0x6e, 0x73, 0x57, 0xa4, 0x50, 0x1d, 0xdf, 0xe9, 0x2f, 0x46, 0x68, 0x1b, 0x20, 0xa0,
]);

/// A signature does not stand for what it came with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// v is not 27 or 28, s is zero or in the upper half, or no key can have made it.
    #[error("the signature is malformed")]
    Malformed,
    /// Somebody else signed.
    #[error("signed by {found}, not {expected}")]
    WrongSigner {
        /// Who signed.
        found: ChainAddress,
        /// Who should have.
        expected: ChainAddress,
    },
    /// An offer's id is not the digest of its terms.
    #[error("the offer's id is not the digest of its terms")]
    WrongId,
}

/// The domain in which money is signed.
fn money_domain(chain: ChainId, contract: ChainAddress) -> B256 {
    domain("ExEC", chain, contract)
}

pub(crate) fn domain(name: &str, chain: ChainId, contract: ChainAddress) -> B256 {
    hash_struct(
        DOMAIN_TYPE,
        &[
            keccak256(name),
            keccak256("1"),
            number(chain.0),
            account(contract),
        ],
    )
}

pub(crate) fn hash_struct(type_text: &str, fields: &[B256]) -> B256 {
    let mut words = keccak256(type_text).to_vec();
    words.extend(fields.iter().flatten());
    keccak256(words)
}

pub(crate) fn digest(domain: B256, message: B256) -> Hash32 {
    let mut bytes = vec![0x19, 0x01];
    bytes.extend(domain);
    bytes.extend(message);
    Hash32(keccak256(bytes).0)
}

pub(crate) fn number(value: impl Into<u128>) -> B256 {
    B256::from(U256::from(value.into()))
}

pub(crate) fn account(address: ChainAddress) -> B256 {
    B256::left_padding_from(&address.0)
}

pub(crate) fn word(hash: Hash32) -> B256 {
    B256::new(hash.0)
}

/// keccak-256 of a text, as used for sites, SLA prose and contact information.
pub fn text_hash(text: &str) -> Hash32 {
    Hash32(keccak256(text).0)
}

/// keccak-256 of the site's entry point as `host:port`.
pub fn site_hash(site: &IepId) -> Hash32 {
    text_hash(&site.to_string())
}

/// keccak-256 of the ABI encoding of the hardware configuration.
pub fn hardware_hash(hardware: &HardwareProfile) -> Hash32 {
    let words = [
        number(hardware.milli_cpu),
        number(hardware.memory_bytes),
        number(hardware.pids),
    ];
    Hash32(keccak256(words.concat()).0)
}

/// keccak-256 of the ABI encoding of the promises, of whom to contact for contact offers and, where the provider says
/// something of its site, of the hash of that. What says nothing adds no word, so that agreements made before there was
/// anything to say keep their names.
pub fn sla_hash(offer: &Offer) -> Hash32 {
    let sla = &offer.sla;
    let contact = match &offer.settlement {
        Settlement::Contact(contact) => keccak256(contact),
        Settlement::Escrow { .. } | Settlement::Allowance => B256::ZERO,
    };
    let mut words = vec![
        word(sla.text_hash),
        number(sla.availability_ppm),
        number(sla.receipt_interval_seconds),
        number(sla.notice_seconds),
        contact,
    ];
    // Its own word only where it is promised: as long as none is, everybody's hash is the same as before it could be.
    if sla.round_trip_ms > 0 {
        words.push(number(sla.round_trip_ms));
    }
    if offer.conditions != SiteConditions::default() {
        words.push(conditions_hash(&offer.conditions));
    }
    Hash32(keccak256(words.concat()).0)
}

/// keccak-256 of the hashes of the country, of the kind of trusted execution environment, of the hashes of the refused
/// kinds of content in order, of the policy's text and of the place of that; zero for each that there is none of.
fn conditions_hash(conditions: &SiteConditions) -> B256 {
    let content = &conditions.content;
    let refused = content.refuses.iter().map(|kind| keccak256(kind.as_str()));
    let refused: Vec<u8> = refused.flatten().collect();
    let words = [
        conditions
            .region
            .map_or(B256::ZERO, |region| keccak256(region.to_string())),
        conditions
            .tee
            .as_ref()
            .map_or(B256::ZERO, |tee| keccak256(tee.as_str())),
        keccak256(refused),
        content.text_hash.map_or(B256::ZERO, word),
        content.text_url.as_ref().map_or(B256::ZERO, keccak256),
    ];
    keccak256(words.concat())
}

/// Chain and contract of the domain in which everything about an offer's money is signed.
pub const fn domain_of(offer: &Offer) -> (ChainId, ChainAddress) {
    match &offer.settlement {
        Settlement::Contact(_) => (ChainId(0), ChainAddress([0; 20])),
        Settlement::Escrow { chain, contract } => (*chain, *contract),
        Settlement::Allowance => (ChainId(0), offer.provider),
    }
}

/// What the provider signs, and the offer's id: everything but `id` and `signature`.
pub fn offer_digest(offer: &Offer) -> OfferId {
    let (chain, contract) = domain_of(offer);
    let asset = match offer.price_per_second.asset {
        Asset::Native => ChainAddress([0; 20]),
        Asset::Token(token) => token,
    };
    let or_nobody = |address: Option<ChainAddress>| address.unwrap_or(ChainAddress([0; 20]));
    let message = hash_struct(
        OFFER_TYPE,
        &[
            account(offer.provider),
            account(or_nobody(offer.buyer)),
            word(site_hash(&offer.site)),
            number(offer.slot.start.0),
            number(offer.slot.end.0),
            word(hardware_hash(&offer.hardware)),
            word(sla_hash(offer)),
            number(offer.sla.receipt_interval_seconds),
            number(offer.sla.notice_seconds),
            number(offer.guarantee.answer_seconds),
            account(asset),
            number(offer.price_per_second.units),
            number(offer.guarantee.stake),
            account(or_nobody(offer.guarantee.arbiter)),
            number(offer.expires.0),
            word(offer.nonce),
        ],
    );
    OfferId(digest(money_domain(chain, contract), message).0)
}

/// `offer` with its id and signature filled in by whoever holds the key.
pub fn sign_offer(mut offer: Offer, sign: impl FnOnce(Hash32) -> Signature) -> Offer {
    offer.id = offer_digest(&offer);
    offer.signature = sign(Hash32(offer.id.0));
    offer
}

/// Checks that the id is the digest of the terms and that the provider named in the offer signed it.
pub fn verify_offer(offer: &Offer) -> Result<(), SignatureError> {
    let id = offer_digest(offer);
    if id != offer.id {
        return Err(SignatureError::WrongId);
    }
    expect_signer(Hash32(id.0), &offer.signature, offer.provider)
}

/// What the provider signs to confirm an offer to `buyer`, who has to pay by `until`. The domain is that of the offer.
pub fn confirmation_digest(offer: &Offer, buyer: ChainAddress, until: UtcTime) -> Hash32 {
    let message = hash_struct(
        CONFIRMATION_TYPE,
        &[B256::new(offer.id.0), account(buyer), number(until.0)],
    );
    let (chain, contract) = domain_of(offer);
    digest(money_domain(chain, contract), message)
}

/// Checks that the offer's provider confirmed it to `buyer`.
pub fn verify_confirmation(
    confirmation: &Confirmation,
    offer: &Offer,
    buyer: ChainAddress,
) -> Result<(), SignatureError> {
    let digest = confirmation_digest(offer, buyer, confirmation.until);
    expect_signer(digest, &confirmation.signature, offer.provider)
}

/// What the buyer signs to take an offer up on the provider's confirmation until `until`, where no chain holds the money.
pub fn acceptance_digest(offer: &Offer, until: UtcTime) -> Hash32 {
    let message = hash_struct(ACCEPTANCE_TYPE, &[B256::new(offer.id.0), number(until.0)]);
    let (chain, contract) = domain_of(offer);
    digest(money_domain(chain, contract), message)
}

/// Checks that the offer's provider confirmed it to `buyer`, and that `buyer` accepted that.
pub fn verify_acceptance(
    acceptance: &Acceptance,
    offer: &Offer,
    buyer: ChainAddress,
) -> Result<(), SignatureError> {
    verify_confirmation(&acceptance.confirmation, offer, buyer)?;
    let digest = acceptance_digest(offer, acceptance.confirmation.until);
    expect_signer(digest, &acceptance.signature, buyer)
}

/// What both parties sign to divide the deposit for good, whatever was claimed or disputed: `due` to the provider.
pub fn closing_digest(
    agreement: AgreementId,
    due: Amount,
    chain: ChainId,
    contract: ChainAddress,
) -> Hash32 {
    let message = hash_struct(CLOSING_TYPE, &[B256::new(agreement.0), number(due.units)]);
    digest(money_domain(chain, contract), message)
}

/// What the buyer signs in a receipt: the agreement and everything due so far.
pub fn receipt_digest(receipt: &Receipt, chain: ChainId, contract: ChainAddress) -> Hash32 {
    let message = hash_struct(
        RECEIPT_TYPE,
        &[B256::new(receipt.agreement.0), number(receipt.due.units)],
    );
    digest(money_domain(chain, contract), message)
}

/// Checks that `buyer` signed the receipt for the escrow at `contract`.
pub fn verify_receipt(
    receipt: &Receipt,
    chain: ChainId,
    contract: ChainAddress,
    buyer: ChainAddress,
) -> Result<(), SignatureError> {
    expect_signer(
        receipt_digest(receipt, chain, contract),
        &receipt.signature,
        buyer,
    )
}

/// Header with the 65-octet signature of the request, hexadecimal.
pub const SIGNATURE_HEADER: &str = "exec-signature";
/// Header with the 32-octet nonce, hexadecimal. Each is accepted once; it is the request's idempotency key.
pub const NONCE_HEADER: &str = "exec-nonce";
/// Header with the last second in which the request may be accepted, Unix time.
pub const EXPIRES_HEADER: &str = "exec-expires";
/// A request may not be valid for longer, so that a server remembers nonces no longer.
pub const MAX_REQUEST_SECONDS: u64 = 120;

/// A request as far as its signature covers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestToSign<'a> {
    /// `GET`, `POST`, `PUT`.
    pub method: &'a str,
    /// Path with [`crate::BASE`], without query.
    pub path: &'a str,
    /// The body; empty for reads.
    pub body: &'a [u8],
    /// Unique for the key.
    pub nonce: Hash32,
    /// Last second in which it may be accepted.
    pub expires: UtcTime,
    /// The provider that it is meant for.
    pub provider: ChainAddress,
    /// The chain that the two settle on; 0 for none.
    pub chain: ChainId,
}

/// What the paying key signs in a request.
pub fn request_digest(request: &RequestToSign<'_>) -> Hash32 {
    let message = hash_struct(
        REQUEST_TYPE,
        &[
            keccak256(request.method),
            keccak256(request.path),
            keccak256(request.body),
            word(request.nonce),
            number(request.expires.0),
            account(request.provider),
        ],
    );
    digest(
        domain("ExEC API", request.chain, ChainAddress([0; 20])),
        message,
    )
}

/// Who signed the request. A signature for another body, path, provider or chain yields another, unknown account.
pub fn verify_request(
    request: &RequestToSign<'_>,
    signature: &Signature,
) -> Result<ChainAddress, SignatureError> {
    recover(request_digest(request), signature)
}

/// The account whose key made `signature` of `digest`.
pub fn recover(digest: Hash32, signature: &Signature) -> Result<ChainAddress, SignatureError> {
    let [r @ .., v] = signature.0;
    let (r, s) = r.split_at(32);
    let (r, s) = (U256::from_be_slice(r), U256::from_be_slice(s));
    if !matches!(v, 27 | 28) || s > HALF_ORDER {
        return Err(SignatureError::Malformed);
    }
    alloy_primitives::Signature::new(r, s, v == 28)
        .recover_address_from_prehash(&word(digest))
        .map(|address| ChainAddress(address.into_array()))
        .map_err(|_| SignatureError::Malformed)
}

pub(crate) fn expect_signer(
    digest: Hash32,
    signature: &Signature,
    expected: ChainAddress,
) -> Result<(), SignatureError> {
    let found = recover(digest, signature)?;
    if found == expected {
        Ok(())
    } else {
        Err(SignatureError::WrongSigner { found, expected })
    }
}

#[cfg(test)]
mod tests {
    use edge_types::{Guarantee, SlaTerms, Slot};

    use super::*;

    /// The account of the private key 0x11…11, with which eth-account 0.14 made the signatures below.
    const SIGNER: &str = "0x19e7e376e7c213b7e7e7e46cc70a5dd086daff2a";
    const ZERO_ID: &str = "0x0000000000000000000000000000000000000000000000000000000000000000";
    const ESCROW_SIGNATURE: &str = "0x843cff3d69ed7afc5eb5b2389cc0397a7ea8e130ee1d0a4ee643208988d892ae6ae2eddc376ad8ba3dcb1cd1cacfa1c85bf4909d638c6f58fd2db748ca280b6b1c";

    fn offer(settlement: Settlement, id: &str, signature: &str) -> Offer {
        Offer {
            id: id.parse().unwrap(),
            provider: SIGNER.parse().unwrap(),
            buyer: Some(ChainAddress([0x55; 20])),
            site: IepId {
                host: "site1.isp.example".parse().unwrap(),
                port: 8080,
            },
            slot: Slot {
                start: UtcTime(1_800_000_000),
                end: UtcTime(1_800_000_060),
            },
            hardware: HardwareProfile {
                milli_cpu: 1500,
                memory_bytes: 268_435_456,
                pids: 64,
            },
            price_per_second: Amount::wei(12_345_678_901_234_567_890),
            sla: SlaTerms {
                text_hash: text_hash("prose"),
                availability_ppm: 990_000,
                receipt_interval_seconds: 30,
                notice_seconds: 10,
                round_trip_ms: 0,
            },
            guarantee: Guarantee {
                stake: 1_000_000_000_000_000_000,
                arbiter: Some(ChainAddress([0x66; 20])),
                answer_seconds: 120,
            },
            conditions: SiteConditions::default(),
            settlement,
            expires: UtcTime(1_799_999_990),
            nonce: Hash32([7; 32]),
            signature: signature.parse().unwrap(),
        }
    }

    fn escrow_offer() -> Offer {
        offer(
            Settlement::Escrow {
                chain: ChainId(1337),
                contract: ChainAddress([0x22; 20]),
            },
            "0x0b137f523d4f900828d1318ec5fc763596e652c98505a3feb2bc2b18d690c7fc",
            ESCROW_SIGNATURE,
        )
    }

    #[test]
    fn offers_signed_by_another_implementation_verify() {
        let contact = offer(
            Settlement::Contact("mailto:noc@isp.example".to_owned()),
            "0x46c6510e0baa0b667b66a04c9d2ab93446761a5a009a541a5c6acbab01f0458c",
            "0xf1e7bd67fb8ef18c55fe89e9aa01ae6270a777b18c92bda8ec5c22e2ab33686d1f237c07d8e6d418a936443247489a01e21ad64a62c36f52273da62b9ea849361b",
        );
        assert_eq!(verify_offer(&escrow_offer()), Ok(()));
        assert_eq!(verify_offer(&contact), Ok(()));
    }

    #[test]
    fn what_is_said_of_a_site_is_signed_by_another_implementation_too() {
        let content = edge_types::ContentPolicy {
            refuses: ["mining", "adult"].map(|kind| kind.parse().unwrap()).into(),
            text_hash: Some(text_hash("no adults, no miners")),
            text_url: Some("https://isp.example/content".to_owned()),
        };
        let told = Offer {
            id: "0x82e3507d27f151d888cc37eb4ed9178d3d619d3e3162ece48b20295c8cde6ac2".parse().unwrap(),
            conditions: SiteConditions {
                region: "FI".parse().ok(),
                tee: "sev-snp".parse().ok(),
                content,
            },
            signature: "0xb30e6a650b397a99eb7f4c7efde238b5ae2eb9c0abbf5e4928f57c20d930fab30f0df01dc0612b866373e128e8d0dc5e1bf4d3a0464cfb47569e0095cb6a0af01c".parse().unwrap(),
            ..escrow_offer()
        };
        assert_eq!(verify_offer(&told), Ok(()));
    }

    #[test]
    fn confirmations_and_closings_signed_by_another_implementation_verify() {
        let (offer, buyer) = (escrow_offer(), ChainAddress([0x55; 20]));
        let confirmation = Confirmation {
            until: UtcTime(1_799_999_980),
            signature: "0x6eb57d155309348bb6221b24147dfac437dfa4ed2e91f10436a036da0e32a2354db4765c2babcbd70835212ed9c739585bb23dc374f0c2a50407f84f539a929b1c".parse().unwrap(),
        };
        assert_eq!(verify_confirmation(&confirmation, &offer, buyer), Ok(()));
        let other = ChainAddress([0x56; 20]);
        assert!(verify_confirmation(&confirmation, &offer, other).is_err());
        let later = Confirmation {
            until: UtcTime(1_799_999_981),
            ..confirmation
        };
        assert!(verify_confirmation(&later, &offer, buyer).is_err());

        let signature = "0x9e10eee81ceecfa1000a10649c384d2fce755b4587bf6f0137960ae612f00bd67f5608460aa1066c0616e65bd5c23d677af5c3490515c8912d21fa38982bf4e91c".parse().unwrap();
        let signer = |due| {
            let (chain, contract) = (ChainId(1337), ChainAddress([0x22; 20]));
            let digest = closing_digest(offer.id.into(), Amount::wei(due), chain, contract);
            recover(digest, &signature).ok()
        };
        assert_eq!(signer(77), SIGNER.parse().ok());
        assert_ne!(signer(78), SIGNER.parse().ok());
    }

    /// Security: what is signed about one provider's allowance is worth nothing to another, nor to any contract.
    #[test]
    fn what_is_paid_out_of_an_allowance_is_signed_for_its_provider_alone() {
        let allowance = || {
            let unsigned = offer(Settlement::Allowance, ZERO_ID, ESCROW_SIGNATURE);
            sign_offer(unsigned, |_| Signature([1; 65]))
        };
        let (ours, mut theirs) = (allowance(), allowance());
        theirs.provider = ChainAddress([9; 20]);
        assert_eq!(domain_of(&ours), (ChainId(0), ours.provider));
        let contact = Offer {
            settlement: Settlement::Contact(String::new()),
            ..ours.clone()
        };
        assert_ne!(offer_digest(&ours), offer_digest(&theirs));
        assert_ne!(offer_digest(&ours), offer_digest(&contact));
        let until = UtcTime(1_799_999_980);
        let said = acceptance_digest(&ours, until);
        assert_ne!(said, acceptance_digest(&theirs, until));
        assert_ne!(said, acceptance_digest(&ours, UtcTime(1_799_999_981)));
        assert_ne!(said, confirmation_digest(&ours, ours.provider, until));
        let receipt = |offer: &Offer| {
            let (chain, contract) = domain_of(offer);
            let receipt = Receipt {
                agreement: ours.id.into(),
                due: Amount::wei(1),
                signature: Signature([0; 65]),
            };
            receipt_digest(&receipt, chain, contract)
        };
        assert_ne!(receipt(&ours), receipt(&theirs));
        assert_ne!(receipt(&ours), receipt(&contact));
    }

    #[test]
    fn receipts_signed_by_another_implementation_verify() {
        let receipt = Receipt {
            agreement: AgreementId([0x33; 32]),
            due: Amount::wei(77_777_777_777_777_777_777),
            signature: "0x5535785c9445086bd3dab9c4bf9c593d9e64ae9b27b1772e96d0a25e6ba0ea72566781b48192b42e24be7a7be9897b4d854b72e665884d4d0b717915eeb52d8d1b".parse().unwrap(),
        };
        let check = |chain, contract: u8, due| {
            verify_receipt(
                &Receipt {
                    due: Amount::wei(due),
                    ..receipt
                },
                ChainId(chain),
                ChainAddress([contract; 20]),
                SIGNER.parse().unwrap(),
            )
        };
        assert_eq!(check(1337, 0x22, receipt.due.units), Ok(()));
        assert!(check(1, 0x22, receipt.due.units).is_err(), "another chain");
        assert!(
            check(1337, 0x23, receipt.due.units).is_err(),
            "another contract"
        );
        assert!(
            check(1337, 0x22, receipt.due.units + 1).is_err(),
            "another sum"
        );
    }

    #[test]
    fn requests_are_bound_to_everything_in_them() {
        let signature: Signature = "0xadb93dc8e1201b7fe69d12091acf2ed21e15dfa2882d895f61f339f32607d32b3be135ea453cbc008f7fb4209671a4d0ea24e0b2986de1d08289da479c9244d01c".parse().unwrap();
        let request = RequestToSign {
            method: "POST",
            path: "/exec/v1/hello",
            body: br#"{"a":1}"#,
            nonce: Hash32([9; 32]),
            expires: UtcTime(1_800_000_000),
            provider: ChainAddress([0x44; 20]),
            chain: ChainId(1337),
        };
        let signer: ChainAddress = SIGNER.parse().unwrap();
        assert_eq!(verify_request(&request, &signature), Ok(signer));
        for forged in [
            RequestToSign {
                method: "PUT",
                ..request
            },
            RequestToSign {
                path: "/exec/v1/hello/",
                ..request
            },
            RequestToSign {
                body: b"{}",
                ..request
            },
            RequestToSign {
                nonce: Hash32([8; 32]),
                ..request
            },
            RequestToSign {
                expires: UtcTime(1_800_000_001),
                ..request
            },
            RequestToSign {
                provider: ChainAddress([0x45; 20]),
                ..request
            },
            RequestToSign {
                chain: ChainId(1),
                ..request
            },
        ] {
            assert_ne!(
                verify_request(&forged, &signature),
                Ok(signer),
                "{forged:?}"
            );
        }
    }

    #[test]
    fn every_term_of_an_offer_is_signed() {
        let good = escrow_offer();
        let mut variants = vec![good.clone(); 22];
        variants[0].provider = ChainAddress([1; 20]);
        variants[1].site.port = 8081;
        variants[2].slot.start = UtcTime(1);
        variants[3].slot.end = UtcTime(1_900_000_000);
        variants[4].hardware.pids = 65;
        variants[5].price_per_second = Amount::wei(1);
        variants[6].sla.notice_seconds = 11;
        variants[7].sla.receipt_interval_seconds = 31;
        variants[8].settlement = Settlement::Contact(String::new());
        variants[9].expires = UtcTime(1_900_000_000);
        variants[10].nonce = Hash32([8; 32]);
        variants[11].price_per_second.asset = Asset::Token(ChainAddress([5; 20]));
        variants[12].buyer = None;
        variants[13].guarantee.stake = 0;
        variants[14].guarantee.arbiter = None;
        variants[15].guarantee.answer_seconds = 0;
        variants[16].sla.round_trip_ms = 20;
        variants[17].conditions.region = "FI".parse().ok();
        variants[18].conditions.tee = "tdx".parse().ok();
        variants[19]
            .conditions
            .content
            .refuses
            .insert("mining".parse().unwrap());
        variants[20].conditions.content.text_hash = Some(Hash32([1; 32]));
        variants[21].conditions.content.text_url = Some("http://a".to_owned());
        let distinct: std::collections::BTreeSet<_> =
            variants.iter().map(|offer| offer_digest(offer).0).collect();
        assert_eq!(distinct.len(), variants.len());
        for forged in variants {
            assert_eq!(
                verify_offer(&forged),
                Err(SignatureError::WrongId),
                "{forged:?}"
            );
            let resealed = sign_offer(forged, |_| good.signature);
            assert!(
                matches!(
                    verify_offer(&resealed),
                    Err(SignatureError::WrongSigner { .. })
                ),
                "{resealed:?}"
            );
        }
    }

    #[test]
    fn the_twin_of_a_signature_is_refused() {
        let mut offer = escrow_offer();
        let order = U256::from_be_bytes([
            0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
            0xff, 0xfe, 0xba, 0xae, 0xdc, 0xe6, 0xaf, 0x48, 0xa0, 0x3b, 0xbf, 0xd2, 0x5e, 0x8c,
            0xd0, 0x36, 0x41, 0x41,
        ]);
        assert_eq!(HALF_ORDER, order >> 1);
        let s = U256::from_be_slice(&offer.signature.0[32..64]);
        offer.signature.0[32..64].copy_from_slice(&(order - s).to_be_bytes::<32>());
        offer.signature.0[64] ^= 0b111;
        assert_eq!(verify_offer(&offer), Err(SignatureError::Malformed));
        for v in [0, 1, 29, 37] {
            let mut offer = escrow_offer();
            offer.signature.0[64] = v;
            assert_eq!(
                verify_offer(&offer),
                Err(SignatureError::Malformed),
                "v = {v}"
            );
        }
        assert_eq!(
            recover(Hash32([1; 32]), &Signature([0; 65])),
            Err(SignatureError::Malformed)
        );
    }
}
