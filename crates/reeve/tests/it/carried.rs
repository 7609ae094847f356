//! A whole installation carried over: every file of every workspace with its mode, times, links and attributes, in the
//! state it was in, and everybody who was signed in.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::server::{Home, REEVE, Server, eventually, text};
use crate::workspaces::{Cleared, create, home, run, said};

/// Fills a workspace and its home directory with what backups lose easily.
const FILL: &str = r#"
import os
home = os.path.expanduser('~')
for top in ('/workspace/many', home + '/kept'):
    for n in range(1000):
        place = f'{top}/{n % 20}/{n % 7}'
        os.makedirs(place, exist_ok=True)
        with open(f'{place}/f{n}', 'wb') as file:
            file.write(os.urandom(n % 300))
        os.chmod(f'{place}/f{n}', [0o600, 0o640, 0o755, 0o444][n % 4])
os.chdir('/workspace')
os.symlink('many/0', 'inside')
os.symlink('../../etc/passwd', 'outside')
os.symlink('/nowhere', 'dangling')
os.link('many/0/0/f0', 'second name')
os.makedirs('empty/deep/er')
os.chmod('empty/deep', 0o750)
with open('large', 'wb') as file:
    file.write(os.urandom(5_000_000))
for name in (b'gr\xfc\xdfe \xff', b'new\nline $(id)', b'-rf', '漢字 🦀'.encode()):
    open(name, 'wb').close()
os.setxattr('large', 'user.origin', b'\x00\xff here')
os.setxattr('many', 'user.note', 'größe'.encode())
os.utime('large', (1_000_000_000, 1_000_000_000))
"#;

/// Tells all that is known of each of them.
const TELL: &str = r#"
import hashlib, os, stat
for top in ('/workspace', os.path.expanduser('~')):
    for where, directories, files in os.walk(top):
        directories[:] = sorted(name for name in directories if name != '.reeve-trash')
        for name in sorted(directories + files):
            path = os.path.join(where, name)
            about = os.lstat(path)
            if stat.S_ISLNK(about.st_mode):
                print(ascii(path), 'to', ascii(os.readlink(path)))
                continue
            held = {key: os.getxattr(path, key).hex() for key in os.listxattr(path) if key.startswith('user.')}
            told = [ascii(path), oct(about.st_mode), about.st_uid, held]
            if stat.S_ISREG(about.st_mode):
                content = hashlib.sha256(open(path, 'rb').read()).hexdigest()[:32]
                told += [about.st_nlink, int(about.st_mtime), content]
            print(*told)
"#;

fn program(server: &Server, id: &str, program: &str) -> String {
    let ran = run(server, id, &["/usr/bin/python3", "-c", program]);
    assert_eq!((&ran["exit_code"], &ran["stderr"], &ran["truncated"]), (&json!(0), &json!(""), &json!(false)), "{ran}");
    ran["stdout"].as_str().expect("text").to_owned()
}

fn add_person(home: &Home, server: &Server) {
    let mut command = home.command(REEVE);
    let arguments = ["users", "add", "ida@example.org", "--name", "Ida", "--role", "developer", "--password-stdin"];
    command.env("REEVE_SERVER", &server.url).args(arguments);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    child.stdin.take().expect("its input").write_all(b"a password of hers\n").expect("it reads");
    let ended = child.wait_with_output().expect("it ends");
    assert!(ended.status.success(), "{}", text(&ended));
}

fn sign_in(server: &Server) -> Value {
    let body = json!({"email": "ida@example.org", "password": "a password of hers"});
    server.request("post", "/api/v1/auth/login", None, Some(&body)).expect(200)
}

#[test]
fn every_file_of_every_workspace_and_every_sign_in_comes_back() {
    let home = home();
    let cleared = Cleared(&home);
    let server = home.start();
    add_person(&home, &server);
    let token = sign_in(&server)["access_token"].as_str().expect("a token").to_owned();
    let ids: Vec<String> = ["works", "rests", "trashed"].iter().map(|name| create(&server, name, "base")).collect();
    let mut before = BTreeMap::new();
    for id in &ids {
        program(&server, id, FILL);
        let told = program(&server, id, TELL);
        assert!(told.lines().count() > 2000, "{told}");
        before.insert(id, told);
    }
    let at = |id: &str, rest: &str| format!("/api/v1/workspaces/{id}{rest}");
    server.post(&at(&ids[1], "/suspend"), &json!({})).expect(200);
    server.request("delete", &at(&ids[2], ""), Some(server.token()), None).expect(200);
    let file = home.path().join("backup.tar").display().to_string();
    let taken = said(&server.cli(&home, &["backup", &file]));
    assert!(taken.contains("Workspaces  3"), "{taken}");

    let other = self::home();
    let elsewhere = Cleared(&other);
    said(&other.command(REEVE).args(["restore", &file]).output().expect("it ends"));
    let second = other.start();
    eventually(|| (!other.data().join("returning").exists()).then_some(()));
    let seen = |id: &str| second.get(&at(id, "")).expect(200);
    let states: Vec<_> = ids.iter().map(|id| seen(id)["state"].clone()).collect();
    assert!(["suspended", "stopped"].iter().any(|rests| states[0] == *rests), "{states:?}");
    assert_eq!(states[1..], [json!("suspended"), json!("deleted")]);
    second.post(&at(&ids[2], "/restore"), &json!({})).expect(200);
    for id in &ids {
        second.post(&at(id, "/start"), &json!({})).expect(200);
        let (told, expected) = (program(&second, id, TELL), &before[id]);
        let differ = told.lines().zip(expected.lines()).find(|(now, then)| now != then);
        assert_eq!(differ, None, "the first that differs");
        assert_eq!(told.lines().count(), expected.lines().count());
    }
    // Whoever was signed in still is, and can sign in as before.
    let me = second.get_as(Some(&token), "/api/v1/auth/me").expect(200);
    assert_eq!(me["email"], "ida@example.org");
    sign_in(&second);
    drop((second, elsewhere, server, cleared));
}
