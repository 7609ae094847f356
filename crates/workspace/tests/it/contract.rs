//! What every driver must do, whatever it is made of: one test for each promise.
//!
//! A driver's tests make a [`Ground`] and write `contract!(path::to::ground)`; each promise then is a test of its own.

use std::collections::BTreeMap;

use futures_util::StreamExt as _;
use reeve_gate::workspace::{Found, Pipe, PipeError, WorkspaceDriver};
use reeve_types::ProblemCode;
use reeve_types::workspace::processes::{ExecRequest, OpenPipe};
use reeve_types::workspace::{Egress, WorkspaceSpec};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};

use crate::actor::{Actor, snapshot_id, spec, until, workspace_id};

/// A driver on trial, and what cannot be asked of a driver itself.
pub(crate) trait Ground {
    fn driver(&self) -> &dyn WorkspaceDriver;

    /// The driver as the next server finds it after this one was killed.
    fn next_server(&self) -> impl Future<Output = Box<dyn WorkspaceDriver>>;

    /// Every trace of this ground's workspaces on the machine, by looking at the machine.
    fn traces(&self) -> impl Future<Output = Vec<String>>;

    fn actor(&self) -> Actor<'_> {
        Actor::new(self.driver())
    }
}

/// Makes a test of each promise. `$ground` is an async function that makes a [`Ground`].
macro_rules! contract {
    ($ground:path) => {
        $crate::contract::promises! { $ground:
            it_runs_what_it_is_told,
            the_network_that_it_tells_of_is_what_it_gives,
            a_program_is_talked_with_and_ends_with_its_connection,
            every_act_may_be_repeated,
            a_variable_of_the_workspace_reaches_programs_and_no_secret_does,
            files_outlast_a_suspension_and_processes_do_not,
            what_was_nobodys_keeps_its_files_when_it_becomes_somebodys,
            what_rests_cannot_be_entered,
            files_come_back_as_they_were_in_a_snapshot,
            a_fork_has_the_files_and_a_life_of_its_own,
            a_fork_of_a_snapshot_has_the_files_of_then,
            deleting_may_leave_the_files,
            deleting_with_files_leaves_nothing,
            it_tells_what_a_workspace_uses,
            an_export_comes_back_equal_elsewhere,
            the_home_directory_goes_where_the_files_go,
            an_archive_of_files_alone_begins_with_an_empty_home,
            more_than_fits_is_refused_wherever_it_is,
            an_archive_that_leads_out_is_refused_and_leaves_nothing,
            the_next_server_takes_up_what_runs,
            the_next_server_finds_what_rests,
            what_is_not_there_is_told_as_such,
            a_leave_for_one_workspace_opens_no_other,
        }
    };
}

macro_rules! promises {
    ($ground:path: $($promise:ident,)+) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $promise() {
            let ground = $ground().await;
            $crate::contract::$promise(&ground).await;
        }
    )+};
}

pub(crate) use {contract, promises};

pub(crate) async fn it_runs_what_it_is_told(ground: &impl Ground) {
    let (actor, spec) = (ground.actor(), spec());
    let isolation = actor.begin(&spec).await;
    assert_eq!(isolation.driver, ground.driver().kind());
    assert!(isolation.seccomp, "{isolation:?}");
    assert_eq!(isolation.network, "none");
    let ran = actor.run(&spec.id, &["echo", "hello"]).await;
    assert_eq!((ran.stdout.as_str(), ran.outcome.exit_code), ("hello\n", 0), "{ran:?}");
    let failed = actor.shell(&spec.id, "echo oh >&2; exit 7").await;
    assert_eq!((failed.stderr.as_str(), failed.outcome.exit_code), ("oh\n", 7), "{failed:?}");
    assert_eq!(actor.told(&spec.id, &["id", "-u"]).await, "1000");
    assert_eq!(actor.told(&spec.id, &["pwd"]).await, "/workspace");
    assert!(actor.read(&spec.id, "README.md").await.is_ok(), "the template's files are there");
}

