//! Findings of the checks: their order, what is accepted, and their reports.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// How bad a finding is; the worst sorts first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// A way across accounts is open.
    Error,
    /// A line of defence is weakened.
    Warning,
    /// Worth knowing.
    Info,
}

impl Severity {
    /// The severity of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "error" => Some(Self::Error),
            "warning" => Some(Self::Warning),
            "info" => Some(Self::Info),
            _ => None,
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
        }
    }

    /// What SARIF 2.1.0, section 3.27.10, calls it.
    fn sarif_level(self) -> &'static str {
        match self {
            Self::Info => "note",
            other => other.name(),
        }
    }
}

/// One thing a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Which check found it.
    pub code: String,
    /// The object at fault.
    pub object: String,
    /// What is wrong with it.
    pub detail: String,
    /// SQL that mends it, or nothing.
    pub fix: String,
    /// Why it is left as it is.
    pub accepted: Option<String>,
}

/// Somebody's decision to live with a finding, as it was when it was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acceptance {
    /// Code of the findings.
    pub code: String,
    /// Their object.
    pub object: String,
    /// What they said: a finding that says something else is another one.
    pub details: Vec<String>,
    /// How bad the worst of them was: one that became worse is another one, too.
    pub severity: Severity,
    /// Why, by whom and until when, in words.
    pub reason: String,
}

/// Code of the finding that an acceptance is of no use any more.
pub const UNUSED_ACCEPTANCE: &str = "00-acceptance-unused";

/// Marks what is accepted and sorts: open findings first, worst first.
///
/// With `complete`, when the findings are those of the whole database, an acceptance that matches
/// none of them is a finding itself.
pub fn judge(findings: &mut Vec<Finding>, acceptances: &[Acceptance], complete: bool) {
    for acceptance in acceptances {
        let mut used = false;
        for finding in findings.iter_mut() {
            if finding.code == acceptance.code
                && finding.object == acceptance.object
                && acceptance.details.contains(&finding.detail)
                && finding.severity >= acceptance.severity
            {
                finding.accepted = Some(acceptance.reason.clone());
                used = true;
            }
        }
        if complete && !used {
            findings.push(unused(acceptance));
        }
    }
    findings.sort_by(|a, b| key(a).cmp(&key(b)));
}

fn key(finding: &Finding) -> (bool, Severity, &str, &str, &str) {
    let Finding {
        code,
        object,
        detail,
        ..
    } = finding;
    (
        finding.accepted.is_some(),
        finding.severity,
        code,
        object,
        detail,
    )
}

fn unused(acceptance: &Acceptance) -> Finding {
    let quoted = |text: &str| crate::policy::literal(text);
    Finding {
        severity: Severity::Info,
        code: UNUSED_ACCEPTANCE.into(),
        object: acceptance.object.clone(),
        detail: format!("no finding {} is as it was accepted", acceptance.code),
        fix: format!(
            "SELECT tenant_guard.withdraw_acceptance({}, {});",
            quoted(&acceptance.code),
            quoted(&acceptance.object)
        ),
        accepted: None,
    }
}

/// How many open findings are at least this bad.
pub fn failing(findings: &[Finding], worst: Severity) -> Vec<&Finding> {
    let open = |finding: &&Finding| finding.accepted.is_none() && finding.severity <= worst;
    findings.iter().filter(open).collect()
}

/// The findings and their counts.
pub fn json(findings: &[Finding], version: &str) -> Value {
    let count = |severity| {
        let counted = |f: &&Finding| f.accepted.is_none() && f.severity == severity;
        findings.iter().filter(counted).count()
    };
    let rows: Vec<_> = findings
        .iter()
        .map(|finding| {
            json!({
                "severity": finding.severity.name(), "code": finding.code,
                "object": finding.object, "detail": finding.detail, "fix": finding.fix,
                "accepted": finding.accepted,
            })
        })
        .collect();
    json!({
        "tool": "tenant_guard",
        "version": version,
        "counts": {
            "error": count(Severity::Error),
            "warning": count(Severity::Warning),
            "info": count(Severity::Info),
            "accepted": findings.iter().filter(|finding| finding.accepted.is_some()).count(),
        },
        "findings": rows,
    })
}

