//! The text format of OpenMetrics 1.0, read strictly: what a scraper would refuse, and what breaks its conventions, fails the test.

use std::collections::{BTreeMap, BTreeSet};

/// What one scrape holds.
#[derive(Debug, Default)]
pub(crate) struct Scrape {
    pub(crate) families: BTreeMap<String, FamilyText>,
    /// By name and labels as written.
    samples: BTreeMap<String, f64>,
}

/// What is said of a family, whose name is without the suffixes of its samples.
#[derive(Debug, Default)]
pub(crate) struct FamilyText {
    pub(crate) help: String,
    pub(crate) kind: String,
    unit: Option<String>,
    /// Names of the labels of its series, but `le`.
    pub(crate) labels: BTreeSet<String>,
}

impl FamilyText {
    /// The name under which a query finds it, except that a histogram's has suffixes.
    pub(crate) fn queried(&self, name: &str) -> String {
        if self.kind == "counter" { format!("{name}_total") } else { name.to_owned() }
    }
}

impl Scrape {
    #[track_caller]
    pub(crate) fn parse(text: &str) -> Self {
        let body = text.strip_suffix("# EOF\n").unwrap_or_else(|| panic!("no end: {text}"));
        assert!(!body.contains("# EOF"), "two ends");
        let mut scrape = Self::default();
        let mut family = String::new();
        for line in body.lines() {
            assert!(!line.is_empty() && line.trim() == line, "{line:?}");
            match line.strip_prefix("# ") {
                Some(metadata) => scrape.metadata(metadata, &mut family),
                None => scrape.sample(line, &family),
            }
        }
        scrape.families.iter().for_each(|(name, text)| scrape.check(name, text));
        scrape
    }

    /// The value of a series, named as in `palisade_subjects{direction="ingress"}`.
    #[track_caller]
    pub(crate) fn value(&self, series: &str) -> f64 {
        *self.samples.get(series).unwrap_or_else(|| panic!("no {series} in {:#?}", self.samples))
    }

    pub(crate) fn has(&self, series: &str) -> bool {
        self.samples.contains_key(series)
    }

    /// `HELP` begins a family, `TYPE` and `UNIT` follow.
    #[track_caller]
    fn metadata(&mut self, metadata: &str, family: &mut String) {
        let [keyword, name, text] = metadata.splitn(3, ' ').collect::<Vec<_>>()[..] else {
            panic!("{metadata:?}");
        };
        if keyword == "HELP" {
            assert!(!self.families.contains_key(name), "{name} comes twice");
            let is_plain = name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
            assert!(is_plain, "{name}");
            assert!(name.starts_with("palisade_") || name.starts_with("process_"), "{name}");
            assert!(!text.contains('\\') && text.ends_with('.') && !text.ends_with(".."), "{text}");
            *family = name.to_owned();
            let help = text.to_owned();
            self.families.insert(name.to_owned(), FamilyText { help, ..FamilyText::default() });
            return;
        }
        assert_eq!(name, family, "{metadata:?} is no part of its family");
        let of = self.families.get_mut(name).unwrap();
        match keyword {
            "TYPE" => of.kind = text.to_owned(),
            "UNIT" => of.unit = Some(text.to_owned()),
            _ => panic!("{metadata:?}"),
        }
    }

