//! What was found, for people and for programs.

use std::fmt::Write as _;

use serde_json::{Value, json};
use tenant_guard_core::bundle::Summary;
use tenant_guard_core::checkpoint::Checkpoint;
use tenant_guard_core::ledger::Finding;
use tenant_guard_core::ledger::retention::{Rule, Statement};
use tenant_guard_core::receipt::Shown;
use tenant_guard_core::witness::Judgement;

use crate::exit;

/// The result of a command. `judged` is none where nobody asked who signed.
pub(crate) enum Report {
    Bundle {
        findings: Vec<Finding>,
        summary: Summary,
        judged: Option<Judgement>,
    },
    Receipt {
        shown: Box<Shown>,
        judged: Option<Judgement>,
    },
    Consistent {
        before: Checkpoint,
        after: Checkpoint,
        judged: Option<Judgement>,
    },
    /// A receipt or a proof that shows nothing.
    NotProven(String),
}

impl Report {
    pub(crate) fn exit(&self) -> u8 {
        let judged = match self {
            Self::NotProven(_) => return exit::FINDINGS,
            Self::Bundle { findings, .. } if !findings.is_empty() => return exit::FINDINGS,
            Self::Bundle { judged, .. }
            | Self::Receipt { judged, .. }
            | Self::Consistent { judged, .. } => judged,
        };
        match judged.as_ref().is_none_or(Judgement::is_good) {
            true => exit::INTACT,
            false => exit::UNSIGNED,
        }
    }

    fn verdict(&self) -> &'static str {
        match self.exit() {
            exit::INTACT => "intact",
            exit::UNSIGNED => "not signed as asked",
            _ => "damaged",
        }
    }

    pub(crate) fn text(&self, as_json: bool) -> String {
        match as_json {
            true => format!("{}\n", self.json()),
            false => self.prose(),
        }
    }

    fn json(&self) -> Value {
        let mut object = match self {
            Self::Bundle {
                findings, summary, ..
            } => json!({
                "kind": "bundle",
                "account": summary.account,
                "blocks": summary.blocks,
                "events": summary.events,
                "unsealed_events": summary.unsealed,
                "checkpoint": summary.checkpoints.last(),
                "retention": rules_json(&summary.rules),
                "findings": findings.iter().map(finding_json).collect::<Vec<_>>(),
            }),
            Self::Receipt { shown, .. } => json!({
                "kind": "receipt",
                "event_id": shown.event.to_string(),
                "account": shown.account,
                "block": shown.block,
                "checkpoint": shown.checkpoint.to_string(),
            }),
            Self::Consistent { before, after, .. } => json!({
                "kind": "consistency",
                "old": before.to_string(),
                "new": after.to_string(),
            }),
            Self::NotProven(problem) => json!({ "kind": "proof", "problem": problem }),
        };
        object["verdict"] = self.verdict().into();
        object["signatures"] = self.judged().map_or(Value::Null, judgement_json);
        object
    }

    fn judged(&self) -> Option<&Judgement> {
        match self {
            Self::Bundle { judged, .. }
            | Self::Receipt { judged, .. }
            | Self::Consistent { judged, .. } => judged.as_ref(),
            Self::NotProven(_) => None,
        }
    }

    fn prose(&self) -> String {
        let mut text = String::new();
        let mut line = |content: String| {
            text.push_str(&printable(&content));
            text.push('\n');
        };
        match self {
            Self::Bundle {
                findings, summary, ..
            } => {
                findings
                    .iter()
                    .for_each(|finding| line(finding_line(finding)));
                let of = summary
                    .account
                    .as_ref()
                    .map_or(String::new(), |account| format!(" of account {account:?}"));
                line(format!(
                    "{} blocks, {} events{of}, {} not sealed yet: {}",
                    summary.blocks,
                    summary.events,
                    summary.unsealed,
                    match findings.len() {
                        0 => "intact".to_owned(),
                        1 => "1 finding".to_owned(),
                        count => format!("{count} findings"),
                    }
                ));
                rules(&summary.rules).for_each(|(what, rule)| line(rule_line(&what, rule)));
            }
            Self::Receipt { shown, .. } => line(format!(
                "event {} of account {:?} is in block {}, epoch {}, of the ledger at size {}",
                shown.event,
                shown.account,
                shown.block,
                shown.checkpoint.epoch,
                shown.checkpoint.size
            )),
            Self::Consistent { before, after, .. } => line(format!(
                "size {} of epoch {} grew out of size {} of epoch {}",
                after.size, after.epoch, before.size, before.epoch
            )),
            Self::NotProven(problem) => line(format!("not proven: {problem}")),
        }
        match self.judged() {
            Some(judged) => line(judgement_line(judged)),
            None if matches!(self, Self::NotProven(_)) => {}
            None => line("signatures were not asked for: --key or --policy".to_owned()),
        }
        text
    }
}

