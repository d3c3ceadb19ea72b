-- What a database made by the platform's migrations (Alembic) has on top: the indexes on the columns that are polled.

CREATE INDEX ix_workflowexecution_workflow_id ON public.workflowexecution USING btree (workflow_id);
CREATE INDEX ix_workflowexecution_status ON public.workflowexecution USING btree (status);
CREATE INDEX ix_workflowexecution_started_at ON public.workflowexecution USING btree (started_at);
CREATE INDEX ix_executionlog_execution_id ON public.executionlog USING btree (execution_id);
CREATE INDEX ix_executionlog_timestamp ON public.executionlog USING btree ("timestamp");
