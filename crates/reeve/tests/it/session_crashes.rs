//! Sessions on a server that is killed, hundreds of times, wherever their turns stand: nothing that was told is lost, nothing
//! happens twice, no answer of a model is bought again, and each goes on to its end.
//!
//! Ten sessions work at the same time, each brought to another step of its turn and held there, and then the server is killed
//! under all of them.

use std::collections::BTreeMap;
use std::time::Duration;

use reeve_testkit::postgres::PostgresServer;
use serde_json::{Value, json};

use crate::console::Console;
use crate::follower::Follower;
use crate::model_server::{Answer, Asked, ModelServer, Pause};
use crate::server::{ASK, Home, Server, eventually};

/// Where in its turn a session stands when the server is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    /// Its prompt was taken in a moment ago.
    Accepted,
    /// The model was asked and says nothing yet.
    Asked,
    /// The model has said half of its answer.
    Speaking,
    /// A tool that only looks is at work.
    Looking,
    /// A question waits for people, and a second prompt for its turn.
    Pending,
    /// A yes is on its way, or the act has just begun.
    Approving,
    /// The statement runs.
    Executing,
    /// Its transaction is being committed.
    Committing,
    /// The act has its result, and the model was asked what to say of it.
    Resulted,
    /// The turn has ended.
    Finished,
}

/// In the order in which sessions are brought there: those that hold up a statement come last, for it gives up in time.
const STEPS: [Step; 10] = [
    Step::Accepted,
    Step::Asked,
    Step::Speaking,
    Step::Pending,
    Step::Approving,
    Step::Resulted,
    Step::Finished,
    Step::Looking,
    Step::Executing,
    Step::Committing,
];

/// The table that is written, with two places at which a row can be held up: as it is inserted, and as it is committed.
const TABLES: &str = "
create table done (round int);
create table watched (round int);
create function hold() returns trigger language plpgsql as
  $$ begin perform pg_advisory_xact_lock_shared(tg_argv[0]::int, new.round); return new; end $$;
create trigger held_inserted before insert on done for each row execute function hold(1);
create constraint trigger held_committed after insert on done deferrable initially deferred
  for each row execute function hold(2);
";

/// What the model answers follows from the conversation alone.
fn script(asked: &Asked) -> Answer {
    let first = asked.first_words();
    let (round, step) = first.trim_start_matches("round ").split_once(' ').unwrap_or_default();
    if asked.last_words() == "again" {
        return Answer::words(format!("I am still here, in round {round}."));
    }
    let looks = step == "Looking";
    match (asked.place(), step) {
        (0, "Looking") => Answer::words("First I look.")
            .calling("run_query", json!({"connection_string": "shop", "query": "select count(*) from watched"})),
        (place, _) if place == usize::from(looks) => {
            let statement = format!("insert into done values ({round})");
            let answer = Answer::words(format!("I would like to note round {round}."))
                .calling("execute_statement", json!({"connection_string": "shop", "statement": statement}));
            match step {
                "Accepted" | "Asked" => answer.pausing(Pause::Before),
                "Speaking" => answer.pausing(Pause::AmidWords),
                _ => answer,
            }
        }
        _ if asked.results().last().is_some_and(|result| result.contains("nobody knows")) => {
            Answer::words(format!("Nobody knows of round {round}."))
        }
        _ => Answer::words(format!("Round {round} is there.")).pausing(Pause::Before),
    }
}

/// One session, brought to one step.
struct Talk {
    step: Step,
    round: u32,
    id: String,
    follower: Follower,
}

impl Talk {
    fn words(&self) -> String {
        format!("round {} {:?}", self.round, self.step)
    }
}

/// What was seen of a session until the server was killed.
struct Before {
    step: Step,
    round: u32,
    id: String,
    words: String,
    seen: Vec<Value>,
    /// How often the model was asked at each place whose answer had been recorded.
    bought: Vec<usize>,
}

/// Everything that outlives the server.
struct World {
    postgres: PostgresServer,
    console: Console,
    model: ModelServer,
    home: Home,
    client: reqwest::blocking::Client,
    key: String,
    seed: u32,
    kills: u32,
    reached: BTreeMap<Step, u32>,
    ended: BTreeMap<String, u32>,
}

impl World {
    fn begin(seed: u32) -> (Self, Server) {
        let postgres = PostgresServer::start();
        postgres.psql(TABLES);
        let model = ModelServer::start(script);
        let home = Home::new().inventory(&postgres.superuser_dsn()).policy(ASK);
        let home = home.with_file("REEVE_MODELS_FILE", "models.toml", &model.settings());
        let server = home.start();
        let key = server.user("alice", &["dba"]);
        let console = Console::open(&postgres, "test");
        let client = reqwest::blocking::Client::new();
        let (reached, ended) = (BTreeMap::new(), BTreeMap::new());
        (Self { postgres, console, model, home, client, key, seed, kills: 0, reached, ended }, server)
    }

