//! What the tools promise, as one text.

use std::fmt::Write as _;

use super::*;

#[test]
fn the_catalogue_is_as_people_know_it() {
    let mut text = String::new();
    for spec in gate().gate().specs() {
        let required = spec.input_schema["required"].as_array().unwrap();
        let mut arguments: Vec<String> = spec.input_schema["properties"]
            .as_object()
            .unwrap()
            .keys()
            .filter(|name| *name != "connection_string")
            .map(|name| format!("{name}{}", if required.contains(&json!(name)) { "*" } else { "" }))
            .collect();
        arguments.sort();
        let _ = writeln!(
            text,
            "{} [{}, reversible: {}{}{}] ({}) {:?}{}",
            spec.name,
            spec.action_class,
            spec.reversibility.word(),
            if spec.fleet_eligible { ", fleet" } else { "" },
            if spec.auto_remediation_eligible { ", auto" } else { "" },
            arguments.join(", "),
            spec.capabilities,
            if spec.supersedes.is_empty() { String::new() } else { format!(" supersedes {:?}", spec.supersedes) },
        );
    }
    insta::assert_snapshot!(text);
}

#[test]
fn every_tool_takes_a_database_and_nothing_unknown() {
    for spec in gate().gate().specs() {
        let schema = &spec.input_schema;
        assert_eq!(schema["additionalProperties"], false, "{}", spec.name);
        assert_eq!(spec.agent, "database");
        for (name, property) in schema["properties"].as_object().unwrap() {
            assert!(property["description"].as_str().is_some_and(|d| d.len() > 10), "{}.{name}", spec.name);
        }
        let takes_target = schema["properties"].get("connection_string").is_some();
        assert_eq!(takes_target, spec.target_argument.is_some(), "{}", spec.name);
        let stored = ["read_uploaded_file", "get_saved_snapshots"].contains(&spec.name.as_str());
        assert_eq!(takes_target, !stored, "{}", spec.name);
    }
}
