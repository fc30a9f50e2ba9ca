//! Proofs and signed notes as others publish them. Each file names its source.
#![allow(missing_docs)]

mod notes;
mod policy;
mod proofs;

use serde_json::Value;

fn vectors(file: &str) -> Value {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/vectors/transparency")
        .join(file);
    let text = std::fs::read_to_string(path).expect("vectors are there");
    serde_json::from_str(&text).expect("vectors are JSON")
}

fn texts(list: &Value) -> Vec<&str> {
    let list = list.as_array().expect("a list");
    list.iter()
        .map(|text| text.as_str().expect("a text"))
        .collect()
}
