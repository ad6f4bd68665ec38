//! Room for many sockets: a test with a thousand exchanges needs more open files than many systems allow at first.

use std::fs;
use std::process::{Command, Stdio};
use std::sync::Once;

/// More than any test here opens.
const ENOUGH: u64 = 16 * 1024;

/// Raises this process's limit of open files as far as the system allows without asking; tries once.
///
/// The system call itself would need `unsafe`, so the tool that every Linux has does it. Where there is none, the
/// limit stays, and only tests with very many exchanges notice.
pub(super) fn allow_many() {
    static TRIED: Once = Once::new();
    TRIED.call_once(|| {
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        let Some((soft, hard)) = open_files(&limits) else { return };
        if soft < ENOUGH && soft < hard {
            let _left_as_it_is = Command::new("prlimit")
                .arg(format!("--pid={}", std::process::id()))
                .arg(format!("--nofile={}:{hard}", ENOUGH.min(hard)))
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
        }
    });
}

/// The soft and the hard limit.
fn open_files(limits: &str) -> Option<(u64, u64)> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    let mut words = line.split_whitespace().map(|word| word.parse().unwrap_or(u64::MAX));
    Some((words.next()?, words.next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read() {
        let limits = "Limit   Soft Limit   Hard Limit   Units\nMax open files    1024    unlimited    files\n";
        assert_eq!(open_files(limits), Some((1024, u64::MAX)));
        assert_eq!(open_files("nothing"), None);
    }
}
