//! `code` with a hosted runtime or with packages to install: the activity host runs it, if there is one.

use super::Remote;
use crate::activities::native::code::{Code, needs_remote};
use crate::activities::{Activity, Context, Failure, Node, Running, Spec};

/// Runs a program here, or on the activity host if it needs what is not here.
#[derive(Clone, Debug)]
pub struct HostedCode {
    /// Runs it here, or says why that cannot be.
    pub code: Code,
    /// The activity host.
    pub remote: Option<Remote>,
}

impl Activity for HostedCode {
    fn spec(&self) -> &'static Spec {
        self.code.spec()
    }

    fn check(&self, node: &Node) -> Result<(), Failure> {
        match &self.remote {
            Some(_) if needs_remote(&node.config).is_some() => Ok(()),
            Some(_) | None => self.code.check(node),
        }
    }

    fn run<'a>(&'a self, node: &'a Node, context: &'a Context) -> Running<'a> {
        match &self.remote {
            Some(remote) if needs_remote(&node.config).is_some() => {
                Box::pin(remote.run(node, context))
            }
            Some(_) | None => self.code.run(node, context),
        }
    }
}
