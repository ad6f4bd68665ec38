//! Labels of metrics, as Prometheus reads them with the `stats_tags` that the module itself asks for.

use wasmplugin_host::module::Module;

use crate::engines::on_every_engine;

on_every_engine! { labels as "labels";
    fn any_value_comes_out_right(proxy) {
        let values: [(&[u8], &str); 9] = [
            (b"GET", "GET"),
            (b"/a:b c?d=e&f", "/a:b c?d=e&f"),
            (b"say \"hi\"", r#"say \"hi\""#),
            (b"back\\slash", r"back\\slash"),
            ("gr\u{fc}n \u{6c34}".as_bytes(), "gr\u{fc}n \u{6c34}"),
            (b"", ""),
            (b"line\nbreak", "line%0Abreak"),
            (b"x;.;two=.=y;.;", "x%3B.%3Btwo%3D.=y%3B.%3B"),
            (b"\xff%", "%FF%25"),
        ];
        let mut proxy = proxy.stats_tags(tags()).start()?;
        for (value, _) in values {
            proxy.get("/").header("x-one", hexadecimal(value)).header("x-two", hexadecimal(b"two")).send()?;
        }
        let page = proxy.prometheus();
        let mut lines: Vec<_> = page.lines().filter(|line| line.starts_with("label_requests")).collect();
        let mut expected = values.map(|(_, shown)| format!("label_requests{{one=\"{shown}\",two=\"two\"}} 1"));
        lines.sort_unstable();
        expected.sort_unstable();
        assert_eq!(lines, expected);
        Ok(())
    }

    fn gauges_and_histograms_have_labels_too(proxy) {
        let mut proxy = proxy.stats_tags(tags()).start()?;
        proxy.get("/").header("x-one", hexadecimal(b"a.b")).send()?;
        let page = proxy.prometheus();
        for line in [
            "# TYPE label_last gauge",
            "label_last{one=\"a.b\"} 7",
            "label_sizes_bucket{three=\"a.b\",le=\"1\"} 0",
            "label_sizes_bucket{three=\"a.b\",le=\"5\"} 1",
            "label_sizes_count{three=\"a.b\"} 1",
        ] {
            assert!(page.lines().any(|have| have == line), "no `{line}` in {page}");
        }
        Ok(())
    }
}

/// What the module says that the proxy needs.
fn tags() -> Vec<(String, String)> {
    Module::read(PLUGIN.module()).unwrap().info().stats_tags().unwrap()
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
