//! From policies as written to policies as evaluated. What Istio's admission webhook would refuse is refused here.

use hashbrown::HashMap;

use super::config::{self, Action, Condition, Config, Operation, Protocol, Source, Values};
use super::field::Field;
use super::finding::Finding;
use super::matcher::Reach;
use super::policy::{Attribute, Clause, Policies, Rule, Set, Term};
use super::selection;
use super::trust::TrustDomains;

/// The annotation that makes a policy report instead of decide.
const DRY_RUN: &str = "istio.io/dry-run";

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
pub(super) fn compile(config: &Config) -> Result<Compiled, Finding> {
    if config.trust_domain.is_empty() {
        return Err(Finding::new("trustDomain", "must not be empty"));
    }
    let mut compiler = Compiler {
        config,
        trust: TrustDomains::new(&config.trust_domain, &config.trust_domain_aliases),
        policies: Policies::default(),
        interned: HashMap::new(),
        warnings: Vec::new(),
    };
    let selected = selection::selected(config)?;
    let provider = provider(config, &selected);
    for (index, policy) in config.policies.iter().enumerate() {
        // One that is not selected is checked all the same: it would be refused wherever it is selected.
        let kept = selected.contains(&index);
        compiler.policy(&format!("policies[{index}]"), policy, kept, provider.is_some())?;
    }
    compiler.policies.rules.sort_by(|a, b| (a.set, a.id.as_bytes()).cmp(&(b.set, b.id.as_bytes())));
    Ok(Compiled { policies: compiler.policies, provider, warnings: compiler.warnings })
}

/// The one provider that all `CUSTOM` policies name. With several, or with one that is not configured, Istio turns
/// `CUSTOM` into a refusal.
fn provider(config: &Config, selected: &[usize]) -> Option<String> {
    let mut names = selected
        .iter()
        .filter_map(|index| config.policies.get(*index))
        .filter(|policy| policy.spec.action == Some(Action::Custom))
        .filter_map(|policy| policy.spec.provider.as_ref().map(|provider| &provider.name));
    let name = names.next()?;
    (names.all(|other| other == name) && config.providers.contains_key(name)).then(|| name.clone())
}

struct Compiler<'c> {
    config: &'c Config,
    trust: TrustDomains,
    policies: Policies,
    interned: HashMap<Clause, usize>,
    warnings: Vec<Finding>,
}

