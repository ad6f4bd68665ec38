//! Identities and templates fit as the regular expressions do that Istio and Envoy make of them.

use regex::bytes::Regex;

use super::random::Random;
use crate::rbac::identity::Identity;
use crate::rbac::matcher::Reach;
use crate::rbac::template::Template;

fn whole(expression: &str) -> Regex {
    Regex::new(&format!("^(?:{expression})$")).unwrap()
}

#[test]
fn identities_fit_as_istios_expressions() {
    let starred = |value: &str| value.split('*').map(regex::escape).collect::<Vec<_>>().join(".*");
    let mut patterns =
        vec![(Identity::principal("*"), whole(".+")), (Identity::principal("*/sa/a.b"), whole(r"spiffe://.*/sa/a\.b"))];
    for value in ["a", "n1", "n*", "*1", "*", "n*a", "a/sa", "*/sa/a", "ns", "a*b*", "a**b", "**", "n***a"] {
        patterns.push((Identity::namespace(value), whole(&format!(".*/ns/{}/.*", starred(value)))));
    }
    for (namespace, name) in [("a", "b"), ("n1", "a.b"), ("ns", "sa"), ("sa", "ns"), ("a", "a")] {
        let expression = format!("spiffe://.+/ns/{namespace}/(.+/|)sa/{}(/.+)?", regex::escape(name));
        patterns.push((Identity::account(&format!("{namespace}/{name}"), "x"), whole(&expression)));
    }
    for (value, expression) in [("t*", "t[^/]*"), ("*-td", "[^/]*-td")] {
        patterns.push((Identity::domain(value), whole(&format!("spiffe://{expression}/.*"))));
    }
    let random = &mut Random::new(1);
    let mut hits = 0;
    for _ in 0..4_000 {
        let mut id = random.text(&["spiffe://", "spiffe://", "spiffe://", "x"], 1);
        id.extend(
            random.text(
                &["td", "x-td", "/ns/", "/sa/", "/ns/a/", "sa/b", "ns", "sa", "/", "a", "b", "a.b", "n1", "é"],
                9,
            ),
        );
        for (identity, expression) in &patterns {
            let expected = expression.is_match(&id);
            hits += usize::from(expected);
            assert_eq!(
                identity.fits(&id, Reach::Envoy),
                expected,
                "{identity:?} {expression} {:?}",
                id.escape_ascii().to_string()
            );
            assert!(!expected || identity.fits(&id, Reach::Every), "{identity:?}");
        }
    }
    assert!(hits > 4_000, "{hits}");
}

#[test]
fn templates_fit_as_envoys_expressions() {
    let one = r"[a-zA-Z0-9\-._~%!$&'()*+,;:@=]+";
    let many = r"[a-zA-Z0-9\-._~%!$&'()*+,;:@=/]*";
    let random = &mut Random::new(2);
    for template in [
        "/{*}",
        "/{**}",
        "/a/{*}",
        "/a/{**}",
        "/a/{*}/c",
        "/{*}/b/{**}",
        "/a/{**}/c",
        "/{*}/{*}/",
        "/a/{**}/",
        "/a/{*}/{**}/c.b",
    ] {
        let expression = regex::escape(template).replace(r"\{\*\*\}", many).replace(r"\{\*\}", one);
        let (template, expression) = (Template::parse(template).unwrap(), whole(&expression));
        for _ in 0..2_000 {
            let path = random.text(&["/", "/a", "/b", "/c", "a", "c.b", "/c.b", "%", "*"], 6);
            let expected = expression.is_match(&path);
            assert_eq!(
                template.fits(&path, Reach::Envoy),
                expected,
                "{expression} {:?}",
                path.escape_ascii().to_string()
            );
            assert!(!expected || template.fits(&path, Reach::Every), "{template:?}");
        }
    }
}
