//! Layering, complaints with their places, the table of variables.

use std::path::PathBuf;

use reeve_types::secret::ExposeSecret as _;

use super::keys::{EXTRA_LISTENER, KEYS};
use super::*;

/// A secret that nobody guesses.
const SECRET: &str = "4f1c0d2ab97e4c58a1d1b3f5e6079c8d4f1c0d2ab97e4c58";

/// A quiet machine with this file and these variables.
fn around(file: &str, variables: &[(&str, &str)]) -> Surroundings {
    Surroundings {
        file: (!file.is_empty()).then(|| (PathBuf::from("/etc/reeve/reeve.toml"), file.to_owned())),
        variables: variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        working_dir: PathBuf::from("/work"),
        home: Some(PathBuf::from("/home/dora")),
        is_root: false,
        in_container: false,
    }
}

fn loaded(file: &str, variables: &[(&str, &str)]) -> Config {
    match load(&around(file, variables), &[]) {
        Ok(config) => config,
        Err(errors) => panic!("{errors}"),
    }
}

fn complaints(file: &str, variables: &[(&str, &str)]) -> String {
    load(&around(file, variables), &[]).unwrap_err().to_string()
}

fn listening(config: &Config) -> Vec<String> {
    config.listen.iter().map(ToString::to_string).collect()
}

#[test]
fn without_anything_the_defaults_hold() {
    let config = loaded("", &[]);
    assert_eq!(listening(&config), ["127.0.0.1:8080"]);
    assert_eq!(config.data_dir, PathBuf::from("/home/dora/.local/share/reeve"));
    assert_eq!(config.mode, reeve_gate::OperatingMode::Normal);
    assert_eq!(config.identity.provider, Provider::Keys);
    assert_eq!(config.approval.expiry.as_secs(), 3600);
    assert_eq!(config.approval.valid_for.as_secs(), 600);
    assert_eq!(
        (config.verify.attempts, config.verify.initial_delay.as_millis(), config.verify.max_delay.as_secs()),
        (8, 100, 5)
    );
    assert_eq!((config.shutdown.grace.as_secs(), config.shutdown.hard.as_secs()), (15, 20));
    assert_eq!((config.client.server.as_str(), config.client.server_named), ("http://127.0.0.1:8080", false));
    assert!(config.policy_files.is_empty() && config.inventory_file.is_none() && config.notify.smtp.is_none());
    assert!(config.warnings.is_empty());
}

#[test]
fn defaults_depend_on_where_it_runs() {
    let root = Surroundings { is_root: true, ..around("", &[]) };
    assert_eq!(load(&root, &[]).unwrap().data_dir, PathBuf::from("/var/lib/reeve"));
    let xdg = loaded("", &[("XDG_DATA_HOME", "/data")]);
    assert_eq!(xdg.data_dir, PathBuf::from("/data/reeve"));
    let contained = load(&Surroundings { in_container: true, ..around("", &[]) }, &[]).unwrap();
    assert_eq!(listening(&contained), ["0.0.0.0:8080"]);
    assert_eq!(contained.client.server, "http://127.0.0.1:8080", "a wildcard is no address to connect to");
    let homeless = load(&Surroundings { home: None, ..around("", &[]) }, &[]).unwrap_err().to_string();
    assert!(homeless.starts_with("there is no place for the data directory"), "{homeless}");
}

#[test]
fn later_layers_win() {
    let file = "mode = 'fix'\n[approval]\nexpiry_minutes = 5\n";
    let own = ("REEVE_APPROVAL_EXPIRY_MINUTES", "6");
    assert_eq!(loaded(file, &[]).approval.expiry.as_secs(), 300);
    assert_eq!(loaded(file, &[own]).approval.expiry.as_secs(), 360);
    let alias = ("HELPDESK_OPERATING_MODE", "readonly-governed");
    assert_eq!(loaded(file, &[alias]).mode, reeve_gate::OperatingMode::ReadOnlyGoverned);
    let both = [alias, ("REEVE_MODE", "fix")];
    assert_eq!(loaded("", &both).mode, reeve_gate::OperatingMode::Fix, "its own variable beats the alias");
    let empty = [("REEVE_MODE", ""), alias];
    assert_eq!(loaded("", &empty).mode, reeve_gate::OperatingMode::ReadOnlyGoverned, "an empty variable is not set");
    let flag = Flag { key: "mode", flag: "--mode", values: vec!["readonly".into()] };
    assert_eq!(load(&around(file, &both), &[flag]).unwrap().mode, reeve_gate::OperatingMode::Normal);
}

