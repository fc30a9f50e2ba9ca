//! Readers of declarations, and of what the extension itself wrote and somebody may have changed since.

use serde_json::Value;
use tenant_guard_core::bucket::Template;
use tenant_guard_core::erasure;
use tenant_guard_core::event::{Entry, EventKey};
use tenant_guard_core::history::{
    Event, Fold, Names, Position, Scope, canonical, qualified, split,
};
use tenant_guard_core::ledger::retention::{Rule, Statement, What};
use tenant_guard_core::manifest::Manifest;
use tenant_guard_core::origin::Origin;
use tenant_guard_core::permission::Condition;
use tenant_guard_core::reads::{Act, Record, Who};
use tenant_guard_core::trigger::CaptureRule;

use crate::targets::{self, Target};

pub(crate) static STORED: [Target; 12] = [
    Target {
        name: "manifest",
        seeds: manifest_seeds,
        words: &[
            "version",
            "issuers",
            "roles",
            "relations",
            "governed_schemas",
            "audited",
            "archetype",
            "account",
            "child",
            "shared",
            "via",
            "parent",
            "permissions",
            "role",
            "commands",
            "scope",
            "select",
            "columns",
            "personal",
            "redact",
            "PT30S",
            "inherits",
            "crm.contact",
            "null",
            "[]",
            "{}",
        ],
        judge: manifest,
        least_outcomes: 20,
    },
    Target {
        name: "buffered read",
        seeds: read_seeds,
        words: &["\0\0\0\0", "\x01\0\0\0", "a"],
        judge: buffered_read,
        least_outcomes: 2,
    },
    Target {
        name: "history",
        seeds: history_seeds,
        words: &[
            "row\t",
            "system\t",
            "insert\t",
            "update\t",
            "delete\t",
            "truncate\t",
            "baseline\t",
            "protect\t",
            "ddl\t",
            "unprotect\t",
            "{\"id\":1}",
            "{\"new\":",
            "\"changed\":",
            "actions",
            "renamed",
            "dropped",
            "null",
            "\n",
            "\t",
        ],
        judge: history,
        least_outcomes: 6,
    },
    Target {
        name: "position in the feed",
        seeds: || vec![b"12-00ff00ff00ff00ff/9f86d081884c7d65-1234-7".to_vec()],
        words: &["-", "/", "+1", "F"],
        judge: targets::canonical::<Position>,
        least_outcomes: 2,
    },
    Target {
        name: "condition of a policy",
        seeds: || {
            vec![
                b"((account_id = tenant_guard.current_account_text()) AND (NOT (hidden OR (level > 3))))".to_vec(),
                b"(true AND (name = 'AND (OR'::text))".to_vec(),
            ]
        },
        words: &[
            "(", ")", " AND ", " OR ", "NOT ", "true", "false", "'", "\"", "CASE ", " END",
        ],
        judge: condition,
        least_outcomes: 5,
    },
    Target {
        name: "rule of capture",
        seeds: || {
            vec![
                br#"{"include":["a"],"hash":["b"],"personal":["c"],"skip_unchanged":true}"#
                    .to_vec(),
                br#"{"exclude":["a","b"],"truncate_rows":true}"#.to_vec(),
            ]
        },
        words: &[
            "include",
            "exclude",
            "hash",
            "personal",
            "skip_unchanged",
            "truncate_rows",
            "true",
            "[]",
            "null",
        ],
        judge: rule,
        least_outcomes: 3,
    },
    Target {
        name: "erasure",
        seeds: || {
            let key = |ordinal| EventKey {
                incarnation: 5,
                xid: 9,
                ordinal,
            };
            vec![erasure::data(&[key(1), key(2)], "GDPR Art. 17", Some("asked")).into_bytes()]
        },
        words: &[
            "erased",
            "legal_basis",
            "reason",
            "{}",
            "[]",
            "null",
            "-1",
            "18446744073709551615",
        ],
        judge: named,
        least_outcomes: 3,
    },
    Target {
        name: "rules of retention",
        seeds: rules_seeds,
        words: &[
            "retention",
            "relation",
            "keep",
            "before",
            "null",
            "86400000000",
            "-0",
            "1e3",
            "[]",
            "{}",
        ],
        judge: rules,
        least_outcomes: 3,
    },
    Target {
        name: "canonical JSON",
        seeds: || {
            vec![
                br#"{"b": 1.50e2, "a": ["\u0041", {"c": -0.0}], "a ": null}"#.to_vec(),
                br#"{"id":"x","n":100000000000000000000.10}"#.to_vec(),
            ]
        },
        words: &[
            "\\u00", "e+", "E-3", "0", ".0", "{\"a\":", "[", "]", "}", ",", "\\ud83d", "\\ude00",
        ],
        judge: canonical_json,
        least_outcomes: 3,
    },
    Target {
        name: "name of a relation",
        seeds: || {
            vec![
                b"public.item".to_vec(),
                br#""Sch.ema"."a ""b"" c""#.to_vec(),
            ]
        },
        words: &["\"", "\"\"", ".", " ", "A"],
        judge: relation_name,
        least_outcomes: 2,
    },
    Target {
        name: "origin",
        seeds: || {
            [
                &b"https://Shop.Example:8443"[..],
                b"http://[2001:db8::1]:80",
                b"app.x+y://host",
            ]
            .map(<[u8]>::to_vec)
            .into()
        },
        words: &[
            "://", ":", "[", "]", "::", "null", "*", "xn--", "443", "@", "/",
        ],
        judge: origin,
        least_outcomes: 5,
    },
    Target {
        name: "template of paths",
        seeds: || vec![b"{account}/files".to_vec(), b"uploads/*/{account}".to_vec()],
        words: &["{account}", "*", "/", "..", "%2e", "{", "}", "\\"],
        judge: template,
        least_outcomes: 4,
    },
];

