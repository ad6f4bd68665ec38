//! A TCP connection is decided once.

use std::rc::Rc;

use wasmplugin::tcp::Connection;
use wasmplugin::{Done, Result, Tcp};

struct Twice;

impl Tcp for Twice {
    async fn connection(self: Rc<Self>, connection: Connection) -> Result<Done> {
        connection.close()?;
        connection.pass()
    }
}

fn main() {}
