//! The admin interface: status and control over a Unix socket, so that file permissions say who may use it.
//!
//! `GET /status`, `GET /tree`; `POST /wind-down` stops new agreements and lets the open ones run out, which is also the
//! kill switch for spending (security rule 13).

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use tokio::net::UnixListener;
use tokio::sync::Notify;

use crate::status::{Status, StatusReport, TreeReport};

/// What the admin interface acts on.
#[derive(Clone, Debug)]
pub struct Admin {
    /// Source of the answers.
    pub status: Arc<Status>,
    /// Brings the report up to date before it is shown.
    pub refresh: Arc<dyn Refresh>,
    /// Set when no new agreement may be made.
    pub winding_down: Arc<AtomicBool>,
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
        .route("/wind-down", post(wind_down))
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

async fn wind_down(State(admin): State<Admin>) -> Json<bool> {
    admin.winding_down.store(true, Ordering::Relaxed);
    admin.wake.notify_one();
    Json(true)
}
