//! Questions asked and what came of them, each kept for its own time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use edge_types::{DnsName, MonotonicTime};

use crate::config::Limits;
use crate::key_record;
use crate::question::{Answer, NoAnswer, Question, RecordData, RecordKind, Security};
use crate::trail::{Lookup, NotAsked};

/// Who has to look again when a question is answered.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Dependent {
    /// A hop address.
    Address(std::net::IpAddr),
    /// The candidate zones from this one upwards.
    Ladder(DnsName),
    /// A zone.
    Zone(DnsName),
}

/// Records of an answer, cut to the limit.
#[derive(Clone, Debug)]
pub(crate) struct Records<'a> {
    pub(crate) data: &'a [RecordData],
    pub(crate) over_limit: usize,
    pub(crate) security: Security,
}

#[derive(Debug)]
struct Entry {
    state: State,
    answer: Option<Answer>,
    over_limit: usize,
    valid_until: MonotonicTime,
    dependents: BTreeSet<Dependent>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    Queued,
    InFlight,
    NotAsked(NotAsked),
}

/// A period in which questions may be asked.
#[derive(Clone, Copy, Debug)]
struct Run {
    deadline: MonotonicTime,
    questions_left: usize,
}

#[derive(Debug, Default)]
pub(crate) struct Cache {
    entries: BTreeMap<Question, Entry>,
    /// Questions late in the chain go first, so that results come early.
    late: VecDeque<Question>,
    early: VecDeque<Question>,
    in_flight: usize,
    run: Option<Run>,
}

impl Cache {
    pub(crate) fn start_run(&mut self, limits: &Limits, now: MonotonicTime) {
        self.run = Some(Run {
            deadline: now.after(limits.run_time),
            questions_left: limits.questions_per_run,
        });
        for entry in self.entries.values_mut() {
            entry.dependents.clear();
        }
    }

    /// Gives an open run its full time again.
    pub(crate) fn extend_run(&mut self, limits: &Limits, now: MonotonicTime) {
        if let Some(run) = &mut self.run
            && now < run.deadline
        {
            run.deadline = now.after(limits.run_time);
        }
    }

    /// Forgets what nobody asks for any more.
    pub(crate) fn prune(&mut self) {
        self.entries.retain(|_, entry| {
            !entry.dependents.is_empty() || matches!(entry.state, State::Queued | State::InFlight)
        });
    }

    /// Ends the run: what is under way counts as unanswered, what is queued as not asked.
    pub(crate) fn end_run(&mut self, now: MonotonicTime) {
        self.run = None;
        self.in_flight = 0;
        self.late.clear();
        self.early.clear();
        for entry in self.entries.values_mut() {
            match entry.state {
                State::InFlight => {
                    entry.state = State::Idle;
                    entry.answer = Some(Answer::Unanswered(NoAnswer::RunOver));
                    entry.valid_until = now;
                }
                State::Queued => entry.state = State::NotAsked(NotAsked::RunOver),
                State::Idle | State::NotAsked(_) => {}
            }
        }
    }

    pub(crate) fn deadline(&self) -> Option<MonotonicTime> {
        self.run.map(|run| run.deadline)
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.in_flight == 0 && self.late.is_empty() && self.early.is_empty()
    }

    /// `dependent` wants to know the answer; asks if it is not known or no longer holds.
    pub(crate) fn want(
        &mut self,
        question: &Question,
        dependent: Dependent,
        limits: &Limits,
        now: MonotonicTime,
    ) {
        let entry = self
            .entries
            .entry(question.clone())
            .or_insert_with(|| Entry {
                state: State::Idle,
                answer: None,
                over_limit: 0,
                valid_until: now,
                dependents: BTreeSet::new(),
            });
        entry.dependents.insert(dependent);
        if matches!(entry.state, State::Queued | State::InFlight) || now < entry.valid_until {
            return;
        }
        entry.state = match &mut self.run {
            None => State::NotAsked(NotAsked::RunOver),
            Some(run) if run.questions_left == 0 => State::NotAsked(NotAsked::OverBudget {
                limit: limits.questions_per_run,
            }),
            Some(run) => {
                run.questions_left -= 1;
                if question.is_reverse() {
                    self.early.push_back(question.clone());
                } else {
                    self.late.push_back(question.clone());
                }
                State::Queued
            }
        };
    }

    pub(crate) fn poll(&mut self, now: MonotonicTime) -> Option<Question> {
        if self.run.is_none_or(|run| now >= run.deadline) {
            return None;
        }
        let question = self.late.pop_front().or_else(|| self.early.pop_front())?;
        let entry = self.entries.get_mut(&question)?;
        entry.state = State::InFlight;
        self.in_flight += 1;
        Some(question)
    }

