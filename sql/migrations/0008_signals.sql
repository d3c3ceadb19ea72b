-- 0008 The SQL API, third part: signal, approve, reject, decide. See 0008_api.sql.
--
-- All insert a row of workflowsignal, as anybody may; the trigger on that wakes whoever waits. What these add: an answer to
-- a request is checked before it is written, names its request, and is the only one.

-- One that is to start later is not woken (wake_signalled); the signal is there when it starts.
CREATE FUNCTION workflow_worker.insert_signal(execution uuid, signal_type text, signal_data json) RETURNS uuid
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    new_id CONSTANT uuid := gen_random_uuid();
BEGIN
    INSERT INTO public.workflowsignal (id, execution_id, signal_type, signal_data, received_at, processed)
    VALUES (new_id, execution, signal_type, signal_data, clock_timestamp() AT TIME ZONE 'utc', false);
    RETURN new_id;
END
$$;
COMMENT ON FUNCTION workflow_worker.insert_signal(uuid, text, json) IS 'A new row of workflowsignal';

CREATE FUNCTION workflow_worker.signal(execution uuid, type text, data jsonb DEFAULT NULL) RETURNS uuid
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET workflow_worker.writer = 'off'
AS $$
DECLARE
    held record;
BEGIN
    IF coalesce(btrim(type), '') = '' OR length(type) > 100 THEN
        RAISE EXCEPTION 'type has % characters; it must have 1 to 100, and not only blanks', coalesce(length(type), 0)
            USING ERRCODE = 'WW400';
    END IF;
    SELECT * INTO held FROM workflow_worker.lock_host_row(execution);
    IF held.kind NOT IN ('running', 'waiting_for_signal', 'paused', 'retrying') THEN
        PERFORM workflow_worker.refuse(held.name, held.kind, 'signalled', NULL);
    END IF;
    RETURN workflow_worker.insert_signal(execution, type, data::json);
END
$$;
COMMENT ON FUNCTION workflow_worker.signal(uuid, text, jsonb) IS
    'Sends a signal to an execution, now or later waited for; returns the id of its row. WW400: a bad argument. WW404: there is none. WW409: not in this state. WW410: it has ended';

------------------------------------------------------------------------------------------------------------------
-- Requests for an approval.
--
-- What a row of workflowsignal asks, or NULLs if it asks nothing (any more): has it a decision in it, it is an answer.
-- Never fails. The same reading as that of the worker (src/host/signals/decision.rs).
CREATE FUNCTION workflow_worker.request_in(
    signal_data text, OUT node_id text, OUT message text, OUT options text[], OUT timeout_seconds numeric)
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    data jsonb;
BEGIN
    -- Spares most rows the parsing.
    IF signal_data IS NULL OR strpos(signal_data, '"options"') = 0 THEN
        RETURN;
    END IF;
    data := signal_data::jsonb;
    IF jsonb_typeof(data) <> 'object' OR data ?| ARRAY['decision', 'response', 'option', 'approved'] THEN
        RETURN;
    END IF;
    node_id := data ->> 'node_id';
    message := data ->> 'message';
    options := CASE jsonb_typeof(data -> 'options')
        WHEN 'array' THEN ARRAY(SELECT jsonb_array_elements_text(data -> 'options'))
        ELSE ARRAY(SELECT btrim(word) FROM unnest(string_to_array(data ->> 'options', ',')) AS word)
    END;
    timeout_seconds := CASE WHEN jsonb_typeof(data -> 'timeout_seconds') = 'number'
        THEN (data ->> 'timeout_seconds')::numeric END;
EXCEPTION WHEN OTHERS THEN
    node_id := NULL;
    message := NULL;
    options := NULL;
    timeout_seconds := NULL;
END
$$;
COMMENT ON FUNCTION workflow_worker.request_in(text) IS 'What the data of a workflowsignal ask, or NULLs';

