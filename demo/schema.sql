-- The product of the demo: customers (accounts) talk to the visitors of their web sites.
-- Ordinary tables as a team would write them; nothing here knows tenant_guard yet.

CREATE ROLE chat_owner NOLOGIN;                    -- owns the tables, runs migrations
CREATE ROLE chat_app LOGIN;                        -- the application's web servers
CREATE ROLE chat_delivery LOGIN;                   -- the worker that sends messages out
CREATE ROLE chat_auditor LOGIN;                    -- reads the log
CREATE SCHEMA chat AUTHORIZATION chat_owner;
SET ROLE chat_owner;

CREATE TABLE chat.accounts (
    id uuid PRIMARY KEY,
    name text NOT NULL,
    plan text NOT NULL DEFAULT 'trial',
    created_at timestamptz NOT NULL DEFAULT now()
);

-- Every key begins with the account, so that a reference cannot cross accounts.
CREATE TABLE chat.users (
    account_id uuid NOT NULL REFERENCES chat.accounts (id),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    email text NOT NULL,
    name text NOT NULL,
    PRIMARY KEY (account_id, id),
    UNIQUE (account_id, email)
);

CREATE TABLE chat.widgets (
    account_id uuid NOT NULL REFERENCES chat.accounts (id),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    site text NOT NULL,
    greeting text NOT NULL,
    PRIMARY KEY (account_id, id)
);

CREATE TABLE chat.contacts (
    account_id uuid NOT NULL REFERENCES chat.accounts (id),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    name text NOT NULL,
    email text,
    PRIMARY KEY (account_id, id)
);

CREATE TABLE chat.conversations (
    account_id uuid NOT NULL REFERENCES chat.accounts (id),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    widget_id uuid NOT NULL,
    contact_id uuid,
    assignee_id uuid,
    status text NOT NULL DEFAULT 'open',
    opened_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (account_id, id),
    FOREIGN KEY (account_id, widget_id) REFERENCES chat.widgets (account_id, id),
    FOREIGN KEY (account_id, contact_id) REFERENCES chat.contacts (account_id, id),
    FOREIGN KEY (account_id, assignee_id) REFERENCES chat.users (account_id, id)
);

CREATE TABLE chat.messages (
    account_id uuid NOT NULL REFERENCES chat.accounts (id),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    conversation_id uuid NOT NULL,
    author text NOT NULL,
    body text NOT NULL,
    sent_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (account_id, id, sent_at),
    FOREIGN KEY (account_id, conversation_id) REFERENCES chat.conversations (account_id, id)
) PARTITION BY RANGE (sent_at);

-- One partition a month: the last three, this one and the next.
DO $$
DECLARE
    month date;
BEGIN
    FOR month IN SELECT generate_series(date_trunc('month', now()) - interval '3 months',
                                        date_trunc('month', now()) + interval '1 month',
                                        interval '1 month')
    LOOP
        EXECUTE format(
            'CREATE TABLE chat.%I PARTITION OF chat.messages FOR VALUES FROM (%L) TO (%L)',
            'messages_' || to_char(month, 'YYYY_MM'), month, month + interval '1 month');
    END LOOP;
END
$$;
CREATE INDEX ON chat.messages (account_id, conversation_id, sent_at);

CREATE TABLE chat.leads (
    account_id uuid NOT NULL REFERENCES chat.accounts (id),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    conversation_id uuid,
    name text NOT NULL,
    status text NOT NULL DEFAULT 'new',
    worth numeric(12, 2),
    PRIMARY KEY (account_id, id),
    FOREIGN KEY (account_id, conversation_id) REFERENCES chat.conversations (account_id, id)
);

CREATE TABLE chat.bookings (
    account_id uuid NOT NULL REFERENCES chat.accounts (id),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    contact_id uuid NOT NULL,
    during tstzrange NOT NULL,
    PRIMARY KEY (account_id, id),
    FOREIGN KEY (account_id, contact_id) REFERENCES chat.contacts (account_id, id)
);

CREATE TABLE chat.files (
    account_id uuid NOT NULL REFERENCES chat.accounts (id),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    conversation_id uuid NOT NULL,
    path text NOT NULL,
    bytes bigint NOT NULL,
    PRIMARY KEY (account_id, id),
    FOREIGN KEY (account_id, conversation_id) REFERENCES chat.conversations (account_id, id)
);

CREATE TABLE chat.delivery_channels (
    account_id uuid NOT NULL REFERENCES chat.accounts (id),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    kind text NOT NULL,
    address text NOT NULL,
    credential text NOT NULL,
    PRIMARY KEY (account_id, id)
);

-- The careless grant that many products live with: all rights on every table, partitions
-- included, TRUNCATE too.
GRANT USAGE ON SCHEMA chat TO chat_app, chat_delivery;
GRANT ALL ON ALL TABLES IN SCHEMA chat TO chat_app;

-- One column is better guarded: the application may set a credential and never read one.
REVOKE SELECT ON chat.delivery_channels FROM chat_app;
GRANT SELECT (account_id, id, kind, address) ON chat.delivery_channels TO chat_app;
GRANT SELECT ON chat.delivery_channels TO chat_delivery;

RESET ROLE;
