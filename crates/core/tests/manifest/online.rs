//! What a plan does before and after its transaction.

use tenant_guard_core::manifest::{
    Index, Manifest, Operation, RelationName, Table, finish, prepare, settle,
};

fn manifest(relations: &str) -> Manifest {
    let text =
        format!("{{'version':1,'issuers':{{}},'roles':{{'r':{{}}}},'relations':{relations}}}");
    Manifest::parse(&text.replace('\'', "\"")).unwrap()
}

fn name(text: &str) -> RelationName {
    RelationName::parse(text).unwrap()
}

fn table(name: &str) -> Table {
    Table {
        schema: "s".into(),
        name: name.into(),
        ..Table::default()
    }
}

fn index(name: &str, columns: &[&str]) -> Index {
    Index {
        name: name.into(),
        columns: columns.iter().map(|column| (*column).to_owned()).collect(),
        valid: true,
        plain: true,
        attached: false,
    }
}

fn statements(steps: &[Operation]) -> Vec<String> {
    let all = steps.iter().map(|step| step.statement.replace('"', ""));
    all.collect()
}

/// The indexes wanted on `s.t`, whose columns named `list` hold arrays.
fn wanted(relations: &str, tree: &[Table]) -> Vec<Operation> {
    finish(&manifest(relations), &name("s.t"), tree, |column| {
        column == "list"
    })
}

#[test]
fn tables_that_may_hold_nulls_are_proven_and_the_proofs_dropped() {
    let manifest = manifest("{'s.t':{'account_column':'My Account'}}");
    let relation = &manifest.relations[&name("s.t")];
    let tree = [
        Table {
            partitioned: true,
            ..table("t")
        },
        Table {
            proof: Some(false),
            parent: Some(0),
            ..table("t_1")
        },
        Table {
            proof: Some(true),
            parent: Some(0),
            ..table("t_2")
        },
        Table {
            not_null: true,
            parent: Some(0),
            ..table("t_3")
        },
        Table {
            parent: Some(0),
            ..table("it's \"4\"")
        },
    ];
    let steps = prepare(&name("s.t"), relation, &tree);
    let all: Vec<_> = steps.iter().map(|step| step.statement.as_str()).collect();
    assert_eq!(
        all,
        [
            r#"ALTER TABLE ONLY "s"."t_1" VALIDATE CONSTRAINT tenant_guard_account_not_null"#,
            concat!(
                r#"ALTER TABLE ONLY "s"."it's ""4""" DROP CONSTRAINT IF EXISTS "#,
                r#"tenant_guard_account_not_null, ADD CONSTRAINT tenant_guard_account_not_null "#,
                r#"CHECK ("My Account" IS NOT NULL) NO INHERIT NOT VALID"#
            ),
            r#"ALTER TABLE ONLY "s"."it's ""4""" VALIDATE CONSTRAINT tenant_guard_account_not_null"#,
        ]
    );
    let dropped = settle(&name("s.t"), relation, &tree);
    assert_eq!(dropped.len(), 3);
    assert!(dropped.iter().all(|step| step.reverse.is_empty()));
}

#[test]
fn defaults_and_children_need_no_proof() {
    let manifest = manifest("{'s.t':{'archetype':'shared_defaults'},'s.c':{'via':'t_id'}}");
    for relation in manifest.relations.values() {
        assert_eq!(prepare(&name("s.t"), relation, &[table("t")]), []);
    }
}

#[test]
fn columns_that_filter_stand_behind_the_account() {
    let relations = "{'s.t':{'permissions':[
        {'role':'r','commands':['select'],'scope':'own','owner_column':'owner'},
        {'role':'r','commands':['update'],'scope':'assigned','assigned_column':'list'},
        {'role':'r','commands':['delete'],'scope':'via','via':'t_id'}]}}";
    assert_eq!(
        statements(&wanted(relations, &[table("t")])),
        [
            "CREATE INDEX CONCURRENTLY IF NOT EXISTS tenant_guard_t_account_id_owner ON s.t (account_id, owner)",
            "CREATE INDEX CONCURRENTLY IF NOT EXISTS tenant_guard_t_account_id_t_id ON s.t (account_id, t_id)",
        ]
    );
    let by = "{'s.t':{'index':true},'s.u':{'permissions':[{'role':'r','commands':['select'],
        'scope':'assigned','assignment':'s.t','assignment_key':'u_id','assignment_subject':'who'}]}}";
    assert_eq!(
        statements(&wanted(by, &[table("t")])),
        [
            "CREATE INDEX CONCURRENTLY IF NOT EXISTS tenant_guard_t_account_id ON s.t (account_id)",
            "CREATE INDEX CONCURRENTLY IF NOT EXISTS tenant_guard_t_who_u_id ON s.t (who, u_id)",
        ]
    );
}

