//! `stream-upper` changes a response chunk by chunk.

use wasmplugin_host::test::Answer;

use crate::engines::on_every_engine;

on_every_engine! { stream_upper as "stream-upper";
    fn every_chunk_is_in_capitals(proxy) {
        let mut proxy = proxy.upstream(|_| Answer::new(200).chunks(["one, ", "two, ", "three"])).start()?;
        assert_eq!(proxy.get("/").send()?.text(), "ONE, TWO, THREE");
        Ok(())
    }

    fn a_response_larger_than_any_buffer_passes(proxy) {
        let mut proxy = proxy.upstream(|_| Answer::new(200).body("x".repeat(3_000_000))).start()?;
        let answer = proxy.get("/").send()?;
        assert!(answer.body().iter().all(|byte| *byte == b'X'));
        assert_eq!(answer.body().len(), 3_000_000);
        Ok(())
    }

    fn a_response_without_a_body_passes(proxy) {
        let mut proxy = proxy.upstream(|_| Answer::new(204)).start()?;
        assert_eq!(proxy.get("/").send()?.status(), 204);
        Ok(())
    }

    fn trailers_pass(proxy) {
        let mut proxy = proxy.upstream(|_| Answer::new(200).body("abc").trailer("x-sum", "6")).start()?;
        let answer = proxy.get("/").send()?;
        assert_eq!(answer.text(), "ABC");
        assert_eq!(answer.trailer("x-sum"), Some("6"));
        Ok(())
    }
}
