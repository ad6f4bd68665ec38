//! Lets TCP clients connect from the networks of a list, and closes all other connections.

use ipnet::IpNet;
use wasmplugin::tcp::{ConnectionHead, TcpFlow};
use wasmplugin::{Result, Tcp};

#[derive(serde::Deserialize)]
struct AllowList {
    allow: Vec<IpNet>,
}

impl Tcp for AllowList {
    fn on_connection(&self, connection: &ConnectionHead) -> Result<TcpFlow> {
        let client = connection.source()?.ip().to_canonical();
        if self.allow.iter().any(|network| network.contains(&client)) {
            return Ok(TcpFlow::Continue);
        }
        log::info!("a connection from {client} was closed");
        Ok(TcpFlow::Close)
    }
}

wasmplugin::plugin!(AllowList: Tcp, config = AllowList);

#[cfg(test)]
mod tests {
    use serde_json::json;
    use wasmplugin_host::test::Proxy;

    #[test]
    fn only_the_networks_of_the_list_get_through() {
        let config = json!({"allow": ["10.0.0.0/8", "fd00::/8"]});
        let mut proxy = Proxy::native(super::register).config(config).tcp_echo().start().unwrap();
        let mut answer = |from: &str| {
            let mut client = proxy.connect_from(from.parse().unwrap()).unwrap();
            client.send("hello").unwrap();
            client.finish().unwrap();
            client.read_to_end().unwrap()
        };
        assert_eq!(answer("10.1.2.3:5000"), b"hello");
        assert_eq!(answer("[fd00::1]:5000"), b"hello");
        assert_eq!(answer("[::ffff:10.1.2.3]:5000"), b"hello");
        assert_eq!(answer("11.1.2.3:5000"), b"");
        assert_eq!(answer("[fe80::1]:5000"), b"");
        assert_eq!(proxy.upstream_connections().len(), 3);
    }
}
