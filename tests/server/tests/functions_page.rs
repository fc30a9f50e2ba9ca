//! `docs/functions.md`, which is written from the catalog: it cannot say anything that is not so.

use std::path::Path;

use tenant_guard_tests::{Database, lines};

/// A line for each function: what calls it, its comment, and who may, in the order of the page. Casts of
/// defaults say what the type says already.
const FUNCTIONS: &str = r#"
SELECT format('| `%s(%s)%s` | %s |%s |', p.proname,
        regexp_replace(pg_get_function_arguments(p.oid), '::[a-z_ ]+(\[\])?', '', 'g'),
        CASE WHEN p.prokind = 'f' THEN ' RETURNS ' || pg_get_function_result(p.oid) END,
        coalesce(obj_description(p.oid, 'pg_proc'), 'NO COMMENT'),
        CASE WHEN $1 THEN ' ' || callers.names END)
FROM pg_proc AS p
LEFT JOIN LATERAL (
    SELECT string_agg(CASE a.grantee WHEN 0 THEN 'everybody'
            ELSE replace(a.grantee::regrole::text, 'tenant_guard_', '') END, ', '
            ORDER BY a.grantee::regrole::text) AS names
    FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) AS a WHERE a.grantee <> p.proowner
) AS callers ON true
WHERE p.pronamespace = 'tenant_guard'::regnamespace AND (callers.names IS NOT NULL) = $1
ORDER BY p.proname COLLATE "C", pg_get_function_arguments(p.oid) COLLATE "C""#;

const SETTINGS: &str = r#"
SELECT format('| `%s` | %s | %s | %s |', name,
    CASE boot_val WHEN '' THEN '' ELSE '`' || boot_val || coalesce(unit, '') || '`' END, context, short_desc)
FROM pg_settings WHERE name LIKE 'tenant\_guard.%' ORDER BY name COLLATE "C""#;

#[test]
fn functions_page_is_what_the_catalog_says() {
    let db = Database::new();
    let mut client = db.superuser();
    // The library defines its settings when it is first called.
    client
        .batch_execute("SELECT tenant_guard.version()")
        .expect("it is installed");
    let functions = |granted: bool| {
        let query = FUNCTIONS.replace("$1", &granted.to_string());
        let found = lines(&mut client, &query);
        found.join("\n").replace(" | |", " |")
    };
    let [granted, internal] = [true, false].map(functions);
    let settings = lines(&mut client, SETTINGS).join("\n");
    let page = format!(
        "# Functions and settings\n\n\
         Written from the catalog of a server, and compared with it by the tests. What they mean together, and \
         their errors: [reference](reference.md).\n\n\
         ## Functions\n\n| Function of schema `tenant_guard` | What it does | Who may call it |\n|---|---|---|\n\
         {granted}\n\n\
         *admin* and *auditor* are the roles `tenant_guard_admin` and `tenant_guard_auditor`; an owner may grant more.\n\n\
         ## Functions for nobody but their owner\n\n| Function | What it does |\n|---|---|\n{internal}\n\n\
         ## Settings\n\n| Setting | Default | Who may change it | What it does |\n|---|---|---|---|\n{settings}\n"
    );
    assert!(
        !page.contains("NO COMMENT"),
        "a function has no comment:\n{page}"
    );
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/functions.md");
    if std::env::var_os("TENANT_GUARD_BLESS").is_some() {
        std::fs::write(&file, &page).expect("the page can be written");
    }
    let expected = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        page == expected,
        "docs/functions.md is not what the catalog says; TENANT_GUARD_BLESS=1 writes it anew"
    );
}
