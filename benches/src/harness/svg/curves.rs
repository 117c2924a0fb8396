//! Curves over the cluster's size.

use std::fmt::Write as _;

use super::{Axis, Quantity, line, look, mark, open, stroke, text};

/// A value with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    pub x: f64,
    pub y: f64,
    pub low: f64,
    pub high: f64,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    /// Of the contender; its look follows from it.
    pub name: String,
    pub points: Vec<Point>,
    /// Behind the name at the curve's end, for example the exponent of its growth.
    pub note: String,
}

/// A plot of curves; both axes are logarithmic, so that values not above zero are left out.
#[derive(Debug, Clone, PartialEq)]
pub struct Curves {
    pub title: String,
    pub subtitle: String,
    pub x_label: String,
    pub quantity: Quantity,
    pub curves: Vec<Curve>,
}

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 560.0;
const TOP: f64 = 56.0;
const BOTTOM: f64 = 350.0;
/// A curve that ends so far before the axis has its label there.
const EARLY: f64 = 60.0;
/// Labels at the curves' ends are at least so far apart.
const LABEL: f64 = 16.0;

impl Curves {
    pub fn is_empty(&self) -> bool {
        self.curves.iter().all(|curve| curve.points.is_empty())
    }

    pub fn svg(&self) -> String {
        let points = || self.curves.iter().flat_map(|curve| &curve.points);
        let x = Axis::over(points().map(|p| p.x), Quantity::Count, LEFT + 12.0, RIGHT - 12.0);
        let heights = points().flat_map(|p| [p.low, p.y, p.high]);
        let y = Axis::over(heights, self.quantity, BOTTOM, TOP);
        let mut out = open(WIDTH, HEIGHT, &self.title, &self.subtitle);
        self.grid(&mut out, &x, &y);
        // The project's own curve is drawn last, above the others.
        let mut order: Vec<&Curve> = self.curves.iter().collect();
        order.sort_by_key(|curve| curve.name == "palisade");
        for curve in &order {
            self.curve(&mut out, curve, &x, &y);
        }
        labels(&mut out, &order, &x, &y);
        out.push_str("</svg>\n");
        out
    }

    fn grid(&self, out: &mut String, x: &Axis, y: &Axis) {
        let (major, minor) = y.ticks();
        for value in minor {
            out.push_str(&line("minor", "", (LEFT, y.at(value)), (RIGHT, y.at(value))));
        }
        for value in major {
            let at = y.at(value);
            out.push_str(&line("grid", "", (LEFT, at), (RIGHT, at)));
            out.push_str(&text("dim", "end", (LEFT - 8.0, at + 4.0), &self.quantity.write(value)));
        }
        let mut sizes: Vec<f64> =
            self.curves.iter().flat_map(|curve| &curve.points).map(|point| point.x).collect();
        sizes.sort_by(f64::total_cmp);
        sizes.dedup();
        for size in sizes {
            let at = x.at(size);
            out.push_str(&line("grid", "", (at, TOP), (at, BOTTOM)));
            let label = Quantity::Count.write(size);
            out.push_str(&text("dim", "middle", (at, BOTTOM + 18.0), &label));
        }
        out.push_str(&line("frame", "", (LEFT, BOTTOM), (RIGHT, BOTTOM)));
        let middle = f64::midpoint(LEFT, RIGHT);
        out.push_str(&text("dim", "middle", (middle, BOTTOM + 38.0), &self.x_label));
    }

    fn curve(&self, out: &mut String, curve: &Curve, x: &Axis, y: &Axis) {
        let strong = if curve.name == "palisade" { " strong" } else { "" };
        let path: Vec<String> =
            shown(curve).map(|p| format!("{:.1} {:.1}", x.at(p.x), y.at(p.y))).collect();
        if path.len() > 1 {
            let dashes = if ["none", "conntrack"].contains(&curve.name.as_str()) {
                ";stroke-dasharray:5 4"
            } else {
                ""
            };
            _ = writeln!(
                out,
                "<path class=\"curve{strong}\" style=\"{}{dashes}\" d=\"M{}\"/>",
                stroke(&curve.name),
                path.join("L")
            );
        }
        for point in shown(curve) {
            let (at, low, high) = (x.at(point.x), y.at(point.low), y.at(point.high));
            if low - high > 1.0 {
                let style = stroke(&curve.name);
                for (from, to) in [
                    ((at, low), (at, high)),
                    ((at - 3.0, low), (at + 3.0, low)),
                    ((at - 3.0, high), (at + 3.0, high)),
                ] {
                    out.push_str(&line("error", &style, from, to));
                }
            }
            let write = |value| self.quantity.write(value);
            let says = format!(
                "{}: {} at {} (95 % interval {} to {})",
                curve.name,
                write(point.y),
                Quantity::Count.write(point.x),
                write(point.low),
                write(point.high)
            );
            out.push_str(&mark(&curve.name, (at, y.at(point.y)), &says));
        }
    }
}

