//! What a provider's agent must be able to do to serve the IEP API.

use std::fmt;
use std::net::IpAddr;

use edge_ports::BoxFuture;
use edge_types::{AgreementId, ChainAddress, Hash32, Preferences};
use edge_wire::Problem;
use edge_wire::message::{
    AgreementRequest, AgreementView, CloseRequest, Deployment, DeploymentView, Greeting, Offers,
    ReceiptMessage, Reservation, ReservationRequest,
};
use edge_wire::prose::Prose;
use edge_wire::services::Services;

/// An answer under way.
pub type Reply<'a, T> = BoxFuture<'a, Result<T, Problem>>;

/// One site's part of the API. Bodies are validated; `caller` has signed the request, for this provider and chain, with a
/// nonce never seen before. Whether the caller may do what it asks is the service's to decide.
///
/// Every call can be repeated with a fresh nonce: a reservation is found again by its offer, an agreement by its id, a
/// deployment by its generation, and receipts are cumulative.
pub trait IepService: Send + Sync + fmt::Debug {
    /// `GET /`.
    fn greeting(&self) -> Greeting;
    /// `GET /services`: what is offered to clients here, if the owner lets it be known.
    fn services(&self) -> Result<Services, Problem>;
    /// `GET /agreements/{id}/bounce/{token}`: `http://authority` of the buyer's cloud service, while one of its workloads is deployed under
    /// this agreement.
    fn origin(&self, id: AgreementId) -> Option<String>;
    /// `GET /texts/{hash}`: the prose of an agreement or content policy. One that has none shows none.
    fn text(&self, hash: Hash32) -> Result<Prose, Problem> {
        let _ = hash;
        Err(Problem::NotFound)
    }
    /// `POST /hello`.
    fn hello(&self, preferences: Preferences) -> Reply<'_, Offers>;
    /// `POST /reservations`, from this address.
    fn reserve(
        &self,
        caller: ChainAddress,
        source: IpAddr,
        request: ReservationRequest,
    ) -> Reply<'_, Reservation>;
    /// `POST /agreements`.
    fn acknowledge(
        &self,
        caller: ChainAddress,
        request: AgreementRequest,
    ) -> Reply<'_, AgreementView>;
    /// `GET /agreements/{id}`.
    fn agreement(&self, caller: ChainAddress, id: AgreementId) -> Reply<'_, AgreementView>;
    /// `PUT /agreements/{id}/deployment`.
    fn deploy(
        &self,
        caller: ChainAddress,
        id: AgreementId,
        deployment: Deployment,
    ) -> Reply<'_, DeploymentView>;
    /// `GET /agreements/{id}/deployment`.
    fn deployment(&self, caller: ChainAddress, id: AgreementId) -> Reply<'_, DeploymentView>;
    /// `POST /agreements/{id}/receipts`.
    fn receipt(
        &self,
        caller: ChainAddress,
        id: AgreementId,
        receipt: ReceiptMessage,
    ) -> Reply<'_, AgreementView>;
    /// `POST /agreements/{id}/close`.
    fn close(
        &self,
        caller: ChainAddress,
        id: AgreementId,
        request: CloseRequest,
    ) -> Reply<'_, AgreementView>;
}
