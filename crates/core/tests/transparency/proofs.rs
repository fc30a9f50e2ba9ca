//! The proofs of transparency-dev/merkle: good ones, and each of them spoilt in many ways.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tenant_guard_core::merkle::Hash;
use tenant_guard_core::proof::{is_consistent, root_of_inclusion};

/// A hash of another length, which some vectors have on purpose, is none.
fn hash(text: &Value) -> Option<Hash> {
    let bytes = STANDARD.decode(text.as_str()?).expect("base64");
    bytes.try_into().ok()
}

fn proof(vector: &Value) -> Option<Vec<Hash>> {
    match vector["proof"].as_array() {
        Some(hashes) => hashes.iter().map(hash).collect(),
        None => Some(Vec::new()),
    }
}

fn judge(kind: &str, holds: impl Fn(&Value) -> Option<bool>) {
    let all = super::vectors("proofs.json");
    let vectors = all[kind].as_array().expect("a list");
    assert_eq!(vectors.len(), 98);
    for vector in vectors {
        let expected = !vector["wantErr"].as_bool().expect("a boolean");
        assert_eq!(
            holds(vector).unwrap_or(false),
            expected,
            "{}",
            vector["file"]
        );
    }
}

#[test]
fn inclusion() {
    judge("inclusion", |vector| {
        let (index, size) = (vector["leafIdx"].as_u64()?, vector["treeSize"].as_u64()?);
        let found = root_of_inclusion(hash(&vector["leafHash"])?, index, size, &proof(vector)?)?;
        Some(found == hash(&vector["root"])?)
    });
}

#[test]
fn consistency() {
    judge("consistency", |vector| {
        // Equal trees need no hash, and some vectors have roots there that are no hashes.
        let root = |name: &str| {
            hash(&vector[name]).or((vector["root1"] == vector["root2"]).then_some([0; 32]))
        };
        let old = (vector["size1"].as_u64()?, root("root1")?);
        let new = (vector["size2"].as_u64()?, root("root2")?);
        Some(is_consistent(old, new, &proof(vector)?))
    });
}
