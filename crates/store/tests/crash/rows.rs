//! A child makes workspaces and accounts and is killed; what it was answered is there, in a legal state.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use reeve_gate::{Clock as _, SystemClock};
use reeve_store::{Altered, Store};
use reeve_types::{TenantId, WorkspaceState};

use crate::rooms::{NO_QUOTAS, account, workspace};

/// How often a child is killed, on the same directory.
const KILLS: usize = 30;

pub(crate) async fn child(dir: PathBuf) {
    let store = Store::open(&dir, Arc::new(SystemClock)).unwrap();
    let mut made = 0u64;
    loop {
        let row = workspace("default", "alice");
        let seen = row.workspace.clone();
        store.add_workspace(row, NO_QUOTAS).await.unwrap();
        say(&format!("stopped {}\n", seen.id));
        for to in [WorkspaceState::Starting, WorkspaceState::Running] {
            let moved = store.move_workspace(&seen.tenant, &seen.id, to, None, |_| ()).await.unwrap();
            assert!(matches!(moved, Altered::Done(_)));
            say(&format!("{to} {}\n", seen.id));
        }
        let name = format!("u{}", SystemClock.random());
        store.add_account(account("default", &name, &format!("{name}@example.org"))).await.unwrap();
        say(&format!("account {name}@example.org\n"));
        made += 1;
        assert!(made < 1_000_000, "nobody killed it");
    }
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(line.as_bytes()).and_then(|()| out.flush()).unwrap();
}

pub(crate) fn every_answered_row_survives_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let mut answered = 0;
    for _ in 0..KILLS {
        let told = make_and_kill(dir.path());
        answered += told.len();
        check(dir.path(), &told);
    }
    assert!(answered > KILLS, "the children hardly came to make anything: {answered}");
}

fn make_and_kill(dir: &Path) -> Vec<(String, String)> {
    let mut running = super::child("rows", dir, &[]).stdout(Stdio::piped()).spawn().unwrap();
    let mut out = running.stdout.take().unwrap();
    let mut text = vec![0u8; 1];
    out.read_exact(&mut text).unwrap();
    std::thread::sleep(Duration::from_micros(u64::from(rand::random::<u16>()) / 2));
    running.kill().unwrap();
    running.wait().unwrap();
    out.read_to_end(&mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| line.split_once(' ').map(|(what, id)| (what.to_owned(), id.to_owned())).unwrap()).collect()
}

fn check(dir: &Path, told: &[(String, String)]) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let store = Store::open(dir, Arc::new(SystemClock)).unwrap();
        for (what, id) in told {
            if what == "account" {
                assert!(store.account_of_email(id).await.unwrap().is_some(), "{id} was answered and is not there");
                continue;
            }
            let (reached, id) = (what.parse::<WorkspaceState>().unwrap(), id.parse().unwrap());
            let row = store.workspace(&TenantId::default_tenant(), &id).await.unwrap();
            let state = row.map(|row| row.workspace.state);
            let order = [WorkspaceState::Stopped, WorkspaceState::Starting, WorkspaceState::Running];
            let place = |state: WorkspaceState| order.iter().position(|one| *one == state);
            let found = state.and_then(place);
            assert!(found >= place(reached), "{id} was told to be {reached} and is {state:?}");
        }
        store.close().await;
    });
}
