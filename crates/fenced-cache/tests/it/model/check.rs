//! How a model is explored, and what a test demands of the result.

use std::fmt::Debug;
use std::hash::Hash;
use std::time::Instant;

use stateright::{Checker, Expectation, HasDiscoveries, Model, Path};

/// What every model here is.
pub(super) trait Explorable:
    Model<State: Clone + Debug + PartialEq + Hash + Send + Sync, Action: Clone + Debug + PartialEq>
    + Copy
    + Send
    + Sync
    + 'static
{
}

impl<M> Explorable for M
where
    M: Model + Copy + Send + Sync + 'static,
    M::State: Clone + Debug + PartialEq + Hash + Send + Sync,
    M::Action: Clone + Debug + PartialEq,
{
}

/// Explores every reachable state: no `always` property may fail, and every `sometimes` property must be reached,
/// so that a model which does nothing interesting does not pass. `at_least` guards against a space that has shrunk
/// by mistake.
pub(super) fn holds<M: Explorable>(model: M, at_least: usize) {
    let began = Instant::now();
    let checker = model.checker().threads(2).spawn_bfs().join();
    let states = checker.unique_state_count();
    println!("{states} states, {} steps, depth {}, {:?}", checker.state_count(), checker.max_depth(), began.elapsed());
    for property in model.properties() {
        let found = checker.discovery(property.name).map(Path::into_actions);
        match (property.expectation, found) {
            (Expectation::Always, Some(mut steps)) => {
                while let Some(shorter) = find(model, property.name, steps.len() - 1) {
                    steps = shorter;
                }
                panic!("counterexample to \"{}\": {steps:?}", property.name);
            }
            (Expectation::Sometimes, None) => panic!("\"{}\" is never reached", property.name),
            (Expectation::Eventually, _) => panic!("the checker can not decide this kind of property"),
            _ => {}
        }
    }
    assert!(checker.is_done(), "the exploration ended early");
    assert!(states >= at_least, "only {states} states: the model has lost behaviour");
}

/// Finds a counterexample to `property`, and checks that `row`, the specification's own trace told in the model's
/// actions, is one too. The checker's is no longer than the row's.
pub(super) fn fails<M: Explorable>(model: M, property: &'static str, row: &[M::Action]) {
    let Some(found) = find(model, property, row.len()) else {
        panic!("no counterexample to \"{property}\" within {} steps", row.len());
    };
    println!("{} steps to \"{property}\": {found:?}", found.len());
    let checked = model.property(property);
    assert_eq!(checked.expectation, Expectation::Always);
    let ended_badly = model.init_states().into_iter().any(|start| {
        Path::from_actions(&model, start, row).is_some_and(|path| !(checked.condition)(&model, path.last_state()))
    });
    assert!(ended_badly, "the row's own trace is no counterexample: {row:?}");
}

/// A counterexample to `property` of at most so many steps.
fn find<M: Explorable>(model: M, property: &'static str, most_steps: usize) -> Option<Vec<M::Action>> {
    let only = HasDiscoveries::AnyOf([property].into());
    // A path of n steps has n + 1 states, and the checker stops before the depth that it is given.
    let depth = most_steps + 2;
    let checker = model.checker().finish_when(only).target_max_depth(depth).spawn_bfs().join();
    println!("{} states within {most_steps} steps", checker.unique_state_count());
    checker.discovery(property).map(Path::into_actions)
}
