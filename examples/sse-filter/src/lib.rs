//! Masks e-mail addresses in server-sent events and leaves out events by name, while they stream.

use std::rc::Rc;

use wasmplugin::{Done, Http, Request, Result};

/// No event is longer than this, in bytes.
const LONGEST: usize = 64 * 1024;

#[derive(serde::Deserialize)]
struct SseFilter {
    /// Names of events that clients do not get.
    #[serde(default)]
    drop: Vec<String>,
}

impl Http for SseFilter {
    async fn handle(self: Rc<Self>, mut request: Request) -> Result<Done> {
        // What is compressed cannot be read.
        request.remove_header("accept-encoding")?;
        let response = request.forward().await?;
        let kind = response.headers()?.get("content-type").map(|kind| kind.to_string()).unwrap_or_default();
        if !kind.to_ascii_lowercase().starts_with("text/event-stream") {
            return response.pass();
        }
        let mut events = response.into_events(LONGEST)?;
        while let Some(mut event) = events.next().await? {
            if self.drop.iter().any(|name| *name == event.name()) {
                continue;
            }
            if let Some(masked) = masked(&event.data()) {
                event.set_data(masked);
            }
            events.send(event);
        }
        events.pass()
    }
}

/// The text without e-mail addresses; nothing if it has none.
fn masked(text: &str) -> Option<String> {
    let outside = |letter: char| !letter.is_ascii_alphanumeric() && !"@.+-_%".contains(letter);
    let addresses = text.split(outside).filter(|word| {
        let host = word.split_once('@').filter(|(user, _)| !user.is_empty());
        host.is_some_and(|(_, host)| host.trim_end_matches('.').contains('.'))
    });
    let masked = addresses.fold(text.to_owned(), |text, address| text.replace(address.trim_matches('.'), "***"));
    (masked != text).then_some(masked)
}

wasmplugin::plugin!(SseFilter, config = SseFilter);

#[cfg(test)]
mod tests {
    use serde_json::json;
    use wasmplugin_host::test::{Answer, Proxy};

    #[test]
    fn addresses_are_masked_wherever_the_network_cuts() {
        let stream = Answer::new(200).header("content-type", "text/event-stream").chunks([
            "data: write to ada@exa",
            "mple.org, not @home\n",
            "\nevent: debug\ndata: x\n\n: bye\n",
        ]);
        let mut proxy = Proxy::native(super::register)
            .config(json!({"drop": ["debug"]}))
            .upstream(move |_| stream.clone())
            .start()
            .unwrap();
        assert_eq!(proxy.get("/").send().unwrap().text(), "data: write to ***, not @home\n\n: bye\n");
    }
}
