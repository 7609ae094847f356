//! The trouble of `make demo`, a forgotten transaction that blocks two sessions, seen through: by an agent with a model in
//! `reeve chat`, and without any model by `reeve ask`.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::process::{Child, ChildStdin, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use reeve_testkit::postgres::PostgresServer;
use serde_json::{Value, json};

use crate::console::Console;
use crate::model_server::{Answer, Asked, ModelServer};
use crate::server::{Home, PATIENCE, REEVE, Server, eventually, text};

/// The rules of the demo itself: whoever changes a database says why, and a person decides.
const DEMO: &str = include_str!("../../../../policies/demo.yaml");

/// A shop in which one session has forgotten its transaction, a second waits for it, and a third for the second.
struct Trouble {
    postgres: PostgresServer,
    _forgotten: Console,
    checkout: Console,
    shipping: Console,
    head: String,
}

impl Trouble {
    fn begin() -> Self {
        let postgres = PostgresServer::start();
        postgres.psql(
            "create table orders (id int primary key, state text); insert into orders values (1, 'new'), (2, 'new')",
        );
        let mut forgotten = Console::open(&postgres, "nightly-report");
        forgotten.say("begin; update orders set state = 'counted' where id = 1");
        let head = forgotten.say("select pg_backend_pid()").remove(0);
        let waiting = |count: usize| {
            let sql = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and clock_timestamp() - query_start > '2 s'";
            eventually(|| (postgres.psql(sql) == count.to_string()).then_some(()));
        };
        let mut checkout = Console::open(&postgres, "checkout");
        checkout.say("begin; update orders set state = 'paid' where id = 2");
        checkout.send("update orders set state = 'paid' where id = 1; commit");
        waiting(1);
        let mut shipping = Console::open(&postgres, "shipping");
        shipping.send("begin; update orders set state = 'sent' where id = 2; commit");
        waiting(2);
        Self { postgres, _forgotten: forgotten, checkout, shipping, head }
    }

    /// A server with the demo's rules.
    fn home(&self) -> Home {
        Home::new().inventory(&self.postgres.superuser_dsn()).policy(DEMO)
    }

    fn is_open(&self) -> bool {
        self.postgres.psql(&format!("select count(*) from pg_stat_activity where pid = {}", self.head)) == "1"
    }

    /// The head of the chain is gone, and those who waited have done what they wanted to do.
    fn is_over(&mut self) {
        assert!(!self.is_open(), "the head of the chain is still there");
        assert_eq!(self.checkout.say("select 'goes on'"), ["goes on"]);
        assert_eq!(self.shipping.say("select 'goes on'"), ["goes on"]);
        assert_eq!(self.postgres.psql("select id, state from orders order by id"), "1|paid\n2|sent");
    }
}

/// The arguments of the remedy that a diagnosis names.
fn remedy_in(diagnosis: &str) -> Option<Value> {
    let (_, rest) = diagnosis.split_once("Remedy: terminate_connection ")?;
    serde_json::Deserializer::from_str(rest).into_iter().next()?.ok()
}

/// A model that knows nothing but what it is told: it diagnoses, asks for the remedy that it read, and looks again.
fn script(asked: &Asked) -> Answer {
    let results = asked.results();
    let remedy = results.first().and_then(|diagnosis| remedy_in(diagnosis));
    let look = json!({"connection_string": "shop", "purpose": "diagnostic"});
    match (asked.place(), remedy) {
        (0, _) => Answer::words("I will look.").calling("diagnose", look),
        (_, None) => Answer::words("The diagnosis names no remedy."),
        (1, Some(mut remedy)) => {
            remedy["connection_string"] = json!("shop");
            remedy["purpose"] = json!("remediation");
            let words = format!("Session {} has forgotten its transaction, and the others wait for it.", remedy["pid"]);
            Answer::words(words).calling("terminate_connection", remedy)
        }
        (2, Some(_)) => Answer::words("I will look again.").calling("diagnose", look),
        (_, Some(remedy)) if results.last().is_some_and(|result| !result.contains("[lock_chain]")) => {
            Answer::words(format!("I terminated session {}. Nobody waits any more.", remedy["pid"]))
        }
        _ => Answer::words("They still wait."),
    }
}

