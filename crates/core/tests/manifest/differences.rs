//! The statements from one manifest to another.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tenant_guard_core::manifest::{Manifest, Operation, Ownership, Parent, difference};

use crate::generated::manifest;

fn parsed(text: &str) -> Manifest {
    let text = text.replace('\'', "\"");
    Manifest::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn with(relations: &str) -> Manifest {
    parsed(&format!(
        "{{'version':1,'issuers':{{}},'roles':{{'user':{{}},'admin':{{'inherits':['user']}}}},\
         'relations':{relations}}}"
    ))
}

fn steps(present: &Manifest, wanted: &Manifest) -> Vec<Operation> {
    difference(present, wanted).expect("there is a way")
}

fn statements(present: &Manifest, wanted: &Manifest) -> Vec<String> {
    let steps = steps(present, wanted).into_iter();
    steps
        .map(|step| step.statement.replace("SELECT tenant_guard.", ""))
        .collect()
}

#[test]
fn from_nothing_everything_is_made_in_order() {
    let wanted = parsed(
        "{'version':1,
          'issuers':{'https://a.example':{'max_age':'P1D','keys':{'keys':[{'kty':'OKP',
             'crv':'Ed25519','x':'11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo'}]}}},
          'membership':{'relation':'s.member','subject_column':'p','account_column':'a','active_column':'on'},
          'account_relation':{'relation':'s.account','key_column':'id'},
          'roles':{'admin':{'inherits':['user'],'assurance':'aal2'},'user':{}},
          'relations':{
            's.a_child':{'via':'parent_id','parent':'s.parent','personal':['x'],
              'permissions':[{'role':'user','commands':['select'],'scope':'via','via':'parent_id'},
                             {'role':'admin','commands':['all']}]},
            's.parent':{'roles':['web','My Role'],'redact':['it'],'assurance':{'all':'aal1','delete':'aal2'}}},
          'governed_schemas':{'s':{'audit':false}}}",
    );
    assert_eq!(
        statements(&Manifest::default(), &wanted),
        [
            r#"add_issuer('https://a.example', '{"keys":[{"crv":"Ed25519","kty":"OKP","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}', max_age => 'P1D')"#,
            "set_membership('s.member', 'p', 'a', active_column => 'on')",
            "set_account_relation('s.account', 'id')",
            "define_role('user')",
            "define_role('admin', inherits => '{user}')",
            "require_role_assurance('admin', 'aal2')",
            r#"protect('s.parent', roles => '{"\"My Role\"",web}', redact => '{it}')"#,
            "require_assurance('s.parent', 'aal1')",
            "require_assurance('s.parent', 'aal2', '{delete}')",
            "protect('s.a_child', via => 'parent_id', parent => 's.parent')",
            "annotate('s.a_child', personal => '{x}')",
            "allow('admin', 's.a_child', '{all}')",
            "allow('user', 's.a_child', '{select}', scope => 'via', via => 'parent_id')",
            "govern_schema('s', audit => false)",
        ]
    );
    let back: Vec<_> = steps(&Manifest::default(), &wanted)
        .into_iter()
        .rev()
        .map(|step| step.reverse.replace("SELECT tenant_guard.", ""))
        .collect();
    assert_eq!(
        back,
        [
            "ungovern_schema('s')",
            "disallow('user', 's.a_child', '{select}')",
            "disallow('admin', 's.a_child', '{all}')",
            "annotate('s.a_child')",
            "unprotect('s.a_child')",
            "require_assurance('s.parent', NULL, '{delete}')",
            "require_assurance('s.parent', NULL)",
            "unprotect('s.parent')",
            "require_role_assurance('admin', NULL)",
            "drop_role('admin')",
            "drop_role('user')",
            "set_account_relation(NULL, NULL)",
            "set_membership(NULL, NULL, NULL)",
            "drop_issuer('https://a.example')",
        ]
    );
}

