//! Figures of workspaces through the whole program: making them, their files, their terminals, their previews. Prints,
//! never fails.
//!
//! `cargo build --release -p reeve-runtime && cargo bench -p reeve --bench workspaces`; needs bubblewrap, and nginx for
//! the comparison of previews. `REEVE_BENCH_ONLY` names one part: `making`, `files`, `terminals`, `previews`, `memory`.
//!
//! Callers, server, workspaces and nginx share this machine's processors.
#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

const REEVE: &str = env!("CARGO_BIN_EXE_reeve");
/// Workspaces made one after the other, and then at once.
const MAKINGS: usize = 100;
/// Reads and saves that are counted.
const CALLS: usize = 1000;
const FILE_BYTES: usize = 10_000;
const KEYSTROKES: usize = 1000;
const FLOOD_BYTES: usize = 100_000_000;
/// Connections to a proxy.
const CONNECTIONS: usize = 64;
/// How long a proxy is asked.
const ASKED_FOR: Duration = Duration::from_secs(5);
/// The port that programs in workspaces listen on here.
const PORT: u16 = 8080;
/// Idle workspaces whose cost is told.
const IDLE: usize = 20;

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[tokio::main]
async fn main() -> Outcome<()> {
    let only = std::env::var("REEVE_BENCH_ONLY").unwrap_or_default();
    let wanted = |part: &str| only.is_empty() || only == part;
    if wanted("making") {
        making().await?;
    }
    if wanted("files") {
        files().await?;
    }
    if wanted("terminals") {
        terminals().await?;
    }
    if wanted("previews") {
        previews().await?;
    }
    if wanted("memory") {
        memory().await?;
    }
    Ok(())
}

/// A server of the bench's own with no limits on how often it is asked.
struct Server {
    child: Child,
    data: tempfile::TempDir,
    url: String,
    token: String,
    client: Client,
}

impl Server {
    fn start(warm: usize) -> Outcome<Self> {
        let data = tempfile::tempdir()?;
        let mut child = Command::new(REEVE)
            .args(["up", "--listen", "127.0.0.1:0", "--driver", "namespace"])
            .env_clear()
            .env("PATH", std::env::var("PATH").unwrap_or_default())
            .env("HOME", data.path())
            .env("REEVE_DATA_DIR", data.path())
            .env("REEVE_WORKSPACES_WARM", warm.to_string())
            .env("REEVE_WORKSPACES_PER_USER", "1000")
            .env("REEVE_WORKSPACES_RUNNING_PER_USER", "1000")
            .env("REEVE_LIMITS_KEY_CALLS_PER_MINUTE", "0")
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()?;
        let mut lines = BufReader::new(child.stderr.take().ok_or("no log")?).lines();
        let url = loop {
            let line = lines.next().ok_or("the server ended")??;
            if let Some((_, rest)) = line.split_once("listening on ") {
                break rest.split([',', ' ', '"']).next().unwrap_or_default().to_owned();
            }
        };
        std::thread::spawn(move || lines.for_each(drop));
        let token = std::fs::read_to_string(data.path().join("admin.token"))?.trim().to_owned();
        let client = Client::builder().redirect(reqwest::redirect::Policy::none()).build()?;
        Ok(Self { child, data, url, token, client })
    }

    fn address(&self) -> Outcome<SocketAddr> {
        Ok(self.url.trim_start_matches("http://").parse()?)
    }

    async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Outcome<Value> {
        let mut request = self.client.request(method, format!("{}/api/v1{path}", self.url)).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await?;
        let status = answer.status();
        let body: Value = answer.json().await.unwrap_or(Value::Null);
        if status.is_success() { Ok(body) } else { Err(format!("{path}: {status} {body}").into()) }
    }

    async fn create(&self, name: &str) -> Outcome<String> {
        let made = self.call(Method::POST, "/workspaces", Some(&json!({"name": name, "template": "base"}))).await?;
        Ok(made["id"].as_str().ok_or("no id")?.to_owned())
    }

    async fn run(&self, id: &str, argv: &[&str]) -> Outcome<String> {
        let done =
            self.call(Method::POST, &format!("/workspaces/{id}/executions"), Some(&json!({"argv": argv}))).await?;
        Ok(done["stdout"].as_str().unwrap_or_default().to_owned())
    }

