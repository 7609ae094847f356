//! What one decision costs: median and 99th percentile, with 10 and 100 policies. It prints figures and never fails.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::hint::black_box;
use std::time::Instant;

use jiff::Timestamp;
use reeve_policy::{Format, PolicySet, Source};
use reeve_types::{
    ActionClass, AuthMethod, Decision, Measured, PolicyRequest, Principal, PrincipalKind, Purpose, Resource,
    ResourceKind,
};

const ROUNDS: usize = 50_000;

fn main() {
    println!("{:<52} {:>9} {:>9}", "one decision", "median", "p99");
    for count in [10, 100] {
        let yaml = compile(&[(yaml_policies(count), Format::Yaml)]);
        measure(&format!("{count} YAML policies"), &yaml);
        let mixed = compile(&[(yaml_policies(count), Format::Yaml), (cedar_policies(10), Format::Cedar)]);
        measure(&format!("{count} YAML policies and 10 of a Cedar file"), &mixed);
    }
    let explained = compile(&[(yaml_policies(100), Format::Yaml)]);
    let (principals, resources) = (principals(), resources());
    let started = Instant::now();
    for round in 0..1_000 {
        black_box(explained.explain(&request(round, &principals, &resources)));
    }
    println!("{:<52} {:>6} µs (mean)", "explain, 100 YAML policies", started.elapsed().as_micros() / 1_000);
}

fn compile(texts: &[(String, Format)]) -> PolicySet {
    let sources: Vec<Source> = texts
        .iter()
        .enumerate()
        .map(|(at, (text, format))| Source { name: format!("file{at}"), text: text.clone(), format: *format })
        .collect();
    match PolicySet::compile(&sources, &|_| None) {
        Ok(set) => set,
        Err(errors) => {
            println!("{errors}");
            PolicySet::deny_all()
        }
    }
}

/// Policies like those that people write: by role, tag, sensitivity, tool, with limits, purposes and schedules.
fn yaml_policies(count: usize) -> String {
    let mut text = "policies:\n".to_owned();
    for at in 0..count {
        let kind = ["database", "kubernetes", "host", "any"][at % 4];
        let _ = write!(
            text,
            "  - name: policy-{at}
    priority: {at}
    principals: [{{role: role-{}}}, {{service: service-{}}}]
    resources:
      - type: {kind}
        match: {{tags: [tag-{}], name_pattern: \"db-*\"}}
    rules:
      - action: read
        effect: allow
        conditions: {{allowed_purposes: [diagnostic, remediation]}}
      - action: write
        effect: require_approval
        conditions: {{max_rows_affected: 1000, schedule: {{days: [mon, tue, wed, thu, fri], timezone: Europe/Berlin}}}}
      - action: destructive
        effect: deny
",
            at % 7,
            at % 5,
            at % 11
        );
    }
    text
}

fn cedar_policies(count: usize) -> String {
    let mut text = String::new();
    for at in 0..count {
        let _ = writeln!(
            text,
            "@name(\"cedar-{at}\")\nforbid (principal in Role::\"role-{at}\", action == Action::\"destructive\", resource)\nwhen {{ resource.tags.contains(\"tag-{at}\") && context.rows > 5 }};"
        );
    }
    text
}

fn principals() -> Vec<Principal> {
    (0..23)
        .map(|at| {
            Principal::new(PrincipalKind::User, format!("user-{at}"), AuthMethod::Jwt)
                .with_roles([format!("role-{}", at % 7), "staff".to_owned()])
        })
        .collect()
}

fn resources() -> Vec<Resource> {
    (0..41)
        .map(|at| {
            let mut resource = Resource::new(ResourceKind::ALL[at % 3], format!("db-{at}"));
            resource.tags = BTreeSet::from([format!("tag-{}", at % 11), "eu".to_owned(), "production".to_owned()]);
            resource.sensitivity = BTreeSet::from(["pii".to_owned()]);
            resource
        })
        .collect()
}

fn request<'a>(round: usize, principals: &'a [Principal], resources: &'a [Resource]) -> PolicyRequest<'a> {
    PolicyRequest {
        principal: &principals[round % principals.len()],
        purpose: [None, Some(Purpose::Diagnostic), Some(Purpose::Remediation)][round % 3],
        resource: &resources[round % resources.len()],
        class: ActionClass::ALL[round % 3],
        tool: "terminate_idle_connections",
        measured: Measured { rows_affected: (round % 2_000) as u64, ..Measured::default() },
        at: Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_secs((round as i64) * 997),
    }
}

fn measure(what: &str, set: &PolicySet) {
    let (principals, resources) = (principals(), resources());
    let fresh = |request: &PolicyRequest<'_>| set.decide_afresh(request);
    let remembered = |request: &PolicyRequest<'_>| set.decide(request);
    // A working set of 999 questions, as a running installation has it.
    run(&format!("{what}, remembered"), &remembered, &|round| request(round % 999, &principals, &resources));
    run(&format!("{what}, afresh"), &fresh, &|round| request(round, &principals, &resources));
}

fn run<'a>(what: &str, decide: &dyn Fn(&PolicyRequest<'_>) -> Decision, request: &dyn Fn(usize) -> PolicyRequest<'a>) {
    let (mut all, mut decided) = (Vec::with_capacity(ROUNDS), Vec::with_capacity(ROUNDS));
    for round in 0..ROUNDS + 1_000 {
        let request = request(round);
        let started = Instant::now();
        let decision = black_box(decide(black_box(&request)));
        let took = started.elapsed().as_nanos();
        if round >= 1_000 {
            all.push(took);
            if !decision.default_applied {
                decided.push(took);
            }
        }
    }
    let share = decided.len() * 100 / ROUNDS;
    print(what, &mut all);
    print(&format!("  of these, decided by a rule ({share} %)"), &mut decided);
}

fn print(what: &str, times: &mut [u128]) {
    times.sort_unstable();
    let at = |share: usize| times.get((times.len() * share / 100).min(times.len().saturating_sub(1))).copied();
    let micros = |nanos: Option<u128>| nanos.unwrap_or(0) as f64 / 1_000.0;
    println!("{what:<52} {:>6.2} µs {:>6.2} µs", micros(at(50)), micros(at(99)));
}