pub(crate) async fn the_network_that_it_tells_of_is_what_it_gives(ground: &impl Ground) {
    let (actor, wanted) = (ground.actor(), WorkspaceSpec { egress: Egress::Public, ..spec() });
    match ground.driver().without_network() {
        None => assert_eq!(actor.begin(&wanted).await.network, "public"),
        Some(why) => {
            let refused = actor.create(&wanted).await.expect_err("it gives no network");
            assert!(refused.message.starts_with(why), "{refused}");
            until("nothing is left", async || ground.traces().await.is_empty()).await;
        }
    }
}

pub(crate) async fn a_program_is_talked_with_and_ends_with_its_connection(ground: &impl Ground) {
    let (actor, spec) = (ground.actor(), spec());
    actor.begin(&spec).await;
    let link = actor.link(&spec.id).await;
    let program = |script: &str| OpenPipe {
        argv: ["bash", "-c", script].map(str::to_owned).to_vec(),
        env: BTreeMap::from([("WORD".to_owned(), "kept".to_owned())]),
        ..OpenPipe::default()
    };
    let script = "echo one >&2; printf 'two\\nlast' >&2; cat; exit 5";
    let pipe = link.open_pipe(actor.permit(program(script)).await).await.expect("it runs");
    let Pipe { mut stdin, mut stdout, stderr, exit } = pipe;
    let sent: Vec<u8> = (0..3_000_000u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 11) as u8).collect();
    let all = sent.clone();
    let sending = tokio::spawn(async move { stdin.write_all(&all).await });
    let mut back = Vec::new();
    stdout.read_to_end(&mut back).await.expect("its output");
    sending.await.expect("no panic").expect("written");
    assert!(back == sent, "{} bytes of {} came back", back.len(), sent.len());
    let end = exit.await.expect("its end");
    assert_eq!((end.exit.exit_code, end.last_errors.as_str()), (5, "one\ntwo\nlast"));
    let lines: Vec<PipeError> = stderr.map(|line| line.expect("a line")).collect().await;
    assert_eq!(lines, ["one", "two", "last"].map(|line| PipeError::Line(line.to_owned())));

    let script = "setsid sleep 1000 & echo $WORD; cat; echo gone > /tmp/mark";
    let pipe = link.open_pipe(actor.permit(program(script)).await).await.expect("it runs");
    let mut stdout = tokio::io::BufReader::new(pipe.stdout);
    let mut line = String::new();
    stdout.read_line(&mut line).await.expect("a line");
    assert_eq!(line, "kept\n");
    drop((stdout, pipe.stderr, pipe.exit));
    until("it has ended by itself", async || actor.shell(&spec.id, "cat /tmp/mark").await.stdout == "gone\n").await;
    until("nothing of it is left", async || !actor.told(&spec.id, &["ps", "-eo", "args"]).await.contains("sleep 1000"))
        .await;

    let missing = OpenPipe { argv: vec!["no-such-agent".to_owned()], ..OpenPipe::default() };
    let refused = link.open_pipe(actor.permit(missing).await).await.map(drop).expect_err("there is none");
    assert_eq!(refused.code, ProblemCode::NotFound);
}

pub(crate) async fn every_act_may_be_repeated(ground: &impl Ground) {
    let (actor, spec) = (ground.actor(), spec());
    actor.create(&spec).await.expect("created");
    actor.create(&spec).await.expect("created again");
    let first = actor.start(&spec).await.expect("started");
    actor.shell(&spec.id, "setsid sleep 1000 >/dev/null 2>&1 & echo kept > /tmp/mark").await;
    assert_eq!(actor.start(&spec).await.expect("started again"), first);
    assert_eq!(actor.told(&spec.id, &["cat", "/tmp/mark"]).await, "kept", "the second start disturbs nothing");
    let snapshot = snapshot_id();
    let size = actor.snapshot(&spec.id, &snapshot).await.expect("a snapshot");
    assert_eq!(actor.snapshot(&spec.id, &snapshot).await.expect("the same snapshot"), size);
    actor.drop_snapshot(&spec.id, &snapshot).await.expect("dropped");
    actor.drop_snapshot(&spec.id, &snapshot).await.expect("dropped again");
    actor.suspend(&spec.id).await.expect("suspended");
    actor.suspend(&spec.id).await.expect("suspended again");
    actor.delete(&spec.id, false).await.expect("put aside");
    actor.delete(&spec.id, true).await.expect("deleted");
    actor.delete(&spec.id, true).await.expect("deleted again");
    actor.delete(&spec.id, false).await.expect("nothing to put aside");
    ground.driver().sweep(&spec.id).await.expect("nothing to sweep");
}

