-- A few thousand rows for each of three accounts, of different sizes so that a mix-up shows.

SET ROLE chat_owner;

INSERT INTO chat.accounts (id, name, plan) VALUES
    ('0b5e7d1a-3c52-4c0e-9a4e-1f0d6a1c0001', 'Blue Harbor Dental', 'team'),
    ('0b5e7d1a-3c52-4c0e-9a4e-1f0d6a1c0002', 'Northwind Cycling', 'business'),
    ('0b5e7d1a-3c52-4c0e-9a4e-1f0d6a1c0003', 'Studio Okapi', 'trial');

CREATE TEMPORARY TABLE size AS
SELECT id AS account_id, name, 300 + 100 * row_number() OVER (ORDER BY id) AS conversations
FROM chat.accounts;

INSERT INTO chat.users (account_id, email, name)
SELECT account_id, format('agent%s@%s.example', n, lower(replace(name, ' ', '-'))), 'Agent ' || n
FROM size, generate_series(1, conversations / 100) AS n;

INSERT INTO chat.widgets (account_id, site, greeting)
SELECT account_id, format('www%s.%s.example', n, lower(replace(name, ' ', '-'))), 'How can we help?'
FROM size, generate_series(1, 2) AS n;

INSERT INTO chat.contacts (account_id, name, email)
SELECT account_id, 'Contact ' || n, format('contact%s@mail.example', n)
FROM size, generate_series(1, conversations / 2) AS n;

INSERT INTO chat.conversations (account_id, widget_id, contact_id, assignee_id, status, opened_at)
SELECT size.account_id, widget.id, contact.id, agent.id,
       CASE WHEN n % 3 = 0 THEN 'closed' ELSE 'open' END,
       date_trunc('month', now()) - n * interval '2 hours'
FROM size
CROSS JOIN generate_series(1, conversations) AS n
JOIN LATERAL (SELECT id FROM chat.widgets w WHERE w.account_id = size.account_id
              ORDER BY site OFFSET n % 2 LIMIT 1) AS widget ON true
JOIN LATERAL (SELECT id FROM chat.contacts c WHERE c.account_id = size.account_id
              AND c.name = 'Contact ' || 1 + n % (conversations / 2)) AS contact ON true
JOIN LATERAL (SELECT id FROM chat.users u WHERE u.account_id = size.account_id
              ORDER BY email OFFSET n % (conversations / 100) LIMIT 1) AS agent ON true;

INSERT INTO chat.messages (account_id, conversation_id, author, body, sent_at)
SELECT account_id, id, CASE WHEN n % 2 = 1 THEN 'visitor' ELSE 'agent' END,
       'Message ' || n, opened_at + n * interval '5 minutes'
FROM chat.conversations, generate_series(1, 5) AS n;

INSERT INTO chat.leads (account_id, conversation_id, name, worth)
SELECT account_id, id, 'Lead of ' || opened_at::date, 100 + 7.25 * extract(day FROM opened_at)
FROM chat.conversations WHERE status = 'open';

INSERT INTO chat.bookings (account_id, contact_id, during)
SELECT account_id, id, tstzrange(now() + interval '1 day', now() + interval '1 day 30 minutes')
FROM chat.contacts;

INSERT INTO chat.files (account_id, conversation_id, path, bytes)
SELECT account_id, id, format('%s/conversations/%s/photo.jpg', account_id, id), 40000
FROM chat.conversations WHERE status = 'closed';

INSERT INTO chat.delivery_channels (account_id, kind, address, credential)
SELECT account_id, kind, lower(replace(name, ' ', '-')) || '.' || kind, gen_random_uuid()
FROM size, (VALUES ('email'), ('sms')) AS kinds (kind);

DROP TABLE size;
RESET ROLE;
ANALYZE;
