//! Medians with their uncertainty, exponents of growth, and tests whether two samples differ.
//!
//! No distribution is assumed, because times on a shared machine have a long tail on one side.

use palisade_compiler::testkit::Rng;

/// The number of resamples of a bootstrap. With it, the 25th and 975th are the ends of a 95 % interval.
const RESAMPLES: usize = 1_000;
/// The greatest number of values that a bootstrap resamples, chosen evenly. The interval of a larger sample is narrow
/// anyway.
const RESAMPLED: usize = 2_000;
/// Up to this size of both samples the rank test is exact, if no two values are equal.
const EXACT: usize = 25;

/// The median of a sample, with its 95 % interval from a percentile bootstrap.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    pub count: usize,
    pub min: f64,
    /// The tenth percentile: the cost in the fast rounds. The median mixes the two speeds of a processor that runs at two
    /// speeds.
    pub fast: f64,
    pub median: f64,
    pub low: f64,
    pub high: f64,
    /// The median of the absolute deviations from the median.
    pub deviation: f64,
    pub p99: f64,
    pub max: f64,
}

impl Summary {
    /// Returns `None` for an empty sample, and if a value is not finite. The same sample always gives the same summary.
    pub fn of(samples: &[f64]) -> Option<Self> {
        let sorted = sorted(samples)?;
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let median = quantile(&sorted, 0.5);
        let (low, high) = bootstrap(&sorted);
        let distances: Vec<f64> = sorted.iter().map(|value| (value - median).abs()).collect();
        let deviation = quantile(&self::sorted(&distances)?, 0.5);
        let (fast, p99) = (quantile(&sorted, 0.1), quantile(&sorted, 0.99));
        Some(Self { count: sorted.len(), min, fast, median, low, high, deviation, p99, max })
    }
}

pub fn median(samples: &[f64]) -> Option<f64> {
    Some(quantile(&sorted(samples)?, 0.5))
}

/// The values in ascending order. `None` if there are none, or if a value is not finite.
fn sorted(samples: &[f64]) -> Option<Vec<f64>> {
    if samples.is_empty() || samples.iter().any(|value| !value.is_finite()) {
        return None;
    }
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    Some(sorted)
}

/// A quantile of sorted values, with linear interpolation between neighbours (definition 7 of Hyndman and Fan).
fn quantile(sorted: &[f64], at: f64) -> f64 {
    let position = at * sorted.len().saturating_sub(1) as f64;
    let below = position.floor();
    let value = |index: f64| sorted.get(index as usize).copied().unwrap_or(f64::NAN);
    let (low, high) = (value(below), value(position.ceil()));
    low + (high - low) * (position - below)
}

/// The 95 % interval of the median.
fn bootstrap(sorted: &[f64]) -> (f64, f64) {
    let step = sorted.len().div_ceil(RESAMPLED).max(1);
    let values: Vec<f64> = sorted.iter().copied().step_by(step).collect();
    let mut rng = Rng::new(values.len() as u64 ^ 0x005b_0075);
    let mut medians: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            let drawn = values.iter().filter_map(|_| values.get(rng.below(values.len())).copied());
            let mut drawn: Vec<f64> = drawn.collect();
            drawn.sort_by(f64::total_cmp);
            quantile(&drawn, 0.5)
        })
        .collect();
    medians.sort_by(f64::total_cmp);
    (quantile(&medians, 0.025), quantile(&medians, 0.975))
}

/// `value = factor * size ^ exponent`, fitted to the logarithms by least squares.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Growth {
    pub exponent: f64,
    pub factor: f64,
    /// The share of the variance of the logarithms that the fit explains. It is 1 if all points are on the curve.
    pub fit: f64,
}

impl Growth {
    /// Fits (size, value) points. Returns `None` for fewer than three points, or if a size or value is not above zero.
    pub fn of(points: &[(f64, f64)]) -> Option<Self> {
        if points.len() < 3 || points.iter().any(|(x, y)| !(*x > 0.0 && *y > 0.0)) {
            return None;
        }
        let logs: Vec<(f64, f64)> = points.iter().map(|(x, y)| (x.ln(), y.ln())).collect();
        let count = logs.len() as f64;
        let (mean_x, mean_y) = (
            logs.iter().map(|(x, _)| x).sum::<f64>() / count,
            logs.iter().map(|(_, y)| y).sum::<f64>() / count,
        );
        let sum = |f: &dyn Fn(f64, f64) -> f64| {
            logs.iter().map(|(x, y)| f(x - mean_x, y - mean_y)).sum::<f64>()
        };
        let (xx, xy, yy) = (sum(&|x, _| x * x), sum(&|x, y| x * y), sum(&|_, y| y * y));
        if xx == 0.0 {
            return None;
        }
        let exponent = xy / xx;
        let fit = if yy == 0.0 { 1.0 } else { xy * xy / (xx * yy) };
        Some(Self { exponent, factor: (mean_y - exponent * mean_x).exp(), fit })
    }
}

