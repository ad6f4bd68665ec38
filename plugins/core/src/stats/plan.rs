//! What the configuration makes of the standard metrics: which there are, with which labels, and what they need.

use super::config::{Config, Definition, Kind, Override};
use super::metric::{Group, PREFIX, Standard};
use super::tag::{Profile, Tag};

/// Where a label's value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The facts that every stream has.
    Tag(Tag),
    /// An expression, by its place in [`Plan::expressions`].
    Expression(usize),
    /// A text of the configuration's.
    Constant(Box<str>),
}

/// Where a sample comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sample {
    /// What the standard metric counts.
    Standard(Standard),
    /// An expression, by its place in [`Plan::values`].
    Expression(usize),
    /// A number of the configuration's.
    Constant(i64),
}

/// A metric with its labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metric {
    /// Its name without `istio_`.
    pub name: Box<str>,
    /// What it does with samples.
    pub kind: Kind,
    /// Where these come from.
    pub sample: Sample,
    /// Its labels, in the order in which they are written.
    pub labels: Vec<(Box<str>, Source)>,
}

impl Metric {
    /// Its whole name.
    #[must_use]
    pub fn full_name(&self) -> String {
        format!("{PREFIX}{}", self.name)
    }
}

/// The metrics that a stream of a kind is counted in, and what their labels need.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metrics {
    /// The metrics.
    pub all: Vec<Metric>,
    /// The standard labels that any of them has.
    pub tags: Vec<Tag>,
    /// The expressions for labels that any of them has, by their places in [`Plan::expressions`].
    pub expressions: Vec<usize>,
}

/// What the host makes an expression for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// A label, whose value is shown as a text.
    Label,
    /// A sample, which is a whole number.
    Sample,
}

/// All metrics, with the expressions that they need.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    requests: Metrics,
    messages: Metrics,
    connections: Metrics,
    expressions: Vec<String>,
    values: Vec<String>,
    warnings: Vec<String>,
}

impl Plan {
    /// Makes the plan. `parses` is asked about each expression once, in the order of [`expressions`](Self::expressions)
    /// and [`values`](Self::values); of one that the host cannot parse, the label or metric is left out, as in Istio.
    pub fn new(config: &Config, parses: &mut dyn FnMut(Use, &str) -> bool) -> Self {
        let mut plan = Self::default();
        let mut drafts: Vec<Draft> = Standard::ALL.map(|metric| Draft::standard(metric, config.profile)).into();
        for definition in &config.definitions {
            if Standard::ALL.iter().any(|metric| metric.name() == definition.name) {
                plan.warn(format!("the metric `{}` is Istio's and cannot be defined anew", definition.name));
            } else if let Some(sample) = plan.sample(&definition.value, parses) {
                drafts.push(Draft::custom(definition, sample));
            }
        }
        for change in &config.metrics {
            plan.apply(change, &mut drafts, parses);
        }
        for group in Group::ALL {
            *plan.metrics_mut(group) = Metrics::of(drafts.iter().filter_map(|draft| draft.finish(group)).collect());
        }
        plan
    }

    /// The metrics of a kind of stream.
    #[must_use]
    pub fn metrics(&self, group: Group) -> &Metrics {
        match group {
            Group::Requests => &self.requests,
            Group::Messages => &self.messages,
            Group::Connections => &self.connections,
        }
    }

    /// The expressions for labels; equal ones stand here once.
    #[must_use]
    pub fn expressions(&self) -> &[String] {
        &self.expressions
    }

    /// The expressions for samples.
    #[must_use]
    pub fn values(&self) -> &[String] {
        &self.values
    }

    /// What in the configuration has no effect.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The names of all labels that any metric has, Istio's in the order in which they are shown.
    #[must_use]
    pub fn label_names(&self) -> Vec<&str> {
        let metrics = Group::ALL.into_iter().flat_map(|group| &self.metrics(group).all);
        let mut names: Vec<&str> = metrics.flat_map(|metric| metric.labels.iter().map(|(name, _)| &**name)).collect();
        let place = |name: &str| super::tag::SHOWN.iter().position(|tag| tag.name() == name);
        names.sort_by_key(|name| (place(name).unwrap_or(usize::MAX), *name));
        names.dedup();
        names
    }

    fn metrics_mut(&mut self, group: Group) -> &mut Metrics {
        match group {
            Group::Requests => &mut self.requests,
            Group::Messages => &mut self.messages,
            Group::Connections => &mut self.connections,
        }
    }

    fn apply(&mut self, change: &Override, drafts: &mut [Draft], parses: &mut dyn FnMut(Use, &str) -> bool) {
        if !change.name.is_empty() && !drafts.iter().any(|draft| draft.name == change.name) {
            self.warn(format!("there is no metric `{}`; leave `istio_` out of the name", change.name));
        }
        if !change.condition.is_empty() {
            self.warn(format!("`match: {}` has no effect, as in Istio", change.condition));
        }
        if change.drop && change.name.is_empty() {
            self.warn("`drop` without a `name` drops nothing, as in Istio".to_owned());
        }
        let added: Vec<_> = change.dimensions.iter().map(|(tag, text)| (tag, self.source(text, parses))).collect();
        let meant = |draft: &&mut Draft| change.name.is_empty() || draft.name == change.name;
        for draft in drafts.iter_mut().filter(meant) {
            draft.dropped |= change.drop && !change.name.is_empty();
            for tag in &change.tags_to_remove {
                draft.set(tag, None);
            }
            for (tag, source) in &added {
                draft.set(tag, source.clone());
            }
        }
    }

