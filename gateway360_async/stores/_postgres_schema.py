"""The tables and functions of `PostgresStore`, which `PostgresStore.init` installs.

Invariants:

- Each function is one step in a transaction of its own. It looks at rows of `records` behind their locks, which it takes
  in the order of the keys, and gives back (a rollback) before it begins anew. A counter's lock covers its entries.
- Each statement of a function sees all that was committed before it (READ COMMITTED), also while it waited for a lock.
- `expires` is put off by more than is needed where a row changes often: a change of an indexed column costs a lookup.
- Many rows are asked for by `key = ANY (…)`: a join may be planned for a table that was small then.

The first letter of a key in `records` is its kind: `i` identity, `r` record, `n` counter, `p` next permit, `h` header, `w`
withdrawn token. `entries` holds the tokens in a counter's window, found by their age and by their token.
"""

from __future__ import annotations

from typing import Final

from ._base import WITHDRAWN_TTL

__all__ = ["SCHEMA", "VERSION"]

VERSION: Final = 1

_COLUMNS: Final = """
    n integer, token text, lease float8, report_id text, resend text, replace text, force boolean,
    counts json,
    key text, ttl float8, forgets boolean, fingerprint text,
    cooldown text, cooldown_ttl float8, cooldown_forgets boolean, cooldown_fingerprint text,
    state text, released boolean, result text, give_back text[], withdrawn boolean"""

