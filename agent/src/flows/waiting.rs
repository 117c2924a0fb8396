//! Denied packets that were seen and are not judged yet. Those of kinds that nobody has seen come first.

use std::collections::HashSet;

use super::observation::Observation;

/// Packets that wait to be judged at most; later ones are counted as lost.
pub(super) const MAX_WAITING: usize = 1024;

/// Each part in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// Of kinds that are not among the flows.
    new: Vec<Observation>,
    /// Of flows that were judged at another revision.
    known: Vec<Observation>,
}

impl Waiting {
    pub(super) fn len(&self) -> usize {
        self.new.len() + self.known.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns whether there was room.
    pub(super) fn push(&mut self, observation: Observation, is_new: bool) -> bool {
        let has_room = self.len() < MAX_WAITING;
        if has_room {
            if is_new { &mut self.new } else { &mut self.known }.push(observation);
        }
        has_room
    }

    pub(super) fn retain(&mut self, mut keep: impl FnMut(&Observation) -> bool) {
        self.new.retain(&mut keep);
        self.known.retain(&mut keep);
    }

    /// Takes `most` at most, one of each flow. Of flows that are known it is at least one, where there are any: new kinds that
    /// never end do not keep them waiting for ever.
    pub(super) fn next_batch(&mut self, most: usize) -> Vec<Observation> {
        let most = most.max(2);
        let (mut keys, mut batch) = (HashSet::new(), Vec::new());
        let reserved = usize::from(!self.known.is_empty());
        for (from, room) in [(&mut self.new, most - reserved), (&mut self.known, most)] {
            from.retain(|observation| {
                let is_taken = batch.len() < room && keys.insert(observation.key());
                if is_taken {
                    batch.push(*observation);
                }
                !is_taken
            });
        }
        batch
    }

    /// Puts a batch that could not be judged back before all others.
    pub(super) fn put_back(&mut self, batch: Vec<Observation>) {
        self.new.splice(..0, batch);
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::time::Instant;

    use k8s_openapi::jiff::Timestamp;
    use palisade_compiler::model::Direction;
    use palisade_dataplane::netlink::nflog::PacketHeader;

    use super::*;

    /// UDP to the port.
    fn observation(port: u16) -> Observation {
        let [from, to] = [1, 2].map(|host| IpAddr::from([10, 1, 0, host]));
        let packet = palisade_lab::packet::Packet::udp(from, to, 4000, port, b"").bytes();
        let Ok(header) = PacketHeader::read(&packet) else { unreachable!("it is whole") };
        let time = Timestamp::UNIX_EPOCH;
        Observation { direction: Direction::Ingress, header, at: Instant::now(), time }
    }

    fn ports(batch: &[Observation]) -> Vec<u16> {
        batch.iter().map(|it| it.key().connection.port).collect()
    }

    #[test]
    fn new_kinds_come_before_known_ones_which_get_a_place_in_each_batch() {
        let mut waiting = Waiting::default();
        for port in [1, 2, 1, 3] {
            waiting.push(observation(port), false);
        }
        for port in [11, 12, 11, 13] {
            waiting.push(observation(port), true);
        }
        assert_eq!(ports(&waiting.next_batch(3)), [11, 12, 1]);
        assert_eq!(ports(&waiting.next_batch(4)), [11, 13, 2, 1]);
        // What could not be judged is first again.
        let batch = waiting.next_batch(1);
        assert_eq!(ports(&batch), [3]);
        waiting.push(observation(14), true);
        waiting.put_back(batch);
        assert_eq!(ports(&waiting.next_batch(9)), [3, 14]);
        assert!(waiting.is_empty());
    }

    #[test]
    fn there_is_room_for_so_many() {
        let mut waiting = Waiting::default();
        let packet = observation(1);
        assert!((0..MAX_WAITING).all(|n| waiting.push(packet, n % 2 == 0)));
        assert!(!waiting.push(packet, true));
        waiting.retain(|_| false);
        assert!(waiting.is_empty() && waiting.push(packet, true));
    }
}
