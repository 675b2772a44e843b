//! One seed is one run.

use std::cell::RefCell;
use std::rc::Rc;

use ipe_sim::{Window, by_name, replay, run};

#[test]
fn the_same_seed_gives_the_same_hash_and_another_seed_another() {
    for name in ["everything", "villain-mesh"] {
        let scenario = by_name(name).expect("it is listed");
        let (first, second) = (run(scenario, 7), run(scenario, 7));
        assert_eq!(first.hash, second.hash, "{name}");
        assert_eq!((first.events, first.faults.clone()), (second.events, second.faults));
        assert_ne!(first.hash, run(scenario, 8).hash, "{name}");
    }
}

/// Messages are described by hashing and reading them, which costs the node that hears them nothing.
#[test]
fn a_replay_that_shows_everything_is_the_same_run() {
    let scenario = by_name("members").expect("it is listed");
    let window = Window { from: 0, to: u64::MAX, node: String::new(), text: String::new() };
    let report = replay(scenario, 3, window, Box::new(|_| {}));
    assert_eq!(report.hash, run(scenario, 3).hash);
}

#[test]
fn listening_changes_nothing_and_tells_the_steps_asked_for() {
    let scenario = by_name("mesh").expect("it is listed");
    let told = Rc::new(RefCell::new(Vec::new()));
    let sink = told.clone();
    let window = Window { from: 100, to: 140, node: "v".to_owned(), text: String::new() };
    let report = replay(scenario, 3, window, Box::new(move |entry| sink.borrow_mut().push(entry.clone())));
    assert_eq!(report.hash, run(scenario, 3).hash);
    let told = told.borrow();
    assert!(!told.is_empty());
    assert!(told.iter().all(|entry| (100..=140).contains(&entry.step) && entry.node.starts_with('v')), "{told:?}");
}
