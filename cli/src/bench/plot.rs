//! Standings as a picture: bars of what a request costs, in time, in CPU time and in calls.

use std::fmt::Write as _;

use super::standings::{Standing, Standings};

const WIDTH: f64 = 760.0;
/// Where bars begin, behind the names.
const LEFT: f64 = 230.0;
const ROW: f64 = 26.0;
const BAR: f64 = 16.0;

/// A panel: what it shows, the values of a contestant with their colours (drawn over each other, the longest first; none where the
/// proxy does not tell), its unit.
struct Panel {
    title: &'static str,
    unit: &'static str,
    values: fn(&Standing) -> Vec<(f64, &'static str)>,
}

const PANELS: [Panel; 4] = [
    Panel { title: "requests per second", unit: "/s", values: |one| vec![(one.rate, "#3a78c2")] },
    Panel {
        title: "latency: 50 %, 90 %, 99 %",
        unit: " ms",
        values: |one| {
            let [half, most, nearly] = one.latency.map(|time| time.as_secs_f64() * 1e3);
            vec![(nearly, "#c9dcf3"), (most, "#7faee0"), (half, "#3a78c2")]
        },
    },
    Panel {
        title: "CPU time per request", unit: " µs", values: |one| vec![(one.cost.as_secs_f64() * 1e6, "#2f8f5b")]
    },
    Panel {
        title: "allocations and host calls per request",
        unit: "",
        values: |one| {
            let bars = one.guest.map(|guest| vec![(guest.host_calls, "#e3c49a"), (guest.allocations, "#b5762a")]);
            bars.unwrap_or_default()
        },
    },
];

/// The picture.
pub(super) fn svg(standings: &Standings) -> String {
    let rows = standings.0.len() as f64;
    let panel = ROW * (rows + 2.0);
    let height = panel * PANELS.len() as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"white\"/>\n"
    );
    for (at, one) in PANELS.iter().enumerate() {
        draw(&mut svg, one, standings, at as f64 * panel);
    }
    svg.push_str("</svg>\n");
    svg
}

fn draw(svg: &mut String, panel: &Panel, standings: &Standings, top: f64) {
    let Panel { title, unit, values } = panel;
    let longest = |one: &Standing| values(one).iter().map(|(value, _)| *value).fold(0.0, f64::max);
    let most = standings.0.iter().map(longest).fold(f64::MIN_POSITIVE, f64::max);
    let scale = (WIDTH - LEFT - 130.0) / most;
    // Writing to a string cannot fail.
    let _ = writeln!(svg, "<text x=\"10\" y=\"{}\" font-weight=\"bold\">{title}</text>", top + ROW);
    for (row, one) in standings.0.iter().enumerate() {
        let y = top + ROW * (row as f64 + 1.5);
        let _ = writeln!(svg, "<text x=\"10\" y=\"{}\">{}</text>", y + BAR - 3.0, escaped(&one.name));
        for (value, colour) in values(one) {
            let width = value * scale;
            let _ =
                writeln!(svg, "<rect x=\"{LEFT}\" y=\"{y}\" width=\"{width:.1}\" height=\"{BAR}\" fill=\"{colour}\"/>");
        }
        let figures: Vec<_> = values(one).iter().rev().map(|(value, _)| figure(*value)).collect();
        let said = if figures.is_empty() { "not told".to_owned() } else { figures.join(" / ") + unit };
        let x = LEFT + longest(one) * scale + 6.0;
        let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{}\">{said}</text>", y + BAR - 3.0);
    }
}

fn figure(value: f64) -> String {
    if value >= 1000.0 {
        format!("{value:.0}")
    } else if value >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::super::standings::tests::standing;
    use super::*;

    #[test]
    fn every_contestant_has_its_bars() {
        let svg = svg(&Standings(vec![standing("embedded, a<b", 4000.0), standing("envoy, a<b", 2000.0)]));
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
        assert_eq!(svg.matches("<rect ").count(), 1 + 2 * 5 + 2);
        assert!(svg.contains("0.50 / 2.00<") && svg.contains("not told"), "{svg}");
        assert!(svg.contains("a&lt;b") && !svg.contains("a<b"));
        assert!(svg.contains("4000/s") && svg.contains("1.00 / 2.00 / 3.00 ms") && svg.contains("20.0 µs"), "{svg}");
        // The fastest fills the panel, the other one half of it.
        assert!(svg.contains("width=\"400.0\"") && svg.contains("width=\"200.0\""), "{svg}");
    }
}