    /// A pause below a bound, the same in every run.
    fn pause(&mut self, below_ms: u32) -> Duration {
        self.seed = self.seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        Duration::from_micros(u64::from((self.seed >> 8) % (below_ms * 1000)))
    }

    /// Kills the server under ten sessions. Gives the next server, and what was seen of each session.
    fn kill_amid_all(&mut self, server: Server, batch: u32) -> (Server, Vec<Before>, bool) {
        self.console.say("begin; lock table watched in access exclusive mode");
        let talks: Vec<Talk> = STEPS.iter().zip(batch * 100..).map(|(step, n)| self.start(&server, *step, n)).collect();
        for talk in &talks {
            self.bring(&server, talk);
        }
        let of = |step: Step| talks.iter().find(|talk| talk.step == step).expect("one at each step");
        let approval = of(Step::Approving).follower.until("tool_waiting")["approval_id"].clone();
        let url = format!("{}/api/v1/approvals/{}/approve", server.url, approval.as_str().expect("an id"));
        let (client, token, wait) = (self.client.clone(), server.token().to_owned(), self.pause(20));
        // The answer may never come: the server is killed while it works on it.
        let approving = std::thread::spawn(move || {
            std::thread::park_timeout(wait);
            let answer = client.post(url).bearer_auth(token).json(&json!({"reason": "crash test"})).send();
            answer.is_ok_and(|answer| answer.status().is_success())
        });
        std::thread::park_timeout(self.pause(60));
        self.prompt(&server, of(Step::Accepted));
        server.kill();
        self.kills += 1;
        let answered = approving.join().expect("the approver");
        let before = talks.into_iter().map(|talk| self.look_back(talk)).collect();
        self.let_all_go();
        (self.home.start(), before, answered)
    }

    fn start(&mut self, server: &Server, step: Step, round: u32) -> Talk {
        match step {
            Step::Executing => drop(self.console.say(&format!("select pg_advisory_lock(1, {round})"))),
            Step::Committing => drop(self.console.say(&format!("select pg_advisory_lock(2, {round})"))),
            _ => {}
        }
        let made = server.post_as(&self.key, "/api/v1/sessions", &json!({"agent": "database"})).expect(201);
        let id = made["id"].as_str().expect("an id").to_owned();
        let talk = Talk { step, round, follower: Follower::of(server, &self.key, &id), id };
        // Wherever its script pauses, so that no turn is over before the server is killed.
        if !matches!(step, Step::Finished) {
            self.model.hold(&talk.words());
        }
        if !matches!(step, Step::Accepted | Step::Looking) {
            self.prompt(server, &talk);
        }
        talk
    }

    fn prompt(&self, server: &Server, talk: &Talk) {
        let path = format!("/api/v1/sessions/{}/prompts", talk.id);
        server.post_as(&self.key, &path, &json!({"text": talk.words()})).expect(202);
    }

    /// Waits until a session has come to its step.
    fn bring(&mut self, server: &Server, talk: &Talk) {
        let asked = |place| eventually(|| (self.model.asked(&talk.words(), place) == 1).then_some(()));
        match talk.step {
            Step::Accepted => return,
            Step::Asked => return asked(0),
            Step::Speaking => return drop(talk.follower.until("delta")),
            Step::Looking => {
                self.prompt(server, talk);
                let waits = "select count(*) from pg_locks where not granted and relation = 'watched'::regclass";
                return eventually(|| (self.console.count(waits) == 1).then_some(()));
            }
            _ => {}
        }
        let waiting = talk.follower.until("tool_waiting");
        match talk.step {
            Step::Pending => self.say_again(server, &talk.id),
            Step::Approving => {}
            _ => approve(server, waiting["approval_id"].as_str().expect("an id")),
        }
        match talk.step {
            Step::Executing => self.held_up(1, talk.round),
            Step::Committing => self.held_up(2, talk.round),
            Step::Resulted => {
                talk.follower.until("tool_finished");
                asked(1);
            }
            Step::Finished => drop(talk.follower.until("turn_ended")),
            _ => {}
        }
    }

    /// Waits until a row is held up.
    fn held_up(&mut self, place: u32, round: u32) {
        let sql = format!(
            "select count(*) from pg_locks where not granted and locktype = 'advisory' and classid = {place} and objid = {round}"
        );
        eventually(|| (self.console.count(&sql) == 1).then_some(()));
    }