    async fn delete(&self, id: &str) -> Outcome<()> {
        self.call(Method::DELETE, &format!("/workspaces/{id}?force=true"), None).await.map(drop)
    }

    /// Deletes what is there and ends. Says how many mounts of it are left.
    async fn end(mut self) -> Outcome<usize> {
        let all = self.call(Method::GET, "/workspaces?limit=200", None).await?;
        for one in all["workspaces"].as_array().into_iter().flatten() {
            self.delete(one["id"].as_str().unwrap_or_default()).await?;
        }
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        self.child.wait()?;
        let data = self.data.path().display().to_string();
        let mounts = std::fs::read_to_string("/proc/self/mounts")?;
        Ok(mounts.lines().filter(|line| line.contains(&data)).count())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The value that so many hundredths of all lie below.
fn percentile(times: &mut [Duration], hundredths: usize) -> f64 {
    times.sort();
    let at = (times.len() * hundredths / 100).min(times.len().saturating_sub(1));
    times.get(at).map_or(f64::NAN, |time| time.as_secs_f64() * 1000.0)
}

fn tell(what: &str, times: &mut [Duration]) {
    let (median, p95, p99) = (percentile(times, 50), percentile(times, 95), percentile(times, 99));
    println!("{what:<58} median {median:>7.1}  p95 {p95:>7.1}  p99 {p99:>7.1} ms");
}

async fn making() -> Outcome<()> {
    for warm in [0, 1] {
        let server = Server::start(warm)?;
        let mut times = Vec::new();
        for round in 0..MAKINGS {
            let begun = Instant::now();
            let id = server.create(&format!("one-{round}")).await?;
            let said = server.run(&id, &["echo", "here"]).await?;
            times.push(begun.elapsed());
            if said != "here\n" {
                return Err(format!("the first command said {said:?}").into());
            }
            server.delete(&id).await?;
        }
        tell(&format!("create to first output, in sequence, {warm} spare"), &mut times);
        println!("  left behind: {} mounts", server.end().await?);
    }
    let server = Arc::new(Server::start(0)?);
    let made = futures_util::future::join_all((0..MAKINGS).map(|round| {
        let server = Arc::clone(&server);
        tokio::spawn(async move {
            let begun = Instant::now();
            let id = server.create(&format!("all-{round}")).await?;
            let said = server.run(&id, &["echo", "here"]).await?;
            Outcome::Ok((begun.elapsed(), said == "here\n"))
        })
    }))
    .await;
    let mut times = Vec::new();
    let mut failures = Vec::new();
    for one in made {
        match one? {
            Ok((took, true)) => times.push(took),
            Ok((_, false)) => failures.push("no output".to_owned()),
            Err(error) => failures.push(error.to_string()),
        }
    }
    println!("{} of {MAKINGS} workspaces made at once answered", times.len());
    failures.first().into_iter().for_each(|why| println!("  first failure: {why}"));
    tell("create to first output, 100 at once", &mut times);
    let server = Arc::into_inner(server).ok_or("still in use")?;
    println!("  left behind: {} mounts", server.end().await?);
    Ok(())
}

async fn files() -> Outcome<()> {
    let server = Server::start(0)?;
    let id = server.create("files").await?;
    let place = format!("{}/api/v1/workspaces/{id}/files/content?path=ten", server.url);
    let (mut saves, mut reads) = (Vec::new(), Vec::new());
    for round in 0..CALLS {
        let content = vec![u8::try_from(round % 251)?; FILE_BYTES];
        let begun = Instant::now();
        let saved = server.client.put(&place).bearer_auth(&server.token).body(content).send().await?;
        if !saved.status().is_success() {
            return Err(format!("{} {}", saved.status(), saved.text().await?).into());
        }
        saved.bytes().await?;
        saves.push(begun.elapsed());
        let begun = Instant::now();
        let read = server.client.get(&place).bearer_auth(&server.token).send().await?.bytes().await?;
        reads.push(begun.elapsed());
        if read.len() != FILE_BYTES {
            return Err("a read was cut".into());
        }
    }
    tell("read 10 kB", &mut reads);
    tell("save 10 kB", &mut saves);
    server.end().await?;
    Ok(())
}

async fn terminals() -> Outcome<()> {
    let server = Server::start(0)?;
    let id = server.create("terminals").await?;
    let mut socket = attach(&server, &id, &["cat"]).await?;
    let mut times = Vec::new();
    for round in 0..KEYSTROKES {
        let key = [b'a' + u8::try_from(round % 26)?];
        let begun = Instant::now();
        socket.send(Message::binary(key.to_vec())).await?;
        wait_for_bytes(&mut socket, 1).await?;
        times.push(begun.elapsed());
    }
    tell("terminal: keystroke to its echo", &mut times);

    let before = resident_mb(server.child.id())?;
    let flood = format!("head -c {FLOOD_BYTES} /dev/zero | tr '\\0' x");
    let mut socket = attach(&server, &id, &["sh", "-c", &flood]).await?;
    let begun = Instant::now();
    let mut most = before;
    let mut seen = 0;
    while seen < FLOOD_BYTES {
        seen += wait_for_bytes(&mut socket, 1).await?;
        if seen % 64 == 0 {
            most = most.max(resident_mb(server.child.id())?);
        }
    }
    let took = begun.elapsed();
    println!(
        "terminal: 100 MB of output in {:.2} s ({:.0} MB/s), server memory {before:.1} → at most {most:.1} MB",
        took.as_secs_f64(),
        seen as f64 / 1e6 / took.as_secs_f64()
    );
    server.end().await?;
    Ok(())
}

type Socket = tokio_tungstenite::WebSocketStream<TcpStream>;

async fn attach(server: &Server, id: &str, argv: &[&str]) -> Outcome<Socket> {
    let open = server.call(Method::POST, &format!("/workspaces/{id}/terminals"), Some(&json!({"argv": argv}))).await?;
    let terminal = open["id"].as_str().ok_or("no terminal")?;
    let wanted = json!({"workspace_id": id, "terminal_id": terminal});
    let ticket = server.call(Method::POST, "/ws-tickets", Some(&wanted)).await?;
    let ticket = ticket["ticket"].as_str().ok_or("no ticket")?;
    let address = server.address()?;
    let place = format!("ws://{address}/api/v1/workspaces/{id}/terminals/{terminal}/socket?ticket={ticket}");
    let mut request = place.into_client_request()?;
    request.headers_mut().insert("sec-websocket-protocol", "reeve.term.v1".parse()?);
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(tokio_tungstenite::client_async(request, stream).await?.0)
}

/// Waits until at least so many bytes of output have come, and says that they were seen.
async fn wait_for_bytes(socket: &mut Socket, least: usize) -> Outcome<usize> {
    let mut seen = 0;
    while seen < least {
        match socket.next().await.ok_or("the terminal was closed")?? {
            Message::Binary(bytes) => {
                seen += bytes.len();
                let ack = json!({"type": "ack", "bytes": bytes.len()}).to_string();
                // The program may have ended, and the rest of its output still comes.
                let _ = socket.send(Message::text(ack)).await;
            }
            Message::Close(frame) => return Err(format!("the terminal was closed: {frame:?}").into()),
            _ => {}
        }
    }
    Ok(seen)
}

fn resident_mb(pid: u32) -> Outcome<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).ok_or("no VmRSS")?;
    let kb: f64 = line.split_whitespace().nth(1).ok_or("no figure")?.parse()?;
    Ok(kb / 1024.0)
}

