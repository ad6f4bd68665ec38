//! The index decides as the plain evaluator does, including the reported rule, whatever the policies and the request.

use std::net::IpAddr;

use super::engine;
use super::random::Random;
use crate::rbac::claims::Claim;
use crate::rbac::decision::Custom;
use crate::rbac::facts::{Facts, Metadata};

/// How many requests each set of policies is asked about.
const REQUESTS: u64 = 50;

/// `RBAC_PAIRS=1000000 cargo test -p istio-core equal` tries a million pairs.
#[test]
fn the_index_decides_as_the_plain_evaluator() {
    let pairs = std::env::var("RBAC_PAIRS").ok().map_or(20_000, |pairs| pairs.parse().expect("RBAC_PAIRS is a number"));
    let (mut allowed, mut named, mut asked) = (0_u64, 0_u64, 0_u64);
    for seed in 1..=u64::div_ceil(pairs, REQUESTS) {
        let random = &mut Random::new(seed);
        let config = random.config();
        let engine = engine(&config).unwrap_or_else(|refused| panic!("seed {seed}: {refused}\n{config:#}"));
        for _ in 0..REQUESTS {
            with_request(random, |facts| {
                let (decision, custom) = (engine.decide(facts), engine.custom(facts));
                assert_eq!(custom, engine.custom_plainly(facts), "seed {seed}, {facts:?}\n{config:#}");
                assert_eq!(decision, engine.decide_plainly(facts), "seed {seed}, {facts:?}\n{config:#}");
                allowed += u64::from(decision.outcome.allowed());
                named += u64::from(!decision.details().is_some_and(|details| details.contains("[none]")));
                asked += u64::from(custom != Custom::Pass);
            });
        }
    }
    println!("{pairs} pairs: {allowed} allowed, {named} not refused for want of a match, {asked} asked");
    // A generator whose requests never meet its policies would prove nothing.
    assert!(allowed > pairs / 10 && allowed < pairs * 9 / 10 && named > pairs / 5 && asked > pairs / 50);
}

fn with_request(random: &mut Random, then: impl FnOnce(&Facts<'_>)) {
    let ids: Vec<Vec<u8>> = (0..random.below(3)).map(|_| id(random)).collect();
    let ids: Vec<&[u8]> = ids.iter().map(Vec::as_slice).collect();
    let others: Vec<Vec<u8>> = (0..random.below(2)).map(|_| id(random)).collect();
    let others: Vec<&[u8]> = others.iter().map(Vec::as_slice).collect();
    let claims = claims(random);
    let claims = Claim::parse(claims.as_bytes()).unwrap();
    let lines: Vec<(&[u8], Vec<u8>)> = (0..random.below(4))
        .map(|_| {
            let names: [&[u8]; 8] = [b"x-a", b"X-A", b"x-b", b"host", b":path", b"x-\xff", b"", b"x-c"];
            (names[random.below(names.len())], random.text(&["v", "w", "V"], 3))
        })
        .collect();
    let headers: Vec<(&[u8], &[u8])> = lines.iter().map(|(name, value)| (*name, value.as_slice())).collect();
    let path = random.text(&["/a", "/b", "/c", "/", "a", "c", "?", "#", "%2f", "é"], 5);
    let host = random.text(&["a", ".com", "b", ".", ":80", "A", "é"], 4);
    let method = random.text(&["GET", "POST", "P"], 1);
    let sni = random.text(&["a", ".com", "b."], 3);
    let metadata = [
        Metadata { namespace: "envoy.filters.f", key: "k", value: claim(random) },
        Metadata { namespace: "envoy.filters.f", key: "other", value: claim(random) },
    ];
    then(&Facts {
        method: (!random.chance(9)).then_some(&method),
        path: (!random.chance(9)).then_some(&path),
        authority: (!random.chance(9)).then_some(&host),
        headers: &headers,
        identities: &ids,
        other_names: &others,
        direct_ip: address(random),
        remote_ip: address(random),
        destination_ip: address(random),
        destination_port: (!random.chance(9)).then(|| [80, 443, 8080, 0][random.below(4)]),
        sni: random.chance(2).then_some(&sni),
        claims: random.chance(2).then_some(&claims),
        metadata: &metadata,
    });
}

fn id(random: &mut Random) -> Vec<u8> {
    let mut id = random.text(&["spiffe://", "", "x://", "spiffe:/", "spiffe://", "spiffe://", "spiffe://"], 1);
    id.extend(random.text(&["td", "old-td", "cluster.local", "x-td", ""], 1));
    if random.chance(3) {
        id.extend(random.text(&["/ns/", "/sa/", "ns", "sa", "/", "a", "b", "n1", "//", "ns/"], 10));
    } else {
        id.extend_from_slice(b"/ns/");
        id.extend(random.text(&["a", "b", "n1"], 1));
        id.extend_from_slice(b"/sa/");
        id.extend(random.text(&["a", "b", "/c", "/"], 2));
    }
    id
}

fn claims(random: &mut Random) -> String {
    let text = |random: &mut Random, parts: &[&str], most| {
        serde_json::to_string(&String::from_utf8_lossy(&random.text(parts, most))).unwrap()
    };
    let issuer = text(random, &["i", "https://i", "/", "x"], 2);
    let subject = if random.chance(9) { "1".to_owned() } else { text(random, &["s", "i", "/", "x"], 2) };
    let (a, b, c) = (text(random, &["v", "w"], 2), text(random, &["v", "w"], 2), text(random, &["v", "w"], 2));
    match random.below(5) {
        0 => format!(r#"{{"iss":{issuer},"sub":{subject}}}"#),
        1 => format!(r#"{{"iss":{issuer},"sub":{subject},"g":[{a},1,{b}],"n":{{"g":{c}}}}}"#),
        2 => format!(r#"{{"iss":{issuer},"sub":{subject},"g":{a},"n":{{"g":[{b}]}},"aud":{c}}}"#),
        3 => format!(r#"{{"iss":{issuer},"g":{{"g":{a}}},"n":{b},"aud":[{c}]}}"#),
        _ => format!(r#"{{"sub":{subject},"g":[[{a}]],"n":[{{"g":{b}}}],"aud":null}}"#),
    }
}

fn claim(random: &mut Random) -> Claim<'static> {
    let text =
        |random: &mut Random| Claim::Text(String::from_utf8_lossy(&random.text(&["v", "w"], 2)).into_owned().into());
    match random.below(3) {
        0 => text(random),
        1 => Claim::List(vec![text(random), Claim::Other, text(random)]),
        _ => Claim::Other,
    }
}

fn address(random: &mut Random) -> Option<IpAddr> {
    let addresses = ["10.1.2.3", "10.1.2.5", "10.2.0.1", "11.0.0.1", "2001:db8::1", "2001:db9::1", "::ffff:10.1.2.3"];
    (!random.chance(6)).then(|| addresses[random.below(addresses.len())].parse().unwrap())
}
