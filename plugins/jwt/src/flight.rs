//! One fetch of a key set, which everybody who needs the set waits for.

use std::rc::Rc;

use istio_core::jwt::{Fetch, KeySetId, MAX_KEY_SET_BYTES, Progress};
use wasmplugin::callout::Answer;
use wasmplugin::shielded::shielded;
use wasmplugin::time::now;
use wasmplugin::{Cluster, Error, Result};

use crate::Jwt;

/// A fetch under way; when dropped, however it ended, who waits for it is woken.
pub(crate) struct Flight {
    plugin: Rc<Jwt>,
    fetch: Fetch,
    landed: bool,
}

impl Flight {
    /// Begins to fetch a set, unless a fetch is under way or the last one has just failed. The fetch goes on when the
    /// request that needed it first is gone.
    pub(crate) fn begin(plugin: &Rc<Jwt>, set: KeySetId) {
        let fetch = plugin.authenticator.borrow_mut().begin_fetch(set, now());
        if let Some(fetch) = fetch {
            let flight = Self { plugin: Rc::clone(plugin), fetch, landed: false };
            drop(shielded(flight.run()));
        }
    }

    async fn run(mut self) {
        while !self.landed {
            let answer = ask(&self.fetch).await;
            self.take(answer.as_ref());
        }
    }

    /// Takes an answer in, which may ask for another one.
    fn take(&mut self, answer: Result<&Answer, &Error>) {
        let mut authenticator = self.plugin.authenticator.borrow_mut();
        let read = answer.ok().map(|answer| (answer.status(), answer.body()));
        let progress = authenticator.finish_fetch(&self.fetch, read, now());
        self.plugin.metrics.count(authenticator.take_counts());
        match progress {
            Progress::Fetched => self.landed = true,
            Progress::Next(fetch) => self.fetch = fetch,
            Progress::Failed => {
                self.landed = true;
                let why = match answer {
                    Ok(answer) if answer.status() == 200 => "the answer is unusable".to_owned(),
                    Ok(answer) => format!("status {}", answer.status()),
                    Err(error) => error.to_string(),
                };
                let Fetch { scheme, authority, path, .. } = &self.fetch;
                log::warn!("keys could not be fetched from `{scheme}://{authority}{path}`: {why}");
            }
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        if !self.landed {
            self.plugin.authenticator.borrow_mut().finish_fetch(&self.fetch, None, now());
        }
        self.plugin.landed.set(());
    }
}

async fn ask(fetch: &Fetch) -> Result<Answer> {
    let call = Cluster::named(fetch.cluster.as_str())?.get(&fetch.path).authority(fetch.authority.as_str());
    Ok(call.timeout(fetch.timeout).max_body(MAX_KEY_SET_BYTES).send().await?)
}
