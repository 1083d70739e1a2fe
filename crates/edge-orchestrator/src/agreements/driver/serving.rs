//! Does what was deployed serve, is it our container, and how far are it and its clients?

use std::net::SocketAddr;
use std::time::Duration;

use edge_http::challenge::{ChallengeFailure, ChallengeKey, challenge};
use edge_negotiation::Heard;
use edge_types::{AgreementId, Rtt, WorkloadState};

use super::{Driver, Failure};
use crate::health;

/// Health checks for each time that a site is asked how far its clients are.
const CHECKS_PER_REPORT: u32 = 10;

/// One health check in so many is a challenge, which one cannot be foreseen.
const CHALLENGE_ONE_IN: u32 = 5;

/// Challenges before the shortest counts as the container's distance: others waited for the processor.
const ENOUGH: u32 = 5;

/// Longest wait for the answer to a challenge.
const PATIENCE: Duration = Duration::from_secs(3);

/// What challenges to a site's container came to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Challenges {
    met: u32,
    shortest: Option<Duration>,
}

impl Driver {
    /// Asks through the client-facing address; the provider is asked for that address first.
    pub(super) async fn check_health(&mut self, id: AgreementId) -> Result<(), Failure> {
        if self.written.serving_at.is_none() {
            let view = self.client.deployment(id).await;
            self.written.serving_at = match view.map_err(Failure::Http)?.state {
                // A provider may name only its own entry point's address: anything else was never checked.
                WorkloadState::Running { address }
                    if address.ip() == self.written.entry_point.ip() =>
                {
                    Some(address)
                }
                _ => None,
            };
        }
        self.checks += 1;
        if self.checks.is_multiple_of(CHECKS_PER_REPORT) {
            self.ask_for_distances(id).await;
        }
        let is_healthy = match self.written.serving_at {
            Some(address) => self.answers(address).await,
            None => false,
        };
        if is_healthy && self.bounces.is_none() {
            let bounces = self.client.bounces(id).await;
            self.bounces = Some(bounces);
            if !bounces {
                let told =
                    "its entry point sends no clients back: how far they are is not measured";
                let now = self.shared.clock.utc();
                self.written.step(now, told.to_owned());
            }
        }
        self.negotiation
            .handle_health(is_healthy, self.shared.now());
        Ok(())
    }

    /// Asks the site how far its clients are. That it does not say is no failure.
    async fn ask_for_distances(&mut self, id: AgreementId) {
        let Ok(view) = self.client.deployment(id).await else {
            return;
        };
        let reported: Vec<_> = view
            .round_trips
            .into_iter()
            .map(|reported| {
                let rtt = Rtt(Duration::from_micros(reported.micros.into()));
                (reported.clients, rtt)
            })
            .collect();
        for (clients, rtt) in &reported {
            self.negotiation.hear(Heard::Reported {
                network: clients.trunc(),
                rtt: *rtt,
            });
        }
        let now = self.shared.clock.monotonic();
        let grouping = self.shared.settings.grouping;
        let is_news = self
            .shared
            .book()
            .measured
            .report(&self.offer.site, grouping, reported, now);
        if is_news {
            self.shared.serving_changed.notify_one();
        }
    }

    /// With which the container answers challenges; made at the first deployment and kept over restarts.
    pub(super) fn challenge_key(&mut self) -> Option<ChallengeKey> {
        self.shared.settings.edge_service.challenge.as_ref()?;
        if self.written.challenge.is_none() {
            let mut octets = [0; 32];
            getrandom::fill(&mut octets).ok()?;
            self.written.challenge = Some(ChallengeKey::new(octets));
            self.write(false);
        }
        self.written.challenge.clone()
    }

    /// Does it answer 200, or the challenge that only our container can answer?
    async fn answers(&mut self, address: SocketAddr) -> bool {
        let service = &self.shared.settings.edge_service;
        let (Some(path), Some(key)) = (&service.challenge, &self.written.challenge) else {
            return health::answers(address, &service.health).await;
        };
        // No random numbers: it is asked all the same, foreseeable or not.
        let dice = getrandom::u64().unwrap_or(u64::from(self.checks));
        let is_due = self.challenges.met == 0 || dice % u64::from(CHALLENGE_ONE_IN) == 0;
        if !is_due {
            return health::answers(address, &service.health).await;
        }
        let nonce = format!("{dice:016x}");
        match challenge(address, path, key, &nonce, PATIENCE).await {
            Ok(took) => {
                self.note_distance(took);
                true
            }
            Err(ChallengeFailure::NoAnswer) => false,
            Err(failure @ ChallengeFailure::Wrong) => {
                let told = format!("its service is {failure}");
                if !self.written.steps.iter().any(|(_, step)| *step == told) {
                    self.written.step(self.shared.clock.utc(), told);
                }
                false
            }
        }
    }

    /// Takes the time of a challenge that was met for how far the container is, once there were enough.
    fn note_distance(&mut self, took: Duration) {
        let challenges = &mut self.challenges;
        challenges.met = challenges.met.saturating_add(1);
        let shortest = challenges.shortest.map_or(took, |known| known.min(took));
        let is_news = challenges.met == ENOUGH
            || (challenges.met > ENOUGH && challenges.shortest != Some(shortest));
        challenges.shortest = Some(shortest);
        if !is_news {
            return;
        }
        let key = (self.offer.site.clone(), self.offer.id);
        if let Some(open) = self.shared.book().open.get_mut(&key) {
            open.container = Some(Rtt(shortest));
        }
        self.shared.serving_changed.notify_one();
    }
}
