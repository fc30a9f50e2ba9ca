-- Names that want quotes, in every place.
SET ROLE ITSOWNER;
CREATE TABLE shop."It's (odd), table" ("The id" uuid PRIMARY KEY, "Account Id" uuid NOT NULL, "a""b" text,
    CONSTRAINT "u (1)" UNIQUE ("Account Id", "a""b"));
SELECT tenant_guard.protect('shop."It''s (odd), table"', account_column => 'Account Id');
-- since 15 | CREATE VIEW shop."View, (odd)" WITH (security_invoker) AS SELECT "a""b" FROM shop."It's (odd), table";
-- before 15 | CREATE VIEW shop."View, (odd)" AS SELECT "a""b" FROM shop."It's (odd), table";
-- before 15 | REVOKE ALL ON shop."View, (odd)" FROM APP;
-- since 15 | GRANT SELECT ON shop."View, (odd)" TO APP;
RESET ROLE;
CREATE SCHEMA "Another Schema" AUTHORIZATION ITSOWNER; SET ROLE ITSOWNER;
CREATE TABLE "Another Schema"."T" (id uuid PRIMARY KEY, account_id uuid NOT NULL);
SELECT tenant_guard.protect('"Another Schema"."T"');