-- Whether a row is an answer to a request, by its id. Never fails.
CREATE FUNCTION workflow_worker.answers(signal_data text, request uuid) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN strpos(signal_data, request::text) > 0
        AND coalesce(signal_data::jsonb ->> 'signal_id', signal_data::jsonb ->> 'request_id') = request::text;
EXCEPTION WHEN OTHERS THEN
    RETURN false;
END
$$;
COMMENT ON FUNCTION workflow_worker.answers(text, uuid) IS 'Whether the data of a workflowsignal answer a request';

-- Finds and locks the request that is meant. Others that answer the same one wait here, and then see the answer: so the
-- first counts, and the second is told.
CREATE FUNCTION workflow_worker.lock_request(execution uuid, execution_name text, node text, OUT id uuid, OUT options text[])
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    open_nodes text[];
    is_decided boolean;
BEGIN
    PERFORM
    FROM public.workflowsignal AS asked
    WHERE asked.execution_id = execution
      AND NOT asked.processed
      AND asked.signal_type IN ('human_approval', 'human_input', 'approval_response')
      AND asked.signal_data::text LIKE '%"options"%'
    ORDER BY asked.id
    FOR NO KEY UPDATE;

    WITH request AS (
        SELECT asked.id, asked.received_at, asked.processed, said.node_id, said.options
        FROM public.workflowsignal AS asked
        CROSS JOIN LATERAL workflow_worker.request_in(asked.signal_data::text) AS said
        WHERE asked.execution_id = execution
          AND asked.signal_type IN ('human_approval', 'human_input', 'approval_response')
          AND said.options IS NOT NULL
          AND (lock_request.node IS NULL OR said.node_id = lock_request.node)
    ),
    undecided AS (
        SELECT request.*
        FROM request
        WHERE NOT request.processed
          AND NOT EXISTS (
              SELECT
              FROM public.workflowsignal AS answer
              WHERE answer.execution_id = execution
                AND answer.id <> request.id
                AND workflow_worker.answers(answer.signal_data::text, request.id))
    )
    SELECT
        (SELECT array_agg(undecided.node_id ORDER BY undecided.received_at, undecided.id) FROM undecided),
        (SELECT undecided.id FROM undecided ORDER BY undecided.received_at, undecided.id LIMIT 1),
        (SELECT undecided.options FROM undecided ORDER BY undecided.received_at, undecided.id LIMIT 1),
        EXISTS (SELECT FROM request)
    INTO open_nodes, lock_request.id, lock_request.options, is_decided;

    IF cardinality(open_nodes) > 1 AND lock_request.node IS NULL THEN
        RAISE EXCEPTION 'execution % waits for % approvals, at the nodes %: name the node',
            execution_name, cardinality(open_nodes), array_to_string(open_nodes, ', ') USING ERRCODE = 'WW300';
    END IF;
    IF open_nodes IS NULL AND is_decided THEN
        RAISE EXCEPTION 'execution %: the approval% has been decided already, or is no longer asked for',
            execution_name, coalesce(' at node "' || left(lock_request.node, 300) || '"', '') USING ERRCODE = 'WW419';
    END IF;
    IF open_nodes IS NULL THEN
        RAISE EXCEPTION 'execution % waits for no approval%',
            execution_name, coalesce(' at node "' || left(lock_request.node, 300) || '"', '') USING ERRCODE = 'WW412';
    END IF;
END
$$;
COMMENT ON FUNCTION workflow_worker.lock_request(uuid, text, text) IS 'Finds and locks the request for an approval that is meant';

