//! From policies as written to policies as evaluated. What Istio's admission webhook would refuse is refused here.

use std::borrow::Cow;

use super::config::{self, Condition, Config, DRY_RUN, Listed, Policy, Protocol};
use super::field::Field;
use super::matcher::Reach;
use super::policy::{Action, Attribute, Clause, Policies, Rule, Set, Term};
use super::selection::{Selection, selects};
use super::table::Table;
use super::trust::TrustDomains;
use crate::finding::{At, Finding};
use crate::order;

/// The most rules of a policy and sources of a rule that Kubernetes admits.
const MOST_ENTRIES: usize = 512;

/// What came of a configuration.
#[derive(Debug)]
pub(super) struct Compiled {
    /// What to evaluate.
    pub(super) policies: Policies,
    /// The authorizer that `CUSTOM` rules ask, by its name among the providers.
    pub(super) provider: Option<String>,
    /// What is accepted and yet surely not meant.
    pub(super) warnings: Vec<Finding>,
}

/// Compiles a configuration.
pub(super) fn compile(config: &Config<'_>) -> Result<Compiled, Finding> {
    let selection = Selection::new(config)?;
    let mut compiler = Compiler {
        config,
        trust: TrustDomains::new(&config.trust_domain, &config.trust_domain_aliases),
        answerable: selection.provider.is_some(),
        policies: Policies::default(),
        interned: Table::default(),
        warnings: Vec::new(),
    };
    // One that is not selected is checked all the same: it would be refused wherever it is selected.
    config.policies(&mut |policy, at| compiler.policy(at, policy, selects(config, policy)))?;
    let Compiler { mut policies, warnings, .. } = compiler;
    order::sort(&mut policies.rules, |a, b| (a.set, a.id.as_bytes()).cmp(&(b.set, b.id.as_bytes())));
    Ok(Compiled { policies, provider: selection.provider, warnings })
}

struct Compiler<'c> {
    config: &'c Config<'c>,
    trust: TrustDomains,
    /// Whether there is somebody to ask what `CUSTOM` policies want to know.
    answerable: bool,
    policies: Policies,
    /// By what was written: the clauses that came of it.
    interned: Table<Vec<usize>>,
    warnings: Vec<Finding>,
}

/// What the rules of one policy are for.
#[derive(Clone, Copy)]
struct Context<'a> {
    action: Action,
    home: &'a str,
    kept: bool,
}

/// The terms of some fields, and whether one of them exists in HTTP only.
#[derive(Default)]
struct Group {
    terms: Vec<Term>,
    http_only: bool,
}

