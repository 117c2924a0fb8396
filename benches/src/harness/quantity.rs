//! Formats figures as text, with two or three digits and a unit.

/// The kind of value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantity {
    Count,
    Nanoseconds,
    Bytes,
    PerSecond,
}

impl Quantity {
    /// The value as people write it, with two or three digits and a unit.
    pub fn write(self, value: f64) -> String {
        let scaled = |steps: &[(f64, &str)]| -> String {
            let (by, unit) = steps
                .iter()
                .rev()
                .find(|(by, _)| value.abs() >= *by)
                .or(steps.first())
                .copied()
                .unwrap_or((1.0, ""));
            let space = if unit.is_empty() { "" } else { " " };
            format!("{}{space}{unit}", digits(value / by))
        };
        match self {
            Self::Count => grouped(value),
            Self::Nanoseconds => scaled(&[(1.0, "ns"), (1e3, "µs"), (1e6, "ms"), (1e9, "s")]),
            Self::Bytes => scaled(&[
                (1.0, "B"),
                (1024.0, "KiB"),
                (1024.0 * 1024.0, "MiB"),
                (1024.0 * 1024.0 * 1024.0, "GiB"),
            ]),
            Self::PerSecond => format!("{}/s", grouped(value)),
        }
    }
}

/// Three significant digits if the value is below a thousand.
fn digits(value: f64) -> String {
    match value.abs() {
        small if small >= 100.0 || small == 0.0 => format!("{value:.0}"),
        small if small >= 10.0 => trimmed(format!("{value:.1}")),
        _ => trimmed(format!("{value:.2}")),
    }
}

fn trimmed(text: String) -> String {
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// For example `10,000`.
fn grouped(value: f64) -> String {
    if value.abs() < 100.0 {
        return digits(value);
    }
    let plain = format!("{value:.0}");
    let (sign, number) = plain.strip_prefix('-').map_or(("", plain.as_str()), |rest| ("-", rest));
    let mut text = String::new();
    for (place, digit) in number.chars().enumerate() {
        if place > 0 && (number.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    format!("{sign}{text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_people_do() {
        let ns = |value| Quantity::Nanoseconds.write(value);
        assert_eq!(
            [ns(590.0), ns(1_000.0), ns(33_634.0), ns(4.9e9)],
            ["590 ns", "1 µs", "33.6 µs", "4.9 s"]
        );
        assert_eq!(ns(0.25), "0.25 ns");
        assert_eq!(Quantity::Bytes.write(64.0 * 1024.0 * 1024.0), "64 MiB");
        assert_eq!(Quantity::Count.write(10_000.0), "10,000");
        assert_eq!(Quantity::Count.write(-1_234_567.0), "-1,234,567");
        assert_eq!(Quantity::PerSecond.write(20_000.0), "20,000/s");
    }
}