    /// Lets everybody go on, and waits until no session of the killed server is left: what is there then stays so.
    fn let_all_go(&mut self) {
        self.console.say("rollback; select pg_advisory_unlock_all()");
        let left = "select count(*) from pg_stat_activity where application_name like 'reeve%'";
        eventually(|| (self.console.count(left) == 0).then_some(()));
    }

    fn say_again(&self, server: &Server, id: &str) {
        server.post_as(&self.key, &format!("/api/v1/sessions/{id}/prompts"), &json!({"text": "again"})).expect(202);
    }

    /// What a client had seen of a session, held against the step that it was brought to.
    fn look_back(&mut self, talk: Talk) -> Before {
        let (step, round, words) = (talk.step, talk.round, talk.words());
        let seen = talk.follower.end();
        let has = |kind: &str| seen.iter().any(|event| event["event"] == kind);
        let there = match step {
            Step::Accepted => !has("model_replied"),
            Step::Asked => has("model_asked") && !has("delta"),
            Step::Speaking => has("delta") && !has("model_replied"),
            Step::Looking => has("tool_called") && !has("tool_finished"),
            Step::Pending => has("tool_waiting") && !has("tool_answered"),
            Step::Approving => has("tool_waiting") && !has("turn_ended"),
            Step::Executing | Step::Committing => has("tool_answered") && !has("tool_finished"),
            Step::Resulted => has("tool_finished") && count(&seen, "model_replied") == 1,
            Step::Finished => has("turn_ended"),
        };
        assert!(there, "the session of {words} was not where it should have been: {seen:#?}");
        *self.reached.entry(step).or_default() += 1;
        let bought = (0..count(&seen, "model_replied")).map(|place| self.model.asked(&words, place)).collect();
        self.model.let_go(&words);
        Before { step, round, id: talk.id, words, seen, bought }
    }

    /// Lets a session go on to its end, talks with it once more, and holds all that happened against what may happen.
    fn see_through(&mut self, server: &Server, before: &Before, answered: bool) {
        let path = format!("/api/v1/sessions/{}", before.id);
        let events = || {
            let page = server.get_as(Some(&self.key), &format!("{path}/events?limit=1000")).expect(200);
            page["events"].as_array().cloned().unwrap_or_default()
        };
        let first = events();
        assert!(first.len() >= before.seen.len(), "{}: events are lost", before.words);
        assert_eq!(first[..before.seen.len()], before.seen[..], "{}: what was told is what is there", before.words);
        self.end_turn(server, &path);
        if before.step != Step::Pending {
            self.say_again(server, &before.id);
            self.end_turn(server, &path);
        }
        let all = events();
        let words = &before.words;
        assert_eq!(all[..first.len()], first[..], "{words}: events never change");
        assert!(all.iter().zip(1_u64..).all(|(event, number)| event["seq"] == number), "{words}: a gap");
        let ends: Vec<&Value> = all.iter().filter(|event| event["event"] == "turn_ended").collect();
        assert!(ends.len() == 2 && ends.iter().all(|end| end["end"] == "completed"), "{words}: {ends:?}");
        let said = all.iter().rfind(|event| event["event"] == "message").expect("words");
        assert_eq!(said["text"], format!("I am still here, in round {}.", before.round));
        self.hold_against_the_model(before, &all);
        self.hold_against_the_database(server, before, &all, answered);
    }

    /// Answers what a session asks until no turn of it is in flight.
    fn end_turn(&self, server: &Server, path: &str) {
        eventually(|| {
            let session = server.get_as(Some(&self.key), path).expect(200);
            for waiting in session["waiting_for"].as_array().into_iter().flatten() {
                let id = waiting.as_str().expect("an id");
                if server.get(&format!("/api/v1/approvals/{id}")).expect(200)["status"] == "pending" {
                    approve(server, id);
                }
            }
            (session["state"] == "idle").then_some(())
        });
    }

    /// Each answer was recorded once, and one that was recorded was not bought again.
    fn hold_against_the_model(&self, before: &Before, all: &[Value]) {
        let words = &before.words;
        let (mut begun, mut place) = (0, 0);
        for event in all {
            match event["event"].as_str() {
                Some("model_asked") => begun += 1,
                Some("model_replied") => {
                    let bought = self.model.asked(words, place);
                    assert!(bought >= 1 && bought <= begun, "{words}: answer {place} was bought {bought} times");
                    if let Some(known) = before.bought.get(place) {
                        assert_eq!(bought, *known, "{words}: answer {place} was there and was bought again");
                    }
                    (begun, place) = (0, place + 1);
                }
                _ => {}
            }
        }
        let calls = if before.step == Step::Looking { 2 } else { 1 };
        assert_eq!((begun, place), (0, calls + 2), "{words}: each answer was recorded once");
        for (kind, expected) in
            [("tool_called", calls), ("tool_finished", calls), ("tool_waiting", 1), ("tool_answered", 1)]
        {
            assert_eq!(count(all, kind), expected, "{words}: {kind} in {all:#?}");
        }
    }

