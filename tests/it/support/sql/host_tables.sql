-- The platform's tables with their keys, as `SQLModel.metadata.create_all` makes them: no DEFAULT anywhere, times without
-- time zone in UTC, JSON as json.

CREATE TABLE public.executionlog (
    id uuid NOT NULL,
    execution_id uuid NOT NULL,
    node_id character varying(255) NOT NULL,
    level character varying(20) NOT NULL,
    message character varying(5000) NOT NULL,
    "timestamp" timestamp without time zone NOT NULL
);
CREATE TABLE public."user" (
    email character varying(255) NOT NULL,
    is_active boolean NOT NULL,
    is_superuser boolean NOT NULL,
    full_name character varying(255),
    clerk_user_id character varying(255),
    phone_number character varying(50),
    email_verified boolean NOT NULL,
    clerk_metadata jsonb,
    id uuid NOT NULL,
    hashed_password character varying NOT NULL
);
CREATE TABLE public.workflow (
    name character varying(255) NOT NULL,
    description character varying(1000),
    is_active boolean NOT NULL,
    version integer NOT NULL,
    trigger_config json,
    graph_config json,
    id uuid NOT NULL,
    owner_id uuid NOT NULL,
    created_at timestamp without time zone NOT NULL,
    updated_at timestamp without time zone NOT NULL
);
CREATE TABLE public.workflowexecution (
    id uuid NOT NULL,
    workflow_id uuid NOT NULL,
    workflow_version integer NOT NULL,
    execution_id character varying(255) NOT NULL,
    status character varying(50) NOT NULL,
    started_at timestamp without time zone NOT NULL,
    completed_at timestamp without time zone,
    error_message character varying,
    current_node_id character varying(255),
    execution_state json,
    retry_count integer NOT NULL,
    next_retry_at timestamp without time zone
);
CREATE TABLE public.workflownode (
    id uuid NOT NULL,
    workflow_id uuid NOT NULL,
    node_type character varying(100) NOT NULL,
    node_id character varying(255) NOT NULL,
    position_x double precision NOT NULL,
    position_y double precision NOT NULL,
    config json
);
CREATE TABLE public.workflowschedule (
    id uuid NOT NULL,
    workflow_id uuid NOT NULL,
    cron_expression character varying(100) NOT NULL,
    is_active boolean NOT NULL,
    next_run_at timestamp without time zone,
    last_run_at timestamp without time zone
);
CREATE TABLE public.workflowsignal (
    id uuid NOT NULL,
    execution_id uuid NOT NULL,
    signal_type character varying(100) NOT NULL,
    signal_data json,
    received_at timestamp without time zone NOT NULL,
    processed boolean NOT NULL
);
CREATE TABLE public.workflowwebhooksubscription (
    id uuid NOT NULL,
    workflow_id uuid NOT NULL,
    webhook_path character varying(500) NOT NULL,
    secret character varying(255),
    headers jsonb,
    filters jsonb,
    is_active boolean NOT NULL,
    created_at timestamp without time zone NOT NULL,
    updated_at timestamp without time zone NOT NULL
);
ALTER TABLE ONLY public.executionlog
    ADD CONSTRAINT executionlog_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public."user"
    ADD CONSTRAINT user_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.workflow
    ADD CONSTRAINT workflow_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.workflowexecution
    ADD CONSTRAINT workflowexecution_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.workflownode
    ADD CONSTRAINT workflownode_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.workflowschedule
    ADD CONSTRAINT workflowschedule_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.workflowsignal
    ADD CONSTRAINT workflowsignal_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.workflowwebhooksubscription
    ADD CONSTRAINT workflowwebhooksubscription_pkey PRIMARY KEY (id);
CREATE UNIQUE INDEX ix_user_clerk_user_id ON public."user" USING btree (clerk_user_id);
CREATE UNIQUE INDEX ix_user_email ON public."user" USING btree (email);
CREATE INDEX ix_user_email_verified ON public."user" USING btree (email_verified);
CREATE UNIQUE INDEX ix_workflowexecution_execution_id ON public.workflowexecution USING btree (execution_id);
CREATE INDEX ix_workflowwebhooksubscription_is_active ON public.workflowwebhooksubscription USING btree (is_active);
CREATE INDEX ix_workflowwebhooksubscription_webhook_path ON public.workflowwebhooksubscription USING btree (webhook_path);
ALTER TABLE ONLY public.executionlog
    ADD CONSTRAINT executionlog_execution_id_fkey FOREIGN KEY (execution_id) REFERENCES public.workflowexecution(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.workflow
    ADD CONSTRAINT workflow_owner_id_fkey FOREIGN KEY (owner_id) REFERENCES public."user"(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.workflowexecution
    ADD CONSTRAINT workflowexecution_workflow_id_fkey FOREIGN KEY (workflow_id) REFERENCES public.workflow(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.workflownode
    ADD CONSTRAINT workflownode_workflow_id_fkey FOREIGN KEY (workflow_id) REFERENCES public.workflow(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.workflowschedule
    ADD CONSTRAINT workflowschedule_workflow_id_fkey FOREIGN KEY (workflow_id) REFERENCES public.workflow(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.workflowsignal
    ADD CONSTRAINT workflowsignal_execution_id_fkey FOREIGN KEY (execution_id) REFERENCES public.workflowexecution(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.workflowwebhooksubscription
    ADD CONSTRAINT workflowwebhooksubscription_workflow_id_fkey FOREIGN KEY (workflow_id) REFERENCES public.workflow(id) ON DELETE CASCADE;
