//! Where a cluster is looked for, over the public way in.

use std::path::PathBuf;

use reeve_kubernetes::kubeconfig::{Surroundings, find};
use serde_json::{Value, json};

use crate::setting::kubeconfig;

struct Files {
    dir: tempfile::TempDir,
}

impl Files {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a directory") }
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        std::fs::write(&path, text).expect("it is written");
        path
    }

    fn config(&self, name: &str, config: &Value) -> PathBuf {
        self.write(name, &config.to_string())
    }

    /// What an error says, without the directory's name.
    fn why(&self, around: &Surroundings, context: Option<&str>) -> String {
        let dir = self.dir.path().display().to_string();
        find(around, context).expect_err("it cannot be found").to_string().replace(&dir, "DIR")
    }
}

fn at(paths: &[&PathBuf]) -> Surroundings {
    let joined = std::env::join_paths(paths).expect("paths");
    Surroundings { kubeconfig: Some(joined), ..Surroundings::default() }
}

#[test]
fn yaml_as_kubectl_writes_it_is_understood() {
    let files = Files::new();
    let home = files.write(
        ".kube/config",
        "apiVersion: v1\nkind: Config\nclusters:\n- cluster:\n    server: https://10.0.0.1:6443\n    extensions:\n    - extension: {last-update: now}\n      name: cluster_info\n  name: kind\ncontexts:\n- context:\n    cluster: kind\n    user: admin\n  name: kind\ncurrent-context: kind\nusers:\n- name: admin\n  user:\n    token: abc\n",
    );
    let around = Surroundings { home: home.ancestors().nth(2).map(Into::into), ..Surroundings::default() };
    let access = find(&around, None).expect("it is found");
    assert_eq!((access.server(), access.context.as_str()), ("https://10.0.0.1:6443/", "kind"));
    assert!(!format!("{access:?}").contains("abc"), "a token is never printed");
}

#[test]
fn what_stands_first_of_several_files_counts() {
    let files = Files::new();
    let first = files.config("a", &kubeconfig(&json!({"server": "https://first:1"}), &json!({"token": "x"})));
    let mut second = kubeconfig(&json!({"server": "https://second:2"}), &json!({"token": "y"}));
    second["contexts"][0]["name"] = "other".into();
    second["current-context"] = "other".into();
    let second = files.config("b", &second);
    let missing = files.dir.path().join("missing");
    let around = at(&[&missing, &first, &second]);
    assert_eq!(find(&around, None).expect("it is found").context, "test");
    assert_eq!(find(&around, Some("other")).expect("it is found").server(), "https://first:1/");
}

#[test]
fn inside_a_pod_its_own_account_is_used() {
    let files = Files::new();
    files.write("account/token", "t\n");
    files.write("account/ca.crt", "-----BEGIN CERTIFICATE-----\n");
    let around = Surroundings {
        service: Some(("10.96.0.1".to_owned(), "443".to_owned())),
        service_account: files.dir.path().join("account"),
        ..Surroundings::default()
    };
    let access = find(&around, None).expect("it is found");
    assert_eq!((access.server(), access.source.as_str()), ("https://10.96.0.1/", "the service account of this pod"));
    assert!(files.why(&around, Some("prod")).contains("the context `prod` needs a kubeconfig"));
}

#[test]
fn whatever_is_wrong_is_said_with_its_place() {
    let files = Files::new();
    let server = json!({"server": "https://h"});
    let told = |name: &str, config: &Value, context: Option<&str>| {
        format!("{name}: {}\n", files.why(&at(&[&files.config(name, config)]), context))
    };
    let mut said = String::new();
    said += &format!(
        "nothing: {}\n",
        files.why(&Surroundings { home: Some(files.dir.path().into()), ..Surroundings::default() }, None)
    );
    said +=
        &format!("no yaml: {}\n", files.why(&at(&[&files.write("broken", "clusters: [\n  token: s3cret\n")]), None));
    said += &told("other-context", &kubeconfig(&server, &json!({})), Some("prod"));
    said += &told("exec", &kubeconfig(&server, &json!({"exec": {"command": "aws", "args": ["eks"]}})), None);
    said += &told("auth-provider", &kubeconfig(&server, &json!({"auth-provider": {"name": "gcp"}})), None);
    said += &told("no-server", &kubeconfig(&json!({}), &json!({})), None);
    said += &told("bad-server", &kubeconfig(&json!({"server": "ftp://h"}), &json!({})), None);
    said += &told(
        "bad-ca",
        &kubeconfig(&json!({"server": "https://h", "certificate-authority-data": "%"}), &json!({})),
        None,
    );
    said += &told(
        "no-ca",
        &kubeconfig(&json!({"server": "https://h", "certificate-authority": "gone.crt"}), &json!({})),
        None,
    );
    said += &told("half", &kubeconfig(&server, &json!({"client-key-data": "YQ=="})), None);
    said += &told("sni", &kubeconfig(&json!({"server": "https://h", "tls-server-name": "x"}), &json!({})), None);
    let mut dangling = kubeconfig(&server, &json!({}));
    dangling["contexts"][0]["context"]["user"] = "nobody-here".into();
    said += &told("dangling", &dangling, None);
    let mut none_current = kubeconfig(&server, &json!({}));
    none_current["current-context"] = "".into();
    said += &told("none-current", &none_current, None);
    insta::assert_snapshot!("what_is_wrong", said);
    assert!(!said.contains("s3cret"));
}