#[test]
fn every_variable_of_the_table_is_read() {
    // A value that fits each setting, to be recognised in what is shown.
    let value = |name: &str, kind: &str| match (name, kind) {
        ("listen", _) => "127.0.0.1:9999",
        ("mode", _) => "fix",
        ("identity.provider", _) => "keys",
        ("log.format", _) => "json",
        ("otel.sampler", _) => "always_on",
        ("log.level", _) => "debug",
        ("workspaces.driver", _) => "docker",
        ("workspaces.reachable", _) => "10.0.0.1:3128",
        ("notify.smtp.password", _) => "hunter2",
        ("jwt_secret" | "jwt_secret_previous", _) => SECRET,
        (_, "true or false") => "true",
        ("sse.idle_ms" | "sse.client_timeout_ms", _) => "1900",
        (_, "whole number") => "19",
        (_, "number from 0 to 1") => "0.5",
        (_, "URL") => "http://example.org:81",
        _ => "/some/where",
    };
    for key in KEYS {
        let own = key.variable();
        for name in std::iter::once(own.as_str()).chain(key.aliases.iter().copied()) {
            let mut variables =
                vec![(name, if name.ends_with("_MS") { "19000" } else { value(key.name, key.kind.words()) })];
            if key.name.starts_with("notify.smtp.") {
                let needed = [
                    ("REEVE_NOTIFY_SMTP_HOST", "mail"),
                    ("REEVE_NOTIFY_SMTP_USER", "u"),
                    ("REEVE_NOTIFY_SMTP_FROM", "a@b"),
                    ("REEVE_NOTIFY_SMTP_TO", "c@d"),
                ];
                variables.extend(needed.into_iter().filter(|(variable, _)| *variable != own));
            }
            if key.name == "jwt_secret_previous" {
                variables.push(("JWT_SECRET", SECRET));
            }
            let config = loaded("", &variables);
            let shown = shown(&config);
            let setting = shown.iter().find(|setting| setting.name == key.name).unwrap();
            assert_eq!(setting.source, name, "{}", key.name);
        }
    }
}

#[test]
fn no_variable_means_two_things() {
    let mut seen =
        std::collections::BTreeSet::from([EXTRA_LISTENER.to_owned(), surroundings::CONFIG_VARIABLE.to_owned()]);
    for key in KEYS {
        let names = std::iter::once(key.variable()).chain(key.aliases.iter().map(|alias| (*alias).to_owned()));
        for name in names {
            assert!(seen.insert(name.clone()), "{name} is there twice");
        }
    }
}

#[test]
fn the_variables_of_the_aegis_guide_hold() {
    let loud = |variables: &[(&str, &str)]| listening(&loaded("", variables));
    assert_eq!(loud(&[("AEGIS_PORT", "9100")]), ["127.0.0.1:9100"]);
    assert_eq!(loud(&[("AEGIS_HOST", "0.0.0.0")]), ["0.0.0.0:8080"]);
    assert_eq!(loud(&[("AEGIS_HOST", "::1"), ("AEGIS_PORT", "9100")]), ["[::1]:9100"]);
    assert_eq!(loud(&[("AEGIS_PORT", "9100"), ("REEVE_LISTEN", "127.0.0.1:81")]), ["127.0.0.1:81"]);
    assert!(complaints("", &[("AEGIS_PORT", "many")]).contains("AEGIS_PORT"));
    let stops = loaded("", &[("AEGIS_SHUTDOWN_GRACE_MS", "1500"), ("AEGIS_SHUTDOWN_HARD_MS", "20000")]).shutdown;
    assert_eq!((stops.grace.as_secs(), stops.hard.as_secs()), (2, 20));
    assert!(complaints("", &[("AEGIS_SHUTDOWN_GRACE_MS", "1.5s")]).contains("1.5s"));
    assert_eq!(loaded("", &[("AEGIS_STATE_DIR", "/srv/state")]).data_dir, std::path::Path::new("/srv/state"));
}

#[test]
fn the_second_daemon_of_the_guide_is_one_more_address() {
    let audit = ("HELPDESK_AUDIT_ADDR", ":1199");
    assert_eq!(listening(&loaded("", &[audit])), ["127.0.0.1:8080", "0.0.0.0:1199"]);
    let both = [audit, ("HELPDESK_GATEWAY_ADDR", "localhost:8081")];
    assert_eq!(listening(&loaded("", &both)), ["127.0.0.1:8081", "0.0.0.0:1199"]);
    let exact = [audit, ("REEVE_LISTEN", "127.0.0.1:1, [::1]:2")];
    assert_eq!(listening(&loaded("", &exact)), ["127.0.0.1:1", "[::1]:2"]);
    assert_eq!(listening(&loaded("listen = ['localhost:1199', '127.0.0.1:1199']", &[])), ["127.0.0.1:1199"]);
}

