//! One PostgreSQL per process for all tests that leave it running; a private one for those that do not.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex, OnceLock};

use workflow_worker::dev::{Cluster, Options};

/// A cluster and the template databases in it.
#[derive(Debug)]
pub(crate) struct TestCluster {
    cluster: Cluster,
    /// What a template is made of → its name. Held while one is made, so that each is made once.
    pub(super) templates: Mutex<HashMap<String, String>>,
}

impl TestCluster {
    /// The cluster of this process. It is never dropped; its supervisor cleans up when the process is gone.
    pub(crate) fn shared() -> Arc<Self> {
        static SHARED: OnceLock<Arc<TestCluster>> = OnceLock::new();
        SHARED.get_or_init(Self::private).clone()
    }

    /// A cluster of the caller's own, which may be restarted. Takes about a second.
    pub(crate) fn private() -> Arc<Self> {
        Self::private_with(&[])
    }

    /// The same, with settings of the server.
    pub(crate) fn private_with(more: &[(&str, &str)]) -> Arc<Self> {
        let settings = [
            ("max_connections", "300"),
            ("wal_level", "minimal"),
            ("max_wal_senders", "0"),
        ];
        let options = Options {
            extra_config: settings
                .iter()
                .chain(more)
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            ..Options::default()
        };
        let cluster = Cluster::start(&options).unwrap_or_else(|error| panic!("{error}"));
        Arc::new(Self {
            cluster,
            templates: Mutex::default(),
        })
    }
}

impl Deref for TestCluster {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        &self.cluster
    }
}
