//! What makes labels of the metrics of a module: entries of Envoy's `stats_tags`, in the three forms that Istio takes.
//!
//! A metric of a plugin carries its labels in its name, and Envoy takes them out with one regular expression each. The
//! module knows which (`stats_tags` in its metadata); this says it to the proxy:
//!
//! * [`bootstrap`]: a proxy's own bootstrap;
//! * [`envoy_filter`]: a resource that adds to the bootstraps of a mesh, a namespace, or of some workloads;
//! * [`proxy_config`]: the annotation `proxy.istio.io/config` of a pod, or `defaultConfig` of the mesh.
//!
//! The first two carry the expressions as they are. For the third Istio makes them itself, of the name alone and without
//! an anchor: then a label is also found inside of one whose name ends the same ([`found_in`]).
//!
//! All take effect when a proxy starts; Envoy reads its bootstrap once.

use serde_json::{Value, json};

/// A label, and how it is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatsTag {
    /// `tag_name`: what the label is called.
    pub name: String,
    /// `regex`: its first group is taken out of the name of the metric, its second is the value.
    pub regex: String,
}

/// Reads the tags in a module's metadata, the section that the build has put there; nothing if the module does not say.
#[must_use]
pub fn of_metadata(metadata: &Value) -> Option<Vec<StatsTag>> {
    let tags = metadata.get("stats_tags")?.as_array()?;
    let text = |tag: &Value, field: &str| Some(tag.get(field)?.as_str()?.to_owned());
    tags.iter().map(|tag| Some(StatsTag { name: text(tag, "tag_name")?, regex: text(tag, "regex")? })).collect()
}

/// The part of a bootstrap: `stats_config` with its `stats_tags`, in the order in which the labels are then shown.
#[must_use]
pub fn bootstrap(tags: &[StatsTag]) -> Value {
    let tags = tags.iter().map(|tag| json!({"tag_name": tag.name, "regex": tag.regex}));
    json!({"stats_config": {"stats_tags": tags.collect::<Vec<_>>()}})
}

/// An `EnvoyFilter` that adds the tags to the bootstrap of every proxy that it selects: of the whole mesh in Istio's root
/// namespace, of the namespace elsewhere, of the workloads with these labels where there are some.
#[must_use]
pub fn envoy_filter(name: &str, namespace: &str, labels: &[(&str, &str)], tags: &[StatsTag]) -> Value {
    let patch = json!({"applyTo": "BOOTSTRAP", "patch": {"operation": "MERGE", "value": bootstrap(tags)}});
    let mut spec = json!({"configPatches": [patch]});
    if let (false, Some(spec)) = (labels.is_empty(), spec.as_object_mut()) {
        let labels: serde_json::Map<_, _> =
            labels.iter().map(|(name, value)| ((*name).to_owned(), Value::from(*value))).collect();
        spec.insert("workloadSelector".to_owned(), json!({"labels": labels}));
    }
    json!({
        "apiVersion": "networking.istio.io/v1alpha3",
        "kind": "EnvoyFilter",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    })
}

/// The value of the annotation `proxy.istio.io/config`, which is YAML; the same stands in `meshConfig.defaultConfig`.
#[must_use]
pub fn proxy_config(tags: &[StatsTag]) -> String {
    let names: Vec<_> = tags.iter().filter(|tag| is_in_istios_form(tag)).map(|tag| tag.name.as_str()).collect();
    let mut text = String::from("extraStatTags:\n");
    for name in names {
        // In JSON's quotes, which are YAML's: what a module says of itself is not to end the line.
        text.push_str(&format!("- {}\n", Value::from(name)));
    }
    text
}

/// Whether Istio's own expression for a label of this name finds it: not where the name of the metric has another form,
/// as that of `istio_build`, which Istio's bootstraps take apart without being told.
fn is_in_istios_form(tag: &StatsTag) -> bool {
    tag.regex.contains(&format!(r"({}=\.=", tag.name))
}

/// The other label that Istio's own expression would take for this one, since its name ends the same: `app` is found in
/// `source_app`. Such a label needs [`envoy_filter`] or [`bootstrap`].
#[must_use]
pub fn found_in<'a>(name: &str, tags: &'a [StatsTag]) -> Option<&'a str> {
    let others = tags.iter().map(|tag| tag.name.as_str());
    others.filter(|other| *other != name).find(|other| other.ends_with(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(name: &str) -> StatsTag {
        StatsTag { name: name.to_owned(), regex: format!(r"^wasmcustom\.(?:[^;]*;\.;)*?({name}=\.=([^;]*);\.;)") }
    }

    #[test]
    fn metadata_is_read_whole_or_not_at_all() {
        let metadata = json!({"stats_tags": [{"tag_name": "a", "regex": "b"}]});
        assert_eq!(of_metadata(&metadata), Some(vec![StatsTag { name: "a".into(), regex: "b".into() }]));
        assert_eq!(of_metadata(&json!({"stats_tags": [{"tag_name": "a"}]})), None);
        assert_eq!(of_metadata(&json!({})), None);
    }

    #[test]
    fn a_filter_is_for_the_mesh_or_for_some() {
        let tags = [tag("reporter")];
        let mesh = envoy_filter("stats-tags", "istio-system", &[], &tags);
        assert_eq!(mesh["spec"].get("workloadSelector"), None);
        let patch = &mesh["spec"]["configPatches"][0];
        assert_eq!((&patch["applyTo"], &patch["patch"]["operation"]), (&json!("BOOTSTRAP"), &json!("MERGE")));
        assert_eq!(patch["patch"]["value"]["stats_config"]["stats_tags"][0]["tag_name"], "reporter");
        let some = envoy_filter("stats-tags", "shop", &[("app", "cart")], &tags);
        assert_eq!(some["spec"]["workloadSelector"], json!({"labels": {"app": "cart"}}));
    }

    #[test]
    fn the_annotation_lists_names_that_istio_can_find() {
        let build = StatsTag { name: "tag".into(), regex: r"^wasmcustom\.component\.[^.]*\.(tag\.(.*?);\.)".into() };
        assert_eq!(
            proxy_config(&[tag("reporter"), tag("role"), build]),
            "extraStatTags:\n- \"reporter\"\n- \"role\"\n"
        );
    }

    #[test]
    fn the_annotation_has_a_line_for_each_name_whatever_it_is() {
        let text = proxy_config(&[tag("a\nconcurrency: 1"), tag("true")]);
        assert_eq!(text, "extraStatTags:\n- \"a\\nconcurrency: 1\"\n- \"true\"\n");
    }

    #[test]
    fn a_label_that_ends_another_one_is_told() {
        let tags = ["source_app", "app", "role"].map(tag);
        assert_eq!(found_in("app", &tags), Some("source_app"));
        assert_eq!(found_in("role", &tags), None);
    }
}