/// Where in the configuration a rule stands, and what it is for.
#[derive(Clone, Copy)]
struct Place<'a> {
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
    fn policy(&mut self, path: &str, policy: &config::Policy, kept: bool, answerable: bool) -> Result<(), Finding> {
        let action = policy.spec.action.unwrap_or_default();
        self.provider_fits(path, policy, action)?;
        let dry_run = self.dry_run(path, policy, action)?;
        let rules = policy.spec.rules.as_deref().unwrap_or_default();
        if rules.is_empty() && matches!(action, Action::Deny | Action::Custom) {
            let reason = format!("a {action} policy without rules never matches");
            self.warnings.push(Finding::new(format!("{path}.spec.rules"), reason));
        }
        at_most(&format!("{path}.spec.rules"), rules.len(), MOST_ENTRIES)?;
        let set = match action {
            Action::Custom if answerable => Set::Custom,
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
        let metadata = &policy.metadata;
        let place = Place { action, home: &metadata.namespace, kept };
        let suffix = if set == Set::Unanswerable { "-deny-due-to-bad-CUSTOM-action" } else { "" };
        for (index, rule) in rules.iter().enumerate() {
            let Some(rule) = rule else { continue };
            let compiled = self.rule(&format!("{path}.spec.rules[{index}]"), rule, place)?;
            if let Some((from, to, when)) = compiled.filter(|_| kept) {
                let id = format!("ns[{}]-policy[{}]-rule[{index}]{suffix}", metadata.namespace, metadata.name);
                self.policies.rules.push(Rule { set, id, from, to, when });
            }
        }
        Ok(())
    }

    fn provider_fits(&self, path: &str, policy: &config::Policy, action: Action) -> Result<(), Finding> {
        let provider = policy.spec.provider.as_ref();
        let path = format!("{path}.spec.provider");
        match (action, provider) {
            (Action::Custom, None) => Err(Finding::new(path, "a CUSTOM policy must name a provider")),
            (Action::Custom, Some(provider)) if provider.name.is_empty() => {
                Err(Finding::new(format!("{path}.name"), "must not be empty"))
            }
            (Action::Custom, Some(_)) | (_, None) => Ok(()),
            (_, Some(_)) => Err(Finding::new(path, "only a CUSTOM policy has a provider")),
        }
    }

    /// Whether the policy only reports. Booleans are read as Go reads them.
    fn dry_run(&mut self, path: &str, policy: &config::Policy, action: Action) -> Result<bool, Finding> {
        let annotations = policy.metadata.annotations.as_ref();
        let Some(value) = annotations.and_then(|annotations| annotations.get(DRY_RUN)) else { return Ok(false) };
        let path = format!("{path}.metadata.annotations[{DRY_RUN}]");
        match value.as_str() {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => {
                if matches!(action, Action::Allow | Action::Deny) {
                    return Ok(true);
                }
                Err(Finding::new(path, format!("only ALLOW and DENY policies have a dry run, this one is {action}")))
            }
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
            other => {
                self.warnings
                    .push(Finding::new(path, format!("`{other}` is neither true nor false; the policy is enforced")));
                Ok(false)
            }
        }
    }

    /// The groups and conditions of a rule; none where a rule that allows needs HTTP and there is none.
    #[expect(clippy::type_complexity, reason = "the three parts of a rule, taken apart by the one caller")]
    fn rule(
        &mut self,
        path: &str,
        rule: &config::Rule,
        place: Place<'_>,
    ) -> Result<Option<(Vec<Vec<Term>>, Vec<Vec<Term>>, Vec<Term>)>, Finding> {
        let (mut from, mut to, mut when) = (Vec::new(), Vec::new(), Group::default());
        let sources = rule.from.as_deref().unwrap_or_default();
        at_most(&format!("{path}.from"), sources.len(), MOST_ENTRIES)?;
        for (index, entry) in sources.iter().enumerate() {
            let path = format!("{path}.from[{index}].source");
            let source = entry.source.as_ref().ok_or_else(|| Finding::new(&path, "must be given"))?;
            from.push(self.source(&path, source, place)?);
        }
        for (index, entry) in rule.to.as_deref().unwrap_or_default().iter().enumerate() {
            let path = format!("{path}.to[{index}].operation");
            let operation = entry.operation.as_ref().ok_or_else(|| Finding::new(&path, "must be given"))?;
            to.push(self.group(&path, operation_fields(operation), place)?);
        }
        for (index, condition) in rule.when.as_deref().unwrap_or_default().iter().enumerate() {
            let group = self.condition(&format!("{path}.when[{index}]"), condition, place)?;
            when.terms.extend(group.terms);
            when.http_only |= group.http_only;
        }
        let http_only = when.http_only || from.iter().chain(&to).any(|group| group.http_only);
        let vanishes = http_only && self.config.protocol == Protocol::Tcp && place.action == Action::Allow;
        let terms = |groups: Vec<Group>| groups.into_iter().map(|group| group.terms).collect();
        Ok((!vanishes).then(|| (terms(from), terms(to), when.terms)))
    }

    fn source(&mut self, path: &str, source: &Source, place: Place<'_>) -> Result<Group, Finding> {
        let given = |values: &Values| values.as_ref().is_some_and(|values| !values.is_empty());
        let accounts = given(&source.service_accounts) || given(&source.not_service_accounts);
        let others = [&source.principals, &source.not_principals, &source.namespaces, &source.not_namespaces];
        if accounts && others.into_iter().any(given) {
            return Err(Finding::new(path, "service accounts do not go together with principals or namespaces"));
        }
        self.group(path, source_fields(source), place)
    }

    fn group<'v>(
        &mut self,
        path: &str,
        fields: impl IntoIterator<Item = (&'static str, bool, Field, &'v Values)>,
        place: Place<'_>,
    ) -> Result<Group, Finding> {
        let mut group = Group::default();
        let mut empty = true;
        for (name, negated, field, values) in fields {
            let values = values.as_deref().unwrap_or_default();
            if !values.is_empty() {
                empty = false;
                self.term(&mut group, &format!("{path}.{name}"), &field, negated, values, place)?;
            }
        }
        if empty {
            return Err(Finding::new(path, "must have at least one field with a value"));
        }
        Ok(group)
    }

    fn condition(&mut self, path: &str, condition: &Condition, place: Place<'_>) -> Result<Group, Finding> {
        let field = Field::of_key(&condition.key).map_err(|reason| Finding::new(format!("{path}.key"), reason))?;
        if !field.allowed_in_custom() && place.action == Action::Custom {
            return Err(Finding::new(
                format!("{path}.key"),
                format!("`{}` is not available to a CUSTOM policy", condition.key),
            ));
        }
        let mut group = Group::default();
        let values = condition.values.as_deref().unwrap_or_default();
        let not_values = condition.not_values.as_deref().unwrap_or_default();
        if values.is_empty() && not_values.is_empty() {
            return Err(Finding::new(path, "must have `values` or `notValues`"));
        }
        for (name, negated, values) in [("values", false, values), ("notValues", true, not_values)] {
            if !values.is_empty() {
                self.term(&mut group, &format!("{path}.{name}"), &field, negated, values, place)?;
            }
        }
        Ok(group)
    }

    /// Reads the values of one field and adds the term that they make.
    fn term(
        &mut self,
        group: &mut Group,
        path: &str,
        field: &Field,
        negated: bool,
        values: &[String],
        place: Place<'_>,
    ) -> Result<(), Finding> {
        if !field.allowed_in_custom() && place.action == Action::Custom {
            return Err(Finding::new(path, "is not available to a CUSTOM policy"));
        }
        at_most(path, values.len(), field.most_values())?;
        let mut any = Vec::with_capacity(values.len());
        for (index, value) in values.iter().enumerate() {
            let patterns = field.patterns(value, place.home, &self.trust);
            any.extend(
                patterns.map_err(|reason| Finding::new(format!("{path}[{index}]"), format!("`{value}`: {reason}")))?,
            );
        }
        let attribute = field.attribute();
        if attribute == Attribute::DirectIp && place.kept && self.config.source_ip.is_none() {
            return Err(Finding::new(
                path,
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
        if place.kept {
            let clause = self.intern(Clause { attribute, reach: reach(place.action, negated), any });
            group.terms.push(Term { clause, negated });
        }
        Ok(())
    }

    fn intern(&mut self, clause: Clause) -> usize {
        let clauses = &mut self.policies.clauses;
        *self.interned.entry(clause).or_insert_with_key(|clause| {
            clauses.push(clause.clone());
            clauses.len() - 1
        })
    }
}

/// Wildcards reach over every byte where a match can only lead to a refusal, or to a question.
fn reach(action: Action, negated: bool) -> Reach {
    match (action, negated) {
        (Action::Deny | Action::Custom, false) | (Action::Allow, true) => Reach::Every,
        (Action::Deny | Action::Custom, true) | (Action::Allow, false) | (Action::Audit, _) => Reach::Envoy,
    }
}

fn at_most(path: &str, count: usize, most: usize) -> Result<(), Finding> {
    if count > most {
        return Err(Finding::new(path, format!("must have at most {most} entries, has {count}")));
    }
    Ok(())
}

fn source_fields(source: &Source) -> [(&'static str, bool, Field, &Values); 14] {
    [
        ("principals", false, Field::Principals, &source.principals),
        ("notPrincipals", true, Field::Principals, &source.not_principals),
        ("requestPrincipals", false, Field::RequestPrincipals, &source.request_principals),
        ("notRequestPrincipals", true, Field::RequestPrincipals, &source.not_request_principals),
        ("namespaces", false, Field::Namespaces, &source.namespaces),
        ("notNamespaces", true, Field::Namespaces, &source.not_namespaces),
        ("serviceAccounts", false, Field::ServiceAccounts, &source.service_accounts),
        ("notServiceAccounts", true, Field::ServiceAccounts, &source.not_service_accounts),
        ("trustDomains", false, Field::TrustDomains, &source.trust_domains),
        ("notTrustDomains", true, Field::TrustDomains, &source.not_trust_domains),
        ("ipBlocks", false, Field::IpBlocks, &source.ip_blocks),
        ("notIpBlocks", true, Field::IpBlocks, &source.not_ip_blocks),
        ("remoteIpBlocks", false, Field::RemoteIpBlocks, &source.remote_ip_blocks),
        ("notRemoteIpBlocks", true, Field::RemoteIpBlocks, &source.not_remote_ip_blocks),
    ]
}

fn operation_fields(operation: &Operation) -> [(&'static str, bool, Field, &Values); 8] {
    [
        ("hosts", false, Field::Hosts, &operation.hosts),
        ("notHosts", true, Field::Hosts, &operation.not_hosts),
        ("ports", false, Field::Ports, &operation.ports),
        ("notPorts", true, Field::Ports, &operation.not_ports),
        ("methods", false, Field::Methods, &operation.methods),
        ("notMethods", true, Field::Methods, &operation.not_methods),
        ("paths", false, Field::Paths, &operation.paths),
        ("notPaths", true, Field::Paths, &operation.not_paths),
    ]
}
