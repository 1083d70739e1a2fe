//! One question of each zone goes first to a recursive resolver. One that knows nothing yet would else walk down from the root
//! for each of them, and ask the same servers hundreds of times where the way leads.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hickory_proto::rr::Name;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

/// How long the others wait for the first. A zone whose servers are dead keeps nobody longer.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long a resolver is taken to know the way.
const KNOWN_FOR: Duration = Duration::from_secs(30);
/// So many questions at a time may all go at once, and none waits for another: some paths of them, which have to be quick.
const FEW: usize = 256;
/// Zones remembered.
const MAX_ZONES: usize = 50_000;

/// Who goes first.
#[derive(Debug, Default)]
pub(crate) struct Vanguard {
    zones: Mutex<HashMap<Name, Gate>>,
    under_way: AtomicUsize,
}

#[derive(Clone, Debug)]
struct Gate {
    /// Without permits; closed when the first is back.
    first: Arc<Semaphore>,
    until: Instant,
}

/// One question less is under way when this is dropped.
struct UnderWay<'a>(&'a AtomicUsize);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Lets the others go, however the first came back.
struct Opens(Arc<Semaphore>);

impl Drop for Opens {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Vanguard {
    /// Asks about `name`; where there are many questions, once the first about a name beside it was answered.
    pub(crate) async fn after_first<T>(&self, name: &Name, ask: impl Future<Output = T>) -> T {
        let others = self.under_way.fetch_add(1, Ordering::Relaxed);
        let _less = UnderWay(&self.under_way);
        if others < FEW {
            return ask.await;
        }
        let (first, is_first) = self.gate(zone_of(name), Instant::now());
        if is_first {
            let _others = Opens(first);
            return ask.await;
        }
        // Closed, or late: both mean to go.
        let _back = timeout(PATIENCE, first.acquire()).await;
        ask.await
    }

    fn gate(&self, zone: Name, now: Instant) -> (Arc<Semaphore>, bool) {
        let mut zones = self.zones.lock().unwrap_or_else(PoisonError::into_inner);
        if zones.len() >= MAX_ZONES {
            zones.retain(|_, gate| now < gate.until);
            if zones.len() >= MAX_ZONES {
                zones.clear();
            }
        }
        if let Some(gate) = zones.get(&zone)
            && now < gate.until
        {
            return (Arc::clone(&gate.first), false);
        }
        let first = Arc::new(Semaphore::new(0));
        let gate = Gate {
            first: Arc::clone(&first),
            until: now + KNOWN_FOR,
        };
        zones.insert(zone, gate);
        (first, true)
    }
}

/// Where names beside this one are: above a host, or what a service belongs to.
fn zone_of(name: &Name) -> Name {
    let is_service = |name: &Name| {
        let first = name.iter().next();
        first.is_some_and(|label| label.first() == Some(&b'_'))
    };
    if !is_service(name) {
        return name.base_name();
    }
    let mut owner = name.base_name();
    while is_service(&owner) {
        owner = owner.base_name();
    }
    owner
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn others_of_the_zone_wait_for_the_first_but_not_for_long_and_only_in_a_crowd() {
        for (crowd, first_takes, others_after) in [(FEW, 100, 100), (FEW, 9000, 500), (0, 100, 0)] {
            let vanguard = Vanguard {
                under_way: crowd.into(),
                ..Vanguard::default()
            };
            let started = Instant::now();
            let gone = AtomicUsize::new(0);
            let other = async |owner: &str| {
                vanguard
                    .after_first(&name(owner), async {
                        gone.fetch_add(1, Ordering::Relaxed);
                        started.elapsed().as_millis()
                    })
                    .await
            };
            let owner = name("1.2.240.in-addr.arpa.");
            let first = vanguard.after_first(&owner, async {
                tokio::time::sleep(Duration::from_millis(first_takes)).await;
            });
            let ((), beside, elsewhere) = tokio::join!(
                first,
                other("2.2.240.in-addr.arpa."),
                other("2.3.240.in-addr.arpa.")
            );
            assert!(
                (others_after..others_after + 5).contains(&beside),
                "{beside}"
            );
            assert!(elsewhere < 5, "{elsewhere}");
            assert_eq!(gone.load(Ordering::Relaxed), 2);
        }
    }

    #[test]
    fn services_are_beside_what_they_belong_to() {
        for (of, want) in [
            ("1.2.240.in-addr.arpa.", "2.240.in-addr.arpa."),
            ("_edge._tcp.isp.example.", "isp.example."),
            ("site.isp.example.", "isp.example."),
            (".", "."),
        ] {
            assert_eq!(zone_of(&name(of)), name(want), "{of}");
        }
    }
}
