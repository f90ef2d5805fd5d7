//! Hosts behind a group of others.

use std::collections::BTreeMap;
use std::time::Duration;

use execnet_proto::control::{HostState, Verb};
use execnet_proto::id::Epoch;
use execnet_proto::wire::Frame;

use super::{SECOND, World, kind};
use crate::event::Event;

/// Hosts that are reached directly, `g1` to `g3` at most, and so many behind them, `h1` and so on.
fn world(members: usize, behind: usize) -> World {
    let members = (1..=members).map(|n| format!("ssh=g{n}"));
    // in front of the hosts that lead to them
    let behind = (1..=behind).map(|n| format!("ssh=h{n}//via=@gw"));
    let all: Vec<String> = behind.chain(members).collect();
    World::new(&all.iter().map(String::as_str).collect::<Vec<_>>())
}

impl World {
    /// A member comes up.
    fn comes(&mut self, id: &str) {
        let key = self.host(id);
        let epoch = self.epoch(id);
        self.greet_as(key, id, epoch, id.as_bytes()[1]);
    }

    /// The epoch of a host's link, which its payload tells.
    fn epoch(&self, id: &str) -> Epoch {
        let payload = String::from_utf8_lossy(&self.links[&self.host(id)]).into_owned();
        (1..=self.daemon.attaches)
            .map(|attach| Epoch::new(1, attach))
            .find(|epoch| payload.contains(&format!("{}", epoch.0)))
            .unwrap()
    }

    /// How many hosts each member leads to.
    fn spread(&self) -> BTreeMap<String, usize> {
        let mut spread = BTreeMap::new();
        for host in self.daemon.hosts.values().filter(|host| host.spec.pool().is_some()) {
            *spread.entry(self.status(&host.spec.id).via.unwrap()).or_default() += 1;
        }
        spread
    }
}

fn spread(pairs: &[(&str, usize)]) -> BTreeMap<String, usize> {
    pairs.iter().map(|(id, count)| ((*id).to_owned(), *count)).collect()
}

const REFUSED: &str = "ssh: connect to host g port 22: Connection refused";

#[test]
fn hosts_are_spread_evenly_before_anything_is_up() {
    let mut world = world(3, 7);
    assert_eq!(world.spread(), spread(&[("g1", 3), ("g2", 2), ("g3", 2)]));
    let client = world.client();
    world.ask(client, Verb::AddHost { spec: "ssh=h8//via=@gw".into(), end_kept: false });
    assert_eq!(world.status("h8").via.as_deref(), Some("g2"));
    assert_eq!(world.status("h8").spec, "ssh=h8//via=@gw");
}

#[test]
fn a_member_that_does_not_come_up_is_replaced_and_gets_new_hosts_later() {
    let mut world = world(2, 4);
    world.comes("g1");
    world.end("g2", 255, REFUSED);
    assert_eq!(world.spread(), spread(&[("g1", 4)]));
    world.pass(SECOND);
    world.comes("g2");
    assert_eq!(world.spread(), spread(&[("g1", 4)]), "each stays where it is");
    let client = world.client();
    world.ask(client, Verb::AddHost { spec: "ssh=h5//via=@gw".into(), end_kept: false });
    assert_eq!(world.status("h5").via.as_deref(), Some("g2"));
}

#[test]
fn hosts_without_any_member_wait_for_one() {
    let mut world = world(2, 2);
    for id in ["g1", "g2"] {
        world.end(id, 255, REFUSED);
    }
    assert_eq!(world.status("h1").state, HostState::Failed);
    world.pass(SECOND);
    world.comes("g2");
    assert_eq!(world.spread(), spread(&[("g2", 2)]));
    assert_eq!(world.status("h1").step.unwrap().as_str(), "connect");
}

#[test]
fn a_member_has_ten_seconds_to_come_back_unless_it_was_tried_in_vain() {
    let mut world = world(2, 2);
    ["g1", "g2"].iter().for_each(|id| world.comes(id));
    world.pass(11 * SECOND / 2);
    world.end("g1", 255, "");
    world.pass(9 * SECOND);
    assert_eq!(world.spread(), spread(&[("g1", 1), ("g2", 1)]), "its link is being made again");
    world.pass(2 * SECOND);
    assert_eq!(world.spread(), spread(&[("g2", 2)]));
    world.comes("g1");

    let mut world = self::world(2, 2);
    ["g1", "g2"].iter().for_each(|id| world.comes(id));
    world.end("g1", 255, "");
    world.pass(SECOND);
    assert_eq!(world.spread(), spread(&[("g1", 1), ("g2", 1)]));
    world.end("g1", 255, REFUSED);
    assert_eq!(world.spread(), spread(&[("g2", 2)]));
}

