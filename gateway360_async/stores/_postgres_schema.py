"""The tables and functions of `PostgresStore`, which `PostgresStore.init` installs.

Invariants:

- Each function is one step: it is asked as a statement, and so a transaction, of its own.
- A step locks the rows of `records` that it looks at before it looks, in the order of their keys, so that two steps do
  not wait for each other. Rows of `entries` are their counter's, and its row's lock is theirs.
- Under READ COMMITTED each statement of a function sees all that was committed before it, so what is read after the
  locks is the latest. A step under another isolation level ends with an error instead.
- `start` sets what holds until the transaction's end alone: nothing is left in the session.

There are two tables, for the exact window of a count is a set: its entries are looked at by their age and by their
token. `records` has everything else, told apart by the first letter of its key: `i` the identity, `r` a record, `n` a
count's counter, `p` a rate's next permit, `h` a header, `w` a withdrawn token.
"""

from __future__ import annotations

from typing import Final

from ._base import WITHDRAWN_TTL

__all__ = ["SCHEMA", "VERSION"]

VERSION: Final = 1

SCHEMA: Final = """\
BEGIN;
SELECT pg_advisory_xact_lock(360360);
CREATE SCHEMA IF NOT EXISTS gateway360;

CREATE TABLE IF NOT EXISTS gateway360.records (
    namespace text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    token text COLLATE "C" NOT NULL DEFAULT '',
    state text NOT NULL DEFAULT 'leased',  -- or completed, in_doubt
    lease_end float8 NOT NULL DEFAULT 0,   -- seconds since the epoch of Unix, as all times
    expires float8 NOT NULL,               -- the row is free from then on
    resent boolean NOT NULL DEFAULT false,
    fingerprint text NOT NULL DEFAULT '',
    report_id text,
    result text,
    value float8 NOT NULL DEFAULT 0,       -- of a counter, how many entries it has; of a rate, its next permit
    PRIMARY KEY (namespace, key)
);
CREATE INDEX IF NOT EXISTS records_expires ON gateway360.records (namespace, expires) WHERE expires < 'infinity';

CREATE TABLE IF NOT EXISTS gateway360.entries (
    namespace text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    token text COLLATE "C" NOT NULL,
    expires float8 NOT NULL,
    PRIMARY KEY (namespace, key, token)
);
CREATE INDEX IF NOT EXISTS entries_expires ON gateway360.entries (namespace, key, expires);

CREATE OR REPLACE FUNCTION gateway360.version() RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT VERSION';

CREATE OR REPLACE FUNCTION gateway360.clock() RETURNS float8 LANGUAGE sql VOLATILE AS
'SELECT extract(epoch FROM clock_timestamp())::float8';

-- Begins a step: the commit is durable, waits are bounded, and tables without statistics are not read as a whole.
-- NULL: the store has another epoch.
CREATE OR REPLACE FUNCTION gateway360.start(p_namespace text, p_epoch text, p_wait text) RETURNS float8
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('lock_timeout', p_wait, true), set_config('enable_seqscan', 'off', true);
    IF current_setting('synchronous_commit') IN ('off', 'local', 'remote_write') THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;
    RETURN (SELECT gateway360.clock() FROM gateway360.records
            WHERE namespace = p_namespace AND key = 'i' AND token = p_epoch);
END $$;

CREATE OR REPLACE FUNCTION gateway360.open(p_namespace text, p_wait text, p_epoch text, p_secret text) RETURNS json
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM gateway360.start(p_namespace, '', p_wait);
    INSERT INTO gateway360.records (namespace, key, token, result, expires)
        VALUES (p_namespace, 'i', p_epoch, p_secret, 'infinity') ON CONFLICT DO NOTHING;
    RETURN (SELECT json_build_array(token, result) FROM gateway360.records WHERE namespace = p_namespace AND key = 'i');
END $$;

CREATE OR REPLACE FUNCTION gateway360.now(p_namespace text, p_epoch text, p_wait text) RETURNS json
LANGUAGE sql VOLATILE AS 'SELECT to_json(gateway360.start(p_namespace, p_epoch, p_wait))';

CREATE OR REPLACE FUNCTION gateway360.new_epoch(p_namespace text, p_epoch text, p_wait text, p_new text) RETURNS json
LANGUAGE plpgsql AS $$
BEGIN
    IF gateway360.start(p_namespace, p_epoch, p_wait) IS NULL THEN RETURN NULL; END IF;
    UPDATE gateway360.records SET token = p_new WHERE namespace = p_namespace AND key = 'i';
    RETURN to_json(p_new);
END $$;

-- The claims or completions of a list.
CREATE OR REPLACE FUNCTION gateway360.items(p_items json) RETURNS TABLE (
    n integer, token text, lease float8, key text, ttl float8, forgets boolean, fingerprint text, cooldown text,
    cooldown_ttl float8, cooldown_forgets boolean, cooldown_fingerprint text, counts json, report_id text,
    resend text, replace text, force boolean, state text, result text, give_back json, withdrawn boolean)
LANGUAGE sql IMMUTABLE AS $$
    SELECT * FROM json_to_recordset(p_items) AS item (
        n integer, token text, lease float8, key text, ttl float8, forgets boolean, fingerprint text, cooldown text,
        cooldown_ttl float8, cooldown_forgets boolean, cooldown_fingerprint text, counts json, report_id text,
        resend text, replace text, force boolean, state text, result text, give_back json, withdrawn boolean)
$$;

-- Locks rows, which are made, free, where there are none. Gives the time, which is read after the last wait.
CREATE OR REPLACE FUNCTION gateway360.lock(p_namespace text, p_keys text[]) RETURNS float8
LANGUAGE plpgsql AS $$
DECLARE
    wanted text[] := ARRAY(SELECT DISTINCT k COLLATE "C" FROM unnest(p_keys) AS k WHERE k IS NOT NULL ORDER BY 1);
    locked integer;
BEGIN
    LOOP
        INSERT INTO gateway360.records (namespace, key, expires)
            SELECT p_namespace, k, 0 FROM unnest(wanted) AS k ON CONFLICT DO NOTHING;
        PERFORM 1 FROM gateway360.records WHERE namespace = p_namespace AND key = ANY (wanted) ORDER BY key FOR UPDATE;
        GET DIAGNOSTICS locked = ROW_COUNT;
        EXIT WHEN locked = cardinality(wanted);  -- otherwise one was removed between the two
    END LOOP;
    RETURN gateway360.clock();
END $$;

CREATE OR REPLACE FUNCTION gateway360.lock_items(p_namespace text, p_items json, p_which integer[]) RETURNS float8
LANGUAGE sql VOLATILE AS $$
    SELECT gateway360.lock(p_namespace, ARRAY(
        SELECT k FROM gateway360.items(p_items) AS i, LATERAL (
            SELECT i.key UNION ALL SELECT i.cooldown
            UNION ALL SELECT c->>0 FROM json_array_elements(i.counts) AS c
            UNION ALL SELECT c#>>'{}' FROM json_array_elements(i.give_back) AS c) AS of_item (k)
        WHERE p_which IS NULL OR i.n = ANY (p_which)))
$$;

-- Removes some of a counter's entries whose window is over, the oldest first. Gives how many there were.
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
DECLARE old text[] := ARRAY(
    SELECT key FROM gateway360.records WHERE namespace = p_namespace AND expires <= p_now
    ORDER BY expires LIMIT p_most FOR UPDATE SKIP LOCKED);
BEGIN
    PERFORM gateway360.prune(p_namespace, k, p_now) FROM unnest(old) AS k WHERE k LIKE 'n%';
    DELETE FROM gateway360.records
        WHERE namespace = p_namespace AND key = ANY (old) AND NOT (key LIKE 'n%' AND value > 0);
END $$;

CREATE OR REPLACE FUNCTION gateway360.answer(
    p_row gateway360.records, p_now float8, p_fingerprint text, p_cooldown boolean) RETURNS json
LANGUAGE sql IMMUTABLE AS $$
    SELECT json_build_array(
        CASE WHEN p_row.state <> 'leased' THEN p_row.state WHEN p_row.lease_end > p_now THEN 'in_progress'
             ELSE 'in_doubt' END,
        p_row.token, p_row.result, p_row.report_id,
        CASE WHEN p_row.state = 'leased' THEN greatest(0, p_row.lease_end - p_now) ELSE 0 END,
        p_fingerprint <> '' AND p_fingerprint <> p_row.fingerprint, p_cooldown)
$$;

-- Gives an answer for each claim; NULL: claimed.
-- p_plain: each has a record and nothing else. Those that nobody has are taken by one statement.
CREATE OR REPLACE FUNCTION gateway360.claim(p_namespace text, p_epoch text, p_wait text, p_plain boolean, p_items json)
RETURNS json LANGUAGE plpgsql AS $$
DECLARE
    now float8 := gateway360.start(p_namespace, p_epoch, p_wait);
    answers json[] := array_fill(NULL::json, ARRAY[json_array_length(p_items)]);
    got integer[] := '{}'; rest integer[]; refused integer[];
    item record; r gateway360.records; c gateway360.records;
    count json; answer json; takes text[]; again boolean;
BEGIN
    IF now IS NULL THEN RETURN NULL; END IF;
    IF p_plain THEN
        WITH taken AS (
            INSERT INTO gateway360.records AS t
                (namespace, key, token, lease_end, expires, fingerprint, report_id)
            SELECT DISTINCT ON (i.key COLLATE "C") p_namespace, i.key, i.token, now + i.lease,
                CASE WHEN i.forgets THEN now + i.lease + i.ttl ELSE 'infinity' END, i.fingerprint, i.report_id
            FROM gateway360.items(p_items) AS i ORDER BY i.key COLLATE "C", i.n
            ON CONFLICT DO NOTHING RETURNING t.key, t.token)
        SELECT coalesce(array_agg(i.n), '{}') INTO got
            FROM gateway360.items(p_items) AS i JOIN taken ON taken.key = i.key AND taken.token = i.token;
    END IF;
    rest := ARRAY(SELECT i.n FROM gateway360.items(p_items) AS i WHERE i.n <> ALL (got) ORDER BY i.n);
    IF cardinality(rest) > 0 THEN
        now := gateway360.lock_items(p_namespace, p_items, rest);
    END IF;
    -- Behind the locks, as `complete` does it: of a claim and its withdrawal, the second one sees the first.
    refused := ARRAY(SELECT i.n FROM gateway360.items(p_items) AS i JOIN gateway360.records AS w
        ON w.namespace = p_namespace AND w.key = 'w' || i.token AND w.expires > now);
    IF cardinality(refused) > 0 THEN
        DELETE FROM gateway360.records AS t USING gateway360.items(p_items) AS i
            WHERE i.n = ANY (refused) AND i.n = ANY (got)
                AND t.namespace = p_namespace AND t.key = i.key AND t.token = i.token;
    END IF;
    FOR item IN SELECT * FROM gateway360.items(p_items) AS i WHERE i.n = ANY (rest || refused) ORDER BY i.n LOOP
        answer := NULL; takes := '{}'; again := false; r := NULL; c := NULL;
        IF item.n = ANY (refused) THEN
            answers[item.n + 1] := '["free"]';
            CONTINUE;
        END IF;
        SELECT * INTO r FROM gateway360.records AS t
            WHERE t.namespace = p_namespace AND t.key = item.key AND t.expires > now;
        SELECT * INTO c FROM gateway360.records AS t
            WHERE t.namespace = p_namespace AND t.key = item.cooldown AND t.expires > now;
        IF r.token = item.token AND r.state = 'leased'
                OR item.key IS NULL AND c.token = item.token AND c.state = 'leased' THEN
            IF r.token = item.token AND r.resent THEN
                answers[item.n + 1] := json_build_array('claimed', item.token, r.result);
            END IF;
            CONTINUE;
        END IF;
        IF r.key IS NULL THEN
            takes := takes || item.key;
        ELSIF r.token = item.resend AND r.state <> 'completed' THEN
            takes := takes || item.key;
            again := true;
        ELSIF r.token = item.replace AND r.state = 'completed' THEN
            takes := takes || item.key;
        ELSE
            answer := gateway360.answer(r, now, item.fingerprint, false);
        END IF;
        IF c.key IS NULL THEN
            takes := takes || item.cooldown;
        ELSIF answer IS NULL AND NOT coalesce(item.force, false) THEN
            answer := gateway360.answer(c, now, item.cooldown_fingerprint, true);
        END IF;
        FOR i IN 0 .. coalesce(json_array_length(item.counts), 0) - 1 LOOP
            EXIT WHEN answer IS NOT NULL;
            count := item.counts->i;
            CONTINUE WHEN EXISTS (SELECT FROM gateway360.entries AS e
                WHERE e.namespace = p_namespace AND e.key = count->>0 AND e.token = item.token AND e.expires > now);
            LOOP
                EXIT WHEN gateway360.prune(p_namespace, count->>0, now) < 20 OR (SELECT t.value < (count->>1)::integer
                    FROM gateway360.records AS t WHERE t.namespace = p_namespace AND t.key = count->>0);
            END LOOP;
            IF (SELECT t.value >= (count->>1)::integer FROM gateway360.records AS t
                WHERE t.namespace = p_namespace AND t.key = count->>0) THEN
                answer := json_build_array('limited', '', NULL, NULL, 0, false, false, i);
            END IF;
        END LOOP;
        answers[item.n + 1] := answer;
        CONTINUE WHEN answer IS NOT NULL;
        IF again THEN
            answers[item.n + 1] := json_build_array('claimed', item.token, r.result);
        END IF;
        UPDATE gateway360.records AS t SET
            token = item.token, state = 'leased', lease_end = now + item.lease, report_id = item.report_id,
            resent = again AND t.key = item.key,
            result = CASE WHEN again AND t.key = item.key THEN t.result END,
            expires = CASE WHEN t.key = item.key AND item.forgets THEN now + item.lease + item.ttl
                WHEN t.key = item.cooldown AND item.cooldown_forgets THEN now + item.lease + item.cooldown_ttl
                ELSE 'infinity' END,
            fingerprint = CASE WHEN t.key = item.key THEN item.fingerprint ELSE item.cooldown_fingerprint END
        WHERE t.namespace = p_namespace AND t.key = ANY (takes);
        FOR count IN SELECT * FROM json_array_elements(item.counts) LOOP
            INSERT INTO gateway360.entries VALUES
                (p_namespace, count->>0, item.token, coalesce(now + (count->>2)::float8, 'infinity'))
                ON CONFLICT DO NOTHING;
            IF FOUND THEN
                UPDATE gateway360.records AS t SET value = t.value + 1,
                    expires = greatest(t.expires, coalesce(now + (count->>2)::float8, 'infinity'))
                WHERE t.namespace = p_namespace AND t.key = count->>0;
            END IF;
        END LOOP;
    END LOOP;
    PERFORM gateway360.sweep(p_namespace, now, 10 + 2 * json_array_length(p_items));
    RETURN array_to_json(answers);
END $$;

-- p_plain: each has a record and nothing else, no two the same, and a result.
CREATE OR REPLACE FUNCTION gateway360.complete(p_namespace text, p_epoch text, p_wait text, p_plain boolean, p_items json)
RETURNS json LANGUAGE plpgsql AS $$
DECLARE
    now float8 := gateway360.start(p_namespace, p_epoch, p_wait);
    answers boolean[] := array_fill(true, ARRAY[json_array_length(p_items)]);
    item record; r gateway360.records; gone text[];
BEGIN
    IF now IS NULL THEN RETURN NULL; END IF;
    IF p_plain THEN
        PERFORM 1 FROM gateway360.records AS t WHERE t.namespace = p_namespace
            AND t.key = ANY (ARRAY(SELECT i.key FROM gateway360.items(p_items) AS i)) ORDER BY t.key FOR UPDATE;
        now := gateway360.clock();
        UPDATE gateway360.records AS t SET state = i.state, result = i.result,
            expires = CASE WHEN i.forgets OR i.state = 'completed' THEN now + i.ttl ELSE 'infinity' END
        FROM gateway360.items(p_items) AS i
        WHERE t.namespace = p_namespace AND t.key = i.key AND t.token = i.token AND t.state <> 'completed'
            AND t.expires > now;
        RETURN (SELECT json_agg(EXISTS (SELECT FROM gateway360.records AS t WHERE t.namespace = p_namespace
            AND t.key = i.key AND t.token = i.token AND t.expires > now) ORDER BY i.n) FROM gateway360.items(p_items) AS i);
    END IF;
    now := gateway360.lock_items(p_namespace, p_items, NULL);
    FOR item IN SELECT * FROM gateway360.items(p_items) ORDER BY n LOOP
        IF item.withdrawn THEN
            INSERT INTO gateway360.records AS t (namespace, key, expires)
                VALUES (p_namespace, 'w' || item.token, now + WITHDRAWN_TTL)
                ON CONFLICT (namespace, key) DO UPDATE SET expires = excluded.expires;
        END IF;
        WITH back AS (DELETE FROM gateway360.entries AS e USING json_array_elements(item.give_back) AS c
            WHERE e.namespace = p_namespace AND e.key = c#>>'{}' AND e.token = item.token RETURNING e.key)
        SELECT array_agg(key) INTO gone FROM back;
        UPDATE gateway360.records AS t SET value = t.value - 1
            WHERE t.namespace = p_namespace AND t.key = ANY (gone);
        IF item.key IS NOT NULL THEN
            SELECT * INTO r FROM gateway360.records AS t
                WHERE t.namespace = p_namespace AND t.key = item.key AND t.expires > now;
            IF r.key IS NULL AND item.state <> 'free' OR r.token <> item.token THEN
                answers[item.n + 1] := false;
                CONTINUE;
            END IF;
            PERFORM gateway360.finish(r, item.state, item.result, now, item.ttl, item.forgets);
        END IF;
        SELECT * INTO r FROM gateway360.records AS t WHERE t.namespace = p_namespace AND t.key = item.cooldown;
        IF r.expires <= now OR r.token <> item.token AND item.force
                AND NOT (r.state = 'leased' AND r.lease_end > now) THEN
            CONTINUE WHEN item.state = 'free';
            UPDATE gateway360.records AS t SET token = item.token, state = 'leased', lease_end = now, resent = false,
                fingerprint = item.cooldown_fingerprint, report_id = item.report_id
                WHERE t.namespace = p_namespace AND t.key = item.cooldown RETURNING * INTO r;
        END IF;
        IF r.token = item.token THEN
            PERFORM gateway360.finish(r, item.state, item.result, now, item.cooldown_ttl, item.cooldown_forgets);
        END IF;
    END LOOP;
    RETURN array_to_json(answers);
END $$;

-- Ends a record as its own claim's completion says.
CREATE OR REPLACE FUNCTION gateway360.finish(
    p_row gateway360.records, p_state text, p_result text, p_now float8, p_ttl float8, p_forgets boolean) RETURNS void
LANGUAGE sql VOLATILE AS $$
    UPDATE gateway360.records SET
        state = CASE WHEN p_state <> 'free' THEN p_state WHEN resent THEN 'in_doubt' ELSE 'leased' END,
        result = CASE WHEN p_state <> 'free' THEN p_result WHEN resent THEN result END,
        token = CASE WHEN p_state = 'free' AND NOT resent THEN '' ELSE token END,
        expires = CASE WHEN p_state = 'free' THEN CASE WHEN resent THEN expires ELSE 0 END
            WHEN p_forgets OR p_state = 'completed' THEN p_now + p_ttl ELSE 'infinity' END
    WHERE namespace = p_row.namespace AND key = p_row.key AND state <> 'completed'
$$;

CREATE OR REPLACE FUNCTION gateway360.renew(p_namespace text, p_epoch text, p_wait text, p_items json)
RETURNS json LANGUAGE plpgsql AS $$
DECLARE
    now float8 := gateway360.start(p_namespace, p_epoch, p_wait);
    renewed text[];
BEGIN
    IF now IS NULL THEN RETURN NULL; END IF;
    PERFORM 1 FROM gateway360.records AS t WHERE t.namespace = p_namespace AND t.key = ANY (ARRAY(
        SELECT k FROM gateway360.items(p_items) AS i, unnest(ARRAY[i.key, i.cooldown]) AS k)) ORDER BY t.key FOR UPDATE;
    now := gateway360.clock();
    WITH done AS (
        UPDATE gateway360.records AS t SET lease_end = now + w.lease,
            expires = CASE WHEN w.forgets THEN now + w.lease + w.ttl ELSE 'infinity' END
        FROM (SELECT token, lease, key, ttl, forgets FROM gateway360.items(p_items) UNION ALL
              SELECT token, lease, cooldown, cooldown_ttl, cooldown_forgets FROM gateway360.items(p_items)) AS w
        WHERE t.namespace = p_namespace AND t.key = w.key AND t.token = w.token AND t.state = 'leased'
            AND t.lease_end > now
        RETURNING t.key || ' ' || t.token AS one)
    SELECT array_agg(one) INTO renewed FROM done;
    RETURN (SELECT json_agg(coalesce(i.key, i.cooldown) IS NULL
        OR coalesce(coalesce(i.key, i.cooldown) || ' ' || i.token = ANY (renewed), false) ORDER BY i.n)
        FROM gateway360.items(p_items) AS i);
END $$;

CREATE OR REPLACE FUNCTION gateway360.peek(p_namespace text, p_epoch text, p_wait text, p_items json)
RETURNS json LANGUAGE plpgsql AS $$
DECLARE now float8 := gateway360.start(p_namespace, p_epoch, p_wait);
BEGIN
    IF now IS NULL THEN RETURN NULL; END IF;
    RETURN (SELECT json_agg(CASE WHEN t.key IS NULL THEN '["free"]' ELSE gateway360.answer(t, now, k.fingerprint, false) END ORDER BY k.n)
        FROM gateway360.items(p_items) AS k
        LEFT JOIN gateway360.records AS t ON t.namespace = p_namespace AND t.key = k.key AND t.expires > now);
END $$;

-- The generic cell rate algorithm (ITU-T I.371). Times in seconds.
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
    UPDATE gateway360.records SET value = upcoming + granted * p_interval, expires = upcoming + granted * p_interval + 1
        WHERE namespace = p_namespace AND key = p_key;
    RETURN json_build_array(granted, upcoming - now);
END $$;

CREATE OR REPLACE FUNCTION gateway360.header(
    p_namespace text, p_epoch text, p_wait text, p_key text, p_value text, p_replace boolean) RETURNS json
LANGUAGE plpgsql AS $$
DECLARE before text;
BEGIN
    IF gateway360.start(p_namespace, p_epoch, p_wait) IS NULL THEN RETURN NULL; END IF;
    PERFORM gateway360.lock(p_namespace, ARRAY[p_key]);
    SELECT result INTO before FROM gateway360.records WHERE namespace = p_namespace AND key = p_key;
    IF before IS NULL OR p_replace THEN
        UPDATE gateway360.records SET result = p_value, expires = 'infinity'
            WHERE namespace = p_namespace AND key = p_key;
    END IF;
    RETURN to_json(coalesce(before, p_value));
END $$;
COMMIT;
""".replace("VERSION", str(VERSION)).replace("WITHDRAWN_TTL", str(WITHDRAWN_TTL))
