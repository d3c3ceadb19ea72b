//! Making connections ready before there is anything to do.

use chrono::NaiveDateTime;
use uuid::Uuid;

use super::record::Columns;
use super::{Parameter, Statement, Store, StoreError, from_pool, run, sql};

/// Connections that are made ready at the start.
const WARM_CONNECTIONS: usize = 3;

impl Store {
    /// Opens connections, and on each sends once what a first execution needs, about nothing: so that it need not wait until
    /// this is prepared and its plans are made.
    pub async fn warm_up(&self) -> Result<(), StoreError> {
        if !self.uses_named_statements() {
            return Ok(());
        }
        let nobody = Uuid::nil();
        let nothing = Columns::default();
        // What a claim of no execution does is in migration 0012.
        let statements: [(Statement, &[Parameter<'_>]); 4] = [
            (sql::CLAIM, &[&nobody, &0_i64, &None::<NaiveDateTime>]),
            (
                sql::NEXT_DUE,
                &[&nobody, &None::<f64>, &None::<NaiveDateTime>],
            ),
            (sql::RECORD, &nothing.parameters(&nobody)),
            (sql::LOAD_WORKFLOW_GRAPH, &[&nobody]),
        ];
        // Held together: the claim, the record and the look at a graph may each take another connection.
        let mut clients = Vec::new();
        while clients.len() < WARM_CONNECTIONS.min(self.connections()) {
            let client = self.pool.get().await.map_err(from_pool)?;
            for (statement, parameters) in &statements {
                if let Err(error) = run(&client, statement, parameters, true).await {
                    let error = StoreError::from(error);
                    self.note_error(&error, &client);
                    return Err(error);
                }
            }
            clients.push(client);
        }
        Ok(())
    }
}
