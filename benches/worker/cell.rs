//! One measurement, taken once per round on a database of its own.

use std::fmt;

use futures_util::future::LocalBoxFuture;

use crate::lab::Stage;
use crate::results::Finding;

/// What a measurement answers with.
pub(crate) type Found = anyhow::Result<Vec<Finding>>;

type Take = Box<dyn Fn(Stage) -> LocalBoxFuture<'static, Found>>;

/// One measurement.
pub(crate) struct Cell {
    /// The group that it belongs to.
    pub(crate) group: char,
    /// What it is.
    pub(crate) title: String,
    /// Whether one round is enough: what it finds does not vary, or takes long.
    pub(crate) only_once: bool,
    take: Take,
}

impl Cell {
    /// A measurement of each round.
    pub(crate) fn new<F>(
        group: char,
        title: impl Into<String>,
        take: impl Fn(Stage) -> F + 'static,
    ) -> Self
    where
        F: Future<Output = Found> + 'static,
    {
        Self {
            group,
            title: title.into(),
            only_once: false,
            take: Box::new(move |stage| Box::pin(take(stage))),
        }
    }

    /// The same, in the first round only.
    #[must_use]
    pub(crate) fn once(self) -> Self {
        Self {
            only_once: true,
            ..self
        }
    }

    /// Takes it.
    pub(crate) async fn take(&self, stage: Stage) -> Found {
        (self.take)(stage).await
    }
}

impl fmt::Debug for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cell")
            .field("group", &self.group)
            .field("title", &self.title)
            .finish_non_exhaustive()
    }
}
