//! The command as a process: what it prints, and how it ends.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread;

/// What is left of a run.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Run {
    /// The one message of a failure; nothing else may stand on the standard error, nothing on the other.
    pub(crate) fn message(&self) -> &str {
        assert_eq!(self.code, Some(1), "{self:#?}");
        assert_eq!(self.out, "", "{self:#?}");
        let message = self.err.strip_prefix("error: ").unwrap_or_else(|| panic!("a message is expected: {self:#?}"));
        assert!(!message.contains("error: "), "{self:#?}");
        message
    }
}

/// Runs in the workspace to its end.
pub(crate) fn wasmplugin(arguments: &[&str]) -> Run {
    finish(&mut command(arguments))
}

/// Runs in the folder of another package, which is compiled into the workspace's target folder.
pub(crate) fn wasmplugin_in(folder: &Path, arguments: &[&str]) -> Run {
    finish(command(arguments).current_dir(folder).env("CARGO_TARGET_DIR", target()))
}

/// The folder that cargo has built the command into.
pub(crate) fn target() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap()
}

/// Runs a command to its end.
pub(crate) fn finish(command: &mut Command) -> Run {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Run { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// A run that goes on until it is interrupted; killed if the test fails before.
#[derive(Debug)]
pub(crate) struct Going {
    child: Child,
    /// The lines that it prints, read at once: it never waits for its reader.
    lines: Receiver<String>,
    /// What of it has been looked at.
    pub(crate) seen: String,
}

impl Going {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::of(&mut command(arguments))
    }

    pub(crate) fn of(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            let mut line = String::new();
            while matches!(out.read_line(&mut line), Ok(length) if length > 0) {
                // Whoever does not listen any more has seen enough.
                let _unheard = sender.send(std::mem::take(&mut line));
            }
        });
        Self { child, lines, seen: String::new() }
    }

    /// Reads up to a line with that text, and returns the line.
    pub(crate) fn line_with(&mut self, text: &str) -> String {
        loop {
            let line = self.lines.recv().unwrap_or_else(|_| panic!("no line with `{text}` in {}", self.seen));
            self.seen.push_str(&line);
            if line.contains(text) {
                return line;
            }
        }
    }

    /// Presses Ctrl-C and waits for the end.
    pub(crate) fn interrupt(self) -> Option<i32> {
        self.interrupt_and_read().0
    }

    /// The same, and all that it has said.
    pub(crate) fn interrupt_and_read(mut self) -> (Option<i32>, String) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
        self.seen.extend(self.lines.iter());
        let code = self.child.wait().unwrap().code();
        (code, std::mem::take(&mut self.seen))
    }
}

impl Drop for Going {
    fn drop(&mut self) {
        // It may have ended already, as it should.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// The first `host:port` after `http://` in a line.
pub(crate) fn address(line: &str) -> &str {
    let (_, rest) = line.split_once("http://").unwrap();
    rest.split(['/', ',', ' ', '\n']).next().unwrap()
}

/// A file for one test; removed at its end.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str, bytes: impl AsRef<[u8]>) -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("wasmplugin-cli-{}-{number}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join(name), bytes).unwrap();
        Self(folder.join(name))
    }

    pub(crate) fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }

    /// Puts other bytes in its place at once: nobody sees half of them.
    pub(crate) fn replace(&self, bytes: impl AsRef<[u8]>) {
        let new = self.0.with_extension("new");
        std::fs::write(&new, bytes).unwrap();
        std::fs::rename(new, &self.0).unwrap();
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left in the temporary folder does no harm.
        let _removed = std::fs::remove_dir_all(self.0.parent().unwrap());
    }
}

/// The workspace's folder.
pub(crate) fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The command in the workspace, not started yet.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cargo-wasmplugin"));
    command.args(arguments).current_dir(workspace());
    command
}
