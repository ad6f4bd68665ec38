//! Metrics as Prometheus reads them, under the names that Envoy gives them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::Range;

use regex_lite::Regex;

use crate::abi::MetricKind;
use crate::metrics::{BOUNDS, Sample};

/// What Envoy puts before the name of a plugin's metric, and takes away again where Prometheus reads.
const NAMESPACE: &str = "wasmcustom.";

/// An entry of `stats_config.stats_tags`: makes a label of a part of a metric's name.
#[derive(Debug, Clone)]
pub struct StatsTag {
    name: String,
    pattern: String,
    regex: Regex,
}

impl StatsTag {
    /// The label `name` for what the expression finds: its first group is taken out of the metric's name, its second,
    /// if it has one, is the value.
    ///
    /// # Errors
    ///
    /// The expression cannot be read, or has no group.
    pub fn new(name: impl Into<String>, pattern: impl Into<String>) -> Result<Self, String> {
        let (name, pattern) = (name.into(), pattern.into());
        let regex = Regex::new(&pattern).map_err(|error| format!("the regex of the tag `{name}`: {error}"))?;
        if regex.captures_len() < 2 {
            return Err(format!("the regex of the tag `{name}` has no group: `{pattern}`"));
        }
        Ok(Self { name, pattern, regex })
    }

    /// `tag_name`: the label.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `regex`.
    #[must_use]
    pub fn pattern(&self) -> &str {
        &self.pattern
    }

    /// The value in a metric's full name, and where the name loses it.
    fn find<'a>(&self, name: &'a str) -> Option<(&'a str, Range<usize>)> {
        let groups = self.regex.captures(name)?;
        let removed = groups.get(1)?;
        let value = if groups.len() > 2 { groups.get(2)? } else { removed };
        Some((value.as_str(), removed.range()))
    }
}

/// The page under construction.
#[derive(Debug, Default)]
pub struct Page {
    text: String,
}

impl Page {
    /// The page's text.
    #[must_use]
    pub fn into_text(self) -> String {
        self.text
    }

    /// The plugins' own metrics, with the labels that the tags find in their names.
    ///
    /// Several names may become one that Prometheus understands; of two metrics that cannot be told apart then, or of
    /// different kinds, the first counts.
    pub fn plugins(&mut self, samples: &[Sample], tags: &[StatsTag]) {
        let mut families: BTreeMap<String, BTreeMap<String, &Sample>> = BTreeMap::new();
        for sample in samples {
            let (name, labels) = tagged(&sample.name, tags);
            let family = families.entry(metric_name(&name)).or_default();
            if family.values().next().is_none_or(|first| first.kind == sample.kind) {
                family.entry(labels).or_insert(sample);
            }
        }
        for (name, family) in families {
            let kind = match family.values().next().map(|first| first.kind) {
                Some(MetricKind::Counter) => "counter",
                Some(MetricKind::Gauge) => "gauge",
                Some(MetricKind::Histogram) => {
                    self.line(format_args!("# TYPE {name} histogram"));
                    for (labels, sample) in family {
                        let (below, sum) = (sample.buckets.iter().copied(), sample.sum.to_string());
                        self.samples(&name, &labels, below, sample.value, &sum);
                    }
                    continue;
                }
                None => continue,
            };
            self.family(&name, kind, family.into_iter().map(|(labels, sample)| (labels, sample.value)));
        }
    }

    /// Values of one name, each with its labels.
    pub fn family(&mut self, name: &str, kind: &str, values: impl IntoIterator<Item = (String, u64)>) {
        let mut values = values.into_iter().peekable();
        if values.peek().is_none() {
            return;
        }
        self.line(format_args!("# TYPE {name} {kind}"));
        for (labels, value) in values {
            self.line(format_args!("{name}{{{labels}}} {value}"));
        }
    }

    /// A distribution; `below` is how many samples are at most as large as each of [`BOUNDS`].
    pub fn histogram(&mut self, name: &str, labels: &str, below: impl Iterator<Item = u64>, count: u64, total: &str) {
        self.line(format_args!("# TYPE {name} histogram"));
        self.samples(name, labels, below, count, total);
    }