/// The same program, nginx with two files, behind Reeve in a workspace and behind nginx outside.
async fn previews() -> Outcome<()> {
    let server = Server::start(0)?;
    let id = server.create("previews").await?;
    for (name, size) in [("small", 1_000), ("large", 1_000_000)] {
        let place = format!("{}/api/v1/workspaces/{id}/files/content?path={name}", server.url);
        let content = vec![b'x'; size];
        server.client.put(place).bearer_auth(&server.token).body(content).send().await?.error_for_status()?;
    }
    let conf = nginx_serving(Path::new("/workspace"), &format!("127.0.0.1:{PORT}"));
    let place = format!("{}/api/v1/workspaces/{id}/files/content?path=nginx.conf", server.url);
    server.client.put(place).bearer_auth(&server.token).body(conf).send().await?.error_for_status()?;
    let nginx = ["/usr/sbin/nginx", "-e", "stderr", "-p", "/workspace", "-c", "/workspace/nginx.conf"];
    server.call(Method::POST, &format!("/workspaces/{id}/terminals"), Some(&json!({"argv": nginx}))).await?;
    let (host, cookie) = visit(&server, &id).await?;
    let reeve = server.address()?;
    let through_reeve = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\n\r\n");

    let outside = Outside::start().await?;
    let through_nginx = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    for path in ["/small", "/large"] {
        // Turn and turn about, so that what else this machine does falls on both.
        let mut figures = [Vec::new(), Vec::new()];
        for _ in 0..3 {
            figures[0].push(requests_per_second(reeve, &through_reeve(path)).await?);
            figures[1].push(requests_per_second(outside.proxy, &through_nginx(path)).await?);
        }
        let [ours, theirs] = figures.map(|mut all| {
            all.sort_by(f64::total_cmp);
            all[all.len() / 2]
        });
        println!(
            "preview, {CONNECTIONS} connections, {:<6}  Reeve {ours:>7.0}/s  nginx as proxy {theirs:>7.0}/s  ratio {:.2}",
            path.trim_start_matches('/'),
            ours / theirs
        );
    }
    drop(outside);
    server.end().await?;
    Ok(())
}

