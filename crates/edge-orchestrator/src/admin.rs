//! The admin interface: status and control over a Unix socket, so that file permissions say who may use it.
//!
//! `GET /status`, `GET /tree`, `GET /plan`; `POST /wind-down` stops new agreements and lets the open ones run out, which is also the
//! kill switch for spending (security rule 13) and holds after a restart; `POST /resume` allows spending again;
//! `POST /agreements/{id}/close` ends an agreement before its time; `POST /agreements/import`, with an `?address=` of the site where
//! none is configured, takes up a contract that people made.

use std::path::Path;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path as InPath, RawQuery, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use edge_wire::MAX_BODY_BYTES;
use tokio::net::UnixListener;
use tokio::sync::Notify;

use crate::agreements::Agreements;
use crate::plan_report::PlanReport;
use crate::sites::with_cause;
use crate::status::{Status, StatusReport, TreeReport};

/// What the admin interface acts on.
#[derive(Clone, Debug)]
pub struct Admin {
    /// Source of the answers.
    pub status: Arc<Status>,
    /// Brings the report up to date before it is shown.
    pub refresh: Arc<dyn Refresh>,
    /// What is stopped and closed.
    pub agreements: Arc<Agreements>,
    /// Wakes the placement task.
    pub wake: Arc<Notify>,
}

/// Fills in what is counted elsewhere.
pub trait Refresh: Send + Sync + std::fmt::Debug {
    /// Updates the report.
    fn refresh(&self, report: &mut StatusReport);
}

/// Serves the interface at `socket`, replacing a stale one, until the future is dropped.
///
/// # Errors
/// The socket cannot be made.
pub async fn serve(socket: &Path, admin: Admin) -> std::io::Result<()> {
    match std::fs::remove_file(socket) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(socket)?;
    let router = Router::new()
        .route("/status", get(status))
        .route("/tree", get(tree))
        .route("/plan", get(plan))
        .route("/wind-down", post(wind_down))
        .route("/resume", post(resume))
        .route("/agreements/{id}/close", post(close))
        .route(
            "/agreements/import",
            post(import).layer(DefaultBodyLimit::max(MAX_BODY_BYTES)),
        )
        .with_state(admin);
    axum::serve(listener, router).await
}

async fn status(State(admin): State<Admin>) -> Json<StatusReport> {
    admin.status.update(|report| admin.refresh.refresh(report));
    Json(admin.status.report())
}

async fn tree(State(admin): State<Admin>) -> Json<TreeReport> {
    Json(admin.status.tree())
}

async fn plan(State(admin): State<Admin>) -> Result<Json<PlanReport>, StatusCode> {
    let plan = admin.status.plan();
    plan.map(|plan| Json((*plan).clone()))
        .ok_or(StatusCode::NOT_FOUND)
}

async fn wind_down(State(admin): State<Admin>) -> Result<Json<bool>, StatusCode> {
    stop_spending(&admin, true)
}

async fn resume(State(admin): State<Admin>) -> Result<Json<bool>, StatusCode> {
    stop_spending(&admin, false)
}

fn stop_spending(admin: &Admin, is_stopped: bool) -> Result<Json<bool>, StatusCode> {
    let wrote = admin.agreements.stop_spending(is_stopped);
    admin.wake.notify_one();
    match wrote {
        Ok(()) => Ok(Json(true)),
        Err(error) => {
            tracing::error!(%error, "that spending is stopped or not is not written down");
            Err(StatusCode::INTERNAL_SERVER_ERROR)
        }
    }
}

async fn close(
    State(admin): State<Admin>,
    InPath(id): InPath<String>,
) -> Result<Json<bool>, StatusCode> {
    let id = id.parse().map_err(|_| StatusCode::BAD_REQUEST)?;
    if admin.agreements.close(id) {
        Ok(Json(true))
    } else {
        Err(StatusCode::NOT_FOUND)
    }
}

async fn import(
    State(admin): State<Admin>,
    RawQuery(query): RawQuery,
    contract: Bytes,
) -> Result<Json<String>, (StatusCode, String)> {
    let query = query.unwrap_or_default();
    let address = match query.strip_prefix("address=").map(str::parse) {
        None => None,
        Some(Ok(address)) => Some(address),
        Some(Err(_)) => {
            let problem = "the address is not IP:PORT".to_owned();
            return Err((StatusCode::BAD_REQUEST, problem));
        }
    };
    let taken = admin.agreements.import(&contract, address);
    admin.wake.notify_one();
    taken
        .map(|id| Json(id.to_string()))
        .map_err(|error| (StatusCode::BAD_REQUEST, with_cause(&error)))
}