#[test]
fn only_a_usable_index_led_by_the_column_serves() {
    let served = |found: Index| {
        let table = Table {
            indexes: vec![found],
            ..table("t")
        };
        wanted("{'s.t':{}}", &[table]).is_empty()
    };
    assert!(served(index("i", &["account_id"])));
    assert!(served(index("i", &["account_id", "id"])));
    assert!(!served(index("i", &["id", "account_id"])));
    assert!(!served(index("i", &["", "account_id"])));
    let partial = Index {
        plain: false,
        ..index("i", &["account_id"])
    };
    assert!(!served(partial));
    let invalid = Index {
        valid: false,
        ..index("i", &["account_id"])
    };
    assert!(!served(invalid));
}

#[test]
fn partitioned_index_is_built_part_by_part_and_continued_where_it_stopped() {
    let top = Table {
        partitioned: true,
        ..table("t")
    };
    let part = |name: &str| Table {
        parent: Some(0),
        ..table(name)
    };
    let steps = wanted("{'s.t':{}}", &[top.clone(), part("t_1"), part("t_2")]);
    assert_eq!(
        statements(&steps),
        [
            "CREATE INDEX IF NOT EXISTS tenant_guard_t_account_id ON ONLY s.t (account_id)",
            "CREATE INDEX CONCURRENTLY IF NOT EXISTS tenant_guard_t_1_account_id ON s.t_1 (account_id)",
            "CREATE INDEX CONCURRENTLY IF NOT EXISTS tenant_guard_t_2_account_id ON s.t_2 (account_id)",
            "ALTER INDEX s.tenant_guard_t_account_id ATTACH PARTITION s.tenant_guard_t_2_account_id",
            "ALTER INDEX s.tenant_guard_t_account_id ATTACH PARTITION s.tenant_guard_t_1_account_id",
        ]
    );
    let begun = [
        Table {
            indexes: vec![Index {
                valid: false,
                ..index("tenant_guard_t_account_id", &["account_id"])
            }],
            ..top.clone()
        },
        Table {
            indexes: vec![Index {
                attached: true,
                ..index("tenant_guard_t_1_account_id", &["account_id"])
            }],
            ..part("t_1")
        },
        Table {
            indexes: vec![Index {
                valid: false,
                ..index("tenant_guard_t_2_account_id", &["account_id"])
            }],
            ..part("t_2")
        },
    ];
    assert_eq!(
        statements(&wanted("{'s.t':{}}", &begun)),
        [
            "DROP INDEX CONCURRENTLY IF EXISTS s.tenant_guard_t_2_account_id",
            "CREATE INDEX CONCURRENTLY IF NOT EXISTS tenant_guard_t_2_account_id ON s.t_2 (account_id)",
            "ALTER INDEX s.tenant_guard_t_account_id ATTACH PARTITION s.tenant_guard_t_2_account_id",
        ]
    );
    // Indexes of somebody else's on all partitions serve as well.
    let served = |name: &str| Table {
        indexes: vec![index("other", &["account_id"])],
        ..part(name)
    };
    assert_eq!(
        wanted("{'s.t':{}}", &[top, served("t_1"), served("t_2")]),
        []
    );
}

#[test]
fn index_of_ours_that_nobody_wants_is_dropped_and_others_stay() {
    let tree = [Table {
        indexes: vec![
            index("tenant_guard_t_account_id", &["account_id"]),
            index("t_account_id_idx", &["account_id"]),
        ],
        ..table("t")
    }];
    for relations in [
        "{}",
        "{'s.t':{'index':false}}",
        "{'s.t':{'account_column':'a'}}",
    ] {
        let steps = wanted(relations, &tree);
        assert_eq!(
            steps[0].statement.replace('"', ""),
            "DROP INDEX CONCURRENTLY IF EXISTS s.tenant_guard_t_account_id"
        );
        assert_eq!(
            steps[0].reverse.replace('"', ""),
            "CREATE INDEX CONCURRENTLY IF NOT EXISTS tenant_guard_t_account_id ON s.t (account_id)"
        );
    }
}

#[test]
fn long_names_are_cut_and_stay_apart() {
    let long = "ä".repeat(30);
    let made = |name: &str| {
        let relations = format!("{{'s.\\\"{name}\\\"':{{}}}}");
        let text = RelationName {
            schema: "s".into(),
            name: name.into(),
        };
        let steps = finish(&manifest(&relations), &text, &[table(name)], |_| false);
        steps[0].reverse.split('"').nth(3).unwrap().to_owned()
    };
    let (one, other) = (made(&long), made(&format!("{long}x")));
    assert!(one.len() <= 63 && other.len() <= 63, "{one} {other}");
    assert_ne!(one, other);
    assert_eq!(one, made(&long));
}
