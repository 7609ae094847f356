//! Strings as libpq users write them, and what they mean.

use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use secrecy::ExposeSecret;

use super::*;

fn around(home: &Path, env: &[(&str, &str)]) -> Surroundings {
    let env: HashMap<String, String> = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let mut around = Surroundings::new(move |name| env.get(name).cloned());
    around.home = Some(home.to_path_buf());
    around.os_user = Some("me".to_owned());
    around.sysconf_dir = home.join("etc");
    around.socket_dirs = vec![home.join("run")];
    around
}

fn home() -> tempfile::TempDir {
    tempfile::tempdir().expect("a directory")
}

fn write(path: &Path, text: &str, mode: u32) {
    std::fs::create_dir_all(path.parent().expect("it has a parent")).expect("it is made");
    std::fs::write(path, text).expect("it is written");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("its mode is set");
}

fn password(target: &Target, index: usize) -> Option<String> {
    target.hosts[index].password.as_ref().map(|p| p.expose_secret().to_owned())
}

#[test]
fn both_forms_say_the_same() {
    let table = [
        ("host=h port=5433 dbname=d user=u", "postgres://u@h:5433/d"),
        ("host=a,b port=1,2 dbname=d", "postgresql://a:1,b:2/d"),
        ("host=::1 port=5432", "postgres://[::1]:5432"),
        ("host=/var/run/x dbname=d", "postgres:///d?host=/var/run/x"),
        ("host=/var/run/x dbname=d", "postgres://%2Fvar%2Frun%2Fx/d"),
        (r"user='a b' password='it\'s' dbname = 'c\\d' host=h", "postgres://a%20b:it%27s@h/c%5Cd"),
        ("host=h sslmode=require", "postgres://h?ssl=true"),
        (r"host=h options=-c\ work_mem=1MB", "postgres://h?options=-c%20work_mem%3D1MB"),
        ("host=first host=h", "postgres://h"),
    ];
    for (pairs, uri) in table {
        assert_eq!(Conninfo::parse(pairs), Conninfo::parse(uri), "{pairs}");
    }
}

#[test]
fn mistakes_are_named_with_their_place_and_without_values() {
    use ConninfoError as E;
    let table = [
        ("host=h secretword", E::MissingEquals { at: 7 }),
        ("host=h password='abc", E::UnterminatedQuote { at: 16 }),
        ("postgres://[::1/d", E::UnterminatedBracket { at: 11 }),
        ("postgres://[::1]x/d", E::AfterBracket { at: 16 }),
        ("postgres://h/%zz", E::BadPercent { at: 13 }),
        ("postgres://h/%00", E::NullByte { at: 13 }),
        ("postgres://h/%ff", E::NotUtf8 { at: 13 }),
        ("host=h hots=x", E::UnknownKeyword { name: "hots".to_owned(), at: 7 }),
        ("postgres://h?nope=1", E::UnknownKeyword { name: "nope".to_owned(), at: 13 }),
    ];
    for (text, error) in table {
        assert_eq!(Conninfo::parse(text).err(), Some(error), "{text}");
    }
    let shown = Conninfo::parse("host=h secretword").expect_err("it is wrong").to_string();
    assert!(!shown.contains("secretword"), "{shown}");
    assert!(matches!(Conninfo::parse("requirepeer=x"), Err(E::Unsupported { name: "requirepeer", .. })));
}

#[test]
fn values_are_checked() {
    let home = home();
    let around = around(home.path(), &[]);
    for bad in [
        "port=0",
        "port=x",
        "port=70000",
        "sslmode=maybe",
        "hostaddr=name",
        "host=a,b port=1,2,3",
        "connect_timeout=x",
        "host=a hostaddr=1.1.1.1,2.2.2.2",
        "target_session_attrs=x",
        "gssencmode=require",
        "channel_binding=x",
        "sslrootcert=system sslmode=require",
        "sslnegotiation=direct sslmode=prefer",
        "load_balance_hosts=x",
    ] {
        assert!(Target::parse(bad, &around).is_err(), "{bad}");
    }
}

#[test]
fn defaults_are_those_of_libpq() {
    let home = home();
    let target = Target::parse("", &around(home.path(), &[])).expect("everything has a default");
    assert_eq!((target.user.as_str(), target.dbname.as_str()), ("me", "me"));
    assert_eq!(target.display(), "me@localhost:5432/me");
    assert_eq!((target.ssl.mode, target.target_session_attrs), (SslMode::Prefer, TargetSessionAttrs::Any));
    write(&home.path().join("run/.s.PGSQL.5432"), "", 0o600);
    let target = Target::parse("", &around(home.path(), &[])).expect("everything has a default");
    assert_eq!(target.hosts[0].host, Host::Unix(home.path().join("run")));
    let system = Target::parse("host=h sslrootcert=system", &around(home.path(), &[])).expect("it is fine");
    assert_eq!(system.ssl.mode, SslMode::VerifyFull);
}

