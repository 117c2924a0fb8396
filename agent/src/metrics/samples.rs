//! Samples that are made when somebody asks.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

/// Below it a float holds every whole number as it is.
const MAX_WHOLE: f64 = 9_007_199_254_740_992.0;

/// Labels of one series.
pub(super) type Labels = Vec<(&'static str, String)>;

/// What a metric is called and what it means, without the suffixes that its type and unit give.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) name: &'static str,
    pub(super) unit: Option<Unit>,
    /// What it is, and what to do when it is bad; whole sentences.
    pub(super) help: &'static str,
}

pub(super) const fn named(name: &'static str, help: &'static str) -> Named {
    Named { name, unit: None, help }
}

impl Named {
    pub(super) const fn in_seconds(name: &'static str, help: &'static str) -> Self {
        Self { name, unit: Some(Unit::Seconds), help }
    }

    pub(super) const fn in_bytes(name: &'static str, help: &'static str) -> Self {
        Self { name, unit: Some(Unit::Bytes), help }
    }
}

/// Writes metrics as text.
pub(super) struct Samples<'a>(pub(super) DescriptorEncoder<'a>);

impl Samples<'_> {
    /// A gauge without labels; left out where there is no value.
    pub(super) fn gauge(&mut self, named: &Named, value: Option<f64>) -> fmt::Result {
        let Some(value) = value else { return Ok(()) };
        write_gauge(self.describe(named, MetricType::Gauge)?, value)
    }

    /// A gauge of so many things.
    pub(super) fn count(&mut self, named: &Named, count: usize) -> fmt::Result {
        self.gauge(named, Some(count as f64))
    }

    /// A gauge that is 1 or 0.
    pub(super) fn flag(&mut self, named: &Named, is_set: bool) -> fmt::Result {
        self.gauge(named, Some(if is_set { 1.0 } else { 0.0 }))
    }

    /// The series of a gauge; nothing where there are none.
    pub(super) fn gauges(
        &mut self,
        named: &Named,
        series: impl IntoIterator<Item = (Labels, f64)>,
    ) -> fmt::Result {
        self.series(named, MetricType::Gauge, series, write_gauge)
    }

    /// A counter without labels.
    pub(super) fn counter(&mut self, named: &Named, value: Option<f64>) -> fmt::Result {
        let Some(value) = value else { return Ok(()) };
        write_counter(self.describe(named, MetricType::Counter)?, value)
    }

    /// The series of a counter; nothing where there are none.
    pub(super) fn counters(
        &mut self,
        named: &Named,
        series: impl IntoIterator<Item = (Labels, f64)>,
    ) -> fmt::Result {
        self.series(named, MetricType::Counter, series, write_counter)
    }

    fn series(
        &mut self,
        named: &Named,
        kind: MetricType,
        series: impl IntoIterator<Item = (Labels, f64)>,
        write: impl Fn(MetricEncoder<'_>, f64) -> fmt::Result,
    ) -> fmt::Result {
        let mut series = series.into_iter().peekable();
        if series.peek().is_none() {
            return Ok(());
        }
        let mut metric = self.describe(named, kind)?;
        series.try_for_each(|(labels, value)| write(metric.encode_family(&labels)?, value))
    }

    fn describe<'s>(
        &'s mut self,
        named: &'s Named,
        kind: MetricType,
    ) -> Result<MetricEncoder<'s>, fmt::Error> {
        self.0.encode_descriptor(named.name, named.help, named.unit.as_ref(), kind)
    }
}

fn is_whole(value: f64) -> bool {
    value.fract() == 0.0 && value.abs() < MAX_WHOLE
}

/// Whole numbers are written without a fraction: people read them, too.
fn write_gauge(encoder: MetricEncoder<'_>, value: f64) -> fmt::Result {
    if is_whole(value) {
        return ConstGauge::new(value as i64).encode(encoder);
    }
    ConstGauge::new(value).encode(encoder)
}

fn write_counter(encoder: MetricEncoder<'_>, value: f64) -> fmt::Result {
    if is_whole(value) {
        return ConstCounter::new(value as u64).encode(encoder);
    }
    ConstCounter::new(value).encode(encoder)
}
