//! The matrix of standing policies, and of those that are compiled.

use std::slice::from_ref;

use proptest::prelude::*;

use super::*;
use crate::permission::compile::{Grant, Scope, SubjectColumn, SubjectType, condition};
use crate::permission::roles::Roles;
use crate::permission::roles::tests::role;

const FLOOR: &str = "(account_id = tenant_guard.account_id())";

fn floor() -> StandingPolicy {
    StandingPolicy {
        restrictive: true,
        using: Some(FLOOR.into()),
        check: Some(FLOOR.into()),
        ..StandingPolicy::default()
    }
}

fn permissive(using: &str) -> StandingPolicy {
    StandingPolicy {
        using: Some(using.into()),
        ..StandingPolicy::default()
    }
}

fn shown(policies: &[StandingPolicy], command: Command, role: &str) -> Vec<String> {
    let cells = cells(policies, command, role, &[], &|_| None);
    let cells = cells
        .iter()
        .map(|cell| format!("{} | {}", cell.describe(), cell.levels.join(",")));
    cells.collect()
}

#[test]
fn no_permissive_policy_reaches_nothing() {
    assert_eq!(shown(&[floor()], Command::Select, "user"), ["nothing | "]);
}

#[test]
fn a_policy_dropped_from_the_floor_shows_everything() {
    let anyone = permissive("tenant_guard.anyone()");
    assert_eq!(
        shown(std::slice::from_ref(&anyone), Command::Select, "x"),
        ["everything | "]
    );
    assert_eq!(
        shown(&[anyone, floor()], Command::Select, "x"),
        ["account | "]
    );
}

#[test]
fn roles_decide_and_levels_are_listed() {
    let select = permissive(
        "((account_id = tenant_guard.account_id()) AND \
         ((tenant_guard.has_any_role('{admin}'::text[]) AND \
           tenant_guard.has_assurance('aal2'::text)) OR \
          (tenant_guard.has_any_role('{admin,user}'::text[]) AND \
           (owner = tenant_guard.subject()))))",
    );
    let policies = [floor(), select];
    assert_eq!(
        shown(&policies, Command::Select, "admin"),
        ["account | aal2", "own (owner) | "]
    );
    assert_eq!(
        shown(&policies, Command::Select, "user"),
        ["own (owner) | "]
    );
    assert_eq!(shown(&policies, Command::Select, "guest"), ["nothing | "]);
}

#[test]
fn somebody_elses_policy_is_shown_as_it_is() {
    let policies = [floor(), permissive("(NOT (status = 'secret'::text))")];
    assert_eq!(
        shown(&policies, Command::Delete, "user"),
        ["other (the account's rows where NOT (status = 'secret'::text)) | "]
    );
    let unbound = [permissive("(owner = tenant_guard.subject())")];
    assert_eq!(
        shown(&unbound, Command::Select, "user"),
        ["other (rows of any account where owner = tenant_guard.subject()) | "]
    );
}

#[test]
fn commands_are_told_apart_and_new_rows_are_named() {
    let update = StandingPolicy {
        command: Some(Command::Update),
        using: Some(
            "((account_id = tenant_guard.account_id()) AND (owner = tenant_guard.subject()))"
                .into(),
        ),
        check: Some(FLOOR.into()),
        ..StandingPolicy::default()
    };
    let policies = [floor(), update];
    assert_eq!(
        shown(&policies, Command::Update, "u"),
        ["own (owner new rows: account) | "]
    );
    assert_eq!(shown(&policies, Command::Insert, "u"), ["nothing | "]);
}

#[test]
fn shared_defaults_are_named_once() {
    let both = "((account_id = tenant_guard.account_id()) OR \
        ((account_id IS NULL) AND tenant_guard.is_authenticated()))";
    let policies = [
        StandingPolicy {
            restrictive: true,
            ..permissive(both)
        },
        permissive(&format!(
            "({both} AND tenant_guard.has_any_role('{{a}}'::text[]))"
        )),
    ];
    assert_eq!(
        shown(&policies, Command::Select, "a"),
        ["account (and rows without account) | "]
    );
    let write = StandingPolicy {
        command: Some(Command::Delete),
        restrictive: true,
        ..permissive(FLOOR)
    };
    let policies = [policies.as_slice(), &[write]].concat();
    assert_eq!(shown(&policies, Command::Delete, "a"), ["account | "]);
}