pub(crate) async fn a_variable_of_the_workspace_reaches_programs_and_no_secret_does(ground: &impl Ground) {
    let actor = ground.actor();
    let spec = WorkspaceSpec { environment: vec![("GREETING".into(), "grüß dich".into())], ..spec() };
    actor.begin(&spec).await;
    assert_eq!(actor.told(&spec.id, &["printenv", "GREETING"]).await, "grüß dich");
    let everything = actor.told(&spec.id, &["env"]).await;
    assert!(!everything.contains("TOKEN"), "{everything}");
    let wrong = WorkspaceSpec { environment: vec![("REEVE_RUNTIME_OPEN".into(), "1".into())], ..self::spec() };
    let refused = actor.create(&wrong).await.expect_err("a variable of the runtime's own");
    assert_eq!(refused.code, ProblemCode::BadRequest);
}

pub(crate) async fn files_outlast_a_suspension_and_processes_do_not(ground: &impl Ground) {
    let (actor, spec) = (ground.actor(), spec());
    actor.begin(&spec).await;
    actor.save(&spec.id, "notes/kept.bin", b"\x00\xffkept").await;
    actor.shell(&spec.id, "echo gone > /tmp/mark; mkfifo pipe; ln -s kept.bin notes/link; chmod 711 notes").await;
    let before = actor.told(&spec.id, &["stat", "-c", "%A %n", "notes", "notes/kept.bin", "pipe"]).await;
    actor.suspend(&spec.id).await.expect("suspended");
    assert_eq!(ground.driver().found().await.expect("found"), [rests(&spec)]);
    actor.start(&spec).await.expect("started again");
    assert_eq!(actor.read(&spec.id, "notes/kept.bin").await.expect("read"), b"\x00\xffkept");
    assert_eq!(actor.told(&spec.id, &["stat", "-c", "%A %n", "notes", "notes/kept.bin", "pipe"]).await, before);
    assert_eq!(actor.told(&spec.id, &["readlink", "notes/link"]).await, "kept.bin");
    assert_ne!(actor.run(&spec.id, &["cat", "/tmp/mark"]).await.outcome.exit_code, 0, "/tmp begins anew");
}

/// So it is with a spare: it is somebody else's from one moment to the next, and is started anew one day.
pub(crate) async fn what_was_nobodys_keeps_its_files_when_it_becomes_somebodys(ground: &impl Ground) {
    let (actor, spare) = (ground.actor(), WorkspaceSpec { owner: String::new(), ..spec() });
    actor.begin(&spare).await;
    let given = WorkspaceSpec { owner: "ada".to_owned(), ..spare };
    actor.save(&given.id, "a.txt", b"kept").await;
    actor.shell(&given.id, "echo kept > ~/b.txt").await;
    actor.suspend(&given.id).await.expect("suspended");
    actor.start(&given).await.expect("started");
    assert_eq!(actor.read(&given.id, "a.txt").await.expect("read"), b"kept");
    assert_eq!(actor.told(&given.id, &["cat", "/home/reeve/b.txt"]).await, "kept");
    actor.delete(&given.id, true).await.expect("deleted");
    until("nothing is left", async || ground.traces().await.is_empty()).await;
}

