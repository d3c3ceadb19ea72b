//! Who may do what, and that nobody gets more by what they plant in the way.

use tokio_postgres::types::Type;
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

use super::{one, refusal, small_workflow};
use crate::support::database::{Database, Recipe, Variant};
use crate::support::flow::count;
use crate::support::migrated::MIGRATED;

/// A role of this database alone; roles belong to the whole server.
struct Role {
    name: String,
    owner: Client,
}

impl Role {
    async fn make(database: &Database) -> Self {
        let owner = database.client().await;
        let name = format!("{}_role", database.name());
        owner
            .batch_execute(&format!(
                "DROP ROLE IF EXISTS {name}; CREATE ROLE {name} LOGIN"
            ))
            .await
            .unwrap();
        Self { name, owner }
    }

    async fn may(&self, access: &str) -> i32 {
        one(
            &self.owner,
            "SELECT workflow_worker.grant_access($1, $2)",
            &[(&self.name, Type::TEXT), (&access, Type::TEXT)],
        )
        .await
    }

    async fn connect(&self, database: &Database) -> Client {
        let url = database
            .url()
            .replace("//postgres@", &format!("//{}@", self.name));
        let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
        tokio::spawn(async { drop(connection.await) });
        client
    }

    async fn drop(self) {
        let name = &self.name;
        self.owner
            .batch_execute(&format!("DROP OWNED BY {name}; DROP ROLE {name}"))
            .await
            .unwrap();
    }
}

const DENIED: &str = "42501";

#[tokio::test]
async fn a_producer_starts_and_steers_without_a_right_on_any_table() {
    let recipe = Recipe::new(Variant::Alembic)
        .row_level_security()
        .prepared(MIGRATED);
    let database = Database::make(recipe).await;
    let role = Role::make(&database).await;
    let workflow = small_workflow(&role.owner).await;
    let producer = role.connect(&database).await;
    let start = "SELECT id FROM workflow_worker.start($1)";
    let arguments = [(&workflow as _, Type::UUID)];
    assert_eq!(
        refusal(&producer, start, &arguments).await,
        DENIED,
        "before"
    );
    assert!(role.may("producer").await > 10);
    assert!(role.may("producer").await > 10, "again is no error");
    let id: Uuid = one(&producer, start, &arguments).await;
    for call in [
        "pause($1)",
        "resume($1)",
        "debug($1)",
        "step($1)",
        "signal($1, 'x')",
        "terminate($1)",
        "retry($1)",
    ] {
        let statement = format!("SELECT workflow_worker.{call}");
        producer
            .query_typed(&statement, &[(&id, Type::UUID)])
            .await
            .expect(call);
    }
    for statement in [
        "SELECT * FROM workflowexecution",
        "SELECT * FROM workflow_worker.run_queue",
        "SELECT * FROM workflow_worker.executions",
        "SELECT workflow_worker.insert_execution(NULL, NULL, NULL, NULL, NULL, NULL)",
        "SELECT workflow_worker.start_child(NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)",
        "SELECT workflow_worker.set_events('all')",
        "SELECT workflow_worker.grant_access('postgres', 'reader')",
    ] {
        assert_eq!(
            refusal(&producer, statement, &[]).await,
            DENIED,
            "{statement}"
        );
    }
    role.owner
        .query(
            "SELECT workflow_worker.revoke_access($1, 'producer')",
            &[&role.name],
        )
        .await
        .unwrap();
    assert_eq!(refusal(&producer, start, &arguments).await, DENIED, "after");
    drop(producer);
    role.drop().await;
}

#[tokio::test]
async fn a_reader_sees_the_views_of_all_executions_and_changes_nothing() {
    let recipe = Recipe::new(Variant::Alembic)
        .row_level_security()
        .prepared(MIGRATED);
    let database = Database::make(recipe).await;
    let role = Role::make(&database).await;
    let workflow = small_workflow(&role.owner).await;
    role.owner
        .query("SELECT workflow_worker.start($1)", &[&workflow])
        .await
        .unwrap();
    role.may("reader").await;
    let reader = role.connect(&database).await;
    for view in ["executions", "approvals", "health", "steps", "workers"] {
        let select = format!("SELECT * FROM workflow_worker.{view}");
        reader.query(&select, &[]).await.expect(view);
    }
    assert_eq!(
        count(&reader, "SELECT count(*) FROM workflow_worker.executions").await,
        1
    );
    for statement in [
        "SELECT * FROM workflowexecution",
        "SELECT * FROM workflow_worker.run_queue",
        "DELETE FROM workflow_worker.steps",
        "UPDATE workflow_worker.executions SET name = 'x'",
        "SELECT workflow_worker.terminate((SELECT id FROM workflow_worker.executions))",
    ] {
        let code = refusal(&reader, statement, &[]).await;
        assert!(code == DENIED || code == "55000", "{statement}: {code}");
    }
    drop(reader);
    role.drop().await;
}

