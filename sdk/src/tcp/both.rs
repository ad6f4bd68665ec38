//! A plugin for HTTP and for TCP at once: the place that the proxy has put it in decides.

use std::future::Future;
use std::rc::Rc;

use super::Tcp;
use super::adapter::{Adapter, adapter};
use crate::done::Done;
use crate::error::Result;
use crate::log_entry::LogEntry;
use crate::plugin::{Configured, Http, Instance, Past, shared};
use crate::stream::{Action, Stream};

/// Puts a plugin of both kinds behind the dispatcher.
pub(crate) fn configured<P: Http + Tcp>(plugin: P) -> Configured {
    let plugin = Rc::new(plugin);
    let tcp = adapter(Rc::clone(&plugin), <P as Tcp>::connection, <P as Tcp>::background);
    Configured(Rc::new(Both { http: shared(plugin), tcp }))
}

/// One plugin, seen from two sides.
struct Both<H, P, F, B> {
    http: H,
    tcp: Adapter<P, F, B>,
}

impl<H, P, F, B> Instance for Both<H, P, F, B>
where
    H: Instance,
    P: Tcp,
    F: Future<Output = Result<Done>> + 'static,
    B: Future<Output = Result<()>> + 'static,
{
    fn request_headers(&self, context: u32, root: u32, end: bool) -> (Action, Option<Rc<dyn Stream>>) {
        self.http.request_headers(context, root, end)
    }

    fn response_headers(&self, context: u32, past: Past<'_>, end: bool) -> Action {
        self.http.response_headers(context, past, end)
    }

    fn new_connection(&self, context: u32, root: u32) -> (Action, Option<Rc<dyn Stream>>) {
        self.tcp.new_connection(context, root)
    }

    /// Nothing tells whether an exchange has ended or a connection, so neither kind hears of it.
    fn log(&self, _context: u32, _entry: &LogEntry) {}

    fn begin(&self, root: u32) -> bool {
        self.http.begin(root)
    }
}