pub(crate) async fn what_rests_cannot_be_entered(ground: &impl Ground) {
    let (actor, spec) = (ground.actor(), spec());
    actor.create(&spec).await.expect("created");
    let closed = |answer: Result<_, reeve_types::WorkspaceError>| answer.map(drop).expect_err("closed").code;
    assert_eq!(closed(ground.driver().connect(&spec.id).await), ProblemCode::NotRunning, "never started");
    actor.start(&spec).await.expect("started");
    let link = actor.link(&spec.id).await;
    actor.suspend(&spec.id).await.expect("suspended");
    assert_eq!(closed(ground.driver().connect(&spec.id).await), ProblemCode::NotRunning, "suspended");
    let leave = actor.leave(&spec.id).await;
    assert!(link.terminals(&leave).await.is_err(), "a way in that was open before leads nowhere");
}

pub(crate) async fn files_come_back_as_they_were_in_a_snapshot(ground: &impl Ground) {
    let (actor, spec) = (ground.actor(), spec());
    actor.begin(&spec).await;
    actor.save(&spec.id, "a.txt", b"then").await;
    actor.shell(&spec.id, "mkdir empty; printf x > run; chmod 755 run; ln -s a.txt link; ln a.txt twin").await;
    let (then, other) = (snapshot_id(), snapshot_id());
    assert!(actor.snapshot(&spec.id, &then).await.expect("a snapshot while it runs") > 0);
    actor.save(&spec.id, "a.txt", b"now").await;
    actor.save(&spec.id, "later.txt", b"later").await;
    actor.shell(&spec.id, "rmdir empty; rm run link; echo home > ~/mark").await;
    let refused = actor.roll_back(&spec.id, &then).await.expect_err("it runs");
    assert_eq!(refused.code, ProblemCode::Conflict);
    actor.suspend(&spec.id).await.expect("suspended");
    let refused = actor.roll_back(&spec.id, &other).await.expect_err("there is no such snapshot");
    assert_eq!(refused.code, ProblemCode::NotFound);
    actor.roll_back(&spec.id, &then).await.expect("rolled back");
    actor.start(&spec).await.expect("started");
    let ran = actor.shell(&spec.id, "cat a.txt link; ls -d empty; test -x run; echo $?; ls; stat -c %h a.txt").await;
    assert_eq!(ran.stdout, "thenthenempty\n0\nREADME.md\na.txt\nempty\nlink\nrun\ntwin\n2\n", "{ran:?}");
    actor.save(&spec.id, "a.txt", b"writable").await;
}

pub(crate) async fn a_fork_has_the_files_and_a_life_of_its_own(ground: &impl Ground) {
    let (actor, first, second) = (ground.actor(), spec(), spec());
    actor.begin(&first).await;
    actor.save(&first.id, "a.txt", b"shared").await;
    actor.fork(&second, &first.id, None).await.expect("forked while it runs");
    actor.start(&second).await.expect("started");
    assert_eq!(actor.read(&second.id, "a.txt").await.expect("read"), b"shared");
    actor.save(&second.id, "a.txt", b"mine").await;
    assert_eq!(actor.read(&first.id, "a.txt").await.expect("read"), b"shared");
    actor.delete(&first.id, true).await.expect("deleted");
    assert_eq!(actor.read(&second.id, "a.txt").await.expect("read"), b"mine", "it needs the other no more");
}

pub(crate) async fn a_fork_of_a_snapshot_has_the_files_of_then(ground: &impl Ground) {
    let (actor, first, second, snapshot) = (ground.actor(), spec(), spec(), snapshot_id());
    actor.begin(&first).await;
    actor.save(&first.id, "a.txt", b"then").await;
    actor.snapshot(&first.id, &snapshot).await.expect("a snapshot");
    actor.save(&first.id, "a.txt", b"now").await;
    actor.fork(&second, &first.id, Some(&snapshot)).await.expect("forked");
    actor.start(&second).await.expect("started");
    assert_eq!(actor.read(&second.id, "a.txt").await.expect("read"), b"then");
    let missing = actor.fork(&spec(), &first.id, Some(&snapshot_id())).await.expect_err("no such snapshot");
    assert_eq!(missing.code, ProblemCode::NotFound);
    let missing = actor.fork(&spec(), &workspace_id(), None).await.expect_err("no such workspace");
    assert_eq!(missing.code, ProblemCode::NotFound);
    assert_eq!(ground.driver().found().await.expect("found").len(), 2, "a fork that failed leaves no workspace");
}

