//! `tcp-allow-list` closes connections from elsewhere than its networks.

use serde_json::json;

use crate::engines::on_every_engine;

on_every_engine! { tcp_allow_list as "tcp-allow-list";
    fn a_client_of_the_list_gets_through(proxy) {
        let mut proxy = proxy.config(json!({"allow": ["10.0.0.0/8", "fd00::/8"]})).tcp_echo().start()?;
        for from in ["10.9.8.7:5000", "[fd00::7]:5000"] {
            let mut client = proxy.connect_from(from.parse()?)?;
            client.send("hello")?;
            assert_eq!(client.read_exact(5)?, b"hello");
            client.finish()?;
            assert_eq!(client.read_to_end()?, b"");
        }
        assert_eq!(proxy.upstream_connections().len(), 2);
        assert_eq!(proxy.findings(), []);
        Ok(())
    }

    fn another_client_is_closed_before_the_upstream_hears_of_it(proxy) {
        let mut proxy = proxy.config(json!({"allow": ["10.0.0.0/8"]})).tcp_echo().start()?;
        for from in ["11.9.8.7:5000", "[fd00::7]:5000"] {
            let mut client = proxy.connect_from(from.parse()?)?;
            assert_eq!(client.read_to_end()?, b"");
        }
        assert_eq!(proxy.upstream_connections(), []);
        assert!(proxy.logs().iter().any(|line| line.text == "a connection from 11.9.8.7 was closed"));
        Ok(())
    }

    fn an_empty_list_lets_nobody_through(proxy) {
        let mut proxy = proxy.config(json!({"allow": []})).tcp_echo().start()?;
        assert_eq!(proxy.connect()?.read_to_end()?, b"");
        assert_eq!(proxy.upstream_connections(), []);
        Ok(())
    }

    fn what_is_no_network_is_refused(proxy) {
        let error = proxy.config(json!({"allow": ["10.0.0.0/33"]})).tcp_echo().start().map(drop).unwrap_err();
        assert!(error.to_string().contains("allow[0]"), "{error}");
        Ok(())
    }
}