    /// Where a label's value comes from, unless its expression cannot be parsed.
    fn source(&mut self, text: &str, parses: &mut dyn FnMut(Use, &str) -> bool) -> Option<Source> {
        if let Some(literal) = literal(text) {
            return Some(Source::Constant(literal.into()));
        }
        let known = self.expressions.iter().position(|known| known == text);
        known.or_else(|| self.accept(Use::Label, text, parses)).map(Source::Expression)
    }

    fn sample(&mut self, text: &str, parses: &mut dyn FnMut(Use, &str) -> bool) -> Option<Sample> {
        if let Ok(number) = text.trim().parse() {
            return Some(Sample::Constant(number));
        }
        let known = self.values.iter().position(|known| known == text);
        known.or_else(|| self.accept(Use::Sample, text, parses)).map(Sample::Expression)
    }

    fn accept(&mut self, role: Use, text: &str, parses: &mut dyn FnMut(Use, &str) -> bool) -> Option<usize> {
        if !parses(role, text) {
            self.warn(format!("`{text}` is not an expression in CEL; what it is for is left out"));
            return None;
        }
        let list = if role == Use::Label { &mut self.expressions } else { &mut self.values };
        list.push(text.to_owned());
        Some(list.len() - 1)
    }

    fn warn(&mut self, warning: String) {
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }
}

impl Metrics {
    fn of(all: Vec<Metric>) -> Self {
        let sources = || all.iter().flat_map(|metric| &metric.labels).map(|(_, source)| source);
        let mut tags: Vec<Tag> =
            sources().filter_map(|source| if let Source::Tag(tag) = source { Some(*tag) } else { None }).collect();
        let mut expressions: Vec<usize> =
            sources().filter_map(|source| if let Source::Expression(at) = source { Some(*at) } else { None }).collect();
        tags.sort_unstable();
        tags.dedup();
        expressions.sort_unstable();
        expressions.dedup();
        Self { all, tags, expressions }
    }
}

/// A metric while the configuration is applied.
struct Draft {
    name: String,
    kind: Kind,
    sample: Sample,
    dropped: bool,
    /// Istio's labels keep their places, even when they are taken away and come back.
    standard: [Option<Source>; 25],
    added: Vec<(String, Source)>,
}

impl Draft {
    fn standard(metric: Standard, profile: Profile) -> Self {
        Self {
            name: metric.name().to_owned(),
            kind: metric.kind(),
            sample: Sample::Standard(metric),
            dropped: false,
            standard: Tag::ALL.map(|tag| (metric.has(tag) && profile.has(tag)).then_some(Source::Tag(tag))),
            added: Vec::new(),
        }
    }

    /// A metric of the configuration's has no labels but those it is given.
    fn custom(definition: &Definition, sample: Sample) -> Self {
        Self {
            name: definition.name.clone(),
            kind: definition.kind,
            sample,
            dropped: false,
            standard: [const { None }; 25],
            added: Vec::new(),
        }
    }

    fn set(&mut self, label: &str, source: Option<Source>) {
        if let Some(slot) = Tag::named(label).and_then(|tag| self.standard.get_mut(tag as usize)) {
            *slot = source;
            return;
        }
        let Some(source) = source else { return self.added.retain(|(name, _)| name != label) };
        match self.added.iter_mut().find(|(name, _)| name == label) {
            Some((_, known)) => *known = source,
            None => self.added.push((label.to_owned(), source)),
        }
    }

    /// The metric as streams of this kind are counted in it, if they are.
    fn finish(&self, group: Group) -> Option<Metric> {
        let counted = match self.sample {
            Sample::Standard(metric) => metric.group() == group,
            Sample::Expression(_) | Sample::Constant(_) => group != Group::Messages,
        };
        let standard = Tag::ALL.iter().zip(&self.standard);
        let standard = standard.filter_map(|(tag, source)| Some((tag.name().into(), source.clone()?)));
        let added = self.added.iter().map(|(name, source)| (name.as_str().into(), source.clone()));
        (counted && !self.dropped).then(|| Metric {
            name: self.name.as_str().into(),
            kind: self.kind,
            sample: self.sample,
            labels: standard.chain(added).collect(),
        })
    }
}

/// The text that an expression stands for which is nothing but a text.
fn literal(expression: &str) -> Option<&str> {
    let text = expression.trim();
    let quote = text.chars().next().filter(|quote| matches!(quote, '\'' | '"'))?;
    let inner = text.strip_prefix(quote)?.strip_suffix(quote)?;
    (!inner.contains([quote, '\\', '\n', '\r'])).then_some(inner)
}