impl Compiler<'_> {
    fn policy(&mut self, at: At<'_>, policy: &Policy<'_>, kept: bool) -> Result<(), Finding> {
        let action = policy.action;
        let spec = At::Field(&at, "spec");
        match &policy.provider {
            None if action == Action::Custom => {
                return Err(At::Field(&spec, "provider").finding("a CUSTOM policy must name a provider"));
            }
            Some(_) if action != Action::Custom => {
                return Err(At::Field(&spec, "provider").finding("only a CUSTOM policy has a provider"));
            }
            _ => {}
        }
        if !policy.targets.is_empty() && policy.selector.is_some() {
            return Err(At::Field(&spec, "selector").finding("does not go together with `targetRefs`"));
        }
        let dry_run = self.dry_run(at, policy)?;
        let rules = At::Field(&spec, "rules");
        if policy.rules.is_empty() && matches!(action, Action::Deny | Action::Custom) {
            self.warnings.push(rules.finding(format!("a {action} policy without rules never matches")));
        }
        at_most(rules, policy.rules.len(), MOST_ENTRIES)?;
        let set = match action {
            Action::Custom if self.answerable => Set::Custom,
            Action::Custom => Set::Unanswerable,
            Action::Audit => Set::Audit,
            Action::Deny if dry_run => Set::ShadowDeny,
            Action::Deny => Set::Deny,
            Action::Allow if dry_run => Set::ShadowAllow,
            Action::Allow => Set::Allow,
        };
        // An HTTP authorizer cannot be asked about a connection, and Istio leaves it out there.
        let kept = kept && !(set == Set::Custom && self.config.protocol == Protocol::Tcp);
        if kept && !self.policies.has(set) {
            self.policies.sets.push(set);
        }
        let context = Context { action, home: &policy.namespace, kept };
        let suffix = if set == Set::Unanswerable { "-deny-due-to-bad-CUSTOM-action" } else { "" };
        for (index, rule) in policy.rules.iter().enumerate() {
            let Some(rule) = rule else { continue };
            let compiled = self.rule(At::Element(&rules, index), rule, context)?;
            if let Some((from, to, when)) = compiled.filter(|_| kept) {
                let id = format!("ns[{}]-policy[{}]-rule[{index}]{suffix}", policy.namespace, policy.name);
                self.policies.rules.push(Rule { set, id: id.into(), from, to, when });
            }
        }
        Ok(())
    }

    /// Whether the policy only reports. Booleans are read as Go reads them.
    fn dry_run(&mut self, at: At<'_>, policy: &Policy<'_>) -> Result<bool, Finding> {
        let Some(value) = &policy.dry_run else { return Ok(false) };
        let (metadata, action) = (At::Field(&at, "metadata"), policy.action);
        let annotations = At::Field(&metadata, "annotations");
        let at = At::Member(&annotations, DRY_RUN);
        match &**value {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => {
                if matches!(action, Action::Allow | Action::Deny) {
                    return Ok(true);
                }
                Err(at.finding(format!("only ALLOW and DENY policies have a dry run, this one is {action}")))
            }
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
            other => {
                self.warnings.push(at.finding(format!("`{other}` is neither true nor false; the policy is enforced")));
                Ok(false)
            }
        }
    }

    /// The groups and conditions of a rule; none where a rule that allows needs HTTP and there is none.
    #[expect(clippy::type_complexity, reason = "the three parts of a rule, taken apart by the one caller")]
    fn rule(
        &mut self,
        at: At<'_>,
        rule: &config::Rule<'_>,
        context: Context<'_>,
    ) -> Result<Option<(Vec<Vec<Term>>, Vec<Vec<Term>>, Vec<Term>)>, Finding> {
        let (mut from, mut to, mut when) = (Vec::new(), Vec::new(), Group::default());
        at_most(At::Field(&at, "from"), rule.from.len(), MOST_ENTRIES)?;
        let (sources, operations) = (("from", "source", &rule.from), ("to", "operation", &rule.to));
        for ((list, name, entries), groups) in [(sources, &mut from), (operations, &mut to)] {
            let list = At::Field(&at, list);
            for (index, entry) in entries.iter().enumerate() {
                let element = At::Element(&list, index);
                let at = At::Field(&element, name);
                let lists = entry.as_ref().ok_or_else(|| at.finding("must be given"))?;
                groups.push(self.group(at, lists, context)?);
            }
        }
        let conditions = At::Field(&at, "when");
        for (index, condition) in rule.when.iter().enumerate() {
            self.condition(&mut when, At::Element(&conditions, index), condition, context)?;
        }
        let http_only = when.http_only || from.iter().chain(&to).any(|group| group.http_only);
        let vanishes = http_only && self.config.protocol == Protocol::Tcp && context.action == Action::Allow;
        let terms = |groups: Vec<Group>| groups.into_iter().map(|group| group.terms).collect();
        Ok((!vanishes).then(|| (terms(from), terms(to), when.terms)))
    }

    /// The terms of a source or an operation.
    fn group(&mut self, at: At<'_>, lists: &[Listed<'_>], context: Context<'_>) -> Result<Group, Finding> {
        let lists = || lists.iter().filter(|list| !list.values.is_empty());
        let has = |fields: &[Field]| lists().any(|list| fields.contains(&list.field));
        if has(&[Field::ServiceAccounts]) && has(&[Field::Principals, Field::Namespaces]) {
            return Err(at.finding("service accounts do not go together with principals or namespaces"));
        }
        let mut group = Group::default();
        for list in lists() {
            self.term(&mut group, At::Field(&at, list.name), &list.field, list.negated, &list.values, context)?;
        }
        if lists().next().is_none() {
            return Err(at.finding("must have at least one field with a value"));
        }
        Ok(group)
    }

    fn condition(
        &mut self,
        group: &mut Group,
        at: At<'_>,
        condition: &Condition<'_>,
        context: Context<'_>,
    ) -> Result<(), Finding> {
        let key = At::Field(&at, "key");
        let field = Field::of_key(&condition.key).map_err(|reason| key.finding(reason))?;
        if !field.allowed_in_custom() && context.action == Action::Custom {
            return Err(key.finding(format!("`{}` is not available to a CUSTOM policy", condition.key)));
        }
        if condition.values.is_empty() && condition.not_values.is_empty() {
            return Err(at.finding("must have `values` or `notValues`"));
        }
        for (name, negated, values) in
            [("values", false, &condition.values), ("notValues", true, &condition.not_values)]
        {
            if !values.is_empty() {
                self.term(group, At::Field(&at, name), &field, negated, values, context)?;
            }
        }
        Ok(())
    }

    /// Reads the values of one field and adds the term that they make.
    fn term(
        &mut self,
        group: &mut Group,
        at: At<'_>,
        field: &Field,
        negated: bool,
        values: &[Cow<'_, str>],
        context: Context<'_>,
    ) -> Result<(), Finding> {
        if !field.allowed_in_custom() && context.action == Action::Custom {
            return Err(at.finding("is not available to a CUSTOM policy"));
        }
        at_most(at, values.len(), field.most_values())?;
        let mut any = Vec::with_capacity(values.len());
        for (index, value) in values.iter().enumerate() {
            field
                .patterns(value, context.home, &self.trust, &mut any)
                .map_err(|reason| At::Element(&at, index).finding(format!("`{value}`: {reason}")))?;
        }
        let attribute = field.attribute();
        if attribute == Attribute::DirectIp && context.kept && self.config.source_ip.is_none() {
            return Err(at.finding(
                "the proxy does not tell a plugin the address of the direct peer; set `sourceIp` to say where it comes from",
            ));
        }
        if attribute.http_only() {
            group.http_only = true;
            // Without HTTP a refusal loses the condition and so gets wider; an allowance is dropped by the caller.
            if self.config.protocol == Protocol::Tcp {
                return Ok(());
            }
        }
        if context.kept {
            let about = match field {
                Field::ServiceAccounts => context.home,
                Field::Header(name) => name,
                Field::Claim(path) => path.last().map_or("", String::as_str),
                Field::Metadata { key, .. } => key,
                _ => "",
            };
            let written = [about, &values.join("\0")].join("\0");
            let clause = Clause { attribute, reach: reach(context.action, negated), any };
            let clause = self.intern(written.as_bytes(), clause);
            group.terms.push(Term { clause, negated });
        }
        Ok(())
    }

    /// The place of a clause. Equal ones are written alike, or else kept twice; only those written alike are compared.
    fn intern(&mut self, written: &[u8], clause: Clause) -> usize {
        let clauses = &mut self.policies.clauses;
        let mut alike = self.interned.all(written).iter();
        if let Some(place) = alike.find(|place| clauses.get(**place) == Some(&clause)) {
            return *place;
        }
        let place = clauses.len();
        clauses.push(clause);
        self.interned.push(written, place);
        place
    }
}

/// Wildcards reach over every byte where a match can only lead to a refusal, or to a question.
fn reach(action: Action, negated: bool) -> Reach {
    match (action, negated) {
        (Action::Deny | Action::Custom, false) | (Action::Allow, true) => Reach::Every,
        (Action::Deny | Action::Custom, true) | (Action::Allow, false) | (Action::Audit, _) => Reach::Envoy,
    }
}

fn at_most(at: At<'_>, count: usize, most: usize) -> Result<(), Finding> {
    if count > most {
        return Err(at.finding(format!("must have at most {most} entries, has {count}")));
    }
    Ok(())
}