pub(crate) async fn deleting_may_leave_the_files(ground: &impl Ground) {
    let (actor, spec) = (ground.actor(), spec());
    actor.begin(&spec).await;
    actor.save(&spec.id, "a.txt", b"kept").await;
    actor.delete(&spec.id, false).await.expect("deleted");
    assert_eq!(ground.driver().found().await.expect("found"), [rests(&spec)]);
    actor.start(&spec).await.expect("restored and started");
    assert_eq!(actor.read(&spec.id, "a.txt").await.expect("read"), b"kept");
}

pub(crate) async fn deleting_with_files_leaves_nothing(ground: &impl Ground) {
    let (actor, spec) = (ground.actor(), spec());
    actor.begin(&spec).await;
    actor.snapshot(&spec.id, &snapshot_id()).await.expect("a snapshot");
    actor.shell(&spec.id, "setsid sleep 1000 >/dev/null 2>&1 & mkdir -p a/b; chmod 000 a; sync").await;
    assert!(!ground.traces().await.is_empty(), "a workspace that runs leaves traces, or the test looks in vain");
    actor.delete(&spec.id, true).await.expect("deleted");
    assert_eq!(ground.driver().found().await.expect("found"), []);
    until("nothing is left", async || ground.traces().await.is_empty()).await;
}

pub(crate) async fn it_tells_what_a_workspace_uses(ground: &impl Ground) {
    let (actor, spec) = (ground.actor(), spec());
    actor.create(&spec).await.expect("created");
    let before = ground.driver().usage(&spec.id).await.expect("usage at rest");
    assert_eq!((before.memory_bytes, before.terminals, before.executions), (None, 0, 0), "nothing runs");
    actor.start(&spec).await.expect("started");
    actor.shell(&spec.id, "head -c 8M /dev/urandom > big; sync; x=0; while ((x++ < 30000)); do :; done").await;
    // A size that took long to measure is believed for a while.
    until("what was written counts", async || {
        let usage = ground.driver().usage(&spec.id).await.expect("usage");
        (8 << 20..40 << 20).contains(&usage.disk_bytes.expect("its disk can always be told"))
    })
    .await;
    let usage = ground.driver().usage(&spec.id).await.expect("usage");
    if let Some(memory) = usage.memory_bytes {
        assert!(memory > 100 << 10 && memory <= spec.limits.memory_bytes, "{usage:?}");
        assert!(usage.cpu_ms.is_some_and(|cpu| cpu > 10) && usage.pids.is_some_and(|pids| pids >= 1), "{usage:?}");
        assert_eq!(usage.out_of_memory, Some(0), "{usage:?}");
    }
}

pub(crate) async fn an_export_comes_back_equal_elsewhere(ground: &impl Ground) {
    let (actor, first, second) = (ground.actor(), spec(), spec());
    actor.begin(&first).await;
    actor.save(&first.id, "dir/bytes.bin", b"\x00\x01\xff").await;
    let made = "printf 'odd' > $'od\\xffd'; chmod 750 dir; touch -d 2001-02-03T04:05:06Z dir/bytes.bin; mkdir hollow; \
                ln -s ../../etc/passwd dir/link; printf '#!/bin/sh\\necho ran' > run; chmod 755 run; \
                head -c 300000 /dev/zero > zeros; mkdir -p $(printf 'deep/%.0s' {1..20})";
    assert_eq!(actor.shell(&first.id, made).await.outcome.exit_code, 0);
    let look = "find . -path ./.reeve-trash/staging -prune -o -type d -printf 'directory %P %m\\n' | sort; \
                find . ! -type d -printf '%y %P %m %l %s %Ts\\n' | sort; find . -type f -exec sha256sum {} + | sort";
    let before = actor.shell(&first.id, look).await.stdout;
    let while_it_ran = actor.export(&first.id).await;
    actor.suspend(&first.id).await.expect("suspended");
    let at_rest = actor.export(&first.id).await;
    assert!(at_rest.len().abs_diff(while_it_ran.len()) <= 10240, "whether it runs makes no difference");
    actor.import(&second, &at_rest).await.expect("imported");
    actor.start(&second).await.expect("started");
    let after = actor.shell(&second.id, look).await.stdout;
    assert_eq!(before, after);
    assert_eq!(actor.told(&second.id, &["./run"]).await, "ran");
    assert_eq!(actor.told(&second.id, &["stat", "-c", "%Y", "dir/bytes.bin"]).await, "981173106");
    actor.save(&second.id, "dir/bytes.bin", b"writable").await;
    let twice = actor.import(&second, &at_rest).await.expect_err("it is there already");
    assert_eq!(twice.code, ProblemCode::AlreadyExists);
}

