//! The manifests of `tests/vectors/manifest`, each judged by the reader and by the JSON Schema that
//! `docs/manifest.schema.json` publishes.

use boon::{Compiler, SchemaIndex, Schemas};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use tenant_guard_core::manifest::Manifest;

#[derive(Deserialize)]
struct Valid {
    name: String,
    #[serde(borrow = "'static")]
    manifest: &'static RawValue,
    /// What it is written back as, where that differs.
    normal: Option<Value>,
}

#[derive(Deserialize)]
struct Refused {
    name: String,
    manifest: Option<Value>,
    /// In the place of `manifest`, where no JSON value shows the fault.
    text: Option<String>,
    path: String,
    message: String,
    /// The schema cannot say what is wrong.
    #[serde(default)]
    beyond_schema: bool,
}

/// Where the compiler is told the schema stands.
const LOCATION: &str = "file:///manifest.schema.json";

struct Schema {
    schemas: Schemas,
    index: SchemaIndex,
}

impl Schema {
    fn published() -> Self {
        let text = include_str!("../../../../docs/manifest.schema.json");
        let schema = serde_json::from_str(text).expect("the schema is JSON");
        let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
        compiler
            .add_resource(LOCATION, schema)
            .expect("the location is a URL");
        let index = compiler
            .compile(LOCATION, &mut schemas)
            .expect("the schema is one");
        Self { schemas, index }
    }

    fn accepts(&self, manifest: &Value) -> bool {
        self.schemas.validate(manifest, self.index).is_ok()
    }
}

#[test]
fn valid_manifests_are_read_and_written_in_normal_form() {
    let schema = Schema::published();
    let all = include_str!("../../../../tests/vectors/manifest/valid.json");
    let all: Vec<Valid> = serde_json::from_str(all).expect("the file is JSON");
    assert!(all.len() >= 5);
    for Valid {
        name,
        manifest,
        normal,
    } in all
    {
        let value: Value = serde_json::from_str(manifest.get()).expect("raw values are JSON");
        assert!(schema.accepts(&value), "{name}");
        let manifest = Manifest::parse(manifest.get()).expect(&name);
        let written: Value = serde_json::from_str(&manifest.to_json()).expect("it is JSON");
        assert_eq!(written, normal.unwrap_or(value), "{name}");
        assert!(schema.accepts(&written), "{name}");
        assert_eq!(Manifest::parse(&manifest.to_json()), Ok(manifest), "{name}");
    }
}

#[test]
fn every_fault_is_refused_at_its_place() {
    let schema = Schema::published();
    let all = include_str!("../../../../tests/vectors/manifest/refused.json");
    let all: Vec<Refused> = serde_json::from_str(all).expect("the file is JSON");
    assert!(all.len() >= 95);
    for case in all {
        let name = &case.name;
        let text = match (&case.manifest, case.text) {
            (Some(manifest), None) => {
                assert_eq!(schema.accepts(manifest), case.beyond_schema, "{name}");
                manifest.to_string()
            }
            (None, Some(text)) => text,
            _ => panic!("{name}: either manifest or text"),
        };
        let error = Manifest::parse(&text).expect_err(name);
        let (path, message) = (error.path.to_string(), error.problem.to_string());
        assert_eq!((path, message), (case.path, case.message), "{name}");
    }
}
