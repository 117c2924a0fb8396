//! Plots as SVG text: curves and ranges on logarithmic axes, with error bars, labels at the curves' ends, and both colour schemes.
//! No script and no font is needed to see them.

mod axis;
mod curves;
mod ranges;

pub use axis::{Axis, Quantity};
pub use curves::{Curve, Curves, Point};
pub use ranges::{Ranges, Row};

/// Colours of one contender in the light and in the dark scheme, and the shape of its marks. The hues are Okabe and Ito's, which
/// colour-blind readers tell apart.
struct Look {
    name: &'static str,
    light: &'static str,
    dark: &'static str,
    mark: Mark,
}

#[derive(Clone, Copy)]
enum Mark {
    Circle,
    Square,
    Diamond,
    Triangle,
    Cross,
}

const LOOKS: [Look; 11] = [
    Look { name: "none", light: "#8a8f98", dark: "#8b93a1", mark: Mark::Cross },
    Look { name: "conntrack", light: "#5c6470", dark: "#b4bcc8", mark: Mark::Cross },
    Look { name: "palisade", light: "#0064b0", dark: "#5db4ff", mark: Mark::Circle },
    Look { name: "iptables-linear", light: "#c04a00", dark: "#ff8a4c", mark: Mark::Square },
    Look { name: "iptables-ipset", light: "#b57a00", dark: "#f2b92e", mark: Mark::Diamond },
    Look { name: "nft-policy-chains", light: "#b0508a", dark: "#ec9ccb", mark: Mark::Triangle },
    Look { name: "nft-pod-dispatch", light: "#00805e", dark: "#3fd0a4", mark: Mark::Diamond },
    Look { name: "ebpf-hash", light: "#a01c3c", dark: "#ff8096", mark: Mark::Square },
    Look { name: "kube-router", light: "#4d7c0f", dark: "#a3e635", mark: Mark::Triangle },
    Look { name: "other-a", light: "#6a4fb3", dark: "#b7a3f5", mark: Mark::Square },
    Look { name: "other-b", light: "#7a5c3a", dark: "#d0ac80", mark: Mark::Triangle },
];

fn look(name: &str) -> &'static Look {
    let [.., other_a, other_b] = &LOOKS;
    let fallback = if name.len().is_multiple_of(2) { other_a } else { other_b };
    LOOKS.iter().find(|look| look.name == name).unwrap_or(fallback)
}

/// The style that the plots' classes need: once in a page, and in every file of its own.
pub fn style() -> String {
    let colours = |pick: fn(&Look) -> &'static str| -> String {
        LOOKS.iter().map(|look| format!("--{}:{};", look.name, pick(look))).collect()
    };
    let (light, dark) = (colours(|l| l.light), colours(|l| l.dark));
    format!(
        ":root{{--ink:#1c2128;--dim:#5f6874;--grid:#e3e6ea;--minor:#f1f3f5;--paper:#fff;{light}}}\n\
         @media(prefers-color-scheme:dark){{:root{{--ink:#e6eaf0;--dim:#9aa4b2;--grid:#2c333d;--minor:#20262e;--paper:#14181d;{dark}}}}}\n\
         .plot{{font:12px system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif}}\n\
         .plot text{{fill:var(--ink)}}.plot .dim{{fill:var(--dim)}}.plot .title{{font-weight:600;font-size:14px}}\n\
         .plot .grid{{stroke:var(--grid)}}.plot .minor{{stroke:var(--minor)}}.plot .frame{{stroke:var(--dim)}}\n\
         .plot .paper{{fill:var(--paper)}}.plot .curve{{fill:none;stroke-width:1.8;stroke-linejoin:round}}\n\
         .plot .strong{{stroke-width:3}}.plot .error{{stroke-width:1.2}}.plot .leader{{stroke-width:.7;opacity:.6}}\n"
    )
}

/// A whole file of a plot.
pub fn standalone(plot: &str) -> String {
    let Some((head, body)) = plot.split_once('>') else { return plot.to_owned() };
    format!("{head}>\n<style>{}</style>{body}", style())
}

pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// The head of a plot; `</svg>` ends it.
fn open(width: f64, height: f64, title: &str, subtitle: &str) -> String {
    let (title, subtitle) = (escape(title), escape(subtitle));
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"plot\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" role=\"img\" aria-label=\"{title}\">\n\
         <rect class=\"paper\" width=\"{width}\" height=\"{height}\"/>\n\
         <text class=\"title\" x=\"14\" y=\"22\">{title}</text>\n\
         <text class=\"dim\" x=\"14\" y=\"39\">{subtitle}</text>\n"
    )
}

fn text(class: &str, anchor: &str, (x, y): (f64, f64), text: &str) -> String {
    format!(
        "<text class=\"{class}\" text-anchor=\"{anchor}\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>\n",
        escape(text)
    )
}

fn line(class: &str, style: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) -> String {
    let style = if style.is_empty() { String::new() } else { format!(" style=\"{style}\"") };
    format!(
        "<line class=\"{class}\"{style} x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>\n"
    )
}

/// A mark of a contender with what it says when pointed at.
fn mark(name: &str, (x, y): (f64, f64), says: &str) -> String {
    let look = look(name);
    let fill = format!("style=\"fill:var(--{});stroke:var(--paper)\"", look.name);
    let says = escape(says);
    let path = match look.mark {
        Mark::Circle => {
            return format!(
                "<circle {fill} cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4.6\"><title>{says}</title></circle>\n"
            );
        }
        Mark::Square => "m-4-4h8v8h-8z",
        Mark::Diamond => "m0-5.4 5.4 5.4-5.4 5.4-5.4-5.4z",
        Mark::Triangle => "m0-5 5 9h-10z",
        Mark::Cross => "m-1.2-4h2.4v2.8h2.8v2.4h-2.8v2.8h-2.4v-2.8h-2.8v-2.4h2.8z",
    };
    format!("<path {fill} d=\"M{x:.1} {y:.1}{path}\"><title>{says}</title></path>\n")
}

fn stroke(name: &str) -> String {
    format!("stroke:var(--{})", look(name).name)
}