fn nginx_serving(root: &Path, listen: &str) -> String {
    format!(
        "daemon off; worker_processes 1; pid {root}/nginx.pid; error_log stderr crit;\n\
         events {{ worker_connections 1024; }}\n\
         http {{ access_log off; sendfile on; keepalive_requests 1000000;\n\
         client_body_temp_path {root}/t1; proxy_temp_path {root}/t2; fastcgi_temp_path {root}/t3; uwsgi_temp_path {root}/t4; scgi_temp_path {root}/t5;\n\
         server {{ listen {listen}; root {root}; }} }}\n",
        root = root.display()
    )
}

/// Waits until the program answers through Reeve, and comes back with the host and the pass of a browser.
async fn visit(server: &Server, id: &str) -> Outcome<(String, String)> {
    let begun = Instant::now();
    loop {
        let told =
            server.call(Method::POST, &format!("/workspaces/{id}/preview"), Some(&json!({"port": PORT}))).await?;
        let url = reqwest::Url::parse(told["url"].as_str().ok_or("no address")?)?;
        let host = format!("{}:{}", url.host_str().unwrap_or_default(), url.port().unwrap_or(80));
        let path = format!("{}?{}", url.path(), url.query().unwrap_or_default());
        let there = |path: &str| server.client.get(format!("{}{path}", server.url)).header("host", host.clone());
        let entered = there(&path).send().await?;
        let cookie = entered.headers().get("set-cookie").ok_or("no pass was given")?.to_str()?;
        let cookie = cookie.split(';').next().unwrap_or_default().to_owned();
        if there("/small").header("cookie", &cookie).send().await?.status().is_success() {
            return Ok((host, cookie));
        }
        if begun.elapsed() > Duration::from_secs(20) {
            return Err("the program in the workspace does not answer".into());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// nginx outside of any workspace: one that serves, one that passes on.
struct Outside {
    proxy: SocketAddr,
    children: [Child; 2],
    _dir: tempfile::TempDir,
}

impl Outside {
    async fn start() -> Outcome<Self> {
        let dir = tempfile::tempdir_in("/var/tmp")?;
        std::fs::write(dir.path().join("small"), vec![b'x'; 1_000])?;
        std::fs::write(dir.path().join("large"), vec![b'x'; 1_000_000])?;
        let (serving, passing) = (free_address().await?, free_address().await?);
        let served = dir.path().join("serving.conf");
        std::fs::write(&served, format!("user root;\n{}", nginx_serving(dir.path(), &serving.to_string())))?;
        let passed = dir.path().join("passing.conf");
        let below = dir.path().join("passing");
        std::fs::create_dir(&below)?;
        let below = below.display();
        // One worker and a pool of connections behind it: the usual advice for a reverse proxy.
        std::fs::write(
            &passed,
            format!(
                "user root; daemon off; worker_processes auto; pid {below}/nginx.pid; error_log stderr crit;\n\
                 events {{ worker_connections 1024; }}\n\
                 http {{ access_log off; keepalive_requests 1000000;\n\
                 client_body_temp_path {below}/t1; proxy_temp_path {below}/t2; fastcgi_temp_path {below}/t3; uwsgi_temp_path {below}/t4; scgi_temp_path {below}/t5;\n\
                 upstream behind {{ server {serving}; keepalive {CONNECTIONS}; keepalive_requests 1000000; }}\n\
                 server {{ listen {passing}; location / {{ proxy_pass http://behind; proxy_http_version 1.1; proxy_set_header Connection \"\"; }} }} }}\n"
            ),
        )?;
        let nginx = |conf: &Path| {
            Command::new("nginx").args(["-e", "stderr", "-p"]).arg(dir.path()).arg("-c").arg(conf).spawn()
        };
        let children = [nginx(&served)?, nginx(&passed)?];
        let begun = Instant::now();
        while TcpStream::connect(passing).await.is_err() || TcpStream::connect(serving).await.is_err() {
            if begun.elapsed() > Duration::from_secs(10) {
                return Err("nginx does not start".into());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(Self { proxy: passing, children, _dir: dir })
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        for child in &mut self.children {
            // Asked, so that its workers end too.
            let _ =
                rustix::process::kill_process(rustix::process::Pid::from_child(child), rustix::process::Signal::TERM);
            let _ = child.wait();
        }
    }
}

async fn free_address() -> Outcome<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?.local_addr()?)
}

async fn requests_per_second(to: SocketAddr, request: &str) -> Outcome<f64> {
    let until = Instant::now() + ASKED_FOR;
    let all = (0..CONNECTIONS).map(|_| {
        let request = request.as_bytes().to_vec();
        tokio::spawn(async move {
            let mut stream = TcpStream::connect(to).await?;
            stream.set_nodelay(true)?;
            let mut done = 0u64;
            let mut buffer = vec![0; 64 * 1024];
            while Instant::now() < until {
                stream.write_all(&request).await?;
                read_answer(&mut stream, &mut buffer).await?;
                done += 1;
            }
            Outcome::Ok(done)
        })
    });
    let begun = Instant::now();
    let mut done = 0;
    for one in futures_util::future::join_all(all).await {
        done += one??;
    }
    Ok(done as f64 / begun.elapsed().as_secs_f64())
}

/// Reads one answer whole: its head, then as many bytes as it says.
async fn read_answer(stream: &mut TcpStream, buffer: &mut [u8]) -> Outcome<()> {
    let mut filled = 0;
    let head_ends = loop {
        let read = stream.read(buffer.get_mut(filled..).ok_or("a head too long")?).await?;
        if read == 0 {
            return Err("the connection ended".into());
        }
        filled += read;
        let so_far = buffer.get(..filled).unwrap_or_default();
        if let Some(at) = so_far.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
    };
    let head = std::str::from_utf8(buffer.get(..head_ends).unwrap_or_default())?.to_ascii_lowercase();
    if !head.starts_with("http/1.1 200") {
        return Err(format!("an answer that is no success: {head}").into());
    }
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).ok_or("no length")?;
    let mut left = length.trim().parse::<usize>()?.saturating_sub(filled - head_ends);
    while left > 0 {
        let most = left.min(buffer.len());
        let read = stream.read(buffer.get_mut(..most).unwrap_or_default()).await?;
        if read == 0 {
            return Err("a body was cut".into());
        }
        left -= read;
    }
    Ok(())
}

async fn memory() -> Outcome<()> {
    let server = Server::start(0)?;
    // The first one pays for what all share.
    server.create("first").await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = resident_mb(server.child.id())?;
    for round in 0..IDLE {
        server.create(&format!("idle-{round}")).await?;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let each = (resident_mb(server.child.id())? - before) / IDLE as f64;
    println!("server memory for each idle workspace    {each:>8.2} MB ({IDLE} of them; {before:.1} MB before)");
    server.end().await?;
    Ok(())
}