pub(crate) async fn the_home_directory_goes_where_the_files_go(ground: &impl Ground) {
    let (actor, first, fork, later, import) = (ground.actor(), spec(), spec(), spec(), spec());
    actor.begin(&first).await;
    let made = "mkdir -m 700 ~/.keys; printf secret > ~/.keys/id; chmod 600 ~/.keys/id; ln -s .keys/id ~/link; \
                ln ~/.keys/id ~/twin; mkdir -p ~/.cache/pip ~/deep/.cache; echo again > ~/.cache/pip/x; \
                echo kept > ~/deep/.cache/x; printf mine > .reeve-home; echo then > ~/note";
    assert_eq!(actor.shell(&first.id, made).await.outcome.exit_code, 0);
    let snapshot = snapshot_id();
    assert!(actor.snapshot(&first.id, &snapshot).await.expect("a snapshot") > 0);
    actor.shell(&first.id, "echo now > ~/note; rm -r ~/.keys; echo later > ~/later").await;
    let look = "cd; cat note; stat -c '%A %h %n' .keys .keys/id; cat twin; readlink link; cat deep/.cache/x; ls";
    let then = "then\ndrwx------ 2 .keys\n-rw------- 2 .keys/id\nsecret.keys/id\nkept\ndeep\nlink\nnote\ntwin\n";

    actor.fork(&fork, &first.id, Some(&snapshot)).await.expect("a fork of then");
    actor.fork(&later, &first.id, None).await.expect("a fork of now");
    actor.suspend(&first.id).await.expect("suspended");
    actor.roll_back(&first.id, &snapshot).await.expect("rolled back");
    actor.start(&first).await.expect("started");
    for id in [&first.id, &fork.id] {
        if *id != first.id {
            actor.start(&fork).await.expect("started");
        }
        let ran = actor.shell(id, look).await;
        assert_eq!(ran.stdout, then, "{ran:?}");
        assert_eq!(actor.told(id, &["bash", "-c", "cat ~/.cache/pip/x .reeve-home"]).await, "again\nmine");
    }
    actor.start(&later).await.expect("started");
    assert_eq!(actor.told(&later.id, &["bash", "-c", "cat ~/note ~/later"]).await, "now\nlater");

    let archive = actor.export(&first.id).await;
    actor.import(&import, &archive).await.expect("imported");
    actor.start(&import).await.expect("started");
    let ran = actor.shell(&import.id, look).await;
    assert_eq!(ran.stdout, then, "{ran:?}");
    let files =
        actor.shell(&import.id, "ls -A ~/.cache 2>/dev/null; ls -A | grep reeve-home; cat .reeve-home-kept").await;
    assert_eq!(files.stdout, ".reeve-home-kept\nmine", "no caches, and what has the home directory's name is kept");
    actor.told(&import.id, &["bash", "-c", "echo writable > ~/.keys/id; echo new > ~/new"]).await;
}

