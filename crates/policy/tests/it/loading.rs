//! What does not load, and what it says then.

use reeve_policy::PolicySet;
use reeve_types::{ActionClass, Effect};

use crate::support::{Ask, cedar, compile, errors, yaml};

#[test]
fn everything_wrong_with_a_file_is_said_at_once() {
    insta::assert_snapshot!(errors(yaml(
        "policies.yaml",
        r#"version: "2"
policies:
  - name: one
    priorty: 10
    enabled: yes
    principals:
      - roles: dba
      - {user: alice, role: dba}
      - any: false
    resources:
      - type: databse
        match: {tag: [production], name_pattern: "[a", tags: []}
      - match: {tags: [x]}
    rules:
      - action: [read, wirte]
        efect: allow
      - effect: permit
        conditions:
          max_rows: 5
          max_rows_affected: -1
          approval_quorum: 0
          allowed_purposes: [diagnostics]
          schedule: {days: [monday, someday], hours: [24], timezone: Mars/Olympus}
  - description: no name, no resources, no rules
"#,
    )));
}

#[test]
fn each_kind_of_broken_file_says_what_to_do() {
    let long_key = format!("{}: 1", "k".repeat(200));
    let cases = [
        ("both forms", "policies: []\nrules: []\n"),
        ("neither form", "version: \"1\"\n"),
        ("empty", ""),
        ("no mapping", "- a\n- b\n"),
        ("no YAML", "policies: [\n  - {name: x\n"),
        ("a key twice", "policies:\n  - name: a\n    name: b\n"),
        ("no policies", "policies: []\n"),
        ("long key", long_key.as_str()),
        ("variable", "rules:\n  - {name: a, match: {tags: [$TAG, \"${NOPE}\"]}, effect: allow}\n"),
        ("open variable", "rules:\n  - {name: \"a${TAG\", effect: allow}\n"),
        ("short rule", "rules:\n  - match: {action_clas: read, type: any, resource: any}\n    effect: alow\n"),
        (
            "names",
            "rules:\n  - {name: a, effect: allow}\n  - {name: a, effect: deny}\n  - {name: default, effect: deny}\n",
        ),
        ("number as name", "rules:\n  - {name: 1.5, effect: allow}\n"),
        ("unknown tag", "rules: !!python/object:os.system [x]\n"),
    ];
    let said: Vec<String> =
        cases.iter().map(|(name, text)| format!("--- {name}\n{}", errors(yaml("p.yaml", text)))).collect();
    insta::assert_snapshot!(said.join("\n\n"));
}

#[test]
fn broken_cedar_files_say_what_to_do() {
    let cases = [
        ("syntax", "permit (principal, action, resource)\nwhen { context.rows < };\n"),
        ("unknown attribute", "// first\npermit (principal, action, resource) when { resource.tag == \"x\" };\n"),
        ("wrong type", "forbid (principal, action, resource) when { context.rows > \"5\" };\n"),
        ("unguarded purpose", "permit (principal, action, resource) when { context.purpose == \"emergency\" };\n"),
        ("unknown action", "permit (principal, action == Action::\"wirte\", resource);\n"),
        ("annotation", "@efect(\"require_approval\")\npermit (principal, action, resource);\n"),
        ("effect", "@effect(\"deny\") @quorum(\"0\") @priority(\"high\")\npermit (principal, action, resource);\n"),
        ("forbid with effect", "@effect(\"require_approval\")\nforbid (principal, action, resource);\n"),
        ("template", "permit (principal == ?principal, action, resource);\n"),
        (
            "name twice",
            "@name(\"a\")\npermit (principal, action, resource);\n@name(\"a\")\nforbid (principal, action, resource);\n",
        ),
    ];
    let said: Vec<String> =
        cases.iter().map(|(name, text)| format!("--- {name}\n{}", errors(cedar("p.cedar", text)))).collect();
    insta::assert_snapshot!(said.join("\n\n"));
}

#[test]
fn names_are_unique_over_all_files() {
    let rules = "rules:\n  - {name: same, effect: deny}\n";
    let sources = [yaml("a.yaml", rules), cedar("b.cedar", "@name(\"same\")\npermit (principal, action, resource);")];
    let errors = PolicySet::compile(&sources, &|_| None).unwrap_err();
    insta::assert_snapshot!(errors.to_string());
    let twice = [yaml("a.yaml", rules), yaml("a.yaml", "rules:\n  - {name: other, effect: deny}\n")];
    let errors = PolicySet::compile(&twice, &|_| None).unwrap_err();
    assert_eq!(errors.to_string(), "a.yaml: two policy files have this name\n  help: name each file once");
}

#[test]
fn hostile_files_are_refused_with_a_short_complaint() {
    let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let previous = format!("*a{}", level - 1);
        laughs.push_str(&format!("a{level}: &a{level} [{}]\n", vec![previous; 10].join(", ")));
    }
    let deep = format!("policies: {}{}", "[".repeat(5_000), "]".repeat(5_000));
    let large = format!("# {}\nrules: []", "x".repeat(5 * 1024 * 1024));
    for text in [laughs, deep, large] {
        // One that grew as it says would never come to its end here.
        let said = errors(yaml("p.yaml", &text));
        assert_ne!(said, "it loads");
        assert!(said.len() < 4_096, "a short complaint: {} bytes", said.len());
    }
}