#[tokio::test]
async fn nobody_else_has_a_right_and_the_web_cannot_be_given_one() {
    let recipe = Recipe::new(Variant::Alembic)
        .row_level_security()
        .prepared(MIGRATED);
    let database = Database::make(recipe).await;
    let client = database.client().await;
    let open: Vec<String> = client
        .query(
            "SELECT found.oid::regprocedure::text
             FROM pg_proc AS found
             CROSS JOIN (VALUES ('anon'::name), ('authenticated')) AS web (role_name)
             WHERE pronamespace = 'workflow_worker'::regnamespace
               AND has_function_privilege(web.role_name, found.oid, 'EXECUTE')",
            &[],
        )
        .await
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert!(open.is_empty(), "{open:?}");
    for (call, code) in [
        ("grant_access('anon', 'reader')", "WW400"),
        ("grant_access('authenticated', 'producer')", "WW400"),
        ("grant_access('public', 'reader')", "WW400"),
        ("grant_access('nobody there', 'reader')", "WW404"),
        ("grant_access(NULL, 'reader')", "WW404"),
        ("grant_access('postgres', 'owner')", "WW400"),
        ("revoke_access('postgres', NULL)", "WW400"),
        ("set_events('some')", "WW400"),
        ("set_events(NULL)", "WW400"),
    ] {
        let statement = format!("SELECT workflow_worker.{call}");
        assert_eq!(refusal(&client, &statement, &[]).await, code, "{call}");
    }
}

#[tokio::test]
async fn every_function_has_a_fixed_search_path_and_a_comment() {
    let database = Database::migrated(Variant::Alembic).await;
    let client = database.client().await;
    let wrong: Vec<String> = client
        .query(
            "SELECT found.oid::regprocedure::text
             FROM pg_proc AS found
             WHERE pronamespace = 'workflow_worker'::regnamespace
               AND (NOT coalesce(proconfig @> ARRAY['search_path=pg_catalog, pg_temp'], false)
                    OR obj_description(found.oid, 'pg_proc') IS NULL)",
            &[],
        )
        .await
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    let bare: Vec<String> = client
        .query(
            "SELECT found.relname || '.' || attname
             FROM pg_attribute
             JOIN pg_class AS found ON found.oid = attrelid
             WHERE found.relnamespace = 'workflow_worker'::regnamespace
               AND found.relname IN ('executions', 'approvals', 'health', 'steps', 'workers')
               AND attnum > 0 AND NOT attisdropped
               AND col_description(attrelid, attnum) IS NULL",
            &[],
        )
        .await
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert!(bare.is_empty(), "{bare:?}");
}

/// Functions, operators, a type and tables under the names that the API uses, in the schemas that a caller can put first.
const PLANTED: &str = "
    CREATE TABLE public.stolen (what text);
    GRANT ALL ON public.stolen TO PUBLIC;
    CREATE FUNCTION public.steal(what text) RETURNS text LANGUAGE sql AS
        $$ INSERT INTO public.stolen VALUES (what || ' as ' || current_user); SELECT what $$;
    CREATE FUNCTION public.now() RETURNS timestamptz LANGUAGE sql AS $$ SELECT public.steal('now')::text; SELECT NULL::timestamptz $$;
    CREATE FUNCTION public.btrim(text) RETURNS text LANGUAGE sql AS $$ SELECT public.steal('btrim') $$;
    CREATE FUNCTION public.left(text, integer) RETURNS text LANGUAGE sql AS $$ SELECT public.steal('left') $$;
    CREATE FUNCTION public.gen_random_uuid() RETURNS uuid LANGUAGE sql AS $$ SELECT public.steal('uuid'); SELECT NULL::uuid $$;
    CREATE FUNCTION public.same(uuid, uuid) RETURNS boolean LANGUAGE sql AS $$ SELECT public.steal('=') IS NULL $$;
    CREATE OPERATOR public.= (LEFTARG = uuid, RIGHTARG = uuid, FUNCTION = public.same);
    CREATE FUNCTION public.same(text, text) RETURNS boolean LANGUAGE sql AS $$ SELECT public.steal('=') IS NULL $$;
    CREATE OPERATOR public.= (LEFTARG = text, RIGHTARG = text, FUNCTION = public.same);
    CREATE OPERATOR public.<> (LEFTARG = text, RIGHTARG = text, FUNCTION = public.same);";

const IN_TEMP: &str = "
    CREATE TEMP TABLE workflowexecution (id uuid);
    CREATE TEMP TABLE run_queue (execution_id uuid);
    CREATE FUNCTION pg_temp.left(text, integer) RETURNS text LANGUAGE sql AS $$ SELECT public.steal('left in pg_temp') $$;
    SET search_path = public, pg_temp, pg_catalog;
    SET workflow_worker.writer = 'on';
    SET workflow_worker.restart = 'on';";

#[tokio::test]
async fn what_is_planted_in_the_way_of_the_functions_does_nothing() {
    let database = Database::migrated(Variant::Alembic).await;
    let role = Role::make(&database).await;
    let workflow = small_workflow(&role.owner).await;
    role.owner.batch_execute(PLANTED).await.unwrap();
    role.may("producer").await;
    let attacker = role.connect(&database).await;
    attacker.batch_execute(IN_TEMP).await.unwrap();
    let id: Uuid = one(
        &attacker,
        "SELECT id FROM workflow_worker.start($1, idempotency_key => 'k')",
        &[(&workflow, Type::UUID)],
    )
    .await;
    for call in [
        "pause($1)",
        "resume($1)",
        "signal($1, 'x')",
        "debug($1)",
        "step($1)",
        "terminate($1)",
    ] {
        let statement = format!("SELECT workflow_worker.{call}");
        attacker
            .query_typed(&statement, &[(&id, Type::UUID)])
            .await
            .expect(call);
    }
    let stolen = count(&role.owner, "SELECT count(*) FROM public.stolen").await;
    assert_eq!(stolen, 0);
    // To pass for a worker would keep the run queue from learning of it.
    let versions: i32 = one(
        &role.owner,
        "SELECT host_version FROM workflow_worker.run_queue",
        &[],
    )
    .await;
    assert!(versions >= 5, "{versions}");
    drop(attacker);
    role.drop().await;
}
