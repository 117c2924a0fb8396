//! A report as a single HTML page that needs no other files: no script, no font, no network.

mod tables;

use std::fmt::Write as _;

use super::figures::{self, Figure, Section, kind_name, kinds};
use super::plot::PlotError;
use super::report::Report;
use super::settings::Cell;

/// The whole page.
///
/// # Errors
/// As `Figure::svg`.
pub fn html(report: &Report) -> Result<String, PlotError> {
    let figures = figures::all(report);
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n\
         <title>NetworkPolicy at rule scale</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n"
    );
    out.push_str(&head(report));
    out.push_str(&tables::goals(report));
    let sections = [
        (Section::Match, "What a packet pays", MATCH, tables::match_costs(report)),
        (Section::Change, "How long until a change is enforced", CHANGE, tables::edits(report)),
        (Section::Load, "Loading a whole cluster", LOAD, tables::loads(report)),
        (Section::Memory, "Memory", MEMORY, tables::memory(report)),
    ];
    for (section, title, text, table) in sections {
        _ = writeln!(out, "<h2>{title}</h2>\n<p>{text}</p>\n{table}");
        for like in kinds(report) {
            out.push_str(&plots(&figures, section, like, is_headline(report, like))?);
        }
    }
    out.push_str(&tables::growth(report));
    out.push_str(&tables::absences(report));
    out.push_str(&tables::machine(report));
    out.push_str(METHOD);
    out.push_str("</main>\n</body>\n</html>\n");
    Ok(out)
}

/// Escapes text for an element or an attribute.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Whether the plots of this kind of cluster are shown expanded: the kind in which the contenders differ most, if it was
/// measured.
fn is_headline(report: &Report, like: Cell) -> bool {
    let worst = |k: &Cell| k.shape == crate::scenario::ScenarioShape::OpenToNamespaces;
    let kinds = kinds(report);
    kinds.iter().find(|k| worst(k)).or(kinds.first()) == Some(&like)
}

fn plots(
    figures: &[Figure],
    section: Section,
    like: Cell,
    open: bool,
) -> Result<String, PlotError> {
    let prefix = format!("{}{}-", like.shape, if like.dual_stack { "-dual-stack" } else { "" });
    let is_of = |figure: &&Figure| {
        let rest = figure.name.strip_prefix(&prefix);
        figure.section == section
            && rest.is_some_and(|rest| like.dual_stack || !rest.starts_with("dual-stack"))
    };
    let mut drawn = String::new();
    for figure in figures.iter().filter(is_of) {
        _ = writeln!(drawn, "<figure id=\"{}\">{}</figure>", figure.name, figure.svg()?);
    }
    if drawn.is_empty() {
        return Ok(drawn);
    }
    let open = if open { " open" } else { "" };
    Ok(format!(
        "<details{open}><summary>Cluster shape {}</summary>\n<div class=\"plots\">\n{drawn}</div></details>\n",
        escape(&kind_name(like))
    ))
}

fn head(report: &Report) -> String {
    let mut out = String::from("<h1>NetworkPolicy at rule scale</h1>\n");
    let machine = &report.machine;
    let virtual_machine = if machine.virtual_machine { ", a virtual machine" } else { "" };
    _ = writeln!(
        out,
        "<p class=\"lead\">The same clusters, enforced on one node in {} ways, side by side in one run and one kernel: {} on {} \
         × {}{virtual_machine}. Every contender was first held against a literal reading of the specification by real packets; \
         whoever judged one wrongly was not timed.</p>",
        report.contenders.len(),
        escape(machine.kernel.split(" #").next().unwrap_or_default()),
        machine.cpus,
        escape(&machine.cpu),
    );
    let findings = tables::findings(report);
    if !findings.is_empty() {
        _ = writeln!(out, "<ul class=\"findings\">{findings}</ul>");
    }
    let (done, all) = (report.cells.len(), report.settings.cells.len());
    if done < all {
        _ = writeln!(
            out,
            "<p class=\"warning\">This run was stopped: {done} of {all} clusters were measured.</p>"
        );
    }
    if !machine.optimized {
        out.push_str("<p class=\"warning\">The harness was built without optimisation: its own times mean little.</p>\n");
    }
    if let Some(why) = &machine.fallback {
        _ = writeln!(
            out,
            "<p class=\"warning\">Packets were sent by packet sockets and timed in user space ({}): figures of packets include system \
             calls, and are not comparable with those of live frames.</p>",
            escape(why)
        );
    }
    out
}

const MATCH: &str = "Kernel time for one packet, from its arrival at an interface, through conntrack and the rules, to the sink; \
    taken inside the kernel, and with the packets that arrive counted, so that a wrong verdict cannot look fast. <i>none</i> is \
    forwarding without any rules, <i>conntrack</i> is one rule that accepts established connections: \
    the tables show what each way adds to that.";