    #[track_caller]
    fn sample(&mut self, line: &str, family: &str) {
        let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line:?}"));
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let of = self.families.get_mut(family).unwrap_or_else(|| panic!("{line:?}"));
        let suffixes: &[&str] = match of.kind.as_str() {
            "counter" => &["_total"],
            "gauge" => &[""],
            "histogram" => &["_bucket", "_sum", "_count"],
            other => panic!("{family} is of type {other:?}"),
        };
        let suffix = name.strip_prefix(family).unwrap_or_else(|| panic!("{line:?} in {family}"));
        assert!(suffixes.contains(&suffix), "{line:?} of a {}", of.kind);
        let names = label_names(labels.strip_suffix('}').unwrap());
        assert_eq!(names.iter().any(|name| name == "le"), suffix == "_bucket", "{line:?}");
        of.labels.extend(names.into_iter().filter(|name| name != "le"));
        let value: f64 = value.parse().unwrap_or_else(|_| panic!("{line:?}"));
        assert!(value >= 0.0, "{line:?}");
        assert_eq!(self.samples.insert(series.to_owned(), value), None, "{series} comes twice");
    }

    /// A name has its unit as a suffix, no type's suffix is doubled, and a histogram's buckets add up.
    #[track_caller]
    fn check(&self, name: &str, family: &FamilyText) {
        assert!(!family.kind.is_empty(), "{name} has no type");
        let unit =
            ["seconds", "bytes"].into_iter().find(|unit| name.ends_with(&format!("_{unit}")));
        assert_eq!(family.unit.as_deref(), unit, "{name}");
        for suffix in ["_total", "_count", "_sum", "_bucket"] {
            assert!(!name.ends_with(suffix), "{name}");
        }
        let of_family = self.samples.keys().filter(|series| {
            let rest = series.strip_prefix(name);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['_', '{']))
        });
        assert!(of_family.count() > 0, "{name} has no sample");
        if family.kind == "histogram" {
            self.check_histogram(name);
        }
    }

    #[track_caller]
    fn check_histogram(&self, name: &str) {
        let bucket = format!("{name}_bucket{{");
        let mut series: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
        for (sample, &count) in &self.samples {
            let Some(labels) = sample.strip_prefix(&bucket) else { continue };
            let (before, rest) = labels.split_once("le=\"").unwrap();
            let (le, after) = rest.split_once('"').unwrap();
            let others = format!("{before}{after}").replace(",,", ",");
            let others = others.trim_end_matches('}').trim_matches(',').to_owned();
            let le = if le == "+Inf" { f64::INFINITY } else { le.parse().unwrap() };
            series.entry(others).or_default().push((le, count));
        }
        assert!(!series.is_empty(), "{name} has no bucket");
        for (labels, mut buckets) in series {
            buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
            assert!(buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{name}: {buckets:?}");
            let labels = if labels.is_empty() { labels } else { format!("{{{labels}}}") };
            let (last, count) = *buckets.last().unwrap();
            assert!(last.is_infinite(), "{name}{labels}");
            assert_eq!(self.value(&format!("{name}_count{labels}")), count, "{name}{labels}");
            assert!(self.has(&format!("{name}_sum{labels}")), "{name}{labels}");
        }
    }
}

/// Of `a="b",c="d"`; values have quotes and backslashes escaped.
#[track_caller]
fn label_names(mut labels: &str) -> Vec<String> {
    let mut names = Vec::new();
    while !labels.is_empty() {
        let (name, rest) = labels.split_once("=\"").unwrap_or_else(|| panic!("{labels:?}"));
        assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{name:?}");
        let mut escaped = false;
        let end = rest.find(|c| {
            let is_end = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            is_end
        });
        let (_, behind) = rest.split_at(end.unwrap_or_else(|| panic!("{labels:?}")));
        names.push(name.to_owned());
        let behind = behind.strip_prefix('"').unwrap();
        labels = behind.strip_prefix(',').unwrap_or(behind);
        assert!(behind.is_empty() || behind.starts_with(','), "{labels:?}");
    }
    names
}

/// What a text is refused for.
fn refusal(text: &str) -> String {
    let panic = std::panic::catch_unwind(|| Scrape::parse(text)).expect_err("it is refused");
    let formatted = panic.downcast_ref::<String>().cloned();
    formatted.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default()
}

#[test]
fn a_series_that_comes_twice_is_refused() {
    let twice =
        "# HELP palisade_a A thing.\n# TYPE palisade_a gauge\npalisade_a 1\npalisade_a 2\n# EOF\n";
    assert!(refusal(twice).contains("comes twice"));
}

#[test]
fn a_counter_without_its_suffix_is_refused() {
    let bare = "# HELP palisade_a A thing.\n# TYPE palisade_a counter\npalisade_a 1\n# EOF\n";
    assert!(refusal(bare).contains("of a counter"));
}