#[test]
fn a_condition_given_as_the_accounts_is_taken_for_it() {
    let own = Condition::parse("((kind = 'a'::text) AND f(x))");
    let policies = [permissive(
        "((kind = 'a'::text) AND f(x) AND tenant_guard.has_any_role('{a}'::text[]))",
    )];
    let found = cells(&policies, Command::Select, "a", &[own], &|_| None);
    assert_eq!(found[0].reach, Reach::Account);
}

fn selected(reach: Reach, levels: &[&str]) -> Cell {
    Cell {
        reach,
        detail: String::new(),
        levels: levels.iter().map(|level| (*level).to_owned()).collect(),
    }
}

/// What is shown of `using`, which is the account's condition too, where `p` and `q` are reached so.
fn below(using: &str, own: bool, p: &[Cell], q: &[Cell]) -> Vec<String> {
    let own = own.then(|| Condition::parse(using));
    let selects = |name: &str| Some(if name == "s.p" { p } else { q }.to_vec());
    let policies = [permissive(using)];
    let found = cells(&policies, Command::Select, "a", own.as_slice(), &selects);
    let found = found.iter();
    found
        .map(|cell| format!("{} | {}", cell.describe(), cell.levels.join(",")))
        .collect()
}

const BELOW: &str = "(EXISTS ( SELECT FROM s.p parent_1 WHERE ((parent_1.id = t.p) AND \
    (parent_1.account_id = tenant_guard.account_id()))))";

#[test]
fn children_are_reached_as_far_as_their_parents() {
    let all = selected(Reach::Account, &[]);
    for own in [true, false] {
        let shown = |reached: &[Cell]| below(BELOW, own, reached, &[]);
        assert_eq!(shown(std::slice::from_ref(&all)), ["account | "]);
        assert_eq!(shown(&[selected(Reach::Everything, &[])]), ["account | "]);
        assert_eq!(shown(&[selected(Reach::Nothing, &[])]), ["nothing | "]);
        assert_eq!(shown(&[selected(Reach::Own, &[])]), ["via (s.p) | "]);
        let levels = [
            selected(Reach::Account, &["aal2"]),
            selected(Reach::Own, &[]),
        ];
        assert_eq!(shown(&levels), ["account | aal2", "via (s.p) | "]);
    }
    let owned = format!("({BELOW} AND (owner = tenant_guard.subject()))");
    let assigned = [selected(Reach::Assigned, &[])];
    assert_eq!(below(&owned, false, &[all], &[]), ["own (owner) | "]);
    assert_eq!(
        below(&owned, false, &assigned, &[]),
        ["own (owner and via s.p) | "]
    );
    let via = "(EXISTS ( SELECT FROM s.p parent WHERE (parent.id = t.p)))";
    let both = format!("({BELOW} AND {via})");
    assert_eq!(below(&both, false, &assigned, &[]), ["via (s.p) | "]);
    let nothing = [selected(Reach::Nothing, &[])];
    assert_eq!(below(&both, false, &nothing, &[]), ["nothing | "]);
}

#[test]
fn children_of_several_parents_have_a_way_for_each_that_is_reached() {
    let q = BELOW.replace("s.p", "s.q");
    let either = format!("(((t.kind = 'p'::text) AND {BELOW}) OR ((t.kind = 'q'::text) AND {q}))");
    let (all, some) = (
        selected(Reach::Account, &[]),
        selected(Reach::Assigned, &[]),
    );
    let nothing = selected(Reach::Nothing, &[]);
    let shown = |p: &Cell, q: &Cell| below(&either, true, from_ref(p), from_ref(q));
    assert_eq!(shown(&all, &all), ["account | "]);
    assert_eq!(shown(&all, &some), ["via (s.p) | ", "via (s.q) | "]);
    assert_eq!(shown(&nothing, &all), ["via (s.q) | "]);
    assert_eq!(shown(&nothing, &nothing), ["nothing | "]);
}

#[test]
fn children_of_what_everybody_reads_are_read_by_everybody() {
    let public = "(EXISTS ( SELECT FROM s.p parent_1 WHERE ((parent_1.id = t.p) AND \
        tenant_guard.anyone())))";
    let shown = |reach| below(public, false, &[selected(reach, &[])], &[]);
    assert_eq!(shown(Reach::Everything), ["everything | "]);
    assert_eq!(shown(Reach::Nothing), ["nothing | "]);
    // The parent's policies that stand are not those it was made with.
    assert_eq!(shown(Reach::Account), ["account | "]);
    assert!(shown(Reach::Own)[0].starts_with("other (rows of any account where EXISTS"));
    let opposite = format!("(NOT {public})");
    let found = below(&opposite, false, &[selected(Reach::Everything, &[])], &[]);
    assert!(found[0].starts_with("other (rows of any account where NOT"));
}