fn text(input: &[u8]) -> Option<&str> {
    str::from_utf8(input).ok()
}

fn manifest_seeds() -> Vec<Vec<u8>> {
    let file = include_str!("../../../../tests/vectors/manifest/valid.json");
    let vectors: Vec<Value> = serde_json::from_str(file).expect("JSON");
    let manifests = vectors.iter().map(|vector| vector["manifest"].to_string());
    manifests.map(String::into_bytes).collect()
}

/// What is read is written so that it reads as the same.
fn manifest(input: &[u8]) -> String {
    let Some(text) = text(input) else {
        return "no text".into();
    };
    match Manifest::parse(text) {
        Ok(manifest) => {
            let written = manifest.to_json();
            let again = Manifest::parse(&written).expect("what is written is valid");
            assert_eq!(again, manifest);
            assert_eq!(again.to_json(), written);
            format!("{} relations", manifest.relations.len().min(4))
        }
        // Names and places make no new outcome.
        Err(error) => {
            let said = error.to_string();
            let problem = said.split_once(": ").map_or(&*said, |(_, problem)| problem);
            let problem = problem.split('"').step_by(2).collect::<String>();
            problem
                .chars()
                .filter(|letter| !letter.is_ascii_digit())
                .take(30)
                .collect()
        }
    }
}

fn read_seeds() -> Vec<Vec<u8>> {
    let who = Who {
        account: "7".into(),
        issuer: Some("https://issuer.example".into()),
        token_id: None,
        session: Some("s".into()),
        subject: Some("u".into()),
        roles: Some(vec!["admin".into(), "user".into()]),
        session_role: "app".into(),
        current_role: "app".into(),
        client_address: None,
        application_name: Some("web".into()),
    };
    let record = Record {
        act: Act::Read,
        who,
        relation: Some("public.item".into()),
        leaf: None,
        what: "SELECT".into(),
        fingerprint: "0123456789abcdef".into(),
        begun: None,
    };
    vec![record.encode()]
}

/// What is read of the buffer is written so that it reads as the same.
fn buffered_read(input: &[u8]) -> String {
    match Record::decode(input) {
        Ok(record) => {
            assert_eq!(Record::decode(&record.encode()).as_ref(), Ok(&record));
            format!("{:?}", record.act)
        }
        Err(_) => "refused".into(),
    }
}

fn history_seeds() -> Vec<Vec<u8>> {
    [
        "system\tprotect\t\t\t{\"archetype\":\"account\",\"account_column\":\"account\",\"audit\":true,\"empty\":true}\n\
         row\tinsert\ta\t{\"id\":1}\t{\"id\":1,\"account\":\"a\",\"n\":1.5}\n\
         row\tupdate\ta\t{\"id\":1}\t{\"n\":[1.5,2]}\n\
         row\tdelete\ta\t{\"id\":1}\t{\"id\":1,\"account\":\"a\",\"n\":2}\n",
        "system\tprotect\t\t\t{\"archetype\":\"shared\",\"audit\":true,\"empty\":true}\n\
         system\tddl\t\t\t{\"command\":\"ALTER TABLE\",\"actions\":[\"ADD COLUMN\"],\"added\":[{\"name\":\"b\",\"default\":null}]}\n\
         row\ttruncate\ta\t\t\n",
    ]
    .map(|seed| seed.as_bytes().to_vec())
    .into()
}

/// Whatever events say, they fold into rows or into reasons why rows are not known.
fn history(input: &[u8]) -> String {
    let Some(text) = text(input) else {
        return "no text".into();
    };
    let mut fold = Fold::new(Names::of("s.t", &[]), Scope::All);
    let mut misfits = 0;
    for (ordinal, line) in text.lines().take(50).enumerate() {
        let mut fields = line
            .split('\t')
            .map(|field| Some(field).filter(|field| !field.is_empty()));
        let mut next = || fields.next().flatten();
        let event = Event {
            key: EventKey {
                incarnation: 1,
                xid: 1,
                ordinal: ordinal as i32,
            },
            command_id: ordinal as i64 / 2,
            kind: next().unwrap_or(""),
            action: next().unwrap_or(""),
            account: next().unwrap_or(""),
            relation: Some("s.t"),
            leaf: None,
            row_key: next(),
            data: next(),
            personal: next(),
            erased: false,
        };
        misfits += u32::from(fold.apply(&event).is_err());
    }
    let known = match fold.known() {
        Ok(()) => "known".to_owned(),
        Err(unknown) => format!("{:?}", unknown.why)
            .chars()
            .take_while(|c| *c != '(')
            .collect(),
    };
    let _ = fold.unknown_columns();
    format!(
        "{known}, {} misfits, {} rows",
        misfits.min(2),
        fold.rows().count().min(2)
    )
}