#[test]
fn paths_count_from_where_they_were_written() {
    let file = "data_dir = 'data'\n[policy]\nfiles = ['policies', '~/own.yaml', '/abs.cedar']\n";
    let config = loaded(file, &[("HELPDESK_INFRA_CONFIG", "infrastructure.json")]);
    assert_eq!(config.data_dir, PathBuf::from("/etc/reeve/data"));
    let paths = ["/etc/reeve/policies", "/home/dora/own.yaml", "/abs.cedar"].map(PathBuf::from);
    assert_eq!(config.policy_files, paths);
    assert_eq!(config.inventory_file, Some(PathBuf::from("/work/infrastructure.json")));
}

#[test]
fn every_mistake_is_named_with_its_place_and_all_at_once() {
    let file = "listen = ['127.0.0.1:8080', 'example.com:80']\nmod = 'fix'\ndata_dir = 7\nverify = 3\n\n[approval]\n\
                expiry_minute = 5\nvalid_for_minutes = 0\n\n[notify.smtp]\nport = 25\nfrom = 'a@b'\n\n[log]\nlevel = 'loud='\n";
    let variables = [
        ("HELPDESK_IDENTITY_PROVIDER", "jwt"),
        ("REEVE_REQUIRE_PURPOSE_FOR_SENSITIVE", "perhaps"),
        ("HELPDESK_APPROVAL_WEBHOOK", "hooks.example/T0/secret"),
    ];
    insta::assert_snapshot!(complaints(file, &variables));
}

#[test]
fn a_slip_of_syntax_stands_alone() {
    insta::assert_snapshot!(complaints("listen = ['127.0.0.1:8080'\nmode = fix\nnonsense = 1\n", &[]), @"/etc/reeve/reeve.toml:2:1: missing comma between array elements, expected `,`");
}

#[test]
fn believing_everybody_is_for_loopback_only() {
    let trusting = ("HELPDESK_IDENTITY_PROVIDER", "none");
    let config = loaded("", &[trusting]);
    assert_eq!(config.identity.provider, Provider::Trusting);
    assert!(config.warnings.iter().any(|warning| warning.contains("everybody")), "{:?}", config.warnings);
    let open = complaints("", &[trusting, ("HELPDESK_AUDIT_ADDR", ":1199")]);
    assert!(
        open.starts_with(
            "HELPDESK_IDENTITY_PROVIDER: `none` believes everybody, but the server would listen on 0.0.0.0:1199"
        ),
        "{open}"
    );
    let static_without = complaints("", &[("HELPDESK_IDENTITY_PROVIDER", "static")]);
    assert!(static_without.contains("`static` needs a users file"), "{static_without}");
}

#[test]
fn secrets_are_read_whole_and_never_shown() {
    let variables = [
        ("REEVE_API_KEY", "rv_hush"),
        ("SMTP_HOST", "mail.example"),
        ("SMTP_USER", "reeve"),
        ("SMTP_PASSWORD", " with blanks "),
        ("HELPDESK_EMAIL_FROM", "reeve@example.org"),
        ("HELPDESK_EMAIL_TO", "a@example.org, b@example.org"),
        ("HELPDESK_APPROVAL_WEBHOOK", "https://hooks.slack.com/services/T0/B0/hush"),
        ("HELPDESK_GATEWAY_URL", "http://u:hush@gate:8080/"),
    ];
    let config = loaded("", &variables);
    let smtp = config.notify.smtp.as_ref().unwrap();
    assert_eq!(smtp.password.as_ref().unwrap().expose_secret(), " with blanks ");
    assert_eq!((smtp.port, smtp.to.len()), (587, 2));
    assert_eq!(config.client.server, "http://u:hush@gate:8080");
    let told = format!("{:?}{}{config:?}", shown(&config), shown_json(&config));
    assert!(!shown_json(&config).to_string().contains("hush") && !shown_json(&config).to_string().contains("blanks"));
    assert!(!told.contains("rv_hush") && !told.contains("blanks"), "{told}");
    assert!(shown_json(&config).to_string().contains("https://hooks.slack.com/***"));
}

#[test]
fn what_no_setting_reads_is_noticed() {
    let around = around(
        "",
        &[
            ("HELPDESK_CRYSTAL_BALL", "1"),
            ("REEVE_MODES", "fix"),
            ("REEVE_MODE", "fix"),
            ("REEVE_CONFIG", "x"),
            ("PATH", "/bin"),
        ],
    );
    assert_eq!(around.unread_variables(), ["HELPDESK_CRYSTAL_BALL", "REEVE_MODES"]);
}

