//! Nothing can be read before the proxy may connect to the upstream.

use std::rc::Rc;

use wasmplugin::tcp::Connection;
use wasmplugin::{Done, Result, Tcp};

struct Early;

impl Tcp for Early {
    async fn connection(self: Rc<Self>, mut connection: Connection) -> Result<Done> {
        connection.peek(4).await?;
        connection.pass()
    }
}

fn main() {}