-- The option that a decision means, as the request spells it, or NULL: exactly so, else but for blanks and case, else
-- approve for approved and reject for rejected. As the worker reads it.
CREATE FUNCTION workflow_worker.option_of(options text[], decision text) RETURNS text
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT given.word
    FROM unnest(options) WITH ORDINALITY AS given (word, place)
    CROSS JOIN LATERAL (
        SELECT CASE
            WHEN btrim(given.word) = btrim(decision) THEN 1
            WHEN lower(btrim(given.word)) = lower(btrim(decision)) THEN 2
            WHEN lower(btrim(decision)) = 'approved' AND lower(btrim(given.word)) = 'approve' THEN 3
            WHEN lower(btrim(decision)) = 'rejected' AND lower(btrim(given.word)) = 'reject' THEN 3
        END AS likeness
    ) AS found
    WHERE found.likeness IS NOT NULL
    ORDER BY found.likeness, given.place
    LIMIT 1
$$;
COMMENT ON FUNCTION workflow_worker.option_of(text[], text) IS 'The option that a decision means, or NULL';

-- Answers a request. `decision` NULL: yes or no, by `is_approved`, as the options spell it.
CREATE FUNCTION workflow_worker.answer(
    execution uuid, decision text, is_approved boolean, node text, note json) RETURNS uuid
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    words CONSTANT text[] := CASE
        WHEN decision IS NOT NULL THEN ARRAY[decision]
        WHEN is_approved THEN ARRAY['approve', 'approved', 'yes', 'ok', 'true']
        ELSE ARRAY['reject', 'rejected', 'no', 'deny', 'false']
    END;
    held record;
    request record;
    chosen text;
BEGIN
    SELECT * INTO held FROM workflow_worker.lock_host_row(execution);
    IF held.kind NOT IN ('running', 'waiting_for_signal', 'paused', 'retrying') THEN
        PERFORM workflow_worker.refuse(held.name, held.kind, 'answered', NULL);
    END IF;
    SELECT * INTO request FROM workflow_worker.lock_request(execution, held.name, node);
    SELECT workflow_worker.option_of(request.options, word.text) INTO chosen
    FROM unnest(words) WITH ORDINALITY AS word (text, place)
    WHERE workflow_worker.option_of(request.options, word.text) IS NOT NULL
    ORDER BY word.place
    LIMIT 1;
    IF chosen IS NULL AND decision IS NULL THEN
        chosen := request.options[CASE WHEN is_approved THEN 1 ELSE 2 END];
    END IF;
    IF chosen IS NULL THEN
        RAISE EXCEPTION 'execution %: % is not one of the options: %', held.name,
            coalesce('"' || left(decision, 200) || '"', CASE WHEN is_approved THEN 'yes' ELSE 'no' END),
            array_to_string(request.options, ', ') USING ERRCODE = 'WW422';
    END IF;
    RETURN workflow_worker.insert_signal(
        execution, 'human_approval',
        workflow_worker.with_keys(
            note, json_build_object('signal_id', request.id, 'decision', chosen)));
END
$$;
COMMENT ON FUNCTION workflow_worker.answer(uuid, text, boolean, text, json) IS 'Answers a request for an approval';

-- What comes with an answer. Raises WW400 for data that are no object.
CREATE FUNCTION workflow_worker.note_of(by text, comment text, data jsonb) RETURNS json
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF jsonb_typeof(data) NOT IN ('object', 'null') THEN
        RAISE EXCEPTION 'data is of JSON type %; it must be an object', jsonb_typeof(data) USING ERRCODE = 'WW400';
    END IF;
    -- Keys that would make it another answer than the one that was asked for.
    RETURN ((CASE WHEN jsonb_typeof(data) = 'object' THEN data ELSE '{}' END)
            - ARRAY['signal_id', 'request_id', 'decision', 'response', 'option', 'approved', 'options', 'node_id']
            || jsonb_strip_nulls(jsonb_build_object('by', by, 'comment', comment)))::json;
END
$$;
COMMENT ON FUNCTION workflow_worker.note_of(text, text, jsonb) IS 'What comes with an answer';

