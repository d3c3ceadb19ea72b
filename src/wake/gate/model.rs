//! The wake gate as a model: producers and workers, each step of theirs that others can see, in every order.
//!
//! The checker looks for a state in which a row is committed and due, a worker sleeps with a free slot, no notification
//! is on its way to it, and no worker is about to look: a lost wake-up, which only the poll would find. It finds none
//! in the protocol as it is, and one in each protocol in which a step is left out or two change places: so the model can
//! fail.

use stateright::{Checker, Model, Property};

/// The protocol, and what it becomes when something is left out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Protocol {
    Whole,
    /// A worker sleeps without waiting for those who have skipped.
    WithoutSettling,
    /// A worker does not look once more after nobody has skipped.
    WithoutLastLook,
    /// A worker waits for those who have skipped, and then says that it sleeps.
    SettlingFirst,
    /// A producer looks whether anybody sleeps, takes SKIPPERS, and does not look again.
    OneLook,
    /// A full worker that goes on saying nothing sleeps although it has got a free slot.
    SilentSleep,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Producer {
    /// It has inserted nothing yet.
    New,
    /// It has looked, nobody sleeps, and it holds nothing.
    Looked,
    /// It holds SKIPPERS and has not looked again. (`OneLook`: it does not.)
    Begun,
    /// It holds SKIPPERS and skips.
    Skips,
    /// It will notify when it commits.
    Notifies,
    /// Committed, or rolled back.
    Ended,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Phase {
    /// It waits for a notification.
    Asleep,
    /// It is about to look at the run queue, and holds SLEEPERS, settled.
    Woken,
    /// It has free slots, does not hold SLEEPERS, and will look.
    Awake,
    /// No slot is free, it does not hold SLEEPERS, and it looks when one is.
    Full,
    /// It has looked and found no more: it is to say so.
    Announcing,
    /// It holds SLEEPERS, and is to see whether nobody has skipped.
    Settling,
    /// Nobody has: it is to look once more.
    LastLook,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Worker {
    phase: Phase,
    /// A notification that it has not acted on.
    mail: bool,
    /// Executions that it runs.
    busy: u8,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct State {
    producers: Vec<Producer>,
    workers: Vec<Worker>,
    /// Committed rows that are due and not claimed.
    due: u8,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Action {
    Begin(usize),
    TakeSkippers(usize),
    /// The look for sleepers; spuriously it may see one (two producers in the same moment).
    LookForSleepers(usize, bool),
    Commit(usize),
    RollBack(usize),
    Work(usize),
    /// An execution ends.
    Finish(usize),
}

struct Gate {
    producers: usize,
    workers: usize,
    slots: u8,
    protocol: Protocol,
}

impl State {
    fn is_anyone_announced(&self) -> bool {
        self.workers.iter().any(|worker| {
            matches!(
                worker.phase,
                Phase::Asleep | Phase::Woken | Phase::Settling | Phase::LastLook
            )
        })
    }

    fn is_anyone_skipping(&self) -> bool {
        self.producers.iter().any(|producer| match producer {
            Producer::Begun | Producer::Skips => true,
            // One that notifies after its second look holds it too; to wait for it does no harm.
            Producer::New | Producer::Looked | Producer::Notifies | Producer::Ended => false,
        })
    }

    /// Whether some worker is about to look at the run queue by itself.
    fn is_anyone_about_to_look(&self) -> bool {
        self.workers.iter().any(|worker| match worker.phase {
            Phase::Asleep => worker.mail,
            Phase::Full => false,
            Phase::Woken | Phase::Awake | Phase::Announcing | Phase::Settling | Phase::LastLook => {
                true
            }
        })
    }
}

impl Gate {
    /// A look: claims what fits, and says where that leaves the worker.
    fn look(&self, state: &mut State, index: usize, is_announced: bool) {
        let worker = &mut state.workers[index];
        worker.mail = false;
        let taken = state.due.min(self.slots - worker.busy);
        worker.busy += taken;
        state.due -= taken;
        let is_full = worker.busy == self.slots;
        worker.phase = match (is_full && state.due > 0, is_announced) {
            // There is more than fits: it says that it does not sleep.
            (true, _) => Phase::Full,
            (false, true) => Phase::Asleep,
            (false, false) if self.protocol == Protocol::SilentSleep => Phase::Asleep,
            (false, false) => Phase::Announcing,
        };
    }

    fn work(&self, state: &mut State, index: usize) {
        match state.workers[index].phase {
            Phase::Asleep => state.workers[index].phase = Phase::Woken,
            Phase::Woken => self.look(state, index, true),
            Phase::Awake => self.look(state, index, false),
            Phase::Announcing => {
                state.workers[index].phase = match self.protocol {
                    Protocol::WithoutSettling => Phase::Asleep,
                    // Settled before it was said.
                    Protocol::SettlingFirst if state.is_anyone_skipping() => Phase::Awake,
                    Protocol::SettlingFirst => Phase::Asleep,
                    Protocol::Whole
                    | Protocol::WithoutLastLook
                    | Protocol::OneLook
                    | Protocol::SilentSleep => Phase::Settling,
                }
            }
            Phase::Settling if state.is_anyone_skipping() => {
                // It goes on looking meanwhile, and comes back.
                self.look(state, index, true);
                if state.workers[index].phase == Phase::Asleep {
                    state.workers[index].phase = Phase::Settling;
                }
            }
            Phase::Settling if self.protocol == Protocol::WithoutLastLook => {
                state.workers[index].phase = Phase::Asleep;
            }
            Phase::Settling => state.workers[index].phase = Phase::LastLook,
            Phase::LastLook => self.look(state, index, true),
            Phase::Full => {}
        }
    }
}

impl Model for Gate {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            producers: vec![Producer::New; self.producers],
            // As after the listener has connected.
            workers: vec![
                Worker {
                    phase: Phase::Announcing,
                    mail: false,
                    busy: 0,
                };
                self.workers
            ],
            due: 0,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (index, producer) in state.producers.iter().enumerate() {
            match producer {
                Producer::New => actions.push(Action::Begin(index)),
                Producer::Looked => actions.push(Action::TakeSkippers(index)),
                Producer::Begun => {
                    actions.push(Action::LookForSleepers(index, false));
                    actions.push(Action::LookForSleepers(index, true));
                }
                Producer::Skips | Producer::Notifies => {
                    actions.push(Action::Commit(index));
                    actions.push(Action::RollBack(index));
                }
                Producer::Ended => {}
            }
        }
        for (index, worker) in state.workers.iter().enumerate() {
            let can_work = match worker.phase {
                Phase::Asleep => worker.mail,
                Phase::Full => false,
                Phase::Woken
                | Phase::Awake
                | Phase::Announcing
                | Phase::Settling
                | Phase::LastLook => true,
            };
            if can_work {
                actions.push(Action::Work(index));
            }
            if worker.busy > 0 {
                actions.push(Action::Finish(index));
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Begin(index) => {
                // The first look: spurious sights lead to the same end as those of the second.
                state.producers[index] = if state.is_anyone_announced() {
                    Producer::Notifies
                } else {
                    Producer::Looked
                };
            }
            Action::TakeSkippers(index) => state.producers[index] = Producer::Begun,
            Action::LookForSleepers(index, is_spurious) => {
                let is_seen = self.protocol != Protocol::OneLook
                    && (is_spurious || state.is_anyone_announced());
                state.producers[index] = if is_seen {
                    Producer::Notifies
                } else {
                    Producer::Skips
                };
            }
            Action::Commit(index) => {
                if state.producers[index] == Producer::Notifies {
                    for worker in &mut state.workers {
                        worker.mail = true;
                    }
                }
                state.producers[index] = Producer::Ended;
                state.due += 1;
            }
            Action::RollBack(index) => state.producers[index] = Producer::Ended,
            Action::Work(index) => self.work(&mut state, index),
            Action::Finish(index) => {
                let worker = &mut state.workers[index];
                worker.busy -= 1;
                if worker.phase == Phase::Full {
                    worker.phase = Phase::Awake;
                }
            }
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("no wake-up is lost", |gate: &Self, state: &State| {
                let is_someone_idle = state
                    .workers
                    .iter()
                    .any(|worker| worker.phase == Phase::Asleep && worker.busy < gate.slots);
                state.due == 0 || !is_someone_idle || state.is_anyone_about_to_look()
            }),
            Property::always("who is full is woken by its own end", |_, state: &State| {
                state
                    .workers
                    .iter()
                    .all(|worker| worker.phase != Phase::Full || worker.busy > 0)
            }),
            Property::sometimes("a NOTIFY is skipped", |_, state: &State| {
                state.producers.contains(&Producer::Skips)
            }),
            Property::sometimes("everybody sleeps at the end", |_, state: &State| {
                state.producers.iter().all(|it| *it == Producer::Ended)
                    && state
                        .workers
                        .iter()
                        .all(|worker| worker.phase == Phase::Asleep && worker.busy == 0)
            }),
        ]
    }
}

fn gate(protocol: Protocol, producers: usize, workers: usize, slots: u8) -> Gate {
    Gate {
        producers,
        workers,
        slots,
        protocol,
    }
}

#[test]
fn no_wake_up_is_lost_in_any_order_of_steps() {
    for (producers, workers, slots) in [(4, 1, 1), (3, 1, 2), (3, 2, 1), (4, 2, 1), (3, 2, 2)] {
        let checked = gate(Protocol::Whole, producers, workers, slots)
            .checker()
            .spawn_bfs()
            .join();
        checked.assert_properties();
        assert!(checked.unique_state_count() > 100);
    }
}

#[test]
fn every_step_of_the_protocol_is_needed() {
    for protocol in [
        Protocol::WithoutSettling,
        Protocol::WithoutLastLook,
        Protocol::SettlingFirst,
        Protocol::OneLook,
        Protocol::SilentSleep,
    ] {
        let checked = gate(protocol, 3, 2, 1).checker().spawn_bfs().join();
        assert!(
            checked.discovery("no wake-up is lost").is_some(),
            "{protocol:?} loses no wake-up"
        );
    }
}
