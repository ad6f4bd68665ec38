//! Header maps: bytes first, several lines of one name, read once and written through.

use bytes::Bytes;

use crate::engines::on_every_engine;

on_every_engine! { probe as "probe";
    fn repeated_lines_odd_bytes_and_empty_values_arrive(proxy) {
        let mut proxy = proxy.start()?;
        let answer = proxy
            .get("/headers")
            .header("x-many", "one")
            .header("X-Many", "two")
            .header("x-bytes", Bytes::from_static(b"\xff\xfe"))
            .header("x-empty", "")
            .send()?;
        assert_eq!(answer.status(), 200);
        let [request] = &proxy.upstream_requests()[..] else { panic!("one request reaches the upstream") };
        let seen = |name: &str| request.headers().all(name).join(" ");
        assert_eq!(seen("x-all"), "one|two");
        assert_eq!(seen("x-refused"), "true");
        assert_eq!(seen("x-escaped"), r"\xff\xfe");
        assert_eq!(seen("x-empty-seen"), "true");
        assert_eq!(seen("x-many"), "");
        assert_eq!(seen("x-new"), "1 2");
        assert_eq!(seen("x-after"), "2");
        Ok(())
    }

    fn many_headers_arrive(proxy) {
        let mut proxy = proxy.start()?;
        let mut request = proxy.get("/headers");
        for number in 0..80 {
            request = request.header("x-many", number.to_string());
        }
        assert_eq!(request.send()?.status(), 200);
        let all: Vec<_> = (0..80).map(|number: u32| number.to_string()).collect();
        assert_eq!(proxy.upstream_requests()[0].header("x-all"), Some(all.join("|").as_str()));
        Ok(())
    }
}
