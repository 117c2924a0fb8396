//! A flow as text for a terminal: a line with columns, and a line for each reason.

use std::fmt::Write as _;

use crate::cli::output::{colours, is_unsafe, styled};
use crate::connection::protocol_name;
use crate::flows::flow::{Flow, FlowVerdict};

/// A column is at most so wide; what is longer moves the rest of its line.
const MAX_WIDTH: usize = 48;
/// The longest text from a manifest that is shown whole, in characters: names have at most 253, with their namespace 317.
const MAX_TEXT: usize = 512;

/// The widths of the columns so far: they only grow, so that lines are aligned with those before them.
#[derive(Debug)]
pub(super) struct Columns {
    colours: bool,
    from: usize,
    to: usize,
    port: usize,
}

impl Columns {
    pub(super) fn new() -> Self {
        Self { colours: colours(), from: 0, to: 0, port: 0 }
    }

    pub(super) fn lines(&mut self, flow: &Flow) -> Vec<String> {
        let [from, to] = [&flow.from, &flow.to].map(|end| escaped(&end.to_string()));
        let port = match flow.port {
            Some(port) => format!("{} {port}", protocol_name(flow.protocol)),
            None => protocol_name(flow.protocol),
        };
        let widen = |width: &mut usize, text: &str| {
            *width = (*width).max(text.chars().count().min(MAX_WIDTH));
            *width
        };
        let (w1, w2) = (widen(&mut self.from, &from), widen(&mut self.to, &to));
        let w3 = widen(&mut self.port, &port);
        let judgement = &flow.judgement;
        let verdict = match (flow.verdict, &judgement.divergence) {
            (_, Some(_)) => self.painted("1;31", flow.verdict.as_str()),
            (FlowVerdict::Deny, None) => self.painted("31", flow.verdict.as_str()),
            (FlowVerdict::Allow, None) => self.painted("32", flow.verdict.as_str()),
        };
        let (time, direction) = (time_of_day(&flow.last_seen), flow.direction.as_str());
        let mut line =
            format!("{time} {verdict} {direction:<7} {from:<w1$} -> {to:<w2$} {port:<w3$}");
        if let Some(service) = &flow.service {
            let at = service.port.map_or_else(String::new, |port| format!(" port {port}"));
            let name = service.name.as_ref().unwrap_or(&service.address);
            _ = write!(line, " by Service {}{at}", escaped(name));
        }
        if let Some(service) = flow.inferred_services.first() {
            let more = flow.inferred_services.len() - 1;
            let more = if more > 0 { format!(" or {more} more") } else { String::new() };
            let (name, port) = (escaped(&service.name), service.port);
            _ = write!(line, " perhaps by Service {name} port {port}{more}");
        }
        for end in [&flow.from, &flow.to] {
            if let Some(cidr) = &end.cidr {
                _ = write!(line, " block {}", escaped(cidr));
            }
        }
        let counted = match flow.verdict {
            FlowVerdict::Deny => "packets",
            FlowVerdict::Allow => "connections",
        };
        if flow.count > 1 {
            _ = write!(line, " {} {counted}", flow.count);
        }
        let traffic = &flow.traffic;
        if traffic.packets > 0 {
            _ = write!(line, " {} bytes in {} packets", traffic.bytes, traffic.packets);
        }
        let mut lines = vec![line.trim_end().to_owned()];
        if let Some(divergence) = &judgement.divergence {
            let alarm = self.painted("1;31", "DIVERGENCE");
            lines.push(format!("    {alarm}: {}", escaped(divergence)));
        }
        let misses = judgement.misses.iter().map(|miss| format!("    {}", escaped(&miss.text)));
        lines.extend(misses);
        if judgement.misses.is_empty() {
            lines.push(format!("    {}", escaped(&judgement.reason)));
        }
        if judgement.further > 0 {
            lines.push(format!("    {} more policies isolate the pod", judgement.further));
        }
        lines
    }

    fn painted(&self, style: &str, text: &str) -> String {
        styled(text, style, self.colours)
    }
}

/// The time of day of a time in RFC 3339, in milliseconds.
fn time_of_day(time: &str) -> String {
    let of_day = time.split_once('T').map_or(time, |(_, of_day)| of_day).trim_end_matches('Z');
    let (seconds, fraction) = of_day.split_once('.').unwrap_or((of_day, ""));
    let millis: String = fraction.chars().chain("000".chars()).take(3).collect();
    format!("{}.{}", escaped(seconds), escaped(&millis))
}

/// Text that comes from manifests, so that it neither moves the cursor nor turns the direction of writing, nor fills the screen.
fn escaped(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for (at, c) in text.chars().enumerate() {
        if at == MAX_TEXT {
            shown.push_str("...");
            break;
        }
        if is_unsafe(c) {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explanation::Miss;
    use crate::flows::flow::{FlowDirection, FlowEnd, Judgement};

    fn flow(pod: &str, count: u64) -> Flow {
        let from =
            FlowEnd { address: "10.0.0.1".into(), pod: Some(pod.into()), ..FlowEnd::default() };
        let to = FlowEnd { address: "203.0.113.7".into(), ..FlowEnd::default() };
        let miss = Miss {
            policy: "shop/web".into(),
            rule: Some(0),
            peer: None,
            port: None,
            text: "shop/web egress rule 0: the port differs".into(),
        };
        Flow {
            direction: FlowDirection::Egress,
            first_seen: "2026-11-27T08:00:00Z".into(),
            last_seen: "2026-11-27T08:00:01.5Z".into(),
            count,
            from,
            to,
            port: Some(443),
            judgement: Judgement { misses: vec![miss], ..Judgement::default() },
            ..Flow::example()
        }
    }

    fn columns() -> Columns {
        Columns { colours: false, from: 0, to: 0, port: 0 }
    }

    #[test]
    fn lines_are_aligned_with_those_before() {
        let mut columns = columns();
        let long = columns.lines(&flow("shop/frontend", 1));
        assert_eq!(
            long,
            [
                "08:00:01.500 deny egress  shop/frontend (10.0.0.1) -> 203.0.113.7 TCP 443",
                "    shop/web egress rule 0: the port differs",
            ]
        );
        let short = columns.lines(&flow("shop/web", 3));
        assert_eq!(
            short[0],
            "08:00:01.500 deny egress  shop/web (10.0.0.1)      -> 203.0.113.7 TCP 443 3 packets"
        );
    }

    #[test]
    fn hostile_names_are_shown_harmlessly() {
        let hostile = format!("n/\u{1b}[2J\u{9b}2J\n\u{202e}<b>{}", "x".repeat(5000));
        let lines = columns().lines(&flow(&hostile, 1));
        let line = &lines[0];
        assert!(line.contains(r"n/\u{1b}[2J\u{9b}2J\u{a}\u{202e}<b>xxx"), "{line}");
        assert!(line.chars().all(|c| !c.is_control() && c != '\u{202e}'), "{line}");
        assert!(line.len() < 1000, "{}", line.len());
    }

    #[test]
    fn a_divergence_is_named_with_its_reason() {
        let mut flow = flow("shop/web", 1);
        flow.judgement = Judgement {
            reason: "no policy denies it".into(),
            divergence: Some("no revision denies it".into()),
            ..Judgement::default()
        };
        let lines = columns().lines(&flow);
        assert_eq!(
            lines[1..],
            ["    DIVERGENCE: no revision denies it", "    no policy denies it"]
        );
    }
}