#[test]
fn the_reference_page_names_everything() {
    insta::assert_snapshot!(reference());
}

#[test]
fn the_page_of_settings_is_the_one_the_program_prints() {
    let page = include_str!("../../../../docs/configuration.md");
    assert_eq!(page, reference(), "out of date: run `reeve config --docs > docs/configuration.md`");
}

#[test]
fn a_secret_that_anybody_would_try_is_refused_with_its_place_and_not_repeated() {
    for (variable, secret) in [
        ("JWT_SECRET", "key"),
        ("REEVE_JWT_SECRET", "change-me-to-something-long-and-random-please"),
        ("JWT_SECRET", "zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz"),
    ] {
        let said = complaints("", &[(variable, secret)]);
        assert!(said.starts_with(&format!("{variable}: the secret that signs access tokens")), "{said}");
        assert!(said.contains("openssl rand -hex 32") && (secret == "key" || !said.contains(secret)), "{said}");
    }
    let config = loaded("", &[("JWT_SECRET", SECRET)]);
    assert_eq!(config.accounts.secret.as_ref().map(|secret| secret.expose_secret()), Some(SECRET));
    let shown = format!("{config:?} {}", shown_json(&config));
    assert!(!shown.contains(SECRET), "{shown}");
    assert!(complaints("", &[("JWT_SECRET_PREVIOUS", SECRET)]).contains("no present one"));
}

#[test]
fn limits_and_lifetimes_are_settings() {
    let config = loaded("", &[]);
    assert_eq!(config.limits, reeve_http::RateLimits { executions: 10, saves: 60, calls: 100, key_calls: 6000 });
    assert_eq!((config.accounts.token_lifetime.as_secs(), config.accounts.registration), (3600, false));
    let config = loaded("[limits]\nexecutions_per_minute = 0\n", &[("ACCESS_TOKEN_EXPIRE_MINUTES", "5")]);
    assert_eq!((config.limits.executions, config.accounts.token_lifetime.as_secs()), (0, 300));
    assert!(complaints("[accounts]\ntoken_minutes = 0\n", &[]).contains("not a number from 1"));
}

#[test]
fn traces_are_sent_only_when_somebody_says_so() {
    assert!(loaded("", &[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://tempo:4318")]).otel.is_none());
    let on = ("AEGIS_OTEL_ENABLED", "true");
    let usual = loaded("", &[on]).otel.unwrap();
    assert_eq!((usual.endpoint.as_str(), usual.service_name.as_str()), ("http://localhost:4318/v1/traces", "reeve"));
    assert_eq!(usual.sampling, Sampling { part: 1.0, caller_decides: true });
    assert!(loaded("", &[on, ("OTEL_SDK_DISABLED", "true")]).otel.is_none());
    let file = "[otel]\nenabled = true\nsample_rate = 0.25\n";
    let other = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://other:1");
    let both = loaded(file, &[other, ("AEGIS_OTEL_OTLP_ENDPOINT", "http://jaeger:4318/")]).otel.unwrap();
    assert_eq!(both.endpoint, "http://jaeger:4318/v1/traces");
    assert_eq!(both.sampling, Sampling { part: 0.25, caller_decides: true });
    for (name, endpoint, url) in [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318/v1/traces", "http://c:4318/v1/traces"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c:4318/otlp", "http://c:4318/otlp"),
    ] {
        assert_eq!(loaded("", &[on, ("AEGIS_OTEL_OTLP_ENDPOINT", ""), (name, endpoint)]).otel.unwrap().endpoint, url);
    }
    let half = ("OTEL_TRACES_SAMPLER_ARG", "0.5");
    for (sampler, part, caller_decides) in [
        ("always_on", 1.0, false),
        ("always_off", 0.0, false),
        ("traceidratio", 0.5, false),
        ("parentbased_always_on", 1.0, true),
        ("parentbased_always_off", 0.0, true),
        ("parentbased_traceidratio", 0.5, true),
    ] {
        let sampling = loaded("", &[on, half, ("OTEL_TRACES_SAMPLER", sampler)]).otel.unwrap().sampling;
        assert_eq!(sampling, Sampling { part, caller_decides }, "{sampler}");
    }
    let said = complaints("", &[on, ("OTEL_TRACES_SAMPLER", "jaeger_remote")]);
    assert!(said.contains("`jaeger_remote` is not a sampler that Reeve has"), "{said}");
    for wrong in ["1.5", "-0.1", "NaN", "half"] {
        let said = complaints("", &[on, ("AEGIS_OTEL_SAMPLE_RATE", wrong)]);
        assert!(said.contains("is not a number from 0 to 1"), "{said}");
    }
}