SCHEMA: Final = f"""\
BEGIN;
SELECT pg_advisory_xact_lock(360360);
CREATE SCHEMA IF NOT EXISTS gateway360;
CREATE TABLE IF NOT EXISTS gateway360.records (
    namespace text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    token text NOT NULL DEFAULT '',
    state text NOT NULL DEFAULT 'leased',  -- or completed, in_doubt
    lease_end float8 NOT NULL DEFAULT 0,   -- seconds since the epoch of Unix, as all times
    expires float8 NOT NULL DEFAULT '-infinity',  -- from then on the row is free
    resent boolean NOT NULL DEFAULT false,
    fingerprint text NOT NULL DEFAULT '',
    report_id text,
    result text,
    value float8 NOT NULL DEFAULT 0,       -- the entries of a counter; the next permit of a rate
    PRIMARY KEY (namespace, key)
);
CREATE INDEX IF NOT EXISTS records_expires ON gateway360.records (namespace, expires)
    WHERE expires > '-infinity' AND expires < 'infinity';
CREATE TABLE IF NOT EXISTS gateway360.entries (
    namespace text COLLATE "C", key text COLLATE "C", token text, expires float8 NOT NULL,
    PRIMARY KEY (namespace, key, token)
);
CREATE INDEX IF NOT EXISTS entries_expires ON gateway360.entries (namespace, key, expires);

CREATE OR REPLACE FUNCTION gateway360.version() RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT {VERSION}';

CREATE OR REPLACE FUNCTION gateway360.clock() RETURNS float8 LANGUAGE sql VOLATILE AS
'SELECT extract(epoch FROM clock_timestamp())::float8';

-- The claims or completions of a list.
CREATE OR REPLACE FUNCTION gateway360.items(p_items json) RETURNS TABLE ({_COLUMNS})
LANGUAGE sql IMMUTABLE AS $$ SELECT * FROM json_to_recordset(p_items) AS item ({_COLUMNS}) $$;

-- Begins a step, until whose end its settings hold: the commit is durable, waits end, and a table that was never
-- analyzed is not read as a whole. Gives the time; NULL: the store has another epoch.
CREATE OR REPLACE FUNCTION gateway360.start(p_namespace text, p_epoch text, p_wait text) RETURNS float8
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('lock_timeout', p_wait, true), set_config('enable_seqscan', 'off', true),
        set_config('enable_bitmapscan', 'off', true);
    IF current_setting('synchronous_commit') IN ('off', 'local', 'remote_write') THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;
    RETURN (SELECT gateway360.clock() FROM gateway360.records
            WHERE namespace = p_namespace AND key = 'i' AND token = p_epoch);
END $$;

CREATE OR REPLACE FUNCTION gateway360.open(p_namespace text, p_epoch text, p_wait text, p_secret text) RETURNS json
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM gateway360.start(p_namespace, p_epoch, p_wait);
    INSERT INTO gateway360.records (namespace, key, token, result, expires)
        VALUES (p_namespace, 'i', p_epoch, p_secret, 'infinity') ON CONFLICT DO NOTHING;
    RETURN (SELECT json_build_array(token, result) FROM gateway360.records WHERE namespace = p_namespace AND key = 'i');
END $$;

CREATE OR REPLACE FUNCTION gateway360.new_epoch(p_namespace text, p_epoch text, p_wait text, p_new text) RETURNS json
LANGUAGE sql VOLATILE AS $$
    UPDATE gateway360.records SET token = p_new WHERE namespace = p_namespace AND key = 'i'
        AND gateway360.start(p_namespace, p_epoch, p_wait) IS NOT NULL RETURNING to_json(token)
$$;

-- Locks rows, which are made where there are none, to be removed by `unlock`. Gives the time after the last wait.
CREATE OR REPLACE FUNCTION gateway360.lock(p_namespace text, p_keys text[]) RETURNS float8 LANGUAGE plpgsql AS $$
DECLARE
    wanted text[] := ARRAY(SELECT DISTINCT k COLLATE "C" FROM unnest(p_keys) AS k ORDER BY 1);
    locked integer;
BEGIN
    LOOP
        BEGIN
            INSERT INTO gateway360.records (namespace, key)
                SELECT p_namespace, k FROM unnest(wanted) AS k ON CONFLICT DO NOTHING;
            PERFORM FROM gateway360.records
                WHERE namespace = p_namespace AND key = ANY (wanted) ORDER BY key FOR UPDATE;
            GET DIAGNOSTICS locked = ROW_COUNT;
            IF locked = cardinality(wanted) THEN RETURN gateway360.clock(); END IF;
            RAISE SQLSTATE 'GW001';  -- one was removed between the two
        EXCEPTION WHEN SQLSTATE 'GW001' THEN NULL;
        END;
    END LOOP;
END $$;

CREATE OR REPLACE FUNCTION gateway360.unlock(p_namespace text, p_keys text[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM gateway360.records WHERE namespace = p_namespace AND key = ANY (p_keys) AND expires = '-infinity';
END $$;

-- Removes some of a counter's entries whose window is over, the oldest first. Gives how many.
CREATE OR REPLACE FUNCTION gateway360.prune(p_namespace text, p_key text, p_now float8) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE removed integer;
BEGIN
    DELETE FROM gateway360.entries WHERE namespace = p_namespace AND key = p_key AND token = ANY (ARRAY(
        SELECT token FROM gateway360.entries WHERE namespace = p_namespace AND key = p_key AND expires <= p_now
        ORDER BY expires LIMIT 20));
    GET DIAGNOSTICS removed = ROW_COUNT;
    IF removed > 0 THEN
        UPDATE gateway360.records SET value = value - removed WHERE namespace = p_namespace AND key = p_key;
    END IF;
    RETURN removed;
END $$;

-- Removes some rows that are free, and waits for none.
CREATE OR REPLACE FUNCTION gateway360.sweep(p_namespace text, p_now float8, p_most integer) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE free text[] := ARRAY(SELECT key FROM gateway360.records WHERE namespace = p_namespace
    AND expires > '-infinity' AND expires < 'infinity' AND expires <= p_now ORDER BY expires LIMIT p_most FOR UPDATE SKIP LOCKED);
BEGIN
    IF cardinality(free) = 0 THEN RETURN; END IF;  -- PostgreSQL reads all of records_expires for an empty list
    PERFORM gateway360.prune(p_namespace, k, p_now) FROM unnest(free) AS k WHERE k LIKE 'n%';
    DELETE FROM gateway360.records
        WHERE namespace = p_namespace AND key = ANY (free) AND NOT (key LIKE 'n%' AND value > 0);
END $$;

CREATE OR REPLACE FUNCTION gateway360.answer(
    p_row gateway360.records, p_now float8, p_fingerprint text, p_cooldown boolean) RETURNS json
LANGUAGE sql IMMUTABLE AS $$
    SELECT json_build_array(CASE WHEN p_row.state <> 'leased' THEN p_row.state
            WHEN p_row.lease_end > p_now THEN 'in_progress' ELSE 'in_doubt' END,
        p_row.token, p_row.result, p_row.report_id,
        CASE WHEN p_row.state = 'leased' THEN greatest(0, p_row.lease_end - p_now) ELSE 0 END,
        p_fingerprint <> '' AND p_fingerprint <> p_row.fingerprint, p_cooldown)
$$;

-- Gives an answer for each claim; NULL: claimed.
-- p_plain: each has a record and nothing else. One statement takes all, if none is there.
CREATE OR REPLACE FUNCTION gateway360.claim(
    p_namespace text, p_epoch text, p_wait text, p_plain boolean, p_keys text[], p_items json) RETURNS json
LANGUAGE plpgsql AS $$
DECLARE
    now float8 := gateway360.start(p_namespace, p_epoch, p_wait);
    answers json[] := array_fill(NULL::json, ARRAY[json_array_length(p_items)]);
    got text[] := '{{}}'; refused text[];
    item record; r gateway360.records; c gateway360.records;
    limits json; answer json; takes text[]; again boolean; until float8;
BEGIN
    IF now IS NULL THEN RETURN NULL; END IF;
    IF p_plain THEN
        BEGIN
            WITH taken AS (
                INSERT INTO gateway360.records AS t (namespace, key, token, lease_end, expires, fingerprint, report_id)
                SELECT DISTINCT ON (i.key COLLATE "C") p_namespace, i.key, i.token, now + i.lease,
                    CASE WHEN i.forgets THEN now + i.lease + i.ttl ELSE 'infinity' END, i.fingerprint, i.report_id
                FROM gateway360.items(p_items) AS i ORDER BY i.key COLLATE "C", i.n
                ON CONFLICT DO NOTHING RETURNING t.token)
            SELECT coalesce(array_agg(token), '{{}}') INTO got FROM taken;
            IF cardinality(got) < json_array_length(p_items) THEN RAISE SQLSTATE 'GW001'; END IF;
        EXCEPTION WHEN SQLSTATE 'GW001' THEN got := '{{}}';
        END;
    END IF;
    IF cardinality(got) < json_array_length(p_items) THEN
        now := gateway360.lock(p_namespace, p_keys);
    END IF;
    -- Behind the locks, as `complete` does it: of a claim and its withdrawal, the second one sees the first.
    refused := ARRAY(SELECT substr(w.key, 2) FROM gateway360.records AS w WHERE w.namespace = p_namespace
        AND w.key = ANY (ARRAY(SELECT 'w' || i.token FROM gateway360.items(p_items) AS i)) AND w.expires > now);
    DELETE FROM gateway360.records AS t WHERE cardinality(refused) > 0 AND t.namespace = p_namespace
        AND t.key = ANY (p_keys) AND t.token = ANY (refused) AND t.token = ANY (got);
    FOR item IN SELECT * FROM gateway360.items(p_items) AS i
            WHERE i.token <> ALL (got) OR i.token = ANY (refused) ORDER BY i.n LOOP
        answer := NULL; takes := '{{}}';
        answers[item.n + 1] := CASE WHEN item.token = ANY (refused) THEN '["free"]'::json END;
        CONTINUE WHEN item.token = ANY (refused);
        SELECT * INTO r FROM gateway360.records AS t
            WHERE t.namespace = p_namespace AND t.key = item.key AND t.expires > now;
        SELECT * INTO c FROM gateway360.records AS t
            WHERE t.namespace = p_namespace AND t.key = item.cooldown AND t.expires > now;
        IF r.token = item.token AND r.state = 'leased' THEN
            answers[item.n + 1] := json_build_array('claimed', item.token, r.result);
        END IF;
        CONTINUE WHEN r.token = item.token AND r.state = 'leased'
            OR item.key IS NULL AND c.token = item.token AND c.state = 'leased';
        again := coalesce(r.token = item.resend AND r.state <> 'completed', false);
        IF r.key IS NULL OR again OR r.token = item.replace AND r.state = 'completed' THEN
            takes := takes || item.key;
        ELSE
            answer := gateway360.answer(r, now, item.fingerprint, false);
        END IF;
        IF c.key IS NULL THEN
            takes := takes || item.cooldown;
        ELSIF answer IS NULL AND item.force IS NOT TRUE THEN
            answer := gateway360.answer(c, now, item.cooldown_fingerprint, true);
        END IF;
        FOR i IN 0 .. coalesce(json_array_length(item.counts), 0) - 1 LOOP
            EXIT WHEN answer IS NOT NULL;
            limits := item.counts->i;
            CONTINUE WHEN EXISTS (SELECT FROM gateway360.entries AS e WHERE e.namespace = p_namespace
                AND e.key = limits->>0 AND e.token = item.token AND e.expires > now);
            LOOP
                EXIT WHEN gateway360.prune(p_namespace, limits->>0, now) < 20;
                EXIT WHEN (SELECT t.value < (limits->>1)::float8 FROM gateway360.records AS t
                    WHERE t.namespace = p_namespace AND t.key = limits->>0);
            END LOOP;
            SELECT json_build_array('limited', '', NULL, NULL, 0, false, false, i) INTO answer
                FROM gateway360.records AS t WHERE t.namespace = p_namespace AND t.key = limits->>0
                AND t.value >= (limits->>1)::float8;
        END LOOP;
        answers[item.n + 1] := CASE WHEN again AND answer IS NULL
            THEN json_build_array('claimed', item.token, r.result) ELSE answer END;
        CONTINUE WHEN answer IS NOT NULL;
        UPDATE gateway360.records AS t SET
            token = item.token, state = 'leased', lease_end = now + item.lease, report_id = item.report_id,
            resent = again AND t.key = item.key, result = CASE WHEN again AND t.key = item.key THEN t.result END,
            expires = CASE WHEN t.key = item.key AND item.forgets THEN now + item.lease + item.ttl
                WHEN t.key = item.cooldown AND item.cooldown_forgets THEN now + item.lease + item.cooldown_ttl
                ELSE 'infinity' END,
            fingerprint = CASE WHEN t.key = item.key THEN item.fingerprint ELSE item.cooldown_fingerprint END
        WHERE t.namespace = p_namespace AND t.key = ANY (takes);
        FOR limits IN SELECT * FROM json_array_elements(item.counts) LOOP
            until := coalesce(now + (limits->>2)::float8, 'infinity');
            INSERT INTO gateway360.entries VALUES (p_namespace, limits->>0, item.token, until) ON CONFLICT DO NOTHING;
            IF FOUND THEN
                UPDATE gateway360.records AS t SET value = t.value + 1,
                    expires = CASE WHEN t.expires < until THEN until + (until - now) ELSE t.expires END
                WHERE t.namespace = p_namespace AND t.key = limits->>0;
            END IF;
        END LOOP;
    END LOOP;
    IF cardinality(got) < json_array_length(p_items) THEN
        PERFORM gateway360.unlock(p_namespace, p_keys);
    END IF;
    PERFORM gateway360.sweep(p_namespace, now, 10 + 2 * json_array_length(p_items));
    RETURN array_to_json(answers);
END $$;

-- Ends a record, behind its lock, as its own claim's completion says. p_state: NULL: it is released.
CREATE OR REPLACE FUNCTION gateway360.finish(p_namespace text, p_key text, p_state text, p_result text, p_now float8,
    p_ttl float8, p_forgets boolean) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE gateway360.records SET
        state = coalesce(p_state, CASE WHEN resent THEN 'in_doubt' ELSE 'leased' END),
        result = coalesce(p_result, CASE WHEN resent THEN result END),
        token = CASE WHEN p_state IS NULL AND NOT resent THEN '' ELSE token END,
        expires = CASE WHEN p_state IS NULL THEN CASE WHEN resent THEN expires ELSE '-infinity' END
            WHEN p_forgets OR p_state = 'completed' THEN p_now + p_ttl ELSE 'infinity' END
    WHERE namespace = p_namespace AND key = p_key AND state <> 'completed';
END $$;

-- p_plain: each has a record and nothing else, no two the same, and a result.
CREATE OR REPLACE FUNCTION gateway360.complete(
    p_namespace text, p_epoch text, p_wait text, p_plain boolean, p_keys text[], p_items json) RETURNS json
LANGUAGE plpgsql AS $$
DECLARE
    now float8 := gateway360.start(p_namespace, p_epoch, p_wait);
    answers boolean[] := array_fill(true, ARRAY[json_array_length(p_items)]);
    item record; r gateway360.records; own text[];
BEGIN
    IF now IS NULL THEN RETURN NULL; END IF;
    IF p_plain THEN
        PERFORM FROM gateway360.records WHERE namespace = p_namespace AND key = ANY (p_keys) ORDER BY key FOR UPDATE;
        now := gateway360.clock();
        UPDATE gateway360.records AS t SET state = i.state, result = i.result,
            expires = CASE WHEN i.forgets OR i.state = 'completed' THEN now + i.ttl ELSE 'infinity' END
        FROM gateway360.items(p_items) AS i WHERE t.namespace = p_namespace AND t.key = ANY (p_keys)
            AND t.key = i.key AND t.token = i.token AND t.state <> 'completed' AND t.expires > now;
        own := ARRAY(SELECT t.key || t.token FROM gateway360.records AS t
            WHERE t.namespace = p_namespace AND t.key = ANY (p_keys) AND t.expires > now);
        RETURN (SELECT json_agg(i.key || i.token = ANY (own) ORDER BY i.n) FROM gateway360.items(p_items) AS i);
    END IF;
    now := gateway360.lock(p_namespace, p_keys);
    FOR item IN SELECT * FROM gateway360.items(p_items) ORDER BY n LOOP
        IF item.withdrawn THEN
            INSERT INTO gateway360.records AS t (namespace, key, expires)
                VALUES (p_namespace, 'w' || item.token, now + {WITHDRAWN_TTL})
                ON CONFLICT (namespace, key) DO UPDATE SET expires = excluded.expires;
        END IF;
        WITH gone AS (DELETE FROM gateway360.entries AS e WHERE e.namespace = p_namespace
            AND e.key = ANY (item.give_back) AND e.token = item.token RETURNING e.key)
        UPDATE gateway360.records AS t SET value = t.value - 1 FROM gone
            WHERE t.namespace = p_namespace AND t.key = ANY (item.give_back) AND t.key = gone.key;
        SELECT * INTO r FROM gateway360.records AS t
            WHERE t.namespace = p_namespace AND t.key = item.key AND t.expires > now;
        IF r.token <> item.token OR r.key IS NULL AND item.key IS NOT NULL AND item.state IS NOT NULL THEN
            answers[item.n + 1] := false;
            CONTINUE;
        END IF;
        PERFORM gateway360.finish(p_namespace, r.key, item.state, item.result, now, item.ttl, item.forgets);
        SELECT * INTO r FROM gateway360.records AS t WHERE t.namespace = p_namespace AND t.key = item.cooldown;
        IF r.expires <= now OR r.token <> item.token AND item.force
                AND NOT (r.state = 'leased' AND r.lease_end > now) THEN
            CONTINUE WHEN item.released;
            UPDATE gateway360.records AS t SET token = item.token, state = 'leased', resent = false,
                fingerprint = item.cooldown_fingerprint, report_id = item.report_id
                WHERE t.namespace = p_namespace AND t.key = item.cooldown RETURNING * INTO r;
        END IF;
        IF r.token = item.token THEN
            PERFORM gateway360.finish(
                p_namespace, r.key, item.state, item.result, now, item.cooldown_ttl, item.cooldown_forgets);
        END IF;
    END LOOP;
    PERFORM gateway360.unlock(p_namespace, p_keys);
    RETURN array_to_json(answers);
END $$;

CREATE OR REPLACE FUNCTION gateway360.renew(
    p_namespace text, p_epoch text, p_wait text, p_keys text[], p_items json) RETURNS json
LANGUAGE plpgsql AS $$
DECLARE
    now float8 := gateway360.start(p_namespace, p_epoch, p_wait);
    renewed text[];
BEGIN
    IF now IS NULL THEN RETURN NULL; END IF;
    PERFORM FROM gateway360.records WHERE namespace = p_namespace AND key = ANY (p_keys) ORDER BY key FOR UPDATE;
    now := gateway360.clock();
    WITH done AS (
        UPDATE gateway360.records AS t SET lease_end = now + i.lease,
            expires = CASE WHEN t.key = i.key AND i.forgets THEN now + i.lease + i.ttl
                WHEN t.key = i.cooldown AND i.cooldown_forgets THEN now + i.lease + i.cooldown_ttl ELSE 'infinity' END
        FROM gateway360.items(p_items) AS i WHERE t.namespace = p_namespace AND t.key = ANY (p_keys)
            AND t.key IN (i.key, i.cooldown) AND t.token = i.token AND t.state = 'leased' AND t.lease_end > now
        RETURNING t.key || t.token AS own)
    SELECT coalesce(array_agg(own), '{{}}') INTO renewed FROM done;
    RETURN (SELECT json_agg(coalesce(coalesce(i.key, i.cooldown) || i.token = ANY (renewed), true) ORDER BY i.n)
        FROM gateway360.items(p_items) AS i);
END $$;

CREATE OR REPLACE FUNCTION gateway360.peek(
    p_namespace text, p_epoch text, p_wait text, p_keys text[], p_items json) RETURNS json LANGUAGE plpgsql AS $$
DECLARE now float8 := gateway360.start(p_namespace, p_epoch, p_wait);
BEGIN
    IF now IS NULL THEN RETURN NULL; END IF;
    RETURN (SELECT json_agg(CASE WHEN t.key IS NULL THEN '["free"]'
            ELSE gateway360.answer(t, now, i.fingerprint, false) END ORDER BY i.n)
        FROM gateway360.items(p_items) AS i LEFT JOIN gateway360.records AS t
            ON t.namespace = p_namespace AND t.key = ANY (p_keys) AND t.key = i.key AND t.expires > now);
END $$;

-- The generic cell rate algorithm (ITU-T I.371).
CREATE OR REPLACE FUNCTION gateway360.permits(p_namespace text, p_epoch text, p_wait text, p_key text, p_count integer,
    p_interval float8, p_horizon float8, p_catch_up float8) RETURNS json LANGUAGE plpgsql AS $$
DECLARE
    now float8 := gateway360.start(p_namespace, p_epoch, p_wait);
    upcoming float8; granted integer;
BEGIN
    IF now IS NULL THEN RETURN NULL; END IF;
    now := gateway360.lock(p_namespace, ARRAY[p_key]);
    SELECT CASE WHEN expires <= now THEN now ELSE greatest(value, now - p_catch_up) END INTO upcoming
        FROM gateway360.records WHERE namespace = p_namespace AND key = p_key;
    IF upcoming > now + p_horizon + p_interval + 1 THEN
        upcoming := now;
    END IF;
    IF upcoming > now + p_horizon THEN
        RETURN json_build_array(0, upcoming - now - p_horizon);
    END IF;
    granted := least(p_count, floor((now + p_horizon - upcoming) / p_interval) + 1);
    upcoming := upcoming + granted * p_interval;
    UPDATE gateway360.records SET value = upcoming,
        expires = CASE WHEN expires < upcoming THEN upcoming + 60 ELSE expires END
        WHERE namespace = p_namespace AND key = p_key;
    RETURN json_build_array(granted, upcoming - granted * p_interval - now);
END $$;

CREATE OR REPLACE FUNCTION gateway360.header(
    p_namespace text, p_epoch text, p_wait text, p_key text, p_value text, p_replace boolean) RETURNS json
LANGUAGE plpgsql AS $$
DECLARE before text;
BEGIN
    IF gateway360.start(p_namespace, p_epoch, p_wait) IS NULL THEN RETURN NULL; END IF;
    PERFORM gateway360.lock(p_namespace, ARRAY[p_key]);
    SELECT result INTO before FROM gateway360.records WHERE namespace = p_namespace AND key = p_key;
    UPDATE gateway360.records SET result = p_value, expires = 'infinity'
        WHERE namespace = p_namespace AND key = p_key AND (result IS NULL OR p_replace);
    RETURN to_json(coalesce(before, p_value));
END $$;
COMMIT;
"""  # noqa: S608  # numbers of ours alone