    fn samples(&mut self, name: &str, labels: &str, below: impl Iterator<Item = u64>, count: u64, total: &str) {
        let comma = if labels.is_empty() { "" } else { "," };
        for (bound, below) in BOUNDS.iter().zip(below) {
            self.line(format_args!("{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {below}"));
        }
        self.line(format_args!("{name}_bucket{{{labels}{comma}le=\"+Inf\"}} {count}"));
        self.line(format_args!("{name}_sum{{{labels}}} {total}"));
        self.line(format_args!("{name}_count{{{labels}}} {count}"));
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = self.text.write_fmt(line);
        self.text.push('\n');
    }
}

/// One label, with what Prometheus would misread in its value escaped.
#[must_use]
pub fn label(name: &str, value: impl ToString) -> String {
    let value = value.to_string().replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("{name}=\"{value}\"")
}

/// A name as Envoy makes it fit: other characters become `_`, and so does a digit in front.
#[must_use]
pub fn metric_name(name: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let mut fitting: String = name.chars().map(|c| if fits(c) { c } else { '_' }).collect();
    if fitting.chars().next().is_none_or(|first| first.is_ascii_digit()) {
        fitting.insert(0, '_');
    }
    fitting
}

/// A metric's name without its labels, and the labels; every tag looks at the whole name, as in Envoy.
fn tagged(name: &str, tags: &[StatsTag]) -> (String, String) {
    let full = format!("{NAMESPACE}{name}");
    let mut labels = Vec::new();
    let mut removed = Vec::new();
    for tag in tags {
        if let Some((value, range)) = tag.find(&full) {
            labels.push(label(&metric_name(&tag.name), value));
            removed.push(range);
        }
    }
    let is_kept = |at: usize| !removed.iter().any(|range| range.contains(&at));
    let rest: String = full.char_indices().filter(|(at, _)| is_kept(*at)).map(|(_, c)| c).collect();
    (rest.strip_prefix(NAMESPACE).unwrap_or(&rest).to_owned(), labels.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_labels_are_made_to_fit() {
        assert_eq!(metric_name("my.counter{a=b}"), "my_counter_a_b_");
        assert_eq!(metric_name("2xx"), "_2xx");
        assert_eq!(label("a", "x\"y\\\n"), r#"a="x\"y\\\n""#);
    }

    #[test]
    fn histograms_end_with_everything() {
        let mut page = Page::default();
        page.histogram("h", "", [1, 1, 3].into_iter(), 6, "9");
        let expected = [
            "# TYPE h histogram",
            "h_bucket{le=\"0.5\"} 1",
            "h_bucket{le=\"1\"} 1",
            "h_bucket{le=\"5\"} 3",
            "h_bucket{le=\"+Inf\"} 6",
            "h_sum{} 9",
            "h_count{} 6",
        ];
        assert_eq!(page.text.lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn tags_become_labels() {
        let sample = |name: &str, value| Sample {
            name: name.to_owned(),
            kind: MetricKind::Counter,
            value,
            sum: 0,
            buckets: Vec::new(),
        };
        let tags = ["method", "code"].map(|name| StatsTag::new(name, format!(r"({name}=\.=(.*?);\.;)")).unwrap());
        let mut page = Page::default();
        page.plugins(&[sample("code=.=200;.;method=.=GET;.;n", 2), sample("code=.=404;.;n", 1), sample("m", 3)], &tags);
        let expected =
            ["# TYPE m counter", "m{} 3", "# TYPE n counter", "n{code=\"404\"} 1", "n{method=\"GET\",code=\"200\"} 2"];
        assert_eq!(page.into_text().lines().collect::<Vec<_>>(), expected);
        assert!(StatsTag::new("a", "b").unwrap_err().contains("has no group"));
        assert!(StatsTag::new("a", "(").is_err());
    }
}
