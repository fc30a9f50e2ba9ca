-- Stored columns that make conditions leakproof, domains, enums, ranges, arrays, composite types.
CREATE DOMAIN public.email AS text CHECK (VALUE LIKE '%@%'); CREATE TYPE public.state AS ENUM ('open', 'paid');
CREATE TYPE public.address AS (street text, city text);
SET ROLE ITSOWNER;
CREATE TABLE shop.contact (id uuid PRIMARY KEY, account_id uuid NOT NULL, email public.email NOT NULL,
    email_lower text GENERATED ALWAYS AS (lower(email)) STORED, home public.address, tags text[] DEFAULT '{}',
    UNIQUE (account_id, email_lower));
CREATE TABLE shop.invoice (id uuid PRIMARY KEY, account_id uuid NOT NULL, state public.state NOT NULL DEFAULT 'open',
    net numeric(12,2), tax numeric(12,2) GENERATED ALWAYS AS (net * 0.25) STORED, period daterange);
CREATE INDEX ON shop.invoice (account_id, state); CREATE INDEX ON shop.contact (account_id, (email_lower || ''));
SELECT tenant_guard.protect_schema('shop', redact => '{email,email_lower}');