/// Points that have a place on the axes.
fn shown(curve: &Curve) -> impl Iterator<Item = &Point> {
    curve.points.iter().filter(|point| point.y > 0.0 && point.x > 0.0)
}

/// Names beside the curves' ends, moved apart where these are close.
fn labels(out: &mut String, curves: &[&Curve], x: &Axis, y: &Axis) {
    let mut ends: Vec<(&Curve, f64, f64)> = curves
        .iter()
        .filter_map(|curve| {
            let last = shown(curve).last()?;
            Some((*curve, x.at(last.x), y.at(last.y)))
        })
        .collect();
    // A curve that ends early has its name there: a line across the plot would look like figures.
    let early = |end: &(&Curve, f64, f64)| end.1 < RIGHT - EARLY;
    for (curve, end_x, end_y) in ends.iter().filter(|end| early(end)) {
        label(out, curve, (end_x + 9.0, end_y + 4.0));
    }
    ends.retain(|end| !early(end));
    ends.sort_by(|a, b| a.2.total_cmp(&b.2));
    let places = spread(&ends.iter().map(|end| end.2).collect::<Vec<_>>());
    for ((curve, end_x, end_y), at) in ends.iter().zip(places) {
        let style = stroke(&curve.name);
        out.push_str(&line("leader", &style, (end_x + 7.0, *end_y), (RIGHT + 6.0, at)));
        label(out, curve, (RIGHT + 10.0, at + 4.0));
    }
}

fn label(out: &mut String, curve: &Curve, (x, y): (f64, f64)) {
    let colour = look(&curve.name).name;
    let weight = if curve.name == "palisade" { ";font-weight:700" } else { "" };
    _ = writeln!(
        out,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" style=\"fill:var(--{colour}){weight}\">{}<tspan class=\"dim\" style=\"font-weight:400\"> {}</tspan></text>",
        super::escape(&curve.name),
        super::escape(&curve.note)
    );
}

/// Heights in ascending order, moved apart to `LABEL` and kept within the plot.
fn spread(heights: &[f64]) -> Vec<f64> {
    let mut places: Vec<f64> = Vec::with_capacity(heights.len());
    for height in heights {
        let least = places.last().map_or(f64::NEG_INFINITY, |last| last + LABEL);
        places.push(height.max(least));
    }
    let mut most = BOTTOM;
    for place in places.iter_mut().rev() {
        *place = place.min(most);
        most = *place - LABEL;
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(points: &[(f64, f64)]) -> String {
        let point = |(x, y): &(f64, f64)| Point { x: *x, y: *y, low: y / 2.0, high: y * 2.0 };
        let curve = |name: &str| Curve {
            name: name.into(),
            points: points.iter().map(point).collect(),
            note: "n^0.1 <&>".into(),
        };
        Curves {
            title: "A \"title\" & more".into(),
            subtitle: String::new(),
            x_label: "policies".into(),
            quantity: Quantity::Nanoseconds,
            curves: vec![curve("palisade"), curve("none"), curve("unheard-of")],
        }
        .svg()
    }

    #[test]
    fn a_plot_has_a_mark_for_every_point_and_is_well_formed() {
        let svg = plot(&[(10.0, 300.0), (100.0, 30_000.0)]);
        assert_eq!(svg.matches("<title>").count(), 6);
        assert_eq!(svg.matches("class=\"curve").count(), 3);
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        assert!(!svg.contains("<&>") && svg.contains("&quot;title&quot; &amp; more"));
        for tag in ["svg", "text", "title", "circle", "tspan"] {
            let (opened, closed) = (
                svg.matches(&format!("<{tag} ")).count() + svg.matches(&format!("<{tag}>")).count(),
                svg.matches(&format!("</{tag}>")).count(),
            );
            assert_eq!(opened, closed, "{tag}");
        }
    }

    #[test]
    fn nothing_and_values_without_a_place_are_no_error() {
        for points in [&[][..], &[(10.0, 0.0)], &[(10.0, -5.0), (100.0, 5.0)], &[(0.0, f64::NAN)]] {
            let svg = plot(points);
            assert!(svg.ends_with("</svg>\n") && !svg.contains("NaN"), "{svg}");
        }
    }

    #[test]
    fn labels_do_not_lie_on_each_other() {
        let places = spread(&[100.0, 101.0, 102.0, 349.0, 350.0]);
        for pair in places.windows(2) {
            assert!(pair[1] - pair[0] >= LABEL - 1e-9, "{places:?}");
        }
        assert!(places.last().unwrap() <= &BOTTOM);
    }
}
