//! A server that is killed again and again while workspaces are made, filled and removed: what it acknowledged is there
//! afterwards, whichever driver holds them.

use std::collections::BTreeSet;
use std::time::Duration;

use reqwest::blocking::Client;
use serde_json::{Value, json};

use crate::server::{Home, eventually};
use crate::workspaces::{create, ids, run};

/// How often, and how long after the acts have begun at most.
pub(crate) struct Kills {
    pub(crate) rounds: u32,
    pub(crate) within: Duration,
}

impl Kills {
    /// Pauses that fall before, into and after an act, the same in every run.
    fn pause(&self, round: u32) -> Duration {
        let spread = u64::from(round.wrapping_mul(2_654_435_761) >> 16);
        let most = u64::try_from(self.within.as_micros()).expect("a short time");
        Duration::from_micros(spread * 7 % most.max(1))
    }
}

/// Kills the server so often, and looks at what is there at the end.
#[expect(clippy::print_stdout, reason = "tells what the kills hit")]
pub(crate) fn survived(home: &Home, kills: Kills) {
    let mut server = home.start();
    let client = Client::builder().timeout(Duration::from_secs(120)).build().expect("a client");
    let first = create(&server, "steady", "base");
    let mut acknowledged = BTreeSet::from([first.clone()]);
    let mut saved = BTreeSet::new();

    for round in 0..kills.rounds {
        let removed = acknowledged.iter().find(|id| **id != first).cloned();
        let (url, token) = (server.url.clone(), server.token().to_owned());
        let (making, filling, removing) = (client.clone(), client.clone(), client.clone());
        let (base, key) = (url.clone(), token.clone());
        let maker = std::thread::spawn(move || {
            let body = json!({"name": format!("round-{round}"), "template": "base"});
            let sent = making.post(format!("{base}/api/v1/workspaces")).bearer_auth(key).json(&body).send();
            let made: Option<Value> = sent.ok().filter(|answer| answer.status() == 201).and_then(|a| a.json().ok());
            made.and_then(|made| Some(made["id"].as_str()?.to_owned()))
        });
        let (base, key, place) = (url.clone(), token.clone(), first.clone());
        let filler = std::thread::spawn(move || {
            let to = format!("{base}/api/v1/workspaces/{place}/files/content?path=round-{round}");
            let sent = filling.put(to).bearer_auth(key).body(vec![b'x'; 100_000]).send();
            sent.is_ok_and(|answer| answer.status().is_success())
        });
        let gone = removed.clone().map(|id| {
            std::thread::spawn(move || {
                let to = format!("{url}/api/v1/workspaces/{id}?force=true");
                removing.delete(to).bearer_auth(token).send().is_ok_and(|answer| answer.status().is_success())
            })
        });
        std::thread::park_timeout(kills.pause(round));
        server.kill();
        acknowledged.extend(maker.join().expect("the maker"));
        if filler.join().expect("the filler") {
            saved.insert(round);
        }
        if let (Some(id), Some(gone)) = (removed, gone) {
            gone.join().expect("the remover");
            // Begun is enough: what was asked for is finished at the next start, or it is still whole.
            acknowledged.remove(&id);
        }
        server = home.start();
    }

    let settled = eventually(|| {
        let all = server.get("/api/v1/workspaces?limit=200").expect(200);
        let states: Vec<_> = all["workspaces"].as_array()?.iter().map(|one| one["state"].clone()).collect();
        let between = ["creating", "starting", "suspending", "deleting"];
        (!states.iter().any(|state| between.iter().any(|word| state == word))).then(|| ids(&server, ""))
    });
    for id in &acknowledged {
        assert!(settled.contains(id), "{id} was acknowledged: {settled:?}");
        let there = server.get(&format!("/api/v1/workspaces/{id}")).expect(200);
        if there["state"] != "running" {
            server.post(&format!("/api/v1/workspaces/{id}/start"), &json!({})).expect(200);
        }
        assert_eq!(run(&server, id, &["echo", "here"])["stdout"], "here\n");
    }
    println!("{} of {} saves and {} workspaces were acknowledged", saved.len(), kills.rounds, acknowledged.len());
    for round in saved {
        let path = format!("/api/v1/workspaces/{first}/files/content?path=round-{round}");
        let content = server.get(&path);
        assert_eq!((content.status, content.text.len()), (200, 100_000), "round {round} was acknowledged");
    }
}
