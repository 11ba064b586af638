//! JSON Schemas of the checklist's files, made from the types that read them, so that editors complete and validate.

use schemars::generate::SchemaSettings;

use super::{Claim, Fault, Waiver};

/// A schema and the file it is kept in, beside the checklist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaFile {
    /// File name inside `checklist/`.
    pub name: &'static str,
    /// JSON text, ending in a newline.
    pub text: String,
}

/// Every schema that is checked in.
pub fn schemas() -> Vec<SchemaFile> {
    vec![
        SchemaFile::of::<Vec<Claim>>("schema.json", "A section of the checklist"),
        SchemaFile::of::<Vec<Fault>>("faults.schema.json", "Planted faults"),
        SchemaFile::of::<Vec<Waiver>>("waivers.schema.json", "Waivers"),
    ]
}

impl SchemaFile {
    /// The schema of a type, kept in the file `name`.
    pub fn of<T: schemars::JsonSchema>(name: &'static str, title: &str) -> Self {
        let mut schema = SchemaSettings::draft07().into_generator().into_root_schema_for::<T>();
        schema.insert("title".to_owned(), title.into());
        let text = serde_json::to_string_pretty(&schema).unwrap_or_default() + "\n";
        Self { name, text }
    }
}