/// The structure is read from any text, and white space around it changes nothing.
fn condition(input: &[u8]) -> String {
    let Some(text) = text(input) else {
        return "no text".into();
    };
    let read = Condition::parse(text);
    assert_eq!(Condition::parse(&format!(" {text} ")), read);
    match read {
        Condition::And(parts) => format!("and of {}", parts.len().min(4)),
        Condition::Or(parts) => format!("or of {}", parts.len().min(4)),
        Condition::Leaf(_) => "leaf".into(),
        other => format!("{other:?}")
            .chars()
            .take_while(|c| *c != '(')
            .collect(),
    }
}

/// What is not understood is refused, so that no list is passed over.
fn rule(input: &[u8]) -> String {
    let Some(text) = text(input) else {
        return "no text".into();
    };
    match CaptureRule::read(Vec::new(), Some(text)) {
        Ok(_) => {
            let value: Value = serde_json::from_str(text).expect("JSON");
            format!("{} members", value.as_object().expect("an object").len())
        }
        Err(_) => "refused".into(),
    }
}

/// Events are read in the order of the text, none of them twice over.
fn named(input: &[u8]) -> String {
    let Some(text) = text(input) else {
        return "no text".into();
    };
    let entry = Entry {
        key: EventKey {
            incarnation: 5,
            xid: 10,
            ordinal: 1,
        },
        command_id: 0,
        kind: "system",
        action: erasure::ACTION,
        account: "",
        relation: None,
        leaf_relation: None,
        row_key: None,
        target: None,
        occurred_at: 0,
        context: None,
        data: Some(text),
        personal: None,
        redacted: &[],
        hashed: &[],
    };
    match erasure::named_by(&entry) {
        Some(keys) => {
            assert!(serde_json::from_str::<Value>(text).is_ok());
            format!("{} events", keys.len().min(3))
        }
        None => "refused".into(),
    }
}

fn rules_seeds() -> Vec<Vec<u8>> {
    let rule = |keep, before| Rule { keep, before };
    let set = [
        (What::Events, rule(86_400_000_000, Some(5))),
        (What::Payload(String::new()), rule(0, None)),
        (
            What::Payload("public.item".into()),
            rule(1_000_000, Some(7)),
        ),
    ];
    let stated = Statement::of(set, i64::MAX);
    vec![
        stated.added_to("{\"version\":1}").into_bytes(),
        b"{}".to_vec(),
    ]
}

/// What a block states is written so that it reads as the same.
fn rules(input: &[u8]) -> String {
    let Some(text) = text(input) else {
        return "no text".into();
    };
    match Statement::stated(text) {
        Some(stated) => {
            assert_eq!(
                Statement::stated(&stated.added_to("{}")).as_ref(),
                Some(&stated)
            );
            format!("{} rules", stated.payload.len().min(3))
        }
        None => "none of the format's".into(),
    }
}

/// One value has one text, and another reader of JSON takes both for the same.
fn canonical_json(input: &[u8]) -> String {
    let Some(text) = text(input) else {
        return "no text".into();
    };
    let once = canonical(text);
    if serde_json::from_str::<Value>(text).is_err() {
        return "no JSON".into();
    }
    assert_eq!(canonical(&once), once);
    let kind = once.chars().next().unwrap_or(' ');
    format!("{kind} {}", once.len() == text.len())
}

fn relation_name(input: &[u8]) -> String {
    let Some(Ok((schema, name))) = text(input).map(split) else {
        return "refused".into();
    };
    assert_eq!(split(&qualified(&schema, &name)), Ok((schema, name)));
    "read".into()
}

/// The serialisation is an origin, and the same.
fn origin(input: &[u8]) -> String {
    let Some(text) = text(input) else {
        return "no text".into();
    };
    match Origin::parse(text) {
        Ok(origin) => {
            assert_eq!(Origin::parse(origin.as_str()).as_ref(), Ok(&origin));
            format!("read, {}", origin.as_str().contains('['))
        }
        Err(error) => error.to_string(),
    }
}

/// No path of one account is one of another.
fn template(input: &[u8]) -> String {
    let Some(text) = text(input) else {
        return "no text".into();
    };
    match Template::parse(text) {
        Ok(template) => {
            let path = format!(
                "{}/file",
                text.replace("{account}", "one").replace('*', "x")
            );
            assert!(template.fits(&path, "one") || path.len() > 512, "{path}");
            assert!(!template.fits(&path, "two"));
            "read".into()
        }
        Err(error) => error.to_string(),
    }
}
