//! What is drawn and told of packages under way, and when.

use indicatif::InMemoryTerm;

use super::*;

fn sending(bytes: u64) -> At {
    At::Sending(Amounts { bytes, of_bytes: 4 << 20, files: 3, of_files: 20 })
}

/// A screen, and a board for this many gateways that is drawn on it.
fn drawn(count: usize) -> (InMemoryTerm, Board) {
    let screen = InMemoryTerm::new(24, 70);
    let made = screen.clone();
    (screen, Board::new(count, move |count| Live::new(made.clone(), count, 24, 70)))
}

/// Lets the board draw, now and after the pause between two frames, until the screen shows it.
#[track_caller]
fn shows(screen: &InMemoryTerm, board: &mut Board, now: Instant, text: &str) {
    execnet_testkit::wait_until(execnet_testkit::PATIENCE, text, || {
        assert_eq!(board.show(now), [""; 0]);

        screen.contents().contains(text)
    });
}

#[test]
fn only_what_takes_longer_than_a_second_is_drawn() {
    let (screen, mut board) = drawn(2);
    let start = Instant::now();
    let after = |seconds| start + Duration::from_secs_f64(seconds);
    board.update("gw0", "build1", At::Reading, start);
    board.show(after(0.9));
    assert!(board.live.is_none());
    board.update("gw1", "build2", At::Reading, after(0.9));
    board.update("gw0", "build1", sending(1 << 20), after(0.9));
    shows(
        &screen,
        &mut board,
        after(1.1),
        "[=====>              ] build1: 1.0 MiB of 4.0 MiB, 3 of 20 files",
    );
    assert!(!screen.contents().contains("build2"), "{}", screen.contents());
    let all = Amounts { bytes: 4 << 20, of_bytes: 4 << 20, files: 20, of_files: 20 };
    board.update("gw0", "build1", At::Sending(all), after(1.1));
    shows(&screen, &mut board, after(1.1), "] build1: 4.0 MiB in 20 files are on their way");
    board.update("gw1", "build2", At::Waiting("attrs, which process 7 receives".into()), after(1.2));
    shows(&screen, &mut board, after(2.0), "build2: waiting for attrs, which process 7 receives");
    board.done("gw0");
    board.show(after(2.0));
    assert!(!screen.contents().contains("build1"), "{}", screen.contents());
    board.done("gw1");
    board.show(after(2.0));
    assert!(board.live.is_none() && board.entries.is_empty());
    assert_eq!(screen.contents(), "");
}

#[test]
fn many_gateways_share_a_bar() {
    let (screen, mut board) = drawn(30);
    let start = Instant::now();
    for number in 0..30 {
        board.update(&format!("gw{number}"), &format!("h{number}"), sending(1 << 20), start);
    }
    board.done("gw0");
    let now = start + Duration::from_secs(2);
    shows(&screen, &mut board, now, "packages for 1/30 nodes, 30 MiB of 120 MiB");
    assert!(screen.contents().contains("; on"), "{}", screen.contents());
    assert_eq!(screen.contents().lines().count(), 1, "{}", screen.contents());
    (1..30).for_each(|number| board.done(&format!("gw{number}")));
    board.show(now);
    assert_eq!(screen.contents(), "");
}

#[test]
fn where_nothing_can_be_drawn_each_long_step_is_told_once() {
    let mut board = Board::new(9, |_| Live::Nothing);
    let start = Instant::now();
    let after = |seconds| start + Duration::from_secs(seconds);
    for number in 0..7 {
        board.update(&format!("gw{number}"), &format!("h{number}"), At::Resolving, start);
    }
    board.update("gw7", "h7", sending(3), start);
    assert_eq!(board.show(after(4)), [""; 0]);
    let mut lines = board.show(after(5));
    lines.sort();
    assert_eq!(
        lines,
        [
            "execnet: h0, h1, h2, h3, h4 and 2 more: resolving packages with uv",
            "execnet: h7: packages: 3 B of 4.0 MiB, 3 of 20 files"
        ]
    );
    board.update("gw7", "h7", sending(4), after(6));
    assert_eq!(board.show(after(20)), [""; 0], "it is told already");
    board.update("gw0", "h0", sending(1 << 20), after(20));
    assert_eq!(board.show(after(24)), [""; 0]);
    assert_eq!(board.show(after(25)), ["execnet: h0: packages: 1.0 MiB of 4.0 MiB, 3 of 20 files"]);
    board.done("gw1");
    board.update("gw2", "h2", At::Reading, after(30));
    board.done("gw2");
    assert_eq!(board.show(after(60)), [""; 0], "it is done");
}

#[test]
fn the_same_note_of_several_hosts_is_told_once() {
    let mut board = Board::new(2, |_| Live::Nothing);
    let notes = ["pytest 8.3.5 instead of 9.2.0\n".to_owned(), "a\x1bb".to_owned()];
    assert_eq!(board.new_notes(&notes), ["pytest 8.3.5 instead of 9.2.0", r"a\x1bb"]);
    assert_eq!(board.new_notes(&notes), [""; 0]);
}