/// The probability that two samples of one distribution differ in rank at least as much as these (two-sided Mann-Whitney U
/// test). It is exact for small samples without ties, and otherwise uses the normal approximation with corrections for ties
/// and continuity. (The exact test of statrs 0.19.1 returns 1 for two samples that do not overlap, so it is not used.)
pub fn rank_test(a: &[f64], b: &[f64]) -> Option<f64> {
    let (a, b) = (sorted(a)?, sorted(b)?);
    let (ranks, ties) = ranks(&a, &b);
    let rank_sum: f64 = ranks;
    let (n, m) = (a.len() as f64, b.len() as f64);
    let u = rank_sum - n * (n + 1.0) / 2.0;
    if ties.is_empty() && a.len() <= EXACT && b.len() <= EXACT {
        return Some(exact(a.len(), b.len(), u.min(n * m - u)));
    }
    let total = n + m;
    let correction: f64 = ties.iter().map(|t| t * (t * t - 1.0)).sum::<f64>();
    let variance = n * m / 12.0 * ((total + 1.0) - correction / (total * (total - 1.0)));
    if variance <= 0.0 {
        return Some(1.0);
    }
    let distance = ((u - n * m / 2.0).abs() - 0.5).max(0.0);
    Some((2.0 * upper_tail(distance / variance.sqrt())).min(1.0))
}

/// The sum of the ranks of `a` among the values of both samples, and the sizes of the ties.
fn ranks(a: &[f64], b: &[f64]) -> (f64, Vec<f64>) {
    let mut all: Vec<(f64, bool)> = a.iter().map(|v| (*v, true)).collect();
    all.extend(b.iter().map(|v| (*v, false)));
    all.sort_by(|x, y| x.0.total_cmp(&y.0));
    let (mut sum, mut ties, mut before) = (0.0, Vec::new(), 0.0);
    for equal in all.chunk_by(|x, y| x.0 == y.0) {
        let size = equal.len() as f64;
        // Equal values get the mean of their ranks.
        sum +=
            (before + (size + 1.0) / 2.0) * equal.iter().filter(|(_, in_a)| *in_a).count() as f64;
        before += size;
        if size > 1.0 {
            ties.push(size);
        }
    }
    (sum, ties)
}

/// The two-sided probability of a U of at most `u`, by counting in how many ways each U results from n and m values.
fn exact(n: usize, m: usize, u: f64) -> f64 {
    // ways[j][v] is the number of orders of i values of `a` and j values of `b` with U = v. It is computed for increasing
    // i.
    let mut ways = vec![vec![1.0_f64]; m + 1];
    for i in 1..=n {
        let mut next: Vec<Vec<f64>> = Vec::with_capacity(m + 1);
        for (j, without) in ways.iter().enumerate() {
            let mut counts = vec![0.0; i * j + 1];
            // The largest value is either of `a`, and exceeds all j values of `b`, or it is of `b`.
            for (v, count) in without.iter().enumerate() {
                if let Some(slot) = counts.get_mut(v + j) {
                    *slot += count;
                }
            }
            if let Some(shorter) = j.checked_sub(1).and_then(|j| next.get(j)) {
                for (slot, count) in counts.iter_mut().zip(shorter) {
                    *slot += count;
                }
            }
            next.push(counts);
        }
        ways = next;
    }
    let counts = ways.pop().unwrap_or_default();
    let all: f64 = counts.iter().sum();
    let below: f64 = counts.iter().take(u.floor() as usize + 1).sum();
    (2.0 * below / all).min(1.0)
}

/// The probability that a normal variable exceeds `z` (at least 0), by formula 26.2.17 of Abramowitz and Stegun. The error
/// is below 7.5e-8.
fn upper_tail(z: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.231_641_9 * z);
    let series = [0.319_381_530, -0.356_563_782, 1.781_477_937, -1.821_255_978, 1.330_274_429];
    let polynomial = series.iter().rev().fold(0.0, |sum, c| t * (c + sum));
    (-z * z / 2.0).exp() / std::f64::consts::TAU.sqrt() * polynomial
}

