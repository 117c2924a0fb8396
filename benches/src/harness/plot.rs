//! Plots as SVG text, drawn by plotters: curves over the size of the cluster, and rows with the range of a value.
//!
//! Every colour and font is an attribute of its element, on a white background, so that a plot looks the same in every
//! viewer.

mod curves;
mod ranges;

pub use curves::{Curve, Curves, Point};
pub use ranges::{Ranges, Row};

use std::ops::Range;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Why a plot was not drawn. It is drawn in memory, so this can only be a fault of the library.
pub type PlotError = DrawingAreaErrorKind<std::io::Error>;

type Canvas<'a> = DrawingArea<SVGBackend<'a>, Shift>;

const WIDTH: u32 = 800;
/// The height of the title and the subtitle.
const HEAD: i32 = 50;
const FONT: &str = "sans-serif";
const INK: RGBColor = RGBColor(28, 33, 40);
const DIM: RGBColor = RGBColor(95, 104, 116);
const GRID: RGBColor = RGBColor(222, 226, 231);
const MINOR: RGBColor = RGBColor(241, 243, 245);
/// The width of an average character at a font size of 12, in pixels, to estimate the width of labels.
const CHARACTER: f64 = 6.4;

/// The colour of each contender. They are the colours of Okabe and Ito, which colour-blind readers can distinguish.
const COLOURS: [(&str, RGBColor); 9] = [
    ("none", RGBColor(138, 143, 152)),
    ("conntrack", RGBColor(92, 100, 112)),
    ("palisade", RGBColor(0, 100, 176)),
    ("iptables-linear", RGBColor(192, 74, 0)),
    ("iptables-ipset", RGBColor(181, 122, 0)),
    ("nft-policy-chains", RGBColor(176, 80, 138)),
    ("nft-pod-dispatch", RGBColor(0, 128, 94)),
    ("ebpf-hash", RGBColor(160, 28, 60)),
    ("kube-router", RGBColor(77, 124, 15)),
];
const OTHERS: [RGBColor; 2] = [RGBColor(106, 79, 179), RGBColor(122, 92, 58)];

/// The project's own contender. It is drawn thicker than the others, and last.
const OWN: &str = "palisade";

fn colour(contender: &str) -> RGBColor {
    let [even, odd] = OTHERS;
    let other = if contender.len().is_multiple_of(2) { even } else { odd };
    COLOURS.iter().find(|(name, _)| *name == contender).map_or(other, |(_, colour)| *colour)
}

/// The width of the longest of these labels, in pixels.
fn room_for(labels: &[String]) -> i32 {
    let longest = labels.iter().map(|label| label.chars().count()).max().unwrap_or(0);
    (longest as f64 * CHARACTER).ceil() as i32 + 8
}

fn font(size: f64, colour: &RGBColor, at: HPos) -> TextStyle<'static> {
    (FONT, size).into_font().color(colour).pos(Pos::new(at, VPos::Center))
}

/// Draws on a white canvas of this height with a title.
fn drawn(
    height: u32,
    title: &str,
    subtitle: &str,
    draw: impl FnOnce(&Canvas<'_>) -> Result<(), PlotError>,
) -> Result<String, PlotError> {
    let mut text = String::new();
    {
        let canvas = SVGBackend::with_string(&mut text, (WIDTH, height)).into_drawing_area();
        canvas.fill(&WHITE)?;
        let bold = (FONT, 14.0).into_font().style(FontStyle::Bold).color(&INK);
        canvas.draw(&Text::new(title.to_owned(), (12, 10), bold))?;
        let dim = (FONT, 12.0).into_font().color(&DIM);
        canvas.draw(&Text::new(subtitle.to_owned(), (12, 29), dim))?;
        draw(&canvas)?;
        canvas.present()?;
    }
    Ok(text)
}

/// The ends of a logarithmic axis for these values. It cannot show values that are not above zero.
fn span(values: impl Iterator<Item = f64>) -> Range<f64> {
    let values = values.filter(|value| value.is_finite() && *value > 0.0);
    let (low, high) =
        values.fold((f64::INFINITY, 0.0_f64), |(low, high), v| (low.min(v), high.max(v)));
    let (low, high) = if high > 0.0 { (low / 1.15, high * 1.15) } else { (1.0, 10.0) };
    // At least half a decade, so that noise does not fill the plot.
    if high / low < 3.0 { low / 1.5..high * 1.5 } else { low..high }
}

/// The labelled values of a logarithmic axis: powers of ten, and 2 and 5 between them if there are few.
fn ticks(span: &Range<f64>) -> Vec<f64> {
    let decades = (span.end / span.start).log10();
    let factors: &[f64] = if decades < 2.2 { &[1.0, 2.0, 5.0] } else { &[1.0] };
    let step = (decades / 8.0).ceil().max(1.0) as i32;
    let (first, last) = (span.start.log10().floor() as i32, span.end.log10().ceil() as i32);
    let powers = (first..=last).filter(|power| power.rem_euclid(step) == 0);
    powers
        .flat_map(|power| factors.iter().map(move |factor| factor * 10_f64.powi(power)))
        .filter(|value| span.contains(value))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_holds_its_values_and_labels_some() {
        for (low, high) in [(1.0, 1.0), (3.0, 4.0), (10.0, 1e7), (2e-3, 5e9)] {
            let span = span([low, high, -1.0, f64::NAN].into_iter());
            assert!(span.start < low && high < span.end, "{span:?}");
            assert!((1..=20).contains(&ticks(&span).len()), "{span:?}: {:?}", ticks(&span));
        }
        assert_eq!(span(std::iter::empty()), 1.0..10.0);
    }
}