/// The findings as a log of SARIF 2.1.0 (OASIS), with the objects as logical locations and what
/// is accepted as suppressed.
pub fn sarif(findings: &[Finding], version: &str) -> Value {
    let codes: BTreeMap<&str, ()> = findings.iter().map(|f| (f.code.as_str(), ())).collect();
    let rules: Vec<_> = codes.keys().map(|code| json!({ "id": code })).collect();
    let position = |code: &str| codes.keys().position(|known| *known == code);
    let results: Vec<_> = findings
        .iter()
        .map(|finding| {
            let suppressions: Vec<_> = finding
                .accepted
                .iter()
                .map(|reason| json!({ "kind": "external", "justification": reason }))
                .collect();
            json!({
                "ruleId": finding.code,
                "ruleIndex": position(&finding.code),
                "level": finding.severity.sarif_level(),
                "message": { "text": format!("{}: {}", finding.object, finding.detail) },
                "locations": [{ "logicalLocations": [{ "fullyQualifiedName": finding.object }] }],
                "suppressions": suppressions,
                "properties": { "fix": finding.fix },
            })
        })
        .collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": { "name": "tenant_guard", "version": version, "rules": rules } },
            "results": results,
        }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(severity: Severity, code: &str, object: &str, detail: &str) -> Finding {
        Finding {
            severity,
            code: code.into(),
            object: object.into(),
            detail: detail.into(),
            fix: String::new(),
            accepted: None,
        }
    }

    fn acceptance(code: &str, object: &str, detail: &str) -> Acceptance {
        Acceptance {
            code: code.into(),
            object: object.into(),
            details: vec![detail.into()],
            severity: Severity::Error,
            reason: "known".into(),
        }
    }

    fn found() -> Vec<Finding> {
        vec![
            finding(Severity::Info, "74-x", "s.i", "slow"),
            finding(Severity::Warning, "19-x", "s.v", "shows t"),
            finding(Severity::Error, "26-x", "s.t", "key a"),
            finding(Severity::Error, "26-x", "s.t", "key b"),
        ]
    }

    #[test]
    fn worst_comes_first_and_accepted_last() {
        let mut findings = found();
        judge(&mut findings, &[acceptance("26-x", "s.t", "key a")], true);
        let order: Vec<_> = findings.iter().map(|f| f.detail.as_str()).collect();
        assert_eq!(order, ["key b", "shows t", "slow", "key a"]);
        assert_eq!(findings[3].accepted.as_deref(), Some("known"));
        assert_eq!(failing(&findings, Severity::Error).len(), 1);
        assert_eq!(failing(&findings, Severity::Info).len(), 3);
    }

    #[test]
    fn acceptance_of_something_else_hides_nothing() {
        let mut findings = found();
        let other = [
            acceptance("26-x", "s.t", "key c"),
            acceptance("19-x", "s.t", "key a"),
        ];
        judge(&mut findings, &other, true);
        assert_eq!(failing(&findings, Severity::Error).len(), 2);
        let unused: Vec<_> = findings
            .iter()
            .filter(|f| f.code == UNUSED_ACCEPTANCE)
            .collect();
        assert_eq!(unused.len(), 2);
        assert_eq!(
            unused[0].fix,
            "SELECT tenant_guard.withdraw_acceptance('19-x', 's.t');"
        );
    }

    #[test]
    fn acceptance_of_a_warning_accepts_no_error() {
        let mut findings = found();
        let warned = Acceptance {
            severity: Severity::Warning,
            ..acceptance("26-x", "s.t", "key a")
        };
        judge(&mut findings, &[warned], false);
        assert_eq!(failing(&findings, Severity::Error).len(), 2);
        let milder = acceptance("19-x", "s.v", "shows t");
        judge(&mut findings, &[milder], false);
        assert_eq!(failing(&findings, Severity::Warning).len(), 2);
    }

    #[test]
    fn findings_of_some_schemas_make_no_acceptance_unused() {
        let mut findings = found();
        judge(&mut findings, &[acceptance("26-x", "elsewhere", "")], false);
        assert_eq!(findings.len(), 4);
    }

    #[test]
    fn reports_say_the_same() {
        let mut findings = found();
        judge(&mut findings, &[acceptance("26-x", "s.t", "key a")], true);
        let report = json(&findings, "1");
        assert_eq!(
            report["counts"],
            json!({ "error": 1, "warning": 1, "info": 1, "accepted": 1 })
        );
        let log = sarif(&findings, "1");
        let results = log["runs"][0]["results"].as_array().unwrap();
        assert_eq!(results.len(), 4);
        let levels: Vec<_> = results.iter().map(|result| &result["level"]).collect();
        assert_eq!(levels, ["error", "warning", "note", "error"]);
        assert_eq!(results[0]["ruleIndex"], 1);
        assert_eq!(results[0]["suppressions"], json!([]));
        assert_eq!(results[3]["suppressions"][0]["justification"], "known");
        assert_eq!(log["runs"][0]["tool"]["driver"]["rules"][2]["id"], "74-x");
    }
}
