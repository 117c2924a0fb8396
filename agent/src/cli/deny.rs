use clap::builder::{PossibleValuesParser, TypedValueParser};
use palisade_compiler::program::skeleton::DenyAction;
use palisade_dataplane::dataplane::Options;

/// What is done with what policies deny.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(super) struct Deny {
    /// What is done with packets that policies deny: drop them, so that their sender waits until it gives up, or reject them, so
    /// that it learns at once, by a TCP reset or an ICMP error (administratively prohibited). Neither is delivered
    #[arg(long, value_name = "ACTION", default_value = DenyAction::Drop.as_str(), value_parser = deny_action())]
    pub(super) deny_action: DenyAction,
}

impl Deny {
    pub(super) fn options(self) -> Options {
        Options { deny_action: self.deny_action, ..Options::default() }
    }
}

fn deny_action() -> impl TypedValueParser<Value = DenyAction> {
    PossibleValuesParser::new(DenyAction::ALL.map(DenyAction::as_str)).map(|name| {
        let named = |action: &DenyAction| action.as_str() == name;
        DenyAction::ALL.into_iter().find(named).unwrap_or_default()
    })
}
