//! How an attack is carried out: it succeeds without Palisade, or it would prove nothing, and fails with it, while what is legitimate passes.

use std::time::Duration;

use palisade_compiler::model::Family;
use palisade_lab::{Layout, MARKERS};

use crate::command::{Agent, Scratch, palisade_in};
use crate::scene::Scene;
use crate::stage::{Stage, manifest, scene};
use crate::table::{Row, note};

pub(crate) type Place = (Layout, Family);

pub(crate) const EVERYWHERE: &[Place] = &crate::cast::LAYOUTS_AND_FAMILIES;
pub(crate) const ON_BRIDGES: &[Place] =
    &[(Layout::Bridged, Family::V4), (Layout::Bridged, Family::V6)];
pub(crate) const ON_BRIDGES_V4: &[Place] = &[(Layout::Bridged, Family::V4)];
pub(crate) const ON_BRIDGES_V6: &[Place] = &[(Layout::Bridged, Family::V6)];
pub(crate) const OVER_V4: &[Place] = &[(Layout::Routed, Family::V4), (Layout::Bridged, Family::V4)];
pub(crate) const OVER_V6: &[Place] = &[(Layout::Routed, Family::V6), (Layout::Bridged, Family::V6)];

/// What is in force while an attack must succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Without {
    /// Nothing.
    Rules,
    /// The policies, without the guard of sources.
    SourceGuard,
}

/// What attacks are carried out in.
#[derive(Clone, Copy)]
pub(crate) struct Setting {
    pub(crate) without: Without,
    /// Makes what there is besides the pods.
    pub(crate) prepare: fn(&Scene),
}

/// Pods alone, and nothing in force at first.
pub(crate) const PLAIN: Setting = Setting { without: Without::Rules, prepare: |_| {} };

type Trial = Box<dyn Fn(&Stage<'_>) -> bool>;

pub(crate) struct Attack {
    /// What is tried, for the table.
    what: &'static str,
    places: &'static [Place],
    succeeds: Trial,
    control: Trial,
    /// Whether it is known to get through.
    is_open: bool,
}

/// An attack that `succeeds` tries once. What the policies allow must pass.
pub(crate) fn attack(
    what: &'static str,
    places: &'static [Place],
    succeeds: impl Fn(&Stage<'_>) -> bool + 'static,
) -> Attack {
    let control = |stage: &Stage<'_>| stage.allowed_passes();
    let (succeeds, control) = (Box::new(succeeds), Box::new(control));
    Attack { what, places, succeeds, control, is_open: false }
}

impl Attack {
    /// With another control: whether what is like the attack and is no attack passes.
    pub(crate) fn control(self, control: impl Fn(&Stage<'_>) -> bool + 'static) -> Self {
        Self { control: Box::new(control), ..self }
    }

    /// One that is known to get through, as docs/attacks.md says under "What stays open". When it does no more, the document is wrong.
    pub(crate) fn open(self) -> Self {
        Self { is_open: true, ..self }
    }

    /// Whether it succeeds, if need be at a later try.
    fn succeeds_at_last(&self, stage: &Stage<'_>) -> bool {
        (0..TRIES).any(|_| {
            let succeeded = (self.succeeds)(stage);
            if !succeeded {
                std::thread::sleep(PAUSE);
            }
            succeeded
        })
    }
}

/// Tries until an attack has succeeded: neighbours may have to be found first.
const TRIES: usize = 20;
const PAUSE: Duration = Duration::from_millis(5);

/// How often an attack is tried that must fail. `PALISADE_ATTACK_TRIES` sets it; above this one, all is done against the running
/// agent too.
const SHORT: usize = 3;

pub(crate) fn tries() -> usize {
    std::env::var("PALISADE_ATTACK_TRIES").map_or(SHORT, |text| text.parse().expect("a number"))
}

/// Who enforces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Apply,
    Agent,
}

/// What enforces, for as long as it is needed.
#[allow(dead_code, reason = "they end what they are when they are dropped")]
enum Defence {
    Tables(Scratch),
    Agent(Agent, Scratch),
}

#[track_caller]
fn enforce(scene: &Scene, by: By, guard: &str) -> Defence {
    match by {
        By::Apply => Defence::Tables(apply(scene, guard)),
        By::Agent => {
            let scratch = Scratch::new();
            scratch.write("manifest.yaml", &manifest());
            let more = ["--listen", "off", "--source-guard", guard];
            let agent = Agent::of_node(scene.lab.node(), &scratch.0, &more);
            agent.until_enforcing();
            Defence::Agent(agent, scratch)
        }
    }
}

/// Has the manifest enforced by tables alone, with this mode of the source guard. Returns the directory of the manifest.
#[track_caller]
pub(crate) fn apply(scene: &Scene, guard: &str) -> Scratch {
    let scratch = Scratch::new();
    scratch.write("manifest.yaml", &manifest());
    let files = ["apply", "-f", scratch.path()];
    let guard = ["--allow-source", MARKERS, "--source-guard", guard];
    palisade_in(scene.lab.node(), &[&files[..], &guard].concat()).exits(0);
    scratch
}

/// Carries attacks out wherever they are for, and fails with all that is wrong.
#[track_caller]
pub(crate) fn carry_out(setting: Setting, attacks: &[Attack]) {
    let ways = if tries() > SHORT { &[By::Apply, By::Agent][..] } else { &[By::Apply] };
    let layouts = || ways.iter().flat_map(|&by| Layout::ALL.map(|layout| (by, layout)));
    let rows: Vec<Row> =
        layouts().flat_map(|(by, layout)| carry_out_in(setting, attacks, layout, by)).collect();
    report(&rows);
}

/// Notes the rows, and fails with those that are not as they are to be.
#[track_caller]
pub(crate) fn report(rows: &[Row]) {
    assert!(!rows.is_empty(), "nothing was tried");
    note(rows);
    let wrong: Vec<String> =
        rows.iter().filter(|row| !row.is_as_wanted()).map(ToString::to_string).collect();
    assert!(wrong.is_empty(), "of {}:\n{}", rows.len(), wrong.join("\n"));
}

#[track_caller]
fn carry_out_in(setting: Setting, attacks: &[Attack], layout: Layout, by: By) -> Vec<Row> {
    let here: Vec<(&Attack, Family)> = attacks
        .iter()
        .flat_map(|attack| attack.places.iter().map(move |place| (attack, *place)))
        .filter(|(_, place)| place.0 == layout)
        .map(|(attack, place)| (attack, place.1))
        .collect();
    if here.is_empty() {
        return Vec::new();
    }
    let scene = scene(layout);
    (setting.prepare)(&scene);
    let before = match setting.without {
        Without::Rules => None,
        Without::SourceGuard => Some(enforce(&scene, by, "off")),
    };
    let without = here.iter().map(|(attack, family)| {
        let stage = Stage::new(&scene, *family);
        (attack.succeeds_at_last(&stage), (attack.control)(&stage))
    });
    let without: Vec<(bool, bool)> = without.collect();
    drop(before);
    let _defence = enforce(&scene, by, "all");
    let with = here.iter().zip(without).map(|((attack, family), (without, control))| {
        let stage = Stage::new(&scene, *family);
        Row {
            what: attack.what,
            layout,
            family: *family,
            by: if by == By::Apply { "apply" } else { "agent" },
            without,
            is_open: attack.is_open,
            with: (0..tries()).any(|_| (attack.succeeds)(&stage)),
            control: control && (attack.control)(&stage),
        }
    });
    with.collect()
}
