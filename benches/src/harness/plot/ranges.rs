//! Rows with the range of one value for each contender: median, 99th percentile and greatest.

use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use super::{
    Canvas, DIM, FONT, GRID, HEAD, INK, MINOR, PlotError, colour, drawn, font, room_for, span,
    ticks,
};
use crate::harness::quantity::Quantity;

#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The contender, which also determines the colour.
    pub name: String,
    /// Which of its values this is, if it has several.
    pub label: String,
    pub low: f64,
    pub median: f64,
    pub p99: f64,
    pub max: f64,
}

/// A plot of rows with one logarithmic axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Ranges {
    pub title: String,
    pub subtitle: String,
    pub quantity: Quantity,
    pub rows: Vec<Row>,
}

/// The height of a row, and of the axis below the rows.
const ROW: u32 = 22;
const FOOT: u32 = 36;

impl Ranges {
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The plot as SVG text.
    ///
    /// # Errors
    /// Only faults of the plotting library.
    pub fn svg(&self) -> Result<String, PlotError> {
        let height = HEAD as u32 + ROW * self.rows.len() as u32 + FOOT;
        drawn(height, &self.title, &self.subtitle, |canvas| self.draw(canvas))
    }

    fn draw(&self, canvas: &Canvas<'_>) -> Result<(), PlotError> {
        let values = self.rows.iter().flat_map(|row| [row.low, row.median, row.p99, row.max]);
        let x = span(values);
        let x_ticks = ticks(&x);
        let labels: Vec<String> = self.rows.iter().map(Row::title).collect();
        let left = room_for(&labels) + 12;
        let rows = self.rows.len() as f64;
        let mut chart = ChartBuilder::on(canvas)
            .margin_top(HEAD)
            .margin_left(left)
            .margin_right(76)
            .x_label_area_size(FOOT)
            .build_cartesian_2d(x.log_scale().with_key_points(x_ticks), rows..0.0)?;
        chart
            .configure_mesh()
            .disable_y_mesh()
            .disable_y_axis()
            .bold_line_style(GRID)
            .light_line_style(MINOR)
            .axis_style(DIM)
            .label_style((FONT, 12.0).into_font().color(&DIM))
            .x_label_formatter(&|value| self.quantity.write(*value))
            .draw()?;
        let right = chart.plotting_area().get_pixel_range().0.end;
        for ((place, row), label) in (0_u32..).zip(&self.rows).zip(labels) {
            let at = f64::from(place) + 0.5;
            let colour = colour(&row.name);
            let line = |from: f64, to: f64, style: ShapeStyle| {
                PathElement::new(vec![(from, at), (to, at)], style)
            };
            chart.draw_series([
                line(row.low, row.p99, colour.mix(0.45).stroke_width(4)),
                line(row.p99, row.max, colour.stroke_width(1)),
            ])?;
            chart.draw_series([TriangleMarker::new((row.max, at), 3, colour.filled())])?;
            chart.draw_series([Circle::new((row.median, at), 4, colour.filled())])?;
            let (_, y) = chart.backend_coord(&(row.median, at));
            canvas.draw(&Text::new(label, (left - 8, y), font(12.0, &INK, HPos::Right)))?;
            let median = self.quantity.write(row.median);
            canvas.draw(&Text::new(median, (right + 8, y), font(12.0, &DIM, HPos::Left)))?;
        }
        Ok(())
    }
}

impl Row {
    fn title(&self) -> String {
        if self.label.is_empty() {
            self.name.clone()
        } else {
            format!("{} · {}", self.name, self.label)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_has_its_name_and_its_median_in_words() {
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
        let svg = plot.svg().unwrap();
        for text in ["200 µs", "4 s", "palisade · deny", "iptables-ipset · deny"] {
            assert!(svg.contains(text), "{text}: {svg}");
        }
        let empty = Ranges { rows: Vec::new(), ..plot };
        assert!(empty.is_empty() && empty.svg().is_ok());
    }
}