#[test]
fn audit_lists_account_rows_and_paths_come_change_and_go() {
    let with = |audited: &str, relations: &str| {
        parsed(&format!(
            "{{'version':1,'issuers':{{}},'roles':{{}},'relations':{relations},'audited':{audited}}}"
        ))
    };
    let none = with("{}", "{}");
    let some = with(
        "{'s.plan':{},'s.t':{'exclude':['a'],'hash':['b'],'skip_unchanged':true}}",
        "{'s.t':{'account_row':true,'paths':{'file':'{account}/*','logo':'x/{account}'}}}",
    );
    let other = with(
        "{'s.t':{'include':[],'redact':['b'],'truncate_rows':true}}",
        "{'s.t':{'paths':{'file':'y/{account}'}}}",
    );
    assert_eq!(
        statements(&none, &some),
        [
            "protect('s.t')",
            "require_account_row('s.t')",
            "declare_path('s.t', 'file', '{account}/*')",
            "declare_path('s.t', 'logo', 'x/{account}')",
            "audit('s.plan')",
            "audit('s.t', exclude => '{a}', hash => '{b}', skip_unchanged => true)",
        ]
    );
    assert_eq!(
        statements(&some, &other),
        [
            "unaudit('s.plan')",
            "require_account_row('s.t', required => false)",
            "declare_path('s.t', 'file', 'y/{account}')",
            "declare_path('s.t', 'logo', NULL)",
            "audit('s.t', include => '{}', redact => '{b}', truncate_rows => true)",
        ]
    );
    assert_eq!(
        statements(&some, &none),
        [
            "unaudit('s.plan')",
            "unaudit('s.t')",
            "require_account_row('s.t', required => false)",
            "declare_path('s.t', 'file', NULL)",
            "declare_path('s.t', 'logo', NULL)",
            "unprotect('s.t')",
        ]
    );
    let back: Vec<_> = steps(&some, &none)
        .into_iter()
        .rev()
        .map(|step| step.reverse.replace("SELECT tenant_guard.", ""))
        .collect();
    let mut there = statements(&none, &some);
    // What is taken back stands in the order it is taken back in: within the relation the last first.
    there.sort();
    let mut sorted = back.clone();
    sorted.sort();
    assert_eq!(sorted, there);
    assert_eq!(back[0], "protect('s.t')");
}

#[test]
fn reads_readers_of_the_log_and_personal_columns_come_change_and_go() {
    let with = |roles: &str, relations: &str, rest: &str| {
        parsed(&format!(
            "{{'version':1,'issuers':{{}},'roles':{roles},'relations':{relations},{rest}}}"
        ))
    };
    let none = with("{}", "{}", "'audited':{}");
    let some = with(
        "{'a':{'reads_log':true}}",
        "{'s.t':{'personal':['x']}}",
        "'audited':{'s.plan':{'personal':['y'],'hash':['z']}},'audited_reads':['s.t','s.plan']",
    );
    assert_eq!(
        statements(&none, &some),
        [
            "define_role('a')",
            "allow_log('a')",
            "protect('s.t')",
            "annotate('s.t', personal => '{x}')",
            "audit('s.plan', hash => '{z}')",
            "annotate('s.plan', personal => '{y}')",
            "audit_reads('s.plan')",
            "audit_reads('s.t')",
        ]
    );
    assert_eq!(
        statements(&some, &none),
        [
            "audit_reads('s.plan', enabled => false)",
            "audit_reads('s.t', enabled => false)",
            "annotate('s.plan')",
            "unaudit('s.plan')",
            "annotate('s.t')",
            "unprotect('s.t')",
            "disallow_log('a')",
            "drop_role('a')",
        ]
    );
    // A column that was personal is hashed, and the other way round; and what was protected is audited alone.
    let other = with(
        "{'a':{}}",
        "{}",
        "'audited':{'s.plan':{'personal':['z'],'hash':['y']},'s.t':{'personal':['x']}},\
         'audited_reads':['s.t']",
    );
    assert_eq!(
        statements(&some, &other),
        [
            "audit_reads('s.plan', enabled => false)",
            "disallow_log('a')",
            "annotate('s.t')",
            "unprotect('s.t')",
            "annotate('s.plan')",
            "audit('s.plan', hash => '{y}')",
            "annotate('s.plan', personal => '{z}')",
            "audit('s.t')",
            "annotate('s.t', personal => '{x}')",
        ]
    );
}

