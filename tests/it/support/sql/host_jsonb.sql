-- What a database made by the hand-run scripts has instead: every json is jsonb.

ALTER TABLE public.workflow
    ALTER COLUMN trigger_config TYPE jsonb,
    ALTER COLUMN graph_config TYPE jsonb;
ALTER TABLE public.workflowexecution
    ALTER COLUMN execution_state TYPE jsonb;
ALTER TABLE public.workflownode
    ALTER COLUMN config TYPE jsonb;
ALTER TABLE public.workflowsignal
    ALTER COLUMN signal_data TYPE jsonb;