/// Holm's correction of several probabilities, so that each can be treated as if it were the only one tested.
pub fn holm(probabilities: &[f64]) -> Vec<f64> {
    let mut order: Vec<(usize, f64)> = probabilities.iter().copied().enumerate().collect();
    order.sort_by(|a, b| a.1.total_cmp(&b.1));
    let (mut corrected, mut largest) = (vec![1.0; order.len()], 0.0_f64);
    for (place, (index, probability)) in order.iter().enumerate() {
        largest = largest.max(probability * (order.len() - place) as f64).min(1.0);
        if let Some(slot) = corrected.get_mut(*index) {
            *slot = largest;
        }
    }
    corrected
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64, within: f64) {
        assert!((a - b).abs() <= within, "{a} is not {b}");
    }

    #[test]
    fn a_summary_of_known_numbers() {
        let summary = Summary::of(&[5.0, 1.0, 3.0, 2.0, 4.0]).unwrap();
        assert_eq!((summary.min, summary.median, summary.max), (1.0, 3.0, 5.0));
        close(summary.fast, 1.4, 1e-12);
        assert_eq!(summary.deviation, 1.0);
        assert!(summary.low >= 1.0 && summary.low <= 3.0 && summary.high >= 3.0);
        let one = Summary::of(&[7.0]).unwrap();
        assert_eq!((one.low, one.median, one.high, one.deviation), (7.0, 7.0, 7.0, 0.0));
        assert!(Summary::of(&[]).is_none());
        assert!(Summary::of(&[1.0, f64::NAN]).is_none());
        assert_eq!(median(&[1.0, 2.0]), Some(1.5));
    }

    /// The interval contains the true median about as often as it should.
    #[test]
    fn the_interval_covers_the_median() {
        let mut rng = Rng::new(1);
        let mut covered = 0;
        for _ in 0..200 {
            let sample: Vec<f64> = (0..15).map(|_| rng.below(1_000_000) as f64).collect();
            let summary = Summary::of(&sample).unwrap();
            covered += usize::from(summary.low <= 500_000.0 && 500_000.0 <= summary.high);
        }
        assert!((170..=200).contains(&covered), "{covered} of 200");
    }

    #[test]
    fn growth_of_known_curves() {
        let curve = |exponent: f64| -> Vec<(f64, f64)> {
            [10.0, 100.0, 1000.0, 10_000.0_f64].map(|x| (x, 3.0 * x.powf(exponent))).to_vec()
        };
        for exponent in [0.0, 0.5, 1.0, 2.0] {
            let growth = Growth::of(&curve(exponent)).unwrap();
            close(growth.exponent, exponent, 1e-9);
            close(growth.factor, 3.0, 1e-9);
            close(growth.fit, 1.0, 1e-9);
        }
        assert!(Growth::of(&[(1.0, 1.0), (2.0, 2.0)]).is_none());
        assert!(Growth::of(&[(1.0, 1.0), (2.0, 0.0), (3.0, 1.0)]).is_none());
        assert!(Growth::of(&[(2.0, 1.0), (2.0, 2.0), (2.0, 3.0)]).is_none());
    }

    /// Values from tables of the test: completely separate samples of 3 and 3 have 2 of 20 orders, those of 5 and 5 have 2
    /// of 252.
    #[test]
    fn the_rank_test_knows_the_tables() {
        let p = |a: &[f64], b: &[f64]| rank_test(a, b).unwrap();
        close(p(&[1.0, 2.0, 3.0], &[4.0, 5.0, 6.0]), 0.1, 1e-12);
        close(p(&[1.0, 2.0, 3.0, 4.0, 5.0], &[6.0, 7.0, 8.0, 9.0, 10.0]), 2.0 / 252.0, 1e-12);
        // U = 4 for samples of 4 and 5: 12 of 126 orders on one side.
        close(p(&[1.0, 2.0, 3.0, 8.0], &[4.0, 5.0, 6.0, 7.0, 9.0]), 24.0 / 126.0, 1e-12);
        close(p(&[1.0, 4.0], &[2.0, 3.0]), 1.0, 1e-12);
        // If all values are equal, nothing differs.
        close(p(&[1.0; 8], &[1.0; 8]), 1.0, 1e-12);
        close(p(&[6.0, 7.0], &[1.0, 2.0]), p(&[1.0, 2.0], &[6.0, 7.0]), 1e-12);
        assert!(rank_test(&[], &[1.0]).is_none());
    }

    /// The approximation agrees with the exact count where both are possible.
    #[test]
    fn the_normal_approximation_is_near() {
        let a: Vec<f64> = (0..25).map(|i| f64::from(i) * 2.0).collect();
        let b: Vec<f64> = (0..25).map(|i| f64::from(i) * 2.0 + 9.0).collect();
        let exact = rank_test(&a, &b).unwrap();
        let tied: Vec<f64> = b.iter().copied().chain([9.0]).collect();
        let near = rank_test(&a, &tied).unwrap();
        close(exact, near, 0.05);
        close(upper_tail(1.959_964), 0.025, 1e-6);
        close(upper_tail(0.0), 0.5, 1e-6);
    }

    #[test]
    fn holm_corrects_for_how_many_were_tried() {
        let corrected = holm(&[0.01, 0.04, 0.03, 0.5]);
        for (a, b) in corrected.iter().zip([0.04, 0.09, 0.09, 0.5]) {
            close(*a, b, 1e-12);
        }
        assert!(holm(&[]).is_empty());
    }
}