pub(crate) async fn an_archive_of_files_alone_begins_with_an_empty_home(ground: &impl Ground) {
    let (actor, spec) = (ground.actor(), spec());
    let mut archive = archive_entry("a.txt", tar::EntryType::Regular, "", b"as ever");
    archive.extend([0; 1024]);
    actor.import(&spec, &archive).await.expect("imported");
    actor.start(&spec).await.expect("started");
    assert_eq!(actor.read(&spec.id, "a.txt").await.expect("read"), b"as ever");
    let ran = actor.shell(&spec.id, "ls -A | grep reeve-home; echo fine > ~/note; cat ~/note").await;
    assert_eq!(ran.stdout, "fine\n", "{ran:?}");
}

pub(crate) async fn more_than_fits_is_refused_wherever_it_is(ground: &impl Ground) {
    let actor = ground.actor();
    // A stream may be a little longer than the disk, for its names.
    let mut archive = archive_entry("much", tar::EntryType::Regular, "", &vec![7; 12 << 20]);
    archive.extend(archive_entry(".reeve-home/more", tar::EntryType::Regular, "", &vec![7; 72 << 20]));
    archive.extend([0; 1024]);
    let mut spec = spec();
    spec.limits.disk_bytes = 16 << 20;
    let refused = actor.import(&spec, &archive).await.expect_err("it is too much");
    assert_eq!(refused.code, ProblemCode::DiskFull, "{refused}");
    assert_eq!(ground.driver().found().await.expect("found"), []);
    until("nothing is left", async || ground.traces().await.is_empty()).await;
}

pub(crate) async fn an_archive_that_leads_out_is_refused_and_leaves_nothing(ground: &impl Ground) {
    let actor = ground.actor();
    let victim = tempfile::tempdir().expect("a directory");
    let outside = victim.path().to_str().expect("a plain path").to_owned();
    let link = |name: &str, target: &str| archive_entry(name, tar::EntryType::Symlink, target, b"");
    let file = |name: &str| archive_entry(name, tar::EntryType::Regular, "", b"pwned");
    let device = archive_entry("dev", tar::EntryType::Block, "", b"");
    let hostile: BTreeMap<&str, Vec<Vec<u8>>> = BTreeMap::from([
        ("above", vec![file("../pwned")]),
        ("through a link", vec![link("way", &outside), file("way/pwned")]),
        ("through a link to a link", vec![link("a", &outside), link("b", "a"), file("b/pwned")]),
        ("a second name for what is outside", vec![archive_entry("x", tar::EntryType::Link, "../../etc/passwd", b"")]),
        ("a device", vec![device]),
        ("above the home directory", vec![file(".reeve-home/../../pwned")]),
        ("through a home directory that is a link", vec![link(".reeve-home", &outside), file(".reeve-home/pwned")]),
        ("through a link in it", vec![link(".reeve-home/way", &outside), file(".reeve-home/way/pwned")]),
        ("what is no archive", vec![vec![7; 4096]]),
    ]);
    for (what, entries) in hostile {
        let mut archive = entries.concat();
        archive.extend([0; 1024]);
        let spec = spec();
        assert!(actor.import(&spec, &archive).await.is_err(), "{what}");
        assert_eq!(std::fs::read_dir(victim.path()).expect("the victim").count(), 0, "{what}");
        assert_eq!(ground.driver().found().await.expect("found"), [], "{what}");
    }
    until("nothing is left", async || ground.traces().await.is_empty()).await;
}

