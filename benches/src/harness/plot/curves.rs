//! Curves over the size of the cluster, with error bars and the names of the contenders at the ends of the curves.

use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use super::{
    CHARACTER, Canvas, DIM, FONT, GRID, HEAD, MINOR, OWN, PlotError, WIDTH, colour, drawn, font,
    room_for, span, ticks,
};
use crate::harness::quantity::Quantity;

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
    /// The contender, which also determines the colour.
    pub name: String,
    pub points: Vec<Point>,
    /// A text after the name, for example the exponent of its growth.
    pub note: String,
}

/// A plot of curves. Both axes are logarithmic, so values that are not above zero are left out.
#[derive(Debug, Clone, PartialEq)]
pub struct Curves {
    pub title: String,
    pub subtitle: String,
    pub x_label: String,
    pub quantity: Quantity,
    pub curves: Vec<Curve>,
}

const HEIGHT: u32 = 420;
/// The least distance in pixels between labels at the ends of curves.
const LINE: i32 = 16;

type LogChart<'a, 'b> = ChartContext<
    'a,
    SVGBackend<'b>,
    Cartesian2d<
        plotters::coord::combinators::WithKeyPoints<LogCoord<f64>>,
        plotters::coord::combinators::WithKeyPoints<LogCoord<f64>>,
    >,
>;

impl Curves {
    /// The plot as SVG text.
    ///
    /// # Errors
    /// Only faults of the plotting library.
    pub fn svg(&self) -> Result<String, PlotError> {
        drawn(HEIGHT, &self.title, &self.subtitle, |canvas| self.draw(canvas))
    }

    fn draw(&self, canvas: &Canvas<'_>) -> Result<(), PlotError> {
        let points = || self.curves.iter().flat_map(shown);
        let (x, y) =
            (span(points().map(|p| p.x)), span(points().flat_map(|p| [p.low, p.y, p.high])));
        let mut sizes: Vec<f64> = points().map(|point| point.x).collect();
        sizes.sort_by(f64::total_cmp);
        sizes.dedup();
        let labels: Vec<String> = self.curves.iter().map(Curve::label).collect();
        let y_ticks = ticks(&y);
        let mut chart = ChartBuilder::on(canvas)
            .margin_top(HEAD)
            .margin_right(room_for(&labels) + 16)
            .x_label_area_size(44)
            .y_label_area_size(70)
            .build_cartesian_2d(
                x.log_scale().with_key_points(sizes),
                y.log_scale().with_key_points(y_ticks),
            )?;
        chart
            .configure_mesh()
            .bold_line_style(GRID)
            .light_line_style(MINOR)
            .axis_style(DIM)
            .label_style((FONT, 12.0).into_font().color(&DIM))
            .x_label_formatter(&|value| Quantity::Count.write(*value))
            .y_label_formatter(&|value| self.quantity.write(*value))
            .x_desc(self.x_label.as_str())
            .draw()?;
        // The project's own curve is drawn last, on top of the others.
        let mut order: Vec<&Curve> = self.curves.iter().collect();
        order.sort_by_key(|curve| curve.name == OWN);
        for curve in &order {
            draw_curve(&mut chart, curve)?;
        }
        draw_labels(canvas, &chart, &order)
    }
}

impl Curve {
    fn label(&self) -> String {
        format!("{} {}", self.name, self.note).trim_end().to_owned()
    }
}

/// The points that the axes can show.
fn shown(curve: &Curve) -> impl Iterator<Item = &Point> + Clone {
    curve.points.iter().filter(|point| point.y > 0.0 && point.x > 0.0)
}

fn draw_curve(chart: &mut LogChart<'_, '_>, curve: &Curve) -> Result<(), PlotError> {
    let colour = colour(&curve.name);
    let style = colour.stroke_width(if curve.name == OWN { 3 } else { 2 });
    let path = || shown(curve).map(|p| (p.x, p.y));
    if ["none", "conntrack"].contains(&curve.name.as_str()) {
        chart.draw_series(DashedLineSeries::new(path(), 5, 4, style))?;
    } else {
        chart.draw_series(LineSeries::new(path(), style))?;
    }
    chart.draw_series(
        shown(curve)
            .filter(|p| p.low > 0.0)
            .map(|p| ErrorBar::new_vertical(p.x, p.low, p.y, p.high, colour.filled(), 7)),
    )?;
    chart.draw_series(path().map(|at| Circle::new(at, 4, colour.filled())))?;
    Ok(())
}

/// Draws the names next to the ends of the curves, moved apart where the ends are close together.
fn draw_labels(
    canvas: &Canvas<'_>,
    chart: &LogChart<'_, '_>,
    curves: &[&Curve],
) -> Result<(), PlotError> {
    let mut ends: Vec<(&Curve, (i32, i32))> = curves
        .iter()
        .filter_map(|curve| shown(curve).last().map(|p| (*curve, chart.backend_coord(&(p.x, p.y)))))
        .collect();
    ends.sort_by_key(|(_, (_, y))| *y);
    let right = ends.iter().map(|(_, (x, _))| *x).max().unwrap_or(0);
    let places = spread(&ends.iter().map(|(_, (_, y))| *y).collect::<Vec<_>>());
    for ((curve, (x, y)), at) in ends.into_iter().zip(places) {
        let colour = colour(&curve.name);
        let label = curve.label();
        // If a curve ends early, its name is at its end, if it fits into the plot there.
        let early =
            x < right - 60 && f64::from(x) + label.len() as f64 * CHARACTER < f64::from(WIDTH);
        let place = if early { (x + 9, y) } else { (right + 14, at) };
        if !early {
            let leader = vec![(x + 6, y), (right + 12, at)];
            canvas.draw(&PathElement::new(leader, colour.mix(0.5)))?;
        }
        canvas.draw(&Text::new(label, place, font(12.0, &colour, HPos::Left)))?;
    }
    Ok(())
}

/// Moves ascending heights at least `LINE` apart, and keeps them within the plot.
fn spread(heights: &[i32]) -> Vec<i32> {
    let mut places: Vec<i32> = Vec::with_capacity(heights.len());
    for height in heights {
        let least = places.last().map_or(i32::MIN, |last| last + LINE);
        places.push(*height.max(&least));
    }
    let mut most = HEIGHT as i32 - 50;
    for place in places.iter_mut().rev() {
        *place = (*place).min(most);
        most = *place - LINE;
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
        .unwrap()
    }

    #[test]
    fn a_plot_has_a_mark_for_every_point_and_every_name() {
        let svg = plot(&[(10.0, 300.0), (100.0, 30_000.0)]);
        // plotters draws a mark for each error bar.
        assert_eq!(svg.matches("<circle").count(), 2 * 6);
        for name in ["palisade", "none", "unheard-of"] {
            assert!(svg.contains(&format!("{name} n^0.1 &lt;&amp;&gt;")), "{svg}");
        }
        assert!(!svg.contains("NaN") && !svg.contains("var(--"), "{svg}");
    }

    #[test]
    fn nothing_and_values_without_a_place_are_no_error() {
        for points in [&[][..], &[(10.0, 0.0)], &[(10.0, -5.0), (100.0, 5.0)], &[(0.0, f64::NAN)]] {
            let svg = plot(points);
            assert!(svg.trim_end().ends_with("</svg>") && !svg.contains("NaN"), "{svg}");
        }
    }

    #[test]
    fn labels_do_not_lie_on_each_other() {
        let places = spread(&[100, 101, 102, 369, 370]);
        assert!(places.is_sorted_by(|a, b| b - a >= LINE), "{places:?}");
        assert!(places.iter().all(|place| *place < HEIGHT as i32));
    }
}