const CHANGE: &str = "A change arrives in memory; meanwhile packets that it concerns are sent one by one. The time ends \
    with the first packet after which no packet gets the old verdict: the <i>deny</i> or <i>allow</i> is \
    enforced.";
const LOAD: &str = "From objects in memory to the kernel's acknowledgement of everything, into an empty namespace. While it loads \
    again, packets that are always allowed are sent one by one: how long each takes, and whether any is denied.";
const MEMORY: &str = "The increase of the whole kernel's slabs, per-CPU areas and vmalloc while a separate process loads the cluster. \
    It includes that of other processes, so small differences mean nothing.";

const METHOD: &str = "<h2>Method, and what this does not show</h2>\n<ul>\n\
    <li>One node of at most 110 pods is programmed; the rest of the cluster is remote. Clusters, connections and edits are drawn from the \
    seed by one generator; each contender gets the same.</li>\n\
    <li>Packets are made by BPF_PROG_TEST_RUN with live XDP frames, enter the stack as if received, and go to an interface that drops \
    them. The clock is the kernel's, between batches of 64, on one CPU. First packets are dropped behind the rules before conntrack \
    keeps them, so each is a first packet. Rounds of all contenders alternate, and each round begins with another contender.</li>\n\
    <li>Medians with 95 % bootstrap intervals over rounds. The interval says how well the median of <i>this</i> run is known, not what \
    another machine or another day would give: quote ratios within one run.</li>\n\
    <li>The contenders other than Palisade are the <i>shapes</i> of rules that the named engines program, built here from the same \
    cluster; they are not those engines. Their edits resync what their counterparts resync, without the counterparts' watches, \
    queues and delays: real engines take longer.</li>\n\
    <li>Palisade's own times are of its compiler and its netlink in one process, without the agent's sources: what an API server \
    or a file takes to report a change is not included.</li>\n\
    <li>Throughput of bulk TCP, hardware offload, services and address translation are not measured. An established connection \
    survives a policy that forbids it in every contender here, and is not part of “enforced”.</li>\n</ul>\n";

const STYLE: &str = "\
:root{--ink:#1c2128;--dim:#5f6874;--grid:#e3e6ea;--paper:#fff;--palisade:#0064b0}\n\
@media(prefers-color-scheme:dark){:root{--ink:#e6eaf0;--dim:#9aa4b2;--grid:#2c333d;--paper:#14181d;--palisade:#5db4ff}}\n\
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif}\n\
main{max-width:1180px;margin:0 auto;padding:2rem 1.25rem 5rem}\n\
h1{font-size:2rem;letter-spacing:-.02em;margin:.2em 0}h2{margin:2.6em 0 .4em;font-size:1.35rem;letter-spacing:-.01em}\n\
p,ul{max-width:78ch}.lead{font-size:1.06rem;color:var(--dim)}.findings{font-size:1.06rem;padding-left:1.1em}.findings li{margin:.3em 0}\n\
.warning{border-left:4px solid #d9822b;padding:.3em .9em;background:color-mix(in srgb,#d9822b 12%,transparent)}\n\
.scroll{overflow-x:auto}table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums;margin:.8em 0 1.2em}\n\
.caption{color:var(--dim);font-size:.92rem;margin:1.4em 0 -.4em;max-width:95ch}th,td{padding:.32em .8em;border-bottom:1px solid var(--grid);text-align:right;white-space:nowrap}\n\
th:first-child,td:first-child,.words{text-align:left;white-space:normal}thead th{border-bottom:2px solid var(--dim);font-weight:600}\n\
tr.own td,td.own,th.own{font-weight:700;background:color-mix(in srgb,var(--palisade) 9%,transparent)}\n\
.met{color:#0a7d4b;font-weight:700}.missed{color:#c0341d;font-weight:700}.unknown,.dim{color:var(--dim)}\n\
@media(prefers-color-scheme:dark){.met{color:#4fd39a}.missed{color:#ff8069}}\n\
details{margin:.6em 0;border:1px solid var(--grid);border-radius:8px;padding:.2em 1em}summary{cursor:pointer;padding:.4em 0;font-weight:600}\n\
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,520px),1fr));gap:.8rem}figure{margin:0;background:#fff;border-radius:6px}figure svg{width:100%;height:auto;display:block}\n\
dl{display:grid;grid-template-columns:max-content 1fr;gap:.2em 1.2em;font-size:.92rem}dt{color:var(--dim)}dd{margin:0;overflow-wrap:anywhere}\n\
code{font-size:.92em}\n\
@media print{details{border:0}body{font-size:12px}}\n";