/// One entry of a tar archive, with a name that a proper library would not write.
fn archive_entry(name: &str, kind: tar::EntryType, link: &str, content: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_size(content.len() as u64);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

pub(crate) async fn the_next_server_takes_up_what_runs(ground: &impl Ground) {
    let (actor, spec) = (ground.actor(), spec());
    let isolation = actor.begin(&spec).await;
    actor.shell(&spec.id, "echo still here > /tmp/mark").await;
    let next = ground.next_server().await;
    let found = Found { workspace: spec.id.clone(), running: true, files: true };
    assert_eq!(next.found().await.expect("found"), [found]);
    let heir = Actor::new(next.as_ref());
    assert_eq!(heir.told(&spec.id, &["cat", "/tmp/mark"]).await, "still here", "it went on all the time");
    assert_eq!(heir.start(&spec).await.expect("it runs already"), isolation);
    heir.save(&spec.id, "a.txt", b"by the heir").await;
    heir.suspend(&spec.id).await.expect("suspended");
    heir.start(&spec).await.expect("started");
    assert_eq!(heir.read(&spec.id, "a.txt").await.expect("read"), b"by the heir");
    heir.delete(&spec.id, true).await.expect("deleted");
    until("nothing is left", async || ground.traces().await.is_empty()).await;
}

pub(crate) async fn the_next_server_finds_what_rests(ground: &impl Ground) {
    let (actor, spec, snapshot) = (ground.actor(), spec(), snapshot_id());
    actor.begin(&spec).await;
    actor.save(&spec.id, "a.txt", b"then").await;
    actor.snapshot(&spec.id, &snapshot).await.expect("a snapshot");
    actor.save(&spec.id, "a.txt", b"now").await;
    actor.suspend(&spec.id).await.expect("suspended");
    let next = ground.next_server().await;
    assert_eq!(next.found().await.expect("found"), [rests(&spec)]);
    let heir = Actor::new(next.as_ref());
    heir.roll_back(&spec.id, &snapshot).await.expect("rolled back");
    heir.start(&spec).await.expect("started");
    assert_eq!(heir.read(&spec.id, "a.txt").await.expect("read"), b"then");
    next.sweep(&spec.id).await.expect("swept");
    until("nothing is left", async || ground.traces().await.is_empty()).await;
}

pub(crate) async fn what_is_not_there_is_told_as_such(ground: &impl Ground) {
    let (actor, spec) = (ground.actor(), spec());
    let code = |answer: Result<(), reeve_types::WorkspaceError>| answer.expect_err("it is not there").code;
    assert_eq!(code(actor.start(&spec).await.map(drop)), ProblemCode::NotFound);
    assert_eq!(code(actor.suspend(&spec.id).await), ProblemCode::NotFound);
    assert_eq!(code(actor.snapshot(&spec.id, &snapshot_id()).await.map(drop)), ProblemCode::NotFound);
    assert_eq!(code(ground.driver().usage(&spec.id).await.map(drop)), ProblemCode::NotFound);
    assert_eq!(code(ground.driver().connect(&spec.id).await.map(drop)), ProblemCode::NotFound);
    let leave = actor.leave(&spec.id).await;
    assert_eq!(code(ground.driver().export(&leave).await.map(drop)), ProblemCode::NotFound);
    let unknown = WorkspaceSpec { template: "no-such-template".to_owned(), ..spec.clone() };
    assert_eq!(code(actor.create(&unknown).await), ProblemCode::BadRequest);
    actor.begin(&spec).await;
    let missing = ExecRequest { argv: vec!["no-such-program".to_owned()], ..ExecRequest::default() };
    assert_ne!(actor.execute(&spec.id, missing).await.outcome.exit_code, 0);
}

pub(crate) async fn a_leave_for_one_workspace_opens_no_other(ground: &impl Ground) {
    let (actor, one, other) = (ground.actor(), spec(), spec());
    actor.begin(&one).await;
    let (link, leave) = (actor.link(&one.id).await, actor.leave(&other.id).await);
    assert_eq!(link.terminals(&leave).await.expect_err("not for this one").code, ProblemCode::Forbidden);
    let over = reeve_gate::workspace::Browse::begin(actor.permit(one.id.clone()).await, std::time::Duration::ZERO);
    assert_eq!(link.terminals(&over).await.expect_err("it is over").code, ProblemCode::Forbidden);
    let exported = ground.driver().export(&over).await.map(drop);
    assert_eq!(exported.expect_err("it is over").code, ProblemCode::Forbidden);
}

fn rests(spec: &WorkspaceSpec) -> Found {
    Found { workspace: spec.id.clone(), running: false, files: true }
}
