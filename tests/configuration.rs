//! A wrong configuration is refused at the start, with its place, its value and what was expected.

use crate::engines::on_every_engine;

on_every_engine! { probe as "probe";
    fn a_bad_value_three_levels_deep_is_named(proxy) {
        let configuration = serde_json::json!({"routes": [{"retry": {"backoff": "1s"}}, {"retry": {"backoff": "5x"}}]});
        let error = proxy.config(configuration).start().map(drop).unwrap_err().to_string();
        let expected = "invalid plugin configuration at `routes[1].retry.backoff`: invalid duration `5x`, \
                        expected a number with a unit, such as `250ms` or `1.5s`";
        assert!(error.contains(expected), "{error}");
        Ok(())
    }

    fn an_unknown_field_is_named(proxy) {
        let configuration = serde_json::json!({"routes": [{"retry": {"backoff": "1s", "backof": 1}}]});
        let error = proxy.config(configuration).start().map(drop).unwrap_err().to_string();
        assert!(error.contains("at `routes[0].retry.backof`: unknown field"), "{error}");
        Ok(())
    }

    fn what_is_not_json_is_refused(proxy) {
        let error = proxy.raw_config("routes: []").start().map(drop).unwrap_err().to_string();
        assert!(error.contains("invalid plugin configuration"), "{error}");
        Ok(())
    }
}
