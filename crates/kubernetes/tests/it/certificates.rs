//! Certificates that `openssl` makes for one test.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A directory with an authority, a server's certificate for 127.0.0.1 and a client's, all in PEM.
pub(crate) struct Certificates {
    dir: tempfile::TempDir,
}

impl Certificates {
    pub(crate) fn make() -> Self {
        let made = Self { dir: tempfile::tempdir().expect("a directory") };
        made.authority("ca");
        made.authority("other-ca");
        made.signed("server", "/CN=kube-apiserver", "subjectAltName=IP:127.0.0.1");
        made.signed("client", "/O=viewers/CN=viewer", "extendedKeyUsage=clientAuth");
        made
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn pem(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).expect("it was made")
    }

    fn authority(&self, name: &str) {
        let (key, certificate, subject) = (format!("{name}.key"), format!("{name}.crt"), format!("/CN={name}"));
        let mut arguments =
            vec!["req", "-x509", "-days", "2", "-keyout", &key, "-out", &certificate, "-subj", &subject];
        arguments.extend(NEW_KEY);
        self.openssl(&arguments);
    }

    fn signed(&self, name: &str, subject: &str, extension: &str) {
        let [key, request, certificate] = ["key", "csr", "crt"].map(|end| format!("{name}.{end}"));
        let mut arguments = vec!["req", "-keyout", &key, "-out", &request, "-subj", subject];
        arguments.extend(NEW_KEY);
        self.openssl(&arguments);
        std::fs::write(self.path("extension"), extension).expect("it is written");
        let sign =
            ["x509", "-req", "-in", &request, "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2"];
        self.openssl(&[&sign[..], &["-extfile", "extension", "-out", &certificate]].concat());
    }

    fn openssl(&self, arguments: &[&str]) {
        let done = Command::new("openssl").current_dir(self.dir()).args(arguments).output();
        let done = done.expect("openssl is installed");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
}

const NEW_KEY: [&str; 5] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