#[test]
fn too_many_alternatives_are_no_answer() {
    let either = |n| format!("((a{n} > 1) OR (b{n} > 1))");
    let all: Vec<_> = (0..12).map(either).collect();
    let policies = [permissive(&format!("({})", all.join(" AND ")))];
    let found = cells(&policies, Command::Select, "a", &[], &|_| None);
    assert_eq!((found.len(), found[0].reach), (1, Reach::Other));
}

/// As the catalog prints a condition of `compile`.
fn printed(compiled: &str) -> String {
    // Both spellings parse: AND binds its parts without the parentheses of the catalog, which
    // the reader of the catalog's text needs only around the OR.
    compiled
        .replace("OPERATOR(pg_catalog.=)", "=")
        .replace("')", "'::text[])")
        .replace(
            "has_assurance('aal1'::text[])",
            "has_assurance('aal1'::text)",
        )
        .replace(
            "has_assurance('aal2'::text[])",
            "has_assurance('aal2'::text)",
        )
}

fn scopes() -> impl Strategy<Value = Scope> {
    let own = |name: &str| {
        Scope::Own(SubjectColumn {
            quoted: name.into(),
            kind: SubjectType::Text,
            array: false,
        })
    };
    prop_oneof![Just(Scope::Account), Just(own("x")), Just(own("y"))]
}

fn graphs() -> impl Strategy<Value = Roles> {
    // Each role inherits only roles before it, so there is no cycle.
    let level = prop_oneof![Just(""), Just("aal1"), Just("aal2")];
    prop::collection::vec((any::<u8>(), level), 4).prop_map(|drawn| {
        let names = ["a", "b", "c", "d"];
        let roles = drawn.iter().enumerate().map(|(n, (mask, level))| {
            let inherits = (0..n).filter(|before| mask & (1 << before) != 0);
            let inherits: Vec<_> = inherits.map(|before| names[before]).collect();
            role(names[n], &inherits, level)
        });
        Roles::new(roles).unwrap()
    })
}

/// Which rows (all, x, y) a holder reaches at a level, straight from the definition.
fn defined(roles: &Roles, grants: &[Grant], holder: &str, has: &str) -> BTreeSet<Scope> {
    let has = BTreeSet::from([has.to_owned()]);
    let mut reached = BTreeSet::new();
    for grant in grants {
        for (role, levels) in roles.holders(&grant.role) {
            if role == holder && implies(&has, &levels) {
                reached.insert(grant.scope.clone());
            }
        }
    }
    if reached.contains(&Scope::Account) {
        reached.retain(|scope| *scope == Scope::Account);
    }
    reached
}

proptest! {
    /// What is compiled and read back is what was declared, for each role and level.
    #[test]
    fn compiled_conditions_mean_the_declaration(
        roles in graphs(),
        drawn in prop::collection::vec((0..4_usize, scopes()), 0..6),
    ) {
        let names = ["a", "b", "c", "d"];
        let grants: Vec<_> = drawn.into_iter()
            .map(|(n, scope)| Grant { role: names[n].into(), scope })
            .collect();
        let account = "account_id OPERATOR(pg_catalog.=) tenant_guard.account_id()";
        let text = condition(&roles, &grants, "s.t", account);
        let policies: Vec<_> = text.iter().map(|text| permissive(&printed(text))).collect();
        for holder in names {
            let found = cells(&policies, Command::Select, holder, &[], &|_| None);
            for has in ["none", "aal1", "aal2"] {
                let has_set = BTreeSet::from([has.to_owned()]);
                let mut reached: BTreeSet<_> = found.iter()
                    .filter(|cell| implies(&has_set, &cell.levels.iter().cloned().collect()))
                    .filter(|cell| cell.reach != Reach::Nothing)
                    .map(|cell| match cell.reach {
                        Reach::Account => Scope::Account,
                        Reach::Own => Scope::Own(SubjectColumn {
                            quoted: cell.detail.clone(), kind: SubjectType::Text, array: false,
                        }),
                        other => panic!("{other:?} {}", cell.detail),
                    })
                    .collect();
                if reached.contains(&Scope::Account) {
                    reached.retain(|scope| *scope == Scope::Account);
                }
                prop_assert_eq!(
                    &reached, &defined(&roles, &grants, holder, has),
                    "{} at {} of {:?}", holder, has, &text
                );
            }
        }
    }
}