#[test]
fn templates_that_name_no_account_are_refused() {
    let text = r#"{"version":1,"issuers":{},"roles":{},"relations":{"s.t":{"paths":{"f":"a/b"}}}}"#;
    let error = Manifest::parse(text).unwrap_err().to_string();
    assert_eq!(
        error,
        "manifest $['relations']['s.t']['paths']['f']: is not a template of paths that names the \
         account once"
    );
}

#[test]
fn same_manifest_needs_nothing() {
    let all = include_str!("../../../../tests/vectors/manifest/valid.json");
    let all: Vec<BTreeMap<String, serde_json::Value>> = serde_json::from_str(all).unwrap();
    for case in all {
        let manifest = Manifest::parse(&case["manifest"].to_string()).unwrap();
        assert_eq!(steps(&manifest, &manifest), []);
    }
}

#[test]
fn changes_are_made_in_place() {
    let old = with(
        "{'s.t':{'permissions':[{'role':'user','commands':['all']},
                                {'role':'admin','commands':['select']}]}, 's.u':{'index':false}}",
    );
    let new = with(
        "{'s.t':{'account_column':'tenant','permissions':[
             {'role':'user','commands':['select','update'],'scope':'own','owner_column':'o'},
             {'role':'user','commands':['insert']}]}, 's.u':{'archetype':'shared_defaults'}}",
    );
    assert_eq!(
        statements(&old, &new),
        [
            "protect('s.t', account_column => 'tenant')",
            "protect('s.u', archetype => 'shared_defaults')",
            "annotate('s.u')",
            "allow('user', 's.t', '{select,update}', scope => 'own', owner_column => 'o')",
            "disallow('admin', 's.t', '{select}')",
            "disallow('user', 's.t', '{delete}')",
        ]
    );
    let back: Vec<_> = steps(&old, &new).into_iter().map(|s| s.reverse).collect();
    assert_eq!(
        back[3..],
        [
            "SELECT tenant_guard.allow('user', 's.t', '{select,update}')",
            "SELECT tenant_guard.allow('admin', 's.t', '{select}')",
            "SELECT tenant_guard.allow('user', 's.t', '{delete}')",
        ]
    );
}

#[test]
fn inheritance_that_turns_round_is_no_cycle_in_between() {
    let roles = |a: &str, b: &str| {
        parsed(&format!(
            "{{'version':1,'issuers':{{}},'roles':{{'a':{{'inherits':[{a}]}},'b':{{'inherits':[{b}]}}}},'relations':{{}}}}"
        ))
    };
    assert_eq!(
        statements(&roles("'b'", ""), &roles("", "'a'")),
        ["define_role('a')", "define_role('b', inherits => '{a}')"]
    );
    assert_eq!(
        statements(&roles("", "'a'"), &roles("'b'", "")),
        ["define_role('b')", "define_role('a', inherits => '{b}')"]
    );
}

#[test]
fn former_parent_changes_after_its_children() {
    let old = with("{'s.a':{},'s.b':{'via':'a_id','parent':'s.a'}}");
    let new = with("{'s.a':{'archetype':'reference'},'s.b':{}}");
    assert_eq!(
        statements(&old, &new),
        ["protect('s.b')", "protect('s.a', archetype => 'reference')"]
    );
    let without = with("{'s.a':{'archetype':'deny_all'}}");
    assert_eq!(
        statements(&old, &without),
        [
            "unprotect('s.b')",
            "protect('s.a', archetype => 'deny_all')"
        ]
    );
    let turned = with("{'s.a':{'via':'b_id','parent':'s.b'},'s.b':{}}");
    assert_eq!(
        statements(&old, &turned),
        [
            "protect('s.b')",
            "protect('s.a', via => 'b_id', parent => 's.b')"
        ]
    );
    assert_eq!(
        statements(&old, &with("{'s.b':{}}")),
        ["protect('s.b')", "unprotect('s.a')"]
    );
    assert_eq!(
        statements(&old, &with("{}")),
        ["unprotect('s.b')", "unprotect('s.a')"]
    );
}