#[test]
fn a_member_may_leave_only_if_another_one_can_take_its_hosts() {
    let mut world = world(2, 2);
    world.comes("g1");
    let client = world.client();
    let remove = Verb::RmHost { host: "g1".into(), kept: None };
    let refused = world.ask(client, remove.clone());
    let (replies, _) = world.replies(refused, client);
    assert_eq!(kind(&replies), "in-use");
    let message = replies.last().unwrap()["error"]["message"].as_str().unwrap();
    assert_eq!(message, "`h1` is reached through `g1`, and no other host of `@gw` is up");
    world.comes("g2");
    world.ask(client, remove);
    assert_eq!(world.spread(), spread(&[("g2", 2)]));
    assert_eq!(world.status("g1").state, HostState::Leaving);
}

#[test]
fn a_drained_member_keeps_its_hosts_and_one_to_be_removed_hands_them_over() {
    let mut world = world(3, 3);
    ["g1", "g2", "g3"].iter().for_each(|id| world.comes(id));
    let client = world.client();
    let drain = |host: &str, remove| Verb::Drain { hosts: vec![host.into()], remove, wait: false };
    world.ask(client, drain("g1", false));
    assert_eq!(world.spread(), spread(&[("g1", 1), ("g2", 1), ("g3", 1)]));
    world.ask(client, drain("g2", true));
    assert_eq!(world.spread(), spread(&[("g1", 1), ("g3", 2)]), "none is added to one that is drained");
    assert_eq!(world.status("g2").state, HostState::Leaving);
}

#[test]
fn a_group_that_is_unknown_or_has_no_host_is_refused() {
    let mut world = world(1, 0);
    let client = world.client();
    for (spec, message) in [
        ("ssh=x//via=@wg", "`x` is reached via `@wg`, which is not a group of this network"),
        ("ssh=x//via=@odd", "`x` is reached via `@odd`, and no host of that group can lead to it"),
    ] {
        let request = world.ask(client, Verb::AddHost { spec: spec.into(), end_kept: false });
        let (replies, over) = world.replies(request, client);
        assert!(over && kind(&replies) == "no-such-host", "{replies:?}");
        assert_eq!(replies.last().unwrap()["error"]["message"], message);
    }
}

#[test]
fn another_group_leads_those_that_have_no_link_yet() {
    let mut world = World::new(&["ssh=a", "ssh=g1", "ssh=h//via=@gw"]);
    assert_eq!(world.status("h").via.as_deref(), Some("g1"));
    let client = world.client();
    let groups = [("gw".to_owned(), "a".to_owned())].into();
    world.ask(client, Verb::Groups { file: "/net.toml".into(), groups });
    assert_eq!(world.status("h").via.as_deref(), Some("a"));
}

#[test]
fn a_member_that_does_not_lead_there_is_left_for_another_one() {
    let mut world = world(2, 1);
    ["g1", "g2"].iter().for_each(|id| world.comes(id));
    assert_eq!(world.status("h1").via.as_deref(), Some("g1"));
    let mut vias = Vec::new();
    while world.now < Duration::from_secs(1_500) {
        for id in ["g1", "g2"] {
            // its agent is alive, and the tunnel says nothing
            let key = world.host(id);
            world.event(Event::LinkBytes(key, &Frame::Pong(1).to_bytes()));
        }
        world.pass(5 * SECOND);
        vias.push(world.status("h1").via.unwrap());
        assert_eq!(world.status("g1").state, HostState::Up);
    }
    vias.dedup();
    assert!(vias.len() > 2 && vias[..3] == ["g1", "g2", "g1"], "{vias:?}");
}

#[test]
fn no_host_is_reached_through_itself() {
    let mut world = World::new(&["ssh=g1//via=@gw", "ssh=g2//via=g1", "ssh=g3"]);
    assert_eq!(world.status("g1").via.as_deref(), Some("g3"));
    world.end("g3", 255, REFUSED);
    assert_eq!(world.status("g1").via.as_deref(), Some("g3"), "no other way leads there");
    assert_eq!(world.status("g2").state, HostState::Failed);
}
