//! `try`: marks where its body begins. (`catch` and `finally` stand where their code can be run.)

use crate::activities::native::config;
use crate::activities::spec::{Holds, Key, Timeout};
use crate::activities::{Activity, Context, Node, Object, Outcome, Running, Spec};

static TRY: Spec = Spec {
    about: "What follows, up to its catch or finally, is tried: an error there leads to the catch, and finally runs in any case.",
    keys: &[Key::new("try_scope", Holds::Text, "a description")],
    branches: &[],
    timeout: Timeout::Node,
};

/// Begins what is tried.
#[derive(Clone, Copy, Debug)]
pub struct Try;

impl Activity for Try {
    fn spec(&self) -> &'static Spec {
        &TRY
    }

    fn run<'a>(&'a self, node: &'a Node, _context: &'a Context) -> Running<'a> {
        Box::pin(async move {
            config::text(&node.config, "try_scope")?;
            let output = Object::new();
            Ok(Outcome::Done {
                output,
                branch: None,
            })
        })
    }
}
