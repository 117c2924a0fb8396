use palisade_compiler::program::skeleton::{DenyAction, rules};

use super::*;

#[test]
fn every_rule_of_the_skeleton_is_read_back() {
    let mut generations = Generations::default();
    generations.set(SetId { set: SetName::Class, generation: 3 });
    for family in TableFamily::ALL {
        for chain in ChainName::ALL {
            for rule in DenyAction::ALL.into_iter().flat_map(|deny| rules(family, chain, deny)) {
                let encoded = encode(family, &rule, &generations, None);
                let (decoded, sets) =
                    decode(family, encoded, |name| name == RESTORE_MAP).expect("decodes");
                assert_eq!(decoded, rule, "{family:?} {chain:?}");
                assert!(sets.iter().all(|id| *id == generations.id(id.set)));
            }
        }
    }
}

#[test]
fn what_is_not_written_the_same_way_is_not_understood() {
    let rule = vec![Expr::PriorityIs(0), Expr::Accept];
    let mut encoded = encode(TableFamily::Ip, &rule, &Generations::default(), None);
    if let Some(Instruction::Compare { op, .. }) = encoded.get_mut(1) {
        *op = NOT_EQUAL;
    }
    assert_eq!(decode(TableFamily::Ip, encoded, |_| false), None);
}

#[test]
fn newer_nfts_wider_mask_is_the_same() {
    let rule = vec![Expr::RestorePriority, Expr::Accept];
    let mut encoded = encode(TableFamily::Ip, &rule, &Generations::default(), None);
    if let Some(Instruction::Bitwise { mask, xor, .. }) = encoded.get_mut(1) {
        mask.resize(4, 0);
        xor.resize(4, 0);
    }
    let decoded = decode(TableFamily::Ip, encoded.clone(), |name| name == RESTORE_MAP);
    assert_eq!(decoded, Some((rule, vec![])));
    if let Some(Instruction::Bitwise { xor, .. }) = encoded.get_mut(1) {
        *xor = vec![0, 1, 0, 0];
    }
    assert_eq!(decode(TableFamily::Ip, encoded, |name| name == RESTORE_MAP), None);
}

#[test]
fn subnets_of_any_length_are_read_back() {
    let nets = ["10.0.0.0/8", "10.0.0.0/9", "10.1.2.3/32", "fe80::/10", "ff00::/8", "fe80::/128"];
    for net in nets {
        let net: IpNet = net.parse().unwrap();
        let family = TableFamily::from(Family::of(net.addr()));
        let rule = vec![Expr::InSubnet(Side::Destination, net), Expr::Drop];
        let encoded = encode(family, &rule, &Generations::default(), None);
        assert_eq!(decode(family, encoded, |_| false), Some((rule, vec![])));
    }
}
