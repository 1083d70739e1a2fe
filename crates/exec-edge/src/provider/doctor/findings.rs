//! What the doctor found, a line each.

use edge_discovery::shown;
use edge_types::DnsName;
use serde_json::json;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Ok,
    Warning,
    Problem,
}

impl Verdict {
    const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Problem => "problem",
        }
    }
}

#[derive(Debug)]
struct Finding {
    verdict: Verdict,
    subject: String,
    check: &'static str,
    detail: String,
    remedy: Option<&'static str>,
}

/// All of them, in the order of the examination.
#[derive(Debug, Default)]
pub(super) struct Findings(Vec<Finding>);

impl Findings {
    pub(super) fn ok(&mut self, subject: &str, check: &'static str, detail: String) {
        self.add(Verdict::Ok, subject, check, detail, None);
    }

    pub(super) fn warning(
        &mut self,
        subject: &str,
        check: &'static str,
        detail: String,
        remedy: &'static str,
    ) {
        self.add(Verdict::Warning, subject, check, detail, Some(remedy));
    }

    pub(super) fn problem(
        &mut self,
        subject: &str,
        check: &'static str,
        detail: String,
        remedy: &'static str,
    ) {
        self.add(Verdict::Problem, subject, check, detail, Some(remedy));
    }

    fn add(
        &mut self,
        verdict: Verdict,
        subject: &str,
        check: &'static str,
        detail: String,
        remedy: Option<&'static str>,
    ) {
        self.0.push(Finding {
            verdict,
            subject: subject.to_owned(),
            check,
            detail,
            remedy,
        });
    }

    pub(super) fn problems(&self) -> usize {
        self.count(Verdict::Problem)
    }

    fn count(&self, verdict: Verdict) -> usize {
        self.0
            .iter()
            .filter(|finding| finding.verdict == verdict)
            .count()
    }

    /// A block for each subject, and a last line that sums up.
    pub(super) fn text(&self, zone: &DnsName) -> String {
        let width = self
            .0
            .iter()
            .map(|finding| finding.check.len())
            .max()
            .unwrap_or(0);
        let mut lines = Vec::new();
        let mut subject = "";
        for finding in &self.0 {
            if finding.subject != subject {
                subject = &finding.subject;
                lines.push(subject.to_owned());
            }
            let verdict = finding.verdict.word();
            let mut line = format!(
                "  {verdict:<7}  {:<width$}  {}",
                finding.check, finding.detail
            );
            if let Some(remedy) = finding.remedy {
                line += "; ";
                line += remedy;
            }
            lines.push(line);
        }
        let counted = |count: usize, name: &str| match count {
            0 => format!("no {name}s"),
            1 => format!("1 {name}"),
            count => format!("{count} {name}s"),
        };
        let problems = counted(self.problems(), "problem");
        lines.push(format!(
            "{}: {problems}, {}",
            shown(zone),
            counted(self.count(Verdict::Warning), "warning")
        ));
        lines.join("\n")
    }

    pub(super) fn json(&self, zone: &DnsName) -> String {
        let checks: Vec<_> = self
            .0
            .iter()
            .map(|finding| {
                json!({
                    "subject": finding.subject,
                    "check": finding.check,
                    "verdict": finding.verdict.word(),
                    "detail": finding.detail,
                    "remedy": finding.remedy,
                })
            })
            .collect();
        json!({ "zone": zone.as_str(), "problems": self.problems(), "checks": checks }).to_string()
    }
}
