//! The way to the network: what is on the list is reached through the proxy, and nothing else in no way.

use std::net::{Ipv4Addr, SocketAddr};

use reeve_types::workspace::{Egress, WorkspaceSpec};
use reeve_types::{ProblemCode, WorkspaceId};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::actor::{Actor, spec, until};
use crate::contract::Ground;
use crate::stage::Stage;

/// A server of this machine that answers every request with its own words, and every other line with an echo.
async fn server(words: &'static str) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a listener");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut heard = vec![0; 4096];
                while let Ok(count @ 1..) = stream.read(&mut heard).await {
                    let answer = if heard.starts_with(b"GET ") {
                        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{words}", words.len()).into_bytes()
                    } else {
                        heard[..count].to_vec()
                    };
                    if stream.write_all(&answer).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

fn allowing(hosts: &[String]) -> WorkspaceSpec {
    WorkspaceSpec { egress: Egress::Allow { hosts: hosts.to_vec() }, ..spec() }
}

/// Asks for an address as programs do, through the proxy that their environment names.
async fn ask(actor: &Actor<'_>, id: &WorkspaceId, address: &str) -> String {
    let program = "import os,sys,urllib.request,urllib.error\n\
                   for name in ('no_proxy', 'NO_PROXY'): del os.environ[name]\n\
                   try: print(urllib.request.urlopen(sys.argv[1], timeout=20).read().decode())\n\
                   except urllib.error.HTTPError as error: print(error.code, error.read().decode())\n\
                   except OSError as error: print('unreachable', error)";
    let ran = actor.run(id, &["/usr/bin/python3", "-c", program, address]).await;
    assert_eq!(ran.outcome.exit_code, 0, "{ran:?}");
    ran.stdout.trim_end().to_owned()
}

/// Opens a tunnel and says a word in it.
async fn tunnel(actor: &Actor<'_>, id: &WorkspaceId, to: &str) -> String {
    let program = "import socket,sys\n\
                   one = socket.create_connection(('127.0.0.1', 3128), 20)\n\
                   one.sendall(f'CONNECT {sys.argv[1]} HTTP/1.1\\r\\nHost: {sys.argv[1]}\\r\\n\\r\\n'.encode())\n\
                   head = one.recv(4096).split(b'\\r\\n')[0].decode()\n\
                   if ' 200 ' not in head + ' ': print(head); sys.exit()\n\
                   one.sendall(b'word')\nprint(one.recv(4).decode())";
    let ran = actor.run(id, &["/usr/bin/python3", "-c", program, to]).await;
    assert_eq!(ran.outcome.exit_code, 0, "{ran:?}");
    ran.stdout.trim_end().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_on_the_list_is_reached_and_nothing_else() {
    let (listed, unlisted) = (server("listed").await, server("unlisted").await);
    let stage = Stage::reaching(&[listed]).await;
    let actor = stage.actor();
    let spec = allowing(&[listed.to_string(), "169.254.169.254".to_owned(), format!("localhost:{}", unlisted.port())]);
    let isolation = actor.begin(&spec).await;
    assert_eq!(isolation.network, "allow");
    assert_eq!(ask(&actor, &spec.id, &format!("http://{listed}/")).await, "listed");
    assert_eq!(tunnel(&actor, &spec.id, &listed.to_string()).await, "word");
    assert_eq!(stage.driver.refused_connections(&spec.id), 0);
    let refused = [
        (format!("http://{unlisted}/"), "not on the workspace's list"),
        ("http://169.254.169.254/latest/meta-data/".to_owned(), "not a public one"),
        (format!("http://localhost:{}/", unlisted.port()), "not a public one"),
        (format!("http://127.0.0.1:{}/", unlisted.port()), "not on the workspace's list"),
        (format!("http://[::ffff:127.0.0.1]:{}/", listed.port()), "not on the workspace's list"),
    ];
    for (number, (address, why)) in refused.iter().enumerate() {
        let said = ask(&actor, &spec.id, address).await;
        assert!(said.starts_with("403 ") && said.contains(why), "{address}: {said}");
        assert_eq!(stage.driver.refused_connections(&spec.id), number as u64 + 1, "each refusal is counted");
    }
    assert!(tunnel(&actor, &spec.id, &unlisted.to_string()).await.contains(" 403 "));
    assert!(tunnel(&actor, &spec.id, "169.254.169.254:80").await.contains(" 403 "));
    let direct = format!("exec 3<>/dev/tcp/127.0.0.1/{}", listed.port());
    assert_ne!(actor.shell(&spec.id, &direct).await.outcome.exit_code, 0, "there is no way around the proxy");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_public_is_nothing_private() {
    let private = server("private").await;
    let stage = Stage::reaching(&[private]).await;
    let (actor, spec) = (stage.actor(), WorkspaceSpec { egress: Egress::Public, ..spec() });
    assert_eq!(actor.begin(&spec).await.network, "public");
    for address in [private.to_string(), format!("localhost:{}", private.port()), "10.0.0.1".into(), "[fd00::1]".into()]
    {
        let said = ask(&actor, &spec.id, &format!("http://{address}/")).await;
        assert!(said.starts_with("403 ") && said.contains("not a public one"), "{address}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_way_outlasts_suspension_and_the_server_and_changes_with_the_list() {
    let (first, second) = (server("first").await, server("second").await);
    let stage = Stage::reaching(&[first, second]).await;
    let (actor, spec) = (stage.actor(), allowing(&[first.to_string()]));
    actor.begin(&spec).await;
    actor.suspend(&spec.id).await.expect("suspended");
    actor.start(&spec).await.expect("started");
    assert_eq!(ask(&actor, &spec.id, &format!("http://{first}/")).await, "first");
    assert!(ask(&actor, &spec.id, &format!("http://{second}/")).await.starts_with("403 "));
    let changed = WorkspaceSpec { egress: Egress::Allow { hosts: vec![second.to_string()] }, ..spec.clone() };
    actor.start(&changed).await.expect("started with another list");
    assert!(ask(&actor, &spec.id, &format!("http://{first}/")).await.starts_with("403 "));
    assert_eq!(ask(&actor, &spec.id, &format!("http://{second}/")).await, "second");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tunnel_ends_with_the_workspace() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a listener");
    let address = listener.local_addr().expect("an address");
    let stage = Stage::reaching(&[address]).await;
    let (actor, spec) = (stage.actor(), allowing(&[address.to_string()]));
    actor.begin(&spec).await;
    let program = format!(
        "exec 3<>/dev/tcp/127.0.0.1/3128; printf 'CONNECT {address} HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n' >&3; head -c 10 <&3"
    );
    let (ran, accepted) = tokio::join!(actor.shell(&spec.id, &program), listener.accept());
    assert_eq!(ran.stdout, "HTTP/1.1 2", "{ran:?}");
    let (mut outside, _) = accepted.expect("a connection");
    actor.suspend(&spec.id).await.expect("suspended");
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(std::time::Duration::from_secs(10), outside.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "the tunnel is still open");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_that_makes_no_sense_is_refused_before_anything_is_made() {
    let stage = Stage::new().await;
    let actor = stage.actor();
    for host in ["", "http://x/", "a b", "*", "x:0", "x:99999"] {
        let refused = actor.create(&allowing(&[host.to_owned()])).await.expect_err(host);
        assert_eq!(refused.code, ProblemCode::BadRequest, "{host}");
    }
    until("nothing was made", async || Ground::traces(&stage).await.is_empty()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_server_opens_the_way_again() {
    let listed = server("listed").await;
    let stage = Stage::reaching(&[listed]).await;
    let spec = allowing(&[listed.to_string()]);
    stage.actor().begin(&spec).await;
    // The listener inside belongs to the server and goes with it.
    stage.driver.close().await;
    let next = stage.next_server().await;
    let heir = Actor::new(next.as_ref());
    assert_eq!(ask(&heir, &spec.id, &format!("http://{listed}/")).await, "listed");
    heir.delete(&spec.id, true).await.expect("deleted");
}
