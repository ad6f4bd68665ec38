//! Marks every JSON object that the upstream answers.

use std::rc::Rc;

use serde_json::{Map, Value};
use wasmplugin::{Done, Http, Request, Result};

struct RewriteJson;

impl Http for RewriteJson {
    async fn handle(self: Rc<Self>, request: Request) -> Result<Done> {
        let response = request.forward().await?;
        let mut body = response.into_body(1 << 20).await?;
        if let Ok(mut object) = body.json::<Map<String, Value>>() {
            object.insert("seen".to_owned(), true.into());
            body.replace_json(&object)?;
        }
        body.pass()
    }
}

wasmplugin::plugin!(RewriteJson);

#[cfg(test)]
mod tests {
    use wasmplugin_host::test::{Answer, Proxy};

    #[test]
    fn an_object_is_marked_and_all_else_stays() {
        let mut proxy = Proxy::native(super::register)
            .upstream(|request| Answer::new(200).body(if request.path() == "/list" { "[1]" } else { r#"{"a":1}"# }))
            .start()
            .unwrap();
        assert_eq!(proxy.get("/object").send().unwrap().text(), r#"{"a":1,"seen":true}"#);
        assert_eq!(proxy.get("/list").send().unwrap().text(), "[1]");
    }
}