/// `reeve chat`, with a person who types.
struct Chat {
    child: Child,
    keyboard: Option<ChildStdin>,
    screen: Arc<Mutex<String>>,
}

impl Chat {
    fn begin(home: &Home, server: &Server, key: &str, arguments: &[&str]) -> Self {
        let mut command = home.command(REEVE);
        command.env("REEVE_SERVER", &server.url).env("REEVE_API_KEY", key).arg("chat").args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the chat begins");
        let screen = Arc::new(Mutex::new(String::new()));
        let shown = |stream: Box<dyn Read + Send>| {
            let screen = Arc::clone(&screen);
            std::thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    screen.lock().expect("no panic").push_str(&format!("{line}\n"));
                }
            });
        };
        shown(Box::new(child.stdout.take().expect("its output")));
        shown(Box::new(child.stderr.take().expect("its notes")));
        Self { keyboard: child.stdin.take(), child, screen }
    }

    fn screen(&self) -> String {
        self.screen.lock().expect("no panic").clone()
    }

    /// Waits until something stands on the screen.
    fn until(&self, words: &str) {
        let began = Instant::now();
        while !self.screen().contains(words) {
            assert!(began.elapsed() < PATIENCE, "`{words}` never came:\n{}", self.screen());
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    fn types(&mut self, line: &str) {
        writeln!(self.keyboard.as_mut().expect("a keyboard"), "{line}").expect("the chat listens");
    }

    /// Types nothing more, and waits for the end.
    fn ends(&mut self) -> bool {
        self.keyboard = None;
        eventually(|| self.child.try_wait().expect("its end")).success()
    }
}

impl Drop for Chat {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The first id of a kind in a text.
fn id_in(text: &str, prefix: &str) -> String {
    let mut words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.find(|word| word.starts_with(prefix)).unwrap_or_else(|| panic!("no {prefix} in {text}")).to_owned()
}

fn approve(home: &Home, server: &Server, approval: &str) {
    let said = server.cli(home, &["approvals", "approve", approval, "--reason", "the report can run again"]);
    assert!(said.status.success(), "{}", text(&said));
}

fn verify(home: &Home, server: &Server) {
    let verdict = server.cli(home, &["audit", "verify"]);
    assert!(verdict.status.success() && text(&verdict).contains("intact"), "{}", text(&verdict));
}

#[test]
fn an_agent_with_a_model_frees_the_database_when_somebody_else_allows_it() {
    let mut trouble = Trouble::begin();
    let model = ModelServer::start(script);
    let home = trouble.home().with_file("REEVE_MODELS_FILE", "models.toml", &model.settings());
    let server = home.start();
    let alice = server.user("alice", &["dba"]);

    let mut chat = Chat::begin(&home, &server, &alice, &["--agent", "database", "why do checkout and shipping hang?"]);
    chat.until("policy asks somebody else: reeve approvals approve apr_");
    chat.until("(apr_");
    assert!(chat.screen().contains(&format!("Session {} has forgotten", trouble.head)), "{}", chat.screen());
    let approval = id_in(&chat.screen(), "apr_");
    // What her agent asks for is hers, and nobody approves their own act.
    chat.types("/yes it blocks the shop");
    chat.until("someone else must decide about it");
    assert!(trouble.is_open(), "nothing happens before somebody else has said yes");
    approve(&home, &server, &approval);
    chat.until("Nobody waits any more");
    assert!(chat.ends(), "{}", chat.screen());
    let screen = chat.screen();
    assert!(screen.contains("approved by user:admin: the report can run again"), "{screen}");
    assert!(screen.contains(&format!("I terminated session {}.", trouble.head)), "{screen}");
    assert!(!screen.contains("not borne out"), "{screen}");
    trouble.is_over();

    let found = server.get("/api/v1/events?event_type=tool_execution&tool_name=terminate_connection").expect(200);
    assert_eq!(found.as_array().map(Vec::len), Some(1), "{found}");
    let record = &found[0];
    assert_eq!(
        (&record["purpose"], &record["principal"]["id"]),
        (&json!("remediation"), &json!("database")),
        "{record}"
    );
    assert_eq!(record["principal"]["on_behalf_of"]["id"], "alice", "{record}");
    verify(&home, &server);
}

fn run_as(home: &Home, server: &Server, key: &str, arguments: &[&str]) -> Output {
    let mut command = home.command(REEVE);
    command.env("REEVE_SERVER", &server.url).env("REEVE_API_KEY", key).args(arguments);
    command.output().expect("it runs")
}

#[test]
fn without_a_model_a_question_in_words_leads_to_the_same_remedy() {
    let mut trouble = Trouble::begin();
    let home = trouble.home();
    let server = home.start();
    let question = ["ask", "who is blocking whom on shop?"];
    let answer = text(&server.cli(&home, &question));
    let remedy = remedy_in(&answer).unwrap_or_else(|| panic!("no remedy in {answer}"));
    assert_eq!(remedy["pid"].to_string(), trouble.head, "{answer}");

    let alice = server.user("alice", &["dba"]);
    let mut chat = Chat::begin(&home, &server, &alice, &["--agent", "database", "who is blocking whom on shop?"]);
    assert!(chat.ends(), "{}", chat.screen());
    let screen = chat.screen();
    assert_eq!(remedy_in(&screen).as_ref(), Some(&remedy), "a session answers the same: {screen}");
    assert!(screen.contains("No model is configured"), "and says so: {screen}");

    let agent = server.service("night-agent", &["sre-automation"]);
    let pid = format!("pid={}", remedy["pid"]);
    let began = format!("expected_backend_start={}", remedy["expected_backend_start"].as_str().expect("a time"));
    let wanted = ["tool", "run", "terminate_connection", &pid, &began, "--target", "shop", "--purpose", "remediation"];
    let asked = text(&run_as(&home, &server, &agent, &wanted));
    approve(&home, &server, &id_in(&asked, "apr_"));
    assert_eq!(server.settled(&id_in(&asked, "act_"))["state"], "succeeded");
    trouble.is_over();
    let after = text(&server.cli(&home, &question));
    assert!(remedy_in(&after).is_none(), "{after}");
    verify(&home, &server);
}

#[test]
fn a_question_asked_once_is_answered_by_the_model_and_goes_on_when_somebody_else_has_allowed_the_remedy() {
    let mut trouble = Trouble::begin();
    let model = ModelServer::start(script);
    let home = trouble.home().with_file("REEVE_MODELS_FILE", "models.toml", &model.settings());
    let server = home.start();
    let asked = server.cli(&home, &["ask", "why does the shop hang?", "--target", "shop"]);
    let said = text(&asked);
    assert_eq!(asked.status.code(), Some(5), "it waits for people: {said}");
    assert!(
        said.contains("has forgotten its transaction") && said.contains("go on with: reeve chat --session"),
        "{said}"
    );
    assert!(trouble.is_open(), "nothing is done before somebody has said yes");
    let (approval, session) = (id_in(&said, "apr_"), id_in(&said, "ses_"));
    let bob = server.user("bob", &["dba"]);
    server.post_as(&bob, &format!("/api/v1/approvals/{approval}/approve"), &json!({})).expect(200);
    eventually(|| (server.get(&format!("/api/v1/sessions/{session}")).expect(200)["state"] == "idle").then_some(()));
    trouble.is_over();
    let shown = server.cli(&home, &["session", "attach", &session]);
    assert!(text(&shown).contains("Nobody waits any more."), "{}", text(&shown));

    let ruled = server.cli(&home, &["ask", "who blocks whom?", "--target", "shop", "--no-model"]);
    assert!(text(&ruled).contains("no model took part"), "{}", text(&ruled));
    verify(&home, &server);
}
