//! A tree of hosts behind one daemon: what it costs to let them join, to run something on each, to keep them,
//! and to lose the link of one that others are behind.
//!
//! Links have a delay and no other limit. Agents, logins and processes take no time.

#[path = "../sim/agent.rs"]
#[allow(dead_code)] // the simulation uses all of it
mod agent;
mod host;
mod net;
mod world;

use std::time::Duration;

use world::World;

/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_secs(300);

/// Pause of a daemon before it tries a lost link again.
const BACKOFF: Duration = Duration::from_millis(500);

/// After this nothing is under way any more.
const SETTLED: Duration = Duration::from_secs(1);

/// Rounds of PING in an idle time, and how long each takes: 10 s of silence, and up to the next multiple of
/// 250 ms.
const ROUNDS: u32 = 6;
const ROUND: Duration = Duration::from_millis(10_250);

/// Tunnels that are opened at a time on each host.
const OPENING: usize = 8;

/// The host in front of each, level by level. So many are behind each one of the level before.
fn tree(widths: &[usize]) -> Vec<Option<u32>> {
    let mut vias = vec![None; widths[0]];
    let mut level = 0..widths[0];
    for width in &widths[1..] {
        let first = vias.len();
        vias.extend(level.flat_map(|via| vec![Some(via as u32); *width]));
        level = first..vias.len();
    }
    vias
}

/// What a host costs, on average. Bytes and frames are those of the daemon's own links.
#[derive(Debug)]
struct Costs {
    hosts: usize,
    joined: Duration,
    join_bytes: f64,
    join_frames: f64,
    /// One process that sends back 5 bytes.
    process_frames: f64,
    /// While nothing happens.
    idle_bytes_per_second: f64,
    idle_frames_per_round: f64,
    /// How often the switch is called in a round, and the bytes of memory that it takes and gives back.
    calls_per_round: f64,
    churn_per_round: f64,
    /// What the switch holds then, and the most that it held.
    memory: f64,
    most_memory: f64,
}

/// Lets all hosts join, runs a process on each, and then nothing for a while.
fn measure(vias: &[Option<u32>]) -> (World, Costs) {
    let hosts = vias.len();
    let per_host = |amount: u64| amount as f64 / hosts as f64;
    let mut world = World::new(vias, OPENING);
    world.run(PATIENCE, |world| world.up == hosts);
    let joined = world.now;
    world.settle(SETTLED);
    let join = world.net.carried;

    world.start((0..hosts as u32).map(|host| (host, 5)));
    world.run(PATIENCE, |world| world.done == hosts);
    world.settle(SETTLED);
    let processes = world.net.carried.since(join);

    let (carried, heap) = (world.net.carried, world.heap);
    world.settle(ROUND * ROUNDS);
    let idle = world.net.carried.since(carried);
    let per_round = |amount: u64| per_host(amount) / f64::from(ROUNDS);
    let costs = Costs {
        hosts,
        joined,
        join_bytes: per_host(join.bytes),
        join_frames: per_host(join.frames),
        process_frames: per_host(processes.frames),
        idle_bytes_per_second: per_host(idle.bytes) / (ROUND * ROUNDS).as_secs_f64(),
        idle_frames_per_round: per_round(idle.frames),
        calls_per_round: per_round(world.heap.calls - heap.calls),
        churn_per_round: per_round(world.heap.taken - heap.taken),
        memory: per_host(world.heap.held),
        most_memory: per_host(world.heap.most),
    };
    println!("{costs:#?}");
    (world, costs)
}

/// Cuts the link of the first host while each host behind it, and itself, sends back what it gets.
fn lose_a_link(world: &mut World, vias: &[Option<u32>]) {
    let behind = (0..).zip(vias).filter(|(_, via)| **via == Some(0)).map(|(host, _)| host);
    let there: Vec<u32> = behind.chain([0]).collect();
    let mut beneath = vec![false; vias.len()];
    for (host, via) in vias.iter().enumerate() {
        beneath[host] = via.is_some_and(|via| via == 0 || beneath[via as usize]);
    }
    let beneath = beneath.into_iter().filter(|is| *is).count();
    let (length, echoed, done, joins) = (60_000, world.echoed, world.done, world.joins);
    let all = length * there.len() as u64;
    world.start(there.iter().map(|host| (*host, length)));
    world.run(PATIENCE, |world| world.echoed - echoed > all / 3);
    assert!(world.echoed - echoed < all, "something is under way");
    let frames = world.net.carried.frames;
    world.cut(0);
    world.settle(BACKOFF);
    let back = world.now;
    world.connect(0);
    world.run(PATIENCE, |world| world.done == done + there.len());
    println!("all bytes are there {:?} after the link was opened again", world.now - back);
    assert_eq!(world.echoed - echoed, all);
    assert_eq!(world.joins - joins, 1, "the hosts behind it need not join again");
    assert_eq!(world.via_changes, 2 * beneath, "they are out of reach once");
    let frames = (world.net.carried.frames - frames) as usize / there.len();
    assert!(frames < 40, "{frames} frames for each process");
    assert!(world.now - back < Duration::from_secs(1), "{:?}", world.now - back);
}

#[test]
fn each_of_ten_thousand_hosts_costs_as_little_as_each_of_a_thousand() {
    let (_, few) = measure(&tree(&[10, 99]));
    let vias = tree(&[100, 99]);
    let (mut world, many) = measure(&vias);
    assert_eq!(many.hosts, 10_000);
    // both trees join at the same time: nobody waits for hosts behind another one
    assert_eq!(many.joined, few.joined);
    assert!(many.joined < Duration::from_millis(200), "{:?}", many.joined);
    let within = |name: &str, one: f64, other: f64, most: f64| {
        assert!(one <= most, "{name}: {one:.1}, at most {most}");
        assert!((one - other).abs() <= other / 20.0, "{name}: {one:.1} of many hosts, {other:.1} of few");
    };
    within("bytes to join", many.join_bytes, few.join_bytes, 62_000.0);
    within("frames to join", many.join_frames, few.join_frames, 12.0);
    within("frames of a process", many.process_frames, few.process_frames, 8.0);
    // a PING of 12 bytes in a DATA of 29, and its PONG
    let ping = 2.0 * (12.0 + 29.0) / ROUND.as_secs_f64();
    within("idle bytes", many.idle_bytes_per_second, few.idle_bytes_per_second, ping * 1.02);
    within("idle frames", many.idle_frames_per_round, few.idle_frames_per_round, 2.04);
    within("calls", many.calls_per_round, few.calls_per_round, 4.0);
    within("churn", many.churn_per_round, few.churn_per_round, 800.0);
    within("memory", many.memory, few.memory, 40_000.0);
    within("most memory", many.most_memory, few.most_memory, 42_000.0);
    lose_a_link(&mut world, &vias);
}

#[test]
#[ignore = "takes minutes and gigabytes; prints the table of docs/benchmarks.md"]
fn a_hundred_thousand_hosts_in_three_levels() {
    let vias = tree(&[10, 100, 99]);
    let (mut world, _) = measure(&vias);
    lose_a_link(&mut world, &vias);
}
