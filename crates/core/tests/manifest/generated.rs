//! Manifests nobody thought of.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use tenant_guard_core::manifest::{
    AccountRelation, Audited, Command, Governed, Issuer, Manifest, Membership, Ownership, Parent,
    Permission, Place, Relation, RelationName, Role, Scope,
};

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-z_]{1,8}",
        1 => "[a-zA-Z0-9 .'\"$é€\\\\]{1,12}",
    ]
}

fn columns() -> impl Strategy<Value = BTreeSet<String>> {
    // In capitals, so that none is a column that decides whose row it is.
    btree_set("[A-Z]{1,4}", 0..3)
}

fn relation_name() -> impl Strategy<Value = RelationName> {
    (name(), name()).prop_map(|(schema, name)| RelationName { schema, name })
}

fn level() -> impl Strategy<Value = String> {
    "[a-z]{1,4}[0-9]"
}

fn issuer() -> impl Strategy<Value = Issuer> {
    let algorithms = btree_set(
        prop_oneof![Just("ES256"), Just("RS256"), Just("EdDSA")],
        1..3,
    );
    let paths = vec("[a-z]{1,5}|https://x\\.example/y", 2..3);
    (
        option::of(algorithms),
        option::of(btree_set(name(), 1..3)),
        btree_map(prop_oneof![Just("account"), Just("roles")], paths, 0..3),
        0..86_400_000_000_i64,
        option::of(1..10_000_000_000_000_i64),
        any::<bool>(),
    )
        .prop_map(
            |(algorithms, audiences, paths, leeway_us, max_age_us, require_exp)| Issuer {
                keys: None,
                algorithms: algorithms.map(|all| all.into_iter().map(str::to_owned).collect()),
                audiences,
                claim_paths: paths
                    .into_iter()
                    .map(|(claim, path)| (claim.to_owned(), path))
                    .collect(),
                leeway_us,
                max_age_us,
                require_exp,
            },
        )
}

fn scope() -> impl Strategy<Value = Scope> {
    prop_oneof![
        Just(Scope::Account),
        name().prop_map(Scope::Own),
        name().prop_map(Scope::Assigned),
        name().prop_map(Scope::Via),
        (relation_name(), name(), name()).prop_map(|(assignment, key, subject)| {
            Scope::AssignedBy {
                assignment,
                key,
                subject,
            }
        }),
    ]
}

type Rows = (Scope, Option<BTreeSet<String>>);

/// Scope and columns for some roles, by place, and commands.
fn permissions() -> impl Strategy<Value = BTreeMap<(usize, usize), Rows>> {
    let columns = option::of(btree_set("[A-Z]{1,4}", 1..3));
    btree_map((0..4_usize, 0..4_usize), (scope(), columns), 0..5)
}

fn relation() -> impl Strategy<Value = (Relation, BTreeMap<(usize, usize), Rows>, usize)> {
    let ownership = prop_oneof![
        Just(Ownership::Account("account_id".into())),
        name().prop_map(Ownership::Account),
        name().prop_map(Ownership::SharedDefaults),
        name().prop_map(Ownership::PublicRead),
        Just(Ownership::Reference),
        Just(Ownership::DenyAll),
    ];
    let roles = btree_set(name(), 0..3);
    let commands = prop_oneof![Just("all"), Just("select"), Just("delete")];
    (
        (ownership, roles, columns(), columns(), any::<bool>()),
        btree_map(commands.prop_map(str::to_owned), level(), 0..3),
        permissions(),
        (any::<bool>(), declared()),
        0..6_usize,
    )
        .prop_map(
            |(
                (ownership, roles, redact, personal, audit),
                levels,
                allowed,
                (index, declared),
                at,
            )| {
                let mut relation = Relation::new(ownership);
                relation.roles = roles;
                relation.redact = redact;
                relation.personal = personal;
                relation.audit = audit;
                relation.assurance = levels;
                relation.index = index;
                (relation.account_row, relation.paths) = declared;
                (relation, allowed, at)
            },
        )
}

fn audited() -> impl Strategy<Value = Audited> {
    (
        option::of(columns()),
        (columns(), columns(), columns(), columns()),
        (any::<bool>(), any::<bool>()),
    )
        .prop_map(
            |(include, (exclude, redact, hash, personal), (skip_unchanged, truncate_rows))| {
                Audited {
                    include,
                    exclude,
                    redact,
                    hash,
                    skip_unchanged,
                    truncate_rows,
                    personal,
                }
            },
        )
}

/// Whether accounts have rows, and paths of a column.
fn declared() -> impl Strategy<Value = (bool, BTreeMap<String, String>)> {
    let template = prop_oneof![Just("{account}/*"), Just("files/{account}")];
    (
        any::<bool>(),
        btree_map(name(), template.prop_map(str::to_owned), 0..2),
    )
}

