//! Both validators, over the table `validation`.

use serde_json::Value;
use wasmplugin_deploy::admission;
use wasmplugin_deploy::finding::Finding;
use wasmplugin_deploy::source::Source;

use crate::cases;

#[test]
fn both_validators_agree_with_the_table() {
    for case in cases::table("validation") {
        let id = &case["id"];
        let expect = &case["expect"];
        let document = cases::document(&case);
        let kind = document.kind().unwrap();
        let admission = admission::check(&document, kind);
        let (crd, istiod) = (&admission.crd, &admission.istiod);
        assert_eq!(crd.refused.is_empty(), expect["crd"] == "valid", "{id}: {:?}", crd.refused);
        assert_eq!(istiod.refused.is_empty(), expect["istiod"] == "valid", "{id}: {:?}", istiod.refused);
        assert_eq!(admission.is_admitted(), expect["admitted"].as_bool().unwrap(), "{id}");
        for reason in texts(&expect["crd_reasons"]) {
            let path = reason.split_once(": ").unwrap().0;
            assert!(
                crd.refused.iter().any(|finding| dotted(&finding.path) == dotted(path)),
                "{id}: {path} {:?}",
                crd.refused
            );
        }
        holds_all(&istiod.refused, &expect["istiod_message_contains"], id);
        holds_all(&istiod.warned, &expect["istiod_warning_contains"], id);
        let mut pruned: Vec<_> = crd.pruned.iter().map(|finding| finding.path.as_str()).collect();
        pruned.sort_unstable();
        assert_eq!(pruned, texts(&expect["pruned_fields"]), "{id}");
        let decodes = !istiod.refused.iter().any(|finding| finding.code == "istiod-decode");
        assert_eq!(decodes, expect["istiod"] != "decode-error", "{id}");
        assert_eq!(document.extension().is_ok(), admission.is_admitted(), "{id}");
    }
}

#[test]
fn the_rules_that_print_their_own_sentence_print_the_clusters() {
    for case in cases::table("validation") {
        let refused = admission::check(&cases::document(&case), cases::document(&case).kind().unwrap()).crd.refused;
        for reason in texts(&case["expect"]["crd_reasons"]) {
            let (_, sentence) = reason.split_once(": ").unwrap();
            if !sentence.starts_with(['\'', '[', '{']) && !sentence.contains('\'') && !sentence.contains("maximum") {
                assert!(refused.iter().any(|finding| finding.message.contains(sentence)), "{sentence}: {refused:?}");
            }
        }
    }
}

#[test]
fn what_is_admitted_ends_as_the_table_says() {
    for case in cases::table("validation") {
        let Some(effect) = case["expect"]["after_admission"].as_str() else { continue };
        let extension = cases::document(&case).extension().unwrap().unwrap();
        let found = match Source::resolve(&extension.wasm().unwrap().url) {
            Ok(Source::Local { .. }) => "local",
            Ok(Source::Remote(_)) => "remote",
            Err(_) => "dropped",
        };
        assert!(effect.starts_with(found), "{}: {found}", case["id"]);
    }
}

fn holds_all(findings: &[Finding], texts_of: &Value, id: &Value) {
    for text in texts(texts_of) {
        assert!(findings.iter().any(|finding| finding.message.contains(&text)), "{id}: {text} {findings:?}");
    }
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().map(|text| text.as_str().unwrap().to_owned()).collect()
}

/// The table writes members of lists in two ways.
fn dotted(path: &str) -> String {
    path.replace('[', ".").replace(']', "")
}
