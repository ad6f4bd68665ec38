//! The client's end of a TCP connection through a proxy.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;

use super::driver::Driver;
use super::failure::Failure;
use super::tcp::{TcpEnding, TcpRead, TcpWait};

/// A TCP connection through the proxy that [`Proxy::connect`](super::Proxy::connect) made; it is cut when dropped.
///
/// ```
/// # use wasmplugin_host::test::{Failure, Proxy};
/// # fn test(proxy: &mut Proxy) -> Result<(), Failure> {
/// let mut client = proxy.connect()?;
/// client.send("hello")?;
/// assert_eq!(client.read_exact(5)?, b"hello");
/// client.finish()?;
/// assert_eq!(client.read_to_end()?, b"");
/// # Ok(())
/// # }
/// ```
#[must_use = "the connection is cut when this is dropped"]
pub struct TcpClient {
    driver: Rc<RefCell<Box<dyn Driver>>>,
    number: u64,
    /// What has come, and the test has not read.
    unread: Vec<u8>,
    ending: Option<TcpEnding>,
}

impl TcpClient {
    pub(super) fn new(driver: Rc<RefCell<Box<dyn Driver>>>, number: u64) -> Self {
        Self { driver, number, unread: Vec::new(), ending: None }
    }

    /// Sends bytes.
    pub fn send(&mut self, bytes: impl Into<Bytes>) -> Result<(), Failure> {
        self.driver.borrow_mut().tcp_send(self.number, bytes.into(), false)
    }

    /// Sends no more; bytes of the upstream may still come.
    pub fn finish(&mut self) -> Result<(), Failure> {
        self.driver.borrow_mut().tcp_send(self.number, Bytes::new(), true)
    }

    /// Cuts the connection, as a client that crashes does.
    pub fn reset(self) {}

    /// Waits for so many bytes, no more and no fewer.
    ///
    /// # Errors
    ///
    /// The connection ended before, or nothing comes.
    pub fn read_exact(&mut self, count: usize) -> Result<Vec<u8>, Failure> {
        if self.unread.len() < count && self.ending.is_none() {
            self.wait(TcpWait::Bytes(count - self.unread.len()))?;
        }
        if self.unread.len() < count {
            return Err(match self.ending {
                Some(_) => Failure::Reset(None),
                None => Failure::Hung(Duration::ZERO),
            });
        }
        let rest = self.unread.split_off(count);
        Ok(std::mem::replace(&mut self.unread, rest))
    }

    /// Waits for the end, and returns what came before it.
    ///
    /// # Errors
    ///
    /// The connection stays open, and nothing comes.
    pub fn read_to_end(&mut self) -> Result<Vec<u8>, Failure> {
        self.outcome()?;
        Ok(std::mem::take(&mut self.unread))
    }

    /// Waits for the end, and says how it looked.
    ///
    /// # Errors
    ///
    /// The connection stays open, and nothing comes.
    pub fn outcome(&mut self) -> Result<TcpEnding, Failure> {
        if self.ending.is_none() {
            self.wait(TcpWait::End)?;
        }
        self.ending.ok_or(Failure::Hung(Duration::ZERO))
    }

    /// What has come and was not read yet, after everything that is due now has happened.
    pub fn received(&mut self) -> &[u8] {
        // A connection that is unknown by now has said all that it will.
        let _ = self.wait(TcpWait::Now);
        &self.unread
    }

    /// Whether no more bytes come, after everything that is due now has happened.
    pub fn is_over(&mut self) -> bool {
        let _ = self.wait(TcpWait::Now);
        self.ending.is_some()
    }

    fn wait(&mut self, until: TcpWait) -> Result<(), Failure> {
        if self.ending.is_some() {
            return Ok(());
        }
        let TcpRead { bytes, ending } = self.driver.borrow_mut().tcp_read(self.number, until)?;
        self.unread.extend(bytes);
        self.ending = ending;
        Ok(())
    }
}

impl Drop for TcpClient {
    fn drop(&mut self) {
        self.driver.borrow_mut().tcp_reset(self.number);
    }
}

impl fmt::Debug for TcpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpClient").field("number", &self.number).field("ending", &self.ending).finish_non_exhaustive()
    }
}