#[test]
fn the_string_wins_over_the_service_and_the_service_over_the_environment() {
    let home = home();
    write(
        &home.path().join(".pg_service.conf"),
        "# mine\n[prod]\nhost=from-service\nport=6000\nuser=svc\n\n[x]\nhost=no\n",
        0o600,
    );
    write(&home.path().join("etc/pg_service.conf"), "[prod]\nhost=system\n[only-here]\nhost=system\n", 0o644);
    let env = [
        ("PGHOST", "from-env"),
        ("PGPORT", "7000"),
        ("PGDATABASE", "envdb"),
        ("PGSERVICE", "prod"),
        ("PGUSER", "envuser"),
    ];
    let target = Target::parse("user=explicit", &around(home.path(), &env)).expect("it resolves");
    assert_eq!(target.display(), "explicit@from-service:6000/envdb");
    let target = Target::parse("service=only-here", &around(home.path(), &env)).expect("it resolves");
    assert_eq!(target.display(), "envuser@system:7000/envdb");
    let missing = Target::parse("service=none", &around(home.path(), &[])).expect_err("there is none");
    assert_eq!(missing, ConninfoError::ServiceNotFound { name: "none".to_owned() });
    write(&home.path().join("other"), "[a]\nservice=b\n", 0o600);
    let nested = Target::parse(
        "service=a",
        &around(home.path(), &[("PGSERVICEFILE", &home.path().join("other").display().to_string())]),
    );
    assert!(matches!(nested, Err(ConninfoError::ServiceFile { line: 2, .. })), "{nested:?}");
}

#[test]
fn passwords_come_from_where_libpq_takes_them() {
    let home = home();
    let pgpass = home.path().join(".pgpass");
    write(&pgpass, "a:5432:d:u:for-a\nb:6000:*:u:for-b\nlocalhost:5432:d:u:for-socket\n", 0o600);
    let plain = around(home.path(), &[]);
    let target = Target::parse("host=a,b port=5432,6000 dbname=d user=u", &plain).expect("it resolves");
    assert_eq!((password(&target, 0).as_deref(), password(&target, 1).as_deref()), (Some("for-a"), Some("for-b")));
    let socket = format!("host={} dbname=d user=u", home.path().join("run").display());
    assert_eq!(password(&Target::parse(&socket, &plain).expect("it resolves"), 0).as_deref(), Some("for-socket"));

    let with_env = around(home.path(), &[("PGPASSWORD", "from-env"), ("VAULT_PW", "from-inventory")]);
    let dsn = Conninfo::parse("host=a dbname=d user=u").expect("it parses");
    let from = |password_env| Target::resolve(&dsn, &with_env, password_env).map(|t| password(&t, 0));
    assert_eq!(from(None), Ok(Some("from-env".to_owned())));
    assert_eq!(from(Some("VAULT_PW")), Ok(Some("from-inventory".to_owned())));
    assert_eq!(from(Some("UNSET")), Err(ConninfoError::PasswordVariableMissing { name: "UNSET".to_owned() }));

    write(&pgpass, "*:*:*:*:open-to-all\n", 0o644);
    let target = Target::parse("host=a", &plain).expect("it resolves");
    assert_eq!(password(&target, 0), None);
    assert!(target.warnings[0].contains("chmod 0600"), "{:?}", target.warnings);
}

#[test]
fn no_password_is_ever_shown() {
    let home = home();
    let dsn = "postgres://u:hunter2@h/d?sslmode=require";
    let target = Target::parse(dsn, &around(home.path(), &[])).expect("it resolves");
    let conninfo = Conninfo::parse(dsn).expect("it parses");
    for shown in [format!("{target:?}"), target.display(), format!("{conninfo:?}"), conninfo.to_string()] {
        assert!(!shown.contains("hunter2"), "{shown}");
    }
    assert_eq!(conninfo.get("password"), None);
}

#[test]
fn an_entry_is_recognised_by_what_identifies_a_database() {
    let of = |text: &str| Conninfo::parse(text).expect("it parses");
    let entry = of("host=prod port=5432 dbname=app user=reeve sslmode=verify-full connect_timeout=5");
    for same in
        ["host=prod port=5432 dbname=app user=reeve", "postgres://reeve:secret@prod:5432/app?application_name=psql"]
    {
        assert!(entry.is_named_by(&of(same)) && entry.same_core(&of(same)), "{same}");
    }
    for other in [
        "host=prod port=5432 dbname=app",
        "host=prod port=5432 dbname=other user=reeve",
        "host=prod port=5432 dbname=app user=reeve hostaddr=10.6.6.6",
        "host=prod,evil port=5432 dbname=app user=reeve",
        "host=prod port=5432 dbname=app user=reeve service=x",
    ] {
        assert!(!entry.is_named_by(&of(other)), "{other}");
    }
    assert!(of("host=prod dbname=app").is_named_by(&of("host=prod port=5432 dbname=app user=x")));
    assert!(!of("host=prod dbname=app").is_named_by(&of("host=prod port=6000 dbname=app")));
}

proptest::proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in "\\PC{0,80}") {
        let _ = Conninfo::parse(&text);
        let _ = Conninfo::parse(&format!("postgres://{text}"));
    }

    #[test]
    fn what_is_shown_reads_back_the_same(value in "\\PC{0,30}") {
        let given = Conninfo { params: [("dbname".to_owned(), value)].into() };
        proptest::prop_assert_eq!(Conninfo::parse(&given.to_string()).ok(), Some(given));
    }
}
