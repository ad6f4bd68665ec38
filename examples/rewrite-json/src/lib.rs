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