    /// The act happened once when it was allowed and is said to have been done, and never twice.
    fn hold_against_the_database(&mut self, server: &Server, before: &Before, all: &[Value], answered: bool) {
        let (words, step) = (&before.words, before.step);
        let rows = self.console.count(&format!("select count(*) from done where round = {}", before.round));
        let waiting = all.iter().find(|event| event["event"] == "tool_waiting").expect("it was asked");
        let action = server.get(&format!("/api/v1/actions/{}", waiting["action_id"].as_str().expect("an id")));
        let state = action.expect(200)["state"].as_str().expect("a state").to_owned();
        let finished = all.iter().rfind(|event| event["event"] == "tool_finished").expect("it has ended");
        let told = finished["content"].as_str().unwrap_or_default();
        match state.as_str() {
            "succeeded" => {
                assert_eq!(rows, 1, "{words}: it is said to have been done");
                assert_eq!(finished["is_error"], false, "{words}: {finished}");
            }
            "unknown" => {
                assert!(matches!(step, Step::Approving | Step::Executing | Step::Committing), "{words} is unknown");
                assert!(rows <= 1, "{words}: it happened twice");
                assert!(finished["is_error"] == true && told.contains("nobody knows how it ended"), "{finished}");
                let unsure = format!("Nobody knows of round {}.", before.round);
                assert!(all.iter().any(|event| event["text"] == unsure), "{words}: the person is told");
            }
            other => panic!("{words}: the act is {other}: {finished}"),
        }
        match step {
            Step::Executing => assert_eq!((state.as_str(), rows), ("unknown", 0), "{words}: cut off before the commit"),
            Step::Committing => assert_eq!((state.as_str(), rows), ("unknown", 1), "{words}: cut off in the commit"),
            _ => {}
        }
        let how = if step == Step::Approving && !answered { "unheard" } else { "heard" };
        let kind = if step == Step::Approving { format!("{step:?} ({how}): {state}") } else { state };
        *self.ended.entry(kind).or_default() += 1;
    }

    /// What must be so of all of them together; gives the counts.
    fn close(mut self, server: &Server, batches: u32) -> String {
        let doubled = self.console.say("select round from done group by round having count(*) > 1");
        assert_eq!(doubled, Vec::<String>::new(), "rounds that happened twice");
        let open = server.get("/api/v1/approvals?status=pending").expect(200);
        assert!(!open.to_string().contains("apr_"), "a question was left: {open}");
        let verdict = server.post("/api/v1/audit/verify", &json!({})).expect(200);
        assert_eq!(verdict["valid"], true, "{verdict}");
        for step in STEPS {
            assert_eq!(self.reached.get(&step), Some(&batches), "{step:?}");
        }
        let sessions: u32 = self.reached.values().sum();
        drop(self.postgres);
        format!("{} kills, {sessions} sessions: {:?}; acts: {:?}", self.kills, self.reached, self.ended)
    }
}

fn count(events: &[Value], kind: &str) -> usize {
    events.iter().filter(|event| event["event"] == kind).count()
}

fn approve(server: &Server, id: &str) {
    server.post(&format!("/api/v1/approvals/{id}/approve"), &json!({"reason": "crash test"})).expect(200);
}

#[test]
fn sessions_killed_at_every_step_of_a_turn_go_on_and_nothing_is_lost_or_done_twice() {
    const BATCHES: u32 = 12;
    let (mut world, mut server) = World::begin(1);
    for batch in 0..BATCHES {
        let (next, before, answered) = world.kill_amid_all(server, batch);
        server = next;
        for talk in &before {
            world.see_through(&server, talk, answered);
        }
    }
    println!("{}", world.close(&server, BATCHES));
}

#[test]
fn sessions_are_killed_again_while_the_server_takes_them_up() {
    const BATCHES: u32 = 10;
    let (mut world, mut server) = World::begin(2);
    for batch in 0..BATCHES {
        let (next, before, answered) = world.kill_amid_all(server, batch);
        // As they are taken up: from before the first has been read until some are far into their next step.
        std::thread::park_timeout(world.pause(150));
        next.kill();
        world.kills += 1;
        world.let_all_go();
        server = world.home.start();
        for talk in &before {
            world.see_through(&server, talk, answered);
        }
    }
    println!("{}", world.close(&server, BATCHES));
}
