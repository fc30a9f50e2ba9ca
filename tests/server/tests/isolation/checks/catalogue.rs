//! docs/isolation-failures.md against the corpus: whatever a check finds has a schema that shows it.

use std::collections::{BTreeMap, BTreeSet};

use super::broken::{SCRIPTS, header};

const CATALOGUE: &str = include_str!("../../../../../docs/isolation-failures.md");

/// Rows of which no schema can be broken, each with the test that shows the check.
const OF_THE_SERVER: &[(u32, &str)] = &[
    // An older server would show them; `58-version-below-fixes` is a table of versions.
    (9, "row_58_versions_lack_fixes"),
    (58, "row_58_versions_lack_fixes"),
    // PostgreSQL 19 has the command.
    (16, "row_14_inheritance_child"),
    (71, "rows_71_to_73_server_lets_roles_in_unsafely"),
    (72, "rows_71_to_73_server_lets_roles_in_unsafely"),
];

/// Rows where a check that looks at one catalog, one level deep or at plain names would miss a variant.
const OF_MANY_FORMS: &[u32] = &[
    1, 4, 7, 12, 13, 14, 15, 18, 19, 22, 23, 26, 27, 32, 37, 40, 41, 45, 47, 55,
];

/// What check() finds of each row.
fn found() -> BTreeMap<u32, BTreeSet<&'static str>> {
    let rows = CATALOGUE
        .lines()
        .filter_map(|line| line.strip_prefix("| "))
        .filter_map(|line| {
            let (row, rest) = line.split_once(" | ")?;
            Some((row.parse().ok()?, rest.split_once("found by ")?.1))
        });
    rows.map(|(row, found)| {
        let quoted = found.split('`').skip(1).step_by(2);
        (row, quoted.filter(|text| is_code(text)).collect())
    })
    .collect()
}

/// `12-row-security-not-enabled`, for one.
fn is_code(text: &str) -> bool {
    let digits = |digits: &str| digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_digit());
    text.split_once('-').is_some_and(|(row, _)| digits(row))
}

/// The rows a script stands for.
fn rows_of(name: &str, text: &str) -> Vec<u32> {
    let beside = header(text, "row").into_iter();
    let rows = beside.chain(name.split('_').next());
    rows.map(|row| row.parse().unwrap()).collect()
}

/// The codes a script has found.
fn codes_of(text: &str) -> BTreeSet<&str> {
    let findings = header(text, "finds").into_iter();
    findings
        .map(|line| line.split('|').nth(1).unwrap())
        .collect()
}

#[test]
fn every_row_that_a_check_finds_has_a_broken_schema() {
    let found = found();
    assert!(found.len() > 50, "the catalogue is read: {}", found.len());
    let mut missing = Vec::new();
    for (row, codes) in &found {
        let shown = SCRIPTS.iter().any(|(name, text)| {
            rows_of(name, text).contains(row) && !codes_of(text).is_disjoint(codes)
        });
        if !shown {
            missing.push(*row);
        }
    }
    let of_the_server: BTreeSet<_> = OF_THE_SERVER.iter().map(|(row, _)| *row).collect();
    assert_eq!(missing, of_the_server.into_iter().collect::<Vec<_>>());
}

#[test]
fn every_check_has_a_broken_schema() {
    let shown: BTreeSet<_> = SCRIPTS
        .iter()
        .flat_map(|(_, text)| codes_of(text))
        .collect();
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../../sql/checks");
    let files = std::fs::read_dir(directory).unwrap();
    let mut checks: Vec<_> = files
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .map(|name| name.trim_end_matches(".sql").replace('_', "-"))
        .filter(|code| !shown.contains(code.as_str()))
        .collect();
    checks.sort();
    assert_eq!(
        checks,
        ["58-version-below-fixes", "71-tls-off", "72-hba-lets-in"]
    );
}

#[test]
fn rows_of_many_forms_have_two_schemas() {
    for row in OF_MANY_FORMS {
        let forms = SCRIPTS
            .iter()
            .filter(|(name, text)| rows_of(name, text).contains(row))
            .count();
        assert!(forms >= 2, "row {row} has {forms}");
    }
}

#[test]
fn scripts_stand_for_rows_of_the_catalogue() {
    for (name, text) in SCRIPTS {
        for row in rows_of(name, text) {
            assert!(
                CATALOGUE.contains(&format!("\n| {row} | ")),
                "{name}: no row {row}"
            );
        }
    }
}

#[test]
fn findings_without_sql_to_paste_are_those_the_catalogue_explains() {
    let explained = CATALOGUE
        .split_once("## Findings without SQL to paste")
        .and_then(|(_, section)| section.split("\n## ").next())
        .expect("the catalogue has this section");
    let explained: BTreeSet<_> = explained
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(code, _)| code)
        .collect();
    // Of servers, which no script is about.
    let of_servers = [
        "58-version-below-fixes",
        "70-setting-planted",
        "72-hba-lets-in",
    ];
    let mut unfixed: BTreeSet<_> = of_servers.into();
    for (_, text) in SCRIPTS {
        unfixed.extend(header(text, "without fix"));
        unfixed.extend(
            header(text, "left")
                .iter()
                .map(|line| line.split('|').nth(1).unwrap()),
        );
    }
    assert_eq!(explained, unfixed);
}

/// Rows that no catalog and no setting shows, at most.
const MOST_HIDDEN: usize = 15;

#[test]
fn every_row_is_found_made_impossible_or_said_to_be_invisible() {
    let sources = sources(concat!(env!("CARGO_MANIFEST_DIR"), "/tests"));
    let (mut rows, mut hidden) = (BTreeSet::new(), 0);
    for line in CATALOGUE.lines().filter_map(|line| line.strip_prefix("| ")) {
        let cells: Vec<_> = line.split(" | ").collect();
        let [number, _, verdict] = cells[..] else {
            continue;
        };
        let Ok(number) = number.parse::<u32>() else {
            continue;
        };
        assert!(rows.insert(number), "row {number} stands twice");
        let named = || verdict.split('`').skip(1).step_by(2);
        if verdict.starts_with("found by `") {
            assert!(named().any(is_code), "row {number} names no check");
        } else if verdict.starts_with("impossible: ") {
            let tested = named().any(|name| sources.contains(&format!("fn {name}(")));
            assert!(tested, "row {number} names no test: {verdict}");
        } else {
            assert!(
                verdict.starts_with("not visible: "),
                "row {number}: {verdict}"
            );
            hidden += 1;
        }
    }
    assert_eq!(rows, (1..=76).collect());
    assert!(hidden <= MOST_HIDDEN, "{hidden} rows are visible to nobody");
}

/// The text of all tests.
fn sources(directory: &str) -> String {
    let entries = std::fs::read_dir(directory).unwrap();
    let texts = entries.map(|entry| {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => sources(path.to_str().unwrap()),
            false => std::fs::read_to_string(path).unwrap_or_default(),
        }
    });
    texts.collect()
}
