//! One `AuthorizationPolicy` as written, field by field as Istio's API has it.

use std::borrow::Cow;

use crate::finding::{At, Finding};
use crate::json::{Json, list, map, member, once, unknown};
use crate::rbac::field::Field;
use crate::rbac::policy::Action;
use crate::target::TargetRef;

/// The annotation that makes a policy report instead of decide.
pub(in crate::rbac) const DRY_RUN: &str = "istio.io/dry-run";

/// A text of the configuration.
type Text<'j> = Cow<'j, str>;

/// An `AuthorizationPolicy` object. What Kubernetes adds to an object (`status`, and much in `metadata`) is passed over.
#[derive(Debug, Default)]
pub(in crate::rbac) struct Policy<'j> {
    /// The name, part of the reported policy id.
    pub(in crate::rbac) name: Text<'j>,
    /// The namespace, part of the reported policy id and the home of bare service account names.
    pub(in crate::rbac) namespace: Text<'j>,
    /// The annotation [`DRY_RUN`].
    pub(in crate::rbac) dry_run: Option<Text<'j>>,
    /// The labels that a workload must have.
    pub(in crate::rbac) selector: Option<Vec<(String, Text<'j>)>>,
    /// The gateways, or what lies behind a waypoint, that it is attached to.
    pub(in crate::rbac) targets: Vec<TargetRef>,
    /// The rules, any of which makes the policy match; a null one is skipped.
    pub(in crate::rbac) rules: Vec<Option<Rule<'j>>>,
    /// What a match does.
    pub(in crate::rbac) action: Action,
    /// Whom a `CUSTOM` policy asks.
    pub(in crate::rbac) provider: Option<Text<'j>>,
}

/// One rule: some source, some operation and every condition.
#[derive(Debug, Default)]
pub(in crate::rbac) struct Rule<'j> {
    /// Who; any entry suffices.
    pub(in crate::rbac) from: Vec<Lists<'j>>,
    /// What; any entry suffices.
    pub(in crate::rbac) to: Vec<Lists<'j>>,
    /// Under which circumstances; all entries are needed.
    pub(in crate::rbac) when: Vec<Condition<'j>>,
}

/// A source or an operation: all its lists are needed, of each some value. None where it is not there.
pub(in crate::rbac) type Lists<'j> = Option<Vec<Listed<'j>>>;

/// One list of values.
#[derive(Debug)]
pub(in crate::rbac) struct Listed<'j> {
    /// Its name, such as `notPaths`.
    pub(in crate::rbac) name: &'static str,
    /// What it looks at.
    pub(in crate::rbac) field: Field,
    /// Whether none of the values may match.
    pub(in crate::rbac) negated: bool,
    /// The values.
    pub(in crate::rbac) values: Vec<Text<'j>>,
}

/// One `when`: an attribute, values that it must have and values that it must not have.
#[derive(Debug, Default)]
pub(in crate::rbac) struct Condition<'j> {
    /// The name of the attribute, such as `request.headers[x-tenant]`.
    pub(in crate::rbac) key: Text<'j>,
    /// Some of these.
    pub(in crate::rbac) values: Vec<Text<'j>>,
    /// None of these.
    pub(in crate::rbac) not_values: Vec<Text<'j>>,
}

impl<'j> Policy<'j> {
    /// Reads one object of the list.
    pub(super) fn read(json: &mut Json<'j>, at: At<'_>) -> Result<Self, Finding> {
        let mut policy = Self::default();
        let (mut metadata, mut spec, mut kind) = (None, None, None);
        json.object(at, &mut |json, name, at| match name {
            "metadata" => once(&mut metadata, json, at, |json, at| policy.metadata(json, at)),
            "spec" => once(&mut spec, json, at, |json, at| policy.spec(json, at)),
            "kind" => once(&mut kind, json, at, |json, at| match &*json.text(at)? {
                "AuthorizationPolicy" => Ok(()),
                other => Err(at.finding(format!("`{other}` is not `AuthorizationPolicy`"))),
            }),
            "apiVersion" | "status" => json.skip(at),
            _ => unknown(at),
        })?;
        let at = At::Field(&at, "metadata");
        metadata.ok_or_else(|| at.finding("must be given"))?;
        for (name, value) in [("name", &policy.name), ("namespace", &policy.namespace)] {
            if value.is_empty() {
                return Err(At::Field(&at, name).finding("must not be empty"));
            }
            if value.contains('/') {
                return Err(At::Field(&at, name).finding(format!("`{value}` must not contain `/`")));
            }
        }
        Ok(policy)
    }

    fn metadata(&mut self, json: &mut Json<'j>, at: At<'_>) -> Result<(), Finding> {
        let (mut name, mut namespace, mut annotations) = (None, None, None);
        json.object(at, &mut |json, member, at| match member {
            "name" => once(&mut name, json, at, Json::text),
            "namespace" => once(&mut namespace, json, at, Json::text),
            "annotations" => once(&mut annotations, json, at, |json, at| map(json, at, Json::text)),
            _ => json.skip(at),
        })?;
        self.name = name.unwrap_or_default();
        self.namespace = namespace.unwrap_or_default();
        self.dry_run = annotations.as_deref().and_then(|annotations| member(annotations, DRY_RUN)).cloned();
        Ok(())
    }