CREATE FUNCTION workflow_worker.decide(
    execution uuid, decision text, node text DEFAULT NULL, by text DEFAULT NULL, comment text DEFAULT NULL,
    data jsonb DEFAULT NULL) RETURNS uuid
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET workflow_worker.writer = 'off'
AS $$
BEGIN
    IF coalesce(btrim(decision), '') = '' THEN
        RAISE EXCEPTION 'decision is NULL or blank; it must be one of the options' USING ERRCODE = 'WW400';
    END IF;
    RETURN workflow_worker.answer(execution, decision, NULL, node, workflow_worker.note_of(by, comment, data));
END
$$;
COMMENT ON FUNCTION workflow_worker.decide(uuid, text, text, text, text, jsonb) IS
    'Answers a request for an approval with one of its options; returns the id of the answer''s row. WW300: several are open and no node is named. WW400: a bad argument. WW404: there is no such execution. WW409: not in this state. WW410: it has ended. WW412: it waits for none. WW419: decided already. WW422: none of the options';

CREATE FUNCTION workflow_worker.approve(
    execution uuid, node text DEFAULT NULL, by text DEFAULT NULL, comment text DEFAULT NULL, data jsonb DEFAULT NULL)
    RETURNS uuid
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET workflow_worker.writer = 'off'
AS $$
BEGIN
    RETURN workflow_worker.answer(execution, NULL, true, node, workflow_worker.note_of(by, comment, data));
END
$$;
COMMENT ON FUNCTION workflow_worker.approve(uuid, text, text, text, jsonb) IS
    'Answers a request for an approval with yes: the option approve, approved, yes, ok or true, else the first. Errors as decide';

CREATE FUNCTION workflow_worker.reject(
    execution uuid, node text DEFAULT NULL, by text DEFAULT NULL, comment text DEFAULT NULL, data jsonb DEFAULT NULL)
    RETURNS uuid
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET workflow_worker.writer = 'off'
AS $$
BEGIN
    RETURN workflow_worker.answer(execution, NULL, false, node, workflow_worker.note_of(by, comment, data));
END
$$;
COMMENT ON FUNCTION workflow_worker.reject(uuid, text, text, text, jsonb) IS
    'Answers a request for an approval with no: the option reject, rejected, no, deny or false, else the second. Errors as decide';

------------------------------------------------------------------------------------------------------------------
-- By id or name.

CREATE FUNCTION workflow_worker.signal(execution text, type text, data jsonb DEFAULT NULL) RETURNS uuid
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$ SELECT workflow_worker.signal(workflow_worker.execution_id(execution), type, data) $$;
COMMENT ON FUNCTION workflow_worker.signal(text, text, jsonb) IS 'The same, for an execution by its id or its name';

CREATE FUNCTION workflow_worker.decide(execution text, decision text, node text DEFAULT NULL, by text DEFAULT NULL,
    comment text DEFAULT NULL, data jsonb DEFAULT NULL) RETURNS uuid
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$ SELECT workflow_worker.decide(workflow_worker.execution_id(execution), decision, node, by, comment, data) $$;
COMMENT ON FUNCTION workflow_worker.decide(text, text, text, text, text, jsonb) IS 'The same, for an execution by its id or its name';

CREATE FUNCTION workflow_worker.approve(execution text, node text DEFAULT NULL, by text DEFAULT NULL,
    comment text DEFAULT NULL, data jsonb DEFAULT NULL) RETURNS uuid
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$ SELECT workflow_worker.approve(workflow_worker.execution_id(execution), node, by, comment, data) $$;
COMMENT ON FUNCTION workflow_worker.approve(text, text, text, text, jsonb) IS 'The same, for an execution by its id or its name';

CREATE FUNCTION workflow_worker.reject(execution text, node text DEFAULT NULL, by text DEFAULT NULL,
    comment text DEFAULT NULL, data jsonb DEFAULT NULL) RETURNS uuid
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$ SELECT workflow_worker.reject(workflow_worker.execution_id(execution), node, by, comment, data) $$;
COMMENT ON FUNCTION workflow_worker.reject(text, text, text, text, jsonb) IS 'The same, for an execution by its id or its name';