#[test]
fn hostile_cedar_files_are_refused_or_read_but_never_end_the_process() {
    for (open, close) in [
        ("(", ")"),
        ("[", "]"),
        ("!", ""),
        ("1 > context.", ""),
        ("true && ", ""),
        ("if true then true else ", ""),
        ("{a: ", "}"),
    ] {
        let text = format!(
            "permit (principal, action, resource) when {{ {}true{} }};",
            open.repeat(20_000),
            close.repeat(20_000)
        );
        let said = errors(cedar("p.cedar", &text));
        assert_ne!(said, "it loads");
        assert!(said.len() < 4_096, "a short complaint: {} bytes", said.len());
    }
}

#[test]
fn what_people_write_at_length_loads_and_decides() {
    let conjuncts = vec!["context.rows < 5"; 28].join(" && ");
    let brackets = format!("{}true{}", "(".repeat(24), ")".repeat(24));
    let clauses = "when { context.pods < 5 }\n".repeat(13);
    let written =
        format!("permit (principal, action, resource) when {{ {conjuncts} }} when {{ {brackets} }} {clauses};");
    let principals: String = (0..500).map(|at| format!("{{role: r{at}}}, {{user: u{at}}}, ")).collect();
    let resources: String =
        (0..500).map(|at| format!("{{type: host, match: {{name: h{at}, tags: [t{at}]}}}}, ")).collect();
    let long = format!(
        "policies: [{{name: long, priority: 1, principals: [{principals}{{service: s}}], resources: [{resources}{{type: database}}], rules: [{{action: write, effect: allow}}]}}]"
    );
    let set = compile(&[cedar("p.cedar", &written), yaml("p.yaml", &long)]);
    let ask = Ask::new(ActionClass::Write).roles(&["r499"]);
    let told = reeve_policy::explain_text(&ask.request(), &set.explain(&ask.request()));
    assert_eq!(ask.of(&set).policy_name, "long", "{told}");
    assert_eq!(Ask::new(ActionClass::Write).of(&set).policy_name, "p.cedar#0");
    assert_eq!(Ask::new(ActionClass::Read).rows(9).of(&set).policy_name, "default");
}

#[test]
fn variables_are_values_and_never_structure() {
    let text = "
# $NOT_ASKED_FOR in a comment is no reference
policies:
  - name: p
    priority: ${PRIORITY}
    resources: [{type: database, match: {tags: [$TAG]}}]
    rules: [{action: read, effect: allow, message: \"costs $5, $$TAG, ${TAG}-only\"}]
";
    let environment = |name: &str| match name {
        "TAG" => Some("eu]}}, {type: any".to_owned()),
        "PRIORITY" => Some("7".to_owned()),
        _ => None,
    };
    let set = PolicySet::compile(&[yaml("p.yaml", text)], &environment).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(set.policies()[0].priority, 7);
    assert_eq!(Ask::new(ActionClass::Read).tags(&["eu"]).of(&set).effect, Effect::Deny);
    let decision = Ask::new(ActionClass::Read).tags(&["eu]}}, {type: any"]).of(&set);
    assert_eq!(decision.effect, Effect::Allow);
    assert_eq!(decision.message, "costs $5, $TAG, eu]}}, {type: any-only");
}

#[test]
fn the_digest_names_the_content_and_not_the_layout() {
    let plain = yaml("p.yaml", "rules:\n  - {name: a, match: {tags: [x, y]}, effect: allow}\n");
    let same = yaml("p.yaml", "# why\nrules:\n  - name: a\n    effect: allow\n    match:\n      tags: [y, x]\n");
    let other = yaml("p.yaml", "rules:\n  - {name: a, match: {tags: [x]}, effect: allow}\n");
    let reworded = yaml("p.yaml", "rules:\n  - {name: a, match: {tags: [x, y]}, effect: allow, message: hi}\n");
    let digest = |source| compile(&[source]).digest();
    assert_eq!(digest(plain.clone()), digest(same));
    assert_ne!(digest(plain.clone()), digest(other));
    assert_ne!(digest(plain), digest(reworded));
    let rule = cedar("c.cedar", "@priority(\"1\") permit (principal, action, resource) when { context.rows < 5 };");
    let same = cedar("c.cedar", "// why\n@priority(\"1\")\npermit(principal,action,resource)\nwhen{context.rows<5};");
    let other = cedar("c.cedar", "@priority(\"1\") permit (principal, action, resource) when { context.rows < 6 };");
    assert_eq!(digest(rule.clone()), digest(same));
    assert_ne!(digest(rule), digest(other));
}

#[test]
fn quotes_and_control_characters_in_names_cannot_leave_their_literal() {
    let tag = "x\" || true || \"\\\n\u{1}*";
    let environment = |_: &str| Some(tag.to_owned());
    let text =
        "rules:\n  - {name: a, match: {tags: [$T], name: $T, tool: $T, namespace: $T}, effect: allow, message: $T}\n";
    let set = PolicySet::compile(&[yaml("p.yaml", text)], &environment).unwrap_or_else(|e| panic!("{e}"));
    let mut ask = Ask::new(ActionClass::Read);
    assert_eq!(ask.of(&set).effect, Effect::Deny);
    ask = ask.tags(&[tag]);
    (ask.resource.name, ask.tool, ask.resource.namespace) = (tag.to_owned(), tag.to_owned(), Some(tag.to_owned()));
    assert_eq!(ask.of(&set).effect, Effect::Allow);
}