    fn spec(&mut self, json: &mut Json<'j>, at: At<'_>) -> Result<(), Finding> {
        let (mut target, mut targets, mut rules, mut action, mut provider) = (None, None, None, None, None);
        json.object(at, &mut |json, name, at| match name {
            "selector" => once(&mut self.selector, json, at, selector),
            "targetRef" => once(&mut target, json, at, TargetRef::read),
            "targetRefs" => once(&mut targets, json, at, |json, at| list(json, at, TargetRef::read)),
            "rules" => once(&mut rules, json, at, |json, at| list(json, at, rule)),
            "action" => once(&mut action, json, at, read_action),
            "provider" => once(&mut provider, json, at, provider_name),
            _ => unknown(at),
        })?;
        self.targets = targets.unwrap_or_default();
        self.targets.extend(target);
        self.rules = rules.unwrap_or_default();
        self.action = action.unwrap_or_default();
        self.provider = provider;
        Ok(())
    }
}

fn selector<'j>(json: &mut Json<'j>, at: At<'_>) -> Result<Vec<(String, Text<'j>)>, Finding> {
    let mut labels = None;
    json.object(at, &mut |json, name, at| match name {
        "matchLabels" => once(&mut labels, json, at, |json, at| map(json, at, Json::text)),
        _ => unknown(at),
    })?;
    let labels = labels.unwrap_or_default();
    for (name, value) in &labels {
        if name.is_empty() || name.contains('*') || value.contains('*') {
            let at = At::Field(&at, "matchLabels");
            return Err(At::Member(&at, name).finding("a label has a name, and no wildcards"));
        }
    }
    Ok(labels)
}

fn read_action(json: &mut Json<'_>, at: At<'_>) -> Result<Action, Finding> {
    match &*json.text(at)? {
        "ALLOW" => Ok(Action::Allow),
        "DENY" => Ok(Action::Deny),
        "AUDIT" => Ok(Action::Audit),
        "CUSTOM" => Ok(Action::Custom),
        other => Err(at.finding(format!("`{other}` is none of `ALLOW`, `DENY`, `AUDIT` and `CUSTOM`"))),
    }
}

fn provider_name<'j>(json: &mut Json<'j>, at: At<'_>) -> Result<Text<'j>, Finding> {
    let mut provider = None;
    json.object(at, &mut |json, name, at| match name {
        "name" => once(&mut provider, json, at, Json::text),
        _ => unknown(at),
    })?;
    provider
        .filter(|name| !name.is_empty())
        .ok_or_else(|| At::Field(&at, "name").finding("must be given, and not empty"))
}

fn rule<'j>(json: &mut Json<'j>, at: At<'_>) -> Result<Option<Rule<'j>>, Finding> {
    if json.null()? {
        return Ok(None);
    }
    let (mut from, mut to, mut when) = (None, None, None);
    json.object(at, &mut |json, name, at| match name {
        "from" => once(&mut from, json, at, |json, at| list(json, at, source)),
        "to" => once(&mut to, json, at, |json, at| list(json, at, operation)),
        "when" => once(&mut when, json, at, |json, at| list(json, at, condition)),
        _ => unknown(at),
    })?;
    Ok(Some(Rule { from: from.unwrap_or_default(), to: to.unwrap_or_default(), when: when.unwrap_or_default() }))
}

fn source<'j>(json: &mut Json<'j>, at: At<'_>) -> Result<Lists<'j>, Finding> {
    one(json, at, "source", Field::of_source)
}

fn operation<'j>(json: &mut Json<'j>, at: At<'_>) -> Result<Lists<'j>, Finding> {
    one(json, at, "operation", Field::of_operation)
}

/// Finds a list's field by its name: its name for ever, what it looks at, and whether it is negated.
type FindField = fn(&str) -> Option<(&'static str, Field, bool)>;

/// Reads an object with one member that holds lists.
fn one<'j>(json: &mut Json<'j>, at: At<'_>, member: &str, find: FindField) -> Result<Lists<'j>, Finding> {
    let mut lists = None;
    json.object(at, &mut |json, name, at| {
        if name == member { once(&mut lists, json, at, |json, at| read_lists(json, at, find)) } else { unknown(at) }
    })?;
    Ok(lists)
}

fn read_lists<'j>(json: &mut Json<'j>, at: At<'_>, find: FindField) -> Result<Vec<Listed<'j>>, Finding> {
    let mut lists: Vec<Listed<'j>> = Vec::new();
    json.object(at, &mut |json, name, at| {
        let Some((name, field, negated)) = find(name) else { return unknown(at) };
        let mut values = None;
        once(&mut values, json, at, |json, at| list(json, at, Json::text))?;
        let Some(values) = values else { return Ok(()) };
        if lists.iter().any(|other| other.name == name) {
            return Err(at.finding("is given twice"));
        }
        lists.push(Listed { name, field, negated, values });
        Ok(())
    })?;
    Ok(lists)
}

fn condition<'j>(json: &mut Json<'j>, at: At<'_>) -> Result<Condition<'j>, Finding> {
    let (mut key, mut values, mut not_values) = (None, None, None);
    json.object(at, &mut |json, name, at| match name {
        "key" => once(&mut key, json, at, Json::text),
        "values" => once(&mut values, json, at, |json, at| list(json, at, Json::text)),
        "notValues" => once(&mut not_values, json, at, |json, at| list(json, at, Json::text)),
        _ => unknown(at),
    })?;
    Ok(Condition {
        key: key.unwrap_or_default(),
        values: values.unwrap_or_default(),
        not_values: not_values.unwrap_or_default(),
    })
}
