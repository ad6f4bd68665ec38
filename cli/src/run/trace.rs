//! What `--trace` prints: the timeline of each exchange, once it is over.

use anyhow::Result;
use wasmplugin_host::recording::Recorder;

use crate::output;

/// Prints what a recorder has kept; one per proxy.
#[derive(Debug, Default)]
pub(super) struct Trace {
    /// How far the recorder was read.
    version: u64,
    /// The latest exchange that was seen.
    serial: u64,
}

impl Trace {
    /// Prints the exchanges that have ended meanwhile, under the name of their proxy, if there are several.
    pub(super) fn show(&mut self, recorder: &Recorder, name: &str) -> Result<()> {
        let (recordings, version) = recorder.changed_since(self.version);
        self.version = version;
        let prefix = if name.is_empty() { String::new() } else { format!("{name} ") };
        for recording in recordings {
            let lost = recording.serial.saturating_sub(self.serial + 1);
            if lost > 0 {
                output::print(&format!(
                    "{prefix}{lost} exchanges are not shown, because there were too many at once\n\n"
                ))?;
            }
            self.serial = self.serial.max(recording.serial);
            if recording.end.is_some() {
                output::print(&format!("{prefix}{recording}\n"))?;
            }
        }
        Ok(())
    }
}