/// What was read may hold anything, and must not steer the terminal it is shown on.
pub(crate) fn printable(text: &str) -> String {
    let shown = |c: char| match c {
        // Marks that turn the direction of writing, and so the order in which a line is read.
        '\u{61c}' | '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            true
        }
        c => c.is_control(),
    };
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match shown(c) {
            true => out.extend(c.escape_default()),
            false => out.push(c),
        }
    }
    out
}

/// What programs are told where nothing could be checked.
pub(crate) fn unreadable(problem: &str) -> String {
    let object = json!({ "kind": "error", "verdict": "unreadable", "problem": problem });
    format!("{object}\n")
}

fn finding_line(finding: &Finding) -> String {
    let mut line = finding.code.to_string();
    if let Some(block) = finding.block {
        let _ = write!(line, ", block {block}");
    }
    if let Some(account) = &finding.account {
        let _ = write!(line, ", account {account:?}");
    }
    if let Some(event) = &finding.event_id {
        let _ = write!(line, ", event {event}");
    }
    if let Some(relation) = &finding.relation {
        let _ = write!(line, " of {relation}");
    }
    let _ = write!(line, ": {}", finding.detail);
    line
}

/// The rules of retention a ledger was judged by, each with what it is about.
fn rules(stated: &Statement) -> impl Iterator<Item = (String, Rule)> {
    let of = |(relation, rule): (&String, &Rule)| match relation.as_str() {
        "" => ("data".to_owned(), *rule),
        relation => (format!("data of {relation}"), *rule),
    };
    let events = stated.events.map(|rule| ("events".to_owned(), rule));
    stated.payload.iter().map(of).chain(events)
}

fn rule_line(what: &str, rule: Rule) -> String {
    let days = rule.keep as f64 / 86_400e6;
    let gone = rule
        .before
        .map_or("none of it let go".to_owned(), |before| {
            format!(
                "let go what was sealed before {} s",
                before.div_euclid(1_000_000)
            )
        });
    format!("{what} is kept for {days} days at least, {gone}")
}

fn rules_json(stated: &Statement) -> Value {
    let rule = |(what, rule): (String, Rule)| json!({ "of": what, "keep": rule.keep, "before": rule.before });
    rules(stated).map(rule).collect()
}

fn finding_json(finding: &Finding) -> Value {
    json!({
        "code": finding.code.as_str(),
        "block": finding.block,
        "account_id": finding.account,
        "event_id": finding.event_id,
        "relation": finding.relation,
        "detail": finding.detail,
    })
}

fn judgement_line(judged: &Judgement) -> String {
    let log = match judged.log_signed {
        true => "signed by the ledger's key",
        false => "not signed by the ledger's key",
    };
    let witnesses: Vec<_> = judged
        .witnesses
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    let witnesses = match witnesses.as_slice() {
        [] => "no witness".to_owned(),
        names => format!("witnesses {}", names.join(", ")),
    };
    let quorum = if judged.quorum {
        ""
    } else {
        ", which are too few"
    };
    let forged = match judged.forged.as_slice() {
        [] => String::new(),
        keys => format!("; forged signatures of {}", keys.join(", ")),
    };
    format!("{log}; {witnesses}{quorum}{forged}")
}

fn judgement_json(judged: &Judgement) -> Value {
    let witnesses = judged.witnesses.iter();
    let witnesses: Vec<_> = witnesses
        .map(|(name, time)| json!({ "name": name, "time": time }))
        .collect();
    json!({
        "log": judged.log_signed,
        "witnesses": witnesses,
        "quorum": judged.quorum,
        "forged": judged.forged,
    })
}