fn issuer(members: &str) -> Manifest {
    parsed(&format!(
        "{{'version':1,'issuers':{{'a':{{{members}}}}},'roles':{{}},'relations':{{}}}}"
    ))
}

#[test]
fn unknown_issuer_without_keys_is_refused() {
    let error = difference(&Manifest::default(), &issuer("")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "manifest $['issuers']['a']['keys']: is missing, and the issuer is not registered yet"
    );
}

#[test]
fn issuer_with_secrets_is_not_dropped() {
    // The server's own manifest names no keys where they are secret.
    let error = difference(&issuer(""), &Manifest::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "manifest $['issuers']['a']: is left out, but its secret keys could not be given back: \
         drop it with drop_issuer"
    );
}

#[test]
fn rotated_keys_are_no_difference_and_settings_leave_them_alone() {
    let key = "'keys':{'keys':[{'kty':'OKP','crv':'Ed25519',
        'x':'11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo'}]}";
    assert_eq!(steps(&issuer(key), &issuer("")), []);
    assert_eq!(
        statements(
            &issuer(key),
            &issuer(
                "'audiences':['x y'],'claim_paths':{'account':['app','tenant']},'require_exp':false"
            )
        ),
        [
            r#"alter_issuer('a', audiences => '{"x y"}', claim_paths => '{"account":["app","tenant"]}', require_exp => false)"#
        ]
    );
}

/// A manifest to which every step can be taken: no issuers to make without keys, no parents that
/// only a foreign key names.
fn possible() -> impl Strategy<Value = Manifest> {
    manifest().prop_map(|mut manifest| {
        manifest.issuers.clear();
        for relation in manifest.relations.values_mut() {
            if let Ownership::Child { parent, .. } = &relation.ownership
                && *parent == Parent::ForeignKey
            {
                relation.ownership = Ownership::Account("account_id".into());
            }
        }
        manifest
    })
}

proptest! {
    #[test]
    fn way_back_is_the_reverse_of_the_way_there(old in possible(), new in possible()) {
        // As sets: two independent steps may stand either way round.
        let there = steps(&old, &new);
        let mut reversed: Vec<_> = there.iter().map(|step| step.reverse.clone()).collect();
        let mut back: Vec<_> = steps(&new, &old).into_iter().map(|step| step.statement).collect();
        reversed.sort();
        back.sort();
        prop_assert_eq!(reversed, back);
    }

    #[test]
    fn parents_are_protected_before_their_children_and_unprotected_after(new in possible()) {
        let there = statements(&Manifest::default(), &new);
        let back = statements(&new, &Manifest::default());
        let place = |all: &[String], call: &str, name: &dyn ToString| {
            let start = format!("{call}('{}'", name.to_string().replace('\'', "''"));
            all.iter().position(|statement| statement.starts_with(&start)).unwrap()
        };
        for (name, relation) in &new.relations {
            let Ownership::Child { parent, .. } = &relation.ownership else { continue };
            let parents: Vec<_> = match parent {
                Parent::Named(parent) => vec![parent],
                Parent::ByType { parents, .. } => parents.values().collect(),
                Parent::ForeignKey => vec![],
            };
            for parent in parents {
                prop_assert!(place(&there, "protect", parent) < place(&there, "protect", name));
                prop_assert!(place(&back, "unprotect", name) < place(&back, "unprotect", parent));
            }
        }
    }
}
