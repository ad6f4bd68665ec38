//! Times as people and tools write them: `250us`, `50ms`, `2s`, `1.5m`.

use std::time::Duration;

/// The time that a number with a unit stands for; nothing if it is none, or is negative.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    let split = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(split);
    let unit = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number.parse::<f64>().ok()? * unit).ok()
}

/// A time of the command line that must not be shorter than a millisecond.
pub(crate) fn argument(text: &str) -> Result<Duration, String> {
    let time = parse(text).filter(|time| *time >= Duration::from_millis(1));
    time.ok_or_else(|| "write a number of `ms`, `s` or `m`, at least `1ms`, e.g. `5s`".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_number_with_a_unit() {
        let read = |text| parse(text).map(|time| time.as_micros());
        assert_eq!(["250us", "1.25ms", "2s", "1.5m"].map(read), [250, 1250, 2_000_000, 90_000_000].map(Some));
        assert_eq!(["", "s", "5", "5h", "-1s", "1 s", "nans", "1e99s"].map(read), [None; 8]);
    }

    #[test]
    fn an_argument_is_at_least_a_millisecond() {
        assert_eq!(argument("1ms"), Ok(Duration::from_millis(1)));
        assert!(argument("999us").is_err() && argument("soon").is_err());
    }
}
