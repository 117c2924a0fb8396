//! Many elements: loaded in chunks, read back right, changed one at a time.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use palisade_compiler::program::ClassId;
use palisade_compiler::program::TableFamily;
use palisade_compiler::program::skeleton::SetName;
use palisade_dataplane::netlink::Kernel;
use palisade_dataplane::ruleset::{Ruleset as _, TableName};
use palisade_dataplane::transaction::{Element, MAX_ELEMENTS_PER_TRANSACTION, Op, SetId};

use super::program::{create_both, op, transaction};
use crate::netns::in_netns;

const PODS: u32 = 100_000;

fn pod(n: u32, class: u32) -> Element {
    let address = IpAddr::from((0x0a00_0000 + n).to_be_bytes());
    Element::Class(address, ClassId(ClassId::FIRST + class % 1000))
}

fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    times[times.len() * percent / 100]
}

/// Prints what it measures, for `--nocapture`; asserts contents only, since machines differ.
#[test]
fn a_hundred_thousand_elements() {
    in_netns(|| {
        let mut kernel = Kernel::open().unwrap();
        kernel.commit(TableName::Main, &create_both(&BTreeMap::new())).unwrap();
        let set = SetId { set: SetName::Class, generation: 1 };
        let create = Op::CreateSet { id: set, size: Some(131_072) };
        kernel.commit(TableName::Main, &transaction([op(TableFamily::Ip, create)])).unwrap();
        kernel.read(TableName::Main).unwrap();

        let pods: Vec<Element> = (0..PODS).map(|n| pod(n, n)).collect();
        let chunks: Vec<_> = pods
            .chunks(MAX_ELEMENTS_PER_TRANSACTION)
            .map(|chunk| transaction(chunk.iter().map(|&e| op(TableFamily::Ip, Op::Add(set, e)))))
            .collect();
        let start = Instant::now();
        for chunk in &chunks {
            kernel.commit(TableName::Main, chunk).unwrap();
        }
        let loaded = start.elapsed();

        let start = Instant::now();
        let actual = kernel.read(TableName::Main).unwrap();
        let read = start.elapsed();
        assert_eq!(actual[&TableFamily::Ip].sets[&set].elements, pods.iter().copied().collect());

        let one = |element| transaction([op(TableFamily::Ip, Op::Add(set, element))]);
        let mut times: Vec<Duration> = (0..5000)
            .map(|n| {
                let add = one(pod(PODS + n, n));
                let start = Instant::now();
                kernel.commit(TableName::Main, &add).unwrap();
                start.elapsed()
            })
            .collect();
        let mut moves: Vec<Duration> = (0..5000)
            .map(|n| {
                let ops = [Op::Remove(set, pod(n, n)), Op::Add(set, pod(n, n + 1))];
                let change = transaction(ops.map(|o| op(TableFamily::Ip, o)));
                let start = Instant::now();
                kernel.commit(TableName::Main, &change).unwrap();
                start.elapsed()
            })
            .collect();
        eprintln!(
            "{PODS} elements: loaded in {loaded:?}, read in {read:?}; one added: p50 {:?} p99 {:?}; one moved: p50 {:?} \
             p99 {:?}",
            percentile(&mut times, 50),
            percentile(&mut times, 99),
            percentile(&mut moves, 50),
            percentile(&mut moves, 99),
        );
        assert_eq!(
            kernel.read(TableName::Main).unwrap()[&TableFamily::Ip].sets[&set].elements.len(),
            105_000
        );
    });
}

/// Without a declared size the kernel resizes the hash behind a load, and a dump meanwhile repeats elements.
#[test]
fn a_set_without_a_size_is_read_right() {
    in_netns(|| {
        let mut kernel = Kernel::open().unwrap();
        kernel.commit(TableName::Main, &create_both(&BTreeMap::new())).unwrap();
        for round in 1..=2 {
            let set = SetId { set: SetName::Class, generation: round };
            let create = op(TableFamily::Ip, Op::CreateSet { id: set, size: None });
            let pods: Vec<Element> = (0..PODS).map(|n| pod(n, round)).collect();
            let adds = pods.iter().map(|&e| op(TableFamily::Ip, Op::Add(set, e)));
            kernel.commit(TableName::Main, &transaction([create].into_iter().chain(adds))).unwrap();
            let actual = kernel.read(TableName::Main).unwrap();
            assert_eq!(actual[&TableFamily::Ip].sets[&set].elements, pods.into_iter().collect());
            kernel
                .commit(TableName::Main, &transaction([op(TableFamily::Ip, Op::DeleteSet(set))]))
                .unwrap();
        }
    });
}