fn governed() -> impl Strategy<Value = Governed> {
    (name(), btree_set(name(), 0..2), columns(), any::<bool>()).prop_map(
        |(account_column, roles, redact, audit)| Governed {
            account_column,
            roles,
            redact,
            audit,
        },
    )
}

prop_compose! {
    fn sources()(
        membership in option::of((relation_name(), name(), name(), option::of(name()))),
        accounts in option::of((relation_name(), name(), option::of(name()))),
    ) -> (Option<Membership>, Option<AccountRelation>) {
        let membership = membership.map(|(relation, subject_column, account_column, role_column)| {
            Membership {
                relation,
                subject_column,
                account_column,
                role_column,
                active_column: None,
            }
        });
        let accounts = accounts.map(|(relation, key_column, active_column)| AccountRelation {
            relation,
            key_column,
            active_column,
        });
        (membership, accounts)
    }
}

prop_compose! {
    /// Four roles, each of which may inherit those before it, and relations, each of which may be a
    /// child of one before it.
    pub(crate) fn manifest()(
        issuers in btree_map(name(), issuer(), 0..3),
        (membership, account_relation) in sources(),
        inherits in vec((0..4_usize, option::of(level()), any::<bool>()), 4),
        relations in vec((relation_name(), relation()), 0..8),
        mut audited in btree_map(relation_name(), (audited(), any::<bool>()), 0..3),
        reads in vec(any::<bool>(), 8),
        governed_schemas in btree_map(name(), governed(), 0..2),
    ) -> Manifest {
        let role = |place: usize| format!("role {place}");
        let mut roles = BTreeMap::new();
        for (place, (below, assurance, reads_log)) in inherits.into_iter().enumerate() {
            let inherits = (below < place).then(|| role(below)).into_iter().collect();
            roles.insert(role(place), Role { inherits, assurance, reads_log });
        }
        let mut all: BTreeMap<RelationName, Relation> = BTreeMap::new();
        let mut possible_parents: Vec<RelationName> = Vec::new();
        for (name, (mut relation, allowed, at)) in relations {
            if all.contains_key(&name) {
                continue;
            }
            let parent = possible_parents.get(at).cloned();
            let (via, place) = ("parent_id".to_owned(), all.len());
            if let Some(parent) = parent {
                let parent = match place % 3 {
                    0 => Parent::Named(parent),
                    _ => Parent::ByType {
                        type_column: "kind".into(),
                        parents: [("it's".to_owned(), parent)].into(),
                    },
                };
                relation.ownership = Ownership::Child { via, parent };
            } else if at == 5 {
                relation.ownership = Ownership::Child { via, parent: Parent::ForeignKey };
            }
            for ((by, command), (scope, columns)) in allowed {
                let command = Command::ALL[command];
                if !command.is_of_roles(relation.ownership.archetype()) {
                    continue;
                }
                let columned = command != Command::Delete;
                relation.permissions.insert(Permission {
                    role: role(by),
                    command,
                    scope,
                    columns: columns.filter(|_| columned),
                    place: Place::default(),
                });
            }
            // A column in capitals may decide after all where the name was generated.
            if let Some(column) = relation.ownership.account_column().map(str::to_owned) {
                relation.redact.remove(&column);
                relation.personal.remove(&column);
            }
            if relation.ownership.archetype().has_accounts() {
                possible_parents.push(name.clone());
            }
            all.insert(name, relation);
        }
        let mut audited_reads: BTreeSet<_> = all
            .keys()
            .zip(reads)
            .filter(|(_, reads)| *reads)
            .map(|(name, _)| name.clone())
            .collect();
        for (name, (of, reads)) in &mut audited {
            if all.contains_key(name) {
                of.personal.clear();
            }
            if *reads {
                audited_reads.insert(name.clone());
            }
        }
        Manifest {
            issuers,
            membership,
            account_relation,
            roles,
            relations: all,
            audited: audited.into_iter().map(|(name, (of, _))| (name, of)).collect(),
            audited_reads,
            governed_schemas,
        }
    }
}

proptest! {
    #[test]
    fn what_is_written_reads_back(manifest in manifest()) {
        let text = manifest.to_json();
        prop_assert_eq!(Manifest::parse(&text), Ok(manifest), "{}", text);
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,200}") {
        let _ = Manifest::parse(&text);
    }

    #[test]
    fn values_that_are_swapped_are_judged_and_not_trusted(manifest in manifest(), cut in 0..9_usize) {
        let text = manifest.to_json();
        let swaps = [
            ("{}", "[]"), ("[", "{"), ("true", "null"), ("false", "0"), ("\"all\"", "\"ALL\""),
            (":1}", ":2}"), ("\"via\"", "\"parent\""), ("role 1", "role 3"), ("P", "PT"),
        ];
        let (from, to) = swaps[cut];
        if let Ok(other) = Manifest::parse(&text.replacen(from, to, 1)) {
            prop_assert_eq!(Manifest::parse(&other.to_json()), Ok(other));
        }
    }
}
