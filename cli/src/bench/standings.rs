//! What came of all slices.

use std::time::Duration;

use anyhow::Result;

use super::contestant::{Contestant, GuestCost};
use crate::table::Table;

/// All contestants, in their order.
#[derive(Debug)]
pub(super) struct Standings(pub(super) Vec<Standing>);

/// What came of one contestant's slices.
#[derive(Debug, Clone)]
pub(super) struct Standing {
    pub(super) name: String,
    /// Answers per second, the median of all slices.
    pub(super) rate: f64,
    /// The median, 90 % and 99 %; of each the median of all slices.
    pub(super) latency: [Duration; 3],
    /// CPU time per request in the best slice: noise only adds to it.
    pub(super) cost: Duration,
    /// As far as the proxy tells it.
    pub(super) guest: Option<GuestCost>,
    /// KiB at the end.
    pub(super) memory: u64,
    refused: u64,
    errors: u64,
}

impl Standings {
    /// Sums up; the contestants end.
    pub(super) fn of(contestants: Vec<Contestant>) -> Result<Self> {
        let standing = |one: Contestant| {
            let latency = [0, 1, 2].map(|place| {
                let times = one.slices.iter().filter_map(|slice| slice.latency.get(place).copied());
                median(times.collect(), Duration::cmp).unwrap_or_default()
            });
            Ok(Standing {
                rate: median(one.slices.iter().map(|slice| slice.rate).collect(), f64::total_cmp).unwrap_or_default(),
                latency,
                cost: one.costs.iter().min().copied().unwrap_or_default(),
                guest: one.guest_cost()?,
                memory: one.memory()?,
                refused: one.slices.iter().map(|slice| slice.refused).sum(),
                errors: one.slices.iter().map(|slice| slice.errors).sum(),
                name: one.name,
            })
        };
        contestants.into_iter().map(standing).collect::<Result<_>>().map(Self)
    }

    /// Requests that failed, over all of them.
    pub(super) fn errors(&self) -> u64 {
        self.0.iter().map(|standing| standing.errors).sum()
    }

    /// The table, and what embedded and Envoy are to each other.
    pub(super) fn render(&self) -> String {
        let mut table = Table::new([
            "",
            "requests/s",
            "p50 ms",
            "p90 ms",
            "p99 ms",
            "CPU us",
            "host calls",
            "allocations",
            "guest KiB",
            "memory MiB",
        ]);
        for one in &self.0 {
            let [median, ninety, most] = one.latency.map(|time| format!("{:.2}", time.as_secs_f64() * 1e3));
            let mut notes = Vec::new();
            if one.refused > 0 {
                notes.push(format!("{} answers are neither 2xx nor 3xx", one.refused));
            }
            if one.errors > 0 {
                notes.push(format!("{} requests failed", one.errors));
            }
            if let Some(guest) = one.guest.filter(|guest| guest.growth > 0) {
                notes.push(format!("the module's memory grew by {} KiB while it was measured", kib(guest.growth)));
            }
            let guest = |show: fn(GuestCost) -> String| one.guest.map_or_else(|| "-".to_owned(), show);
            let cells = [
                one.name.clone(),
                format!("{:.0}", one.rate),
                median,
                ninety,
                most,
                format!("{:.1}", one.cost.as_secs_f64() * 1e6),
                guest(|guest| format!("{:.1}", guest.host_calls)),
                guest(|guest| format!("{:.1}", guest.allocations)),
                guest(|guest| kib(guest.memory).to_string()),
                format!("{:.1}", one.memory as f64 / 1024.0),
            ];
            table.row(cells, notes);
        }
        let mut text = table.render("");
        let half = self.0.len() / 2;
        let (embedded, envoy) = (self.0.iter().take(half), self.0.iter().skip(half));
        for (one, other) in embedded.zip(envoy).filter(|(one, other)| same_chain(one, other)) {
            let chain = one.name.split_once(", ").map_or("", |(_, chain)| chain);
            text.push_str(&format!(
                "embedded / Envoy, {chain}: {:.2} times the requests\n",
                one.rate / other.rate.max(1.0)
            ));
        }
        text.push_str("requests/s and latency: median of slices of one second; CPU time per request: the best slice\n");
        text.push_str(
            "host calls and allocations (blocks that they take from the module, to hand over bytes): per request; guest: linear memory\n",
        );
        text
    }
}

fn kib(bytes: u64) -> u64 {
    bytes / 1024
}

fn same_chain(one: &Standing, other: &Standing) -> bool {
    let chain = |standing: &Standing| standing.name.split_once(", ").map(|(_, chain)| chain.to_owned());
    one.name != other.name && chain(one) == chain(other)
}

fn median<T: Copy>(mut values: Vec<T>, order: impl Fn(&T, &T) -> std::cmp::Ordering) -> Option<T> {
    values.sort_by(order);
    values.get(values.len() / 2).copied()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::bench) fn standing(name: &str, rate: f64) -> Standing {
        Standing {
            name: name.to_owned(),
            rate,
            latency: [1, 2, 3].map(Duration::from_millis),
            cost: Duration::from_micros(20),
            guest: name.starts_with("embedded").then_some(GuestCost {
                host_calls: 2.0,
                allocations: 0.5,
                memory: 1024 * 1024,
                growth: 0,
            }),
            memory: 2048,
            refused: 0,
            errors: 0,
        }
    }

    #[test]
    fn the_same_chains_are_compared() {
        let names = ["embedded, no plugin", "embedded, a", "envoy, no plugin", "envoy, a"];
        let standings = Standings(
            names.into_iter().zip([4.0, 3.0, 2.0, 2.0]).map(|(name, rate)| standing(name, rate * 1e3)).collect(),
        );
        let text = standings.render();
        for part in
            ["embedded / Envoy, no plugin: 2.00", "embedded / Envoy, a: 1.50", "3000", "2.00    3.00    20.0", "-"]
        {
            assert!(text.contains(part), "no `{part}` in {text}");
        }
        assert!(text.contains("2.0         0.5          1024       2.0") && !text.contains("grew"), "{text}");
        let mut growing = standing("embedded, a", 1.0);
        growing.guest = growing.guest.map(|guest| GuestCost { growth: 65_536, ..guest });
        let text = Standings(vec![growing]).render();
        assert!(text.contains("the module's memory grew by 64 KiB while it was measured"), "{text}");
        let alone = Standings(vec![standing("embedded, no plugin", 1.0), standing("embedded, a", 1.0)]);
        assert!(!alone.render().contains(" / "), "{}", alone.render());
    }

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(vec![3, 1, 2], i32::cmp), Some(2));
        assert_eq!(median(Vec::new(), i32::cmp), None);
    }
}
