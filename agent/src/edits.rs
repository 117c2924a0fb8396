//! A change of a program as lines that people read: what comes, what goes.

use std::fmt::Display;

use palisade_compiler::model::Family;
use palisade_compiler::program::Delta;
use palisade_compiler::program::delta::Edits;
use palisade_compiler::program::skeleton::{SetName, TABLE};
use palisade_dataplane::netlink::{element_text, family_text};
use palisade_dataplane::transaction::Element;

/// `- element` for what goes and `+ element` for what comes, in nft's words.
pub fn lines(delta: &Delta) -> Vec<String> {
    let mut lines = Vec::new();
    for family in Family::ALL {
        let d = delta.family(family);
        let mut of = |set: SetName, edits: Vec<(bool, Element)>| {
            lines.extend(edits.into_iter().map(|(comes, element)| {
                let sign = if comes { '+' } else { '-' };
                line(sign, family, set, element_text(&element))
            }));
        };
        of(SetName::LocalIn, each(&d.local_in, |&a, ()| Element::Address(a)));
        of(SetName::LocalOut, each(&d.local_out, |&a, ()| Element::Address(a)));
        of(SetName::Hairpin, each(&d.hairpin, |&a, ()| Element::Hairpin(a)));
        of(SetName::Bridges, each(&d.bridges, |&i, ()| Element::Bridge(i)));
        of(SetName::Class, each(&d.class, |&a, c| Element::Class(a, c)));
        of(SetName::Cidr, each(&d.cidr, |&r, c| Element::Cidr(r, c)));
        of(SetName::AllowIn, each(&d.allow_in, |&(a, c), p| Element::Row(a, c, p)));
        of(SetName::AllowOut, each(&d.allow_out, |&(a, c), p| Element::Row(a, c, p)));
        of(SetName::Ports, each(&d.ports, |&p, ()| Element::Port(p)));
        of(SetName::PortRanges, each(&d.port_ranges, |&r, ()| Element::PortRange(r)));
    }
    lines
}

fn line(sign: char, family: Family, set: SetName, element: impl Display) -> String {
    format!("{sign} {} {TABLE} {} {{ {element} }}", family_text(family), set.as_str())
}

fn each<K, V: Copy>(
    edits: &Edits<K, V>,
    element: impl Fn(&K, V) -> Element,
) -> Vec<(bool, Element)> {
    let of_edit = |(key, edit): (&K, &palisade_compiler::program::delta::Edit<V>)| {
        let goes = edit.before.map(|value| (false, element(key, value)));
        let comes = edit.after.map(|value| (true, element(key, value)));
        goes.into_iter().chain(comes).collect::<Vec<_>>()
    };
    edits.iter().flat_map(of_edit).collect()
}
