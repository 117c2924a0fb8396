//! The watches of an API server, as metrics.

use std::fmt;
use std::time::Instant;

use super::kind_name;
use super::samples::{Labels, Named, Samples, named};
use crate::watch_state::{KubernetesState, WatchState};

fn kind(watch: &WatchState) -> Labels {
    vec![("kind", kind_name(watch.kind).to_owned())]
}

fn seconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64()
}

/// A value of each watch.
type Value = fn(&WatchState) -> f64;

pub(super) fn watches(samples: &mut Samples<'_>, state: &KubernetesState) -> fmt::Result {
    let of = |value: Value| state.watches.iter().map(move |watch| (kind(watch), value(watch)));
    samples.gauges(
        &named(
            "watch_in_sync",
            "1 if every object of the kind was listed once. If it stays 0, see palisade_watch_errors_total; services and endpointslices \
             are for explanations only.",
        ),
        of(|watch| f64::from(u8::from(watch.in_sync))),
    )?;
    samples.gauges(
        &Named::in_seconds(
            "watch_lag",
            "Time since the last event, bookmark or item of a list. The server sends a bookmark each minute; if it is longer than some \
             minutes, the connection hangs, and is made anew by itself.",
        ),
        state.watches.iter().filter_map(|watch| Some((kind(watch), seconds(watch.heard?)))),
    )?;
    samples.gauges(
        &Named::in_seconds(
            "watch_outage",
            "For how long the kind has not been watched; 0 if it is. If it grows, the API server cannot be reached or refuses: palisade \
             status says why. What is known stays enforced.",
        ),
        of(|watch| watch.outage.as_ref().map_or(0.0, |outage| seconds(outage.since))),
    )?;
    samples.counters(
        &named(
            "watch_lists",
            "Times that all objects of the kind were listed. If it grows, watches are cut or too old for the server: see \
             palisade_watch_errors_total.",
        ),
        of(|watch| watch.lists as f64),
    )?;
    let errors = state.watches.iter().flat_map(|watch| {
        watch.errors.iter().map(|(error, count)| {
            let mut labels = kind(watch);
            labels.push(("error", (*error).to_owned()));
            (labels, *count as f64)
        })
    });
    samples.counters(
        &named(
            "watch_errors",
            "Failures of lists and watches, by what failed. A few at the restart of a server are usual; forbidden means that a \
             permission is missing (palisade check names it).",
        ),
        errors,
    )
}
