//! Debian's `docker-registry` in a process of its own, open or with a password, in plain HTTP or with TLS.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// The user of a registry with a password.
pub(crate) const USER: &str = "alice";
/// Her password.
pub(crate) const PASSWORD: &str = "wonderland";

/// What a registry asks for.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Kind {
    /// A user and a password.
    pub(crate) password: bool,
    /// TLS, with a certificate of its own authority.
    pub(crate) tls: bool,
}

/// A running registry; it ends with its value.
#[derive(Debug)]
pub(crate) struct RealRegistry {
    child: Child,
    port: u16,
    folder: TempDir,
}

impl RealRegistry {
    pub(crate) fn start(kind: Kind) -> Self {
        let folder = TempDir::new().unwrap();
        // Another process may take the port before the registry does.
        for _ in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let mut child = spawn(&folder, port, kind);
            if listens(&mut child, port) {
                return Self { child, port, folder };
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        panic!("docker-registry does not start");
    }

    /// Its host, as a reference names it.
    pub(crate) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The certificate authority of one with TLS.
    pub(crate) fn authority(&self) -> PathBuf {
        self.folder.path().join("tls.crt")
    }

    /// The files of the blobs that it keeps.
    pub(crate) fn blobs(&self) -> PathBuf {
        self.folder.path().join("data/docker/registry/v2/blobs/sha256")
    }

    /// Dies at once, in the middle of whatever it does.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for RealRegistry {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(folder: &TempDir, port: u16, kind: Kind) -> Child {
    let path = |name: &str| folder.path().join(name).display().to_string();
    let mut config = format!(
        "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n\
         storage: {{filesystem: {{rootdirectory: '{}'}}, delete: {{enabled: true}}}}\n\
         http: {{addr: '127.0.0.1:{port}', secret: x",
        path("data")
    );
    if kind.tls {
        make_certificate(folder.path());
        config.push_str(&format!(", tls: {{certificate: '{}', key: '{}'}}", path("tls.crt"), path("tls.key")));
    }
    config.push_str("}\n");
    if kind.password {
        let line = run("htpasswd", "apache2-utils", &["-Bbn", USER, PASSWORD]);
        fs::write(folder.path().join("htpasswd"), line).unwrap();
        config.push_str(&format!("auth: {{htpasswd: {{realm: test, path: '{}'}}}}\n", path("htpasswd")));
    }
    fs::write(folder.path().join("config.yml"), config).unwrap();
    Command::new("docker-registry")
        .args(["serve", &path("config.yml")])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| missing("docker-registry", "docker-registry", &error))
}

fn listens(child: &mut Child, port: u16) -> bool {
    let patience = Instant::now() + Duration::from_secs(20);
    while Instant::now() < patience && child.try_wait().unwrap().is_none() {
        if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}

fn make_certificate(folder: &Path) {
    let path = |name: &str| folder.join(name).display().to_string();
    run(
        "openssl",
        "openssl",
        &[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=test",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
            "-keyout",
            &path("tls.key"),
            "-out",
            &path("tls.crt"),
        ],
    );
}

/// Runs a tool to its end; it must succeed.
pub(crate) fn run(tool: &str, package: &str, arguments: &[&str]) -> String {
    let output = Command::new(tool)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| missing(tool, package, &error));
    assert!(output.status.success(), "{tool} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// `skopeo`, another client of registries.
pub(crate) fn skopeo(arguments: &[&str]) -> String {
    run("skopeo", "skopeo", arguments)
}

fn missing(tool: &str, package: &str, error: &std::io::Error) -> ! {
    panic!("`{tool}` cannot be run ({error}): type `sudo apt-get install {package}`");
}
