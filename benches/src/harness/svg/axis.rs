//! Logarithmic axes.

/// What an axis counts, for its labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantity {
    Count,
    Nanoseconds,
    Bytes,
    PerSecond,
}

impl Quantity {
    /// A value as people write it: two or three digits and a unit.
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

    /// Whether the ticks go by powers of two.
    fn is_binary(self) -> bool {
        self == Self::Bytes
    }
}

/// Three significant digits below a thousand.
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

/// `10,000`.
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

/// A logarithmic axis between two pixels.
#[derive(Debug, Clone, Copy)]
pub struct Axis {
    pub quantity: Quantity,
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Axis {
    /// An axis over values above zero; others have no place on it.
    pub fn over(values: impl Iterator<Item = f64>, quantity: Quantity, from: f64, to: f64) -> Self {
        let values = values.filter(|value| value.is_finite() && *value > 0.0);
        let (low, high) =
            values.fold((f64::INFINITY, 0.0_f64), |(low, high), v| (low.min(v), high.max(v)));
        let (low, high) = if high > 0.0 { (low, high) } else { (1.0, 10.0) };
        // A little room, and at least half a decade.
        let (mut low, mut high) = (low / 1.15, high * 1.15);
        if high / low < 3.0 {
            (low, high) = (low / 1.5, high * 1.5);
        }
        Self { quantity, low, high, from, to }
    }

    pub fn at(&self, value: f64) -> f64 {
        let value = value.clamp(self.low, self.high);
        let share = (value / self.low).ln() / (self.high / self.low).ln();
        self.from + share * (self.to - self.from)
    }

    /// Values to be labelled, and values that only get a faint line.
    pub fn ticks(&self) -> (Vec<f64>, Vec<f64>) {
        let base: f64 = if self.quantity.is_binary() { 4.0 } else { 10.0 };
        let decades = (self.high / self.low).log(base);
        let mut step = 1;
        while decades / f64::from(step) > 8.0 {
            step += 1;
        }
        let (mut major, mut minor) = (Vec::new(), Vec::new());
        let first = self.low.log(base).floor() as i32;
        let last = self.high.log(base).ceil() as i32;
        for power in first..=last {
            let decade = base.powi(power);
            let inside = |value: &f64| (self.low..=self.high).contains(value);
            if power.rem_euclid(step) == 0 {
                major.extend(Some(decade).filter(inside));
            }
            if !self.quantity.is_binary() {
                let between = (2..10).map(|factor| f64::from(factor) * decade);
                for value in between.filter(inside) {
                    // Where decades are few, 2 and 5 have labels too.
                    let factor = (value / decade).round();
                    if decades < 2.2 && (factor == 2.0 || factor == 5.0) {
                        major.push(value);
                    } else {
                        minor.push(value);
                    }
                }
            }
        }
        (major, minor)
    }
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

    #[test]
    fn an_axis_has_its_values_in_order_and_labels_for_them() {
        for (low, high) in [(1.0, 1.0), (3.0, 4.0), (10.0, 1e7), (2e-3, 5e9)] {
            for quantity in [Quantity::Count, Quantity::Nanoseconds, Quantity::Bytes] {
                let axis = Axis::over([low, high].into_iter(), quantity, 100.0, 500.0);
                let (a, b) = (axis.at(low), axis.at(high));
                assert!((100.0..=500.0).contains(&a) && a <= b && b <= 500.0);
                let (major, _) = axis.ticks();
                assert!((1..=20).contains(&major.len()), "{low} {high} {quantity:?}: {major:?}");
            }
        }
        // Nothing to show is no reason to fail.
        assert!(Axis::over(std::iter::empty(), Quantity::Count, 0.0, 1.0).at(-1.0).is_finite());
    }
}
