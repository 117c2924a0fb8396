//! Ranges of one value for each contender, in rows: median, tail, and the worst.

use super::{Axis, Quantity, line, mark, open, stroke, text};

#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Of the contender; its look follows from it.
    pub name: String,
    /// Which of its values, where it has several.
    pub label: String,
    pub low: f64,
    pub median: f64,
    pub p99: f64,
    pub max: f64,
}

/// A plot of rows on one logarithmic axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Ranges {
    pub title: String,
    pub subtitle: String,
    pub quantity: Quantity,
    pub rows: Vec<Row>,
}

const WIDTH: f64 = 760.0;
const LEFT: f64 = 230.0;
const RIGHT: f64 = 640.0;
const TOP: f64 = 56.0;
const ROW: f64 = 22.0;

impl Ranges {
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub fn svg(&self) -> String {
        let bottom = TOP + ROW * self.rows.len() as f64 + 6.0;
        let values = self.rows.iter().flat_map(|row| [row.low, row.median, row.p99, row.max]);
        let x = Axis::over(values, self.quantity, LEFT + 8.0, RIGHT - 8.0);
        let mut out = open(WIDTH, bottom + 30.0, &self.title, &self.subtitle);
        let (major, minor) = x.ticks();
        for value in minor {
            out.push_str(&line("minor", "", (x.at(value), TOP - 4.0), (x.at(value), bottom)));
        }
        for value in major {
            let at = x.at(value);
            out.push_str(&line("grid", "", (at, TOP - 4.0), (at, bottom)));
            out.push_str(&text("dim", "middle", (at, bottom + 18.0), &self.quantity.write(value)));
        }
        for (number, row) in self.rows.iter().enumerate() {
            let at = TOP + ROW * (number as f64 + 0.5);
            self.row(&mut out, row, &x, at);
        }
        out.push_str("</svg>\n");
        out
    }

    fn row(&self, out: &mut String, row: &Row, x: &Axis, at: f64) {
        let label = if row.label.is_empty() {
            row.name.clone()
        } else {
            format!("{} · {}", row.name, row.label)
        };
        out.push_str(&text("", "end", (LEFT - 8.0, at + 4.0), &label));
        let style = stroke(&row.name);
        let thick = format!("{style};stroke-width:4;opacity:.45");
        out.push_str(&line("error", &thick, (x.at(row.low), at), (x.at(row.p99), at)));
        out.push_str(&line("error", &style, (x.at(row.p99), at), (x.at(row.max), at)));
        out.push_str(&line("error", &style, (x.at(row.max), at - 4.0), (x.at(row.max), at + 4.0)));
        let write = |value| self.quantity.write(value);
        let says = format!(
            "{label}: median {}, p99 {}, worst {}",
            write(row.median),
            write(row.p99),
            write(row.max)
        );
        out.push_str(&mark(&row.name, (x.at(row.median), at), &says));
        out.push_str(&text("dim", "start", (RIGHT + 8.0, at + 4.0), &write(row.median)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_has_its_median_in_words() {
        let row = |name: &str, median: f64| Row {
            name: name.into(),
            label: "deny".into(),
            low: median / 2.0,
            median,
            p99: median * 3.0,
            max: median * 10.0,
        };
        let rows = vec![row("palisade", 2e5), row("iptables-ipset", 4e9)];
        let plot = Ranges {
            title: "t".into(),
            subtitle: "s".into(),
            quantity: Quantity::Nanoseconds,
            rows,
        };
        let svg = plot.svg();
        assert!(svg.contains(">200 µs<") && svg.contains(">4 s<"), "{svg}");
        assert_eq!(svg.matches("<title>").count(), 2);
        let empty = Ranges { rows: Vec::new(), ..plot };
        assert!(empty.is_empty() && empty.svg().ends_with("</svg>\n"));
    }
}
