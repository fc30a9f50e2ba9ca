//! The whole product by one manifest, and back.

use serde_json::Value;
use tenant_guard_tests::lines;

use super::{MANIFEST, Product};

fn export(product: &Product) -> Value {
    let query = "SELECT tenant_guard.export_manifest()";
    product.owner().query_one(query, &[]).unwrap().get(0)
}

/// Applies, and returns the statements of this phase.
fn apply(product: &Product, manifest: &Value, phase: &str) -> Vec<String> {
    let query =
        "SELECT statement FROM tenant_guard.apply_manifest($1) WHERE phase = $2 ORDER BY step";
    let rows = product.owner().query(query, &[manifest, &phase]).unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

#[test]
fn manifest_governs_the_whole_product_and_the_one_before_gives_it_back() {
    let product = Product::new();
    let (before, nothing) = (product.dump(), export(&product));
    let mut manifest: Value = serde_json::from_str(&product.named(MANIFEST)).unwrap();
    manifest["issuers"] = nothing["issuers"].clone();

    for statement in apply(&product, &manifest, "after") {
        product.owner().batch_execute(&statement).unwrap();
    }
    let drift = "SELECT object, state, detail FROM tenant_guard.drift()";
    assert_eq!(lines(&mut product.owner(), drift), [] as [&str; 0]);
    let governed = "SELECT count(*) FROM tenant_guard.protected_relation";
    assert_eq!(lines(&mut product.db.superuser(), governed), ["168"]);
    let exported = export(&product);
    assert_eq!(apply(&product, &exported, "apply"), [] as [&str; 0]);

    for statement in apply(&product, &nothing, "after") {
        product.owner().batch_execute(&statement).unwrap();
    }
    assert_eq!(product.dump(), before);
    assert_eq!(export(&product), nothing);
}
