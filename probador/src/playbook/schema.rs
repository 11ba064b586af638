//! The JSON Schema of a playbook, made from the types that read it.

use schemars::generate::SchemaSettings;

use super::Playbook;

/// The schema, as it is kept in `playbooks/schema.json`.
pub fn schema() -> String {
    let mut schema = SchemaSettings::draft07().into_generator().into_root_schema_for::<Playbook>();
    schema.insert("title".to_owned(), "A playbook".into());
    serde_json::to_string_pretty(&schema).unwrap_or_default() + "\n"
}