    /// Takes an answer to a question that is under way; who has to look again. Anything else is ignored.
    pub(crate) fn answer(
        &mut self,
        question: &Question,
        mut answer: Answer,
        limits: &Limits,
        now: MonotonicTime,
    ) -> BTreeSet<Dependent> {
        let Some(entry) = self
            .entries
            .get_mut(question)
            .filter(|entry| entry.state == State::InFlight)
        else {
            return BTreeSet::new();
        };
        self.in_flight -= 1;
        entry.state = State::Idle;
        entry.over_limit = normalize(&mut answer, question, limits);
        entry.valid_until = now.after(lifetime(&answer, limits));
        entry.answer = Some(answer);
        entry.dependents.clone()
    }

    pub(crate) fn lookup(&self, question: &Question) -> Lookup<Records<'_>> {
        let Some(entry) = self.entries.get(question) else {
            return Lookup::Pending;
        };
        match (entry.state, &entry.answer) {
            (State::Queued | State::InFlight, None) => Lookup::Pending,
            (State::NotAsked(reason), None) => Lookup::NotAsked(reason),
            (State::Idle, None) => Lookup::NotAsked(NotAsked::RunOver),
            // While an expired answer is asked again, the old one stands.
            (
                _,
                Some(Answer::Records {
                    records, security, ..
                }),
            ) => Lookup::Records(Records {
                data: records,
                over_limit: entry.over_limit,
                security: *security,
            }),
            (_, Some(Answer::Absent { absence, soa, .. })) => Lookup::Absent {
                absence: *absence,
                apex: soa.as_ref().map(|soa| soa.apex.clone()),
            },
            (_, Some(Answer::Unanswered(reason))) => Lookup::Unanswered(reason.clone()),
        }
    }
}

/// Sorts the records, drops repetitions, records of another kind and those over the limit; how many were over it.
fn normalize(answer: &mut Answer, question: &Question, limits: &Limits) -> usize {
    let kind = question.kind;
    let Answer::Records { records, .. } = answer else {
        return 0;
    };
    records.retain(|record| is_of_kind(record, kind));
    if records.is_empty() {
        *answer = Answer::Unanswered(NoAnswer::Malformed {
            detail: "records, but none of the kind asked for",
        });
        return 0;
    }
    // Of texts only key records are kept, so that other texts at the same name cannot push them over the limit.
    records.retain(|record| match record {
        RecordData::Txt(strings) => key_record::is_key_record(strings),
        _ => true,
    });
    let limit = match kind {
        RecordKind::Ptr if question.is_reverse() => limits.names_per_address,
        RecordKind::Ptr => limits.instances_per_zone,
        RecordKind::Srv => limits.targets_per_zone,
        // Of these a site takes fewer; a router's own may be the last.
        RecordKind::A | RecordKind::Aaaa => limits.addresses_per_name,
        RecordKind::Txt => limits.texts_per_name,
        RecordKind::Tlsa => limits.pins_per_target,
    };
    records.sort_unstable();
    records.dedup();
    let over_limit = records.len().saturating_sub(limit);
    records.truncate(limit);
    records.shrink_to_fit();
    over_limit
}

const fn is_of_kind(record: &RecordData, kind: RecordKind) -> bool {
    matches!(
        (record, kind),
        (RecordData::Ptr(_), RecordKind::Ptr)
            | (RecordData::Srv(_), RecordKind::Srv)
            | (RecordData::Address(std::net::IpAddr::V4(_)), RecordKind::A)
            | (
                RecordData::Address(std::net::IpAddr::V6(_)),
                RecordKind::Aaaa
            )
            | (RecordData::Txt(_), RecordKind::Txt)
            | (RecordData::Tlsa(_), RecordKind::Tlsa)
    )
}

fn lifetime(answer: &Answer, limits: &Limits) -> Duration {
    let within = |seconds: u32, (shortest, longest): (Duration, Duration)| {
        Duration::from_secs(seconds.into())
            .min(longest)
            .max(shortest)
    };
    match answer {
        Answer::Records { ttl_seconds, .. } => within(*ttl_seconds, limits.record_lifetime),
        Answer::Absent { soa, .. } => within(
            soa.as_ref().map_or(0, |soa| soa.negative_ttl_seconds),
            limits.absence_lifetime,
        ),
        Answer::Unanswered(_) => limits.retry_after,
    }
}
